"""Published layouts of image tokenizers, on random weights: the same codes and pictures come out as went in."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from gobelin.errors import UserError
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.tokenizers.fit import shape_of
from gobelin.tokenize.agreement import drawn_pictures
from gobelin.tokenize.convert import convert_tokenizer
from gobelin.tokenize.image_tokenizer import ImageTokenizer, load_image_tokenizer, save_image_tokenizer
from gobelin.tokenize.networks import build_network
from gobelin.tokenize.shapes import KLVAEConfig, MoVQConfig, VQGANConfig
from gobelin.tokenize.vqgan import VQGAN

torch.set_num_threads(1)

Weights = dict[str, Tensor]
LEVELS = 3
SHAPE: dict[str, Any] = {
    "image_size": 16, "channels": 32, "multipliers": (1, 1, 2), "num_blocks": 1, "attention_levels": (2,),
    "z_channels": 16,
}  # fmt: skip


def published(**change: Any) -> tuple[ImageTokenizer, Weights]:
    """A VQGAN of random weights, and its weights as taming-transformers names them."""
    config = VQGANConfig(**{**SHAPE, "num_codes": 24, "code_width": 8, **change})
    generator = torch.Generator().manual_seed(1)
    network = build_network(config, generator)
    assert isinstance(network, VQGAN)
    images = torch.rand(6, 3, 16, 16, generator=generator) * 2 - 1
    with torch.no_grad():
        codes_Kd = network.vectors(images)[: config.num_codes]  # near what is encoded, so that many are used
    network.quantizer.start_at(codes_Kd)
    weights = {key: value for key, value in network.state_dict().items() if not key.startswith("quantizer.")}
    return ImageTokenizer(network), {**weights, "quantize.embedding.weight": codes_Kd}


def renamed(weights: Weights, *rules: tuple[str, str]) -> Weights:
    made = {}
    for key, tensor in weights.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        made[key] = tensor
    return made


def executed(weights: Weights) -> Weights:
    """Levels of the decoder in the order of their execution."""
    return {
        re.sub(r"^decoder\.up\.(\d)", lambda level: f"decoder.up.{LEVELS - 1 - int(level[1])}", key): tensor
        for key, tensor in weights.items()
    }


def as_llamagen(weights: Weights) -> dict[str, Any]:
    inner = renamed(
        executed(weights),
        (r"mid\.block_1", "mid.0"), (r"mid\.attn_1", "mid.1"), (r"mid\.block_2", "mid.2"), (r"\.block\.", ".res."),
        (r"^encoder\.down\.", "encoder.conv_blocks."), (r"^decoder\.up\.", "decoder.conv_blocks."),
    )  # fmt: skip
    inner["quantize.codebook_used"] = torch.zeros(65536)
    return {"model": inner, "optimizer": {}, "steps": 7, "args": argparse.Namespace(lr=1e-4)}


def as_diffusers(weights: Weights) -> Weights:
    linear = {
        key: tensor[:, :, 0, 0] if re.search(r"attn(_1|\.\d)\.(q|k|v|proj_out)\.weight$", key) else tensor
        for key, tensor in executed(weights).items()
    }
    return renamed(
        linear,
        (r"mid\.block_1\.", "mid_block.resnets.0."), (r"mid\.block_2\.", "mid_block.resnets.1."),
        (r"mid\.attn_1\.", "mid_block.attentions.0."), (r"^encoder\.down\.", "encoder.down_blocks."),
        (r"^decoder\.up\.", "decoder.up_blocks."), (r"\.block\.", ".resnets."), (r"\.attn\.", ".attentions."),
        (r"\.downsample\.", ".downsamplers.0."), (r"\.upsample\.", ".upsamplers.0."),
        (r"nin_shortcut", "conv_shortcut"), (r"norm_out", "conv_norm_out"),
        (r"(attentions\.\d)\.norm\.", r"\1.group_norm."), (r"(attentions\.\d)\.(q|k|v)\.", r"\1.to_\2."),
        (r"\.proj_out\.", ".to_out.0."),
    )  # fmt: skip


def as_lightning(weights: Weights) -> dict[str, Any]:
    losses = {
        "loss.discriminator.main.0.weight": torch.zeros(2),
        "loss.perceptual_loss.lin0.model.1.weight": torch.ones(1),
    }
    return {"state_dict": {**weights, **losses}, "epoch": 3, "global_step": 9}


@pytest.mark.parametrize(
    ("layout", "store", "change"),
    [
        ("taming", as_lightning, {}),
        ("taming", lambda weights: weights, {"attention_levels": ()}),
        ("taming", lambda weights: {f"first_stage_model.{key}": value for key, value in weights.items()}, {}),
        ("llamagen", as_llamagen, {"normalize_codes": True}),
        ("llamagen", lambda weights: {**as_llamagen(weights), "model": as_llamagen(weights)["model"]},
         {"normalize_codes": True, "multipliers": (1, 1, 4)}),
        ("janus", executed, {"normalize_codes": True}),
        ("janus", lambda weights: {f"model.vqmodel.{key}": value for key, value in executed(weights).items()},
         {"normalize_codes": True, "num_blocks": 2}),
        ("diffusers", as_diffusers, {}),
    ],
)  # fmt: skip
def test_every_layout_gives_the_codes_and_pictures_it_was_made_of(
    layout: str, store: Callable[[Weights], Any], change: dict[str, Any], tmp_path: Path
) -> None:
    original, weights = published(**change)
    stored = store(weights)
    if any(isinstance(value, dict) for value in stored.values()):
        torch.save(stored, tmp_path / "model.ckpt")
        file = tmp_path / "model.ckpt"
    else:
        file = tmp_path / "model.safetensors"
        save_file({key: value.contiguous() for key, value in stored.items()}, file)
    converted = convert_tokenizer(str(file), size=16)
    assert converted.layout == converted.tokenizer.codebook.name == layout
    save_image_tokenizer(converted.tokenizer, str(tmp_path / "out"))
    tokenizer = load_image_tokenizer(str(tmp_path / "out"))
    assert tokenizer.network.config == original.network.config
    assert tokenizer.codebook.fingerprint == original.codebook.fingerprint
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    codes = tokenizer.encode(images)
    assert len(np.unique(codes)) > 3
    assert (codes == original.encode(images)).all()
    assert (tokenizer.decode(codes) == original.decode(codes)).all()


def test_the_encoder_of_chameleon_encodes_only(tmp_path: Path) -> None:
    original, weights = published(attention_levels=())
    encoder = {
        f"model.vqmodel.{key}": value
        for key, value in weights.items()
        if not key.startswith(("decoder.", "post_quant_conv."))
    }
    save_file({**encoder, "model.layers.0.weight": torch.zeros(3)}, tmp_path / "chameleon.safetensors")
    converted = convert_tokenizer(str(tmp_path), size=(16, 32))  # a folder, and wide pictures
    assert (converted.layout, converted.tokenizer.codebook.grid) == ("chameleon", (4, 8))
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 32, 3), dtype=np.uint8)
    codes = converted.tokenizer.encode(images)
    square = convert_tokenizer(str(tmp_path), size=16).tokenizer
    assert (square.encode(images[:, :, :16]) == original.encode(images[:, :, :16])).all()
    with pytest.raises(UserError, match="only an encoder"):
        converted.tokenizer.decode(codes)


def test_usual_sizes() -> None:
    from gobelin.tokenize.convert import _shape

    for layout, change, side in (("taming", {}, 256), ("taming", {"attention_levels": ()}, 512), ("llamagen", {}, 256)):
        assert _shape(published(**change)[1], layout, None).image_size == side


@pytest.mark.parametrize("store", [lambda weights: weights, as_diffusers])
def test_latents_come_from_a_kl_vae(store: Callable[[Weights], Weights], tmp_path: Path) -> None:
    network = build_network(KLVAEConfig(**{**SHAPE, "z_channels": 6}, latent_channels=5), torch.Generator())
    original = ImageTokenizer(network)
    save_file({k: v.contiguous() for k, v in store(dict(network.state_dict())).items()}, tmp_path / "kl.safetensors")
    tokenizer = convert_tokenizer(str(tmp_path / "kl.safetensors"), size=16, name="kl").tokenizer
    assert tokenizer.codebook == original.codebook.__class__.of(network.config, original.codebook.fingerprint, "kl")
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    latents = tokenizer.encode(images)
    assert latents.shape == (2, 16, 5)
    assert (latents == original.encode(images)).all()
    assert (tokenizer.decode(latents) == original.decode(latents)).all()


class Trap:
    """A pickle that runs code when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('the pickle ran')",)


