"""``gobelin import``: the documents of another data set take the place of web archives in a new output folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gobelin.exchange.formats import find_format, find_sources
from gobelin.pipeline.import_stage import IMAGES_BESIDE
from gobelin.pipeline.inputs import Archive
from gobelin.pipeline.progress_bar import Screen
from gobelin.pipeline.recipe import Recipe, load_recipe, to_yaml
from gobelin.pipeline.run import RECIPE_NAME, RUN_NAME, Run, holds_something_else
from gobelin.pipeline.state import OutputError, lock_folder, read_json, write_text
from gobelin.pipeline.supervisor import Supervisor


def run_import(
    output: Path,
    recipe_name: str,
    overrides: Sequence[str],
    name: str,
    sources: list[str],
    screen: Screen,
) -> None:
    """Makes an output folder whose stage ``extract`` is done, from files of a format.

    Args:
        sources: files of the format, or folders that hold them.

    Raises:
        ValueError: no such format or file, or a damaged one. RecipeError, OutputError: as for a run.
    """
    find_format(name)
    files = find_sources(name, sources)
    recipe = load_recipe(recipe_name, tuple(overrides))
    inputs = [f"{name}:{file}" for file in files]
    if find_format(name).images_beside:
        inputs += [f"{IMAGES_BESIDE}:{file}" for file in _images_beside(files)]
    archives = tuple(Archive(path, Path(path.partition(":")[2]).stat().st_size) for path in inputs)
    _check_output(output, recipe, archives)
    output.mkdir(parents=True, exist_ok=True)
    with lock_folder(output):
        write_text(output / RECIPE_NAME, to_yaml(recipe))
        run = Run(output, recipe, archives, 1, Supervisor(1, output, screen, "local", ()))
        run.write_summary()
        run.stage("extract", screen)


def _check_output(output: Path, recipe: Recipe, archives: tuple[Archive, ...]) -> None:
    held = read_json(output / RUN_NAME) if output.is_dir() else None
    if held is None and holds_something_else(output):
        raise OutputError(f"--output {output}: is not empty and no output folder of gobelin: choose another one")
    if held is None:
        return
    given = [[archive.path, archive.size] for archive in archives]
    if held["recipe"]["name"] != recipe.name or [[item["path"], item["bytes"]] for item in held["input"]] != given:
        raise OutputError(f"--output {output}: belongs to another recipe or input: choose another one, or delete it")


def _images_beside(files: list[Path]) -> list[Path]:
    """Files of the data sets ``images`` that exports put beside these files."""
    folders = {file.parent.parent if file.parent.name == "data" else file.parent for file in files}
    return sorted(path for folder in folders for path in folder.glob("images/part-*.parquet"))
