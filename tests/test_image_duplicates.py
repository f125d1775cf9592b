"""Near images are found by their keys, and what differs in shape or colour is not: against brute force."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from gobelin.transforms.duplicates.image_duplicates import (
    ImageHashes,
    NearImageConfig,
    are_alike,
    hamming,
    image_hashes,
    image_keys,
    masks,
    near_image_groups,
)
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, check_image

HASHES = st.integers(0, 2**64 - 1)
GREY = "808080" * 16


@settings(max_examples=200)
@given(HASHES, st.integers(0, 12), st.integers(1, 3), st.data())
def test_no_near_hash_is_missed(value: int, distance: int, joint: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.integers(0, 63), max_size=distance, unique=True))
    other = value ^ sum(1 << bit for bit in bits)
    assert hamming(f"{value:016x}", f"{other:016x}") == len(bits)
    assert any(value & mask == other & mask for mask in masks(distance, joint))


@given(HASHES, HASHES, st.lists(st.integers(0, 63), max_size=3, unique=True), st.booleans())
def test_near_images_share_a_key(phash: int, dhash: int, bits: list[int], by_dhash: bool) -> None:
    """Whichever hash they are near in, and however far the other one is."""
    flipped = sum(1 << bit for bit in bits)
    other = (~phash % 2**64, dhash ^ flipped) if by_dhash else (phash ^ flipped, ~dhash % 2**64)
    config = NearImageConfig()
    one_keys = image_keys(f"{phash:016x}", f"{dhash:016x}", config)
    other_keys = image_keys(f"{other[0]:016x}", f"{other[1]:016x}", config)
    assert set(one_keys) & set(other_keys)


@pytest.mark.parametrize(("distance", "joint"), [(-1, 1), (64, 1), (3, 0), (60, 5)])
def test_distance_must_fit(distance: int, joint: int) -> None:
    with pytest.raises(ValueError, match="distance"):
        masks(distance, joint)


@pytest.mark.parametrize("values", [{"phash_distance": 17}, {"dhash_distance": -1}, {"colour_distance": 256}])
def test_settings_that_cannot_work_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        NearImageConfig(**values)


def random_images(num: int, seed: int) -> tuple[list[str], list[str], list[str]]:
    """Hashes a few bits and colours a few steps from one of num / 6 centres: near ones, others, chains."""
    rng = np.random.default_rng(seed)
    centres = [(int(rng.integers(2**62)), int(rng.integers(2**62)), rng.integers(0, 250, 48)) for _ in range(num // 6)]
    columns: tuple[list[str], list[str], list[str]] = ([], [], [])
    for _ in range(num):
        phash, dhash, colour = centres[int(rng.integers(len(centres)))]
        phash ^= sum(1 << int(bit) for bit in rng.choice(62, rng.integers(0, 6), replace=False))
        dhash ^= sum(1 << int(bit) for bit in rng.choice(62, rng.integers(0, 9), replace=False))
        moved = np.clip(colour + rng.integers(-6, 7, 48) * rng.integers(0, 3), 0, 255).astype(np.uint8)
        for column, value in zip(columns, (f"{phash:016x}", f"{dhash:016x}", moved.tobytes().hex()), strict=True):
            column.append(value)
    return columns


def groups_by_definition(hashes: ImageHashes, config: NearImageConfig) -> list[int]:
    names = np.arange(len(hashes.phash))
    near = [are_alike(hashes.take(np.array([one])), hashes, config) for one in names]
    pairs = [(a, b) for a, b in itertools.combinations(names.tolist(), 2) if near[a][b]]
    while any(names[a] != names[b] for a, b in pairs):
        for a, b in pairs:
            names[a] = names[b] = min(names[a], names[b])
    return names.tolist()


@pytest.mark.parametrize(
    "config",
    [
        NearImageConfig(),
        NearImageConfig(phash_distance=0, dhash_distance=None),
        NearImageConfig(phash_distance=None, dhash_distance=6, colour_distance=3),
        NearImageConfig(phash_distance=8, dhash_distance=2, colour_distance=None),
    ],
)
def test_groups_against_brute_force(config: NearImageConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = random_images(150, seed=8)
    columns = tuple([*column, *column[:20]] for column in columns)  # the same facts again, as of a re-saved file
    hashes = image_hashes(*columns)
    expected = groups_by_definition(hashes, config)
    assert near_image_groups(hashes, config).tolist() == expected
    assert expected[150:] == expected[:20]
    monkeypatch.setattr("gobelin.transforms.duplicates.image_duplicates._MANY", 10)  # keys of two chunks
    assert near_image_groups(hashes, config).tolist() == expected
    assert 1 < len(set(expected)) < 150


def test_without_a_hash_nothing_is_near() -> None:
    hashes = image_hashes(["0" * 16] * 2, ["0" * 16] * 2, [GREY] * 2)
    config = NearImageConfig(phash_distance=None, dhash_distance=None)
    assert not are_alike(hashes, hashes, config).any()


@pytest.mark.timeout(20)
def test_hot_buckets_are_cheap() -> None:
    """A placeholder met 100 000 times, and 20 000 different images whose keys happen to agree."""
    copies = image_hashes(["ff00ff00ff00ff00"] * 100_000, ["0" * 16] * 100_000, [GREY] * 100_000)
    assert set(near_image_groups(copies, NearImageConfig()).tolist()) == {0}
    rng = np.random.default_rng(5)
    low = [f"{value:016x}" for value in rng.integers(0, 2**51, 20_000)]
    crowd = image_hashes(low, [f"{value:016x}" for value in rng.integers(0, 2**63, 20_000)], [GREY] * 20_000)
    assert len(set(near_image_groups(crowd, NearImageConfig()).tolist())) > 19_900


def draw(fill: str, ground: str, shift: int = 0) -> Image.Image:
    picture = Image.new("RGB", (300, 200), ground)
    ImageDraw.Draw(picture).ellipse((60 + shift, 30, 180 + shift, 150), fill=fill)
    return picture


def facts_of(picture: Image.Image, kind: str = "PNG", **options: int) -> ImageFacts:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    facts = check_image(buffer.getvalue(), ImageLimits())
    assert isinstance(facts, ImageFacts)
    return facts


def alike(a: ImageFacts, b: ImageFacts, config: NearImageConfig) -> bool:
    one, other = (image_hashes([each.phash], [each.dhash], [each.colour]) for each in (a, b))
    return bool(are_alike(one, other, config)[0])


def test_drawings_that_differ_in_colour_are_told_apart() -> None:
    """The grey of red and of this blue are the same, so pHash and dHash see one picture."""
    red, blue = facts_of(draw("#ff0000", "white")), facts_of(draw("#0036ff", "white"))
    assert hamming(red.phash, blue.phash) <= 4
    assert alike(red, blue, NearImageConfig(colour_distance=None))
    assert not alike(red, blue, NearImageConfig())


@pytest.mark.parametrize(
    ("kind", "options", "size"),
    [("JPEG", {"quality": 40}, (300, 200)), ("WEBP", {"quality": 50}, (300, 200)), ("PNG", {}, (150, 100))],
)
def test_copies_in_another_encoding_or_size_stay_together(
    kind: str, options: dict[str, int], size: tuple[int, int]
) -> None:
    picture = draw("#ff0000", "white")
    copy = facts_of(picture.resize(size, Image.Resampling.LANCZOS), kind, **options)
    assert alike(facts_of(picture), copy, NearImageConfig())


def test_a_moved_shape_is_another_picture() -> None:
    assert not alike(facts_of(draw("red", "white")), facts_of(draw("red", "white", 70)), NearImageConfig())
