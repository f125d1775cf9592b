"""One document or image in detail, for ``gobelin browse``: its page, its nodes with their decisions, its tokens.

No content of the web reaches the browser unchanged. Texts are sent as JSON and inserted as text. Images are decoded and
encoded again, with known faces blurred. A page is shown as its source, or without everything that loads or runs.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from typing import Any

import lxml.html
import numpy as np
from lxml import etree
from PIL import Image as PillowImage

from gobelin.data.model import Action, Decision, Role, Unit
from gobelin.data.rows import DocumentRow, DocumentScoresRow, NodeRow
from gobelin.data.table_text import table_cells
from gobelin.pipeline.ask.explain import Comparison
from gobelin.pipeline.browse.collection import AskError, Changes, Collection, JsonObject
from gobelin.report.documents import head_of, safe_href, shown_text
from gobelin.report.find_rows import rows_with_ids
from gobelin.store.files import exists
from gobelin.store.paths import join
from gobelin.transforms.archives.ranges import ArchiveRange
from gobelin.transforms.archives.read_warc import PageCapture, read_range
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.pages.tree.decode_text import decode
from gobelin.transforms.selection.columns.judged import STAYS
from gobelin.transforms.selection.select import judge_document
from gobelin.transforms.vision.faces import blur_faces, boxes_of

MAX_SOURCE = 2_000_000
"""Characters of a page's source that are shown."""

MAX_SIDE_PX = 2400
THUMBNAIL_PX = 320
_QUALITY = {THUMBNAIL_PX: 70, MAX_SIDE_PX: 88}
_MAX_TOKENS = 4000

_NOT_SHOWN = (
    "script", "noscript", "link", "base", "meta", "iframe", "frame", "frameset", "object", "embed", "applet",
    "portal", "template", "audio", "video", "source", "track",
)  # fmt: skip
_LOADING = (
    "src",
    "srcset",
    "poster",
    "background",
    "data",
    "ping",
    "action",
    "formaction",
    "manifest",
    "codebase",
    "href",
)


def document(collection: Collection, doc_id: str, changes: Changes) -> JsonObject:
    """A document with every node, the decisions under changed thresholds, the stored decisions and its tokens."""
    place = collection.places.get(doc_id)
    if place is None:
        raise AskError(f"the run has no document {doc_id!r} with scores")
    row: DocumentRow = _row(collection.output, ("extract", "documents"), doc_id)
    scores: DocumentScoresRow = _row(collection.output, ("score", "documents"), doc_id)
    recipe, judged = collection.changed(changes), collection.judged(changes)
    verdict = judge_document(row, scores, recipe.select)
    compare = Comparison(recipe.select, {}, False)
    broken = {
        each.node_index: each for each in verdict.decisions if each.unit is Unit.NODE and each.action is Action.DROP
    }
    replaced = {each.node_index for each in verdict.decisions if each.action is Action.REPLACE}
    code = int(judged.documents[place])
    rule = "" if code == STAYS else judged.names["document"][code]
    own = next((each for each in verdict.decisions if each.unit is Unit.DOCUMENT and each.rule == rule), None)
    first = int(collection.columns.image_ends[place])
    unsafe = collection.is_unsafe(np.arange(first, int(collection.columns.image_ends[place + 1])))
    return {
        "doc_id": doc_id, "url": row["url"], "href": safe_href(row["url"]), "title": shown_text(row["title"]),
        "language": row["language"] or "", "language_score": row["language_score"], "page_kind": row["page_kind"],
        "date": row["warc_date"], "warc_file": row["warc_file"], "warc_offset": row["warc_offset"],
        "extractor": row["extractor"], "licences": sorted({each["uri"] for each in row["licences"]}),
        "consent": row["consent"], "rule": rule, "meaning": collection.meaning(rule) if rule else "",
        "decision": _decision(own) if own else None,
        "lines": [line.strip() for line in compare.lines(scores, _document_rules(recipe.select))],
        "nodes": list(_nodes(row, scores, broken, replaced, compare, unsafe)),
    }  # fmt: skip


def _document_rules(select: Any) -> Any:
    from gobelin.transforms.selection.rules import document_rules

    return document_rules(select)


