"""Decodes ``data:`` URLs, which hold an image in the page itself (RFC 2397, as browsers read it). Takes linear time."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

_DATA_URL = re.compile(r"data:([\w.+-]{1,40}/[\w.+-]{1,40})?((?:;[\w-]{1,40}(?:=[^;,]{0,80})?)*?)(;base64)?,", re.I)


def decode_data_url(url: str) -> tuple[str, bytes] | None:
    """Returns (media type in lower case, bytes) of a ``data:`` URL, or None if it is malformed."""
    match = _DATA_URL.match(url)
    if match is None:
        return None
    body = url[match.end() :]
    try:
        data = unquote_to_bytes(body)
        if match.group(3):
            data = base64.b64decode(re.sub(rb"\s+", b"", data) + b"==")
    except (binascii.Error, ValueError):
        return None
    return (match.group(1) or "text/plain").lower(), data
