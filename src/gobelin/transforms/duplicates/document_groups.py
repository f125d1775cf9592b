"""Groups of duplicate documents as Beam graphs, for corpora that fit on no machine. groups.py defines the groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

import apache_beam as beam
import numpy as np

from gobelin.data.ids import shard_of
from gobelin.data.rows import EarlierRow, SignatureRow
from gobelin.transforms.duplicates.alike_pairs import edges_in_bucket
from gobelin.transforms.duplicates.components import Edge
from gobelin.transforms.duplicates.groups import (
    DOCUMENT_GROUPS,
    KINDS,
    DocumentGroupRow,
    Member,
    earlier_kind,
    earlier_of,
)
from gobelin.transforms.duplicates.minhash import MinHashConfig, sketches_alike
from gobelin.transforms.duplicates.signatures import Candidate
from gobelin.transforms.row_steps import WriteRows
from gobelin.transforms.score.measure import MeasurementRow


class FindTextEdges(beam.PTransform):
    """Rows of ``SIGNATURES`` -> (doc_id, doc_id) edges that connect near-duplicate texts. Only one of equal texts is
    compared."""

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


def _by_text(row: SignatureRow) -> Iterator[tuple[str, tuple[str, tuple[int, ...], bytes]]]:
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
    yield from edges_in_bucket([doc_id for doc_id, _ in members], is_alike)


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


def _member(row: Candidate) -> Member:
    return Member(row["doc_id"], row["warc_date"], row["run"], row["is_kept"])


def _keys_of_same(row: Candidate) -> Iterator[tuple[tuple[str, str], Member]]:
    for kind, key in KINDS.items():
        yield (kind, row[key] or row["doc_id"]), _member(row)


def _member_by_id(row: Candidate) -> tuple[str, Member]:
    return row["doc_id"], _member(row)


def _to_component(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[tuple[str, str], Member]]:
    doc_id, sides = joined
    group = next(iter(sides["component"]), doc_id)
    for member in sides["member"]:
        yield ("near", group), member


@dataclasses.dataclass(frozen=True, slots=True)
class _InGroup:
    """A document's group of one kind, and the document of an earlier corpus in that group."""

    kind: str  # url | exact | near
    group: str
    earlier: EarlierRow | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Repeated:
    """How often the text of a node occurs on its host."""

    node_index: int
    times: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Blank:
    """The counts without any repetition: 1 for each text node, None for each image."""

    site_counts: tuple[int | None, ...]


def _name_group(grouped: tuple[tuple[str, str], Iterable[Member]]) -> Iterator[tuple[str, _InGroup]]:
    (kind, _), members = grouped
    members = list(members)
    group = min(member.doc_id for member in members)
    earlier = earlier_of(members)
    for member in members:
        if member.run is None:
            known: EarlierRow | None = None
            if earlier is not None and earlier.run is not None:
                known_as = earlier_kind(kind, member.warc_date, earlier.warc_date)
                known = {"kind": known_as, "doc_id": earlier.doc_id, "run": earlier.run}
            yield member.doc_id, _InGroup(kind, group, known)


def _paragraph_keys(row: MeasurementRow) -> Iterator[tuple[int, tuple[str, int]]]:
    for index, key in enumerate(row["paragraphs"]):
        if key is not None:
            yield key, (row["doc_id"], index)


def _site_counts(grouped: tuple[int, Iterable[tuple[str, int]]]) -> Iterator[tuple[str, _Repeated]]:
    places = list(grouped[1])
    if len(places) > 1:
        for doc_id, node_index in places:
            yield doc_id, _Repeated(node_index, len(places))


def _blank(row: MeasurementRow) -> tuple[str, _Blank]:
    return row["doc_id"], _Blank(tuple(None if key is None else 1 for key in row["paragraphs"]))


def _document_row(
    grouped: tuple[str, Iterable[_InGroup | _Repeated | _Blank]], num_shards: int
) -> tuple[int, DocumentGroupRow]:
    doc_id, known = grouped[0], list(grouped[1])
    groups = {each.kind: each.group for each in known if isinstance(each, _InGroup)}
    earlier = [each.earlier for each in known if isinstance(each, _InGroup) and each.earlier is not None]
    site_counts = next(list(each.site_counts) for each in known if isinstance(each, _Blank))
    for each in known:
        if isinstance(each, _Repeated):
            site_counts[each.node_index] = each.times
    row: DocumentGroupRow = {
        "doc_id": doc_id,
        "url_group": groups.get("url", doc_id),
        "exact_group": groups.get("exact", doc_id),
        "near_group": groups.get("near", doc_id),
        "earlier": sorted(earlier, key=itemgetter("kind")),
        "site_counts": site_counts,
    }
    return shard_of(doc_id, num_shards), row
