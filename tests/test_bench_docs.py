"""Tables that bench/extraction.py writes into the documentation keep the rows of extractors that did not run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from extraction import _table, _write_docs

OLD = """# Harbour
<!-- results: news -->
Text, news:

| | F1 | pages |
|---|---|---|
| trafilatura | 0.500 | 7 |
| gobelin | 0.600 | 7 |
| gobelin, held out | 0.600 | 3 |

Other numbers:

| | F1 | pages |
|---|---|---|
| readability | 0.400 | 7 |
<!-- end: news -->
The boats.
"""


def written(tmp_path: Path, rows: dict[str, dict[str, float]], title: str = "Text, news") -> list[str]:
    docs = tmp_path / "docs.md"
    docs.write_text(OLD)
    options = argparse.Namespace(docs=docs, tables={})
    _table(options, "news", title, rows)
    _write_docs(options)
    return docs.read_text().splitlines()


def test_rows_of_extractors_that_did_not_run_stay(tmp_path: Path) -> None:
    lines = written(tmp_path, {"gobelin": {"F1": 0.75, "pages": 7}})
    assert lines[6:8] == ["| trafilatura | 0.500 | 7 |", "| gobelin | 0.750 | 7 |"]
    assert "| gobelin, held out | 0.600 | 3 |" not in lines  # gobelin's own rows are those of the run
    assert "| readability | 0.400 | 7 |" not in lines  # that was another table
    assert lines[-1] == "The boats."


def test_rows_of_extractors_that_ran_are_new(tmp_path: Path) -> None:
    lines = written(tmp_path, {"trafilatura": {"F1": 0.25, "pages": 7}})
    assert [line for line in lines if "trafilatura" in line] == ["| trafilatura | 0.250 | 7 |"]


def test_rows_of_a_table_with_other_columns_go(tmp_path: Path) -> None:
    lines = written(tmp_path, {"gobelin": {"recall": 0.75, "pages": 7}})
    assert not [line for line in lines if "trafilatura" in line]
