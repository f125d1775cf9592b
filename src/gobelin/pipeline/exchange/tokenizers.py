"""Image tokenizers outside of a run: fitted on pictures of any source, converted from published files, looked at.

torch is imported inside the functions: the command line starts without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image as PillowImage

from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import load_recipe, settings_as
from gobelin.pipeline.run.counts import hashes_where, row_groups, some_images_shown
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.state import RECIPE_NAME, RUN_NAME, SUMMARY
from gobelin.report.pictures import png_uri, webp_uri
from gobelin.report.tokenizer_page import Look, Shown, fit_page, fit_section, tokenizer_page, tokenizer_section
from gobelin.store.dataset import paths_of
from gobelin.store.files import delete, exists, list_files, read_json, write_bytes, write_json
from gobelin.store.lock import LEASE_NAME, locked
from gobelin.store.paths import join
from gobelin.store.shards import read_folder
from gobelin.tokenize.codebook import (
    CONFIG_NAME,
    Codebook,
    Member,
    framing_of,
    read_codebooks,
    read_config,
    read_frames,
    read_members,
    shape_on,
)
from gobelin.tokenize.config import CONFIGS, FITTED_KINDS, FitSettings, TokenizerConfig
from gobelin.tokenize.encode import copies_serve
from gobelin.tokenize.framing import Frames, Framing, Resize, parse_grids
from gobelin.tokenize.pictures import JoinedSource, ParquetSource, PictureSource, StreamedPictures, grouped, pictures_at
from gobelin.transforms.devices import fastest_precision, torch_device
from gobelin.transforms.torch_threads import torch_threads
from gobelin.transforms.vision.faces import Boxes, faces_of_images

if TYPE_CHECKING:
    import torch

    from gobelin.tokenize.image_tokenizer import ImageTokenizer
    from gobelin.tokenize.networks import Network
    from gobelin.tokenize.processes import Processes
    from gobelin.tokenize.quality import Quality

PAGE_NAME = "reconstructions.html"
CHECKPOINT_NAME = "checkpoint.pt"
LOOKS_NAME = "looks.json"
"""What the page of a fit that goes on is made of."""

NUM_LOOKS, NUM_FOLLOWED, NUM_MEASURED = 12, 6, 64
"""Columns of that page, pictures on it, and pictures that its numbers are over."""

LARGEST_PNG = 128
"""Pixels of a side up to which its pictures are exact; larger ones are WebP."""

NUM_SHOWN = 16
"""Pictures on a page of reconstructions."""

IMAGE_TOKENIZER = join("tokenize", "image_tokenizer")
"""Folder of the image tokenizer in the output folder of a run."""


@dataclasses.dataclass(frozen=True, slots=True)
class FitOptions:
    """How a tokenizer is fitted."""

    kind: str
    settings: tuple[str, ...] = ()  # KEY=VALUE of the kind's shape
    steps: int = 1500
    seed: int = 0
    max_images: int = 100_000
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = 2
    device: str = "cpu"
    perceptual: str | None = None  # file with the weights of LPIPS
    grids: tuple[str, ...] = ()  # ROWSxCOLUMNS; none: that of the shape
    resize: Resize | None = None  # None: crop, or as the tokenizer whose decoder is fitted on
    how: FitSettings = dataclasses.field(default_factory=FitSettings)
    decoder_of: str | None = None  # folder of the tokenizer whose decoder alone is fitted on
    checkpoint_steps: int = 500
    checkpoint_seconds: float = 600.0  # between two checkpoints, whichever comes first


def shape_of(kind: str, settings: tuple[str, ...]) -> TokenizerConfig:
    """The shape of a tokenizer of this kind with these settings, ``key=value`` each. Raises UserError."""
    if kind not in FITTED_KINDS:
        raise UserError(f"no kind of image tokenizer is called {kind!r}; there are {', '.join(FITTED_KINDS)}")
    return settings_as(CONFIGS[kind], settings)


def pictures_of(
    source: str, max_images: int, framing: Framing, takes: Callable[[int, int], bool] | None = None
) -> PictureSource:
    """The pictures at an address: of the corpus of a run's output folder, of a folder, or of Parquet files.

    Of a run, images that its corpus shows: the reduced copies where those serve, otherwise the files; faces are blurred
    where its recipe has them blurred, and images that were not searched for faces left out then.

    Args:
        framing: the sizes that the pictures are wanted in.
        takes: of a run, which pictures: says so of the height and width of their files; None: all.
    """
    if not exists(join(source, RUN_NAME)):
        return pictures_at(source)
    recipe, among = load_recipe(join(source, RECIPE_NAME)), None
    if takes is not None:
        among = hashes_where(takes, row_groups(join(source, "extract", "images"), ["image_id", "height", "width"]))
    shown = some_images_shown(join(source, "select", "documents"), max_images, among)
    faces = faces_of_images(join(source, "score", "images")) if recipe.tokenize.blur_faces else None
    wanted = {name for name in shown if faces is None or name in faces}
    if not wanted:
        raise UserError(f"the corpus of {source} shows no pictures{'' if takes is None else ' of this size'}")
    have_copies: set[str] = set()
    copies = join(source, "extract", "copies")
    if copies_serve([framing], recipe.extract.image.copy_side_px):
        have_copies = {row["image_id"] for row in read_folder(copies, ["image_id"])} & wanted
    parts = ((copies, have_copies), (join(source, "extract", "images"), wanted - have_copies))
    return JoinedSource([_stored(folder, names, faces) for folder, names in parts if names])


def _stored(folder: str, names: set[str], faces: Mapping[str, Boxes] | None) -> PictureSource:
    """The pictures of these ids in a data set of pictures."""
    wanted = pa.array(sorted(names), pa.string())
    return ParquetSource(
        paths_of(folder), key="image_id", faces=faces,
        keep=lambda table: pc.is_in(table["image_id"].combine_chunks(), wanted),
    )  # fmt: skip


def fit(
    source: str, output: str, options: FitOptions, screen: Screen, processes: Processes | None = None
) -> dict[str, Any]:
    """Fits a tokenizer on the pictures of a source and writes it into a folder, with ``summary.json`` and a page of
    reconstructions, which grows while it is fitted. A fit that was stopped goes on from its checkpoint there.

    Args:
        processes: those that fit together; the first one writes. None: this one alone.

    Returns:
        What the fit reached.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came; the step under way was finished and a checkpoint written.
        UserError: no pictures, a shape that cannot be, or a folder that holds something else.
    """
    from gobelin.tokenize.agreement import NUM_COMPARED, measure_agreement
    from gobelin.tokenize.fit import fit_tokenizer
    from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
    from gobelin.tokenize.lpips import load_lpips
    from gobelin.tokenize.processes import ALONE

    processes = processes or ALONE
    config, framing = _shape_and_framing(options)
    _check_free(output)
    perceptual = None if options.perceptual is None else load_lpips(options.perceptual)
    lock = locked(output) if processes.rank == 0 else contextlib.nullcontext()
    with lock, torch_threads(options.threads):
        processes.wait()
        pictures = StreamedPictures(
            pictures_of(source, options.max_images, framing), framing, options.seed, max_images=options.max_images
        )
        device = torch_device(options.device)
        before = None if options.decoder_of is None else load_image_tokenizer_of(options.decoder_of, device)
        precision = fastest_precision(device) if options.precision == "auto" else options.precision
        held_out = pictures.held_out()
        looks = _Looks(output, options, held_out)
        with screen.step("fit image tokenizer", "steps", options.steps) as step, _stop_requested() as stop:
            result = fit_tokenizer(
                pictures, config, seed=options.seed, steps=options.steps, precision=precision, device=device,
                checkpoints=output, checkpoint_steps=options.checkpoint_steps,
                checkpoint_seconds=options.checkpoint_seconds, stop=stop.is_set, perceptual=perceptual,
                on_step=lambda done, _: step.update({"steps": done}), settings=options.how,
                decoder_of=None if before is None else before.network, processes=processes,
                look_every=max(1, options.steps // NUM_LOOKS), on_look=looks.add,
            )  # fmt: skip
            if result is None:
                raise KeyboardInterrupt
            step.finish({"steps": options.steps})
        network, metrics = result
        summary = dataclasses.asdict(metrics)
        found = {**summary, "precision": precision, "undecodable": pictures.num_undecodable}
        if processes.rank:
            return found
        agreement = measure_agreement(network, grouped(held_out[:NUM_COMPARED])[0], "held out of the fit", device)
        tokenizer = ImageTokenizer(
            network, device, agreement=agreement, framing=framing,
            name=None if before is None else before.codebook.name,
            codes_of=None if before is None else before.codebook.fingerprint,
        )  # fmt: skip
        write_json(join(output, SUMMARY), summary)
        section = _section(tokenizer, held_out[:NUM_SHOWN], None)
        page = tokenizer_page({tokenizer.codebook.name: section}, looks.section())
        write_bytes(join(output, PAGE_NAME), page.encode())
        save_image_tokenizer(tokenizer, output)
        if exists(join(output, LOOKS_NAME)):
            delete(join(output, LOOKS_NAME))
        return found


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """Set by SIGTERM and by the first SIGINT, which would end this process; by a second SIGINT it ends."""
    stop = threading.Event()

    def note(number: int, _: Any) -> None:
        if number == signal.SIGINT and stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _shape_and_framing(options: FitOptions) -> tuple[TokenizerConfig, Framing]:
    """Shape and framing of the tokenizer that is fitted. Raises UserError."""
    if options.decoder_of is None:
        config = shape_of(options.kind, options.settings)
        framing = Framing((config.grid,), config.token_pixels, options.resize or "crop")
    else:
        config, described = read_config(options.decoder_of)
        framing = framing_of(config, described)
        if options.settings:
            raise UserError("a decoder that is fitted on keeps its tokenizer's shape: leave --size and --set out")
        framing = dataclasses.replace(framing, resize=options.resize or framing.resize)
    if options.grids:
        framing = dataclasses.replace(framing, grids=parse_grids(options.grids))
    return (config if options.decoder_of else shape_on(config, framing)), framing


def load_image_tokenizer_of(folder: str, device: torch.device) -> ImageTokenizer:
    """The tokenizer in a folder, or in the output folder of a run."""
    from gobelin.tokenize.image_tokenizer import load_image_tokenizer

    return load_image_tokenizer(tokenizer_folder(folder), device)


class _Looks:
    """How a fit is getting on: a few held-out pictures now and then, on a page that grows. It is kept in a file, so
    that a fit that goes on has what was before."""

    def __init__(self, output: str, options: FitOptions, held_out: Sequence[np.ndarray]) -> None:
        self._output, self._options = output, options
        self._held_out = [image for group in grouped(held_out[:NUM_MEASURED]) for image in group]
        number = len(self._held_out)
        self._followed = sorted({place * number // NUM_FOLLOWED for place in range(NUM_FOLLOWED)})  # of all grids
        self._originals = [_uri(self._held_out[place]) for place in self._followed]

    def add(self, step: int, loss: float, network: Network, has_codes: bool) -> None:
        """Looks at the network of a step."""
        from gobelin.tokenize.fit import reconstructed
        from gobelin.tokenize.quality import QualityMeter

        meter, is_coded = QualityMeter(network.config.num_codes), network.config.latent_channels == 0
        shown: list[str] = []
        for number, (image, decoded, tokens) in enumerate(reconstructed(network, self._held_out, has_codes)):
            meter.add(image[None], decoded[None])
            if is_coded and tokens is not None:
                meter.add_codes(tokens)
            if number in self._followed:
                shown.append(_uri(decoded))
        found = meter.result()
        look = Look(step, loss, found.psnr_db, found.ssim, found.codes_used, tuple(shown))
        looks = [*(each for each in self._read() if each.step < step), look]
        write_json(join(self._output, LOOKS_NAME), [dataclasses.asdict(each) for each in looks])
        page = fit_page(f"{self._options.kind} on its way", self._options.steps, self._originals, looks)
        write_bytes(join(self._output, PAGE_NAME), page.encode())

    def section(self) -> str:
        """All looks as HTML."""
        return fit_section(self._originals, self._read())

    def _read(self) -> list[Look]:
        path = join(self._output, LOOKS_NAME)
        stored = read_json(path) if exists(path) else []
        return [Look(**{**each, "pictures": tuple(each["pictures"])}) for each in stored]


def _uri(pixels: np.ndarray) -> str:
    picture = PillowImage.fromarray(pixels)
    return png_uri(picture) if max(pixels.shape) <= LARGEST_PNG else webp_uri(picture)


_OURS = (LEASE_NAME, CHECKPOINT_NAME, SUMMARY, PAGE_NAME, LOOKS_NAME)


def _check_free(output: str) -> None:
    """The folder holds nothing, or a fit that was stopped."""
    if exists(join(output, CONFIG_NAME)):
        raise UserError(f"{output} holds an image tokenizer already: choose another folder, or delete it")
    others = [name for name, _ in list_files(output) if name not in _OURS]
    if others:
        raise UserError(f"{output} is not empty ({', '.join(others[:3])}): choose another folder")


def convert(file: str, output: str, size: tuple[int, int] | None, name: str | None) -> tuple[str, Codebook]:
    """A published tokenizer into a folder of ours; its layout and codebook. Raises as ``convert_tokenizer``."""
    from gobelin.tokenize.agreement import drawn_pictures, measure_agreement
    from gobelin.tokenize.convert import convert_tokenizer
    from gobelin.tokenize.image_tokenizer import save_image_tokenizer

    _check_free(output)
    converted = convert_tokenizer(file, size=size, name=name)
    tokenizer = converted.tokenizer
    tokenizer.agreement = measure_agreement(tokenizer.network, drawn_pictures(tokenizer.size), "drawn patterns")
    save_image_tokenizer(tokenizer, output)
    return converted.layout, converted.tokenizer.codebook


def tokenizer_folder(address: str) -> str:
    """The folder of a tokenizer: the address itself, or where the output folder of a run has it."""
    inside = join(address, IMAGE_TOKENIZER)
    return inside if exists(join(inside, CONFIG_NAME)) else address


def agreement_of(folder: str) -> dict[str, Any] | None:
    """How far bfloat16 gives a tokenizer's codes, as it stands beside it; None where it was not measured."""
    return read_config(folder)[1].get("agreement")


