"""The convolutional trunk, finite scalar quantization, latents, and what is measured of them."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gobelin.errors import UserError
from gobelin.tokenize.codebook import read_codebook
from gobelin.tokenize.fit import fit_images, fit_tokenizer
from gobelin.tokenize.fsq import FiniteScalarQuantizer
from gobelin.tokenize.image_tokenizer import ImageTokenizer, load_image_tokenizer, save_image_tokenizer
from gobelin.tokenize.networks import build_network
from gobelin.tokenize.pictures import ArrayPictures
from gobelin.tokenize.quality import QualityMeter, perplexity, psnr_db, ssim
from gobelin.tokenize.quantizer import EmaQuantizer
from gobelin.tokenize.shapes import FSQConfig, KLVAEConfig, TokenizerConfig, VQGANConfig
from gobelin.tokenize.vqgan import AttentionBlock, Downsample

torch.set_num_threads(1)

FSQ = FSQConfig(image_size=16, patch_size=4, levels=(4, 3, 5), channels=16, num_blocks=1)
VQGAN = VQGANConfig(
    norm_groups=2, image_size=(16, 8), channels=8, multipliers=(1, 2), num_blocks=1, attention_levels=(1,),
    z_channels=8, num_codes=16, code_width=4,
)  # fmt: skip
KLVAE = KLVAEConfig(
    norm_groups=2, image_size=(16, 8), channels=8, multipliers=(1, 2), num_blocks=1, z_channels=4, latent_channels=3
)
CONFIGS = [FSQ, VQGAN, KLVAE]


def colored(number: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Pictures with an upper and a lower half of one colour each."""
    colors = np.array([[230, 30, 30], [30, 30, 230], [30, 200, 30], [240, 240, 240]], dtype=np.uint8)
    top, bottom = colors[np.random.default_rng(seed).integers(4, size=(2, number))]
    images = np.empty((number, *size, 3), dtype=np.uint8)
    images[:, : size[0] // 2], images[:, size[0] // 2 :] = top[:, None, None], bottom[:, None, None]
    return images


def tokenizer_of(config: TokenizerConfig) -> ImageTokenizer:
    generator = torch.Generator().manual_seed(0)
    network = build_network(config, generator)
    if isinstance(getattr(network, "quantizer", None), EmaQuantizer):
        network.quantizer.start_at(torch.randn(network.quantizer.codes_Kd.shape, generator=generator))
    return ImageTokenizer(network)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_every_kind_has_the_same_interface(config: TokenizerConfig, tmp_path: Path) -> None:
    save_image_tokenizer(tokenizer_of(config), str(tmp_path))
    tokenizer = load_image_tokenizer(str(tmp_path))
    codebook = tokenizer.codebook
    assert codebook == read_codebook(str(tmp_path)) == tokenizer_of(config).codebook
    images = np.random.default_rng(0).integers(0, 256, (33, *config.size, 3), dtype=np.uint8)
    tokens = tokenizer.encode(images)
    assert tokens.shape[:2] == (33, codebook.rows * codebook.columns)
    assert (tokenizer.encode(images[3:4]) == tokens[3:4]).all()
    if codebook.is_continuous:
        assert (tokens.dtype, tokens.shape[2], codebook.num_codes) == (np.float16, 3, 1)
    else:
        assert tokens.dtype == np.int32
        assert 0 <= tokens.min() <= tokens.max() < codebook.num_codes
        assert len(np.unique(tokens)) > 1
    decoded = tokenizer.decode(tokens)
    assert (decoded.dtype, decoded.shape) == (np.uint8, images.shape)
    with pytest.raises(ValueError, match="must be B x"):
        tokenizer.decode(tokens[:, :-1])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_every_kind_learns(config: TokenizerConfig) -> None:
    network, metrics = fit_images(colored(80, config.size), config, seed=0, steps=250)
    tokenizer, fresh = ImageTokenizer(network), colored(20, config.size, 9)
    error = np.abs(tokenizer.decode(tokenizer.encode(fresh)).astype(int) - fresh).mean()
    assert error < 30  # of 255; a gray picture is off by about 90
    assert metrics.psnr_db > 9
    assert 0 < metrics.ssim <= 1
    if config.latent_channels:
        assert (metrics.codes_used, metrics.perplexity, metrics.reencode_ratio) == (0, 0, 0)
    else:
        assert 1 < metrics.perplexity <= metrics.codes_used <= config.num_codes


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
@pytest.mark.parametrize("stop_at", [2, 5])
def test_a_fit_that_was_stopped_goes_on_to_the_same_weights(
    config: TokenizerConfig, stop_at: int, tmp_path: Path
) -> None:
    pictures = ArrayPictures(colored(40, config.size), seed=3)
    whole = fit_tokenizer(pictures, config, seed=3, steps=8)
    done: list[int] = []
    stopped = fit_tokenizer(
        pictures, config, seed=3, steps=8, checkpoints=str(tmp_path), on_step=lambda step, _: done.append(step),
        stop=lambda: len(done) == stop_at,
    )  # fmt: skip
    assert stopped is None
    resumed = fit_tokenizer(
        pictures, config, seed=3, steps=8, checkpoints=str(tmp_path), on_step=lambda step, _: done.append(step)
    )
    assert done == list(range(1, 9))
    assert whole is not None
    assert resumed is not None
    assert ImageTokenizer(resumed[0]).codebook.fingerprint == ImageTokenizer(whole[0]).codebook.fingerprint
    assert resumed[1] == whole[1]
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path) -> None:
    pictures = ArrayPictures(colored(40, FSQ.size), seed=0)
    fit_tokenizer(pictures, FSQ, seed=0, steps=4, checkpoints=str(tmp_path), stop=lambda: True)
    with pytest.raises(UserError, match="other pictures, settings, seed"):
        fit_tokenizer(pictures, FSQ, seed=1, steps=4, checkpoints=str(tmp_path))
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="is not a checkpoint"):
        fit_tokenizer(pictures, FSQ, seed=0, steps=4, checkpoints=str(tmp_path))


