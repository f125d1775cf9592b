"""Fits an image tokenizer outside of a run, on images from any source, with ``tokenize/fit.py``.

torch is imported inside the functions, because the command line starts without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image as PillowImage

from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import settings_as
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.state import SUMMARY
from gobelin.pipeline.tokenizers.folder import LOOKS_NAME, PAGE_NAME, check_free, tokenizer_folder
from gobelin.pipeline.tokenizers.look import NUM_SHOWN, section_of
from gobelin.pipeline.tokenizers.pictures import pictures_of
from gobelin.report.pictures import png_uri, webp_uri
from gobelin.report.tokenizer_page import Look, fit_page, fit_section, tokenizer_page
from gobelin.store.files import delete, exists, read_json, write_bytes, write_json
from gobelin.store.lock import locked
from gobelin.store.paths import join
from gobelin.tokenize.codebook import framing_of, read_config, shape_on
from gobelin.tokenize.config import FitSettings
from gobelin.tokenize.framing import Framing, Resize, parse_grids
from gobelin.tokenize.pictures import StreamedPictures, grouped
from gobelin.tokenize.shapes import CONFIGS, FITTED_KINDS, TokenizerConfig
from gobelin.transforms.devices import fastest_precision, torch_device
from gobelin.transforms.torch_threads import torch_threads

if TYPE_CHECKING:
    import torch

    from gobelin.tokenize.image_tokenizer import ImageTokenizer
    from gobelin.tokenize.networks import Network
    from gobelin.tokenize.processes import Processes


NUM_LOOKS, NUM_FOLLOWED, NUM_MEASURED = 12, 6, 64
"""The page that shows how a fit gets on: its columns, the pictures on it, and the pictures that it measures."""

LARGEST_PNG = 128
"""Pixels of a side up to which pictures of that page are exact (PNG); larger ones are WebP."""


@dataclasses.dataclass(frozen=True, slots=True)
class FitOptions:
    """Settings of a fit."""

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
    """The configuration of a tokenizer of this kind, with settings of the form ``key=value``. Raises UserError."""
    if kind not in FITTED_KINDS:
        raise UserError(f"no kind of image tokenizer is called {kind!r}; there are {', '.join(FITTED_KINDS)}")
    return settings_as(CONFIGS[kind], settings)


def fit(
    source: str, output: str, options: FitOptions, screen: Screen, processes: Processes | None = None
) -> dict[str, Any]:
    """Fits a tokenizer on images and writes it into a folder, with ``summary.json`` and a page of reconstructions,
    which is updated during the fit. An interrupted fit resumes from its checkpoint in the folder.

    Args:
        processes: that fit together; the first one writes. None: this process alone.

    Returns:
        The metrics of the fit (``summary.json``), its precision, and the number of undecodable images.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came; the current step was finished and a checkpoint written.
        UserError: there are no images, the configuration is invalid, or the folder holds other files.
    """
    from gobelin.tokenize.agreement import NUM_COMPARED, measure_agreement
    from gobelin.tokenize.fit import fit_tokenizer
    from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
    from gobelin.tokenize.lpips import load_lpips
    from gobelin.tokenize.processes import ALONE

    processes = processes or ALONE
    config, framing = _shape_and_framing(options)
    check_free(output)
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
        section = section_of(tokenizer, held_out[:NUM_SHOWN], None)
        page = tokenizer_page({tokenizer.codebook.name: section}, looks.section())
        write_bytes(join(output, PAGE_NAME), page.encode())
        save_image_tokenizer(tokenizer, output)
        if exists(join(output, LOOKS_NAME)):
            delete(join(output, LOOKS_NAME))
        return found


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that SIGTERM and the first SIGINT set. A second SIGINT ends this process."""
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
    """Configuration and framing of the tokenizer to fit. Raises UserError."""
    if options.decoder_of is None:
        config = shape_of(options.kind, options.settings)
        framing = Framing((config.grid,), config.token_pixels, options.resize or "crop")
    else:
        config, described = read_config(options.decoder_of)
        framing = framing_of(config, described)
        if options.settings:
            raise UserError("a fit of the decoder keeps the shape of its tokenizer: leave out --size and --set")
        framing = dataclasses.replace(framing, resize=options.resize or framing.resize)
    if options.grids:
        framing = dataclasses.replace(framing, grids=parse_grids(options.grids))
    return (config if options.decoder_of else shape_on(config, framing)), framing


def load_image_tokenizer_of(folder: str, device: torch.device) -> ImageTokenizer:
    """The tokenizer in a folder, or in the output folder of a run."""
    from gobelin.tokenize.image_tokenizer import load_image_tokenizer

    return load_image_tokenizer(tokenizer_folder(folder), device)


class _Looks:
    """Shows the progress of a fit: reconstructions of a few held-out images at some steps, on a page. They are kept in
    a file, so that a resumed fit shows earlier steps."""

    def __init__(self, output: str, options: FitOptions, held_out: Sequence[np.ndarray]) -> None:
        self._output, self._options = output, options
        self._held_out = [image for group in grouped(held_out[:NUM_MEASURED]) for image in group]
        number = len(self._held_out)
        self._followed = sorted({place * number // NUM_FOLLOWED for place in range(NUM_FOLLOWED)})  # of all grids
        self._originals = [_uri(self._held_out[place]) for place in self._followed]

    def add(self, step: int, loss: float, network: Network, has_codes: bool) -> None:
        """Adds the reconstructions of the network at a step."""
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
        """All steps as HTML."""
        return fit_section(self._originals, self._read())

    def _read(self) -> list[Look]:
        path = join(self._output, LOOKS_NAME)
        stored = read_json(path) if exists(path) else []
        return [Look(**{**each, "pictures": tuple(each["pictures"])}) for each in stored]


def _uri(pixels: np.ndarray) -> str:
    picture = PillowImage.fromarray(pixels)
    return png_uri(picture) if max(pixels.shape) <= LARGEST_PNG else webp_uri(picture)
