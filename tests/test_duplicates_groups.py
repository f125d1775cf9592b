"""Groups over a corpus and earlier runs: both ways against brute force, whatever the order and the number of shards."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.schemas import DECISIONS, IMAGE_SIGNATURES, SIGNATURES
from gobelin.pipeline.stages import score_duplicates as duplicate_groups
from gobelin.pipeline.stages.score_duplicates import MAX_EDGES_OF_ONE_WORKER, find_groups
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import read_folder
from gobelin.transforms.duplicates.find_duplicates import DuplicatesJob, find_duplicates
from gobelin.transforms.duplicates.image_duplicates import NearImageConfig
from gobelin.transforms.duplicates.minhash import MinHashConfig, min_equal_bytes
from gobelin.transforms.duplicates.signatures import document_signature, signature_metadata
from gobelin.transforms.images.thumbnail import NUM_CELLS
from tests.naive_image_groups import naive_image_groups

Make = Callable[..., Any]
Row = dict[str, Any]
CONFIG = MinHashConfig(similarity=0.7)
NEAR = NearImageConfig()
WORDS = [f"word{number}" for number in range(300)]
EARLIER = ("earlier/one", "earlier/two")
MEASURED = pa.schema([("doc_id", pa.string()), ("paragraphs", pa.list_(pa.int64())), ("images", pa.list_(pa.string()))])


def make_documents(rng: np.random.Generator, num: int) -> list[Row]:
    """Copies, near-copies and others, of few URLs on few hosts, some without words."""
    rows: list[Row] = []
    for number in range(num):
        words = [str(word) for word in rng.choice(WORDS, 60)]
        if rows and number % 3:
            words = str(rng.choice([row["text"] for row in rows])).split() or words
            for _ in range(int(rng.integers(0, 4))):
                words[int(rng.integers(len(words)))] = "changed"
        text = "" if number % 17 == 5 else " ".join(words)
        url = f"https://{rng.choice(['a', 'b'])}.example/{rng.integers(num // 2)}"
        date = f"2025-01-{rng.integers(1, 9):02}T00:00:00Z"
        row = {"doc_id": f"{rng.integers(2**60):015x}", "url": url, "warc_date": date, "text": text}
        row["paragraphs"] = [int(key) for key in rng.integers(0, 40, rng.integers(1, 5))] + [None]
        rows.append(row)
    return rows


def make_images(rng: np.random.Generator, num: int) -> list[Row]:
    """A few bits and colour steps from few centres, so that some are near, some not, and some in chains."""
    rows = []
    centres = [
        (
            int(rng.integers(2**62)),
            int(rng.integers(2**62)),
            rng.integers(0, 255, 48),
            rng.integers(0, 255, (2, NUM_CELLS)),
        )
        for _ in range(num // 6)
    ]
    for _ in range(num):
        phash, dhash, colour, greys = centres[int(rng.integers(len(centres)))]
        grey = np.clip(greys[int(rng.random() < 0.2)] + rng.integers(-12, 13, NUM_CELLS), 0, 255).astype(np.uint8)
        width = int(rng.choice([300, 400]))
        phash ^= sum(1 << int(bit) for bit in rng.choice(62, rng.integers(0, 5), replace=False))
        dhash ^= sum(1 << int(bit) for bit in rng.choice(62, rng.integers(0, 9), replace=False))
        colour = np.clip(colour + rng.integers(-6, 7, 48) * rng.integers(0, 2), 0, 255).astype(np.uint8)
        rows.append({"image_id": f"{rng.integers(2**60):064x}", "phash": f"{phash:016x}", "dhash": f"{dhash:016x}",
                     "colour": colour.tobytes().hex(),
                     "thumbnail": f"{width:08x}{width:08x}{grey.tobytes().hex()}"})  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, write_data_set: Make) -> Any:
    """Documents and images of this run and of two earlier ones, some of them in several; some dropped earlier."""
    rng = np.random.default_rng(3)
    documents, images = make_documents(rng, 150), make_images(rng, 90)
    runs: dict[str | None, Any] = {}
    folder = tmp_path_factory.mktemp("duplicates")
    for part, name in enumerate((None, *EARLIER)):
        chosen = [row for number, row in enumerate(documents) if number % 3 == part or number % 10 == 9]
        pictures = [row for number, row in enumerate(images) if number % 3 == part or number % 10 == 9]
        pictures = [{**row, "num_documents": number % 4} for number, row in enumerate(pictures)]
        for row in chosen:
            row.setdefault("images", sorted({str(rng.choice([p["image_id"] for p in pictures])) for _ in range(2)}))
        dropped = {row["doc_id"] for row in chosen[::4]} if name == EARLIER[0] else set()
        runs[name] = (chosen, pictures, dropped)
        if name is not None:
            base = folder / name
            signed = [document_signature(row, row["text"], CONFIG) for row in chosen]
            write_data_set(
                base / "score/signatures/documents", signed, SIGNATURES, 2, "doc_id", signature_metadata(CONFIG)
            )
            write_data_set(base / "score/signatures/images", pictures, IMAGE_SIGNATURES, 2, "image_id")
            if dropped:
                rows = [
                    to_row(Decision("select", Unit.DOCUMENT, Action.DROP, "a.rule", doc_id=each)) for each in dropped
                ]
                rows.append(to_row(Decision("select", Unit.NODE, Action.DROP, "b.rule", doc_id=chosen[1]["doc_id"])))
                write_data_set(base / "select/decisions", rows, DECISIONS, 2)
    own_ids = {row["image_id"] for row in runs[None][1]}
    for row in runs[None][0]:
        row["images"] = [each for each in row["images"] if each in own_ids]
    return folder, runs


def job_of(folder: Path, runs: Any, target: Path, num_shards: int, write_data_set: Make, seed: int) -> DuplicatesJob:
    own, pictures, _ = runs[None]
    rng = np.random.default_rng(seed)
    own, pictures = [[rows[at] for at in rng.permutation(len(rows))] for rows in (own, pictures)]
    signed = [document_signature(row, row["text"], CONFIG) for row in own]
    work = target / "work"
    write_data_set(target / "signatures", signed, SIGNATURES, num_shards, "doc_id", signature_metadata(CONFIG))
    write_data_set(work / "measurements", own, MEASURED, num_shards)
    write_data_set(target / "images", pictures, IMAGE_SIGNATURES, num_shards, "image_id")
    earlier = tuple(str(folder / name) for name in EARLIER)
    return DuplicatesJob(str(target / "signatures"), str(work / "measurements"), str(target / "images"), str(work),
                         num_shards, CONFIG, NEAR, earlier)  # fmt: skip


def group_here(job: DuplicatesJob) -> None:
    find_duplicates(job)
    for name in ("document_groups", "image_groups"):
        assert commit_shards(f"{job.work}/{name}", job.num_shards)


def read_groups(job: DuplicatesJob) -> tuple[list[Row], list[Row]]:
    documents = sorted(read_folder(f"{job.work}/document_groups"), key=lambda row: row["doc_id"])
    for row in documents:
        for earlier in row["earlier"]:
            earlier["run"] = "/".join(earlier["run"].split("/")[-2:])
    return documents, sorted(read_folder(f"{job.work}/image_groups"), key=lambda row: row["image_id"])


@pytest.fixture(scope="module")
def found(corpus: Any, tmp_path_factory: pytest.TempPathFactory, write_data_set: Make) -> tuple[list[Row], list[Row]]:
    job = job_of(*corpus, tmp_path_factory.mktemp("local"), 3, write_data_set, 1)
    group_here(job)
    return read_groups(job)


def components(ids: list[str], pairs: Any) -> dict[str, str]:
    """Smallest id that each is connected with, by repeated passes."""
    group = {each: each for each in ids}
    pairs = list(pairs)
    for _ in ids:
        before = dict(group)
        for a, b in pairs:
            group[a] = group[b] = min(group[a], group[b])
        if group == before:
            break
    return group


def expected_documents(runs: Any) -> dict[str, Row]:
    """By definition: all pairs compared, the kept documents of earlier runs looked for in each group."""
    every = {row["doc_id"]: row for chosen, _, _ in runs.values() for row in chosen}
    signed = {name: document_signature(row, row["text"], CONFIG) for name, row in every.items()}

    def alike(kind: str, a: str, b: str) -> bool:
        one, other = signed[a], signed[b]
        if kind == "url":
            return one["url_key"] == other["url_key"]
        if not one["sketch"] or not other["sketch"]:
            return False  # no words
        if kind == "exact":
            return one["text_digest"] == other["text_digest"]
        equal = sum(x == y for x, y in zip(one["sketch"], other["sketch"], strict=True))
        return bool(set(one["bands"]) & set(other["bands"])) and equal >= min_equal_bytes(CONFIG)

    own = {row["doc_id"] for row in runs[None][0]}
    expected: dict[str, Row] = {name: {"earlier": []} for name in own}
    for kind in ("exact", "near", "url"):
        pairs = [(a, b) for a, b in itertools.combinations(sorted(every), 2) if alike(kind, a, b)]
        group = components(sorted(every), pairs)
        for name in own:
            expected[name][f"{kind}_group"] = group[name]
            kept = [
                (row["warc_date"], row["doc_id"], run)
                for run, (chosen, _, dropped) in runs.items()
                if run is not None
                for row in chosen
                if row["doc_id"] not in dropped and group[row["doc_id"]] == group[name]
            ]
            if kept:
                latest = max(date for date, _, _ in kept)
                _, doc_id, run = min(each for each in kept if each[0] == latest)
                known_as = "older_url" if kind == "url" and latest < every[name]["warc_date"] else kind
                expected[name]["earlier"].append({"kind": known_as, "doc_id": doc_id, "run": run})
    for row in expected.values():
        row["earlier"].sort(key=lambda each: each["kind"])
    return expected


def test_documents_against_brute_force(corpus: Any, found: Any) -> None:
    expected = expected_documents(corpus[1])
    for row in found[0]:
        assert {name: row[name] for name in expected[row["doc_id"]]} == expected[row["doc_id"]]
    assert {row["doc_id"] for row in found[0]} == set(expected)
    kinds = {earlier["kind"] for row in found[0] for earlier in row["earlier"]}
    assert kinds == {"url", "older_url", "exact", "near"}, "the corpus should hold each kind"
    assert {earlier["run"] for row in found[0] for earlier in row["earlier"]} == set(EARLIER)


def test_site_counts_against_brute_force(corpus: Any, found: Any) -> None:
    rows = {row["doc_id"]: row for row in corpus[1][None][0]}
    counts: dict[int | None, int] = defaultdict(int)
    for row in rows.values():
        for key in row["paragraphs"]:
            counts[key] += 1
    for row in found[0]:
        keys = rows[row["doc_id"]]["paragraphs"]
        assert row["site_counts"] == [None if key is None else counts[key] for key in keys]


def test_images_against_brute_force(corpus: Any, found: Any) -> None:
    _, runs = corpus
    every = {row["image_id"]: row for _, pictures, _ in runs.values() for row in pictures}
    ids = sorted(every)
    group = naive_image_groups(list(every.values()), NEAR)
    users = {each: {row["doc_id"] for row in runs[None][0] if each in row["images"]} for each in ids}
    before = dict.fromkeys(ids, 0)
    for name in EARLIER:
        for row in runs[name][1]:
            before[row["image_id"]] += row["num_documents"]
    assert {row["image_id"] for row in found[1]} == {row["image_id"] for row in runs[None][1]}
    for row in found[1]:
        members = [each for each in ids if group[each] == group[row["image_id"]]]
        near = len(set().union(*(users[each] for each in members))) + sum(before[each] for each in members)
        own = len(users[row["image_id"]])
        assert (row["near_group"], row["near_count"]) == (group[row["image_id"]], near)
        assert (row["own_documents"], row["num_documents"]) == (own, own + before[row["image_id"]])
    by_hashes = naive_image_groups(list(every.values()), dataclasses.replace(NEAR, verify=False))
    assert len(set(by_hashes.values())) + 2 < len(set(group.values())) < 0.95 * len(ids)


@pytest.mark.parametrize(("num_shards", "max_edges"), [(2, MAX_EDGES_OF_ONE_WORKER), (5, 0)])
def test_beam_gives_the_same_answer(
    corpus: Any, found: Any, tmp_path: Path, write_data_set: Make, num_shards: int, max_edges: int, plan_here: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By union-find in one worker, and by rounds of stars; other shards, other order of rows."""
    monkeypatch.setattr(duplicate_groups, "MAX_EDGES_OF_ONE_WORKER", max_edges)
    job = job_of(*corpus, tmp_path, num_shards, write_data_set, num_shards)
    find_groups(plan_here(), job)
    assert read_groups(job) == found


