"""Every rule of selection on both sides of its threshold and on it; what is not run; what fails closed.

Driven through ``judge_document`` on rows as Parquet gives them back: ratios in 32 bits.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gobelin.data.model import Action, PageKind, Role, Unit
from gobelin.data.schemas import DOCUMENT_SCORES, NODE_SCORES
from gobelin.pipeline.recipe.help import warnings_of
from gobelin.pipeline.recipe.recipe import PRESETS, load_recipe, preset_names
from gobelin.transforms.pages.content.gates import Gates
from gobelin.transforms.selection.config import PiiRules, SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules, TextRules
from gobelin.transforms.selection.rules import RULES, Rule, threshold_of
from gobelin.transforms.selection.select import Verdict, duplicate_decision, judge_document, latest_first
from gobelin.transforms.text.pii import COLUMNS, Pii

Row = dict[str, Any]

SECTIONS = {"document": DocumentRules, "text": TextRules, "image": ImageRules}

SPECIAL = {
    "document": {"languages", "page_kinds", "deny_consent", "consent_agents", "assigned_similarity", "unique"},
    "text": {"roles", "not_prose"},
    "image": {"deny_consent", "formats", "banned_url_words", "unique_in_document", "unique_near_in_document",
              "min_phash_distance_in_document", "clip_model", "max_head", "min_head"},
}  # fmt: skip
"""Settings that are no comparison of one number; each has tests of its own, here or in test_heads.py."""


ALWAYS_THERE = ("words_left", "images_left", "min_side", "max_side", "aspect_ratio")
"""Scores that ``select`` makes itself of what is there; they are never null."""


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


@pytest.mark.parametrize("preset", preset_names())
def test_a_presets_thresholds_pass_their_own_values(preset: str) -> None:
    config = load_recipe(preset).select
    for rule in RULES:
        threshold = threshold_of(rule, config)
        if threshold is not None and rule.score is not None:
            verdict = judge_value(rule, as_stored(threshold), config_of(rule, threshold))
            assert outcome(verdict, rule), rule.name


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


# ------------------------------------------------------------------------------------------------ nodes


def test_a_node_has_one_decision_and_the_others_stay() -> None:
    config = SelectConfig(text=TextRules(min_words=10, max_words=20, max_site_count=2))
    nodes = [text_node(num_words=15), text_node(num_words=5, site_count=9), text_node(num_words=30), image_node()]
    verdict = judge(nodes, config)
    assert [(decision.rule, decision.node_index) for decision in verdict.decisions] == [
        ("text.max_site_count", 1),
        ("text.max_words", 2),
    ]
    assert verdict.document["nodes"] == [nodes[0][0], nodes[3][0]]


def test_words_and_images_are_counted_after_the_node_rules() -> None:
    nodes = [text_node(num_words=30), text_node(num_words=3), image_node("i1"), image_node("i2", width=5, height=5)]
    rules: dict[str, Any] = {"text": TextRules(min_words=4), "image": ImageRules(min_side_px=100)}
    for document, dropped_by in [
        (DocumentRules(min_words=30, min_images=1), None),
        (DocumentRules(min_words=31), "document.min_words"),
        (DocumentRules(min_images=2), "document.min_images"),
        (DocumentRules(max_words=29), "document.max_words"),
        (DocumentRules(max_words=30, max_images=1), None),
        (DocumentRules(max_images=0), "document.max_images"),
    ]:
        assert judge(nodes, SelectConfig(document=document, **rules)).dropped_by == dropped_by


def test_an_image_that_the_archive_does_not_hold() -> None:
    verdict = judge([text_node(), image_node(None)], SelectConfig())
    (decision,) = verdict.decisions
    assert (decision.rule, decision.node_index, decision.url) == (
        "image.missing",
        1,
        "https://a.example/photos/boat.png",
    )
    assert len(verdict.document["nodes"]) == 1


@pytest.mark.parametrize(
    ("formats", "found", "is_dropped"),
    [(("png", "jpeg"), "png", False), (("jpeg",), "png", True), (None, "tiff", False), ((), "png", True)],
)
def test_formats(formats: tuple[str, ...] | None, found: str, is_dropped: bool) -> None:
    verdict = judge([image_node(format=found)], SelectConfig(image=ImageRules(formats=formats)))
    assert [decision.rule for decision in verdict.decisions] == (["image.formats"] if is_dropped else [])
    if is_dropped:
        assert verdict.decisions[0].detail == found


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("https://a.example/logo.png", "logo"),
        ("https://a.example/Site-LOGO_2x.PNG", "logo"),
        ("https://a.example/icons/boat.png", "icon"),
        ("https://a.example/silicon.png", None),
        ("https://logo.example/boat.png", None),
        ("data:image/png;sha256=00", None),
        ("http://[", None),
    ],
)
def test_banned_url_words(url: str, word: str | None) -> None:
    config = SelectConfig(image=ImageRules(banned_url_words=("logo", "icon")))
    verdict = judge([image_node(node={"image_url": url})], config)
    assert [(decision.rule, decision.detail) for decision in verdict.decisions] == (
        [("image.banned_url_words", word)] if word else []
    )


def repeated(images: list[tuple[Row, Row]], **rules: Any) -> list[int | None]:
    verdict = judge([text_node(), *images], SelectConfig(image=ImageRules(**rules)))
    return [decision.node_index for decision in verdict.decisions]


def test_unique_in_document() -> None:
    images = [image_node("i1"), image_node("i2"), image_node("i1"), image_node("i1")]
    assert repeated(images) == []
    assert repeated(images, unique_in_document=True) == [3, 4]


@pytest.mark.parametrize(("distance", "is_dropped"), [(0, True), (5, True), (6, False), (64, False)])
def test_phash_distance_in_document(distance: int, is_dropped: bool) -> None:
    first, second = "0" * 16, f"{(1 << distance) - 1:016x}"
    images = [image_node("i1", phash=first), image_node("i2", phash=second)]
    assert repeated(images, min_phash_distance_in_document=6) == ([2] if is_dropped else [])


@pytest.mark.parametrize(
    ("node", "times", "rule"),
    [
        ({}, 19, "image.max_documents"),
        ({}, 10, None),
        ({"caption": "A boat at the quay"}, 19, None),
        ({"caption": "A boat at the quay"}, 101, "image.max_documents_captioned"),
        ({"caption": "A boat at the quay", "link_url": "https://a.example/photos/boat-large.jpg"}, 19, None),
        ({"caption": "A boat at the quay", "link_url": "https://w.example/wiki/File:Boat.jpg"}, 19, None),
        ({"caption": "Ten boats you must see", "link_url": "https://a.example/ten-boats"}, 19, "image.max_documents"),
        ({"caption": ""}, 19, "image.max_documents"),
    ],
)  # fmt: skip
def test_a_picture_with_a_caption_of_its_own_may_come_again_on_more_pages(
    node: Row, times: int, rule: str | None
) -> None:
    config = SelectConfig(image=ImageRules(max_documents=10, max_near_documents=10, max_documents_captioned=100))
    verdict = judge([text_node(), image_node(node=node, num_documents=times, near_count=times)], config)
    assert [decision.rule for decision in verdict.decisions] == ([rule] if rule else [])


def test_without_a_bound_of_their_own_pictures_with_captions_are_held_to_that_of_the_others() -> None:
    verdict = judge(
        [text_node(), image_node(node={"caption": "A boat"}, num_documents=11)],
        SelectConfig(image=ImageRules(max_documents=10)),
    )
    assert [decision.rule for decision in verdict.decisions] == ["image.max_documents"]


def test_phash_distance_counts_against_every_earlier_image_that_stayed() -> None:
    """The second goes for being like the first; the third is like the second alone, and stays."""
    hashes = [0, 0b111, 0b111111]
    images = [image_node(f"i{n}", phash=f"{value:016x}") for n, value in enumerate(hashes)]
    assert repeated(images, min_phash_distance_in_document=4) == [2]


def test_the_first_good_copy_stays() -> None:
    """A copy that went for another reason does not count as the first."""
    small = {"rendered_width": 5, "rendered_height": 5}
    images = [image_node("i1", node=small), image_node("i1"), image_node("i1")]
    assert repeated(images, unique_in_document=True, min_rendered_px=100) == [1, 3]


def test_the_first_copy_that_goes_for_its_email_does_not_count() -> None:
    config = SelectConfig(image=ImageRules(unique_in_document=True), pii=PiiRules(email="drop"))
    verdict = judge([image_node("i1", node={"alt": "me@a.example"}), image_node("i1")], config)
    assert [(decision.rule, decision.node_index) for decision in verdict.decisions] == [("pii.email", 0)]


# ------------------------------------------------------------------------------------------------ e-mail addresses


def emails(mode: Any) -> Verdict:
    nodes = [
        text_node("Write to ann@a.example or bob@b.example."),
        image_node("i1", node={"alt": "Ann, ann@a.example", "caption": "bob@b.example"}),
        text_node("No address here, only react@17.0.2."),
    ]
    return judge(nodes, SelectConfig(pii=PiiRules(email=mode)))


def test_emails_are_replaced() -> None:
    verdict = emails("replace")
    first, second, third = verdict.document["nodes"]
    assert first["text"] == "Write to <EMAIL> or <EMAIL>."
    assert (second["alt"], second["caption"]) == ("Ann, <EMAIL>", "<EMAIL>")
    assert third["text"] == "No address here, only react@17.0.2."
    assert [(d.rule, d.action, d.node_index, d.value) for d in verdict.decisions] == [
        ("pii.email", Action.REPLACE, 0, 2.0),
        ("pii.email", Action.REPLACE, 1, 2.0),
    ]
    assert verdict.dropped_by is None


def test_emails_drop_their_node() -> None:
    verdict = emails("drop")
    assert [(d.rule, d.action, d.node_index) for d in verdict.decisions] == [
        ("pii.email", Action.DROP, 0),
        ("pii.email", Action.DROP, 1),
    ]
    assert len(verdict.document["nodes"]) == 1


def test_emails_may_stay() -> None:
    verdict = emails("keep")
    assert verdict.decisions == ()
    assert "ann@a.example" in verdict.document["nodes"][0]["text"]


@pytest.mark.parametrize("mode", ["replace", "drop"])
def test_no_address_is_left_anywhere_in_what_is_kept(mode: Any) -> None:
    """Title and decisions included: the corpus must not leak what its texts hide."""
    document = {"title": "Contact ann@a.example"}
    verdict = judge(
        [text_node("x ann@a.example y"), text_node()], SelectConfig(pii=PiiRules(email=mode)), document=document
    )
    kept = {name: verdict.document[name] for name in ("title", "nodes")}
    assert "ann@a" not in repr(kept)
    assert "ann@a" not in repr(verdict.decisions)


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


def text_in(role: str, **scores: Any) -> tuple[Row, Row]:
    node, score = text_node(**scores)
    return {**node, "role": role}, score


@pytest.mark.parametrize("role", list(Role))
def test_rules_for_sentences_leave_out_what_is_no_prose(role: Role) -> None:
    nodes = [text_in(role, num_words=1, special_char_ratio=0.9, stop_word_ratio=0.0), image_node()]
    rules = TextRules(min_words=4, max_special_char_ratio=0.3, min_stop_word_ratio=0.3)
    verdict = judge(nodes, SelectConfig(text=rules))
    is_prose = role not in (Role.HEADING, Role.CODE, Role.TABLE)
    assert [decision.rule for decision in verdict.decisions] == (["text.min_words"] if is_prose else [])
    strict = judge(nodes, SelectConfig(text=dataclasses.replace(rules, not_prose=())))
    assert [decision.rule for decision in strict.decisions] == ["text.min_words"]


@pytest.mark.parametrize("role", list(Role))
def test_rules_for_every_text_hold_for_code_too(role: Role) -> None:
    verdict = judge([text_in(role, num_lorem_ipsum=3), image_node()], SelectConfig(text=TextRules(max_lorem_ipsum=2)))
    assert [decision.rule for decision in verdict.decisions] == ["text.max_lorem_ipsum"]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("role", list(Role))
def test_repeated_texts_go_and_headings_have_a_bound_of_their_own(role: Role, count: int) -> None:
    """On the threshold and above it; something is left of the heading's section."""
    nodes = [text_in(role, site_count=count), image_node()]
    of_texts = judge(nodes, SelectConfig(text=TextRules(max_site_count=2)))
    of_headings = judge(nodes, SelectConfig(text=TextRules(max_site_count=None, max_site_count_heading=2)))
    is_above, is_heading = count > 2, role == Role.HEADING
    assert [decision.rule for decision in of_texts.decisions] == ["text.max_site_count"] * (is_above and not is_heading)
    assert [decision.rule for decision in of_headings.decisions] == ["text.max_site_count_heading"] * (
        is_above and is_heading
    )


