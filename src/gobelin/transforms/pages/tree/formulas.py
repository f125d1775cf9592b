r"""Writes the formulas of a page as TeX in its text, each once: ``$x^2$`` inline, ``$$x^2$$`` as a display formula.

    <script type="math/tex">            MathJax 2: its source; MathJax's rendering and preview beside it are removed
    <math>                              its <annotation> in TeX, else its ``alttext``, else ``mathml.tex_of_mathml``
    KaTeX, MathJax 3, MediaWiki         one element around a <math> and a rendering of it: only the <math> counts
    <img alt="x^2">                     if its class is ``tex``, ``math`` or similar, if its address is that of a TeX
                                        renderer, or if its alt text has TeX delimiters: ``$x$``, ``\\(x\\)``,
                                        ``\\[x\\]``

A formula thus stays in its sentence and is not an image. TeX that the page itself shows as text is kept as written. An
image of class ``formula`` whose alt text is prose ("the law of gravity") stays an image.
"""

from __future__ import annotations

import functools
import re
from itertools import islice
from urllib.parse import parse_qsl

from lxml import etree
from lxml.etree import _Element

from gobelin.transforms.pages.tree.mathml import MAX_CHARS, local_name, tex_of_mathml
from gobelin.transforms.pages.tree.running_text import text_before
from gobelin.transforms.pages.tree.visible_text import hides
from gobelin.transforms.urls import split_url

_MAX_LEVELS = 6
_MAX_DRAWN = 4
_DRAWN = re.compile(
    r"(?:^|\s)(?:katex(?:-mathml|-display)?|mwe-math-(?:element|mathml)\S*|MathJax(?:_Display|_S?C?HTML\w*|_SVG\w*)?"
    r"|MJX_Assistive_MathML\w*|mjx-\S+)(?:\s|$)"
)
"""Elements that libraries put around a formula's <math> and its rendering."""

