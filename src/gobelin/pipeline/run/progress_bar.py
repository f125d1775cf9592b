"""The terminal output of a run: the current step with counts, rate and time left, and one line per finished stage.

A terminal shows a bar. A log file or CI gets a line every few seconds, and one line per step. If the steps of the whole
run and their usual costs are known, the time left of the whole run is shown too, from the first second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gobelin.pipeline.run.events import Listener, now
from gobelin.pipeline.run.forecast import Forecast, in_words
from gobelin.transforms.progress import BEFORE

SECONDS_BETWEEN_LINES = 5.0
FIRST_SHARE = 0.01
"""Of what a step has to do: until it is done, a pace says nothing, because workers are starting."""

Counts = dict[str, int]


class Step:
    """The current step. ``update`` takes the counts so far. ``total`` is the number of ``unit`` to do, and ``before``
    the number that an earlier command has done."""

    def __init__(self, screen: Screen, title: str, unit: str, total: int | None, before: int) -> None:
        self._screen, self._title, self._unit, self._total, self._before = screen, title, unit, total, before
        self.note = ""
        """A few words that are shown beside the counts."""
        self._start = time.monotonic()
        self._last_line = self._start
        self._task = (
            screen.progress.add_task(title, total=total or None, completed=before, counts="", left="")
            if screen.progress is not None
            else None
        )
        screen.tell("step_started", step=title, unit=unit or None, total=total)

    def update(self, counts: Counts) -> None:
        """Shows counts such as {"pages": 12, "images": 40}; the bar follows the step's unit."""
        new = counts.get(self._unit, 0)
        done, seconds = self._before + counts.get(BEFORE, 0) + new, time.monotonic() - self._start
        counts = {name: value for name, value in counts.items() if name != BEFORE}
        if self._unit in counts:
            counts[self._unit] = done
        share = min(1.0, done / self._total) if self._total else None
        rate = new / seconds if new and seconds > 0 else None
        left, of_run = self._left(share, done, new, seconds)
        self._screen.tell(
            "progress", step=self._title, unit=self._unit or None, total=self._total, done=done, share=share,
            counts=counts, seconds=round(seconds, 1), rate=_rounded(rate), seconds_left=_rounded(left),
        )  # fmt: skip
        text, words = _counted(counts, self._unit, rate), _left_in_words(left, of_run)
        text += f"  {self.note}" if self.note else ""
        if self._task is not None and self._screen.progress is not None:
            completed = min(done, self._total) if self._total else 0
            self._screen.progress.update(self._task, completed=completed, counts=text, left=words)
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            shown = f" {100 * share:3.0f} %" if share is not None else ""
            self._screen.show(f"{self._title:<32}{shown}  {text}  {seconds:.0f} s{', ' if words else ''}{words}")

    def _left(self, share: float | None, done: int, new: int, seconds: float) -> tuple[float | None, float | None]:
        """Seconds left of the step and of the run; None if unknown."""
        found = self._screen.forecast.left(self._title, share, seconds)
        if found is not None:
            return found
        if not self._total or share == 1 or new < FIRST_SHARE * (self._total - self._before):
            return None, None
        return seconds * (self._total - done) / new, None

    def finish(self, counts: Counts) -> None:
        """Ends the step."""
        seconds = time.monotonic() - self._start
        self._screen.forecast.finish(self._title, seconds)
        self._screen.tell("step_done", step=self._title, counts=counts, seconds=round(seconds, 1))
        if self._task is not None and self._screen.progress is not None:
            self._screen.progress.remove_task(self._task)
            return  # on a terminal its stage gets a line when it is done
        new = counts.get(self._unit, 0)
        text = _counted(counts, self._unit, new / seconds if new and seconds > 0 else None)
        self._screen.show(f"{self._title:<32} done  {text}  {seconds:.1f} s")


def _shown(counts: Counts) -> Counts:
    """Counts for people, without bytes, which only move the bar."""
    return {name: value for name, value in sorted(counts.items()) if name not in ("bytes", BEFORE)}


