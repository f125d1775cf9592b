"""CLIP: a small one is fitted, told apart, loaded and refused; scores as a pure function of embeddings."""

import json
import random
import shutil
import socket
import time
import urllib.request
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

from PIL import Image  # noqa: E402

from examples.demo.fit_clip import ClipFitConfig, ClipFitMetrics, fit_clip, matched_auc  # noqa: E402
from gobelin.transforms.vision import model_hub  # noqa: E402
from gobelin.transforms.vision.clip import ClipModel, ClipSpec, load_clip  # noqa: E402
from gobelin.transforms.vision.image_text import ImageTextScores, score_images  # noqa: E402

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 70, 220), "yellow": (240, 220, 40)}
SMALL = ClipFitConfig(num_steps=60, num_merges=200, batch_size=32, context_length=24, warmup_steps=10)


def coloured_squares(seed: int, num: int) -> list[tuple[Image.Image, str]]:
    generator = random.Random(seed)
    pairs = []
    for _ in range(num):
        colour, ground = generator.sample(sorted(COLOURS), 2)
        picture = Image.new("RGB", (64, 64), COLOURS[ground])
        x, y = generator.randrange(32), generator.randrange(32)
        picture.paste(COLOURS[colour], (x, y, x + 32, y + 32))
        pairs.append(
            (picture, generator.choice([f"a {colour} square on {ground}", f"on {ground} lies a {colour} square"]))
        )
    return pairs


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClipFitMetrics, list[float]]:
    folder = tmp_path_factory.mktemp("clip")
    losses: list[float] = []
    metrics = fit_clip(coloured_squares(1, 400), folder, SMALL, seed=3, on_step=lambda _, loss: losses.append(loss))
    return folder, metrics, losses


@pytest.fixture(scope="module")
def model(fitted: tuple[Path, ClipFitMetrics, list[float]]) -> ClipModel:
    return load_clip(ClipSpec(model=f"local-dir:{fitted[0]}", batch_size=16), "cpu")


def test_the_fit_learns(fitted: tuple[Path, ClipFitMetrics, list[float]], model: ClipModel) -> None:
    _, metrics, losses = fitted
    assert len(losses) == metrics.num_steps == SMALL.num_steps
    assert metrics.num_pairs == 320
    assert metrics.loss < losses[0]
    assert metrics.held_out_auc is not None
    assert metrics.held_out_auc > 0.9
    pairs = coloured_squares(77, 200)
    images, texts = model.embed_images([image for image, _ in pairs]), model.embed_texts([text for _, text in pairs])
    others = [next(j for j in range(200) if set(pairs[j][1].split()) != set(text.split())) for _, text in pairs]
    assert matched_auc(images, texts, texts[others]) > 0.9


def test_the_same_seed_is_the_same_model(fitted: tuple[Path, ClipFitMetrics, list[float]], tmp_path: Path) -> None:
    pairs = coloured_squares(1, 400)
    state = torch.random.get_rng_state()
    again = fit_clip(pairs, tmp_path / "again", SMALL, seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert again == fitted[1]
    for name in ("open_clip_model.safetensors", "bpe.txt.gz", "open_clip_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (fitted[0] / name).read_bytes()
    other = fit_clip(pairs, tmp_path / "other", ClipFitConfig(**{**_as_dict(SMALL), "num_steps": 5}), seed=4)
    assert other.fingerprint != again.fingerprint


def _as_dict(config: ClipFitConfig) -> dict[str, float]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def test_too_few_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="10 pairs"):
        fit_clip(coloured_squares(1, 10), tmp_path, SMALL, seed=1)


def test_embeddings_are_unit_vectors_in_order(model: ClipModel) -> None:
    pairs = coloured_squares(5, 21)
    images = model.embed_images([image for image, _ in pairs])
    texts = model.embed_texts([text for _, text in pairs])
    for embeddings in (images, texts):
        assert embeddings.shape == (21, model.dim)
        assert embeddings.dtype == np.float16
        assert np.linalg.norm(embeddings.astype(np.float64), axis=1) == pytest.approx(1, abs=1e-3)
    assert model.embed_images([]).shape == (0, model.dim)
    assert np.array_equal(model.embed_texts([pairs[7][1]])[0], texts[7])
    assert 1 < model.logit_scale <= 100.001


def test_company_does_not_change_an_embedding(model: ClipModel) -> None:
    """The same picture first, last, alone, and among others, has the same bits."""
    pairs = coloured_squares(6, 50)
    order = random.Random(2).sample(range(50), 50)
    for embed, items in ((model.embed_images, [p[0] for p in pairs]), (model.embed_texts, [p[1] for p in pairs])):
        together = embed(items)  # type: ignore[operator]
        assert np.array_equal(embed([items[index] for index in order]), together[order])  # type: ignore[operator]
        assert np.array_equal(embed(items[20:21])[0], together[20])  # type: ignore[operator]


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (300, 20), (64, 64), (1, 1)])
def test_any_shape_of_image_is_embedded(model: ClipModel, size: tuple[int, int]) -> None:
    assert np.isfinite(model.embed_images([Image.new("RGB", size, "red")])).all()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["", " ", "x" * 200_000, "ab" * 100_000, "很" * 50_000, "word " * 100_000, "&lt;" * 9999]
)
def test_any_text_is_embedded(model: ClipModel, text: str) -> None:
    assert np.isfinite(model.embed_texts([text])).all()


def test_cutting_long_texts_changes_nothing(model: ClipModel) -> None:
    text = "a red square, which is not large, lies on blue paper, " * 30
    assert np.array_equal(model.embed_texts([text]), model.embed_texts([text[:2000]]))
    tokens = model._tokenize([text])
    assert torch.equal(tokens, model._tokenize([" ".join(text.split()[:24])]))


