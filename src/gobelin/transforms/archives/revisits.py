"""Resolves revisit records: a crawler met content that it had captured before, and wrote a pointer instead of a copy.
Redirects are pointers too.

A revisit refers to its original by the payload's digest, by the original's URL and date, or by both (WARC 1.1, section
6.7). Here it is joined to the captures of the input, in any file:

    an image     gets the revisit's URL as a further one, so a page that refers to the image by this URL finds it; if
    the
                 image is blocked, the URL is blocked as well
    a page       is the same content again: a decision ``revisit`` that names the document
    nothing      a decision ``revisit_without_original``: the original is not in the input, or gave no image or document

A redirect gives its URL to the image that its target was at any time, one hop away. It gets no decision here, because
its own record has one elsewhere.

The digest has priority over the URL, because it identifies the bytes. Without digest and date, the original is the
latest earlier capture of the URL (of the revisit's own URL if it names no other: "server not modified"). Dates are
compared by the second, because crawlers write fractions inconsistently. Only index rows are shuffled.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from gobelin.data.ids import shard_of
from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.rows import Row
from gobelin.store.tables import read_tables
from gobelin.transforms.partition import Parts
from gobelin.transforms.urls import url_key

REVISIT_INDEX = pa.schema(
    [
        ("url", pa.string()),
        ("warc_date", pa.string()),
        ("refers_to_url", pa.string()),
        ("refers_to_date", pa.string()),
        ("payload_digest", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
        ("is_redirect", pa.bool_()),
    ]
)
"""One row per revisit record or redirect."""


class RevisitRow(TypedDict):
    """A row of ``REVISIT_INDEX``."""

    url: str
    warc_date: str
    refers_to_url: str | None  # a redirect always has one
    refers_to_date: str | None
    payload_digest: str | None
    warc_file: str
    warc_offset: int
    is_redirect: bool


def capture_keys(row: Row) -> list[str]:
    """The keys under which a revisit may search this capture (the index row of a page or image)."""
    keys = [_place_key(row["url_key"], row["warc_date"] or ""), _address_key(row["url_key"])]
    if row["payload_digest"]:
        keys.append(_digest_key(row["payload_digest"]))
    return keys


def revisit_keys(row: RevisitRow) -> list[tuple[int, str]]:
    """(rank, key) of the original that a revisit refers to, the most certain key first."""
    if row["is_redirect"]:
        return [(_BY_REDIRECT, _address_key(url_key(row["refers_to_url"] or "")))]
    keys = []
    if row["payload_digest"]:
        keys.append((0, _digest_key(row["payload_digest"])))
    if row["refers_to_url"] and row["refers_to_date"]:
        keys.append((1, _place_key(url_key(row["refers_to_url"]), row["refers_to_date"])))
    return keys or [(_BY_ADDRESS, _address_key(url_key(row["refers_to_url"] or row["url"])))]


def _digest_key(digest: str) -> str:
    return f"digest {digest.lower()}"


def _place_key(address: str, date: str) -> str:
    return f"{address} {_second(date)}"


def _address_key(address: str) -> str:
    return f"address {address}"


def _second(date: str) -> str:
    """A date without fractions of a second and without its Z."""
    return date[:19].rstrip("Z")


_BY_ADDRESS, _BY_REDIRECT = 2, 3
"""Ranks of keys without a date: the original must not be later than the revisit; the original may have any date."""


class ResolveRevisits(beam.PTransform):
    """(revisits, page index rows, image index rows) -> tagged outputs ``images`` (rows of ``IMAGE_NAMES``: images under
    the URLs
    of revisits) and ``decisions``.

    Args:
        wanted: ``revisit_keys`` of all revisits, so that other captures need not be shuffled; None: unknown.
    """

    def __init__(self, wanted: frozenset[str] | None = None) -> None:
        self._wanted = wanted

    def expand(self, inputs: tuple[beam.PCollection, ...]) -> beam.DoOutputsTuple:
        revisits, pages, images = inputs
        matched = (
            {
                "revisits": revisits | "KeysOfRevisits" >> beam.FlatMap(_keyed_revisit),
                "pages": pages | "KeysOfPages" >> beam.FlatMap(_keyed_capture, "doc_id", self._wanted),
                "images": images | "KeysOfImages" >> beam.FlatMap(_keyed_capture, "image_id", self._wanted),
            }
            | "JoinRevisits" >> beam.CoGroupByKey()
            | "Match" >> beam.FlatMap(_match)
        )
        return (
            {
                "revisits": revisits | "ByPlace" >> beam.Map(_by_place),
                "matches": matched,
            }
            | "JoinByRevisit" >> beam.CoGroupByKey()
            | "Resolve" >> beam.FlatMap(_resolve).with_outputs("images", "decisions")
        )


def revisit_place(row: RevisitRow) -> str:
    """A string that identifies a revisit."""
    return f"{row['warc_file']} {row['warc_offset']}"


@dataclasses.dataclass(frozen=True, slots=True)
class RevisitsByPlace:
    """Partitions revisits by their own position (``partition.Partitioner``)."""

    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        rows = table.select(["warc_file", "warc_offset"]).to_pylist()
        return table, np.array([shard_of(revisit_place(row), self.num_parts) for row in rows], np.intp)


@dataclasses.dataclass(frozen=True, slots=True)
class CapturesByRevisit:
    """Partitions captures (``partition.Partitioner``): each goes to all parts with a revisit that may refer to it. Most
    go
    nowhere. Keys are compared by hash; a collision only adds a row.

    Args:
        revisits: paths of all revisits, partitioned by ``RevisitsByPlace``. Two numbers per key are held in memory.
    """

    revisits: tuple[str, ...]
    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        wanted, parts = _wanted_keys(self.revisits, self.num_parts)
        captures = table.select(["url_key", "warc_date", "payload_digest"]).to_pylist()
        keys = [[_hash(key) for key in capture_keys(row)] for row in captures]
        rows = np.repeat(np.arange(len(keys)), [len(each) for each in keys])
        hashes = np.fromiter(itertools.chain.from_iterable(keys), np.uint64, len(rows))
        first, last = np.searchsorted(wanted, hashes), np.searchsorted(wanted, hashes, "right")
        places = first.repeat(last - first) + _counts_up(last - first)
        pairs = np.unique(np.stack([rows.repeat(last - first), parts[places]]), axis=1)
        return table.take(pa.array(pairs[0])), pairs[1]


def _counts_up(sizes: Parts) -> Parts:
    """0, 1 ... size - 1, for each size."""
    ends = np.cumsum(sizes)
    return np.arange(int(sizes.sum())) - np.repeat(ends - sizes, sizes)


@functools.lru_cache(maxsize=1)
def _wanted_keys(paths: tuple[str, ...], num_parts: int) -> tuple[npt.NDArray[np.uint64], Parts]:
    """(hashes of the keys that revisits search, parts of these revisits), sorted distinct pairs."""
    hashes, parts = [], []
    for path in paths:
        for table in read_tables(path):
            rows = table.to_pylist()
            keys = [[_hash(key) for _, key in revisit_keys(row)] for row in rows]
            own = [shard_of(revisit_place(row), num_parts) for row in rows]
            hashes.append(np.array(list(itertools.chain.from_iterable(keys)), np.uint64))
            parts.append(np.repeat(np.array(own, np.intp), [len(each) for each in keys]))
    if not hashes:
        return np.empty(0, np.uint64), np.empty(0, np.intp)
    pairs = np.stack([np.concatenate(hashes), np.concatenate(parts).astype(np.uint64)])
    pairs = np.unique(pairs, axis=1)
    return pairs[0], pairs[1].astype(np.intp)


def _hash(key: str) -> int:
    return xxhash.xxh3_64_intdigest(key.encode())


def _by_place(row: RevisitRow) -> tuple[str, RevisitRow]:
    return revisit_place(row), row


def _keyed_revisit(row: RevisitRow) -> Iterator[tuple[str, tuple[int, str, str]]]:
    place = revisit_place(row)
    for rank, key in revisit_keys(row):
        yield key, (rank, place, row["warc_date"])


def _keyed_capture(row: Row, identity: str, wanted: frozenset[str] | None) -> Iterator[tuple[str, Row]]:
    columns = (identity, "url", "warc_date", "warc_file", "warc_offset", "is_blocked")
    for key in capture_keys(row):
        if wanted is None or key in wanted:
            yield key, {column: row.get(column) for column in columns}


def _match(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[str, tuple[int, str, Row]]]:
    """For each revisit that searches this key: (its position, (rank, kind, the latest capture))."""
    sides = joined[1]
    waiting = list(sides["revisits"])
    if not waiting:
        return
    for kind in ("images", "pages"):
        captures = sorted(sides[kind], key=_capture_order)
        dates = [_second(capture["warc_date"] or "") for capture in captures]
        blocked = next((capture for capture in captures if capture["is_blocked"]), None)
        for rank, place, date in waiting:
            last = bisect.bisect_right(dates, _second(date)) if rank == _BY_ADDRESS else len(captures)
            found = blocked or (captures[last - 1] if last else None)
            if found is not None:
                yield place, (rank, kind, found)


def _capture_order(row: Row) -> tuple[str, str, str, int, str]:
    date = row["warc_date"] or ""
    return _second(date), date, row["warc_file"] or "", row["warc_offset"] or 0, row["url"]


def _resolve(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[beam.pvalue.TaggedOutput]:
    # A bundle that ran twice yields its rows twice; they are equal.
    revisit: RevisitRow = next(iter(joined[1]["revisits"]))
    _, kind, original = min(joined[1]["matches"], key=lambda match: (match[0], match[1]), default=(0, "", None))
    if original is not None and kind == "images":
        changes = {name: revisit[name] for name in ("url", "warc_date", "warc_file", "warc_offset")}
        is_blocked = bool(original["is_blocked"])
        image_id = None if is_blocked else original["image_id"]
        name = {**changes, "image_id": image_id, "url_key": url_key(revisit["url"]), "is_blocked": is_blocked}
        yield beam.pvalue.TaggedOutput("images", name)
        return
    if revisit["is_redirect"]:
        return
    decision = Decision(
        stage="extract", unit=Unit.RECORD, action=Action.DROP if kind else Action.FAIL,
        rule="revisit" if kind else "revisit_without_original", url=revisit["url"],
        doc_id=original["doc_id"] if original else None, detail=_points_to(revisit),
        warc_file=revisit["warc_file"], warc_offset=revisit["warc_offset"],
    )  # fmt: skip
    yield beam.pvalue.TaggedOutput("decisions", to_row(decision))


def _points_to(revisit: RevisitRow) -> str:
    parts = (revisit["refers_to_url"], revisit["refers_to_date"], revisit["payload_digest"])
    return "points to " + " ".join(part for part in parts if part)
