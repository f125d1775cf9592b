"""Chooses the documents that are held out from training: whole sites, without near-duplicates of training documents.

Pages of one site share a template, an author and often whole sentences. A held-out page of a site in the training set
would measure memorization. A site is a host without a leading ``www.``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from gobelin.pipeline.run.counts import row_groups
from gobelin.store.dataset import is_committed
from gobelin.store.paths import join
from gobelin.train.config import TrainConfig
from gobelin.train.held_out import HeldOut, choose_sites, hash_of
from gobelin.transforms.urls import site_of

_GROUPS = ("exact_group", "near_group")


def hold_out(output: str, config: TrainConfig) -> HeldOut:
    """The split of an output folder's corpus; see ``hold_out_of``."""
    return hold_out_of(join(output, "select", "documents"), join(output, "score", "documents"), config)


def hold_out_of(corpus: str, scores: str, config: TrainConfig) -> HeldOut:
    """The split of a corpus: from the recipe's file, or by a hash of the site's name.

    Held-out documents that ``score`` grouped with training documents as near-duplicates are in neither part. Reads
    addresses and groups one row group at a time. Holds in memory the ids of held-out documents, and one number per
    site.

    Args:
        corpus, scores: data sets of documents, and of their scores.
    """
    given = HeldOut.load(config.held_out) if config.held_out is not None else None
    if given is None:
        counts = Counter(site for _, site in _sites(corpus))
        chosen = choose_sites({hash_of(site): count for site, count in counts.items()}, config.validation_ratio)
        sites = {site for site in counts if hash_of(site) in chosen}
        by_site = [(doc_id, site) for doc_id, site in _sites(corpus) if site in sites]
        if not sites and config.validation_ratio:
            return _without_duplicates(corpus, scores, "document", (), _some(corpus, config.validation_ratio), set())
        return _without_duplicates(corpus, scores, "site", sites, {doc_id for doc_id, _ in by_site}, set())
    listed, known, sites = set(given.documents), set(given.documents) | set(given.left_out), set(given.sites)
    found, others = set(), set()
    for doc_id, site in _sites(corpus):
        if doc_id in listed:
            found.add(doc_id)
        elif doc_id in known or site in sites:
            others.add(doc_id)
    return _without_duplicates(corpus, scores, "file", given.sites, found, others)


def _some(corpus: str, ratio: float) -> set[str]:
    """Single documents, chosen by a hash of their id."""
    return {doc_id for doc_id, _ in _sites(corpus) if hash_of(doc_id) < ratio * 2**64}


def _sites(corpus: str) -> Iterator[tuple[str, str]]:
    """Yields (doc_id, site) of each document."""
    for table in row_groups(corpus, ["doc_id", "url"]):
        for doc_id, url in zip(table["doc_id"].to_pylist(), table["url"].to_pylist()):
            yield doc_id, site_of(url)


def _without_duplicates(
    corpus: str, scores: str, by: str, sites: Collection[str], held_out: set[str], left_out: set[str]
) -> HeldOut:
    """The split, without held-out documents that share a group with a training document."""
    crossing = _crossing(corpus, scores, held_out, left_out)
    return HeldOut(
        by,  # type: ignore[arg-type]
        tuple(sorted(sites)),
        tuple(sorted(held_out - crossing)),
        tuple(sorted(left_out | crossing)),
    )


def _crossing(corpus: str, scores: str, held_out: set[str], left_out: set[str]) -> set[str]:
    """Held-out documents that are near-duplicates of training documents."""
    if not held_out or not is_committed(scores):
        return set()
    apart = held_out | left_out
    groups: dict[str, set[str]] = {name: set() for name in _GROUPS}  # that held-out documents are in
    for table in _grouped(scores, held_out):
        for name in _GROUPS:
            groups[name].update(table[name].drop_null().to_pylist())
    trained = _trained_in(corpus, scores, groups, apart)
    crossing: set[str] = set()
    for table in _grouped(scores, held_out):
        for name in _GROUPS:
            shared = pc.is_in(table[name], pa.array(sorted(trained[name]), pa.string()))
            crossing.update(table["doc_id"].filter(shared).to_pylist())
    return crossing


def _grouped(scores: str, doc_ids: set[str]) -> Iterator[pa.Table]:
    wanted = pa.array(sorted(doc_ids), pa.string())
    for table in row_groups(scores, ["doc_id", *_GROUPS]):
        yield table.filter(pc.is_in(table["doc_id"], wanted))


def _trained_in(corpus: str, scores: str, groups: dict[str, set[str]], apart: set[str]) -> dict[str, set[str]]:
    """The groups that hold a training document. (``score`` also has documents that ``select`` dropped.)"""
    members: list[dict[str, str]] = []
    for table in row_groups(scores, ["doc_id", *_GROUPS]):
        masks = [pc.is_in(table[name], pa.array(sorted(groups[name]), pa.string())) for name in _GROUPS]
        rows = table.filter(pc.or_(*masks)).to_pylist()
        members += [row for row in rows if row["doc_id"] not in apart]
    kept = {row["doc_id"] for row in members}
    in_corpus: set[str] = set()
    for doc_id, _ in _sites(corpus) if kept else ():
        if doc_id in kept:
            in_corpus.add(doc_id)
    return {name: {row[name] for row in members if row["doc_id"] in in_corpus} for name in _GROUPS}