def outline(*parts: str) -> list[tuple[Row, Row]]:
    """Nodes: ``2`` is a heading of that level, ``2*`` one that stands nine times on its site, ``p`` a paragraph, ``p*``
    one that does so, ``i`` an image, ``i*`` one that is missing."""
    nodes = []
    for part in parts:
        count = 9 if "*" in part else 1
        if part[0] == "i":
            nodes.append(image_node(None if "*" in part else "i1"))
        else:
            node, scores = text_in("paragraph" if part[0] == "p" else "heading", site_count=count)
            nodes.append(({**node, "level": None if part[0] in "p?" else int(part[0])}, scores))
    return nodes


@pytest.mark.parametrize(
    ("parts", "left"),
    [
        ("2* p", "2* p"),
        ("2* i", "2* i"),
        ("2* p*", ""),  # a block that is on every page, with its heading
        ("2* i*", ""),
        ("2*", ""),
        ("2 p*", "2"),  # this heading is not repeated
        ("p 2*", "p"),
        ("2* 2 p", "2 p"),  # another section of the same level
        ("2* 1 p", "1 p"),
        ("2* 3 p", "2* 3 p"),
        ("1* 2* 3* p", "1* 2* 3* p"),
        ("1* 2* 3* p*", ""),
        ("1* 2* p* 2* p", "1* 2* p"),
        ("1* 2 p*", "1* 2"),  # a heading that stays is something
        ("1* 3* 2* p", "1* 2* p"),
        ("1 2* p* 3* p* 2 p", "1 2 p"),
        ("?* p", "?* p"),
        ("?* 6 p", "6 p"),  # a heading without a level has the lowest
        ("9* 6 p", "6 p"),  # from an import
        ("", ""),
    ],
)
def test_a_repeated_heading_goes_with_its_section(parts: str, left: str) -> None:
    nodes = outline(*parts.split())
    verdict = judge(nodes, SelectConfig(text=TextRules(max_site_count=4)))
    assert len(verdict.document["nodes"]) == len(left.split())
    levels = [str(node["level"]) if node["role"] == "heading" else None for node in verdict.document["nodes"]]
    assert levels == [{"?": "None"}.get(part[0], part[0]) if part[0] not in "pi" else None for part in left.split()]
    gone = [decision for decision in verdict.decisions if decision.rule == "text.max_site_count"]
    assert all((decision.value, decision.threshold) == (9, 4) for decision in gone)
    assert len({decision.node_index for decision in verdict.decisions}) == len(verdict.decisions)
    assert len(verdict.decisions) + len(verdict.document["nodes"]) == len(nodes)


