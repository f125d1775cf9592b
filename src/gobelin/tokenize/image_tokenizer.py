"""Image tokenizers behind one interface: RGB pixels to code ids and back, with a fingerprint.

``preprocess`` brings any picture to the tokenizer's height and width, ``encode`` and ``decode`` work on batches of
such pictures. An image tokenizer on disk is a folder of ``config.json`` (its kind, shape and fingerprint) and
``model.safetensors``; the fingerprint is the SHA-256 over configuration and weights, so codes name exactly the
tokenizer that made them. Batches are always filled up to one fixed size, so that the codes of an image do not depend
on which images happened to be encoded with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
import PIL.Image
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from gobelin.errors import UserError
from gobelin.store.files import exists, is_folder, list_files, local_copy, local_output, size_of, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.codebook import CONFIG_NAME, WEIGHTS_NAME, Codebook, describe_config, read_config
from gobelin.tokenize.networks import Network, make_network
from gobelin.tokenize.pixels import to_float, to_uint8

MAX_BATCH = 32
BATCH_PIXELS = 2**19
"""Most pixels of a batch on the CPU: 32 images of 56 px, 8 of 256 px."""


class ImageTokenizer:
    """Pixels to codes and back, whatever network is behind it.

    Attributes:
        codebook: its codes and their grid.
        size: height and width of its images, pixels.
    """

    def __init__(self, network: Network, device: torch.device | str = "cpu", name: str | None = None) -> None:
        """``name`` is that of its codebook; by default the kind."""
        self.network = network.eval().to(device)
        self.device = torch.device(device)
        self.size = network.config.size
        fingerprint = _fingerprint(describe_config(network.config), network.state_dict())
        self.codebook = Codebook.of(network.config, fingerprint, name)
        self._batch_size = max(1, min(MAX_BATCH, BATCH_PIXELS // (self.size[0] * self.size[1])))

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 B x H x W x 3 to int32 codes B x N in [0, K), raster order; of a KL-VAE float16 latents B x N x d."""
        height, width = self.size
        if images.dtype != np.uint8 or images.shape[1:] != (height, width, 3):
            raise ValueError(f"images must be uint8 B x {height} x {width} x 3, got {images.shape}")
        tokens = np.empty((len(images), *self._token_shape), np.float16 if self.codebook.is_continuous else np.int32)
        for start in range(0, len(images), self._batch_size):
            batch, num_images = self._filled(images[start : start + self._batch_size])
            found = self.network.encode(to_float(batch, self.device))
            tokens[start : start + num_images] = found[:num_images].cpu().numpy()
        return tokens

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """What ``encode`` gives, codes B x N or latents B x N x d, to uint8 images B x H x W x 3.

        Raises:
            UserError: the tokenizer has no decoder.
        """
        if not self.network.config.has_decoder:
            raise UserError(
                f"the image tokenizer {self.codebook.name} is an encoder only and makes no pictures: convert a "
                "checkpoint that holds the decoder's weights too"
            )
        self._check(tokens)
        images = np.empty((len(tokens), *self.size, 3), dtype=np.uint8)
        for start in range(0, len(tokens), self._batch_size):
            batch, num_images = self._filled(tokens[start : start + self._batch_size])
            given = torch.from_numpy(batch.astype(np.float32 if self.codebook.is_continuous else np.int64))
            images[start : start + num_images] = to_uint8(self.network.decode(given.to(self.device))[:num_images])
        return images

    @property
    def _token_shape(self) -> tuple[int, ...]:
        """Of the tokens of one image."""
        channels = self.codebook.latent_channels
        return (self.codebook.tokens_per_image, *([channels] if channels else []))

    def _check(self, tokens: np.ndarray) -> None:
        if tokens.shape[1:] != self._token_shape:
            kind = "latents" if self.codebook.is_continuous else "codes"
            raise ValueError(f"{kind} must be B x {' x '.join(map(str, self._token_shape))}, got {tokens.shape}")
        num_codes = self.codebook.num_codes
        if not self.codebook.is_continuous and tokens.size and not (tokens.min() >= 0 and tokens.max() < num_codes):
            raise ValueError(f"codes must be in [0, {num_codes}), got {tokens.min()} to {tokens.max()}")

    def _filled(self, batch: np.ndarray) -> tuple[np.ndarray, int]:
        """The batch filled up with zeros to the one size, and how many of it are real."""
        padding = [(0, self._batch_size - len(batch))] + [(0, 0)] * (batch.ndim - 1)
        return np.pad(batch, padding), len(batch)


