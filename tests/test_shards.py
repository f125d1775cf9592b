"""Data sets on disk: order, byte identity, files that are there whole or not at all, spools."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gobelin.data.ids import shard_of
from gobelin.data.schemas import DECISIONS, IMAGE_EMBEDDINGS, IMAGES
from gobelin.store import shards
from gobelin.store.dataset import commit_shards, files_of
from gobelin.store.files import make_folder, output
from gobelin.store.shards import read_folder, read_rows, write_rows, write_shard
from gobelin.store.spool import Spool, SpoolReader, SpoolRef
from gobelin.store.tables import list_shards, shard_path
from gobelin.transforms.images.thumbnail import HEX_DIGITS
from gobelin.transforms.row_steps import WriteRows

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), ("place", pa.int64()), ("text", pa.string())])


def rows(count: int, size: int = 10) -> list[dict[str, Any]]:
    return [{"id": f"{n:04d}", "place": n, "text": "é" * size} for n in range(count)]


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_rows_come_back_in_the_order_given(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    given = rows(5)[::-1]
    assert write_rows(path, given, SCHEMA) == 5
    assert list(read_rows(path)) == given
    assert list(read_rows(path, ["place"])) == [{"place": row["place"]} for row in given]


def test_no_rows_are_a_file_all_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    assert write_rows(path, [], SCHEMA) == 0
    assert list(read_rows(path)) == []
    assert pq.read_schema(path).names == SCHEMA.names


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows(str(tmp_path / name), iter(rows(500)), SCHEMA)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_row_groups_are_cut_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bytes of the rows alone: fat rows give small groups, and the cut does not depend on how rows arrive."""
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1000)
    path = str(tmp_path / "x.parquet")
    write_rows(path, rows(100, size=250), SCHEMA)
    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert sum(sizes) == 100
    assert max(sizes) <= 5
    assert len(list(read_rows(path))) == 100


def test_fat_arrays_count_for_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 4000)
    path = str(tmp_path / "x.parquet")
    embeddings = [{"image_id": str(n), "embedding": np.full(512, n, np.float16)} for n in range(20)]
    write_rows(path, embeddings, IMAGE_EMBEDDINGS)
    assert pq.read_metadata(path).num_row_groups == 5
    assert [row["embedding"][0] for row in read_rows(path)] == list(range(20))


