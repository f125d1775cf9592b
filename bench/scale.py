"""What a page costs as the input grows: CPU-seconds a page and step, and the peak memory of any process.

    python -m bench.scale --pages 2000 20000 --archives ../shared/corpus/web [--until tokenize]
    python -m bench.scale --index 10000 100000 1000000
    python -m bench.scale --survivors 10000 1000000
    python -m bench.scale --paper

``--pages`` runs everything, on archives that it makes from real ones: records under new addresses, sentences of a page
in another order. ``--index`` begins with what ``read_archives`` leaves, made up: small documents of three images each,
of which one is shared by twenty pages, one is there under its second address, and 5 % only by a revisit. It then links,
joins scores (groups of duplicates and measurements are made up too), selects, and puts token shards together (codes are
made up). Both give ratios to the smallest size.

The number of shards grows with the pages (``--pages-a-shard``), as docs/scale.md advises. CPU-seconds are those of all
processes; start-up is not counted. Peak memory is the resident size (VmHWM, which Linux lets a process reset) of the
largest process, this one included, and holds what it shares with others.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.scale_archives import copy_archive, count_responses
from bench.scale_meter import Cost, Measured, Meter
from bench.scale_paper import describe, paper, read_measured, with_changes
from gobelin.data.ids import document_id
from gobelin.data.model import Action, Decision, Node, Role, Unit, to_row
from gobelin.data.schemas import ARCHIVES, DECISIONS, IMAGE_CODES, NOT_RUN
from gobelin.errors import UserError
from gobelin.pipeline.run import open_run as run_module
from gobelin.pipeline.run.plan import Plan
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.state import count_rows
from gobelin.pipeline.run.worker import Task
from gobelin.pipeline.stages import link as link_module
from gobelin.pipeline.stages.join import JoinJob, run_join
from gobelin.pipeline.stages.link import ROWS_AT_ONCE, LinkJob, run_link
from gobelin.pipeline.stages.select import SelectJob, run_select
from gobelin.pipeline.stages.tokenize import AssembleJob, deal_shown_out, run_assembly, shuffle_into_shards
from gobelin.pipeline.stages.want import WantJob, run_want
from gobelin.store.dataset import Attempt, commit_shards
from gobelin.store.shards import read_rows, write_decisions, write_shard
from gobelin.store.tables import list_shards, read_tables, shard_path
from gobelin.tokenize.assemble import SequenceLayout
from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.text_tokenizer import fit_bpe
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.transforms.archives.revisits import REVISIT_INDEX
from gobelin.transforms.duplicates.groups import DOCUMENT_GROUPS, IMAGE_GROUPS
from gobelin.transforms.extract.indexes import IMAGE_INDEX, PAGE_INDEX, address_keys
from gobelin.transforms.rights.site_policy import POLICY_INDEX
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.score.measure import MEASUREMENTS, measure_document
from gobelin.transforms.selection.choose import choose_among_duplicates
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_rules import DocumentRules
from gobelin.transforms.selection.write_corpus import SURVIVORS
from gobelin.transforms.urls import host_of, url_key

Row = dict[str, Any]
RECORDED = str(Path(__file__).parents[1] / "docs" / "scale.json")
PAGES_A_FOLDER = 5000  # of the made-up index: what one process of ``read_archives`` might leave
IMAGES_OF_A_PAGE, PAGES_OF_A_HOST, USES_OF_A_SHARED_IMAGE, PAGES_A_REVISIT = 3, 50, 20, 20
TEXT = """harbour market boat light water stone bridge window garden river morning evening people story road field
summer winter glass paper silver yellow house letter island forest mountain village engine signal"""
WORDS = TEXT.split()


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a run of one size cost."""

    size: int
    facts: dict[str, int]
    costs: dict[str, Cost]


