"""What a recipe may name - lists, sets, heads, models - lies on an object store as well as on a disk."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gobelin.errors import UserError
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.pipeline.run.keys import stage_keys
from gobelin.store.files import list_files, read_bytes, upload, write_bytes
from gobelin.store.paths import join
from gobelin.transforms.images.block_list import BlockListConfig, load_block_list
from gobelin.transforms.text import text_models
from gobelin.transforms.text.contamination import find_contamination, load_eval_texts
from gobelin.transforms.text.listed_words import read_list
from gobelin.transforms.text.text_config import ContaminationConfig
from gobelin.transforms.text.text_models import load_quality
from gobelin.transforms.vision.eval_images import load_eval_images
from gobelin.transforms.vision.fit_heads import read_labels
from gobelin.transforms.vision.heads import Head, Layer, load_head, save_head


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder, on a disk and on an object store."""
    return str(tmp_path / "folder") if request.param == "disk" else request.getfixturevalue("object_store")


def test_word_lists(folder: str) -> None:
    write_bytes(join(folder, "words.txt"), "\ufeff# mine\r\nbad\t7\r\nrare\t1\r\nvery bad\r\n".encode())
    write_bytes(join(folder, "words.json"), b'["bad", "very bad"]')
    write_bytes(join(folder, "latin.txt"), "gr\xfcn".encode("latin-1"))
    for name, least in (("words.txt", 5), ("words.json", 0)):
        found = read_list(join(folder, name), "en", least)
        assert found.words == {"bad"}
        assert found.phrases == {"very": (("very", "bad"),)}
    with pytest.raises(UserError, match="not UTF-8"):
        read_list(join(folder, "latin.txt"), "en")
    with pytest.raises(UserError, match=r"(?i)none\.txt of en: no such file"):
        read_list(join(folder, "none.txt"), "en")


def test_block_lists(folder: str) -> None:
    listed, other = "ab" * 16, "cd" * 16
    write_bytes(join(folder, "bad.txt"), f"# of someone\n{listed}\n".encode())
    blocked = load_block_list(BlockListConfig(md5=(join(folder, "bad.txt"),)))
    assert blocked is not None
    hit = blocked.match_bytes(listed, "")
    assert hit is not None
    assert hit.list_name == "bad.txt"
    assert blocked.match_bytes(other, "") is None


def test_evaluation_texts(folder: str) -> None:
    asked = "which of these four planets is the nearest to the sun in our own system"
    write_bytes(join(folder, "set.txt"), f"\ufeffshort\r\n\r\n{asked}\r\n".encode())
    write_bytes(join(folder, "set.jsonl"), f'{{"question": "{asked}"}}\n'.encode())
    for name in ("set.txt", "set.jsonl"):
        index = load_eval_texts(ContaminationConfig(texts=(join(folder, name),)))
        found = find_contamination([f"a page says {asked} and more"], index)
        assert found.num_eval_ngrams > 0
        assert found.eval_source == join(folder, name)
    write_bytes(join(folder, "broken.jsonl"), b"{}\n{\n")
    with pytest.raises(UserError, match=r"broken\.jsonl, line 2: not JSON"):
        load_eval_texts(ContaminationConfig(texts=(join(folder, "broken.jsonl"),)))


def test_evaluation_images(folder: str, png: Callable[..., bytes]) -> None:
    """Those of a folder in the order of their paths, part by part."""
    for name in ("set/b.png", "set/a-a.png", "set/a/z.png"):
        write_bytes(join(folder, name), png(len(name)))
    write_bytes(join(folder, "set/readme.txt"), b"pictures")
    index = load_eval_images(ContaminationConfig(images=(join(folder, "set"),)))
    assert index.names == tuple(join(folder, "set", name) for name in ("a/z.png", "a-a.png", "b.png"))
    assert index.num_unreadable == 1
    one = load_eval_images(ContaminationConfig(images=(join(folder, "set/b.png"),)))
    assert one.names == (join(folder, "set/b.png"),)
    with pytest.raises(UserError, match="no file or folder"):
        load_eval_images(ContaminationConfig(images=(join(folder, "none"),)))


def _head() -> Head:
    layer = Layer(np.linspace(-1, 1, 8)[None].astype(np.float32).astype(np.float64), np.zeros(1), "sigmoid")
    return Head("nsfw", "ViT-B-32-quickgelu/openai", (layer,), "worse", (0.0, 1.0))


