"""Heads: files and what is refused, published layouts made here, fits, the stage, and the rules on their scores."""

import csv
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gobelin.data.schemas import DOCUMENT_SCORES, IMAGE_EMBEDDINGS, IMAGE_SCORES, NODE_SCORES
from gobelin.pipeline.cli.heads import KINDS
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.recipe import RecipeError, load_recipe
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.node_thresholds import ImageRules
from gobelin.transforms.selection.select import judge_document
from gobelin.transforms.vision.fit_heads import fit_head, read_labels, roc_auc
from gobelin.transforms.vision.heads import (
    Head,
    Layer,
    check_heads,
    fold_standardisation,
    is_model,
    load_head,
    save_head,
)
from gobelin.transforms.vision.score_heads import head_rows

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from gobelin.transforms.vision import convert_heads  # noqa: E402
from gobelin.transforms.vision.convert_heads import convert_head  # noqa: E402

Row = dict[str, Any]
MODEL = "ViT-L-14-quickgelu/openai@0123456789abcdef-01234567"


def unit_rows(seed: int, num: int, dim: int) -> npt.NDArray[np.float16]:
    vectors = np.random.default_rng(seed).normal(size=(num, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def a_head(**changes: Any) -> Head:
    generator = np.random.default_rng(1)
    layers = (
        Layer(generator.normal(size=(3, 8)), generator.normal(size=3), "relu"),
        Layer(generator.normal(size=(1, 3)), generator.normal(size=1), "sigmoid"),
    )
    given = {"name": "nsfw", "clip_model": "ViT-L-14-quickgelu/openai", "layers": layers, "higher_is": "worse",
             "range": (0.0, 1.0), "licence": "MIT", "source": "here", "notes": {"cut": 0.1}}  # fmt: skip
    return Head(**{**given, **changes})


def test_a_head_is_its_layers() -> None:
    head, vectors = a_head(), unit_rows(2, 5, 8)
    first, second = head.layers
    for vector, score in zip(vectors.astype(float), head.score(vectors), strict=True):
        vector /= np.linalg.norm(vector)
        hidden = np.maximum(first.weight @ vector + first.bias, 0)
        assert score == pytest.approx(1 / (1 + np.exp(-(second.weight @ hidden + second.bias)[0])), rel=1e-6)


def test_length_and_company_of_an_embedding_do_not_matter() -> None:
    head, vectors = a_head(), unit_rows(3, 9000, 8)
    scores = head.score(vectors)
    assert np.array_equal(head.score(vectors[5000:5001]), scores[5000:5001])
    assert head.score(vectors[:9] * np.float16(8)) == pytest.approx(scores[:9])
    assert head.score(np.empty((0, 8), np.float16)).shape == (0,)
    assert np.isnan(head.score(np.zeros((1, 8), np.float16))).all()


def test_extreme_values_do_not_overflow() -> None:
    vectors = unit_rows(3, 4, 8)
    for sign in (-1, 1):
        layer = Layer(np.zeros((1, 8)), np.array([sign * 1e6]), "sigmoid")
        assert a_head(layers=(layer,)).score(vectors).tolist() == [max(0, sign)] * 4


def test_a_file_holds_all_of_a_head(tmp_path: Path) -> None:
    head, vectors = a_head(sha256="0" * 64), unit_rows(2, 50, 8)
    save_head(head, str(tmp_path / "folder" / "nsfw.safetensors"))
    loaded = load_head(str(tmp_path / "folder" / "nsfw.safetensors"))
    assert loaded.score(vectors) == pytest.approx(head.score(vectors), rel=1e-5)
    for field in ("name", "clip_model", "higher_is", "range", "licence", "source", "sha256", "notes"):
        assert getattr(loaded, field) == getattr(head, field)
    first = (tmp_path / "folder" / "nsfw.safetensors").read_bytes()
    save_head(head, str(tmp_path / "folder" / "nsfw.safetensors"))
    assert (tmp_path / "folder" / "nsfw.safetensors").read_bytes() == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "something"}, "does not describe a head"),
        ({"version": 2}, "another version of gobelin made it"),
        ({"normalise": "none"}, "unit length"),
        ({"dim": 9}, "sidecar says dim 9, its weights take 8"),
        ({"activations": ["relu"]}, "its sidecar describes 1 layers"),
        ({"activations": ["relu", "tanh"]}, "activation 'tanh' must be one of"),
        ({"activations": "relu"}, "activations is missing"),
        ({"clip_model": None}, "clip_model is missing"),
        ({"higher_is": "stranger"}, "higher_is must be better or worse"),
        ({"range": [1, 0]}, "range must be null or"),
        ({"name": "NSFW score"}, "a head's name is lower-case"),
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused(tmp_path: Path, changes: Row, message: str) -> None:
    save_head(a_head(), str(tmp_path / "x.safetensors"))
    sidecar = json.loads((tmp_path / "x.json").read_text())
    (tmp_path / "x.json").write_text(json.dumps({**sidecar, **changes}))
    with pytest.raises(ValueError, match=message):
        load_head(str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_broken_sidecar_is_refused(tmp_path: Path, content: bytes) -> None:
    save_head(a_head(), str(tmp_path / "x.safetensors"))
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.json"):
        load_head(str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 100])