def test_bfloat16_learns_too() -> None:
    pictures = ArrayPictures(colored(60, FSQ.size), seed=0)
    result = fit_tokenizer(pictures, FSQ, seed=0, steps=60, precision="bfloat16")
    assert result is not None
    assert result[1].psnr_db > 9
    assert all(value.dtype == torch.float32 for value in result[0].state_dict().values())


# ------------------------------------------------------------------------------------------------ FSQ


@pytest.mark.parametrize("levels", [(3,), (3, 4), (8, 5, 5), (4, 3, 6)])
def test_fsq_codes_are_the_points_of_a_grid(levels: tuple[int, ...]) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    number = math.prod(levels)
    vectors_Kd = quantizer.vectors_of(torch.arange(number))
    values = [sorted({(place - size // 2) / (size // 2) for place in range(size)}) for size in levels]
    expected = [list(reversed(point)) for point in itertools.product(*reversed(values))]  # first number fastest
    assert np.allclose(vectors_Kd, expected)
    assert vectors_Kd.abs().max() <= 1
    generator = torch.Generator().manual_seed(0)
    quantized, ids, loss = quantizer(torch.rand(20_000, len(levels), generator=generator) * 5 - 2.5)
    assert torch.allclose(quantizer.vectors_of(ids), quantized, atol=1e-6)
    assert loss == 0
    assert ids.unique().numel() == number
    assert (quantizer.nearest(torch.full((1, len(levels)), 1e4)) == number - 1).all()
    assert (quantizer.nearest(torch.full((1, len(levels)), -1e4)) == 0).all()


def test_fsq_needs_three_levels() -> None:
    with pytest.raises(UserError, match="at least 3"):
        FSQConfig(levels=(8, 2))


def test_fsq_passes_the_gradient_of_its_bound() -> None:
    vectors_Md = torch.tensor([[0.1, -0.2]], requires_grad=True)
    FiniteScalarQuantizer((5, 5))(vectors_Md)[0].sum().backward()
    assert vectors_Md.grad is not None
    assert (vectors_Md.grad > 0.5).all()


def test_fsq_agrees_with_another_implementation() -> None:
    package = pytest.importorskip("vector_quantize_pytorch", reason="vector-quantize-pytorch is not installed")
    levels = [8, 5, 5, 4]
    vectors_Md = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    quantized, ids = package.FSQ(levels)(vectors_Md[None])
    ours = FiniteScalarQuantizer(levels)
    assert (ours.nearest(vectors_Md) == ids[0]).all()
    assert torch.allclose(ours(vectors_Md)[0], quantized[0], atol=1e-6)


# ------------------------------------------------------------------------------------------------ trunk


def test_codes_of_length_one_are_compared_by_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    quantizer = EmaQuantizer(9, 3, normalize=True)
    codes_Kd = torch.randn(9, 3, generator=generator) * 5
    quantizer.start_at(codes_Kd)
    assert torch.allclose(quantizer.codes_Kd.norm(dim=1), torch.ones(9))
    vectors_Md = torch.randn(40, 3, generator=generator) * 7
    cosines = torch.nn.functional.cosine_similarity(vectors_Md[:, None], codes_Kd[None], dim=-1)
    assert (quantizer.nearest(vectors_Md) == cosines.argmax(1)).all()
    quantizer.update(vectors_Md, quantizer.nearest(vectors_Md), generator)
    assert torch.allclose(quantizer.codes_Kd.norm(dim=1), torch.ones(9))


def test_attention_is_the_published_one() -> None:
    torch.manual_seed(0)
    block = AttentionBlock(4, 2)
    x_BCHW = torch.randn(2, 4, 3, 2)
    with torch.no_grad():
        normed = block.norm(x_BCHW)
        q, k, v = (part(normed).flatten(2) for part in (block.q, block.k, block.v))
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) * 4**-0.5, dim=2)
        expected = x_BCHW + block.proj_out(torch.einsum("bcj,bij->bci", v, weights).view_as(x_BCHW))
        assert torch.allclose(block(x_BCHW), expected, atol=1e-5)


def test_halving_pads_right_and_below() -> None:
    block = Downsample(1)
    with torch.no_grad():
        block.conv.weight.fill_(0.0)
        block.conv.weight[0, 0, 0, 0] = 1.0
        block.conv.bias.zero_()  # type: ignore[union-attr]
        image = torch.arange(16.0).view(1, 1, 4, 4)
        assert block(image).flatten().tolist() == [0, 2, 8, 10]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 17}, "multiple of 2"),
        ({"image_size": (16, 0)}, "multiple of 2"),
        ({"attention_levels": (2,)}, "among the levels"),
        ({"multipliers": ()}, "among the levels"),
        ({"num_codes": 0}, "num_codes must be at least 1"),
        ({"num_blocks": 0}, "num_blocks must be at least 1"),
        ({"norm_groups": 5}, "does not divide"),
    ],
)
def test_impossible_trunks_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        VQGANConfig(**{"image_size": 16, "multipliers": (1, 2), "attention_levels": (), **change})  # type: ignore[arg-type]


