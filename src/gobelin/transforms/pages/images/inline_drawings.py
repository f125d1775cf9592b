"""Inline drawings (``<svg>``): decides which of them are pictures, and writes each as an SVG file.

Icons, signs and logos are inline drawings too. A drawing is a picture if it is larger than an icon, has words, several
shapes or a ``<figure>`` around it, and is not in a link. HTML parsers fold the case of SVG's mixed-case names
(``viewBox``); the case is restored as the HTML standard does (13.2.6.1). The page's style sheets are not applied. The
renderer of SVG files (``transforms/images/render_svg.py``) turns the file into pixels, or records why it cannot.
"""

from __future__ import annotations

import base64
import re
from itertools import islice
from xml.sax.saxutils import escape, quoteattr

from lxml.etree import _Element, iterwalk

from gobelin.transforms.pages.images.image_drafts import Place, clean, rendered_size
from gobelin.transforms.pages.tree.visible_text import hides

MAX_DRAWING_CHARS = 4_000_000
"""Maximum length of the file. A longer one is truncated, so the renderer reports it as damaged."""

_MAX_ICON_SIDE = 100  # px
_MAX_FLAT_SIDE = 48
_MIN_SHAPES = 5
_MAX_LETTERS = 30
_MIN_LINKED_SIDE = 300
_MAX_COUNTED = 2000
_SHAPES = frozenset(("path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text"))
_NOT_DRAWN = frozenset(("defs", "symbol", "clippath", "mask", "pattern", "marker", "lineargradient", "radialgradient"))
_SIGN_NAMES = re.compile(
    r"(?:^|[^a-z])(?:icons?|logos?|sprites?|arrows?|badges?|avatars?|spinner|loader|emoji|octicon|fa|mathjax|mjx)(?:[^a-z]|$)",
    re.I,
)
_NAME = re.compile(r"(?:xlink:)?[a-zA-Z_][\w.-]{0,60}")
_NUMBER = re.compile(r"[-+]?\d*\.?\d+")
_CDATA = re.compile(r"<!\[CDATA\[|\]\]>")
"""Marks around a style sheet. An HTML parser keeps them, because it reads the text of ``<style>`` as it stands."""

_CASED_NAMES = (
    "attributeName", "attributeType", "baseFrequency", "baseProfile", "calcMode", "clipPathUnits", "diffuseConstant",
    "edgeMode", "filterUnits", "glyphRef", "gradientTransform", "gradientUnits", "kernelMatrix", "kernelUnitLength",
    "keyPoints", "keySplines", "keyTimes", "lengthAdjust", "limitingConeAngle", "markerHeight", "markerUnits",
    "markerWidth", "maskContentUnits", "maskUnits", "numOctaves", "pathLength", "patternContentUnits",
    "patternTransform", "patternUnits", "pointsAtX", "pointsAtY", "pointsAtZ", "preserveAlpha", "preserveAspectRatio",
    "primitiveUnits", "refX", "refY", "repeatCount", "repeatDur", "requiredExtensions", "requiredFeatures",
    "specularConstant", "specularExponent", "spreadMethod", "startOffset", "stdDeviation", "stitchTiles",
    "surfaceScale", "systemLanguage", "tableValues", "targetX", "targetY", "textLength", "viewBox", "viewTarget",
    "xChannelSelector", "yChannelSelector", "zoomAndPan", "altGlyph", "altGlyphDef", "altGlyphItem", "animateColor",
    "animateMotion", "animateTransform", "clipPath", "feBlend", "feColorMatrix", "feComponentTransfer", "feComposite",
    "feConvolveMatrix", "feDiffuseLighting", "feDisplacementMap", "feDistantLight", "feDropShadow", "feFlood",
    "feFuncA", "feFuncB", "feFuncG", "feFuncR", "feGaussianBlur", "feImage", "feMerge", "feMergeNode", "feMorphology",
    "feOffset", "fePointLight", "feSpecularLighting", "feSpotLight", "feTile", "feTurbulence", "foreignObject",
    "linearGradient", "radialGradient", "textPath",
)  # fmt: skip
"""Attributes and elements of SVG with mixed case."""

_CASED = {name.lower(): name for name in _CASED_NAMES}


