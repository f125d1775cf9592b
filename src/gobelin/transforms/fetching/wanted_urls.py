"""Finds the images to fetch: those of which the archives contain no address.

A page gives several addresses for one image, best first (``image_references.py``). If the archives contain any of them,
nothing is requested. Otherwise the best untried address is wanted, for up to ``FetchConfig.num_candidates`` addresses
per image. So the first round fetches first choices. The second round knows the results of the first, and fetches second
choices of the images that failed.

    pages' keys --+
    archived -----+--by URL--> TAKEN: which addresses of each page are archived, or were tried
    tried --------+                |
    pages' addresses --------------+--by page--> CHOSEN: the address to request for each image
                                                     +--by URL--> one spelling of each

Each of the three steps can process some of the URLs, or of the pages, at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict

import apache_beam as beam
import pyarrow as pa

from gobelin.data.rows import FetchRow
from gobelin.store.tables import read_tables
from gobelin.transforms.extract.indexes import PageIndexRow
from gobelin.transforms.extract.resolve_urls import wishes_of
from gobelin.transforms.partition import Parts, slices_of
from gobelin.transforms.urls import canonical_url, host_of, split_url, url_key

WANTED = pa.schema([("url", pa.string())])
"""One row per URL to fetch."""


class WantedRow(TypedDict):
    """A row of ``WANTED``."""

    url: str


WISHES = pa.schema([("url_key", pa.string()), ("doc_id", pa.string())])
"""One row per address of an image node."""

KEYS = pa.schema([("url_key", pa.string())])
"""One row per address of an archived image, or per address that was tried."""


class KeyRow(TypedDict):
    """A row of ``KEYS``."""

    url_key: str


TAKEN = pa.schema(
    [("doc_id", pa.string()), ("url_key", pa.string()), ("is_archived", pa.bool_()), ("is_tried", pa.bool_())]
)
"""One row per address of a page that is archived or was tried."""


class TakenRow(TypedDict):
    """A row of ``TAKEN``."""

    doc_id: str
    url_key: str
    is_archived: bool
    is_tried: bool


CHOSEN = pa.schema([("host", pa.string()), ("url_key", pa.string()), ("url", pa.string())])
"""One row per image node without an archived address: the address to fetch. ``host`` is that of the canonical address,
so that all spellings have the same one."""


class ChosenRow(TypedDict):
    """A row of ``CHOSEN``."""

    host: str
    url_key: str
    url: str


_NO_PICTURE = (".svgz", ".eps", ".pdf")
"""Suffixes of paths that are not images, or that ``check_image`` would refuse."""

_DRAWING = ".svg"


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """One address of an image node. ``rank``: 0 is the page's best."""

    rank: int
    url: str
    is_archived: bool
    is_tried: bool


def wanted_url(choices: Iterable[Choice], num_candidates: int, with_drawings: bool = True) -> str | None:
    """The address to fetch for one image node; None if there is nothing to fetch.

    Args:
        num_candidates: maximum number of addresses that are tried for one image.
        with_drawings: whether SVG is rendered; otherwise it is not fetched.
    """
    ordered = sorted(choices, key=lambda choice: (choice.rank, choice.url))
    if any(choice.is_archived for choice in ordered):
        return None
    useless = _NO_PICTURE if with_drawings else (*_NO_PICTURE, _DRAWING)
    open_choices = [choice.url for choice in ordered if not choice.is_tried and _is_fetchable(choice.url, useless)]
    num_tried = sum(choice.is_tried for choice in ordered)
    return open_choices[0] if open_choices and num_tried < num_candidates else None


def _is_fetchable(url: str, useless: tuple[str, ...]) -> bool:
    parts = split_url(url)
    return parts is not None and parts.scheme in ("http", "https") and not parts.path.lower().endswith(useless)


def wishes_in_index(path: str) -> Iterator[tuple[str, str]]:
    """(``url_key``, ``doc_id``) of each address in a file of the page index."""
    for table in read_tables(path, ["doc_id", "candidate_keys"]):
        yield from _pairs(wishes_of(table))


def wishes_in_part(path: str) -> Iterator[tuple[str, str]]:
    """The rows of a file of ``WISHES``."""
    for table in read_tables(path):
        yield from _pairs(table)


def _pairs(wishes: pa.Table) -> Iterator[tuple[str, str]]:
    keys, documents = (wishes[name].to_pylist() for name in WISHES.names)
    return ((key, document) for key, document in zip(keys, documents) if key is not None)