@pytest.mark.parametrize(("count", "num_left"), [(4, 1), (5, 0)])
def test_a_heading_without_a_section_on_both_sides_of_the_threshold(count: int, num_left: int) -> None:
    verdict = judge([text_in("heading", site_count=count)], SelectConfig(text=TextRules(max_site_count=4)))
    assert len(verdict.document["nodes"]) == num_left


def test_words_of_headings_that_go_do_not_count() -> None:
    config = SelectConfig(document=DocumentRules(min_words=60), text=TextRules(max_site_count=4))
    nodes = [text_in("paragraph"), text_in("heading", site_count=9)]
    assert judge(nodes, config).dropped_by == "document.min_words"


@pytest.mark.parametrize("role", list(Role))
def test_roles_that_are_not_wanted(role: Role) -> None:
    config = SelectConfig(text=TextRules(roles=(Role.PARAGRAPH, Role.CODE)))
    verdict = judge([text_in(role), image_node()], config)
    is_wanted = role in (Role.PARAGRAPH, Role.CODE)
    assert [(decision.rule, decision.detail) for decision in verdict.decisions] == (
        [] if is_wanted else [("text.roles", role)]
    )


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


# ------------------------------------------------------------------------------------------------ personal data

PERSONAL = {
    Pii.EMAIL: "ann@a.example",
    Pii.IP: "93.184.216.34",
    Pii.PHONE: "+49 30 901820",
    Pii.CARD: "4111 1111 1111 1111",
    Pii.IBAN: "DE89 3704 0044 0532 0130 00",
    Pii.SECRET: "AKIAIOSFODNN7EXAMPLE",
}


