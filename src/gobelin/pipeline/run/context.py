"""The data that every stage of a run receives, and how stages count."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from gobelin.data.model import Action, Unit
from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.pipeline.run.counts import Counts, counts_of
from gobelin.pipeline.run.inputs import Archive
from gobelin.pipeline.run.keys import parts_of
from gobelin.pipeline.run.plan import Plan
from gobelin.pipeline.run.state import StageFolder
from gobelin.pipeline.run.supervisor import StepFailedError, Supervisor
from gobelin.store.dataset import current
from gobelin.store.paths import join
from gobelin.transforms.images.stored_images import StoredImages


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """The data that every stage needs."""

    output: str  # local folder, or one on a store
    recipe: Recipe
    archives: tuple[Archive, ...]
    supervisor: Supervisor
    workers: int
    keys: dict[str, str]  # of each stage
    homes: Mapping[str, str] = dataclasses.field(default_factory=dict)  # output folders of stages that lie elsewhere

    @property
    def plan(self) -> Plan:
        return Plan(self.supervisor, self.workers)

    def folder(self, stage: str) -> StageFolder:
        return StageFolder(self._home(stage), stage, self.keys[stage], parts_of(stage, self.recipe, self.keys))

    def images(self, copies_serve: bool) -> StoredImages:
        """The images of ``extract``. Includes reduced copies if the recipe keeps them and ``copies_serve`` allows
        them."""
        has_copies = copies_serve and self.recipe.extract.image.copy_side_px > 0
        copies = self.data("extract", "copies") if has_copies else None
        return StoredImages(self.data("extract", "images"), copies, self.recipe.num_shards)

    def data(self, stage: str, name: str) -> str:
        """The folder with the files of a data set of an earlier stage."""
        return current(join(self._home(stage), stage, name))

    def _home(self, stage: str) -> str:
        return self.homes.get(stage, self.output)


def balanced_counts(
    seen: int, kept: int, decisions: dict[Unit, dict[Action, Counter[str]]], unit: Unit
) -> dict[str, Any]:
    """Numbers of seen, kept and left-out units of one kind. Each number is counted independently.

    Raises:
        StepFailedError: the numbers do not add up.
    """
    counts: Counts = counts_of(seen, kept, decisions[unit])
    if not counts.is_balanced:
        raise StepFailedError(f"{unit.value}s do not add up: {counts}; this is a defect of gobelin, please report it")
    return dataclasses.asdict(counts)
