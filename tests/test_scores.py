"""The table of scores: what follows from an entry, and that something computes each."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gobelin.data.schemas import DOCUMENT_SCORES, IMAGE_SCORES, NODE_SCORES
from gobelin.pipeline.recipe.help import described, warnings_of
from gobelin.pipeline.recipe.recipe import change, load_recipe
from gobelin.report.histograms import Histogram
from gobelin.report.wording import score_title
from gobelin.scores import SCORES, Score, columns, find_score
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.score.measure import measure_document
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.rules import RULES, Rule
from gobelin.transforms.vision.eval_images import IMAGE_CONTAMINATION
from gobelin.transforms.vision.heads import OWN_COLUMNS
from gobelin.transforms.vision.image_text import ImageTextScores

FOUND_BY_GROUPS = {"num_documents", "near_count", "semantic_count"}


def a_page() -> dict[str, object]:
    node = dict.fromkeys(("text", "alt", "caption", "title", "link_url", "image_id"))
    text = {**node, "kind": "text", "role": "paragraph", "text": "A line of words that says little. " * 3}
    return {
        "doc_id": "d" * 32, "url": "https://a.example/", "warc_date": "", "language": "en", "nodes": [text],
        "title": None,
    }  # fmt: skip


def test_something_computes_every_column() -> None:
    measured = json.loads(measure_document(a_page(), ScoreConfig())[0]["scores"])
    unasked = {score.name for score in SCORES.values() if "contamination.texts" in score.needs}
    assert {field.name for field in columns("documents")} - unasked <= measured.keys()
    of_texts = {score.name for score in SCORES.values() if "text" in score.of}
    assert of_texts <= measured["nodes"][0].keys()
    of_pairs = {score.name for score in SCORES.values() if score.of == ("pair",) and score.arrow is not None}
    assert of_pairs <= {field.name for field in dataclasses.fields(ImageTextScores)}
    of_images = {score.name for score in SCORES.values() if score.of == ("image",) and score.arrow is not None}
    assert of_images == FOUND_BY_GROUPS | {*OWN_COLUMNS, "num_faces"} | {*IMAGE_CONTAMINATION.names} & of_images


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_compares_a_score_of_its_unit(rule: Rule) -> None:
    score = find_score(rule.score or "")
    assert score is not None
    wanted = {"document": {"document"}, "text": {"text"}, "image": {"image", "pair"}}[rule.section]
    assert wanted & set(score.of)


def test_every_score_is_compared() -> None:
    assert {rule.score for rule in RULES} == set(SCORES)


@pytest.mark.parametrize("name", SCORES)
def test_an_entry_is_told_everywhere(name: str) -> None:
    score = SCORES[name]
    assert score.name == name
    schemas = {"documents": DOCUMENT_SCORES, "nodes": NODE_SCORES, "images": IMAGE_SCORES}
    for data_set, schema in schemas.items():
        found = [field for field in schema if field.name == name]
        assert len(found) == (data_set in score.data_sets)
        assert all(field.type == score.arrow and field.metadata[b"unit"] for field in found)
    assert (Histogram.of_score(name).kind, Histogram.of_score(name).lowest) == (score.axis, score.lowest)
    assert score_title(name) == (score.title, score.unit)


def test_a_score_with_an_entry_alone_has_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORES, "rhymes", Score("rhymes", ("document",), "Rhymes", "rhymes", "lines that rhyme"))
    *_, last = columns("documents")
    assert (last.name, last.metadata) == ("rhymes", {b"unit": b"lines that rhyme"})
    assert "rhymes" not in [field.name for field in (*columns("nodes"), *columns("images"))]


def test_help_is_made_of_both_tables() -> None:
    docs = described(DocumentRules)
    assert docs["min_words"] == "Words left after the node rules. OBELICS: 10."
    assert docs["max_perplexity"].startswith("Perplexity under a language model (a token). ")
    assert docs["max_perplexity"].endswith(" Needs score.text.perplexity_models.")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("document.min_quality=1.5", "the score is at most 1"),
        ("image.min_clip_alt=1.5", "the score is at most 1"),
        ("text.max_site_count=-1", "the score is never below 0"),
        ("image.max_nsfw=-1", None),
        ("document.max_line_break_ratio=2", None),
        ("document.min_words=5", None),
    ],
)
def test_a_threshold_that_nothing_can_pass(setting: str, told: str | None) -> None:
    recipe = change(load_recipe("gobelin"), (f"select.{setting}",))
    name = setting.partition("=")[0]
    found = [line for line in warnings_of(recipe) if line.startswith(f"select.{name} ") and "nothing can pass" in line]
    assert [told in line for line in found] == ([True] if told else [])
