"""What a page says about its use: opt-out signals and licences, recorded as found. The recipe decides what follows.

Signals: ``X-Robots-Tag`` headers and ``<meta name="robots">`` (and those addressed to one agent), the TDM Reservation
Protocol's header and meta (W3C TDMRep), ``Content-Usage`` (IETF aipref drafts). Licences: ``rel="license"``.
"""

from __future__ import annotations

import re

from lxml.html import HtmlElement

from gobelin.documents import Licence
from gobelin.transforms.urls import resolve

_HEADERS = ("x-robots-tag", "tdm-reservation", "tdm-policy", "content-usage")
_METAS = ("robots", "tdm-reservation", "tdm-policy")
_MAX_SIGNAL_CHARS = 8192
_DIRECTIVE = re.compile(r"[a-z][a-z-]*(?:\s*=\s*[\w-]+)?")


def find_consent(tree: HtmlElement, headers: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Opt-out signals of a page, each as "header x-robots-tag: noai" or "meta robots: noai", sorted."""
    found = set()
    for name, value in headers:
        if name.lower() in _HEADERS:
            found.add(f"header {name.lower()}: {_fold(value)}")
    for meta in tree.iter("meta"):
        name = (meta.get("name") or "").strip().lower()
        if name in _METAS or name.endswith("bot"):
            found.add(f"meta {name}: {_fold(meta.get('content') or '')}")
    return tuple(sorted(found))


def directives(signal: str) -> set[str]:
    """The directives of one signal, lower case: ``{"noai", "noindex"}``; ``tdm-reservation=1`` for TDMRep.

    Directives addressed to one agent ("googlebot: noindex") count as if addressed to all: the strictest reading.
    """
    where, _, value = signal.partition(": ")
    name = where.rpartition(" ")[2]
    if name in ("tdm-reservation", "tdm-policy"):
        return {f"{name}={value.strip()}"}
    return {re.sub(r"\s*=\s*", "=", match) for match in _DIRECTIVE.findall(value.lower())}


def find_licence(tree: HtmlElement, base_url: str) -> Licence | None:
    """The page's first ``rel="license"`` link. What it covers cannot be told, so its scope is "unknown"; a
    ``<link>`` in the head speaks of the page."""
    for element in tree.iter("link", "a"):
        if "license" in (element.get("rel") or "").lower().split():
            uri = resolve(base_url, element.get("href") or "")
            if uri:
                scope = "page" if element.tag == "link" else "unknown"
                return Licence(uri=uri, scope=scope, evidence=f"{element.tag!s}[rel=license]")
    return None


def _fold(value: str) -> str:
    return " ".join(value.split())[:_MAX_SIGNAL_CHARS]
