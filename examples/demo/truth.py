"""Compares a curated corpus with the truth of the sample crawl: how much of the dirt went, and how much good data
stayed.

Each line of ``truth.jsonl`` is a page, an image, a text or an e-mail address with the answer (``keep``). Lines of one
``group`` are copies of each other: one of them should stay, no matter which, and the others should go.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gobelin.store.shards import read_folder
from gobelin.transforms.urls import canonical_url

Row = dict[str, Any]


@dataclasses.dataclass(slots=True)
class Tally:
    """How many of one kind there are, and of how many the corpus is right."""

    unit: str
    kind: str
    should: str  # stay | go | be replaced
    total: int = 0
    right: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Page:
    words: str  # of texts, captions and alternative texts
    image_urls: frozenset[str]


def judge_corpus(truth_path: Path, corpus: Path) -> list[Tally]:
    """A tally for each unit and kind of the truth, in the order stay, go, be replaced."""
    pages = {row["url"]: _page(row) for row in read_folder(str(corpus))}
    truth = [json.loads(line) for line in truth_path.read_text(encoding="utf-8").splitlines()]
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in truth:
        if row.get("group"):
            groups[row["unit"], row["group"]].append(row)
    _let_copies_stand_in(pages, groups)
    tallies: dict[tuple[str, str, str], Tally] = {}
    for row in truth:
        if row.get("group"):
            continue
        should = "be replaced" if row["unit"] == "email" else "stay" if row["keep"] else "go"
        _count(tallies, row, should, _is_right(row, should, pages))
    for rows in groups.values():
        _count_group(tallies, rows, [_is_there(row, pages) for row in rows])
    order = {"stay": 0, "go": 1, "be replaced": 2}
    return sorted(tallies.values(), key=lambda tally: (tally.unit, order[tally.should], tally.kind))


@dataclasses.dataclass(frozen=True, slots=True)
class _Copy(_Page):
    """A page that is not in the corpus while a copy of it is."""


def _let_copies_stand_in(pages: dict[str, _Page], groups: dict[tuple[str, str], list[Row]]) -> None:
    """What the truth says of a page's words holds for the copy of it that stayed."""
    for (unit, _), rows in groups.items():
        urls = [row["url"] for row in rows]
        stayed = next((pages[url] for url in urls if url in pages), None)
        if unit == "page" and stayed is not None:
            for url in urls:
                pages.setdefault(url, _Copy(stayed.words, stayed.image_urls))


def _page(row: Row) -> _Page:
    words = [node[name] for node in row["nodes"] for name in ("text", "caption", "alt") if node[name]]
    return _Page(
        "\n".join(words), frozenset(canonical_url(node["image_url"]) for node in row["nodes"] if node["image_url"])
    )


def _is_there(row: Row, pages: dict[str, _Page]) -> bool:
    if row["unit"] == "page":
        return type(pages.get(row["url"])) is _Page
    if row["unit"] == "image":
        return any(url in pages and canonical_url(row["url"]) in pages[url].image_urls for url in row["page_url"])
    return row["url"] in pages and row["text"] in pages[row["url"]].words


def _is_right(row: Row, should: str, pages: dict[str, _Page]) -> bool:
    if should == "be replaced":
        return row["url"] in pages and row["text"] not in pages[row["url"]].words
    return _is_there(row, pages) == (should == "stay")


def _count(tallies: dict[tuple[str, str, str], Tally], row: Row, should: str, is_right: bool) -> None:
    tally = tallies.setdefault(
        (row["unit"], row["kind"], should), Tally(unit=row["unit"], kind=row["kind"], should=should)
    )
    tally.total += 1
    tally.right += is_right


def _count_group(tallies: dict[tuple[str, str, str], Tally], rows: list[Row], there: list[bool]) -> None:
    """One of the copies should stay; the others should go."""
    if not any(row["keep"] for row in rows):
        for row, is_there in zip(rows, there, strict=True):
            _count(tallies, row, "go", not is_there)
        return
    original = next(row for row in rows if row["keep"])
    _count(tallies, original, "stay", any(there))
    spare = sum(there) - 1 if any(there) else 0  # copies too many
    for row in rows:
        if row is not original:
            _count(tallies, row, "go", spare <= 0)
            spare -= 1


def tally_lines(tallies: Iterable[Tally]) -> list[str]:
    """The tallies as a table, kinds of one unit and answer together."""
    lines = []
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for tally in tallies:
        share = tally.right / tally.total
        lines.append(
            f"  {tally.unit:<6} {tally.kind:<18} should {tally.should:<12} {tally.right:>6,} of {tally.total:>6,}"
            f"  {100 * share:5.1f} %"
        )
        held = sums[tally.unit, tally.should]
        held[0] += tally.right
        held[1] += tally.total
    lines.append("")
    for (unit, should), (right, total) in sums.items():
        did = {"stay": "stayed", "go": "went", "be replaced": "were replaced"}[should]
        lines.append(f"  of {total:,} {unit}s that should {should}, {right:,} {did} ({100 * right / total:.1f} %)")
    return lines
