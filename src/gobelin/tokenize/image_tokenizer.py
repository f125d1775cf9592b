"""Image tokenizers behind one interface: RGB pixels to code ids and back, with a fingerprint.

``preprocess.py`` brings any picture to the tokenizer's height and width. ``encode`` and ``decode`` work on batches of
such pictures. On disk an image tokenizer is a folder with ``config.json`` (its kind, shape and fingerprint) and
``model.safetensors``. The fingerprint is the SHA-256 over configuration and weights, so it identifies exactly the
tokenizer that made some codes. Batches are always filled up to one fixed size, so the codes of an image do not depend
on the other images of its batch.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from gobelin.errors import UserError
from gobelin.store.files import exists, is_folder, list_files, local_copy, local_output, size_of, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.codebook import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    Codebook,
    check_is_one,
    describe_config,
    describe_framing,
    framing_of,
    read_config,
)
from gobelin.tokenize.framing import Framing
from gobelin.tokenize.networks import Network, make_network
from gobelin.tokenize.pixels import to_float, to_uint8
from gobelin.tokenize.vqvae import PatchAutoencoder
from gobelin.transforms.devices import Precision, device_kind, fastest_precision

MAX_BATCH = {"cpu": 32, "cuda": 256, "mps": 64}
BATCH_PIXELS = {"cpu": 2**19, "cuda": 2**24, "mps": 2**22}
"""Maximum number of pictures, and of pixels, in a batch by kind of device: on the CPU 32 images of 56 px or 8 of 256
px, on a GPU 256 of 256 px or less."""

_BATCHES_PASSED = 64

_IN_FLIGHT = 2
"""Batches that a GPU computes or has waiting. One waits while another is computed."""


class ImageTokenizer:
    """Pixels to codes and back, for any kind of network.

    Encoding pads every batch to one size, so that codes do not depend on the other pictures of a batch. If a device has
    too little memory for a batch, the batch size is halved.

    Attributes:
        codebook: its codes and their grid; with several grids, the first.
        codebooks: one per grid.
        framing: the grids, and how pictures are brought to them.
        fingerprint: of its shape and weights. The fingerprint of its codebook is that of the tokenizer with the
            encoder.
        size: height and width of the images of the first grid in pixels.
        precision: of the encoder's trunk. Vectors, distances and the decoder are float32.
        batch_size: number of pictures that are encoded at a time, after halving.
    """

    def __init__(
        self,
        network: Network,
        device: torch.device | str = "cpu",
        name: str | None = None,
        *,
        precision: Precision = "float32",
        batch_size: int | None = None,
        agreement: dict[str, Any] | None = None,
        framing: Framing | None = None,
        codes_of: str | None = None,
    ) -> None:
        """Args:
        name: of its codebook; by default the kind.
        codes_of: fingerprint of the tokenizer that encoder and codes are of, where the decoder alone was fitted on.
        framing: by default the one grid of the network's shape, and cropping.
        batch_size: default: what suits the kind of device.
        agreement: what ``measure_agreement`` found, as it stands in ``config.json``.
        """
        self.device = torch.device(device)
        self.network = network.eval().to(self.device)
        self.framing = framing or Framing((network.config.grid,), network.config.token_pixels)
        self.size = self.framing.sizes[0]
        self.precision, self.agreement = precision, agreement
        self.fingerprint = _fingerprint(describe_config(network.config), network.state_dict())
        codes = codes_of or self.fingerprint
        self.codebooks = tuple(Codebook.of(network.config, codes, name, grid) for grid in self.framing.grids)
        self.codebook = self.codebooks[0]
        kind, pixels = self.device.type, max(height * width for height, width in self.framing.sizes)
        usual = max(1, min(MAX_BATCH.get(kind, 32), BATCH_PIXELS.get(kind, 2**19) // pixels))
        self.batch_size = batch_size or usual
        self.num_halved = 0
        self._encoder = _for_encoding(self.network, precision)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 images B x H x W x 3 of one grid's size to int32 codes B x N in [0, K), raster order; for a KL-VAE to
        float16 latents B x N x d."""
        shape = self._token_shape(self._grid_of_images(images))
        tokens = np.empty((len(images), *shape), np.float16 if self.codebook.is_continuous else np.int32)
        done = 0
        for found in self._encoded(images[start:end] for start, end in self._cuts(len(images))):
            tokens[done : done + len(found)] = found
            done += len(found)
        return tokens

    def encode_all(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the tokens of a stream of pictures, uint8 H x W x 3, in order: each as ``encode`` gives them for one
        picture. Batches are filled separately for each grid. On a GPU the next batch is transferred while one is
        computed."""
        return encode_all([self], ((0, image) for image in images))

    def _cuts(self, number: int) -> Iterator[tuple[int, int]]:
        start = 0
        while start < number:
            end = min(number, start + self.batch_size)  # may be halved between two batches
            yield start, end
            start = end

    def _encoded(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Tokens of each batch. On CUDA two batches are in flight."""
        waiting: deque[Callable[[], np.ndarray]] = deque()
        for batch in batches:
            waiting.append(self._started(batch))
            if len(waiting) >= (_IN_FLIGHT if self.device.type == "cuda" else 1):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()

    def _started(self, batch: np.ndarray) -> Callable[[], np.ndarray]:
        """Starts to encode a batch, and returns a function that waits for its tokens. Halves the batch size if the
        device is out of memory.

        Raises:
            UserError: there is too little memory even for one picture.
        """
        kind = np.float16 if self.codebook.is_continuous else np.int32
        if len(batch) <= self.batch_size:
            try:
                return _fetched(self._forward(batch), len(batch), kind)
            except torch.OutOfMemoryError as error:
                if self.batch_size == 1:
                    height, width = batch.shape[1:3]
                    raise UserError(
                        f"{device_kind(self.device)} has too little memory to encode one picture of {height} x {width} "
                        f"pixels: set tokenize.device to cpu ({str(error).partition(chr(10))[0]})"
                    ) from None
                self.batch_size = -(-self.batch_size // 2)
                self.num_halved += 1
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        parts = [batch[start : start + self.batch_size] for start in range(0, len(batch), self.batch_size)]
        fetch = [self._started(part) for part in parts]
        return lambda: np.concatenate([each() for each in fetch])

    @torch.inference_mode()
    def _forward(self, batch: np.ndarray) -> torch.Tensor:
        filled, _ = self._filled(batch, self.batch_size)
        given = torch.from_numpy(filled)
        if self.device.type != "cuda":
            return self._encoder.encode(to_float(given, self.device))
        # Float32 is not TF32, and the same batch takes the same algorithms every time.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            return self._encoder.encode(to_float(given.pin_memory().to(self.device, non_blocking=True), self.device))

    def made_how(self) -> dict[str, Any]:
        """The conditions on which codes depend besides picture and tokenizer: kind of device, precision of the trunk,
        batch size (after halving) and version of torch."""
        return {
            "device": device_kind(self.device),
            "precision": self.precision,
            "batch_size": self.batch_size,
            "halved": self.num_halved,
            "torch": torch.__version__,
        }

    def decode(self, tokens: np.ndarray, codebook: int = 0) -> np.ndarray:
        """Codes B x N or latents B x N x d to uint8 images B x H x W x 3.

        Args:
            tokens: as from ``encode``.
            codebook: index of their codebook, which determines the grid.

        Raises:
            UserError: the tokenizer has no decoder.
        """
        if not self.network.config.has_decoder:
            raise UserError(
                f"the image tokenizer {self.codebook.name} has only an encoder and cannot decode: convert a "
                "checkpoint that also holds the weights of the decoder"
            )
        self._check(tokens, codebook)
        grid = self.codebooks[codebook].grid
        images = np.empty((len(tokens), *self.framing.sizes[codebook], 3), dtype=np.uint8)
        for start in range(0, len(tokens), self.batch_size):
            batch, num_images = self._filled(tokens[start : start + self.batch_size], self.batch_size)
            given = torch.from_numpy(batch.astype(np.float32 if self.codebook.is_continuous else np.int64))
            made = self.network.decode(given.to(self.device), grid)
            images[start : start + num_images] = to_uint8(made[:num_images])
        return images

    def _token_shape(self, codebook: int) -> tuple[int, ...]:
        """Shape of the tokens of one image."""
        book = self.codebooks[codebook]
        return (book.tokens_per_image, *([book.latent_channels] if book.is_continuous else []))

    def _check(self, tokens: np.ndarray, codebook: int) -> None:
        shape = self._token_shape(codebook)
        if tokens.shape[1:] != shape:
            kind = "latents" if self.codebook.is_continuous else "codes"
            raise ValueError(f"{kind} must be B x {' x '.join(map(str, shape))}, got {tokens.shape}")
        num_codes = self.codebook.num_codes
        if not self.codebook.is_continuous and tokens.size and not (tokens.min() >= 0 and tokens.max() < num_codes):
            raise ValueError(f"codes must be in [0, {num_codes}), got {tokens.min()} to {tokens.max()}")

    def _grid_of_images(self, images: np.ndarray) -> int:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"images must be uint8 B x H x W x 3, got {images.dtype} {images.shape}")
        return self.framing.index_of(images.shape[1:3])

    @staticmethod
    def _filled(batch: np.ndarray, size: int) -> tuple[np.ndarray, int]:
        """The batch, padded with zeros to ``size``, and the number of real entries."""
        if len(batch) == size:
            return np.ascontiguousarray(batch), size
        padding = [(0, size - len(batch))] + [(0, 0)] * (batch.ndim - 1)
        return np.pad(batch, padding), len(batch)


def encode_all(
    tokenizers: Sequence[ImageTokenizer], pictures: Iterable[tuple[int, np.ndarray]]
) -> Iterator[np.ndarray]:
    """Yields the tokens of a stream of pictures, in order: ``ImageTokenizer.encode_all`` for several tokenizers.

    Args:
        tokenizers: the tokenizers.
        pictures: for each picture, the index of its tokenizer, and its pixels, uint8 H x W x 3 of one of the
            tokenizer's sizes.
    """
    in_flight = max(_IN_FLIGHT if each.device.type == "cuda" else 1 for each in tokenizers)
    started: deque[tuple[list[int], Callable[[], np.ndarray]]] = deque()
    following, waiting = 0, dict[int, np.ndarray]()

    def finished() -> Iterator[np.ndarray]:
        nonlocal following
        places, fetch = started.popleft()
        waiting.update(zip(places, fetch(), strict=True))
        while following in waiting:
            yield waiting.pop(following)
            following += 1

    for which, places, batch in _stacked(pictures, lambda index: tokenizers[index].batch_size):
        started.append((places, tokenizers[which]._started(batch)))
        if len(started) >= in_flight:
            yield from finished()
    while started:
        yield from finished()


def precision_for(folder: str, asked: str, device: torch.device) -> Precision:
    """The precision of a tokenizer's trunk on a device. ``auto`` means bfloat16 for a convolutional trunk with codes on
    a device with bfloat16 hardware, otherwise float32. A KL-VAE keeps float32 because its output are the latents
    themselves. A trunk on patches takes less time than decoding its pictures."""
    if asked != "auto":
        return "bfloat16" if asked == "bfloat16" else "float32"
    return fastest_precision(device) if read_config(folder)[0].kind in ("vqgan", "movq") else "float32"


def _for_encoding(network: Network, precision: Precision) -> Network:
    """The network with its trunk in this precision; for float32 the same network. Weights are in the memory format
    channels last, as pixels are."""
    if precision == "bfloat16":
        network = copy.deepcopy(network)
        network.encoder.to(torch.bfloat16)
        if isinstance(network, PatchAutoencoder):
            network.encoder[-1].float()  # the last layer outputs the vectors, which are float32
    return network.to(memory_format=torch.channels_last)


def _stacked(
    pictures: Iterable[tuple[int, np.ndarray]], size: Callable[[int], int]
) -> Iterator[tuple[int, list[int], np.ndarray]]:
    """Batches of pictures of one tokenizer and shape: the index of the tokenizer, the positions of the pictures in the
    stream, and the pixels. An incomplete batch is yielded when 64 batches' worth of pictures came after its first
    picture, so that pictures of a rare shape do not delay many others.

    Args:
        pictures: the index of the tokenizer and the pixels of each picture.
        size: batch size by index of the tokenizer.
    """
    held: dict[tuple[int, tuple[int, ...]], list[tuple[int, np.ndarray]]] = {}
    for place, (which, image) in enumerate(pictures):
        held.setdefault((which, image.shape), []).append((place, image))
        for key in [
            key
            for key, group in held.items()
            if len(group) >= size(key[0]) or place - group[0][0] >= _BATCHES_PASSED * size(key[0])
        ]:
            yield _batch_of(key[0], held.pop(key))
    for (which, _), group in held.items():
        yield _batch_of(which, group)


def _batch_of(which: int, group: list[tuple[int, np.ndarray]]) -> tuple[int, list[int], np.ndarray]:
    return which, [place for place, _ in group], np.stack([image for _, image in group])


def _fetched(found: torch.Tensor, number: int, kind: type[np.generic]) -> Callable[[], np.ndarray]:
    """Starts to copy the tokens of a batch to the CPU, and returns a function that waits for them."""
    if found.device.type != "cuda":
        return lambda: found[:number].cpu().numpy().astype(kind)
    here = found.to("cpu", non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def wait() -> np.ndarray:
        done.synchronize()
        return here[:number].numpy().astype(kind)

    return wait


def save_image_tokenizer(tokenizer: ImageTokenizer, folder: str) -> None:
    """Writes ``model.safetensors`` and then ``config.json`` to the folder, which is created if needed."""
    with local_output(join(folder, WEIGHTS_NAME)) as weights:
        save_file(_on_cpu(tokenizer.network.state_dict()), weights)
    codebook = tokenizer.codebook
    shape = tokenizer.network.config
    config = {**describe_config(shape), "name": codebook.name, "fingerprint": tokenizer.fingerprint}
    if codebook.fingerprint != tokenizer.fingerprint:
        config["codes_of"] = codebook.fingerprint
    config |= describe_framing(shape, tokenizer.framing)
    if tokenizer.agreement is not None:
        config["agreement"] = tokenizer.agreement
    write_bytes(join(folder, CONFIG_NAME), (json.dumps(config, indent=2, allow_nan=False) + "\n").encode())


def load_image_tokenizer(
    folder: str, device: torch.device | str = "cpu", *, precision: Precision = "float32", batch_size: int | None = None
) -> ImageTokenizer:
    """Loads the image tokenizer in this folder.

    Raises:
        UserError: there is none, or its layout is unknown; the message describes what is there.
    """
    weights_path, is_there = join(folder, WEIGHTS_NAME), exists(join(folder, CONFIG_NAME))
    if is_there:
        check_is_one(folder)
    if not is_there or not exists(weights_path):
        raise UserError(f"no image tokenizer at {folder}: {_what_is_there(folder)}")
    config, described = read_config(folder)
    with torch.device("meta"):
        network = make_network(config)
    try:
        with local_copy(weights_path) as weights:
            network.load_state_dict(load_file(weights), assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{weights_path} does not hold the weights that {CONFIG_NAME} describes: {error}") from None
    tokenizer = ImageTokenizer(
        network, device, described.get("name"), precision=precision, batch_size=batch_size,
        agreement=described.get("agreement"), framing=framing_of(config, described),
        codes_of=described.get("codes_of"),
    )  # fmt: skip
    if tokenizer.fingerprint != described["fingerprint"]:
        raise UserError(
            f"{folder}: {WEIGHTS_NAME} and {CONFIG_NAME} do not belong together: fit or copy the tokenizer again"
        )
    return tokenizer


def _fingerprint(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(_on_cpu(weights).items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _on_cpu(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}


def _what_is_there(address: str) -> str:
    """Describes in one line what is at an address instead of an image tokenizer."""
    if is_folder(address):
        names = sorted({name.partition("/")[0] for name, _ in list_files(address)})
        return f"a folder with {', '.join(names[:8]) or 'no files'}; expected {CONFIG_NAME} and {WEIGHTS_NAME}"
    if not exists(address):
        return "the path does not exist"
    if os.path.splitext(address)[1] == ".safetensors":
        try:
            with local_copy(address) as file, safe_open(file, "pt") as weights:
                keys = sorted(weights.keys())
        except SafetensorError as error:
            return f"a file that is not safetensors ({error}); expected a folder"
        return f"a safetensors file of {len(keys)} tensors ({', '.join(keys[:4])} ...); expected a folder"
    return f"a file of {size_of(address)} bytes; expected a folder with {CONFIG_NAME} and {WEIGHTS_NAME}"
