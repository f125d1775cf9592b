"""The text tokenizer: lossless, blind to order, and no special tokens in texts."""

from __future__ import annotations

import base64
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gobelin.tokenize.text_tokenizer import TextTokenizer, byte_of_character, fit_bpe
from gobelin.tokenize.tiktoken_file import PATTERNS, definition_of
from gobelin.tokenize.vocabulary import SPECIAL_TOKENS
from tests.token_corpora import small_tokenizer

TOKENIZER = small_tokenizer()


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert b"".join(TOKENIZER.token_bytes[index] for index in ids) == text.encode()


@pytest.mark.parametrize(
    "text", [*SPECIAL_TOKENS, " leading", "trailing \n\n", "\r\n\t", "e\u0301 é", "\x00", "ﬁ", "👩‍🚀", "İ", "\u2028"]
)
def test_awkward_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert TOKENIZER.encode_batch([text, text]) == [TOKENIZER.encode(text)] * 2


def test_merges_frequent_words() -> None:
    assert len(TOKENIZER.encode(" square")) == 1
    assert len(TOKENIZER.encode("qqq")) == 3


def test_order_of_texts_changes_nothing() -> None:
    words = ["loom", "warp", "weft", "shuttle", "bobbin", "tapestry", "tapestries", "weaver"]
    source = random.Random(0)
    texts = [" ".join(source.choices(words, k=12)) for _ in range(200)]
    fingerprints = set()
    for _ in range(5):
        source.shuffle(texts)
        fingerprints.add(fit_bpe(iter(texts), 320).fingerprint)
    assert len(fingerprints) == 1


def test_saved_and_pickled_tokenizers_are_the_same(tmp_path: Path) -> None:
    TOKENIZER.save(str(tmp_path / "text_tokenizer.json"))
    for other in (TextTokenizer.load(str(tmp_path)), pickle.loads(pickle.dumps(TOKENIZER))):  # noqa: S301
        assert other.fingerprint == TOKENIZER.fingerprint
        assert other.encode("a red square") == TOKENIZER.encode("a red square")


def test_half_a_character_becomes_the_replacement_character() -> None:
    ids = TOKENIZER.encode("é")
    assert TOKENIZER.decode(ids[:1]) == "\ufffd"


def _broken(change: Callable[[dict[str, Any]], None]) -> str:
    definition = json.loads(TOKENIZER.__reduce__()[1][0])
    change(definition)
    return json.dumps(definition)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("no json", "not a tokenizer"),
        ("{}", "not a tokenizer"),
        (_broken(lambda d: d.update(normalizer={"type": "NFC"})), "normalizer"),
        (_broken(lambda d: d["pre_tokenizer"].update(add_prefix_space=True)), "space in front"),
        (_broken(lambda d: d.update(added_tokens=[{"id": 300, "content": "<s>"}])), "special tokens"),
        (_broken(lambda d: d["model"].update(type="WordPiece")), "WordPiece"),
        (_broken(lambda d: d["model"].update(dropout=0.1)), "at random"),
        (_broken(lambda d: d["model"]["vocab"].pop("a")), "not every byte"),
    ],
)
def test_refuses_a_tokenizer_that_may_lose_text(definition: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextTokenizer(definition)


def test_user_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 256"):
        fit_bpe(["a"], 255)
    with pytest.raises(ValueError, match="no text tokenizer at"):
        TextTokenizer.load(str(tmp_path / "none.json"))


def tiktoken_file(tokens: list[bytes]) -> bytes:
    """The 256 bytes and these tokens, as tiktoken writes them."""
    every = [bytes([byte]) for byte in range(256)] + tokens
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(every))


MERGED = [b"re", b"ed", b" s", b" r", b"red", b" red", b"are", b" squ", b" square", "é".encode(), b"\n\n"]


def test_a_tiktoken_file_merges_by_rank(tmp_path: Path) -> None:
    (tmp_path / "cl100k_small.tiktoken").write_bytes(tiktoken_file(MERGED))
    tokenizer = TextTokenizer.load(str(tmp_path / "cl100k_small.tiktoken"))
    assert tokenizer.size == 256 + len(MERGED)
    assert tokenizer.token_bytes[256:] == tuple(MERGED)
    named = {token: 256 + rank for rank, token in enumerate(MERGED)}
    assert tokenizer.encode("red") == [named[b"red"]]  # re + d has no rank: "re" first, then "red" is a whole piece
    assert tokenizer.encode("reed") == [named[b"re"], named[b"ed"]]
    assert tokenizer.encode(" red are") == [named[b" red"], ord(" "), named[b"are"]]
    assert tokenizer.encode(" square") == [named[b" square"]]  # that no merges make: a piece that is a token
    assert tokenizer.encode("1234") == [ord(digit) for digit in "1234"]
    tokenizer.save(str(tmp_path / "text_tokenizer.json"))
    assert TextTokenizer.load(str(tmp_path)).fingerprint == tokenizer.fingerprint


FROM_TIKTOKEN = TextTokenizer(
    definition_of(tiktoken_file(MERGED), "o200k", {byte: piece for piece, byte in byte_of_character().items()})
)


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_any_text_comes_back_from_a_tiktoken_tokenizer(text: str) -> None:
    assert FROM_TIKTOKEN.decode(FROM_TIKTOKEN.encode(text)) == text


@pytest.mark.parametrize("name", ["r50k", "cl100k", "o200k"])
def test_ids_are_those_of_tiktoken(name: str, tmp_path: Path) -> None:
    package = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    texts = ["a red square", "It's  REDder,\n\n\taré 12345 é!!\r\n", " squ are" * 3, "WARP'S weft\u2028x /// 7"]
    learned = fit_bpe(texts * 3, 320).token_bytes
    tokens = [token for token in dict.fromkeys([*learned, *MERGED]) if len(token) > 1]
    content = tiktoken_file(tokens)
    (tmp_path / f"{name}_small.tiktoken").write_bytes(content)
    ours = TextTokenizer.load(str(tmp_path / f"{name}_small.tiktoken"))
    ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in content.splitlines()}
    theirs = package.Encoding(name, pat_str=PATTERNS[name], mergeable_ranks=ranks, special_tokens={})
    for text in texts:
        assert ours.encode(text) == theirs.encode_ordinary(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiktoken_file([]) + b"YQ== 9999\n", "empty or repeated"),
        (tiktoken_file([]) + b"YWI= 300\n", "the ranks are not 0 to 256"),
        (tiktoken_file([]) + b"YWI 256\n", "line 257"),
        (tiktoken_file([]) + b"no line\n", "line 257"),
        (b"YQ== 0\n", "not every byte has a token"),
    ],
)
def test_a_tiktoken_file_that_is_not_whole_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.tiktoken").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        TextTokenizer.load(str(tmp_path / "x.tiktoken"))