def hold(kind: Pii, action: str) -> Verdict:
    value = PERSONAL[kind]
    nodes = [
        text_node(f"It is {value}."),
        image_node(
            "i1", node={"alt": f"a {value}", "caption": value, "title": value, "link_url": "https://b.example/"}
        ),
        image_node("i2", node={"link_url": f"https://b.example/?q={value}"}),
        text_node("Nothing here."),
    ]
    config = SelectConfig(pii=PiiRules(**{str(kind): action}))  # type: ignore[arg-type]
    return judge(nodes, config, document={"title": f"Of {value}"})


def test_every_kind_has_a_setting() -> None:
    assert {field.name for field in dataclasses.fields(PiiRules)} == set(Pii) == set(PERSONAL)


@pytest.mark.parametrize("kind", list(Pii))
def test_personal_data_is_replaced(kind: Pii) -> None:
    verdict = hold(kind, "replace")
    placeholder = f"<{kind.upper()}>"
    text, image, link, _ = verdict.document["nodes"]
    assert text["text"] == f"It is {placeholder}."
    assert (image["alt"], image["caption"], image["title"]) == (f"a {placeholder}", placeholder, placeholder)
    assert (image["link_url"], link["link_url"]) == ("https://b.example/", None)
    assert verdict.document["title"] == f"Of {placeholder}"
    assert [(d.rule, d.action, d.node_index, d.value, d.threshold) for d in verdict.decisions] == [
        (f"pii.{kind}", Action.REPLACE, 0, 1, 0),
        (f"pii.{kind}", Action.REPLACE, 1, 3, 0),
        (f"pii.{kind}", Action.REPLACE, 2, 1, 0),
        (f"pii.{kind}", Action.REPLACE, None, 1, 0),  # in the title
    ]
    of_title = verdict.decisions[-1]
    assert (of_title.unit, of_title.detail, verdict.dropped_by) == (Unit.DOCUMENT, "title", None)


