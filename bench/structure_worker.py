"""The part of ``structure.py`` that runs in an environment of its own: sources in reStructuredText, and the peers'
Markdown.

python structure_worker.py sphinx SOURCES OUT.json          {page: structure, or why there is none}
python structure_worker.py sphinx_dollars SOURCES OUT.json  the same where dollars and `x` are formulas
python structure_worker.py docutils FOLDER OUT.json         the same of docutils' own dialect; HTML beside each source
python structure_worker.py peers PAGES.json OUT.json        {name of an extractor: {page: Markdown}}
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from structure_metrics import Cell, Structure, Table

_UNTOLD = ("default", "none", "python3-default")
_PASSED_OVER = (
    "comment",
    "target",
    "index",
    "meta",
    "substitution_definition",
    "image",
    "docinfo",
    "decoration",
    "pending",
)
_GENERATED = ("raw", "problematic", "graphviz", "only", "todo_node", "autosummary_table", "bibliography")


_ADMONITIONS = (
    "attention", "caution", "danger", "error", "hint", "important", "note", "tip", "warning", "seealso",
)  # fmt: skip
"""Nodes that their writer gives a title."""

_TEXTS = (
    "term", "field_name", "desc_signature", "attribution", "caption", "title", "rubric", "paragraph", "line",
    "option_group", "subtitle", "classifier", "label", "author", "version", "status", "date", "copyright",
    "organization", "contact", "revision",
)  # fmt: skip
"""Nodes that are one text each."""


class NotPlain(ValueError):
    """A source whose page holds what the source does not."""


class Reading:
    """A doctree as a structure."""

    def __init__(self) -> None:
        self.page = Structure()

    def read(self, tree: Any) -> Structure:
        has_title = any(type(child).__name__ == "title" for child in tree.children)
        self._walk(tree, int(has_title))  # a document's own title is above its sections
        return self.page

    def _walk(self, node: Any, level: int) -> None:
        name = type(node).__name__
        if name in _PASSED_OVER or (name == "topic" and "contents" in node["classes"]):
            return
        if name in _GENERATED or (name == "system_message" and node["level"] >= 3):
            raise NotPlain(name)
        if name == "system_message":
            return
        if name == "toctree" and not node.get("hidden"):
            raise NotPlain(name)
        if name in ("literal_block", "doctest_block"):
            language = node.get("language")
            self.page.code.append((language if language not in _UNTOLD and node.get("stated") else None, node.astext()))
            return
        if name in _ADMONITIONS:
            self.page.texts.append(name.capitalize() if name != "seealso" else "See also")
        if name == "math_block":
            self.page.formulas.append(node.astext())
            return
        if name == "table":
            self._table(node, level)
            return
        if name == "title" and type(node.parent).__name__ in ("section", "document"):
            words = self._words(node)
            self.page.texts.append(words)
            self.page.headings.append((max(1, level), words))
            return
        if name in _TEXTS:
            if name == "desc_signature" and node.get("is_multiline"):
                raise NotPlain("signatures")
            sign = ": " if name == "classifier" else ""  # as sources and style sheets write it
            self.page.texts.append(sign + self._words(node))
            return
        for child in node.children:
            if type(child).__name__ == "Text":
                if child.astext().strip():
                    self.page.texts.append(child.astext())
            else:
                self._walk(child, level + (name in ("section", "document") and type(child).__name__ == "section"))

    def _words(self, node: Any) -> str:
        """Text without formulas, which are noted, and images."""
        parts = []
        for child in node.children:
            name = type(child).__name__
            if name == "Text":
                parts.append(child.astext())
            elif name == "math":
                self.page.formulas.append(child.astext())
                parts.append(" ")
            elif name in ("footnote_reference", "citation_reference"):
                parts.append(f"[{child.astext()}]")
            elif name in _GENERATED:
                raise NotPlain(name)
            elif name not in ("image", "index", "target") or child.children:
                parts.append(self._words(child))
        return "".join(parts)

    def _table(self, node: Any, level: int) -> None:
        rows: list[list[Cell]] = []
        header_rows = 0
        for part in node.children:
            name = type(part).__name__
            if name == "title":
                self.page.texts.append(self._words(part))
            elif name == "tgroup":
                for group in part.children:
                    kind = type(group).__name__
                    if kind in ("thead", "tbody"):
                        found = [[self._cell(entry) for entry in row.children] for row in group.children]
                        header_rows += len(found) if kind == "thead" else 0
                        rows += found
        self.page.tables.append(Table(rows, header_rows))

    def _cell(self, entry: Any) -> Cell:
        if any(type(inner).__name__ in ("literal_block", "table", "math_block") for inner in entry.findall()):
            raise NotPlain("blocks in tables")
        words = " ".join(self._leaf_words(entry))
        return Cell(words, entry.get("morecols", 0) + 1, entry.get("morerows", 0) + 1)

    def _leaf_words(self, node: Any) -> list[str]:
        if any(type(child).__name__ == "Text" for child in node.children) or type(node).__name__ == "paragraph":
            return [self._words(node)]
        parts = [child for child in node.children if type(child).__name__ != "system_message"]
        return [word for child in parts for word in self._leaf_words(child)]


def _told(read: Any) -> dict[str, Any]:
    try:
        return {"structure": dataclasses.asdict(read())}
    except NotPlain as error:
        return {"why": str(error)}


def read_sphinx(folder: Path, has_dollars: bool = False) -> dict[str, Any]:
    """Structures of ``_sources``, by page.

    Args:
        has_dollars: whether ``$x$`` and text of no role are formulas.
    """
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.directives.code import CodeBlock

    run = CodeBlock.run

    def marked(self: Any) -> Any:
        made = run(self)
        for node in made:
            for block in node.findall(nodes.literal_block):
                block["stated"] = bool(self.arguments)
        return made

    CodeBlock.run = marked  # type: ignore[method-assign]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        sources = Path(made, "sources")
        for path in sorted([*folder.rglob("*.rst.txt"), *folder.rglob("*.md.txt")]):
            target = sources / path.relative_to(folder).with_suffix("")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        extensions = ["sphinx.ext.mathjax", "sphinx.ext.todo"]
        extensions += ["myst_parser"] if any(sources.rglob("*.md")) else []
        extensions += ["sphinx_math_dollar"] if has_dollars else []
        app = Sphinx(
            str(sources), None, str(Path(made, "out")), str(Path(made, "trees")), "dummy",
            confoverrides={
                "extensions": extensions, "default_role": "math" if has_dollars else None,
                "keep_warnings": True, "exclude_patterns": [], "smartquotes": True, "language": "en",
                "myst_enable_extensions": ["dollarmath", "colon_fence", "deflist"],
            },
            status=None, warning=None,
        )  # fmt: skip
        app.build(force_all=True)
        for name in sorted(app.env.found_docs):
            found[name] = _told(lambda name=name: _read_page(app, name))
    return found


def _read_page(app: Any, name: str) -> Structure:
    if re.search(r"^\s*\.\. (?:literal)?include::", Path(app.env.doc2path(name)).read_text("utf-8"), re.M):
        raise NotPlain("includes")
    if any(type(node).__name__ == "toctree" and not node.get("hidden") for node in app.env.get_doctree(name).findall()):
        raise NotPlain("contents")
    return Reading().read(app.env.get_and_resolve_doctree(name, app.builder))


def read_docutils(folder: Path) -> dict[str, Any]:
    """Structures of docutils' own documents; each is written as HTML beside its source."""
    from docutils import core, nodes
    from docutils.parsers.rst import directives
    from docutils.parsers.rst.directives.body import CodeBlock

    run = CodeBlock.run

    def marked(self: Any) -> Any:
        made = run(self)
        for node in made:
            if isinstance(node, nodes.literal_block) and self.arguments:
                node["stated"], node["language"] = True, self.arguments[0]
        return made

    CodeBlock.run = marked  # type: ignore[method-assign]
    for name in ("code", "code-block", "sourcecode"):
        directives.register_directive(name, CodeBlock)
    found: dict[str, Any] = {}
    settings = {
        "report_level": 5,
        "halt_level": 5,
        "file_insertion_enabled": True,
        "embed_stylesheet": False,
        "math_output": "MathJax",
    }
    for path in sorted(folder.rglob("*.txt")):
        text = path.read_text("utf-8", "replace")
        try:
            page = core.publish_string(text, str(path), writer_name="html5", settings_overrides=settings)
            path.with_suffix(".html").write_bytes(page)
            tree = core.publish_doctree(text, str(path), settings_overrides=settings)
        except Exception as error:  # noqa: BLE001 - one source that cannot be read is one page less
            found[str(path.relative_to(folder).with_suffix(""))] = {"why": type(error).__name__}
            continue
        found[str(path.relative_to(folder).with_suffix(""))] = _told(lambda tree=tree: Reading().read(tree))
    return found


def read_peers(jobs: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    """Markdown of each page. ``html``: the page; ``main``: its main element alone."""
    import html2text
    import trafilatura

    reader = html2text.HTML2Text(bodywidth=0)
    reader.ignore_images = True
    reader.ignore_links = True
    reader.pad_tables = False
    reader.mark_code = False
    found: dict[str, dict[str, str]] = {
        "trafilatura": {},
        "trafilatura, main element": {},
        "html2text, main element": {},
    }
    for job in jobs:
        for name, page in (("trafilatura", job["html"]), ("trafilatura, main element", job["main"])):
            found[name][job["page"]] = (
                trafilatura.extract(page, output_format="markdown", include_formatting=True, include_tables=True) or ""
            )
        found["html2text, main element"][job["page"]] = reader.handle(job["main"])
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    task, given, output = sys.argv[1:]
    if task == "peers":
        result: Any = read_peers(json.loads(Path(given).read_text()))
    else:
        readers = {"sphinx": read_sphinx, "sphinx_dollars": partial(read_sphinx, has_dollars=True)}
        result = (readers | {"docutils": read_docutils})[task](Path(given))
    Path(output).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
