"""Measures the quality and speed of gobelin's extraction of text and images, compared with trafilatura, resiliparse,
readability and datatrove, in one run and on the same pages.

    python bench/extraction.py --corpus ../shared/corpus                       # everything but memory, minutes
    python bench/extraction.py --corpus ../shared/corpus --only snippets web   # some of them
    python bench/extraction.py --corpus ../shared/corpus --only web --extractors gobelin --worst 10 --dump /tmp/dump

Prints tables and writes all figures as JSON. docs/extraction.md explains the measurements.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from extraction_gold import WEB_GOLD, Page, body_pages, genre_pages, is_held_out, snippet_pages, text_pages, web_pages
from extraction_memory import measure_memory
from extraction_metrics import (
    ImageCounts,
    Piece,
    body_scores,
    genre_scores,
    page_f1,
    precision_recall_f1,
    score_images,
    snippet_counts,
    text_of,
)
from extraction_outputs import GOBELIN, PEERS, Outputs
from extraction_pictures import keeps_lead, lead_pictures, read_marks, score_marks, with_keys
from extraction_speed import measure_speed

PARTS = ("snippets", "body", "news", "forum", "pictures", "web", "speed", "memory", "texts")
TEXT_ONLY = ("trafilatura", "trafilatura no comments", "datatrove")
"""Extractors that were not asked for images."""

HALVES = (("all", None), ("development", False), ("held out", True))


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    outputs = Outputs(options.envs, options.fresh)
    report: dict[str, Any] = {}
    for part in options.only:
        report[part] = _PARTS[part](options, outputs)
    if outputs.ways:
        report["ways"] = outputs.way_costs()
        _table(options, "ways", "gobelin's ways, all pages above", report["ways"])
    report["errors"] = outputs.errors
    _print_problems(outputs)
    if options.docs:
        if options.web:  # the ways of the corpus stand there
            options.tables.pop("ways", None)
        _write_docs(options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    home = Path.home() / ".cache" / "gobelin-bench"
    parser.add_argument("--corpus", type=Path, required=True, help="folder with extraction/ and web/")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS[:-2]), help="parts (all but the last two)"
    )
    parser.add_argument("--extractors", nargs="+", choices=[GOBELIN, *PEERS], default=[*PEERS, GOBELIN])
    parser.add_argument("--envs", type=Path, default=home, help="environments and outputs of the others (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="run the others again, although their output is at hand")
    parser.add_argument("--json", type=Path, default=home / "extraction.json", help="all figures (%(default)s)")
    parser.add_argument(
        "--docs", type=Path, help="write the tables between the marks of this file (docs/extraction.md)"
    )
    parser.add_argument("--dump", type=Path, help="folder for what each extractor gave, a text file a page")
    parser.add_argument("--worst", type=int, default=0, help="list gobelin's N worst pages of each measure")
    parser.add_argument("--web", type=Path, help="folder with other sites' archives (see folder_to_warc.py)")
    parser.add_argument("--gold", type=Path, default=WEB_GOLD, help="rules of these sites (%(default)s)")
    parser.add_argument("--texts", type=Path, help="texts: folder of pages with what is expected of each")
    parser.add_argument("--site", nargs="+", help="only these sites of web/")
    parser.add_argument("--repeat", type=int, default=3, help="speed: runs of each (%(default)s)")
    parser.add_argument("--size", type=float, default=2.0, help="memory: gigabytes of the archive (%(default)s)")
    parser.add_argument("--until", default="extract", help="memory: last stage of the run (%(default)s)")
    parser.add_argument("--temporary", type=Path, help="memory: folder for the archive and the run (the system's own)")
    options = parser.parse_args(arguments, namespace=argparse.Namespace(tables={}))
    if not (options.corpus / "extraction").is_dir():
        parser.error(f"{options.corpus} holds no folder extraction: --corpus is the folder with extraction/ and web/")
    if "texts" in options.only and options.texts is None:
        parser.error("--only texts needs --texts: a folder that holds NAME/source.html and NAME/expected.html")
    return options


# Text


def _snippets(options: argparse.Namespace, outputs: Outputs) -> dict[str, Any]:
    pages = snippet_pages(options.corpus)
    rows = {}
    for extractor in options.extractors:
        pieces = outputs.of(extractor, pages)
        _dump(options, "snippets", extractor, pages, pieces)
        counts = {
            page.name: snippet_counts(text_of(pieces[page.name]), page.must_have, page.must_not) for page in pages
        }
        for name, half in _halves(extractor):
            chosen = [counts[page.name] for page in pages if half is None or page.is_held_out == half]
            if chosen:
                rows[_label(extractor, name)] = _prf(precision_recall_f1(*map(sum, zip(*chosen))), len(chosen))
        if extractor == GOBELIN:
            plain = [snippet_counts(_plain_text(pieces[page.name]), page.must_have, page.must_not) for page in pages]
            rows[_NO_CAPTIONS] = _prf(precision_recall_f1(*map(sum, zip(*plain))), len(plain))
            _worst(options, "snippets", {name: precision_recall_f1(*count)[2] for name, count in counts.items()})
    _table(options, "snippets", "Text, snippet protocol", rows)
    return rows


def _bodies(options: argparse.Namespace, outputs: Outputs) -> dict[str, Any]:
    pages = body_pages(options.corpus)
    rows = {}
    for extractor in options.extractors:
        pieces = outputs.of(extractor, pages)
        _dump(options, "body", extractor, pages, pieces)
        texts = {page.name: (page.body or "", text_of(pieces[page.name])) for page in pages}
        for name, half in _halves(extractor):
            chosen = [texts[page.name] for page in pages if half is None or page.is_held_out == half]
            if chosen:
                rows[_label(extractor, name)] = _prf(body_scores(chosen), len(chosen))
        if extractor == GOBELIN:
            rows[_NO_CAPTIONS] = _prf(body_scores(_without_captions(pages, pieces)), len(pages))
            _worst(options, "body", {name: body_scores([pair])[2] for name, pair in texts.items()})
    _table(options, "body", "Text, body protocol", rows)
    return rows


def _news(options: argparse.Namespace, outputs: Outputs) -> dict[str, Any]:
    return _whole_texts(options, outputs, "news", genre_pages(options.corpus, "article"))


def _forum(options: argparse.Namespace, outputs: Outputs) -> dict[str, Any]:
    return _whole_texts(options, outputs, "forum", genre_pages(options.corpus, "forum"))


def _texts(options: argparse.Namespace, outputs: Outputs) -> dict[str, Any]:
    return _whole_texts(options, outputs, "texts", text_pages(options.texts))


def _whole_texts(options: argparse.Namespace, outputs: Outputs, part: str, pages: Sequence[Page]) -> dict[str, Any]:
    rows = {}
    for extractor in options.extractors:
        pieces = outputs.of(extractor, pages)
        _dump(options, part, extractor, pages, pieces)
        texts = {page.name: (page.body or "", text_of(pieces[page.name])) for page in pages}
        for name, half in _halves(extractor):
            chosen = [texts[page.name] for page in pages if half is None or page.is_held_out == half]
            if chosen:
                rows[_label(extractor, name)] = _prf(genre_scores(chosen), len(chosen))
        if extractor == GOBELIN:
            rows[_NO_CAPTIONS] = _prf(genre_scores(_without_captions(pages, pieces)), len(pages))
            _worst(options, part, {name: genre_scores([pair])[2] for name, pair in texts.items()})
    _table(options, part, f"Text, {part}", rows)
    return rows


def _pictures(options: argparse.Namespace, outputs: Outputs) -> dict[str, Any]:
    sets = {
        "news": genre_pages(options.corpus, "article"),
        "forum": genre_pages(options.corpus, "forum"),
        "snippets": snippet_pages(options.corpus),
        "body": body_pages(options.corpus),
    }
    marks = {name: read_marks(pages) for name, pages in sets.items()}
    leads = {
        name: {page.name: found for page in pages if (found := lead_pictures(page))} for name, pages in sets.items()
    }
    marked: dict[str, Any] = {}
    shares: dict[str, Any] = {}
    for extractor in options.extractors:
        if extractor in TEXT_ONLY:
            continue
        pieces = {name: outputs.of(extractor, pages) for name, pages in sets.items()}
        counts = {
            page: score_marks(of_page, with_keys(pieces[name][page]))
            for name, of_set in marks.items()
            for page, of_page in of_set.items()
        }
        kept = {
            name: {page: float(keeps_lead(names, pieces[name][page])) for page, names in of_set.items()}
            for name, of_set in leads.items()
        }
        for label, half in _halves(extractor):
            chosen = [count for page, count in counts.items() if half is None or is_held_out(page) == half]
            marked[_label(extractor, label)] = _prf(precision_recall_f1(*map(sum, zip(*chosen))), len(chosen))
            row: dict[str, float | int | None] = {}
            for name, of_set in kept.items():
                found = [value for page, value in of_set.items() if half is None or is_held_out(page) == half]
                row |= {name: fmean(found) if found else None, f"{name} pages": len(found)}
            shares[_label(extractor, label)] = row
        if extractor == GOBELIN:
            _worst(options, "pictures: wrong", {page: -float(wrong) for page, (_, wrong, _) in counts.items()})
            _worst(options, "pictures: missed", {page: -float(missed) for page, (_, _, missed) in counts.items()})
            for name, of_set in kept.items():
                _worst(options, f"pictures: lead, {name}", of_set)
    _table(options, "pictures", "Pictures of 60 marked news and forum pages", marked)
    _table(options, "pictures", "Lead pictures kept, of pages that show their own og:image", shares)
    return {"marked": marked, "leads": shares}


_NO_CAPTIONS = "gobelin, no captions"
"""The same output without the captions of its images, as the others give none."""


def _without_captions(pages: Sequence[Page], pieces: Mapping[str, Sequence[Piece]]) -> list[tuple[str, str]]:
    """Gold and output of each page."""
    return [(page.body or "", _plain_text(pieces[page.name])) for page in pages]


def _plain_text(pieces: Sequence[Piece]) -> str:
    return text_of(piece for piece in pieces if not piece.is_image)


def _halves(extractor: str) -> Sequence[tuple[str, bool | None]]:
    return HALVES if extractor == GOBELIN else HALVES[:1]


def _label(extractor: str, half: str) -> str:
    return extractor if half == "all" else f"{extractor}, {half}"


def _prf(scores: tuple[float, float, float], num_pages: int) -> dict[str, float]:
    return {"precision": scores[0], "recall": scores[1], "F1": scores[2], "pages": num_pages}


# Images and text of real sites


def _web(options: argparse.Namespace, outputs: Outputs) -> dict[str, Any]:
    web = web_pages(options.web or options.corpus / "web", options.gold)
    pages = [page for page in web.pages if not options.site or page.site in options.site]
    rows: dict[str, Any] = {}
    by_site: dict[str, dict[str, Any]] = {}
    for extractor in options.extractors:
        pieces = outputs.of(extractor, pages)
        _dump(options, "web", extractor, pages, pieces)
        images = {page.name: score_images(page.gold, pieces[page.name]) for page in pages if page.gold}
        texts = {page.name: page_f1(page.gold, pieces[page.name]) for page in pages if page.gold}
        for name, half in _halves(extractor):
            sites: dict[str, dict[str, float | None]] = {}
            for site in sorted({page.site for page in pages}):
                chosen = [page for page in pages if page.site == site and (half is None or page.is_held_out == half)]
                if chosen:
                    sites[site] = _site_row(chosen, images, texts, pieces)
            if extractor in TEXT_ONLY:
                sites = {site: {**row, **dict.fromkeys(_IMAGE_COLUMNS)} for site, row in sites.items()}
            if sites:
                rows[_label(extractor, name)] = _mean_row(sites)
            if half is None:
                by_site[extractor] = sites
        if extractor == GOBELIN:
            _worst(options, "web: text", texts)
            for measure, part, whole in _SHARES:
                shares = {name: _share(part(counts), whole(counts)) for name, counts in images.items()}
                _worst(options, f"web: {measure}", {name: share for name, share in shares.items() if share is not None})
    section = "web"
    if options.web:
        section = "other sites" if options.gold == WEB_GOLD else options.gold.stem + " sites"
    title = f"Mean of sites, {len(pages)} pages ({sum(web.left_out.values())} more without a container)"
    _table(options, section, title, rows)
    for extractor, sites in by_site.items():
        if extractor == GOBELIN or len(options.extractors) < 3:
            _table(options, section, f"{extractor}, site by site", sites)
    if GOBELIN in by_site and len(by_site) > 1 and options.gold != WEB_GOLD:
        _table(options, section, "Text F1 and images kept, site by site, all", _beside(by_site))
    return {"means": rows, "sites": by_site, "left_out": web.left_out}


_SHARES: tuple[tuple[str, Callable[[ImageCounts], int], Callable[[ImageCounts], int]], ...] = (
    ("kept", lambda c: c.kept, lambda c: c.gold),
    ("content", lambda c: c.kept, lambda c: c.kept + c.other),
    ("in place", lambda c: c.in_place, lambda c: c.gold),
    ("captions", lambda c: c.captions_attached, lambda c: c.captions),
    ("near", lambda c: c.captions_near, lambda c: c.captions),
    ("alts", lambda c: c.alts_attached, lambda c: c.alts),
)
"""Measures of images: name, part and whole."""

_IMAGE_COLUMNS = (*(title for title, _, _ in _SHARES), "markdeep")


def _beside(by_site: dict[str, dict[str, dict[str, float | None]]]) -> dict[str, dict[str, float | None]]:
    """A row for each site with the two main measures of every extractor."""
    rows: dict[str, dict[str, float | None]] = {}
    for site in by_site[GOBELIN]:
        texts = {f"F1 {extractor}": sites[site]["text F1"] for extractor, sites in by_site.items()}
        kept = {
            f"kept {extractor}": sites[site]["kept"]
            for extractor, sites in by_site.items()
            if extractor not in TEXT_ONLY
        }
        rows[site] = {**texts, **kept}
    return rows


def _site_row(
    pages: Sequence[Page], images: dict[str, ImageCounts], texts: dict[str, float], pieces: dict[str, list[Piece]]
) -> dict[str, float | None]:
    sums = ImageCounts()
    for page in pages:
        sums.add(images[page.name])
    markdeep = sum(len(page.markdeep_urls) for page in pages)
    found = sum(len({url for piece in pieces[page.name] for url in piece.urls} & page.markdeep_urls) for page in pages)
    return {
        **{title: _share(part(sums), whole(sums)) for title, part, whole in _SHARES},
        "text F1": fmean(scores) if (scores := [texts[page.name] for page in pages if not page.is_markdeep]) else None,
        "markdeep": _share(found, markdeep),
        "images": sums.gold,
        "pages": len(pages),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean_row(sites: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """Means over the sites that have such a figure; numbers of pages and images are sums."""
    row: dict[str, float | None] = {}
    for name in next(iter(sites.values())):
        values = [value for site in sites.values() if (value := site[name]) is not None]
        if name in ("images", "pages"):
            row[name] = sum(values)
        else:
            row[name] = fmean(values) if values else None
    return row


# Speed and memory


def _speed(options: argparse.Namespace, outputs: Outputs) -> dict[str, Any]:
    report = measure_speed(options.corpus, options.envs, options.repeat)
    for name in ("gold pages", "web"):
        title = f"Archives to documents, {name}, medians of {options.repeat}; times: the other's CPU to this one's"
        _table(options, "speed", title, report[name])
    for name, steps in report["steps"].items():
        _table(options, "speed", f"gobelin's steps, {name}", steps["rows"])
        if steps["missing"]:
            print(f"not there any more, so not timed: {', '.join(steps['missing'])}\n")
    return report


def _memory(options: argparse.Namespace, outputs: Outputs) -> dict[str, Any]:
    report = measure_memory(options.corpus, options.size, options.until, options.temporary)
    _table(options, "memory", "The archive, and the process with the highest peak", {"gobelin run": report["archive"]})
    _table(options, "memory", "MiB at the tenths of each process's time, highest peaks first", report["processes"])
    return report


# Report


def _table(options: argparse.Namespace, part: str, title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints a table, and keeps it as Markdown for the documentation."""
    columns = list(next(iter(rows.values())))
    width = max(len(label) for label in rows) + 2
    print(f"{title}\n{'':<{width}}" + "".join(f"{column:>{max(9, len(column) + 2)}}" for column in columns))
    lines = [f"{title}:", "", f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for label, row in rows.items():
        cells = [_cell(row[column]) for column in columns]
        print(f"{label:<{width}}" + "".join(cell.rjust(max(9, len(name) + 2)) for name, cell in zip(columns, cells)))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    print()
    options.tables.setdefault(part, []).append("\n".join(lines))


def _write_docs(options: argparse.Namespace) -> None:
    """Puts the tables of each part between its marks; what stands there of parts that did not run stays."""
    text = options.docs.read_text("utf-8")
    for part, tables in options.tables.items():
        start, end = f"<!-- results: {part} -->", f"<!-- end: {part} -->"
        if start not in text or end not in text:
            raise ValueError(
                f"{options.docs} lacks the marks {start} and {end}: add them where the tables should stand"
            )
        before, _, rest = text.partition(start)
        old, _, rest = rest.partition(end)
        tables = [_with_rows_of_others(table, old) for table in tables]
        text = f"{before}{start}\n" + "\n\n".join(tables) + f"\n{end}{rest}"
    options.docs.write_text(text, "utf-8")


def _with_rows_of_others(table: str, section: str) -> str:
    """A table with the rows that the same table of the documentation has of extractors that did not run this time,
    in front of its own."""
    title, _, header, rule, *rows = table.splitlines()
    kept = section.partition(f"{title}\n\n{header}\n{rule}\n")[2].partition("\n\n")[0].splitlines()
    ran = set(map(_name_of, rows))
    others = [row for row in kept if _name_of(row) in PEERS and _name_of(row) not in ran]
    return "\n".join([title, "", header, rule, *others, *rows])


def _name_of(row: str) -> str:
    return row.partition(" |")[0].removeprefix("| ")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _print_problems(outputs: Outputs) -> None:
    for extractor, errors in outputs.errors.items():
        for name, error in list(errors.items())[:3]:
            print(f"{extractor} failed on {name}: {error}")
        if len(errors) > 3:
            print(f"{extractor} failed on {len(errors) - 3} more")


def _worst(options: argparse.Namespace, title: str, scores: dict[str, float]) -> None:
    if options.worst and scores:
        print(f"Worst of {title}")
        for name, score in sorted(scores.items(), key=lambda item: item[1])[: options.worst]:
            print(f"  {score:.3f}  {name}")
        print()


def _dump(
    options: argparse.Namespace, part: str, extractor: str, pages: Sequence[Page], pieces: dict[str, list[Piece]]
) -> None:
    """Writes what an extractor gave, and the gold beside it."""
    if not options.dump:
        return
    for page in pages:
        folder = options.dump / part / page.site / _file_name(page.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "page.html").write_bytes(page.payload)
        (folder / "gold.txt").write_text(_gold_text(page))
        lines = (
            f"[IMAGE {' '.join(sorted(piece.urls))[:300]}\n   alt={piece.alt!r} caption={piece.caption!r}]"
            if piece.is_image
            else piece.text
            for piece in pieces[page.name]
        )
        (folder / f"{extractor.replace(' ', '-')}.txt").write_text("\n".join(lines), errors="replace")


def _gold_text(page: Page) -> str:
    if page.gold is None:
        return page.body or json.dumps(
            {"must have": page.must_have, "must not": page.must_not}, indent=1, ensure_ascii=False
        )
    words, parts, start = page.gold.words, [], 0
    for image in sorted((image for image in page.gold.images), key=lambda image: image.place):
        parts.append(" ".join(words[start : image.place]))
        start = image.place
        caption = None if image.caption is None else page.gold.captions[image.caption]
        parts.append(
            f"[IMAGE {'neutral ' * image.is_neutral}{sorted(image.urls)} alt={image.alt!r} caption={caption!r}]"
        )
    return "\n".join([*parts, " ".join(words[start:])])


def _file_name(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-._" else "_" for character in name)[-120:]


_PARTS: dict[str, Callable[[argparse.Namespace, Outputs], dict[str, Any]]] = {
    "snippets": _snippets,
    "body": _bodies,
    "news": _news,
    "forum": _forum,
    "pictures": _pictures,
    "web": _web,
    "speed": _speed,
    "memory": _memory,
    "texts": _texts,
}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # temporary folders are removed on the way out
    sys.exit(main())
