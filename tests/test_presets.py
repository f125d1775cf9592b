"""Presets: their published values, and what they drop and keep."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gobelin.data.model import Unit
from gobelin.pipeline.recipe.help import warnings_of
from gobelin.pipeline.recipe.recipe import PRESETS, load_recipe, preset_names
from gobelin.transforms.pages.content.gates import Gates
from gobelin.transforms.selection.rules import RULES, threshold_of
from tests.judging import as_stored, config_of, image_node, judge, judge_value, outcome, text_node


@pytest.mark.parametrize("preset", preset_names())
def test_a_presets_thresholds_pass_their_own_values(preset: str) -> None:
    config = load_recipe(preset).select
    for rule in RULES:
        threshold = threshold_of(rule, config)
        if threshold is not None and rule.score is not None:
            verdict = judge_value(rule, as_stored(threshold), config_of(rule, threshold))
            assert outcome(verdict, rule), rule.name


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
    assert "every image will be dropped without a safety score" in said[0]


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
