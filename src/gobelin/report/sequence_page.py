"""A token sequence for people: as an HTML page with its images, and as lines on a terminal.

All words come from the web. On the page they are escaped and inside ``<bdi>``, and nothing is loaded from elsewhere. On
a terminal, characters that are not printable are shown as their code.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Iterator, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class TokenRun:
    """Adjacent tokens of one kind: a special token, the words of a text, or the codes of an image."""

    start: int  # place of the first one in the sequence
    stop: int
    kind: str  # special | text | image
    words: str  # name of the special token; the text; the first codes
    image_id: str | None = None
    grid: tuple[int, int] | None = None
    picture: str | None = None  # name of its file beside the page
    codebook: int = 0  # of an image, in the vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceView:
    """A row of a token shard, split into runs of tokens."""

    title: str  # where it lies
    facts: tuple[tuple[str, str], ...]
    runs: tuple[TokenRun, ...]
    without_pictures: str | None = None  # why there are none


def terminal_lines(view: SequenceView, width: int = 100) -> Iterator[str]:
    """The sequence for a terminal: one line per run, texts cut to ``width`` characters."""
    yield printable(view.title)
    for name, value in view.facts:
        yield f"  {name:<12}{printable(value)}"
    for run in view.runs:
        place = f"{run.start:>7}" if run.stop - run.start == 1 else f"{run.start:>7}-{run.stop - 1}"
        words = printable(run.words)
        words = words if len(words) <= width else f"{words[:width]}… ({len(run.words):,} characters)"
        if run.kind == "text":
            words = f'"{words}"'
        elif run.grid is not None:
            words = f"{run.grid[0]} x {run.grid[1]} codes of {printable(run.image_id or '-')}: {words}"
        yield f"{place:<16}{words}"
    if view.without_pictures:
        yield f"(no pictures: {printable(view.without_pictures)})"


def printable(text: str) -> str:
    """A text without characters that move the cursor, change the direction or are invisible."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)


def sequence_page(view: SequenceView) -> str:
    """The page. Its images are in files beside it."""
    facts = "".join(f"<tr><th>{html.escape(name)}<td>{_bdi(value)}" for name, value in view.facts)
    note = f"<p>No pictures: {_bdi(view.without_pictures)}</p>" if view.without_pictures else ""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>A token sequence</title>"
        "<meta name=viewport content='width=device-width'>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src 'self'; "
        "style-src 'unsafe-inline'\">"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}"
        "th{text-align:left;font-weight:normal;color:#555;padding-right:1rem;vertical-align:top}"
        "td{overflow-wrap:anywhere}.run{display:grid;grid-template-columns:8rem 1fr;gap:.5rem}"
        ".at{color:#777;font-variant-numeric:tabular-nums;text-align:right}"
        ".special{font:14px monospace;color:#7a3e00}.text{white-space:pre-wrap;overflow-wrap:anywhere}"
        ".codes{font:12px monospace;color:#555;overflow-wrap:anywhere}"
        "img{display:block;min-width:128px;max-width:100%;image-rendering:pixelated}</style>"
        f"<h1>A token sequence</h1><p>{_bdi(view.title)}</p><table>{facts}</table>{note}{_runs(view.runs)}</html>\n"
    )


def _runs(runs: Sequence[TokenRun]) -> str:
    return "".join(
        f"<div class=run><span class=at>{_place(run)}</span><div>{''.join(_content(run))}</div></div>" for run in runs
    )


def _place(run: TokenRun) -> str:
    return f"{run.start}" if run.stop - run.start == 1 else f"{run.start} to {run.stop - 1}"


def _content(run: TokenRun) -> Iterable[str]:
    if run.grid is not None:
        if run.picture:
            yield f'<img src="{html.escape(run.picture)}" alt="the picture that these codes give">'
        rows, columns = run.grid
        yield f"<div class=codes>{rows} x {columns} codes of {_bdi(run.image_id or '-')}<br>{_bdi(run.words)}</div>"
    else:
        yield f'<div class="{run.kind}">{_bdi(run.words)}</div>'


def _bdi(text: str) -> str:
    return f"<bdi>{html.escape(text)}</bdi>"
