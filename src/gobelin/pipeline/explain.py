"""The whole story of one page or image: what was found, every score, every decision with its threshold.

A document or image id names its shard, so those are found at once; a URL is looked for in the URL column of all
shards, under its canonical form. Decisions are looked for in every stage. Reads only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gobelin.documents import shard_of
from gobelin.transforms.shards import list_shards, read_rows
from gobelin.transforms.urls import canonical_url

Row = dict[str, Any]

_DOC_ID = re.compile(r"[0-9a-f]{32}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_STAGES = ("extract", "score", "select", "tokenize")
_TEXT_CHARS = 100
_NOT_SHOWN = {"nodes", "doc_id", "image_id", "data", "kind", "url"}


class NotFoundError(ValueError):
    """The run knows nothing of what was asked for."""


def explain(output: Path, subject: str) -> Iterator[str]:
    """Lines that tell what happened to a page or an image.

    Args:
        subject: a ``doc_id``, an ``image_id``, or the URL of either.

    Raises:
        NotFoundError: the run has neither a page nor an image nor a decision of that name.
    """
    if not list_shards(str(output / "extract" / "documents")):
        raise NotFoundError(f"{output}: stage extract has not run, so there is nothing to explain")
    documents, images = _find(output, subject)
    decisions = list(_decisions_on(output, subject, documents, images))
    if not (documents or images or decisions):
        raise NotFoundError(
            f"{output}: no page, image or decision of {subject!r}; give a URL as archived, a doc_id or an image_id"
        )
    for document in documents:
        yield from _document(output, document, [row for row in decisions if row["doc_id"] == document["doc_id"]])
        yield ""
    for image in images:
        yield from _image(output, image, [row for row in decisions if row["image_id"] == image["image_id"]])
        yield ""
    told = {row["doc_id"] for row in documents} | {row["image_id"] for row in images}
    others = [row for row in decisions if row["doc_id"] not in told and row["image_id"] not in told]
    if others:
        yield "left out before it was stored" if not (documents or images) else "other records of it"
        yield from map(_decision, others)


def _find(output: Path, subject: str) -> tuple[list[Row], list[Row]]:
    documents, images = output / "extract" / "documents", output / "extract" / "images"
    if _DOC_ID.fullmatch(subject):
        return _by_id(documents, "doc_id", subject), []
    if _IMAGE_ID.fullmatch(subject):
        return [], _by_id(images, "image_id", subject, _image_columns(images))
    key = canonical_url(subject)
    found = [
        row
        for path in list_shards(str(documents))
        if any(canonical_url(url) == key for url in pq.read_table(path, columns=["url"])["url"].to_pylist())
        for row in read_rows(path)
        if canonical_url(row["url"]) == key
    ]
    shown = [
        row
        for path in list_shards(str(images))
        for row in read_rows(path, _image_columns(images))
        if any(canonical_url(url) == key for url in row["urls"])
    ]
    return found, shown


def _image_columns(images: Path) -> list[str]:
    return [name for name in pq.read_schema(list_shards(str(images))[0]).names if name != "data"]


def _by_id(folder: Path, name: str, identifier: str, columns: list[str] | None = None) -> list[Row]:
    paths = list_shards(str(folder))
    if not paths:
        return []
    return [row for row in read_rows(paths[shard_of(identifier, len(paths))], columns) if row[name] == identifier]


def _decisions_on(output: Path, subject: str, documents: list[Row], images: list[Row]) -> Iterator[Row]:
    doc_ids = {row["doc_id"] for row in documents} | ({subject} if _DOC_ID.fullmatch(subject) else set())
    image_ids = {row["image_id"] for row in images} | ({subject} if _IMAGE_ID.fullmatch(subject) else set())
    key = canonical_url(subject)
    for stage in _STAGES:
        for path in list_shards(str(output / stage / "decisions")):
            table = pq.read_table(path)
            is_about = pc.or_(
                pc.is_in(table["doc_id"], _strings(doc_ids)),
                pc.is_in(table["image_id"], _strings(image_ids)),
            )
            for row in table.filter(is_about).to_pylist():
                yield row
            if not (_DOC_ID.fullmatch(subject) or _IMAGE_ID.fullmatch(subject)):
                rest = table.filter(pc.invert(is_about))
                for row in rest.to_pylist():
                    if row["unit"] != "node" and row["url"] and canonical_url(row["url"]) == key:
                        yield row


def _strings(values: set[str]) -> pa.Array:
    return pa.array(sorted(values), pa.string())


def _document(output: Path, document: Row, decisions: list[Row]) -> Iterator[str]:
    yield f"document {document['doc_id']}"
    yield f"  url       {document['url']}"
    yield f"  archive   {document['warc_file']} at {document['warc_offset']:,}, captured {document['warc_date']}"
    yield f"  language  {document['language']} ({_number(document['language_score'])})   title: {document['title']}"
    yield f"  read as   {document['charset']}, main content by {document['extractor']}"
    for licence in document["licences"]:
        yield f"  licence   {licence['uri']} ({licence['scope']}, {licence['evidence']})"
    for signal in document["consent"]:
        yield f"  opt-out   {signal}"
    scores = next(iter(_by_id(output / "score" / "documents", "doc_id", document["doc_id"])), None)
    if scores is not None:
        yield f"  scores    {_scores(scores)}"
    own = [row for row in decisions if row["node_index"] is None and row["unit"] == "document"]
    kept = bool(_by_id(output / "select" / "documents", "doc_id", document["doc_id"], ["doc_id"]))
    if list_shards(str(output / "select" / "documents")):
        yield f"  select    {'kept' if kept else 'dropped'}"
    yield from map(_decision, own)
    by_node: dict[int, list[Row]] = {}
    for row in decisions:
        if row["node_index"] is not None:
            by_node.setdefault(row["node_index"], []).append(row)
    for index, node in enumerate(document["nodes"]):
        yield f"  {index:>4}  {_node(node)}"
        if scores is not None:
            yield f"        {_scores(scores['nodes'][index])}"
        for row in by_node.get(index, []):
            yield f"      {_decision(row)}"


def _node(node: Row) -> str:
    if node["kind"] == "text":
        text = " ".join(node["text"].split())
        return f"{node['role']}: {text[:_TEXT_CHARS]}{'…' if len(text) > _TEXT_CHARS else ''}"
    described = f"image {node['image_id'] or 'not in the archive'}  {(node['image_url'] or '')[:_TEXT_CHARS]}"
    said = "".join(f"\n        {name}: {node[name][:_TEXT_CHARS]}" for name in ("caption", "alt") if node[name])
    return described + said


def _image(output: Path, image: Row, decisions: list[Row]) -> Iterator[str]:
    yield f"image {image['image_id']}"
    yield f"  file      {image['format']}, {image['width']} x {image['height']} px, from {image['source']}"
    yield f"  archive   {image['warc_file']} at {image['warc_offset']:,}"
    for url in image["urls"]:
        yield f"  url       {url}"
    for signal in image["consent"]:
        yield f"  opt-out   {signal}"
    scores = next(iter(_by_id(output / "score" / "images", "image_id", image["image_id"])), None)
    if scores is not None:
        yield f"  scores    {_scores(scores)}"
    for doc_id, index, is_left in _places(output, image["image_id"]):
        yield f"  shown in  {doc_id}, node {index}{'' if is_left is None else ', kept' if is_left else ', left out'}"
    yield from map(_decision, decisions)


def _places(output: Path, image_id: str) -> Iterator[tuple[str, int, bool | None]]:
    """(document, node, whether the corpus shows it there) for each place where a document shows an image."""
    left = {
        row["doc_id"]
        for path in list_shards(str(output / "select" / "documents"))
        for row in read_rows(path, ["doc_id", "nodes"])
        if any(node["image_id"] == image_id for node in row["nodes"])
    }
    has_selected = bool(list_shards(str(output / "select" / "documents")))
    for path in list_shards(str(output / "extract" / "documents")):
        for row in read_rows(path, ["doc_id", "nodes"]):
            for index, node in enumerate(row["nodes"]):
                if node["image_id"] == image_id:
                    yield row["doc_id"], index, row["doc_id"] in left if has_selected else None


def _scores(scores: Row) -> str:
    return ", ".join(
        f"{name} {_number(value)}" for name, value in scores.items() if value is not None and name not in _NOT_SHOWN
    )


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _decision(row: Row) -> str:
    compared = ""
    if row["value"] is not None:
        compared = f" {_number(row['value'])}"
        if row["threshold"] is not None:
            compared += f" against {_number(row['threshold'])}"
    detail = f" ({row['detail']})" if row["detail"] else ""
    return f"  {row['action']:<9} {row['stage']}: {row['rule']}{compared}{detail}"
