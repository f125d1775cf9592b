"""The text tokenizer: lossless, blind to order, and no special tokens in texts."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gobelin.tokenize.text_tokenizer import TextTokenizer, fit_bpe
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
