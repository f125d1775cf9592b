"""Runs of bench/scale.py on made-up data (bench/scale_made.py): from linking to token shards, and the choice among
duplicates."""

from __future__ import annotations

import dataclasses
import shutil

from bench.scale_made import (
    USES_OF_A_SHARED_IMAGE,
    WORDS,
    Made,
    write_index,
    write_measurements,
    write_survivors,
)
from bench.scale_meter import Found, Measured, Meter
from gobelin.pipeline.run.plan import Plan
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.worker import Task
from gobelin.pipeline.stages.extract_link import LinkJob, run_link
from gobelin.pipeline.stages.extract_missing import WantJob, run_want
from gobelin.pipeline.stages.score_join import JoinJob, run_join
from gobelin.pipeline.stages.select import SelectJob, run_select
from gobelin.pipeline.stages.tokenize import AssembleJob, partition_shown, run_assembly, shuffle_into_shards
from gobelin.store.dataset import Attempt, commit_shards, num_rows_of
from gobelin.store.tables import list_shards, read_tables
from gobelin.tokenize.assemble import SequenceLayout
from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.config import TokenizeConfig
from gobelin.tokenize.text_tokenizer import fit_bpe
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.transforms.selection.choose import choose_among_duplicates
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """How much is made up, and how it is dealt out."""

    pages: int
    pages_a_shard: int
    rows_at_once: int
    workers: int

    @property
    def shards(self) -> int:
        return max(2, -(-self.pages // self.pages_a_shard))


def run_index(folder: str, sizes: Sizes, screen: Screen) -> Found:
    """Costs of the steps on a made-up index."""
    Measured.meter = Meter(folder)
    supervisor = Measured(sizes.workers, f"{folder}/run", screen, "local", ())
    plan = Plan(supervisor, sizes.workers)
    extract, score, select = (Attempt(f"{folder}/{name}", "") for name in ("extract", "score", "select"))
    try:
        _link(supervisor, plan, extract, f"{folder}/index", f"{folder}/work", sizes)
        _join(supervisor, plan, extract, score, f"{folder}/work", sizes)
        _select(plan, extract, score, select, f"{folder}/work", sizes)
        _tokenize(plan, select.data("documents"), f"{folder}/tokenize", f"{folder}/work", sizes)
        _check(folder, sizes.pages)
    finally:
        supervisor.close()
    return Found(sizes.pages, {"pages": sizes.pages, "shards": sizes.shards}, Measured.meter.costs)


def _link(supervisor: Measured, plan: Plan, extract: Attempt, index: str, work: str, sizes: Sizes) -> None:
    """Makes the index and links it."""
    made = Made(index, sizes.pages)
    tasks = [Task(f"index-{number}", write_index, (made, number)) for number in range(len(made.read_folders))]
    supervisor.run("(make the index)", tasks)
    want = WantJob(made.read_folders, (), work, "wanted", 2, sizes.shards)
    run_want(plan, "extract: missing images", want, sizes.rows_at_once)
    link = LinkJob(made.read_folders, (), f"{work}/link", extract, sizes.shards, ("gptbot",))
    run_link(plan, link, sizes.rows_at_once)
    shutil.rmtree(made.folder)
    shutil.rmtree(f"{work}/link")


def _join(supervisor: Measured, plan: Plan, extract: Attempt, score: Attempt, work: str, sizes: Sizes) -> None:
    """Makes scores up and joins them with images and documents."""
    documents, images = extract.data("documents"), extract.data("images")
    tasks = [
        Task(f"measure-{shard}", write_measurements, (documents, images, work, shard, sizes.shards))
        for shard in range(sizes.shards)
    ]
    supervisor.run("(make up measurements)", tasks)
    made = ("measurements", "document_groups", "image_groups", "codes", "measure_decisions", "encode_decisions")
    for name in made:
        commit_shards(f"{work}/{name}", sizes.shards)
    job = JoinJob(images, work, score, sizes.shards, None, False)
    run_join(plan, job, sizes.pages, num_rows_of(images), sizes.rows_at_once // 2)


def _select(plan: Plan, extract: Attempt, score: Attempt, select: Attempt, work: str, sizes: Sizes) -> None:
    config = SelectConfig(document=DocumentRules(unique=("url", "exact", "near", "image_set")))
    documents = extract.data("documents"), score.data("documents")
    job = SelectJob(config, *documents, f"{work}/select", select, sizes.shards)
    run_select(plan, job, sizes.pages, sizes.rows_at_once)


def _tokenize(plan: Plan, corpus: str, output: str, work: str, sizes: Sizes) -> None:
    """Puts sequences and token shards together."""
    tokenizer = fit_bpe([" ".join(WORDS)] * 4, 400)
    book = Codebook(name="image", kind="vqvae", num_codes=16, rows=4, columns=4, fingerprint="0" * 64)
    vocabulary = Vocabulary(
        text_size=tokenizer.size,
        codebooks=(book,),
        text_fingerprint=tokenizer.fingerprint,
        text_token_bytes=tuple(map(len, tokenizer.token_bytes)),
    )
    codes, decisions = f"{work}/codes", f"{work}/encode_decisions"
    job = AssembleJob(corpus, codes, decisions, Attempt(output, ""), f"{work}/sequences", sizes.shards, vocabulary,
                      tokenizer, SequenceLayout())  # fmt: skip
    shown = partition_shown(plan, corpus, f"{work}/tokenize", sizes.shards)
    run_assembly(plan, job, f"{work}/tokenize", shown, num_rows_of(corpus), sizes.rows_at_once)
    shuffle_into_shards(plan, job, f"{work}/tokenize", TokenizeConfig().shard_tokens)


def _check(folder: str, num_pages: int) -> None:
    """What came out is what was put in."""
    found = {name: num_rows_of(f"{folder}/{name}") for name in ("extract/documents", "score/documents")}
    assert set(found.values()) == {num_pages}, found
    num_images = 2 * num_pages + -(-num_pages // USES_OF_A_SHARED_IMAGE) + -(-num_pages // 10)
    dropped = {"image": 0, "record": 0}
    for path in list_shards(f"{folder}/extract/decisions"):
        for table in read_tables(path, ["unit"]):
            for value in table["unit"].to_pylist():
                dropped[value] += 1
    assert num_rows_of(f"{folder}/extract/images") + dropped["image"] == num_images, (dropped, num_images)
    corpus = num_rows_of(f"{folder}/select/documents")
    assert 0.8 * num_pages < corpus < num_pages, corpus
    assert num_rows_of(f"{folder}/tokenize/shards") == corpus


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
