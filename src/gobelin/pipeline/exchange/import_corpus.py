"""``gobelin import``: makes a new output folder from the documents of another data set, in place of web archives."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from gobelin.exchange.formats import find_format, find_sources
from gobelin.pipeline.recipe.recipe import Recipe, load_recipe, to_yaml
from gobelin.pipeline.run.inputs import Archive
from gobelin.pipeline.run.open_run import check_output, holds_something_else
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.run import Run
from gobelin.pipeline.run.scratch import scratch_folder, sweep_temporary_files
from gobelin.pipeline.run.state import RECIPE_NAME, RUN_NAME, OutputError, read_json
from gobelin.pipeline.run.supervisor import Supervisor
from gobelin.pipeline.stages.extract_imported import IMAGES_BESIDE
from gobelin.store.files import files_in, size_of, write_bytes
from gobelin.store.lock import locked
from gobelin.store.paths import join, name_of, parent_of


def run_import(
    output: str,
    recipe_name: str,
    overrides: Sequence[str],
    name: str,
    sources: list[str],
    screen: Screen,
    scratch: str | None = None,
) -> None:
    """Makes an output folder whose stage ``extract`` is done, from files of a format.

    Args:
        sources: files of the format, or folders that hold them, on a local disk or an object store.

    Raises:
        ValueError: there is no such format or file, or a file is damaged.
        RecipeError, OutputError: as for a run.
    """
    find_format(name)
    files = find_sources(name, sources)
    recipe = load_recipe(recipe_name, tuple(overrides))
    inputs = [f"{name}:{file}" for file in files]
    if find_format(name).images_beside:
        inputs += [f"{IMAGES_BESIDE}:{file}" for file in _images_beside(name, files)]
    archives = tuple(Archive(path, size_of(path.partition(":")[2])) for path in inputs)
    output = check_output(output)
    _check_output(output, recipe, archives)
    supervisor = Supervisor(1, scratch_folder(output, scratch), screen, "local", ())
    with locked(output), contextlib.closing(supervisor):
        sweep_temporary_files(output)
        write_bytes(join(output, RECIPE_NAME), to_yaml(recipe).encode())
        run = Run(output, recipe, archives, 1, supervisor)
        run.write_summary()
        run.stage("extract", screen)


def _check_output(output: str, recipe: Recipe, archives: tuple[Archive, ...]) -> None:
    held = read_json(join(output, RUN_NAME))
    if held is None and holds_something_else(output):
        raise OutputError(f"--output {output}: is not empty and no output folder of gobelin: choose another one")
    if held is None:
        return
    given = [[archive.path, archive.size] for archive in archives]
    if held["recipe"]["name"] != recipe.name or [[item["path"], item["bytes"]] for item in held["input"]] != given:
        raise OutputError(f"--output {output}: belongs to another recipe or input: choose another one, or delete it")


def _images_beside(name: str, files: list[str]) -> list[str]:
    """Files of the data sets ``images`` that an export wrote beside these files."""
    in_data = find_format(name).patterns[0].startswith("data/")
    folders = {parent_of(file) for file in files}
    folders = {parent_of(folder) if in_data and name_of(folder) == "data" else folder for folder in folders}
    found = (path for folder in folders for path in files_in(join(folder, "images")))
    return sorted(path for path in found if fnmatchcase(name_of(path), "part-*.parquet"))
