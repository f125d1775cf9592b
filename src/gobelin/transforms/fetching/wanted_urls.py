"""Which images are worth fetching: those that the archives hold under none of their addresses.

A page names several addresses for one image, best first (``image_references.py``). If the archives hold any of them,
the image is there and nothing is asked for. Otherwise the best address that was not tried yet is wanted, up to
``FetchConfig.num_candidates`` addresses an image: so one round wants first choices, a second one, told what the first
fetched, wants second choices of images whose first failed.

Only keys are shuffled: about 200 bytes for each address of an image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa

from gobelin.data.rows import Row
from gobelin.transforms.urls import split_url, url_key

WANTED = pa.schema([("url", pa.string())])
"""One row a URL to fetch."""

_NO_PICTURE = (".svg", ".svgz", ".eps", ".pdf")
"""Ends of paths that ``check_image`` would refuse, or no picture."""


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """One address of an image node. ``rank``: 0 is the page's best."""

    rank: int
    url: str
    is_archived: bool
    is_tried: bool


def wanted_url(choices: Iterable[Choice], num_candidates: int) -> str | None:
    """The address to fetch for one image node; None where there is nothing to be done.

    Args:
        num_candidates: addresses tried for one image at most.
    """
    ordered = sorted(choices, key=lambda choice: (choice.rank, choice.url))
    if any(choice.is_archived for choice in ordered):
        return None
    open_choices = [choice.url for choice in ordered if not choice.is_tried and _is_fetchable(choice.url)]
    num_tried = sum(choice.is_tried for choice in ordered)
    return open_choices[0] if open_choices and num_tried < num_candidates else None


def _is_fetchable(url: str) -> bool:
    parts = split_url(url)
    return parts is not None and parts.scheme in ("http", "https") and not parts.path.lower().endswith(_NO_PICTURE)


def candidates_of(page: Row) -> Iterator[tuple[str, tuple[str, int, int, str]]]:
    """(``url_key``, (doc_id, place, rank, URL)) for every URL that an image node of the page names."""
    for place, (keys, urls) in enumerate(zip(page["candidate_keys"], page["candidates"])):
        for rank, (key, url) in enumerate(zip(keys, urls)):
            yield key, (page["doc_id"], place, rank, url)


class WantedUrls(beam.PTransform):
    """(page index rows, image index rows, rows of ``fetches`` so far) -> URLs to fetch, each once.

    Spellings of one address (``canonical_url``) are fetched once, over https where any page says https.
    """

    def __init__(self, num_candidates: int) -> None:
        self._num_candidates = num_candidates

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection, beam.PCollection]) -> beam.PCollection:
        pages, images, fetches = inputs
        return (
            {
                "candidates": pages | "Candidates" >> beam.FlatMap(candidates_of),
                "archived": images | "ArchivedUrls" >> beam.Map(_archived) | "Archived" >> beam.Distinct(),
                "tried": fetches | "TriedUrls" >> beam.Map(_tried) | "Tried" >> beam.Distinct(),
            }
            | "ByUrl" >> beam.CoGroupByKey()
            | "Choices" >> beam.FlatMap(_choices)
            | "ByImageNode" >> beam.GroupByKey()
            | "Best" >> beam.FlatMap(_wanted, self._num_candidates)
            | "BySpelling" >> beam.GroupByKey()
            | "OneSpelling" >> beam.MapTuple(_one_spelling)
        )


def _archived(image: Row) -> tuple[str, bool]:
    return image["url_key"], True


def _tried(fetch: Row) -> tuple[str, bool]:
    return url_key(fetch["url"]), True


def _choices(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[tuple[str, int], Choice]]:
    _, sides = joined
    is_archived, is_tried = any(sides["archived"]), any(sides["tried"])
    for doc_id, place, rank, url in sides["candidates"]:
        yield (doc_id, place), Choice(rank, url, is_archived, is_tried)


def _wanted(element: tuple[tuple[str, int], Iterable[Choice]], num_candidates: int) -> Iterator[tuple[str, str]]:
    url = wanted_url(element[1], num_candidates)
    if url is not None:
        yield url_key(url), url


def _one_spelling(_: str, urls: Iterable[str]) -> str:
    return min(urls, key=_https_first)


def _https_first(url: str) -> tuple[bool, str]:
    return not url.lower().startswith("https:"), url
