"""Writes the images that documents show into the data set ``images``, once each with all their URLs, and their reduced
copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from gobelin.data.ids import shard_of
from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.rows import ImageCopyRow, Row
from gobelin.data.schemas import IMAGE_COPIES, IMAGES
from gobelin.store.shards import write_shard
from gobelin.store.spool import SpoolReader, SpoolRef
from gobelin.store.tables import shard_path
from gobelin.transforms.boundary import Guarded
from gobelin.transforms.extract.indexes import ImageIndexRow
from gobelin.transforms.extract.resolve_urls import ImageNameRow
from gobelin.transforms.extract.write_documents import ShownRow
from gobelin.transforms.progress import advance
from gobelin.transforms.rights.consent import merge_signals
from gobelin.transforms.row_steps import empty_shards


class WriteImages(beam.PTransform):
    """(image index rows, rows of ``SHOWN``, rows of ``IMAGE_NAMES`` of revisits, (image_id, signals) pairs) of some
    shards -> these
    shards of ``images``, and of ``copies`` if there is a folder for them.

    Tagged output ``decisions``: on image records whose bytes are stored already, or which no document shows.
    """

    def __init__(self, folder: str, copies: str | None, shards: Sequence[int], num_shards: int) -> None:
        self._folder, self._copies, self._shards, self._num_shards = folder, copies, shards, num_shards

    def expand(self, inputs: tuple[beam.PCollection, ...]) -> dict[str, beam.PCollection]:
        images, shown, revisited, signals = inputs
        grouped = (
            {
                "images": images | "ByImageId" >> beam.Map(_by_image_id),
                "shown": shown | "ShownIds" >> beam.Map(_shown_key),
                "revisited": revisited | "RevisitsById" >> beam.Map(_by_image_id),
                "signals": signals,
            }
            | "JoinByImageId" >> beam.CoGroupByKey()
            | "KeepShownOnce"
            >> beam.ParDo(Guarded(_keep_shown_once, _refuse_records)).with_outputs("decisions", main="kept")
        )
        paths = (
            (
                grouped.kept | "ToShard" >> beam.Map(_image_to_shard, self._num_shards),
                empty_shards(images.pipeline, self._shards),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_WriteImageShard(self._folder, self._copies, self._num_shards))
        )
        return {"paths": paths, "decisions": grouped.decisions}


def is_stored(image: ImageIndexRow) -> bool:
    """Whether an image index row has bytes."""
    return not image.get("is_blocked")


def _by_image_id(image: ImageIndexRow | ImageNameRow) -> tuple[str | None, ImageIndexRow | ImageNameRow]:
    return image["image_id"], image


def _shown_key(row: ShownRow) -> tuple[str, bool]:
    return row["image_id"], True


def _keep_shown_once(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Any]:
    identifier, sides = joined
    # data: images have the position of their page, so the URL is part of a record's identity.
    records = {(row["warc_file"], row["warc_offset"], row["url"]): row for row in sides["images"]}
    keys = sorted(records)
    is_shown = any(True for _ in sides["shown"])
    for key in keys[1:] if is_shown else keys:
        yield beam.pvalue.TaggedOutput(
            "decisions",
            to_row(
                Decision(
                    stage="extract", unit=Unit.IMAGE, action=Action.DROP,
                    rule="same_bytes_stored" if is_shown else "not_in_any_document",
                    image_id=identifier, url=key[2], value=len(keys) if is_shown else 0, threshold=1,
                    warc_file=key[0], warc_offset=key[1],
                )
            ),
        )  # fmt: skip
    if is_shown:
        consent = merge_signals(*(row["consent"] for row in records.values()), *sides["signals"])
        urls = {*(key[2] for key in keys), *(row["url"] for row in sides["revisited"])}
        yield {**records[keys[0]], "consent": consent}, sorted(urls)


def _refuse_records(joined: tuple[str, dict[str, Iterable[Any]]], detail: str) -> Iterator[Decision]:
    identifier, sides = joined
    records = {(row["warc_file"], row["warc_offset"], row["url"]) for row in sides["images"]}
    for warc_file, warc_offset, url in sorted(records):
        yield Decision(
            stage="extract", unit=Unit.IMAGE, action=Action.FAIL, rule="extract_error", image_id=identifier, url=url,
            detail=detail, warc_file=warc_file, warc_offset=warc_offset,
        )  # fmt: skip


def _image_to_shard(kept: tuple[ImageIndexRow, list[str]], num_shards: int) -> tuple[int, Any]:
    return shard_of(kept[0]["image_id"], num_shards), kept


class _WriteImageShard(beam.DoFn):
    def __init__(self, folder: str, copies: str | None, num_shards: int) -> None:
        self._folder, self._copies, self._num_shards = folder, copies, num_shards

    def process(self, element: tuple[int, Iterable[Any]]) -> Iterator[str]:
        index, group = element
        kept = sorted((item for item in group if item is not None), key=lambda item: item[0]["image_id"])
        path = shard_path(self._folder, index, self._num_shards)
        write_shard(path, self._images(kept), IMAGES)
        if self._copies is not None:
            write_shard(shard_path(self._copies, index, self._num_shards), _copies_of(kept), IMAGE_COPIES)
        yield path

    def _images(self, kept: list[tuple[ImageIndexRow, list[str]]]) -> Iterator[Row]:
        reader = SpoolReader()
        for row, urls in kept:
            data = reader.read(SpoolRef(row["path"], row["offset"], row["length"]))
            advance("images")
            yield {**{name: row.get(name) for name in IMAGES.names}, "data": data, "urls": urls}
        reader.close()


def _copies_of(kept: list[tuple[ImageIndexRow, list[str]]]) -> Iterator[ImageCopyRow]:
    reader = SpoolReader()
    for row, _ in kept:
        if row["copy_length"]:
            place = SpoolRef(row["path"], row["offset"] + row["length"], row["copy_length"])
            yield {"image_id": row["image_id"], "data": reader.read(place)}
    reader.close()
