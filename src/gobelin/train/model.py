"""A compact decoder-only language model over mixed sequences of text and image tokens.

Pre-norm RMSNorm, rotary positions (arXiv 2104.09864), SwiGLU (arXiv 2002.05202), RMS-normalised queries and keys
(arXiv 2405.09818 needs it to train mixed modalities stably), output projections that start at zero, no biases, an
untied head. Besides its id, an image token has a learned embedding of its place in the picture, which follows from
the tokens themselves. Rows may pack several pieces of documents; a piece attends only to itself, and its positions
start at 0. With the default shape, training does about 9 thousand tokens a second of one CPU core.
"""

from __future__ import annotations

import dataclasses
import json

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from gobelin.errors import UserError
from gobelin.store.files import exists, local_copy, local_output, read_json, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.config import LMConfig

# B rows, T tokens of a row, S tokens that may be attended to, D model width, H heads, K width of a head, V vocabulary

CONFIG_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"
INIT_STD = 0.02
NORM_EPS = 1e-6
ROPE_BASE = 10_000.0


@dataclasses.dataclass(slots=True)
class KVCache:
    """Keys and values of the tokens so far, for each layer; B x H x capacity x K."""

    keys: list[Tensor]
    values: list[Tensor]
    length: int = 0  # tokens filled


class Attention(nn.Module):
    """Causal self-attention with rotary positions and normalised queries and keys."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.qk_scale_2K = nn.Parameter(torch.empty(2, config.width // config.num_heads))

    def forward(
        self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor], bias_BTS: Tensor, cache: KVCache | None, layer: int
    ) -> Tensor:
        qkv_BT3HK = self.qkv(x_BTD).unflatten(-1, (3, self.num_heads, -1))
        qk_BT2HK, v_BT1HK = qkv_BT3HK.split((2, 1), 2)
        qk_BT2HK = F.rms_norm(qk_BT2HK, qk_BT2HK.shape[-1:], eps=NORM_EPS) * self.qk_scale_2K[:, None]
        q_BHTK, k_BHSK = _rotate(qk_BT2HK, rotation).transpose(1, 3).unbind(2)
        v_BHSK = v_BT1HK[:, :, 0].transpose(1, 2)
        if cache is not None:
            stop = cache.length + x_BTD.shape[1]
            cache.keys[layer][:, :, cache.length : stop] = k_BHSK
            cache.values[layer][:, :, cache.length : stop] = v_BHSK
            k_BHSK, v_BHSK = cache.keys[layer][:, :, :stop], cache.values[layer][:, :, :stop]
        y_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, attn_mask=bias_BTS[:, None])
        return self.out(y_BHTK.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a gated hidden layer (SwiGLU), each behind a norm and added to its input."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=NORM_EPS)
        self.attention = Attention(config)
        self.hidden_norm = nn.RMSNorm(config.width, eps=NORM_EPS)
        self.gate_up = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(
        self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor], bias_BTS: Tensor, cache: KVCache | None, layer: int
    ) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), rotation, bias_BTS, cache, layer)
        gate_BTF, up_BTF = self.gate_up(self.hidden_norm(x_BTD)).chunk(2, -1)
        return x_BTD + self.down(F.silu(gate_BTF) * up_BTF)


class LanguageModel(nn.Module):
    """Tokens to logits of the next token."""

    def __init__(self, config: LMConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary.size, config.width)
        self.place_embedding = nn.Embedding(vocabulary.max_tokens_per_image, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.width, eps=NORM_EPS)
        self.head = nn.Linear(config.width, vocabulary.size, bias=False)

    def forward(self, tokens_BT: Tensor, pieces_BT: Tensor) -> Tensor:
        """Logits B x T x V of whole rows; see ``features``."""
        return self.head(self.features(tokens_BT, pieces_BT))

    def features(self, tokens_BT: Tensor, pieces_BT: Tensor) -> Tensor:
        """What the head makes logits of, B x T x D.

        Args:
            tokens_BT: ids of the vocabulary.
            pieces_BT: which piece each token belongs to; a piece is a run of equal numbers. A token sees the tokens
                of its own piece up to itself. Padding is a piece like any other.
        """
        mask_BTT = _piece_mask(pieces_BT)
        places_BT = places_in_picture(tokens_BT, self.vocabulary)
        return self._run(tokens_BT, piece_positions(pieces_BT), places_BT, mask_BTT, None)

    def extend(
        self, tokens_BT: Tensor, positions_BT: Tensor, places_BT: Tensor, visible_BS: Tensor, cache: KVCache
    ) -> Tensor:
        """Logits B x T x V of tokens that continue those in the cache, which grows by them.

        Args:
            positions_BT: position of each token in its document; any value where it is padding.
            places_BT: as ``places_in_picture`` gives.
            visible_BS: whether each token, cached or new, is real (S = cached + T); False for padding on the left.
        """
        num_cached, num_new = cache.length, tokens_BT.shape[1]
        order = torch.arange(num_cached + num_new, device=tokens_BT.device)
        mask_BTS = visible_BS[:, None, :] & (order <= order[num_cached:, None])
        # A row of padding sees itself, or its softmax would be over nothing.
        mask_BTS = mask_BTS | (order == order[num_cached:, None])
        x_BTD = self._run(tokens_BT, positions_BT, places_BT, mask_BTS, cache)
        cache.length += num_new
        return self.head(x_BTD)

    def new_cache(self, num_rows: int, capacity: int) -> KVCache:
        """An empty cache for this many rows and tokens."""
        config, weight = self.config, self.head.weight
        shape = (num_rows, config.num_heads, capacity, config.width // config.num_heads)
        keys = [weight.new_zeros(shape) for _ in self.blocks]
        return KVCache(keys, [torch.zeros_like(key) for key in keys])

    def _run(
        self, tokens_BT: Tensor, positions_BT: Tensor, places_BT: Tensor, mask_BTS: Tensor, cache: KVCache | None
    ) -> Tensor:
        in_picture_BT1 = (places_BT >= 0).unsqueeze(-1)
        x_BTD = self.embedding(tokens_BT) + self.place_embedding(places_BT.clamp(min=0)) * in_picture_BT1
        rotation = _rotation(positions_BT, self.config.width // self.config.num_heads)
        bias_BTS = torch.zeros_like(mask_BTS, dtype=x_BTD.dtype).masked_fill(~mask_BTS, -torch.inf)
        for layer, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, rotation, bias_BTS, cache, layer)
        return self.norm(x_BTD)


def build_model(
    config: LMConfig, vocabulary: Vocabulary, generator: torch.Generator, device: torch.device | str = "cpu"
) -> LanguageModel:
    """A model with fresh weights: normal of deviation 0.02, zero for output projections and head.

    The generator lives on the CPU, so the same seed gives the same weights on every device.
    """
    with torch.device("meta"):
        model = LanguageModel(config, vocabulary)
    model.to_empty(device="cpu")
    for name, parameter in model.named_parameters():
        if name.endswith(("norm.weight", "qk_scale_2K")):
            nn.init.ones_(parameter)
        elif name == "head.weight" or name.endswith(("attention.out.weight", "down.weight")):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2 and not name.endswith("embedding.weight"):
            nn.init.normal_(parameter, std=config.width**-0.5, generator=generator)
        else:
            nn.init.normal_(parameter, std=INIT_STD, generator=generator)
    return model.to(device)


def places_in_picture(tokens_BT: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Place in [0, N) of each image token in its picture, raster order; -1 for every other token.

    Pictures in a row must be whole, except that the last one may stop early.
    """
    index_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
    in_picture_BT = tokens_BT >= vocabulary.image_offset
    last_other_BT = torch.where(in_picture_BT, -1, index_T).cummax(1).values
    return torch.where(in_picture_BT, index_T - last_other_BT - 1, -1)


