"""Near images are found by their keys, and what differs in shape or colour is not: against brute force."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from gobelin.errors import UserError
from gobelin.transforms.duplicates.image_duplicates import (
    NearImageConfig,
    are_alike,
    hamming,
    image_hashes,
    image_keys,
    layouts,
    masks,
    near_image_groups,
    read_colours,
)
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, check_image
from gobelin.transforms.images.thumbnail import NUM_CELLS
from tests.naive_image_groups import COLUMNS, naive_image_groups

HASHES = st.integers(0, 2**64 - 1)
GREY = "808080" * 16
WHITE = f"{300:08x}{200:08x}" + "ff" * NUM_CELLS


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
    one_keys = image_keys(f"{phash:016x}", f"{dhash:016x}", GREY, config)
    other_keys = image_keys(f"{other[0]:016x}", f"{other[1]:016x}", GREY, config)
    assert set(one_keys) & set(other_keys)


@pytest.mark.parametrize(("distance", "joint"), [(-1, 1), (64, 1), (3, 0), (60, 5)])
def test_distance_must_fit(distance: int, joint: int) -> None:
    with pytest.raises(ValueError, match="distance"):
        masks(distance, joint)


@pytest.mark.parametrize("values", [{"phash_distance": 17}, {"dhash_distance": -1}, {"colour_distance": 256}])
def test_settings_that_cannot_work_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        NearImageConfig(**values)


def random_rows(num: int, seed: int) -> list[dict[str, str]]:
    """Hashes a few bits, colours a few steps and greys a little from one of num / 6 centres: near ones, others, chains,
    pictures of three sizes, grey ones among them."""
    rng = np.random.default_rng(seed)
    centres = [
        (
            int(rng.integers(2**62)),
            int(rng.integers(2**62)),
            rng.integers(0, 250, 48),
            rng.integers(0, 250, (2, NUM_CELLS)),
        )
        for _ in range(num // 6)
    ]
    rows = []
    for number in range(num):
        phash, dhash, colour, greys = centres[int(rng.integers(len(centres)))]
        phash ^= sum(1 << int(bit) for bit in rng.choice(62, rng.integers(0, 6), replace=False))
        dhash ^= sum(1 << int(bit) for bit in rng.choice(62, rng.integers(0, 9), replace=False))
        moved = np.clip(colour + rng.integers(-6, 7, 48) * rng.integers(0, 3), 0, 255).astype(np.uint8)
        if rng.random() < 0.3:
            light = moved.reshape(16, 3).astype(float) @ [0.299, 0.587, 0.114]
            moved = np.repeat(np.rint(light), 3).astype(np.uint8)
        noisy = np.clip(greys[int(rng.integers(2))] + rng.integers(-12, 13, NUM_CELLS), 0, 255).astype(np.uint8)
        side = int(rng.choice([40, 120, 300]))
        rows.append({"image_id": f"{number:04}", "phash": f"{phash:016x}", "dhash": f"{dhash:016x}",
                     "colour": moved.tobytes().hex(),
                     "thumbnail": f"{side:08x}{side:08x}{noisy.tobytes().hex()}"})  # fmt: skip
    return rows


@pytest.mark.parametrize(
    "config",
    [
        NearImageConfig(),
        NearImageConfig(grey_copies=True),
        NearImageConfig(verify=False),
        NearImageConfig(phash_distance=0, dhash_distance=None),
        NearImageConfig(phash_distance=None, dhash_distance=6, colour_distance=3),
        NearImageConfig(phash_distance=8, dhash_distance=2, colour_distance=None),
        NearImageConfig(phash_distance=None, dhash_distance=None, layout_distance=4),
    ],
)
def test_groups_against_brute_force(config: NearImageConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(150, seed=8)
    rows += [{**row, "image_id": f"{150 + at:04}"} for at, row in enumerate(rows[:20])]  # the facts of a re-saved file
    expected = [int(group) for group in naive_image_groups(rows, config).values()]
    hashes = image_hashes(*([row[name] for row in rows] for name in COLUMNS))
    assert near_image_groups(hashes, config).tolist() == expected
    assert expected[150:] == expected[:20]
    monkeypatch.setattr("gobelin.transforms.duplicates.image_duplicates._MANY", 10)  # keys of two chunks
    assert near_image_groups(hashes, config).tolist() == expected
    assert 1 < len(set(expected)) < 151


def test_without_a_hash_nothing_is_near() -> None:
    hashes = image_hashes(["0" * 16] * 2, ["0" * 16] * 2, [GREY] * 2, [WHITE] * 2)
    config = NearImageConfig(phash_distance=None, dhash_distance=None)
    assert not are_alike(hashes, hashes, config).any()
    assert are_alike(hashes, hashes, NearImageConfig()).all()


def test_thumbnails_of_another_version_are_refused() -> None:
    with pytest.raises(UserError, match="another version of gobelin"):
        image_hashes(["0" * 16], ["0" * 16], [GREY], ["0" * 2320])


def test_no_images_are_no_groups() -> None:
    nothing = image_hashes([], [], [], [])
    assert near_image_groups(nothing, NearImageConfig()).tolist() == []
    assert are_alike(nothing, nothing, NearImageConfig()).tolist() == []


def test_thumbnails_that_were_not_read_are_asked_for() -> None:
    hashes = image_hashes(["0" * 16] * 2, ["0" * 16] * 2, [GREY] * 2)
    for work in (
        lambda: are_alike(hashes, hashes, NearImageConfig()),
        lambda: near_image_groups(hashes, NearImageConfig()),
    ):
        with pytest.raises(ValueError, match="thumbnails were not read"):
            work()


@pytest.mark.timeout(60)
def test_hot_buckets_are_cheap() -> None:
    """A placeholder met 30 000 times, and 20 000 different images whose keys happen to agree."""
    copies = image_hashes(["ff00ff00ff00ff00"] * 30_000, ["0" * 16] * 30_000, [GREY] * 30_000, [WHITE] * 30_000)
    assert set(near_image_groups(copies, NearImageConfig()).tolist()) == {0}
    rng = np.random.default_rng(5)
    low = [f"{value:016x}" for value in rng.integers(0, 2**51, 20_000)]
    dhash = [f"{value:016x}" for value in rng.integers(0, 2**63, 20_000)]
    crowd = image_hashes(low, dhash, [GREY] * 20_000, [WHITE] * 20_000)
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
    one, other = (image_hashes(*([getattr(each, name)] for name in COLUMNS)) for each in (a, b))
    return bool(are_alike(one, other, config)[0])


def test_drawings_that_differ_in_colour_are_told_apart() -> None:
    """The grey of red and of this blue are the same, so pHash and dHash see one picture."""
    red, blue = facts_of(draw("#ff0000", "white")), facts_of(draw("#0050ff", "white"))
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


def position(squares: list[int], size: int = 24) -> Image.Image:
    """A board with pieces on some of its 64 squares."""
    picture = Image.new("RGB", (8 * size, 8 * size), "#f0d9b5")
    pen = ImageDraw.Draw(picture)
    for square in range(64):
        x, y = square % 8 * size, square // 8 * size
        if (square // 8 + square) % 2:
            pen.rectangle((x, y, x + size - 1, y + size - 1), fill="#b58863")
        if square in squares:
            pen.ellipse((x + 4, y + 4, x + size - 5, y + size - 5), fill="black" if square % 3 else "white")
    return picture


def sums(numbers: list[int]) -> Image.Image:
    """A table of numbers."""
    picture = Image.new("RGB", (360, 40 * len(numbers)), "white")
    pen = ImageDraw.Draw(picture)
    for row, number in enumerate(numbers):
        pen.line((0, row * 40, 360, row * 40), fill="grey")
        for column in range(4):
            pen.text(
                (90 * column + 8, row * 40 + 10),
                f"{number * (column + 3)}",
                fill="black",
                font=ImageFont.load_default(16),
            )
    return picture


def curves(values: list[float], fill: str = "blue") -> Image.Image:
    """A plot of one line in a frame."""
    picture = Image.new("RGB", (400, 300), "white")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((30, 10, 390, 280), outline="black")
    pen.line(
        [(30 + 360 * at / (len(values) - 1), 280 - 270 * value) for at, value in enumerate(values)], fill=fill, width=2
    )
    return picture


WAVE = [0.5, 0.6, 0.55, 0.7, 0.62, 0.5, 0.42, 0.5, 0.58]
NUMBERS = [231, 187, 642, 309, 518, 774]
SERIES = {
    "one piece moved": (position([3, 12, 18, 27, 33, 40, 52, 60]), position([3, 12, 19, 27, 33, 40, 52, 60])),
    "one row of numbers changed": (sums(NUMBERS), sums([*NUMBERS[:3], 389, *NUMBERS[4:]])),
    "another end of a curve": (curves(WAVE), curves([*WAVE[:6], 0.52, 0.41, 0.36])),
}


@pytest.mark.parametrize("pair", SERIES.values(), ids=SERIES)
def test_drawings_of_a_series_are_told_apart_and_their_copies_found(pair: tuple[Image.Image, Image.Image]) -> None:
    """Also where a copy is encoded and resized; and each copy joins its own original."""
    found, owners = [], []
    for owner, picture in enumerate(pair):
        half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
        double = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BICUBIC)
        found += [facts_of(picture), facts_of(picture, "JPEG", quality=75), facts_of(picture, "WEBP", quality=80),
                  facts_of(picture.quantize(64), "GIF"), facts_of(half), facts_of(double, "JPEG")]  # fmt: skip
        owners += [owner] * 6
    assert not alike(found[0], found[6], NearImageConfig())
    order = [7, 3, 10, 0, 5, 9, 1, 11, 6, 2, 4, 8]
    hashes = image_hashes(*([getattr(found[at], name) for at in order] for name in COLUMNS))
    groups = near_image_groups(hashes, NearImageConfig())
    assert len(set(groups.tolist())) == 2
    assert len({(group, owners[at]) for group, at in zip(groups.tolist(), order, strict=True)}) == 2


def test_near_layouts_share_a_key() -> None:
    rng = np.random.default_rng(3)
    config = NearImageConfig(phash_distance=None, dhash_distance=None)
    num_near = 0
    for _ in range(200):
        colour = rng.integers(0, 250, 48)
        moved = np.clip(colour + rng.integers(-9, 10, 48), 0, 255)
        one, other = (each.astype(np.uint8).tobytes().hex() for each in (colour, moved))
        a, b = layouts(read_colours([one, other])).tolist()
        keys = [image_keys("0" * 16, "0" * 16, each, config) for each in (one, other)]
        if (a ^ b).bit_count() <= 2:
            num_near += 1
            assert set(keys[0]) & set(keys[1])
    assert num_near > 20
    assert image_keys("0" * 16, "0" * 16, GREY, config) == [], "a picture of one colour has no layout"


def faint(seed: int) -> Image.Image:
    """Nearly of one colour: soft light, as of a wall."""
    light = Image.fromarray(np.random.default_rng(seed).integers(196, 226, (4, 5)).astype(np.uint8))
    return light.resize((400, 300), Image.Resampling.BICUBIC).convert("RGB")


def test_copies_of_pictures_of_nearly_one_colour_are_found() -> None:
    found, originals = [], []
    for place in range(0, 36, 3):
        picture = faint(place)
        third = picture.resize((133, 100), Image.Resampling.LANCZOS)
        found += [facts_of(picture), facts_of(picture, "JPEG", quality=20), facts_of(third, "WEBP", quality=60)]
        originals += [place] * 3
    hashes = image_hashes(*([getattr(each, name) for each in found] for name in COLUMNS))
    by_hashes, by_layout_too = (
        near_image_groups(hashes, NearImageConfig(layout_distance=distance)) for distance in (None, 2)
    )
    assert set(by_layout_too.tolist()) >= set(originals), "different ones are never joined"
    assert (by_hashes == originals).sum() < (by_layout_too == originals).sum() >= 35


def table_of(numbers: list[int]) -> Image.Image:
    """Rows of small numbers, as a page shows them."""
    picture = Image.new("RGB", (420, 20 * (len(numbers) // 5)), "white")
    pen = ImageDraw.Draw(picture)
    for at, number in enumerate(numbers):
        pen.text(
            (84 * (at % 5) + 8, 20 * (at // 5) + 3),
            f"{number / 100:.2f}",
            fill="black",
            font=ImageFont.load_default(13),
        )
    return picture


def test_small_copies_of_a_table_join_their_own_original_though_another_was_saved_alike() -> None:
    """The originals are JPEG files, and copies too: their encoders' noise is alike, the tables differ in one number."""
    numbers = np.random.default_rng(4).integers(1000, 10000, 90).tolist()
    tables = [numbers, [*numbers[:37], 4821, *numbers[38:]], [*numbers[:61], 9137, *numbers[62:]]]
    found = []
    for quality, table in zip((75, 90, 60), tables, strict=True):
        picture = table_of(table)
        small = picture.resize((picture.width * 2 // 5, picture.height * 2 // 5), Image.Resampling.LANCZOS)
        large = picture.resize((picture.width * 3 // 2, picture.height * 3 // 2), Image.Resampling.BICUBIC)
        found += [facts_of(picture, "JPEG", quality=quality), facts_of(picture), facts_of(small, "JPEG", quality=60),
                  facts_of(small, "WEBP", quality=60), facts_of(large, "JPEG", quality=60)]  # fmt: skip
    hashes = image_hashes(*([getattr(each, name) for each in found] for name in COLUMNS))
    assert near_image_groups(hashes, NearImageConfig()).tolist() == [0] * 5 + [5] * 5 + [10] * 5


@pytest.mark.parametrize("side", [24, 36])
def test_tiny_copies_of_coloured_figures_are_found(side: int) -> None:
    rng = np.random.default_rng(6)
    cells = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    picture = Image.fromarray(np.kron(cells, np.ones((20, 20, 1), np.uint8)))
    tiny = picture.resize((side, side), Image.Resampling.LANCZOS)
    other = Image.fromarray(np.kron(np.roll(cells, 1, 1), np.ones((20, 20, 1), np.uint8)))
    assert alike(facts_of(picture), facts_of(tiny, "JPEG", quality=75), NearImageConfig())
    assert not alike(facts_of(other), facts_of(tiny, "JPEG", quality=75), NearImageConfig())


def test_a_chain_of_small_steps_is_no_group() -> None:
    """Each picture is nearly the one before it, and the last is another than the first."""
    steps = [facts_of(draw("red", "white", shift)) for shift in range(0, 80, 2)]
    hashes = image_hashes(*([getattr(step, name) for step in steps] for name in COLUMNS))
    by_hashes = near_image_groups(hashes, NearImageConfig(verify=False, phash_distance=12, dhash_distance=12))
    groups = near_image_groups(hashes, NearImageConfig(phash_distance=12, dhash_distance=12)).tolist()
    assert by_hashes[0] == by_hashes[-1]
    assert len(set(groups)) > 5
    assert groups[0] != groups[-1]


def test_grey_copies_join_where_asked_for() -> None:
    red, blue = facts_of(draw("#ff0000", "white")), facts_of(draw("#0050ff", "white"))  # of one brightness
    grey = facts_of(draw("#ff0000", "white").convert("L"), "JPEG", quality=85)
    asked = NearImageConfig(grey_copies=True)
    assert not alike(red, grey, NearImageConfig())
    assert alike(red, grey, asked)
    assert alike(grey, blue, asked)
    assert not alike(red, blue, asked)
    assert not alike(facts_of(draw("#ff0000", "white", 70)), grey, asked)
    hashes = image_hashes(*([getattr(each, name) for each in (grey, red, blue)] for name in COLUMNS))
    groups = near_image_groups(hashes, asked).tolist()
    assert groups[1] != groups[2], "the grey copy joins one of them, and does not connect them"
    assert groups[0] in groups[1:]
