"""A fit in two processes under torchrun and in parts of a step: what one process makes of the whole step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gobelin.errors import UserError
from gobelin.tokenize.adversary import Adversary, PatchDiscriminator, adaptive_weight, last_weight
from gobelin.tokenize.config import FitSettings
from gobelin.tokenize.fit import fit_tokenizer
from gobelin.tokenize.image_tokenizer import ImageTokenizer, load_image_tokenizer
from gobelin.tokenize.networks import build_network
from gobelin.tokenize.pictures import ArrayPictures
from gobelin.tokenize.processes import ALONE
from gobelin.tokenize.quantizer import EmaQuantizer
from gobelin.tokenize.shapes import FSQConfig, VQVAEConfig
from tests import fit_ranks

TOLERANCE = 1e-5
"""Relative, of losses over twelve steps. Sums over two processes are rounded otherwise than those of one: 1e-7 was
measured."""

VQVAE: dict[str, Any] = {"image_size": 32, "channels": 8, "num_blocks": 1, "num_codes": 24, "code_width": 4}
FITS: dict[str, dict[str, Any]] = {
    "vqvae": {"kind": "vqvae", "shape": VQVAE, "settings": {}},
    "adversarial": {
        "kind": "fsq",
        "shape": {"image_size": 32, "channels": 8, "num_blocks": 1, "levels": [4, 4, 3]},
        "settings": {"batch_size": 8, "discriminator": 0.5, "discriminator_start": 3},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fits of one process, of one in parts, and of two."""
    folder = tmp_path_factory.mktemp("fits")

    def jobs(where: str, **settings: Any) -> list[dict[str, Any]]:
        return [
            {**fit, "settings": {**fit["settings"], **settings}, "steps": 12, "output": str(folder / where / name)}
            for name, fit in FITS.items()
        ]

    (folder / "fits.json").write_text(json.dumps(jobs("two")))
    program = Path(__file__).with_name("fit_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    done = subprocess.run([*command, str(folder / "fits.json")], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    fit_ranks.main(jobs("one"))
    fit_ranks.main(jobs("parts", micro_batch=3))
    return folder


@pytest.mark.parametrize("name", list(FITS))
@pytest.mark.parametrize("other", ["two", "parts"])
def test_a_step_is_the_same_however_it_is_dealt_out(name: str, other: str, folder: Path) -> None:
    one, there = (json.loads((folder / where / name / "losses.json").read_text()) for where in ("one", other))
    assert np.allclose(one[0], there[0], rtol=TOLERANCE, atol=0)
    assert one[1] == there[1] > 1  # codes used
    assert np.isclose(one[2], there[2], rtol=0.02)
    networks = [load_image_tokenizer(str(folder / where / name)).network.state_dict() for where in ("one", other)]
    for key, values in networks[0].items():
        assert torch.allclose(values, networks[1][key], rtol=1e-3, atol=1e-4), key
    assert any((values != networks[1][key]).any() for key, values in networks[0].items())  # it was dealt out indeed


def test_statistics_of_a_codebook_are_those_of_all_vectors() -> None:
    vectors, codes = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)), 6

    class Half:
        """Two processes in one: what the other would add is known."""

        rank, size = 0, 2

        def __init__(self, other: list[torch.Tensor]) -> None:
            self.other = iter(other)

        def add(self, tensor: torch.Tensor) -> torch.Tensor:
            return tensor.add_(next(self.other).to(tensor.dtype))

    def start() -> EmaQuantizer:
        quantizer = EmaQuantizer(codes, 4)
        quantizer.start_at(vectors[:codes])
        return quantizer

    whole, half = start(), start()
    whole.update(vectors, whole.nearest(vectors), torch.Generator().manual_seed(1))
    other = [
        torch.bincount(half.nearest(vectors[20:]), minlength=codes),
        torch.zeros(codes, 4).index_add_(0, half.nearest(vectors[20:]), vectors[20:]),
    ]
    half.update(vectors[:20], half.nearest(vectors[:20]), torch.Generator().manual_seed(1), Half(other))  # type: ignore[arg-type]
    assert torch.allclose(whole.codes_Kd, half.codes_Kd, atol=1e-6)
    assert torch.allclose(whole.counts_K, half.counts_K, atol=1e-6)


def _noise(number: int = 40, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, side, side, 3), np.uint8)


