"""URLs: the key under which two spellings of one address meet."""

from __future__ import annotations

import hashlib
from urllib.parse import urljoin, urlsplit

from w3lib.url import canonicalize_url

MAX_URL_CHARS = 8192
"""Longer addresses are not followed: servers refuse them, and a page may hold megabytes of them."""


def canonical_url(url: str) -> str:
    """The address without what does not change the page: fragment, scheme, case of the host, order of the query.

    Without a scheme because archives and pages mix http and https for one and the same file. A string that is no
    URL comes back as it is.
    """
    try:
        canonical = canonicalize_url(url.strip())
        parts = urlsplit(canonical)
        host = (parts.hostname or "") + (f":{parts.port}" if parts.port not in (None, 80, 443) else "")
    except ValueError:
        return url
    return f"//{host}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")


def host_of(url: str) -> str:
    """Host name in lower case; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def resolve(base: str, reference: str) -> str | None:
    """Absolute http(s) or data: URL of a reference found in a page; None for anything else."""
    reference = well_formed(reference).strip()
    if not reference:
        return None
    if reference[:5].lower() == "data:":
        return reference
    if len(reference) > MAX_URL_CHARS:
        return None
    try:
        absolute = urljoin(base, reference)
        scheme = urlsplit(absolute).scheme
    except ValueError:
        return None
    return absolute if scheme in ("http", "https") else None


def well_formed(text: str) -> str:
    """Text that UTF-8 can write: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def describe(error: Exception) -> str:
    """An error in a line that a decision can hold."""
    return well_formed(f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])


def data_url_reference(media_type: str, data: bytes) -> str:
    """Short name for an image that stands in the page itself: its type and digest instead of its bytes."""
    return f"data:{media_type};sha256={hashlib.sha256(data).hexdigest()}"
