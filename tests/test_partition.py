"""Partitioning by key in one pass: every row is in its part, once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gobelin.data.ids import shard_of
from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.schemas import DECISIONS
from gobelin.pipeline.run.partition import Source, partition
from gobelin.store.shards import read_rows, shard_of_decision, write_rows
from gobelin.transforms import partition as partition_module
from gobelin.transforms.archives.revisits import CapturesByRevisit, capture_keys, revisit_keys, revisit_place
from gobelin.transforms.partition import ByShard, BySlice, DecisionsByShard, Partitioner, Parts, Split, partition_files

Make = Callable[..., Any]
Row = dict[str, Any]
SCHEMA = pa.schema([("key", pa.string()), ("number", pa.int64()), ("names", pa.list_(pa.string()))])
COLUMNS = tuple(SCHEMA.names)


def some_rows(num: int) -> list[Row]:
    """A fifth of them without a key."""
    rng = np.random.default_rng(num)
    keys = [f"{int(rng.integers(2**60)):032x}"[::-1] if number % 5 else None for number in range(num)]
    return [{"key": key, "number": number, "names": ["x" * (number % 7)] * 3} for number, key in enumerate(keys)]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Three files of some rows."""
    paths = [str(tmp_path / f"{name}.parquet") for name in "abc"]
    for path, num in zip(paths, (50, 1, 120)):
        write_rows(path, some_rows(num), SCHEMA)
    return paths


def by_shard(row: Row) -> int:
    return shard_of(row["key"], 7) % 4


def by_slice(row: Row) -> int:
    return int(row["key"][:4], 16) % 4


@pytest.mark.parametrize("held_bytes", [1, 2000, 10**9])
@pytest.mark.parametrize(("partitioner", "expected"), [(ByShard("key", 7, 4), by_shard), (BySlice("key", 4), by_slice)])
def test_every_row_with_a_key_is_in_its_part(
    files: list[str], tmp_path: Path, held_bytes: int, partitioner: Partitioner, expected: Callable[[Row], int]
) -> None:
    partition_files(str(tmp_path / "out"), Split("rows", COLUMNS, SCHEMA, partitioner, 4), files, held_bytes)
    rows = [row for path in files for row in read_rows(path) if row["key"] is not None]
    for part in range(4):
        found = list(read_rows(str(tmp_path / "out" / "rows" / f"part-{part:05d}-of-00004.parquet")))
        assert found == [row for row in rows if expected(row) == part]
        assert found


def test_a_part_without_rows_is_a_file(tmp_path: Path) -> None:
    partition_files(str(tmp_path), Split("rows", COLUMNS, SCHEMA, ByShard("key", 3, 3), 3), [])
    for part in range(3):
        assert pq.read_table(tmp_path / "rows" / f"part-{part:05d}-of-00003.parquet").schema == SCHEMA


