"""The image tokenizer: quantizer, fit, files, and pictures to squares."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file

from gobelin.tokenize.codebook import Codebook, read_codebook
from gobelin.tokenize.fit import fit_images
from gobelin.tokenize.image_tokenizer import (
    ImageTokenizer,
    load_image_tokenizer,
    save_image_tokenizer,
)
from gobelin.tokenize.networks import Network, build_network
from gobelin.tokenize.pixels import to_float, to_uint8
from gobelin.tokenize.preprocess import preprocess
from gobelin.tokenize.quantizer import DECAY, EmaQuantizer
from gobelin.tokenize.shapes import VQVAEConfig
from gobelin.transforms.images.open_image import open_rgb

CONFIG = VQVAEConfig(image_size=16, patch_size=4, num_codes=16, code_width=4, channels=16, num_blocks=1)
COLORS = np.array([[230, 30, 30], [30, 30, 230], [30, 200, 30], [240, 240, 240]], dtype=np.uint8)


def halves(number: int, seed: int) -> np.ndarray:
    """Pictures with an upper and a lower half of one colour each."""
    top, bottom = COLORS[np.random.default_rng(seed).integers(len(COLORS), size=(2, number))]
    images = np.empty((number, 16, 16, 3), dtype=np.uint8)
    images[:, :8], images[:, 8:] = top[:, None, None], bottom[:, None, None]
    return images


@pytest.fixture(scope="module")
def fitted() -> Network:
    return fit_images(halves(200, 0), CONFIG, seed=0, steps=200)[0]


@pytest.fixture
def tokenizer() -> ImageTokenizer:
    return ImageTokenizer(_random_vqvae(CONFIG))


def _random_vqvae(config: VQVAEConfig) -> Network:
    generator = torch.Generator().manual_seed(0)
    model = build_network(config, generator)
    model.quantizer.codes_Kd.normal_(generator=generator).mul_(0.1)
    return model


def test_codes_are_the_nearest_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    quantizer = EmaQuantizer(7, 3)
    quantizer.codes_Kd.normal_(generator=generator)
    vectors_Md = torch.randn(50, 3, generator=generator)
    slow = [min(range(7), key=lambda k: float((v - quantizer.codes_Kd[k]).norm())) for v in vectors_Md]
    assert quantizer.nearest(vectors_Md).tolist() == slow


def test_gradient_passes_straight_through() -> None:
    quantizer = EmaQuantizer(2, 1)
    quantizer.codes_Kd.copy_(torch.tensor([[0.0], [1.0]]))
    vectors_Md = torch.tensor([[0.2], [0.9]], requires_grad=True)
    quantized_Md, indices_M, commitment = quantizer(vectors_Md)
    assert indices_M.tolist() == [0, 1]
    assert quantized_Md.flatten().tolist() == pytest.approx([0.0, 1.0])
    quantized_Md.sum().backward()
    assert vectors_Md.grad is not None
    assert vectors_Md.grad.flatten().tolist() == [1.0, 1.0]
    assert commitment.item() == pytest.approx((0.2**2 + 0.1**2) / 2)


def test_codes_follow_the_mean_of_what_they_win() -> None:
    quantizer = EmaQuantizer(2, 1)
    start_Kd = torch.tensor([[0.0], [10.0]])
    quantizer.codes_Kd.copy_(start_Kd)
    quantizer.sums_Kd.copy_(start_Kd)
    vectors_Md = torch.tensor([[1.0], [3.0], [9.0]])
    restarted = quantizer.update(vectors_Md, quantizer.nearest(vectors_Md), torch.Generator())
    assert restarted == 0
    counts = [DECAY + (1 - DECAY) * 2, 1.0]
    assert quantizer.counts_K.tolist() == pytest.approx(counts)
    assert quantizer.codes_Kd.flatten().tolist() == pytest.approx(
        [(1 - DECAY) * 4.0 / counts[0], DECAY * 10.0 + (1 - DECAY) * 9.0]
    )


def test_a_dead_code_restarts_on_a_vector_with_fresh_sums() -> None:
    quantizer = EmaQuantizer(2, 1)
    quantizer.codes_Kd.copy_(torch.tensor([[0.0], [500.0]]))
    quantizer.sums_Kd.copy_(torch.tensor([[0.0], [500.0]]))
    vectors_Md = torch.full((8, 1), 3.0)
    generator = torch.Generator().manual_seed(0)
    restarts = [quantizer.update(vectors_Md, quantizer.nearest(vectors_Md), generator) for _ in range(60)]
    assert restarts[0] == 0
    assert 1 in restarts
    # Old sums would leave it far away: 500 x decay^n over the fair share.
    assert quantizer.codes_Kd[1].item() == pytest.approx(3.0)


def test_codebook_starts_at_cluster_centres() -> None:
    generator = torch.Generator().manual_seed(3)
    centres_Kd = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    vectors_Md = centres_Kd.repeat(50, 1) + 0.1 * torch.randn(200, 2, generator=generator)
    quantizer = EmaQuantizer(16, 2)
    quantizer.start_from(vectors_Md, generator)
    assert quantizer.nearest(centres_Kd).unique().numel() == 4
    assert (torch.cdist(centres_Kd, quantizer.codes_Kd).min(1).values < 0.2).all()


def test_codebook_starts_from_fewer_vectors_than_codes() -> None:
    quantizer = EmaQuantizer(8, 1)
    quantizer.start_from(torch.tensor([[1.0], [2.0]]), torch.Generator().manual_seed(0))
    assert set(quantizer.codes_Kd.flatten().tolist()) == {1.0, 2.0}


def test_fit_learns_colours_it_was_not_shown(fitted: Network) -> None:
    images = halves(50, 99)
    tokenizer = ImageTokenizer(fitted)
    decoded = tokenizer.decode(tokenizer.encode(images)).astype(int)
    assert np.abs(decoded - images).mean() < 12  # of 255; a gray picture is off by about 90


def test_fit_reports_what_it_reached() -> None:
    losses: list[tuple[int, float]] = []
    _, metrics = fit_images(halves(60, 0), CONFIG, seed=0, steps=10, on_step=lambda *step: losses.append(step))
    assert [step for step, _ in losses] == list(range(1, 11))
    assert (metrics.num_images, metrics.num_held_out) == (57, 3)
    assert 1 <= metrics.perplexity <= metrics.codes_used <= CONFIG.num_codes
    assert 0 <= metrics.reencode_ratio <= 1
    assert 5 < metrics.psnr_db < 60


def test_fit_is_repeatable_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    states = []
    for seed in (1, 1, 2):
        model, _ = fit_images(halves(40, 0), CONFIG, seed=seed, steps=20)
        states.append(b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values()))
    assert states[0] == states[1]
    assert states[0] != states[2]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 8, 10, 3), np.uint8), "multiples of"),
        (np.zeros((4, 16, 16, 3), np.float32), "float32"),
        (np.zeros((1, 16, 16, 3), np.uint8), "two or more"),
    ],
)
def test_fit_refuses_other_images(images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_images(images, CONFIG, seed=0, steps=1)


def test_config_refuses_a_patch_that_does_not_divide() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        VQVAEConfig(image_size=56, patch_size=9)


def test_default_size() -> None:
    tokenizer = ImageTokenizer(_random_vqvae(VQVAEConfig()))
    codebook = tokenizer.codebook
    assert (tokenizer.size, codebook.grid, codebook.tokens_per_image, codebook.num_codes) == ((56, 56), (7, 7), 49, 256)
    assert sum(parameter.numel() for parameter in tokenizer.network.parameters()) == pytest.approx(0.437e6, rel=0.01)


def test_pixels_survive_the_change_of_range() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    images_B3SS = to_float(levels, torch.device("cpu"))
    assert (images_B3SS.min(), images_B3SS.max()) == (-1, 1)
    assert (to_uint8(images_B3SS) == levels).all()


def test_codes_of_an_image_do_not_depend_on_its_batch(tokenizer: ImageTokenizer) -> None:
    images = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)
    together = tokenizer.encode(images)
    assert together.dtype == np.int32
    assert together.shape == (70, 16)
    assert len(np.unique(together)) > 4
    assert (np.concatenate([tokenizer.encode(images[i : i + 1]) for i in range(70)]) == together).all()
    decoded = tokenizer.decode(together)
    assert decoded.shape == images.shape
    assert decoded.dtype == np.uint8
    assert tokenizer.encode(images[:0]).shape == (0, 16)


@pytest.mark.parametrize(
    ("codes", "message"),
    [(np.zeros((1, 15), int), "B x 16"), (np.full((1, 16), 16), r"\[0, 16\)"), (np.full((1, 16), -1), r"\[0, 16\)")],
)
def test_decode_refuses_what_are_no_codes(tokenizer: ImageTokenizer, codes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer.decode(codes)


def test_saved_tokenizer_is_the_same(tokenizer: ImageTokenizer, tmp_path: Path) -> None:
    save_image_tokenizer(tokenizer, str(tmp_path / "vq"))
    loaded = load_image_tokenizer(str(tmp_path / "vq"))
    images = halves(5, 1)
    assert loaded.codebook == tokenizer.codebook == read_codebook(str(tmp_path / "vq"))
    assert (loaded.encode(images) == tokenizer.encode(images)).all()
    save_image_tokenizer(tokenizer, str(tmp_path / "again"))
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "vq" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_other_weights_have_another_fingerprint(tokenizer: ImageTokenizer, tmp_path: Path) -> None:
    save_image_tokenizer(tokenizer, str(tmp_path))
    weights = load_file(tmp_path / "model.safetensors")
    weights["quantizer.codes_Kd"][0, 0] += 1
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="do not belong together"):
        load_image_tokenizer(str(tmp_path))


def _empty_folder(path: Path) -> Path:
    path.mkdir()
    return path


def _checkpoint(path: Path) -> Path:
    file = path.with_suffix(".ckpt")
    file.write_bytes(b"PK" * 50)
    return file


def _safetensors(path: Path) -> Path:
    file = path.with_suffix(".safetensors")
    save_file({"encoder.conv_in.weight": torch.zeros(1)}, file)
    return file


def _other_kind(path: Path) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"kind": "llamagen"}))
    save_file({"x": torch.zeros(1)}, path / "model.safetensors")
    return path


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: path, "does not exist"),
        (_empty_folder, "no files"),
        (_checkpoint, "a file of 100 bytes"),
        (_safetensors, "1 tensors .encoder.conv_in.weight"),
        (_other_kind, "describes no image tokenizer"),
    ],
)
def test_unknown_layouts_are_named(make: Callable[[Path], Path], found: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=found):
        load_image_tokenizer(str(make(tmp_path / "tokenizer")))


def test_a_square_of_the_right_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert (preprocess(PIL.Image.fromarray(pixels), (16, 16)) == pixels).all()


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (320, 32), (33, 32), (8, 4)])
def test_the_centre_of_a_picture_is_kept(size: tuple[int, int]) -> None:
    width, height = size
    picture = PIL.Image.new("RGB", size, "red")
    side = min(size)
    picture.paste("blue", ((width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2))
    square = preprocess(picture, (16, 16))
    assert square.shape == (16, 16, 3)
    assert (square[2:-2, 2:-2] == (0, 0, 255)).all()


def test_shrinking_averages() -> None:
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(preprocess(PIL.Image.fromarray(checks), (8, 8)).astype(int) - 127).max() < 8


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photograph_is_turned_once(orientation: int) -> None:
    picture = PIL.Image.new("RGB", (16, 16), "red")
    picture.paste("blue", (0, 0, 16, 8))
    exif, stream = PIL.Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    picture.save(stream, "PNG", exif=exif)
    opened = open_rgb(stream.getvalue(), 64)
    assert (preprocess(opened, (16, 16)) == np.asarray(opened)).all()


WIDE = VQVAEConfig(image_size=(8, 16), patch_size=4, num_codes=16, code_width=4, channels=16, num_blocks=1)


def test_pictures_need_not_be_square(tmp_path: Path) -> None:
    images = np.concatenate([halves(60, 0)[:, 4:12], halves(60, 1)[:, 4:12]])
    model, _ = fit_images(images, WIDE, seed=0, steps=200)
    save_image_tokenizer(ImageTokenizer(model, name="wide"), str(tmp_path))
    tokenizer = load_image_tokenizer(str(tmp_path))
    assert tokenizer.codebook == read_codebook(str(tmp_path))
    assert (tokenizer.codebook.name, tokenizer.codebook.grid, tokenizer.size) == ("wide", (2, 4), (8, 16))
    codes = tokenizer.encode(images[:9])
    assert codes.shape == (9, 8)
    assert np.abs(tokenizer.decode(codes).astype(int) - images[:9]).mean() < 12


def test_a_picture_is_cut_to_the_shape_of_its_grid() -> None:
    picture = PIL.Image.new("RGB", (100, 100), "red")
    picture.paste("blue", (0, 25, 100, 75))
    part = preprocess(picture, (20, 40))
    assert part.shape == (20, 40, 3)
    assert (part[2:-2] == (0, 0, 255)).all()
    assert preprocess(picture, (40, 20)).shape == (40, 20, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 24, 3), dtype=np.uint8)
    assert (preprocess(PIL.Image.fromarray(pixels), (8, 24)) == pixels).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "vqvae"}, "kind is 'vqvae'"),
        ({"kind": 3}, "kind is 3"),
        ({"num_codes": None}, "num_codes is None"),
        ({"num_codes": 0}, "num_codes must be at least 1"),
        ({"image_size": [16, 18]}, "does not divide"),
        ({"fingerprint": 7}, "no fingerprint"),
    ],
)
def test_a_description_is_checked_without_weights(change: dict[str, object], message: str, tmp_path: Path) -> None:
    save_image_tokenizer(ImageTokenizer(_random_vqvae(CONFIG)), str(tmp_path))
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**described, **change}))
    with pytest.raises(ValueError, match=message):
        read_codebook(str(tmp_path))


def test_what_a_codebook_says() -> None:
    codebook = Codebook(name="a", kind="vqvae", num_codes=256, rows=2, columns=3, fingerprint="0" * 64)
    assert (codebook.grid, codebook.tokens_per_image, codebook.bits_per_image) == ((2, 3), 6, 48)
    assert not codebook.is_continuous


def test_weights_of_another_shape_are_refused(tokenizer: ImageTokenizer, tmp_path: Path) -> None:
    save_image_tokenizer(tokenizer, str(tmp_path))
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**described, "channels": 8}))
    with pytest.raises(ValueError, match="does not hold the weights"):
        load_image_tokenizer(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(ValueError, match="does not hold the weights"):
        load_image_tokenizer(str(tmp_path))
