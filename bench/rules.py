"""Measures each rule of the choice of main content: leaves every rule out once, on every set of pages.

    python bench/rules.py --corpus ../shared/corpus --docs docs/extraction-rules.md \\
        --web unseen/warc --gold bench/gold/unseen.yaml --web unseen2/warc --gold bench/gold/unseen2.yaml

A page is parsed once. Then its main content is chosen once with all rules, and once without each. The table shows the
change of a set's measure when a rule is left out, in thousandths, and the number of pages on which something changes.
Five minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from extraction_gold import WEB_GOLD, Page, body_pages, genre_pages, snippet_pages, web_pages
from extraction_metrics import (
    ImageCounts,
    harmonic,
    page_f1,
    precision_recall_f1,
    score_images,
    shingle_counts,
    snippet_counts,
    text_of,
    words_of,
)
from extraction_outputs import gobelin_piece
from lxml.html import HtmlElement
from rules_list import Depth, Rule, all_rules, replaced, watched

from gobelin.transforms.pages.content.boilerplate import classify
from gobelin.transforms.pages.tree import find_nodes

_LEAST = 0.0005
"""A change of a measure that counts as a win or a loss."""

_START, _END = "<!-- results: rules -->", "<!-- end: rules -->"


_READ = (
    "decode",
    "parse_html",
    "document_base",
    "rewrite_words",
    "find_consent",
    "find_licences",
    "rewrite_images",
    "_find_title",
)
_REMEMBERED = {
    Depth.CONTENT: (*_READ, "read_facts", "read_blocks", "choose_with_trafilatura"),
    Depth.NAMES: _READ,
    Depth.BLOCKS: _READ,
    Depth.PAGE: (),
}
"""Functions of ``find_nodes`` that give for one page what they gave before, where a rule changes no more than that."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """A page of a set."""

    name: str  # of the set
    page: Page


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a page scores: true and false positives and false negatives of its text; counts of its images where the set
    knows them."""

    counts: tuple[int, int, int]
    f1: float
    images: ImageCounts | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    start = time.monotonic()
    samples = list(_samples(options))
    rules = [rule for rule in all_rules() if not options.rules or rule.name in options.rules]
    print(f"{len(samples)} pages, {len(rules)} rules, read in {time.monotonic() - start:.0f} s", file=sys.stderr)
    base, changes = _run(samples, rules, options.jobs)
    rows = {}
    full = _measures(samples, base)
    for rule, changed in zip(rules, changes):
        without = _measures(samples, [changed.get(index, outcome) for index, outcome in enumerate(base)])
        rows[rule] = {name: without[name] - full[name] for name in full}, len(changed)
    text = _report(full, rows)
    print(text)
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    if options.pages:
        for rule, changed in zip(rules, changes):
            _print_pages(rule, changed, samples, base)
    if options.docs:
        before, _, rest = options.docs.read_text("utf-8").partition(_START)
        options.docs.write_text(f"{before}{_START}\n{text}\n{_END}{rest.partition(_END)[2]}", "utf-8")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with extraction/ and web/")
    parser.add_argument("--web", type=Path, action="append", default=[], help="folder of other sites' archives")
    parser.add_argument(
        "--gold", type=Path, action="append", default=[], help="rules of these sites, one for each --web"
    )
    parser.add_argument("--most", type=int, default=20, help="pages of each site (%(default)s)")
    parser.add_argument("--rules", nargs="+", help="only these rules")
    parser.add_argument("--pages", action="store_true", help="list the pages that a rule changes, with their scores")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    parser.add_argument("--docs", type=Path, help="write the table between the marks of this file")
    options = parser.parse_args(arguments)
    if len(options.web) != len(options.gold):
        parser.error("each --web needs a --gold: the rules that say where the main content of its sites is")
    return options


