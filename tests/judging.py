"""Documents of a few nodes with given scores, and what ``select`` decides on them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from gobelin.data.model import Action, Unit
from gobelin.data.rows import Row
from gobelin.data.schemas import DOCUMENT_SCORES, NODE_SCORES
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules, TextRules
from gobelin.transforms.selection.rules import Rule
from gobelin.transforms.selection.select import Verdict, judge_document

SECTIONS = {"document": DocumentRules, "text": TextRules, "image": ImageRules}


def text_node(text: str = "Some words.", **scores: Any) -> tuple[Row, Row]:
    return (
        {"kind": "text", "role": "paragraph", "level": None, "text": text, "image_url": None, "image_id": None,
         "alt": None, "caption": None, "rendered_width": None, "rendered_height": None},
        {**dict.fromkeys(field.name for field in NODE_SCORES), "kind": "text", "num_words": 50, "site_count": 1,
         "num_lorem_ipsum": 0, **scores},
    )  # fmt: skip


def image_node(image_id: str | None = "i0", node: Row | None = None, **scores: Any) -> tuple[Row, Row]:
    described = {
        "kind": "image", "role": None, "text": None, "image_url": "https://a.example/photos/boat.png",
        "image_id": image_id, "alt": None, "caption": None, "rendered_width": None, "rendered_height": None,
        **(node or {}),
    }  # fmt: skip
    known: Row = {}
    if image_id is not None:
        known = {"format": "png", "width": 400, "height": 300, "phash": "0" * 16, "num_documents": 1, "near_count": 1}
    empty = dict.fromkeys(field.name for field in NODE_SCORES)
    return described, {**empty, "kind": "image", "image_id": image_id, **known, **scores}


def judge(
    nodes: list[tuple[Row, Row]],
    config: SelectConfig,
    document: Row | None = None,
    scores: Row | None = None,
) -> Verdict:
    about = {
        "doc_id": "d" * 32, "url": "https://a.example/page", "language": "en", "language_score": 0.99, "title": "T",
        "page_kind": "article", "consent": [], "licences": [], "nodes": [node for node, _ in nodes], **(document or {}),
    }  # fmt: skip
    measured = {
        **dict.fromkeys(DOCUMENT_SCORES.names), "doc_id": "d" * 32, "num_words": 100, "num_images": 1,
        "num_lorem_ipsum": 0, "nodes": [score for _, score in nodes], **(scores or {}),
    }  # fmt: skip
    return judge_document(about, measured, config)


def config_of(rule: Rule, threshold: Any, **more: Any) -> SelectConfig:
    return SelectConfig(**{rule.section: SECTIONS[rule.section](**{rule.threshold: threshold}), **more})


def judge_value(rule: Rule, value: Any, config: SelectConfig) -> Verdict:
    """A document in which the rule's score is ``value``, and all else is in order."""
    if rule.for_headings:
        return judge([text_in("heading", **{str(rule.score): value}), image_node()], config)
    if rule.section == "text":
        return judge([text_node(**({rule.score: value} if rule.score else {})), image_node()], config)
    if rule.section == "document":
        if rule.score == "words_left":
            return judge([text_node(num_words=value), image_node()], config)
        if rule.score == "images_left":
            images = [image_node(f"i{n}", phash=f"{n:016x}") for n in range(value)]
            return judge([text_node(), *images], config)
        if rule.score == "language_score":
            return judge([text_node()], config, document={"language_score": value})
        return judge([text_node(), image_node()], config, scores={rule.score: value} if rule.score else {})
    if rule.score == "min_side":
        return judge([text_node(), image_node(width=value + 7, height=value)], config)
    if rule.score == "max_side":
        return judge([text_node(), image_node(width=value - 7, height=value)], config)
    if rule.score == "aspect_ratio":
        return judge([text_node(), image_node(width=round(value * 1_000_000), height=1_000_000)], config)
    if rule.score == "min_rendered":
        node = {"rendered_width": None if value is None else value + 7, "rendered_height": value}
        return judge([text_node(), image_node(node=node)], config)
    if rule.score == "max_rendered":
        node = {"rendered_width": value, "rendered_height": None if value is None else value - 7}
        return judge([text_node(), image_node(node=node)], config)
    node = {"caption": "A boat"} if rule.for_captioned else {}
    return judge([text_node(), image_node(node=node, **({rule.score: value} if rule.score else {}))], config)


def as_stored(value: float | int) -> float | int:
    """A score after Parquet: counts as they are, ratios in 32 bits."""
    return pa.array([value], pa.float32()).to_pylist()[0] if isinstance(value, float) else value


def outcome(verdict: Verdict, rule: Rule) -> bool:
    """Whether the rule's subject stayed; checks the decision where it did not."""
    dropped = [decision for decision in verdict.decisions if decision.action is Action.DROP]
    if rule.unit is Unit.DOCUMENT:
        assert (verdict.dropped_by == rule.name) == bool(dropped)
    else:
        assert verdict.dropped_by is None
    if not dropped:
        return True
    assert {decision.rule for decision in dropped} == {rule.name}
    assert {decision.unit for decision in dropped} == {rule.unit}
    assert {decision.stage for decision in dropped} == {"select"}
    return False


def text_in(role: str, **scores: Any) -> tuple[Row, Row]:
    node, score = text_node(**scores)
    return {**node, "role": role}, score