def piece_positions(pieces_BT: Tensor) -> Tensor:
    """Position of each token in its piece, from 0."""
    index_T = torch.arange(pieces_BT.shape[1], device=pieces_BT.device)
    starts_BT = F.pad(pieces_BT[:, 1:] != pieces_BT[:, :-1], (1, 0), value=True)
    return index_T - torch.where(starts_BT, index_T, 0).cummax(1).values


def save_model(model: LanguageModel, folder: str) -> None:
    """Write ``model.safetensors``, ``model.json`` and ``vocabulary.json`` into the folder, made if need be."""
    with local_output(join(folder, WEIGHTS_NAME)) as weights:
        save_file({name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}, weights)
    config = json.dumps(dataclasses.asdict(model.config), indent=2, allow_nan=False)
    write_bytes(join(folder, CONFIG_NAME), (config + "\n").encode())
    model.vocabulary.save(folder)


def load_model(folder: str, device: torch.device | str = "cpu") -> LanguageModel:
    """The model that ``save_model`` wrote. Raises UserError where there is none."""
    if not exists(join(folder, CONFIG_NAME)) or not exists(join(folder, WEIGHTS_NAME)):
        raise UserError(f"no model in {folder}: train one, or give the output folder of the train stage")
    config = LMConfig(**read_json(join(folder, CONFIG_NAME)))
    with torch.device("meta"):
        model = LanguageModel(config, Vocabulary.load(folder))
    with local_copy(join(folder, WEIGHTS_NAME)) as weights:
        model.load_state_dict(load_file(weights), assign=True)
    return model.to(device).eval()


def _piece_mask(pieces_BT: Tensor) -> Tensor:
    """True where the token of the row's first index may see that of the second: same piece, not later."""
    order_T = torch.arange(pieces_BT.shape[1], device=pieces_BT.device)
    return (pieces_BT[:, :, None] == pieces_BT[:, None, :]) & (order_T[:, None] >= order_T)


def _rotation(positions_BT: Tensor, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles, B x T x 1 x 1 x K/2."""
    exponents = torch.arange(0, head_width, 2, device=positions_BT.device, dtype=torch.float32) / head_width
    angles = positions_BT[..., None, None, None].float() * ROPE_BASE**-exponents
    return angles.cos(), angles.sin()


def _rotate(x_BT2HK: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the pairs (first half, second half) of each head by their angles."""
    cos, sin = rotation
    a, b = x_BT2HK.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