def test_broken_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    save_head(a_head(), str(tmp_path / "x.safetensors"))
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_head(str(tmp_path / "x.safetensors"))


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no x\.json beside it"):
        load_head(str(tmp_path / "x.safetensors"))
    save_head(a_head(), str(tmp_path / "x.safetensors"))
    (tmp_path / "x.safetensors").unlink()
    with pytest.raises(ValueError, match="no such file"):
        load_head(str(tmp_path / "x.safetensors"))
    with pytest.raises(ValueError, match="gobelin heads convert"):
        load_head(str(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "no layer"),
        ((Layer(np.zeros((2, 8)), np.zeros(2), "none"),), "2 outputs instead of one"),
        ((Layer(np.zeros((1, 8)), np.zeros(2), "none"),), "a bias of"),
        ((Layer(np.full((1, 8), np.nan), np.zeros(1), "none"),), "not finite"),
        ((Layer(np.zeros((4, 8)), np.zeros(4), "relu"), Layer(np.zeros((1, 3)), np.zeros(1), "none")), "another width"),
    ],
)
def test_layers_that_do_not_fit_are_refused(tmp_path: Path, layers: tuple[Layer, ...], message: str) -> None:
    head = a_head(layers=layers) if layers else Head("x", "m", (), "worse")
    with pytest.raises(ValueError, match=message):
        save_head(head, str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize(
    ("stated", "fits"),
    [
        (MODEL, True),
        ("ViT-L-14-quickgelu/openai", True),
        ("ViT-L-14-quickgelu/openai@0123456789abcdef-76543210", False),
        ("ViT-L-14-quickgelu", False),
        ("ViT-L-14/openai", False),
        ("", False),
    ],
)
def test_a_head_belongs_to_one_model(stated: str, fits: bool) -> None:
    assert is_model(MODEL, stated) == fits
    if fits:
        check_heads({"nsfw": a_head(clip_model=stated)}, MODEL)
    else:
        with pytest.raises(ValueError, match="its scores would mean nothing"):
            check_heads({"nsfw": a_head(clip_model=stated)}, MODEL)


def test_folding_a_standardisation() -> None:
    generator = np.random.default_rng(4)
    weight, bias, x = generator.normal(size=(3, 5)), generator.normal(size=3), generator.normal(size=5)
    mean, std = generator.normal(size=5), generator.uniform(0.01, 2, 5)
    folded, shifted = fold_standardisation(weight, bias, mean, std)
    assert folded @ x + shifted == pytest.approx(weight @ ((x - mean) / std) + bias)


# ---- published files, in their layouts, with weights made here ----


def _linear(generator: Any, prefix: str, outputs: int, inputs: int) -> dict[str, Any]:
    return {
        f"{prefix}.weight": torch.randn(outputs, inputs, generator=generator) / inputs**0.5,
        f"{prefix}.bias": torch.randn(outputs, generator=generator),
    }


def _forward(state: dict[str, Any], steps: list[Any], x: Any) -> Any:
    for step in steps:
        x = (
            torch.nn.functional.linear(x, state[f"{step}.weight"], state[f"{step}.bias"])
            if step in names_of(state)
            else step(x)
        )
    return x.flatten()


def names_of(state: dict[str, Any]) -> set[str]:
    return {name.rpartition(".")[0] for name in state}


def _published(kind: str, dim: int) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """A state dict, and what its published code computes of unit vectors."""
    generator = torch.Generator().manual_seed(5)
    relu, sigmoid = torch.relu, torch.sigmoid
    if kind == "aesthetic-v1":
        state = {"weight": torch.randn(1, dim, generator=generator), "bias": torch.tensor([3.3])}
        return state, lambda x: torch.nn.functional.linear(x, state["weight"], state["bias"]).flatten()
    if kind == "aesthetic-v2":
        widths = {0: (1024, dim), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
        state = {}
        for place, shape in widths.items():
            state |= _linear(generator, f"layers.{place}", *shape)
        return state, lambda x: _forward(state, [f"layers.{place}" for place in widths], x)
    if kind == "h14":
        widths = {0: (64, dim), 3: (32, 64), 6: (16, 32), 7: (1, 16)}
        state = {}
        for place, shape in widths.items():
            state |= _linear(generator, f"layers.{place}", *shape)
        steps = ["layers.0", relu, "layers.3", relu, "layers.6", "layers.7"]
        return state, lambda x: _forward(state, steps, x)
    mean, variance = torch.randn(dim, generator=generator) / 30, torch.rand(dim, generator=generator) / 800 + 1e-4
    names = (
        ["linear_1", "linear_2", "linear_3", "linear_4"] if kind == "laion" else ["dense", "dense1", "dense2", "dense3"]
    )
    state = {}
    for name, shape in zip(names, ((64, dim), (32, 64), (16, 32), (1, 16)), strict=True):
        state |= _linear(generator, name, *shape)
    steps = [names[0], relu, names[1], relu, names[2], relu, names[3], sigmoid]
    if kind == "laion":
        normed: Callable[[Any], Any] = lambda x: (x - mean) / (variance.sqrt() + 1e-10)  # noqa: E731
        return state | {"norm.mean": mean, "norm.variance": variance}, lambda x: _forward(state, steps, normed(x))
    scale, shift = torch.rand(dim, generator=generator) + 0.5, torch.randn(dim, generator=generator)
    norm = {"norm.running_mean": mean, "norm.running_var": variance, "norm.weight": scale, "norm.bias": shift,
            "norm.num_batches_tracked": torch.tensor(7)}  # fmt: skip

    def batch_normed(x: Any) -> Any:
        return torch.nn.functional.batch_norm(x, mean, variance, scale, shift, eps=0.0)

    return state | norm, lambda x: _forward(state, steps, batch_normed(x))


@pytest.mark.parametrize(
    ("layout", "dim", "name", "kind", "model"),
    [
        ("aesthetic-v1", 512, "sa_0_4_vit_b_16_linear.pth", "aesthetic-v1", "ViT-B-16-quickgelu/openai"),
        ("aesthetic-v1", 768, "sa_0_4_vit_l_14_linear.pth", "aesthetic-v1", "ViT-L-14-quickgelu/openai"),
        ("aesthetic-v2", 768, "sac+logos+ava1-l14-linearMSE.pth", "aesthetic-v2", "ViT-L-14-quickgelu/openai"),
        ("laion", 768, "clip_ViT-L-14_openai_binary_nsfw_head.pth", "nsfw", "ViT-L-14-quickgelu/openai"),
        ("laion", 512, "clip_ViT-B-32_openai_binary_nsfw_head.pth", "nsfw", "ViT-B-32-quickgelu/openai"),
        ("datacomp", 768, "nsfw-image.pt", "nsfw", "ViT-L-14-quickgelu/openai"),
        ("h14", 1024, "h14_nsfw.pth", "nsfw", "ViT-H-14/laion2b_s32b_b79k"),
    ],
)
def test_a_published_file_gives_what_its_own_code_gives(
    tmp_path: Path, layout: str, dim: int, name: str, kind: str, model: str
) -> None:
    state, published = _published(layout, dim)
    torch.save(state, tmp_path / name)
    head = convert_head(str(tmp_path / name), kind)
    assert (head.name, head.clip_model, head.dim) == (kind.partition("-")[0], model, dim)
    assert len(str(head.sha256)) == 64
    save_head(head, str(tmp_path / "head.safetensors"))
    vectors = unit_rows(6, 40, dim).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = published(torch.from_numpy(vectors)).numpy()
    assert np.ptp(expected) > 0.01
    assert load_head(str(tmp_path / "head.safetensors")).score(vectors) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_five_layers_of_aesthetic_v2_are_one(tmp_path: Path) -> None:
    torch.save(_published("aesthetic-v2", 768)[0], tmp_path / "v2.pth")
    assert len(convert_head(str(tmp_path / "v2.pth"), "aesthetic-v2").layers) == 1


def test_violence_prompts(tmp_path: Path) -> None:
    rows = unit_rows(7, 2, 768).astype(np.float32)
    np.save(tmp_path / "violence_detection_vit_l_14.npy", rows)
    head = convert_head(str(tmp_path / "violence_detection_vit_l_14.npy"), "violence")
    vectors = unit_rows(8, 50, 768)
    cosines = vectors.astype(float) @ rows.T.astype(float)
    assert ((head.score(vectors) > 0.5) == (cosines.argmax(1) == 1)).all()


class Harmful:
    """An object whose pickle opens a file for writing when it is loaded."""

    path = ""

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def test_a_file_that_would_run_something_is_refused_and_does_not(tmp_path: Path) -> None:
    Harmful.path = str(tmp_path / "was-run")
    torch.save({"weight": Harmful()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Harmful()))
    np.save(tmp_path / "c.npy", np.array([Harmful()], object), allow_pickle=True)
    for name, kind in (("a.pth", "aesthetic-v1"), ("b.pth", "nsfw"), ("c.npy", "violence")):
        with pytest.raises(ValueError, match=name):
            convert_head(str(tmp_path / name), kind)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("clip_autokeras_binary_nsfw.zip", "nsfw", "publishes the same NSFW heads as models/clip_ViT-L-14"),
        ("prompts.p", "nsfw", "is a pickle"),
        ("empty.pth", "nsfw", "is damaged"),
        ("words.pth", "nsfw", "that may run code$"),
        ("text.npy", "violence", "not an .npy file of numbers"),
    ],
)
def test_what_cannot_be_read_safely_is_refused(tmp_path: Path, name: str, kind: str, message: str) -> None:
    contents = {"empty.pth": b"", "words.pth": b"hello"}
    (tmp_path / name).write_bytes(contents.get(name, b"PK\x03\x04 no archive"))
    with pytest.raises(ValueError, match=message):
        convert_head(str(tmp_path / name), kind)


