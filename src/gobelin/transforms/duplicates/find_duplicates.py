"""What a duplicate is: groups of documents and of images over a whole corpus, and over earlier ones.

    documents   same canonical URL, same words, near-duplicate words (minhash.py): each a group, named after its
                smallest doc_id. Paragraphs: how often the same text stands on its host.
    images      same bytes are one image already (image_id); near-duplicates (image_duplicates.py) and, where asked
                for, alike embeddings (semantic_duplicates.py): groups named after their smallest image_id, with the
                number of documents that show one of them.
    earlier     of a group that holds a document of an earlier run's corpus, ``earlier`` names it: the latest capture,
                then the smallest id. For the same words and for near-duplicates the earlier one stays. For the same
                URL the newer capture stays: "url" where the earlier one is as new, "older_url" where it is older.
                An image's counts include the documents of earlier runs.

There are two ways to the same answer: ``find_duplicates`` (local_duplicates.py) sorts keys with NumPy in one process
and is good to some ten million documents; ``FindDocumentGroups`` and ``FindImageGroups`` (this file) are Beam graphs
for more. Both write ``DOCUMENT_GROUPS`` and ``IMAGE_GROUPS``. Only keys and signatures travel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from operator import attrgetter, itemgetter
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gobelin.data.ids import shard_of
from gobelin.data.rows import Row
from gobelin.data.schemas import DOCUMENT_SCORES
from gobelin.transforms.duplicates.alike_pairs import IsAlike, join_alike
from gobelin.transforms.duplicates.components import Edge
from gobelin.transforms.duplicates.image_duplicates import (
    NearImageConfig,
    are_candidates,
    image_hashes,
    image_keys,
    read_colours,
    verified_groups,
)
from gobelin.transforms.duplicates.minhash import MinHashConfig, sketches_alike
from gobelin.transforms.duplicates.verify_images import read_thumbnails
from gobelin.transforms.row_steps import WriteRows

DOCUMENT_GROUPS = pa.schema(
    [
        *(DOCUMENT_SCORES.field(name) for name in ("doc_id", "url_group", "exact_group", "near_group", "earlier")),
        pa.field("site_counts", pa.list_(pa.int32())),  # of each node: times its text stands on its host; null: image
    ]
)

IMAGE_GROUPS = pa.schema(
    [
        pa.field("image_id", pa.string()),
        pa.field("near_group", pa.string()),
        pa.field("num_documents", pa.int32()),
        pa.field("near_count", pa.int32()),
        pa.field("own_documents", pa.int32()),  # of this run alone, for the signatures
    ]
)

KINDS = {"url": "url_key", "exact": "text_digest"}
"""Kinds of group whose members have one key in common, and the key. A text without words has none: it is known by its
doc_id, and so found again in an earlier run, but is no duplicate of any other."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A document in a group. ``run``: None in the run that is being scored."""

    doc_id: str
    warc_date: str
    run: str | None
    is_kept: bool


def earlier_of(members: Iterable[Member]) -> Member | None:
    """The member of an earlier corpus that a group is known by; None where there is none."""
    kept = [member for member in members if member.run is not None and member.is_kept]
    kept.sort(key=lambda member: (member.doc_id, member.run))
    return max(kept, key=lambda member: member.warc_date, default=None)


def earlier_kind(kind: str, own_date: str, earlier_date: str) -> str:
    """The kind under which a document of an earlier run is recorded; see above for the same URL."""
    return "older_url" if kind == "url" and earlier_date < own_date else kind


class FindTextEdges(beam.PTransform):
    """Rows of ``SIGNATURES`` -> (doc_id, doc_id) edges that connect near-duplicate texts. Copies meet once."""

    def __init__(self, config: MinHashConfig) -> None:
        self._config = config

    def expand(self, signatures: beam.PCollection) -> beam.PCollection:
        copies = (
            signatures
            | "ByText" >> beam.FlatMap(_by_text)
            | "GroupCopies" >> beam.GroupByKey()
            | "OneOfCopies" >> beam.FlatMap(_one_of_copies).with_outputs("edges", main="texts")
        )
        alike = (
            copies.texts
            | "BandKeys" >> beam.FlatMap(_band_keys)
            | "GroupBands" >> beam.GroupByKey()
            | "AlikeTexts" >> beam.FlatMap(_alike_texts, self._config)
        )
        return (copies.edges, alike) | beam.Flatten()


def _by_text(row: Row) -> Iterator[tuple[str, tuple[str, tuple[int, ...], bytes]]]:
    if row["text_digest"] is not None:
        yield row["text_digest"], (row["doc_id"], tuple(row["bands"]), row["sketch"])


def _one_of_copies(grouped: tuple[str, Iterable[tuple[str, tuple[int, ...], bytes]]]) -> Iterator[Any]:
    members = sorted(set(grouped[1]))
    yield members[0]
    for doc_id, _, _ in members[1:]:
        yield beam.pvalue.TaggedOutput("edges", (doc_id, members[0][0]))