def _counted(counts: Counts, unit: str, rate: float | None) -> str:
    """Counts and a rate in words."""
    parts = [f"{value:,} {name}" for name, value in _shown(counts).items()]
    if rate is not None:
        parts.append(_rate(rate, unit))
    return "  ".join(parts)


def _rate(rate: float, unit: str) -> str:
    """A rate with at least two digits: 0.05/s, 1.4/s, 1,400/s, 14 kB/s, 1.4 MB/s."""
    sign = ""
    if unit == "bytes":
        rate, sign = (rate / 1e6, " MB") if rate >= 1e6 else (rate / 1e3, " kB")
    return f"{rate:,.0f}{sign}/s" if rate >= 10 else f"{rate:.2g}{sign}/s"


def _left_in_words(left: float | None, of_run: float | None) -> str:
    if left is None:
        return ""
    return f"about {in_words(left)} left" + (f"; of the whole run {in_words(of_run)}" if of_run is not None else "")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def outcomes(summary: Mapping[str, Any]) -> dict[str, Counts]:
    """Counts of documents and images in a stage's summary: seen, kept, dropped, failed."""
    found = {}
    for unit in ("documents", "images"):
        counts = summary.get(unit)
        if isinstance(counts, dict) and "seen" in counts:
            found[unit] = {
                "seen": counts["seen"], "kept": counts["kept"], "dropped": sum(counts["dropped"].values()),
                "failed": counts["failed"],
            }  # fmt: skip
    return found


def stage_line(name: str, summary: Mapping[str, Any]) -> str:
    """One line for a finished stage."""
    parts = [
        f"{found['seen']:,} {unit}: {found['kept']:,} kept, {found['dropped']:,} dropped, {found['failed']:,} failed"
        for unit, found in outcomes(summary).items()
    ]
    if "seconds" in summary:
        parts.append(f"{summary['seconds']:,.1f} s")
    return f"{name:<10}done  {'; '.join(parts)}"


class Screen:
    """Shows messages and progress of a run on a terminal or in a log.

    Args:
        expected: seconds of each step on another machine, by title, in order. Without it, only the time left of the
            current step is shown.
    """

    def __init__(self, quiet: bool = False, expected: Mapping[str, float] | None = None) -> None:
        self.forecast = Forecast(expected or {})
        self._console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self.progress: Progress | None = None
        self.listeners: list[Listener] = []
        self._stage: str | None = None
        self.has_ended = False  # listeners know how the run ended

    def say(self, text: str) -> None:
        """Prints one line and sends it to listeners."""
        if text:
            is_warning = text.startswith("warning:")
            self.tell("message", level="warning" if is_warning else "info", text=text)
        self.show(text)

    def show(self, text: str) -> None:
        """Prints one line for people. Listeners get the same information from an event."""
        self._console.print(text, markup=False)

    def tell(self, event: str, level: str = "info", **facts: Any) -> None:
        """Sends an event to the listeners (``events.py``)."""
        stage = {} if self._stage is None else {"stage": self._stage}
        for listener in self.listeners:
            listener.tell({"time": now(), "level": level, "event": event, **stage, **facts})
        self.has_ended = self.has_ended or event in ("run_done", "run_failed", "run_stopped")

    def begin_stage(self, name: str) -> None:
        """Begins a stage. Later events belong to it."""
        self._stage = name
        self.tell("stage_started")

    def end_stage(self, summary: Mapping[str, Any] | None) -> None:
        """Ends a stage. None: the stage was done before."""
        name = self._stage or ""
        if summary is None:
            self.tell("stage_skipped")
            self.show(f"{name}: already done")
        else:
            seconds = {key: summary[key] for key in ("seconds", "cpu_seconds") if key in summary}
            self.tell("stage_done", **{**seconds, **outcomes(summary)})
            self.show(stage_line(name, summary))
        self._stage = None

    @contextmanager
    def live(self) -> Iterator[None]:
        """Shows steps as bars while the block runs, if this is a terminal."""
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
    def step(self, title: str, unit: str = "", total: int | None = None, before: int = 0) -> Iterator[Step]:
        """A step with its bar."""
        yield Step(self, title, unit, total, before)