def test_another_layout_than_the_kinds_is_refused(tmp_path: Path) -> None:
    torch.save(_published("aesthetic-v1", 512)[0], tmp_path / "x.pth")
    for kind in ("aesthetic-v2", "nsfw"):
        with pytest.raises(ValueError, match=r"x\.pth"):
            convert_head(str(tmp_path / "x.pth"), kind)
    with pytest.raises(ValueError, match="give --clip-model"):
        convert_head(str(tmp_path / "x.pth"), "aesthetic-v1")
    assert convert_head(str(tmp_path / "x.pth"), "aesthetic-v1", clip_model="my/clip").clip_model == "my/clip"
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="not a state dict"):
        convert_head(str(tmp_path / "list.pth"), "nsfw")
    torch.save({"norm.running_mean": torch.zeros(4)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"it has no norm\.running_var"):
        convert_head(str(tmp_path / "part.pth"), "nsfw")


def test_the_command_line_knows_the_kinds() -> None:
    assert tuple(convert_heads.KINDS) == KINDS


def test_convert_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(_published("aesthetic-v2", 768)[0], tmp_path / "v2.pth")
    output = tmp_path / "heads" / "aesthetic.safetensors"
    assert main(["heads", "convert", str(tmp_path / "v2.pth"), "--kind", "aesthetic-v2", "--output", str(output)]) == 0
    assert "1 layer(s) on 768 numbers of ViT-L-14-quickgelu/openai" in capsys.readouterr().out
    assert load_head(str(output)).name == "aesthetic"
    assert main(["heads", "convert", str(tmp_path / "no.pth"), "--kind", "nsfw", "--output", str(output)]) == 2
    assert "no such file" in capsys.readouterr().err


# ---- fits ----


def labelled(seed: int, num: int, dim: int = 16, noise: float = 0.5) -> tuple[list[str], Any, npt.NDArray[np.bool_]]:
    generator = np.random.default_rng(seed)
    direction = generator.normal(size=dim)
    vectors = generator.normal(size=(num, dim))
    is_positive = vectors @ direction + noise * np.linalg.norm(direction) * generator.normal(size=num) > 0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [f"{place:064x}" for place in range(num)], vectors.astype(np.float16), is_positive


def test_a_fit_finds_what_is_there() -> None:
    names, vectors, is_positive = labelled(1, 600)
    fit = fit_head(names[:400], vectors[:400], is_positive[:400], "thing", MODEL)
    assert 0.85 < fit.auc[fit.strength] < 1
    unseen = roc_auc(fit.head.score(vectors[400:]), is_positive[400:])
    assert unseen == pytest.approx(fit.auc[fit.strength], abs=0.06)  # cross-validation tells what comes
    assert fit.cuts[0.9] > fit.cuts[0.95] > fit.cuts[0.99]
    probabilities = fit.head.score(vectors[400:])
    assert probabilities.mean() == pytest.approx(is_positive[400:].mean(), abs=0.1)


def test_labels_without_meaning_have_no_auc() -> None:
    names, vectors, is_positive = labelled(2, 300)
    shuffled = np.random.default_rng(3).permutation(is_positive)
    fit = fit_head(names, vectors, shuffled, "thing", MODEL)
    assert fit.auc[fit.strength] == pytest.approx(0.5, abs=0.1)


def test_order_does_not_change_a_fit() -> None:
    names, vectors, is_positive = labelled(1, 200)
    order = random.Random(1).sample(range(200), 200)
    fit = fit_head(names, vectors, is_positive, "thing", MODEL)
    again = fit_head([names[place] for place in order], vectors[order], is_positive[order], "thing", MODEL)
    assert np.array_equal(fit.head.layers[0].weight, again.head.layers[0].weight)
    assert (fit.auc, fit.cuts) == (again.auc, again.cuts)


def test_too_few_labels_are_refused() -> None:
    names, vectors, _ = labelled(1, 200)
    with pytest.raises(ValueError, match="3 images of label 1 and 197 of label 0"):
        fit_head(names, vectors, np.arange(200) < 3, "thing", MODEL)


def test_auc_by_hand() -> None:
    labels = np.array([True, False, True, False])
    assert roc_auc(np.array([0.9, 0.1, 0.8, 0.2]), labels) == 1.0
    assert roc_auc(np.array([0.1, 0.9, 0.2, 0.8]), labels) == 0.0
    assert roc_auc(np.array([0.5, 0.5, 0.5, 0.5]), labels) == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\na,1\n", "must name the columns image_id and label"),
        ("", "must name the columns"),
        ("image_id,label\na,1\nb,yes\n", "line 3: label must be 0 or 1, got 'yes'"),
        ("image_id,label\na,1\na,0\n", "line 3: a has both labels"),
        ("image_id,label\na\n", "line 2: label must be 0 or 1"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labels(str(tmp_path / "labels.csv"))


def test_missing_and_binary_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_labels(str(tmp_path / "labels.csv"))
    (tmp_path / "labels.csv").write_bytes(b"image_id,label\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match="not CSV in UTF-8"):
        read_labels(str(tmp_path / "labels.csv"))


def test_train_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_data_set: Callable[..., str]
) -> None:
    names, vectors, is_positive = labelled(1, 200)
    score = tmp_path / "score"
    rows = [{"image_id": name, "embedding": vector} for name, vector in zip(names, vectors, strict=True)]
    write_data_set(score / "image_embeddings", rows, IMAGE_EMBEDDINGS, 3, "image_id")
    arguments = ["heads", "train", "--embeddings", str(score), "--labels", str(tmp_path / "labels.csv"),
                 "--output", str(tmp_path / "thing.safetensors")]  # fmt: skip
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("image_id", "label"), *zip(names, is_positive.astype(int), strict=True), ("f" * 64, 1)]
        )
    assert main(arguments) == 2
    assert "no images/ in it" in capsys.readouterr().err
    facts = {"width": 1, "height": 1, "phash": "0" * 16, "num_documents": 1, "near_group": "x", "near_count": 1}
    empty = dict.fromkeys(IMAGE_SCORES.names)
    images = [{**empty, "image_id": name, **facts, "clip_model": MODEL} for name in names]
    write_data_set(score / "images", [{**row, "clip_model": None} for row in images], IMAGE_SCORES, 3, "image_id")
    assert main(arguments) == 2
    assert "no image in it has an embedding" in capsys.readouterr().err
    write_data_set(score / "images", images, IMAGE_SCORES, 3, "image_id")
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "1 labelled images have no embedding" in said
    assert "cross-validated AUC by penalty" in said
    head = load_head(str(tmp_path / "thing.safetensors"))
    assert (head.name, head.clip_model) == ("thing", MODEL)
    assert roc_auc(head.score(vectors), is_positive) > 0.85
    assert head.notes["cross_validated_auc"] > 0.8
    first = (tmp_path / "thing.safetensors").read_bytes()
    assert main(arguments) == 0
    assert (tmp_path / "thing.safetensors").read_bytes() == first


