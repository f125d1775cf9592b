"""Image tokenizers of several grids: which one a picture takes, and that encoding, sequences and fits hold it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
import torch

from gobelin.data.schemas import CODEBOOK_OF_IMAGE, DECISIONS, DOCUMENTS, IMAGE_CODES, IMAGE_LATENTS
from gobelin.errors import UserError
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.recipe import change, load_recipe
from gobelin.pipeline.stages.sample import _codebook_for
from gobelin.pipeline.stages.tokenize_fit import _config_with_framing, fitted_framing
from gobelin.store.shards import read_folder, read_rows
from gobelin.tokenize import image_tokenizer as encoding
from gobelin.tokenize.codebook import read_codebooks, read_framing
from gobelin.tokenize.decoders import DecoderPool
from gobelin.tokenize.encode import Encoding, _EncodeImages
from gobelin.tokenize.fit import fit_images
from gobelin.tokenize.framing import Framing, parse_grids
from gobelin.tokenize.image_tokenizer import ImageTokenizer, load_image_tokenizer, save_image_tokenizer
from gobelin.tokenize.networks import build_network
from gobelin.tokenize.preprocess import frame, preprocess
from gobelin.tokenize.sequence import ImageItem, ImageSpan, build_vocabulary, decode_document, image_latents
from gobelin.tokenize.shapes import FSQConfig, KLVAEConfig, VQVAEConfig
from gobelin.train.prompt import codebook_to_draw
from gobelin.transforms.images.stored_images import StoredImages
from tests.test_assembly import NUM_SHARDS, assemble
from tests.token_corpora import small_tokenizer

Make = Callable[..., Any]
GRIDS = ((1, 4), (2, 2), (4, 1))
FRAMING = Framing(GRIDS, 8)
FSQ = FSQConfig(image_size=16, channels=8, num_blocks=1, levels=(4, 4, 3))
TRUNK: dict[str, Any] = {"channels": 8, "multipliers": (1, 1, 1, 2), "num_blocks": 1, "norm_groups": 4}


def tokenizer_of(config: Any = FSQ, framing: Framing = FRAMING) -> ImageTokenizer:
    return ImageTokenizer(build_network(config, torch.Generator().manual_seed(0)), framing=framing)


def a_file(height: int, width: int, seed: int = 0) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_a_picture_takes_the_grid_nearest_to_its_shape() -> None:
    framing = Framing(parse_grids(["8x16", "12x12", "16x8"]), 8)
    assert framing.sizes == ((64, 128), (96, 96), (128, 64))
    random = np.random.default_rng(0)
    for height, width in random.integers(1, 3000, (300, 2)).tolist():
        far = [abs(math.log(width / height) - math.log(columns / rows)) for rows, columns in framing.grids]
        assert framing.index_for(height, width) == int(np.argmin(far))
    assert framing.index_for(10**9, 10**9 + 1) == 1
    wide_or_tall = Framing(((8, 16), (16, 8)), 8)
    assert wide_or_tall.index_for(50, 50) == 0  # as near to both: the first
    assert Framing(((16, 8), (8, 16)), 8).index_for(50, 50) == 0
    assert [wide_or_tall.index_for(*size) for size in ((50, 51), (51, 50))] == [0, 1]


@pytest.mark.parametrize("names", [["8"], ["0x4"], ["4x4x4"], ["4x4", "4x4"], ["-1x2"], ["8X16"]])
def test_what_is_no_grid_is_refused(names: list[str]) -> None:
    with pytest.raises(UserError, match="grid"):
        parse_grids(names)


def test_a_letterbox_keeps_all_of_a_picture() -> None:
    picture = PIL.Image.new("RGB", (60, 20), (200, 100, 50))
    wide, tall = (
        preprocess(picture, (16, 16), "letterbox"),
        preprocess(picture.rotate(90, expand=True), (16, 16), "letterbox"),
    )
    assert (wide[:5] == 0).all()
    assert (wide[6:10] == (200, 100, 50)).all()
    assert (wide[-5:] == 0).all()
    assert (tall == wide.transpose(1, 0, 2)).all()
    assert preprocess(PIL.Image.new("RGB", (900, 1), "white"), (8, 8), "letterbox").max() == 255  # at least one line
    assert (preprocess(picture, (16, 16)) == (200, 100, 50)).all()
    for resize in ("crop", "letterbox"):  # an exact fit is the picture
        pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 3), np.uint8)
        assert (frame(PIL.Image.fromarray(pixels), Framing(GRIDS, 8, resize)) == pixels).all()


def test_grids_stand_beside_the_weights(tmp_path: Path) -> None:
    several = tokenizer_of(framing=Framing(GRIDS, 8, "letterbox"))
    save_image_tokenizer(several, str(tmp_path / "several"))
    save_image_tokenizer(tokenizer_of(framing=Framing(((2, 2),), 8)), str(tmp_path / "one"))
    loaded = load_image_tokenizer(str(tmp_path / "several"))
    assert loaded.framing == several.framing == read_framing(str(tmp_path / "several"))
    assert [book.grid for book in read_codebooks(str(tmp_path / "several"))] == list(GRIDS)
    (one,) = read_codebooks(str(tmp_path / "one"))
    assert {book.fingerprint for book in loaded.codebooks} == {one.fingerprint}  # they are the same weights
    assert not {"grids", "resize"} & set(json.loads((tmp_path / "one" / "config.json").read_text()))
    for key, bad in (("grids", "4x4"), ("grids", ["4"]), ("resize", "stretch")):
        described = json.loads((tmp_path / "several" / "config.json").read_text())
        (tmp_path / "several" / "config.json").write_text(json.dumps({**described, key: bad}))
        with pytest.raises(UserError, match=r"grid|resize"):
            read_codebooks(str(tmp_path / "several"))


@pytest.mark.parametrize("passed", [64, 1], ids=["full", "early"])
@pytest.mark.parametrize(
    "config", [FSQ, KLVAEConfig(image_size=16, z_channels=4, latent_channels=2, **TRUNK)], ids=["fsq", "klvae"]
)
def test_pictures_of_all_grids_keep_their_order(config: Any, passed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_BATCHES_PASSED", passed)
    tokenizer = tokenizer_of(config)
    tokenizer.batch_size = 3
    random = np.random.default_rng(0)
    which = [2, *[0] * 5, *random.integers(0, 3, 12).tolist()]  # the first waits for company
    pictures = [random.integers(0, 256, (*FRAMING.sizes[index], 3), np.uint8) for index in which]
    found = list(tokenizer.encode_all(iter(pictures)))
    assert len(found) == len(pictures)
    for index, picture, tokens in zip(which, pictures, found, strict=True):
        alone = tokenizer.encode(picture[None])
        assert (tokens == alone[0]).all()
        assert tokenizer.decode(alone, index).shape == (1, *picture.shape)
    with pytest.raises(ValueError, match="8 x 32 or 16 x 16 or 32 x 8"):
        tokenizer.encode(np.zeros((1, 8, 8, 3), np.uint8))


def test_decoding_processes_give_each_picture_its_grid() -> None:
    shapes = [(10, 50), (30, 30), (50, 10), (31, 30)]
    pictures = [(place, (a_file(*shape), (), 0)) for place, shape in enumerate(shapes)]
    pictures.insert(1, (9, (b"no picture", (), 0)))
    pool = DecoderPool([FRAMING], 1)
    try:
        there = list(pool.decoded(iter(pictures)))
    finally:
        pool.close()
    here = list(DecoderPool([FRAMING]).decoded(iter(pictures)))
    assert [key for key, _ in there] == [key for key, _ in here] == [0, 9, 1, 2, 3]
    for (_, one), (_, other) in zip(there, here, strict=True):
        assert one == other if not isinstance(one, np.ndarray) else (one == np.asarray(other)).all()
    assert [found.shape[:2] for _, found in here if isinstance(found, np.ndarray)] == [
        (8, 32),
        (16, 16),
        (32, 8),
        (16, 16),
    ]


def test_the_worker_says_which_grid_an_image_has(tmp_path: Path, write_data_set: Make) -> None:
    tokenizer = tokenizer_of()
    save_image_tokenizer(tokenizer, str(tmp_path / "tokenizer"))
    kinds = {"image_id": pa.string(), "data": pa.binary(), "urls": pa.list_(pa.string())}
    schema = pa.schema([*kinds.items(), ("width", pa.int32()), ("height", pa.int32())])
    shapes = {"a": (20, 20), "b": (50, 9), "c": (9, 50), "d": (20, 21)}
    rows = [
        {
            "image_id": name,
            "data": a_file(*shape, ord(name)),
            "urls": [f"https://a.example/{name}"],
            "height": shape[0],
            "width": shape[1],
        }
        for name, shape in shapes.items()
    ]
    write_data_set(tmp_path / "images", rows, schema, 1, "image_id")
    names = [str(tmp_path / name) for name in ("tokenizer", "images", "codes", "failed")]
    step = _EncodeImages(Encoding(names[0], StoredImages(names[1], None, 1), *names[2:]))
    step.setup()
    (path,) = step.process(([0], [(0, name) for name in shapes]))
    read = list(read_rows(path))
    assert [(row["image_id"], row["codebook"]) for row in read] == [("a", 1), ("b", 2), ("c", 0), ("d", 1)]
    for row in read:
        data = a_file(*shapes[row["image_id"]], ord(row["image_id"]))
        pixels = frame(PIL.Image.open(io.BytesIO(data)), FRAMING)
        assert row["codes"] == tokenizer.encode(pixels[None])[0].tolist()


@pytest.mark.parametrize("at_once", [None, 5], ids=["one-batch", "batches"])
@pytest.mark.parametrize("is_continuous", [False, True], ids=["codes", "latents"])
def test_sequences_hold_images_of_several_grids(
    is_continuous: bool, at_once: int | None, tmp_path: Path, write_data_set: Make, a_document: Make, plan_here: Make
) -> None:
    grids = ((1, 4), (2, 2), (3, 1))
    config = KLVAEConfig(image_size=16, latent_channels=2, **TRUNK) if is_continuous else FSQ
    tokenizer, words = tokenizer_of(config, Framing(grids, 8)), small_tokenizer()
    vocabulary = build_vocabulary(words, tokenizer.codebooks)
    assert vocabulary.size == vocabulary.image_offset + config.num_codes  # one range for all grids
    rows, expected = [], {}
    for number in range(12):
        book = vocabulary.codebooks[number % 3]
        codes = [0 if is_continuous else (5 * number + place) % 48 for place in range(book.tokens_per_image)]
        row = {"image_id": f"i{number}", "codes": codes, "codebook": number % 3}
        if is_continuous:
            row["latents"] = [float(number + place) for place in range(2 * len(codes))]
        rows.append(row)
        expected[f"i{number}"] = (row["codebook"], tuple(codes), row.get("latents"))
    documents = [a_document(f"{n:032x}", [f"a square {n}", (f"i{n}",), (f"i{(n + 1) % 12}",)]) for n in range(12)]
    schema = (IMAGE_LATENTS if is_continuous else IMAGE_CODES).append(CODEBOOK_OF_IMAGE)
    write_data_set(tmp_path / "documents", documents, DOCUMENTS, NUM_SHARDS)
    write_data_set(tmp_path / "codes", rows, schema, NUM_SHARDS, "image_id")
    write_data_set(tmp_path / "failed", [], DECISIONS, NUM_SHARDS, "image_id")
    made = assemble(tmp_path, "made", plan_here(), at_once, vocabulary)
    seen = 0
    for row in read_folder(str(made / "shards")):
        spans = [ImageSpan(**span) for span in row["image_spans"]]
        items = [
            item for item in decode_document(row["tokens"], spans, vocabulary, words) if isinstance(item, ImageItem)
        ]
        books = [vocabulary.codebooks[item.codebook] for item in items]
        latents = image_latents(row["latents"], books) if is_continuous else [None] * len(items)
        for item, found in zip(items, latents, strict=True):
            numbers = None if found is None else found.ravel().tolist()
            assert (item.codebook, item.codes, numbers) == expected[str(item.image_id)]
            seen += 1
    assert seen == 24


def test_a_recipe_names_the_grids(tmp_path: Path) -> None:
    base = load_recipe("gobelin", ("score.clip=null", "score.faces=null"))
    recipe = change(
        base,
        (
            "tokenize.grids=[2x6, 3x3]",
            "tokenize.resize=letterbox",
        ),
    )
    assert fitted_framing(recipe.tokenize.image_tokenizers()[""]) == Framing(((2, 6), (3, 3)), 8, "letterbox")
    assert fitted_framing(base.tokenize.image_tokenizers()[""]) == Framing(((7, 7),), 8)
    save_image_tokenizer(tokenizer_of(), str(tmp_path))
    given = {**json.loads((tmp_path / "config.json").read_text())}
    for changes, expected in (
        ([], FRAMING),
        (["tokenize.grids=[2x6]"], Framing(((2, 6),), 8)),
        (["tokenize.grids=[2x2]", "tokenize.resize=letterbox"], Framing(((2, 2),), 8, "letterbox")),
    ):
        changed = change(
            base,
            (
                f"tokenize.image_tokenizer={tmp_path}",
                *changes,
            ),
        )
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "config.json").write_bytes(_config_with_framing(changed.tokenize.image_tokenizers()[""]))
        assert read_framing(str(tmp_path / "run")) == expected
        written = json.loads((tmp_path / "run" / "config.json").read_text())
        assert {key: written[key] for key in given if key not in ("grids", "resize")} == {
            key: value for key, value in given.items() if key not in ("grids", "resize")
        }
    with pytest.raises(UserError, match="ROWSxCOLUMNS"):
        change(base, ("tokenize.grids=[12x]",))


def test_a_drawn_picture_has_the_grid_that_is_asked_for() -> None:
    vocabulary = build_vocabulary(small_tokenizer(), tokenizer_of().codebooks)
    tall = ImageItem(None, (0,) * 4, codebook=2)
    assert _codebook_for(None, None, vocabulary) == 0
    assert _codebook_for(None, tall, vocabulary) == 2
    assert _codebook_for("2x2", tall, vocabulary) == 1
    with pytest.raises(UserError, match="no codebook is called '3x3'; there are fsq:1x4, fsq:2x2"):
        _codebook_for("3x3", None, vocabulary)
    assert codebook_to_draw(["a square", tall, "and another"], vocabulary, None) == 2  # the shape of the last picture
    assert codebook_to_draw(["a square", tall], vocabulary, "fsq:2x2") == 1
    assert codebook_to_draw(["a square"], vocabulary, None) == 0


def test_a_fit_learns_all_grids() -> None:
    config = VQVAEConfig(image_size=(8, 32), channels=16, num_blocks=1, num_codes=16, code_width=4)
    random = np.random.default_rng(0)
    flat = [
        np.broadcast_to(random.integers(0, 256, 3), (*FRAMING.sizes[number % 3], 3)).astype(np.uint8)
        for number in range(60)
    ]
    network, metrics = fit_images(flat, config, seed=0, steps=60)
    tokenizer = ImageTokenizer(network, framing=FRAMING)
    assert metrics.psnr_db > 13
    for index, picture in enumerate(flat[:3]):
        decoded = tokenizer.decode(tokenizer.encode(picture[None]), index)
        assert np.abs(decoded.astype(int) - picture).mean() < 60
    with pytest.raises(ValueError, match="multiples of 8"):
        fit_images([np.zeros((8, 12, 3), np.uint8)] * 4, config, seed=0, steps=1)


def test_a_fit_with_grids_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    for number in range(30):
        height, width = ((9, 40), (20, 20), (40, 9))[number % 3]
        (pictures / f"{number}.png").write_bytes(a_file(height, width, number))
    line = [
        "fit-tokenizer",
        str(pictures),
        "--output",
        str(out),
        "--steps",
        "4",
        "--threads",
        "1",
        "--set",
        "channels=8",
    ]
    assert main([*line, "--size", "16", "--grids", "2x2"]) == 2
    assert main([*line, "--grids", "2x2,2x2"]) == 2
    capsys.readouterr()
    assert main([*line, "--set", "num_codes=16", "--grids", "1x4,2x2,4x1", "--resize", "letterbox"]) == 0
    assert read_framing(str(out)) == Framing(GRIDS, 8, "letterbox")
    assert main(["tokenizer", "show", str(out), str(pictures), "--page", str(tmp_path / "a.html")]) == 0
    assert "1 x 4 = 4, 2 x 2 = 4, 4 x 1 = 4 tokens an image" in capsys.readouterr().out
