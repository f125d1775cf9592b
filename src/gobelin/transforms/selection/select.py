"""Compares scores with thresholds and makes decisions. Needs no model: seconds for a million documents.

Each document is judged in this order: consent and language; each node; headings whose section is empty; then the rules
on the rest of the document (``judge_document``). Of the documents that pass, the latest of each group of duplicates
stays. So a page is not lost if its newer copy is dropped for another reason.

Each dropped node and document has exactly one decision: the first rule that it broke. The nodes of a dropped document
have no decisions except those that broke a node rule. If personal data is replaced in a node or a title, the node or
the document gets a decision with the action ``replace``, which does not drop it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from operator import itemgetter
from typing import Any, Literal, TypedDict

import numpy as np

from gobelin.data.model import Action, Decision, Role, Unit
from gobelin.data.rows import DocumentRow, DocumentScoresRow, NodeRow, NodeScoresRow, Row
from gobelin.transforms.duplicates.image_duplicates import hamming
from gobelin.transforms.rights.consent import refusal
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.rules import (
    HEAD,
    SITE_COUNT,
    Rule,
    document_rules,
    has_own_caption,
    image_rules,
    passes,
    plugin_rules,
    text_rules,
    threshold_of,
)
from gobelin.transforms.selection.url_words import banned_word
from gobelin.transforms.text.pii import COLUMNS, Pii, count_pii, replace_pii

PII_FIELDS: tuple[Literal["text", "alt", "caption", "title"], ...] = ("text", "alt", "caption", "title")
"""Fields of a node with text of the page."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of the rules on one document, before duplicates are compared."""

    document: DocumentRow  # with the remaining nodes
    decisions: tuple[Decision, ...]  # on its nodes, and on itself if it is dropped
    dropped_by: str | None  # the rule that dropped the document
    not_run: tuple[str, ...]  # rules without a score, once per occurrence


def judge_document(document: DocumentRow, scores: DocumentScoresRow, config: SelectConfig) -> Verdict:
    """Compares one document's scores with the thresholds."""
    judge = _Judge(document, scores, config)
    return judge.verdict()


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """A node that stays, with its place in the document and its scores."""

    index: int
    node: NodeRow
    scores: NodeScoresRow


_NUM_LEVELS = 6
"""Levels of headings."""


