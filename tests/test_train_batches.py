"""Shards to rows: what is held out, what is cut and what never is, and that a plan repeats."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gobelin.pipeline.stages.train import training_notes
from gobelin.tokenize.grammar import parse
from gobelin.tokenize.sequence import ImageItem, Item, TextItem, caption_first, decode_document
from gobelin.tokenize.vocabulary import CAPTION_OF_NEXT, DOCUMENT, END_OF_DOCUMENT
from gobelin.train import shards as shards_module
from gobelin.train.batches import NO_TARGET, Loader, Window
from gobelin.train.config import TrainConfig
from gobelin.train.pairs import held_out_pairs
from gobelin.train.shards import Documents, TokenCorpus, read_corpus
from tests.token_corpora import colored_documents, small_tokenizer, small_vocabulary, write_shards

TOKENIZER = small_tokenizer()
VOCABULARY = small_vocabulary(TOKENIZER)
ROW = 40


def _corpus(folder: Path, documents: dict[str, list[Item]], validation_ratio: float = 0.0) -> TokenCorpus:
    return read_corpus(write_shards(folder, documents, VOCABULARY, TOKENIZER), VOCABULARY, validation_ratio)


def _loader(corpus: TokenCorpus, seed: int = 0, caption_drop: float = 0.0, row_tokens: int = ROW) -> Loader:
    return Loader(corpus.training, row_tokens=row_tokens, caption_drop=caption_drop, seed=seed)


def _pass(
    corpus: TokenCorpus, epoch: int = 0, seed: int = 0, caption_drop: float = 0.0, row_tokens: int = ROW
) -> Window:
    """One epoch of a corpus that is one window."""
    loader = _loader(corpus, seed, caption_drop, row_tokens)
    assert loader.num_windows == 1
    return loader.window(epoch)


def _rows(window: Window) -> list[list[list[int]]]:
    return [[piece.tolist() for piece in window.row(row)] for row in range(len(window))]


def _pieces(window: Window) -> list[np.ndarray]:
    return [np.array(piece) for row in _rows(window) for piece in row]


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
    corpus = _corpus(tmp_path, documents)
    plan = _pass(corpus, row_tokens=row_tokens)
    found = [_content(item) for piece in _pieces(plan) for item in _items(piece)]
    expected = [_content(item) for items in documents.values() for item in items]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert all(sum(map(len, row)) <= row_tokens for row in _rows(plan))
    assert (plan.num_captions_cut, plan.num_texts_cut) == (0, 0)
    assert plan.num_used == sum(map(len, _pieces(plan)))
    loader = _loader(corpus, row_tokens=row_tokens)
    assert loader.utilisation(0) == plan.num_used / (len(plan) * row_tokens)
    assert loader.num_rows_of_an_epoch() == len(plan) == len(list(loader.epoch()))


def test_documents_that_fit_are_not_split(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path, colored_documents(30, pictures=1))
    pieces = [piece.tolist() for piece in _pieces(_pass(corpus))]
    assert sorted(pieces) == sorted(document.tokens.tolist() for document in corpus.training)


def test_packing_fills_rows(tmp_path: Path) -> None:
    assert _loader(_corpus(tmp_path, colored_documents(100, pictures=5)), row_tokens=120).utilisation(0) > 0.9


def test_targets_are_the_next_token_of_the_same_piece(tmp_path: Path) -> None:
    batch, _ = _loader(_corpus(tmp_path, colored_documents(20))).batch(0, 3)
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


def test_a_window_depends_on_data_seed_and_epoch_alone(tmp_path: Path) -> None:
    documents = colored_documents(40)
    one, again = _corpus(tmp_path / "one", documents), _corpus(tmp_path / "again", documents)
    other = _corpus(tmp_path / "other", colored_documents(41))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    first = _rows(_pass(one, caption_drop=0.3))
    assert first == _rows(_pass(again, caption_drop=0.3))
    assert first != _rows(_pass(one, caption_drop=0.3, epoch=1))
    assert first != _rows(_pass(one, caption_drop=0.3, seed=1))


@pytest.fixture(scope="module")
def many_groups(tmp_path_factory: pytest.TempPathFactory) -> str:
    """12 shards, so 12 row groups."""
    folder = tmp_path_factory.mktemp("many")
    return write_shards(folder, colored_documents(300, pictures=4), VOCABULARY, TOKENIZER, num_shards=12)


def _windowed(folder: str, ratio: float = 0.1, kept_in: str | None = None) -> Loader:
    corpus = read_corpus(folder, VOCABULARY, ratio, kept_in=kept_in)
    return Loader(corpus.training, row_tokens=ROW, caption_drop=0.2, seed=7, window_tokens=3000)


def _stream(loader: Loader, num_steps: int, position: int = 0) -> tuple[list[list[list[int]]], list[int]]:
    """Rows of so many steps of 5 rows, and the positions behind the steps."""
    rows, positions = [], []
    for _ in range(num_steps):
        found, position = loader.rows(position, 5)
        rows += [[piece.tolist() for piece in row] for row in found]
        positions.append(position)
    return rows, positions


def test_each_document_stands_in_an_epoch_once_whatever_the_windows(many_groups: str) -> None:
    loader = _windowed(many_groups)
    assert loader.num_windows > 3
    corpus = read_corpus(many_groups, VOCABULARY, 0.1)
    expected = sorted(image_id for document in corpus.training for image_id in document.image_ids)
    num_images = {}
    for epoch in (0, 1):
        pieces = [piece for row in loader.epoch(epoch) for piece in row]
        num_images[epoch] = sum(
            isinstance(item, ImageItem) for piece in pieces for item in _items(piece)
        )  # fmt: skip
    assert num_images == {0: len(expected), 1: len(expected)}
    assert [len(row) for row in loader.epoch(0)] != [len(row) for row in loader.epoch(1)]


def test_a_position_gives_the_same_rows_wherever_one_comes_from(many_groups: str, tmp_path: Path) -> None:
    """A run that goes on elsewhere, with the index it kept, in the middle of a window, an epoch, a batch."""
    loader = _windowed(many_groups)
    num_steps = 3 * loader.num_rows_of_an_epoch() // 5
    rows, positions = _stream(loader, num_steps)
    (tmp_path / "kept").mkdir()
    for step in (1, num_steps // 3, num_steps // 2, num_steps - 2):
        resumed, _ = _stream(
            _windowed(many_groups, kept_in=str(tmp_path / "kept")), num_steps - step, positions[step - 1]
        )
        assert resumed == rows[5 * step :]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_processes_share_the_rows_of_a_batch(world_size: int, many_groups: str) -> None:
    loaders = [_windowed(many_groups) for _ in range(world_size)]
    alone, positions = _windowed(many_groups), [0] * world_size
    position = 0
    for _ in range(60):
        whole, position = alone.batch(position, 5)
        parts = []
        for rank, loader in enumerate(loaders):
            part, positions[rank] = loader.batch(positions[rank], 5, rank, world_size)
            parts.append(part)
        for name in ("tokens_BT", "targets_BT", "pieces_BT"):
            expected = getattr(whole, name)
            for rank, part in enumerate(parts):
                assert torch.equal(getattr(part, name), expected[rank::world_size])
        assert set(positions) == {position}


def test_the_index_is_kept_and_made_anew_for_other_data(
    many_groups: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = str(tmp_path)
    first = read_corpus(many_groups, VOCABULARY, 0.1, kept_in=kept)
    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "_make_index", lambda *_: pytest.fail("it is kept"))
        again = read_corpus(many_groups, VOCABULARY, 0.1, kept_in=kept)
    assert [document.doc_id for document in again.training] == [document.doc_id for document in first.training]
    other = write_shards(tmp_path / "other", colored_documents(9), VOCABULARY, TOKENIZER)
    assert len(read_corpus(other, VOCABULARY, 0.0, kept_in=kept).training) == 9


def test_an_index_takes_less_than_a_byte_a_token(many_groups: str) -> None:
    index = read_corpus(many_groups, VOCABULARY, 0.1).training.index
    arrays = (index.lengths, index.num_images, index.longest_image, index.hashes)
    assert sum(array.nbytes for array in arrays) < 0.5 * index.lengths.sum()


def test_a_window_reads_its_row_groups_alone(many_groups: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[np.ndarray] = []
    monkeypatch.setattr(
        Documents, "read", lambda self, groups, real=Documents.read: read.append(groups) or real(self, groups)
    )
    loader = _windowed(many_groups)
    for number in range(loader.num_windows):
        loader.window(number)
        loader.window(number)
    assert sorted(np.concatenate(read).tolist()) == list(range(12))
    assert max(map(len, read)) < 6


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
        drop: [item for piece in _pieces(_pass(corpus, caption_drop=drop)) for item in _items(piece)]
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
    plan = _pass(_corpus(tmp_path, {"0" * 32: [TextItem("a"), TextItem(text), TextItem("b")]}))
    items = [_items(piece) for piece in _pieces(plan)]
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
        plan = _pass(corpus, row_tokens=row_tokens)
        assert plan.num_captions_cut == 1
        (item,) = [item for piece in _pieces(plan) for item in _items(piece)]
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
    notes = training_notes(corpus, 0, TrainConfig(row_tokens=ROW, validation_ratio=0.05))
    assert len(notes) == 2
    # A text that is too long is cut into several, and all is read.
    assert "captions of 1 document leave no room for the image in a row of 40 tokens" in notes[0]
    assert "nothing is held out (none of 3 documents falls into the share of 0.05)" in notes[1]
    assert "the share is 0" in training_notes(corpus, 0, TrainConfig(row_tokens=500, validation_ratio=0.0))[0]

    held = dataclasses.replace(corpus, validation=Documents(corpus.training.index, np.arange(3) == 0, VOCABULARY))
    (told,) = training_notes(held, 1, TrainConfig(row_tokens=500))
    assert "the held-out documents (1) have fewer than two pictures" in told
    assert training_notes(held, 2, TrainConfig(row_tokens=500)) == []


def test_a_row_must_hold_an_image(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 7"):
        _loader(_corpus(tmp_path, colored_documents(1)), row_tokens=6)


def test_few_rows_still_make_a_batch(tmp_path: Path) -> None:
    """A row of each of four epochs."""
    batch, position = _loader(_corpus(tmp_path, {"0" * 32: [TextItem("red")]})).batch(0, 4)
    assert (batch.tokens_BT == batch.tokens_BT[0]).all()
    assert position >> 32 == 4


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
    with pytest.raises(ValueError, match="none to train on"):
        read_corpus(empty, VOCABULARY, 0.0)


def test_documents_are_taken_apart(tmp_path: Path) -> None:
    for document in _corpus(tmp_path, colored_documents(5)).training:
        assert list(document.items) == parse(document.tokens, VOCABULARY)
        assert len(document.image_ids) == 2
        assert (document.tokens == CAPTION_OF_NEXT).sum() == sum(item.caption_first for item in document.items)


def test_texts_are_left_out_of_whole_documents(tmp_path: Path) -> None:
    """Of those with images; of others there would be nothing left."""
    documents = {**colored_documents(60), f"{999:032x}": [TextItem("page of text")]}
    corpus = _corpus(tmp_path, documents)
    window = Loader(corpus.training, row_tokens=ROW, caption_drop=0.0, text_drop=0.5, seed=0).window(0)
    pieces = [_items(piece) for piece in _pieces(window)]
    bare = [items for items in pieces if not any(isinstance(item, TextItem) for item in items)]
    told = [items for items in pieces if any(isinstance(item, TextItem) for item in items)]
    assert len(pieces) == 61
    assert 15 < len(bare) < 45
    for items in bare:
        assert [item.caption for item in items if isinstance(item, ImageItem)] == [None, None]
    for items in told:
        assert all(item.caption for item in items if isinstance(item, ImageItem))
    assert sum(len(item.codes) for items in pieces for item in items if isinstance(item, ImageItem)) == 60 * 2 * 4


def test_images_stand_without_what_comes_before_them(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path, colored_documents(60))
    window = Loader(corpus.training, row_tokens=ROW, caption_drop=0.0, context_drop=0.3, seed=0).window(0)
    pieces = [_items(piece) for piece in _pieces(window)]
    images = [item for items in pieces for item in items if isinstance(item, ImageItem)]
    assert sorted(image.codes for image in images) == sorted(
        item.codes for items in colored_documents(60).values() for item in items if isinstance(item, ImageItem)
    )
    without = [image for image in images if image.caption is None]
    assert 10 < len(without) < 30  # of those whose caption stands before them
    firsts = [items[0] for items in pieces]
    assert all(any(image is first for first in firsts) for image in without)
    assert sum(isinstance(item, TextItem) for items in pieces for item in items) == 60
    again = Loader(corpus.training, row_tokens=ROW, caption_drop=0.0, context_drop=0.3, seed=0).window(0)
    assert _rows(window) == _rows(again)


def test_windows_made_ahead_are_the_same(many_groups: str) -> None:
    """Also those that are not asked for in turn, and those after the process has died."""
    order = [0, 1, 2, 5, 6, 3, 4, 5]
    expected = {number: _rows(_windowed(many_groups).make_window(number)) for number in order}
    ahead = _windowed(many_groups)
    with ahead.reading_ahead():
        assert ahead._ahead is not None
        process = ahead._ahead._process
        for number in order[:6]:
            assert _rows(ahead.window(number)) == expected[number]
        process.kill()
        process.join(60)
        for number in order[6:]:
            assert _rows(ahead.window(number)) == expected[number]
    assert not process.is_alive()
    assert _rows(ahead.window(0)) == expected[0]
