"""The report's names of scores, rules and stages, one sentence for each, and formats of numbers.

A rule or score without an entry here is shown with its own name, so a new one is never left out.
"""

from __future__ import annotations

import math
import re

from markupsafe import Markup

from gobelin.plugins import known_score
from gobelin.scores import HEAD
from gobelin.transforms.score.plugin_scores import ERROR

STAGE_TITLES = {
    "extract": "Extract: archives to documents and pictures",
    "score": "Score: numbers about each",
    "select": "Select: thresholds to a corpus",
    "tokenize": "Tokenize: corpus to token shards",
    "train": "Train",
    "sample": "Sample",
}

EARLIER_KINDS = {
    "exact": "the same text",
    "near": "nearly the same text",
    "url": "the same address, captured no earlier",
    "older_url": "an older capture of the same address",
}
"""What an earlier corpus has of a document, by the kind in its scores."""

RULE_MEANINGS = {
    # extract
    "http_status": "the server did not answer with 200",
    "page_bytes": "the page is longer than the limit",
    "empty_page": "no HTML could be read",
    "no_main_text": "no main text was found",
    "captured_twice": "the same page with the same content, captured again",
    "gate.require_image": "its HTML names no picture",
    "gate.languages": "a sample of its text is in another language",
    "gate.deny_consent": "the page opts out",
    "revisit": "content that is captured elsewhere in the input",
    "revisit_without_original": "it points to a capture that is not in the input",
    "record_cut_short": "the archive holds fewer bytes than the record states",
    "content_encoding": "its body cannot be unpacked",
    "content_type": "a page that its server names something else",
    "http_head": "the response's head cannot be read",
    "no_target_uri": "the record has no address",
    "unreadable_text": "its text can be read in no encoding",
    "block_list": "on a list of files that may not be stored",
    "image_bytes": "the file is longer than the limit",
    "image_format": "no picture format that is read",
    "image_svg": "a drawing that cannot be rendered as it is meant",
    "image_pixels": "more pixels than the limit",
    "image_frames": "more frames than the limit",
    "image_seconds": "decoding takes longer than the limit",
    "image_memory": "decoding takes more memory than the limit",
    "empty_image": "no bytes",
    "not_an_image": "the bytes are no picture",
    "undecodable_image": "the picture is damaged",
    "not_in_any_document": "no document shows it",
    "same_bytes_stored": "the same bytes are stored already, under another address",
    "malformed_row": "no document of the format can be read from it",
    "damaged_file": "the file cannot be read on from here",
    "import_error": "reading it failed",
    "unreadable_archive": "the archive cannot be read on from here",
    "unreadable_record": "the record cannot be read",
    # score
    "score_error": "scoring failed",
    "extract_error": "extracting it failed",
    "policy_error": "the site's policy cannot be read",
    "select_error": "judging it failed",
    "tokenize_error": "making tokens of it failed",
    "face_detector": "the face detector failed on it",
    # select
    "document_dropped": "every document that showed it was dropped",
    "text.roles": "a kind of text that is not wanted",
    "image.missing": "the archive holds no usable picture at this address",
    "image.deny_consent": "the image's own response or its host opts out",
    "image.formats": "a picture format that is not wanted",
    "image.banned_url_words": "a banned word in its address",
    "image.unique_near_in_document": "nearly the same picture occurs earlier in the document",
    "image.unique_in_document": "the same picture occurs earlier in the document",
    "image.min_phash_distance_in_document": "looks like a picture earlier in the document",
    "document.deny_consent": "the page opts out",
    "document.languages": "not in a wanted language",
    "document.page_kinds": "not a wanted kind of page",
    "document.unique.url": "another capture of the same address stays",
    "document.unique.exact": "another document with the same text stays",
    "document.unique.near": "another document with nearly the same text stays",
    "document.unique.image_set": "another document with the same pictures stays",
    "pii.email": "e-mail addresses",
    "pii.ip": "IP addresses",
    "pii.phone": "telephone numbers",
    "pii.card": "payment card numbers",
    "pii.iban": "bank account numbers",
    "pii.secret": "keys and passwords",
    # tokenize
    "nothing_left": "nothing of it could become tokens",
    "max_images": "more images than a sequence may hold",
    "caption_too_long": "a caption left no room for its image in a sequence and was shortened",
    "faces_unknown": "faces are to be blurred, and it was not searched for any",
}
"""Rules that compare no score of the table ``RULES``."""


def score_title(score: str) -> tuple[str, str]:
    """(title, unit of its values) of a score."""
    entry = known_score(score)
    return (score, "") if entry is None else (entry.title, entry.unit)


def rule_meaning(rule: str, score: str | None = None) -> str:
    """The meaning of a rule in words.

    Args:
        score: the score column that the rule compares, if any.
    """
    if rule in RULE_MEANINGS:
        return RULE_MEANINGS[rule]
    if rule.startswith(ERROR):
        return f"the plug-in's score {rule.removeprefix(ERROR)} failed and is null"
    if score is not None and score.startswith(HEAD):
        return f"score of the head {score.removeprefix(HEAD)}"
    entry = None if score is None else known_score(score)
    if entry is not None:
        return entry.title.lower().replace("clip", "CLIP")
    return rule.rpartition(".")[2].replace("_", " ")


def number(value: float | None) -> str:
    """A number with at most four significant digits and thousands separators; a dash for None."""
    if value is None or math.isnan(value):
        return "–"
    if float(value).is_integer():
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def number_beside(value: float, threshold: float | None) -> str:
    """A number with enough digits to differ from the threshold beside it."""
    for digits in range(4, 10):
        if threshold is None or value == threshold or f"{value:.{digits}g}" != f"{threshold:.{digits}g}":
            return number(value) if digits == 4 else f"{value:.{digits}g}"
    return repr(value)


def breakable(name: str) -> Markup:
    """A rule's name that may be wrapped after its dots and underscores."""
    return Markup("<wbr>").join(re.findall(r"[^._]*[._]?", name))


def compact(value: float) -> str:
    """A number for an axis: 1500 -> 1.5k, 20000 -> 20k."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def percent(part: float, whole: float) -> str:
    """A percentage; never 0 % for a positive part, nor 100 % for less than all."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1\u00a0%"
    if 99.9 < share < 100:
        return ">99.9\u00a0%"
    return f"{share:.0f}\u00a0%" if share in (0, 100) else f"{share:.1f}\u00a0%"


def duration(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(number_of: int, noun: str) -> str:
    """A number and its unit: "1 picture", "2,000 pictures"."""
    return f"{number_of:,} {noun}" + ("" if number_of == 1 else "s")


def file_size(num_bytes: float) -> str:
    """A number of bytes in a suitable unit."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= limit:
            return f"{num_bytes / limit:.1f} {unit}"
    return f"{num_bytes:.0f} B"
