"""Charts, numbers and links of the report, each by itself."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import lxml.html
import numpy as np
import pytest

from gobelin.report import wording
from gobelin.report.charts import Line, line_chart
from gobelin.report.documents import safe_href
from gobelin.report.histograms import Histogram
from gobelin.report.reasons import Choice, spread
from gobelin.report.score_charts import Mark, histogram_chart, kept_chart


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("https://a.example/x?y=1", True),
        ("http://a.example", True),
        ("javascript:alert(1)", False),
        ("JavaScript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("data:text/html,<script>", False),
        ("//a.example/x", False),
        ("https:///x", False),
        ("http://[", False),
        ("file:///etc/passwd", False),
        (None, False),
    ],
)
def test_links_go_to_http_only(url: str | None, is_safe: bool) -> None:
    assert safe_href(url) == (url if is_safe else None)


@pytest.mark.parametrize(
    ("score", "threshold", "keeps_above"),
    [("stop_word_ratio", 0.35, True), ("special_char_ratio", 0.275, False), ("num_words", 10, True),
     ("images_left", 30, False), ("clip_near_max", 0.28, True)],
)  # fmt: skip
def test_bars_hold_every_value_on_the_side_it_is_on(score: str, threshold: float, keeps_above: bool) -> None:
    values = np.abs(np.random.default_rng(1).normal(threshold, threshold / 2, 5000))
    if score in ("num_words", "images_left"):
        values = np.round(values)
    is_passed = values >= threshold if keeps_above else values <= threshold
    histogram = Histogram.of_score(score)
    for part in range(2):
        histogram.add(values[part::2], is_passed[part::2])
    bars = histogram.bars([threshold])
    assert 10 < len(bars) <= 46
    assert sum(bar.passed for bar in bars) == histogram.num_passed == is_passed.sum()
    assert sum(bar.failed for bar in bars) == histogram.num_failed == (~is_passed).sum()
    assert all(first.high == second.low for first, second in itertools.pairwise(bars))
    mixed = [bar for bar in bars if bar.passed and bar.failed]
    on_threshold = int((values == threshold).sum())
    assert sum(min(bar.passed, bar.failed) for bar in mixed) <= on_threshold


def test_values_that_are_missing_are_counted_apart() -> None:
    histogram = Histogram("linear")
    histogram.add(np.array([0.1, math.nan, 0.2]), np.array([True, False, True]))
    assert (histogram.num_values, histogram.num_missing, histogram.num_failed) == (2, 1, 0)


def test_charts_escape_their_words() -> None:
    histogram = Histogram("linear")
    histogram.add(np.array([0.1, 0.2]), np.array([True, False]))
    chart = histogram_chart(histogram, [Mark(0.15, "<b>", False)], "<i>", "<u>")
    assert not {"b", "i", "u"} & {element.tag for element in lxml.html.fromstring(str(chart)).iter()}


@pytest.mark.parametrize("kind", ["linear", "count", "log"])
@pytest.mark.parametrize("places", [(0,), (0, 0), (0, 1), (49, 50), (99, 99), (0, 98, 99), (1, 50, 98)], ids=str)
def test_words_in_charts_do_not_overlap(kind: Any, places: tuple[int, ...]) -> None:
    """A letter of 10 pixels is up to 6.7 wide in the fonts that browsers fall back to, and some 9 high."""
    values = np.sort(np.random.default_rng(3).gamma(1.5, {"linear": 0.1, "count": 4, "log": 3000}[kind], 100))
    values = np.floor(values) if kind == "count" else values
    histogram = Histogram(kind)
    histogram.add(np.concatenate([values, np.full(500, values[60])]), np.ones(600, dtype=bool))  # one bar is cut
    marks = [Mark(values[place], f"{values[place]:.7g}", place % 2 == 0) for place in places]
    boxes = []
    for text in lxml.html.fromstring(str(histogram_chart(histogram, marks, "unit", "documents"))).iter("text"):
        width = 6.7 * len(text.text)
        left = float(text.get("x")) - {"middle": width / 2, "end": width}.get(text.get("text-anchor", ""), 0)
        boxes.append((left, float(text.get("y")) - 9, left + width, float(text.get("y")), text.text))
        assert left + 1 >= 0
        assert left + width <= 361
    assert sum(words.startswith("keep") for *_, words in boxes) == len(places)
    for one, other in itertools.combinations(boxes, 2):
        width = min(one[2], other[2]) - max(one[0], other[0])
        height = min(one[3], other[3]) - max(one[1], other[1])
        assert width <= 1 or height <= 1, (one, other)


@pytest.mark.parametrize("kind", ["linear", "count", "log"])
@pytest.mark.parametrize("keeps_above", [True, False], ids=["least", "most"])
def test_the_curve_says_what_a_threshold_would_keep(kind: Any, keeps_above: bool) -> None:
    values = np.sort(np.random.default_rng(5).gamma(2.0, {"linear": 0.1, "count": 4, "log": 3000}[kind], 300))
    values = np.floor(values) if kind == "count" else values
    histogram = Histogram(kind)
    histogram.add(values, values > values[100])  # passed and failed count alike
    asked = values[[0, 10, 150, 298]]
    expected = [(values >= each).mean() if keeps_above else (values <= each).mean() for each in asked]
    found = histogram.shares_kept(np.floor(histogram.position(asked) + 1e-4), keeps_above)
    assert found == pytest.approx(expected, abs=0.03)  # values of one cell count together
    if kind == "count":
        assert found == pytest.approx(expected, abs=1e-12)
    mark = Mark(float(asked[2]), "x", keeps_above, expected[2])
    chart = lxml.html.fromstring(str(kept_chart(histogram, [mark], "unit")))
    (dot,), (line,) = chart.xpath("//circle"), chart.xpath("//path[@class='line a']")
    points = np.array([[float(each) for each in point.split()] for point in re.split("[ML]", line.get("d"))[1:]])
    assert all(np.diff(points[:, 0]) > 0)
    assert all(np.diff(points[:, 1]) >= 0 if keeps_above else np.diff(points[:, 1]) <= 0)  # y points down
    near = np.interp(float(dot.get("cx")), points[:, 0], points[:, 1])
    assert near == pytest.approx(float(dot.get("cy")), abs=3)
    assert wording.percent(expected[2], 1) in [text.text for text in chart.find_class("value")]


def test_words_of_a_level_stand_where_the_lines_leave_room() -> None:
    rising = [Line("a", [(0, 0.0), (9, 0.1), (10, 5.0)], "a")]
    falling = [Line("a", [(0, 5.0), (1, 2.1), (10, 2.0)], "a")]
    places = []
    for lines, level in ((rising, 0.2), (falling, 1.9)):
        chart = lxml.html.fromstring(str(line_chart(lines, "step", "nats", (level, "held out"))))
        (words,) = chart.find_class("value")
        (dashes,) = chart.find_class("level")
        is_above = float(words.get("y")) < float(dashes.get("y1"))
        places.append((words.get("text-anchor"), is_above))
    assert places == [("start", True), ("end", False)]


def test_examples_are_spread_over_the_rules() -> None:
    choices = {
        rule: [Choice(name, {"rule": rule, "doc_id": name}) for name in names]
        for rule, names in {"a": ["1", "2", "3"], "b": ["4"], "c": ["1", "5", "6"]}.items()
    }
    shown = [(row["rule"], row["doc_id"]) for row in spread(choices, 5, {"2"}, "doc_id")]
    assert shown == [("a", "1"), ("a", "3"), ("b", "4"), ("c", "5"), ("c", "6")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(0, "0 %"), (1, "<0.1 %"), (5000, "50.0 %"), (9999, ">99.9 %"), (10000, "100 %")],
)
def test_a_share_is_never_rounded_to_none_or_all(given: int, expected: str) -> None:
    assert wording.percent(given, 10000).replace("\xa0", " ") == expected


def test_a_number_beside_its_threshold_is_told_from_it() -> None:
    assert wording.number_beside(0.25, 0.3) == "0.25"
    assert wording.number_beside(0.3, 0.3) == "0.3"
    assert wording.number_beside(float(np.float32(0.3)), 0.3) == "0.30000001"
