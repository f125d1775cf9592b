"""Everything that a run knows about one page or image: its content, its scores with their thresholds, and every
decision.

A document or image id determines its shard, so it is found at once. The first six or more characters of an id, and a
canonical URL, are searched in all shards. Decisions are searched in every stage. Nothing is written. Personal data in
texts is masked as in the report; addresses of pages and images are shown unchanged.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gobelin.data.rows import DecisionRow, DocumentRow, FetchRow, ImageRow, NodeRow, NodeScoresRow, Row
from gobelin.data.schemas import IMAGES
from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.report.documents import shown_text
from gobelin.report.find_rows import rows_where, rows_with_ids
from gobelin.store.files import local_copy, read_json
from gobelin.store.paths import join
from gobelin.store.shards import read_rows
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.rules import (
    HEAD,
    Rule,
    document_rules,
    has_own_caption,
    image_rules,
    passes,
    plugin_rules,
    text_rules,
    threshold_of,
)
from gobelin.transforms.urls import canonical_url

_DOC_ID = re.compile(r"[0-9a-f]{32}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_SHORT_ID = re.compile(r"([0-9a-f]{6,63})(?:…|\.\.\.)?")
_SUGGESTED = 5
_STAGES = ("extract", "score", "select", "tokenize")
_TEXT_CHARS = 100
_NOT_SHOWN = {"nodes", "doc_id", "image_id", "data", "kind", "url", "earlier"}
_FACTS = ("format", "width", "height", "consent")
"""Columns of an image that are shown whether or not the recipe compares them."""


class NotFoundError(UserError):
    """The run has no such page, image or decision."""


def explain(output: str, subject: str, all_scores: bool = False) -> Iterator[str]:
    """Lines that describe what happened to a page or an image.

    Args:
        subject: a ``doc_id``, an ``image_id``, the beginning of one, or the URL of either.
        all_scores: whether to print every score of every node. Otherwise prints, for nodes, only scores that a rule of
            the recipe compares, and no zeros under an upper limit.

    Raises:
        NotFoundError: the run has no page, image, fetch or decision of that name.
    """
    if not _shards(join(output, "extract", "documents")):
        raise NotFoundError(f"{output}: stage extract has not run, so there is nothing to explain")
    subject = _whole_id(output, subject)
    compare = Comparison.of(output, all_scores)
    documents, images = _find(output, subject)
    decisions = list(_decisions_on(output, subject, documents, images))
    fetches = _fetches(output, {subject})
    if not (documents or images or decisions or fetches):
        raise NotFoundError(
            f"{output}: no page, image or decision of {subject!r}; give a URL as archived, a doc_id or an image_id"
            + _suggestion(output, subject)
        )
    for document in documents:
        own = [row for row in decisions if row["doc_id"] == document["doc_id"]]
        yield from _document(output, document, own, compare)
        yield ""
    for image in images:
        own = [row for row in decisions if row["image_id"] == image["image_id"]]
        yield from _image(output, image, own, compare)
        yield ""
    for fetch in fetches.values():
        yield f"fetch {fetch['url']}"
        yield f"  result    {_fetch(fetch)}"
        yield ""
    told = {row["doc_id"] for row in documents} | {row["image_id"] for row in images}
    others = [row for row in decisions if row["doc_id"] not in told and row["image_id"] not in told]
    if others:
        yield "left out before it was stored" if not (documents or images) else "other records of it"
        yield from map(_decision, others)


Limits = dict[str, list[tuple[Rule, Any]]]
"""Score -> the rules that it is compared with, with their thresholds: numbers, or words for those that are not computed
yet."""


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """The rules that a recipe switches on, with the thresholds for scores."""

    config: SelectConfig
    resolved: dict[str, Any]  # what relative thresholds came to, by rule
    all_scores: bool

    @classmethod
    def of(cls, output: str, all_scores: bool) -> Comparison:
        """Reads the folder's recipe and ``run.json``."""
        run = read_json(join(output, "run.json"))
        resolved = run["stages"].get("select", {}).get("thresholds", {})
        with local_copy(join(output, "recipe.yaml")) as path:
            return cls(load_recipe(path).select, resolved, all_scores)

    def _limits(self, rules: Iterable[Rule]) -> Limits:
        limits: Limits = {}
        for rule in rules:
            threshold = threshold_of(rule, self.config)
            if rule.score is not None and threshold is not None:
                number = threshold if isinstance(threshold, (int, float)) else self.resolved.get(rule.name, "a place")
                limits.setdefault(rule.score, []).append((rule, number))
        return limits

    def lines(self, scores: Mapping[str, Any], rules: Iterable[Rule]) -> Iterator[str]:
        """Yields a line for each score that one of the rules compares, then one line for the other scores."""
        values, limits = _flat(scores), self._limits(rules)
        for name, held in limits.items():
            if name in values:
                yield f"  score     {name:<28}{_number(values[name]):>10}   {_held(values[name], held)}"
        others = ", ".join(f"{name} {_number(value)}" for name, value in values.items() if name not in limits)
        if others:
            yield f"  others    {others}"

    def _on_text(self, role: str) -> tuple[Rule, ...]:
        return (*text_rules(role, role not in self.config.text.not_prose), *plugin_rules(self.config, "text"))

    def of_node(self, scores: NodeScoresRow, node: NodeRow) -> str:
        """The scores of a node in one line."""
        is_captioned = has_own_caption(node["caption"], node["link_url"])
        on_image = image_rules(self.config, is_captioned)
        limits = self._limits(self._on_text(node["role"] or "") if node["kind"] == "text" else on_image)
        shown = []
        for name, value in _flat(scores).items():
            held = limits.get(name, [])
            says_something = value != 0 or any(rule.keeps_above for rule, _ in held)
            if self.all_scores or (held and says_something) or (value and name in _FACTS):
                shown.append(f"{name} {_number(value)}{f' ({_held(value, held)})' if held else ''}")
        return ", ".join(shown)


