"""The stage ``extract`` for a run that imports files of another format.

A path names the format of its file before a colon (``obelics:data/train-0.parquet``), in ``run.json`` and in the key of
``extract``. The later stages handle an import like a crawl.

    foreign files --read--> work/import, in the layout of ``read_archives`` --link--> extract/*
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from gobelin.data.ids import shard_of
from gobelin.errors import UserError
from gobelin.exchange.corpus import IMPORTED
from gobelin.exchange.entry import PICTURE_FACTS
from gobelin.exchange.formats import FORMATS, READ_ALONE, find_format
from gobelin.exchange.parquet_files import read_parquet
from gobelin.exchange.partition import Partition
from gobelin.exchange.read_index import ReadIndex
from gobelin.exchange.similarities import SIMILARITIES
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.inputs import Archive
from gobelin.pipeline.run.plan import DataSet, data_sets, is_complete, shards_to_do
from gobelin.pipeline.stages.extract import INDEXES, count_extract, fetch_missing
from gobelin.pipeline.stages.extract_link import link
from gobelin.store.dataset import num_rows_of
from gobelin.store.files import delete
from gobelin.store.paths import join
from gobelin.store.shards import read_folder, write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.extract.config import ExtractConfig

INDEX = "import"
"""Folder of an import's index, among the intermediate files of ``extract``."""


IMAGES_BESIDE = "images"
"""In place of a format: the file is of the data set of images that an export put beside its files."""


def is_imported(archives: Sequence[Archive]) -> bool:
    """Whether the input of a run is foreign files, not web archives."""
    return any(archive.path.partition(":")[0] in (*FORMATS, *READ_ALONE, IMAGES_BESIDE) for archive in archives)


def extract_imported(context: Context) -> dict[str, Any]:
    """The stage ``extract`` for inputs that are foreign files. Returns its counts."""
    folder, recipe = context.folder("extract"), context.recipe
    index = join(folder.work, INDEX)
    paths = [archive.path for archive in context.archives]
    made = data_sets(index, 1, *INDEXES, IMPORTED)
    context.plan.call("import: read documents", read_foreign, (recipe.extract, paths, index), made, unit="documents")
    fetched = fetch_missing(context, (index,)) if recipe.extract.fetch.enabled else ()
    link(context, (index,), fetched)
    write_similarities(index, folder.data(IMPORTED), recipe.num_shards)
    return count_extract(folder.attempt)


def write_similarities(index: str, target: str, num_shards: int) -> None:
    """Writes imported cosines as the data set ``similarities``, sharded like documents. Without cosines, writes
    nothing."""
    source, made = join(index, IMPORTED), DataSet(target, num_shards)
    if num_rows_of(source) == 0 or is_complete([made]):
        return
    with tempfile.TemporaryDirectory(prefix="gobelin-import-") as work:
        partition = Partition(join(work, "by-shard"))
        for row in read_folder(source):
            partition.append(shard_of(row["doc_id"], num_shards), row)
        for shard in shards_to_do(made):
            held = sorted((header for header, _, _ in partition.headers(shard)), key=itemgetter("doc_id"))
            write_shard(shard_path(made.folder, shard, num_shards), held, SIMILARITIES)
    is_complete([made])


def read_foreign(config: ExtractConfig, paths: list[str], folder: str) -> None:
    """Reads foreign files into an index. Runs in a process of its own.

    Args:
        paths: with the format before a colon. Images in separate files come last.
        folder: of the index. Files that a killed run left there are deleted.

    Raises:
        UserError: no document could be read from any file.
    """
    delete(folder)
    with ReadIndex(folder, config) as index:
        for path in paths:
            name, _, file = path.partition(":")
            if name == IMAGES_BESIDE:
                index.read_images(path, read_parquet(file, ("image_id", "data", *PICTURE_FACTS), ("data",)))
            else:
                index.read(path, find_format(name).read_source(file))
        if index.is_empty and index.problem:
            raise UserError(f"no document could be read; is the format right? {index.problem}")