class FindTaken(beam.PTransform):
    """((``url_key``, ``doc_id``) pairs, rows of ``KEYS`` of archived images, rows of ``KEYS`` that were tried) -> rows
    of ``TAKEN``."""

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection, beam.PCollection]) -> beam.PCollection:
        wishes, archived, tried = inputs
        return (
            {
                "wishes": wishes,
                "archived": archived | "ArchivedKeys" >> beam.Map(_key_alone) | "Archived" >> beam.Distinct(),
                "tried": tried | "TriedKeys" >> beam.Map(_key_alone) | "Tried" >> beam.Distinct(),
            }
            | "ByUrl" >> beam.CoGroupByKey()
            | "Taken" >> beam.FlatMap(_taken)
        )


def key_of_fetch(fetch: FetchRow) -> KeyRow:
    """The row of ``KEYS`` for a row of ``FETCHES``."""
    return {"url_key": url_key(fetch["url"])}


def _key_alone(row: KeyRow) -> tuple[str, bool]:
    return row["url_key"], True


def _taken(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[TakenRow]:
    key, sides = joined
    is_archived, is_tried = any(sides["archived"]), any(sides["tried"])
    if is_archived or is_tried:
        for doc_id in set(sides["wishes"]):
            yield {"doc_id": doc_id, "url_key": key, "is_archived": is_archived, "is_tried": is_tried}


class ChooseUrls(beam.PTransform):
    """(page index rows, rows of ``TAKEN``) -> rows of ``CHOSEN``."""

    def __init__(self, num_candidates: int, with_drawings: bool = True) -> None:
        self._limits = num_candidates, with_drawings

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        pages, taken = inputs
        return (
            {
                "pages": pages | "Candidates" >> beam.Map(_candidates_by_id),
                "taken": taken | "TakenById" >> beam.Map(_taken_by_id),
            }
            | "ByDocId" >> beam.CoGroupByKey()
            | "Choose" >> beam.FlatMap(_chosen, *self._limits)
        )


Addresses = Sequence[Sequence[str]]
"""The addresses of each image node of a page, or their keys, best first."""


def _candidates_by_id(page: PageIndexRow) -> tuple[str, tuple[Addresses, Addresses]]:
    return page["doc_id"], (page["candidate_keys"], page["candidates"])


def _taken_by_id(row: TakenRow) -> tuple[str, tuple[str, bool, bool]]:
    return row["doc_id"], (row["url_key"], row["is_archived"], row["is_tried"])


def _chosen(
    joined: tuple[str, dict[str, Iterable[Any]]], num_candidates: int, with_drawings: bool
) -> Iterator[ChosenRow]:
    sides = joined[1]
    taken = {key: flags for key, *flags in sides["taken"]}
    choices: dict[int, list[Choice]] = {}  # by image node; two captures of a page share them
    for keys_of_page, urls_of_page in sides["pages"]:
        for place, (keys, urls) in enumerate(zip(keys_of_page, urls_of_page)):
            found = (Choice(rank, url, *taken.get(key, _FREE)) for rank, (key, url) in enumerate(zip(keys, urls)))
            choices.setdefault(place, []).extend(found)
    for of_node in choices.values():
        url = wanted_url(of_node, num_candidates, with_drawings)
        if url is not None:
            yield {"host": host_of(canonical_url(url)), "url_key": url_key(url), "url": url}


_FREE = (False, False)


class OneSpelling(beam.PTransform):
    """Rows of ``CHOSEN`` -> (host, row of ``WANTED``) pairs, one per address; https if any page uses it."""

    def expand(self, chosen: beam.PCollection) -> beam.PCollection:
        return (
            chosen
            | "BySpelling" >> beam.Map(_by_address)
            | "SameAddress" >> beam.GroupByKey()
            | "OneSpelling" >> beam.MapTuple(_one_spelling)
        )


def _by_address(row: ChosenRow) -> tuple[tuple[str, str], str]:
    return (row["host"], row["url_key"]), row["url"]


def _one_spelling(address: tuple[str, str], urls: Iterable[str]) -> tuple[str, WantedRow]:
    return address[0], {"url": min(urls, key=_https_first)}


def _https_first(url: str) -> tuple[bool, str]:
    return not url.lower().startswith("https:"), url


@dataclasses.dataclass(frozen=True, slots=True)
class WishesByUrl:
    """Partitions the addresses of pages by their keys (``partition.Partitioner``)."""

    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        wishes = wishes_of(table)
        return wishes, slices_of(wishes["url_key"], self.num_parts)


@dataclasses.dataclass(frozen=True, slots=True)
class UrlsByKey:
    """Partitions URLs by their keys, which it computes."""

    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        keys = pa.chunked_array([pa.array(map(url_key, table["url"].to_pylist()), pa.string())])
        return pa.table([keys], KEYS), slices_of(keys, self.num_parts)
