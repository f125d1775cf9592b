"""Properties of the documents (hosts, languages, licences, opt-out signals), and the largest groups of duplicates.

Columns are read and counted one row group at a time. Only groups with several members are held.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gobelin.store.paths import join, name_of
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.rights.consent import effective
from gobelin.transforms.urls import host_of

TOP = 15
"""Rows shown of a table."""

NUM_GROUPS = 6
NUM_MEMBERS = 8
"""Duplicate groups shown of each kind, and members shown of each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """One value of a property, and the number of documents with it."""

    value: str
    seen: int
    kept: int | None  # None: select has not run


@dataclasses.dataclass(frozen=True, slots=True)
class PropertyTable:
    """The most frequent values of one property of documents."""

    title: str
    shares: list[Share]
    num_values: int


@dataclasses.dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Documents or images that are duplicates of each other."""

    representative: str
    size: int
    members: list[str]  # the first ids
    num_documents: int | None = None  # documents that show an image of the group


@dataclasses.dataclass(frozen=True, slots=True)
class EarlierDuplicates:
    """Number of documents that duplicate a document of an earlier run, by one kind of duplicate."""

    run: str
    kind: str  # of the scores' column ``earlier``
    seen: int
    kept: int | None  # None: select has not run


def property_tables(output: str, with_kept: bool) -> list[PropertyTable]:
    """Hosts, languages, licences and other properties of all documents and, if ``select`` is done, of kept ones."""
    seen = _properties(join(output, "extract", "documents"))
    kept = _properties(join(output, "select", "documents")) if with_kept else None
    tables = []
    for title, counts in seen.items():
        top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]
        shares = [Share(value, times, kept[title][value] if kept is not None else None) for value, times in top]
        tables.append(PropertyTable(title, shares, len(counts)))
    return tables


_PROPERTIES = ("Hosts", "Languages", "Licences", "Signals on use", "Refused uses", "Kinds of page", "Main content by")


def _properties(folder: str) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {name: Counter() for name in _PROPERTIES}
    for path in list_shards(folder):
        for table in read_tables(path, ["url", "language", "licences", "consent", "page_kind", "extractor"]):
            found["Hosts"].update(map(_host, table["url"].to_pylist()))
            found["Languages"].update(language or "unknown" for language in table["language"].to_pylist())
            for licences in table["licences"].to_pylist():
                found["Licences"].update(sorted({licence["uri"] for licence in licences}) or ["none stated"])
            for signals in table["consent"].to_pylist():
                found["Signals on use"].update(signals or ["none"])
                refused = [use for use, verdict in effective(signals).items() if verdict == "disallow"]
                found["Refused uses"].update(refused or ["none"])
            found["Kinds of page"].update(kind or "unknown" for kind in table["page_kind"].to_pylist())
            found["Main content by"].update(table["extractor"].to_pylist())
    return found


def _host(url: str) -> str:
    return host_of(url) or "unknown"


def image_groups(output: str) -> list[DuplicateGroup]:
    """The largest groups of near-duplicate images."""
    sizes = _group_sizes(join(output, "score", "images"), "image_id", "near_group")
    members, num_documents = _members(join(output, "score", "images"), "image_id", "near_group", sizes, "near_count")
    return [DuplicateGroup(*group, num_documents[group[0]]) for group in _present(sizes, members)]


def document_groups(output: str, column: str) -> list[DuplicateGroup]:
    """The largest groups of documents in a column of ``DOCUMENT_SCORES``."""
    sizes = _group_sizes(join(output, "score", "documents"), "doc_id", column)
    members, _ = _members(join(output, "score", "documents"), "doc_id", column, sizes)
    return [DuplicateGroup(*group) for group in _present(sizes, members)]


def earlier_duplicates(output: str, with_kept: bool) -> list[EarlierDuplicates]:
    """Documents that duplicate one of an earlier run, by run and kind, from ``score``."""
    corpus = list_shards(join(output, "select", "documents")) if with_kept else []
    kept_paths = {name_of(path): path for path in corpus}
    seen: Counter[tuple[str, str]] = Counter()
    left: Counter[tuple[str, str]] = Counter()
    for path in list_shards(join(output, "score", "documents")):
        kept = _ids(kept_paths[name_of(path)]) if with_kept else set()
        for table in read_tables(path, ["doc_id", "earlier"]):
            for row in table.filter(pc.greater(pc.list_value_length(table["earlier"]), 0)).to_pylist():
                found = {(held["run"], held["kind"]) for held in row["earlier"]}
                seen.update(found)
                left.update(found if row["doc_id"] in kept else ())
    return [
        EarlierDuplicates(run, kind, times, left[run, kind] if with_kept else None)
        for (run, kind), times in sorted(seen.items())
    ]


def _ids(path: str) -> set[str]:
    """Ids of the documents of one shard."""
    return {doc_id for table in read_tables(path, ["doc_id"]) for doc_id in table["doc_id"].to_pylist()}


def _present(sizes: list[tuple[str, int]], members: dict[str, list[str]]) -> Iterator[tuple[str, int, list[str]]]:
    """Yields (name, size, first members) of groups with at least two members in this run. A group may be named after a
    member in an earlier run, which is not counted here."""
    for name, size in sizes:
        own = size if members[name][0] == name else size - 1
        if own > 1:
            yield name, own, members[name]


def _group_sizes(folder: str, id_column: str, group_column: str) -> list[tuple[str, int]]:
    """(group, number of members) of the largest groups. A group is named after a member, so only the others are
    counted."""
    others: Counter[str] = Counter()
    for path in list_shards(folder):
        for table in read_tables(path, [id_column, group_column]):
            is_other = pc.not_equal(table[id_column], table[group_column])
            others.update(table.filter(is_other)[group_column].to_pylist())
    largest = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:NUM_GROUPS]
    return [(group, size + 1) for group, size in largest]


def _members(
    folder: str, id_column: str, group_column: str, groups: list[tuple[str, int]], extra: str | None = None
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    members: dict[str, list[str]] = {group: [] for group, _ in groups}
    extras: dict[str, Any] = {}
    wanted = pa.array(list(members), pa.string())
    columns = [id_column, group_column, *([extra] if extra else [])]
    for path in list_shards(folder) if groups else []:
        for table in read_tables(path, columns):
            is_member = pc.is_in(table[group_column], value_set=wanted)
            for row in table.filter(is_member).to_pylist():
                members[row[group_column]] = sorted([*members[row[group_column]], row[id_column]])[:NUM_MEMBERS]
                if extra:
                    extras[row[group_column]] = row[extra]
    return members, extras
