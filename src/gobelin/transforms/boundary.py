"""The boundary between gobelin and data from the web. It turns an exception into a decision, and the run goes on.

Every step of a pipeline that works on pages, pictures, headers or addresses of the web is a ``WebStep``. It calls the
function that does the work through ``attempt``, once for each thing that may be left out by itself (a record, a page, a
picture, a document), and writes a decision where that comes back ``Refused``. ``tests/test_boundary.py`` holds a list
of all steps and throws an exception into each.

Some exceptions still end a run, because they concern the run and not one thing: Ctrl-C and requests to stop (they are
no ``Exception``), an error in the user's input (``UserError``), a disk that is full or broken, and too many open files.
If one thing needs too much memory, only that thing is left out. Linux refuses memory only to a single huge request. A
process that takes too much in small requests ends without an exception.
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
    """The work on one thing raised an exception."""

    detail: str  # the exception in a line, as a decision holds it


def attempt(work: Callable[..., T], *arguments: Any) -> T | Refused:
    """Calls a function. Returns its result, or ``Refused`` if it raised. An iterator must be used up inside
    ``work``."""
    try:
        return work(*arguments)
    except UserError:
        raise
    except Exception as error:  # the boundary
        if ends_a_run(error):
            raise
        return Refused(describe(error))


def ends_a_run(error: Exception) -> bool:
    """Whether the machine caused an exception: a disk that is full or broken, or too many open files."""
    return isinstance(error, OSError) and error.errno in _ENDS_A_RUN


class WebStep(beam.DoFn):
    """A step that works on data from the web, and calls the work through ``attempt``."""


class Guarded(WebStep):
    """A function on elements, with a boundary around each element: its outputs, or decisions on the output
    ``decisions``. The outputs of one element are held until the last is made, so that they come all or not at all.

    Args:
        work: (element, *arguments) -> outputs.
        refuse: (element, detail) -> the decisions that are made where ``work`` raised an exception.
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
