"""Examples just above and below each threshold, which quickly show whether the threshold is right."""

from __future__ import annotations

import dataclasses

from gobelin.report.documents import ShownNode, read_nodes
from gobelin.report.survey import Near, RuleSurvey, ScoreSurvey

SHOWN = 3
"""Texts or documents shown on each side."""

SHOWN_PICTURES = 5
"""Pictures shown on each side."""

MAX_CHARS = 240


@dataclasses.dataclass(frozen=True, slots=True)
class NearView:
    """One item near a threshold, either an image (``image_id``) or a text."""

    value: float
    url: str
    text: str
    image_id: str | None


Sides = tuple[list[NearView], list[NearView]]


def near_thresholds(output: str, surveys: list[ScoreSurvey], withheld: set[str]) -> dict[str, Sides]:
    """(failed, passed) items nearest to the threshold of each rule, by the rule's name.

    Args:
        withheld: images that are never shown.
    """
    rules = [found for survey in surveys for found in survey.rules]
    places = {(near.doc_id, near.node_index) for found in rules for near in _candidates(found)}
    nodes = read_nodes(output, places)
    return {
        found.rule.name: (
            _choose(found.near_failed, found, nodes, withheld),
            _choose(found.near_passed, found, nodes, withheld),
        )
        for found in rules
        if found.num_failed  # a threshold that cuts nothing off has nothing near it
    }


def _candidates(found: RuleSurvey) -> list[Near]:
    return [*found.near_passed, *found.near_failed]


def _choose(
    candidates: list[Near], found: RuleSurvey, nodes: dict[tuple[str, int], ShownNode], withheld: set[str]
) -> list[NearView]:
    """The nearest items that look different on the page."""
    is_picture = found.rule.subject == "image"
    chosen: dict[str, NearView] = {}
    for near in candidates:
        node = nodes.get((near.doc_id, near.node_index))
        if node is None or near.image_id in withheld:
            continue
        text = node["text"] if near.node_index >= 0 else node["title"] or node["url"]
        shown = text if len(text) <= MAX_CHARS else text[:MAX_CHARS].rstrip() + " …"
        view = NearView(near.value, node["url"], "" if is_picture else shown, near.image_id)
        chosen.setdefault(near.image_id or shown, view)
    return list(chosen.values())[: SHOWN_PICTURES if is_picture else SHOWN]
