"""Renders SVG to PNG. A drawing is parsed, checked, adapted to the renderer, and rendered by resvg.

Nothing outside the file is loaded. References to files are refused before the renderer sees them, embedded images must
be ``data:`` URLs of raster formats, and resvg runs no scripts. Only the fonts in the folder ``fonts`` are used, so the
same version of resvg gives the same bytes on each machine: Liberation Sans, Serif and Mono, which have the widths of
Arial, Times and Courier, and DejaVu Sans for letters that these lack. A drawing whose words cannot be shown (letters in
no font, text in HTML) is refused, because without them its meaning changes.

There is no limit on time or memory here; ``image_sandbox`` has both. A plot takes 10 to 40 ms (docs/images.md).
"""

from __future__ import annotations

import functools
import math
import re
import struct
from collections.abc import Iterator

import resvg_py
from lxml import etree

from gobelin.store.files import files_in
from gobelin.store.paths import join, name_of, parent_of
from gobelin.transforms.images.open_image import UNRENDERABLE, UnusableImageError

MAX_SIDE_PX = 2048
"""Maximum longer side of the rendered image in pixels. Larger drawings are scaled down."""

_SVG = "{http://www.w3.org/2000/svg}"
_PX = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4, "em": 16.0, "ex": 8.0}
"""CSS pixels per unit. The font size is assumed to be 16 px."""

_LENGTH = re.compile(r"\s*\+?(\d{0,9}\.?\d{0,9}(?:[eE][+-]?\d{1,2})?)\s*([a-z]{0,2})\s*")
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d{1,3})?")
_RASTER = re.compile(r"\s*data:image/(?:png|jpe?g|gif|webp)[;,]", re.I)
_HREFS = ("href", "{http://www.w3.org/1999/xlink}href", "src")
_NO_REFERENCE = ("a", "script")  # their targets are shown after a click, or never
_SHOWS_TEXT = frozenset((_SVG + "text", _SVG + "tspan", _SVG + "textPath", _SVG + "a"))

_FAMILY = re.compile(r"(font-family\s*:\s*)([^;}]{0,400})")
_SHORTHAND = re.compile(r"(\bfont\s*:[^;}]{0,100}?\d(?:px|pt|em|rem|%|pc|mm))(?:\s*/\s*[\w.%]{1,9})?\s+([^;}]{1,400})")
"""The text before the font names without the line height, which resvg does not support; and the names."""

_GENERIC = re.compile(r"(?:^|,)\s*(?:ui-)?(sans-serif|serif|monospace|cursive|fantasy)\s*(?:,|!|$)", re.I)
_MONOSPACE = re.compile(r"mono|courier|consol|menlo|code|typewriter|fixed", re.I)
_SERIF = re.compile(
    r"(?<!sans)(?<!sans )(?<!sans-)serif|times|georgia|roman|garamond|palatino|cambria|baskerville|didot|book antiqua|"
    r"\bcm[rm]|latin modern|computer modern|stix",
    re.I,
)


def render_svg(data: bytes) -> bytes:
    """A PNG of a drawing on white, at its size in CSS pixels or that of its view box; at most ``MAX_SIDE_PX`` per side.

    Raises:
        UnusableImageError: the file is damaged, or cannot be rendered (``UNRENDERABLE``).
    """
    root = _parse(data)
    _lay_out(root)
    _resolve_css(root)
    for element in root.iter():
        if isinstance(element.tag, str):
            _refuse_outside(element)
            _name_fonts(element)
        elif isinstance(element, etree._ProcessingInstruction) and element.target == "xml-stylesheet":
            raise _unrenderable("a style sheet outside of the file")
    if isinstance(root.getprevious(), etree._ProcessingInstruction):
        raise _unrenderable("a style sheet outside of the file")
    _refuse_lost_words(root)
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=etree.tostring(root, encoding="unicode"), background="white", dpi=96.0,
            skip_system_fonts=True, font_files=font_files(), font_family="Liberation Serif",
            serif_family="Liberation Serif", sans_serif_family="Liberation Sans", monospace_family="Liberation Mono",
            cursive_family="Liberation Serif", fantasy_family="Liberation Sans",
        )  # fmt: skip
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001  # a Rust panic is not an Exception
        raise UnusableImageError("undecodable_image", detail=f"resvg: {' '.join(str(error).split())}"[:200]) from None
    return bytes(png)