@dataclasses.dataclass(frozen=True, slots=True)
class Looked:
    """A tokenizer that was looked at."""

    codebooks: tuple[Codebook, ...]  # once for each of its grids
    agreement: dict[str, Any] | None
    quality: Quality | None  # None: there were no pictures
    least_px: int  # of the shorter side of the pictures that it takes
    section: str = ""  # of the page


def show(address: str, source: str | None, page: str | None, num_images: int) -> list[Looked]:
    """Image tokenizers; where there are pictures, what they keep and which codes they use.

    Args:
        address: folder of a tokenizer, or output folder of a run, whose corpus is then the source.
        source: pictures, as ``pictures_of`` takes them. Of a run with several tokenizers each is shown those that it
            takes, otherwise all.
        page: HTML file of reconstructions that is written.
        num_images: pictures that are looked at, of each tokenizer.
    """
    folder = tokenizer_folder(address)
    if source is None and folder != address:
        source = address
    if source is None and page is not None:
        raise UserError("a page of reconstructions needs pictures: name a folder, Parquet files or a run's output")
    members, frames = read_members(folder), read_frames(folder)
    found = [_look_at(member, which, frames, source, num_images) for which, member in enumerate(members)]
    if page is not None:
        write_bytes(page, tokenizer_page({each.codebooks[0].name: each.section for each in found}).encode())
    return found


