"""Texts of a document as Markdown (CommonMark 0.31, with GitHub's tables). Words remain words.

Characters such as ``*`` or ``<b>`` in a page's text are shown as they are: a CommonMark reader returns the text. A
character is escaped only if a reader would take it for markup: ``3.3 f_x`` is not changed. White space of prose is
folded, and code is kept unchanged. Formulas are TeX between dollars, as in ``pages/tree/formulas.py``: ``$x^2$``, or
``$`x*y`$`` if a reader would take a part of it for markup. A display formula is between lines of ``$$`` or in a
``math`` block. The dollar of a price is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gobelin.data.markdown_blocks import fenced, longest_fence, markdown_rows
from gobelin.data.table_text import table_cells

_MARKUP = (
    r"[`$]|\\(?=[!-/:-@\[-`{-~]|$)|(?<!\s)~"
    r"|(?<!\s)\*|\*(?!\s)"  # between spaces it is no emphasis
    r"|(?<!\w)_++|_++(?![^\W_])"  # nor is an underscore in a word
    r"|<(?=[A-Za-z/!?])|&(?=#?\w{1,40};)|\](?=[(:])"
)
"""What a reader would take for markup, wherever it stands in a line."""
_SPECIAL = re.compile(_MARKUP)
_SPECIAL_IN_ALT = re.compile(rf"{_MARKUP}|[\[\]]")
_BLOCK_START = re.compile(
    r"#{1,6}(?: |$)|>|[-+](?: |$)|=+$|[-|:][-|: ]*$|\[(?=[ xX]\](?: |$))|(?P<number>\d{1,9})[.)](?: |$)"
)
"""What begins a heading, a quotation, a list, a table's line of hyphens, or a box to tick."""
_LAST_HASHES = re.compile(r"(?:^|(?<= ))#+$")
_BLANK_LINES = re.compile(r"\n\s*\n")

_FORMULA = re.compile(r"(?<![\\$\w])\$(?P<tex>[^\s$](?:[^$\n]{0,2000}[^\s$])?)\$(?![\d$])")
_DISPLAY = re.compile(r"\$\$(?P<tex>(?:[^$]|(?<!\$)\$(?!\$)){1,5000}+)\$\$")
_TEX = re.compile(r"[\\^_={}]")
_SYMBOLS = re.compile(
    r"(?:[^\W\d_](?![^\W\d_])|(?:arg|cos|det|dim|exp|inf|ln|log|max|min|sin|sup|tan)\b|[\d\s.,;:|()\[\]<>+\-*/!'])+"
)
"""What a formula without commands consists of: letters that stand alone, names of functions, numbers, signs."""
_UNSAFE = re.compile(r"[`*<\[\]|~]|&[#\w]|\\[!-/:-@\[-`{-~]|(?:^|\W)_|^[#>+\-=:]|^\d+[.)]|\\$")
"""In TeX: what a reader of Markdown would take for markup."""


def prose(text: str, indent: str = "") -> str:
    """A text as paragraphs, with one empty line between them. A display formula is a block of its own.

    Args:
        indent: prefix of every line but the first.
    """
    blocks = [block for part in _BLANK_LINES.split(_plain_newlines(text)) for block in _blocks(part)]
    return f"\n{indent.rstrip()}\n{indent}".join(block.replace("\n", f"\n{indent}") for block in blocks)


def _plain_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _blocks(text: str) -> Iterator[str]:
    last = 0
    for found in _DISPLAY.finditer(text):
        yield from _paragraph(text[last : found.start()])
        yield _display(found["tex"])
        last = found.end()
    yield from _paragraph(text[last:])


def _paragraph(text: str) -> Iterator[str]:
    lines = [line for each in text.split("\n") if (line := inline(each))]
    if lines:
        yield "\\\n".join(lines)


def _display(tex: str) -> str:
    folded = " ".join(tex.split())
    if folded and not _UNSAFE.search(folded):
        return f"$$\n{folded}\n$$"
    return f"```math\n{folded}\n```"


def inline(text: str) -> str:
    """A text on one line, which may be the start of a block."""
    line = _in_a_block(text)
    start = _BLOCK_START.match(line)
    if start is None:
        return line
    number = start["number"] or ""
    return f"{number}\\{line[len(number) :]}"


def heading(text: str, level: int) -> str:
    """A heading; empty if there is no text."""
    line = _LAST_HASHES.sub(r"\\\g<0>", _in_a_block(text))
    return f"{'#' * level} {line}" if line else ""


def image(alt: str, address: str) -> str:
    """An image with its alternative text."""
    return f"![{''.join(_inline_parts(alt, _SPECIAL_IN_ALT))}]({address})"


def _in_a_block(text: str) -> str:
    """A text on one line that does not begin another block."""
    return "".join(_inline_parts(text))


def _inline_parts(text: str, special: re.Pattern[str] = _SPECIAL) -> Iterator[str]:
    """Yields escaped words and formulas alternately. A display formula, which would need its own lines, becomes
    inline."""
    words = _DISPLAY.sub(_in_line, " ".join(_plain_newlines(text).split()))
    last = 0
    for found in _FORMULA.finditer(words):
        if _is_formula(found["tex"]):
            yield special.sub(_escaped, words[last : found.start()])
            yield _formula(found["tex"])
            last = found.end()
    yield special.sub(_escaped, words[last:])


def _in_line(found: re.Match[str]) -> str:
    tex = found["tex"].strip()
    return f"${tex}$" if _TEX.search(tex) and "$" not in tex else found[0]


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\{each}" for each in found[0])


def _is_formula(tex: str) -> bool:
    """Whether the text between two dollars is TeX, not the text between two prices."""
    if _TEX.search(tex):
        return True
    return _SYMBOLS.fullmatch(tex) is not None and tex.count("(") == tex.count(")")


def _formula(tex: str) -> str:
    if not _UNSAFE.search(tex):
        return f"${tex}$"
    fence = "`" * longest_fence(tex, 1)
    space = " " if tex.startswith("`") or tex.endswith("`") else ""
    return f"${fence}{space}{tex}{space}{fence}$"


def emphasised(text: str) -> str:
    """A text on one line, emphasised like a caption; empty if there is none."""
    line = _in_a_block(text)
    return f"*{line}*" if line else ""


def code(text: str, language: str = "") -> str:
    """A block of code."""
    return fenced(_plain_newlines(text), language)


def table(text: str, header_rows: int | None = None) -> str:
    """A table in the format of ``data/table_text.py``. If it has several header rows, only the first is the header."""
    return markdown_rows([[_cell(each) for each in row] for row in table_cells(_plain_newlines(text))], header_rows)


def _cell(text: str) -> str:
    """A table cell. Escapes pipes, also in formulas, because readers unescape them before they parse the cell."""
    return _in_a_block(text).replace("|", "\\|")