def _band_keys(text: tuple[str, tuple[int, ...], bytes]) -> Iterator[tuple[int, tuple[str, bytes]]]:
    doc_id, bands, sketch = text
    for key in bands:
        yield key, (doc_id, sketch)


def _alike_texts(grouped: tuple[int, Iterable[tuple[str, bytes]]], config: MinHashConfig) -> Iterator[Edge]:
    members = sorted(grouped[1])
    if len(members) < 2:
        return
    sketches = np.frombuffer(b"".join(sketch for _, sketch in members), np.uint8).reshape(len(members), -1)
    is_alike = sketches_alike(sketches, config) if config.verify else None
    yield from _edges_in_bucket([doc_id for doc_id, _ in members], is_alike)


def _edges_in_bucket(ids: list[str], is_alike: IsAlike | None) -> Iterator[Edge]:
    """Edges from each id to the smallest one that it is connected with, for ids that share a key."""
    groups = join_alike(len(ids), [np.zeros(len(ids), np.int64)], is_alike)
    for place, group in enumerate(groups.tolist()):
        if place != group:
            yield ids[place], ids[group]


class FindImageEdges(beam.PTransform):
    """Rows with image_id, phash, dhash and colour -> (image_id, image_id) edges that connect candidates: images
    near by hashes and colours. ``FindImageGroups`` verifies them."""

    def __init__(self, config: NearImageConfig) -> None:
        self._config = config

    def expand(self, images: beam.PCollection) -> beam.PCollection:
        return (
            images
            | "ImageKeys" >> beam.FlatMap(_image_keys, self._config)
            | "GroupImages" >> beam.GroupByKey()
            | "AlikeImages" >> beam.FlatMap(_alike_images, self._config)
        )


def _image_keys(image: Row, config: NearImageConfig) -> Iterator[tuple[tuple[int, int], tuple[str, ...]]]:
    for key in image_keys(image["phash"], image["dhash"], config):
        yield key, (image["image_id"], image["phash"], image["dhash"], image["colour"])


def _alike_images(
    grouped: tuple[tuple[int, int], Iterable[tuple[str, ...]]], config: NearImageConfig
) -> Iterator[Edge]:
    members = sorted(set(grouped[1]))
    if len(members) < 2:
        return
    ids, *columns = zip(*members, strict=True)
    yield from _edges_in_bucket(list(ids), are_candidates(image_hashes(*columns), config))


class FindDocumentGroups(beam.PTransform):
    """(rows of ``SIGNATURES`` with run and is_kept, rows of measurements, (doc_id, near group) pairs) -> the data set
    ``DOCUMENT_GROUPS``."""

    def __init__(self, folder: str, num_shards: int) -> None:
        self._folder, self._num_shards = folder, num_shards

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection, beam.PCollection]) -> beam.PCollection:
        signatures, measurements, components = inputs
        same = (
            signatures
            | "KeysOfSame" >> beam.FlatMap(_keys_of_same)
            | "GroupSame" >> beam.GroupByKey()
            | "NameSame" >> beam.FlatMap(_name_group)
        )
        near = (
            {"component": components, "member": signatures | "MemberById" >> beam.Map(_member_by_id)}
            | "JoinComponent" >> beam.CoGroupByKey()
            | "ToComponent" >> beam.FlatMap(_to_component)
            | "GroupNear" >> beam.GroupByKey()
            | "NameNear" >> beam.FlatMap(_name_group)
        )
        repeated = (
            measurements
            | "ParagraphKeys" >> beam.FlatMap(_paragraph_keys)
            | "GroupParagraphs" >> beam.GroupByKey()
            | "SiteCounts" >> beam.FlatMap(_site_counts)
        )
        rows = (
            (same, near, repeated, measurements | "Blank" >> beam.Map(_blank))
            | beam.Flatten()
            | "GroupDocument" >> beam.GroupByKey()
            | "DocumentRow" >> beam.Map(_document_row, self._num_shards)
        )
        return rows | WriteRows(self._folder, DOCUMENT_GROUPS, self._num_shards, ("doc_id",))


def _member(row: Row) -> Member:
    return Member(row["doc_id"], row["warc_date"], row["run"], row["is_kept"])


def _keys_of_same(row: Row) -> Iterator[tuple[tuple[str, str], Member]]:
    for kind, field in KINDS.items():
        yield (kind, row[field] or row["doc_id"]), _member(row)


def _member_by_id(row: Row) -> tuple[str, Member]:
    return row["doc_id"], _member(row)


def _to_component(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[tuple[str, str], Member]]:
    doc_id, sides = joined
    group = next(iter(sides["component"]), doc_id)
    for member in sides["member"]:
        yield ("near", group), member


