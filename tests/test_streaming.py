"""What goes through a whole corpus holds one row group of it at a time: texts of gigabytes pass through any memory, and
never through one Arrow array, whose offsets end at 2 GiB."""

from __future__ import annotations

import gc
import hashlib
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.schemas import DECISIONS, DOCUMENTS
from gobelin.pipeline.run import counts
from gobelin.pipeline.run.counts import count_decisions, count_images_shown, some_images_shown
from gobelin.pipeline.stages.tokenize_fit import corpus_texts
from gobelin.store import shards
from gobelin.store import tables as files
from gobelin.store.dataset import num_rows_of
from gobelin.store.tables import list_shards
from gobelin.tokenize.token_shards import count_sequences, sequence_schema
from tests.token_corpora import small_codebook

Make = Callable[..., Any]
NUM_DOCUMENTS = 12


class Watched(pq.ParquetFile):
    """Counts the row groups that are alive at once, and lets nobody read a file as a whole."""

    held: ClassVar[list[weakref.ref[Any]]] = []
    most_held: ClassVar[int] = 0
    columns: ClassVar[set[str]] = set()

    def read_row_group(self, i: int, columns: Any = None, **_: Any) -> pa.Table:
        table = super().read_row_group(i, columns=columns)
        gc.collect()
        Watched.held.append(weakref.ref(table))
        Watched.most_held = max(Watched.most_held, sum(held() is not None for held in Watched.held))
        Watched.columns |= set(columns or ["all"])
        return table

    def read(self, *_: Any, **__: Any) -> pa.Table:
        raise AssertionError("a whole file is read")


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Watched]]:
    Watched.held, Watched.most_held, Watched.columns = [], 0, set()

    def whole(*_: Any, **__: Any) -> None:
        raise AssertionError("a whole file is read")

    monkeypatch.setattr(files.pq, "ParquetFile", Watched)
    monkeypatch.setattr(files.pq, "read_table", whole)
    yield Watched
    assert len(Watched.held) >= NUM_DOCUMENTS  # one row a group
    assert Watched.most_held <= 2  # the one at hand, and the next


@pytest.fixture
def corpus(write_data_set: Make, a_document: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1)
    documents = [a_document(f"{n:032x}", [f"text {n}", (f"{n // 2:064x}", {"caption": f"caption {n}"})])
                 for n in range(NUM_DOCUMENTS)]  # fmt: skip
    return str(write_data_set(tmp_path / "documents", documents, DOCUMENTS, 2))


def test_images_that_a_corpus_shows(corpus: str, watched: type[Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    every = [f"{n:064x}" for n in range(NUM_DOCUMENTS // 2)]
    assert count_images_shown(corpus) == len(every)
    assert some_images_shown(corpus, 100) == every
    chosen = sorted(every, key=lambda name: hashlib.sha256(name.encode()).digest())[:2]
    monkeypatch.setattr(counts, "_IDS_AT_ONCE", 1)
    assert some_images_shown(corpus, 2) == sorted(chosen)
    assert count_images_shown(corpus) == len(every)
    assert watched.columns == {"nodes.list.element.image_id"}  # no text is read for it


def test_texts_of_a_corpus(corpus: str, watched: type[Watched]) -> None:
    found = sorted(corpus_texts(corpus))
    assert found == sorted(f"{kind} {n}" for kind in ("text", "caption") for n in range(NUM_DOCUMENTS))
    assert num_rows_of(corpus) == NUM_DOCUMENTS


def test_tokens_of_a_corpus(
    write_data_set: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: type[Watched]
) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1)
    schema = sequence_schema(small_codebook())
    rows = [{"doc_id": f"{n // 2:032x}", "part": n % 2, "tokens": [1] * n, "image_spans": [], "key": n * 2**58,
             "num_tokens": n, "num_images": n % 3, "num_image_tokens": 4 * (n % 3), "longest_image": 0}
            for n in range(NUM_DOCUMENTS)]  # fmt: skip
    folder = str(write_data_set(tmp_path / "sequences", rows, schema, 2))
    totals = count_sequences(list_shards(folder))
    assert (totals.num_documents, totals.num_tokens) == (-(-NUM_DOCUMENTS // 2), sum(range(NUM_DOCUMENTS)))
    assert totals.num_image_tokens == 4 * sum(n % 3 for n in range(NUM_DOCUMENTS))
    assert watched.columns == {"key", "part", "num_tokens", "num_image_tokens"}  # no tokens are read for it
    assert totals.slices[1024] == 1  # 2**58 is in slice 2**10
    assert totals.slices.sum() == totals.num_tokens


def test_decisions_of_a_stage(
    write_data_set: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: type[Watched]
) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1)
    rows = [to_row(Decision("select", Unit.DOCUMENT, Action.DROP, f"rule {n % 2}", doc_id=f"{n:032x}"))
            for n in range(NUM_DOCUMENTS)]  # fmt: skip
    folder = str(write_data_set(tmp_path / "decisions", rows, DECISIONS, 2))
    found = count_decisions(folder)
    assert found[Unit.DOCUMENT][Action.DROP] == {"rule 0": 6, "rule 1": 6}
    assert not found[Unit.IMAGE][Action.DROP]
