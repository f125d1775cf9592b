"""Counts the content of a set of documents, for its data card."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

import pyarrow.compute as pc

from gobelin.data.rows import DocumentRow
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.rights.consent import effective
from gobelin.transforms.urls import host_of


@dataclasses.dataclass(slots=True)
class Tally:
    """Counts of documents, of their nodes, and of documents by their declared properties."""

    documents: int = 0
    texts: int = 0
    images: int = 0  # image nodes
    characters: int = 0  # of texts
    sites: Counter[str] = dataclasses.field(default_factory=Counter)
    languages: Counter[str] = dataclasses.field(default_factory=Counter)  # ISO 639, or "unknown"
    licences: Counter[str] = dataclasses.field(default_factory=Counter)  # URIs
    unlicensed: int = 0  # documents that state no licence
    refused: Counter[str] = dataclasses.field(default_factory=Counter)  # uses that pages refuse

    def add(self, document: DocumentRow) -> None:
        """Counts a document with its nodes."""
        texts = [node["text"] or "" for node in document["nodes"] if node["kind"] == "text"]
        self.texts += len(texts)
        self.images += len(document["nodes"]) - len(texts)
        self.characters += sum(map(len, texts))
        licences = [licence["uri"] for licence in document["licences"]]
        self._add(document["url"], document["language"], licences, document["consent"])

    def _add(self, url: str, language: str | None, licences: Iterable[str], signals: Iterable[str]) -> None:
        self.documents += 1
        self.sites[host_of(url) or "unknown"] += 1
        self.languages[language or "unknown"] += 1
        found = set(licences)
        self.licences.update(found)
        self.unlicensed += not found
        self.refused.update(use for use, verdict in effective(signals).items() if verdict == "disallow")

    def add_data_set(self, folder: str) -> None:
        """Counts a data set of documents, one row group at a time."""
        for path in list_shards(folder):
            for table in read_tables(path, ["url", "language", "licences", "consent", "nodes"]):
                nodes = pc.list_flatten(table["nodes"].combine_chunks())
                texts = pc.struct_field(nodes, "text").filter(pc.equal(pc.struct_field(nodes, "kind"), "text"))
                self.texts += len(texts)
                self.images += len(nodes) - len(texts)
                self.characters += pc.sum(pc.utf8_length(texts)).as_py() or 0
                columns = (table[name].to_pylist() for name in ("url", "language", "licences", "consent"))
                for url, language, licences, signals in zip(*columns, strict=True):
                    self._add(url, language, [licence["uri"] for licence in licences], signals)
