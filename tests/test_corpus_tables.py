"""Tables of the report on duplicates: of this run, and of earlier ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gobelin.data.schemas import DOCUMENT_SCORES
from gobelin.report.corpus_tables import DuplicateGroup, EarlierDuplicates, document_groups, earlier_duplicates
from gobelin.report.wording import EARLIER_KINDS
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import write_shard
from gobelin.store.tables import shard_path

ROWS: list[dict[str, Any]] = [
    {"doc_id": "b", "near_group": "a", "earlier": [("near", "a", "out/jan")]},
    {"doc_id": "c", "near_group": "a", "earlier": [("exact", "x", "out/jan"), ("near", "a", "out/jan")]},
    {"doc_id": "d", "near_group": "d", "earlier": [("older_url", "y", "out/mar")]},
    {"doc_id": "e", "near_group": "d", "earlier": []},
    {"doc_id": "g", "near_group": "f", "earlier": [("near", "f", "out/jan")]},
]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    def write(name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        write_shard(shard_path(str(folder), 0, 1), rows, schema)
        assert commit_shards(str(folder), 1)

    rows = [{**row, "earlier": [dict(zip(("kind", "doc_id", "run"), held)) for held in row["earlier"]]} for row in ROWS]
    columns = [DOCUMENT_SCORES.field(name) for name in ("doc_id", "near_group", "earlier")]
    write("score/documents", rows, pa.schema(columns))
    write("select/documents", [{"doc_id": "d"}, {"doc_id": "e"}], pa.schema(columns[:1]))
    return tmp_path


def test_a_group_counts_the_members_that_this_run_has(output: Path) -> None:
    """Two groups are named after a document of an earlier run; of one of them only one member is here."""
    found = sorted(document_groups(str(output), "near_group"), key=lambda group: group.representative)
    assert found == [DuplicateGroup("a", 2, ["b", "c"]), DuplicateGroup("d", 2, ["d", "e"])]


@pytest.mark.parametrize("with_kept", [True, False])
def test_what_earlier_runs_have(output: Path, with_kept: bool) -> None:
    expected = [("out/jan", "exact", 1, 0), ("out/jan", "near", 3, 0), ("out/mar", "older_url", 1, 1)]
    assert earlier_duplicates(str(output), with_kept) == [
        EarlierDuplicates(run, kind, seen, kept if with_kept else None) for run, kind, seen, kept in expected
    ]


def test_each_kind_has_words() -> None:
    kinds = DOCUMENT_SCORES.field("earlier").type.value_type.field("kind").metadata[b"unit"].decode().split(" | ")
    assert set(kinds) == EARLIER_KINDS.keys()
