"""Scores of other packages: of documents together with the text statistics, of images shard by shard.

If a plug-in's score raises an exception, the value is null, and a decision ``plugin_error.NAME`` is written. The
document or image goes on, and a rule on the score counts as not run for it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gobelin.data.model import Action, Decision, Unit, document_from_row, image_from_row
from gobelin.data.rows import DocumentRow, ImageRow, Row
from gobelin.data.schemas import IMAGE_SCORES
from gobelin.errors import UserError
from gobelin.plugins import score_called
from gobelin.scores import Score
from gobelin.store.paths import join
from gobelin.store.shards import read_rows, write_decisions, write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.progress import advance

Settings = Mapping[str, Mapping[str, Any]]
"""The settings of each plug-in's score in a recipe, by its name."""

ERROR = "plugin_error."
"""Prefix of the rule of a decision on a failed score of a plug-in."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scorer:
    """A plug-in's score with its settings, ready to be called."""

    entry: Score
    call: Callable[[Any], Any]


def plugin_entries(settings: Settings, of: Unit | None = None) -> list[Score]:
    """Entries of the table of scores that a recipe's plug-ins add, by name; ``of``: only those of documents or of
    images."""
    entries = [score_called(name).entry for name in sorted(settings)]
    return [entry for entry in entries if of is None or entry.of == (of.value,)]


def load_scorers(settings: Settings, of: Unit) -> list[Scorer]:
    """The plug-ins' scores of documents or of images, by name.

    Raises:
        PluginError: one of them is not installed.
    """
    return [
        Scorer(entry, score_called(entry.name).with_settings(settings[entry.name]))
        for entry in plugin_entries(settings, of)
    ]


def apply_scorers(scorers: Iterable[Scorer], row: Row, of: Unit) -> tuple[Row, list[Decision]]:
    """(values by name of their score, decisions on failed scores) for a document's or image's row."""
    values: Row = {}
    decisions: list[Decision] = []
    about = {"doc_id": row["doc_id"], "url": row["url"]} if of is Unit.DOCUMENT else {"image_id": row["image_id"]}
    for scorer in scorers:
        value = attempt(_value, scorer, row, of)
        if isinstance(value, Refused):
            rule = f"{ERROR}{scorer.entry.name}"
            decisions.append(
                Decision(stage="score", unit=of, action=Action.REPLACE, rule=rule, detail=value.detail, **about)
            )
        values[scorer.entry.name] = None if isinstance(value, Refused) else value
    return values, decisions


def _value(scorer: Scorer, row: Row, of: Unit) -> float | int | None:
    is_document = of is Unit.DOCUMENT
    subject = document_from_row(cast(DocumentRow, row)) if is_document else image_from_row(cast(ImageRow, row))
    try:
        return _as_stored(scorer.call(subject), scorer.entry.arrow)
    except UserError as error:  # of a plug-in: it must not end the run
        raise RuntimeError(str(error)) from error


def _as_stored(value: Any, arrow: pa.DataType) -> float | int | None:
    """A plug-in's value in the form of its column. A number that is not finite becomes null.

    Raises:
        ValueError, TypeError, OverflowError, ArrowInvalid: it is not a number, or not valid for the column.
    """
    if value is None:
        return None
    if isinstance(value, (str, bytes)):
        raise TypeError(f"the score is a number, and its value is {value!r}")
    number = float(value)
    if not math.isfinite(number):
        return None
    if pa.types.is_integer(arrow):
        if int(value) != value:
            raise TypeError(f"the score is of type {arrow}, and its value {number} is not an integer")
        return int(pa.scalar(int(value), arrow).as_py())
    highest = np.finfo(np.float64 if arrow == pa.float64() else np.float32).max
    return number if abs(number) <= highest else None


class ScoreByPlugins(beam.PTransform):
    """Shard numbers of ``images`` -> shards of ``image_plugins`` and ``plugin_decisions`` in the folder ``work``."""

    def __init__(self, settings: Settings, images: str, work: str, num_shards: int) -> None:
        self._arguments = (settings, images, work, num_shards)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_ScoreByPlugins(*self._arguments))


class _ScoreByPlugins(WebStep):
    def __init__(self, settings: Settings, images: str, work: str, num_shards: int) -> None:
        self._settings, self._images, self._work, self._num_shards = settings, images, work, num_shards

    def setup(self) -> None:
        self._scorers = load_scorers(self._settings, Unit.IMAGE)

    def process(self, index: int) -> Iterator[str]:
        decisions: list[Decision] = []
        columns = [scorer.entry.column("images") for scorer in self._scorers]
        path = shard_path(join(self._work, "image_plugins"), index, self._num_shards)
        write_shard(path, self._rows(index, decisions), pa.schema([IMAGE_SCORES.field("image_id"), *columns]))
        write_decisions(shard_path(join(self._work, "plugin_decisions"), index, self._num_shards), decisions)
        yield path

    def _rows(self, index: int, decisions: list[Decision]) -> Iterator[Row]:
        for row in read_rows(shard_path(self._images, index, self._num_shards)):
            advance("images")
            values, failed = apply_scorers(self._scorers, row, Unit.IMAGE)
            decisions += failed
            yield {"image_id": row["image_id"], **values}
