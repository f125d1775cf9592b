"""``gobelin import``: the documents of another data set take the place of web archives.

A foreign file is an input like an archive; its path says which format it has (``obelics:data/train-0.parquet``), in
``run.json`` and in the key of ``extract``. So ``score`` and what follows go on from an import without knowing of it.

    foreign files --import: read--> work/import, as ``read_archives`` leaves it --link_images--> extract/*
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gobelin.exchange.formats import FORMATS, find_format, find_sources
from gobelin.exchange.read_index import ReadIndex
from gobelin.pipeline import graphs, stages
from gobelin.pipeline.progress_bar import Screen
from gobelin.pipeline.recipe import Recipe, load_recipe, to_yaml
from gobelin.pipeline.run import RECIPE_NAME, RUN_NAME, OutputError, Run
from gobelin.pipeline.stages import Archive, Context
from gobelin.pipeline.state import StageFolder, read_json, write_text
from gobelin.pipeline.supervisor import Supervisor, Task
from gobelin.transforms.extract_config import ExtractConfig
from gobelin.transforms.shards import make_folder, read_folder

INDEX = "import"
"""Folder of an import's index, among the intermediate files of ``extract``."""


def format_of(path: str) -> str | None:
    """Format of an input file of a run; None: it is a web archive."""
    name, separator, _ = path.partition(":")
    return name if separator and name in FORMATS else None


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
    archives = tuple(Archive(f"{name}:{file}", file.stat().st_size) for file in files)
    _check_output(output, recipe, archives)
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / RECIPE_NAME, to_yaml(recipe))
    supervisor = Supervisor(1, output, screen, "local", ())
    run = Run(output, recipe, archives, 1, supervisor)
    run.write_summary()
    folder, key = StageFolder(output, "extract"), run.keys["extract"]
    if folder.is_done(key):
        screen.say("extract: already done")
        return
    started = time.monotonic()
    folder.begin(key)
    summary = extract_imported(Context(output, recipe, archives, supervisor, 1))
    seconds = {"seconds": round(time.monotonic() - started, 1), "cpu_seconds": round(supervisor.cpu_seconds, 1)}
    folder.complete(key, {**summary, **seconds})
    run.write_summary()


def _check_output(output: Path, recipe: Recipe, archives: tuple[Archive, ...]) -> None:
    held = read_json(output / RUN_NAME) if output.is_dir() else None
    if held is None and output.is_dir() and any(output.iterdir()):
        raise OutputError(f"--output {output}: is not empty and no output folder of gobelin: choose another one")
    if held is None:
        return
    given = [[archive.path, archive.size] for archive in archives]
    if held["recipe"]["name"] != recipe.name or [[item["path"], item["bytes"]] for item in held["input"]] != given:
        raise OutputError(f"--output {output}: belongs to another recipe or input: choose another one, or delete it")


def extract_imported(context: Context) -> dict[str, Any]:
    """The stage ``extract`` for inputs that are foreign files. Returns what it counted."""
    folder, recipe = context.folder("extract"), context.recipe
    index = str(folder.work / INDEX)
    if not stages._is_read(graphs.ReadJob(recipe.extract, index, 1)):
        make_folder(f"{index}/spools")
        paths = [archive.path for archive in context.archives]
        task = Task("import", read_foreign, (recipe.extract, paths, index))
        context.supervisor.run("import: read documents", [task], "documents")
    fetched = stages._fetch(context, (index,)) if recipe.extract.fetch.enabled else ()
    for name in ("documents", "images", "decisions", "archives", "fetches"):
        make_folder(context.data("extract", name))
    job = graphs.LinkJob((index,), fetched, str(folder.path), recipe.num_shards, recipe.extract.robots_agents)
    context.supervisor.run_graph("import: link images", graphs.link_images, [([], job)])
    return stages._count_extract(folder.path)


def read_foreign(config: ExtractConfig, paths: list[str], folder: str) -> None:
    """Reads foreign files into an index. Runs in a process of its own.

    Args:
        paths: each with its format before a colon.
    """
    beside: dict[Path, None] = {}  # in order, each once
    with ReadIndex(Path(folder), config) as index:
        for path in paths:
            name, _, file = path.partition(":")
            kind = find_format(name)
            index.read(path, kind.read_source(Path(file)))
            if kind.images_beside:
                beside.update(dict.fromkeys(_images_beside(Path(file))))
        for images in beside:
            index.read_images(str(images), read_folder(str(images)))


def _images_beside(file: Path) -> list[Path]:
    """The data set ``images`` that an export put beside its files."""
    folders = (file.parent / "images", file.parent.parent / "images" if file.parent.name == "data" else None)
    return [folder for folder in folders if folder is not None and any(folder.glob("part-*.parquet"))]
