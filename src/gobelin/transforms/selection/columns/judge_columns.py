"""The rules over whole columns: the decisions of ``judge_document`` and of the choice among duplicates for all
documents at once, in NumPy, so that a threshold can be changed interactively (``gobelin browse``).

Both take from ``rules.py`` which rule compares which score, in which order and direction. A test checks that both
decide the same. Between two calls that differ in one rule's threshold, the results of the other rules are cached.

Cost: 0.4 to 0.7 CPU-seconds for a million documents of twelve nodes; up to 1.3 if another rule is changed than in the
call before (bench/browse.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from gobelin.transforms.selection.columns.choose_columns import PicturesOfDocuments, first_shared
from gobelin.transforms.selection.columns.columns import (
    EARLIER_KINDS,
    FIXED_OF_DOCUMENT,
    FIXED_OF_IMAGE,
    ROLES,
    Bytes,
    Columns,
    Ints,
)
from gobelin.transforms.selection.columns.judged import STAYS, Bools, Codes, Judged
from gobelin.transforms.selection.columns.repeated_pictures import REPEATED, Repeats
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.rules import (
    SITE_COUNT,
    TEXT_RULES,
    Rule,
    document_rules,
    image_rules,
    is_for,
    plugin_rules,
    text_rules,
    threshold_of,
)
from gobelin.transforms.text.pii import Pii

_PII = tuple(f"pii.{kind}" for kind in Pii)

_MAX_CACHED = 6


class ColumnJudge:
    """Judges the same documents under different sets of thresholds. For one thread at a time.

    Thresholds must be numbers. Only thresholds may differ from the recipe with which the columns were made.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._words: Ints | None = None
        self._pairs: PicturesOfDocuments | None = None

    def judge(self, config: SelectConfig, held: Rule | None = None) -> Judged:
        """Judges all documents.

        Args:
            held: the rule whose threshold is being changed. The results of all other rules are cached.
        """
        columns = self._columns
        own = {"text": _text_order(config), "image": image_rules(config), "document": document_rules(config)}
        texts = self._first("text", own["text"], config, held)
        images = self._first("image", own["image"], config, held)
        names = {
            "text": ("text.roles", *(rule.name for rule in own["text"]), *_PII),
            "image": (*FIXED_OF_IMAGE, *(rule.name for rule in own["image"]), *REPEATED, *_PII),
            "document": (
                *FIXED_OF_DOCUMENT, *(rule.name for rule in own["document"]),
                *(f"document.unique.{kind}" for kind in (*EARLIER_KINDS, "image_set")),
            ),
        }  # fmt: skip
        if config.text.roles is not None:
            is_let_in = np.array([role in config.text.roles for role in ROLES])
            texts = np.where(is_let_in[columns.roles], texts, np.int16(0))
        _drop_personal(texts, columns.text_pii, names["text"])
        images = self._without_repeated(images, config, names["image"])
        _drop_personal(images, columns.image_pii, names["image"])
        self._drop_bare_headings(texts, images, config, names["text"].index(SITE_COUNT.name))
        left = self._left(texts, images, config)
        documents = self._first("document", own["document"], config, held, left)
        documents = np.where(columns.fixed > 0, columns.fixed.astype(np.int16) - np.int16(1), documents)
        if config.document.unique:
            self._drop_duplicates(documents, images, config.document.unique, names["document"])
        return Judged(documents, texts, images, names, left["images_left"], left["words_shown"])

    def not_run(self, rule: Rule, config: SelectConfig) -> int:
        """The number of texts or images that reach a rule without a score for it; 0 for rules on documents."""
        if rule.subject == "document" or threshold_of(rule, config) is None or rule.passes_without_value:
            return 0
        rules = _text_order(config) if rule.subject == "text" else image_rules(config)
        first = self._first(rule.subject, rules, config, rule, with_held=False)
        place = rules.index(rule) + self._offset(rule.subject)
        reached = (first > place) & np.isnan(self._values(rule, {}))
        return int((reached & self._applies(rule, config)).sum())

    @staticmethod
    def _offset(subject: str) -> int:
        """The number of the first rule on a score."""
        return {"text": 1, "image": len(FIXED_OF_IMAGE), "document": len(FIXED_OF_DOCUMENT)}[subject]

    def _first(
        self, subject: str, rules: tuple[Rule, ...], config: SelectConfig, held: Rule | None,
        left: dict[str, Any] | None = None, with_held: bool = True,
    ) -> Codes:  # fmt: skip
        """The number of the first rule that each item breaks. Results that depend on ``left`` are not cached."""
        offset = self._offset(subject)
        is_held = held is not None and held.subject == subject
        limits = tuple((rule, threshold_of(rule, config)) for rule in rules)
        others = tuple(
            (rule.name, float(limit)) for rule, limit in limits if limit is not None and not (is_held and rule == held)
        )
        key = (
            subject,
            others,
            config.unscored_for_safety,
            config.text.not_prose,
            config.image.max_documents_captioned is None,
        )
        found: Codes | None = self._kept.get(key) if left is None else None
        if found is None:
            num = {"text": len(self._columns.text_nodes), "image": len(self._columns.image_nodes)}
            found = np.full(num.get(subject, len(self._columns.fixed)), STAYS, np.int16)
            for place, (rule, limit) in reversed(list(enumerate(limits, offset))):
                if limit is not None and not (is_held and rule == held):
                    found[self._broken(rule, float(limit), config, left or {})] = place
            if subject == "image":
                fixed = self._columns.image_fixed
                found[fixed > 0] = fixed[fixed > 0] - 1
            if left is None:
                self._kept[key] = found
                while len(self._kept) > _MAX_CACHED:
                    self._kept.popitem(last=False)
        result = found.copy()
        if is_held and with_held:
            assert held is not None
            limit = threshold_of(held, config)
            if limit is not None:
                place = rules.index(held) + offset
                result[self._broken(held, float(limit), config, left or {}) & (result > place)] = place
        return result

    def _values(self, rule: Rule, left: dict[str, Any]) -> npt.NDArray[np.float32]:
        assert rule.score is not None
        values = left.get(rule.score)
        return self._columns.score(rule.subject, rule.score) if values is None else values.astype(np.float32)

    def _broken(self, rule: Rule, threshold: float, config: SelectConfig, left: dict[str, Any]) -> Bools:
        """Whether each item breaks the rule. NaN compares false, so an item without a score breaks only safety
        rules."""
        values, limit = self._values(rule, left), np.float32(threshold)
        broken: Bools = values < limit if rule.keeps_above else values > limit
        if rule.is_safety and not rule.passes_without_value and config.unscored_for_safety == "drop":
            broken |= np.isnan(values)
        if rule.subject != "document":
            broken &= self._applies(rule, config)
        return broken

    def _applies(self, rule: Rule, config: SelectConfig) -> Any:
        """Whether a rule applies to each text, by its role, or to each image, by its caption."""
        if rule.subject == "image":
            captioned = self._columns.captioned
            return np.where(captioned, is_for(rule, True, config), is_for(rule, False, config))
        if rule.subject != "text" or rule.section == "plugins":
            return np.True_
        roles = np.array([rule in text_rules(role, role not in config.text.not_prose) for role in ROLES])
        return np.True_ if roles.all() else roles[self._columns.roles]

    def _without_repeated(self, images: Codes, config: SelectConfig, names: tuple[str, ...]) -> Codes:
        rules = config.image
        distance = rules.min_phash_distance_in_document
        if not (rules.unique_near_in_document or rules.unique_in_document or distance is not None):
            return images
        return Repeats(self._columns, images, config, names).dropped()

    def _drop_bare_headings(self, texts: Codes, images: Codes, config: SelectConfig, code: int) -> None:
        """As ``_without_bare_headings`` in select.py: a heading has content if the next kept node of its document is
        not a heading, or is one of a lower level."""
        limit, columns = config.text.max_site_count, self._columns
        if limit is None:
            return
        levels = columns.levels
        with_level = levels[columns.text_nodes]
        too_often = columns.score("text", "site_count") > np.float32(limit)
        candidates = np.flatnonzero((with_level > 0) & (texts == STAYS) & too_often)
        if not len(candidates):
            return
        stays = np.zeros(len(levels), bool)
        stays[columns.text_nodes[texts == STAYS]] = True
        stays[columns.image_nodes[images == STAYS]] = True
        order = np.flatnonzero(stays)
        here = np.searchsorted(order, columns.text_nodes[candidates])
        after = np.arange(1, len(order) + 1)
        state = np.zeros(len(order) + 1, np.int8)  # 1: not decided; 2: dropped
        state[here] = 1
        order = np.append(order, len(levels))
        level_of, document_of = np.append(levels, 0), np.append(columns.of_document, -1)
        pending = here
        while len(pending):
            target = after[pending]
            while (is_gone := state[target] == 2).any():
                target[is_gone] = after[target[is_gone]]
            after[pending] = target
            ready = state[target] == 0
            own, other = order[pending[ready]], order[target[ready]]
            is_filled = (document_of[own] == document_of[other]) & (
                (level_of[other] == 0) | (level_of[other] > level_of[own])
            )
            state[pending[ready]] = np.where(is_filled, 0, 2)
            pending = pending[~ready]
        texts[candidates[state[here] == 2]] = code

    def _left(self, texts: Codes, images: Codes, config: SelectConfig) -> dict[str, Any]:
        """Counts of the remaining nodes of each document (D,)."""
        columns = self._columns
        stays, shown = texts == STAYS, images == STAYS
        if self._words is None:
            self._words = np.nan_to_num(columns.score("text", "num_words")).astype(np.int32)
        num_images = _sums(shown, columns.image_ends)
        similar = columns.score("image", "clip_assigned_score") >= np.float32(config.document.assigned_similarity)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = _sums(shown & similar, columns.image_ends) / num_images
        ratio[num_images == 0] = 1.0
        ratio[~columns.has_clip] = np.nan
        return {
            "words_left": _sums(np.where(stays, self._words, 0), columns.text_ends),
            "words_shown": _sums(np.where(stays, columns.words, 0), columns.text_ends),
            "images_left": num_images,
            "assigned_ratio": ratio,
        }

    def _drop_duplicates(self, documents: Codes, images: Codes, kinds: tuple[str, ...], names: tuple[str, ...]) -> None:
        """As ``keep_one``: of those that pass, the latest comes first, and each stays unless one that stays shares a
        group with it."""
        columns = self._columns
        known = (documents == STAYS) & (columns.earlier > 0)
        documents[known] = len(names) - len(EARLIER_KINDS) - 1 + columns.earlier[known] - 1
        alive = np.flatnonzero(documents == STAYS)
        alive = alive[np.argsort(columns.rank[alive])]  # the latest first
        of_kind = {kind: self._image_sets(images) if kind == "image_set" else columns.groups[kind] for kind in kinds}
        for kind, gone in first_shared({kind: groups[alive] for kind, groups in of_kind.items()}).items():
            documents[alive[gone]] = names.index(f"document.unique.{kind}")

    def _image_sets(self, images: Codes) -> Ints:
        """A number for each document, equal for equal sets of remaining images; a unique number for a document without
        images."""
        if self._pairs is None:
            self._pairs = PicturesOfDocuments(self._columns)
        return self._pairs.sets(images == STAYS)


def _text_order(config: SelectConfig) -> tuple[Rule, ...]:
    return (*TEXT_RULES, *plugin_rules(config, "text"))


def _drop_personal(codes: Codes, pii: Bytes, names: tuple[str, ...]) -> None:
    dropping = (pii > 0) & (codes == STAYS)
    codes[dropping] = len(names) - len(_PII) + pii[dropping] - 1


def _sums(values: npt.NDArray[Any], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The sum over each range [ends[d], ends[d + 1])."""
    running = np.empty(len(values) + 1, np.int64)
    running[0] = 0
    np.cumsum(values, dtype=np.int64, out=running[1:])
    return running[ends[1:]] - running[ends[:-1]]


def rules_by_name(rules: Iterable[Rule]) -> dict[str, Rule]:
    """Rules by name; the first of several with one name."""
    found: dict[str, Rule] = {}
    for rule in rules:
        found.setdefault(rule.name, rule)
    return found
