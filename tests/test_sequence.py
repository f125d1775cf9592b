"""Vocabulary, grammar and sequences: exact round trips, and a clear no to what breaks the grammar."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gobelin.tokenize.grammar import DocumentWriter, parse
from gobelin.tokenize.sequence import (
    ImageItem,
    ImageSpan,
    Item,
    TextItem,
    caption_first,
    decode_document,
    encode_document,
)
from gobelin.tokenize.split import cut_text, encode_sequences, least_max_tokens
from gobelin.tokenize.text_tokenizer import fit_bpe
from gobelin.tokenize.vocabulary import Vocabulary
from tests.token_corpora import as_version_1, small_codebook, small_tokenizer, small_vocabulary

TOKENIZER = small_tokenizer()
VOCABULARY = small_vocabulary(TOKENIZER)
PAD, DOC, END, IMG, END_IMG, TXT, NEXT, PREV = range(8)
A = VOCABULARY.text_offset + 5  # some text id
CODE = VOCABULARY.image_offset
PICTURE = [IMG, CODE, CODE + 1, CODE + 2, CODE + 7, END_IMG]

items_strategy = st.lists(
    st.one_of(
        st.builds(TextItem, st.text(max_size=40)),
        st.builds(
            ImageItem,
            st.text("0123456789abcdef", min_size=1, max_size=8),
            st.tuples(*[st.integers(0, 7)] * 4),
            st.one_of(st.none(), st.text(max_size=20)),
        ),
    ),
    max_size=6,
)


@given(st.text(max_size=10), items_strategy)
@settings(max_examples=300, deadline=None)
def test_documents_come_back(doc_id: str, items: list[Item]) -> None:
    tokens, spans = encode_document(doc_id, items, VOCABULARY, TOKENIZER)
    assert decode_document(tokens, spans, VOCABULARY, TOKENIZER) == items
    images = [item for item in items if isinstance(item, ImageItem)]
    for span, image in zip(spans, images, strict=True):
        ids = tokens[span.start : span.start + span.length]
        assert (span.image_id, tuple(i - VOCABULARY.image_offset for i in ids)) == (image.image_id, image.codes)


PIECES = ("a red", " square.", "\n", "é", "日本語。", "🙂", " ", "<|image|>")
pieces_strategy = st.lists(st.sampled_from(PIECES)).map("".join)


@given(pieces_strategy, st.integers(4, 12))
@settings(max_examples=300, deadline=None)
def test_a_text_in_pieces_is_the_text(text: str, room: int) -> None:
    pieces = list(cut_text(text, room, TOKENIZER))
    assert "".join(pieces) == text
    assert all(piece and len(TOKENIZER.encode(piece)) <= room for piece in pieces)


@given(st.text(max_size=10), st.lists(st.one_of(
    st.builds(TextItem, pieces_strategy),
    st.builds(ImageItem, st.just("i"), st.just((0, 1, 2, 3)), st.one_of(st.none(), pieces_strategy)),
), max_size=5))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_long_documents_are_cut_between_items(doc_id: str, items: list[Item]) -> None:
    max_tokens = least_max_tokens(VOCABULARY) + 3
    sequences, shortened = encode_sequences(doc_id, items, VOCABULARY, TOKENIZER, max_tokens)
    assert all(len(sequence.tokens) <= max_tokens for sequence in sequences)
    found = [each for s in sequences for each in decode_document(s.tokens, s.spans, VOCABULARY, TOKENIZER)]
    for kind in (TextItem, ImageItem):
        whole = [item for item in items if isinstance(item, kind)]
        ours = [item for item in found if isinstance(item, kind)]
        assert "".join(getattr(item, "text", "") for item in ours) == "".join(getattr(i, "text", "") for i in whole)
    captions = [item.caption for item in items if isinstance(item, ImageItem)]
    kept = [item.caption for item in found if isinstance(item, ImageItem)]
    changed = sum(ours != theirs for ours, theirs in zip(kept, captions, strict=True))
    assert changed == len(shortened)
    assert all((theirs or "").startswith(ours or "") for ours, theirs in zip(kept, captions))
    for sequence in sequences:
        items_of = parse(sequence.tokens, VOCABULARY)
        longest = max((r.stop - r.start for r in items_of if r.codes is not None), default=0)
        assert sequence.longest_image == longest


def test_text_is_cut_behind_sentences_and_before_words() -> None:
    text = "One square is red. Another square is blue. " * 3
    for piece in list(cut_text(text, 24, TOKENIZER))[:-1]:
        assert piece.endswith(".")
    words = list(cut_text("a red square and a green one and " * 9, 16, TOKENIZER))
    assert all(piece.startswith(" ") for piece in words[1:])


def test_an_empty_caption_is_no_caption() -> None:
    assert ImageItem("x", (0, 0, 0, 0), "") == ImageItem("x", (0, 0, 0, 0), None)


def test_the_layout_of_a_sequence() -> None:
    word = [VOCABULARY.text_offset + index for index in TOKENIZER.encode("red")]
    image = ImageItem("x", (0, 1, 2, 7), "red")
    first = next(f"{n}" for n in range(99) if caption_first(f"{n}", 1))
    last = next(f"{n}" for n in range(99) if not caption_first(f"{n}", 1))
    for doc_id, middle in ((first, [NEXT, *word, *PICTURE]), (last, [*PICTURE, PREV, *word])):
        tokens, _ = encode_document(doc_id, [TextItem("red"), image], VOCABULARY, TOKENIZER)
        assert tokens == [DOC, TXT, *word, *middle, END]


def test_captions_stand_before_half_of_the_images() -> None:
    share = sum(caption_first(f"{number}", index) for number in range(500) for index in range(4)) / 2000
    assert 0.45 < share < 0.55


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [DOC],
        [TXT, A, END],
        [DOC, TXT, A],
        [DOC, A, END],
        [DOC, TXT, PAD, END],
        [DOC, TXT, A, DOC, END],
        [DOC, END, END],
        [DOC, TXT, VOCABULARY.size, END],
        [DOC, TXT, -1, END],
        [DOC, TXT, CODE, END],
        [DOC, TXT, A, CODE, END],
        [DOC, CODE, END],
        [DOC, *PICTURE[:-2], END_IMG, END],  # an image of three codes
        [DOC, *PICTURE[:-1], CODE, END_IMG, END],  # and of five
        [DOC, *PICTURE[:-1], END],  # without its end
        [DOC, *PICTURE[:2], A, *PICTURE[3:], END],  # a word among the codes
        [DOC, IMG, END_IMG, END],
        [DOC, END_IMG, END],
        [DOC, *PICTURE, A, END],
        [DOC, *PICTURE, CODE, END],
        [DOC, NEXT, A, END],
        [DOC, NEXT, A, TXT, A, END],
        [DOC, NEXT, A, NEXT, A, *PICTURE, END],
        [DOC, NEXT, *PICTURE, END],  # an empty caption
        [DOC, *PICTURE, PREV, END],
        [DOC, PREV, A, END],
        [DOC, TXT, A, PREV, A, END],
        [DOC, *PICTURE, TXT, PREV, A, END],
        [DOC, *PICTURE, PREV, A, PREV, A, END],
        [DOC, NEXT, A, *PICTURE, PREV, A, END],  # two captions
    ],
)
def test_malformed_sequences_are_refused(tokens: list[int]) -> None:
    with pytest.raises(ValueError, match=r"token|not a document"):
        decode_document(tokens, None, VOCABULARY, TOKENIZER)


@pytest.mark.parametrize(
    "tokens",
    [[DOC, END], [DOC, TXT, END], [DOC, *PICTURE, *PICTURE, PREV, A, NEXT, A, *PICTURE, TXT, TXT, A, END]],
)
def test_well_formed_sequences_parse(tokens: list[int]) -> None:
    ranges = parse(tokens, VOCABULARY)
    assert [DOC, *(t for r in ranges for t in tokens[r.start : r.stop]), END] == tokens


def test_spans_must_be_where_the_images_are() -> None:
    tokens = [DOC, *PICTURE, END]
    assert decode_document(tokens, [ImageSpan(2, 4, "x")], VOCABULARY, TOKENIZER) == [ImageItem("x", (0, 1, 2, 7))]
    for spans in ([], [ImageSpan(1, 4, "x")], [ImageSpan(2, 3, "x")]):
        with pytest.raises(ValueError, match="image_spans"):
            decode_document(tokens, spans, VOCABULARY, TOKENIZER)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (ImageItem("x", (0, 1, 2)), "3 codes, not 4"),
        (ImageItem("x", (0, 1, 2, 32)), r"outside \[0, 32\)"),
        (ImageItem("x", (0, 1, 2, -1)), r"outside \[0, 32\)"),
        (ImageItem(None, (0, 1, 2, 3)), "needs an image_id"),
    ],
)
def test_images_that_are_not_the_vocabularys_are_refused(item: ImageItem, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_document("d", [item], VOCABULARY, TOKENIZER)


def test_another_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match="text tokenizer"):
        encode_document("d", [], VOCABULARY, fit_bpe(["other words, other words"], 260))


@given(st.integers(2, 60), st.integers())
@settings(max_examples=300, deadline=None)
def test_whatever_the_writer_allows_parses(max_tokens: int, seed: int) -> None:
    source = random.Random(seed)
    writer = DocumentWriter(VOCABULARY, max_tokens)
    while not writer.done:
        allowed = writer.allowed()
        choices = [*allowed.special] + [A] * allowed.text * 2 + [CODE + 3] * (allowed.codebook is not None)
        writer.append(source.choice(choices))
    assert len(writer.tokens) <= max_tokens
    parse(writer.tokens, VOCABULARY)


def test_the_writer_refuses_what_it_does_not_allow() -> None:
    writer = DocumentWriter(VOCABULARY, 7)  # an image would need eight
    assert IMG not in writer.allowed().special
    assert NEXT not in writer.allowed().special
    for token in (IMG, NEXT, A, CODE, DOC, PAD, PREV, END_IMG, -1, VOCABULARY.size):
        with pytest.raises(ValueError, match="not allowed"):
            writer.append(token)
    assert IMG in DocumentWriter(VOCABULARY, 8).allowed().special
    with pytest.raises(ValueError, match="at least 2"):
        DocumentWriter(VOCABULARY, 1)


def test_the_vocabulary_is_special_then_text_then_image(tmp_path: Path) -> None:
    assert VOCABULARY.text_offset == 8
    assert VOCABULARY.image_offset == 8 + TOKENIZER.size
    assert VOCABULARY.size == 8 + TOKENIZER.size + 32
    VOCABULARY.save(str(tmp_path))
    assert Vocabulary.load(str(tmp_path)) == VOCABULARY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "version 3"),
        ({"codebooks": []}, "needs a codebook"),
        ({"text_offset": 7}, "contradicts itself"),
        ({"special_tokens": ["<|pad|>"]}, "contradicts itself"),
        ({"text_token_bytes": [1]}, "1 entries"),
    ],
)
def test_another_vocabulary_layout_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_json(json.dumps({**json.loads(VOCABULARY.to_json()), **change}))


@pytest.mark.parametrize("text", ["", "[]", "{}", "3"])
def test_what_is_no_vocabulary_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a vocabulary"):
        Vocabulary.from_json(text)


def test_texts_and_settings_need_no_torch() -> None:
    modules = "gobelin.tokenize.sequence", "gobelin.tokenize.config", "gobelin.train.config", "gobelin.train.shards"
    program = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_folder_without_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no vocabulary"):
        Vocabulary.load(str(tmp_path))


WIDE = small_codebook((1, 3), name="wide", num_codes=5, fingerprint="1" * 64)
SEVERAL = dataclasses.replace(
    VOCABULARY, codebooks=(*VOCABULARY.codebooks, small_codebook((2, 4)), WIDE)
)  # two grids of one tokenizer, and another tokenizer


def test_a_range_of_ids_a_tokenizer_and_a_begin_of_image_a_codebook() -> None:
    assert SEVERAL.image_begins == (IMG, 8, 9)
    assert SEVERAL.special_tokens[8:] == ("<|image:vqvae:2x4|>", "<|image:wide:1x3|>")
    assert SEVERAL.text_offset == 10
    assert SEVERAL.image_offsets == (SEVERAL.image_offset, SEVERAL.image_offset, SEVERAL.image_offset + 32)
    assert SEVERAL.size == SEVERAL.image_offset + 32 + 5
    assert SEVERAL.max_tokens_per_image == 8
    assert Vocabulary.from_json(SEVERAL.to_json()) == SEVERAL


def _image_of(codebook: int) -> st.SearchStrategy[ImageItem]:
    book = SEVERAL.codebooks[codebook]
    codes = st.tuples(*[st.integers(0, book.num_codes - 1)] * book.tokens_per_image)
    return st.builds(ImageItem, st.just("x"), codes, st.one_of(st.none(), st.text(max_size=5)), st.just(codebook))


@given(st.text(max_size=10), st.lists(st.one_of(*map(_image_of, range(3))), max_size=5))
@settings(max_examples=100, deadline=None)
def test_images_of_several_codebooks_come_back(doc_id: str, items: list[Item]) -> None:
    tokens, spans = encode_document(doc_id, items, SEVERAL, TOKENIZER)
    assert decode_document(tokens, spans, SEVERAL, TOKENIZER) == items


@given(st.integers(2, 60), st.integers())
@settings(max_examples=200, deadline=None)
def test_the_writer_gives_each_codebook_its_grid_and_range(max_tokens: int, seed: int) -> None:
    source = random.Random(seed)
    writer = DocumentWriter(SEVERAL, max_tokens)
    while not writer.done:
        allowed = writer.allowed()
        choices = [*allowed.special] + [SEVERAL.text_offset] * allowed.text
        if allowed.codebook is not None:
            choices += source.choices(SEVERAL.image_range(allowed.codebook), k=2)
        writer.append(source.choice(choices))
    assert len(writer.tokens) <= max_tokens
    parse(writer.tokens, SEVERAL)


def test_codes_of_another_codebook_are_refused() -> None:
    wide = SEVERAL.image_offsets[2]
    parse([DOC, 9, wide, wide, wide + 4, END_IMG, END], SEVERAL)
    for picture in (
        [9, wide, wide, wide - 1],
        [9, wide] * 2,
        [9, *[wide] * 4],
        [IMG, *[wide] * 4],
        [8, *[wide - 1] * 4],
    ):
        with pytest.raises(ValueError, match="token"):
            parse([DOC, *picture, END_IMG, END], SEVERAL)
    writer = DocumentWriter(SEVERAL, 50)
    writer.append(9)
    for token in (wide - 1, SEVERAL.size, END_IMG):
        with pytest.raises(ValueError, match="not allowed"):
            writer.append(token)
    with pytest.raises(ValueError, match="codebook 3 of 3"):
        encode_document("d", [ImageItem("x", (0, 0, 0), codebook=3)], SEVERAL, TOKENIZER)


def test_two_tokenizers_in_one_range_are_both_named() -> None:
    first, second = "a" * 64, "b" * 64
    with pytest.raises(ValueError, match=f"{first} and {second}"):
        dataclasses.replace(
            VOCABULARY, codebooks=(small_codebook(fingerprint=first), small_codebook((4, 4), fingerprint=second))
        )
    with pytest.raises(ValueError, match="given twice"):
        dataclasses.replace(VOCABULARY, codebooks=(WIDE, WIDE))
    with pytest.raises(ValueError, match="described in two ways"):
        dataclasses.replace(VOCABULARY, codebooks=(small_codebook(), small_codebook((4, 4), num_codes=31)))


def test_version_1_is_read() -> None:
    values = json.loads(as_version_1(VOCABULARY))
    assert Vocabulary.from_json(json.dumps(values)) == VOCABULARY
    with pytest.raises(ValueError, match="contradicts itself"):
        Vocabulary.from_json(json.dumps({**values, "image_offset": 7}))
    with pytest.raises(ValueError, match="not a vocabulary"):
        Vocabulary.from_json(json.dumps({**values, "grid": 4}))


names = st.sampled_from([*SEVERAL.special_tokens, "<|", "|>", "<|text", "|><|image|>"])
named_texts = st.lists(st.one_of(names, st.text(max_size=5)), max_size=6).map("".join)


@given(named_texts, named_texts, st.text(max_size=5))
@settings(max_examples=200, deadline=None)
def test_names_of_special_tokens_in_a_text_are_text(text: str, caption: str, doc_id: str) -> None:
    items: list[Item] = [TextItem(text), ImageItem("x", (0, 1, 2), caption, 2), TextItem(text)]
    tokens, spans = encode_document(doc_id, items, SEVERAL, TOKENIZER)
    assert decode_document(tokens, spans, SEVERAL, TOKENIZER) == items
    special = [token for token in tokens if token < SEVERAL.text_offset]
    mark = [NEXT, 9, END_IMG] if caption_first(doc_id, 1) else [9, END_IMG, PREV]
    picture = mark if caption else [9, END_IMG]
    assert special == [DOC, TXT, *picture, TXT, END]  # those of the document's own make, and no more
