"""Parses the heads of records: the head of a WARC record, and the line of an ARC record.

warcio parses the heads of WARC records, after their length was checked. Lines of ARC are parsed here, because warcio
supports only five fields without spaces, while real files have ten fields, or dashes.

Sources: ISO 28500 (WARC/1.0, WARC/1.1); "Arc File Format", Internet Archive 1996.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable

from warcio.statusandheaders import StatusAndHeadersParser

MAX_HEAD_BYTES = 256 << 10
"""Maximum size of a record's head. Crawlers write about 500 bytes."""

MAX_LINE_BYTES = 16 << 10
"""Maximum size of the line of an ARC record. This many bytes suffice to recognise the beginning of a record."""

_WARC_START = re.compile(rb"[\r\n]{0,8}WARC/\d\.\d{1,3}[ \t]*\r?\n", re.IGNORECASE)
_ARC_START = re.compile(rb"[\r\n]{0,8}(?=[a-zA-Z][a-zA-Z0-9+.-]{1,19}:)")
_HEAD_END = re.compile(rb"\n[ \t]*\r?\n")

WARC_LINE = re.compile(rb"WARC/\d\.\d{1,3}[ \t]*\r?\n(?=[!-9;-~]{1,100}:)", re.IGNORECASE)
"""Matches anywhere in a line where a WARC record may begin after damage."""

ANY_LINE = re.compile(WARC_LINE.pattern + rb"|(?<=\n)(?=[a-z][a-z0-9+.-]{1,19}:\S)", re.IGNORECASE)
"""Matches where a WARC or ARC record may begin after damage. ``begins_record`` checks further."""

_warc_parser = StatusAndHeadersParser(["WARC/"], verify=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """The head of a record.

    ``kind`` is WARC-Type in lower case, or ``response`` or ``warcinfo`` in an ARC. The names in ``fields`` are in lower
    case;
    those of an ARC are the names of WARC.
    """

    kind: str
    fields: dict[str, str]
    is_arc: bool
    num_bytes: int  # of the head itself


def begins_record(data: bytes) -> bool:
    """Whether bytes begin with the head of a record. ``MAX_LINE_BYTES`` of them are enough."""
    if _WARC_START.match(data):
        return True
    start = _ARC_START.match(data)
    return start is not None and parse_arc_line(data[start.end() : data.find(b"\n", start.end()) + 1]) is not None


def parse_head(peek: Callable[[int], bytes]) -> Head | None:
    """The head of the record that begins at the current position; None if there is none, or none that ends within
    ``MAX_HEAD_BYTES``. A head that is truncated by the end of the file is returned.

    Args:
        peek: returns the next bytes, as many as requested.
    """
    data = peek(MAX_LINE_BYTES)
    if not _WARC_START.match(data):
        line = data[: data.find(b"\n") + 1]
        fields = parse_arc_line(line)
        if fields is None:
            return None
        kind = "warcinfo" if fields["warc-target-uri"].startswith("filedesc:") else "response"
        return Head(kind, fields, True, len(line))
    end = _HEAD_END.search(data)
    if end is None and len(data) == MAX_LINE_BYTES:
        data = peek(MAX_HEAD_BYTES)
        end = _HEAD_END.search(data)
        if end is None and len(data) == MAX_HEAD_BYTES:
            return None
    data = data[: end.end()] if end else data
    parsed = _warc_parser.parse(io.BytesIO(data)).headers
    fields = {name.lower(): value for name, value in reversed(parsed)}  # the first of equal names counts
    return Head(fields.get("warc-type", "").strip().lower(), fields, False, len(data))


def parse_arc_line(line: bytes) -> dict[str, str] | None:
    """The fields of the first line of an ARC record, under the names of WARC; None if it is not such a line.

    ``URL IP date type length`` and, in version 2, ``result checksum location offset file`` before the length. In
    practice URLs
    and types contain spaces, so fields are counted from the date: the last word of 14 digits with at least two words
    after it.
    A line of five words needs no date (``filedesc:// - - - 76``).
    """
    words = line.strip().decode("utf-8", "replace").split(" ")
    if len(words) < 5 or not words[-1].isdecimal() or not _ARC_START.match(line):
        return None
    at = next((at for at in range(len(words) - 3, 1, -1) if len(words[at]) == 14 and words[at].isdecimal()), None)
    if at is None:
        if len(words) != 5:
            return None
        at = 2
    date = words[at]
    iso = f"{date[:4]}-{date[4:6]}-{date[6:8]}T{date[8:10]}:{date[10:12]}:{date[12:]}Z" if len(date) == 14 else ""
    has_more = len(words) - at >= 8 and (words[at + 2].isdecimal() or words[at + 2] == "-")
    return {
        "warc-target-uri": " ".join(words[: at - 1]),
        "warc-date": iso,
        "content-type": words[at + 1] if has_more else " ".join(words[at + 1 : -1]),
        "content-length": words[-1],
    }
