"""The stage ``train``: token shards -> a model, trained in a worker process of its own.

torch is imported inside the functions, because the command line and the text stages start without it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.state import SUMMARY, read_json, read_summary
from gobelin.pipeline.run.torchrun import is_first, say_begins
from gobelin.pipeline.run.worker import Task, heed_stop, stop_requested
from gobelin.pipeline.stages.train_held_out import hold_out
from gobelin.store.files import write_json
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.config import TrainConfig
from gobelin.train.fit_alerts import fit_alerts, skip_alerts
from gobelin.train.held_out import HeldOut
from gobelin.train.metrics import read_metrics
from gobelin.train.size import CorpusSize, Outlook, outlook, plan_lines
from gobelin.transforms.devices import torch_device
from gobelin.transforms.progress import note, reach

if TYPE_CHECKING:
    from gobelin.train.shards import TokenCorpus


def train(context: Context) -> dict[str, Any]:
    """Runs the stage. Returns its counts."""
    folder, recipe = context.folder("train"), context.recipe
    if recipe.train.held_out is not None:
        HeldOut.load(recipe.train.held_out)  # what is wrong with it is said before a worker starts
    size = training_outlook(context.output, recipe)
    context.supervisor.say(f"train: {size.sentence()}")
    warning = size.warning()
    if warning is not None:
        context.supervisor.say(f"warning: train: {warning}")
    task = Task("train", train_model, (context.output, recipe), alone=True)
    context.supervisor.run("train", [task], "steps", size.steps, threads=recipe.train.threads)
    summary = read_summary(folder.path)
    alerts = [*([] if warning is None else [warning]), *summary["alerts"]]
    return {**summary, "outlook": dataclasses.asdict(size), "alerts": alerts}


def training_outlook(output: str, recipe: Recipe) -> Outlook:
    """Estimates the training on the corpus of an output folder, from the counts of ``tokenize``."""
    return outlook(recipe.train, *_corpus_size(output))


def training_plan(output: str, recipe: Recipe) -> list[str]:
    """The cost of training models of several sizes on the corpus of an output folder, as lines of a table."""
    return plan_lines(recipe.train, *_corpus_size(output))


def _corpus_size(output: str) -> tuple[CorpusSize, int, int]:
    """The size of the corpus, the number of ids in the vocabulary, and the number of tokens of its largest image."""
    folder = join(output, "tokenize")
    vocabulary = Vocabulary.load(folder)
    counts = read_json(join(folder, "manifest.json")) or {}
    corpus = CorpusSize(counts["documents"]["kept"], counts["tokens"]["all"], counts["images"]["kept"])
    return corpus, vocabulary.size, vocabulary.max_tokens_per_image


def train_model(output: str, recipe: Recipe) -> None:
    """Trains the model of an output folder, or resumes its training, and then measures its grounding."""
    from gobelin.train.compute import autocast
    from gobelin.train.evaluate import grounding_gap
    from gobelin.train.log import in_words
    from gobelin.train.model import load_model
    from gobelin.train.pairs import held_out_pairs
    from gobelin.train.parallel import joined
    from gobelin.train.shards import read_corpus
    from gobelin.train.trainer import train

    heed_stop()
    device = torch_device(recipe.train.device)
    tokens, folder = join(output, "tokenize"), join(output, "train")
    shards = join(tokens, "shards")
    vocabulary = Vocabulary.load(tokens)
    held_out = hold_out(output, recipe.train)
    if is_first():
        held_out.save(folder)
        say_begins()
    num_codes = vocabulary.size - vocabulary.image_offset

    def tell(step: int, metrics: Mapping[str, float | None]) -> None:
        if metrics:
            note(in_words(metrics, num_codes))
        reach("steps", step)

    with joined(device) as processes:
        result = train(
            shards, vocabulary, recipe.train, folder, seed=recipe.seed, held_out=held_out, on_step=tell,
            stop=stop_requested, processes=processes,
        )  # fmt: skip
    if not result.finished:
        raise SystemExit(1)
    if not is_first():
        return
    corpus = read_corpus(shards, vocabulary, held_out, kept_in=folder)
    pairs = held_out_pairs(corpus)
    lines = read_metrics(folder)
    grounding = None
    if len({pair.caption for pair in pairs}) > 1:
        with autocast(device, recipe.train.precision):
            gap = grounding_gap(load_model(folder, device), pairs[:500], seed=recipe.seed)
        grounding = dataclasses.asdict(gap)
    write_json(
        join(folder, SUMMARY),
        {
            "steps": result.step,
            "model_step": result.model_step,
            "ended_by": result.ended_by,
            "documents": {"training": len(corpus.training), "validation": len(corpus.validation)},
            "held_out": {"by": held_out.by, "sites": len(held_out.sites), "left_out": len(held_out.left_out)},
            "losses": result.metrics,
            "guessing_image_nats": math.log(num_codes),
            "utilisation": float(np.mean([line["utilisation"] for line in lines])),
            "grounding": grounding,
            "alerts": [
                *fit_alerts(lines, result.metrics, result.model_step, num_codes),
                *skip_alerts(result.num_skipped, result.step),
            ],
            "notes": [
                *split_notes(held_out),
                *_mixture_notes(recipe.train, result.metrics, num_codes, result.num_near),
                *training_notes(corpus, num_pairs=len({pair.caption for pair in pairs}), config=recipe.train),
            ],
        },
    )


def _mixture_notes(config: TrainConfig, losses: Mapping[str, float | None], num_codes: int, num_near: int) -> list[str]:
    """Notes with the held-out losses of each corpus in the mixture, and the number of near-duplicates of held-out
    documents."""
    from gobelin.train.log import in_words
    from gobelin.train.mixture import prefix_of

    found = []
    for number, address in enumerate(sorted(config.mixture)):
        own = {name.removeprefix(prefix_of(number)): value for name, value in losses.items()
               if name.startswith(prefix_of(number))}  # fmt: skip
        found.append(f"held out of {address}, mixed in: {in_words(own, num_codes) or 'nothing'}")
    if num_near:
        found.append(
            f"{num_near:,} {'documents of the mixture are' if num_near > 1 else 'document of the mixture is'} not "
            "trained on: near-duplicates of documents that one of its corpora holds out"
        )
    return found


def split_notes(held_out: HeldOut) -> list[str]:
    """Notes for the user about the held-out split, one sentence each."""
    notes = []
    if held_out.by == "document" and held_out.documents:
        notes.append(
            "no site is small enough to be held out whole, so single documents are held out. Training sees other "
            "documents of their sites, so the held-out loss is too low"
        )
    if held_out.left_out:
        notes.append(
            f"{len(held_out.left_out):,} {'documents are' if len(held_out.left_out) > 1 else 'document is'} neither "
            "trained on nor held out: near-duplicates across the split, or of sites that train.held_out holds out"
        )
    return notes


def training_notes(corpus: TokenCorpus, num_pairs: int, config: TrainConfig) -> list[str]:
    """Notes for the user about the corpus of a training, one sentence each: captions that do not fit into a row, and
    measurements that lack held-out data.

    Args:
        num_pairs: number of held-out (image, caption) pairs with distinct captions.
    """
    notes = []
    num_documents = len(corpus.training) + len(corpus.validation)
    num_long = int((corpus.training.index.longest_image >= config.row_tokens).sum())  # <|document|> needs room, too
    if num_long:
        notes.append(
            f"captions of {num_long:,} {'documents leave' if num_long > 1 else 'document leave'} no room for the image "
            f"in a row of {config.row_tokens} tokens and were shortened: raise train.row_tokens"
        )
    if not len(corpus.validation):
        reason = f"none of {num_documents:,} documents falls into the share of {config.validation_ratio:g}"
        notes.append(
            f"nothing is held out ({reason if config.validation_ratio else 'the share is 0'}), so there is no held-out "
            "loss and no grounding gap: take more documents, or raise train.validation_ratio"
        )
    elif num_pairs < 2:
        notes.append(
            f"the held-out documents ({len(corpus.validation):,}) have fewer than two pictures that training has not "
            "seen and whose captions differ, so there is no grounding gap"
        )
    return notes