def preprocess(picture: PIL.Image.Image, size: tuple[int, int]) -> np.ndarray:
    """An upright RGB picture, as ``open_rgb`` gives it, as uint8 H x W x 3: the largest part of its centre that has the
    shape H : W, resized with antialiasing.

    The same as resizing (bicubic) until it covers H x W and cropping the centre, without ever making the parts that
    are cropped. A picture that already is H x W keeps its pixels.
    """
    height, width = size
    across, down = float(picture.width), float(picture.height)
    if picture.width * height <= picture.height * width:
        down = picture.width * height / width
    else:
        across = picture.height * width / height
    left, top = (picture.width - across) / 2, (picture.height - down) / 2
    box = (left, top, left + across, top + down)
    return np.asarray(picture.resize((width, height), PIL.Image.Resampling.BICUBIC, box=box))


def save_image_tokenizer(tokenizer: ImageTokenizer, folder: str) -> None:
    """Write ``model.safetensors`` and then ``config.json`` into the folder, which is made if need be."""
    with local_output(join(folder, WEIGHTS_NAME)) as weights:
        save_file(_on_cpu(tokenizer.network.state_dict()), weights)
    codebook = tokenizer.codebook
    config = {**describe_config(tokenizer.network.config), "name": codebook.name, "fingerprint": codebook.fingerprint}
    write_bytes(join(folder, CONFIG_NAME), (json.dumps(config, indent=2, allow_nan=False) + "\n").encode())


def load_image_tokenizer(folder: str, device: torch.device | str = "cpu") -> ImageTokenizer:
    """Load the image tokenizer in this folder.

    Raises:
        UserError: there is none, or one of a layout that this program does not know; the message says what is there.
    """
    weights_path = join(folder, WEIGHTS_NAME)
    if not exists(join(folder, CONFIG_NAME)) or not exists(weights_path):
        raise UserError(f"no image tokenizer at {folder}: {_what_is_there(folder)}")
    config, described = read_config(folder)
    with torch.device("meta"):
        network = make_network(config)
    try:
        with local_copy(weights_path) as weights:
            network.load_state_dict(load_file(weights), assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{weights_path} does not hold the weights that {CONFIG_NAME} describes: {error}") from None
    tokenizer = ImageTokenizer(network, device, described.get("name"))
    if tokenizer.codebook.fingerprint != described["fingerprint"]:
        raise UserError(
            f"{folder}: weights and configuration are not those that were saved together; fit or copy again"
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
    """One line on what stands at an address that holds no tokenizer of ours."""
    if is_folder(address):
        names = sorted({name.partition("/")[0] for name, _ in list_files(address)})
        return f"a folder with {', '.join(names[:8]) or 'nothing in it'}; expected {CONFIG_NAME} and {WEIGHTS_NAME}"
    if not exists(address):
        return "the path does not exist"
    if os.path.splitext(address)[1] == ".safetensors":
        try:
            with local_copy(address) as file, safe_open(file, "pt") as weights:
                keys = sorted(weights.keys())
        except SafetensorError as error:
            return f"a file that is no safetensors ({error}); expected a folder"
        return f"a safetensors file of {len(keys)} tensors ({', '.join(keys[:4])} ...); expected a folder"
    return f"a file of {size_of(address)} bytes; expected a folder with {CONFIG_NAME} and {WEIGHTS_NAME}"
