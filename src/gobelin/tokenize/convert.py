"""Converts published image tokenizers to gobelin's networks. The keys of a checkpoint determine its layout, and its
tensors the shape.

    layout      weights of                               recognised by
    taming      VQGAN (arXiv 2012.09841), Chameleon,     encoder.down.*, decoder.up.0 at full resolution
                Anole, latent diffusion's VQ and KL      (no quantize.*: a KL-VAE)
    janus       transformers' JanusVQVAE                 encoder.down.*, decoder.up.0 at the lowest resolution
    chameleon   transformers' ChameleonVQVAE             encoder.down.*, no decoder: such a tokenizer only encodes
    llamagen    LlamaGen's VQ-16 and VQ-8                encoder.conv_blocks.*
    diffusers   diffusers' VQModel and AutoencoderKL     encoder.down_blocks.*
    emu3        Emu3-VisionTokenizer, transformers'      encoder.time_conv.* (convert_emu3.py)
                Emu3VQVAE

In the layouts llamagen and janus, vectors and codes are normalised to length 1, as in LlamaGen and Janus.
(transformers' JanusVQVAE does not normalise when it encodes. The codes are the same if the rows of the codebook have
length 1.) The size of pictures is not part of the weights; it is an argument, with a default for the layout. Files are
safetensors, or pickles that are read with ``weights_only=True``, which builds only tensors and plain containers and
runs no code.
"""

from __future__ import annotations

import argparse
import dataclasses
import pickle
import re
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gobelin.errors import UserError
from gobelin.store.files import exists, files_in, is_folder, local_copy
from gobelin.tokenize.convert_emu3 import as_published, for_pictures, is_emu3, shape_of_emu3
from gobelin.tokenize.image_tokenizer import ImageTokenizer
from gobelin.tokenize.movq import MoVQ
from gobelin.tokenize.networks import make_network
from gobelin.tokenize.shapes import KLVAEConfig, MoVQConfig, VQGANConfig
from gobelin.tokenize.vqgan import VQGAN

Weights = dict[str, Tensor]

USUAL_SIZE = 256
CHAMELEON_SIZE = EMU3_SIZE = 512

_ROOT = re.compile(r"(.*?)encoder\.(?:conv_in\.weight|conv_blocks\.0\.)")
_TORCH_ADVICE = "Weights only load failed"
"""The start of torch's message for a file that could only be read by running code from it."""

_DROPPED = re.compile(r"(?:loss\.|quantize\.(?:codebook_used|embedding\.|_codebook|.*ema_)|model_ema\.)")
"""Entries of a checkpoint that are not part of the network. The codebook is read separately, by name."""

_OF_WHOLE_MODELS = re.compile(r"language_model|text_model|lm_head")
"""Parts of a whole Janus, Chameleon or Emu3 model that are not read."""

_DIFFUSERS = (
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.down_blocks\.", ".down."),
    (r"\.up_blocks\.", ".up."),
    (r"\.resnets\.", ".block."),
    (r"\.attentions\.", ".attn."),
    (r"\.downsamplers\.0\.", ".downsample."),
    (r"\.upsamplers\.0\.", ".upsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.group_norm\.", ".norm."),
    (r"\.(?:to_q|query)\.", ".q."),
    (r"\.(?:to_k|key)\.", ".k."),
    (r"\.(?:to_v|value)\.", ".v."),
    (r"\.(?:to_out\.0|proj_attn)\.", ".proj_out."),
)

