"""A run: executes the stages in order, skips those that are done, and updates ``run.json`` after each."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gobelin.data.schemas import SCHEMA_VERSION
from gobelin.pipeline.exchange.cards import delete_card, has_card, write_card_of_run
from gobelin.pipeline.recipe.recipe import Recipe, RecipeError, as_dict, fingerprint
from gobelin.pipeline.run import preflight
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.cpu_time import tree_seconds
from gobelin.pipeline.run.inputs import Archive
from gobelin.pipeline.run.keys import parts_of, stage_keys
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.stage_names import CORPUS_STAGES, STAGES
from gobelin.pipeline.run.state import RUN_NAME, OutputError, StageFolder, read_manifest
from gobelin.pipeline.run.supervisor import Supervisor
from gobelin.pipeline.stages.extract import extract
from gobelin.pipeline.stages.extract_imported import extract_imported, is_imported
from gobelin.pipeline.stages.report import report
from gobelin.pipeline.stages.sample import sample
from gobelin.pipeline.stages.score import score
from gobelin.pipeline.stages.select import select
from gobelin.pipeline.stages.tokenize import tokenize
from gobelin.pipeline.stages.train import train
from gobelin.report.ablation import FOLDER as ABLATION
from gobelin.report.ablation import RESULTS
from gobelin.report.marks import FILE_NAME as MARKS
from gobelin.store.files import delete, digest_of, exists, write_json
from gobelin.store.paths import join

_PACKAGES = ("gobelin", "apache-beam", "pyarrow", "trafilatura", "pillow", "torch", "open-clip-torch", "tokenizers")

RUN_STAGE: dict[str, Callable[[Context], dict[str, Any]]] = {
    "extract": lambda context: extract_imported(context) if is_imported(context.archives) else extract(context),
    "score": score,
    "select": select,
    "tokenize": tokenize,
    "train": train,
    "sample": sample,
    "report": report,
}


class Run:
    """An output folder with its recipe and input."""

    def __init__(
        self, output: str, recipe: Recipe, archives: tuple[Archive, ...], workers: int, supervisor: Supervisor
    ) -> None:
        self._output, self._archives = output, archives
        self.recipe = recipe
        self.keys = stage_keys(recipe, archives)
        self._context = Context(output, recipe, archives, supervisor, workers, self.keys)

    def stage(self, name: str, screen: Screen) -> bool:
        """Runs a stage unless it is done. Returns whether it ran."""
        folder = self._folder(name)
        screen.begin_stage(name)
        if folder.is_done():
            damage = folder.damage()
            if not damage:
                if name == CORPUS_STAGES[-1] and not has_card(self._output):
                    write_card_of_run(self._output, self.write_summary())
                screen.end_stage(None)
                return False
            for problem in damage:
                screen.say(f"{name}: {problem}")
            screen.say(f"{name}: is made again")
            delete(folder.path)
        started, cpu_before = time.monotonic(), tree_seconds()
        folder.begin()
        if name in CORPUS_STAGES:
            delete_card(self._output)
        summary = RUN_STAGE[name](self._context)
        seconds = {
            "seconds": round(time.monotonic() - started, 1),
            "cpu_seconds": round(tree_seconds() - cpu_before, 1),
        }
        folder.complete({**summary, **seconds})
        told = self.write_summary()
        if name == CORPUS_STAGES[-1]:
            write_card_of_run(self._output, told)
        screen.end_stage({**summary, **seconds})
        return True

    def _folder(self, name: str) -> StageFolder:
        return StageFolder(self._output, name, self._key(name), parts_of(name, self.recipe, self.keys))

    def look_ahead(self, stages: Sequence[str], screen: Screen) -> None:
        """Checks everything that the stages need, before the first of them runs. Skips stages that are done.

        Raises:
            RecipeError: something is missing or useless; one line lists all problems.
            StepFailedError: a model cannot be opened.
        """
        waiting = [stage for stage in stages if not self.is_done(stage)]
        found = preflight.problems(self.recipe, waiting)
        if found:
            raise RecipeError(f"recipe {self.recipe.name}: {'; '.join(found)}")
        if "extract" in waiting:
            warnings = preflight.scarce_room(self._output, self._archives)
            if not is_imported(self._archives):
                warnings += preflight.without_images(self._archives, self.recipe)
            for warning in warnings:
                screen.say(f"warning: {warning}")
        preflight.open_models(self._context, waiting)

    def is_done(self, name: str) -> bool:
        """Whether a stage is done for this recipe and input."""
        return self._folder(name).is_done()

    def _key(self, name: str) -> str:
        """The key of a stage. The report's key also depends on the stages, marks and ablation that it shows."""
        if name != "report":
            return self.keys[name]
        beside = [address for each in (MARKS, join(ABLATION, RESULTS)) if exists(address := join(self._output, each))]
        shown = [stage for stage in STAGES[:-1] if self._is_current(stage)]
        return fingerprint(self.keys[name], shown, *map(digest_of, beside))

    def _is_current(self, name: str) -> bool:
        manifest = read_manifest(join(self._output, name))
        return manifest is not None and manifest["key"] == self.keys[name]

    def require(self, name: str) -> None:
        """Raises OutputError unless a stage is done for this recipe and input."""
        manifest = read_manifest(join(self._output, name))
        if manifest is None:
            raise OutputError(f"{self._output}: stage {name} has not run; run `gobelin {name}` or `gobelin run` first")
        if manifest["key"] != self.keys[name]:
            raise OutputError(
                f"{self._output}: stage {name} was made with other settings or input; `gobelin run` renews it"
            )

    def write_summary(self) -> dict[str, Any]:
        """Writes ``run.json``. Returns its content."""
        stages = {}
        for name in STAGES:
            manifest = read_manifest(join(self._output, name))
            is_current = manifest is not None and manifest["key"] == self._key(name)
            stages[name] = {"status": "done", **(manifest or {})} if is_current else {"status": "not run"}
        summary = {
            "recipe": as_dict(self.recipe),
            "input": [archive.to_json() for archive in self._archives],
            "schema_version": SCHEMA_VERSION,
            "versions": {"python": platform.python_version(), **_versions(self.recipe.packages)},
            "stages": stages,
        }
        write_json(join(self._output, RUN_NAME), summary)
        return summary


def _versions(plugins: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in (*_PACKAGES, *plugins):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
