"""Every rule of selection on both sides of its threshold and on it; what is not run; what fails closed.

Driven through ``judge_document`` on rows as Parquet gives them back: ratios in 32 bits.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from gobelin.data.model import Action, PageKind, Unit
from gobelin.data.schemas import DOCUMENT_SCORES, NODE_SCORES
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules, TextRules
from gobelin.transforms.selection.rules import RULES, Rule
from gobelin.transforms.selection.select import duplicate_decision, latest_first
from tests.judging import SECTIONS, as_stored, config_of, image_node, judge, judge_value, outcome, text_node

SPECIAL = {
    "document": {"languages", "page_kinds", "deny_consent", "consent_agents", "assigned_similarity", "unique"},
    "text": {"roles", "not_prose"},
    "image": {"deny_consent", "formats", "banned_url_words", "unique_in_document", "unique_near_in_document",
              "min_phash_distance_in_document", "clip_model", "max_head", "min_head"},
}  # fmt: skip
"""Settings that are no comparison of one number; each has tests of its own, here or in test_heads.py."""


ALWAYS_THERE = ("words_left", "images_left", "min_side", "max_side", "aspect_ratio")
"""Scores that ``select`` makes itself of what is there; they are never null."""


def thresholds(rule: Rule) -> tuple[Any, ...]:
    """Values to try: the rule's own unit tells counts and pixels from ratios."""
    if "ratio" in rule.threshold and "aspect" not in rule.threshold:
        return (0.1, 0.2, 0.275, 0.3, 0.35, 0.8, 0.01, 0.001)
    if rule.score in ("aspect_ratio",):
        return (0.5, 2.0, 0.333)
    if (
        rule.score is None
        or rule.score in ("language_score", "nsfw", "aesthetic", "quality", "eval_similarity")
        or "clip" in (rule.score or "")
    ):
        return (0.1, 0.15, 0.8, 0.85)
    return (10, 150)


OWN_TESTS = ("assigned_ratio",)
"""Scores that are computed from many nodes; test_assignment.py holds their rules against both sides."""

CASES = [
    (rule, threshold)
    for rule in RULES
    if rule.score is not None and rule.score not in OWN_TESTS
    for threshold in thresholds(rule)
]


@pytest.mark.parametrize(
    ("rule", "threshold"), CASES, ids=lambda value: value.name if isinstance(value, Rule) else value
)
def test_both_sides_of_a_threshold_and_the_threshold_itself(rule: Rule, threshold: Any) -> None:
    config = config_of(rule, threshold)
    step = 1 if isinstance(threshold, int) else threshold / 50
    assert outcome(judge_value(rule, as_stored(threshold), config), rule), "the threshold itself passes"
    good, bad = (threshold + step, threshold - step) if rule.keeps_above else (threshold - step, threshold + step)
    assert outcome(judge_value(rule, as_stored(good), config), rule), "the good side passes"
    verdict = judge_value(rule, as_stored(bad), config)
    assert not outcome(verdict, rule), "the bad side does not"
    decision = next(decision for decision in verdict.decisions if decision.action is Action.DROP)
    assert decision.value == pytest.approx(bad, rel=5e-3)
    assert decision.threshold == pytest.approx(threshold)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_threshold_of_null_is_off(rule: Rule) -> None:
    for value in (as_stored(thresholds(rule)[0]), None):
        if value is None and rule.score in ALWAYS_THERE:
            continue
        verdict = judge_value(rule, value, SelectConfig(text=TextRules(max_site_count=None)))
        assert (verdict.decisions, verdict.dropped_by, verdict.not_run) == ((), None, ())


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.score not in ALWAYS_THERE], ids=lambda rule: rule.name)
def test_a_score_that_is_not_there(rule: Rule) -> None:
    """Drops nothing and is counted, unless there is nothing to judge, or safety asks for it."""
    verdict = judge_value(rule, None, config_of(rule, thresholds(rule)[0], unscored_for_safety="keep"))
    assert verdict.decisions == ()
    assert set(verdict.not_run) == (set() if rule.passes_without_value else {rule.name})


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.is_safety], ids=lambda rule: rule.name)
def test_safety_fails_closed(rule: Rule) -> None:
    verdict = judge_value(rule, None, config_of(rule, 0.5))
    (decision,) = verdict.decisions
    assert (decision.rule, decision.value, decision.threshold) == (rule.name, None, 0.5)
    assert verdict.not_run == (rule.name,)


