"""Corpora of text alone come in: plain text, JSON lines and Parquet, packed or not; what is no text is said."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from gobelin.errors import UserError
from gobelin.exchange.entry import Entry
from gobelin.exchange.formats import find_sources
from gobelin.exchange.text import read_source
from gobelin.pipeline.cli.main import main
from gobelin.store.shards import read_folder

LINES = [{"text": "One.\n\nTwo.", "url": "https://a.example/1", "title": "A"}, {"content": "Three."}, {"x": 1}, 7]
JSONL = b"\n".join(json.dumps(line).encode() for line in LINES)


def _texts(path: Path) -> list[list[str] | str]:
    """The texts of each document, or the rule by which there is none."""
    return [
        [node["text"] for node in found.document["nodes"]] if isinstance(found, Entry) else found.rule
        for found in read_source(str(path))
    ]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_packed_and_plain_files_are_read(ending: str, tmp_path: Path) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[ending]
    (tmp_path / f"a.jsonl{ending}").write_bytes(pack(JSONL))
    text = b"One\r\nline.\r\n\r\nTwo.\n<|endoftext|>\n\n<|endoftext|>\nThree \xff.\n"
    (tmp_path / f"b.txt{ending}").write_bytes(pack(text))
    assert _texts(tmp_path / f"a.jsonl{ending}") == [["One.", "Two."], ["Three."], "malformed_row", "malformed_row"]
    assert _texts(tmp_path / f"b.txt{ending}") == [["One\nline.", "Two."], ["Three \N{REPLACEMENT CHARACTER}."]]


def test_a_byte_order_mark_is_no_text_and_the_end_of_a_name_says_what_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "of.jsonl.files.txt").write_bytes("\N{ZERO WIDTH NO-BREAK SPACE}One.\n\nTwo.\n".encode())
    assert _texts(tmp_path / "of.jsonl.files.txt") == [["One.", "Two."]]


def test_a_column_of_parquet_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["One.\n\nTwo.", None, " "], "url": ["https://a.example/1", None, None]}),
                   tmp_path / "a.parquet")  # fmt: skip
    assert _texts(tmp_path / "a.parquet") == [["One.", "Two."], "malformed_row", "malformed_row"]
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match="no column text or content; its columns are body"):
        list(read_source(str(tmp_path / "b.parquet")))
    (tmp_path / "c.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="cannot be read as text"):
        list(read_source(str(tmp_path / "c.jsonl.gz")))


def test_a_folder_of_texts_becomes_documents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "texts"
    source.mkdir()
    (source / "a.jsonl").write_bytes(JSONL)
    assert find_sources("text", [str(source)]) == [str(source / "a.jsonl")]
    output = tmp_path / "out"
    command = ["import", str(source), "--format", "text", "--output", str(output), "--recipe", "small", "--quiet"]
    assert main([*command, "--set", "num_shards=1"]) == 0
    rows = list(read_folder(str(output / "extract" / "documents")))
    assert sorted(len(row["nodes"]) for row in rows) == [1, 2]
    assert {row["url"] for row in rows} >= {"https://a.example/1"}
    assert main(["export", str(output), "--stage", "extract", "--format", "text", "--to", str(tmp_path / "to")]) == 2
    assert "text" in capsys.readouterr().err
