"""A run: the stages in order, each only where it is not done already, and ``run.json`` kept true after each."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gobelin.data.schemas import SCHEMA_VERSION
from gobelin.errors import UserError
from gobelin.pipeline.ask.rule_effects import effect_lines
from gobelin.pipeline.exchange.cards import forget_card, has_card, write_card_of_run
from gobelin.pipeline.recipe.recipe import Recipe, RecipeError, as_dict, fingerprint, load_recipe, to_yaml
from gobelin.pipeline.run import preflight
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.cpu_time import tree_seconds
from gobelin.pipeline.run.crawl_index import Records, save_records
from gobelin.pipeline.run.inputs import Archive, InputError, check_name, find_archives, in_languages
from gobelin.pipeline.run.keys import parts_of, stage_keys
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.remote_job import NOTE_NAME, meet_running_job
from gobelin.pipeline.run.scratch import scratch_folder, sweep_temporary_files
from gobelin.pipeline.run.stage_names import STAGES
from gobelin.pipeline.run.state import OutputError, StageFolder, read_json, read_manifest
from gobelin.pipeline.run.status import STATUS_NAME, Status, kept_status
from gobelin.pipeline.run.supervisor import Supervisor
from gobelin.pipeline.stages.extract import extract
from gobelin.pipeline.stages.imported import extract_imported, is_imported
from gobelin.pipeline.stages.score import score
from gobelin.pipeline.stages.select import select
from gobelin.pipeline.stages.tokenize import tokenize
from gobelin.pipeline.stages.train import report, sample, train
from gobelin.report.ablation import FOLDER as ABLATION
from gobelin.report.ablation import RESULTS
from gobelin.report.marks import FILE_NAME as MARKS
from gobelin.store.files import delete, digest_of, exists, list_files, make_folder, write_bytes, write_json
from gobelin.store.lock import LEASE_NAME, locked
from gobelin.store.paths import absolute, is_remote, join

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

CORPUS_STAGES = ("extract", "score", "select")
"""What makes the corpus; the last of them writes its data card."""

RECIPE_NAME = "recipe.yaml"
RUN_NAME = "run.json"


class Run:
    """One output folder, one recipe, one input."""

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
            forget_card(self._output)
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
        """Looks at everything that stages will need, before the first of them runs; what is done is left alone.

        Raises:
            RecipeError: something is not there, or of no use; one line says all.
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
        """Whether a stage is done under this recipe and input."""
        return self._folder(name).is_done()

    def _key(self, name: str) -> str:
        """A stage's key; the report's also says which stages, whose marks and which ablation it shows."""
        if name != "report":
            return self.keys[name]
        beside = [address for each in (MARKS, join(ABLATION, RESULTS)) if exists(address := join(self._output, each))]
        shown = [stage for stage in STAGES[:-1] if self._is_current(stage)]
        return fingerprint(self.keys[name], shown, *map(digest_of, beside))

    def _is_current(self, name: str) -> bool:
        manifest = read_manifest(join(self._output, name))
        return manifest is not None and manifest["key"] == self.keys[name]

    def require(self, name: str) -> None:
        """Raises unless a stage is done under this recipe and input."""
        manifest = read_manifest(join(self._output, name))
        if manifest is None:
            raise OutputError(f"{self._output}: stage {name} has not run; run `gobelin {name}` or `gobelin run` first")
        if manifest["key"] != self.keys[name]:
            raise OutputError(
                f"{self._output}: stage {name} was made with other settings or input; `gobelin run` renews it"
            )

    def write_summary(self) -> dict[str, Any]:
        """Writes ``run.json``. Returns what it says."""
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


