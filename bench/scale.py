"""What a page costs as the input grows: CPU-seconds a page and step, and the peak memory of any process.

    python bench/scale.py --pages 2000 20000 --archives ../shared/corpus/web [--until tokenize]
    python bench/scale.py --index 10000 100000 1000000
    python bench/scale.py --survivors 10000 1000000

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
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gobelin.data.ids import document_id
from gobelin.data.model import Action, Decision, Node, Role, Unit, to_row
from gobelin.data.schemas import ARCHIVES, DECISIONS, IMAGE_CODES, NOT_RUN
from gobelin.pipeline.run import run as run_module
from gobelin.pipeline.run.cpu_time import tree_seconds
from gobelin.pipeline.run.plan import Plan
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.state import count_rows
from gobelin.pipeline.run.supervisor import Supervisor
from gobelin.pipeline.run.worker import Task
from gobelin.pipeline.stages.link import ROWS_AT_ONCE, LinkJob, run_link
from gobelin.pipeline.stages.score import JoinJob, run_join
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
from gobelin.transforms.duplicates.find_duplicates import DOCUMENT_GROUPS, IMAGE_GROUPS
from gobelin.transforms.extract.extract import IMAGE_INDEX, PAGE_INDEX, address_keys
from gobelin.transforms.rights.site_policy import POLICY_INDEX
from gobelin.transforms.score.measure import MEASUREMENTS, ScoreConfig, measure_document
from gobelin.transforms.selection.choose import choose_among_duplicates
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_rules import DocumentRules
from gobelin.transforms.selection.write_corpus import SURVIVORS
from gobelin.transforms.urls import host_of, url_key

Row = dict[str, Any]
PAGES_A_FOLDER = 5000  # of the made-up index: what one process of ``read_archives`` might leave
IMAGES_OF_A_PAGE, PAGES_OF_A_HOST, USES_OF_A_SHARED_IMAGE, PAGES_A_REVISIT = 3, 50, 20, 20
TEXT = """harbour market boat light water stone bridge window garden river morning evening people story road field
summer winter glass paper silver yellow house letter island forest mountain village engine signal"""
WORDS = TEXT.split()


# ----------------------------------------------------------------------------------------------------- what is measured


@dataclasses.dataclass(slots=True)
class Cost:
    """Of one step."""

    cpu_seconds: float = 0.0
    peak_bytes: int = 0


class Meter:
    """Costs of steps, by title."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        cost = self.costs.setdefault(title, Cost())
        for pid in _tree():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        done = threading.Event()
        own = [0.0]
        watcher = threading.Thread(target=_watch, args=(cost, done, own))
        before = tree_seconds()
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            cost.cpu_seconds += tree_seconds() - before - own[0]


def _watch(cost: Cost, done: threading.Event, own: list[float]) -> None:
    is_last = False
    while not is_last:
        is_last = done.wait(0.2)
        for pid in _tree():
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
                cost.peak_bytes = max(cost.peak_bytes, peak * 1024)
    own[0] = time.thread_time()


