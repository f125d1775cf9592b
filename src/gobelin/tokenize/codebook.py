"""The codebook of an image tokenizer, without its weights and without torch.

Vocabulary, grammar, batches, sampler and report work only with a ``Codebook``. Encoding and decoding load the
tokenizer. ``config.json`` in a tokenizer's folder holds the kind, the shape, the name and the fingerprint.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from gobelin.errors import UserError
from gobelin.store.files import exists, read_json, write_json
from gobelin.store.paths import join, name_of
from gobelin.tokenize.framing import RESIZES, Frames, Framing, Grid, names_of, parse_grids
from gobelin.tokenize.shapes import CONFIGS, TokenizerConfig

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
Shape = TypeVar("Shape", bound=TokenizerConfig)

PREFIX = "gobelin-"
"""The prefix of the kind in ``config.json``. A file of the same name by another program lacks it."""

SEVERAL = PREFIX + "several"
"""The kind in ``config.json`` of a folder with several tokenizers, each in a folder below it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Codebook:
    """The codes of an image tokenizer and their grid. An image always has rows x columns codes."""

    name: str
    """Name of the range of ids in a vocabulary. Several grids of one tokenizer share it."""
    kind: str
    """How pictures become codes: a key of ``CONFIGS``."""
    num_codes: int
    """Number of codes K; 1 for continuous tokens, whose id only marks a position and whose content is a latent."""
    rows: int
    """Rows of the grid."""
    columns: int
    """Columns of the grid."""
    fingerprint: str
    """SHA-256 over configuration and weights of the tokenizer, hex. If only a decoder was fitted, for the codes of
    another tokenizer, it is the fingerprint of the other tokenizer."""
    latent_channels: int = 0
    """Width of a continuous token; 0 for codes."""

    def __post_init__(self) -> None:
        for name in ("num_codes", "rows", "columns"):
            if getattr(self, name) < 1:
                raise UserError(f"codebook {self.name}: {name} must be at least 1, got {getattr(self, name)}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def tokens_per_image(self) -> int:
        """Rows x columns: the number of tokens of an image, without the two that enclose it."""
        return self.rows * self.columns

    @property
    def is_continuous(self) -> bool:
        """Whether tokens are vectors of real numbers instead of codes."""
        return self.latent_channels > 0

    @property
    def bits_per_image(self) -> float:
        """rows x columns x log2 K. The content of continuous tokens is not counted."""
        return self.tokens_per_image * math.log2(self.num_codes)

    @classmethod
    def of(
        cls, config: TokenizerConfig, fingerprint: str, name: str | None = None, grid: Grid | None = None
    ) -> Codebook:
        """The codebook of a tokenizer of this shape; ``name`` defaults to its kind, ``grid`` to that of its shape."""
        rows, columns = grid or config.grid
        return cls(
            name=name or config.kind, kind=config.kind, num_codes=config.num_codes, rows=rows, columns=columns,
            fingerprint=fingerprint, latent_channels=config.latent_channels,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One of the tokenizers in a folder, or the only one."""

    folder: str
    min_side_px: int
    """Minimum shorter side of its pictures in pixels (``Frames``)."""


def read_members(folder: str) -> tuple[Member, ...]:
    """The tokenizers in this folder, which holds one or several, in the order of their codebooks.

    Raises:
        UserError: there is no ``config.json``, or it is not one of gobelin's.
    """
    described = _read_described(folder)
    if described.get("kind") != SEVERAL:
        return (Member(folder, 0),)
    try:
        found = [(each["folder"], each["min_side_px"]) for each in described["codebooks"]]
        members = tuple(Member(join(folder, name), least) for name, least in found if name == name_of(name))
    except (KeyError, TypeError, AttributeError):
        members = ()
    if not members or min(member.min_side_px for member in members) != 0:
        raise UserError(f"{join(folder, CONFIG_NAME)} does not say which image tokenizers to use for which pictures")
    return members


def write_members(folder: str, min_sides_px: Mapping[str, int]) -> None:
    """Writes the ``config.json`` of a folder with several tokenizers.

    Args:
        folder: the folder. Each tokenizer is in a subfolder.
        min_sides_px: for the name of each subfolder, the minimum shorter side of its pictures in pixels.
    """
    codebooks = [
        {"folder": name, "min_side_px": least, "fingerprint": read_config(join(folder, name))[1]["fingerprint"]}
        for name, least in min_sides_px.items()
    ]
    write_json(join(folder, CONFIG_NAME), {"kind": SEVERAL, "version": 1, "codebooks": codebooks})


def read_codebooks(folder: str) -> tuple[Codebook, ...]:
    """The codebooks of the tokenizers in this folder, one per tokenizer and grid. Reads only ``config.json``.

    Raises:
        UserError: there is no such file, or it describes no image tokenizer of a known kind.
    """
    return tuple(book for member in read_members(folder) for book in _codebooks_of(member.folder))


def _codebooks_of(folder: str) -> Iterator[Codebook]:
    config, described = read_config(folder)
    fingerprint, name = described.get("codes_of") or described["fingerprint"], described.get("name")
    for grid in framing_of(config, described).grids:
        yield Codebook.of(config, fingerprint, name, grid)


def read_codebook(folder: str) -> Codebook:
    """The first of ``read_codebooks``. The codebooks of a single tokenizer differ only in their grid."""
    return read_codebooks(folder)[0]


def read_framing(folder: str) -> Framing:
    """The grids of one tokenizer, and how pictures are brought to them. Raises UserError as ``read_codebooks`` does."""
    return framing_of(*read_config(folder))


def read_frames(folder: str) -> Frames:
    """The framings of the tokenizers in this folder, and which pictures each gets. Raises UserError as
    ``read_codebooks`` does."""
    members = read_members(folder)
    framings = tuple(read_framing(member.folder) for member in members)
    return Frames(framings, tuple(member.min_side_px for member in members))


def framing_of(config: TokenizerConfig, described: Mapping[str, Any]) -> Framing:
    """The framing in ``config.json`` of a tokenizer of this shape. By default it is one grid to which pictures are
    cropped. Weights and fingerprint do not depend on it.

    Raises:
        UserError: grids or resize are invalid.
    """
    grids, resize = described.get("grids", ()), described.get("resize", "crop")
    if not isinstance(grids, (list, tuple)) or not all(isinstance(name, str) for name in grids):
        raise UserError(f"grids of a tokenizer must be a list of names such as 8x16, got {grids!r}")
    if resize not in RESIZES:
        raise UserError(f"resize of a tokenizer must be one of {', '.join(RESIZES)}, got {resize!r}")
    return Framing(parse_grids(grids) or (config.grid,), config.token_pixels, resize)


def shape_on(config: Shape, framing: Framing) -> Shape:
    """The shape, with the picture size of the framing's first grid."""
    size = framing.sizes[0]
    return config if config.size == size else dataclasses.replace(config, image_size=size)


def describe_framing(config: TokenizerConfig, framing: Framing) -> dict[str, Any]:
    """The inverse of ``framing_of``: the entries of ``config.json``."""
    described: dict[str, Any] = {}
    if framing.grids != (config.grid,):
        described["grids"] = names_of(framing.grids)
    if framing.resize != "crop":
        described["resize"] = framing.resize
    return described


def holds_several(folder: str) -> bool:
    """Whether a folder with a ``config.json`` holds several tokenizers in subfolders."""
    return _read_described(folder).get("kind") == SEVERAL


def check_is_one(folder: str) -> None:
    """Raises UserError if a folder with a ``config.json`` holds several tokenizers."""
    if holds_several(folder):
        names = ", ".join(name_of(member.folder) for member in read_members(folder))
        raise UserError(f"{folder} holds several image tokenizers: give the folder of one ({names})")


def read_config(folder: str) -> tuple[TokenizerConfig, dict[str, Any]]:
    """The shape of a tokenizer, and the content of its ``config.json``.

    Raises:
        UserError: as for ``read_codebooks``, or the folder holds several tokenizers.
    """
    path, described = join(folder, CONFIG_NAME), _read_described(folder)
    kind = described.get("kind")
    check_is_one(folder)
    config_type = CONFIGS.get(str(kind).removeprefix(PREFIX)) if str(kind).startswith(PREFIX) else None
    if config_type is None:
        known = ", ".join(PREFIX + name for name in CONFIGS)
        raise UserError(f"{path} describes no image tokenizer of gobelin: its kind is {kind!r}, not one of {known}")
    if not isinstance(described.get("fingerprint"), str):
        raise UserError(f"{path} holds no fingerprint: fit or copy the tokenizer again")
    return _from_json(config_type, described, path), described


def _read_described(folder: str) -> dict[str, Any]:
    path = join(folder, CONFIG_NAME)
    if not exists(path):
        raise UserError(f"no image tokenizer at {folder}: it holds no {CONFIG_NAME}")
    described = read_json(path)
    return described if isinstance(described, dict) else {}


def describe_config(config: TokenizerConfig) -> dict[str, Any]:
    """The shape as in ``config.json``. The fingerprint covers this and the weights."""
    return {"kind": PREFIX + config.kind, "version": 1, **dataclasses.asdict(config)}


def _from_json(config_type: type[TokenizerConfig], described: dict[str, Any], path: str) -> TokenizerConfig:
    names = [field.name for field in dataclasses.fields(config_type)]
    types = typing.get_type_hints(config_type)
    try:
        values = {name: described[name] for name in names}
        tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        for name, value in tuples.items():
            if isinstance(value, bool) != (types[name] is bool) or not isinstance(value, (int, float, str, tuple)):
                raise TypeError(f"{name} is {value!r}")
        return config_type(**tuples)
    except KeyError as error:
        raise UserError(f"{path} lacks {error}") from None
    except TypeError as error:
        raise UserError(f"{path} describes no tokenizer: {error}") from None