def _look_at(member: Member, which: int, frames: Frames, source: str | None, num_images: int) -> Looked:
    agreement = agreement_of(member.folder)
    if source is None:
        return Looked(read_codebooks(member.folder), agreement, None, member.min_side_px)
    from gobelin.tokenize.image_tokenizer import load_image_tokenizer
    from gobelin.tokenize.quality import QualityMeter

    def takes(height: int, width: int) -> bool:
        return frames.tokenizer_for(height, width) == which

    with torch_threads(2):
        tokenizer = load_image_tokenizer(member.folder)
        codebook = tokenizer.codebook
        meter = QualityMeter(codebook.num_codes)
        first: list[np.ndarray] = []
        pictures = pictures_of(source, num_images, tokenizer.framing, takes if len(frames.framings) > 1 else None)
        for found in _samples(pictures, tokenizer.framing, num_images):
            for images in grouped(found):
                tokens = tokenizer.encode(images)
                if not codebook.is_continuous:
                    meter.add_codes(tokens)
                if tokenizer.network.config.has_decoder:
                    meter.add(images, tokenizer.decode(tokens, tokenizer.framing.index_of(images.shape[1:3])))
            first += found[: NUM_SHOWN - len(first)]
        quality = meter.result()
        return Looked(
            tokenizer.codebooks, agreement, quality, member.min_side_px, _section(tokenizer, first, quality)
        )  # fmt: skip


