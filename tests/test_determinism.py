"""Equal input and recipe give byte-identical Parquet: in two runs, with files in another order, with one worker or two,
and whatever archives are read together.

On the sample crawl at its smallest; ``warc_file`` is the path as given, so all runs read the same files.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.sample_crawl.make_crawl import make_crawl
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.run import inputs
from gobelin.store.shards import read_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RECIPE = """\
name: small
num_shards: 3
select:
  document:
    languages: [en]
    deny_consent: [noai, noimageai, tdm-reservation=1]
    min_images: 1
    unique: [url, near, image_set]
  text: {min_words: 2, max_site_count: 5}
  image: {min_side_px: 40, max_documents: 10, unique_in_document: true, min_aesthetic: 1.0}
"""


@pytest.fixture(scope="module", autouse=True)
def a_batch_an_archive() -> Iterator[None]:
    """Small archives are read by processes of their own here, as large ones are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "MIN_BATCH_BYTES", 1)
        yield


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Paths of the crawl's archives."""
    return [str(path) for path in make_crawl(tmp_path_factory.mktemp("crawl"), seed=3, pages=40).paths]


def run(crawl: list[str], folder: Path, workers: int) -> Path:
    """An output folder up to ``select``."""
    folder.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(RECIPE)
    inputs = [word for path in crawl for word in ("--input", path)]
    argv = [
        "run",
        "--recipe",
        str(folder / "small.yaml"),
        *inputs,
        "--output",
        str(folder / "out"),
        "--until",
        "select",
    ]
    assert main([*argv, "--workers", str(workers), "--quiet"]) == 0
    return folder / "out"


def digests(output: Path) -> dict[str, str]:
    """By data set and file; the folder between them is named after the input's paths and the settings."""
    names = {path: re.sub("/[0-9a-f]{16}/", "/", str(path.relative_to(output))) for path in output.rglob("*.parquet")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for path, name in names.items()}


@pytest.fixture(scope="module")
def first(crawl: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(crawl, tmp_path_factory.mktemp("first"), 2)


def test_there_is_something_to_compare(first: Path) -> None:
    """Kept and dropped documents of many kinds: an empty corpus would be equal to any other."""
    found = digests(first)
    assert len(found) == 3 * 11 + 3  # eleven data sets, tallies, fetches, not_run
    assert len(set(found.values())) > 20
    stages = json.loads((first / "run.json").read_text())["stages"]
    assert stages["select"]["documents"]["kept"] > 5
    assert len(stages["select"]["documents"]["dropped"]) >= 3
    assert len(stages["extract"]["images"]["dropped"]) >= 2
    assert stages["select"]["not_run"]["image.min_aesthetic"] > 0


def test_another_order_and_one_worker(crawl: list[str], first: Path, tmp_path: Path) -> None:
    """A second run with two things changed: each of the three alone would show here too."""
    order = random.Random(1).sample(crawl, len(crawl))
    assert order != crawl
    assert digests(run(order, tmp_path, 1)) == digests(first)


def test_archives_read_together_or_apart(
    crawl: list[str], first: Path, tmp_path: Path, extract_archives: Callable[..., Any]
) -> None:
    """All in one pipeline in this process, in another order, against a process for each."""
    extract_archives(crawl[::-1], tmp_path, 3)
    expected = {name: digest for name, digest in digests(first).items() if name.startswith("extract/")}
    found = {f"extract/{name}": digest for name, digest in digests(tmp_path).items() if not name.startswith("work/")}
    assert found == expected


def test_no_row_holds_a_time_or_a_folder_of_the_run(first: Path) -> None:
    for name in ("extract/decisions", "score/documents", "select/documents", "select/decisions"):
        for row in read_folder(str(first / name)):
            assert str(first.parent) not in repr(row)