def _samples(options: argparse.Namespace) -> Iterator[Sample]:
    sets = {
        "snippets": snippet_pages(options.corpus),
        "body": body_pages(options.corpus),
        "news": genre_pages(options.corpus, "article"),
        "forum": genre_pages(options.corpus, "forum"),
    }
    for folder, gold in ((options.corpus / "web", WEB_GOLD), *zip(options.web, options.gold)):
        sites: dict[str, list[Page]] = {}
        for page in web_pages(folder, gold).pages:
            sites.setdefault(page.site, []).append(page)
        sets[gold.stem] = [page for pages in sites.values() for page in _some(pages, options.most)]
    for name, pages in sets.items():
        for page in pages:
            yield Sample(name, page)


def _some(pages: Sequence[Page], most: int) -> list[Page]:
    """That many pages of a site, by a hash of their names."""
    return sorted(pages, key=lambda page: hashlib.sha256(page.name.encode()).digest())[:most]


# Running


_shared: tuple[Sequence[Sample], Sequence[Rule]] = ((), ())
"""What forked processes read; set before they start."""


def _run(samples: Sequence[Sample], rules: Sequence[Rule], jobs: int) -> tuple[list[Outcome], list[dict[int, Outcome]]]:
    """The outcome of each page with all rules; and of each rule, the outcomes of the pages that change without it."""
    global _shared
    _shared = samples, rules
    base: list[Outcome] = []
    changes: list[dict[int, Outcome]] = [{} for _ in rules]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for index, (outcome, changed) in enumerate(pool.imap(_run_page, range(len(samples)), chunksize=4)):
            base.append(outcome)
            for place, other in changed.items():
                changes[place][index] = other
    return base, changes


def _run_page(index: int) -> tuple[Outcome, dict[int, Outcome]]:
    samples, rules = _shared
    sample = samples[index]
    reader = Reader(sample.page)
    with watched(rules) as acted:
        pieces = reader.read(Depth.CONTENT)
    outcome = _judge(sample, pieces)
    names = reader.names()
    verdicts = [classify(*name) for name in names]
    changed = {}
    for place, rule in enumerate(rules):
        if rule.name not in acted:
            continue
        with rule.left_out():
            if rule.depth is Depth.NAMES and [classify(*name) for name in names] == verdicts:
                continue
            other = reader.read(rule.depth)
        if other != pieces:
            changed[place] = _judge(sample, other)
    return outcome, changed


class Reader:
    """Reads one page again and again; what a rule cannot change is computed once."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._kept: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def read(self, depth: Depth) -> tuple[object, ...]:
        """gobelin's pieces of the page, for which all but what ``depth`` names may be what it was before."""
        with contextlib.ExitStack() as stack:
            for name in _REMEMBERED[depth]:
                function = getattr(find_nodes, name)
                stack.enter_context(replaced(find_nodes, name, functools.partial(self._remember, function, depth)))
            content = find_nodes.read_page(self._page.payload, self._page.charset, self._page.url, ())
        return getattr(content, "pieces", ())

    def names(self) -> list[tuple[str, str]]:
        """Tags with names that elements of the page have, each pair once."""
        trees = [tree for (name, *_), (tree, _) in self._kept.items() if name == "parse_html"]
        elements = (element for tree in trees if isinstance(tree, HtmlElement) for element in tree.iter())
        found = {(str(one.tag), name) for one in elements for name in (one.get("class"), one.get("id")) if name}
        return sorted(found)

    def _remember(self, function: Callable[..., Any], depth: Depth, *arguments: Any, **named: Any) -> Any:
        """What the function gave for the same objects; they are kept alive, so that no other has their identity."""
        key = (function.__name__, *map(id, arguments), *sorted(named.items()))
        if key not in self._kept:
            self._kept[key] = function(*arguments, **named), arguments
        return self._kept[key][0]


# Measures