def test_an_encoder_alone_says_that_it_cannot_decode() -> None:
    config = VQGANConfig(image_size=8, norm_groups=2, channels=8, multipliers=(1, 1), attention_levels=(), z_channels=8,
                         num_codes=4,
                         code_width=4, has_decoder=False)  # fmt: skip
    tokenizer = tokenizer_of(config)
    codes = tokenizer.encode(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="has only an encoder"):
        tokenizer.decode(codes)


# ------------------------------------------------------------------------------------------------ quality


def test_ssim_is_the_published_one() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(1, 1, 13, 12, generator=generator) * 2 - 1
    second = (first + 0.3 * torch.randn(first.shape, generator=generator)).clamp(-1, 1)
    steps = np.arange(11) - 5
    window = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for top, left in itertools.product(range(3), range(2)):
        x, y = (image[0, 0, top : top + 11, left : left + 11].double().numpy() for image in (first, second))
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy, c = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2, (window * x * y).sum() - mx * my
        values.append((2 * mx * my + 0.02**2) * (2 * c + 0.06**2) / ((mx**2 + my**2 + 0.02**2) * (vx + vy + 0.06**2)))
    assert ssim(first, second).item() == pytest.approx(float(np.mean(values)), abs=1e-4)
    assert ssim(first, first).item() == pytest.approx(1)
    assert ssim(first[..., :4, :4], second[..., :4, :4]).isfinite().all()


def test_quality_adds_up_over_batches() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    decoded = (images // 2 + 60).astype(np.uint8)
    one, two = QualityMeter(8), QualityMeter(8)
    one.add(images, decoded)
    two.add(images[:2], decoded[:2])
    two.add(images[2:], decoded[2:])
    one.add_codes(np.array([0, 0, 5, 5]))
    for code in (0, 0, 5, 5):
        two.add_codes(np.array([[code]]))
    first, second = one.result(), two.result()
    assert first.psnr_db == pytest.approx(second.psnr_db)
    assert first.ssim == pytest.approx(second.ssim, abs=1e-5)
    assert (second.num_images, second.codes_used) == (6, 2)
    assert second.perplexity == pytest.approx(2)
    assert psnr_db(255.0**2) == 0
    assert perplexity(np.zeros(3, dtype=np.int64)) == 0
