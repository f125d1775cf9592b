"""Mixtures: shares hold, rows are a pure function of the position, and other tokenizers are named."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gobelin.errors import UserError
from gobelin.tokenize.sequence import ImageItem, Item, TextItem
from gobelin.tokenize.text_tokenizer import fit_bpe
from gobelin.train.batches import Loader, Portion
from gobelin.train.config import LMConfig, TrainConfig
from gobelin.train.held_out import HeldOut
from gobelin.train.mixture import Mixture, read_mixture
from gobelin.train.shards import Documents, read_corpus
from gobelin.train.size import CorpusSize, outlook, plan_lines
from gobelin.train.trainer import train
from tests.token_corpora import colored_documents, small_tokenizer, small_vocabulary, write_shards

TOKENIZER = small_tokenizer()
VOCABULARY = small_vocabulary(TOKENIZER)


def _words(number: int, num_words: int = 12) -> list[str]:
    """Of a text that is like no other."""
    random = np.random.default_rng(number)
    return ["".join(random.choice(list("abcdefgh"), 4)) for _ in range(num_words)]


def _texts(num_documents: int) -> dict[str, list[Item]]:
    return {f"f{number:031x}": [TextItem(" ".join(_words(number)))] for number in range(num_documents)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    write_shards(folder / "pictures", colored_documents(300), VOCABULARY, TOKENIZER, num_shards=8)
    write_shards(folder / "texts", _texts(70), VOCABULARY, TOKENIZER)
    return folder


def _documents(folder: Path, name: str) -> Documents:
    return read_corpus(str(folder / name), VOCABULARY, 0.0).training


def _loader(folder: Path, share: float, window_tokens: int = 2500) -> Loader:
    texts = Portion(_documents(folder, "texts"), share)
    return Loader(
        _documents(folder, "pictures"), row_tokens=64, caption_drop=0.0, seed=3, portions=[texts],
        window_tokens=window_tokens,
    )  # fmt: skip


def _shows_picture(piece: np.ndarray) -> bool:
    return bool((piece >= VOCABULARY.image_offset).any())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_each_window_has_its_share(share: float, folder: Path) -> None:
    loader = _loader(folder, share)
    assert loader.num_windows > 3
    for number in range(loader.num_windows):
        window = loader.window(number)
        pieces = [piece for row in range(len(window)) for piece in window.row(row)]
        texts = sum(len(piece) for piece in pieces if not _shows_picture(piece))
        assert texts / sum(map(len, pieces)) == pytest.approx(share, abs=0.02)
    epoch = [piece for row in loader.epoch() for piece in row]
    texts = sum(len(piece) for piece in epoch if not _shows_picture(piece))
    assert texts / sum(map(len, epoch)) == pytest.approx(share, abs=0.02)


def test_no_document_is_left_out_and_none_comes_early(folder: Path) -> None:
    """Of the corpus itself each comes once an epoch; of what is mixed in, all come before one comes again."""
    loader, seen = _loader(folder, 0.5), []
    pieces = [piece.tolist() for row in loader.epoch() for piece in row]
    pictures = [tuple(piece) for piece in pieces if _shows_picture(np.array(piece))]
    assert len(pictures) == len(set(pictures)) == 300
    for row in loader.epoch():
        seen += [tuple(piece.tolist()) for piece in row if not _shows_picture(piece)]
    counts = [seen.count(text) for text in set(seen)]
    assert len(set(seen)) == 70
    assert max(counts) - min(counts) <= 1


def test_rows_follow_from_the_position_alone(folder: Path) -> None:
    one, position = _loader(folder, 0.3), 0
    batches = []
    for _ in range(60):
        before = position
        rows, position = one.rows(position, 4)
        batches.append((before, rows))
    other = _loader(folder, 0.3)
    for place in (59, 3, 31):
        before, expected = batches[place]
        rows, _ = other.rows(before, 4)
        assert [[piece.tolist() for piece in row] for row in rows] == [
            [piece.tolist() for piece in row] for row in expected
        ]


def test_other_tokenizers_are_named(folder: Path, tmp_path: Path) -> None:
    tokenizer = fit_bpe(["other words altogether"] * 4, 280)
    vocabulary = small_vocabulary(tokenizer)
    write_shards(tmp_path / "other", _texts(3), vocabulary, tokenizer)
    with pytest.raises(UserError, match=r"other tokenizers than this run") as raised:
        _mixture(folder, tmp_path / "other", tmp_path)
    for each in (VOCABULARY, vocabulary):
        assert each.text_fingerprint[:12] in str(raised.value)
    with pytest.raises(UserError, match="no token shards in"):
        _mixture(folder, tmp_path / "nothing", tmp_path)


def _mixture(folder: Path, other: Path, kept_in: Path, held_out: float | HeldOut = 0.0, ratio: float = 0.0) -> Mixture:
    return read_mixture(
        str(folder / "pictures"), {str(other): 0.5}, VOCABULARY, held_out, ratio, str(kept_in / "indexes")
    )


def _ids_of(documents: Documents) -> set[str]:
    return {document.doc_id for document in documents}


def test_sites_that_one_corpus_holds_out_are_trained_on_in_none(tmp_path: Path) -> None:
    """By site, where documents are others; each corpus is evaluated on its own."""
    texts = _texts(100)
    pictures = {name: [*items, *texts.popitem()[1]] for name, items in colored_documents(60).items()}
    sites = {name: f"site{number % 10}.example" for number, name in enumerate([*pictures, *texts])}
    write_shards(tmp_path / "pictures", pictures, VOCABULARY, TOKENIZER, sites=sites)
    write_shards(tmp_path / "texts", texts, VOCABULARY, TOKENIZER, sites=sites)
    of = {number: {name for name, site in sites.items() if site == f"site{number}.example"} for number in range(10)}
    split = HeldOut("site", ("site3.example",), tuple(sorted(of[3] & pictures.keys())), ())
    HeldOut("site", ("site7.example",), tuple(sorted(of[7] & texts.keys())), ()).save(str(tmp_path / "texts" / "train"))
    found = _mixture(tmp_path, tmp_path / "texts", tmp_path, split)
    ((share, other),) = found.others
    assert share == 0.5
    assert _ids_of(found.own.training) == pictures.keys() - of[3] - of[7]
    assert _ids_of(found.own.validation) == pictures.keys() & of[3]
    assert _ids_of(other.training) == texts.keys() - of[3] - of[7]
    assert _ids_of(other.validation) == texts.keys() & of[7]


def test_of_a_corpus_that_nobody_trained_on_whole_sites_are_held_out(tmp_path: Path) -> None:
    pictures, texts = colored_documents(10), _texts(100)
    sites = {name: f"site{number % 20}.example" for number, name in enumerate(texts)}
    write_shards(tmp_path / "pictures", pictures, VOCABULARY, TOKENIZER)
    write_shards(tmp_path / "texts", texts, VOCABULARY, TOKENIZER, sites=sites)
    ((_, other),) = _mixture(tmp_path, tmp_path / "texts", tmp_path, ratio=0.1).others
    apart = {sites[name] for name in _ids_of(other.validation)}
    assert len(apart) == 2
    assert _ids_of(other.training) == {name for name in texts if sites[name] not in apart}


def test_a_mixture_trains_and_goes_on(folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        model=LMConfig(width=32, num_layers=1, num_heads=2, hidden=48), steps=8, row_tokens=64, log_every=1,
        warmup_steps=2, checkpoint_every=3, validation_ratio=0.1, threads=1, mixture={str(folder / "texts"): 0.4},
    )  # fmt: skip

    def run(name: str, config: TrainConfig = config, last: int = 99) -> None:
        calls = iter(range(1, 100))
        shards = str(folder / "pictures")
        train(shards, VOCABULARY, config, str(tmp_path / name), seed=0, stop=lambda: next(calls) == last)

    run("whole")
    losses = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1])
    assert losses["validation_image_nats"] > 0
    assert losses["validation_mixture_0_image_nats"] is None  # of texts
    assert losses["validation_mixture_0_text_nats"] > 0
    run("parts", last=4)
    run("parts")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    with pytest.raises(UserError, match="another mixture"):
        run("parts", dataclasses.replace(config, mixture={str(folder / "texts"): 0.3}))


def test_a_run_that_has_held_something_out_since_is_another_mixture(folder: Path, tmp_path: Path) -> None:
    """Rows would be others from there on, so a run does not go on with them unnoticed."""
    other = tmp_path / "other"
    shutil.copytree(folder / "texts", other)
    config = TrainConfig(
        model=LMConfig(width=16, num_layers=1, num_heads=2, hidden=32), steps=4, row_tokens=64, threads=1,
        validation_ratio=0.0, mixture={str(other): 0.4},
    )  # fmt: skip

    def run(stop: bool) -> None:
        train(str(folder / "pictures"), VOCABULARY, config, str(tmp_path / "out"), seed=0, stop=lambda: stop)

    run(stop=True)
    HeldOut("document", (), tuple(_texts(5)), ()).save(str(other / "train"))
    with pytest.raises(UserError, match="another mixture"):
        run(stop=False)


def test_passes_are_over_the_own_corpus() -> None:
    config = TrainConfig(steps=100, row_tokens=100, batch_rows=2, validation_ratio=0.0, mixture={"OUT2": 0.75})
    found = outlook(config, CorpusSize(98, 2000, 30), 1000, 49)
    assert found.passes == pytest.approx(2.5)
    assert "of the tokens 75% come from OUT2" in plan_lines(config, CorpusSize(98, 2000, 30), 1000, 49)
    assert outlook(dataclasses.replace(config, epochs=1), CorpusSize(98, 2000, 30), 1000, 49).steps == 40
    with pytest.raises(UserError, match="together below 1"):
        dataclasses.replace(config, mixture={"a": 0.5, "b": 0.5})


def _changed(words: list[str], share: float) -> list[str]:
    """The same text, with a share of its words replaced from the end."""
    kept = round((1 - share) * len(words))
    return [*words[:kept], *_words(999, len(words) - kept)]


def _written(folder: Path, texts: dict[str, list[str]], held_out: set[str]) -> None:
    items: dict[str, list[Item]] = {name: [TextItem(" ".join(words))] for name, words in texts.items()}
    write_shards(folder, items, VOCABULARY, TOKENIZER)
    HeldOut("document", (), tuple(sorted(held_out)), ()).save(str(folder / "train"))


NEAR = {
    "a copy": (0.0, True),
    "a text with a twentieth changed": (0.05, True),
    "a text with half changed": (0.5, False),
    "another text": (1.0, False),
}


@pytest.mark.parametrize("held_out_in", ["pictures", "texts"])
@pytest.mark.parametrize(("share", "is_near"), NEAR.values(), ids=NEAR.keys())
def test_near_duplicates_of_what_one_corpus_holds_out_are_trained_on_in_none(
    share: float, is_near: bool, held_out_in: str, tmp_path: Path
) -> None:
    """In whichever corpus they are, and in the one that holds the document out."""
    held, changed = "d" * 32, _changed(_words(0, 200), share)
    corpora_of: dict[str, dict[str, list[str]]] = {}
    for digit, name in enumerate(("pictures", "texts")):
        texts = {f"{digit}{number:031x}": [*_words(number, 200), name] for number in range(11, 16)}
        corpora_of[name] = {**texts, f"{digit}{'c' * 31}": [*changed, name]}
    corpora_of[held_out_in][held] = _words(0, 200)
    for name, texts in corpora_of.items():
        _written(tmp_path / name, texts, {held} & texts.keys())
    own = HeldOut.load(str(tmp_path / "pictures" / "train" / "held_out.json"))
    found = _mixture(tmp_path, tmp_path / "texts", tmp_path, own)
    corpora = {"pictures": found.own, "texts": found.others[0][1]}
    assert _ids_of(corpora[held_out_in].validation) == {held}
    for digit, (name, texts) in enumerate(corpora_of.items()):
        apart = {held, f"{digit}{'c' * 31}"} if is_near else {held}
        assert _ids_of(corpora[name].training) == texts.keys() - apart
    assert found.num_near == (2 if is_near else 0)
    again = _mixture(tmp_path, tmp_path / "texts", tmp_path, own)  # as the first call kept it
    assert again.identity == found.identity
    of_others = HeldOut("document", (), (f"{11:032x}",), ())  # the texts hold a copy
    changed_split = _mixture(tmp_path, tmp_path / "texts", tmp_path, of_others)
    assert f"1{11:031x}" not in _ids_of(changed_split.others[0][1].training)


def test_documents_without_text_are_no_copies(tmp_path: Path) -> None:
    pictures: dict[str, list[Item]] = {
        f"{number:032x}": [ImageItem(f"{number}", (number, 1, 2, 3), "")] for number in range(6)
    }
    write_shards(tmp_path / "pictures", pictures, VOCABULARY, TOKENIZER)
    write_shards(tmp_path / "texts", _texts(5), VOCABULARY, TOKENIZER)
    found = _mixture(tmp_path, tmp_path / "texts", tmp_path, HeldOut("document", (), (f"{0:032x}",), ()))
    assert len(found.own.training) == 5
