"""Export: documents as JSON lines on standard output, or a stage's documents as a data set in a known format.

    OUT/<stage>/documents, OUT/extract/images, OUT/score --corpus.py--> documents with their images, shard by shard
                                                         --a format--> one file per shard in the target folder
                                                                       README.md, croissant.json (card/card.py)
                                                                       export.json, left_out.jsonl

``export.json`` is written last and counts what was seen, kept and left out. ``left_out.jsonl`` holds a decision for
everything that the format cannot hold. Equal documents give equal bytes. If the recipe blurs faces, the faces that
``score`` found are blurred in exported images, and images that were not searched for faces are left out
(``exchange/blurring.py``).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from gobelin.card.layouts import layouts_of
from gobelin.card.tally import Tally
from gobelin.data.rows import Row
from gobelin.data.schemas import IMAGES
from gobelin.exchange.blurring import BLURRED_IMAGES, FACES_BLURRED, FACES_UNKNOWN, WITHHELD
from gobelin.exchange.corpus import EMBEDDINGS, IMPORTED, STAGES, Corpus, open_corpus
from gobelin.exchange.entry import Entry
from gobelin.exchange.formats import WRITTEN_ALONE, Format, find_format
from gobelin.exchange.jsonl import document_as_json
from gobelin.exchange.similarities import Matrix
from gobelin.exchange.writing import LEFT_OUT, Losses, Shard, Written, presentable
from gobelin.pipeline.exchange.cards import ExportCard
from gobelin.pipeline.run.state import RUN_NAME, OutputError
from gobelin.scores import columns
from gobelin.store.dataset import current, is_committed
from gobelin.store.files import exists, list_files, make_folder, read_json, write_json
from gobelin.store.files import output as new_file
from gobelin.store.paths import join
from gobelin.store.shards import RowsByDocument, read_folder, read_rows, write_rows
from gobelin.store.tables import shard_path
from gobelin.transforms.finite import finite_or_null

SOURCES = {stage: (stage, "documents") for stage in STAGES}


def export_documents(output: str, stage: str, stream: TextIO) -> int:
    """Writes the documents of a stage, one per line, in the order of their shards. Returns their number.

    Raises:
        OutputError: the stage has not run.
    """
    check_done(output, stage)
    return _write_lines(map(document_as_json, read_folder(join(output, *SOURCES[stage]))), stream)


def export_decisions(output: str, stage: str, stream: TextIO) -> int:
    """Writes the decisions of a stage, one per line. Returns their number.

    Raises:
        OutputError: the stage has not run.
    """
    check_done(output, stage)
    rows = read_folder(join(output, stage, "decisions"))
    return _write_lines(({name: value for name, value in row.items() if value is not None} for row in rows), stream)


def _write_lines(values: Iterable[dict[str, Any]], stream: TextIO) -> int:
    count = 0
    for value in values:
        stream.write(json.dumps(finite_or_null(value), ensure_ascii=False, allow_nan=False) + "\n")
        count += 1
    return count


def export_corpus(output: str, stage: str, name: str, target: str, with_images: bool) -> dict[str, Any]:
    """Writes the documents of a stage as a data set in a format. Returns the content of ``export.json``.

    Args:
        output: folder of the run. This and the target may be on an object store.
        target: a folder that is empty or does not exist.
        with_images: whether to write the bytes of images too, if the format holds only their addresses.

    Raises:
        OutputError: the stage has not run, the target is not empty, or faces must be blurred and no image was searched
            for faces.
        ValueError: there is no such format.
    """
    kind = find_format(name)
    run = check_done(output, stage)
    if exists(target) or list_files(target):
        raise OutputError(f"--to {target}: is not an empty folder: choose another one")
    clip_model = run["stages"]["score"].get("clip_model") if kind.has_similarity else None
    similarity = EMBEDDINGS if clip_model else _imported(output) if kind.has_similarity else None
    with_data = kind.holds_data or (with_images and not kind.images_beside)
    faces = _faces(output, run) if with_data or with_images else None
    is_scored = is_committed(join(output, "score", "documents"))
    make_folder(target)
    with tempfile.TemporaryDirectory(prefix="gobelin-export-") as work, new_file(join(target, LEFT_OUT)) as left_out:
        losses = Losses(left_out)
        corpus = open_corpus(output, stage, work, with_data, similarity, faces)
        written, tally, num_images = Written(), Tally(), 0
        for index in range(corpus.num_shards):
            items = _presentable(corpus, index, kind, losses, tally)
            scores = _scores(corpus, index) if name in WRITTEN_ALONE and is_scored else None
            kind.write_shard(Shard(items, target, index, corpus.num_shards, losses, written, scores))
            corpus.done_with(index)
        if with_images and kind.images_beside:
            schema = IMAGES if faces is None else BLURRED_IMAGES
            for index in range(corpus.num_shards):
                path = shard_path(join(target, "images"), index, corpus.num_shards)
                num_images += write_rows(path, _beside(corpus, index, losses), schema)
    summary = {
        "format": name,
        "stage": stage,
        "key": run["stages"][stage]["key"],
        **losses.summary(),
        **(_scored(similarity, clip_model, losses) if kind.has_similarity else {}),
        **({} if faces is None else {FACES_BLURRED: losses.notes[FACES_BLURRED]}),
    }
    layouts = layouts_of(name, with_images and kind.images_beside, faces is not None)
    card = ExportCard(run, summary, written, tally, layouts, num_images, with_images or kind.holds_data)
    card.write(target)
    write_json(join(target, "export.json"), summary)
    return summary


def _imported(output: str) -> str | None:
    return IMPORTED if is_committed(join(output, "extract", IMPORTED)) else None


def _scored(similarity: str | None, clip_model: str | None, losses: Losses) -> dict[str, Any]:
    """The source of the cosines, and the number of documents with images that have none."""
    return {"cosines_from": similarity, "clip_model": clip_model, "not_scored": losses.notes["not_scored"]}


def _presentable(
    corpus: Corpus, index: int, kind: Format, losses: Losses, tally: Tally
) -> Iterator[tuple[Entry, Matrix | None]]:
    """Yields exportable documents. Counts those that the format then takes."""
    for entry, matrix in corpus.entries(index):
        shown, cosines = presentable(entry, matrix, kind.holds_data, losses)
        num_refused = losses.num_documents
        yield shown, cosines
        if losses.num_documents == num_refused:
            tally.add(shown.document)


def _scores(corpus: Corpus, index: int) -> Callable[[str], Row]:
    """A function that returns the scores of a document in one shard. Its calls must have ascending ids."""
    names = [field.name for field in columns("documents")]
    rows = RowsByDocument(read_rows(corpus.shard("score", "documents", index), ["doc_id", *names]))

    def of(doc_id: str) -> Row:
        return next(({name: row[name] for name in names} for row in rows.of(doc_id)), {})

    return of


def _faces(output: str, run: dict[str, Any]) -> str | None:
    """The folder with the faces to blur; None if the recipe blurs none."""
    if not run["recipe"]["tokenize"]["blur_faces"]:
        return None
    if run["recipe"]["score"]["faces"] is None or run["stages"]["score"]["status"] != "done":
        raise OutputError(
            f"{output}: faces are to be blurred (tokenize.blur_faces), and are not known: set score.faces and "
            "run `gobelin score`, or export addresses without images"
        )
    return current(join(output, "score", "images"))


def _beside(corpus: Corpus, index: int, losses: Losses) -> Iterator[dict[str, Any]]:
    """Yields rows of exportable images. An image that was not searched for faces was recorded when its documents were
    read."""
    for row in corpus.images(index):
        if WITHHELD not in row:
            yield row
        elif row[WITHHELD] != FACES_UNKNOWN:
            losses.file(row)


def check_done(output: str, stage: str) -> dict[str, Any]:
    """The content of ``run.json`` if a stage is done with this recipe. Raises OutputError otherwise."""
    address = join(output, RUN_NAME)
    run = read_json(address) if exists(address) else None
    if run is None or run["stages"][stage]["status"] != "done":
        raise OutputError(f"{output}: stage {stage} has not run with this recipe; `gobelin run` does it")
    return run
