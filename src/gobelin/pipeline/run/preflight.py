"""Checks before the first archive is read what the stages of a run will need: packages, files, models, disk space.

All checks take milliseconds, except the CLIP model. It is opened in a worker process, and only if ``score`` will run.
What is learned from the model is kept for the stage.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from gobelin.data.model import Decision, Unit
from gobelin.errors import UserError
from gobelin.pipeline.recipe.help import keeps_nothing
from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.pipeline.recipe.values import other_clip_model, tokenize_lacks, unusable_inputs, unusable_tokenizers
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.inputs import Archive
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.scratch import existing_folder
from gobelin.pipeline.run.supervisor import StepFailedError, Supervisor
from gobelin.pipeline.run.worker import Task
from gobelin.pipeline.stages import score_clip
from gobelin.store.files import open_input, upload
from gobelin.store.paths import is_remote
from gobelin.transforms.archives.read_warc import ImageCapture, PageCapture, read_archive
from gobelin.transforms.archives.wacz import ContainerError, is_zip, part_of
from gobelin.transforms.fetching.fetch_config import FetchConfig

ROOM_FOR_INPUT = 2.5
"""Room that ``extract`` takes on the disk while it is under way, for each byte of the archives."""


LOOKED_AT_BYTES, ENOUGH_PAGES, FEW_PAGES = 8 * 2**20, 64, 20
"""How far into an archive images are looked for; how many pages without one are enough; how many are too few to say."""

_PAYLOAD_BYTES = 4096


class _Need(NamedTuple):
    setting: str
    modules: tuple[str, ...]
    install: str  # what pip is to install
    way_out: str


def problems(recipe: Recipe, stages: Collection[str]) -> list[str]:
    """Problems that will stop these stages or make them useless, one sentence each: missing packages, missing files,
    rules that nothing can pass. No model is opened.

    Args:
        stages: that will run and are not done.
    """
    return [
        *_missing_packages(recipe, stages),
        *(_missing_contact(recipe.extract.fetch) if "extract" in stages else ()),
        *(unusable_inputs(recipe) if {"extract", "score"} & set(stages) else ()),
        *(other_clip_model(recipe) if {"score", "select"} <= set(stages) else ()),
        *(keeps_nothing(recipe) if "select" in stages else ()),
        *(unusable_tokenizers(recipe) if "tokenize" in stages else ()),
        *(tokenize_lacks(recipe) if "tokenize" in stages else ()),
    ]


def _missing_packages(recipe: Recipe, stages: Collection[str]) -> Iterator[str]:
    for need in _needs(recipe, stages):
        missing = [name for name in need.modules if importlib.util.find_spec(name) is None]
        if missing:
            yield f"{need.setting} needs {', '.join(missing)}: pip install '{need.install}', or {need.way_out}"


def _missing_contact(config: FetchConfig) -> list[str]:
    try:
        _ = config.enabled and config.user_agent
        return []
    except UserError as error:
        return [str(error)]


def _needs(recipe: Recipe, stages: Collection[str]) -> Iterator[_Need]:
    score, models = recipe.score, "gobelin[models]"
    if "extract" in stages:
        if recipe.extract.fetch.enabled:
            way_out = "--set extract.fetch.enabled=false"
            yield _Need("extract.fetch", ("aiohttp", "protego"), "gobelin[fetch]", way_out)
        if recipe.extract.block_list.pdq:
            yield _Need("extract.block_list.pdq", ("pdqhash",), "gobelin[pdq]", "--set extract.block_list.pdq=[]")
    if "score" in stages:
        if score.clip is not None:
            yield _Need("score.clip", ("torch", "open_clip", "safetensors"), models, "--set score.clip=null")
        if score.text.perplexity_models:
            way_out = "--set score.text.perplexity_models={}"
            yield _Need("score.text.perplexity_models", ("kenlm",), "gobelin[text]", way_out)
        if score.text.perplexity_tokenizers:
            way_out = "--set score.text.perplexity_tokenizers={}"
            yield _Need("score.text.perplexity_tokenizers", ("sentencepiece",), "gobelin[text]", way_out)
        if score.faces is not None:
            package = score.faces.detector.partition(":")[0].partition(".")[0]
            modules, install = (("cv2",), "gobelin[faces]") if package == "gobelin" else ((package,), package)
            yield _Need("score.faces", modules, install, "--set score.faces=null")
    if "tokenize" in stages:
        yield _Need("stage tokenize", ("torch", "safetensors", "tokenizers"), models, "stop before: --until select")
    if {"train", "sample"} & set(stages):
        yield _Need("stage train", ("torch", "safetensors"), models, "stop before: --until tokenize")


def open_models(context: Context, stages: Collection[str]) -> None:
    """Opens the models that these stages need first. The results for CLIP are kept in the folder of ``score``.

    Raises:
        StepFailedError: a model cannot be opened.
        UserError: a head belongs to another model.
    """
    if "score" in stages and context.recipe.score.clip is not None:
        folder = context.folder("score")
        if not score_clip.knows_clip(folder.work):
            with tempfile.TemporaryDirectory(prefix="gobelin-") as opened:
                score_clip.prepare_clip(context.supervisor, context.recipe.score, opened)
                folder.begin()
                upload(opened, folder.work)
    _check_devices(context.supervisor, context.recipe, stages)


def try_models(recipe: Recipe, stages: Collection[str], screen: Screen) -> list[str]:
    """Opens the models that these stages need first, and keeps nothing. Returns a sentence if a model cannot be
    opened."""
    with (
        tempfile.TemporaryDirectory(prefix="gobelin-") as work,
        contextlib.closing(Supervisor(1, work, screen, "local", (), modules=())) as supervisor,
    ):
        try:
            if "score" in stages and recipe.score.clip is not None:
                score_clip.prepare_clip(supervisor, recipe.score, work)
            _check_devices(supervisor, recipe, stages)
        except (StepFailedError, UserError) as error:
            return [str(error).partition("\n")[0]]
    return []


def _check_devices(supervisor: Supervisor, recipe: Recipe, stages: Collection[str]) -> None:
    """Asks torch in a worker process whether it has the devices of these stages. Raises StepFailedError."""
    for stage in ("tokenize", "train", "sample"):
        device = getattr(recipe, stage).device
        if stage == "tokenize" and not supervisor.is_local:
            continue  # the runner's workers encode images, not this machine
        if stage in stages and device not in ("cpu", "auto"):
            task = Task("ask-for-device", _ask_for_device, (f"{stage}.device", device), alone=True)
            supervisor.run(f"{stage}: look for the device", [task])


def _ask_for_device(setting: str, device: str) -> None:
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"{setting} {device}: {str(error).partition(chr(10))[0]} (or set it to cpu)") from None


def without_images(archives: Sequence[Archive], recipe: Recipe) -> list[str]:
    """A warning if documents must show images, nothing is fetched, and the first, the middle and the last archive begin
    with pages and no image. Reads a few megabytes of each."""
    least = recipe.select.document.min_images
    if recipe.extract.fetch.enabled or not least or not archives:
        return []
    looked_at = sorted({archives[index].path for index in (0, len(archives) // 2, -1)})
    num_pages, is_all = 0, len(looked_at) == len(archives)
    for path in looked_at:
        pages, images, is_whole = _first_records(path)
        if images:
            return []
        num_pages, is_all = num_pages + pages, is_all and is_whole
    if num_pages == 0 or (num_pages < FEW_PAGES and not is_all):
        return []
    found = "this input holds no image" if is_all else f"no image among the first {num_pages:,} pages of the archives"
    return [
        f"{found}, as in Common Crawl's, and documents must show {least} (select.document.min_images): "
        f"{'nothing will be kept' if is_all else 'if there is none behind them, nothing will be kept'}. To fetch "
        "images from where the pages point: --recipe common-crawl, or --set extract.fetch.enabled=true; either with "
        "--set extract.fetch.contact=YOUR-ADDRESS (docs/common-crawl.md)"
    ]


def _first_records(path: str) -> tuple[int, int, bool]:
    """(pages, images, whether this is the whole archive) at the beginning of an archive."""
    pages = images = 0
    with contextlib.suppress(OSError, ContainerError), open_input(path) as stream:
        size = stream.seek(0, io.SEEK_END)
        if is_zip(stream):
            return 0, 0, False
        beginning = part_of(stream, 0, min(LOOKED_AT_BYTES, size))
        for found in read_archive(beginning, path, _PAYLOAD_BYTES, _PAYLOAD_BYTES):
            unit = found.unit if isinstance(found, Decision) else None
            pages += isinstance(found, PageCapture) or unit is Unit.DOCUMENT
            images += isinstance(found, ImageCapture) or unit is Unit.IMAGE
            if images or pages >= ENOUGH_PAGES:
                return pages, images, False
        return pages, images, size <= LOOKED_AT_BYTES
    return 0, 0, False


def scarce_room(output: str, archives: Iterable[Archive]) -> list[str]:
    """A warning if the disk of the output probably has too little room for ``extract``."""
    if is_remote(output):
        return []
    wanted = ROOM_FOR_INPUT * sum(archive.size for archive in archives)
    free = shutil.disk_usage(existing_folder(output)).free
    if free >= wanted:
        return []
    return [f"{output} has {free / 1e9:,.2f} GB of room, and this input may take {wanted / 1e9:,.2f} GB in extract"]


def closed_folders(*folders: str | None) -> list[str]:
    """A sentence for each local folder that cannot be written to or created."""
    found = []
    for folder in folders:
        if folder is not None and not is_remote(folder):
            there = existing_folder(folder)
            if not os.access(there, os.W_OK | os.X_OK):
                found.append(f"{folder} cannot be written into: no right to write in {there}")
    return found
