"""Made-up data for bench/scale.py: an index of small pages with images; measurements, groups and codes of the linked
documents; survivors of the selection."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from pathlib import Path
from typing import Any

from gobelin.data.ids import document_id
from gobelin.data.model import Action, Decision, Node, Role, Unit, to_row
from gobelin.data.schemas import ARCHIVES, DECISIONS, IMAGE_CODES, NOT_RUN
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import read_rows, write_decisions, write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.archives.revisits import REVISIT_INDEX
from gobelin.transforms.duplicates.groups import DOCUMENT_GROUPS, IMAGE_GROUPS
from gobelin.transforms.extract.indexes import IMAGE_INDEX, PAGE_INDEX, address_keys
from gobelin.transforms.rights.site_policy import POLICY_INDEX
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.score.measure import MEASUREMENTS, measure_document
from gobelin.transforms.selection.write_corpus import SURVIVORS
from gobelin.transforms.urls import host_of, url_key

Row = dict[str, Any]
PAGES_A_FOLDER = 5000  # of the made-up index: what one process of ``read_archives`` might leave
IMAGES_OF_A_PAGE, PAGES_OF_A_HOST, USES_OF_A_SHARED_IMAGE, PAGES_A_REVISIT = 3, 50, 20, 20
TEXT = """harbour market boat light water stone bridge window garden river morning evening people story road field
summer winter glass paper silver yellow house letter island forest mountain village engine signal"""
WORDS = TEXT.split()


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
        rows["decisions"].append(dict(to_row(decision)))


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
