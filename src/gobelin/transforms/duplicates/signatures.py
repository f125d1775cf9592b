"""Signatures: data of a run with which a later run compares itself without reading the documents again.

    score/signatures/documents    canonical URL, date, digest of the words, MinHash keys and sketch: about 350 bytes
                                  per document on disk
    score/signatures/images       hashes, colours, a thumbnail, and how many documents show the image

A recipe names earlier output folders in ``score.earlier``. A document of an earlier run is *in the corpus* unless a
decision of its ``select`` dropped it. If that run never ran ``select``, all its documents are. All signatures take part
in finding groups, so a page and an earlier one may be connected through a third one that was dropped, as within a run.
But only a document in the corpus can be the reason to drop another one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import pyarrow.parquet as pq
from rensa import RMinHash

from gobelin.data.model import Action, Unit
from gobelin.data.rows import DocumentRow, SignatureRow
from gobelin.data.schemas import IMAGE_SIGNATURES
from gobelin.errors import MissingDataError, UserError
from gobelin.store.dataset import is_committed
from gobelin.store.files import open_input
from gobelin.store.paths import join
from gobelin.store.shards import read_folder, read_rows
from gobelin.store.tables import list_shards
from gobelin.transforms.duplicates.minhash import MinHashConfig, text_signature
from gobelin.transforms.urls import canonical_url

_METADATA = "gobelin.minhash"


def document_signature(document: DocumentRow, text: str, config: MinHashConfig) -> SignatureRow:
    """The signature of a document with this text."""
    signature = text_signature(text, config)
    return {
        "doc_id": document["doc_id"],
        "url_key": canonical_url(document["url"]),
        "warc_date": document["warc_date"],
        "text_digest": signature.digest,
        "bands": list(signature.bands),
        "sketch": signature.sketch,
    }


def signature_metadata(config: MinHashConfig) -> dict[str, str]:
    """Metadata of a signature file: the settings that must be equal for two signatures to be comparable."""
    kind = {
        "bands": config.num_bands,
        "rows": config.num_rows,
        "window": config.window,
        "seed": config.seed,
        "version": [2, RMinHash.ALGORITHM_VERSION],  # versions of the shingles' hashes and of rensa's
    }
    return {_METADATA: json.dumps(kind, sort_keys=True)}


class Candidate(SignatureRow):
    """A signature among those of all runs. ``run``: None for the run that is being scored."""

    run: str | None
    is_kept: bool  # whether it is in the corpus of its run; False for the run that is being scored


def candidate(row: SignatureRow, run: str | None, is_kept: bool) -> Candidate:
    """A signature with its origin."""
    return {**row, "run": run, "is_kept": is_kept}


@dataclasses.dataclass(frozen=True, slots=True)
class EarlierRun:
    """The signatures of another run. ``name``: its output folder as in the recipe."""

    name: str
    documents: tuple[str, ...]  # paths of the shards
    images: tuple[str, ...]

    def dropped(self) -> set[str]:
        """Ids of the documents that are not in its corpus."""
        decisions = join(self.name, "select", "decisions")
        rows = read_folder(decisions, ["unit", "action", "doc_id"]) if is_committed(decisions) else ()
        gone = (Action.DROP, Action.FAIL)
        return {row["doc_id"] for row in rows if row["unit"] == Unit.DOCUMENT and row["action"] in gone}


def open_earlier(folders: tuple[str, ...], config: MinHashConfig) -> tuple[EarlierRun, ...]:
    """The runs that a recipe names.

    Raises:
        UserError: a run has no signatures, or signatures with other settings.
    """
    return tuple(_open_run(folder, config) for folder in folders)


def _open_run(folder: str, config: MinHashConfig) -> EarlierRun:
    paths = {}
    for name in ("documents", "images"):
        data_set = join(folder, "score", "signatures", name)
        try:
            paths[name] = tuple(list_shards(data_set))
        except MissingDataError as error:
            raise UserError(
                f"score.earlier: {folder} holds no signatures ({error}); name the output folder of a run whose score "
                "stage is done"
            ) from None
    wanted = signature_metadata(config)[_METADATA]
    with open_input(paths["documents"][0]) as stream:
        found = (pq.read_schema(stream).metadata or {}).get(_METADATA.encode(), b"none").decode()
    if found != wanted:
        raise UserError(
            f"score.earlier: the signatures of {folder} are of another kind ({found}, wanted {wanted}): give "
            "score.minhash the values of that run, or score it again"
        )
    with open_input(paths["images"][0]) as stream:
        missing = sorted(set(IMAGE_SIGNATURES.names) - set(pq.read_schema(stream).names))
    if missing:
        raise UserError(
            f"score.earlier: the image signatures of {folder} were made by an older gobelin (no {', '.join(missing)}); "
            "run its extract and score stages again"
        )
    return EarlierRun(folder, paths["documents"], paths["images"])


def earlier_rows(run: EarlierRun) -> Iterator[Candidate]:
    """The signatures of a run's documents."""
    dropped = run.dropped()
    for path in run.documents:
        for row in read_rows(path):
            yield candidate(row, run.name, row["doc_id"] not in dropped)
