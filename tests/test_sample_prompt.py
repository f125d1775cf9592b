"""`gobelin sample` with a prompt, through the command line: what is written, in three formats, on disk and store."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import markdown_it
import numpy as np
import pytest
from PIL import Image as PillowImage

from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.recipe import as_dict
from gobelin.report.samples_page import prompt_markdown, prompt_page
from gobelin.store.files import list_files, read_bytes, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.image_tokenizer import load_image_tokenizer
from gobelin.tokenize.preprocess import preprocess
from gobelin.train.config import SamplingConfig
from gobelin.transforms.images.open_image import open_rgb
from tests.model_folders import SIDE, write_model_folder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model_folder(str(tmp_path_factory.mktemp("model") / "out"))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pictures") / "two words.png"
    PillowImage.linear_gradient("L").convert("RGB").resize((40, 40)).save(path)
    return str(path)


def sampled(folder: str, to: Path, *argv: str) -> dict[str, Any]:
    """``samples.json`` of a command."""
    assert main(["sample", folder, *argv, "--format", "json", "--to", str(to), "--quiet"]) == 0
    return json.loads((to / "samples.json").read_text())


def test_pictures_are_those_of_their_codes(folder: str, tmp_path: Path) -> None:
    made = sampled(folder, tmp_path, "--prompt", "a red square", "--images", "3")
    assert (made["make"], made["notes"], made["seed"], len(made["samples"])) == ("picture", [], 5, 3)
    tokenizer = load_image_tokenizer(join(folder, "tokenize", "image_tokenizer"))
    for sample in made["samples"]:
        (item,) = sample["items"]
        assert item["made"]
        assert item["caption"] == {"given": "a red square", "made": ""}
        drawn = np.asarray(PillowImage.open(tmp_path / item["image"]))
        assert np.array_equal(drawn, tokenizer.decode(np.array([item["codes"]], np.int32))[0])
    first = sampled(folder, tmp_path / "one", "--prompt", "a red square")
    assert first["samples"][0]["items"][0]["codes"] == made["samples"][0]["items"][0]["codes"]
    other = sampled(folder, tmp_path / "other", "--prompt", "a red square", "--seed", "6")
    assert other["samples"][0]["items"][0]["codes"] != made["samples"][0]["items"][0]["codes"]


def test_texts_and_pictures_in_the_order_given(folder: str, picture: str, tmp_path: Path) -> None:
    """Given pictures are encoded once and shown as their codes decode."""
    argv = ["--image", picture, f"--prompt={'red'}", "--image", picture, "--prompt", "a blue one"]
    made = sampled(folder, tmp_path, *argv, "--make", "both", "--temperature", "1.5")
    (sample,) = made["samples"]
    given = [(item["kind"], item.get("given")) for item in sample["items"][:3]]
    assert given == [("picture", None), ("picture", None), ("text", "a blue one")]
    assert [item["made"] for item in sample["items"][:2]] == [False, False]
    assert sample["items"][1]["caption"]["given"] == "red"
    tokenizer = load_image_tokenizer(join(folder, "tokenize", "image_tokenizer"))
    pixels = preprocess(open_rgb(Path(picture).read_bytes()), (SIDE, SIDE))
    assert sample["items"][0]["codes"] == tokenizer.encode(pixels[None])[0].tolist()


def test_a_caption_of_a_picture(folder: str, picture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sample", folder, "--image", picture, "--number", "2", "--max-tokens", "4", "--to", str(tmp_path)]
    assert main(command) == 0
    *texts, page = capsys.readouterr().out.splitlines()
    assert page == str(tmp_path / "index.html")
    assert "".join(texts).isprintable()
    html = (tmp_path / "index.html").read_text()
    assert "default-src 'none'" in html
    assert html.count("<figure class=g>") == 2
    assert len(list(tmp_path.glob("images/*.png"))) == 1


def test_a_prompt_that_is_too_long_says_what_is_left_out(
    folder: str, picture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ["--prompt", "a red square " * 9, "--image", picture] * 3
    assert main(["sample", folder, *parts, "--make", "picture", "--format", "markdown", "--to", str(tmp_path)]) == 0
    assert re.search(r"note: the prompt has \d+ tokens; .* the first .* left out", capsys.readouterr().out)
    text = (tmp_path / "samples.md").read_text()
    assert "left out" in text
    assert set(re.findall(r"!\[\w+\]\((.*?)\)", text)) == {f"images/{path.name}" for path in tmp_path.glob("images/*")}


def test_on_a_store(object_store: str, tmp_path: Path) -> None:
    folder, local = write_model_folder(join(object_store, "out")), write_model_folder(str(tmp_path / "out"))
    PillowImage.new("RGB", (30, 30), "red").save(tmp_path / "red.png")
    write_bytes(join(object_store, "red.png"), (tmp_path / "red.png").read_bytes())
    found = []
    for where, picture in ((folder, join(object_store, "red.png")), (local, str(tmp_path / "red.png"))):
        argv = ["--image", picture, "--prompt", "blue", "--format", "json", "--quiet", "--to", join(where, "samples/a")]
        assert main(["sample", where, *argv]) == 0
        names = [name for name, _ in list_files(join(where, "samples"))]
        found.append({name: read_bytes(join(where, "samples", name)) for name in names})
    assert found[0] == found[1]
    assert {"a/samples.json", "a/images/0000.png", "a/images/0001.png"} == set(found[0])


def test_pictures_are_ranked_by_clip(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clip:
        """Finds that brighter pictures are nearer to every text."""

        def embed_texts(self, texts: list[str]) -> np.ndarray:
            assert texts == ["a red square"]
            return np.array([[1, 0]], np.float16)

        def embed_images(self, pictures: Any) -> np.ndarray:
            bright = np.array([np.asarray(picture).mean() / 255 for picture in pictures])
            return np.stack([bright, np.sqrt(1 - bright**2)], 1).astype(np.float16)

    monkeypatch.setattr("gobelin.pipeline.ask.sample_prompt.load_clip_model", lambda config: Clip())
    argv = ["--prompt", "a red square", "--images", "8", "--set", "score.clip={model: 'local-dir:x'}"]
    plain = sampled(folder, tmp_path / "plain", *argv)
    made = sampled(folder, tmp_path / "ranked", *argv, "--rank")
    cosines = [sample["clip"] for sample in made["samples"]]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] > cosines[-1] + 0.01
    bright = [
        np.asarray(PillowImage.open(tmp_path / "ranked" / sample["items"][0]["image"])).mean() / 255
        for sample in made["samples"]
    ]
    assert bright == pytest.approx(cosines, abs=5e-4)
    drawn = [sorted(tuple(sample["items"][0]["codes"]) for sample in each["samples"]) for each in (plain, made)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--image", "/nowhere.png"], "--image /nowhere.png: no such file"),
        (["--image", "{text}"], "not a picture"),
        (["--images", "3"], "go with --prompt"),
        (["--prompt", "a", "--images", "0"], "--images must be from 1"),
        (["--prompt", "a", "--max-tokens", "0"], "--max-tokens must be at least 1"),
        (["--prompt", "a", "--rank"], "--rank needs a CLIP model"),
        (["--prompt", "a", "--top-p", "1.5"], "top_p must be above 0 and at most 1"),
        (
            ["--prompt", "a", "--make", "text", "--rank", "--set", "score.clip={model: 'local-dir:a'}"],
            "--rank orders pictures",
        ),
        (["--prompt", "\udcff"], "not text in UTF-8"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(
    folder: str, argv: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("no picture")
    assert main(["sample", folder, *[word.replace("{text}", str(tmp_path / "text")) for word in argv]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_a_folder_without_a_model_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(tmp_path), "--prompt", "a"]) == 2
    assert "has no recipe" in capsys.readouterr().err
    (tmp_path / "recipe.yaml").write_text("name: tiny\n")
    assert main(["sample", str(tmp_path), "--prompt", "a"]) == 2
    assert "no model in" in capsys.readouterr().err


def test_what_was_written_is_escaped() -> None:
    text = {"given": "<b>given</b> `a`", "made": "# made [x](javascript:1)"}
    item = {"kind": "picture", "made": True, "codes": [], "image": "images/0.png", "caption": text}
    made = {"make": "both", "notes": ["<i>"], "seed": 0, "sampling": as_dict(SamplingConfig(text_top_p=0.5)),
            "samples": [{"clip": 0.5, "items": [{"kind": "text", **text}, item]}]}  # fmt: skip
    page = prompt_page(made)
    assert "<b>" not in page
    assert "<i>" not in page
    assert page.count("&lt;b&gt;given") == 2
    assert "top_p of text 0.5" in page
    markdown = prompt_markdown(made)
    assert r"\<b>given\</b> \`a\`# made [x\](javascript:1)" in markdown
    assert "Seed 0, temperature 0.8, top-k 50" in markdown
    assert "![drawn](images/0.png)" in markdown


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        (
            "See:\n```python\nx = [1]\n\n<b>\n```\nand *more*",
            "See:\n\n```python\nx = [1]\n\n<b>\n```\n\nand \\*more\\*",
        ),
        ("```\nnever = 'closed'", "```\nnever = 'closed'\n```"),
        ("````\n```\ninside\n```\n````", "````\n```\ninside\n```\n````"),
        ("```", "```\n\n```"),
        ("a ``` b", "a \\`\\`\\` b"),
    ],
)
def test_code_that_was_written_stands_between_fences(text: str, markdown: str) -> None:
    item = {"kind": "text", "given": text[:4], "made": text[4:]}
    made = {"notes": [], "seed": 0, "sampling": as_dict(SamplingConfig()), "samples": [{"items": [item]}]}
    assert prompt_markdown(made).split("## 1\n\n")[1].rstrip() == markdown
    shown = "".join(markdown_it.MarkdownIt("commonmark").render(prompt_markdown(made)).split("<h2>1</h2>")[1].split())
    assert "<b>" not in shown
    assert ("<pre>" in shown) == (not text.startswith("a"))
