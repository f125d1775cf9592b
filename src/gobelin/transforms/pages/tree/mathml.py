r"""Converts MathML to TeX, for formulas without a TeX annotation.

Symbols stay as written (``×``, ``∑``, ``α``; TeX with Unicode reads them). Structure becomes commands: ``mfrac``
becomes ``\\frac{1}{2}``, ``msup`` ``x^{2}``, ``mtable`` the rows of a matrix. An element without a counterpart is
written as its children in order, so nothing is lost. Linear in the elements. Elements nested deeper than ``MAX_DEPTH``
become plain text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lxml.etree import _Element

MAX_DEPTH = 60
MAX_CHARS = 20_000
"""Maximum length of the TeX of one formula. The longest of 6,000 formulas on real pages has 1,900 characters."""

_FUNCTIONS = frozenset((
    "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "csc", "deg", "det", "dim", "exp", "gcd", "hom", "inf",
    "ker", "lg", "lim", "liminf", "limsup", "ln", "log", "max", "min", "sec", "sin", "sinh", "sup", "tan", "tanh",
))  # fmt: skip
_ACCENTS = {
    "^": "hat", "ˆ": "hat", "¯": "bar", "‾": "overline", "→": "vec", "⃗": "vec", "~": "tilde", "˜": "tilde",
    "˙": "dot", "¨": "ddot", "⏞": "overbrace", "_": "underline", "⏟": "underbrace",
}  # fmt: skip
_UNSEEN = frozenset("\u2061\u2062\u2063\u2064\u200b")  # invisible application, times, separator; zero-width space
_ESCAPES = {character: f"\\{character}" for character in "{}#$%&_"} | {"−": "-", "\\": "\\backslash "}
_LIMITS = re.compile(r"[∑∏⋃⋂⨁⨂∐⋁⋀∫∮]|lim|max|min|sup|inf|arg")
_DROPPED = frozenset(("annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark", "script", "style"))


def tex_of_mathml(math: _Element) -> str:
    """The TeX of a ``<math>`` element, with white space folded; empty if the element has no text."""
    writer = _Writer()
    writer.row(list(math), math, 0)
    return " ".join("".join(writer.parts).split())[:MAX_CHARS]


def local_name(element: _Element) -> str:
    """The tag of an element without its prefix (``mi`` for ``mml:mi``), or "" for a comment."""
    return element.tag.rpartition(":")[2] if isinstance(element.tag, str) else ""


class _Writer:
    """Writes the TeX of one formula, element by element."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def row(self, children: Sequence[_Element], parent: _Element, depth: int) -> None:
        """Writes sibling elements, and the text between them."""
        self._token(parent.text or "")
        for child in children:
            self.write(child, depth + 1)
            self._token(child.tail or "")

    def write(self, element: _Element, depth: int) -> None:
        name = local_name(element)
        if name in _DROPPED:
            return
        if depth > MAX_DEPTH:
            self._token(" ".join(str(text) for text in element.itertext()))
            return
        children = [child for child in element if local_name(child)]
        if name == "semantics":
            children = children[:1]
        text = " ".join((element.text or "").split())
        if name in ("mi", "mn", "mo", "mtext", "ms") and not children:
            self._leaf(name, text)
        elif name == "mspace":
            self.parts.append(" ")
        elif name == "mfrac" and len(children) == 2:
            self._command("frac", children, depth)
        elif name == "msqrt":
            self.parts.append("\\sqrt{")
            self.row(children, element, depth)
            self.parts.append("}")
        elif name == "mroot" and len(children) == 2:
            self.parts.append("\\sqrt[")
            self.write(children[1], depth + 1)
            self.parts.append("]")
            self._group(children[0], depth)
        elif name in _SCRIPTS and len(children) == len(_SCRIPTS[name]) + 1:
            self._scripts(name, children, depth)
        elif name == "mmultiscripts" and children:
            self._multiscripts(children, depth)
        elif name == "mtable":
            self._table(children, depth)
        elif name == "mfenced":
            self._fenced(element, children, depth)
        else:
            self.row(children, element, depth)

    def _leaf(self, name: str, text: str) -> None:
        if name in ("mtext", "ms"):
            if text:
                self.parts.append(f"\\text{{{_escaped(text)}}}")
        elif name == "mi" and len(text) > 1 and text.isascii() and text.isalpha():
            self.parts.append(f"\\{text} " if text in _FUNCTIONS else f"\\mathrm{{{text}}}")
        else:
            self._token(text)

    def _token(self, text: str) -> None:
        if text and not text.isspace():
            self.parts.append(_escaped(text))

    def _group(self, element: _Element, depth: int) -> None:
        self.parts.append("{")
        self.write(element, depth + 1)
        self.parts.append("}")

    def _command(self, name: str, arguments: Sequence[_Element], depth: int) -> None:
        self.parts.append(f"\\{name}")
        for argument in arguments:
            self._group(argument, depth)

    def _base(self, element: _Element, depth: int) -> None:
        """Writes the base of scripts, in braces if it has more than one element."""
        if len(element) > 1:
            self._group(element, depth)
        else:
            self.write(element, depth + 1)

    def _scripts(self, name: str, children: Sequence[_Element], depth: int) -> None:
        base, *scripts = children
        if name in ("munder", "mover"):
            sign = "".join(str(text) for text in scripts[0].itertext()).strip()
            if sign in _ACCENTS:
                self._command(_ACCENTS[sign], [base], depth)
                return
            if not _LIMITS.search("".join(str(text) for text in base.itertext())[:16]):
                self._command("underset" if name == "munder" else "overset", [scripts[0], base], depth)
                return
        self._base(base, depth)
        for sign, script in zip(_SCRIPTS[name], scripts, strict=True):
            self.parts.append(sign)
            self._group(script, depth)

    def _multiscripts(self, children: Sequence[_Element], depth: int) -> None:
        """Writes the scripts before the base, the base, and the scripts after it, in pairs."""
        names = [local_name(child) for child in children]
        middle = names.index("mprescripts") if "mprescripts" in names else len(children)
        for place, pairs in (("{}", children[middle + 1 :]), ("", children[1:middle])):
            if place and pairs:
                self.parts.append(place)
            elif not place:
                self._base(children[0], depth)
            for index, script in enumerate(pairs):
                if local_name(script) != "none" and (len(script) or script.text):
                    self.parts.append("^" if index % 2 else "_")
                    self._group(script, depth)

    def _table(self, rows: Sequence[_Element], depth: int) -> None:
        self.parts.append("\\begin{matrix} ")
        for index, row in enumerate(rows):
            if index:
                self.parts.append(" \\\\ ")
            for place, cell in enumerate(row):
                if place:
                    self.parts.append(" & ")
                self.write(cell, depth + 2)
        self.parts.append(" \\end{matrix}")

    def _fenced(self, element: _Element, children: Sequence[_Element], depth: int) -> None:
        separators = "".join((element.get("separators", ",")).split())[:64]
        self._token(element.get("open", "(")[:8])
        for index, child in enumerate(children):
            if index and separators:
                self._token(separators[min(index, len(separators)) - 1])
            self.write(child, depth + 1)
        self._token(element.get("close", ")")[:8])


_SCRIPTS = {"msup": "^", "msub": "_", "msubsup": "_^", "munder": "_", "mover": "^", "munderover": "_^"}


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(sign, sign) for sign in text if sign not in _UNSEEN)