# ---- scores and rules ----


def test_rows_of_scores() -> None:
    vectors = unit_rows(2, 3, 8)
    heads = {"nsfw": a_head(), "blurry": a_head(), "art": a_head()}
    rows = list(head_rows(["a", "b", "c"], np.concatenate([vectors[:2], np.zeros((1, 8), np.float16)]), heads))
    assert [row["image_id"] for row in rows] == ["a", "b", "c"]
    assert rows[0]["nsfw"] == pytest.approx(float(a_head().score(vectors[:1])[0]))
    assert rows[0]["aesthetic"] is rows[0]["watermark"] is None
    assert [held["name"] for held in rows[0]["heads"]] == ["art", "blurry"]
    assert (rows[2]["nsfw"], rows[2]["heads"]) == (None, [])


@pytest.fixture
def judge(a_document: Callable[..., Row]) -> Callable[..., Any]:
    """(configuration of image rules, scores of the one image) -> decisions and rules that did not run."""

    def make(rules: ImageRules, unscored: str = "drop", **scores: Any) -> tuple[list[Any], tuple[str, ...]]:
        empty = dict.fromkeys(field.name for field in NODE_SCORES)
        node = {**empty, "kind": "image", "image_id": "i1", "format": "png", "width": 400, "height": 300,
                "phash": "0" * 16, "num_documents": 1, "near_count": 1, **scores}  # fmt: skip
        row = {**dict.fromkeys(DOCUMENT_SCORES.names), "nodes": [node]}
        config = SelectConfig(image=rules, unscored_for_safety=unscored)  # type: ignore[arg-type]
        verdict = judge_document(a_document("d", [("i1",)]), row, config)
        return [(each.rule, each.value, each.threshold, each.detail) for each in verdict.decisions], verdict.not_run

    return make