def _held(value: Any, held: list[tuple[Rule, Any]]) -> str:
    """The comparisons of a score in words, and whether it breaks them. (A decision names only the first broken
    rule.)"""
    words = []
    for rule, threshold in held:
        is_broken = isinstance(threshold, (int, float)) and not passes(rule, value, threshold)
        limit = f"{'at least' if rule.keeps_above else 'at most'} {_number(threshold)}"
        words.append(limit + (": broken" if is_broken else ""))
    return ", ".join(words)


def _flat(scores: Mapping[str, Any]) -> Row:
    """The scores that are not null. Scores of the user's heads have the names that rules use."""
    heads = {f"{HEAD}{held['name']}": held["value"] for held in scores.get("heads") or ()}
    named = {name: value for name, value in scores.items() if name not in _NOT_SHOWN and name != "heads"}
    return {name: value for name, value in {**named, **heads}.items() if value is not None}


def _shards(folder: str) -> list[str]:
    """The shards of a data set that exist, because a run may be inspected in any state."""
    return list_shards(folder, may_be_unfinished=True)


def _tables(folder: str) -> Iterator[pa.Table]:
    for path in _shards(folder):
        yield from read_tables(path)


def _whole_id(output: str, subject: str) -> str:
    """The single id that begins with the subject; the subject itself if no id does, or if it cannot be a part of an
    id."""
    short = _SHORT_ID.fullmatch(subject)
    if short is None or _DOC_ID.fullmatch(subject):
        return subject
    found = {
        value
        for folder, name in (("documents", "doc_id"), ("images", "image_id"))
        for path in _shards(join(output, "extract", folder))
        for table in read_tables(path, [name])
        for value in table[name].to_pylist()
        if value.startswith(short[1])
    }
    if len(found) > 1:
        listed = ", ".join(sorted(found)[:_SUGGESTED])
        raise NotFoundError(f"{output}: {len(found)} ids begin with {short[1]}: give more of one, as {listed}")
    return found.pop() if found else subject


def _suggestion(output: str, subject: str) -> str:
    """A hint with pages whose address contains the subject."""
    urls = sorted(
        url
        for path in _shards(join(output, "extract", "documents"))
        for row in read_rows(path, ["url"])
        for url in [row["url"]]
        if subject.lower() in url.lower()
    )
    return f". Pages whose address holds it: {', '.join(urls[:_SUGGESTED])}" if urls else ""


