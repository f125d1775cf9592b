"""A crawl on paper: costs a page that were measured, times numbers of pages."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.scale_meter import Measured
from bench.scale_paper import Crawl, hottest, paper, read_measured, stages_of, with_changes
from gobelin.errors import UserError
from gobelin.pipeline.run.supervisor import Supervisor

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[1]
FACTS = {"pages": 1000, "archives": 10, "shards": 2, "documents": 900, "images": 1800, "pictures": 2000,
         "kept_documents": 100}  # fmt: skip


def step(cpu_seconds: float, **requests: int) -> dict[str, object]:
    return {"cpu_seconds": cpu_seconds, "peak_mib": 100, "passed_bytes": 5000, "kept_bytes": 2000, "requests": requests}


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    read, join = "extract: read archives", "score: join images"
    runs = {
        "pages": {
            "1000": {
                "facts": FACTS,
                "steps": {read: step(7.2), join: step(3.6), "(aside)": step(1e9), "extract: write images": step(3.6)},
            }
        },
        "index": {"1000": {"facts": FACTS, "steps": {join: step(1e9), "tokenize: assemble documents": step(3.6)}}},
        "pages_on_s3": {
            "1000": {"facts": FACTS, "steps": {read: step(0, GET=5, PUT=20), join: step(0, GET=1, HEAD=2)}}
        },
    }
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(runs))
    return path


def test_costs_a_page_times_pages(measured: Path) -> None:
    crawl = with_changes(["pages=1e6", "archives=100", "uncompressed_tib=0", "fetched_images_a_page=0.9",
                          "pages_a_shard=500"])  # fmt: skip
    stages = stages_of(crawl, read_measured(str(measured)))
    assert stages["extract"].cpu_hours == pytest.approx(2.0 + 0.5)  # half as many images a page
    assert stages["score"].cpu_hours == pytest.approx(1.0)  # a step of whole runs is not taken from made-up ones too
    assert stages["tokenize"].cpu_hours == pytest.approx(1 / 9)  # of the tenth that is kept
    assert stages["extract"].puts == 200  # with archives
    assert stages["score"].gets == pytest.approx(3000)  # with shards
    assert stages["score"].passed_bytes == 5_000_000
    gflop = 0.9e6 * (crawl.clip_gflop + crawl.nsfw_gflop + 2 * crawl.clip_text_gflop)
    assert stages["score"].gpu_hours == pytest.approx(gflop / (989e3 * 0.35 * 3600))
    stage = stages["extract"]
    expected = 2.5 * crawl.price_cpu_hour + 3e-6 * crawl.price_tb_month + 0.2 * crawl.price_thousand_puts
    assert stage.dollars(crawl) == pytest.approx(expected + stage.gets / 1000 * crawl.price_thousand_gets)


def test_the_largest_keys_follow_the_law() -> None:
    ranks = np.arange(1, 100_001, dtype=float)
    for exponent in (0.5, 0.8, 1.0, 1.2):
        weights = ranks**-exponent
        expected = 1e9 * weights[[0, 99]] / weights.sum()
        hot = hottest(1e9, 100_000, exponent, seed=0)
        assert [hot.rows, hot.of_the_next] == pytest.approx(list(expected), rel=0.02)


def test_the_command_prints_tables(measured: Path) -> None:
    command = [sys.executable, "-m", "bench.scale", "--paper", "--record", str(measured), "--set", "pages=1e6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    crawl = with_changes(["pages=1e6"])
    assert done.stdout.startswith("\n".join(paper(crawl, read_measured(str(measured)))))
    assert "  pages = 1e+06" in done.stdout.splitlines()


@pytest.mark.parametrize("change", ["pages", "pages=many", "pages=-1", "pages=nan", "pictures=3"])
def test_other_parameters_are_refused(change: str) -> None:
    with pytest.raises(UserError, match=change.partition("=")[0]):
        with_changes([change])


def test_a_file_without_runs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    for content in ("[]", "{}", "no JSON"):
        path.write_text(content)
        with pytest.raises(UserError, match=r"measured\.json"):
            read_measured(str(path))


def test_the_recorded_runs_are_enough() -> None:
    lines = paper(Crawl(), read_measured(str(ROOT / "docs" / "scale.json")))
    assert sum(line.startswith("| all |") for line in lines) == 1


def test_steps_are_measured_as_the_supervisor_is_called() -> None:
    assert list(inspect.signature(Measured.run).parameters) == list(inspect.signature(Supervisor.run).parameters)


def test_a_made_up_index_is_linked_and_measured(tmp_path: Path) -> None:
    """Several batches of each step; the command checks that what comes out is what was put in."""
    command = [sys.executable, "-m", "bench.scale", "--index", "120", "--pages-a-shard", "40", "--rows-at-once", "100",
               "--work", str(tmp_path), "--record", str(tmp_path / "recorded.json")]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=True)
    (run,) = json.loads((tmp_path / "recorded.json").read_text())["index"].values()
    assert run["facts"] == {"pages": 120, "shards": 3}
    assert {"extract: deal out index", "score: join images", "tokenize: write token shards"} <= run["steps"].keys()
    assert all(step["peak_mib"] > 20 for step in run["steps"].values())
    assert "\n| all |" in done.stdout