def test_heads(folder: str) -> None:
    address = join(folder, "deep", "nsfw.v1.safetensors")
    save_head(_head(), address)
    assert [name for name, _ in list_files(folder)] == ["deep/nsfw.v1.json", "deep/nsfw.v1.safetensors"]
    vectors = np.eye(8)
    assert np.array_equal(load_head(address).score(vectors), _head().score(vectors))
    write_bytes(address, b"nothing of the kind")
    with pytest.raises(UserError, match="is not a safetensors file"):
        load_head(address)
    with pytest.raises(UserError, match=r"no none\.json beside it"):
        load_head(join(folder, "none.safetensors"))


def test_a_published_head_on_a_store(object_store: str) -> None:
    from gobelin.transforms.vision.convert_heads import convert_head

    stream = io.BytesIO()
    np.save(stream, np.eye(2, 512, dtype=np.float32))
    address = join(object_store, "violence_detection_vit_b_32.npy")
    write_bytes(address, stream.getvalue())
    head = convert_head(address, "violence")
    assert head.source is not None
    assert head.source.endswith(": violence_detection_vit_b_32.npy")
    assert head.clip_model == "ViT-B-32-quickgelu/openai"
    with pytest.raises(UserError, match="no such file"):
        convert_head(join(object_store, "none.npy"), "violence")
    with pytest.raises(UserError, match="holds other objects than tensors"):
        convert_head(address, "nsfw")


def test_labels(folder: str) -> None:
    write_bytes(join(folder, "labels.csv"), "\ufeffimage_id,label\r\na,1\r\nb,0\r\n".encode())
    assert read_labels(join(folder, "labels.csv")) == {"a": True, "b": False}
    with pytest.raises(UserError, match=r"(?i)no such file"):
        read_labels(join(folder, "none.csv"))


