"""Opens an output folder for a run, new or resumed."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import Recipe, RecipeError, load_recipe, to_yaml
from gobelin.pipeline.run.crawl_index import Records, save_records
from gobelin.pipeline.run.inputs import Archive, InputError, check_name, find_archives, in_languages
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.remote_job import NOTE_NAME, meet_running_job
from gobelin.pipeline.run.run import Run
from gobelin.pipeline.run.scratch import scratch_folder, sweep_temporary_files
from gobelin.pipeline.run.state import RECIPE_NAME, RUN_NAME, OutputError, read_json
from gobelin.pipeline.run.status import STATUS_NAME, Status, kept_status
from gobelin.pipeline.run.supervisor import Supervisor
from gobelin.store.files import exists, list_files, make_folder, write_bytes
from gobelin.store.lock import LEASE_NAME, locked
from gobelin.store.paths import absolute, is_remote, join


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
    """A run in an output folder, new or resumed. No other process writes into the folder while the block runs.

    Args:
        output: local folder, or one on an object store.
        recipe_name: preset or file; None: the recipe in the folder.
        patterns: input paths and globs; empty: the input in the folder.
        writes: whether the command writes into the folder. If not, it takes no lock and leaves the recipe unchanged.
        scratch: local folder for logs and temporary files; None: ``scratch_folder`` chooses.
        running_job: what to do with a job that an earlier command left on another runner: ``wait`` or ``cancel``.
        sample: share of the archives to take, in (0, 1].
        metrics: port or file for Prometheus; None: no metrics.
        languages: reads only pages in these languages, from crawls given by name; empty: all pages.

    Raises:
        RecipeError, InputError, OutputError: the message is one line and says what is wrong and what to do.
    """
    output = check_output(output)
    held = _held_run(output)
    recipe = _recipe_for(output, held, recipe_name, overrides)
    archives, records = _input_for(output, held, patterns, sample, languages, screen)
    _make_output(output)
    supervisor = Supervisor(workers, scratch_folder(output, scratch), screen, runner, tuple(beam_args), output=output)
    run = Run(output, recipe, archives, workers, supervisor)
    if not writes:
        yield run
        return
    status = Status()
    with (
        locked(output),
        contextlib.closing(supervisor),
        _published(metrics, status, output),
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


def _held_run(output: str) -> dict[str, Any] | None:
    """The content of ``run.json``; None if the folder holds no run. Raises OutputError if it holds other files."""
    held: dict[str, Any] | None = read_json(join(output, RUN_NAME))
    if held is None and holds_something_else(output):
        raise OutputError(f"{output} is not empty and not an output folder of gobelin: choose another --output")
    return held


def _recipe_for(
    output: str, held: dict[str, Any] | None, recipe_name: str | None, overrides: Sequence[str]
) -> Recipe:  # fmt: skip
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
    return recipe


def _input_for(
    output: str, held: dict[str, Any] | None, patterns: Sequence[str], sample: float, languages: Sequence[str],
    screen: Screen,
) -> tuple[tuple[Archive, ...], dict[str, Records]]:  # fmt: skip
    """The archives to read, and the records of each archive that is read only in part."""
    if not patterns:
        if sample != 1.0 or languages:
            raise InputError("--sample and --languages choose from --input; give it with them")
        if held is None:
            raise InputError(f"{output} has no input yet: give --input (paths or globs of WARC files)")
        return tuple(Archive.from_json(item) for item in held["input"]), {}
    records: dict[str, Records] = {}
    archives = find_archives(list(patterns), sample, screen.say)
    if languages:
        archives, records = in_languages(patterns, archives, languages, screen.say)
    noun, size = "archive" if len(archives) == 1 else "archives", sum(archive.size for archive in archives)
    screen.say(f"input: {len(archives):,} {noun}, {size / 1e6:,.1f} MB")
    if held is not None and held["input"] != [each.to_json() for each in archives]:
        screen.say(f"the input is not what {output} was made with: everything there is made again")
    return archives, records


def _make_output(output: str) -> None:
    try:
        make_folder(output)
    except OSError as error:
        raise OutputError(f"--output {output}: cannot be made: {error.strerror}") from None


def _published(metrics: str | None, status: Status, output: str) -> contextlib.AbstractContextManager[None]:
    """Publishes the status for Prometheus, if asked for."""
    if not metrics:
        return contextlib.nullcontext()
    if importlib.util.find_spec("prometheus_client") is None:
        raise UserError("--metrics needs prometheus_client: pip install 'gobelin[metrics]'")
    from gobelin.pipeline.run.metrics import published

    return published(metrics, status, output)


def recipe_of(output: str, recipe_name: str | None, overrides: Sequence[str]) -> Recipe:
    """The named recipe, or else the recipe in an output folder, with some settings changed.

    Raises:
        RecipeError: there is no recipe, or it cannot be used.
    """
    name = join(output, RECIPE_NAME) if recipe_name is None else recipe_name
    if recipe_name is None and not exists(name):
        raise RecipeError(f"{output} has no recipe: give the output folder of a run, or --recipe")
    return load_recipe(name, tuple(overrides))


def check_output(output: str) -> str:
    """The normalized address of an output folder.

    Raises:
        InputError, OutputError: it cannot be an output folder.
    """
    check_name("--output", output)
    scheme, separator, _ = output.partition("://")
    if separator and scheme != "file" and not is_remote(output):
        raise OutputError(f"--output {output}: give a local folder, or one on s3:// or gs://")
    return absolute(output) if separator else output


def holds_something_else(output: str) -> bool:
    """Whether a folder without ``run.json`` holds foreign files. A run that was killed at its start leaves only its
    recipe."""
    known = (RECIPE_NAME, LEASE_NAME, NOTE_NAME, STATUS_NAME)
    return not exists(join(output, RECIPE_NAME)) and any(name not in known for name, _ in list_files(output))