def test_a_folder_can_move(
    fitted: tuple[Path, ClipFitMetrics, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vocabulary is found beside the model, from any working directory; the fingerprint ignores the place."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(fitted[0], moved)
    monkeypatch.chdir(tmp_path)
    model = load_clip(ClipSpec(model="local-dir:elsewhere"), "cpu")
    assert model.fingerprint == fitted[1].fingerprint
    config = json.loads((moved / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.4, 0.4, 0.4]
    (moved / "open_clip_config.json").write_text(json.dumps(config))
    assert load_clip(ClipSpec(model="local-dir:elsewhere"), "cpu").fingerprint != model.fingerprint


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ClipSpec(model="ViT-B-32"), "names no weights"),
        (ClipSpec(model="ViT-B-32", pretrained="openai"), "use model='ViT-B-32-quickgelu'"),
        (ClipSpec(model="ViT-B-32-quickgelu", pretrained="laion2b_s34b_b79k"), "nor a tag of"),
        (ClipSpec(model="ViT-B-32", pretrained="missing.safetensors"), "is neither a file nor a tag"),
        (ClipSpec(model="ViT-B-33", pretrained="openai"), "no architecture"),
        (ClipSpec(model="local-dir:missing"), "not found"),
        (ClipSpec(model="local-dir:missing", pretrained="openai"), "brings its own weights"),
    ],
)
def test_what_would_give_wrong_scores_is_refused(spec: ClipSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_clip(spec, "cpu")


@pytest.mark.filterwarnings("ignore")
def test_a_folder_without_weights_is_refused(fitted: tuple[Path, ClipFitMetrics, list[float]], tmp_path: Path) -> None:
    shutil.copytree(fitted[0], tmp_path / "model")
    (tmp_path / "model" / "open_clip_model.safetensors").unlink()
    with pytest.raises(ValueError, match="could not be loaded"):
        load_clip(ClipSpec(model=f"local-dir:{tmp_path / 'model'}"), "cpu")


def test_weights_of_another_architecture_are_refused(fitted: tuple[Path, ClipFitMetrics, list[float]]) -> None:
    weights = str(fitted[0] / "open_clip_model.safetensors")
    with pytest.raises(ValueError, match="could not be loaded"):
        load_clip(ClipSpec(model="RN50", pretrained=weights), "cpu")


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "model.pt", "model.bin"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x02N."])
def test_broken_weights_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="could not be loaded"):
        load_clip(ClipSpec(model="RN50", pretrained=str(tmp_path / name)), "cpu")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "spec", [ClipSpec(model="ViT-B-32-quickgelu", pretrained="openai"), ClipSpec(model="hf-hub:somebody/something")]
)
def test_without_a_network_it_is_said_at_once(spec: ClipSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(model_hub, "_answers", lambda _: False)
    asked: list[str] = []
    monkeypatch.setattr(time, "sleep", lambda _: asked.append("a pause before another try"))
    with pytest.raises(ValueError, match="where it cannot be downloaded, name a file") as told:
        load_clip(spec, "cpu")
    assert "\n" not in str(told.value)
    assert asked == []
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize("is_there", [True, False])
def test_whether_the_hub_answers(is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_hub, "WAIT_SECONDS", 5.0 if is_there else 0.2)
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        if not is_there:
            monkeypatch.setattr(socket, "create_connection", lambda *_: time.sleep(2))  # a name server that is silent
        assert model_hub._answers(f"http://127.0.0.1:{server.getsockname()[1]}") is is_there


def test_a_proxy_is_the_first_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "http://proxy.example:3128"})
    monkeypatch.setattr(urllib.request, "proxy_bypass", lambda host: host == "near.example")
    assert model_hub._first_stop("https://far.example").netloc == "proxy.example:3128"
    assert model_hub._first_stop("https://near.example").netloc == "near.example"


def unit(*numbers: float) -> npt.NDArray[np.float16]:
    vector = np.array(numbers)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def test_scores_by_hand() -> None:
    """Text 0, image 1, image 2, text 3, text 5, image 6: nearest are 0 and 3 for the first two, 5 for the last."""
    texts = np.stack([unit(1, 0, 0), unit(0, 1, 0), unit(0, 0, 1)])
    images = np.stack([unit(1, 0, 0), unit(0, 3, 4), unit(0, 1, 0)])
    scores = score_images([1, 2, 6], images, [0, 3, 5], texts, {2: unit(0, 3, 4)}, {6: unit(0, -1, 0)})
    assert list(scores) == [1, 2, 6]
    expected = {1: (1.0, 1.0, None, None), 2: (0.8, 0.6, 1.0, None), 6: (1.0, 0.0, None, -1.0)}
    for index, values in expected.items():
        got = scores[index]
        for value, wanted in zip((got.clip_text_max, got.clip_near_max, got.clip_alt, got.clip_caption), values):
            assert value == (wanted if wanted is None else pytest.approx(wanted, abs=1e-3))


def test_scores_without_texts_are_none() -> None:
    nothing = np.empty((0, 3), np.float16)
    assert score_images([4], unit(1, 2, 3)[None], [], nothing, {}, {}) == {4: ImageTextScores(None, None, None, None)}
    assert score_images([], nothing, [0], unit(1, 2, 3)[None], {}, {}) == {}


def test_auc_by_hand() -> None:
    images = np.stack([unit(1, 0)] * 2)
    better, worse = np.stack([unit(1, 0), unit(2, 1)]), np.stack([unit(1, 1), unit(0, 1)])
    assert matched_auc(images, better, worse) == 1.0
    assert matched_auc(images, worse, better) == 0.0
    assert matched_auc(images, worse, worse) == 0.5
    assert matched_auc(images, better, np.stack([unit(3, 1), unit(1, 1)])) == 0.75
