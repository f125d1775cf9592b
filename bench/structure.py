"""Measures how well a page's structure is preserved: code with its language, tables, formulas, headings with their
level.

    python bench/structure.py                                  # fetches packages, makes pages, measures: minutes
    python bench/structure.py --only brian loo --worst 5       # some sites, and the worst pages of each kind
    python bench/structure.py --docs docs/structure.md         # writes the tables there

The pages are documentation with a known source (``structure_sites.py``). The source gives the right answer, and the
parser of its format reads it: Sphinx and docutils for reStructuredText, markdown-it-py for Markdown. The bench needs
Debian, npm and cargo.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import lxml.html
from structure_markdown import NotPlain, read_markdown, source_to_markdown
from structure_metrics import KINDS, Cell, Structure, Table, scores_of
from structure_sites import PACKAGES, SITES, Page, Site, find_pages, prepare

from gobelin.data.model import Node, to_row
from gobelin.exchange import markdown
from gobelin.exchange.entry import Entry, Picture
from gobelin.transforms.pages.tree.find_nodes import PageContent, TextPiece, read_page

GOBELIN = ("gobelin", "gobelin, main element")
SYSTEMS = (*GOBELIN, "trafilatura", "trafilatura, main element", "html2text, main element")
GOALS = {"code": 0.97, "TEDS": 0.9, "formulas": 0.9, "headings": 0.98}
MAX_PAGES = 60  # of a site, evenly over the sorted names
MIN_CHARS = 400  # of a source's texts; shorter pages hold next to nothing
_HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    python = _environment(options.work)
    sites = [site for site in SITES if not options.only or site.name in options.only]
    pages: list[Page] = []
    truths: dict[str, Structure] = {}
    for site in sites:
        found, why = _truths(site, options.work, python)
        step = max(1.0, len(found) / options.pages)
        chosen = [found[int(i * step)] for i in range(min(len(found), options.pages))]
        pages += [page for page, _ in chosen]
        truths |= {page.name: truth for page, truth in chosen}
        print(
            f"{site.name}: {len(chosen)} of {len(found)} pages; left out: {dict(why.most_common(4))}", file=sys.stderr
        )
    outputs = _peers(pages, options.work, python) if options.peers else {}
    outputs |= {name: {page.name: _gobelin(page, name) for page in pages} for name in GOBELIN}
    results = [
        {"system": system, "page": page.name, "site": page.site.name, "generator": page.site.generator,
         **scores_of(truths[page.name], read_markdown(held[page.name], page.site.has_formulas, system not in GOBELIN))}
        for system, held in outputs.items() for page in pages
    ]  # fmt: skip
    _report(results, options)
    if options.dump:
        _dump(options.dump, outputs, truths)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    home = Path.home() / ".cache" / "gobelin-bench" / "structure"
    parser.add_argument("--work", type=Path, default=home, help="packages, pages and environment (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=[site.name for site in SITES], help="sites (all)")
    parser.add_argument("--pages", type=int, default=MAX_PAGES, help="most pages of a site (%(default)s)")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="gobelin alone")
    parser.add_argument("--worst", type=int, default=0, help="list gobelin's N worst pages of each kind")
    parser.add_argument("--dump", type=Path, help="folder for each system's Markdown and the truth, a file a page")
    parser.add_argument("--docs", type=Path, help="write the tables between the marks of this file (docs/structure.md)")
    parser.add_argument("--json", type=Path, help="all figures, by page")
    return parser.parse_args(arguments)


def _environment(work: Path) -> Path:
    """The Python with parsers of sources, generators and other extractors; made with uv where it is not there yet."""
    home = work / "environment"
    python, done = home / "bin" / "python", home / "packages"
    if not done.exists() or done.read_text() != "\n".join(PACKAGES):
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", "3.11", str(home)], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), *PACKAGES], check=True)
        done.write_text("\n".join(PACKAGES))
    return python


def _work_for(task: str, given: Path, output: Path, python: Path) -> Any:
    if task == "peers" or not output.exists():
        subprocess.run([str(python), str(_HERE / "structure_worker.py"), task, str(given), str(output)], check=True)
    return json.loads(output.read_text())


def _truths(site: Site, work: Path, python: Path) -> tuple[list[tuple[Page, Structure]], Counter[str]]:
    """Pages with what their sources say; why others cannot be judged."""
    why: Counter[str] = Counter()
    found: list[tuple[Page, Structure]] = []
    told: dict[str, Any] = {}
    home = prepare(site, work, python)
    if site.kind in ("sphinx", "sphinx_dollars", "docutils"):
        told = _work_for(site.kind, home / "package" / site.source, home / "truth.json", python)
    for page in find_pages(site, home):
        try:
            truth = _told(told, page) if told else _read_source(page)
        except NotPlain as error:
            why[str(error)] += 1
            continue
        if sum(map(len, truth.texts)) < MIN_CHARS:
            why["short"] += 1
        else:
            found.append((page, truth))
    return found, why


def _told(told: dict[str, Any], page: Page) -> Structure:
    held = told.get(page.name.partition("/")[2], {"why": "not read"})
    if "why" in held:
        raise NotPlain(held["why"])
    row = held["structure"]
    tables = [
        Table([[Cell(**cell) for cell in cells] for cells in table["rows"]], table["header_rows"])
        for table in row["tables"]
    ]
    code, headings = ([tuple(pair) for pair in row[name]] for name in ("code", "headings"))
    return Structure(row["texts"], code, row["formulas"], tables, headings)


def _read_source(page: Page) -> Structure:
    title = page.source.stem if page.site.kind in ("mkdocs", "hugo", "docusaurus") else None
    if page.site.kind == "mkdocs" and title is not None:
        title = title.replace("-", " ").replace("_", " ")
        title = title.capitalize() if title.islower() else title
    text = source_to_markdown(page.source.read_text("utf-8"), page.site.generator, title)
    return read_markdown(text, page.site.has_formulas)


def _main_element(page: Page) -> str:
    """The page's main element as a page of its own."""
    tree = lxml.html.fromstring(page.html.read_bytes())
    for place in page.site.main:
        tag, _, name = place.partition(".")
        for element in tree.iter(tag):
            if not name or name in (element.get("class") or "").split():
                title = lxml.html.tostring(tree.find(".//title"), encoding="unicode", with_tail=False)
                held = lxml.html.tostring(element, encoding="unicode", with_tail=False)
                return f"<!doctype html><html><head>{title}</head><body>{held}</body></html>"
    raise SystemExit(f"{page.html}: no {' or '.join(page.site.main)}")