@pytest.mark.parametrize(
    ("rules", "value", "is_kept"),
    [
        ({"max_head": {"blurry": 0.5}}, 0.4, True),
        ({"max_head": {"blurry": 0.5}}, 0.5, True),
        ({"max_head": {"blurry": 0.5}}, 0.6, False),
        ({"min_head": {"blurry": 0.5}}, 0.4, False),
        ({"min_head": {"blurry": 0.5}}, 0.5, True),
        ({"min_head": {"blurry": 0.5}}, 0.6, True),
    ],
)
def test_both_sides_of_a_heads_threshold(judge: Callable[..., Any], rules: Row, value: float, is_kept: bool) -> None:
    decisions, not_run = judge(ImageRules(**rules), heads=[{"name": "blurry", "value": value}])
    side = next(iter(rules))
    expected = [] if is_kept else [(f"image.{side}.blurry", pytest.approx(value), 0.5, None)]
    assert (decisions, not_run) == (expected, ())


def test_a_head_that_did_not_run(judge: Callable[..., Any]) -> None:
    """Highest values are for safety and fail closed; lowest ones are counted as not run."""
    most, least = ImageRules(max_head={"gore": 0.5}), ImageRules(min_head={"gore": 0.5})
    dropped = ("image.max_head.gore", None, 0.5, "not scored")
    for heads in (None, [], [{"name": "other", "value": 0.1}]):
        assert judge(most, heads=heads) == ([dropped], ("image.max_head.gore",))
        assert judge(most, "keep", heads=heads) == ([], ("image.max_head.gore",))
        assert judge(least, heads=heads) == ([], ("image.min_head.gore",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("score: {heads: {nsfw: x.safetensors}}", "heads reads? image embeddings, which clip makes"),
        ("score: {zero_shot: {nsfw: {positive: [a], negative: [b]}}}", "zero_shot reads? image embeddings"),
        ("score: {clip: {model: 'local-dir:x'}, heads: {Bad-Name: x}}", "a head's name is lower-case"),
        (
            "score: {clip: {model: 'local-dir:x'}, heads: {a: x}, zero_shot: {a: {positive: [a], negative: [b]}}}",
            "both heads and zero_shot have a a",
        ),
        ("select: {image: {max_head: {a: .nan}}}", "expected a finite number"),
    ],
)
def test_recipes_that_cannot_work_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(str(tmp_path / "r.yaml"))


