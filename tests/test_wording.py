"""What the report calls scores and rules."""

from __future__ import annotations

import numpy as np
import pytest

from gobelin.report.histograms import Histogram
from gobelin.report.page import _score_of
from gobelin.report.wording import rule_meaning, score_title
from gobelin.scores import SCORES
from gobelin.transforms.selection.rules import RULES, head_rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_score_of_a_rule_has_a_title(rule: object) -> None:
    score = rule.score  # type: ignore[attr-defined]
    assert score_title(score) != (score, "")
    assert rule_meaning(rule.name, score) == rule_meaning("x.y", score)  # type: ignore[attr-defined]


@pytest.mark.parametrize("side", ["max_head", "min_head"])
def test_a_head_has_its_name(side: str) -> None:
    rule = head_rule(side, "line_drawing")
    assert rule.score == _score_of(rule.name)
    assert rule_meaning(rule.name, rule.score) == "score of the head line_drawing"
    assert score_title(rule.score or "") == ("Head: line drawing", "head's own scale")


def test_what_is_neither_is_shown_under_its_own_name() -> None:
    assert score_title("new_score") == ("new_score", "")
    assert rule_meaning("image.new_rule") == "new rule"
    assert _score_of("image.new_rule") is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_whole_numbers_have_bars_of_whole_numbers(rule: object) -> None:
    score = rule.score  # type: ignore[attr-defined]
    if score.startswith("num_"):
        assert SCORES[score].axis in ("count", "log")
        histogram = Histogram.of_score(score)
        histogram.add(np.zeros(9), np.ones(9, bool))
        bars = histogram.bars([0.0])
        assert [(bar.low, bar.high) for bar in bars if bar.total] != [(0.0, 0.0005)]