def test_order_and_shards_do_not_matter(corpus: Any, found: Any, tmp_path: Path, write_data_set: Make) -> None:
    job = job_of(*corpus, tmp_path, 4, write_data_set, 9)
    group_here(job)
    assert read_groups(job) == found


def test_image_signatures_of_an_older_gobelin_are_refused(corpus: Any, tmp_path: Path, write_data_set: Make) -> None:
    folder, runs = corpus
    old = tmp_path / EARLIER[0]
    shutil.copytree(folder / EARLIER[0], old)
    schema = IMAGE_SIGNATURES.remove(IMAGE_SIGNATURES.get_field_index("thumbnail"))
    shutil.rmtree(old / "score/signatures/images")
    write_data_set(old / "score/signatures/images", runs[EARLIER[0]][1], schema, 2, "image_id")
    job = job_of(folder, runs, tmp_path, 1, write_data_set, 0)
    object.__setattr__(job, "earlier", (str(old),))
    with pytest.raises(ValueError, match="older gobelin"):
        find_duplicates(job)


def test_signatures_of_another_kind_are_refused(corpus: Any, tmp_path: Path, write_data_set: Make) -> None:
    job = job_of(*corpus, tmp_path, 1, write_data_set, 0)
    object.__setattr__(job, "minhash", MinHashConfig(similarity=0.9))
    with pytest.raises(ValueError, match="of another kind"):
        group_here(job)


def test_a_folder_without_signatures_is_refused(corpus: Any, tmp_path: Path, write_data_set: Make) -> None:
    job = job_of(*corpus, tmp_path, 1, write_data_set, 0)
    object.__setattr__(job, "earlier", (str(tmp_path / "nothing"),))
    with pytest.raises(ValueError, match="holds no signatures"):
        group_here(job)
