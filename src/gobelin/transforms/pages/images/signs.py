"""Properties of a single image, wherever it stands: its stated size, and whether it is a sign rather than a picture.

Signs are portraits of authors, smileys, badges, parts of the site's design, and placeholders.
"""

from __future__ import annotations

import base64
import re
import struct
from urllib.parse import unquote

from gobelin.transforms.pages.images.image_candidates import is_image_file, names_image_file
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.urls import host_of

_MAX_ADDRESS_CHARS = 1000
_SIGN_PX = 50
_POINTER_PX = 100  # of an image that links to a person's page, or to another part of the site
_PORTRAIT_PX = 200
_MIN_COUNTER_CHARS = 100
_SIZE = re.compile(r"(?<![\da-z])(\d{2,4})x(\d{2,4})(?![\da-z])", re.I)
_QUERY_SIDE = re.compile(r"[?&;](?:w|h|width|height)=(\d{2,4})(?=[&;]|$)", re.I)
_PNG_SIDES = struct.Struct(">II")
_GIF_SIDES = struct.Struct("<HH")

_SMILEY = re.compile(
    r":\w{1,30}:|[:;8=xX]['-]?[()DPpOo|/\\*\]\[]{1,2}|[\U0001f300-\U0001faff\u2600-\u27bf]{1,3}\ufe0f?"
)
_SIGN_ADDRESS = re.compile(
    r"smil(?:ey|ie)|emot(?:icon|e)|emoji|avatar|gravatar|/ranks?/|badges?[._-]|[._-]badge\b|user_?photo|profile_?pic"
    r"|/(?:v?vip|level|lv|medal|member|rank)_?\d{1,3}[._]",
    re.I,
)
_DESIGN = re.compile(
    r"/(?:themes?|templates?|skins?|plugins)/(?:[^/]{1,60}/){1,3}(?:images?|img|assets?|icons?|pics|graphics)/"
    r"|/(?:smil(?:ies|eys?)|emoticons?|emojis?|favicons?)/",
    re.I,
)
"""Folders of a content management system's design, and of smileys and icons."""

_PORTRAIT = re.compile(r"/avatars?/", re.I)

_SIGN_FILE = re.compile(
    r"(?:[a-z]{0,12}[-_]?)?(?:avatar|gravatar|favicon|spinner|(?:pre)?loader|loading)(?:[-_.]?(?:default|\d{1,4}(?:x\d{1,4})?))*"
    r"|qr[-_]?code.{0,20}|create-qr-code",
    re.I,
)
_ICON_FILE = re.compile(
    r"icons?[-_].{1,40}|.{1,40}[-_]icon|(?:.{0,20}[-_])?(?:play|video)[-_]?(?:button|btn|overlay|arrow|icon)(?:[-_].{0,20})?",
    re.I,
)
_ACTION = re.compile(r"/cta/(?:default|redirect)/|[/.](?:sharer?|intent|pin/create)[/.?]|/intent/(?:tweet|post)", re.I)
"""Addresses of links or images that ask the reader to share or to buy."""

_LOGO = re.compile(r"logo", re.I)
_MIN_SITE_CHARS = 4
_BADGE = re.compile(r"/(?:v?vip|lv|medal|member|rank)_?\d{1,3}(?:_\w{1,20})?\.(?:png|gif|svg|webp)", re.I)
_ICONS = re.compile(r"/icons?/|/(?:assets|static|dist)/(?:[^/]{1,40}/){0,3}(?:images?|img)/[^/]{1,80}\.svg$", re.I)
"""Folders of icons, and SVG files in the folders of a site's design."""

_LOADING = frozenset(("loading", "loader", "spinner", "lädt", "laden", "chargement", "cargando", "caricamento"))
_PROFILE = re.compile(
    r"/(?:authors?|users?|u|members?|profiles?|autor(?:en|es)?|auteurs?|contributors?|columns?|columnists?|staff|by"
    r"|journalists?|reporters?|redakteure?)/[^/]{1,80}/?$",
    re.I,
)