@pytest.mark.parametrize("kind", list(Pii))
def test_personal_data_drops_its_node(kind: Pii) -> None:
    verdict = hold(kind, "drop")
    assert [(d.rule, d.action, d.node_index) for d in verdict.decisions] == [
        *((f"pii.{kind}", Action.DROP, index) for index in range(3)),
        (f"pii.{kind}", Action.REPLACE, None),  # a title is no reason to lose a document
    ]
    assert [node["text"] for node in verdict.document["nodes"]] == ["Nothing here."]


@pytest.mark.parametrize("kind", list(Pii))
def test_personal_data_may_stay(kind: Pii) -> None:
    verdict = hold(kind, "keep")
    assert verdict.decisions == ()
    assert verdict.document["nodes"][2]["link_url"].endswith(PERSONAL[kind])


@pytest.mark.parametrize("kind", list(Pii))
@pytest.mark.parametrize("action", ["replace", "drop"])
def test_no_personal_data_is_left_in_corpus_or_decisions(kind: Pii, action: str) -> None:
    verdict = hold(kind, action)
    assert PERSONAL[kind] not in repr((verdict.document["title"], verdict.document["nodes"], verdict.decisions))


def test_a_kind_that_drops_comes_before_one_that_is_replaced() -> None:
    node = text_node(f"{PERSONAL[Pii.EMAIL]} {PERSONAL[Pii.IP]}")
    verdict = judge([node], SelectConfig(pii=PiiRules(ip="drop")))
    assert [(d.rule, d.action) for d in verdict.decisions] == [("pii.ip", Action.DROP)]


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


