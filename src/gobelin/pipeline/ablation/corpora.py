"""The tokenized corpora of an ablation: documents as extracted, as select left them, and an independent set.

    raw          all documents that reached ``select``, without any rule; personal data is replaced as in the recipe
    curated      the corpus of the run
    independent  documents of another output folder, without any rule, and without duplicates of the run's documents
    tokenizers   fitted once, on the raw documents that are not held out

They are in ``OUT/ablation/data-<key>``. Each corpus is an output folder with only some of the stages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import xxhash

from gobelin.data.schemas import DOCUMENTS
from gobelin.pipeline.ablation.arms import Sizes, read_sizes
from gobelin.pipeline.recipe.recipe import Recipe, fingerprint
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.counts import count_images_shown
from gobelin.pipeline.run.inputs import Archive
from gobelin.pipeline.run.keys import stage_keys
from gobelin.pipeline.run.supervisor import Supervisor
from gobelin.pipeline.run.worker import Task
from gobelin.pipeline.stages.select import select
from gobelin.pipeline.stages.tokenize import tokenize
from gobelin.pipeline.stages.tokenize_fit import IMAGE_TOKENIZER, fit_tokenizers
from gobelin.pipeline.stages.train_held_out import hold_out_of
from gobelin.store.dataset import commit_shards
from gobelin.store.files import exists, read_json, write_json
from gobelin.store.paths import join
from gobelin.store.shards import read_folder, read_rows, write_shard
from gobelin.store.tables import list_shards, shard_path
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.held_out import FILE_NAME, HeldOut
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.node_thresholds import TextRules

TARGETS = "targets.json"
"""Which documents and pairs models are measured on; written before any is trained."""

MIN_MARK_CHARS = 100
"""Texts with at least this many characters identify a document."""

MOST_SHARED = 0.5
"""Share of the pictures and long texts of an independent document that the run's documents may hold. Some are the same
everywhere: a licence, a badge."""

MAX_PAIRS = 200
"""Pairs of a caption and a picture that the grounding gap of a held-out set is measured on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """An output folder whose stage ``score`` is done."""

    output: str
    recipe: Recipe
    archives: tuple[Archive, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Data:
    """The folder of the tokenized corpora."""

    folder: str

    def home(self, corpus: str) -> str:
        """The output folder of a corpus: raw, curated, independent or tokenizers."""
        return join(self.folder, corpus)

    def shards(self, corpus: str) -> str:
        return join(self.home(corpus), "tokenize", "shards")

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.load(join(self.home("raw"), "tokenize"))

    @property
    def held_out(self) -> HeldOut:
        return HeldOut.load(join(self.folder, FILE_NAME))

    def trainable(self) -> tuple[Sizes, Sizes]:
        """Documents that may be trained on, raw and curated."""
        held_out = self.held_out
        apart = {*held_out.documents, *held_out.left_out}
        raw, curated = (
            {doc_id: size for doc_id, size in self.sizes(corpus).items() if doc_id not in apart}
            for corpus in ("raw", "curated")
        )
        return raw, curated

    def sizes(self, corpus: str) -> dict[str, Any]:
        return read_sizes(join(self.home(corpus), "tokenize", "index"))

    def targets(self) -> dict[str, dict[str, Any]]:
        """For each held-out set: its corpus, the ids of its documents, and its pairs."""
        found: dict[str, dict[str, Any]] = read_json(join(self.folder, TARGETS))
        return found


def without_rules(select: SelectConfig) -> SelectConfig:
    """A select section that drops nothing. Personal data is still replaced, because that is no question of quality."""
    return SelectConfig(text=TextRules(max_site_count=None), pii=select.pii, unscored_for_safety="keep")


def data_key(source: Source, independent: Source | None) -> str:
    """Digest of everything that determines the tokenized corpora."""
    keys, train = stage_keys(source.recipe, source.archives), source.recipe.train
    other = None if independent is None else stage_keys(independent.recipe, independent.archives)["score"]
    given = None if train.held_out is None else HeldOut.load(train.held_out).fingerprint
    return fingerprint(keys["tokenize"], train.validation_ratio, given, other)[:16]


def make_corpora(
    data: Data,
    source: Source,
    independent: Source | None,
    supervisor: Supervisor,
    workers: int,
    say: Callable[[str], None],
) -> None:
    """Selects without rules, fixes the held-out documents, fits the tokenizers and tokenizes. Skips finished steps."""
    raw_recipe = dataclasses.replace(source.recipe, select=without_rules(source.recipe.select))
    raw = _context(data, "raw", raw_recipe, source, supervisor, workers)
    say("ablate: all documents that reached select, without its rules")
    _stage(raw, "select", select)
    corpus = raw.data("select", "documents")
    if not exists(join(data.folder, FILE_NAME)):
        scores = join(source.output, "score", "documents")
        hold_out_of(join(data.home("raw"), "select", "documents"), scores, source.recipe.train).save(data.folder)

    say("ablate: tokenizers, fitted on those that are not held out")
    sample = _context(data, "tokenizers", raw_recipe, source, supervisor, workers)
    _stage(sample, "select", lambda context: _without_held_out(context, corpus, data.held_out))
    _stage(sample, "tokenize", lambda context: fit_tokenizers(context, _num_images(context)))
    fitted = join(data.home("tokenizers"), "tokenize")
    settings = dataclasses.replace(
        source.recipe.tokenize, text_tokenizer=fitted, image_tokenizer=join(fitted, IMAGE_TOKENIZER), codebooks={}
    )

    say("ablate: tokens of the raw documents")
    _stage(_with_tokenizers(raw, settings), "tokenize", tokenize)
    say("ablate: tokens of the corpus")
    curated = _context(data, "curated", source.recipe, source, supervisor, workers, "select")
    _stage(_with_tokenizers(curated, settings), "tokenize", tokenize)
    if independent is not None:
        say(f"ablate: tokens of {independent.output}, without rules")
        recipe = dataclasses.replace(
            independent.recipe, select=without_rules(source.recipe.select), seed=source.recipe.seed
        )
        other = _context(data, "independent", recipe, independent, supervisor, workers)
        _stage(other, "select", select)
        _stage(_with_tokenizers(other, settings), "tokenize", tokenize)
    if not exists(join(data.folder, TARGETS)):
        task = Task("fix-held-out", _fix_targets, (data, corpus, independent is not None), alone=True)
        supervisor.run("ablate: fix what models are measured on", [task])


def _context(
    data: Data, name: str, recipe: Recipe, source: Source, supervisor: Supervisor, workers: int, *also: str
) -> Context:
    """The context for the stages of a corpus. Earlier stages, and those in ``also``, come from the source."""
    homes = dict.fromkeys(("extract", "score", *also), source.output)
    keys = stage_keys(recipe, source.archives)
    return Context(data.home(name), recipe, source.archives, supervisor, workers, keys, homes)


def _with_tokenizers(context: Context, settings: Any) -> Context:
    recipe = dataclasses.replace(context.recipe, tokenize=settings)
    return dataclasses.replace(context, recipe=recipe, keys=stage_keys(recipe, context.archives))


def _stage(context: Context, name: str, run: Callable[[Context], dict[str, Any]]) -> None:
    folder = context.folder(name)
    if not folder.is_done():
        folder.begin()
        folder.complete(run(context))


def _num_images(context: Context) -> int:
    return count_images_shown(context.data("select", "documents"))


def _without_held_out(context: Context, corpus: str, held_out: HeldOut) -> dict[str, Any]:
    """Writes a corpus without held-out documents, in the same number of shards."""
    apart = {*held_out.documents, *held_out.left_out}
    target, num_shards = context.folder("select").data("documents"), context.recipe.num_shards
    for index in range(num_shards):
        rows = (row for row in read_rows(shard_path(corpus, index, num_shards)) if row["doc_id"] not in apart)
        write_shard(shard_path(target, index, num_shards), rows, DOCUMENTS)
    commit_shards(target, num_shards)
    return {}


def _fix_targets(data: Data, corpus: str, has_independent: bool) -> None:
    """Writes the documents and pairs that models are measured on. Runs in a process of its own."""
    from gobelin.train.pairs import held_out_pairs
    from gobelin.train.shards import TokenCorpus, documents_among

    held_out, vocabulary = data.held_out, data.vocabulary
    documents: dict[str, tuple[str, list[str]]] = {
        "raw": ("raw", list(held_out.documents)),
        "curated": ("curated", sorted(set(held_out.documents) & set(data.sizes("curated")))),
    }
    if has_independent:
        documents["independent"] = ("independent", _unknown(data, corpus))
    training = documents_among(data.shards("raw"), vocabulary, data.trainable()[0])
    found: dict[str, Any] = {}
    for name, (home, doc_ids) in documents.items():
        held = documents_among(data.shards(home), vocabulary, doc_ids)
        if not len(held):
            continue
        pairs = held_out_pairs(TokenCorpus(training, held, ""))[:MAX_PAIRS]
        found[name] = {
            "corpus": home,
            "doc_ids": doc_ids,
            "tokens": held.num_tokens,
            "pairs": [dataclasses.asdict(pair) for pair in pairs],
        }
    write_json(join(data.folder, TARGETS), found)


def _unknown(data: Data, corpus: str) -> list[str]:
    """Independent documents that do not duplicate the run's: their address differs, and they share less than half of
    their images and long texts."""
    known: set[int] = set()
    for row in read_folder(corpus, _OF_DOCUMENTS):
        known.update((_hash(row["doc_id"]), *_marks(row)))

    def is_known(row: Mapping[str, Any]) -> bool:
        marks = _marks(row)
        return _hash(row["doc_id"]) in known or sum(mark in known for mark in marks) > MOST_SHARED * len(marks)

    independent = list_shards(join(data.home("independent"), "select", "documents"))
    rows: Iterator[Mapping[str, Any]] = (row for path in independent for row in read_rows(path, _OF_DOCUMENTS))
    tokenized = data.sizes("independent")
    return sorted(row["doc_id"] for row in rows if row["doc_id"] in tokenized and not is_known(row))


_OF_DOCUMENTS = ["doc_id", "nodes.list.element.text", "nodes.list.element.image_id"]


def _marks(row: Mapping[str, Any]) -> list[int]:
    """Hashes of the images and long texts of a document."""
    images = [node["image_id"] for node in row["nodes"] if node["image_id"]]
    return [
        *map(_hash, images),
        *(_hash(node["text"]) for node in row["nodes"] if len(node["text"] or "") >= MIN_MARK_CHARS),
    ]


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())
