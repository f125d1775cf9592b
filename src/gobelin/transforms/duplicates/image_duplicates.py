"""Images that look the same: hashes of shape, a few numbers of colour, and keys under which near ones meet.

    shape     64-bit pHash or dHash at most so many bits apart: one of the two is enough. Each fails where the other
              holds: pHash on plots (thin lines on white, where its median is noise), dHash on flat areas.
    colour    the mean colours of 4 x 4 cells must be alike as well. Both hashes are blind to colour: of drawings with
              flat areas five in six pairs of near hashes are different pictures, nearly all of which this tells apart.

Two hashes at most ``distance`` bits apart, cut into distance + joint chunks, agree in at least ``joint`` of them
(pigeonhole principle): each choice of that many chunks is a key, and no pair is ever missed.
What the choices find and what they confuse, beside imagehash and PDQ: docs/duplicates.md.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from gobelin.errors import UserError
from gobelin.transforms.duplicates.alike_pairs import Indices, IsAlike, join_alike

HASH_BITS = 64

COLOUR_CELLS = 16
"""4 x 4, row by row."""

MAX_DISTANCE = 16
"""Bits; beyond it different pictures are as near as copies."""

_MANY = 200_000
"""Images from which keys are made of two chunks: more keys, each much rarer."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NearImageConfig:
    """When two images count as near-duplicates: near by one of the hashes, and of like colour."""

    phash_distance: int | None = 4
    """Bits of 64 by which pHashes may differ. MMC4: 5. 0: only equal hashes. Null: not looked at."""

    dhash_distance: int | None = 3
    """Bits of 64 by which dHashes may differ. Null: not looked at; MMC4 has pHash alone."""

    colour_distance: int | None = 5
    """Difference of the most different of 4 x 4 cells, of 255: of red-green or blue-yellow, or a quarter of that of
    brightness. Re-encoded and resized copies stay at or below 4, copies of other brightness or contrast below 13. Null:
    colours may differ."""

    def __post_init__(self) -> None:
        for name in ("phash_distance", "dhash_distance"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= MAX_DISTANCE:
                raise UserError(f"{name} must be in [0, {MAX_DISTANCE}] or null, got {value}")
        if self.colour_distance is not None and not 0 <= self.colour_distance <= 255:
            raise UserError(f"colour_distance must be in [0, 255] or null, got {self.colour_distance}")


@dataclasses.dataclass(frozen=True, slots=True)
class ImageHashes:
    """Hashes and colours of N images."""

    phash: npt.NDArray[np.uint64]  # (N,)
    dhash: npt.NDArray[np.uint64]  # (N,)
    colour: npt.NDArray[np.int16]  # (N, 48), see ``colour_features``

    def take(self, places: Indices) -> ImageHashes:
        return ImageHashes(self.phash[places], self.dhash[places], self.colour[places])


def image_hashes(phash: Iterable[str], dhash: Iterable[str], colour: Iterable[str]) -> ImageHashes:
    """From columns of hexadecimal digits: 16, 16 and 96 an image."""
    rgb = np.frombuffer(bytes.fromhex("".join(colour)), np.uint8).reshape(-1, COLOUR_CELLS, 3)
    return ImageHashes(_from_hex(phash), _from_hex(dhash), colour_features(rgb))


def _from_hex(column: Iterable[str]) -> npt.NDArray[np.uint64]:
    return np.frombuffer(bytes.fromhex("".join(column)), ">u8").astype(np.uint64)


def colour_features(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """A quarter of the brightness and the two colour differences (ITU-R BT.601) of each cell, (N, cells * 3)."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    brightness = (0.299 * red + 0.587 * green + 0.114 * blue) / 4
    blueness = -0.168736 * red - 0.331264 * green + 0.5 * blue
    redness = 0.5 * red - 0.418688 * green - 0.081312 * blue
    return np.rint(np.stack([brightness, blueness, redness], -1)).astype(np.int16).reshape(-1, 3 * COLOUR_CELLS)


def hamming(a: str, b: str) -> int:
    """Number of bits in which two hexadecimal hashes differ."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def are_alike(a: ImageHashes, b: ImageHashes, config: NearImageConfig) -> npt.NDArray[np.bool_]:
    """Whether each image of ``a`` is a near-duplicate of the one of ``b``, (N,); either may hold one image."""
    return _near_in_shape(a.phash, a.dhash, b.phash, b.dhash, config) & _near_in_colour(a.colour, b.colour, config)


def images_alike(hashes: ImageHashes, config: NearImageConfig) -> IsAlike:
    """Whether images of these hashes, given by position, are near-duplicates."""

    def is_alike(a: Indices, b: Indices) -> npt.NDArray[np.bool_]:
        is_near = _near_in_shape(hashes.phash[a], hashes.dhash[a], hashes.phash[b], hashes.dhash[b], config)
        found = np.flatnonzero(is_near)  # few: colours are looked at for these alone
        one = a[found] if len(a) > 1 else a
        is_near[found] = _near_in_colour(hashes.colour[one], hashes.colour[b[found]], config)
        return is_near

    return is_alike


def _near_in_shape(
    phash: npt.NDArray[np.uint64],
    dhash: npt.NDArray[np.uint64],
    other_phash: npt.NDArray[np.uint64],
    other_dhash: npt.NDArray[np.uint64],
    config: NearImageConfig,
) -> npt.NDArray[np.bool_]:
    is_near = np.zeros(max(len(phash), len(other_phash)), np.bool_)
    if config.phash_distance is not None:
        is_near |= np.bitwise_count(phash ^ other_phash) <= config.phash_distance
    if config.dhash_distance is not None:
        is_near |= np.bitwise_count(dhash ^ other_dhash) <= config.dhash_distance
    return is_near


def _near_in_colour(
    colour: npt.NDArray[np.int16], other: npt.NDArray[np.int16], config: NearImageConfig
) -> npt.NDArray[np.bool_]:
    apart = np.abs(colour - other).max(axis=1, initial=0)
    return apart <= (np.inf if config.colour_distance is None else config.colour_distance)


def near_image_groups(hashes: ImageHashes, config: NearImageConfig) -> Indices:
    """For each image the smallest position it is connected with through near-duplicates, (N,)."""
    columns = np.concatenate(
        [hashes.phash[:, None].view(np.uint8), hashes.dhash[:, None].view(np.uint8), hashes.colour.view(np.uint8)],
        axis=1,
    )
    whole = np.ascontiguousarray(columns).view(np.dtype((np.void, columns.shape[1]))).reshape(-1)
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    order = np.argsort(first)  # distinct images in the order of their first appearance: the smallest comes first
    rank = np.argsort(order)
    distinct = hashes.take(first[order])
    joint = 1 if len(first) < _MANY else 2
    groups = join_alike(len(first), _bands(distinct, config, joint), images_alike(distinct, config))
    return first[order][groups[rank[inverse.reshape(-1)]]]


def _bands(hashes: ImageHashes, config: NearImageConfig, joint: int) -> Iterator[npt.NDArray[np.int64]]:
    for distance, values in ((config.phash_distance, hashes.phash), (config.dhash_distance, hashes.dhash)):
        if distance is not None:
            for mask in masks(distance, joint):
                yield (values & np.uint64(mask)).view(np.int64)


def image_keys(phash: str, dhash: str, config: NearImageConfig) -> list[tuple[int, int]]:
    """(band, value) keys of which two near-duplicates share at least one."""
    keys = []
    for distance, digits in ((config.phash_distance, phash), (config.dhash_distance, dhash)):
        if distance is not None:
            value = int(digits, 16)
            keys += [value & mask for mask in masks(distance, 2)]
    return list(enumerate(keys))


@functools.cache
def masks(distance: int, joint: int) -> tuple[int, ...]:
    """Of 64 bits, each choice of ``joint`` out of distance + joint chunks of nearly equal width."""
    num_chunks = distance + joint
    if distance < 0 or joint < 1 or num_chunks > HASH_BITS:
        raise UserError(f"distance {distance} with {joint} joint chunks does not fit a hash of {HASH_BITS} bits")
    bounds = [HASH_BITS * index // num_chunks for index in range(num_chunks + 1)]
    chunks = [(1 << high) - (1 << low) for low, high in itertools.pairwise(bounds)]
    return tuple(sum(choice) for choice in itertools.combinations(chunks, joint))