def _nodes(
    row: DocumentRow,
    scores: DocumentScoresRow,
    broken: dict[Any, Decision],
    replaced: set[Any],
    compare: Comparison,
    unsafe: Any,
) -> Iterator[JsonObject]:
    num_images = 0
    for index, (node, score) in enumerate(zip(row["nodes"], scores["nodes"], strict=True)):
        decision = broken.get(index)
        is_image = node["kind"] == "image"
        yield {
            "index": index, "kind": node["kind"], "role": node["role"] or "paragraph", "level": node["level"] or 1,
            "text": shown_text(node["text"]), "alt": shown_text(node["alt"]), "caption": shown_text(node["caption"]),
            **_structure(node),
            "image_id": score["image_id"] if is_image else None, "image_url": node["image_url"],
            "unsafe": bool(is_image and unsafe[num_images]), "scores": compare.of_node(score, node),
            "rule": decision.rule if decision else "", "decision": _decision(decision) if decision else None,
            "masked": index in replaced,
        }  # fmt: skip
        num_images += is_image


def _structure(node: NodeRow) -> JsonObject:
    """The language of code; the cells of a table, and its number of header rows."""
    if node["role"] == Role.TABLE:
        return {"table": table_cells(shown_text(node["text"])), "header_rows": head_of(node)}
    return {"code_language": node.get("code_language") or ""}


def _decision(decision: Decision) -> JsonObject:
    return {
        "rule": decision.rule, "value": decision.value, "threshold": decision.threshold,
        "detail": shown_text(decision.detail),
    }  # fmt: skip


def _row(output: str, data_set: tuple[str, str], doc_id: str) -> Any:
    found = next(rows_with_ids(join(output, *data_set), "doc_id", {doc_id}), None)
    if found is None:
        raise AskError(f"{'/'.join(data_set)} has no document {doc_id!r}")
    return found


def stored_decisions(collection: Collection, doc_id: str) -> list[JsonObject]:
    """The decisions of all stages on a document, by stage."""
    names = ("stage", "unit", "action", "rule", "node_index", "value", "threshold", "detail")
    return [
        {**{name: row[name] for name in names}, "detail": shown_text(row["detail"])}
        for stage in ("score", "select", "tokenize")
        for row in rows_with_ids(join(collection.output, stage, "decisions"), "doc_id", {doc_id})
    ]


def tokens(collection: Collection, doc_id: str) -> JsonObject:
    """A document's tokens in runs: the text of text tokens, names of special tokens, images."""
    folder = join(collection.output, "tokenize")
    if collection.run["stages"].get("tokenize", {}).get("status") != "done":
        return {"pieces": [], "why": "The stage tokenize has not run."}
    row = next(rows_with_ids(join(folder, "shards"), "doc_id", {doc_id}, ["doc_id", "tokens", "image_spans"]), None)
    if row is None:
        return {
            "pieces": [],
            "why": "It is not among the tokens: the recipe of the run dropped it, or nothing of it was left.",
        }
    try:
        vocabulary, tokenizer = _tokenizer(folder)
    except ModuleNotFoundError:
        return {"pieces": [], "why": "Needs gobelin[models]: the text tokenizer is not installed."}
    first_text, first_image = vocabulary.text_offset, vocabulary.image_offset
    starts = {span["start"]: span for span in row["image_spans"]}
    pieces: list[JsonObject] = []
    place, all_tokens = 0, row["tokens"]
    while place < len(all_tokens) and place < _MAX_TOKENS:
        begin = place
        if place in starts:
            place += starts[place]["length"]
            codes = [token - first_image for token in all_tokens[begin : min(place, begin + 12)]]
            pieces.append({"kind": "image", "text": " ".join(map(str, codes)), "number": place - begin,
                           "image_id": starts[begin]["image_id"]})  # fmt: skip
        elif all_tokens[place] < first_text:
            place += 1
            pieces.append({"kind": "special", "text": vocabulary.special_tokens[all_tokens[begin]], "number": 1})
        else:
            while place < len(all_tokens) and first_text <= all_tokens[place] < first_image:
                place += 1
            ids = [token - first_text for token in all_tokens[begin:place]]
            pieces.append({"kind": "text", "number": place - begin, "text": shown_text(tokenizer.decode(ids)),
                           "tokens": [tokenizer.decode([each]) for each in ids]})  # fmt: skip
    return {"pieces": pieces, "total": len(all_tokens), "why": ""}


