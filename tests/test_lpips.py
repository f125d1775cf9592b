"""The perceptual distance: on given weights, beside the package that has it first."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gobelin.errors import UserError
from gobelin.tokenize.fit import fit_tokenizer
from gobelin.tokenize.image_tokenizer import ImageTokenizer
from gobelin.tokenize.lpips import CONVOLUTIONS, Lpips, load_lpips
from gobelin.tokenize.pictures import ArrayPictures
from gobelin.tokenize.shapes import FSQConfig
from tests.test_vqgan import colored

torch.set_num_threads(1)


def published(prefix: str = "") -> dict[str, torch.Tensor]:
    """Random weights under the names of the package."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for index, (places, convolutions) in enumerate(zip(CONVOLUTIONS, Lpips().slices, strict=True)):
        for place, convolution in zip(places, convolutions, strict=True):  # type: ignore[arg-type]
            shape = convolution.weight.shape
            scale = (2 / shape[1:].numel()) ** 0.5
            weights[f"{prefix}net.slice{index + 1}.{place}.weight"] = torch.randn(shape, generator=generator) * scale
            weights[f"{prefix}net.slice{index + 1}.{place}.bias"] = torch.zeros(shape[0])
        weights[f"{prefix}lin{index}.model.1.weight"] = torch.rand(1, shape[0], 1, 1, generator=generator) / shape[0]
    return weights


def pictures(seed: int) -> torch.Tensor:
    return torch.rand(3, 3, 24, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_distance_grows_with_difference(tmp_path: Path) -> None:
    torch.save({"state_dict": published("loss.perceptual_loss.")}, tmp_path / "taming.ckpt")
    distance = load_lpips(str(tmp_path / "taming.ckpt"))
    first, second = pictures(0), pictures(1)
    assert (distance(first, first) == 0).all()
    near, far = distance(first, first.lerp(second, 0.1)), distance(first, second)
    assert near.shape == (3,)
    assert (near > 0).all()
    assert (near < far).all()
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_distance_is_that_of_the_package(tmp_path: Path) -> None:
    package = pytest.importorskip("lpips", reason="lpips is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision, on how the package calls it
        theirs = package.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False).eval()
    theirs.load_state_dict(published(), strict=False)
    state = {key: value.clone().contiguous() for key, value in theirs.state_dict().items()}
    save_file(state, tmp_path / "lpips.safetensors")
    ours = load_lpips(str(tmp_path / "lpips.safetensors"))
    with torch.no_grad():
        expected = theirs(pictures(0), pictures(1)).flatten()
    assert expected.min() > 0
    assert torch.allclose(ours(pictures(0), pictures(1)), expected, rtol=1e-4)


def test_files_without_it_are_told(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="holds no LPIPS"):
        load_lpips(str(tmp_path / "none.safetensors"))
    weights = published()
    del weights["lin4.model.1.weight"]
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"1 weights are missing.*lin4"):
        load_lpips(str(tmp_path / "part.safetensors"))


def test_a_fit_with_it_is_another_one(tmp_path: Path) -> None:
    save_file(published(), tmp_path / "lpips.safetensors")
    config = FSQConfig(image_size=16, patch_size=4, levels=(4, 3), channels=8, num_blocks=1)
    data = ArrayPictures(colored(20, config.size), seed=0)
    found = [
        fit_tokenizer(data, config, seed=0, steps=2, perceptual=each)
        for each in (None, load_lpips(str(tmp_path / "lpips.safetensors")))
    ]
    assert all(found)
    prints = {ImageTokenizer(result[0]).codebook.fingerprint for result in found if result is not None}
    assert len(prints) == 2