@contextlib.contextmanager
def open_run(
    output: str,
    recipe_name: str | None,
    overrides: Sequence[str],
    patterns: Sequence[str],
    workers: int,
    screen: Screen,
    runner: str,
    beam_args: Sequence[str],
    writes: bool = True,
    scratch: str | None = None,
    running_job: str = "wait",
    sample: float = 1.0,
    metrics: str | None = None,
    languages: Sequence[str] = (),
) -> Iterator[Run]:
    """A run in an output folder: a new one, or one that goes on. Nobody else writes there meanwhile.

    Args:
        recipe_name: preset or file; None: the recipe that the folder was made with.
        patterns: input paths and globs; empty: the input that the folder was made with.
        output: local folder, or one on a store.
        writes: whether anything is to be written there; what only looks needs no lock, and leaves the recipe alone.
        scratch: local folder for logs and temporary files; None: ``scratch_folder`` chooses.
        running_job: what becomes of a job that an earlier command left on another runner: ``wait`` or ``cancel``.
        sample: share of the archives that is taken.
        metrics: port or file for Prometheus; None: none.
        languages: of crawls that are given by name, pages in these alone; empty: all.

    Raises:
        RecipeError, InputError, OutputError: one line that says what is wrong and what to do.
    """
    output = check_output(output)
    held = read_json(join(output, RUN_NAME))
    if held is None and holds_something_else(output):
        raise OutputError(f"{output} is not empty and not an output folder of gobelin: choose another --output")
    if recipe_name is None:
        recipe_name = join(output, RECIPE_NAME)
        if not exists(recipe_name):
            raise RecipeError(f"{output} has no recipe yet: give --recipe (a preset's name or a file)")
    recipe = load_recipe(recipe_name, tuple(overrides))
    if held is not None and held["recipe"]["name"] != recipe.name:
        raise OutputError(
            f"{output} belongs to recipe {held['recipe']['name']!r}, not {recipe.name!r}: choose another --output, "
            "or delete the folder"
        )
    if (sample != 1.0 or languages) and not patterns:
        raise InputError("--sample and --languages are of --input; give it with them")
    records: dict[str, Records] = {}
    if patterns:
        archives = find_archives(list(patterns), sample, screen.say)
        if languages:
            archives, records = in_languages(patterns, archives, languages, screen.say)
        noun, size = "archive" if len(archives) == 1 else "archives", sum(archive.size for archive in archives)
        screen.say(f"input: {len(archives):,} {noun}, {size / 1e6:,.1f} MB")
        if held is not None and held["input"] != [each.to_json() for each in archives]:
            screen.say(f"the input is not what {output} was made with: everything there is made anew")
    elif held is not None:
        archives = tuple(Archive.from_json(item) for item in held["input"])
    else:
        raise InputError(f"{output} has no input yet: give --input (paths or globs of WARC files)")
    try:
        make_folder(output)
    except OSError as error:
        raise OutputError(f"--output {output}: cannot be made: {error.strerror}") from None
    supervisor = Supervisor(workers, scratch_folder(output, scratch), screen, runner, tuple(beam_args), output=output)
    run = Run(output, recipe, archives, workers, supervisor)
    if not writes:
        yield run
        return
    status = Status()
    if metrics:
        if importlib.util.find_spec("prometheus_client") is None:
            raise UserError("--metrics needs prometheus_client: pip install 'gobelin[metrics]'")
        from gobelin.pipeline.run.metrics import published
    with (
        locked(output),
        contextlib.closing(supervisor),
        published(metrics, status, output) if metrics else contextlib.nullcontext(),
        kept_status(output, screen, status),
    ):
        input_bytes = sum(archive.size for archive in archives)
        screen.tell("run_started", output=output, recipe=recipe.name, archives=len(archives), input_bytes=input_bytes)
        sweep_temporary_files(output)
        meet_running_job(output, running_job, screen.say, beam_args)
        if records:
            save_records(output, archives[0].records or "", records)
        write_bytes(join(output, RECIPE_NAME), to_yaml(recipe).encode())
        run.write_summary()
        yield run


def recipe_of(output: str, recipe_name: str | None, overrides: Sequence[str]) -> Recipe:
    """The recipe that an output folder was made with, or the one that is named, with some settings changed.

    Raises:
        RecipeError: there is none, or it cannot be used.
    """
    name = join(output, RECIPE_NAME) if recipe_name is None else recipe_name
    if recipe_name is None and not exists(name):
        raise RecipeError(f"{output} has no recipe: give the output folder of a run, or --recipe")
    return load_recipe(name, tuple(overrides))


def check_output(output: str) -> str:
    """An output folder as it is named from now on.

    Raises:
        InputError, OutputError: it cannot be one.
    """
    check_name("--output", output)
    scheme, separator, _ = output.partition("://")
    if separator and scheme != "file" and not is_remote(output):
        raise OutputError(f"--output {output}: give a local folder, or one on s3:// or gs://")
    return absolute(output) if separator else output


def holds_something_else(output: str) -> bool:
    """Whether a folder that no run has described yet holds files of somebody else's. A run that was killed in its first
    moments leaves its recipe."""
    known = (RECIPE_NAME, LEASE_NAME, NOTE_NAME, STATUS_NAME)
    return not exists(join(output, RECIPE_NAME)) and any(name not in known for name, _ in list_files(output))


def _ending(training: dict[str, Any]) -> str:
    """After how many steps training ended, why, and which of them the model is of."""
    why = {"epochs": " (train.epochs)", "patience": " early, without a lower held-out loss (train.patience)"}
    model = training["model_step"]
    which = "the last one" if model == training["steps"] else f"step {model:,}, where the held-out loss was lowest"
    return f"{training['steps']:,} steps, ended{why.get(training['ended_by'], '')}; the model is that of {which}"


