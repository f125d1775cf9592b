"""The boundary between gobelin and data from the web. It turns an exception into a decision, and the run continues.

Each step of a pipeline that works on pages, pictures, headers or addresses of the web is a ``WebStep``. It calls the
function that does the work through ``attempt``, once per item that can be left out alone (a record, a page, a picture,
a document), and writes a decision if the result is ``Refused``. ``tests/test_boundary.py`` lists all steps and raises
an exception in each.

Some exceptions still end a run, because they concern the run and not one item: Ctrl-C and requests to stop (they are
not an ``Exception``), an error in the user's input (``UserError``), a disk that is full or broken, and too many open
files. If one item needs too much memory in a single allocation, only that item is left out. A process that allocates
too much in small pieces is killed by Linux without an exception.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import apache_beam as beam

from gobelin.data.model import Decision, to_row
from gobelin.errors import UserError
from gobelin.transforms.urls import describe

T = TypeVar("T")

_ENDS_A_RUN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """The result of work on one item that raised an exception."""

    detail: str  # the exception in one line, for a decision


def attempt(work: Callable[..., T], *arguments: Any) -> T | Refused:
    """Calls a function. Returns its result, or ``Refused`` if it raised an exception. A lazy iterator must be consumed
    inside ``work``."""
    try:
        return work(*arguments)
    except UserError:
        raise
    except Exception as error:  # the boundary
        if ends_a_run(error):
            raise
        return Refused(describe(error))


def ends_a_run(error: Exception) -> bool:
    """Whether the machine caused an exception: a full or broken disk, or too many open files."""
    return isinstance(error, OSError) and error.errno in _ENDS_A_RUN


class WebStep(beam.DoFn):
    """A step on data from the web. It calls its work through ``attempt``."""


class Guarded(WebStep):
    """Applies a function to elements, each with a boundary of its own. Yields the function's outputs, or decisions on
    the output
    ``decisions`` if it raised an exception. The outputs of an element are collected first, so either all or none
    appear.

    Args:
        work: (element, *arguments) -> outputs.
        refuse: (element, detail) -> the decisions on an element for which ``work`` raised an exception.
    """

    def __init__(
        self,
        work: Callable[..., Iterable[Any]],
        refuse: Callable[[Any, str], Iterable[Decision]],
        *arguments: Any,
    ) -> None:
        self._work, self._refuse, self._arguments = work, refuse, arguments

    def process(self, element: Any) -> Iterator[Any]:
        made = attempt(_all, self._work, element, *self._arguments)
        if not isinstance(made, Refused):
            yield from made
            return
        for decision in self._refuse(element, made.detail):
            yield beam.pvalue.TaggedOutput("decisions", to_row(decision))


def _all(work: Callable[..., Iterable[Any]], *arguments: Any) -> list[Any]:
    return list(work(*arguments))
