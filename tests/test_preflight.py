"""What a run needs is looked at before the first archive is read."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.pipeline.run import preflight
from gobelin.pipeline.run.inputs import Archive
from gobelin.pipeline.run.stage_names import STAGES

Make = Callable[..., Any]

FACES = "score.faces={detector: 'gobelin.transforms.vision.face_detectors:haar'}"
CLIP = "score.clip={model: ViT-B-32-quickgelu, pretrained: openai}"
PLAIN = ("score.clip=null", "select.image.max_nsfw=null")


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Hides a package, as if it were not installed."""
    find = importlib.util.find_spec

    def hide(hidden: str) -> None:
        def find_others(name: str, package: str | None = None) -> ModuleSpec | None:
            return None if name == hidden else find(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", find_others)

    return hide


@pytest.mark.parametrize(
    ("stage", "setting", "hidden", "expected"),
    [
        ("extract", "extract.fetch={enabled: true, contact: 'https://a.example/'}", "aiohttp",
         "extract.fetch needs aiohttp: pip install 'gobelin[fetch]'"),
        ("score", CLIP, "open_clip", "score.clip needs open_clip: pip install 'gobelin[models]'"),
        ("score", CLIP, "torch", "or --set score.clip=null"),
        ("score", FACES, "cv2", "score.faces needs cv2: pip install 'gobelin[faces]'"),
        ("score", "score.faces={detector: 'nobody_has_this.faces:make'}", "", "score.faces needs nobody_has_this"),
        ("score", "score.text.perplexity_models={en: en.bin}", "kenlm", "score.text.perplexity_models needs kenlm"),
        ("score", "score.text.perplexity_tokenizers={en: en.model}", "sentencepiece", "needs sentencepiece"),
        ("tokenize", "seed=1", "tokenizers", "stage tokenize needs tokenizers: pip install 'gobelin[models]', or stop"),
        ("sample", "seed=1", "torch", "stage train needs torch"),
        ("tokenize", "tokenize.text_tokenizer=none.json", "", "tokenize.text_tokenizer: none.json: no such file"),
        ("extract", "extract.block_list.md5=[none.txt]", "", "extract.block_list.md5: none.txt: no such file"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(
    stage: str, setting: str, hidden: str, expected: str, hide: Callable[[str], None]
) -> None:
    """And of no other stage anything is said: what is done is not looked at."""
    recipe = load_recipe("obelics", ("score.clip=null", setting))
    hide(hidden)
    assert any(expected in line for line in preflight.problems(recipe, (stage,)))
    others = [other for other in STAGES if other not in ((stage, "train") if stage == "sample" else (stage,))]
    if not expected.startswith("extract.block_list"):  # files up to select are looked for before score, too
        assert not any(expected in line for line in preflight.problems(recipe, others))


@pytest.mark.parametrize(
    ("settings", "keeps"),
    [
        ((), False),
        (("select.unscored_for_safety=keep",), True),
        (("select.document.min_images=null",), True),
        (("select.image.max_nsfw=null",), True),
        (("score.clip={model: ViT-L-14-quickgelu, pretrained: openai}", "score.heads.nsfw=x.safetensors"), True),
    ],
)
def test_a_recipe_that_can_keep_nothing(settings: tuple[str, ...], keeps: bool) -> None:
    found = preflight.problems(load_recipe("gobelin", settings), ("select",))
    assert [line.startswith("nothing can be kept: select.image.max_nsfw needs") for line in found] == [True] * (
        not keeps
    )


def test_a_disk_with_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2 * 10**9))
    output = str(tmp_path / "not" / "there")
    assert preflight.scarce_room(output, [Archive("a", 7 * 10**8)]) == []
    assert preflight.scarce_room("s3://bucket/out", [Archive("a", 9 * 10**9)]) == []
    (line,) = preflight.scarce_room(output, [Archive("a", 7 * 10**8), Archive("b", 3 * 10**8)])
    assert "has 2.00 GB of room, and this input may take 2.50 GB" in line


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert preflight.closed_folders(str(tmp_path / "out"), None, "s3://bucket/out") == []
    monkeypatch.setattr(os, "access", lambda *_: False)  # these tests may run as root
    (line,) = preflight.closed_folders(str(tmp_path / "out"))
    assert f"no right to write in {tmp_path}" in line


def test_scratch_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["run", str(tmp_path / "out"), "--scratch", str(tmp_path / "file")]) == 2
    assert f"--scratch {tmp_path / 'file'}: cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "code", "expected"),
    [
        ((*PLAIN, "tokenize.text_tokenizer=none.json"), 0, "recipe obelics, up to select: all is there"),
        (("score.clip=null", "score.text.stop_words={en: none.txt}"), 2, "error: score.text.stop_words.en: none.txt"),
    ],
)
def test_check_setup(
    settings: tuple[str, ...], code: int, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word for setting in settings for word in ("--set", setting)]
    assert main(["check-setup", "obelics", "--until", "select", "--output", str(tmp_path / "out"), *given]) == code
    assert expected in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_disk_without_room_is_not_all_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "crawl.warc").write_bytes(b"WARC/1.0\r\n" * 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    settings = [word for setting in PLAIN for word in ("--set", setting)]
    places = ["--input", str(tmp_path / "crawl.warc"), "--output", str(tmp_path / "out")]
    assert main(["check-setup", "obelics", "--until", "select", *places, *settings]) == 0
    *_, warning, last = capsys.readouterr().out.splitlines()
    assert warning.startswith("warning: ")
    assert last == "recipe obelics, up to select: it can run, but for the warning"


# ------------------------------------------------------------------------------------------------ models


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    from PIL import Image

    from examples.demo.fit_clip import ClipFitConfig, fit_clip

    folder = tmp_path_factory.mktemp("clip")
    small = ClipFitConfig(num_steps=1, num_merges=20, batch_size=4, context_length=8, num_held_out=0)
    fit_clip([(Image.new("RGB", (64, 64), (60 * n, 0, 0)), f"picture {n}") for n in range(4)], folder, small, seed=1)
    return folder


@pytest.fixture
def argv(tmp_path: Path, make_warc: Make, record: Make, html_page: Make, png: Make, prose: str) -> list[str]:
    """A run up to ``score`` of one page with its picture."""
    page = html_page(f"<p>{prose}</p><img src=1.png alt='a picture'><p>{prose}</p>")
    records = [record("https://a.example/", page), record("https://a.example/1.png", png(1), "image/png")]
    (tmp_path / "r.yaml").write_text("num_shards: 1\n")
    archive = make_warc("a.warc.gz", records)
    words = ["--recipe", str(tmp_path / "r.yaml"), "--input", str(archive), "--workers", "1", "--until", "score"]
    return ["run", str(tmp_path / "out"), *words]


def test_a_model_that_cannot_be_opened_stops_a_run_before_archives_are_read(
    clip_folder: Path, argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.copytree(clip_folder, tmp_path / "broken")
    (broken / "open_clip_model.safetensors").write_bytes(b"no weights")
    setting = ["--set", f"score.clip={{model: 'local-dir:{broken}'}}"]
    assert main([*argv, *setting]) == 1
    printed = capsys.readouterr()
    assert "could not be loaded" in printed.err
    assert "read archives" not in printed.out
    assert not (tmp_path / "out" / "extract").exists()
    assert main(["check-setup", str(tmp_path / "r.yaml"), "--until", "score", *setting]) == 2
    assert "could not be loaded" in capsys.readouterr().out


def test_the_model_is_opened_first_and_once(
    clip_folder: Path, argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = ["--set", f"score.clip={{model: 'local-dir:{clip_folder}'}}"]
    prompts = ["--set", "score.zero_shot.nsfw={positive: [a nude], negative: [a dog]}"]
    assert main([*argv, *setting, *prompts]) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if " done " in line]
    assert steps[0].startswith("score: load CLIP")
    assert sum(line.startswith("score: load CLIP") for line in steps) == 1
    assert any(line.startswith("score: heads") for line in steps), "those of the prompts"
    assert main([*argv, *setting, *prompts]) == 0
    assert "load CLIP" not in capsys.readouterr().out, "score is done"


def test_a_device_that_is_not_there(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("it is there")
    words = [*argv[:-2], "--set", "tokenize.device=cuda", "--set", "select.image.max_nsfw=null"]
    assert main(words) == 1
    assert "tokenize.device cuda: " in capsys.readouterr().err
    assert not (tmp_path / "out" / "extract").exists()


@pytest.mark.parametrize("tag", ["openai"])
def test_weights_that_cannot_be_downloaded_are_told_with_ways_out(tag: str) -> None:
    from gobelin.transforms.vision.clip import ClipSpec, _why_not_loaded

    error = RuntimeError(f"Failed to download weights for tag {tag!r}. Last error: a long story")
    line = _why_not_loaded(ClipSpec(model="ViT-B-32-quickgelu", pretrained=tag), error)
    assert "long story" not in line
    assert "--set score.clip=null" in line
    assert "score.clip.pretrained" in line


def test_the_device_of_a_runners_workers_is_not_looked_for_here(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Supervisor:
        is_local = False

        def run(self, title: str, tasks: list[Any]) -> None:
            asked.append(title)

    overrides = ("tokenize.device=cuda", "train.device=cuda", *PLAIN)
    recipe = load_recipe("gobelin", overrides)
    preflight._check_devices(Supervisor(), recipe, STAGES)  # type: ignore[arg-type]
    assert asked == ["train: look for the device"]


def test_what_tokenize_builds_on_is_looked_for_before_the_run() -> None:
    recipe = load_recipe("small", (*PLAIN, "score.faces=null", "tokenize.order=assigned", "tokenize.blur_faces=true"))
    lacks = [line for line in preflight.problems(recipe, STAGES) if line.startswith("tokenize.")]
    assert [line.split(":")[0].split(" needs")[0] for line in lacks] == ["tokenize.order", "tokenize.blur_faces"]
    assert not [line for line in preflight.problems(recipe, ["extract"]) if line.startswith("tokenize.")]
