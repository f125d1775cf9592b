"""Shared by the writers of all formats: the documents of a shard, and the record of what is left out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.rows import NodeRow, Row
from gobelin.exchange.blurring import FACES_BLURRED, WITHHELD
from gobelin.exchange.entry import Entry, as_json
from gobelin.exchange.similarities import Matrix

LEFT_OUT = "left_out.jsonl"
"""File beside an export's documents: one decision per line on what it does not hold."""


@dataclasses.dataclass(slots=True)
class Written:
    """Facts about an export's files after writing, for its data card."""

    rows: int = 0  # of documents' files
    members: set[str] = dataclasses.field(default_factory=set)  # images' names behind the document's, as "0.jpg"
    archives: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)  # name -> bytes, SHA-256

    def archive(self, name: str, stream: BinaryIO) -> None:
        """Records an archive that was written to a stream. Reads it once more."""
        stream.flush()
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        self.archives[name] = (stream.tell(), digest)


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """The unit of writing: the documents of one shard, with their cosines if known."""

    items: Iterable[tuple[Entry, Matrix | None]]
    folder: str  # of the whole export
    index: int
    num_shards: int
    losses: Losses
    written: Written = dataclasses.field(default_factory=Written)
    scores: Callable[[str], Row] | None = None  # of a document by its id, asked for in their order; None: not scored


class Losses:
    """Counts what an export saw, and records what it left out, one JSON object per line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seen: Counter[str] = Counter()
        self.left_out: Counter[tuple[str, str]] = Counter()
        self.notes: Counter[str] = Counter()  # documents that are there, but without something: "not_scored"

    def document(self, entry: Entry, rule: str, detail: str | None = None) -> None:
        """Records that a document is left out, with its image nodes."""
        self._note(Unit.DOCUMENT, rule, entry, detail=detail)
        if entry.pictures:
            self.left_out["images", rule] += len(entry.pictures)

    def image(self, entry: Entry, node_index: int, rule: str) -> None:
        """Records that an image node is left out."""
        node = entry.document["nodes"][node_index]
        self._note(Unit.NODE, rule, entry, node_index=node_index, image_id=node["image_id"], url=node["image_url"])

    def file(self, row: Row) -> None:
        """Records that the bytes of a row of ``hide_faces`` are left out. Documents still name the image."""
        about = {"image_id": row["image_id"], "rule": row[WITHHELD]}
        self._write(Decision("export", Unit.IMAGE, Action.FAIL, **about))

    def _note(self, unit: Unit, rule: str, entry: Entry, **about: Any) -> None:
        about.setdefault("url", entry.document["url"])
        decision = Decision("export", unit, Action.DROP, rule, doc_id=entry.document["doc_id"], **about)
        self._write(decision)
        self.left_out["documents" if unit is Unit.DOCUMENT else "images", rule] += 1

    def _write(self, decision: Decision) -> None:
        row = {name: value for name, value in to_row(decision).items() if value is not None}
        self._stream.write(as_json(row).encode() + b"\n")

    @property
    def num_documents(self) -> int:
        """Number of documents that were left out."""
        return sum(times for (unit, _), times in self.left_out.items() if unit == "documents")

    def summary(self) -> dict[str, Any]:
        """Counts of documents and image nodes: seen, kept, and left out by rule."""
        found = {}
        for unit in ("documents", "images"):
            dropped = {rule: times for (each, rule), times in sorted(self.left_out.items()) if each == unit}
            found[unit] = {"seen": self.seen[unit], "kept": self.seen[unit] - sum(dropped.values()), "dropped": dropped}
        return found


def presentable(entry: Entry, matrix: Matrix | None, needs_data: bool, losses: Losses) -> tuple[Entry, Matrix | None]:
    """The entry and its cosines without image nodes that must not be exported or that the format cannot hold: nodes
    without an image, or, if an address suffices, without both."""
    losses.seen["documents"] += 1
    losses.seen["images"] += len(entry.pictures)
    nodes: list[NodeRow] = []
    kept = []
    places = []  # of those kept among the image nodes
    num_images = 0
    for node_index, (node, picture) in enumerate(entry.laid_out):
        if node["kind"] == "image":
            num_images += 1
            if picture is None and (needs_data or node["image_url"] is None):
                losses.image(entry, node_index, "image_missing")
                continue
            if picture is not None and picture.withheld is not None:
                losses.image(entry, node_index, picture.withheld)
                continue
            if picture is not None and picture.facts.get(FACES_BLURRED):
                losses.notes[FACES_BLURRED] += 1
            kept.append(picture)
            places.append(num_images - 1)
        nodes.append(node)
    if len(kept) == len(entry.pictures):
        return entry, matrix
    fewer = dataclasses.replace(entry, document={**entry.document, "nodes": nodes}, pictures=tuple(kept))
    return fewer, None if matrix is None else matrix[places]
