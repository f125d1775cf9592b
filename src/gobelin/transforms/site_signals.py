"""What a site says of all its files, in robots.txt and tdmrep.json, joined to its pages and images.

The policies are those that the input holds; none is fetched here. A page's index row gets its site's signals beside
the page's own, an image's those of the host that serves the image. All rows of a host meet in one place, where its
policies are parsed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from gobelin.transforms.consent import merge_signals
from gobelin.transforms.read_warc import Capture
from gobelin.transforms.site_policy import host_key, policy_row, read_site

Row = dict[str, Any]


def policy_rows(capture: Capture) -> Iterator[Row]:
    """The index row of a captured policy; none where it says nothing."""
    row = policy_row(capture)
    if row is not None:
        yield row


class AddSiteSignals(beam.PTransform):
    """(index rows, rows of ``POLICY_INDEX``) -> the same index rows, ``consent`` with their site's signals.

    Args:
        agents: product tokens of robots.txt that are looked for, lower case.
    """

    def __init__(self, agents: tuple[str, ...]) -> None:
        self._agents = agents

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        rows, policies = inputs
        return (
            {
                "rows": rows | "RowsByHost" >> beam.Map(_by_host),
                "policies": policies | "PoliciesByHost" >> beam.Map(_policy_by_host),
            }
            | "JoinByHost" >> beam.CoGroupByKey()
            | "AddSignals" >> beam.FlatMap(_add_signals, self._agents)
        )


def _by_host(row: Row) -> tuple[str, Row]:
    return host_key(row["url"]), row


def _policy_by_host(policy: Row) -> tuple[str, Row]:
    return policy["host"], policy


def _add_signals(joined: tuple[str, dict[str, Iterable[Row]]], agents: tuple[str, ...]) -> Iterator[Row]:
    policies = list(joined[1]["policies"])
    if not policies:
        yield from joined[1]["rows"]
        return
    site = read_site(policies, agents)
    for row in joined[1]["rows"]:
        yield {**row, "consent": list(merge_signals(row["consent"], site.signals(row["url"])))}