def test_there_is_a_safety_rule_and_the_default_is_to_drop() -> None:
    assert [rule.name for rule in RULES if rule.is_safety] == ["image.max_nsfw", "image.max_faces"]
    assert SelectConfig().unscored_for_safety == "drop"


def test_not_run_is_counted_once_for_each_time() -> None:
    config = SelectConfig(image=ImageRules(min_aesthetic=3.0), document=DocumentRules(max_perplexity=1500.0))
    verdict = judge([image_node("i1"), image_node("i2"), text_node()], config)
    assert sorted(verdict.not_run) == ["document.max_perplexity", "image.min_aesthetic", "image.min_aesthetic"]


def test_every_setting_is_a_rule_or_has_a_test_of_its_own() -> None:
    for section, kind in SECTIONS.items():
        fields = {field.name for field in dataclasses.fields(kind)}
        assert fields == {rule.threshold for rule in RULES if rule.section == section} | SPECIAL[section]


def test_every_score_of_a_rule_is_computed() -> None:
    stored = {"document": set(DOCUMENT_SCORES.names), "text": set(), "image": set()}
    stored["text"] = stored["image"] = {field.name for field in NODE_SCORES}
    made = {"words_left", "images_left", "language_score", "min_side", "max_side", "aspect_ratio", "min_rendered",
            "max_rendered", "assigned_ratio"}  # fmt: skip
    assert {rule.name for rule in RULES if rule.score and rule.score not in stored[rule.section] | made} == set()


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.section == "text"][:3], ids=lambda rule: rule.name)
def test_a_nan_passes_no_rule(rule: Rule) -> None:
    assert not outcome(judge_value(rule, float("nan"), config_of(rule, 10)), rule)


# ------------------------------------------------------------------------------------------------ consent, language


@pytest.mark.parametrize(
    ("consent", "denied", "is_dropped"),
    [
        ([], ("noai",), False),
        (["meta robots: noai"], ("noai",), True),
        (["meta robots: NOAI, noimageai"], ("noimageai",), True),
        (["meta robots: noai"], None, False),
        (["meta robots: noai"], (), False),
        (["meta robots: noindex"], ("noai",), False),
        (["meta robots: index, follow", "header x-robots-tag: noai"], ("noai",), True),
        (["header tdm-reservation: 1"], ("tdm-reservation=1",), True),
        (["header tdm-reservation: 0"], ("tdm-reservation=1",), False),
        (["header x-robots-tag: googlebot: noai"], ("noai",), True),
    ],
)
def test_consent(consent: list[str], denied: tuple[str, ...] | None, is_dropped: bool) -> None:
    config = SelectConfig(document=DocumentRules(deny_consent=denied))
    verdict = judge([text_node()], config, document={"consent": consent})
    assert verdict.dropped_by == ("document.deny_consent" if is_dropped else None)
    if is_dropped:
        assert consent[-1] in (verdict.decisions[-1].detail or "")


@pytest.mark.parametrize(
    ("language", "allowed", "is_dropped"),
    [
        ("en", ("en",), False),
        ("de", ("en",), True),
        (None, ("en",), True),
        ("de", ("en", "de"), False),
        (None, None, False),
    ],
)
def test_languages(language: str | None, allowed: tuple[str, ...] | None, is_dropped: bool) -> None:
    config = SelectConfig(document=DocumentRules(languages=allowed))
    verdict = judge([text_node()], config, document={"language": language})
    assert verdict.dropped_by == ("document.languages" if is_dropped else None)


@pytest.mark.parametrize(
    ("kind", "allowed", "is_dropped"),
    [
        ("thread", ("article", "thread"), False),
        ("product", ("article", "thread"), True),
        (None, ("article",), True),
        ("other", None, False),
    ],
)
def test_page_kinds(kind: str | None, allowed: tuple[PageKind, ...] | None, is_dropped: bool) -> None:
    config = SelectConfig(document=DocumentRules(page_kinds=allowed))
    verdict = judge([text_node()], config, document={"page_kind": kind})
    assert verdict.dropped_by == ("document.page_kinds" if is_dropped else None)


def test_a_dropped_document_has_one_decision_of_its_own() -> None:
    config = SelectConfig(
        document=DocumentRules(deny_consent=("noai",), languages=("en",), min_words=1000, min_images=5),
        text=TextRules(min_words=60),
    )
    verdict = judge(
        [text_node(), text_node(num_words=70)], config, document={"language": "de", "consent": ["meta robots: noai"]}
    )
    assert [decision.rule for decision in verdict.decisions if decision.unit is Unit.DOCUMENT] == [
        "document.deny_consent"
    ]
    assert [(d.rule, d.node_index) for d in verdict.decisions if d.unit is Unit.NODE] == [("text.min_words", 0)]