def _find(output: str, subject: str) -> tuple[list[DocumentRow], list[ImageRow]]:
    documents, images = join(output, "extract", "documents"), join(output, "extract", "images")
    if _DOC_ID.fullmatch(subject):
        return _by_id(documents, "doc_id", subject), []
    if _IMAGE_ID.fullmatch(subject):
        return [], _by_id(images, "image_id", subject, _IMAGE_COLUMNS)
    key = canonical_url(subject)

    def is_page(urls: pa.ChunkedArray) -> pa.Array:
        return pa.array([canonical_url(url) == key for url in urls.to_pylist()], pa.bool_())

    def is_picture(urls: pa.ChunkedArray) -> pa.Array:
        return pa.array([any(canonical_url(url) == key for url in each) for each in urls.to_pylist()], pa.bool_())

    return list(rows_where(documents, "url", is_page)), list(rows_where(images, "urls", is_picture, _IMAGE_COLUMNS))


_IMAGE_COLUMNS = [name for name in IMAGES.names if name != "data"]


def _by_id(folder: str, name: str, identifier: str, columns: list[str] | None = None) -> list[Any]:
    return list(rows_with_ids(folder, name, {identifier}, columns))


def _decisions_on(
    output: str, subject: str, documents: list[DocumentRow], images: list[ImageRow]
) -> Iterator[DecisionRow]:
    doc_ids = {row["doc_id"] for row in documents} | ({subject} if _DOC_ID.fullmatch(subject) else set())
    image_ids = {row["image_id"] for row in images} | ({subject} if _IMAGE_ID.fullmatch(subject) else set())
    key = canonical_url(subject)
    for stage in _STAGES:
        for table in _tables(join(output, stage, "decisions")):
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


def _document(output: str, document: DocumentRow, decisions: list[DecisionRow], compare: Comparison) -> Iterator[str]:
    yield f"document {document['doc_id']}"
    yield f"  url       {document['url']}"
    yield f"  archive   {document['warc_file']} at {document['warc_offset']:,}, captured {document['warc_date']}"
    title = shown_text(document["title"])
    yield f"  language  {document['language']} ({_number(document['language_score'])})   title: {title}"
    kind = document["page_kind"] or "unknown"
    yield f"  read as   {document['charset']}, main content by {document['extractor']}, kind of page: {kind}"
    for licence in document["licences"]:
        yield f"  licence   {licence['uri']} ({licence['scope']}, {licence['evidence']})"
    for signal in document["consent"]:
        yield f"  opt-out   {signal}"
    scores = next(iter(_by_id(join(output, "score", "documents"), "doc_id", document["doc_id"])), None)
    if scores is not None:
        yield from compare.lines(
            {"language_score": document["language_score"], **scores}, document_rules(compare.config)
        )
        for held in scores["earlier"] or ():
            yield f"  earlier   {held['kind']}: {held['doc_id']} of {held['run']}"
    own = [row for row in decisions if row["node_index"] is None and row["unit"] == "document"]
    kept = bool(_by_id(join(output, "select", "documents"), "doc_id", document["doc_id"], ["doc_id"]))
    if _shards(join(output, "select", "documents")):
        yield f"  select    {'kept' if kept else 'dropped'}"
    yield from map(_decision, own)
    by_node: dict[int, list[DecisionRow]] = {}
    for row in decisions:
        if row["node_index"] is not None:
            by_node.setdefault(row["node_index"], []).append(row)
    lacking = {node["image_url"] for node in document["nodes"] if node["image_url"] and not node["image_id"]}
    fetches = _fetches(output, lacking)
    for index, node in enumerate(document["nodes"]):
        yield f"  {index:>4}  {_node(node, fetches.get(canonical_url(node['image_url'] or '')))}"
        shown = compare.of_node(scores["nodes"][index], node) if scores is not None else ""
        if shown:
            yield f"        {shown}"
        for row in by_node.get(index, []):
            yield f"      {_decision(row)}"


