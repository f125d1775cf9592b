"""Markdown of sources and of extractors -> ``Structure``. It is CommonMark with GitHub's tables.

Formulas are ``$x$``, ``$$x$$``, ``$`x`$`` and blocks ``math``. They are taken out before the rest is parsed. Generators
add admonitions, tabs, attributes, chunks and front matter to CommonMark. These are converted to it or left out first.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import markdown_it
from markdown_it.token import Token
from structure_metrics import Cell, Structure, Table

_READER = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
_OPEN, _CLOSE = "\ue000", "\ue001"
_HELD = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_CODE_OR_FORMULA = re.compile(
    r"^(?P<indent>[ \t>]*)(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)\n(?P<code>.*?)(?:^[ \t>]*(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|\$`(?P<ticked>[^`\n]+)`\$"
    r"|(?<![`\\])(?P<tick>`+)(?!`)(?:[^`]|(?!(?P=tick)(?!`))`)*?(?P=tick)(?!`)"
    r"|(?<!\\)\$\$(?P<display>(?:[^$]|\$(?!\$))+?)\$\$"
    r"|(?<![\\$\w])\$(?P<line>[^\s$`](?:[^$\n`]|\n(?!\s*\n))*?(?<![\s\\]))\$(?![\d$])"
    r"|\\\\\((?P<round>(?:[^\n]|\n(?!\s*\n))+?)\\\\\)|\\\\\[(?P<square>.+?)\\\\\]",
    re.M | re.S,
)
_PLAIN_DELIMITERS = re.compile(r"(?<!\\)\\([()\[\]])")
_FRONT = re.compile(r"\A---\n(.*?)\n(?:---|\.\.\.)\n", re.S)
_CODE = re.compile(r"^[ \t]*(`{3,}|~{3,}).*?^[ \t]*\1", re.M | re.S)
_COMMENT_OR_CODE = re.compile(r"^[ \t]*(?P<fence>`{3,}|~{3,}).*?^[ \t]*(?P=fence)|<!--.*?-->", re.M | re.S)
_TAG = re.compile(r"<[^>]*>")
_ADMONITION = re.compile(
    r'^(?P<indent> *)(?:!!!|\?\?\?\+?)\s+(?P<kind>[\w-]+)[^"\n]*(?:"(?P<title>[^"\n]*)")?[^\n]*$'
    r'|^(?P<tab_indent> *)===\s+"(?P<tab>[^"\n]*)"\s*$'
)
_BLOCKS = re.compile(r"^ {0,3}(?:/{3,}|:{3,})[ \t]*(?P<kind>[\w-]*)[ \t]*(?:\|[ \t]*(?P<title>[^\n]*))?[^\n]*$", re.M)
_UNTITLED = ("", "html", "caption", "figure-caption", "table-caption")
_RUST = re.compile(r"^[ \t]*```(?:rust|rs)\b.*?^[ \t]*```", re.M | re.S)
_HIDDEN_LINE = re.compile(r"^[ \t]*#(?: [^\n]*)?\n", re.M)
_ATTRIBUTES = re.compile(r"^(#{1,6} .*?)[ \t]*\{:?\s*[#.-][^{}\n]*\}[ \t]*$", re.M)
_CALLOUT = re.compile(r"^((?:> )*> )\[!([\w-]+)\]-?\+?[ \t]*(.*)$", re.M)
_HTML_HEADING = re.compile(r"^<h1 align=\"center\">(.*)</h1>$", re.M)
_BARE_TEX = re.compile(r"^\\begin\{(\w+\*?)\}.*?^\\end\{\1\}", re.M | re.S)
_CHUNK = re.compile(r"^(\s*)(`{3,})\{(\w+)[^}\n]*\}[ \t]*$", re.M)


class NotPlain(ValueError):
    """A source that holds what only its generator can read; the message says what."""


def read_markdown(text: str, has_formulas: bool, are_brackets_formulas: bool = False) -> Structure:
    """The structure of Markdown.

    Args:
        has_formulas: whether dollars and ``\\\\(`` enclose formulas.
        are_brackets_formulas: whether ``\\(`` and ``\\[`` do, which CommonMark reads as brackets.
    """
    formulas: list[tuple[str, bool]] = []
    if has_formulas:
        if are_brackets_formulas:
            text = _PLAIN_DELIMITERS.sub(r"\\\\\1", text)
        text = _CODE_OR_FORMULA.sub(lambda found: _hold(found, formulas), text)
    return _Reading(formulas).read(text)


def _hold(found: re.Match[str], formulas: list[tuple[str, bool]]) -> str:
    if found["fence"] is not None and found["info"].strip() == "math":
        formulas.append((found["code"], True))
        return f"{found['indent']}{_OPEN}{len(formulas) - 1}{_CLOSE}\n"
    for name in ("ticked", "display", "line", "round", "square"):
        if found[name] is not None:
            formulas.append(
                (found[name].replace("\\|", "|") if name == "ticked" else found[name], name in ("display", "square"))
            )
            return f"{_OPEN}{len(formulas) - 1}{_CLOSE}"
    return found[0]


class _Reading:
    def __init__(self, formulas: list[tuple[str, bool]]) -> None:
        self._formulas = formulas
        self._page = Structure()

    def read(self, text: str) -> Structure:
        tokens = _READER.parse(text)
        index = 0
        while index < len(tokens):
            token = tokens[index]
            if token.type == "table_open":
                stop = next(i for i in range(index, len(tokens)) if tokens[i].type == "table_close")
                self._table(tokens[index:stop])
                index = stop
            elif token.type in ("fence", "code_block"):
                language = re.split(r"[\s,{]", token.info.strip())[0].lower() or None
                if token.content.strip():
                    self._page.code.append((language, self._restored(token.content)))
            elif token.type == "html_block":
                self._text(_TAG.sub(" ", token.content))
            elif token.type == "inline":
                words = self._inline(token.children or [])
                before = tokens[index - 1]
                if before.type == "heading_open":
                    self._page.headings.append((int(before.tag[1:]), self._named(words)))
                self._text(words)
            index += 1
        return self._page

    def _text(self, text: str) -> None:
        """A text without its formulas, which are noted."""
        for number in _HELD.findall(text):
            self._page.formulas.append(self._formulas[int(number)][0])
        self._page.texts.append(html.unescape(_HELD.sub(" ", text)))

    def _named(self, text: str) -> str:
        return _HELD.sub(lambda found: f"${self._formulas[int(found[1])][0]}$", text)

    def _restored(self, code: str) -> str:
        """Code in which something looked like a formula."""
        return _HELD.sub(lambda found: self._formulas[int(found[1])][0], code)

    def _inline(self, tokens: list[Token]) -> str:
        return "".join(self._words(tokens))

    def _words(self, tokens: list[Token]) -> Iterator[str]:
        for token in tokens:
            if token.type in ("softbreak", "hardbreak"):
                yield " "
            elif token.type == "html_inline":
                yield " " if token.content.lower().startswith("<br") else ""
            elif token.type != "image":
                yield token.content

    def _table(self, tokens: list[Token]) -> None:
        rows: list[list[Cell]] = []
        for token in tokens:
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline":
                words = self._inline(token.children or [])
                for number in _HELD.findall(words):
                    self._page.formulas.append(self._formulas[int(number)][0])
                rows[-1].append(Cell(_HELD.sub(" ", words)))
        if rows and not any(cell.text.strip() for cell in rows[0]):
            self._page.tables.append(Table(rows[1:], 0))
        elif rows:
            self._page.tables.append(Table(rows, 1))


def source_to_markdown(text: str, generator: str, title: str | None = None) -> str:
    """A source as CommonMark with tables and formulas.

    Args:
        title: that the generator takes where the source has none.

    Raises:
        NotPlain: it includes files, calls macros or is laid out in HTML.
    """
    text = text.replace("\r\n", "\n")
    front = _FRONT.match(text)
    if front is not None:
        named = re.search(r"^title:[ \t]*([\"']?)(.+?)\1[ \t]*$", front[1], re.M)
        title = named[2] if named else title
        text = text[front.end() :]
    if re.search(r"^`{3,} ?[\w-]+-render", text, re.M):
        raise NotPlain("generated parts")
    has_title = re.search(r"^(?:# |={3,}[ \t]*$)", _CODE.sub("", text), re.M) is not None
    text = _HTML_HEADING.sub(r"# \1", text)
    text = _CALLOUT.sub(lambda found: f"{found[1]}{found[3] or found[2].capitalize()}\n{found[1]}", text)
    _refuse_foreign(text)
    text = _COMMENT_OR_CODE.sub(lambda found: found[0] if found["fence"] else "", text)
    if generator == "MkDocs":
        text = _dedented(text)
        text = _ATTRIBUTES.sub(r"\1", text)
    if generator in ("MkDocs", "Docusaurus"):
        text = _BLOCKS.sub(_block_title, text)
    if generator == "mdBook":
        text = _RUST.sub(lambda found: _HIDDEN_LINE.sub("", found[0]), text)
    if generator == "Pandoc":
        text = _BARE_TEX.sub(r"$$\g<0>$$", text)
        text = _CHUNK.sub(r"\1```\3", text)
        text = _ATTRIBUTES.sub(r"\1", text)
        text = re.sub(r"^```\s*\{\.(\w+)[^}\n]*\}", r"```\1", text, flags=re.M)
    if title and (generator == "Pandoc" or not has_title):
        text = f"# {title}\n\n{text}"
    return text


def _block_title(found: re.Match[str]) -> str:
    """The title of a block between slashes or colons, as its generator shows it."""
    if found["kind"] in _UNTITLED:
        return ""
    return found["title"] or found["kind"].capitalize()


def _refuse_foreign(text: str) -> None:
    prose = _CODE.sub("", text)
    prose = re.sub(r"`[^`\n]+`", "", prose)
    for pattern, name in (
        (r"\{\{[#<%]", "includes"), (r"^\s*(?:import|export)\s.+from", "MDX"), (r"--8<--|\{\*", "snippets"),
        (r"<(?:table|div|pre|details|h\d|img|p|ul|dl|iframe|svg|script|Tabs)\b", "HTML"),
        (r"^\[\^[^\]]+\]:", "footnotes"), (r"^\*\[[^\]]+\]:", "abbreviations"), (r"^:\s{3}", "definitions"),
        (r"(?:^|\s)\[-?@\w+[\];,]", "citations"), (r"^/// +define", "definitions"),
        (r"^\[TOC\]|^::: ", "generated parts"), (r"^(?:-{3,} +)+-{3,}\s*$", "simple tables"), (r"\{[^}]*\}`", "roles"),
    ):  # fmt: skip
        if re.search(pattern, prose, re.M):
            raise NotPlain(name)


def _dedented(text: str) -> str:
    """Admonitions and tabs of MkDocs as a title and the blocks below it."""
    lines: list[str] = []
    indents: list[int] = []
    for line in text.split("\n"):
        blank = not line.strip()
        while indents and not blank and len(line) - len(line.lstrip()) < indents[-1]:
            indents.pop()
        shift = indents[-1] if indents else 0
        held = line[shift:] if not blank else ""
        found = _ADMONITION.match(line)
        if found is None:
            lines.append(held)
            continue
        if found["tab"] is not None:
            title, indent = found["tab"], len(found["tab_indent"])
        else:
            title = found["title"] if found["title"] is not None else found["kind"].capitalize()
            indent = len(found["indent"])
        lines += ["", title, ""]
        indents.append(indent + 4)
    return "\n".join(lines)
