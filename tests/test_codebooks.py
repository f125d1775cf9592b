"""Several image tokenizers in one recipe: each picture goes to one by its size, and everything after knows which."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
import torch

from examples.sample_crawl.make_crawl import make_crawl
from gobelin.errors import UserError
from gobelin.pipeline.ask.model_folder import open_model
from gobelin.pipeline.chat.replies import read_question, reply
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.recipe import RecipeError, load_recipe
from gobelin.pipeline.run.open_run import recipe_of
from gobelin.store.shards import read_folder
from gobelin.tokenize.codebook import (
    Codebook,
    read_codebooks,
    read_config,
    read_frames,
    read_members,
    write_members,
)
from gobelin.tokenize.framing import Frames, Framing
from gobelin.tokenize.image_tokenizer import ImageTokenizer, load_image_tokenizer, save_image_tokenizer
from gobelin.tokenize.image_tokenizers import ImageTokenizers, load_image_tokenizers
from gobelin.tokenize.networks import build_network
from gobelin.tokenize.preprocess import decode
from gobelin.tokenize.sequence import ImageItem, ImageSpan, decode_document
from gobelin.tokenize.shapes import FSQConfig, KLVAEConfig, TokenizerConfig
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import Vocabulary, check_ranges, find_codebooks
from tests.test_token_layouts import definition

torch.set_num_threads(1)

LEAST = 100
"""Pixels of the shorter side from which on a picture is none of the thumbnails."""


def a_file(height: int, width: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture."""
    with PIL.Image.open(path) as picture:
        return picture.size


def tokenizer_of(name: str, grids: tuple[tuple[int, int], ...], levels: int = 4, seed: int = 0) -> ImageTokenizer:
    """An FSQ with fresh weights, tokens of 8 px."""
    rows, columns = grids[0]
    config = FSQConfig(image_size=(8 * rows, 8 * columns), channels=8, num_blocks=1, levels=(levels, 4))
    network = build_network(config, torch.Generator().manual_seed(seed))
    return ImageTokenizer(network, name=name, framing=Framing(grids, 8))