class _Judge:
    def __init__(self, document: DocumentRow, scores: DocumentScoresRow, config: SelectConfig) -> None:
        self._document, self._scores, self._config = document, scores, config
        self._decisions: list[Decision] = []
        self._not_run: Counter[str] = Counter()
        self._seen_images: list[NodeScoresRow] = []
        self._personal = [kind for kind in Pii if getattr(config.pii, kind) != "keep"]
        self._image_rules = tuple(image_rules(config, is_captioned) for is_captioned in (False, True))
        self._plugin_rules = plugin_rules(config, "text")

    def verdict(self) -> Verdict:
        decision = self._consent() or self._language() or self._page_kind()
        kept: list[_Kept] = []
        for index, (node, scores) in enumerate(zip(self._document["nodes"], self._scores["nodes"], strict=True)):
            node_decision, node = self._node(index, node, scores)
            if node_decision is None:
                kept.append(_Kept(index, node, scores))
        kept = self._without_bare_headings(kept)
        left = {
            **self._scores,
            "language_score": self._document["language_score"],
            "words_left": sum(each.scores["num_words"] or 0 for each in kept),
            "images_left": sum(each.node["kind"] == "image" for each in kept),
            "assigned_ratio": self._assigned_ratio([each.scores for each in kept if each.node["kind"] == "image"]),
        }
        decision = decision or self._apply(document_rules(self._config), left, {"unit": Unit.DOCUMENT})
        if decision is not None:
            self._decisions.append(decision)
        return Verdict(
            document={**self._document, "title": self._title(), "nodes": [each.node for each in kept]},
            decisions=tuple(self._decisions),
            dropped_by=decision.rule if decision else None,
            not_run=tuple(self._not_run.elements()),
        )

    def _title(self) -> str | None:
        """The title without personal data. Adds a decision on the document for each kind of it."""
        title: str | None = self._document["title"]
        if not title:
            return title
        replaced, counts = replace_pii(title, self._personal)
        self._replaced(counts, {"unit": Unit.DOCUMENT, "detail": "title"})
        return replaced

    def _consent(self) -> Decision | None:
        rules = self._config.document
        refused = refusal(self._document["consent"], rules.deny_consent or (), rules.consent_agents)
        return self._decide("document.deny_consent", unit=Unit.DOCUMENT, detail=refused) if refused else None

    def _language(self) -> Decision | None:
        languages = self._config.document.languages
        language = self._document["language"]
        if languages is not None and language not in languages:
            return self._decide("document.languages", unit=Unit.DOCUMENT, detail=language or "none found")
        return None

    def _page_kind(self) -> Decision | None:
        kinds = self._config.document.page_kinds
        kind = self._document["page_kind"]
        if kinds is not None and kind not in kinds:
            return self._decide("document.page_kinds", unit=Unit.DOCUMENT, detail=kind or "unknown")
        return None

    def _node(self, index: int, node: NodeRow, scores: NodeScoresRow) -> tuple[Decision | None, NodeRow]:
        about: Row = {"unit": Unit.NODE, "node_index": index}
        if node["kind"] == "image":
            about |= {"image_id": node["image_id"], "url": node["image_url"]}
            decision = self._image(node, scores, about)
        else:
            decision = self._text(node, scores, about)
        if decision is None:
            decision, node = self._pii(node, scores, about)
        if decision is not None:
            self._decisions.append(decision)
        elif node["kind"] == "image":
            self._seen_images.append(scores)
        return decision, node

    def _text(self, node: NodeRow, scores: NodeScoresRow, about: Row) -> Decision | None:
        rules = self._config.text
        if rules.roles is not None and node["role"] not in rules.roles:
            return self._decide("text.roles", detail=node["role"], **about)
        own = text_rules(node["role"], node["role"] not in rules.not_prose)
        return self._apply((*own, *self._plugin_rules) if self._plugin_rules else own, scores, about)

    def _without_bare_headings(self, kept: list[_Kept]) -> list[_Kept]:
        """Drops headings that occur all over their site if their section is empty, because then the section was
        boilerplate. A section ends at the next heading of its level or above."""
        stays: list[_Kept] = []
        is_filled = [False] * (_NUM_LEVELS + 1)  # by level: whether a section that begins here would have content
        for each in reversed(kept):
            if each.node["role"] != Role.HEADING:
                is_filled = [True] * len(is_filled)
            else:
                level = min(each.node["level"] or _NUM_LEVELS, _NUM_LEVELS)  # imported levels may be higher
                decision = None
                if not is_filled[level]:
                    decision = self._apply((SITE_COUNT,), each.scores, {"unit": Unit.NODE, "node_index": each.index})
                if decision is not None:
                    self._decisions.append(decision)
                    continue
                is_filled = [above < level for above in range(len(is_filled))]
            stays.append(each)
        return stays[::-1]

    def _image(self, node: NodeRow, scores: NodeScoresRow, about: Row) -> Decision | None:
        rules = self._config.image
        if node["image_id"] is None or scores["image_id"] is None:  # not in the archive, or failed in ``score``
            return self._decide("image.missing", **about)
        refused = refusal(scores["consent"] or (), rules.deny_consent or (), self._config.document.consent_agents)
        if refused:
            return self._decide("image.deny_consent", detail=refused, **about)
        if rules.formats is not None and scores["format"] not in rules.formats:
            return self._decide("image.formats", detail=scores["format"], **about)
        if rules.banned_url_words is not None:
            word = banned_word(node["image_url"] or "", rules.banned_url_words)
            if word is not None:
                return self._decide("image.banned_url_words", detail=word, **about)
        own_rules = self._image_rules[has_own_caption(node.get("caption"), node.get("link_url"))]
        values = {**scores, **_sides(node, scores), **_heads(scores, own_rules)}
        decision = self._apply(own_rules, values, about)
        return decision or self._repeated(node, scores, about)

    def _assigned_ratio(self, images: list[NodeScoresRow]) -> float | None:
        if self._scores["clip_model"] is None:
            return None
        least = np.float32(self._config.document.assigned_similarity)
        scored = (scores["clip_assigned_score"] for scores in images)
        fitting = sum(score is not None and score >= least for score in scored)
        return fitting / len(images) if images else 1.0

    def _repeated(self, node: NodeRow, scores: NodeScoresRow, about: Row) -> Decision | None:
        rules = self._config.image
        for earlier in self._seen_images:
            if rules.unique_near_in_document and earlier["near_group"] == scores["near_group"]:
                return self._decide("image.unique_near_in_document", detail=f"like {earlier['image_id']}", **about)
            if rules.unique_in_document and earlier["image_id"] == node["image_id"]:
                return self._decide("image.unique_in_document", **about)
            if rules.min_phash_distance_in_document is not None and earlier["phash"] and scores["phash"]:
                distance = hamming(earlier["phash"], scores["phash"])
                if distance < rules.min_phash_distance_in_document:
                    return self._decide(
                        "image.min_phash_distance_in_document",
                        value=distance,
                        threshold=rules.min_phash_distance_in_document,
                        detail=f"like {earlier['image_id']}",
                        **about,
                    )
        return None

    def _pii(self, node: NodeRow, scores: NodeScoresRow, about: Row) -> tuple[Decision | None, NodeRow]:
        counted: Mapping[str, Any] = scores
        if all(counted[COLUMNS[kind]] == 0 for kind in self._personal):  # null: not counted
            return None, node
        changed, counts = without_personal_data(node, self._personal)
        for kind in Pii:
            if counts[kind] and getattr(self._config.pii, kind) == "drop":
                return self._decide(f"pii.{kind}", value=counts[kind], threshold=0, **about), node
        self._replaced(counts, about)
        return None, changed if counts else node

    def _replaced(self, counts: Counter[Pii], about: Row) -> None:
        for kind in Pii:
            if counts[kind]:
                self._decisions.append(
                    self._decide(f"pii.{kind}", action=Action.REPLACE, value=counts[kind], threshold=0, **about)
                )

    def _apply(self, rules: Iterable[Rule], scores: Mapping[str, Any], about: Row) -> Decision | None:
        """Returns the decision of the first rule that is broken, and counts the rules that could not run."""
        for rule in rules:
            threshold = threshold_of(rule, self._config)
            if threshold is None:
                continue
            is_here = rule.section != "plugins" or rule.score in scores  # the recipe may lack the plug-in's score
            value = scores[rule.score] if rule.score and is_here else None
            if value is None:
                if rule.passes_without_value:
                    continue
                self._not_run[rule.name] += 1
                if rule.is_safety and self._config.unscored_for_safety == "drop":
                    return self._decide(rule.name, threshold=threshold, detail="not scored", **about)
            elif not passes(rule, value, threshold):
                detail = scores[rule.detail] if rule.detail else None
                return self._decide(rule.name, value=float(value), threshold=float(threshold), detail=detail, **about)
        return None

    def _decide(self, rule: str, *, unit: Unit, action: Action = Action.DROP, **about: Any) -> Decision:
        about.setdefault("url", self._document["url"])
        return Decision(stage="select", unit=unit, action=action, rule=rule, doc_id=self._document["doc_id"], **about)