_DRAWN_BESIDE = re.compile(r"(?:^|\s)(?:MathJax(?:_\w+)?|mjx-\S+)(?:\s|$)")
_DRAWN_TAGS = frozenset(("span", "div", "nobr"))
_PAGE_TAGS = ("p", "article", "section", "h1", "h2", "h3", "li", "table")
_DISPLAY = re.compile(r"(?:^|[\s_-])(?:display(?:ed)?|block|Dsp|formulaDsp)(?:$|[\s_-])", re.I)
_FORMULA_CLASS = re.compile(
    r"(?:^|\s)(?:(?:inline|display|img|image|wp|ql)[-_])?"
    r"(?:(?:la|math)?tex|tex-?render|math|maths|mathml|mathjax|formula|formulaInl|formulaDsp|equation|img-formula"
    r"|(?:inline|displayed?)-(?:formula|equation|math))"
    r"(?:[-_](?:image|img|inline|display|block|formula|equation|auto-format))?(?:$|\s)"
    r"|(?:^|\s)mwe-math-fallback-image\S*",
    re.I,
)
_RENDERS = re.compile(r"(?:^|[./_-])(?:(?:la|mime|math)?tex|equation|math|formula)(?:$|[./_?-])", re.I)
_RENDERED = ("tex", "equation", "math", "formula")
_DELIMITED = re.compile(
    r"\$\$(?P<display>[^$]{1,5000})\$\$|\$(?P<line>[^$]{1,5000})\$|\\\((?P<round>.{1,5000})\\\)"
    r"|\\\[(?P<square>.{1,5000})\\\]|(?P<begin>\\begin\{\w{1,20}\*?\}.{1,5000}\\end\{\w{1,20}\*?\})",
    re.S,
)
_OPENERS = ("$", "\\")  # the first characters of ``_DELIMITED``
_ALONE_IN = frozenset(("p", "div", "dd", "center", "figure"))
_COMMAND = re.compile(r"\\(?:[a-zA-Z]{1,40}|.)")
_TEXT_ARGUMENT = re.compile(r"\\(?:text|mbox|mathrm|operatorname|textrm|textbf|mathit)\w{0,4}\s{0,4}\{[^{}]{0,500}\}")
_PROSE = re.compile(r"(?<![^\W\d_])[^\W\d_]{4,}+[,;:]?\s++(?:[^\W\d_]{1,30}+[,;:]?\s++){0,2}[^\W\d_]{4,}")
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_FILE_NAME = re.compile(r".*\.(?:png|gif|jpe?g|svg|webp)", re.I)
_MARKUP = re.compile(r"\\[a-zA-Z]{2,}|\^|_\{")
_DEFINITION = re.compile(
    r"\\(?:(?:re|provide)?newcommand|DeclareMathOperator|[gex]?def|let)\b\*?\s{0,4}\{?\s{0,4}\\(?:[a-zA-Z@]{1,40}|.)"
)
_SIGNS = (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$"))
_SET_UP = re.compile(r"\\(?:usepackage|documentclass)\b")
_PER_DEFINITION = 120
"""Maximum number of characters of one definition, with its expansion."""

_STYLED = re.compile(r"\{\\(?:displaystyle|textstyle)\s(?P<inside>.*)\}", re.S)
_TEX_KEYS = frozenset(("tex", "latex", "math", "eq", "chl", "formula", "from", "f"))


def rewrite_formula(element: _Element) -> None:
    """Replaces ``element`` by text if it shows a formula: a script, a <math>, an image or MathJax's container."""
    tag = element.tag
    if tag == "script":
        _rewrite_script(element)
    elif tag == "img":
        found = formula_of_image(element)
        if found is not None:
            _rewrite_image(element, *found)
    elif tag == "mjx-container":
        _rewrite_container(element)
    elif local_name(element) == "math":
        _rewrite_math(element)


def formula_of_image(image: _Element) -> tuple[str, bool] | None:
    """Returns (TeX, whether it is a display formula) of an image that shows a formula, or None for other images."""
    alt = " ".join((image.get("alt") or "")[:MAX_CHARS].split())
    is_named, display = _read_names(f"{image.get('class') or ''} {image.get('id') or ''}"[:400])
    delimited = _DELIMITED.fullmatch(alt) if alt[:1] in _OPENERS else None
    if delimited is not None and delimited.lastgroup is not None:
        inside = delimited.group(delimited.lastgroup).strip()
        return (inside, display or delimited.lastgroup not in ("line", "round")) if inside else None
    source = image.get("src") or image.get("data-src") or ""
    if not is_named and not _is_of_renderer(source[:300]):
        return None
    display = display or _is_alone(image)
    others = (image.get(name) for name in ("data-equation-content", "data-latex", "data-tex", "title"))
    for words in (alt, *others):
        tex = _unstyled(" ".join((words or "")[:MAX_CHARS].split()))
        if tex and not is_prose(tex) and (_MARKUP.search(tex) or (is_named and words is alt and _is_symbols(tex))):
            return tex, display
    tex = _tex_in_address(source[:MAX_CHARS]) or ""
    return (tex, display) if tex else None


def _is_of_renderer(address: str) -> bool:
    lower = address.lower()
    return any(word in lower for word in _RENDERED) and _RENDERS.search(address) is not None


@functools.lru_cache(1024)  # the images of a page share their classes
def _read_names(names: str) -> tuple[bool, bool]:
    """Returns (whether class and id name a formula, whether they say that it is a display formula)."""
    return _FORMULA_CLASS.search(names) is not None, _DISPLAY.search(names) is not None


def _is_alone(image: _Element) -> bool:
    """Whether an image is the only content of its paragraph."""
    parent = image.getparent()
    if parent is None or parent.tag not in _ALONE_IN or (image.tail and not image.tail.isspace()):
        return False
    return len(parent) == 1 and not (parent.text and not parent.text.isspace())


def _is_symbols(text: str) -> bool:
    """Whether a text without commands may be a formula: it contains no long word, and it is not a file name."""
    return _LONG_WORD.search(text) is None and _FILE_NAME.fullmatch(text) is None


def is_prose(text: str) -> bool:
    """Whether a text is prose and not a formula: it has two long words in a row outside commands."""
    return _PROSE.search(_COMMAND.sub(" \\\\ ", _TEXT_ARGUMENT.sub(" ", text))) is not None


def is_definitions(text: str) -> bool:
    """Whether a paragraph only defines TeX commands for the formulas of its page. MathJax reads such a paragraph and
    shows nothing. It stands between TeX delimiters, begins with a definition, and has little text beside its
    definitions."""
    if text[:1] not in _OPENERS:
        return False
    signs = next((pair for pair in _SIGNS if text.startswith(pair[0]) and text.endswith(pair[1])), None)
    if signs is None:
        return False
    tex = text[len(signs[0]) :].lstrip()
    if _SET_UP.match(tex):
        return True
    return _DEFINITION.match(tex) is not None and len(tex) <= _PER_DEFINITION * len(_DEFINITION.findall(tex))


def _rewrite_script(script: _Element) -> None:
    kind = (script.get("type") or "")[:100].lower()
    if not kind.startswith("math/"):
        return
    text = (script.text or "")[:MAX_CHARS].strip()
    if kind.startswith("math/mml"):
        tree = etree.fromstring(text.encode("utf-8", "replace"), etree.HTMLParser(encoding="utf-8")) if text else None
        math = next((part for part in tree.iter() if local_name(part) == "math"), None) if tree is not None else None
        text = _tex_of(math) if math is not None else ""
    if kind.startswith("math/asciimath"):
        _write(script, f"`{text}`" if text else "")
    else:
        _write(script, _delimited(text, "mode=display" in kind))
    for _ in range(_MAX_DRAWN):  # MathJax's rendering and preview
        before = script.getprevious()
        if before is None or (before.tail and not before.tail.isspace()):
            break
        if not _DRAWN_BESIDE.search(before.get("class") or "", 0, 400):
            break
        _write(before, "")
        before.tag = "template"  # unread
        script = before


def _rewrite_container(container: _Element) -> None:
    """Rewrites a container of MathJax 3 and 4: CSS draws the formula, and MathML repeats it for screen readers."""
    if next((part for part in islice(container.iter(), 5000) if local_name(part) == "math"), None) is not None:
        return  # its <math> is rewritten later
    tex = next((part.get("data-latex") for part in islice(container.iter(), 8) if part.get("data-latex")), "") or ""
    _write(container, _delimited(tex[:MAX_CHARS], container.get("display") == "true"))


def _rewrite_math(math: _Element) -> None:
    top = math
    display = "block" in (math.get("display") or "") or "display" in (math.get("mode") or "")
    for parent in islice(math.iterancestors(), _MAX_LEVELS):
        names = (parent.get("class") or "")[:400]
        is_drawing = parent.tag in _DRAWN_TAGS and _DRAWN.search(names) is not None
        if not (is_drawing or str(parent.tag).startswith("mjx-")):
            break
        if "katex-display" in names and len(parent) > 1:
            break
        top = parent
        display = display or parent.get("display") == "true" or _DISPLAY.search(names) is not None
    if top is not math and next(top.iter(*_PAGE_TAGS), None) is not None:
        top = math  # an end tag was forgotten
    tex = _tex_of(math)
    if not tex:
        image = next((part for part in islice(top.iter("img"), 1)), None)
        tex = " ".join((image.get("alt") or "")[:MAX_CHARS].split()) if image is not None else ""
    _write(top, _delimited(tex, display))


def _rewrite_image(image: _Element, tex: str, display: bool) -> None:
    """Replaces a formula's image by its text, or by nothing if the same formula stands right before it."""
    before = image.getprevious()
    text = _delimited(tex, display)
    for _ in range(3):
        if before is None or (before.tail and not before.tail.isspace()):
            break
        if any(hides(name, value) for name, value in before.items()):
            break
        if len(before) == 0:
            if (before.text or "").strip("$ \n\t") == tex:
                text = ""
            break
        before = before[-1]
    _write(image, text)


def _tex_of(math: _Element) -> str:
    """The TeX of a <math>: from its annotation, else from an attribute, else converted from its elements."""
    for part in islice(math.iter(), 5000):
        if local_name(part) == "annotation" and "tex" in (part.get("encoding") or "").lower():
            tex = " ".join("".join(str(text) for text in islice(part.itertext(), 200))[:MAX_CHARS].split())
            if tex:
                return _unstyled(tex)
    for name in ("data-latex", "alttext"):
        tex = " ".join((math.get(name) or "")[:MAX_CHARS].split())
        if tex and not is_prose(tex):
            return _unstyled(tex)
    return tex_of_mathml(math)


def _unstyled(tex: str) -> str:
    """Removes a style command around the whole TeX, and delimiters."""
    styled = _STYLED.fullmatch(tex)
    if styled is not None and _is_balanced(styled.group("inside")):
        tex = styled.group("inside").strip()
    delimited = _DELIMITED.fullmatch(tex)
    if delimited is not None and delimited.lastgroup is not None and delimited.lastgroup != "begin":
        tex = delimited.group(delimited.lastgroup).strip()
    return tex


def _is_balanced(tex: str) -> bool:
    """Whether each closing brace has an opening one before it."""
    depth = 0
    for match in re.finditer(r"\\.|[{}]", tex):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth < 0:
            return False
    return depth == 0


def _tex_in_address(source: str) -> str | None:
    """The TeX in the address of a renderer: its whole query, or one parameter."""
    parts = split_url(source)
    if parts is None:
        return None
    query = parts.query
    try:
        pairs = parse_qsl(query, max_num_fields=20)
        whole = parse_qsl(f"x={query.replace('&', '%26').replace('+', '%2B')}")
    except ValueError:
        return None
    for name, value in (*pairs, *whole):
        tex = " ".join(value.split())
        if (name.lower() in _TEX_KEYS or name == "x") and _MARKUP.search(tex) and not is_prose(tex):
            return tex
    return None


def _delimited(tex: str, display: bool) -> str:
    tex = tex.strip()
    return (f"$${tex}$$" if display else f"${tex}$") if tex else ""


def _write(element: _Element, text: str) -> None:
    if text and text_before(element, 1) == "$":
        text = f" {text}"
    element.clear(keep_tail=True)
    element.tag = "span"
    element.text = text
