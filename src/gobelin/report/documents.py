"""Documents for people: texts and images in order, with the parts that rules dropped marked in place."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from gobelin.data.model import Role
from gobelin.data.rows import DecisionRow, DocumentRow, LicenceRow, NodeRow, NodeScoresRow
from gobelin.data.table_text import table_cells
from gobelin.report.find_rows import rows_with_ids
from gobelin.report.reasons import rank_of
from gobelin.store.paths import join
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.text.pii import replace_pii
from gobelin.transforms.urls import split_url

MAX_VIEWS = 60
MAX_PICTURES = 10
MAX_CHARS = 700
"""What is shown of one document at most (nodes, a run of left-out texts counting once), and of one text."""

RUN_TEXTS = 4
RUN_CHARS = 70
"""What is shown of neighbouring texts that were left out."""

SIMILARITIES = {
    "clip_near_max": "neighbouring text",
    "clip_text_max": "best text",
    "clip_caption": "caption",
    "clip_alt": "alt",
}


@dataclasses.dataclass(frozen=True, slots=True)
class NodeView:
    """One node for the page, or a run of dropped texts. ``decision`` is the one that dropped a single node."""

    kind: str  # text | image | run
    decision: DecisionRow | None = None
    text: str = ""
    role: str = "paragraph"  # of a text: a value of ``Role``
    level: int = 1  # a heading's, or a list item's nesting, from 1
    num_hidden_chars: int = 0
    code_language: str | None = None  # of code
    table: tuple[tuple[str, ...], ...] = ()  # rows of a table's cells, all equally long
    header_rows: int = 0  # of a table
    image_id: str | None = None
    image_url: str | None = None
    alt: str = ""
    caption: str = ""
    similarities: tuple[tuple[str, float], ...] = ()
    is_shown: bool = True  # whether its picture is
    rules: tuple[tuple[str, int], ...] = ()  # of a run: (rule, texts it left out)


@dataclasses.dataclass(frozen=True, slots=True)
class DocumentView:
    """One document for the page. ``decision`` is the one that dropped it."""

    doc_id: str
    url: str
    title: str
    language: str | None
    language_score: float | None
    licences: tuple[str, ...]  # URIs, each once
    consent: tuple[str, ...]
    source: str  # archive and offset
    decision: DecisionRow | None
    nodes: tuple[NodeView, ...]
    num_texts: int
    num_images: int
    num_nodes_dropped: int
    num_views_hidden: int


def _uris(licences: Iterable[LicenceRow]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(licence["uri"] for licence in licences))


def safe_href(url: str | None) -> str | None:
    """The URL if it is http or https, so that no click runs a script; otherwise None."""
    if url is None:
        return None
    parts = split_url(url)
    return url if parts is not None and parts.scheme in ("http", "https") and parts.netloc else None


def choose_documents(folder: str, limit: int) -> list[str]:
    """Ids of a random sample of a data set's documents: those with the smallest ranks, in their order."""
    ids = (
        doc_id
        for path in list_shards(folder)
        for table in read_tables(path, ["doc_id"])
        for doc_id in table["doc_id"].to_pylist()
    )
    return heapq.nsmallest(limit, ids, key=rank_of)


def view_documents(
    output: str, doc_ids: Iterable[str], withheld: set[str], done: Container[str]
) -> dict[str, DocumentView]:
    """Documents of the stage ``extract`` for the page, by id.

    Args:
        done: the stages whose data sets belong to this run.
        withheld: images that are never shown.
    """
    wanted = set(doc_ids)
    scores = {
        row["doc_id"]: row["nodes"]
        for row in rows_with_ids(join(output, "score", "documents"), "doc_id", wanted, ["doc_id", "nodes"])
    }
    decisions: dict[str, list[DecisionRow]] = {doc_id: [] for doc_id in wanted}
    for stage in (name for name in ("score", "select", "tokenize") if name in done):
        for decision in rows_with_ids(join(output, stage, "decisions"), "doc_id", wanted):
            decisions[decision["doc_id"]].append(decision)
    return {
        row["doc_id"]: _view(row, scores.get(row["doc_id"]), decisions[row["doc_id"]], withheld)
        for row in rows_with_ids(join(output, "extract", "documents"), "doc_id", wanted)
    }


class ShownNode(TypedDict):
    """A node and its document, in words for people."""

    url: str
    title: str
    text: str


