"""The time left: from another machine's seconds at first, then from this one's pace."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.demo.run_demo import EXPECTED_SECONDS
from gobelin.pipeline.run.forecast import Forecast, in_words
from gobelin.pipeline.run.progress_bar import Screen

EXPECTED = {"draw": 40.0, "read": 10.0, "train": 100.0, "show": 10.0}


def test_it_says_something_from_the_first_second() -> None:
    for share in (0.0, None):
        left = Forecast(EXPECTED).left("draw", share, 1.0)
        assert left is not None
        assert left[1] == pytest.approx(160, rel=0.06)


def test_a_machine_of_a_third_of_the_speed_is_noticed_within_the_first_step() -> None:
    """It takes 480 s in all; a quarter of its first step is over after 30 s."""
    forecast = Forecast(EXPECTED)
    left = forecast.left("draw", 0.25, 30.0)
    assert left is not None
    assert left[1] > 200
    forecast.finish("draw", 120.0)
    forecast.finish("read", 30.0)
    left = forecast.left("train", 0.5, 150.0)
    assert left is not None
    assert left[0] == pytest.approx(150, rel=0.1)
    assert left[1] == pytest.approx(180, rel=0.1)


def test_steps_that_were_done_before_count_for_nothing() -> None:
    left = Forecast(EXPECTED).left("train", 0.0, 0.0)
    assert left == (pytest.approx(100), pytest.approx(110))


def test_a_step_nobody_expected_has_no_forecast() -> None:
    forecast = Forecast(EXPECTED)
    forecast.finish("another", 1000.0)
    assert forecast.left("another", 0.5, 1.0) is None
    assert forecast.left("show", 0.0, 0.0) == (pytest.approx(10), pytest.approx(10))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "5 s"), (42, "40 s"), (94, "95 s"), (96, "2 min"), (3000, "50 min"), (7800, "2 h 10 min")],
)
def test_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.parametrize(("expected", "says_run"), [({"fit": 100.0, "train": 50.0}, True), ({}, False)])
def test_a_log_says_the_time_left(
    expected: dict[str, float], says_run: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gobelin.pipeline.run.progress_bar.SECONDS_BETWEEN_LINES", -1.0)
    screen = Screen(expected=expected)
    with screen.step("fit", "steps", 10) as step:
        step.update({"steps": 5})
        step.finish({"steps": 10})
    line, last = capsys.readouterr().out.splitlines()
    assert "50 %" in line
    assert "left" in line
    assert ("whole run" in line) == says_run
    assert "left" not in last


@pytest.mark.parametrize(
    ("done", "shown"), [(90_000, "90 kB/s"), (1_200_000, "1.2 MB/s")], ids=["too early to say", "a pace"]
)
def test_no_time_is_told_from_the_first_bytes(
    done: int, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gobelin.pipeline.run.progress_bar.SECONDS_BETWEEN_LINES", -1.0)
    clock = iter([0.0, 1.0, 1.0, 1.0, 2.0, 2.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock, 2.0))
    with Screen().step("read", "bytes", 10_000_000) as step:
        step.update({"bytes": done})
    line = capsys.readouterr().out.splitlines()[0]
    assert shown in line
    assert ("left" in line) == (done >= 100_000)


@pytest.mark.parametrize(
    ("rate", "unit", "words"),
    [
        (0.05, "pages", "0.05/s"), (1.44, "pages", "1.4/s"), (1440, "pages", "1,440/s"), (14_000, "bytes", "14 kB/s"),
        (140_000, "bytes", "140 kB/s"), (14e6, "bytes", "14 MB/s"),
    ],
)  # fmt: skip
def test_a_slow_rate_is_said_too(
    rate: float, unit: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([0.0, 100.0])
    monkeypatch.setattr("gobelin.pipeline.run.progress_bar.time.monotonic", lambda: next(ticks, 100.0))
    with Screen().step("read", unit) as step:
        step.finish({unit: round(100 * rate)})
    assert f" {words} " in capsys.readouterr().out


def test_the_demo_expects_steps_that_there_are() -> None:
    pipeline = "".join(path.read_text(encoding="utf-8") for path in Path("src/gobelin/pipeline").rglob("*.py"))
    demo = Path("examples/demo/run_demo.py").read_text(encoding="utf-8")
    for title in EXPECTED_SECONDS:
        if title.startswith("demo: "):
            assert demo.count(f'"{title}"') == 2
        else:
            name = title.partition(": ")[2] or title
            assert f'"{title}"' in pipeline or f'"{name}"' in pipeline, title