def test_what_was_counted_is_not_looked_for_again() -> None:
    """Scores say that there is nothing; null says that nobody looked."""
    none = dict.fromkeys(COLUMNS.values(), 0)
    for counted, is_left in ((none, True), ({**none, "num_emails": 1}, False), ({**none, "num_emails": None}, False)):
        verdict = judge([text_node("ann@a.example", **counted)], SelectConfig())
        assert (verdict.document["nodes"][0]["text"] == "ann@a.example") is is_left
    kept = judge([text_node("ann@a.example", **{**none, "num_emails": 1})], SelectConfig(pii=PiiRules(email="keep")))
    assert kept.document["nodes"][0]["text"] == "ann@a.example"


@pytest.mark.parametrize(
    ("denied", "consent", "is_dropped"),
    [
        (None, ["header x-robots-tag: noimageai"], False),
        (("image-train",), None, False),
        (("image-train",), [], False),
        (("image-train",), ["header x-robots-tag: noindex"], False),
        (("image-train",), ["header x-robots-tag: noimageai"], True),
        (("tdm",), ["tdmrep.json tdm-reservation: 1"], True),
    ],
)
def test_images_that_opt_out(denied: tuple[str, ...] | None, consent: list[str] | None, is_dropped: bool) -> None:
    config = SelectConfig(image=ImageRules(deny_consent=denied))
    verdict = judge([text_node(), image_node(consent=consent)], config)
    assert ["image.deny_consent"] * is_dropped == [decision.rule for decision in verdict.decisions]


@pytest.mark.parametrize("is_unique", [False, True])
def test_near_duplicates_within_a_document(is_unique: bool) -> None:
    nodes = [
        text_node(),
        image_node("i1", near_group="i1"),
        image_node("i2", near_group="i2"),
        image_node("i3", near_group="i1"),
    ]
    verdict = judge(nodes, SelectConfig(image=ImageRules(unique_near_in_document=is_unique)))
    found = [(decision.rule, decision.image_id, decision.detail) for decision in verdict.decisions]
    assert found == ([("image.unique_near_in_document", "i3", "like i1")] if is_unique else [])


# ------------------------------------------------------------------------------------------------ names and presets

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


PUBLISHED = [
    ("obelics", "document.max_images", 30, "document.max_words", 2000),
    ("obelics", "text.max_word_repetition_ratio", 0.1, "document.max_word_repetition_ratio", 0.2),
    ("obelics", "image.min_side_px", 150, "image.max_documents", 10),
    ("obelics", "text.max_site_count", 2, "text.max_site_count_heading", 2),
    ("mmc4", "image.min_clip_text", 0.15, "image.min_phash_distance_in_document", 6),
    ("obelics", "text.max_spam_word_ratio", 0.119999, "text.max_flagged_word_ratio", 0.01),  # below; at most
    ("mmc4", "text.min_words", 5, "document.min_sentences", 3),  # the code of C4
    ("mmc4-core", "document.min_images", 2, "document.min_sentences", 4),
    ("omnicorpus", "text.max_flagged_word_ratio", 0.019999, "document.max_flagged_word_ratio", 0.02),  # below; at most
    ("mmc4-core", "document.min_assigned_ratio", 0.75, "image.min_phash_distance_in_document", 11),
    ("mmc4-core", "document.max_images", 15, "document.max_sentences", 40),
    ("omnicorpus", "image.min_aesthetic", 3.7, "image.max_nsfw", 0.8),
    ("omnicorpus", "document.min_words", 50, "document.max_words", 100000),
    ("datacomp-basic", "image.min_side_px", 200, "image.max_aspect_ratio", 3.0),
]


