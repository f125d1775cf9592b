"""What every writer of a format shares: what is lost on the way and why, and files that are whole or not there."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gobelin.documents import Action, Decision, Unit, to_row
from gobelin.exchange.entry import Entry, as_json

Row = dict[str, Any]


class Losses:
    """Counts what an export saw, and writes down, one JSON object a line, what it had to leave out."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("w", encoding="utf-8")
        self.seen: Counter[str] = Counter()
        self.left_out: Counter[tuple[str, str]] = Counter()
        self.notes: Counter[str] = Counter()  # documents that are there, but not whole: "not_scored"

    def document(self, entry: Entry, rule: str, detail: str | None = None) -> None:
        """The document goes, and with it its image nodes."""
        self._note(Unit.DOCUMENT, rule, entry, detail=detail)
        self.left_out["images", rule] += len(entry.pictures)

    def image(self, entry: Entry, node_index: int, rule: str) -> None:
        """An image node goes."""
        node = entry.document["nodes"][node_index]
        self._note(Unit.NODE, rule, entry, node_index=node_index, image_id=node["image_id"], url=node["image_url"])

    def _note(self, unit: Unit, rule: str, entry: Entry, **about: Any) -> None:
        about.setdefault("url", entry.document["url"])
        decision = Decision("export", unit, Action.DROP, rule, doc_id=entry.document["doc_id"], **about)
        row = {name: value for name, value in to_row(decision).items() if value is not None}
        self._stream.write(as_json(row) + "\n")
        self.left_out["documents" if unit is Unit.DOCUMENT else "images", rule] += 1

    def summary(self) -> dict[str, Any]:
        """Counts of documents and image nodes: seen, kept, and left out by rule."""
        found = {}
        for unit in ("documents", "images"):
            dropped = {rule: times for (each, rule), times in sorted(self.left_out.items()) if each == unit}
            found[unit] = {"seen": self.seen[unit], "kept": self.seen[unit] - sum(dropped.values()), "dropped": dropped}
        return found

    def close(self) -> None:
        self._stream.close()


def presentable(entry: Entry, needs_data: bool, losses: Losses) -> Entry:
    """The entry without the image nodes that a format cannot hold: those without an image, or, where an address is
    enough, without both."""
    losses.seen["documents"] += 1
    losses.seen["images"] += len(entry.pictures)
    pictures = iter(entry.pictures)
    nodes: list[Row] = []
    kept = []
    for node_index, node in enumerate(entry.document["nodes"]):
        if node["kind"] == "image":
            picture = next(pictures)
            if picture is None and (needs_data or node["image_url"] is None):
                losses.image(entry, node_index, "image_missing")
                continue
            kept.append(picture)
        nodes.append(node)
    if len(kept) == len(entry.pictures):
        return entry
    return dataclasses.replace(entry, document={**entry.document, "nodes": nodes}, pictures=tuple(kept))


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when it was written to the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