def test_a_picture_goes_to_the_tokenizer_whose_least_side_it_reaches() -> None:
    frames = Frames((Framing(((4, 4), (2, 6)), 8), Framing(((1, 1),), 8), Framing(((2, 2),), 16)), (100, 0, 400))
    sizes = [(99, 4000), (100, 100), (399, 400), (400, 400), (1, 1)]
    assert [frames.tokenizer_for(*size) for size in sizes] == [1, 0, 0, 2, 1]
    assert [frames.tokenizer_for(*size[::-1]) for size in sizes] == [1, 0, 0, 2, 1]
    found = [frames.codebook_of(*each) for each in ((0, (32, 32)), (0, (16, 48)), (1, (8, 8)), (2, (32, 32)))]
    assert found == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="images must be 8 x 8"):
        frames.codebook_of(1, (32, 32))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{a: {min_side_px: 5}, b: {min_side_px: 9}}", "one must have min_side_px 0, for pictures of less than 5 px"),
        ("{a: {}, b: {}}", "a and b both have min_side_px 0"),
        ("{a: {min_side_px: -1}}", "min_side_px must be at least 0"),
        ("{A/b: {}}", "a codebook is named by"),
        ("{a: {ids: 'no spaces'}}", "a codebook is named by"),
        ("{a: {}, b: {min_side_px: 9, ids: a}}", "must be the same tokenizer"),
        ("{a: {grids: [4x]}}", "ROWSxCOLUMNS"),
        ("{a: {vqvae: {patch_sise: 8}}}", "patch_sise"),
        ("{a: {min_side: 8}}", "min_side"),
        (f"{{{', '.join(f'c{n}: {{min_side_px: {n}}}' for n in range(9))}}}", "at most 8"),
    ],
)
def test_recipes_that_leave_open_which_picture_goes_where_are_refused(given: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_recipe("gobelin", (f"tokenize.codebooks={given}",))


@pytest.mark.parametrize("other", ["image_tokenizer=somewhere", "grids=[2x2]", "resize=crop", "vqvae.num_codes=9"])
def test_what_images_become_is_said_once(other: str) -> None:
    with pytest.raises(RecipeError, match="both choose the image tokenizer"):
        load_recipe("gobelin", ("tokenize.codebooks={a: {}}", f"tokenize.{other}"))


def _several(folder: Path) -> ImageTokenizers:
    """Saves two tokenizers as several; two grids of 32 x 32 and 16 x 48 px, and one of 16 x 16 px."""
    made = [tokenizer_of("pictures", ((4, 4), (2, 6))), tokenizer_of("thumbnails", ((2, 2),), levels=5, seed=1)]
    for each in made:
        save_image_tokenizer(each, str(folder / each.codebook.name))
    write_members(str(folder), {"pictures": LEAST, "thumbnails": 0})
    return ImageTokenizers(made, [LEAST, 0])


def test_several_tokenizers_lie_in_one_folder(tmp_path: Path) -> None:
    made = _several(tmp_path)
    loaded = load_image_tokenizers(str(tmp_path))
    assert loaded.codebooks == made.codebooks == read_codebooks(str(tmp_path))
    assert loaded.frames == made.frames == read_frames(str(tmp_path))
    assert [book.grid for book in loaded.codebooks] == [(4, 4), (2, 6), (2, 2)]
    assert [(Path(member.folder).name, member.min_side_px) for member in read_members(str(tmp_path))] == [
        ("pictures", LEAST), ("thumbnails", 0),
    ]  # fmt: skip
    for load in (load_image_tokenizer, read_config):
        with pytest.raises(UserError, match=r"several image tokenizers: give the folder of one \(pictures, thumbnails"):
            load(str(tmp_path))
    for broken in (
        {},
        {"codebooks": []},
        {"codebooks": [{"folder": "pictures", "min_side_px": 3}]},
        {"codebooks": [{"folder": "../pictures", "min_side_px": 0}]},
    ):
        (tmp_path / "config.json").write_text(json.dumps({"kind": "gobelin-several", **broken}))
        with pytest.raises(UserError, match="does not say which image tokenizers"):
            read_codebooks(str(tmp_path))


def test_pictures_of_several_tokenizers_keep_their_order(tmp_path: Path) -> None:
    tokenizers = _several(tmp_path)
    for each in tokenizers.tokenizers:
        each.batch_size = 3
    random = np.random.default_rng(0)
    sizes = [(100, 100), (20, 20), (130, 400), (99, 300), *random.integers(20, 200, (20, 2)).tolist()]
    given, expected = [], []
    for number, (height, width) in enumerate(sizes):
        data = a_file(height, width, number)
        which = tokenizers.frames.tokenizer_for(height, width)
        given.append((which, decode(data, (), tokenizers.frames.framings[which])))
        expected.append(tokenizers.encode(data, height, width))
    assert {codebook for codebook, _ in expected} == {0, 1, 2}
    for tokens, (codebook, alone) in zip(tokenizers.encode_all(iter(given)), expected, strict=True):
        assert (tokens == alone).all()
        assert tokenizers.decode(alone[None], codebook).shape[1:3] in ((32, 32), (16, 48), (16, 16))
    assert [made["codebook"] for made in tokenizers.made_how()] == ["pictures", "thumbnails"]


def _book(name: str, fingerprint: str, grid: tuple[int, int] = (2, 2), latents: int = 0) -> Codebook:
    rows, columns = grid
    kind = "klvae" if latents else "fsq"
    return Codebook(name=name, kind=kind, num_codes=16, rows=rows, columns=columns, fingerprint=fingerprint,
                    latent_channels=latents)  # fmt: skip


def test_two_fingerprints_in_one_range_are_both_named() -> None:
    check_ranges([_book("a", "1" * 64), _book("a", "1" * 64, (1, 4)), _book("b", "2" * 64)])
    with pytest.raises(UserError, match=f"share the ids of 'a': {'1' * 64} and {'2' * 64}"):
        check_ranges([_book("a", "1" * 64), _book("a", "2" * 64, (1, 4))])
    with pytest.raises(UserError, match="either codes or latents"):
        check_ranges([_book("a", "1" * 64), _book("b", "2" * 64, latents=4)])


def test_codebooks_are_found_by_name_grid_or_both() -> None:
    books = [_book("a", "1" * 64), _book("a", "1" * 64, (1, 4)), _book("b", "2" * 64)]
    assert [find_codebooks(books, asked) for asked in ("a", "b", "2x2", "a:1x4")] == [[0, 1], [2], [0, 2], [1]]
    for asked in ("", "c", "a:", "4x4", "b:1x4"):
        with pytest.raises(UserError, match="there are a:2x2, a:1x4, b:2x2"):
            find_codebooks(books, asked)


def test_codes_and_latents_do_not_mix(tmp_path: Path) -> None:
    configs: dict[str, TokenizerConfig] = {
        "a": FSQConfig(image_size=16, channels=8, num_blocks=1),
        "b": KLVAEConfig(image_size=16, channels=8, multipliers=(1, 2), num_blocks=1, norm_groups=4),
    }
    for name, config in configs.items():
        network = build_network(config, torch.Generator().manual_seed(0))
        save_image_tokenizer(ImageTokenizer(network, name=name), str(tmp_path / name))
    write_members(str(tmp_path), {"a": 9, "b": 0})
    with pytest.raises(UserError, match="its image tokenizers make both"):
        load_image_tokenizers(str(tmp_path))


SHAPE = "patch_size: 8, num_codes: 16, channels: 8, num_blocks: 1"
RECIPE = f"""\
extends: {Path(__file__).parents[1] / "examples" / "demo" / "recipe.yaml"}
name: several
num_shards: 2
score: {{clip: null}}
select: {{image: {{min_clip_near: null, min_clip_caption: null, min_clip_alt: null, min_side_px: 20}}}}
tokenize:
  text_vocab_size: 400
  vqvae_steps: 6
  codebooks:
    pictures: {{min_side_px: {LEAST}, grids: [4x4, 2x6], vqvae: {{image_size: 32, {SHAPE}}}}}
    thumbnails: {{vqvae: {{image_size: 16, {SHAPE}}}}}
train: {{steps: 3, batch_rows: 2, row_tokens: 128, threads: 1, validation_ratio: 0.3,
        model: {{width: 16, num_layers: 1, num_heads: 2, hidden: 32}}}}
sample: {{num_captions: 2, images_per_caption: 1, num_documents: 1, max_document_tokens: 64}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "several.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crawl")
    make_crawl(folder, seed=3, pages=40)
    return folder


@pytest.fixture(scope="module")
def output(recipe: Path, crawl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several") / "out"
    assert _run(recipe, crawl, folder, "--workers", "2") == 0
    return folder


def _run(recipe: Path, crawl: Path, output: Path, *more: str) -> int:
    archives = str(crawl / "*.warc.gz")
    return main(["run", "--recipe", str(recipe), "--input", archives, "--output", str(output), "--quiet", *more])


def _codes(output: Path) -> dict[str, tuple[int, tuple[int, ...]]]:
    """(codebook, codes) of each image."""
    rows = read_folder(str(output / "tokenize" / "codes"))
    return {row["image_id"]: (row["codebook"], tuple(row["codes"])) for row in rows}


@pytest.mark.slow
def test_a_run_gives_each_picture_the_codes_of_its_tokenizer(output: Path) -> None:
    tokenizers = load_image_tokenizers(str(output / "tokenize" / "image_tokenizer"))
    copies = {row["image_id"]: row["data"] for row in read_folder(str(output / "extract" / "copies"))}
    codes, compared = _codes(output), 0
    for row in read_folder(str(output / "extract" / "images")):
        if row["image_id"] not in codes:
            continue
        is_large = min(row["width"], row["height"]) >= LEAST
        codebook, expected = tokenizers.encode(
            copies.get(row["image_id"], row["data"]), row["height"], row["width"]
        )  # fmt: skip
        assert (codebook < 2) is is_large
        assert codes[row["image_id"]] == (codebook, tuple(expected.tolist()))
        compared += 1
    assert compared == len(codes) > 100
    assert set(Counter(codebook for codebook, _ in codes.values())) >= {0, 2}


@pytest.mark.slow
def test_documents_come_back_with_the_codebook_of_each_image(output: Path) -> None:
    tokens, codes = output / "tokenize", _codes(output)
    vocabulary, words = Vocabulary.load(str(tokens)), TextTokenizer.load(str(tokens))
    assert [book.name for book in vocabulary.codebooks] == ["pictures", "pictures", "thumbnails"]
    assert vocabulary.special_tokens[-2:] == ("<|image:pictures:2x6|>", "<|image:thumbnails:2x2|>")
    assert vocabulary.size == vocabulary.image_offset + 16 + 16
    found = set()
    for row in read_folder(str(tokens / "shards")):
        spans = [ImageSpan(**span) for span in row["image_spans"]]
        for item in decode_document(row["tokens"], spans, vocabulary, words):
            if isinstance(item, ImageItem):
                assert (item.codebook, item.codes) == codes[str(item.image_id)]
                found.add(str(item.image_id))
    assert found == set(codes)


@pytest.mark.slow
def test_what_is_told_of_each_codebook(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    used = json.loads((output / "report" / "report.json").read_text())["tokens"]["codebooks"]
    codes = _codes(output)
    assert {name: sum(each["pictures"].values()) for name, each in used.items()} == {
        "pictures": sum(codebook < 2 for codebook, _ in codes.values()),
        "thumbnails": sum(codebook == 2 for codebook, _ in codes.values()),
    }
    for name, which in (("pictures", (0, 1)), ("thumbnails", (2,))):
        distinct = {code for codebook, each in codes.values() if codebook in which for code in each}
        assert used[name]["used"] == len(distinct)
    page = (output / "report" / "index.html").read_text()
    assert "4 × 4 codes of a codebook of 16 or 2 × 6 codes of a codebook of 16 or 2 × 2 codes" in page
    assert "Use of the codebook thumbnails" in page
    capsys.readouterr()
    assert main(["tokenizer", "show", str(output), "--page", str(tmp_path / "page.html")]) == 0
    told = capsys.readouterr().out
    assert "takes           pictures whose shorter side has 100 px or more" in told
    assert "takes           pictures whose shorter side has up to 99 px" in told
    assert "over 16 pictures" in told
    html = (tmp_path / "page.html").read_text()
    assert html.count("its reconstruction") == 32
    assert "<h2>thumbnails</h2>" in html
    stages = json.loads((output / "run.json").read_text())["stages"]
    assert [each["codebook"] for each in stages["tokenize"]["encoded"]] == ["pictures", "thumbnails"]
    assert set(stages["tokenize"]["image_tokenizers"]) == {"pictures", "thumbnails"}


@pytest.mark.slow
def test_a_row_is_drawn_back_with_pictures_of_both(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = _codes(output)
    large = {name for name, (codebook, _) in codes.items() if codebook < 2}
    rows = list(read_folder(str(output / "tokenize" / "shards")))
    number = next(
        place for place, row in enumerate(rows)
        if 0 < sum(span["image_id"] in large for span in row["image_spans"]) < len(row["image_spans"])
    )  # fmt: skip
    assert main(["shards", "inspect", str(output), "--row", str(number), "--page", str(tmp_path / "page")]) == 0
    told = capsys.readouterr().out
    assert "<|image:thumbnails:2x2|>" in told
    assert "2 x 2 codes of" in told
    sizes = [size_of(path) for path in sorted((tmp_path / "page").glob("*.png"))]
    sides = {0: (32, 32), 1: (48, 16), 2: (16, 16)}
    assert sizes == [sides[codes[span["image_id"]][0]] for span in rows[number]["image_spans"]]


@pytest.mark.slow
def test_an_export_for_a_released_model_is_of_one_codebook(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chameleon.json").write_text(definition("chameleon"))
    (tmp_path / "emu3.json").write_text(definition("emu3"))

    def line(command: str, source: Path, layout: str, target: str) -> list[str]:
        tokenizer = str(tmp_path / f"{layout}.json")
        return ["shards", command, str(source), "--format", layout, "--tokenizer", tokenizer, "--to",
                str(tmp_path / target)]  # fmt: skip

    for layout, message in (("chameleon", "pictures, thumbnails: choose one"), ("emu3", "choose one with --codebook")):
        assert main(line("export", output, layout, "none")) == 2
        assert message in capsys.readouterr().err
    assert main([*line("export", output, "chameleon", "none"), "--codebook", "pictures"]) == 2
    assert "--codebook 4x4" in capsys.readouterr().err
    assert main([*line("export", output, "chameleon", "none"), "--codebook", "large"]) == 2
    assert "there are pictures:4x4, pictures:2x6, thumbnails:2x2" in capsys.readouterr().err
    codes = _codes(output)
    shown = [
        span["image_id"] for row in read_folder(str(output / "tokenize" / "shards")) for span in row["image_spans"]
    ]
    for layout, asked, which in (("chameleon", "thumbnails", {2}), ("emu3", "pictures", {0, 1})):
        assert main([*line("export", output, layout, layout), "--codebook", asked]) == 0
        summary = json.loads((tmp_path / layout / "export.json").read_text())
        expected = [name for name in shown if codes[name][0] in which]
        assert (summary["images"], summary["images_left_out"]) == (len(expected), len(shown) - len(expected))
        back = line("import", tmp_path / layout, layout, f"{layout}-back")
        assert main([*back, "--tokenizers", str(output / "tokenize"), "--codebook", asked]) == 0
        capsys.readouterr()
        vocabulary, words = Vocabulary.load(str(output / "tokenize")), TextTokenizer.load(str(output / "tokenize"))
        found = Counter()
        for row in read_folder(str(tmp_path / f"{layout}-back")):
            spans = [ImageSpan(**span) for span in row["image_spans"]]
            for item in decode_document(row["tokens"], spans, vocabulary, words):
                if isinstance(item, ImageItem):
                    assert (item.codebook, item.codes) == codes[str(item.image_id)]
                    found[str(item.image_id)] += 1
        assert found == Counter(expected)


@pytest.mark.slow
def test_a_model_draws_in_the_codebook_that_is_asked_for(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "large.png").write_bytes(a_file(120, 120))
    (tmp_path / "small.png").write_bytes(a_file(40, 40))

    def drawn(*more: str) -> tuple[int, int]:
        target = tmp_path / f"made{len(list(tmp_path.iterdir()))}"
        line = ["sample", str(output), "--to", str(target), "--format", "json", "--make", "picture", *more]
        assert main(line) == 0
        item = json.loads((target / "samples.json").read_text())["samples"][0]["items"][-1]
        return size_of(target / item["image"])

    assert drawn("--prompt", "a square") == (32, 32)
    assert drawn("--image", str(tmp_path / "small.png"), "--prompt", "another") == (16, 16)
    assert drawn("--image", str(tmp_path / "large.png"), "--prompt", "another") == (32, 32)
    assert drawn("--prompt", "a square", "--set", "sample.grid=thumbnails") == (16, 16)
    assert drawn("--image", str(tmp_path / "small.png"), "--set", "sample.grid=pictures:2x6") == (48, 16)
    capsys.readouterr()
    assert main(["sample", str(output), "--prompt", "a", "--set", "sample.grid=9x9"]) == 2
    assert "sample.grid: no codebook is called '9x9'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_conversation_goes_on_in_the_shape_of_its_last_picture(output: Path) -> None:
    folder = open_model(str(output), recipe_of(str(output), None, ()))
    code = [{"kind": "picture", "codes": [0, 1, 2, 3], "codebook": 2}]
    text = [{"kind": "text", "text": "a square"}]

    def drawn(items: list[dict[str, Any]], grid: str | None = None) -> int:
        told: list[dict[str, Any]] = []
        given = {"items": items, "make": "picture", "grid": grid}
        question = read_question(folder, recipe_of(str(output), None, ()).sample.sampling, given)
        reply(folder, question, told.append, lambda: None)
        found: int = next(event["codebook"] for event in reversed(told) if event["event"] == "picture")
        return found

    assert drawn(text) == 0
    assert drawn([*code, *text]) == 2
    assert drawn([*code, *text], "pictures:2x6") == 1
    with pytest.raises(UserError, match="no codebook is called"):
        drawn(text, "9x9")


@pytest.mark.slow
def test_the_tokenizers_of_a_run_serve_another(output: Path, recipe: Path, crawl: Path, tmp_path: Path) -> None:
    """Several by the name of their folder; one of them by its own; and the same codes, whatever the workers."""
    made = output / "tokenize" / "image_tokenizer"
    by_entry = [f"tokenize.codebooks.{name}.image_tokenizer={made / name}" for name in ("pictures", "thumbnails")]
    plain = tmp_path / "plain.yaml"
    plain.write_text(RECIPE.replace(RECIPE[RECIPE.index("  codebooks:") : RECIPE.index("train:")], ""))
    for used, settings in ((recipe, by_entry), (plain, [f"tokenize.image_tokenizer={made}"])):
        again = tmp_path / used.stem
        settings = [*settings, f"tokenize.text_tokenizer={output / 'tokenize' / 'text_tokenizer.json'}"]
        sets = [word for setting in settings for word in ("--set", setting)]
        assert _run(used, crawl, again, "--workers", "1", "--until", "tokenize", *sets) == 0
        assert _codes(again) == _codes(output)
        assert [book.fingerprint for book in read_codebooks(str(again / "tokenize" / "image_tokenizer"))] == [
            book.fingerprint for book in read_codebooks(str(made))
        ]
        (path, *_) = sorted((again / "tokenize" / "shards").glob("*/*.parquet"))
        (other, *_) = sorted((output / "tokenize" / "shards").glob("*/*.parquet"))
        assert pq.read_table(path).equals(pq.read_table(other))


@pytest.mark.slow
def test_two_tokenizers_for_one_range_end_a_run_before_anything_is_fitted(
    output: Path, recipe: Path, crawl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = output / "tokenize" / "image_tokenizer"
    books = {book.name: book.fingerprint for book in read_codebooks(str(made))}
    settings = [f"tokenize.codebooks.{name}.image_tokenizer={made / name}" for name in books]
    sets = [
        word for setting in (*settings, "tokenize.codebooks.thumbnails.ids=pictures") for word in ("--set", setting)
    ]
    assert _run(recipe, crawl, tmp_path / "out", "--until", "tokenize", *sets) == 2
    told = capsys.readouterr().err
    assert all(fingerprint in told for fingerprint in books.values())
    same = [f"tokenize.codebooks.{name}.image_tokenizer={made / 'thumbnails'}" for name in books]
    shared = ["tokenize.codebooks.thumbnails.ids=pictures", "tokenize.codebooks.thumbnails.grids=[1x1]"]
    sets = [word for setting in (*same, *shared) for word in ("--set", setting)]
    assert _run(recipe, crawl, tmp_path / "out", "--until", "tokenize", *sets) == 0
    vocabulary = Vocabulary.load(str(tmp_path / "out" / "tokenize"))
    assert vocabulary.image_offsets == (vocabulary.image_offset,) * 3  # one tokenizer on other grids: the same ids


@pytest.mark.slow
def test_a_codebook_with_too_few_pictures_is_named(
    recipe: Path, crawl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--set", "tokenize.codebooks.pictures.min_side_px=5000"]
    assert _run(recipe, crawl, tmp_path / "out", "--until", "tokenize", *sets) != 0
    assert "0 images of the corpus can be opened and are of the codebook pictures" in capsys.readouterr().err