@pytest.mark.parametrize(("preset", "first", "its", "second", "others"), PUBLISHED)
def test_presets_have_published_values(preset: str, first: str, its: float, second: str, others: float) -> None:
    select = load_recipe(preset).select
    for name, value in ((first, its), (second, others)):
        section, field = name.split(".")
        assert getattr(getattr(select, section), field) == value


@pytest.mark.parametrize("preset", preset_names())
def test_presets_respect_refusals_and_turn_no_page_away_unparsed(preset: str) -> None:
    recipe = load_recipe(preset)
    refused = ("ai-train", "image-train", "tdm")
    assert (recipe.select.document.deny_consent, recipe.select.image.deny_consent) == (refused, refused)
    assert recipe.extract.gates == Gates()
    assert not any("nothing can pass" in warning for warning in warnings_of(recipe))


@pytest.mark.parametrize("preset", preset_names())
def test_presets_say_what_they_are_in_their_first_line(preset: str) -> None:
    first, second, *_ = (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert 40 < len(first) <= 120
    assert second == "#", "an empty line stands before the sources"


@pytest.mark.parametrize(("unscored", "is_there"), [("drop", False), ("keep", True)])
def test_without_a_safety_model_gobelin_lets_no_image_in_unless_told_to(unscored: Any, is_there: bool) -> None:
    config = load_recipe("gobelin").select
    assert config.unscored_for_safety == "drop"
    nodes = [text_node(num_words=40), image_node(num_documents=1, near_count=1)]
    verdict = judge(nodes, dataclasses.replace(config, unscored_for_safety=unscored))
    rules = [(decision.rule, decision.detail) for decision in verdict.decisions]
    assert rules == ([] if is_there else [("image.max_nsfw", "not scored"), ("document.min_images", None)])
    said = [warning for warning in warnings_of(load_recipe("gobelin")) if "image.max_nsfw" in warning]
    assert len(said) == 1
    assert "every image will be dropped unjudged" in said[0]


GOOD_THINGS = {
    "a formula": text_node(num_words=2, special_char_ratio=0.85, char_repetition_ratio=0.27, stop_word_ratio=0.0),
    "a line of dialogue": text_node(num_words=2, char_repetition_ratio=0.4, special_char_ratio=0.2),
    "a step of a manual": text_node(num_words=2, spam_word_ratio=0.5),
    "a small engraving": image_node("i1", width=85, height=86),
    "a row of pictures": image_node("i2", width=1200, height=350),
    "an animation": image_node("i3", format="gif"),
}
"""What the audit found to be dropped wrongly, with the numbers that it had (docs/curation-audit.md)."""


@pytest.mark.parametrize("what", GOOD_THINGS)
def test_gobelin_keeps_what_the_audit_found_dropped_wrongly(what: str) -> None:
    config = dataclasses.replace(load_recipe("gobelin").select, unscored_for_safety="keep")
    nodes = [text_node(num_words=40), image_node(), GOOD_THINGS[what]]
    verdict = judge(nodes, config)
    assert verdict.decisions == ()
    strict = judge(nodes, dataclasses.replace(load_recipe("obelics").select, unscored_for_safety="keep"))
    assert [decision.node_index for decision in strict.decisions if decision.unit is Unit.NODE][-1] == 2
