"""Shards to rows: what is held out, what is cut and what never is, and that a plan repeats."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gobelin.pipeline.stages.fits import training_notes
from gobelin.tokenize.grammar import parse
from gobelin.tokenize.sequence import ImageItem, Item, TextItem, caption_first, decode_document
from gobelin.tokenize.vocabulary import CAPTION_OF_NEXT, DOCUMENT, END_OF_DOCUMENT
from gobelin.train.batches import NO_TARGET, Plan, num_long_captions, plan_epoch
from gobelin.train.config import TrainConfig
from gobelin.train.shards import TokenCorpus, held_out_pairs, read_corpus
from tests.token_corpora import colored_documents, small_tokenizer, small_vocabulary, write_shards

TOKENIZER = small_tokenizer()
VOCABULARY = small_vocabulary(TOKENIZER)
ROW = 40


def _corpus(folder: Path, documents: dict[str, list[Item]], validation_ratio: float = 0.0) -> TokenCorpus:
    return read_corpus(write_shards(folder, documents, VOCABULARY, TOKENIZER), VOCABULARY, validation_ratio)


def _plan(corpus: TokenCorpus, epoch: int = 0, seed: int = 0, caption_drop: float = 0.0, row_tokens: int = ROW) -> Plan:
    return plan_epoch(
        corpus.training, VOCABULARY, row_tokens=row_tokens, caption_drop=caption_drop, seed=seed, epoch=epoch
    )


def _items(piece: np.ndarray) -> list[Item]:
    """The items of a piece, which is a document with or without its end."""
    tokens = piece.tolist()
    assert tokens[0] == DOCUMENT
    return decode_document(
        tokens if tokens[-1] == END_OF_DOCUMENT else [*tokens, END_OF_DOCUMENT], None, VOCABULARY, TOKENIZER
    )


def _content(item: Item) -> tuple[object, ...]:
    return (item.text,) if isinstance(item, TextItem) else (item.codes, item.caption)


@pytest.mark.parametrize("row_tokens", [18, 30, 31, 32, 40, 100])
def test_each_item_stands_in_a_row_once(row_tokens: int, tmp_path: Path) -> None:
    documents = colored_documents(100, pictures=5)
    plan = _plan(_corpus(tmp_path, documents), row_tokens=row_tokens)
    found = [_content(item) for row in plan.rows for piece in row for item in _items(piece)]
    expected = [_content(item) for items in documents.values() for item in items]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert all(sum(map(len, row)) <= row_tokens for row in plan.rows)
    assert (plan.num_captions_cut, plan.num_texts_cut) == (0, 0)
    filled = sum(len(piece) for row in plan.rows for piece in row)
    assert plan.utilisation == filled / (len(plan.rows) * row_tokens)


def test_documents_that_fit_are_not_split(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path, colored_documents(30, pictures=1))
    pieces = [piece.tolist() for row in _plan(corpus).rows for piece in row]
    assert sorted(pieces) == sorted(document.tokens.tolist() for document in corpus.training)


def test_packing_fills_rows(tmp_path: Path) -> None:
    assert _plan(_corpus(tmp_path, colored_documents(100, pictures=5)), row_tokens=120).utilisation > 0.9


def test_targets_are_the_next_token_of_the_same_piece(tmp_path: Path) -> None:
    plan = _plan(_corpus(tmp_path, colored_documents(20)))
    batch = plan.batch(0, 3)
    assert tuple(batch.tokens_BT.shape) == (3, ROW)
    for row in range(3):
        for place in range(ROW):
            target = batch.targets_BT[row, place].item()
            inside = place + 1 < ROW and batch.pieces_BT[row, place] == batch.pieces_BT[row, place + 1]
            padding = batch.tokens_BT[row, place] == 0
            if inside and not padding:
                assert target == batch.tokens_BT[row, place + 1]
            else:
                assert target == NO_TARGET


def test_a_plan_depends_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    documents = colored_documents(40)
    one = _corpus(tmp_path / "one", documents)
    many = read_corpus(write_shards(tmp_path / "many", documents, VOCABULARY, TOKENIZER, num_shards=5), VOCABULARY, 0.0)
    assert one.fingerprint == many.fingerprint

    def rows(plan: Plan) -> list[list[list[int]]]:
        return [[piece.tolist() for piece in row] for row in plan.rows]

    first = rows(_plan(one, caption_drop=0.3))
    assert first == rows(_plan(many, caption_drop=0.3))
    assert first != rows(_plan(one, caption_drop=0.3, epoch=1))
    assert first != rows(_plan(one, caption_drop=0.3, seed=1))


def test_captions_before_images_are_dropped_at_the_given_rate(tmp_path: Path) -> None:
    documents = colored_documents(400)
    num_first = sum(
        caption_first(doc_id, index)
        for doc_id, items in documents.items()
        for index, item in enumerate(items)
        if isinstance(item, ImageItem)
    )
    num_after = 800 - num_first
    corpus = _corpus(tmp_path, documents)
    kept = {
        drop: [item for row in _plan(corpus, caption_drop=drop).rows for piece in row for item in _items(piece)]
        for drop in (0.0, 0.25)
    }
    captions = {
        drop: sum(item.caption is not None for item in items if isinstance(item, ImageItem))
        for drop, items in kept.items()
    }
    assert captions[0.0] == 800
    assert (captions[0.25] - num_after) / num_first == pytest.approx(0.75, abs=0.08)
    assert len(kept[0.25]) == len(kept[0.0])  # only captions went


def test_a_long_text_is_cut_into_texts(tmp_path: Path) -> None:
    text = "Zwirn um Zwirn " * 30
    plan = _plan(_corpus(tmp_path, {"0" * 32: [TextItem("a"), TextItem(text), TextItem("b")]}))
    items = [_items(piece) for row in plan.rows for piece in row]
    texts = [item.text for piece in items for item in piece if isinstance(item, TextItem)]
    assert plan.num_texts_cut == 1
    assert sum(map(len, texts)) == len(text) + 2
    assert all(part in text or part in "ab" for part in texts)


@pytest.mark.parametrize("first", [True, False])
def test_a_long_caption_is_cut_and_its_image_never(first: bool, tmp_path: Path) -> None:
    doc_id = next(f"{number:032x}" for number in range(99) if caption_first(f"{number:032x}", 0) == first)
    image = ImageItem("x", (0, 1, 2, 7), "Zwirn um Zwirn " * 30)
    corpus = _corpus(tmp_path, {doc_id: [image]})
    for row_tokens in (7, 8, 9, 10, 40):
        plan = _plan(corpus, row_tokens=row_tokens)
        assert plan.num_captions_cut == 1
        (item,) = [item for row in plan.rows for piece in row for item in _items(piece)]
        assert isinstance(item, ImageItem)
        assert item.codes == image.codes
        assert image.caption is not None
        assert item.caption is None or image.caption.startswith(item.caption)
        assert (item.caption is None) == (row_tokens < 9)


def test_captions_that_do_not_fit_and_what_is_not_held_out_are_told(tmp_path: Path) -> None:
    long, short = ImageItem("i" * 64, (0, 1, 2, 3), "x" * 60), ImageItem("j" * 64, (1, 1, 2, 3), "a boat")
    documents: dict[str, list[Item]] = {
        "a" * 32: [long, TextItem("y" * 90)], "b" * 32: [short], "c" * 32: [TextItem("z" * 200)],
    }  # fmt: skip
    corpus = _corpus(tmp_path / "set", documents, validation_ratio=1e-9)
    assert num_long_captions(corpus.training, ROW) == 1  # a text that is too long is cut into several, and all is read
    assert num_long_captions(corpus.training, 500) == 0
    notes = training_notes(corpus, 0, TrainConfig(row_tokens=ROW, validation_ratio=0.05))
    assert len(notes) == 2
    assert "1 caption leaves no room for the image in a row of 40 tokens" in notes[0]
    assert "nothing is held out (of 3 documents none falls to the share of 0.05)" in notes[1]
    assert "the share is 0" in training_notes(corpus, 0, TrainConfig(row_tokens=500, validation_ratio=0.0))[0]

    held = dataclasses.replace(corpus, validation=corpus.training[:1])
    (told,) = training_notes(held, 1, TrainConfig(row_tokens=500))
    assert "1 documents are held out, with fewer than two pictures" in told
    assert training_notes(held, 2, TrainConfig(row_tokens=500)) == []


def test_a_row_must_hold_an_image(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 7"):
        _plan(_corpus(tmp_path, colored_documents(1)), row_tokens=6)


def test_few_rows_still_make_a_batch(tmp_path: Path) -> None:
    plan = _plan(_corpus(tmp_path, {"0" * 32: [TextItem("red")]}))
    assert plan.num_batches(4) == 1
    batch = plan.batch(0, 4)
    assert (batch.tokens_BT == batch.tokens_BT[0]).all()


def test_validation_documents_are_a_fixed_share_and_never_trained_on(tmp_path: Path) -> None:
    documents = colored_documents(400)
    corpus = _corpus(tmp_path, documents, 0.1)
    ids = {document.doc_id for document in corpus.validation}
    assert 20 < len(ids) < 60
    assert ids | {document.doc_id for document in corpus.training} == set(documents)
    assert len(corpus.training) == 400 - len(ids)
    fewer = dict(list(documents.items())[:200])
    assert {document.doc_id for document in _corpus(tmp_path / "fewer", fewer, 0.1).validation} == ids & set(fewer)


def test_held_out_pairs_were_never_seen(tmp_path: Path) -> None:
    documents = colored_documents(2000, pictures=1)
    held_out = {document.doc_id for document in _corpus(tmp_path / "split", documents, 0.5).validation}
    trained, asked = [doc_id for doc_id in documents if doc_id not in held_out][:2], sorted(held_out)[:5]
    image = ImageItem("fresh", (0, 0, 0, 1), "a red square")
    chosen: dict[str, list[Item]] = {
        trained[0]: [ImageItem("seen", (7, 7, 7, 7), "one")],
        trained[1]: [ImageItem("seen too", (6, 6, 6, 6))],  # without a caption, seen all the same
        asked[0]: [ImageItem("seen", (1, 2, 3, 4), "the same image with other codes")],
        asked[1]: [ImageItem("other", (7, 7, 7, 7), "the same codes of another image")],
        asked[2]: [ImageItem("another", (6, 6, 6, 6), "and again"), ImageItem("bare", (0, 1, 0, 1))],
        asked[3]: [image],
        asked[4]: [ImageItem("twice", image.codes, image.caption)],
    }
    corpus = _corpus(tmp_path / "chosen", chosen, 0.5)
    assert len(corpus.training) == 2
    (pair,) = held_out_pairs(corpus)
    assert [code - VOCABULARY.image_offset for code in pair.codes] == list(image.codes)
    assert TOKENIZER.decode([index - VOCABULARY.text_offset for index in pair.caption]) == image.caption


def test_bad_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no token shards"):
        read_corpus(str(tmp_path), VOCABULARY, 0.0)
    folder = write_shards(tmp_path / "shards", colored_documents(3), VOCABULARY, TOKENIZER, num_shards=1)
    with pytest.raises(ValueError, match="another vocabulary"):
        read_corpus(folder, small_vocabulary(TOKENIZER, num_codes=9), 0.0)
    path = next((tmp_path / "shards").glob("*.parquet"))
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(ValueError, match="not a token shard"):
        read_corpus(folder, VOCABULARY, 0.0)
    empty = write_shards(tmp_path / "empty", {}, VOCABULARY, TOKENIZER)
    with pytest.raises(ValueError, match="none is left to train on"):
        read_corpus(empty, VOCABULARY, 0.0)


def test_documents_are_taken_apart(tmp_path: Path) -> None:
    for document in _corpus(tmp_path, colored_documents(5)).training:
        assert list(document.items) == parse(document.tokens, VOCABULARY)
        assert len(document.image_ids) == 2
        assert (document.tokens == CAPTION_OF_NEXT).sum() == sum(item.caption_first for item in document.items)
