"""Marks: the verdicts of people on a run's decisions, right or wrong, with notes. MMC4's authors did such an audit.

``OUT/marks.jsonl`` holds one line per mark: its subject (a document, or a node of one), the rule of the decision
("kept" if there was none), the verdict, a note, and the key of the stage ``select``. A mark on a randomly drawn subject
is labelled (``audit``). Only these marks give an error rate, because subjects that people choose themselves are no
random sample.

The rate is wrong / (right + wrong). Its interval is Wilson's 95 % interval, which is valid for few marks and for rates
near 0.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any, Literal

from gobelin.errors import UserError
from gobelin.store.files import read_bytes, write_bytes
from gobelin.store.paths import join

FILE_NAME = "marks.jsonl"

KEPT = "kept"
"""In place of a rule: the document stays."""

Z = 1.959964
"""Quantile of the normal distribution, for 95 %."""

MAX_NOTE = 2000
"""Characters of a note."""

Verdict = Literal["right", "wrong", ""]


class MarksError(UserError):
    """The file of marks cannot be read."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One verdict. ``verdict`` is empty if there is only a note."""

    doc_id: str
    node_index: int | None  # None: the document itself
    rule: str
    verdict: Verdict
    note: str
    audit: bool  # drawn at random for this rule
    selection: str  # key of the stage select

    @property
    def subject(self) -> tuple[str, int | None, str, str]:
        """The subject of the mark. A later mark on the same subject replaces an earlier one."""
        return self.doc_id, self.node_index, self.rule, self.selection


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorRate:
    """How often a rule is wrong, from the marks on a random sample."""

    rule: str
    num_right: int
    num_wrong: int
    notes: tuple[Mark, ...]  # marks with a note, the wrong ones first

    @property
    def num_marks(self) -> int:
        return self.num_right + self.num_wrong

    @property
    def rate(self) -> float:
        return self.num_wrong / self.num_marks if self.num_marks else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.num_wrong, self.num_marks)


def wilson(num: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share ``num / of`` (Wilson, 1927); (0, 1) if ``of`` is 0."""
    if not of:
        return 0.0, 1.0
    share = num / of
    middle = (share + Z**2 / (2 * of)) / (1 + Z**2 / of)
    half = Z / (1 + Z**2 / of) * math.sqrt(share * (1 - share) / of + Z**2 / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def read_marks(output: str) -> list[Mark]:
    """The marks of an output folder; empty if there is no file. Raises ``MarksError``."""
    path = join(output, FILE_NAME)
    try:
        lines = read_bytes(path).decode().splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise MarksError(f"{path}: not a text file in UTF-8") from error
    names = {field.name for field in dataclasses.fields(Mark)}
    found = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            mark = Mark(**{name: row[name] for name in names})
        except (ValueError, KeyError, TypeError):
            raise MarksError(f"{path}, line {number}: not a mark; correct or delete the line") from None
        found[mark.subject] = mark
    return list(found.values())


def write_marks(output: str, marks: Iterable[Mark]) -> None:
    """Replaces the marks of an output folder."""
    lines = [json.dumps(dataclasses.asdict(mark), ensure_ascii=False) + "\n" for mark in marks]
    write_bytes(join(output, FILE_NAME), "".join(lines).encode())


def error_rates(marks: Iterable[Mark], selection: str) -> list[ErrorRate]:
    """The error rate of each rule with a marked sample, sorted by name. Ignores marks on other selections."""
    by_rule: dict[str, list[Mark]] = {}
    for mark in marks:
        if mark.audit and mark.selection == selection and mark.verdict:
            by_rule.setdefault(mark.rule, []).append(mark)
    return [
        ErrorRate(
            rule,
            sum(mark.verdict == "right" for mark in own),
            sum(mark.verdict == "wrong" for mark in own),
            tuple(sorted((mark for mark in own if mark.note), key=lambda mark: mark.verdict != "wrong")),
        )
        for rule, own in sorted(by_rule.items())
    ]


def draw(places: Any, rule: str, seed: int, size: int) -> list[int]:
    """A random sample of a rule's places, without replacement. Equal seeds give equal samples."""
    import numpy as np

    name = int.from_bytes(hashlib.blake2b(rule.encode(), digest_size=8).digest(), "big")
    chosen = np.random.default_rng([seed, name]).permutation(len(places))[:size]
    return [int(places[each]) for each in chosen]