def read_nodes(output: str, places: set[tuple[str, int]]) -> dict[tuple[str, int], ShownNode]:
    """The nodes at these (doc_id, node_index) places; index -1 stands for the document itself."""
    found: dict[tuple[str, int], ShownNode] = {}
    by_document: dict[str, list[int]] = {}
    for doc_id, index in places:
        by_document.setdefault(doc_id, []).append(index)
    for row in rows_with_ids(
        join(output, "extract", "documents"), "doc_id", set(by_document), ["doc_id", "url", "title", "nodes"]
    ):
        for index in by_document[row["doc_id"]]:
            node = row["nodes"][index] if index >= 0 else None
            text = shown_text(node["text"] if node else None)
            found[row["doc_id"], index] = {"url": row["url"], "title": shown_text(row["title"]), "text": text}
    return found


def _view(
    row: DocumentRow, scores: Sequence[NodeScoresRow] | None, decisions: list[DecisionRow], withheld: set[str]
) -> DocumentView:
    broken = {
        decision["node_index"]: decision
        for decision in decisions
        if decision["unit"] == "node" and decision["action"] == "drop" and decision["node_index"] is not None
    }
    verdict = next(
        (decision for decision in decisions if decision["unit"] == "document" and decision["action"] != "replace"), None
    )
    nodes: list[NodeView] = []
    num_pictures = 0
    for group in _runs(row["nodes"], broken):
        index, node = group[0]
        if len(group) > 1:
            nodes.append(_run([node["text"] or "" for _, node in group], [broken[index]["rule"] for index, _ in group]))
        elif node["kind"] == "text":
            nodes.append(_text(node, broken.get(index)))
        else:
            num_pictures += node["image_id"] is not None
            is_shown = num_pictures <= MAX_PICTURES and node["image_id"] not in withheld
            nodes.append(_image(node, broken.get(index), scores[index] if scores else {}, is_shown))
    kinds = [node["kind"] for node in row["nodes"]]
    return DocumentView(
        doc_id=row["doc_id"], url=row["url"], title=shown_text(row["title"]), language=row["language"],
        language_score=row["language_score"], licences=_uris(row["licences"]), consent=tuple(row["consent"]),
        source=f"{row['warc_file'].rpartition('/')[2]} at byte {row['warc_offset']:,}", decision=verdict,
        nodes=tuple(nodes[:MAX_VIEWS]), num_texts=kinds.count("text"), num_images=kinds.count("image"),
        num_nodes_dropped=len(broken), num_views_hidden=max(0, len(nodes) - MAX_VIEWS),
    )  # fmt: skip


def _runs(nodes: Sequence[NodeRow], broken: Mapping[int, DecisionRow]) -> list[list[tuple[int, NodeRow]]]:
    """The nodes one by one, except that adjacent dropped texts form one run."""
    groups: list[list[tuple[int, NodeRow]]] = []
    was_dropped_text = False
    for index, node in enumerate(nodes):
        is_dropped_text = node["kind"] == "text" and index in broken
        if is_dropped_text and was_dropped_text:
            groups[-1].append((index, node))
        else:
            groups.append([(index, node)])
        was_dropped_text = is_dropped_text
    return groups


def _run(texts: list[str], rules: list[str]) -> NodeView:
    shown = " · ".join(_shorten(shown_text(text)) for text in texts[:RUN_TEXTS])
    hidden = f" · and {len(texts) - RUN_TEXTS:,} more" if len(texts) > RUN_TEXTS else ""
    return NodeView("run", text=shown + hidden, rules=tuple(Counter(rules).most_common()))


def _shorten(text: str) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= RUN_CHARS else folded[:RUN_CHARS].rstrip() + " …"


def _text(node: NodeRow, decision: DecisionRow | None) -> NodeView:
    text = shown_text(node["text"])
    hidden = len(text) - MAX_CHARS
    role, level = node["role"] or "paragraph", node["level"] or 1
    if hidden <= MAX_CHARS // 8:  # not worth a remark
        hidden = 0
    else:
        text = text[:MAX_CHARS].rstrip()
    rows = table_cells(text) if role == Role.TABLE else []
    return NodeView(
        "text", decision, text, role, level, hidden, node.get("code_language"), tuple(map(tuple, rows)), head_of(node),
    )  # fmt: skip


def head_of(node: NodeRow) -> int:
    """The number of header rows of a table; 1 if unknown."""
    known = node.get("header_rows")
    return 1 if known is None else known


def _image(node: NodeRow, decision: DecisionRow | None, scores: Mapping[str, Any], is_shown: bool) -> NodeView:
    return NodeView(
        "image", decision, image_id=node["image_id"], image_url=node["image_url"], alt=shown_text(node["alt"]),
        caption=shown_text(node["caption"]), similarities=_similarities(scores), is_shown=is_shown,
    )  # fmt: skip


def _similarities(scores: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    found = ((title, scores.get(name)) for name, title in SIMILARITIES.items())
    return tuple((title, value) for title, value in found if value is not None)


def shown_text(text: str | None) -> str:
    """Text for people. Personal data is masked, whatever the recipe does with it."""
    return replace_pii(text)[0] if text else ""
