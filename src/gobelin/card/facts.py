"""The facts in a data card, as numbers and names. The code that writes the files gathers them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from gobelin.card.croissant import Archive
from gobelin.card.layouts import Layout
from gobelin.card.tally import Tally


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a folder. They include no time and no local path."""

    run: dict[str, Any]  # run.json
    recipe_digest: str  # SHA-256 of recipe.yaml, hexadecimal
    stage: str  # the stage that wrote the documents: select | extract
    format: str | None  # of an export; None: the output folder of a run
    tally: Tally
    layouts: Sequence[Layout]
    num_rows: dict[str, int]  # by name of a layout
    num_bytes: dict[str, int]  # of its files, by name of a layout
    members: Sequence[str] = ()  # of a tar: the images' names behind a sample's own, as "0.jpg"
    archives: Sequence[Archive] = ()
    left_out: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)  # unit -> rule -> times, by an export
    with_images: bool = False
    faces_blurred: int | None = None  # image nodes of an export; None: not asked for

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.run["recipe"]["name"])

    @property
    def title(self) -> str:
        """The corpus in words: its sites, or their number, and the recipe. Sites are untrusted names."""
        sites = sorted(self.tally.sites)
        of = " and ".join(sites) if 0 < len(sites) <= _MAX_NAMED_SITES else f"{len(sites):,} sites"
        return f"Documents of {of} with their images (recipe {self.name})"

    @property
    def version(self) -> str:
        """gobelin's version."""
        return str(self.run.get("versions", {}).get("gobelin", "unknown"))


_MAX_NAMED_SITES = 2