def test_judging_changes_nothing_in_its_arguments() -> None:
    node, scores = text_node("ann@a.example")
    judge([(node, scores)], SelectConfig())
    assert node["text"] == "ann@a.example"


# ------------------------------------------------------------------------------------------------ duplicates


@pytest.mark.parametrize(
    ("candidates", "stays"),
    [
        ([("2025-01-01", "b")], "b"),
        ([("2025-01-01", "b"), ("2025-01-02", "c"), ("2024-12-31", "a")], "c"),
        ([("2025-01-01", "b"), ("2025-01-01", "a")], "a"),
        ([("", "a"), ("2020", "b")], "b"),
        ([("2025-01-01", "b"), ("2025-01-01T10:00:00Z", "a")], "a"),
        ([("2025-01-01", "a"), ("2025-01-01T10:00:00Z", "b")], "b"),
    ],
)
def test_which_document_of_a_group_stays(candidates: list[tuple[str, str]], stays: str) -> None:
    for order in itertools.permutations(candidates):
        assert latest_first(iter(order))[0][1] == stays


def test_duplicate_decision() -> None:
    decision = duplicate_decision({"doc_id": "d", "url": "https://a.example/"}, "near", "e", 3)
    assert (decision.rule, decision.unit, decision.value, decision.detail) == (
        "document.unique.near",
        Unit.DOCUMENT,
        3,
        "kept: e",
    )


def test_thresholds_are_compared_in_the_precision_of_the_scores() -> None:
    """32 bits round 0.1 up and 0.35 down; both pass their own rule."""
    assert float(np.float32(0.1)) > 0.1
    assert float(np.float32(0.35)) < 0.35


@pytest.mark.parametrize(
    ("agents", "signal", "is_refused"),
    [
        (None, "header x-robots-tag: gptbot: noai", True),
        ((), "header x-robots-tag: gptbot: noai", False),
        (("ccbot",), "header x-robots-tag: gptbot: noai", False),
        (("gptbot",), "header x-robots-tag: gptbot: noai", True),
        ((), "header x-robots-tag: noai", True),
    ],
)
def test_whose_opt_outs_count(agents: tuple[str, ...] | None, signal: str, is_refused: bool) -> None:
    rules = DocumentRules(deny_consent=("noai",), consent_agents=agents)
    verdict = judge([text_node(), image_node()], SelectConfig(document=rules), {"consent": [signal]})
    assert (verdict.dropped_by == "document.deny_consent") is is_refused


def test_a_decision_on_contamination_says_which_set() -> None:
    config = SelectConfig(document=DocumentRules(max_eval_ngrams=0))
    scores = {"num_eval_ngrams": 3, "eval_source": "sets/qa.jsonl"}
    verdict = judge([text_node()], config, scores=scores)
    assert [(d.rule, d.value, d.detail) for d in verdict.decisions] == [
        ("document.max_eval_ngrams", 3, "sets/qa.jsonl")
    ]
    image = image_node("i1", num_eval_images=1, eval_image="sets/a.png")
    verdict = judge([image], SelectConfig(image=ImageRules(max_eval_images=0)))
    assert [(d.rule, d.detail) for d in verdict.decisions] == [("image.max_eval_images", "sets/a.png")]


# ------------------------------------------------------------------------------------------------ names

SCORES_OF_OTHER_NAMES = {
    "document.min_words": "words_left",
    "document.max_words": "words_left",
    "document.min_images": "images_left",
    "document.max_images": "images_left",
    "text.max_word_length": "max_word_length",
    "text.max_site_count_heading": "site_count",
    "image.min_side_px": "min_side",
    "image.max_side_px": "max_side",
    "image.min_rendered_px": "min_rendered",
    "image.max_rendered_px": "max_rendered",
    "image.max_documents_captioned": "num_documents",
    "image.max_near_documents": "near_count",
    "image.max_semantic_documents": "semantic_count",
    "image.min_clip_text": "clip_text_max",
    "image.min_clip_near": "clip_near_max",
    "image.min_clip_assigned": "clip_assigned_score",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_looks_at_what_it_is_called_after(rule: Rule) -> None:
    """The tests above take score and direction from the rule itself; here they are said once more."""
    plain = rule.threshold.removeprefix("min_").removeprefix("max_")
    assert rule.score in {SCORES_OF_OTHER_NAMES.get(rule.name, plain), f"num_{plain}"}
    assert rule.keeps_above == rule.threshold.startswith("min_")