@functools.lru_cache(maxsize=4)
def _tokenizer(folder: str) -> tuple[Any, Any]:
    from gobelin.tokenize.text_tokenizer import TextTokenizer
    from gobelin.tokenize.vocabulary import Vocabulary

    return Vocabulary.load(folder), TextTokenizer.load(join(folder, "text_tokenizer.json"))


def source(collection: Collection, doc_id: str) -> str:
    """The source of the archived page, as text. Raises ``AskError`` if its archive was moved or has changed."""
    row: DocumentRow = _row(collection.output, ("extract", "documents"), doc_id)
    path, _, member = row["warc_file"].partition("!")
    if not exists(path):
        raise AskError(f"the archive is no longer at {path}")
    start = row["warc_offset"]
    piece = ArchiveRange(path, start, start + 1, member or None)
    for found in read_range(piece, 1 << 24, 1 << 24):
        if isinstance(found, PageCapture) and found.capture.url == row["url"]:
            return decode(found.capture.payload, found.capture.charset)[0]
    raise AskError(f"{row['warc_file']} holds no such page at byte {start:,}: it has changed, or shares a gzip member")


def rendered(text: str) -> bytes:
    """A page without anything that loads, runs or navigates. Layout and inline styles remain."""
    try:  # as bytes: lxml takes no text that says its encoding, as XHTML does
        tree = lxml.html.document_fromstring(text.encode(errors="replace"), lxml.html.HTMLParser(encoding="utf-8"))
    except etree.ParserError:
        return b"<!doctype html><p>The page is empty."
    etree.strip_elements(tree, *_NOT_SHOWN, with_tail=False)
    etree.strip_tags(tree, "form")  # some pages stand in one whole
    for element in tree.iter(etree.Element):
        for name in list(element.attrib):
            plain = str(name).rpartition("}")[2].rpartition(":")[2].lower()
            if plain.startswith("on") or plain in _LOADING:
                del element.attrib[name]
    return b"<!doctype html>" + etree.tostring(tree, encoding="utf-8", method="html")


def picture(collection: Collection, image_id: str, side: int) -> bytes | None:
    """An image as WebP, with the longer side at most ``side`` pixels and known faces blurred. None if it is not stored
    or cannot be decoded."""
    side = THUMBNAIL_PX if side <= THUMBNAIL_PX else MAX_SIDE_PX
    return _picture(collection.output, image_id, side)


@functools.lru_cache(maxsize=400)
def _picture(output: str, image_id: str, side: int) -> bytes | None:
    wanted = {image_id}
    row = next(rows_with_ids(join(output, "extract", "images"), "image_id", wanted, ["image_id", "data"]), None)
    if row is None:
        return None
    faces = boxes_of(rows_with_ids(join(output, "score", "images"), "image_id", wanted, ["image_id", "faces"]))
    try:
        made = blur_faces(open_rgb(row["data"], 2 * side), faces.get(image_id, ()))
    except OSError:
        return None
    made.thumbnail((side, side), PillowImage.Resampling.LANCZOS)
    stream = io.BytesIO()
    made.save(stream, "WEBP", quality=_QUALITY[side], method=2)
    return stream.getvalue()


def texts_of(collection: Collection, places: list[int]) -> dict[int, JsonObject]:
    """Texts by their places among all texts, each with its document, its index there, and its content."""
    columns = collection.columns
    nodes = columns.text_nodes[places]
    index = columns.place_in_document(nodes)
    ids = [columns.ids[int(each)].as_py() for each in columns.of_document[nodes]]
    rows = {
        row["doc_id"]: row["nodes"]
        for row in rows_with_ids(
            join(collection.output, "extract", "documents"), "doc_id", set(ids), ["doc_id", "nodes"]
        )
    }
    return {
        place: {"doc_id": doc_id, "node": int(at), "text": shown_text(rows[doc_id][int(at)]["text"])[:400]}
        for place, doc_id, at in zip(places, ids, index)
    }
