"""Numbers that are none: fits stop at them, recipes refuse them, JSON never holds them."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples.demo.fit_clip import ClipFitConfig, fit_clip
from gobelin.errors import DivergedError, UserError
from gobelin.pipeline.exchange.export import _write_lines
from gobelin.pipeline.recipe.recipe import RecipeError, load_recipe
from gobelin.pipeline.run.state import write_json
from gobelin.tokenize.fit import fit_images
from gobelin.tokenize.shapes import VQVAEConfig
from gobelin.transforms.finite import finite_or_null, require_finite
from gobelin.transforms.vision.fit_heads import fit_head


def test_a_step_of_finite_numbers_goes_on() -> None:
    require_finite("a fit", 1, {"loss": 0.0, "norm": 1e300}, "advice")
    with pytest.raises(DivergedError, match=r"a fit stopped at step 7: norm is inf\. Advice"):
        require_finite("a fit", 7, {"loss": 0.0, "norm": math.inf}, "Advice")


def test_what_is_no_number_is_null() -> None:
    value = {"a": math.nan, "b": [1.5, -math.inf, {"c": math.inf}], "d": (True, None, "nan", 2**70)}
    assert finite_or_null(value) == {"a": None, "b": [1.5, None, {"c": None}], "d": [True, None, "nan", 2**70]}


def test_exported_lines_are_json() -> None:
    stream = io.StringIO()
    assert _write_lines([{"score": math.nan, "other": 0.25}], stream) == 1
    assert json.loads(stream.getvalue(), parse_constant=pytest.fail) == {"score": None, "other": 0.25}


def test_a_file_of_the_run_refuses_what_is_no_number(tmp_path: Path) -> None:
    write_json(str(tmp_path / "a.json"), {"loss": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(str(tmp_path / "a.json"), {"loss": math.nan})
    assert json.loads((tmp_path / "a.json").read_text()) == {"loss": 1.0}


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", ".NAN"])
@pytest.mark.parametrize("key", ["train.learning_rate", "select.image.min_clip_text"])
def test_a_recipe_refuses_what_is_no_number(key: str, value: str) -> None:
    assert load_recipe("gobelin", (f"{key}=0.25",))
    with pytest.raises(RecipeError, match=rf"{key}: expected a finite number"):
        load_recipe("gobelin", (f"{key}={value}",))


def test_the_image_tokenizer_is_not_fitted_past_a_gradient_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    config = VQVAEConfig(image_size=16, patch_size=8, num_codes=4, channels=8)
    clip, calls = torch.nn.utils.clip_grad_norm_, iter(range(1, 100))
    monkeypatch.setattr(
        torch.nn.utils,
        "clip_grad_norm_",
        lambda *arguments: clip(*arguments) * (math.inf if next(calls) == 4 else 1),
    )
    steps: list[int] = []
    with pytest.raises(DivergedError, match="image tokenizer stopped at step 4: the gradient's norm is inf"):
        fit_images(images, config, seed=0, steps=10, on_step=lambda step, _: steps.append(step))
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("learning_rate", [3e-3, 1e30])
def test_a_clip_of_no_numbers_is_not_written(learning_rate: float, tmp_path: Path) -> None:
    colors = [(10 * number, 200, 5 * number) for number in range(12)]
    pairs = [(Image.new("RGB", (16, 16), color), f"color {color[0]}") for color in colors]
    config = ClipFitConfig(
        image_size=16, patch_size=8, context_length=8, num_merges=50, width=32, image_layers=1, batch_size=4,
        num_steps=3, warmup_steps=1, learning_rate=learning_rate, num_held_out=1,
    )  # fmt: skip
    weights = tmp_path / "open_clip_model.safetensors"
    if learning_rate < 1:
        assert fit_clip(pairs, tmp_path, config, 0).held_out_auc is None  # one pair is held out: no other caption
        assert weights.exists()
        return
    with pytest.raises(DivergedError, match=r"the fit of CLIP stopped at step [23]: .* is nan"):
        fit_clip(pairs, tmp_path, config, 0)
    assert not weights.exists()


def test_a_head_is_not_fitted_on_embeddings_that_are_none() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(40, 6)).astype(np.float16)
    names = [f"{number:032x}" for number in range(40)]
    labels = np.arange(40) % 2 == 0
    assert np.isfinite(fit_head(names, vectors, labels, "head", "model").head.layers[0].weight).all()
    for value in (0.0, np.nan, np.inf):
        broken = vectors.copy()
        broken[3] = value
        with pytest.raises(UserError, match=f"1 of 40 .*{names[3]}"):
            fit_head(names, broken, labels, "head", "model")