def stated_sides(reference: ImageReference) -> list[int]:
    """Width and height in px that the page states: the size on the page, else the size in the address of the file or,
    for a ``data:`` image, in the file. Empty if there is none."""
    sides = [side for side in (reference.rendered_width, reference.rendered_height) if side is not None]
    if sides:
        return sides
    url = reference.candidates[0]
    if url[:5].lower() == "data:":
        return _data_sides(url)
    url = unquote(url[:_MAX_ADDRESS_CHARS])
    stated = _SIZE.findall(url)
    return list(map(int, stated[-1] if stated else _QUERY_SIDE.findall(url)[:2]))


def is_sign(reference: ImageReference) -> bool:
    """Whether an image in a conversation is a smiley, a badge or a portrait of a member."""
    sides = [reference.rendered_width, reference.rendered_height]
    if min(side or _SIGN_PX for side in sides) < _SIGN_PX:
        return True
    is_small = 0 < max(side or 0 for side in sides) <= _POINTER_PX
    if is_small and reference.link_url and not is_image_file(reference.link_url):
        return True
    if reference.alt and _SMILEY.fullmatch(reference.alt.strip()[:40]):
        return True
    return _SIGN_ADDRESS.search(reference.candidates[0], 0, 300) is not None or is_of_site(reference)


def is_of_site(reference: ImageReference) -> bool:
    """Whether an image without a caption belongs to the site and not to the page: it is a placeholder, its file is in a
    folder of the design or of portraits, it is the site's logo or a share button, or it links to a person's page."""
    if reference.caption:
        return False
    if reference.alt and reference.alt.strip(" .\u2026").casefold() in _LOADING:
        return True
    address = _address(reference)
    if _DESIGN.search(address) or _BADGE.search(address) or _is_own_logo(address) or _asks(reference, address):
        return True
    is_large = max(stated_sides(reference), default=0) > _PORTRAIT_PX
    return not is_large and reference.link_url is not None and _PROFILE.search(_path(reference.link_url)) is not None


def _is_own_logo(address: str) -> bool:
    """Whether a file name contains "logo" and the name of its own site: ``quay-logo.svg`` of ``www.quay.example``."""
    name = address.rpartition("/")[2].casefold()
    if not _LOGO.search(name):
        return False
    hosts = host_of(address).split(".")[:-1]
    return any(len(part) >= _MIN_SITE_CHARS and part in name for part in hosts)


def _asks(reference: ImageReference, address: str) -> bool:
    """Whether an image is a button that shares the page or leads to a purchase."""
    link = (reference.link_url or "")[:_MAX_ADDRESS_CHARS]
    return _ACTION.search(link) is not None or _ACTION.search(address) is not None


def is_called_sign(reference: ImageReference) -> bool:
    """Whether the file name or folder of an image is that of a portrait, a QR code or a loading sign."""
    url = _address(reference)
    return _SIGN_FILE.fullmatch(_stem(url)) is not None or _PORTRAIT.search(url) is not None


def is_called_icon(reference: ImageReference) -> bool:
    """Whether the file name or folder of an image is that of an icon."""
    url = _address(reference)
    return _ICON_FILE.fullmatch(_stem(url)) is not None or _ICONS.search(url) is not None


def _stem(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2].partition(".")[0]


def is_unnamed(reference: ImageReference) -> bool:
    """Whether an image is a tracking pixel: without words, size and image file name, but with a long query."""
    url = reference.candidates[0]
    has_words = reference.alt or reference.title or reference.caption or stated_sides(reference)
    is_long = len(url.partition("?")[2]) >= _MIN_COUNTER_CHARS and url[:5].lower() != "data:"
    return not has_words and is_long and not names_image_file(url)


def _address(reference: ImageReference) -> str:
    url = reference.candidates[0][:_MAX_ADDRESS_CHARS].partition("?")[0]
    return "" if url[:5].lower() == "data:" else url


def _path(url: str) -> str:
    return unquote(url[:_MAX_ADDRESS_CHARS]).partition("?")[0].partition("#")[0]


def _data_sides(url: str) -> list[int]:
    """Width and height of a PNG or GIF in a ``data:`` URL, from the first bytes of the file; else empty."""
    head, _, body = url[:200].partition(",")
    if not head.endswith(";base64"):
        return []
    try:
        data = base64.b64decode(body[:32])
    except ValueError:
        return []
    if data[:4] == b"\x89PNG" and len(data) >= 24:
        return list(_PNG_SIDES.unpack_from(data, 16))
    return list(_GIF_SIDES.unpack_from(data, 6)) if data[:3] == b"GIF" else []
