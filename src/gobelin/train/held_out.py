"""The documents that are held out from training, in a file that other runs can use: ``train/held_out.json``. No
torch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Literal

from gobelin.errors import UserError
from gobelin.store.files import read_json, write_json
from gobelin.store.paths import join

FILE_NAME = "held_out.json"
_VERSION = 1

MOST_OF_RATIO = 1.5
"""Sites are held out up to this many times the share that is asked for."""

MOST_OF_ALL = 0.25
"""Share of the documents that the smallest site may have to be held out where all have more than was asked for."""


def hash_of(name: str) -> int:
    """The 64-bit hash that identifies a document (by its id) or a site in an index. It is uniform, so it also decides
    what is held out."""
    return int.from_bytes(hashlib.blake2b(f"validation\n{name}".encode(), digest_size=8).digest(), "big")


def choose_sites(documents: Mapping[int, int], ratio: float) -> set[int]:
    """Chooses sites to hold out, in order of the hash of their name, until they reach their share of the documents. A
    site that would exceed the share is skipped. Empty if the smallest site has more than a quarter of all documents.

    Args:
        documents: number of documents per site, by ``hash_of`` its name.
        ratio: share of the documents to hold out, [0, 1).
    """
    total, held_out, chosen = sum(documents.values()), 0, set()
    for site in sorted(documents):
        if held_out >= ratio * total:
            break
        if held_out + documents[site] <= MOST_OF_RATIO * ratio * total:
            chosen.add(site)
            held_out += documents[site]
    if not chosen and ratio and documents:
        smallest = min(documents, key=lambda site: (documents[site], site))
        chosen = {smallest} if documents[smallest] <= MOST_OF_ALL * total else set()
    return chosen


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOut:
    """The split of a corpus. Documents in neither list are trained on."""

    by: Literal["site", "document", "file"]
    """How documents were chosen: whole sites; single documents, because one site has nearly all; or the documents of a
    given file."""
    sites: tuple[str, ...]
    """Hosts whose pages are not trained on, sorted."""
    documents: tuple[str, ...]
    """Ids of the documents that the model is evaluated on, sorted."""
    left_out: tuple[str, ...]
    """Ids of documents that are neither evaluated on nor trained on, sorted: near-duplicates across the split, and
    other documents of the sites of a file."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over both lists, hex."""
        return hashlib.sha256("\n".join([*self.documents, "", *self.left_out]).encode()).hexdigest()

    def save(self, folder: str) -> None:
        """Writes ``held_out.json`` into the folder."""
        write_json(join(folder, FILE_NAME), {"version": _VERSION, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, address: str) -> HeldOut:
        """Reads the file that ``save`` wrote. Raises UserError if it is missing or has another version."""
        try:
            values = read_json(address)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise UserError(f"no file {address}: give the train/{FILE_NAME} of another run") from None
        names = ("sites", "documents", "left_out")
        lists = [values.get(name) for name in names] if isinstance(values, dict) else []
        is_right = bool(lists) and all(
            isinstance(each, list) and all(isinstance(entry, str) for entry in each) for each in lists
        )
        if not is_right or values.get("version") != _VERSION or values.get("by") not in ("site", "document", "file"):
            raise UserError(f"{address} is not a {FILE_NAME} of version {_VERSION} that a training run wrote")
        return cls(values["by"], *(tuple(values[name]) for name in names))