def is_picture(svg: _Element, place: Place) -> bool:
    """Whether a drawing is a picture and not an icon; see the module's docstring."""
    attributes = dict(svg.items())
    names = f"{attributes.get('class', '')} {attributes.get('id', '')}"
    if any(hides(name, attributes[name]) for name in ("style", "hidden") if name in attributes):
        return False
    # in the figure of another picture, a drawing is the button that plays or enlarges that picture
    is_figure = place.figure is not None and next(place.figure.iter("img", "video", "amp-img"), None) is None
    is_hidden = attributes.get("aria-hidden") == "true" and not is_figure
    if is_hidden or _SIGN_NAMES.search(names[:400]) or next(svg.iter("image"), None) is not None:
        return False
    sides = _sides(attributes)
    if sides and (max(sides) <= _MAX_ICON_SIDE or min(sides) <= _MAX_FLAT_SIDE):
        return False
    if (place.link is not None or _is_in_button(svg)) and max(sides, default=0) < _MIN_LINKED_SIDE:
        return False
    num_shapes, has_words, is_lettering = _count(svg)
    if has_words or is_figure:
        return num_shapes > 0
    return num_shapes >= (_MAX_LETTERS if is_lettering else _MIN_SHAPES)


def drawing_url(svg: _Element) -> str:
    """The drawing as a ``data:`` URL of an SVG file."""
    source = _source(svg)[:MAX_DRAWING_CHARS]
    return "data:image/svg+xml;base64," + base64.b64encode(source.encode("utf-8", "replace")).decode()


def drawing_title(svg: _Element) -> str | None:
    """The description of a drawing: its label, else its ``<title>``, else its ``<desc>``."""
    label = clean(svg.get("aria-label"))
    for name in ("title", "desc"):
        element = svg.find(name)
        label = label or (clean(" ".join(islice(element.itertext(), 20))) if element is not None else None)
    return label


def _sides(attributes: dict[str, str]) -> list[float]:
    """Width and height that the page gives a drawing, else those of its view box; empty if there are none."""
    sides = [float(side) for side in rendered_size(attributes) if side is not None]
    box = _NUMBER.findall(attributes.get("viewbox", "")[:200])
    return sides or ([float(side) for side in box[2:4]] if len(box) == 4 else [])


def _is_in_button(svg: _Element) -> bool:
    return any(parent.tag == "button" or parent.get("role") == "button" for parent in islice(svg.iterancestors(), 4))


def _count(svg: _Element) -> tuple[int, bool, bool]:
    """Returns (number of visible shapes, whether there are words, whether all shapes are paths, as the letters of a
    logo)."""
    num_shapes, has_words, is_lettering = 0, False, True
    unseen: set[_Element] = set()
    for part in islice(svg.iterdescendants(), _MAX_COUNTED):
        if part.tag in _NOT_DRAWN or part.getparent() in unseen:
            unseen.add(part)
        elif part.tag in _SHAPES and (part.tag != "path" or part.get("d")):
            num_shapes += 1
            is_lettering = is_lettering and part.tag == "path"
            has_words = has_words or (part.tag == "text" and any(map(str.isalnum, "".join(islice(part.itertext(), 9)))))
    return num_shapes, has_words, is_lettering


def _source(svg: _Element) -> str:
    """The SVG file: without scripts and event handlers, with its size and its own style sheets."""
    width, height = rendered_size(dict(svg.items()))
    size = {"width": width, "height": height}
    parts: list[str] = []
    tags: list[str | None] = []  # of the open elements; None if an element is left out
    for event, part in iterwalk(svg, events=("start", "end")):
        if event == "end":
            tag = tags.pop()
            parts.append(f"</{tag}>" if tag else "")
            if part is not svg and part.tail and not _is_left_out(tags):
                parts.append(escape(part.tail))
            continue
        tag = _cased(part.tag)
        if tag is None or tag == "script" or _is_left_out(tags):
            tags.append(None)
            continue
        tags.append(tag)
        given = {name: value for name, value in part.items() if not name.startswith(("on", "xmlns"))}
        if part is svg:
            given |= {name: str(side) for name, side in size.items() if side is not None}
            given["xmlns"] = "http://www.w3.org/2000/svg"
            given["xmlns:xlink"] = "http://www.w3.org/1999/xlink"
        written = (f" {_cased(name) or name}={quoteattr(value)}" for name, value in given.items() if _is_name(name))
        text = part.text or ""
        text = _CDATA.sub("", text) if tag == "style" else text
        parts.append(f"<{tag}{''.join(written)}>{escape(text)}")
    return "".join(parts)


def _is_left_out(tags: list[str | None]) -> bool:
    return bool(tags) and tags[-1] is None


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None or name == "xmlns:xlink"


def _cased(name: object) -> str | None:
    """A name with the case that SVG gives it, or None if it is not a name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    return _CASED.get(name.lower(), name)