def test_text_models(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is given a local file of the same content; a copy is gone once the model is loaded."""
    write_bytes(join(folder, "quality.bin"), b"a model")
    given: list[str] = []

    def load(path: str) -> Any:
        assert Path(path).read_bytes() == b"a model"
        given.append(path)
        return SimpleNamespace(predict=lambda text, k, threshold: (["__label__hq"], [0.75]))

    monkeypatch.setattr(text_models, "_library", lambda *_, **__: SimpleNamespace(load_model=load))
    score = load_quality(join(folder, "quality.bin"), "__label__hq")
    assert score(["some text"]) == 0.75
    assert Path(given[0]).exists() == (not folder.startswith("s3:"))
    with pytest.raises(UserError, match=r"quality_models: no file .*none\.bin"):
        load_quality(join(folder, "none.bin"), "__label__hq")


def test_a_face_detector(folder: str) -> None:
    pytest.importorskip("cv2")
    from gobelin.transforms.vision.face_detectors import yunet

    write_bytes(join(folder, "yunet.onnx"), b"no network")
    with pytest.raises(UserError, match=r"yunet\.onnx is not a YuNet model"):
        yunet(join(folder, "yunet.onnx"))
    with pytest.raises(UserError, match="no file"):
        yunet(join(folder, "none.onnx"))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP in open_clip's layout."""
    pytest.importorskip("open_clip")
    from examples.demo.fit_clip import ClipFitConfig, fit_clip

    folder = tmp_path_factory.mktemp("clip")
    small = ClipFitConfig(num_steps=1, num_merges=20, batch_size=4, context_length=8, num_held_out=0)
    fit_clip([(Image.new("RGB", (64, 64), (60 * n, 0, 0)), f"picture {n}") for n in range(4)], folder, small, seed=1)
    return folder


def test_a_clip_model_on_a_store(clip_folder: Path, object_store: str) -> None:
    """The same fingerprint and the same bits as on a disk."""
    from gobelin.transforms.vision.clip import ClipSpec, load_clip

    upload(str(clip_folder), join(object_store, "clip"))
    models = [
        load_clip(ClipSpec(model=f"local-dir:{folder}", batch_size=4), "cpu")
        for folder in (clip_folder, join(object_store, "clip"))
    ]
    assert models[0].fingerprint == models[1].fingerprint
    assert np.array_equal(*(model.embed_texts(["a picture", "another"]) for model in models))
    with pytest.raises(UserError, match="could not be loaded"):
        load_clip(ClipSpec(model=f"local-dir:{object_store}/none"), "cpu")


def test_clip_weights_on_a_store(clip_folder: Path, object_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    import open_clip

    from gobelin.transforms.vision.clip import ClipSpec, load_clip, model_name

    architecture = json.loads((clip_folder / "open_clip_config.json").read_text())["model_cfg"]
    architecture["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": str(clip_folder / "bpe.txt.gz")}
    (clip_folder.parent / "small-of-tests.json").write_text(json.dumps(architecture))
    open_clip.add_model_config(clip_folder.parent / "small-of-tests.json")
    weights = join(object_store, "my.weights.safetensors")
    upload(str(clip_folder / "open_clip_model.safetensors"), weights)
    local = shutil.copy(clip_folder / "open_clip_model.safetensors", clip_folder.parent / "my.weights.safetensors")
    specs = [ClipSpec(model="small-of-tests", pretrained=str(address)) for address in (weights, local)]
    names = [load_clip(spec, "cpu").fingerprint for spec in specs]
    assert names[0] == names[1]
    assert names[0].startswith(model_name("small-of-tests", weights) + "@")
    assert model_name("small-of-tests", weights) == "small-of-tests/my.weights"
    with pytest.raises(UserError, match="is neither a file nor a tag"):
        load_clip(ClipSpec(model="small-of-tests", pretrained=join(object_store, "none.safetensors")), "cpu")


def test_a_process_loads_a_clip_model_once(clip_folder: Path, object_store: str, s3_door: Any) -> None:
    """A worker goes from batch to batch, and from images to texts, without asking the store again."""
    from gobelin.transforms.score.config import ClipConfig
    from gobelin.transforms.vision.embed import load_model

    upload(str(clip_folder), join(object_store, "clip"))
    config = ClipConfig(model=f"local-dir:{object_store}/clip", batch_size=4)
    first = load_model(config)
    before = dict(s3_door.num_requests)
    assert load_model(ClipConfig(model=f"local-dir:{object_store}/clip", batch_size=4)) is first
    assert s3_door.num_requests == before
    load_model.cache_clear()


def test_the_command_makes_a_head_on_a_store(object_store: str) -> None:
    stream = io.BytesIO()
    np.save(stream, np.eye(2, 768, dtype=np.float32))
    write_bytes(join(object_store, "violence_detection_vit_l_14.npy"), stream.getvalue())
    source, target = join(object_store, "violence_detection_vit_l_14.npy"), join(object_store, "out.safetensors")
    assert main(["heads", "convert", source, "--kind", "violence", "--output", target]) == 0
    assert load_head(target).dim == 768
    assert read_bytes(join(object_store, "out.json"))


SETTINGS = {
    "extract.block_list={md5: [DIR/list.txt]}": ("list.txt", "extract"),
    "score.text.flagged_words={en: DIR/words.txt}": ("words.txt", "score"),
    "score.contamination={images: [DIR/set]}": ("set/deep/a.png", "score"),
    "score.clip={model: 'local-dir:DIR/clip'}": ("clip/open_clip_config.json", "score"),
    "score.clip={model: ViT-L-14, pretrained: DIR/w.safetensors}": ("w.safetensors", "score"),
    "score.heads={nsfw: DIR/nsfw.safetensors}": ("nsfw.json", "score"),
    "score.earlier=[DIR/run]": ("run/select/manifest.json", "score"),
    "select.image.min_clip_text={quantile: 0.5, of: DIR/run}": ("run/score/manifest.json", "select"),
    "tokenize.image_tokenizer=DIR/tokenizer": ("tokenizer/config.json", "tokenize"),
    "tokenize.text_tokenizer=DIR/text_tokenizer.json": ("text_tokenizer.json", "tokenize"),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_another_content_is_another_key(folder: str, setting: str) -> None:
    """Of the stage that reads the file; what comes before stays."""
    name, stage = SETTINGS[setting]
    clip = () if "score.clip" in setting else ("score.clip={model: ViT-L-14-quickgelu, pretrained: openai}",)
    recipe = load_recipe("gobelin", (*clip, setting.replace("DIR", folder)))
    keys = []
    for content in (b"one", b"one", b"two"):
        write_bytes(join(folder, name), content)
        keys.append(stage_keys(recipe, ()))
    assert keys[0] == keys[1]
    before = list(keys[0])[: list(keys[0]).index(stage)]
    assert {each for each in keys[0] if keys[0][each] == keys[2][each]} == set(before)


def test_weights_on_a_store_are_not_read_for_their_key(object_store: str, s3_door: Any) -> None:
    write_bytes(join(object_store, "w.safetensors"), b"w" * 1000)
    recipe = load_recipe("gobelin", (f"score.clip={{model: ViT-L-14, pretrained: {object_store}/w.safetensors}}",))
    before = s3_door.num_requests.get("GET", 0)
    stage_keys(recipe, ())
    assert s3_door.num_requests.get("GET", 0) == before