def without_personal_data(node: NodeRow, kinds: Collection[Pii]) -> tuple[NodeRow, Counter[Pii]]:
    """The node with placeholders instead of personal data of these kinds, and the number of replacements by kind."""
    counts: Counter[Pii] = Counter()
    changed = node.copy()
    for field in PII_FIELDS:
        words = node.get(field)
        if words:
            changed[field], found = replace_pii(words, kinds)
            counts += found
    link = node.get("link_url")
    if link and (found := count_pii(link, kinds)):
        changed["link_url"] = None  # an address with a placeholder does not work
        counts += found
    return changed, counts


def _heads(scores: NodeScoresRow, rules: Iterable[Rule]) -> Row:
    """Scores of further heads under the names that rules use; None if there is none."""
    found = {f"{HEAD}{held['name']}": held["value"] for held in scores["heads"] or ()}
    return {rule.score: found.get(rule.score) for rule in rules if rule.score and rule.score.startswith(HEAD)}


def _sides(node: NodeRow, scores: NodeScoresRow) -> Row:
    width, height = scores["width"], scores["height"]
    assert width is not None  # of a node whose image is known
    assert height is not None
    rendered = [side for side in (node["rendered_width"], node["rendered_height"]) if side is not None]
    return {
        "min_side": min(width, height),
        "max_side": max(width, height),
        "min_rendered": min(rendered, default=None),
        "max_rendered": max(rendered, default=None),
        "aspect_ratio": width / height,
    }


def latest_first(candidates: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(warc_date, doc_id) pairs, the latest first, missing dates last, equal dates in the order of ids."""
    return sorted(sorted(candidates, key=itemgetter(1)), key=itemgetter(0), reverse=True)


class _Addressed(TypedDict):
    """The fields of a decision that identify a document."""

    doc_id: str
    url: str


def duplicate_decision(document: _Addressed, kind: str, stays: str, group_size: int | None) -> Decision:
    """The decision on a document if another one of its group stays. If that one is of an earlier run, the size is
    None."""
    return Decision(
        stage="select", unit=Unit.DOCUMENT, action=Action.DROP, rule=f"document.unique.{kind}",
        doc_id=document["doc_id"], url=document["url"], value=group_size, threshold=1, detail=f"kept: {stays}",
    )  # fmt: skip
