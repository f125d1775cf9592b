"""Text as a browser shows it: which elements have none, and how white space folds."""

from __future__ import annotations

SKIPPED = frozenset((
    "script", "style", "template", "head", "title", "meta", "link", "noscript", "svg", "canvas", "object", "embed",
    "applet", "audio", "video", "iframe", "frame", "frameset", "noframes", "select", "option", "optgroup",
    "datalist", "button", "input", "textarea", "progress", "meter", "map", "area", "rp", "rt", "annotation",
    "annotation-xml", "nextid", "basefont", "bgsound",
))  # fmt: skip
"""Elements whose text is not read. <rt> is the reading of the word it stands beside; <annotation> the TeX source of a
formula that is shown as well."""

BREAK = "\x01"
"""Stands for a line break until the text is folded; pages hold no such character (``parse_html``)."""

_INVISIBLE = str.maketrans("", "", "\xad\ufeff\u2060")


def fold(text: str) -> str:
    """White space folded, soft hyphens and joiners of width zero gone; the mark of a line break becomes one."""
    if "\xad" in text or "\ufeff" in text or "\u2060" in text:
        text = text.translate(_INVISIBLE)
    if BREAK not in text:
        return " ".join(text.split())
    return "\n".join(" ".join(line.split()) for line in text.split(BREAK)).strip()
