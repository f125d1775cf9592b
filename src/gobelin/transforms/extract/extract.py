"""Turns captures into documents and images: the first half of ``extract``, which works record by record.

Pages become ``PageDraft``s (extract_page.py), and images become ``ImageDraft``s (extract_image.py). Both are joined by
URL later (resolve_urls.py, write_documents.py, write_images.py). Each capture gives exactly one draft or one decision.
Large data (nodes, bytes) goes into a spool. The transforms return index rows of a few hundred bytes (indexes.py).
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator

import apache_beam as beam

from gobelin.data.model import Action, ArchiveTally, Decision, Document, Unit, to_row
from gobelin.data.rows import Row
from gobelin.store.spool import Spool
from gobelin.transforms.archives.read_warc import Capture
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.extract.config import ExtractConfig, image_limits
from gobelin.transforms.extract.decisions import BLOCKED, failed_decision
from gobelin.transforms.extract.extract_image import ImageDraft, extract_image, image_row
from gobelin.transforms.extract.extract_page import extract_page
from gobelin.transforms.extract.indexes import address_keys, blocked_row
from gobelin.transforms.images.block_list import load_block_list
from gobelin.transforms.images.image_sandbox import ImageChecker
from gobelin.transforms.progress import advance


def _as_json(document: Document) -> bytes:
    """A document in the form of the spool. A lone surrogate, which UTF-8 cannot encode, becomes a question mark."""
    return json.dumps(to_row(document), ensure_ascii=False).encode("utf-8", "replace")


_COUNTED = {Action.DROP: "dropped", Action.FAIL: "failed"}
"""The name of each action among the counts of the running stage."""


class ExtractPages(beam.PTransform):
    """Page captures -> index rows ``pages`` and ``images``, ``decisions``, and ``tallies`` of ``data:`` images."""

    def __init__(self, config: ExtractConfig, spool_folder: str) -> None:
        self._config, self._spool_folder = config, spool_folder

    def expand(self, captures: beam.PCollection) -> beam.DoOutputsTuple:
        return captures | beam.ParDo(_ExtractPages(self._config, self._spool_folder)).with_outputs(
            "pages", "images", "decisions", "tallies"
        )


class ExtractImages(beam.PTransform):
    """Image captures -> index rows ``images``, and ``decisions``."""

    def __init__(self, config: ExtractConfig, spool_folder: str) -> None:
        self._config, self._spool_folder = config, spool_folder

    def expand(self, captures: beam.PCollection) -> beam.DoOutputsTuple:
        return captures | beam.ParDo(_ExtractImages(self._config, self._spool_folder)).with_outputs(
            "images", "decisions"
        )


def spare_collector() -> None:
    """Makes the garbage collector of this process run less often. A page creates thousands of short-lived objects
    without cycles, and a collection per 700 allocations takes about 8 % of a page's time."""
    gc.set_threshold(50_000, 20, 50)


class _Extractor(WebStep):
    """Holds one spool per bundle."""

    def __init__(self, config: ExtractConfig, spool_folder: str) -> None:
        self._config, self._spool_folder = config, spool_folder

    def setup(self) -> None:
        load_block_list(self._config.block_list)  # an unreadable list must end the run, not fail each record
        spare_collector()
        self._checker = ImageChecker(image_limits(self._config))

    def teardown(self) -> None:
        self._checker.close()

    def start_bundle(self) -> None:
        self._spool = Spool(self._spool_folder)

    def finish_bundle(self) -> None:
        self._spool.close()

    def _image(self, url: str, outcome: ImageDraft | Decision, capture: Capture) -> Iterator[beam.pvalue.TaggedOutput]:
        if isinstance(outcome, Decision):
            advance(_COUNTED[outcome.action])
            yield beam.pvalue.TaggedOutput("decisions", to_row(outcome))
            if outcome.rule == BLOCKED:
                digest = capture.payload_digest if url == capture.url else None  # a data: image has none
                yield beam.pvalue.TaggedOutput("images", blocked_row(url, capture.warc_date, digest))
            return
        if outcome.pages_left_out is not None:
            yield beam.pvalue.TaggedOutput("decisions", to_row(outcome.pages_left_out))
        yield beam.pvalue.TaggedOutput("images", image_row(outcome, url, self._spool))


class _ExtractPages(_Extractor):
    def process(self, capture: Capture) -> Iterator[beam.pvalue.TaggedOutput]:
        advance("pages")
        made = attempt(self._made, capture)
        if isinstance(made, Refused):
            yield beam.pvalue.TaggedOutput("decisions", to_row(failed_decision(capture, Unit.DOCUMENT, made)))
            return
        outcome, images = made
        if images:
            tally = ArchiveTally(capture.warc_file, 0, 0, len(images), 0)
            yield beam.pvalue.TaggedOutput("tallies", to_row(tally))
        for url, image in images.items():
            yield from self._image(url, image, capture)
        if isinstance(outcome, Decision):
            advance(_COUNTED[outcome.action])
            yield beam.pvalue.TaggedOutput("decisions", to_row(outcome))
            return
        row, payload = outcome
        yield beam.pvalue.TaggedOutput("pages", {**row, **to_row(self._spool.write(payload))})

    def _made(self, capture: Capture) -> tuple[tuple[Row, bytes] | Decision, dict[str, ImageDraft | Decision]]:
        """Returns (index row of a page and its document as spool bytes, or the decision on it; its ``data:``
        images)."""
        outcome, images = extract_page(capture, self._config, self._checker.check)
        if isinstance(outcome, Decision):
            return outcome, images
        names = ("doc_id", "url", "warc_file", "warc_offset", "warc_date", "consent")
        row = {name: getattr(outcome.document, name) for name in names}
        row |= {"payload_digest": outcome.payload_digest, **address_keys(outcome.document.url, outcome.candidates)}
        return (row, _as_json(outcome.document)), images


class _ExtractImages(_Extractor):
    def process(self, capture: Capture) -> Iterator[beam.pvalue.TaggedOutput]:
        advance("images")
        made = attempt(extract_image, capture, self._config, self._checker.check)
        outcome = failed_decision(capture, Unit.IMAGE, made) if isinstance(made, Refused) else made
        yield from self._image(capture.url, outcome, capture)
