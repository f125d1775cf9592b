"""Groups of near-duplicate images by their definition, without keys and without NumPy over many: for comparison."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from gobelin.transforms.duplicates.image_duplicates import (
    NearImageConfig,
    are_alike,
    are_candidates,
    are_grey,
    image_hashes,
)
from gobelin.transforms.duplicates.verify_images import distances, nearest, read_thumbnails

COLUMNS = ("phash", "dhash", "colour", "thumbnail")


def naive_image_groups(rows: list[dict[str, Any]], config: NearImageConfig) -> dict[str, str]:
    """For each image_id the smallest image_id of its group."""
    rows = sorted(rows, key=lambda row: row["image_id"])
    looks = [image_hashes(*([row[name]] for name in COLUMNS)) for row in rows]
    is_candidate = are_candidates(image_hashes(*([row[name] for row in rows] for name in COLUMNS[:3])), config)
    chain = list(range(len(rows)))
    for a, b in itertools.combinations(range(len(rows)), 2):
        if chain[a] != chain[b] and is_candidate(np.array([a]), np.array([b]))[0]:
            low, high = sorted((chain[a], chain[b]))
            chain = [low if label == high else label for label in chain]
    group = dict(enumerate(chain))
    if config.verify:
        for label in set(chain):
            members = [place for place in range(len(rows)) if chain[place] == label]
            group |= _split(members, looks, [row["thumbnail"] for row in rows], config)
    return {row["image_id"]: rows[group[place]]["image_id"] for place, row in enumerate(rows)}


def _colour_distances(config: NearImageConfig) -> tuple[int | None, int | None]:
    """Of pictures, and of those where one is under 64 pixels a side."""
    distance = config.colour_distance
    return distance, None if distance is None else 2 * distance


def _split(members: list[int], looks: list[Any], thumbnails: list[str], config: NearImageConfig) -> dict[int, int]:
    sizes = {place: tuple(looks[place].thumbnails.sizes[0].tolist()) for place in members}
    distinct: dict[bytes, int] = {}  # equal images count once
    for place in members:
        content = looks[place].colour.tobytes() + looks[place].thumbnails.cells.tobytes() + str(sizes[place]).encode()
        distinct.setdefault(content, place)
    firsts = sorted(distinct.values())
    colour_only = [
        NearImageConfig(phash_distance=16, verify=False, colour_distance=distance, grey_copies=config.grey_copies)
        for distance in _colour_distances(config)
    ]

    def are_near(a: int, b: int) -> bool:
        one, other = looks[a], looks[b]
        same_shape = type(one)(one.phash, one.dhash, other.colour, None)
        is_small = min(*sizes[a], *sizes[b]) < 64
        if not are_alike(type(one)(one.phash, one.dhash, one.colour, None), same_shape, colour_only[is_small])[0]:
            return False
        return bool(distances(one.thumbnails, other.thumbnails)[0] <= 1)

    def rank(place: int) -> tuple[Any, ...]:
        width, height = sizes[place]
        common = sum(sizes[other] == sizes[place] for other in firsts)
        flat = int(looks[place].thumbnails.num_flat[0])
        return bool(are_grey(looks[place].colour)[0]), -common, -width * height, -flat, place

    def closest(place: int, near: list[int]) -> int:
        best = near[0]
        for other in near[1:]:
            pair = read_thumbnails([thumbnails[best], thumbnails[other]])
            best = (best, other)[nearest(looks[place].thumbnails, pair)]
        return best

    leaders: list[int] = []
    for place in sorted(firsts, key=rank):
        if not any(are_near(place, leader) for leader in leaders):
            leaders.append(place)
    joined = {}
    for content, place in distinct.items():
        near = [leader for leader in leaders if are_near(place, leader)]
        joined[content] = place if place in leaders else closest(place, near)
    of_image = {}
    for place in members:
        content = looks[place].colour.tobytes() + looks[place].thumbnails.cells.tobytes() + str(sizes[place]).encode()
        of_image[place] = joined[content]
    return {place: min(m for m in members if of_image[m] == of_image[place]) for place in members}
