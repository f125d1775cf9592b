"""``gobelin import``: the documents of another data set take the place of web archives.

A foreign file is an input like an archive; its path says which format it has (``obelics:data/train-0.parquet``), in
``run.json`` and in the key of ``extract``. So ``score`` and what follows go on from an import without knowing of it.

    foreign files --import: read--> work/import, as ``read_archives`` leaves it --link--> extract/*
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from gobelin.documents import shard_of
from gobelin.exchange.corpus import IMPORTED
from gobelin.exchange.entry import PICTURE_FACTS
from gobelin.exchange.formats import FORMATS, find_format, find_sources
from gobelin.exchange.parquet_files import read_parquet
from gobelin.exchange.partition import Partition
from gobelin.exchange.read_index import ReadIndex
from gobelin.exchange.similarities import SIMILARITIES
from gobelin.pipeline import stages
from gobelin.pipeline.extract_graphs import ReadJob
from gobelin.pipeline.inputs import Archive
from gobelin.pipeline.progress_bar import Screen
from gobelin.pipeline.recipe import Recipe, load_recipe, to_yaml
from gobelin.pipeline.run import RECIPE_NAME, RUN_NAME, Run
from gobelin.pipeline.stages import Context
from gobelin.pipeline.state import OutputError, StageFolder, lock_folder, read_json, write_text
from gobelin.pipeline.supervisor import Supervisor, Task
from gobelin.transforms.extract_config import ExtractConfig
from gobelin.transforms.shards import make_folder, read_folder, shard_path, write_rows

INDEX = "import"
"""Folder of an import's index, among the intermediate files of ``extract``."""


IMAGES_BESIDE = "images"
"""In place of a format: the file is of the data set of images that an export put beside its files."""


def is_imported(archives: Sequence[Archive]) -> bool:
    """Whether a run's input are foreign files, and no web archives."""
    return any(archive.path.partition(":")[0] in (*FORMATS, IMAGES_BESIDE) for archive in archives)


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
        _import(output, recipe, archives, screen)


def _import(output: Path, recipe: Recipe, archives: tuple[Archive, ...], screen: Screen) -> None:
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
    if not stages.is_read(ReadJob(recipe.extract, index, 1)):
        make_folder(f"{index}/spools")
        paths = [archive.path for archive in context.archives]
        task = Task("import", read_foreign, (recipe.extract, paths, index))
        context.supervisor.run("import: read documents", [task], "documents")
    fetched = stages.fetch_missing(context, (index,)) if recipe.extract.fetch.enabled else ()
    stages.link(context, (index,), fetched)
    write_similarities(Path(index), folder.path, recipe.num_shards)
    return stages.count_extract(folder.path)


def write_similarities(index: Path, output: Path, num_shards: int) -> None:
    """Cosines that came in -> the data set ``similarities``, sharded like documents; no data set where none came."""
    rows = read_folder(str(index / IMPORTED))
    first = next(rows, None)
    if first is None:
        return
    partition = Partition(index / "by-shard")
    for row in itertools.chain([first], rows):
        partition.append(shard_of(row["doc_id"], num_shards), row)
    make_folder(str(output / IMPORTED))
    for shard in range(num_shards):
        held = sorted((header for header, _, _ in partition.headers(shard)), key=itemgetter("doc_id"))
        write_rows(shard_path(str(output / IMPORTED), shard, num_shards), held, SIMILARITIES)


def read_foreign(config: ExtractConfig, paths: list[str], folder: str) -> None:
    """Reads foreign files into an index. Runs in a process of its own.

    Args:
        paths: each with its format before a colon; images that stand beside come last.

    Raises:
        ValueError: no file held a document that could be read.
    """
    with ReadIndex(Path(folder), config) as index:
        for path in paths:
            name, _, file = path.partition(":")
            if name == IMAGES_BESIDE:
                index.read_images(path, read_parquet(Path(file), ("image_id", "data", *PICTURE_FACTS), ("data",)))
            else:
                index.read(path, find_format(name).read_source(Path(file)))
        if index.is_empty and index.problem:
            raise ValueError(f"no document could be read; is the format right? {index.problem}")


def _images_beside(files: list[Path]) -> list[Path]:
    """Files of the data sets ``images`` that exports put beside these files."""
    folders = {file.parent.parent if file.parent.name == "data" else file.parent for file in files}
    return sorted(path for folder in folders for path in folder.glob("images/part-*.parquet"))