def _fetches(output: str, urls: set[str]) -> dict[str, FetchRow]:
    """What fetching gave for the URLs, by canonical form."""
    keys = set(map(canonical_url, urls))

    def is_asked(each: pa.ChunkedArray) -> pa.Array:
        return pa.array([canonical_url(url) in keys for url in each.to_pylist()], pa.bool_())

    rows = rows_where(join(output, "extract", "fetches"), "url", is_asked) if keys else ()
    return {canonical_url(row["url"]): row for row in rows}


def _fetch(row: FetchRow) -> str:
    reason = row["detail"] or (f"HTTP {row['http_status']}" if row["http_status"] else "")
    return f"{row['status']}{f' ({reason})' if reason else ''}, requests: {row['tries']}"


def _node(node: NodeRow, fetch: FetchRow | None) -> str:
    if node["kind"] == "text":
        text = " ".join(shown_text(node["text"]).split())
        return f"{node['role']}: {text[:_TEXT_CHARS]}{'…' if len(text) > _TEXT_CHARS else ''}"
    missing = f"not in the archive; fetch: {_fetch(fetch)}" if fetch else "not in the archive"
    described = f"image {node['image_id'] or missing}  {(node['image_url'] or '')[:_TEXT_CHARS]}"
    said = "".join(
        f"\n        {name}: {shown_text(node[name])[:_TEXT_CHARS]}" for name in ("caption", "alt") if node[name]
    )
    return described + said


def _image(output: str, image: ImageRow, decisions: list[DecisionRow], compare: Comparison) -> Iterator[str]:
    yield f"image {image['image_id']}"
    yield f"  file      {image['format']}, {image['width']} x {image['height']} px, from {image['source']}"
    yield f"  archive   {image['warc_file']} at {image['warc_offset']:,}"
    for url in image["urls"]:
        yield f"  url       {url}"
    for signal in image["consent"]:
        yield f"  opt-out   {signal}"
    scores = next(iter(_by_id(join(output, "score", "images"), "image_id", image["image_id"])), None)
    if scores is not None:
        yield from compare.lines(scores, image_rules(compare.config))
    dropped = {(row["doc_id"], row["node_index"]) for row in decisions if row["action"] == "drop"}
    for doc_id, index, is_left in _places(output, image["image_id"], dropped):
        yield f"  shown in  {doc_id}, node {index}{'' if is_left is None else ', kept' if is_left else ', left out'}"
    for row in decisions:
        place = "" if row["node_index"] is None else f" in {row['doc_id']}, node {row['node_index']}"
        yield f"{_decision(row)}{place}"


_IMAGES_OF = ["doc_id", "nodes.list.element.image_id"]


def _places(
    output: str, image_id: str, dropped: set[tuple[str | None, int | None]]
) -> Iterator[tuple[str, int, bool | None]]:
    """Yields (document, node, whether the corpus shows it) for each place where a document shows an image.

    Args:
        dropped: (document, node) of the places that a decision dropped; a document may show an image twice.
    """
    left = {
        row["doc_id"]
        for path in _shards(join(output, "select", "documents"))
        for row in read_rows(path, _IMAGES_OF)
        if any(node["image_id"] == image_id for node in row["nodes"])
    }
    has_selected = bool(_shards(join(output, "select", "documents")))
    for path in _shards(join(output, "extract", "documents")):
        for row in read_rows(path, _IMAGES_OF):
            for index, node in enumerate(row["nodes"]):
                if node["image_id"] == image_id:
                    is_left = row["doc_id"] in left and (row["doc_id"], index) not in dropped
                    yield row["doc_id"], index, is_left if has_selected else None


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _decision(row: DecisionRow) -> str:
    compared = ""
    is_summary = row["stage"] == "select" and row["unit"] == "image"  # its value is a number of places: see "shown in"
    if row["value"] is not None and not is_summary:
        compared = f" {_number(row['value'])}"
        if row["threshold"] is not None:
            compared += f" against {_number(row['threshold'])}"
    detail = "no place of it is left" if is_summary else row["detail"]
    detail = f" ({detail})" if detail else ""
    return f"  {row['action']:<9} {row['stage']}: {row['rule']}{compared}{detail}"
