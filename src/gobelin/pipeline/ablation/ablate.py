"""``gobelin ablate``: measures whether the recipe's curation helps. Compares models of equal cost on raw, curated,
random and dropped documents."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gobelin.errors import UserError
from gobelin.pipeline.ablation.arms import ARMS, Arm, choose
from gobelin.pipeline.ablation.corpora import Data, Source, data_key, make_corpora
from gobelin.pipeline.ablation.results import COMPARISONS, compare
from gobelin.pipeline.ablation.runs import ArmRun, settings_of_runs, train_and_measure
from gobelin.pipeline.recipe.recipe import Recipe, fingerprint
from gobelin.pipeline.run.inputs import Archive
from gobelin.pipeline.run.open_run import recipe_of
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.run import Run
from gobelin.pipeline.run.scratch import scratch_folder, sweep_temporary_files
from gobelin.pipeline.run.state import RUN_NAME, OutputError, read_json
from gobelin.pipeline.run.supervisor import Supervisor
from gobelin.pipeline.run.worker import Task
from gobelin.report.ablation import FOLDER, RESULTS
from gobelin.report.page import write_ablation_page
from gobelin.store.files import write_json
from gobelin.store.lock import locked
from gobelin.store.paths import absolute, join

MODULES = ("gobelin.train.trainer", "gobelin.train.evaluate")
"""What processes that train have imported before they are forked: torch takes seconds."""

MIN_SEEDS = 2
USUAL_SEEDS = 5
"""With fewer seeds an interval is wide, and its width a matter of luck."""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """The settings of a comparison."""

    num_seeds: int = USUAL_SEEDS
    arms: tuple[Arm, ...] = ARMS
    independent: str | None = None  # output folder of documents that no filter has chosen
    settings: tuple[str, ...] = ()  # of the recipe, changed: ``train.steps=300``


def ablate(output: str, question: Question, workers: int, screen: Screen, scratch: str | None = None) -> str:
    """Trains and measures missing models, and writes results, their page and the report. Returns the page's address.

    Raises:
        UserError: the stage ``select`` has not run, or there is nothing to compare.
    """
    if question.num_seeds < MIN_SEEDS:
        raise UserError(f"--seeds must be at least {MIN_SEEDS}: an interval needs two, got {question.num_seeds}")
    if not any(set(pair) <= set(question.arms) for pair in COMPARISONS):
        pairs = ", ".join(" and ".join(pair) for pair in COMPARISONS)
        raise UserError(f"--arms must hold two that are compared: {pairs}")
    output = absolute(output)
    supervisor = Supervisor(workers, scratch_folder(output, scratch), screen, "local", (), output=output)
    with locked(output), contextlib.closing(supervisor):
        sweep_temporary_files(output)
        recipe = recipe_of(output, None, question.settings)
        source, _ = _source(output, recipe, supervisor, "select")
        independent = None
        if question.independent is not None:
            address = absolute(question.independent)
            if address == output:
                raise UserError("--independent is another output folder: documents that the run does not hold")
            independent, _ = _source(address, recipe_of(address, None, ()), supervisor, "score")
        folder = join(output, FOLDER)
        key = data_key(source, independent)
        data = Data(join(folder, f"data-{key}"))
        with screen.live():
            make_corpora(data, source, independent, supervisor, workers, screen.say)
            _check(data, question.arms)
            runs = _runs(data, join(folder, f"runs-{_key_of_runs(key, recipe)}"), recipe, question)
            _train(runs, workers, output, scratch, screen)
        write_json(join(folder, RESULTS), _results(data, recipe, question, runs))
        page = write_ablation_page(output)
        _, report = _source(output, recipe_of(output, None, ()), supervisor, "select")
        report.stage("report", screen)
    return page


def lines(output: str) -> list[str]:
    """The results of an output folder as a table, for a terminal."""
    found = read_json(join(absolute(output), FOLDER, RESULTS)) or {"results": []}
    told = [f"{'measured on':<13}{'metric':<20}{'comparison':<22}{'difference':>10}  95 % interval"]
    for result in found["results"]:
        for each in result["differences"]:
            pair = f"{each['arm']} - {each['against']}"
            interval = f"[{each['low']:+.3f}, {each['high']:+.3f}]"
            told.append(
                f"{result['held_out']:<13}{result['metric']:<20}{pair:<22}{each['mean']:>+10.3f}  {interval:<19}"
                f"{each['verdict']}"
            )
    return told


def _source(output: str, recipe: Recipe, supervisor: Supervisor, until: str) -> tuple[Source, Run]:
    """An output folder whose stages up to ``until`` are done with this recipe.

    Raises:
        UserError: they are not done.
    """
    held = read_json(join(output, RUN_NAME))
    if held is None:
        raise OutputError(f"{output} is not an output folder of a run")
    archives = tuple(Archive.from_json(item) for item in held["input"])
    run = Run(output, recipe, archives, 1, supervisor)
    for stage in ("extract", "score", "select")[: ("extract", "score", "select").index(until) + 1]:
        run.require(stage)
    return Source(output, recipe, archives), run


def _check(data: Data, arms: Sequence[Arm]) -> None:
    """Raises UserError if an arm would be empty, or nothing is held out."""
    raw, curated = data.trainable()
    for arm in arms:
        choose(arm, raw, curated, 0)
    if not data.targets():
        raise UserError("no document is held out, so nothing can be compared: raise train.validation_ratio")


def _key_of_runs(data_key: str, recipe: Recipe) -> str:
    return fingerprint(data_key, settings_of_runs(recipe.train))[:16]


def _runs(data: Data, folder: str, recipe: Recipe, question: Question) -> list[ArmRun]:
    """All arms of a seed before the next seed."""
    config, seeds = settings_of_runs(recipe.train), range(recipe.seed, recipe.seed + question.num_seeds)
    return [ArmRun(data, folder, arm, seed, config) for seed in seeds for arm in question.arms]


def _train(runs: Sequence[ArmRun], workers: int, output: str, scratch: str | None, screen: Screen) -> None:
    """Trains and measures missing models. A GPU trains one model at a time."""
    waiting = [run for run in runs if not run.is_done]
    tasks = [Task(f"ablate-{run.name}", train_and_measure, (run,)) for run in waiting]
    config = runs[0].config
    total, before = config.steps * len(runs), config.steps * (len(runs) - len(waiting))
    at_once = workers if config.device == "cpu" else 1
    supervisor = Supervisor(at_once, scratch_folder(output, scratch), screen, "local", (), MODULES, output)
    with contextlib.closing(supervisor):
        supervisor.run("ablate: train and measure", tasks, "steps", total, before=before)


def _results(data: Data, recipe: Recipe, question: Question, runs: Sequence[ArmRun]) -> dict[str, Any]:
    """The content of ``ablation.json``."""
    found = {(run.arm, run.seed): run.read() for run in runs}
    config, targets = runs[0].config, data.targets()
    return {
        "recipe": recipe.name,
        "seeds": sorted({run.seed for run in runs}),
        "train": dataclasses.asdict(config),
        "tokens": config.steps * config.batch_rows * config.row_tokens,
        "arms": {arm: _arm([found[run.arm, run.seed] for run in runs if run.arm == arm]) for arm in question.arms},
        "independent": question.independent,
        "held_out": {
            name: {"documents": len(each["doc_ids"]), "tokens": each["tokens"], "pairs": len(each["pairs"])}
            for name, each in targets.items()
        },
        "results": compare({key: each["held_out"] for key, each in found.items()}),
        "cpu_seconds": round(sum(each["cpu_seconds"] for each in found.values()), 1),
    }


def _arm(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds. Only the random subset differs between seeds."""
    names = ("documents", "tokens", "image_tokens", "skipped_batches")
    sizes = {name: sum(run[name] for run in runs) / len(runs) for name in names}
    training = {
        name: [run["training"][name] for run in runs if run["training"][name] is not None]
        for name in ("text_bits_per_byte", "image_nats")
    }
    return {**sizes, "training": {name: sum(each) / len(each) if each else None for name, each in training.items()}}
