"""Joins the policies of a site (robots.txt and tdmrep.json) to its pages and images.

The policies come from the input, and none is fetched here. A page has the signals of its site besides its own. An image
has those of the host that serves it. All URLs of a host meet in one place, where its policies are parsed once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gobelin.data.ids import shard_of
from gobelin.data.model import Action, Decision, Unit
from gobelin.data.rows import Row
from gobelin.transforms.archives.read_warc import Capture
from gobelin.transforms.boundary import Guarded
from gobelin.transforms.partition import Parts
from gobelin.transforms.rights.site_policy import PolicyRow, host_key, policy_row, read_site


class PolicyRows(beam.PTransform):
    """Captured policies -> rows ``policies`` of ``POLICY_INDEX``, and ``decisions`` on policies that cannot be read."""

    def expand(self, captures: beam.PCollection) -> beam.DoOutputsTuple:
        step = Guarded(policy_rows, _refuse_policy)
        return captures | beam.ParDo(step).with_outputs("decisions", main="policies")


def _refuse_policy(capture: Capture, detail: str) -> Iterator[Decision]:
    yield Decision(
        stage="extract", unit=Unit.RECORD, action=Action.FAIL, rule="policy_error", url=capture.url, detail=detail,
        warc_file=capture.warc_file, warc_offset=capture.warc_offset,
    )  # fmt: skip


def policy_rows(capture: Capture) -> Iterator[PolicyRow]:
    """The index row of a captured policy; none if it has no effect."""
    row = policy_row(capture)
    if row is not None:
        yield row


@dataclasses.dataclass(frozen=True, slots=True)
class PlacesByHost:
    """Partitions rows by the host of their URL (``partition.Partitioner``), as ``ByShard`` partitions rows with a
    column ``host``. Rows without an id are dropped."""

    identity: str
    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        ids, urls = table[self.identity].to_pylist(), table["url"].to_pylist()
        found = (
            -1 if each is None else shard_of(host_key(url), self.num_parts) for each, url in zip(ids, urls, strict=True)
        )
        return table, np.fromiter(found, np.intp, len(ids))


class FindSiteSignals(beam.PTransform):
    """(rows with a URL and an id, rows of ``POLICY_INDEX``) -> ``signals``: (id, signals), for sites with signals;
    ``decisions`` on
    the ids of a site whose policies cannot be read.

    Args:
        identity: column with the id; rows without an id have no signals.
        agents: product tokens of robots.txt to look for, in lower case.
    """

    def __init__(self, identity: str, agents: tuple[str, ...]) -> None:
        self._identity, self._agents = identity, agents

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.DoOutputsTuple:
        rows, policies = inputs
        return (
            {
                "places": rows | "PlacesByHost" >> beam.FlatMap(_by_host, self._identity),
                "policies": policies | "PoliciesByHost" >> beam.Map(_policy_by_host),
            }
            | "JoinByHost" >> beam.CoGroupByKey()
            | "FindSignals"
            >> beam.ParDo(Guarded(_find_signals, partial(_refuse_site, self._identity), self._agents)).with_outputs(
                "decisions", main="signals"
            )
        )


def _by_host(row: Row, identity: str) -> Iterator[tuple[str, tuple[str, str]]]:
    if row[identity] is not None:
        yield host_key(row["url"]), (row[identity], row["url"])


def _policy_by_host(policy: PolicyRow) -> tuple[str, PolicyRow]:
    return policy["host"], policy


def _refuse_site(identity: str, joined: tuple[str, dict[str, Iterable[Any]]], detail: str) -> Iterator[Decision]:
    """One decision per page or image, so that decisions do not depend on how ids are batched."""
    for identifier, url in joined[1]["places"]:
        place = Decision(
            stage="extract", unit=Unit.RECORD, action=Action.FAIL, rule="policy_error", url=url, detail=detail
        )
        yield dataclasses.replace(place, **{identity: identifier})


def _find_signals(
    joined: tuple[str, dict[str, Iterable[Any]]], agents: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    policies = list(joined[1]["policies"])
    if policies:
        site = read_site(policies, agents)
        for identifier, url in joined[1]["places"]:
            signals = site.signals(url)
            if signals:
                yield identifier, signals
