"""The data card of a run's output folder or of an export: gathers the facts for ``card/card.py``.

OUT/run.json, select/documents --> OUT/README.md, OUT/croissant.json      after select, and by gobelin card files of an
export             --> the same two files in its folder
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from gobelin.card.card import CARD_FILES, FILE_NAME, card_of, write_card
from gobelin.card.croissant import Archive
from gobelin.card.facts import Facts
from gobelin.card.layouts import Layout, documents_layout, images_layout
from gobelin.card.tally import Tally
from gobelin.errors import UserError
from gobelin.exchange.blurring import FACES_BLURRED
from gobelin.exchange.writing import Written
from gobelin.pipeline.recipe.yaml import write_yaml
from gobelin.pipeline.run.state import read_json
from gobelin.store.dataset import current, files_of
from gobelin.store.files import delete, exists, list_files, read_bytes
from gobelin.store.paths import join


def facts_of_run(output: str, run: dict[str, Any]) -> Facts:
    """The facts of an output folder whose stage ``select`` is done."""
    tally = Tally()
    tally.add_data_set(join(output, "select", "documents"))
    places = {"default": ("select", "documents"), "images": ("extract", "images")}
    patterns = {
        name: join(current(join(output, *place)), "part-*.parquet").removeprefix(output).lstrip("/")
        for name, place in places.items()
    }
    layouts = (
        documents_layout(patterns["default"]),
        images_layout(patterns["images"], "one row per image of the crawl, also of images that the corpus lacks"),
    )
    files = {name: files_of(join(output, *place)) for name, place in places.items()}
    num_rows = {name: sum(file.num_rows for file in held) for name, held in files.items()}
    num_bytes = {name: sum(file.num_bytes for file in held) for name, held in files.items()}
    return Facts(run, digest_of_recipe(run), "select", None, tally, layouts, num_rows, num_bytes, with_images=True)


def write_card_of_run(output: str, run: dict[str, Any]) -> None:
    """Writes the card of an output folder whose stage ``select`` is done."""
    write_card(output, facts_of_run(output, run))


def card_in(folder: str) -> str:
    """The card of an output folder, made anew; or the stored card of an export.

    Raises:
        UserError: the folder is neither, or has no corpus yet.
    """
    run = read_json(join(folder, "run.json"))
    if run is not None:
        if run["stages"]["select"]["status"] != "done":
            raise UserError(f"{folder}: there is no corpus yet: run `gobelin select`")
        return card_of(facts_of_run(folder, run))
    address = join(folder, FILE_NAME)
    if not exists(join(folder, "export.json")) or not exists(address):
        raise UserError(f"{folder}: is neither the output folder of a run nor that of an export")
    return read_bytes(address).decode()


def has_card(output: str) -> bool:
    """Whether both files of a card exist."""
    return all(exists(join(output, name)) for name in CARD_FILES)


def delete_card(output: str) -> None:
    """Deletes the card, because the corpus that it describes will be made anew."""
    for name in CARD_FILES:
        delete(join(output, name))


def digest_of_recipe(run: dict[str, Any]) -> str:
    """SHA-256 of ``recipe.yaml``, hexadecimal."""
    return hashlib.sha256(write_yaml(run["recipe"], sort_keys=False).encode()).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class ExportCard:
    """Facts about an export that are known when its files are written."""

    run: dict[str, Any]
    summary: dict[str, Any]  # export.json
    written: Written
    tally: Tally
    layouts: Sequence[Layout]
    num_images: int  # rows of images that lie beside
    with_images: bool  # whether images' bytes are there

    def write(self, folder: str) -> None:
        """Writes the card into the folder of the export."""
        files = list_files(folder)
        num_bytes = {
            layout.name: sum(size for name, size in files if fnmatchcase(name, layout.pattern))
            for layout in self.layouts
        }
        write_card(
            folder,
            Facts(
                self.run, digest_of_recipe(self.run), self.summary["stage"], self.summary["format"], self.tally,
                self.layouts,
                num_rows={"default": self.written.rows, "images": self.num_images},
                num_bytes=num_bytes,
                members=sorted(self.written.members - {"json"}, key=_by_place),
                archives=[Archive(name, *facts) for name, facts in sorted(self.written.archives.items())],
                left_out={unit: self.summary[unit]["dropped"] for unit in ("documents", "images")},
                with_images=self.with_images,
                faces_blurred=self.summary.get(FACES_BLURRED),
            ),
        )  # fmt: skip


def _by_place(member: str) -> tuple[int, str]:
    place, _, kind = member.partition(".")
    return int(place), kind