_LLAMAGEN = (
    (r"^encoder\.conv_blocks\.", "encoder.down."),
    (r"^decoder\.conv_blocks\.", "decoder.up."),
    (r"\.mid\.0\.", ".mid.block_1."),
    (r"\.mid\.1\.", ".mid.attn_1."),
    (r"\.mid\.2\.", ".mid.block_2."),
    (r"\.res\.", ".block."),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Converted:
    """A converted tokenizer."""

    layout: str
    tokenizer: ImageTokenizer


def convert_tokenizer(address: str, *, size: int | tuple[int, int] | None = None, name: str | None = None) -> Converted:
    """Converts the tokenizer in this file, or in the safetensors files of this folder.

    Args:
        address: file or folder.
        size: side of its pictures, or height and width, in pixels; a multiple of a token's side. None: 512 for
            Chameleon and Emu3, otherwise 256.
        name: name of its codebook; by default that of the layout.

    Raises:
        UserError: there is no such file, it cannot be read safely, or its layout is unknown; the message lists some of
            its keys.
    """
    found = read_weights(address)
    weights = _strip(found)
    if weights is None:
        raise UserError(f"{address} is of no layout of an image tokenizer that is known here: {_look(found)}")
    try:
        if is_emu3(weights):
            layout, weights = "emu3", as_published(weights)
            shape = shape_of_emu3(weights, _trunk(weights, size or EMU3_SIZE))
            config: VQGANConfig | KLVAEConfig | MoVQConfig = shape
            inner = for_pictures(weights, shape)
        else:
            layout, weights = _to_taming(weights)
            config = _shape(weights, layout, size)
            inner = {key: tensor.float() for key, tensor in weights.items() if not _DROPPED.match(key)}
    except LookupError as error:
        raise UserError(
            f"{address} looks like a VQGAN, but its shape cannot be inferred ({error}): {_look(found)}"
        ) from None
    network = make_network(config).float()
    codes_Kd = weights.get("quantize.embedding.weight")
    own = {key for key in network.state_dict() if not key.startswith("quantizer.")}
    wrong = sorted(own ^ set(inner)) or sorted(
        key for key in own if network.state_dict()[key].shape != inner[key].shape
    )
    if wrong:
        raise UserError(
            f"{address} looks like a VQGAN of the layout {layout}, but {len(wrong)} weights are missing, unknown or of "
            f"another shape: {', '.join(wrong[:5])}"
        )
    network.load_state_dict(inner, strict=False)
    if codes_Kd is not None:
        assert isinstance(network, (VQGAN, MoVQ))
        network.quantizer.start_at(codes_Kd)
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise UserError(f"{address} holds weights that are not finite")
    return Converted(layout, ImageTokenizer(network, name=name or layout))


def read_weights(address: str) -> Weights:
    """Tensors of a file, or of the safetensors files of a folder, by key. Raises UserError if they cannot be read
    safely."""
    if is_folder(address):
        paths = [path for path in files_in(address) if path.endswith(".safetensors")]
        if not paths:
            raise UserError(f"{address} holds no safetensors files: give the file of the checkpoint")
        return {key: tensor for path in paths for key, tensor in _read_safetensors(path).items()}
    if not exists(address):
        raise UserError(f"{address}: no such file or folder")
    if address.endswith(".safetensors"):
        return _read_safetensors(address)
    return _read_pickle(address)


def _read_safetensors(address: str) -> Weights:
    try:
        with local_copy(address) as path, safe_open(path, "pt") as file:
            keys = list(file.keys())
            wanted = [key for key in keys if not _OF_WHOLE_MODELS.search(key)]
            return {key: file.get_tensor(key) for key in wanted}
    except SafetensorError as error:
        raise UserError(f"{address} is not safetensors: {error}") from None


def _read_pickle(address: str) -> Weights:
    try:
        with local_copy(address) as path, torch.serialization.safe_globals([argparse.Namespace]):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  # torch documents no exceptions for a damaged file
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        refused = next((line for line in lines if "Unsupported global" in line or "Unsupported class" in line), None)
        if isinstance(error, pickle.UnpicklingError) and refused is not None:
            raise UserError(
                f"{address} holds other objects than tensors, which gobelin never unpickles ({refused}). If you trust "
                "the file: torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW), and give NEW"
            ) from None
        told = "it is neither an archive nor a pickle of tensors" if lines[0].startswith(_TORCH_ADVICE) else lines[0]
        raise UserError(f"{address} is not a checkpoint of torch: {told}") from None
    for key in ("state_dict", "ema", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping) and content[key]:
            content = content[key]
    if not isinstance(content, Mapping):
        raise UserError(f"{address} holds a {type(content).__name__}, not a dictionary of tensors")
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _strip(weights: Weights) -> Weights | None:
    """The tensors of the tokenizer without the prefix of their names, or None if there are none."""
    roots = {match.group(1) for key in weights if (match := _ROOT.match(key))}
    named = {root for root in roots if f"{root}encoder.conv_out.weight" in weights}
    if len(named) != 1:
        return None
    (root,) = named
    return {key.removeprefix(root): tensor for key, tensor in weights.items() if key.startswith(root)}


def _to_taming(weights: Weights) -> tuple[str, Weights]:
    """The layout, and the weights under the names of the layout taming."""
    if any(key.startswith("encoder.conv_blocks.") for key in weights):
        return "llamagen", _reversed(_renamed(weights, _LLAMAGEN))
    if any(key.startswith("encoder.down_blocks.") for key in weights):
        renamed = _reversed(_renamed(weights, _DIFFUSERS))
        is_linear = re.compile(r".*\.attn(?:_1|\.\d+)\.(?:q|k|v|proj_out)\.weight")
        return "diffusers", {
            key: tensor[..., None, None] if is_linear.fullmatch(key) and tensor.ndim == 2 else tensor
            for key, tensor in renamed.items()
        }
    if "quantize.embed.weight" in weights:
        raise UserError(
            "this is a VQGAN with Gumbel quantization (quantize.embed, quantize.proj), which gobelin does not support"
        )
    if "decoder.conv_in.weight" not in weights:
        return "chameleon", {key: tensor for key, tensor in weights.items() if not key.startswith("post_quant_conv.")}
    if "decoder.up.0.upsample.conv.weight" in weights:
        return "janus", _reversed(weights)
    return "taming", weights


def _renamed(weights: Weights, rules: tuple[tuple[str, str], ...]) -> Weights:
    made = {}
    for key, tensor in weights.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        made[key] = tensor
    return made


def _reversed(weights: Weights) -> Weights:
    """Renumbers the levels of the decoder: from the full resolution, instead of in the order of execution."""
    number = _num_levels(weights, "decoder.up")
    return {
        re.sub(r"^decoder\.up\.(\d+)\.", lambda level: f"decoder.up.{number - 1 - int(level[1])}.", key): tensor
        for key, tensor in weights.items()
    }


def _num_levels(weights: Weights, stem: str) -> int:
    pattern = re.compile(re.escape(stem) + r"\.(\d{1,3})\.")
    return max((int(match[1]) + 1 for key in weights if (match := pattern.match(key))), default=0)


def _trunk(weights: Weights, size: int | tuple[int, int]) -> dict[str, Any]:
    """Fields of the trunk of an encoder."""
    channels = _side(weights, "encoder.conv_in.weight", 0)
    num_levels = _num_levels(weights, "encoder.down")
    widths = [_side(weights, f"encoder.down.{level}.block.0.conv1.weight", 0) for level in range(num_levels)]
    if any(width % channels for width in widths):
        raise LookupError(f"levels of {widths} channels are not multiples of {channels}")
    return {
        "image_size": size,
        "channels": channels,
        "multipliers": tuple(width // channels for width in widths),
        "num_blocks": _num_levels(weights, "encoder.down.0.block"),
        "attention_levels": tuple(
            level for level in range(num_levels) if f"encoder.down.{level}.attn.0.q.weight" in weights
        ),
    }


def _shape(weights: Weights, layout: str, size: int | tuple[int, int] | None) -> VQGANConfig | KLVAEConfig:
    has_codes, has_attention = "quantize.embedding.weight" in weights, any(".attn.0.q.weight" in key for key in weights)
    is_chameleon = layout == "chameleon" or (layout == "taming" and has_codes and not has_attention)
    trunk = _trunk(weights, size or (CHAMELEON_SIZE if is_chameleon else USUAL_SIZE))
    encoded = _side(weights, "encoder.conv_out.weight", 0)
    if not has_codes:
        latents = _side(weights, "post_quant_conv.weight", 1)
        return KLVAEConfig(**trunk, z_channels=encoded // 2, latent_channels=latents)
    return VQGANConfig(
        **trunk,
        z_channels=encoded,
        num_codes=_side(weights, "quantize.embedding.weight", 0),
        code_width=_side(weights, "quantize.embedding.weight", 1),
        normalize_codes=layout in ("llamagen", "janus"),
        has_decoder=layout != "chameleon",
    )


def _side(weights: Weights, key: str, axis: int) -> int:
    if key not in weights:
        raise LookupError(f"no {key}")
    return int(weights[key].shape[axis])


def _look(weights: Weights) -> str:
    """Describes keys in one line: their number, and one example per prefix."""
    if not weights:
        return "it holds no tensors"
    examples: dict[str, str] = {}
    for key in sorted(weights):
        examples.setdefault(".".join(key.split(".")[:2]), f"{key} {list(weights[key].shape)}")
    return f"{len(weights)} tensors, such as {', '.join(list(examples.values())[:6])}"
