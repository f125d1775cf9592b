"""Finds images that look the same: pairs with near hashes and colours, verified by thumbnails, in groups around a
representative.

    shape     The 64-bit pHash or dHash differ in at most a number of bits; one of the two suffices. Each fails where
    the other
              works: pHash on plots (thin lines on white, where its median is noise), dHash on flat areas. Or the
                  layouts differ
              in at most a number of bits; this serves images of nearly one colour, for which both hashes are noise.
    colour    The mean colours of 4 x 4 cells must be similar as well. The hashes are blind to colour.
    thumbnail The greys of 2304 cells must be similar, including the most different one (verify_images.py). Hashes alone
    match
              chess positions, formulas, tables and charts of one kind with one another.

Images that are connected through near hashes and colours are candidates. Among them the largest images come first. Each
image joins the nearest earlier representative of a group, or becomes a representative itself. So each member was
compared with the representative of its group, and no chain of small steps joins different images.

If two hashes differ in at most ``distance`` bits and are split into distance + joint chunks, they agree in at least
``joint`` of them (pigeonhole principle). Each choice of that many chunks is a key, so no pair is ever missed.
docs/duplicates.md compares recall and confusions with imagehash and PDQ.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from gobelin.errors import UserError
from gobelin.transforms.duplicates.alike_pairs import Indices, IsAlike, join_alike
from gobelin.transforms.duplicates.verify_images import Thumbnails, distances, nearest, read_thumbnails

Shapes = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]
"""pHashes, dHashes and layouts."""

Slack = float | npt.NDArray[np.float64]

HASH_BITS, LAYOUT_BITS = 64, 48

COLOUR_CELLS = 16
"""4 x 4, row by row."""

MAX_DISTANCE = 16
"""Maximum number of bits. Beyond it, different images are as near as copies."""

_GREY = 2
"""Maximum red-green and blue-yellow, of 255, of a cell without colour. JPEG leaves this much in grey images."""

_FEWEST_BITS = 6
"""Minimum number of bits of a layout that is compared."""

_SMALL_PX, _SLACK_OF_SMALL = 64, 2.0
"""Shorter side in pixels below which colours may differ more, and by which factor."""

_NO_THUMBNAILS = "near-duplicate images cannot be verified: their thumbnails were not read"

_JOINT_OF_LAYOUTS = 3
"""Number of chunks in a key of a layout. Two bits describe one pair of cells, so keys need more chunks than those of a
hash."""

_MANY = 100_000
"""Number of images from which keys have two chunks: more keys, each much rarer."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NearImageConfig:
    """When two images count as near-duplicates: near by one of the hashes, and similar in colours and thumbnails."""

    phash_distance: int | None = 6
    """Maximum number of different bits, of 64, of pHashes. MMC4: 5. 0: only equal hashes. Null: not compared."""

    dhash_distance: int | None = 6
    """Maximum number of different bits, of 64, of dHashes. Null: not compared; MMC4 uses only pHash."""

    layout_distance: int | None = 2
    """Maximum number of different bits, of 48, of layouts: which of 4 x 4 cells are brighter or darker than their
    neighbours. This finds copies of images of nearly one colour, whose hashes are noise. It is used only if thumbnails
    are verified, because charts and documents of one kind have one layout. Null: not compared."""

    colour_distance: int | None = 5
    """Maximum difference of the most different of 4 x 4 cells, of 255: of red-green or blue-yellow, or a quarter of
    that of brightness. Re-encoded and resized copies differ by at most 4, copies with other brightness or contrast by
    less than 13. It is doubled for images under 64 pixels a side if thumbnails are verified. Null: colours may
    differ."""

    verify: bool = True
    """Whether pairs are verified by their thumbnails, and members against their group. False: all images that are
    connected through near hashes and colours are a group, as in MMC4 and OmniCorpus; then drawings of one kind count as
    copies."""

    grey_copies: bool = False
    """Whether an image and a copy without colours are near-duplicates. They are compared by brightness only."""

    def __post_init__(self) -> None:
        for name in ("phash_distance", "dhash_distance", "layout_distance"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= MAX_DISTANCE:
                raise UserError(f"{name} must be in [0, {MAX_DISTANCE}] or null, got {value}")
        if self.colour_distance is not None and not 0 <= self.colour_distance <= 255:
            raise UserError(f"colour_distance must be in [0, 255] or null, got {self.colour_distance}")

    @property
    def shape_distances(self) -> tuple[int | None, int | None, int | None]:
        """Maximum distances of pHash, dHash and layout; None: not compared."""
        return self.phash_distance, self.dhash_distance, self.layout_distance if self.verify else None


@dataclasses.dataclass(frozen=True, slots=True)
class ImageHashes:
    """Hashes and colours of N images."""

    phash: npt.NDArray[np.uint64]  # (N,)
    dhash: npt.NDArray[np.uint64]  # (N,)
    colour: npt.NDArray[np.int16]  # (N, 48), see ``colour_features``

    thumbnails: Thumbnails | None = None  # of the same images; None if they are not needed

    @property
    def shapes(self) -> Shapes:
        return self.phash, self.dhash, layouts(self.colour)

    def take(self, places: Indices) -> ImageHashes:
        thumbnails = None if self.thumbnails is None else self.thumbnails.take(places)
        return ImageHashes(self.phash[places], self.dhash[places], self.colour[places], thumbnails)


def image_hashes(
    phash: Iterable[str], dhash: Iterable[str], colour: Iterable[str], thumbnail: Iterable[str] | None = None
) -> ImageHashes:
    """Hashes from columns of hexadecimal digits: 16, 16, 96 and 4624 per image."""
    thumbnails = None if thumbnail is None else read_thumbnails(thumbnail)
    return ImageHashes(_from_hex(phash), _from_hex(dhash), read_colours(colour), thumbnails)


def read_colours(column: Iterable[str]) -> npt.NDArray[np.int16]:
    """``colour_features`` from a column of hexadecimal digits, 96 per image."""
    return colour_features(np.frombuffer(bytes.fromhex("".join(column)), np.uint8).reshape(-1, COLOUR_CELLS, 3))


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
    """Whether each image of ``a`` is a near-duplicate of the image of ``b`` at the same position, (N,). Either may hold
    a single image.

    Raises:
        ValueError: thumbnails are needed (``config.verify``) but missing.
    """
    alike = near_in_shape(a.shapes, b.shapes, config)
    if not config.verify:
        return alike & _near_in_colour(a.colour, b.colour, config)
    if a.thumbnails is None or b.thumbnails is None:
        raise ValueError(_NO_THUMBNAILS)
    alike &= _near_in_colour(a.colour, b.colour, config, _colour_slack(a.thumbnails.sizes, b.thumbnails.sizes))
    if alike.any():
        found = np.flatnonzero(alike)
        one, other = (each if len(each.cells) == 1 else each.take(found) for each in (a.thumbnails, b.thumbnails))
        alike[found] = distances(one, other)[: len(found)] <= 1
    return alike


def are_candidates(hashes: ImageHashes, config: NearImageConfig) -> IsAlike:
    """A function that tells whether images, given by position, are near by their hashes and colours. Thumbnails are not
    compared."""
    slack = _SLACK_OF_SMALL if config.verify else 1.0
    phash, dhash, layout = hashes.shapes

    def is_alike(a: Indices, b: Indices) -> npt.NDArray[np.bool_]:
        is_near = near_in_shape((phash[a], dhash[a], layout[a]), (phash[b], dhash[b], layout[b]), config)
        found = np.flatnonzero(is_near)  # colours are compared only for these few
        one = a[found] if len(a) > 1 else a
        is_near[found] = _near_in_colour(hashes.colour[one], hashes.colour[b[found]], config, slack)
        return is_near

    return is_alike


def near_in_shape(one: Shapes, other: Shapes, config: NearImageConfig) -> npt.NDArray[np.bool_]:
    """Whether images are near by one of their hashes. The arrays may have any shapes that can be broadcast."""
    is_near = np.zeros(np.broadcast_shapes(one[0].shape, other[0].shape), np.bool_)
    for distance, a, b in zip(config.shape_distances[:2], one, other):
        if distance is not None:
            is_near |= np.bitwise_count(a ^ b) <= distance
    distance, a, b = config.shape_distances[2], one[2], other[2]
    if distance is not None:
        is_near |= (np.bitwise_count(a ^ b) <= distance) & (a != 0) & (b != 0)
    return is_near


def layouts(colour: npt.NDArray[np.int16]) -> npt.NDArray[np.uint64]:
    """48-bit hashes, (N,), of ``colour_features``: whether each cell is brighter, and whether it is darker, than its
    neighbours to the left and above. 0 if fewer than ``_FEWEST_BITS`` bits are set, because such hashes are equal by
    chance."""
    light = colour.reshape(-1, 4, 4, 3)[..., 0]
    beside, below = (np.diff(light, axis=axis).reshape(len(light), LAYOUT_BITS // 4) for axis in (2, 1))
    steps = np.concatenate([beside, below], axis=1)
    changes = np.stack([steps > 0, steps < 0], axis=2).reshape(len(light), LAYOUT_BITS)
    bits = np.concatenate([np.zeros((len(light), HASH_BITS - LAYOUT_BITS), np.bool_), changes], axis=1)
    values = np.packbits(bits, axis=1).view(">u8").reshape(-1).astype(np.uint64)
    return np.where(np.bitwise_count(values) >= _FEWEST_BITS, values, np.uint64(0))


def _near_in_colour(
    colour: npt.NDArray[np.int16], other: npt.NDArray[np.int16], config: NearImageConfig, slack: Slack = 1.0
) -> npt.NDArray[np.bool_]:
    """Whether colours are similar, (N,).

    Args:
        slack: factor on the allowed distance.
    """
    apart = np.abs(colour - other)
    allowed = np.inf if config.colour_distance is None else config.colour_distance * slack
    alike = apart.max(axis=1, initial=0) <= allowed
    if config.grey_copies and config.colour_distance is not None:
        in_brightness = apart[:, ::3].max(axis=1, initial=0) <= allowed
        alike |= in_brightness & (are_grey(colour) | are_grey(other))
    return alike


def _colour_slack(sizes: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The factor by which the colours of small copies may differ more, (N,), from widths and heights, (N, 2). Their
    cells have few pixels, and JPEG mixes the colours of neighbouring cells."""
    return np.where(np.minimum(sizes.min(axis=1), others.min(axis=1)) < _SMALL_PX, _SLACK_OF_SMALL, 1.0)


def are_grey(colour: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    """Which images have no colours, (N,), from ``colour_features``."""
    chroma = colour.reshape(-1, COLOUR_CELLS, 3)[:, :, 1:]
    return np.abs(chroma).max(axis=(1, 2), initial=0) <= _GREY


def candidate_groups(hashes: ImageHashes, config: NearImageConfig) -> Indices:
    """For each image, the smallest position that it is connected with through near hashes and colours, (N,)."""
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
    groups = join_alike(len(first), _bands(distinct, config, joint), are_candidates(distinct, config))
    return first[order][groups[rank[inverse.reshape(-1)]]]


def near_image_groups(hashes: ImageHashes, config: NearImageConfig) -> Indices:
    """For each image, sorted by id, the smallest position of its group of near-duplicates, (N,).

    Raises:
        ValueError: thumbnails are needed (``config.verify``) but missing.
    """
    groups = candidate_groups(hashes, config)
    if not config.verify:
        return groups
    if hashes.thumbnails is None:
        raise ValueError(_NO_THUMBNAILS)
    return split_candidates(groups, hashes.colour, hashes.thumbnails.take, config)


def split_candidates(
    candidates: Indices, colour: npt.NDArray[np.int16], thumbnails: Callable[[Indices], Thumbnails],
    config: NearImageConfig,
) -> Indices:  # fmt: skip
    """``candidate_groups`` split into groups of verified members.

    Args:
        thumbnails: returns the thumbnails of images by position; called only for images with candidates.
    """
    groups = candidates.copy()
    for members in candidate_members(candidates):
        groups[members] = members[verified_groups(colour[members], thumbnails(members), config)]
    return groups


def candidate_members(candidates: Indices) -> list[Indices]:
    """The positions of each group of more than one image, ascending."""
    order = np.argsort(candidates, kind="stable")
    starts = np.flatnonzero(np.diff(candidates[order], prepend=-1))
    return [members for members in np.split(order, starts[1:]) if len(members) > 1]


def verified_groups(colour: npt.NDArray[np.int16], thumbnails: Thumbnails, config: NearImageConfig) -> Indices:
    """Splits the images of one candidate group. Returns for each the smallest position in the group that it belongs to,
    (N,).

    Images are processed in an order that puts likely originals first. An image that resembles no leader becomes a
    leader. Then each other
    image joins the leader that explains it best, because a small copy can resemble all drawings of a series. Ties are
    broken by position, so
    pass images sorted by id. The number of comparisons is that of images times groups.
    """
    rows = np.concatenate(
        [colour.view(np.uint8), thumbnails.cells.view(np.uint8), thumbnails.sizes.view(np.uint8)], axis=1
    )
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))).reshape(-1)
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)

    def alike(image: int, leaders: Indices) -> Indices:
        """The places in ``leaders`` of those that are alike."""
        slack = _colour_slack(thumbnails.sizes[[image]], thumbnails.sizes[leaders])
        near = np.flatnonzero(_near_in_colour(colour[[image]], colour[leaders], config, slack))
        if not len(near):
            return near
        return near[distances(thumbnails.take(np.array([image])), thumbnails.take(leaders[near])) <= 1]

    leaders, num = np.empty(len(first), np.intp), 0
    found = {}  # of each image: the leaders before it that are alike, and how many there were
    leads = {}  # place in leaders
    for image in first[_originals_first(colour[first], thumbnails.take(first), first)].tolist():
        found[image] = alike(image, leaders[:num]), num
        if not len(found[image][0]):
            leads[image], leaders[num], num = num, image, num + 1
    groups = np.empty(len(first), np.intp)
    for at, image in enumerate(first.tolist()):
        if image in leads:
            groups[at] = leads[image]
            continue
        earlier, known = found[image]
        places = np.concatenate([earlier, known + alike(image, leaders[known:num])])
        groups[at] = places[nearest(thumbnails.take(np.array([image])), thumbnails.take(leaders[places]))]
    groups = groups[inverse.reshape(-1)]
    smallest = np.full(num, len(groups))
    np.minimum.at(smallest, groups, np.arange(len(groups)))
    return smallest[groups]


def _originals_first(colour: npt.NDArray[np.int16], thumbnails: Thumbnails, position: Indices) -> Indices:
    """An order of the images of one candidate group. Images with colours come before grey ones, which could match
    several coloured images. Then come images of the most common size, because a series of drawings shares one and is
    separated best within it; then the largest; then those with the most cells that equal all their neighbours, because
    encoding adds noise to flat areas; then by position."""
    _, of_size, counts = np.unique(thumbnails.sizes, axis=0, return_inverse=True, return_counts=True)
    pixels = thumbnails.sizes.prod(axis=1)
    return np.lexsort((position, -thumbnails.num_flat, -pixels, -counts[of_size.reshape(-1)], are_grey(colour)))


def _bands(hashes: ImageHashes, config: NearImageConfig, joint: int) -> Iterator[npt.NDArray[np.int64]]:
    *by_hash, by_layout = zip(config.shape_distances, hashes.shapes, strict=True)
    for distance, values in by_hash:
        if distance is not None:
            for mask in masks(distance, joint):
                yield (values & np.uint64(mask)).view(np.int64)
    distance, layout = by_layout
    if distance is not None:
        own = -1 - np.arange(len(layout))  # a unique key for each image without a layout
        for mask in masks(distance, _JOINT_OF_LAYOUTS, LAYOUT_BITS):
            yield np.where(layout == 0, own, (layout & np.uint64(mask)).view(np.int64))


def image_keys(phash: str, dhash: str, colour: str, config: NearImageConfig) -> list[tuple[int, int]]:
    """(band, value) keys. Two near-duplicates share at least one."""
    layout = int(layouts(read_colours([colour]))[0])
    keys = []
    *by_hash, of_layout = config.shape_distances
    for distance, value in zip(by_hash, (int(phash, 16), int(dhash, 16)), strict=True):
        if distance is not None:
            keys += [value & mask for mask in masks(distance, 2)]
    if of_layout is not None and layout:
        keys += [layout & mask for mask in masks(of_layout, _JOINT_OF_LAYOUTS, LAYOUT_BITS)]
    return list(enumerate(keys))


@functools.cache
def masks(distance: int, joint: int, num_bits: int = HASH_BITS) -> tuple[int, ...]:
    """Bit masks for each choice of ``joint`` out of distance + joint chunks of nearly equal width, of ``num_bits``
    bits."""
    num_chunks = distance + joint
    if distance < 0 or joint < 1 or num_chunks > num_bits:
        raise UserError(f"distance {distance} with {joint} joint chunks does not fit a hash of {num_bits} bits")
    bounds = [num_bits * index // num_chunks for index in range(num_chunks + 1)]
    chunks = [(1 << high) - (1 << low) for low, high in itertools.pairwise(bounds)]
    return tuple(sum(choice) for choice in itertools.combinations(chunks, joint))