def test_row_groups_are_cut(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that who reads a part need not hold it whole."""
    monkeypatch.setattr(partition_module, "ROW_GROUP_BYTES", 500)
    partition_files(str(tmp_path), Split("rows", COLUMNS, SCHEMA, ByShard("key", 1, 1), 1), files)
    metadata = pq.read_metadata(tmp_path / "rows" / "part-00000-of-00001.parquet")
    sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert sum(sizes) == 136
    assert max(sizes) <= 10


@dataclasses.dataclass(frozen=True)
class _Breaks:
    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        if table.num_rows == 1:
            raise RuntimeError("the second file")
        return table, np.zeros(table.num_rows, np.intp)


def test_time_does_not_grow_with_the_square_of_small_pieces(tmp_path: Path) -> None:
    """Many parts of a large input get their rows in small pieces."""
    schema = pa.schema([(f"column_{index}", pa.int64()) for index in range(20)])
    table = pa.table({name: range(4000) for name in schema.names}, schema)

    start = time.process_time()
    pieces = (table.slice(index, 1) for index in range(len(table)))
    found = list(partition_module._row_groups(pieces))
    assert time.process_time() - start < 5
    assert pa.concat_tables(found).equals(table)


@pytest.mark.parametrize("held_bytes", [1, 10**9])
def test_who_fails_leaves_no_part(files: list[str], tmp_path: Path, held_bytes: int) -> None:
    with pytest.raises(RuntimeError, match="the second file"):
        partition_files(str(tmp_path / "out"), Split("rows", COLUMNS, SCHEMA, _Breaks(), 2), files, held_bytes)
    assert [path for path in tmp_path.glob("out/**/*") if path.is_file()] == []


def test_decisions_go_where_they_are_written(tmp_path: Path) -> None:
    about: list[Row] = [
        {"doc_id": "d"}, {"url": "https://a.example/", "image_id": "i"}, {"image_id": "i"}, {"warc_file": "w"}, {},
        {"doc_id": "", "url": "https://b.example/"},
    ]  # fmt: skip
    rows = [to_row(Decision(stage="s", unit=Unit.RECORD, action=Action.DROP, rule="r", **each)) for each in about]
    write_rows(str(tmp_path / "x.parquet"), rows, DECISIONS)
    deal = DecisionsByShard(5, 3)
    partition_files(
        str(tmp_path), Split("d", tuple(DECISIONS.names), DECISIONS, deal, 3), [str(tmp_path / "x.parquet")]
    )
    for part in range(3):
        found = list(read_rows(str(tmp_path / "d" / f"part-{part:05d}-of-00003.parquet")))
        assert found == [row for row in read_rows(str(tmp_path / "x.parquet")) if shard_of_decision(row, 5) % 3 == part]


def test_shares_hold_all_rows_once(files: list[str], tmp_path: Path, plan_here: Make) -> None:
    """As many shares as workers; a source with fewer files than shares gives some of them nothing."""
    sources = [
        Source(Split("all", COLUMNS, SCHEMA, ByShard("key", 5, 5), 5), files),
        Source(Split("one", COLUMNS, SCHEMA, BySlice("key", 3), 3), files[:1]),
    ]
    parted = partition(plan_here(2), "deal out", str(tmp_path / "parts"), sources)
    assert [Path(folder).name for folder in parted.folders] == ["parts-0-of-2", "parts-1-of-2"]
    for name, num_parts, paths in (("all", 5, files), ("one", 3, files[:1])):
        rows = [row for path in paths for row in read_rows(path) if row["key"] is not None]
        found = [row for part in range(num_parts) for path in parted.paths(name, part) for row in read_rows(path)]
        assert sorted(map(repr, found)) == sorted(map(repr, rows))


def test_captures_go_to_every_revisit_that_may_look_for_them(tmp_path: Path) -> None:
    """Against brute force over keys: by digest, by place, by address; two revisits of one original in two parts."""
    schema = pa.schema([(name, pa.string()) for name in ("url_key", "warc_date", "payload_digest")])
    captures = [{"url_key": f"{number:04x}", "warc_date": f"2025-01-{number % 28 + 1:02d}",
                 "payload_digest": f"sha1:{number}" if number % 2 else None} for number in range(60)]  # fmt: skip
    revisits = []
    for number in range(40):
        row: Row = {"url": f"https://a.example/{number}", "warc_date": "2025-02-01", "refers_to_url": None,
                    "refers_to_date": None, "payload_digest": None, "warc_file": "a", "warc_offset": number,
                    "is_redirect": False}  # fmt: skip
        revisits.append(row | ({"payload_digest": f"SHA1:{number // 2}"} if number % 3 else {}))
    revisit_schema = pa.schema(
        [*((name, pa.string()) for name in ("url", "warc_date", "refers_to_url", "refers_to_date", "payload_digest",
                                            "warc_file")), ("warc_offset", pa.int64()), ("is_redirect", pa.bool_())]
    )  # fmt: skip
    write_rows(str(tmp_path / "revisits.parquet"), revisits, revisit_schema)
    deal = CapturesByRevisit((str(tmp_path / "revisits.parquet"),), 3)
    rows, parts = deal(pa.Table.from_pylist(captures, schema))
    found = {(row["url_key"], int(part)) for row, part in zip(rows.to_pylist(), parts)}
    assert len(found) == rows.num_rows
    expected = {
        (capture["url_key"], shard_of(revisit_place(revisit), 3))
        for capture in captures
        for revisit in revisits
        if set(capture_keys(capture)) & {key for _, key in revisit_keys(revisit)}
    }
    assert found == expected
    assert len({part for _, part in expected}) == 3
    assert len({key for key, _ in expected}) < len(expected)