def test_bytes_of_images_come_back(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(100_000)
    row = {
        "image_id": "f" * 64, "data": data, "format": "png", "width": 1, "height": 2,
        "phash": "0" * 16, "dhash": "0" * 16, "colour": "0" * 96, "thumbnail": "0" * HEX_DIGITS, "pdq": None,
        "source_format": "svg", "source_sha256": "1" * 64,
        "md5": "0" * 32, "consent": [], "source": "archive",
        "urls": ["https://a.example/é"], "warc_file": "a", "warc_offset": 2**40,
    }  # fmt: skip
    write_rows(str(tmp_path / "x"), [row], IMAGES)
    assert list(read_rows(str(tmp_path / "x"))) == [row]


def test_metadata_is_kept_and_so_are_the_units(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    write_rows(path, [], IMAGES, {"gobelin.vocabulary": "{}"})
    schema = pq.read_schema(path)
    assert schema.metadata[b"gobelin.vocabulary"] == b"{}"
    assert schema.field("width").metadata[b"unit"] == b"px, as displayed"


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield rows(1)[0]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_rows(str(tmp_path / "x.parquet"), failing(), SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    write_rows(path, rows(3), SCHEMA)
    before = digest(path)
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        write_rows(path, [{"id": "a", "place": "no number", "text": ""}], SCHEMA)
    assert digest(path) == before
    assert [each.name for each in tmp_path.iterdir()] == ["x.parquet"]


def test_a_missing_required_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid):
        write_rows(str(tmp_path / "x.parquet"), [{"id": None, "place": 1, "text": ""}], SCHEMA)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_atomic_output_on_failure(tmp_path: Path, error: type[BaseException]) -> None:
    def write_half() -> None:
        with output(str(tmp_path / "x")) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_atomic_output_appears_at_the_end_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with output(str(path)) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_gz_name_is_not_packed(tmp_path: Path) -> None:
    with output(str(tmp_path / "x.gz")) as stream:
        stream.write(b"as it is")
    assert (tmp_path / "x.gz").read_bytes() == b"as it is"


def test_listing(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for index in (1, 0, 2):
        assert not commit_shards(str(folder), 3)
        write_shard(shard_path(str(folder), index, 3), [{"id": str(index), "place": index, "text": ""}], SCHEMA)
    assert commit_shards(str(folder), 3)
    (folder / "notes.txt").write_text("x")
    assert sorted(path.name for path in folder.iterdir())[-1] == "part-00002-of-00003.parquet"
    assert files_of(str(folder))[1].num_rows == 1
    assert [Path(path).name for path in list_shards(str(folder))] == [
        f"part-0000{n}-of-00003.parquet" for n in range(3)
    ]
    assert [row["place"] for row in read_folder(str(folder))] == [0, 1, 2]


def test_spool_round_trip(tmp_path: Path) -> None:
    make_folder(str(tmp_path / "spools"))
    payloads = [b"", b"a", bytes(range(256)) * 500, "é".encode(), b""]
    refs = []
    for _ in range(2):
        spool = Spool(str(tmp_path / "spools"))
        refs.append([spool.write(payload) for payload in payloads])
        spool.close()
        spool.close()
    assert len(list((tmp_path / "spools").iterdir())) == 2
    reader = SpoolReader()
    mixed = [(ref, payload) for pair in refs for ref, payload in zip(pair, payloads, strict=True)]
    random.Random(0).shuffle(mixed)
    for ref, payload in mixed:
        assert reader.read(ref) == payload
    reader.close()


def test_a_spool_without_payloads_is_no_file(tmp_path: Path) -> None:
    Spool(str(tmp_path)).close()
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_was_cut_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"short")
    reader = SpoolReader()
    with pytest.raises(OSError, match="found"):
        reader.read(SpoolRef(str(tmp_path / "spool"), 2, 10))
    reader.close()


def decision(**values: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(DECISIONS.names)
    return {**row, "stage": "select", "unit": "node", "action": "drop", "rule": "r", **values}


DECIDED = [
    decision(doc_id="b", node_index=2),
    decision(doc_id="b", node_index=10),
    decision(doc_id="b", node_index=10, value=1.5),
    decision(doc_id="b"),
    decision(doc_id="a", node_index=3, detail="x"),
    decision(doc_id="a", node_index=3, detail="y"),
    decision(url="https://a.example/"),
    decision(warc_file="w", warc_offset=7),
    decision(doc_id="a", node_index=3, detail="x"),
]


def _to_shard(row: dict[str, Any], num_shards: int) -> tuple[int, dict[str, Any]]:
    return shard_of(row["doc_id"] or "", num_shards), row


def write_data_set(folder: Path, given: list[dict[str, Any]], num_shards: int) -> None:
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    make_folder(str(folder))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        (
            pipeline
            | beam.Create(given)
            | beam.Map(_to_shard, num_shards)
            | WriteRows(str(folder), DECISIONS, num_shards, ("doc_id", "node_index", "url"))
        )
    assert commit_shards(str(folder), num_shards)


def test_write_rows_sorts_whatever_the_order(tmp_path: Path) -> None:
    """Nulls first, numbers by size (2 before 10), ties by all that a row holds; equal bytes from any order."""
    write_data_set(tmp_path / "one", DECIDED, 1)
    write_data_set(tmp_path / "other", random.Random(1).sample(DECIDED, len(DECIDED)), 1)
    found = list(read_folder(str(tmp_path / "one")))
    keys = [(row["doc_id"] or "", -1 if row["node_index"] is None else row["node_index"]) for row in found]
    assert keys == sorted(keys)
    assert len(found) == len(DECIDED)
    (one,), (other,) = list_shards(str(tmp_path / "one")), list_shards(str(tmp_path / "other"))
    assert digest(one) == digest(other)


def test_write_rows_writes_every_shard(tmp_path: Path) -> None:
    write_data_set(tmp_path / "set", DECIDED, 3)
    assert len(list_shards(str(tmp_path / "set"))) == 3
    assert len(list(read_folder(str(tmp_path / "set")))) == len(DECIDED)


def test_make_warc_fixture_is_deterministic(pack: Callable[..., bytes], record: Callable[..., Any]) -> None:
    """What the tests of byte identity stand on."""
    assert pack([record("https://a.example/", b"x")]) == pack([record("https://a.example/", b"x")])
