"""Texts of a document as Markdown (CommonMark 0.31, tables as GitHub has them): words stay words.

What a page wrote as ``*`` or ``<b>`` is shown and means nothing; a CommonMark reader gives the text back. A character
is escaped only where a reader would take it for markup: ``3.3 f_x`` stays as it is. White space of prose is folded;
code is kept as it stands. Formulas stay TeX between dollars, as ``pages/tree/formulas.py`` writes them: ``$x^2$``, or
``$`x*y`$`` where a reader would take something in it for markup, and a display as lines of ``$$`` or a block ``math``.
A dollar of a price is escaped.
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
    """A text as paragraphs, one an empty line; a display formula is a block of its own.

    Args:
        indent: stands before every line but the first one.
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
    """A text on one line, as it may begin a block."""
    line = _in_a_block(text)
    start = _BLOCK_START.match(line)
    if start is None:
        return line
    number = start["number"] or ""
    return f"{number}\\{line[len(number) :]}"


def heading(text: str, level: int) -> str:
    """A heading; empty where there is no text."""
    line = _LAST_HASHES.sub(r"\\\g<0>", _in_a_block(text))
    return f"{'#' * level} {line}" if line else ""


def image(alt: str, address: str) -> str:
    """An image with its alternative text."""
    return f"![{''.join(_inline_parts(alt, _SPECIAL_IN_ALT))}]({address})"


def _in_a_block(text: str) -> str:
    """A text on one line that begins no block."""
    return "".join(_inline_parts(text))


def _inline_parts(text: str, special: re.Pattern[str] = _SPECIAL) -> Iterator[str]:
    """Escaped words and formulas by turns. A display formula, which would need lines of its own, is one in the line."""
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
    """Whether it is TeX that stands between dollars, not what stands between two prices."""
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
    """A text on one line, as captions are set; empty where there is none."""
    line = _in_a_block(text)
    return f"*{line}*" if line else ""


def code(text: str, language: str = "") -> str:
    """A block of code."""
    return fenced(_plain_newlines(text), language)


def table(text: str, header_rows: int | None = None) -> str:
    """A table, as ``data/table_text.py`` writes it; of one with several rows of head the first is the head."""
    return markdown_rows([[_cell(each) for each in row] for row in table_cells(_plain_newlines(text))], header_rows)


def _cell(text: str) -> str:
    """A cell: a pipe inside is escaped, in formulas too, which readers undo before they look at the cell."""
    return _in_a_block(text).replace("|", "\\|")