def test_another_head_makes_the_scores_anew(tmp_path: Path) -> None:
    """The file counts, not its name alone; what comes before the scores stays."""
    from gobelin.pipeline.run.keys import stage_keys

    save_head(a_head(), str(tmp_path / "nsfw.safetensors"))
    (tmp_path / "r.yaml").write_text(
        f"score: {{clip: {{model: 'local-dir:x'}}, heads: {{nsfw: {tmp_path / 'nsfw.safetensors'}}}}}"
    )
    recipe = load_recipe(str(tmp_path / "r.yaml"))
    keys = stage_keys(recipe, ())
    assert stage_keys(recipe, ()) == keys
    save_head(a_head(layers=(Layer(np.ones((1, 8)), np.zeros(1), "sigmoid"),)), str(tmp_path / "nsfw.safetensors"))
    changed = stage_keys(recipe, ())
    assert changed["extract"] == keys["extract"]
    assert changed["score"] != keys["score"]


@pytest.mark.parametrize("is_right", [True, False])
def test_a_head_of_another_model_stops_the_stage(tmp_path: Path, is_right: bool) -> None:
    from gobelin.pipeline.stages.score_clip import prepare_clip
    from gobelin.transforms.score.config import ClipConfig, ScoreConfig

    stated = "ViT-L-14-quickgelu/openai" if is_right else "ViT-B-32-quickgelu/openai"
    save_head(a_head(clip_model=stated), str(tmp_path / "nsfw.safetensors"))
    (tmp_path / "clip.json").write_text(json.dumps({"fingerprint": MODEL}))  # as if the model had been loaded
    path = str(tmp_path / "nsfw.safetensors")
    config = ScoreConfig(clip=ClipConfig(model="local-dir:x"), heads={"nsfw": path})
    if is_right:
        assert prepare_clip(None, config, str(tmp_path)) == (MODEL, (("nsfw", path),))  # type: ignore[arg-type]
    else:
        with pytest.raises(ValueError, match="head 'nsfw' reads embeddings of ViT-B-32-quickgelu/openai"):
            prepare_clip(None, config, str(tmp_path))  # type: ignore[arg-type]
