"""Converts Emu3's image tokenizer to ``movq.MoVQ``, from the published checkpoint (``Emu3-VisionTokenizer``) or from
transformers' ``Emu3VQVAE``, alone or as part of the whole model.

    transformers                              published, and here
    encoder.down_block.down.L.attn_norms.I    encoder.down.L.attn.I.norm
    encoder.middle_block.attn_norm            encoder.mid.attn_1.norm
    ....attn.I.q_proj (linear), .out_proj     ....attn.I.q (1 x 1 convolution), .proj_out

Layers over time become layers for pictures, whose frames are equal (``movq.py``). Convolutions over time are padded
with two frames of zeros before the first frame, and with none after the last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from gobelin.tokenize.shapes import MoVQConfig

Weights = dict[str, Tensor]

_BATCH_NORM_EPS = 1e-5

_NAMES = (
    (r"\.down_block\.down\.", ".down."),
    (r"\.up_block\.up\.", ".up."),
    (r"\.middle_block\.", ".mid."),
    (r"\.mid\.attn_norm\.", ".mid.attn_1.norm."),
    (r"\.attn_norms\.(\d+)\.", r".attn.\1.norm."),
    (r"\.(q|k|v)_proj\.", r".\1."),
    (r"\.out_proj\.", ".proj_out."),
)

_LINEAR = re.compile(r".*\.attn(?:_1|\.\d+)\.(?:q|k|v|proj_out)\.weight")


def is_emu3(weights: Mapping[str, Tensor]) -> bool:
    """Whether the weights are of Emu3's image tokenizer: its encoder has convolutions over time."""
    return "encoder.time_conv.0.conv.conv.weight" in weights


def as_published(weights: Mapping[str, Tensor]) -> Weights:
    """The weights under the names of the published checkpoint. Linear layers of attention become 1 x 1 convolutions."""
    made = {}
    for key, tensor in weights.items():
        for pattern, replacement in _NAMES:
            key = re.sub(pattern, replacement, key)
        made[key] = tensor[..., None, None] if _LINEAR.fullmatch(key) and tensor.ndim == 2 else tensor
    return made


def shape_of_emu3(weights: Mapping[str, Tensor], trunk: Mapping[str, object]) -> MoVQConfig:
    """The shape of the network with these weights, under their published names.

    Args:
        weights: tensors by published name.
        trunk: fields of the encoder's trunk.

    Raises:
        LookupError: a weight that is needed to infer the shape is missing.
    """
    num_convs = sum(bool(re.fullmatch(r"encoder\.time_conv\.\d+\.conv\.conv\.weight", key)) for key in weights)
    num_codes, code_width = _weight(weights, "quantize.embedding.weight").shape
    z_channels = len(_weight(weights, "encoder.conv_out.weight"))
    return MoVQConfig(**trunk, z_channels=z_channels, num_codes=num_codes, code_width=code_width, frames=2**num_convs)  # type: ignore[arg-type]


def for_pictures(weights: Mapping[str, Tensor], config: MoVQConfig) -> Weights:
    """The weights of ``movq.MoVQ`` without the codebook.

    Raises:
        LookupError: a weight of the layers over time is missing.
    """
    over_time = re.compile(r"(?:encoder|decoder)\.time_|quant_conv\.|post_quant_conv\.|quantize\.")
    made = {key: tensor.float() for key, tensor in weights.items() if not over_time.match(key)}
    for number, frames in enumerate(config.frames // 2**step for step in range(_num_convs(config))):
        stem = f"encoder.time_conv.{number}.conv.conv"
        kernel_oc4hw = _weight(weights, f"{stem}.weight").float()
        made[f"encoder_time.convs.{number}.weight"] = _halving(kernel_oc4hw, frames, are_equal=number == 0)
        bias_o = _weight(weights, f"{stem}.bias").float()
        made[f"encoder_time.convs.{number}.bias"] = bias_o.repeat(frames // 2)
    for number in range(_num_convs(config)):
        made |= _last_frame(weights, f"decoder.time_conv.{number}.conv.conv", f"decoder.time_convs.{number}")
    for number in range(config.num_blocks):
        made |= _block(weights, f"encoder.time_res_stack.{number}", f"encoder_time.blocks.{number}")
        made |= _block(weights, f"decoder.time_res_stack.{number}", f"decoder.time_blocks.{number}")
    for name in ("quant_conv", "post_quant_conv"):
        made |= _last_frame(weights, f"{name}.conv", name)
    return made


def _num_convs(config: MoVQConfig) -> int:
    return config.frames.bit_length() - 1


def _halving(kernel_oc4hw: Tensor, frames: int, are_equal: bool) -> Tensor:
    """Converts a convolution over time of width 4 and stride 2 to a convolution over frames that are stored next to
    each other in the channels.

    Args:
        kernel_oc4hw: output channels x input channels x 4 x height x width.
        frames: number of input frames. Two frames of zeros precede them.
        are_equal: all frames are equal and are given once.
    """
    out_channels, in_channels, _, *size = kernel_oc4hw.shape
    found = kernel_oc4hw.new_zeros(frames // 2, out_channels, frames, in_channels, *size)
    for made in range(frames // 2):
        for place in range(4):
            seen = 2 * made + place - 2
            if 0 <= seen < frames:
                found[made, :, seen] = kernel_oc4hw[:, :, place]
    if are_equal:
        found = found.sum(2, keepdim=True)
    return found.flatten(0, 1).flatten(1, 2)


def _last_frame(weights: Mapping[str, Tensor], stem: str, target: str) -> Weights:
    """A convolution over time at the first frame. All earlier frames are zeros, so only the kernel's last slice in time
    counts."""
    kernel = _weight(weights, f"{stem}.weight").float()
    return {f"{target}.weight": kernel[:, :, -1], f"{target}.bias": _weight(weights, f"{stem}.bias").float()}


def _block(weights: Mapping[str, Tensor], stem: str, target: str) -> Weights:
    made: Weights = {}
    for number in (1, 2):
        made |= _last_frame(weights, f"{stem}.conv{number}.conv", f"{target}.conv{number}")
        norm = f"{stem}.norm{number}"
        variance = _weight(weights, f"{norm}.running_var").float()
        scale = _weight(weights, f"{norm}.weight").float() * torch.rsqrt(variance + _BATCH_NORM_EPS)
        shift = _weight(weights, f"{norm}.bias").float() - _weight(weights, f"{norm}.running_mean").float() * scale
        made |= {f"{target}.norm{number}.weight": scale, f"{target}.norm{number}.bias": shift}
    return made


def _weight(weights: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in weights:
        raise LookupError(f"no {key}")
    return weights[key]
