r"""Formulas that a page writes as text between MathJax's delimiters, for a script to render.

    \(x\)                                 becomes $x$
    \[x\], \begin{align}x\end{align}      becomes $$x$$
    <span class="eqno">(1)</span>\[x\]    becomes $$x \tag{1}$$ (Sphinx)

All formulas then have one form. Text is rewritten on pages that load MathJax or KaTeX, and elsewhere inside elements
whose class names a formula (``math`` of Sphinx and Pandoc, ``arithmatex`` of MkDocs). Code is never changed.
"""

from __future__ import annotations

import re

from lxml import etree
from lxml.etree import _Element

_INSIDE = r"(?:[^\\]|\\[^()\[\]]){1,5000}+"
_TEX = re.compile(
    rf"\\\((?P<line>{_INSIDE})\\\)|\\\[(?P<display>{_INSIDE})\\\]"
    r"|(?P<environment>\\begin\{(?P<name>(?:equation|align|alignat|gather|multline|eqnarray|flalign)\*?)\}"
    r"(?:(?!\\(?:begin|end)\{(?P=name)\}).){1,5000}+\\end\{(?P=name)\})",
    re.S,
)
_NAMED = re.compile(r"(?:^|\s)(?:math|arithmatex|tex2jax_process|mathjax_process|math-tex|katex-render)(?:\s|$)")
_MAY_NAME = etree.XPath(
    "boolean(/descendant::*[@class][contains(@class, 'math') or contains(@class, 'arithmatex')"
    " or contains(@class, 'tex2jax') or contains(@class, 'katex-render')])"
)
_RENDERERS = ("mathjax", "katex")
_COMMENT = re.compile(r"(?<!\\)%[^\n]*")
_NUMBER = re.compile(r"\(?([\w.]{1,10})\)?")
_LITERAL = frozenset(("pre", "code", "script", "style", "textarea", "kbd", "samp", "tt", "template", "svg", "math"))
_MAX_SCRIPT_CHARS = 2000
_STARTS = ("\\(", "\\[", "\\begin{")


def may_hold_formulas(page: str) -> bool:
    """Whether the source of a page contains an opening delimiter, so that its tree is worth searching."""
    return any(start in page for start in _STARTS)


def rewrite_delimited(tree: _Element) -> None:
    """Rewrites the formulas of ``tree`` in place."""
    everywhere = any(map(_loads_renderer, tree.iter("script")))
    if not (everywhere or _MAY_NAME(tree)):
        return  # the delimiter was in a script
    walk = etree.iterwalk(tree, events=("start", "end"))
    depth = 0  # number of open elements whose class names a formula
    for event, element in walk:
        is_named = isinstance(element.tag, str) and _NAMED.search((element.get("class") or "")[:400]) is not None
        if event == "start":
            depth += is_named
            if element.tag in _LITERAL:
                walk.skip_subtree()
            elif element.text and (everywhere or depth):
                element.text = _rewritten(element.text)
            continue
        depth -= is_named
        if element.tail and (everywhere or depth):
            tail = _rewritten(element.tail)
            if tail is not element.tail and "eqno" in (element.get("class") or ""):
                tail = _numbered(element, tail)
            element.tail = tail


def _loads_renderer(script: _Element) -> bool:
    source = (script.get("src") or script.text or "")[:_MAX_SCRIPT_CHARS].lower()
    return any(name in source for name in _RENDERERS)


def _rewritten(text: str) -> str:
    return _TEX.sub(_dollars, text) if may_hold_formulas(text) else text


def _dollars(found: re.Match[str]) -> str:
    tex = " ".join(_COMMENT.sub("", found["line"] or found["display"] or found["environment"]).split())
    if not tex:
        return " "
    return f"${tex}$" if found["line"] else f"$${tex}$$"


def _numbered(number: _Element, tail: str) -> str:
    """The formula after its equation number, with the number as its tag."""
    words = _NUMBER.fullmatch((number.text or "").strip())
    if words is None or not tail.rstrip().endswith("$$"):
        return tail
    number.text = None
    number.tag = "template"  # unread
    return f"{tail.rstrip()[:-2]} \\tag{{{words[1]}}}$$"
