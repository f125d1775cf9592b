"""Determines the kind of a payload as browsers do, by the type that its server declared and by its first bytes.

``parse_content_type`` is Fetch's "extract a MIME type": of several types, the last valid one counts. ``kind_of``
follows the MIME Sniffing Standard. The bytes of an image are an image, whatever the type is. If the type is generic,
the first tag shows whether it is a page. ``kind_of`` goes beyond the standard in two ways. It recognises pages by any
HTML tag, by XHTML after an XML declaration, and in UTF-16. It also reports pages with a type that browsers do not show
as a page.

Sources: https://fetch.spec.whatwg.org/#concept-header-extract-mime-type, https://mimesniff.spec.whatwg.org/.
"""

from __future__ import annotations

import enum
import re

from gobelin.transforms.images.image_formats import is_picture

SNIFFED_BYTES = 4096
"""Number of first bytes that are read. The standard reads 1,445, but licence comments are longer."""

CERTAIN_BYTES = 200
"""Length from which compressed data practically always contains a byte that text does not. Shorter data may not."""

HTML_TYPES = frozenset(("text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"))
GENERIC_TYPES = frozenset((
    "", "application/octet-stream", "binary/octet-stream", "application/unknown", "unknown/unknown",
))  # fmt: skip
"""Types without information; the first bytes decide."""

_XML_TYPES = frozenset(("text/xml", "application/xml"))

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHARSET = re.compile(r"charset[ \t]*=[ \t]*(?:\"([^\"]*)\"|'([^']*)'|([^\s;,\"']+))", re.IGNORECASE)
_PARAMETER = re.compile(r'[ \t]*([^;=]*)(?:=(?:"((?:[^"\\]|\\.)*)(?:"[^;]*|$)|([^;]*)))?(?:;|$)')
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_TEXT_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_BLANKS = b" \t\r\n\f"

_TAGS = frozenset(
    b"""!-- a abbr acronym address applet area article aside audio b base basefont bdi bdo big blockquote body br
    button canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir div dl dt em
    embed fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html
    i iframe img input ins kbd label legend li link main map mark marquee menu meta meter nav nobr noframes
    noscript object ol optgroup option output p param picture pre progress q s samp script search section select
    small source span strike strong style sub summary sup table tbody td template textarea tfoot th thead time
    title tr track tt u ul var video wbr""".split()
)
_PAGE_TAGS = frozenset((b"html", b"head", b"body"))
_FIRST_TAG = re.compile(rb"<([a-zA-Z][^\s/>]{0,60})[\s/>]")
_DOCTYPE = re.compile(rb"<!doctype\s+([^\s>\[]{1,60})", re.IGNORECASE)
_PAGE_IN_A_LINE = re.compile(rb"(?:^|\n)[ \t]{0,99}(?:<!doctype\s+html|<html|<head|<body)[\s>]", re.IGNORECASE)


class Kind(enum.Enum):
    """The kind of a payload."""

    PAGE = enum.auto()
    IMAGE = enum.auto()
    MISTYPED_PAGE = enum.auto()  # HTML under a type that no browser shows as a page
    OTHER = enum.auto()


def parse_content_type(value: str) -> tuple[str, str | None]:
    """Returns (media type in lower case, or "" if none is valid; the declared charset, or None).

    Args:
        value: of the header; several headers joined by commas.
    """
    media_type, charset = "", None
    for part in _split(value):
        parsed = _parse_type(part)
        if parsed is None or parsed[0] == "*/*":
            continue
        if parsed[0] != media_type:
            media_type, charset = parsed
        else:
            charset = parsed[1] or charset
    if charset is None:
        named = _CHARSET.search(value)  # in a malformed value
        charset = next((group.strip() for group in named.groups() if group), None) if named else None
    return media_type, charset or None


def _split(value: str) -> list[str]:
    """The values of a header: the parts between commas outside quotes."""
    if "," not in value:
        return [value]
    if '"' not in value:
        return value.split(",")
    return re.findall(r'(?:"(?:[^"\\]|\\.)*(?:"|$)|[^,"])+', value)


def _parse_type(value: str) -> tuple[str, str | None] | None:
    essence, _, parameters = value.partition(";")
    main, slash, sub = essence.strip().partition("/")
    if not (slash and _TOKEN.fullmatch(main) and _TOKEN.fullmatch(sub)):
        return None
    charset = None
    for match in _PARAMETER.finditer(parameters):
        name, quoted, plain = match.groups()
        given = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else (plain or "").strip().strip("'")
        if name.lower() == "charset" and given and charset is None:
            charset = given.strip()
    return f"{main}/{sub}".lower(), charset


def kind_of(content_type: str, head: bytes) -> Kind:
    """The kind of a payload.

    Args:
        content_type: in lower case, without parameters; "" if there is none.
        head: the first ``SNIFFED_BYTES`` of the payload, decoded from its encodings.
    """
    if content_type.startswith("image/") or is_picture(head):
        return Kind.IMAGE
    if content_type in HTML_TYPES:
        return Kind.PAGE
    is_generic = content_type in GENERIC_TYPES
    is_xml = content_type in _XML_TYPES or content_type.endswith("+xml")
    first = _first_tag(head)
    if first == b"svg" and (is_generic or is_xml or content_type == "text/plain"):
        return Kind.IMAGE
    if first in _PAGE_TAGS:
        return Kind.PAGE if is_generic or is_xml else Kind.MISTYPED_PAGE
    if is_generic and (first in _TAGS or b"-" in first or (not first and _PAGE_IN_A_LINE.search(head))):
        return Kind.PAGE
    return Kind.OTHER


def is_readable(data: bytes) -> bool:
    """Whether bytes are text or an image, and not compressed."""
    if data.startswith(_TEXT_BOMS) or is_picture(data):
        return True
    if _BINARY.search(data[:512]) is not None:
        return False
    if len(data) >= CERTAIN_BYTES or data.lstrip(_BLANKS).startswith(b"<"):
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _first_tag(head: bytes) -> bytes:
    """The name of the first tag or document type in lower case; "!--" if there are only comments; b"" if something else
    comes first."""
    if b"\0" in head:
        head = head.replace(b"\0", b"").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")  # UTF-16
    head = head.removeprefix(b"\xef\xbb\xbf")
    at, is_commented = _behind_comments(head)
    first = _DOCTYPE.match(head, at) or _FIRST_TAG.match(head, at)
    if first is None:
        return b"!--" if is_commented else b""
    return first.group(1).lower()


def _behind_comments(head: bytes) -> tuple[int, bool]:
    """Returns (the position after blanks, comments and processing instructions; whether there was a comment)."""
    at, is_commented = 0, False
    while True:
        while head[at : at + 1] and head[at] in _BLANKS:
            at += 1
        for start, end in ((b"<!--", b"-->"), (b"<?", b">")):
            if head.startswith(start, at):
                is_commented |= start == b"<!--"
                close = head.find(end, at + 2)
                at = len(head) if close < 0 else close + len(end)
                break
        else:
            return at, is_commented