# -------------------------------------------------------------------------------------------------------- made-up index


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """How a made-up index looks."""

    folder: str
    num_pages: int

    def read_folder(self, number: int) -> str:
        return f"{self.folder}/read-{number}"

    @property
    def read_folders(self) -> tuple[str, ...]:
        return tuple(self.read_folder(number) for number in range(-(-self.num_pages // PAGES_A_FOLDER)))


def write_index(made: Made, number: int) -> None:
    """One folder of the index."""
    folder = made.read_folder(number)
    Path(folder).mkdir(parents=True)
    rng = random.Random(number)
    rows: dict[str, list[Row]] = {name: [] for name in ("pages", "images", "revisits", "policies", "decisions")}
    first = number * PAGES_A_FOLDER
    archive = f"crawl/{number:05d}.warc.gz"
    with open(f"{folder}/spool.bin", "wb") as spool:
        for page in range(first, min(made.num_pages, first + PAGES_A_FOLDER)):
            _add_page(made, page, archive, rng, spool, rows)
    schemas = {"pages": PAGE_INDEX, "images": IMAGE_INDEX, "revisits": REVISIT_INDEX, "policies": POLICY_INDEX,
               "decisions": DECISIONS}  # fmt: skip
    for name, schema in schemas.items():
        write_shard(shard_path(f"{folder}/{name}", 0, 1), rows[name], schema)
        commit_shards(f"{folder}/{name}", 1)
    tally = {"warc_file": archive, "num_records": 4 * len(rows["pages"]), "num_documents": len(rows["pages"]),
             "num_images": len(rows["images"]), "num_other": 0}  # fmt: skip
    write_shard(shard_path(f"{folder}/archives", 0, 1), [tally], ARCHIVES)
    commit_shards(f"{folder}/archives", 1)


def _add_page(made: Made, page: int, archive: str, rng: random.Random, spool: Any, rows: dict[str, list[Row]]) -> None:
    host = f"https://h{page // PAGES_OF_A_HOST}.example"
    url, date = f"{host}/page/{page}", f"2025-01-{page % 28 + 1:02d}T00:00:00Z"
    place = {"warc_file": archive, "warc_date": date}
    is_revisited = page % PAGES_A_REVISIT == 7
    shared = rng.randrange(max(1, made.num_pages // USES_OF_A_SHARED_IMAGE))
    again = f"{host}/again/{page}.jpg"
    candidates = [[f"{host}/photo/{page}.jpg"],
                  [again if is_revisited else f"{host}/large/{page}.jpg", f"{host}/small/{page}.jpg"],
                  [f"https://cdn.example/{shared}.png"]]  # fmt: skip
    doc_id = document_id(url, str(page))
    draft = _draft(doc_id, url, candidates, place, rng)
    offset, length = spool.tell(), spool.write(json.dumps(draft).encode())
    rows["pages"].append(
        {"doc_id": doc_id, "url": url, **address_keys(url, candidates), **place, "warc_offset": 8 * page,
         "payload_digest": f"sha1:PAGE{page}", "consent": [], "path": spool.name, "offset": offset, "length": length}
    )  # fmt: skip
    names = [f"{host}/photo/{page}.jpg", f"{host}/small/{page}.jpg"]
    if page % USES_OF_A_SHARED_IMAGE == 0:
        names.append(f"https://cdn.example/{page // USES_OF_A_SHARED_IMAGE}.png")
    if page % 10 == 0:
        names.append(f"{host}/of-no-page/{page}.jpg")
    for number, name in enumerate(names, 1):
        data = rng.randbytes(600)
        offset = spool.tell()
        spool.write(data)
        rows["images"].append(
            {"image_id": hashlib.sha256(data).hexdigest(), "url": name, "url_key": url_key(name), "format": "jpeg",
             "width": 640, "height": 480, "md5": hashlib.md5(data).hexdigest(), "phash": rng.randbytes(8).hex(),
             "dhash": rng.randbytes(8).hex(), "colour": rng.randbytes(48).hex(), "thumbnail": rng.randbytes(2312).hex(),
             "pdq": None, "consent": [], "source": "archive", **place, "warc_offset": 8 * page + number,
             "payload_digest": f"sha1:{name}", "is_blocked": False, "path": spool.name, "offset": offset,
             "length": len(data)}
        )  # fmt: skip
    if is_revisited:
        rows["revisits"].append(
            {"url": again, **place, "refers_to_url": None, "refers_to_date": None,
             "payload_digest": f"sha1:{names[0]}", "warc_offset": 8 * page + 5, "is_redirect": False}
        )  # fmt: skip
    if page % PAGES_OF_A_HOST == 0:
        robots = "user-agent: *\ndisallow: /private\nuser-agent: gptbot\ndisallow: /\n" * 3
        rows["policies"].append(
            {"host": host_of(url), "origin": host, "kind": "robots", "status": 200, "date": date, "text": robots}
        )  # fmt: skip
    if page % 10 == 3:
        decision = Decision(stage="extract", unit=Unit.RECORD, action=Action.DROP, rule="not_html", url=f"{url}.txt",
                            warc_file=archive, warc_offset=8 * page + 6)  # fmt: skip
        rows["decisions"].append(to_row(decision))


def _draft(doc_id: str, url: str, candidates: list[list[str]], place: Row, rng: random.Random) -> Row:
    nodes = []
    for urls in candidates:
        text = " ".join(rng.choices(WORDS, k=25)).capitalize() + "."
        nodes += [to_row(Node("text", Role.PARAGRAPH, text=text)), to_row(Node("image", image_url=urls[0], alt="x"))]
    return {"doc_id": doc_id, "url": url, **place, "warc_offset": 0, "warc_length": 1000, "content_digest": "sha256:0",
            "title": f"Page {doc_id}", "language": "en", "language_score": 0.9, "licences": [], "consent": [],
            "charset": "utf-8", "extractor": "fast", "page_kind": "article", "nodes": nodes}  # fmt: skip


def write_measurements(documents: str, images: str, work: str, index: int, num_shards: int) -> None:
    """Measurements and groups of a shard, without measuring or grouping: one document in ten is a near-duplicate."""
    rows, groups, before = [], [], ""
    template = ""
    for document in read_rows(shard_path(documents, index, num_shards)):
        shown = [node["image_id"] for node in document["nodes"]]
        if not template:
            measured, _ = measure_document(document, ScoreConfig())
            template = measured["scores"].replace(document["doc_id"], "{doc}")
            for number, identifier in enumerate(shown):
                template = template.replace(f'"{identifier}"', f"{{image {number}}}") if identifier else template
        scores = template.replace("{doc}", document["doc_id"])
        for number, identifier in enumerate(shown):
            scores = scores.replace(f"{{image {number}}}", json.dumps(identifier))
        rows.append({"doc_id": document["doc_id"], "paragraphs": [None] * len(shown),
                     "images": sorted({each for each in shown if each}), "scores": scores})  # fmt: skip
        near = before if before and document["doc_id"][-1] in "01" else document["doc_id"]
        own = dict.fromkeys(("url_group", "exact_group"), document["doc_id"])
        groups.append({"doc_id": document["doc_id"], **own, "near_group": near, "earlier": [],
                       "site_counts": [None if each else 1 for each in shown]})  # fmt: skip
        before = near
    write_shard(shard_path(f"{work}/measurements", index, num_shards), rows, MEASUREMENTS)
    write_shard(shard_path(f"{work}/document_groups", index, num_shards), groups, DOCUMENT_GROUPS)
    ids = [row["image_id"] for row in read_rows(shard_path(images, index, num_shards), ["image_id"])]
    of_images = ({"image_id": each, "near_group": each, **dict.fromkeys(("num_documents", "near_count",
                  "own_documents"), 1)} for each in ids)  # fmt: skip
    write_shard(shard_path(f"{work}/image_groups", index, num_shards), of_images, IMAGE_GROUPS)
    codes = ({"image_id": each, "codes": [int(digit, 16) for digit in each[:16]]} for each in ids)
    write_shard(shard_path(f"{work}/codes", index, num_shards), codes, IMAGE_CODES)
    for name in ("measure_decisions", "encode_decisions"):
        write_decisions(shard_path(f"{work}/{name}", index, num_shards), [])


def run_index(
    folder: str, num_pages: int, workers: int, pages_a_shard: int, rows_at_once: int, screen: Screen
) -> Found:
    """Costs of the steps on a made-up index."""
    num_shards = max(2, -(-num_pages // pages_a_shard))
    Measured.meter = Meter(folder)
    supervisor = Measured(workers, f"{folder}/run", screen, "local", ())
    made = Made(f"{folder}/index", num_pages)
    try:
        tasks = [Task(f"index-{number}", write_index, (made, number)) for number in range(len(made.read_folders))]
        supervisor.run("(make the index)", tasks)
        plan = Plan(supervisor, workers)
        extract, score = Attempt(f"{folder}/extract", ""), Attempt(f"{folder}/score", "")
        documents, images, work = extract.data("documents"), extract.data("images"), f"{folder}/work"
        link = LinkJob(made.read_folders, (), f"{work}/link", extract, num_shards, ("gptbot",))
        want = WantJob(made.read_folders, (), work, "wanted", 2, num_shards)
        run_want(plan, "extract: missing images", want, rows_at_once)
        run_link(plan, link, rows_at_once)
        shutil.rmtree(made.folder)
        shutil.rmtree(f"{work}/link")
        tasks = [
            Task(f"measure-{index}", write_measurements, (documents, images, work, index, num_shards))
            for index in range(num_shards)
        ]
        supervisor.run("(make up measurements)", tasks)
        for name in ("measurements", "document_groups", "image_groups", "codes", "measure_decisions",
                     "encode_decisions"):  # fmt: skip
            commit_shards(f"{work}/{name}", num_shards)
        join_job = JoinJob(images, work, score, num_shards, None, False)
        run_join(plan, join_job, num_pages, count_rows(images), rows_at_once // 2)
        rules = DocumentRules(unique=("url", "exact", "near", "image_set"))
        select = SelectJob(SelectConfig(document=rules), documents, score.data("documents"), f"{work}/select",
                           Attempt(f"{folder}/select", ""), num_shards)  # fmt: skip
        run_select(plan, select, num_pages, rows_at_once)
        corpus = select.output.data("documents")
        text_tokenizer = fit_bpe([" ".join(WORDS)] * 4, 400)
        sizes = tuple(len(piece) for piece in text_tokenizer.token_bytes)
        book = Codebook(name="image", kind="vqvae", num_codes=16, rows=4, columns=4, fingerprint="0" * 64)
        vocabulary = Vocabulary(
            text_size=text_tokenizer.size, codebooks=(book,), text_fingerprint=text_tokenizer.fingerprint,
            text_token_bytes=sizes,
        )  # fmt: skip
        assemble = AssembleJob(corpus, f"{work}/codes", f"{work}/encode_decisions", Attempt(f"{folder}/tokenize", ""),
                               f"{work}/sequences", num_shards, vocabulary, text_tokenizer,
                               SequenceLayout())  # fmt: skip
        shown = deal_shown_out(plan, corpus, f"{work}/tokenize", num_shards)
        run_assembly(plan, assemble, f"{work}/tokenize", shown, count_rows(corpus), rows_at_once)
        shuffle_into_shards(plan, assemble, f"{work}/tokenize", 2**25)
        check(folder, num_pages)
    finally:
        supervisor.close()
    return Found(num_pages, {"pages": num_pages, "shards": num_shards}, Measured.meter.costs)


def write_survivors(folder: str, index: int, num_shards: int, num: int) -> None:
    """A shard of survivors, of which a tenth are near-duplicates of another and all show pictures of their own."""
    rng = random.Random(index)
    ids = sorted(rng.randbytes(16).hex() for _ in range(num))
    near = [ids[number - 1] if number % 10 == 9 else each for number, each in enumerate(ids)]
    columns = {"doc_id": ids, "url": ids, "warc_date": [f"2025-01-{rng.randrange(1, 29):02d}" for _ in ids],
               "url_group": ids, "exact_group": ids, "near_group": near,
               "image_set_group": [rng.randbytes(32).hex() for _ in ids], "earlier": [[] for _ in ids]}  # fmt: skip
    rows = (dict(zip(columns, values)) for values in zip(*columns.values()))
    write_shard(shard_path(f"{folder}/survivors", index, num_shards), rows, SURVIVORS)
    write_shard(shard_path(f"{folder}/judge_not_run", index, num_shards), [], NOT_RUN)


def run_survivors(folder: str, num: int, pages_a_shard: int, screen: Screen) -> Found:
    """Cost of the choice among duplicates."""
    num_shards = max(2, -(-num // pages_a_shard))
    Measured.meter = Meter()
    supervisor = Measured(2, f"{folder}/run", screen, "local", ())
    try:
        tasks = [Task(f"shard-{index}", write_survivors, (folder, index, num_shards, num // num_shards))
                 for index in range(num_shards)]  # fmt: skip
        supervisor.run("(make survivors)", tasks)
        for name in ("survivors", "judge_not_run"):
            commit_shards(f"{folder}/{name}", num_shards)
        kinds = ("url", "exact", "near", "image_set")
        task = Task("choose", choose_among_duplicates, (folder, f"{folder}/not_run", kinds))
        supervisor.run("select: choose among duplicates", [task])
    finally:
        supervisor.close()
    return Found(num, {"documents": num, "shards": num_shards}, Measured.meter.costs)


def check(folder: str, num_pages: int) -> None:
    """What came out is what was put in."""
    found = {name: count_rows(f"{folder}/{name}") for name in ("extract/documents", "score/documents")}
    assert set(found.values()) == {num_pages}, found
    num_images = 2 * num_pages + -(-num_pages // USES_OF_A_SHARED_IMAGE) + -(-num_pages // 10)
    dropped = {"image": 0, "record": 0}
    for path in list_shards(f"{folder}/extract/decisions"):
        for table in read_tables(path, ["unit"]):
            for value in table["unit"].to_pylist():
                dropped[value] += 1
    assert count_rows(f"{folder}/extract/images") + dropped["image"] == num_images, (dropped, num_images)
    corpus = count_rows(f"{folder}/select/documents")
    assert 0.8 * num_pages < corpus < num_pages, corpus
    assert count_rows(f"{folder}/tokenize/shards") == corpus


# ---------------------------------------------------------------------------------------------------------- whole runs


@dataclasses.dataclass(frozen=True, slots=True)
class Whole:
    """How whole runs are made."""

    archives: tuple[str, ...]
    workers: int
    pages_a_shard: int
    until: str
    on_s3: bool
    copies: str | None  # folder in which copies are kept
    rows_at_once: int


def run_pages(folder: str, num_pages: int, whole: Whole, screen: Screen) -> Found:
    """Costs of the steps of a whole run on copies of real archives: all archives as many times as it takes to have so
    many pages, so that all sizes have the same mix of pages."""
    counted = [count_responses(path) for path in whole.archives]
    rounds = -(-num_pages // sum(pages for pages, _ in counted))
    pages, pictures = (rounds * sum(numbers) for numbers in zip(*counted, strict=True))
    held = Path(whole.copies or folder)
    held.mkdir(parents=True, exist_ok=True)
    copies = [(path, f"{held}/{number:04d}-{Path(path).name}", number)
              for number in range(rounds) for path in whole.archives]  # fmt: skip
    Measured.meter = Meter()
    supervisor = Measured(whole.workers, f"{folder}/run", screen, "local", ())
    try:
        supervisor.run("(make archives)", [Task(Path(copy).name, copy_archive, (path, copy, number))
                                           for path, copy, number in copies if not Path(copy).exists()])  # fmt: skip
    finally:
        supervisor.close()
    facts = {"archives": len(copies), "archive_bytes": sum(os.path.getsize(copy) for _, copy, _ in copies),
             "pages": pages, "pictures": pictures, "shards": max(2, -(-pages // whole.pages_a_shard))}  # fmt: skip
    recipe = Path(folder, "recipe.yaml")
    recipe.write_text(
        f"name: scale\nextends: obelics\nnum_shards: {facts['shards']}\nscore: {{clip: null}}\n"
        "select: {image: {max_nsfw: null}}\n"
    )
    run_module.Supervisor = Measured  # type: ignore[misc]
    _in_batches_of(whole.rows_at_once)
    sources = [copy for _, copy, _ in copies]
    if whole.on_s3:
        with _on_s3() as (output, count_requests):
            Measured.meter = Meter(None, count_requests)
            _run_all(sources, str(recipe), output, whole, facts)
    else:
        Measured.meter = Meter(f"{folder}/out")
        _run_all(sources, str(recipe), f"{folder}/out", whole, facts)
    return Found(pages, facts, Measured.meter.costs)


def _in_batches_of(rows: int) -> None:
    """From now on the steps of this process have so many rows in a batch, and half as many images."""
    link_module.ROWS_AT_ONCE = rows
    run_select.__defaults__ = (rows,)
    run_join.__defaults__ = (rows // 2,)


def _run_all(sources: list[str], recipe: str, output: str, whole: Whole, facts: dict[str, int]) -> None:
    from gobelin.pipeline.cli.main import main as gobelin

    code = gobelin(["run", "--recipe", recipe, "--input", *sources, "--output", output, "--until", whole.until,
                    "--workers", str(whole.workers), "--quiet"])  # fmt: skip
    if code != 0:
        raise RuntimeError(f"the run ended with exit code {code}")
    facts |= {"documents": count_rows(f"{output}/extract/documents"), "images": count_rows(f"{output}/extract/images"),
              "kept_documents": count_rows(f"{output}/select/documents")}  # fmt: skip


@contextlib.contextmanager
def _on_s3() -> Iterator[tuple[str, Callable[[], Counter[str]]]]:
    """(output folder, requests of each method so far) on an S3 server in this process."""
    from tests.object_store import BUCKET, s3_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_server() as (endpoint, door):
        os.environ |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                       "AWS_REGION": "us-east-1"}  # fmt: skip
        yield f"s3://{BUCKET}/out", lambda: Counter(door.num_requests)


# ------------------------------------------------------------------------------------------------------------ the table


def table(found: dict[int, dict[str, Cost]]) -> list[str]:
    """Lines of Markdown: of each step microseconds of CPU a page and MiB, and the ratios to the smallest size."""
    sizes = sorted(found)
    heads = [f"{size:,} pages: us a page | MiB" + ("" if size == sizes[0] else " | ratios") for size in sizes]
    lines = [f"| step | {' | '.join(heads)} |", "|---|" + "---|" * (3 * len(sizes) - 1)]
    every = list(dict.fromkeys(title for size in sizes for title in found[size] if not title.startswith("(make")))
    titles = [title for title in every if not title.startswith("(")]
    for title in [*every, "all"]:
        cells, first = [], (0.0, 0)
        for size in sizes:
            costs = [cost for name, cost in found[size].items() if name == title or (title == "all" and name in titles)]
            each = 1e6 * sum(cost.cpu_seconds for cost in costs) / size
            peak = max((cost.peak_bytes for cost in costs), default=0)
            cells += [f"{each:.0f}", f"{peak / 2**20:.0f}"]
            if size == sizes[0]:
                first = each, peak
            else:
                ratios = [f"{value / of:.2f}" if of else "new" for value, of in zip((each, peak), first)]
                cells.append(", ".join(ratios))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def record(path: str, title: str, found: Found) -> None:
    """Adds a run to a file of JSON, in place of an earlier one of the same size."""
    file = Path(path)
    held = json.loads(file.read_text()) if file.exists() else {}
    steps = {name: {"cpu_seconds": round(cost.cpu_seconds, 2), "peak_mib": cost.peak_bytes >> 20,
                    "passed_bytes": cost.passed_bytes, "kept_bytes": cost.kept_bytes,
                    "requests": dict(sorted(cost.requests.items()))}
             for name, cost in found.costs.items() if not name.startswith("(make")}  # fmt: skip
    held.setdefault(title, {})[str(found.size)] = {"facts": found.facts, "steps": steps}
    file.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n")


def in_a_new_process(measure: Callable[[str, int], Found], folder: str, size: int) -> Found:
    """What it returns; so no run begins with the memory of the one before.

    Raises:
        RuntimeError: the process died.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=lambda: there.send(measure(folder, size)))
    process.start()
    there.close()
    try:
        found: Found = here.recv()
    except EOFError:
        raise RuntimeError(f"the run of {size:,} died") from None
    finally:
        process.join()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, nargs="+", default=[], metavar="N",
                        help="whole runs of so many pages, rounded up to all archives so many times")  # fmt: skip
    parser.add_argument("--copies", metavar="FOLDER",
                        help="--pages: keeps the copies of archives there, for the next run")  # fmt: skip
    parser.add_argument("--on-s3", action="store_true",
                        help="--pages: output on an S3 server in this process, whose requests are counted")  # fmt: skip
    parser.add_argument("--index", type=int, nargs="+", default=[], metavar="N", help="runs from a made-up index")
    parser.add_argument("--archives", type=Path, default=Path("../shared/corpus/web"), help="folder of WARC files")
    parser.add_argument("--until", default="select", help="last stage of --pages (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--pages-a-shard", type=int, default=5000, help="(%(default)s)")
    parser.add_argument("--rows-at-once", type=int, default=ROWS_AT_ONCE,
                        help="rows of a batch: a tenth of them makes the batches of ten times the pages "
                        "(%(default)s)")  # fmt: skip
    parser.add_argument("--survivors", type=int, nargs="+", default=[], metavar="N",
                        help="the choice among duplicates alone, of so many documents")  # fmt: skip
    parser.add_argument("--work", help="folder for what is made; it is deleted in the end (a temporary one)")
    parser.add_argument("--record", metavar="FILE", help="file of JSON to which what is measured is added")
    parser.add_argument(
        "--paper",
        action="store_true",
        help="what a month of Common Crawl would cost, from what --record holds (docs/scale.json)",
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE",
                        help="--paper: other parameters than those of bench/scale_paper.py")  # fmt: skip
    options = parser.parse_args()
    if options.paper:
        try:
            crawl = with_changes(options.set)
            print(
                "\n".join([*paper(crawl, read_measured(options.record or RECORDED)), "", "with", "", *describe(crawl)])
            )
        except UserError as error:
            parser.error(str(error))
        return 0
    screen = Screen(quiet=True)
    archives = tuple(sorted(map(str, options.archives.glob("*.warc.gz"))))
    if options.pages and not archives:
        parser.error(f"--archives: no *.warc.gz in {options.archives}")
    whole = Whole(archives, options.workers, options.pages_a_shard, options.until, options.on_s3, options.copies,
                  options.rows_at_once)  # fmt: skip
    runs: list[tuple[str, str, list[int], Callable[[str, int], Found]]] = [
        ("pages_on_s3" if options.on_s3 else "pages", "whole runs", options.pages,
         lambda folder, size: run_pages(folder, size, whole, screen)),
        ("index", "from a made-up index", options.index, lambda folder, size: run_index(
            folder, size, options.workers, options.pages_a_shard, options.rows_at_once, screen)),
        ("survivors", "choosing among duplicates", options.survivors, lambda folder, size: run_survivors(
            folder, size, options.pages_a_shard, screen)),
    ]  # fmt: skip
    for name, title, sizes, measure in runs:
        found: dict[int, dict[str, Cost]] = {}
        for size in sizes:
            start = time.monotonic()
            with tempfile.TemporaryDirectory(dir=options.work) as folder:
                run = in_a_new_process(measure, folder, size)
            found[run.size] = run.costs
            if options.record:
                record(options.record, name, run)
            facts = ", ".join(f"{number:,} {fact}" for fact, number in run.facts.items())
            print(f"{facts}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            print("\n".join([f"\n{title}, {options.workers} workers:\n", *table(found)]), flush=True)
    return 0


if __name__ == "__main__":
    from bench import scale  # by its name, under which workers find its functions

    sys.exit(scale.main())
