"""Estimates the time left of a run, from the seconds of its steps on another machine and from the speed of this run."""

from __future__ import annotations

from collections.abc import Mapping

_WEIGHT = 20.0
"""Expected seconds after which the pace measured here counts as much as the other machine's. A start always lags: what
has only begun shows no progress yet."""


class Forecast:
    """Estimates for steps in a known order.

    Args:
        expected: seconds of each step by its title, in the order of the run, measured on any machine. As soon as a part
            of the run is done, only their ratios count.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        self._expected = dict(expected)
        self._spent = self._worth = 0.0  # seconds of the steps that are over: here, and as expected

    def finish(self, title: str, seconds: float) -> None:
        """Records that a step has taken this many seconds."""
        if title in self._expected:
            self._spent += seconds
            self._worth += self._expected[title]

    def left(self, title: str, share: float | None, seconds: float) -> tuple[float, float] | None:
        """Seconds left of the current step, and of the whole run with it. None for an unexpected step.

        Args:
            share: done share of the step, [0, 1]; None: unknown.
            seconds: since the step began.
        """
        if title not in self._expected:
            return None
        titles = list(self._expected)
        expected = self._expected[title]
        pace = (self._spent + _WEIGHT) / (self._worth + _WEIGHT)
        if share is None:
            share = min(0.9, seconds / (pace * expected))
        pace = (self._spent + seconds + _WEIGHT) / (self._worth + share * expected + _WEIGHT)
        after = sum(self._expected[each] for each in titles[titles.index(title) + 1 :])
        of_step = pace * (1 - share) * expected
        if share > 0.1:  # its own pace, more and more: steps differ in what slows them
            of_step += share * (seconds * (1 - share) / share - of_step)
        return of_step, of_step + pace * after


def in_words(seconds: float) -> str:
    """A duration for people: ``40 s``, ``6 min``, ``2 h 10 min``."""
    if seconds < 95:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
