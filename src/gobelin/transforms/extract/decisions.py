"""Decisions of the stage ``extract`` on a capture."""

from __future__ import annotations

import dataclasses

from gobelin.data.model import Action, Decision, Unit
from gobelin.transforms.archives.read_warc import Capture
from gobelin.transforms.boundary import Refused
from gobelin.transforms.images.block_list import BlockHit
from gobelin.transforms.images.check_image import ImageProblem
from gobelin.transforms.pages.content.gates import Refusal
from gobelin.transforms.pages.tree.find_nodes import PageProblem

BLOCKED = "block_list"
"""Rule of files on a block list."""


def blocked_decision(capture: Capture, unit: Unit, hit: BlockHit) -> Decision:
    """The decision on a capture that a block list names. It has the list and the record, but nothing that leads to the
    file."""
    decision = capture_decision(capture, unit, Action.DROP, BLOCKED)
    return dataclasses.replace(decision, url=None, detail=hit.list_name)


def refused_decision(capture: Capture, unit: Unit, why: PageProblem | ImageProblem | Refusal) -> Decision:
    """The decision on a capture that a check refused."""
    decision = capture_decision(capture, unit, why.action, why.rule, why.value, why.threshold)
    return dataclasses.replace(decision, detail=why.detail)


def capture_decision(
    capture: Capture,
    unit: Unit,
    action: Action,
    rule: str,
    value: float | None = None,
    threshold: float | None = None,
) -> Decision:
    """A decision on a capture, with its URL and its place in the archive."""
    return Decision(
        stage="extract",
        unit=unit,
        action=action,
        rule=rule,
        url=capture.url,
        value=value,
        threshold=threshold,
        warc_file=capture.warc_file,
        warc_offset=capture.warc_offset,
    )


def failed_decision(capture: Capture, unit: Unit, refused: Refused) -> Decision:
    """The decision on a capture on which gobelin's own code failed."""
    return dataclasses.replace(capture_decision(capture, unit, Action.FAIL, "extract_error"), detail=refused.detail)
