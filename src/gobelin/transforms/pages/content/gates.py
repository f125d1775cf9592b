"""Gates: drop pages that a recipe cannot want before they are parsed.

Most pages of a web crawl are of no use for a given corpus: pages without an image, in other languages, or opted out. A
gate reads only the bytes and takes a tenth of the time of a parse. It drops a page only if the case is clear; the rules
of ``select`` judge the rest by the parsed content. All gates are off by default: a dropped page has no scores, so a
changed recipe has to read the archives again.
"""

from __future__ import annotations

import dataclasses
import re

from gobelin.data.model import Action
from gobelin.errors import UserError
from gobelin.transforms.pages.content.language import identify_language
from gobelin.transforms.rights.consent import consent_of_headers, refusal

_PICTURE = re.compile(
    rb"<(?:img|picture|amp-img|image|object|embed|video|svg)[\s>/]|background(?:-image)?\s*:|!\[", re.I
)
"""Everything that may become an image reference. A page without any match has no images."""

_META = re.compile(rb"<meta\s[^>]{0,2000}>", re.I)
_NAME = re.compile(rb"name\s*=\s*[\"']?([\w.-]{1,60})", re.I)
_CONTENT = re.compile(rb"content\s*=\s*(?:\"([^\"]{0,1000})\"|'([^']{0,1000})'|([^\s>]{1,1000}))", re.I)
_HEAD_BYTES = 64 * 1024

_TAG = re.compile(rb"<[^<>]*>")
_HIDDEN = ((b"<script", b"</script"), (b"<style", b"</style"), (b"<!--", b"-->"))
_SAMPLE_BYTES = 128 * 1024
_MIN_SAMPLE_CHARS = 400
"""Minimum number of letters of visible text from which the language of a page is identified."""

_MAX_UNREADABLE = 0.02
"""Maximum share of characters that are not valid UTF-8. Above it, the page is in another encoding."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gates:
    """Conditions under which a page is dropped without parsing. A gate drops a page only if its bytes leave no
    doubt."""

    require_image: bool = False
    """Drop pages whose HTML contains no image."""

    languages: tuple[str, ...] = ()
    """Languages to keep, as ISO 639-1 codes; empty: all. A page is dropped if a sample of its visible text is in
    another language with a probability of at least ``min_language_score``."""

    min_language_score: float = 0.9
    """Minimum probability of the other language, [0, 1]."""

    deny_consent: tuple[str, ...] = ()
    """Opt-out directives (noai, noimageai ...) that drop a page if they occur in the headers of the response or in its
    robots meta tags."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_language_score <= 1:
            raise UserError(f"min_language_score must be in [0, 1], got {self.min_language_score}")


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """Why a page was dropped. The fields are those of a ``Decision``."""

    rule: str
    value: float | None = None
    threshold: float | None = None
    detail: str | None = None
    action: Action = Action.DROP


def refuse(payload: bytes, headers: tuple[tuple[str, str], ...], gates: Gates) -> Refusal | None:
    """The first gate that drops a page, or None. The cheapest gate comes first.

    Args:
        payload: the page's bytes.
        headers: of the HTTP response.
    """
    if gates.deny_consent:
        signals = (*consent_of_headers(headers), *_robots_meta(payload[:_HEAD_BYTES]))
        refused = refusal(signals, gates.deny_consent)
        if refused is not None:
            return Refusal("gate.deny_consent", detail=refused)
    if gates.require_image and _PICTURE.search(payload) is None:
        return Refusal("gate.require_image", 0, 1)
    if gates.languages:
        found = identify_language(_visible_text(payload))
        if found is not None and found[0] not in gates.languages and found[1] >= gates.min_language_score:
            return Refusal("gate.languages", found[1], gates.min_language_score, found[0])
    return None


def _robots_meta(head: bytes) -> list[str]:
    signals = []
    for meta in _META.findall(head):
        name, content = _NAME.search(meta), _CONTENT.search(meta)
        if name and content and (name[1].lower() == b"robots" or name[1].lower() == b"tdm-reservation"):
            value = next(group for group in content.groups() if group is not None)
            signals.append(f"meta {name[1].decode().lower()}: {value.decode('latin-1')}")
    return signals


def _visible_text(payload: bytes) -> str:
    """A sample of the text outside markup; empty if it is too short or not UTF-8."""
    sample = payload[:_SAMPLE_BYTES]
    for start, end in _HIDDEN:
        sample = _cut(sample, start, end)
    text = " ".join(_TAG.sub(b" ", sample).decode("utf-8", "replace").split())
    if text.count("\ufffd") > _MAX_UNREADABLE * len(text):
        return ""
    middle = text[len(text) // 4 :][:4000]  # after the menus at the top
    return middle if sum(map(str.isalpha, middle)) >= _MIN_SAMPLE_CHARS else ""


def _cut(payload: bytes, start: bytes, end: bytes) -> bytes:
    """Removes everything between pairs of marks. A mark that is never closed extends to the end."""
    lower = payload.lower()
    kept: list[bytes] = []
    position = 0
    while True:
        opened = lower.find(start, position)
        if opened < 0:
            return b"".join((*kept, payload[position:]))
        kept.append(payload[position:opened])
        closed = lower.find(end, opened)
        if closed < 0:
            return b"".join(kept)
        position = closed + len(end)
