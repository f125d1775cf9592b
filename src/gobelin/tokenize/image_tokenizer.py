"""Image tokenizers behind one interface: RGB pixels to code ids and back, with a fingerprint.

``preprocess`` brings any picture to the tokenizer's square, ``encode`` and ``decode`` work on batches of such
squares. An image tokenizer on disk is a folder of ``config.json`` (its kind, shape and fingerprint) and
``model.safetensors``; the fingerprint is the SHA-256 over configuration and weights, so codes name exactly the
tokenizer that made them. Batches are always filled up to one fixed size, so that the codes of an image do not depend
on which images happened to be encoded with it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from typing import Any, Protocol

import numpy as np
import PIL.Image
import torch
from PIL import ImageOps
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gobelin.errors import UserError
from gobelin.store.files import exists, is_folder, list_files, local_copy, local_output, read_json, size_of, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.fit_vqvae import to_float, to_uint8
from gobelin.tokenize.vqvae import VQVAE, VQVAEConfig

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
KIND = "gobelin-vqvae"
BATCH_SIZE = 32


class ImageTokenizer(Protocol):
    """What every image tokenizer offers, whatever is behind it."""

    @property
    def image_size(self) -> int:
        """Side of the square images, pixels."""

    @property
    def num_codes(self) -> int:
        """Codebook size K."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""

    @property
    def tokens_per_image(self) -> int:
        """Rows x columns."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over configuration and weights, hex."""

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 B x S x S x 3 to int32 codes B x N in [0, K), raster order."""

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes B x N in [0, K) to uint8 images B x S x S x 3."""


class VQVAETokenizer:
    """Our own VQ-VAE as an image tokenizer."""

    def __init__(self, model: VQVAE, device: torch.device | str = "cpu") -> None:
        self.model = model.eval().to(device)
        self.device = torch.device(device)
        self.image_size = model.config.image_size
        self.num_codes = model.config.num_codes
        self.grid = model.config.grid
        self.tokens_per_image = self.grid[0] * self.grid[1]
        self.fingerprint = _fingerprint(_describe(model.config), model.state_dict())

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 B x S x S x 3 to int32 codes B x N in [0, K), raster order."""
        if images.dtype != np.uint8 or images.shape[1:] != (self.image_size, self.image_size, 3):
            raise ValueError(f"images must be uint8 B x {self.image_size} x {self.image_size} x 3, got {images.shape}")
        codes = np.empty((len(images), self.tokens_per_image), dtype=np.int32)
        for start in range(0, len(images), BATCH_SIZE):
            batch, num_images = _filled(images[start : start + BATCH_SIZE])
            ids_BN = self.model.encode(to_float(batch, self.device))
            codes[start : start + num_images] = ids_BN[:num_images].cpu().numpy()
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes B x N in [0, K) to uint8 images B x S x S x 3."""
        if codes.shape[1:] != (self.tokens_per_image,):
            raise ValueError(f"codes must be B x {self.tokens_per_image}, got {codes.shape}")
        if codes.size and not (codes.min() >= 0 and codes.max() < self.num_codes):
            raise ValueError(f"codes must be in [0, {self.num_codes}), got {codes.min()} to {codes.max()}")
        images = np.empty((len(codes), self.image_size, self.image_size, 3), dtype=np.uint8)
        for start in range(0, len(codes), BATCH_SIZE):
            batch, num_images = _filled(codes[start : start + BATCH_SIZE])
            ids_BN = torch.from_numpy(batch.astype(np.int64)).to(self.device)
            images[start : start + num_images] = to_uint8(self.model.decode(ids_BN)[:num_images])
        return images


def preprocess(image: PIL.Image.Image, image_size: int) -> np.ndarray:
    """The picture as uint8 S x S x 3: turned upright, laid on white, its centre square resized with antialiasing.

    The same as resizing the shorter side to S (bicubic) and cropping the centre, without ever making the parts that
    are cropped. A picture that already is S x S keeps its pixels.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        layered = upright.convert("RGBA")
        upright = PIL.Image.alpha_composite(PIL.Image.new("RGBA", layered.size, "white"), layered)
    picture = upright.convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    square = (left, top, left + side, top + side)
    return np.asarray(picture.resize((image_size, image_size), PIL.Image.Resampling.BICUBIC, box=square))


def save_image_tokenizer(tokenizer: VQVAETokenizer, folder: str) -> None:
    """Write ``model.safetensors`` and then ``config.json`` into the folder, which is made if need be."""
    with local_output(join(folder, WEIGHTS_NAME)) as weights:
        save_file(_on_cpu(tokenizer.model.state_dict()), weights)
    config = {**_describe(tokenizer.model.config), "fingerprint": tokenizer.fingerprint}
    write_bytes(join(folder, CONFIG_NAME), (json.dumps(config, indent=2, allow_nan=False) + "\n").encode())


def load_image_tokenizer(folder: str, device: torch.device | str = "cpu") -> ImageTokenizer:
    """Load the image tokenizer in this folder.

    Raises:
        UserError: there is none, or one of a layout that this program does not know; the message says what is there.
    """
    config_path, weights_path = join(folder, CONFIG_NAME), join(folder, WEIGHTS_NAME)
    if not exists(config_path) or not exists(weights_path):
        raise UserError(f"no image tokenizer at {folder}: {_what_is_there(folder)}")
    config = read_json(config_path)
    if not isinstance(config, dict) or config.get("kind") != KIND:
        raise UserError(f"{config_path} describes no {KIND}: {_what_is_there(folder)}")
    shape = {field.name: config[field.name] for field in dataclasses.fields(VQVAEConfig)}
    with torch.device("meta"):
        model = VQVAE(VQVAEConfig(**shape))
    with local_copy(weights_path) as weights:
        model.load_state_dict(load_file(weights), assign=True)
    tokenizer = VQVAETokenizer(model, device)
    if tokenizer.fingerprint != config["fingerprint"]:
        raise UserError(
            f"{folder}: weights and configuration are not those that were saved together; fit or copy again"
        )
    return tokenizer


def _describe(config: VQVAEConfig) -> dict[str, Any]:
    return {"kind": KIND, "version": 1, **dataclasses.asdict(config)}


def _fingerprint(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(_on_cpu(weights).items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _on_cpu(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}


def _filled(batch: np.ndarray) -> tuple[np.ndarray, int]:
    """The batch filled up to BATCH_SIZE with zeros, and how many of it are real."""
    padding = [(0, BATCH_SIZE - len(batch))] + [(0, 0)] * (batch.ndim - 1)
    return np.pad(batch, padding), len(batch)


def _what_is_there(address: str) -> str:
    """One line on what stands at an address that holds no tokenizer of ours."""
    if is_folder(address):
        names = sorted({name.partition("/")[0] for name, _ in list_files(address)})
        return f"a folder with {', '.join(names[:8]) or 'nothing in it'}; expected {CONFIG_NAME} and {WEIGHTS_NAME}"
    if not exists(address):
        return "the path does not exist"
    if os.path.splitext(address)[1] == ".safetensors":
        with local_copy(address) as file, safe_open(file, "pt") as weights:
            keys = sorted(weights.keys())
        return f"a safetensors file of {len(keys)} tensors ({', '.join(keys[:4])} ...); expected a folder"
    return f"a file of {size_of(address)} bytes; expected a folder with {CONFIG_NAME} and {WEIGHTS_NAME}"
