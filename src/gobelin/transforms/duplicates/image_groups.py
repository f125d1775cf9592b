"""Groups of near-duplicate images as Beam graphs, for corpora that fit on no machine. groups.py defines the groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

import apache_beam as beam

from gobelin.data.ids import shard_of
from gobelin.data.rows import ImageRow, ImageSignatureRow
from gobelin.transforms.duplicates.alike_pairs import edges_in_bucket
from gobelin.transforms.duplicates.components import Edge
from gobelin.transforms.duplicates.groups import IMAGE_GROUPS, ImageGroupRow
from gobelin.transforms.duplicates.image_duplicates import (
    NearImageConfig,
    are_candidates,
    image_hashes,
    image_keys,
    read_colours,
    verified_groups,
)
from gobelin.transforms.duplicates.verify_images import read_thumbnails
from gobelin.transforms.row_steps import WriteRows
from gobelin.transforms.score.measure import MeasurementRow


class FindImageEdges(beam.PTransform):
    """Rows with image_id, phash, dhash and colour -> (image_id, image_id) edges that connect candidates: images that
    are near by hashes and colours. ``FindImageGroups`` verifies them."""

    def __init__(self, config: NearImageConfig) -> None:
        self._config = config

    def expand(self, images: beam.PCollection) -> beam.PCollection:
        return (
            images
            | "ImageKeys" >> beam.FlatMap(_image_keys, self._config)
            | "GroupImages" >> beam.GroupByKey()
            | "AlikeImages" >> beam.FlatMap(_alike_images, self._config)
        )


def _image_keys(image: ImageSignatureRow, config: NearImageConfig) -> Iterator[tuple[tuple[int, int], tuple[str, ...]]]:
    for key in image_keys(image["phash"], image["dhash"], image["colour"], config):
        yield key, (image["image_id"], image["phash"], image["dhash"], image["colour"])


def _alike_images(
    grouped: tuple[tuple[int, int], Iterable[tuple[str, ...]]], config: NearImageConfig
) -> Iterator[Edge]:
    members = sorted(set(grouped[1]))
    if len(members) < 2:
        return
    ids, *columns = zip(*members, strict=True)
    yield from edges_in_bucket(list(ids), are_candidates(image_hashes(*columns), config))


@dataclasses.dataclass(frozen=True, slots=True)
class ImageMember:
    """An image in a candidate group."""

    image_id: str
    is_own: bool  # whether it is an image of the run that is being scored
    colour: str
    thumbnail: str
    num_earlier: int  # number of documents of earlier runs that show it
    documents: tuple[str, ...]  # of this run that show it


class FindImageGroups(beam.PTransform):
    """(rows of images, rows of ``IMAGE_SIGNATURES`` of earlier runs, measurements, (image_id, candidate group) pairs)
    -> the data set ``IMAGE_GROUPS``. Rows of images have image_id, colour and thumbnail."""

    def __init__(self, config: NearImageConfig, folder: str, num_shards: int) -> None:
        self._config, self._folder, self._num_shards = config, folder, num_shards

    def expand(
        self, inputs: tuple[beam.PCollection, beam.PCollection, beam.PCollection, beam.PCollection]
    ) -> beam.PCollection:
        images, earlier, measurements, components = inputs
        rows = (
            {
                "own": images | "OwnById" >> beam.Map(_own_by_id),
                "earlier": earlier | "EarlierById" >> beam.Map(_earlier_by_id),
                "documents": measurements | "Uses" >> beam.FlatMap(_uses),
                "component": components,
            }
            | "JoinById" >> beam.CoGroupByKey()
            | "ToCandidates" >> beam.Map(_to_candidates)
            | "GroupCandidates" >> beam.GroupByKey()
            | "CountImages" >> beam.FlatMap(_count_images, self._config, self._num_shards)
        )
        return rows | WriteRows(self._folder, IMAGE_GROUPS, self._num_shards, ("image_id",))


@dataclasses.dataclass(frozen=True, slots=True)
class _Facts:
    """The facts of an image in one run."""

    colour: str
    thumbnail: str
    num_documents: int  # 0 for the run that is being scored, whose measurements count


def _own_by_id(row: ImageRow) -> tuple[str, _Facts]:
    return row["image_id"], _Facts(row["colour"], row["thumbnail"], 0)


def _earlier_by_id(row: ImageSignatureRow) -> tuple[str, _Facts]:
    return row["image_id"], _Facts(row["colour"], row["thumbnail"], row["num_documents"])


def _uses(row: MeasurementRow) -> Iterator[tuple[str, str]]:
    for identifier in row["images"]:
        yield identifier, row["doc_id"]


def _to_candidates(joined: tuple[str, dict[str, Iterable[Any]]]) -> tuple[str, ImageMember]:
    identifier, sides = joined
    own, earlier = list(sides["own"]), list(sides["earlier"])
    facts = next(iter((*own, *earlier)), _Facts("", "", 0))
    member = ImageMember(
        identifier, bool(own), facts.colour, facts.thumbnail, sum(each.num_documents for each in earlier),
        tuple(sorted(set(sides["documents"]))),
    )  # fmt: skip
    return next(iter(sides["component"]), identifier), member


def _count_images(
    grouped: tuple[str, Iterable[ImageMember]], config: NearImageConfig, num_shards: int
) -> Iterator[tuple[int, ImageGroupRow]]:
    members = sorted(grouped[1], key=attrgetter("image_id"))
    groups = [0] * len(members)
    if config.verify and len(members) > 1:
        thumbnails = read_thumbnails(member.thumbnail for member in members)
        groups = verified_groups(read_colours(member.colour for member in members), thumbnails, config).tolist()
    documents: dict[int, set[str]] = {}
    earlier: dict[int, int] = {}
    for group, member in zip(groups, members, strict=True):
        documents.setdefault(group, set()).update(member.documents)
        earlier[group] = earlier.get(group, 0) + member.num_earlier
    for group, member in zip(groups, members, strict=True):
        if member.is_own:
            row: ImageGroupRow = {
                "image_id": member.image_id,
                "near_group": members[group].image_id,
                "num_documents": len(member.documents) + member.num_earlier,
                "near_count": len(documents[group]) + earlier[group],
                "own_documents": len(member.documents),
            }
            yield shard_of(member.image_id, num_shards), row
