"""What a person sees while a run goes on: one bar a step, with counts, rate and time left.

On a terminal the bars move; elsewhere (a log file, CI) a line is printed every few seconds and one at the end. Where
the steps of the whole run and their usual cost are known, the time left of it all is said too, from the first second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gobelin.pipeline.run.forecast import Forecast, in_words

SECONDS_BETWEEN_LINES = 5.0

Counts = dict[str, int]


class Step:
    """One step under way. ``update`` takes the counts so far; ``total`` says how many of ``unit`` there will be."""

    def __init__(self, screen: Screen, title: str, unit: str, total: int | None) -> None:
        self._screen, self._title, self._unit, self._total = screen, title, unit, total
        self._start = time.monotonic()
        self._last_line = self._start
        self._task = (
            screen.progress.add_task(title, total=total or None, counts="", left="")
            if screen.progress is not None
            else None
        )

    @staticmethod
    def _shown(counts: Counts) -> Counts:
        """Counts for people; bytes only move the bar."""
        return {name: value for name, value in sorted(counts.items()) if name != "bytes"}

    def update(self, counts: Counts) -> None:
        """Shows counts such as {"pages": 12, "images": 40}; the bar follows the step's unit."""
        done = counts.get(self._unit, 0)
        text = "  ".join(f"{value:,} {name}" for name, value in self._shown(counts).items())
        seconds = time.monotonic() - self._start
        left = self._left(min(1.0, done / self._total) if self._total else None, seconds)
        if self._task is not None and self._screen.progress is not None:
            completed = min(done, self._total) if self._total else 0
            self._screen.progress.update(self._task, completed=completed, counts=text, left=left)
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            share = f" {100 * min(done, self._total) / self._total:3.0f} %" if self._total else ""
            self._screen.say(f"{self._title:<32}{share}  {text}  {seconds:.0f} s{', ' if left else ''}{left}")

    def _left(self, share: float | None, seconds: float) -> str:
        """The time left in words, of the step and of the run; empty where nothing is known of it."""
        found = self._screen.forecast.left(self._title, share, seconds)
        if found is not None:
            return f"about {in_words(found[0])} left; of the whole run {in_words(found[1])}"
        return f"about {in_words(seconds * (1 - share) / share)} left" if share and share < 1 else ""

    def finish(self, counts: Counts) -> None:
        """The step is over."""
        seconds = time.monotonic() - self._start
        self._screen.forecast.finish(self._title, seconds)
        rates = "  ".join(
            f"{value:,} {name} ({value / max(seconds, 1e-9):,.0f}/s)" for name, value in self._shown(counts).items()
        )
        if self._task is not None and self._screen.progress is not None:
            self._screen.progress.remove_task(self._task)
        self._screen.say(f"{self._title:<32} done  {rates}  {seconds:.1f} s")


class Screen:
    """Where a run reports to: a person's terminal or a log.

    Args:
        expected: seconds that each step of the run takes elsewhere, by title, in order; without, only the time left of
            a step is said.
    """

    def __init__(self, quiet: bool = False, expected: Mapping[str, float] | None = None) -> None:
        self.forecast = Forecast(expected or {})
        self._console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self.progress: Progress | None = None

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Within it, steps are drawn as bars where this is a terminal."""
        if not self._console.is_terminal or self._console.quiet:
            yield
            return
        columns = (
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            self.progress = progress
            try:
                yield
            finally:
                self.progress = None

    @contextmanager
    def step(self, title: str, unit: str = "", total: int | None = None) -> Iterator[Step]:
        """A step with its bar."""
        yield Step(self, title, unit, total)
