"""Estimates the cost of a month of Common Crawl: measured costs per page times published numbers of pages.

    python -m bench.scale --paper [--set pages=2.9e9 price_cpu_hour=0.02 ...]

Nothing here is measured at this size. Costs per page come from ``docs/scale.json``, which ``--pages``, ``--index`` and
``--survivors`` write with ``--record``: the largest run of each kind. If a run on copies of real archives lacks a step,
its cost comes from the made-up index. Everything else is a parameter below, with its source.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gobelin.errors import UserError

WRITE_DOCUMENTS, WRITE_IMAGES = "extract: write documents", "extract: write images"
TIB, SECONDS_OF_AN_HOUR = 2.0**40, 3600.0


@dataclasses.dataclass(frozen=True, slots=True)
class Crawl:
    """Parameters, and where they come from. *Published*: the announcement of CC-MAIN-2024-51 (commoncrawl.org, December
    2024 crawl archive). *Assumed*: a round number that nobody looked up."""

    pages: float = 2.64e9  # published
    hosts: float = 47.5e6  # published
    uncompressed_tib: float = 394.0  # published
    compression: float = 0.266  # 59.86 TiB of WARC for 225 TiB: published for CC-MAIN-2019-09, the last with both
    archives: float = 90_000  # assumed; a crawl of 2019 had 64,000, one of 2026 has 100,000
    pages_a_shard: float = 5000  # as docs/scale.md advises

    fetched_images_a_page: float = 0.3  # assumed: images that are asked for, of pages that passed the rules of text

    clip_gflop: float = 162.0  # ViT-L/14 at 224 pixels, one image: 81 G multiplications (open_clip's table of models)
    clip_text_gflop: float = 13.0  # its text tower, 77 tokens (the same table)
    texts_an_image: float = 2.0  # assumed: the paragraphs next to an image
    tokenizer_gflop: float = 138.4  # encoder of a VQGAN with 16 pixels a code at 256 pixels, counted with torch
    nsfw_gflop: float = 0.001  # a head of two layers on CLIP's numbers
    gpu_tflops: float = 989.0  # H100, bf16, dense: its data sheet
    gpu_used: float = 0.35  # assumed: published training runs on it reach 0.33 to 0.39

    price_cpu_hour: float = 0.045  # US dollars: one virtual core of a compute instance, on demand; assumed, end of 2025
    price_gpu_hour: float = 4.0  # one H100, on demand; assumed, end of 2025
    price_tb_month: float = 23.0  # object store; assumed, end of 2025
    price_thousand_puts: float = 0.005  # PUT, POST, LIST; as before
    price_thousand_gets: float = 0.0004  # GET, HEAD; as before
    months: float = 1.0  # for which what is kept is paid

    host_exponent: float = 0.65  # of a Zipf law of pages a host: its largest host has the size of the largest of today
    image_exponent: float = 0.8  # of a Zipf law of documents an image URL; assumed
    urls_a_use: float = 0.5  # different image URLs, of all uses; assumed
    seed: float = 0


def with_changes(changes: Sequence[str]) -> Crawl:
    """Parameters with ``name=value`` applied.

    Raises:
        UserError: no such name, or no number.
    """
    names = {field.name for field in dataclasses.fields(Crawl)}
    found: dict[str, float] = {}
    for change in changes:
        name, _, value = change.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise UserError(f"--set {change}: {value!r} is no number") from None
        if name not in names or not (np.isfinite(found[name]) and found[name] >= 0):
            raise UserError(f"--set {change}: needs one of {', '.join(sorted(names))}, and a number from 0 on")
    return Crawl(**found)


@dataclasses.dataclass(slots=True)
class Stage:
    """What a stage costs for the whole crawl."""

    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    passed_bytes: float = 0.0
    kept_bytes: float = 0.0
    gets: float = 0.0
    puts: float = 0.0

    def dollars(self, crawl: Crawl) -> float:
        return (
            self.cpu_hours * crawl.price_cpu_hour
            + self.gpu_hours * crawl.price_gpu_hour
            + self.kept_bytes / 1e12 * crawl.price_tb_month * crawl.months
            + self.gets / 1000 * crawl.price_thousand_gets
            + self.puts / 1000 * crawl.price_thousand_puts
        )


Run = Mapping[str, Any]
"""``facts`` and ``steps`` of a run, as ``--record`` writes them."""


def read_measured(path: str) -> dict[str, dict[int, Run]]:
    """Runs by kind and size.

    Raises:
        UserError: the file is not there, or lacks a kind of run.
    """
    try:
        held = json.loads(Path(path).read_text(encoding="utf-8"))
        found = {kind: {int(size): run for size, run in runs.items()} for kind, runs in held.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"--record {path}: {error}") from None
    missing = {"pages", "index", "pages_on_s3"} - set(found)
    if missing:
        raise UserError(f"--record {path}: has no runs of {', '.join(sorted(missing))}")
    return found


def stages_of(crawl: Crawl, measured: Mapping[str, Mapping[int, Run]]) -> dict[str, Stage]:
    """Costs by stage."""
    whole, index = (measured[kind][max(measured[kind])] for kind in ("pages", "index"))
    kept_ratio = whole["facts"]["kept_documents"] / whole["facts"]["pages"]
    found: dict[str, Stage] = defaultdict(Stage)
    for run in (whole, index):
        for title, step in run["steps"].items():
            if title.startswith("(") or (run is index and title in whole["steps"]):
                continue
            times = crawl.pages / run["facts"]["pages"]
            if title.startswith("tokenize"):  # measured where nine documents in ten are kept
                times *= kept_ratio / 0.9
            if title == WRITE_IMAGES:
                times *= _ratio_of_images(crawl, run)
            stage = found[title.partition(":")[0]]
            stage.cpu_hours += times * step["cpu_seconds"] / SECONDS_OF_AN_HOUR
            stage.passed_bytes += times * step["passed_bytes"]
            stage.kept_bytes += times * step["kept_bytes"]
    _add_requests(crawl, measured["pages_on_s3"], found)
    _add_models(crawl, kept_ratio, whole, found)
    return dict(found)


def _add_requests(crawl: Crawl, runs: Mapping[int, Run], found: dict[str, Stage]) -> None:
    """Requests of the largest run, by what they grow with: reading of archives with archives, writing of documents and
    images, which pulls each payload by itself, with pages, all else with shards."""
    run = runs[max(runs)]
    facts = run["facts"]
    for title, step in run["steps"].items():
        if title == "extract: read archives":
            times = crawl.archives / facts["archives"]
        elif title in (WRITE_DOCUMENTS, WRITE_IMAGES):
            times = crawl.pages / facts["pages"] * (_ratio_of_images(crawl, run) if title == WRITE_IMAGES else 1)
        else:
            times = crawl.pages / crawl.pages_a_shard / facts["shards"]
        stage = found[title.partition(":")[0]]
        for method, number in step["requests"].items():
            if method in ("GET", "HEAD"):
                stage.gets += times * number
            elif method != "DELETE":
                stage.puts += times * number
    archive_bytes = crawl.uncompressed_tib * TIB * crawl.compression
    found["extract"].gets += archive_bytes / 2**23  # archives are read in pieces of 8 MiB


def _ratio_of_images(crawl: Crawl, run: Run) -> float:
    """Images a page of the crawl, to those of a run."""
    return float(crawl.fetched_images_a_page * run["facts"]["pages"] / run["facts"]["images"])


def _add_models(crawl: Crawl, kept_ratio: float, whole: Run, found: dict[str, Stage]) -> None:
    per_hour = crawl.gpu_tflops * 1e3 * crawl.gpu_used * SECONDS_OF_AN_HOUR  # GFLOP
    images = crawl.pages * crawl.fetched_images_a_page
    each = crawl.clip_gflop + crawl.nsfw_gflop + crawl.texts_an_image * crawl.clip_text_gflop
    found["score"].gpu_hours += images * each / per_hour
    pictures_a_page = whole["facts"]["images"] / whole["facts"]["documents"]
    shown = crawl.pages * kept_ratio * min(pictures_a_page, crawl.fetched_images_a_page / max(kept_ratio, 1e-9))
    found["tokenize"].gpu_hours += shown * crawl.tokenizer_gflop / per_hour


@dataclasses.dataclass(frozen=True, slots=True)
class Hot:
    """The largest keys of a distribution."""

    rows: float
    of_the_next: float  # the hundredth
    share: float


def hottest(total: float, num_keys: float, exponent: float, seed: int) -> Hot:
    """Draws the 1,000 largest keys of ``num_keys`` that share ``total`` rows after a Zipf law: the key of rank r has a
    part of them that is proportional to r to the power of minus ``exponent``."""
    ranks = np.arange(1, 1001, dtype=np.float64)
    head = ranks**-exponent
    power = 1 - exponent
    tail = np.log(num_keys / 1000) if abs(power) < 1e-9 else (num_keys**power - 1000**power) / power
    expected = total * head / (head.sum() + max(tail, 0.0))
    drawn = np.sort(np.random.default_rng(seed).poisson(expected))[::-1]
    return Hot(float(drawn[0]), float(drawn[99]), float(drawn[0] / total))


def hot_keys(crawl: Crawl, whole: Run, index: Run) -> list[str]:
    """Lines of Markdown: what the largest key is to each shuffle."""
    facts, pages = whole["facts"], index["facts"]["pages"]
    uses = crawl.pages * facts["pictures"] / facts["pages"]
    hosts = hottest(crawl.pages, crawl.hosts, crawl.host_exponent, int(crawl.seed))
    images = hottest(uses, uses * crawl.urls_a_use, crawl.image_exponent, int(crawl.seed))
    steps = index["steps"]

    def row_bytes(title: str, rows_a_page: float) -> float:
        return float(steps[title]["passed_bytes"] / pages / rows_a_page) if title in steps else 0.0

    lines = ["| shuffle | key | rows of the largest key | of the hundredth | part of all | bytes of the largest key |",
             "|---|---|---:|---:|---:|---:|"]  # fmt: skip
    for name, key, hot, size in (
        ("what sites say", "host", hosts, row_bytes("extract: deal out index", 8.0)),
        ("looking images up", "image URL", images, row_bytes("extract: deal out index", 8.0)),
        ("joining images with their uses", "image", images, row_bytes("score: deal out uses of images", 3.0)),
        ("images of the corpus", "image", images, row_bytes("tokenize: deal out shown images", 3.0)),
    ):
        lines.append(
            f"| {name} | {key} | {hot.rows:,.0f} | {hot.of_the_next:,.0f} | {100 * hot.share:.3f} % | "
            f"{hot.rows * size / 2**30:,.1f} GiB |"
        )
    shards = crawl.pages / crawl.pages_a_shard
    lines.append(f"| writing of documents, images, decisions | shard | {crawl.pages_a_shard:,.0f} | "
                 f"{crawl.pages_a_shard:,.0f} | {100 / shards:.5f} % | by a hash: all alike |")  # fmt: skip
    return lines


def paper(crawl: Crawl, measured: Mapping[str, Mapping[int, Run]]) -> list[str]:
    """The tables, as lines of Markdown."""
    whole, index = (measured[kind][max(measured[kind])] for kind in ("pages", "index"))
    stages = stages_of(crawl, measured)
    lines = ["| stage | CPU hours | GPU hours | through shuffles and spools, TB | kept, TB | GET, millions | "
             "PUT, millions | US dollars |", "|---|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    total = Stage()
    for stage in stages.values():
        for field in dataclasses.fields(Stage):
            setattr(total, field.name, getattr(total, field.name) + getattr(stage, field.name))
    for name, stage in [*stages.items(), ("all", total)]:
        lines.append(
            f"| {name} | {stage.cpu_hours:,.0f} | {stage.gpu_hours:,.0f} | {stage.passed_bytes / 1e12:,.1f} | "
            f"{stage.kept_bytes / 1e12:,.1f} | {stage.gets / 1e6:,.1f} | {stage.puts / 1e6:,.1f} | "
            f"{stage.dollars(crawl):,.0f} |"
        )
    facts = whole["facts"]
    return [
        f"{crawl.pages:,.0f} pages in {crawl.archives:,.0f} archives "
        f"({crawl.uncompressed_tib * crawl.compression:,.0f} TiB) and {crawl.pages / crawl.pages_a_shard:,.0f} shards; "
        f"from {facts['pages']:,} pages of {facts['archives']} archives, and {index['facts']['pages']:,} made-up ones:",
        "",
        *lines,
        "",
        *hot_keys(crawl, whole, index),
    ]


def describe(crawl: Crawl) -> list[str]:
    """The parameters, a line each."""
    return [f"  {field.name} = {getattr(crawl, field.name):g}" for field in dataclasses.fields(crawl)]