def _tree() -> list[int]:
    """This process and all below it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, below = [], [os.getpid()]
    while below:
        pid = below.pop()
        found.append(pid)
        below += children.get(pid, ())
    return found


class Measured(Supervisor):
    """A supervisor whose steps are measured."""

    meter = Meter()

    def run(
        self, title: str, tasks: Sequence[Task], unit: str = "", total: int | None = None, threads: int = 1
    ) -> None:
        if tasks:
            with self.meter.step(title):
                super().run(title, tasks, unit, total, threads)


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
             "dhash": rng.randbytes(8).hex(), "colour": rng.randbytes(48).hex(), "thumbnail": rng.randbytes(1160).hex(),
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
) -> dict[str, Cost]:
    """Costs of the steps on a made-up index."""
    num_shards = max(2, -(-num_pages // pages_a_shard))
    Measured.meter = Meter()
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
    return Measured.meter.costs


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


def run_survivors(folder: str, num: int, pages_a_shard: int, screen: Screen) -> dict[str, Cost]:
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
    return Measured.meter.costs


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


# ---------------------------------------------------------------------------------------------- archives from real ones


_TEXT = re.compile(r">([^<>]{80,})<")
_LONG_WORD = re.compile(r"\b[a-z]{6,}\b")
_HEADERS = ("content-encoding", "transfer-encoding", "content-length")


def copy_archive(source: str, target: str, number: int) -> None:
    """A copy of a WARC file, record by record: other hosts, other order of sentences and of long words, other bytes of
    images."""
    from warcio.archiveiterator import ArchiveIterator

    rng = random.Random(f"{source} {number}")
    partial = f"{target}.part"
    with open(source, "rb") as given, open(partial, "wb") as stream:
        for record in ArchiveIterator(given):
            url = record.rec_headers.get_header("WARC-Target-URI")
            if record.rec_type != "response" or not url or record.http_headers is None:
                continue
            kind = record.http_headers.get_header("Content-Type") or ""
            body = record.content_stream().read()
            if "html" in kind:
                body = _other_text(body.decode("utf-8", "surrogateescape"), rng).encode("utf-8", "surrogateescape")
                body = _other_hosts(body, number)
            elif kind.startswith("image/") and "svg" not in kind:
                body += f"{number:08d}".encode()
            stream.write(gzip.compress(_record(record, _other_hosts(url.encode(), number), body), 1, mtime=0))
    os.replace(partial, target)


def _other_hosts(data: bytes, number: int) -> bytes:
    return re.sub(rb"(https?:)?//(?=[a-z0-9])", lambda match: match[0] + b"c%d." % number, data)


def _other_text(page: str, rng: random.Random) -> str:
    return _TEXT.sub(lambda match: f">{_shuffled(match[1], rng)}<", page)


def _shuffled(text: str, rng: random.Random) -> str:
    sentences = text.split(". ")
    rng.shuffle(sentences)
    text = ". ".join(sentences)
    words: dict[int, list[str]] = {}
    for word in _LONG_WORD.findall(text):
        words.setdefault(len(word), []).append(word)
    for alike in words.values():
        rng.shuffle(alike)
    return _LONG_WORD.sub(lambda match: words[len(match[0])].pop(), text)


def _record(record: Any, url: bytes, body: bytes) -> bytes:
    headers = [f"{name}: {value}" for name, value in record.http_headers.headers if name.lower() not in _HEADERS]
    head = "\r\n".join([f"HTTP/1.1 {record.http_headers.statusline}", *headers, f"Content-Length: {len(body)}"])
    block = head.encode("utf-8", "replace") + b"\r\n\r\n" + body
    lines = ["WARC/1.1", "WARC-Type: response", f"WARC-Date: {record.rec_headers.get_header('WARC-Date')}",
             f"WARC-Target-URI: {url.decode()}", "Content-Type: application/http; msgtype=response",
             f"Content-Length: {len(block)}"]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def count_pages(path: str) -> int:
    """HTML responses in a WARC file."""
    from warcio.archiveiterator import ArchiveIterator

    with open(path, "rb") as stream:
        return sum(
            record.rec_type == "response"
            and record.http_headers is not None
            and "html" in (record.http_headers.get_header("Content-Type") or "")
            for record in ArchiveIterator(stream)
        )


def run_pages(
    folder: str, num_pages: int, workers: int, pages_a_shard: int, screen: Screen, archives: list[str], until: str
) -> dict[str, Cost]:
    """Costs of the steps of a whole run on copies of real archives."""
    from gobelin.pipeline.cli.main import main as gobelin

    sizes = {path: count_pages(path) for path in archives}
    copies, total = [], 0
    while total < num_pages:
        source = archives[len(copies) % len(archives)]
        copies.append((source, f"{folder}/copy-{len(copies):05d}.warc.gz", len(copies) // len(archives)))
        total += sizes[source]
    Measured.meter = Meter()
    supervisor = Measured(workers, f"{folder}/run", screen, "local", ())
    try:
        supervisor.run("(make archives)", [Task(Path(each[1]).stem, copy_archive, each) for each in copies])
    finally:
        supervisor.close()
    recipe = Path(folder, "recipe.yaml")
    num_shards = max(2, -(-total // pages_a_shard))
    recipe.write_text(
        f"name: scale\nextends: obelics\nnum_shards: {num_shards}\nscore: {{clip: null}}\n"
        "select: {image: {max_nsfw: null}}\n"
    )
    run_module.Supervisor = Measured  # type: ignore[misc]
    code = gobelin(["run", "--recipe", str(recipe), "--input", f"{folder}/copy-*.warc.gz", "--output", f"{folder}/out",
                    "--until", until, "--workers", str(workers), "--quiet"])  # fmt: skip
    if code != 0:
        raise RuntimeError(f"the run ended with exit code {code}")
    print(f"{total} pages; documents: {count_rows(f'{folder}/out/select/documents')} of "
          f"{count_rows(f'{folder}/out/extract/documents')} kept")  # fmt: skip
    return Measured.meter.costs


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, nargs="+", default=[], metavar="N", help="whole runs of so many pages")
    parser.add_argument("--index", type=int, nargs="+", default=[], metavar="N", help="runs from a made-up index")
    parser.add_argument("--archives", type=Path, default=Path("../shared/corpus/web"), help="folder of WARC files")
    parser.add_argument("--until", default="select", help="last stage of --pages (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--pages-a-shard", type=int, default=5000, help="(%(default)s)")
    parser.add_argument("--rows-at-once", type=int, default=ROWS_AT_ONCE,
                        help="rows of a batch of --index: a tenth of them makes the batches of ten times the pages "
                        "(%(default)s)")  # fmt: skip
    parser.add_argument("--survivors", type=int, nargs="+", default=[], metavar="N",
                        help="the choice among duplicates alone, of so many documents")  # fmt: skip
    parser.add_argument("--work", help="folder for what is made; it is deleted in the end (a temporary one)")
    options = parser.parse_args()
    screen = Screen(quiet=True)
    archives = sorted(map(str, options.archives.glob("*.warc.gz")))
    runs: list[tuple[str, list[int], Callable[[str, int], dict[str, Cost]]]] = [
        ("whole runs", options.pages, lambda folder, size: run_pages(
            folder, size, options.workers, options.pages_a_shard, screen, archives, options.until)),
        ("from a made-up index", options.index, lambda folder, size: run_index(
            folder, size, options.workers, options.pages_a_shard, options.rows_at_once, screen)),
        ("choosing among duplicates", options.survivors, lambda folder, size: run_survivors(
            folder, size, options.pages_a_shard, screen)),
    ]  # fmt: skip
    for title, sizes, measure in runs:
        found: dict[int, dict[str, Cost]] = {}
        for size in sizes:
            start = time.monotonic()
            with tempfile.TemporaryDirectory(dir=options.work) as folder:
                found[size] = measure(folder, size)
            print(f"{size:,} pages: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            print("\n".join([f"\n{title}, {options.workers} workers:\n", *table(found)]), flush=True)
    return 0


if __name__ == "__main__":
    import scale  # by its name, under which workers find its functions

    sys.exit(scale.main())
