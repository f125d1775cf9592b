"""Values that are valid and useless are warned of, and files that are not there, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gobelin.data.schemas import IMAGE_SIGNATURES, SIGNATURES
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe import values as recipe_values
from gobelin.pipeline.recipe.help import warnings_of
from gobelin.pipeline.recipe.recipe import load_recipe, preset_names
from gobelin.pipeline.recipe.values import USES, doubtful_values, other_clip_model, unusable_inputs
from gobelin.store.files import upload, write_bytes
from gobelin.store.paths import join
from gobelin.transforms.duplicates.minhash import MinHashConfig
from gobelin.transforms.duplicates.signatures import signature_metadata
from gobelin.transforms.pages.content.language import given_instead_of, identify_language, known_languages
from gobelin.transforms.rights.consent import effective
from gobelin.transforms.vision.heads import Head, Layer, save_head


def doubts(*settings: str) -> list[str]:
    return doubtful_values(load_recipe("gobelin", settings))


@pytest.mark.parametrize("name", preset_names())
def test_presets_hold_nothing_doubtful(name: str) -> None:
    assert doubtful_values(load_recipe(name)) == []
    assert unusable_inputs(load_recipe(name)) == []
    assert other_clip_model(load_recipe(name)) == []


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("select.document.deny_consent=[ai-trian]", "did you mean 'ai-train'?"),
        ("select.image.deny_consent=[noai, imagetrain]", "did you mean 'image-train'?"),
        ("extract.gates.deny_consent=[nooai]", "did you mean 'noai'?"),
        ("select.document.deny_consent=[qqqqqq]", "the uses are ai-train, ai-input"),
        ("select.image.formats=[png, jpg]", "no picture is 'jpg'; did you mean 'jpeg'?"),
        ("select.image.formats=[psd]", "formats are avif, bmp"),
        ("select.document.languages=[en, english]", "no language is 'english'"),
        ("extract.gates.languages=[en-GB]", "no language is 'en-GB'"),
        ("select.document.languages=[en, nb]", "no label 'nb'; its label is 'no'"),
        ("select.document.languages=[cmn]", "its label is 'zh'"),
        ("select.document.languages=[fil]", "its label is 'tl'"),
        ("extract.gates.languages=[iw]", "its label is 'he'"),
        ("select.document.languages=[in]", "its label is 'id'"),
        ("select.document.languages=[deu]", "its label is 'de'"),
        ("select.document.languages=[zu]", "no label 'zu', so no document has this language"),
        ("select.document.languages=[pt_BR]", "give codes of ISO 639-1, as pt"),
        ("select.document.languages=[German]", "give codes of ISO 639-1, as de"),
        ("select.document.languages=[jp]", "its language is 'ja'"),
        ("select.image.max_aspect_ratio=-1", "max_aspect_ratio -1.0: the score is never below 0"),
        ("select.document.max_words=-1", "max_words -1: the score is never below 0"),
        ("select.document.min_stop_word_ratio=1.5", "the score is at most 1"),
        ("tokenize.blur_faces=true", "needs score.faces"),
    ],
)
def test_what_hardly_was_meant(setting: str, told: str) -> None:
    found = doubts(setting)
    assert len(found) == 1
    assert found[0].startswith(setting.partition("=")[0])
    assert told in found[0]
    assert found[0] in warnings_of(load_recipe("gobelin", (setting,)))


@pytest.mark.parametrize(
    "setting",
    [
        "select.document.deny_consent=[noai, NoImageAI, tdm-reservation=1, train-ai=n, ai-train=no, disallow, index]",
        "select.document.deny_consent=null",
        "select.image.formats=[jpeg, jpeg2000, avif]",
        "select.document.languages=[en, als, zh, 'no', nn, he, id, tl, sh, yue]",
        "select.document.max_words=0",
        "select.image.min_aspect_ratio=1.5",
        "select.document.max_line_break_ratio=2",
        "select.image.min_clip_text=-0.1",
        "select.image.max_nsfw=-0.2",
    ],
)
def test_what_may_be_meant(setting: str) -> None:
    assert doubts(setting) == []


def test_the_uses_are_those_that_signals_speak_of() -> None:
    signals = [
        "meta robots: noai, noml, noindex, noimageindex",
        "header content-usage: bots=n",
        "meta tdm-reservation: 1",
    ]
    assert set(effective(signals)) == set(USES)


def named(folder: Path | str, *settings: str) -> list[str]:
    return unusable_inputs(load_recipe("gobelin", tuple(setting.replace("DIR", str(folder)) for setting in settings)))


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("extract.block_list.md5=[DIR/there, DIR/no]", "extract.block_list.md5"),
        ("score.text.flagged_words={en: DIR/no, de: DIR/there}", "score.text.flagged_words.en"),
        ("score.text.quality_models={'*': DIR/no}", "score.text.quality_models.*"),
        ("score.contamination={texts: [DIR/no], images: [DIR]}", "score.contamination.texts"),
        ("score.contamination={texts: [DIR/there], images: [DIR/no]}", "score.contamination.images"),
        ("score.clip={model: 'local-dir:DIR/no'}", "score.clip.model"),
    ],
)
def test_files_that_are_not_there(tmp_path: Path, object_store: str, setting: str, key: str) -> None:
    for folder in (str(tmp_path), object_store):
        write_bytes(join(folder, "there"), b"")
        assert named(folder, setting) == [f"{key}: {folder}/no: no such file or folder"]
        assert named(folder, setting.replace("DIR/no", "DIR/there")) == []


def test_a_store_that_refuses_is_told(object_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str) -> bool:
        raise PermissionError(13, "denied", address)

    monkeypatch.setattr(recipe_values, "exists", refuse)
    (told,) = named(object_store, "score.contamination={texts: [DIR/a]}")
    assert told == f"score.contamination.texts: {object_store}/a: cannot be looked at: denied"


@pytest.mark.parametrize(
    ("settings", "is_told"),
    [
        (("select.image.max_nsfw=null",), True),
        (("select.image.max_nsfw=null", "select.image.min_head={nice: 0.5}"), True),
        (("select.image.max_nsfw=null", "select.image.max_head={gore: 0.5}"), False),
        (("select.image.max_nsfw=null", "select.unscored_for_safety=keep"), False),
        ((), False),
    ],
)
def test_a_recipe_without_a_safety_rule_should_say_so(settings: tuple[str, ...], is_told: bool) -> None:
    assert any("images that were not checked for safety are kept" in line for line in doubts(*settings)) == is_told


def test_earlier_runs_must_have_signatures_of_the_same_kind(
    tmp_path: Path, object_store: str, write_data_set: Callable[..., str]
) -> None:
    for folder in (tmp_path, object_store):
        assert named(folder, "score.earlier=[DIR/no]") == [f"score.earlier: {folder}/no: no such file or folder"]
    (told,) = named(tmp_path, "score.earlier=[DIR]")
    assert f"score.earlier: {tmp_path} holds no signatures" in told
    signatures = tmp_path / "score" / "signatures"
    write_data_set(signatures / "documents", [], SIGNATURES, 2, "doc_id", signature_metadata(MinHashConfig()))
    write_data_set(signatures / "images", [], IMAGE_SIGNATURES, 2)
    upload(str(tmp_path), object_store)
    assert named(tmp_path, "score.earlier=[DIR]") == named(object_store, "score.earlier=[DIR]") == []
    (told,) = named(tmp_path, "score.earlier=[DIR]", "score.minhash.similarity=0.7")
    assert "of another kind" in told


def test_a_run_to_compare_with_must_have_scores(tmp_path: Path) -> None:
    setting = "select.image.min_clip_text={quantile: 0.5, of: DIR}"
    assert named(tmp_path, setting) == [
        f"select.image.min_clip_text.of: {tmp_path}/score/documents: no such file or folder"
    ]
    (tmp_path / "score" / "documents").mkdir(parents=True)
    assert named(tmp_path, setting) == []


def test_heads_that_cannot_be_used(tmp_path: Path) -> None:
    layer = Layer(weight=np.zeros((1, 4)), bias=np.zeros(1), activation="none")
    save_head(
        Head(name="nsfw", clip_model="ViT-B-32-quickgelu/openai", layers=(layer,), higher_is="worse"),
        str(tmp_path / "b32.safetensors"),
    )
    (tmp_path / "bare.safetensors").touch()
    clips = {
        "score.clip={model: ViT-B-32-quickgelu, pretrained: openai}": [],
        "score.clip={model: ViT-L-14-quickgelu, pretrained: openai}": [
            f"score.heads.nsfw: {tmp_path}/b32.safetensors reads embeddings of ViT-B-32-quickgelu/openai, "
            "and score.clip is ViT-L-14-quickgelu/openai"
        ],
    }
    for clip, told in clips.items():
        assert named(tmp_path, clip, "score.heads={nsfw: DIR/b32.safetensors}") == told
    clip = next(iter(clips))
    assert "score.heads.nsfw: " in named(tmp_path, clip, "score.heads={nsfw: DIR/bare.safetensors}")[0]
    missing = named(tmp_path, clip, "score.heads={nsfw: DIR/no.safetensors}")
    assert missing == [f"score.heads.nsfw: {tmp_path}/no.safetensors: no such file or folder"]


@pytest.mark.parametrize(
    ("clip", "stated", "is_other"),
    [
        ("{model: ViT-L-14-quickgelu, pretrained: openai}", "ViT-L-14-quickgelu/openai", False),
        (
            "{model: ViT-L-14-quickgelu, pretrained: openai}",
            "ViT-L-14-quickgelu/openai@0123456789abcdef-01234567",
            False,
        ),
        ("{model: ViT-B-32-quickgelu, pretrained: openai}", "ViT-L-14-quickgelu/openai", True),
        ("{model: 'local-dir:there'}", "ViT-L-14-quickgelu/openai", True),
        ("{model: 'local-dir:there'}", "local", False),
        ("{model: 'hf-hub:org/name'}", "org/name", False),
        ("{model: 'hf-hub:org/name'}", "null", False),
        ("null", "ViT-L-14-quickgelu/openai", False),
    ],
)
def test_thresholds_of_another_model(clip: str, stated: str, is_other: bool) -> None:
    recipe = load_recipe("gobelin", (f"score.clip={clip}", f"select.image.clip_model={stated}"))
    told = other_clip_model(recipe)
    assert bool(told) == is_other
    assert all("select.image.clip_model=" in line for line in told)


def test_a_run_stops_before_it_reads_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"WARC/1.0\r\n\r\n")
    setting = f"score.earlier=[{tmp_path}/no]"
    command = ["--recipe", "gobelin", "--input", str(tmp_path / "a.warc.gz"), "--output", str(tmp_path / "out")]
    assert main(["run", *command, "--set", setting]) == 2
    assert f"score.earlier: {tmp_path}/no: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out" / "extract").exists()
    assert main(["recipe", "check", "gobelin", "--set", setting]) == 2
    shown = capsys.readouterr().out
    assert f"error: score.earlier: {tmp_path}/no: no such file or folder" in shown
    assert "recipe gobelin cannot be used as it stands" in shown


def test_each_language_of_the_model_is_known_by_its_own_code() -> None:
    known = known_languages()
    assert len(known) == 176
    assert {given_instead_of(code) for code in known} <= known
    assert identify_language("Dette er en norsk setning om vær og vind.")[0] in known  # type: ignore[index]