def _save(content: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"PK" * 50), "is not a checkpoint of torch"),
        (lambda path: path.write_bytes(b""), "is not a checkpoint of torch"),
        (_save({"state_dict": {"x": Trap()}}), "gobelin never unpickles"),
        (_save([1, 2]), "holds a list"),
        (_save({"a": 1}), "it holds no tensors"),
        (_save({"visual.conv1.weight": torch.zeros(3, 4)}), r"1 tensors, such as visual.conv1.weight \[3, 4\]"),
        (
            _save({"encoder.conv_in.weight": torch.zeros(3), "encoder.conv_out.weight": torch.zeros(3)}),
            "its shape cannot be inferred",
        ),
    ],
)
def test_other_files_are_told_what_they_look_like(write: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    write(tmp_path / "model.pt")
    with pytest.raises(UserError, match=message):
        convert_tokenizer(str(tmp_path / "model.pt"))


def _without(key: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: value for name, value in weights.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("encoder.mid.attn_1.q.weight"), r"1 weights are missing.*mid\.attn_1\.q\.weight"),
        (lambda weights: {**weights, "encoder.mid.spade.weight": torch.zeros(1)}, r"1 weights.*mid\.spade"),
        (lambda weights: {**weights, "quant_conv.bias": torch.zeros(3)}, r"quant_conv\.bias"),
        (lambda weights: {**weights, "quant_conv.bias": torch.full((8,), torch.nan)}, "not finite"),
        (lambda weights: {**weights, "quantize.embed.weight": torch.zeros(3, 3)}, "Gumbel"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(
    change: Callable[[Weights], Weights], message: str, tmp_path: Path
) -> None:
    save_file(change(published()[1]), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=message):
        convert_tokenizer(str(tmp_path / "model.safetensors"), size=16)


# ------------------------------------------------------------------------------------------------ beside transformers


IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
TOY: dict[str, Any] = {
    "embed_dim": 8, "num_embeddings": 24, "latent_channels": 16, "base_channels": 32,
    "channel_multiplier": [1, 1, 2], "num_res_blocks": 1, "double_latent": False, "in_channels": 3,
}  # fmt: skip


def _start(theirs: Any, length_one: bool) -> None:
    """Random weights, and a codebook near what is encoded."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.08, generator=generator)
        vectors_Md = theirs.quant_conv(theirs.encoder(IMAGES)).movedim(1, -1).flatten(0, 2)[:24]
        theirs.quantize.embedding.weight.copy_(F.normalize(vectors_Md) if length_one else vectors_Md)


def _codes(theirs: Any) -> Tensor:
    with torch.no_grad():
        found = theirs.encode(IMAGES)
    codes = found[2] if isinstance(found, tuple) else found.image_tokens
    assert len(codes.unique()) > 3
    return codes.view(len(IMAGES), -1)


def test_codes_and_pictures_of_transformers_janus(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from transformers.models.janus.configuration_janus import JanusVQVAEConfig
    from transformers.models.janus.modeling_janus import JanusVQVAE

    theirs = JanusVQVAE(JanusVQVAEConfig(**TOY, out_channels=3, num_patches=4, projection_dim=8)).eval()
    _start(theirs, length_one=True)
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, tmp_path / "janus.safetensors")
    converted = convert_tokenizer(str(tmp_path / "janus.safetensors"), size=16)
    assert converted.layout == "janus"
    ours, codes = converted.tokenizer.network, _codes(theirs)
    assert (ours.encode(IMAGES) == codes).all()
    with torch.no_grad():
        decoded = theirs.decode(codes)
    assert torch.allclose(ours.decode(codes), decoded.clamp(-1, 1), atol=1e-4)


def test_codes_of_transformers_chameleon(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
    from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAE

    theirs = ChameleonVQVAE(ChameleonVQVAEConfig(**TOY, resolution=16, attn_resolutions=None)).eval()
    _start(theirs, length_one=False)
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, tmp_path / "vq.safetensors")
    converted = convert_tokenizer(str(tmp_path / "vq.safetensors"), size=16)
    assert converted.layout == "chameleon"
    assert (converted.tokenizer.network.encode(IMAGES) == _codes(theirs)).all()


def _emu3s(frames: int, multipliers: tuple[int, ...] = (1, 1, 2), num_blocks: int = 1) -> Any:
    """transformers' Emu3VQVAE with random weights, statistics of its batch norms too, and a codebook near what it
    encodes."""
    from transformers.models.emu3.configuration_emu3 import Emu3VQVAEConfig
    from transformers.models.emu3.modeling_emu3 import Emu3VQVAE

    config = Emu3VQVAEConfig(
        codebook_size=24, temporal_downsample_factor=frames, base_channels=32, channel_multiplier=list(multipliers),
        num_res_blocks=num_blocks, attn_resolutions=[2], hidden_size=32 * multipliers[-1],
    )  # fmt: skip
    theirs = Emu3VQVAE(config).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, values in [*theirs.named_parameters(), *theirs.named_buffers()]:
            if values.is_floating_point():
                values.copy_(torch.randn(values.shape, generator=generator) / max(1, values[0].numel()) ** 0.5)
            if name.endswith("running_var"):
                values.abs_().add_(0.1)
            elif values.ndim == 1 and "norm" in name and name.endswith("weight"):
                values.abs_().add_(0.5)
        hidden = theirs.encoder(IMAGES.unsqueeze(1).repeat(1, frames, 1, 1, 1)).permute(0, 2, 1, 3, 4)
        vectors_Md = theirs.quant_conv(hidden).movedim(1, -1).flatten(0, 3)
        theirs.quantize.embedding.weight.copy_(vectors_Md[::2][:24])
    return theirs


def _as_published_by_emu3(weights: Weights) -> Weights:
    """The names of the file Emu3-VisionTokenizer, whose attention is made of 1 x 1 convolutions."""
    made = renamed(
        weights,
        (r"\.down_block\.down\.", ".down."), (r"\.up_block\.up\.", ".up."), (r"\.middle_block\.", ".mid."),
        (r"\.attn_norm\.", ".attn_1.norm."), (r"\.attn_norms\.(\d)\.", r".attn.\1.norm."),
        (r"\.(q|k|v)_proj\.", r".\1."), (r"\.out_proj\.", ".proj_out."),
    )  # fmt: skip
    is_linear = re.compile(r".*attn(_1|\.\d)\.(q|k|v|proj_out)\.weight")
    return {key: tensor[..., None, None] if is_linear.fullmatch(key) else tensor for key, tensor in made.items()}


@pytest.mark.parametrize("frames", [2, 4, 8])
@pytest.mark.parametrize("names", ["transformers", "published", "whole model"])
def test_codes_and_pictures_of_transformers_emu3(names: str, frames: int, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    theirs = _emu3s(frames, num_blocks=1 + (frames == 4))
    weights: Weights = theirs.state_dict()
    if names == "published":
        weights = _as_published_by_emu3(weights)
    if names == "whole model":
        weights = {f"model.vqmodel.{key}": tensor for key, tensor in weights.items()}
        weights |= {"model.text_model.norm.weight": torch.zeros(3), "lm_head.weight": torch.zeros(3, 3)}
    save_file({key: value.contiguous() for key, value in weights.items()}, tmp_path / "emu3.safetensors")
    converted = convert_tokenizer(str(tmp_path / "emu3.safetensors"), size=16)
    assert converted.layout == converted.tokenizer.codebook.name == "emu3"
    assert converted.tokenizer.codebook.grid == (4, 4)
    save_image_tokenizer(converted.tokenizer, str(tmp_path / "out"))
    ours = load_image_tokenizer(str(tmp_path / "out")).network
    with torch.no_grad():
        found = theirs.encode(IMAGES, torch.tensor([[16, 16]] * len(IMAGES))).image_tokens
        codes = torch.stack([each.flatten() for each in found])
        decoded = theirs.decode(codes.unflatten(1, (4, 4)))
    assert len(codes.unique()) > 10
    assert decoded.std() > 0.1
    assert (ours.encode(IMAGES) == codes).all()
    assert torch.allclose(ours.decode(codes), decoded.clamp(-1, 1), atol=1e-4)
    wide = torch.arange(8).remainder(24)[None]  # a grid that is not square
    with torch.no_grad():
        expected = theirs.decode(wide.unflatten(1, (2, 4)))
    assert torch.allclose(ours.decode(wide, (2, 4)), expected.clamp(-1, 1), atol=1e-4)


def test_an_emu3_that_lacks_a_weight_is_told_which(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    weights = _emu3s(4).state_dict()
    for missing, named in (
        ("encoder.time_res_stack.0.norm1.running_var", "no encoder.time_res_stack.0.norm1.running_var"),
        (
            "decoder.up_block.up.1.upsample.conv.bias",
            "1 weights are missing, unknown or of another shape: decoder.up.1",
        ),
    ):
        kept = {key: value.contiguous() for key, value in weights.items() if key != missing}
        save_file(kept, tmp_path / "emu3.safetensors")
        with pytest.raises(UserError, match=re.escape(named)):
            convert_tokenizer(str(tmp_path / "emu3.safetensors"), size=16)


def test_the_decoder_of_an_emu3_is_fitted_on_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = MoVQConfig(image_size=16, channels=32, multipliers=(1, 1, 2), num_blocks=1, attention_levels=(2,),
                        num_codes=24)  # fmt: skip
    network = build_network(config, torch.Generator().manual_seed(0))
    network.quantizer.start_at(torch.randn(24, 4, generator=torch.Generator().manual_seed(1)))
    save_image_tokenizer(ImageTokenizer(network), str(tmp_path / "first"))
    (tmp_path / "pictures").mkdir()
    for number, pixels in enumerate(drawn_pictures((20, 20))[:6]):
        PIL.Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    line = [
        "fit-tokenizer",
        str(tmp_path / "pictures"),
        "--output",
        str(tmp_path / "second"),
        "--threads=1",
        "--quiet",
        "--precision=float32",
    ]
    assert main([*line, "--decoder-of", str(tmp_path / "first"), "--steps=1", "--batch-size=2"]) == 0
    first, second = (load_image_tokenizer(str(tmp_path / name)) for name in ("first", "second"))
    assert second.codebook == first.codebook
    assert second.fingerprint != first.fingerprint
    capsys.readouterr()
    assert main(["tokenizer", "show", str(tmp_path / "second"), str(tmp_path / "pictures")]) == 0
    assert "4 x 4 = 16 tokens an image" in capsys.readouterr().out
    with pytest.raises(UserError, match="no kind of image tokenizer is called 'movq'"):
        shape_of("movq", ())