def _why_nothing(stages: dict[str, Any], recipe: dict[str, Any]) -> list[str]:
    """Says why a run kept no document, and what to do; nothing where it kept some."""
    counts = stages.get("select", {}).get("documents")
    if not isinstance(counts, dict) or counts.get("kept") or "seen" not in counts:
        return []
    extracted = stages.get("extract", {})
    if not counts["seen"]:
        pages = extracted.get("documents", {}).get("seen", 0)
        if not pages:
            records = extracted.get("records", {}).get("seen", 0)
            return ["", f"nothing was kept: the input holds no page, in {records:,} records"]
        return ["", f"nothing was kept: no document came out of {pages:,} pages; `extract documents` above says why"]
    rule, times = max({**counts["dropped"], **counts["failed_by"]}.items(), key=lambda item: item[1])
    lines = ["", f"nothing was kept: {times:,} of {counts['seen']:,} documents went by {rule}"]
    if rule == "document.min_images":
        fetches = extracted.get("fetches") or {}
        if not extracted.get("images", {}).get("seen") and not recipe["extract"]["fetch"]["enabled"]:
            lines.append(
                "  the input holds pages and no images: fetch them, with --recipe common-crawl or --set "
                "extract.fetch.enabled=true (docs/common-crawl.md)"
            )
        elif fetches and not fetches.get("ok"):
            told = ", ".join(
                f"{times:,} {status}" for status, times in sorted(fetches.items(), key=lambda i: -i[1])[:4]
            )
            lines.append(f"  no image could be fetched: {told} (docs/fetching.md says what these mean)")
        elif extracted.get("images", {}).get("kept"):
            lines.append("  there are images, and rules left them out: see `select images` and `gobelin explain`")
    return lines


def summary_lines(output: str) -> list[str]:
    """A run's numbers as a short table, for a terminal."""
    run: dict[str, Any] = read_json(join(output, RUN_NAME)) or {"stages": {}}
    lines = [f"{'stage':<10}{'unit':<11}{'seen':>9}{'kept':>9}{'dropped':>9}{'failed':>8}{'seconds':>9}"]
    reasons = []
    for name, stage in run["stages"].items():
        seconds = f"{stage['seconds']:.1f}" if "seconds" in stage else stage["status"]
        for unit in ("documents", "images"):
            counts = stage.get(unit)
            if not isinstance(counts, dict) or "seen" not in counts:
                continue
            dropped = sum(counts["dropped"].values())
            lines.append(
                f"{name:<10}{unit:<11}{counts['seen']:>9,}{counts['kept']:>9,}{dropped:>9,}{counts['failed']:>8,}"
                f"{seconds:>9}"
            )
            seconds = ""
            top = sorted({**counts["dropped"], **counts["failed_by"]}.items(), key=lambda item: -item[1])
            reasons += [f"  {name} {unit}: {times:,} {rule}" for rule, times in top[:8]]
        if "documents" not in stage or "seen" not in stage.get("documents", {}):
            lines.append(f"{name:<10}{'':<46}{seconds:>9}")
    lines += ["", "most frequent reasons", *reasons] if reasons else []
    if run["stages"]:
        lines += _why_nothing(run["stages"], run["recipe"])
    unreadable = run["stages"].get("extract", {}).get("records", {}).get("unreadable", 0)
    if unreadable:
        lines.append(
            f"  extract: {unreadable:,} {'place' if unreadable == 1 else 'places'} in the input could not be read; see "
            "`gobelin export --decisions --stage extract`"
        )
    not_run = run["stages"].get("select", {}).get("not_run", {})
    if not_run:
        lines += ["", "rules that could not run (no score): " + ", ".join(sorted(not_run))]
    errors = run["stages"].get("score", {}).get("plugin_errors", {})
    if any(errors.values()):
        lines += [
            "",
            "scores of plug-ins that failed: " + ", ".join(f"{name} {n:,}" for name, n in errors.items() if n),
        ]
    effects = run["stages"].get("select", {}).get("rules")
    if effects:
        lines += effect_lines(effects)
    tokens = run["stages"].get("tokenize", {}).get("tokens")
    if tokens:
        lines.append(
            f"tokens: {tokens['all']:,}, of which {tokens['image']:,} image tokens; vocabulary {tokens['vocabulary']:,}"
        )
    training = run["stages"].get("train", {})
    if training.get("losses"):
        shown = {name: value for name, value in training["losses"].items() if value is not None}
        lines.append("losses: " + ", ".join(f"{name} {value:.3f}" for name, value in shown.items()))
    if training.get("ended_by"):
        lines.append(f"train: {_ending(training)}")
    lines += [f"warning: train: {alert}" for alert in training.get("alerts", ())]
    lines += [f"train: {note}" for note in training.get("notes", ())]
    if training.get("grounding"):
        for direction in ("image", "text"):
            gap = training["grounding"][direction]
            lines.append(
                f"grounding gap ({direction} given its partner against another): {gap['mean']:.3f} "
                f"[{gap['low']:.3f}, {gap['high']:.3f}] nats a token, {training['grounding']['num_pairs']} pairs"
            )
    return lines