def _peers(pages: Iterable[Page], work: Path, python: Path) -> dict[str, dict[str, str]]:
    jobs = [
        {"page": page.name, "html": page.html.read_text("utf-8", "replace"), "main": _main_element(page)}
        for page in pages
    ]
    given = work / "peers.json"
    given.write_text(json.dumps(jobs))
    found: dict[str, dict[str, str]] = _work_for("peers", given, work / "peers-found.json", python)
    return found


def _gobelin(page: Page, system: str) -> str:
    """gobelin's export of a page as Markdown."""
    payload = page.html.read_bytes() if system == "gobelin" else _main_element(page).encode()
    content = read_page(payload, "utf-8", f"https://{page.site.name}.example/{page.name}.html", ())
    if not isinstance(content, PageContent):
        return ""
    nodes = [
        Node("text", each.role, each.level, each.text, code_language=each.code_language, header_rows=each.header_rows)
        if isinstance(each, TextPiece) else Node("image", image_id="0" * 64, caption=each.caption)
        for each in content.pieces
    ]  # fmt: skip
    pictures = tuple(Picture(b"", {"format": "png"}) for node in nodes if node.is_image)
    return markdown.body(Entry({"nodes": [to_row(node) for node in nodes]}, pictures))  # type: ignore[typeddict-item]


def _mean(results: Iterable[dict[str, Any]], kind: str) -> tuple[float | None, int]:
    values = [row[kind] for row in results if kind in row]
    return (fmean(values) if values else None), len(values)


def _report(results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    unseen = {site.name for site in SITES if site.is_unseen}
    parts = {
        "seen": _table([row for row in results if row["site"] not in unseen], "system", SYSTEMS),
        "unseen": _table([row for row in results if row["site"] in unseen], "system", SYSTEMS),
        "sites": _by_site(results),
    }
    for name, text in parts.items():
        print(f"\n{name}\n\n{text}")
    for kind in KINDS if options.worst else ():
        held = sorted((row[kind], row["page"]) for row in results if row["system"] == "gobelin" and kind in row)
        print(f"\nworst of {kind}:", *(f"{value:.3f} {page}" for value, page in held[: options.worst]), sep="\n  ")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.docs:
        text = options.docs.read_text("utf-8")
        for name, table in parts.items():
            start, end = f"<!-- results: {name} -->\n", f"<!-- end: {name} -->"
            before, _, rest = text.partition(start)
            text = before + start + table + end + rest.partition(end)[2]
        options.docs.write_text(text, "utf-8")


def _table(results: list[dict[str, Any]], by: str, names: Sequence[str]) -> str:
    lines = [f"| | {' | '.join(KINDS)} |", f"|---|{'---|' * len(KINDS)}"]
    for name in names:
        rows = [row for row in results if row[by] == name]
        if rows:
            lines.append(f"| {name} | {' | '.join(_shown(_mean(rows, kind)[0]) for kind in KINDS)} |")
    counted = [row for row in results if row["system"] == GOBELIN[0]]
    lines.append(f"| pages | {' | '.join(str(_mean(counted, kind)[1]) for kind in KINDS)} |")
    return "\n".join(lines) + "\n"


def _by_site(results: list[dict[str, Any]]) -> str:
    lines = [f"| site | generator | pages | {' | '.join(KINDS)} |", f"|---|---|---|{'---|' * len(KINDS)}"]
    for site in SITES:
        rows = [row for row in results if row["site"] == site.name and row["system"] == GOBELIN[0]]
        if rows:
            means = " | ".join(_shown(_mean(rows, kind)[0]) for kind in KINDS)
            lines.append(f"| {site.name}{' (unseen)' * site.is_unseen} | {site.generator} | {len(rows)} | {means} |")
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _dump(folder: Path, outputs: dict[str, dict[str, str]], truths: dict[str, Structure]) -> None:
    for system, held in outputs.items():
        for page, text in held.items():
            path = folder / system.replace(", ", "-").replace(" ", "-") / f"{page}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    for page, truth in truths.items():
        path = folder / "truth" / f"{page}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(truth), indent=1, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