def _name_group(grouped: tuple[tuple[str, str], Iterable[Member]]) -> Iterator[tuple[str, Row]]:
    (kind, _), members = grouped
    members = list(members)
    group = min(member.doc_id for member in members)
    earlier = earlier_of(members)
    for member in members:
        if member.run is None:
            update: Row = {f"{kind}_group": group}
            if earlier is not None:
                known_as = earlier_kind(kind, member.warc_date, earlier.warc_date)
                update["earlier"] = {"kind": known_as, "doc_id": earlier.doc_id, "run": earlier.run}
            yield member.doc_id, update


def _paragraph_keys(row: Row) -> Iterator[tuple[int, tuple[str, int]]]:
    for index, key in enumerate(row["paragraphs"]):
        if key is not None:
            yield key, (row["doc_id"], index)


def _site_counts(grouped: tuple[int, Iterable[tuple[str, int]]]) -> Iterator[tuple[str, Row]]:
    places = list(grouped[1])
    if len(places) > 1:
        for doc_id, node_index in places:
            yield doc_id, {"site_count": (node_index, len(places))}


def _blank(row: Row) -> tuple[str, Row]:
    return row["doc_id"], {"site_counts": [None if key is None else 1 for key in row["paragraphs"]]}


def _document_row(grouped: tuple[str, Iterable[Row]], num_shards: int) -> tuple[int, Row]:
    doc_id, updates = grouped
    row: Row = dict.fromkeys(("doc_id", "url_group", "exact_group", "near_group"), doc_id)
    counts: list[tuple[int, int]] = []
    earlier: list[Row] = []
    for update in updates:
        if "site_count" in update:
            counts.append(update["site_count"])
        elif "earlier" in update:
            earlier.append(update["earlier"])
        row |= {name: value for name, value in update.items() if name not in ("site_count", "earlier")}
    site_counts = list(row["site_counts"])
    for node_index, count in counts:
        site_counts[node_index] = count
    row |= {"site_counts": site_counts, "earlier": sorted(earlier, key=itemgetter("kind"))}
    return shard_of(doc_id, num_shards), row


@dataclasses.dataclass(frozen=True, slots=True)
class ImageMember:
    """An image among its candidates."""

    image_id: str
    is_own: bool  # an image of the run that is being scored
    colour: str
    thumbnail: str
    num_earlier: int  # documents of earlier runs that show it
    documents: tuple[str, ...]  # of this run


class FindImageGroups(beam.PTransform):
    """(rows of images, rows of ``IMAGE_SIGNATURES`` of earlier runs, measurements, (image_id, candidate group) pairs)
    -> the data set ``IMAGE_GROUPS``. Images are rows with image_id, colour and thumbnail."""

    def __init__(self, config: NearImageConfig, folder: str, num_shards: int) -> None:
        self._config, self._folder, self._num_shards = config, folder, num_shards

    def expand(
        self, inputs: tuple[beam.PCollection, beam.PCollection, beam.PCollection, beam.PCollection]
    ) -> beam.PCollection:
        images, earlier, measurements, components = inputs
        rows = (
            {
                "own": images | "OwnById" >> beam.Map(_by_image_id),
                "earlier": earlier | "EarlierById" >> beam.Map(_by_image_id),
                "documents": measurements | "Uses" >> beam.FlatMap(_uses),
                "component": components,
            }
            | "JoinById" >> beam.CoGroupByKey()
            | "ToCandidates" >> beam.Map(_to_candidates)
            | "GroupCandidates" >> beam.GroupByKey()
            | "CountImages" >> beam.FlatMap(_count_images, self._config, self._num_shards)
        )
        return rows | WriteRows(self._folder, IMAGE_GROUPS, self._num_shards, ("image_id",))


def _by_image_id(row: Row) -> tuple[str, Row]:
    return row["image_id"], {name: row[name] for name in ("colour", "thumbnail", "num_documents") if name in row}


def _uses(row: Row) -> Iterator[tuple[str, str]]:
    for identifier in row["images"]:
        yield identifier, row["doc_id"]


def _to_candidates(joined: tuple[str, dict[str, Iterable[Any]]]) -> tuple[str, ImageMember]:
    identifier, sides = joined
    own, earlier = list(sides["own"]), list(sides["earlier"])
    facts = next(iter((*own, *earlier)), {"colour": "", "thumbnail": ""})
    member = ImageMember(
        identifier, bool(own), facts["colour"], facts["thumbnail"], sum(row["num_documents"] for row in earlier),
        tuple(sorted(set(sides["documents"]))),
    )  # fmt: skip
    return next(iter(sides["component"]), identifier), member


def _count_images(
    grouped: tuple[str, Iterable[ImageMember]], config: NearImageConfig, num_shards: int
) -> Iterator[tuple[int, Row]]:
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
            row = {
                "image_id": member.image_id,
                "near_group": members[group].image_id,
                "num_documents": len(member.documents) + member.num_earlier,
                "near_count": len(documents[group]) + earlier[group],
                "own_documents": len(member.documents),
            }
            yield shard_of(member.image_id, num_shards), row
