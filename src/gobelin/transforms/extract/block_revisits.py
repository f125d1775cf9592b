"""Leaves out revisit records if their address is on a block list, or if they point to such an address.

This happens before revisits are joined to their originals (``archives/revisits.py``), so no listed address gets into
documents, images or decisions. The join itself blocks a revisit that points to a blocked image only by its digest.
"""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam

from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.transforms.archives.revisits import RevisitRow
from gobelin.transforms.boundary import Guarded
from gobelin.transforms.extract.decisions import BLOCKED
from gobelin.transforms.extract.indexes import blocked_row
from gobelin.transforms.images.block_list import BlockListConfig, load_block_list


class BlockRevisits(beam.PTransform):
    """Rows of revisits -> those without a listed address, as ``revisits``. For the others, ``decisions`` and index rows
    ``images`` that keep their addresses out of documents."""

    def __init__(self, config: BlockListConfig) -> None:
        self._config = config

    def expand(self, revisits: beam.PCollection) -> beam.DoOutputsTuple:
        step = Guarded(_block_revisit, _refuse_revisit, self._config)
        return revisits | beam.ParDo(step).with_outputs("revisits", "images", "decisions")


def _refuse_revisit(revisit: RevisitRow, detail: str) -> Iterator[Decision]:
    """If the check of a revisit fails, the revisit is left out."""
    yield Decision(
        stage="extract", unit=Unit.RECORD, action=Action.FAIL, rule="extract_error", detail=detail,
        warc_file=revisit["warc_file"], warc_offset=revisit["warc_offset"],
    )  # fmt: skip


def _block_revisit(revisit: RevisitRow, config: BlockListConfig) -> Iterator[beam.pvalue.TaggedOutput]:
    blocked = load_block_list(config)
    urls = [url for url in (revisit["url"], revisit["refers_to_url"]) if url]
    hits = map(blocked.match_url, urls) if blocked else iter(())
    hit = next((hit for hit in hits if hit is not None), None)
    if hit is None:
        yield beam.pvalue.TaggedOutput("revisits", revisit)
        return
    if not revisit["is_redirect"]:  # the record of a redirect has a decision elsewhere
        decision = Decision(
            stage="extract", unit=Unit.RECORD, action=Action.DROP, rule=BLOCKED, detail=hit.list_name,
            warc_file=revisit["warc_file"], warc_offset=revisit["warc_offset"],
        )  # fmt: skip
        yield beam.pvalue.TaggedOutput("decisions", to_row(decision))
    row = blocked_row(revisit["url"], revisit["warc_date"], revisit["payload_digest"])
    yield beam.pvalue.TaggedOutput("images", row)