def test_an_adversarial_fit_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    pictures, config = ArrayPictures(_noise(), seed=0), VQVAEConfig(**VQVAE)
    settings = FitSettings(batch_size=6, micro_batch=4, discriminator=1.0, discriminator_start=2)
    whole = fit_tokenizer(pictures, config, seed=3, steps=6, settings=settings)
    plain = fit_tokenizer(pictures, config, seed=3, steps=6, settings=FitSettings(batch_size=6, micro_batch=4))
    stops = iter([False, False, False, True])
    assert (
        fit_tokenizer(
            pictures, config, seed=3, steps=6, settings=settings, checkpoints=str(tmp_path), stop=lambda: next(stops)
        )
        is None
    )
    with pytest.raises(UserError, match="other pictures, settings"):
        fit_tokenizer(pictures, config, seed=3, steps=6, checkpoints=str(tmp_path))
    resumed = fit_tokenizer(pictures, config, seed=3, steps=6, settings=settings, checkpoints=str(tmp_path))
    assert whole is not None
    assert resumed is not None
    assert plain is not None
    prints = [ImageTokenizer(result[0]).fingerprint for result in (whole, resumed, plain)]
    assert prints[0] == prints[1] != prints[2]


def test_the_weight_of_the_discriminator_follows_the_gradients() -> None:
    ones = torch.ones(3, 3)
    assert adaptive_weight(ones, 2 * ones) == pytest.approx(0.5, rel=1e-3)
    assert adaptive_weight(ones, torch.zeros(3, 3)) == 1e4  # at most
    network = build_network(FSQConfig(image_size=32, channels=8, num_blocks=1), torch.Generator().manual_seed(0))
    weights = list(network.parameters())
    adversary = Adversary(network, 1e-3, 0.8, 0, torch.device("cpu"))
    batch = torch.rand(4, 3, 32, 32) * 2 - 1
    output = network(batch, quantize=True).images_B3HW
    (output - batch).abs().mean().backward(retain_graph=True)
    before = [weight.grad.clone() for weight in weights if weight.grad is not None]
    adversary.judge(batch, output, 1.0, weights)
    adversary.add_to(weights, ALONE)
    last = next(place for place, weight in enumerate(weights) if weight is last_weight(network))
    added = weights[last].grad - before[last]  # type: ignore[operator]
    assert float(added.norm()) == pytest.approx(0.8 * float(before[last].norm()), rel=0.01)


def test_a_discriminator_learns_to_tell() -> None:
    torch.manual_seed(0)
    network = build_network(FSQConfig(image_size=32, channels=8, num_blocks=1), torch.Generator().manual_seed(0))
    adversary = Adversary(network, 2e-3, 1.0, 0, torch.device("cpu"))
    assert isinstance(adversary._network, PatchDiscriminator)
    real, fake = torch.rand(4, 3, 32, 32) * 2 - 1, torch.zeros(4, 3, 32, 32)
    for _ in range(20):
        adversary._seen = [(real, fake, 1.0)]
        adversary.learn(2e-3, lambda: torch.autocast("cpu", enabled=False), ALONE)
    assert float((adversary._network(real) - adversary._network(fake)).detach().mean()) > 0.5
    assert adversary._network(torch.zeros(1, 3, 32, 48)).shape == (1, 1, 2, 4)


def test_a_decoder_alone_is_fitted_on() -> None:
    images = np.repeat(np.repeat(_noise(30, 8), 4, 1), 4, 2)
    pictures, config = ArrayPictures(images, seed=0), VQVAEConfig(**VQVAE)
    found = fit_tokenizer(pictures, config, seed=0, steps=20)
    assert found is not None
    first = ImageTokenizer(found[0])
    before = {key: values.clone() for key, values in found[0].state_dict().items()}
    again = fit_tokenizer(pictures, config, seed=1, steps=20, decoder_of=found[0])
    assert again is not None
    changed = {key for key, values in again[0].state_dict().items() if (values != before[key]).any()}
    assert changed
    assert all(key.startswith("decoder.") for key in changed)
    assert again[1].psnr_db > found[1].psnr_db
    second = ImageTokenizer(again[0], codes_of=first.codebook.fingerprint)
    assert second.codebook == first.codebook  # the same codes
    assert second.fingerprint != first.fingerprint
    assert (second.encode(images[:4]) == ImageTokenizer(again[0]).encode(images[:4])).all()


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 0}, {"micro_batch": 0}, {"discriminator": -1.0}, {"discriminator": float("nan")},
     {"learning_rate": 1.0}, {"discriminator_start": -1}],
    ids=lambda settings: next(iter(settings)),
)  # fmt: skip
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        FitSettings(**settings)


def test_too_small_pictures_for_a_discriminator_are_refused() -> None:
    pictures, config = ArrayPictures(_noise(side=16), seed=0), FSQConfig(image_size=16, channels=8)
    with pytest.raises(UserError, match="32 px per side"):
        fit_tokenizer(pictures, config, seed=0, steps=2, settings=FitSettings(discriminator=0.1))