def _parse(data: bytes) -> etree._Element:
    """The tree of the drawing. Entities of the file itself are expanded, within libxml2's amplification limits."""
    parser = etree.XMLParser(
        resolve_entities="internal", no_network=True, load_dtd=False, huge_tree=False, remove_comments=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UnusableImageError("undecodable_image", detail=f"XML: {' '.join(str(error).split())}"[:200]) from None
    if root is None or root.tag != _SVG + "svg":
        raise UnusableImageError("undecodable_image", detail="the root is not an <svg> element of the SVG namespace")
    return root


def _unrenderable(detail: str) -> UnusableImageError:
    return UnusableImageError(UNRENDERABLE, detail=detail)


def _lay_out(root: etree._Element) -> None:
    """Sets the root's size in whole pixels, and a view box."""
    box = [float(each) for each in _NUMBER.findall(root.get("viewBox") or "")[:4]]
    box = box if len(box) == 4 and box[2] > 0 and box[3] > 0 and all(map(math.isfinite, box)) else []
    width, height = _pixels(root.get("width")), _pixels(root.get("height"))
    if width is None and height is None and box:
        width, height = box[2], box[3]
    elif box:
        width = height * box[2] / box[3] if width is None and height is not None else width
        height = width * box[3] / box[2] if height is None and width is not None else height
    if not width or not height or not math.isfinite(width * height):
        raise _unrenderable("it has no size")
    if not box:
        root.set("viewBox", f"0 0 {width:.9g} {height:.9g}")
    scale = min(1.0, MAX_SIDE_PX / max(width, height))
    root.set("width", str(max(1, round(width * scale))))
    root.set("height", str(max(1, round(height * scale))))


def _pixels(length: str | None) -> float | None:
    """The CSS pixels of an attribute; None if it is missing, invalid or a percentage."""
    match = _LENGTH.fullmatch(length or "")
    if match is None or match[2] not in _PX:
        return None
    try:
        return float(match[1]) * _PX[match[2]] or None
    except ValueError:
        return None


def _refuse_outside(element: etree._Element) -> None:
    """Refuses references to other files. References within the file (``#id``) are allowed, and the renderer detects
    loops."""
    name = etree.QName(element).localname
    for key in _HREFS:
        value = element.get(key)
        if value is None or name in _NO_REFERENCE or value.lstrip().startswith("#") or not value.strip():
            continue
        if name in ("image", "feImage") and _RASTER.match(value):
            continue
        raise _unrenderable(f"<{name[:40]}> shows what is not in the file: {value.strip()[:60]}")


def _resolve_css(root: etree._Element) -> None:
    """Replaces CSS that resvg does not support: ``var()`` by its value in the drawing's own style sheets or its
    fallback, and ``light-dark()`` by the light colour."""
    sheets = [element for element in root.iter(_SVG + "style") if element.text]
    values: dict[str, str] = {}
    for css in (root.get("style") or "", *(_MEDIA.sub("", element.text or "") for element in sheets)):
        values |= {found[1]: found[2].strip() for found in _VARIABLE.finditer(css)}

    def resolved(css: str) -> str:
        for _ in range(_MAX_VARIABLE_DEPTH):
            known = _USED.sub(lambda found: values.get(found[1]) or found[2] or found[0], css)
            if known == css or len(known) > _MAX_CSS_CHARS:
                break
            css = known
        return _LIGHT_DARK.sub(r"\1", css)

    for element in root.iter(etree.Element):
        for name, value in element.items():
            if "var(" in value or "light-dark(" in value:
                element.set(name, resolved(value))
    for element in sheets:
        element.text = resolved(element.text or "")


_VARIABLE = re.compile(r"(?<![\w-])(--[\w-]{1,80})\s*:([^;{}]{1,200})")
_USED = re.compile(r"var\(\s*(--[\w-]{1,80})\s*(?:,\s*([^()]{1,80}(?:\([^()]{0,80}\))?)\s*)?\)")
_LIGHT_DARK = re.compile(r"light-dark\(\s*([^(),]{1,80}(?:\([^()]{0,80}\))?)\s*,[^()]{1,80}(?:\([^()]{0,80}\))?\s*\)")
_MEDIA = re.compile(r"@media[^{}]{0,500}\{(?:[^{}]{0,5000}\{[^{}]{0,5000}\}){0,500}[^{}]{0,5000}\}")
"""Rules for other media than a light screen, such as dark colours."""

_MAX_VARIABLE_DEPTH = 4
_MAX_CSS_CHARS = 1_000_000


def _name_fonts(element: etree._Element) -> None:
    """Replaces font names by generic ones, because resvg shows all missing fonts as serif."""
    family = element.get("font-family")
    if family is not None:
        element.set("font-family", generic_family(family))
    style = element.get("style")
    if style is not None and "font" in style:
        element.set("style", _generic_fonts(style))
    if element.tag == _SVG + "style" and element.text and "font" in element.text:
        element.text = _generic_fonts(element.text)


def _generic_fonts(css: str) -> str:
    css = _FAMILY.sub(lambda match: match[1] + generic_family(match[2]), css)
    return _SHORTHAND.sub(lambda match: f"{match[1]} {generic_family(match[2])}", css)


def generic_family(names: str) -> str:
    """``serif``, ``sans-serif`` or ``monospace`` for a CSS list of fonts."""
    given = _GENERIC.search(names)
    if given:
        return given[1].lower()
    if names.strip().lower() in ("inherit", "initial", "unset"):
        return names
    return "monospace" if _MONOSPACE.search(names) else "serif" if _SERIF.search(names) else "sans-serif"


def _refuse_lost_words(root: etree._Element) -> None:
    """Refuses drawings with words that would be missing in the image."""
    for foreign in root.iter(_SVG + "foreignObject"):
        parent = foreign.getparent()
        has_other = parent is not None and parent.tag == _SVG + "switch" and foreign.getnext() is not None
        if not has_other and any(text.strip() for text in foreign.itertext()):
            raise _unrenderable("its words are HTML (<foreignObject>)")
    for text in root.iter(_SVG + "text"):
        for letter in "".join(_shown_text(text)):
            if ord(letter) > 0x7E and ord(letter) not in letters() and not _is_invisible(letter):
                raise _unrenderable(f"no font here has U+{ord(letter):04X}")


def _shown_text(element: etree._Element) -> Iterator[str]:
    for each in element.iter():
        if each.tag in _SHOWS_TEXT and each.text:
            yield each.text
        if each is not element and each.tail:
            yield each.tail


def _is_invisible(letter: str) -> bool:
    return letter.isspace() or not letter.isprintable() or 0xFE00 <= ord(letter) <= 0xFE0F


@functools.cache
def font_files() -> list[str]:
    """Paths of the fonts for rendering, sorted by name."""
    return sorted(path for path in files_in(join(parent_of(__file__), "fonts")) if name_of(path).endswith(".ttf"))


@functools.cache
def letters() -> frozenset[int]:
    """The Unicode code points that one of the fonts has."""
    found: set[int] = set()
    for path in font_files():
        with open(path, "rb") as stream:
            found |= _code_points(stream.read())
    return frozenset(found)


def _code_points(font: bytes) -> set[int]:
    """The code points in a font's ``cmap`` table, formats 4 and 12 (OpenType 1.9)."""
    (num_tables,) = struct.unpack_from(">H", font, 4)
    records = (struct.unpack_from(">4sIII", font, 12 + 16 * number) for number in range(num_tables))
    start = next(offset for tag, _, offset, _ in records if tag == b"cmap")
    (num_maps,) = struct.unpack_from(">H", font, start + 2)
    found: set[int] = set()
    for number in range(num_maps):
        place = start + struct.unpack_from(">HHI", font, start + 4 + 8 * number)[2]
        (kind,) = struct.unpack_from(">H", font, place)
        if kind == 4:
            num = struct.unpack_from(">H", font, place + 6)[0] // 2
            ends = struct.unpack_from(f">{num}H", font, place + 14)
            starts = struct.unpack_from(f">{num}H", font, place + 16 + 2 * num)
            for first, last in zip(starts, ends):
                found.update(range(first, last + 1) if first < 0xFFFF else ())
        elif kind == 12:
            (num,) = struct.unpack_from(">I", font, place + 12)
            for group in range(num):
                first, last, _ = struct.unpack_from(">III", font, place + 16 + 12 * group)
                found.update(range(first, last + 1))
    return found