def _samples(source: PictureSource, framing: Framing, num_images: int) -> Iterator[list[np.ndarray]]:
    """Pictures of a source, at most 32 at a time; those that cannot be decoded are left out."""
    pictures = StreamedPictures(source, framing, 0, held_out_ratio=0.0, max_images=num_images)
    number = 0
    for start in range(0, pictures.num_fitted, 32):
        found = [pictures.at(place) for place in range(start, min(start + 32, pictures.num_fitted))]
        decoded = [picture for picture in found if picture is not None]
        if decoded:
            number += len(decoded)
            yield decoded
    if not number:
        raise UserError("none of the pictures can be decoded: are these picture files?")


def _section(tokenizer: ImageTokenizer, images: Sequence[np.ndarray], quality: Quality | None) -> str:
    """Of the page: the tokenizer and pictures beside their reconstructions."""
    from gobelin.tokenize.quality import QualityMeter

    shown = []
    if tokenizer.network.config.has_decoder:
        for image in images:
            decoded = tokenizer.decode(tokenizer.encode(image[None]), tokenizer.framing.index_of(image.shape[:2]))[0]
            meter = QualityMeter(1)
            meter.add(image[None], decoded[None])
            one = meter.result()
            shown.append(Shown(image, decoded, one.psnr_db, one.ssim))
    return tokenizer_section(tokenizer.codebooks, shown, quality, tokenizer.agreement)