def _judge(sample: Sample, found: Sequence[object]) -> Outcome:
    page = sample.page
    pieces = [gobelin_piece(piece, page.url) for piece in found]
    if page.gold is not None:
        return Outcome((0, 0, 0), page_f1(page.gold, pieces), score_images(page.gold, pieces))
    text = text_of(pieces)
    if page.body is None:
        counts = snippet_counts(text, page.must_have, page.must_not)
    elif sample.name == "body":
        counts = shingle_counts(re.findall(r"\w+", page.body), re.findall(r"\w+", text), 4)
    else:
        counts = shingle_counts(words_of(page.body), words_of(text), 4)
    return Outcome(counts, precision_recall_f1(*counts)[2])


def _measures(samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The measure of each set, as bench/extraction.py has it; of sites, the text's, the images' (the harmonic
    mean of the shares kept and content) and the share of captions that an image carries."""
    groups: dict[str, list[tuple[Sample, Outcome]]] = {}
    for sample, outcome in zip(samples, outcomes):
        groups.setdefault(sample.name, []).append((sample, outcome))
    found: dict[str, float] = {}
    for name, group in groups.items():
        counts = [outcome.counts for _, outcome in group]
        if name == "snippets":
            found[name] = precision_recall_f1(*map(sum, zip(*counts)))[2]
        elif name == "body":
            precisions = [tp / (tp + fp) for tp, fp, _ in counts if tp + fp]
            recalls = [tp / (tp + fn) for tp, _, fn in counts if tp + fn]
            found[name] = harmonic(fmean(precisions), fmean(recalls)) if precisions and recalls else 0.0
        elif group[0][1].images is None:
            found[name] = fmean(outcome.f1 for _, outcome in group)
        else:
            sites: dict[str, list[Outcome]] = {}
            for sample, outcome in group:
                if not sample.page.is_markdeep:
                    sites.setdefault(sample.page.site, []).append(outcome)
            found[f"{name} text"] = fmean(fmean(one.f1 for one in site) for site in sites.values())
            sums = [_images(site) for site in sites.values()]
            shown = [precision_recall_f1(one.kept, one.other, one.gold - one.kept)[2] for one in sums if one.gold]
            captions = [one.captions_attached / one.captions for one in sums if one.captions]
            found[f"{name} images"] = fmean(shown) if shown else 0.0
            found[f"{name} captions"] = fmean(captions) if captions else 0.0
    return found


def _images(outcomes: Sequence[Outcome]) -> ImageCounts:
    sums = ImageCounts()
    for outcome in outcomes:
        if outcome.images is not None:
            sums.add(outcome.images)
    return sums


# Report


def _report(full: dict[str, float], rows: dict[Rule, tuple[dict[str, float], int]]) -> str:
    lines = [
        f"| rule | {' | '.join(full)} | helps | hurts | pages |",
        "|---|" + "---:|" * (len(full) + 3),
        f"| all rules | {' | '.join(f'{value:.3f}' for value in full.values())} | | | |",
    ]
    for rule, (changes, num_pages) in rows.items():
        cells = " | ".join(_cell(change) for change in changes.values())
        helps, hurts = (sum(sign * change >= _LEAST for change in changes.values()) for sign in (-1, 1))
        lines.append(f"| {rule.says} (`{rule.name}`) | {cells} | {helps} | {hurts} | {num_pages} |")
    return "\n".join(lines)


def _cell(change: float) -> str:
    """Thousandths with a sign; a dot where nothing changes."""
    return f"{1000 * change:+.1f}" if abs(change) >= 0.00005 else "."


def _print_pages(rule: Rule, changed: dict[int, Outcome], samples: Sequence[Sample], base: Sequence[Outcome]) -> None:
    print(f"\n{rule.name}: with it, without it")
    for index, outcome in sorted(changed.items(), key=lambda item: item[1].f1 - base[item[0]].f1):
        before, page = base[index], samples[index].page
        print(
            f"  {before.f1:.3f} {outcome.f1:.3f} {before.counts} {outcome.counts}  {samples[index].name}  {page.name}"
        )


if __name__ == "__main__":
    sys.exit(main())
