"""A compact decoder-only language model over mixed sequences of text and image tokens.

Pre-norm RMSNorm, rotary positions (arXiv 2104.09864), SwiGLU (arXiv 2002.05202), RMS-normalised queries and keys with
one learned factor a layer (arXiv 2405.09818 needs them to train mixed modalities stably), output projections that start
at zero, no biases, an untied head. Besides its id, an image token may have a learned embedding of its place in the
picture, which follows from the tokens themselves. Rows may pack several pieces of documents; a piece attends only to
itself, and its positions start at 0.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.utils.checkpoint import checkpoint

from gobelin.errors import UserError
from gobelin.store.files import exists, local_copy, local_output, read_json, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.config import LMConfig
from gobelin.train.linear import Linear, gated
from gobelin.train.losses import TokenLosses, Wanted, losses_of_head

# B rows, T tokens of a row, S tokens that may be attended to, D model width, H heads (N: of queries and of keys)
# K width of a head, V vocabulary, M tokens whose logits are asked for

CONFIG_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"
INIT_STD = 0.02
NORM_EPS = 1e-6
ROPE_BASE = 10_000.0

FEWEST_TOKENS = 16
"""Pieces of a row that have fewer than this on average go through attention behind a mask: a piece by itself costs 0.1
ms a layer, forward and backward."""


@dataclasses.dataclass(frozen=True, slots=True)
class PieceLengths:
    """Rows, laid end to end, are pieces of these lengths; a token sees those of its piece up to itself."""

    lengths: list[int]


Mask = Tensor | BlockMask | PieceLengths
"""What ``attend`` takes."""


@dataclasses.dataclass(slots=True)
class KVCache:
    """Keys and values of the tokens so far, for each layer; B x capacity x H x K. Rows may have different lengths."""

    keys: list[Tensor]
    values: list[Tensor]
    lengths_B: Tensor  # tokens filled
    longest: int = 0  # of lengths_B
    is_even: bool = True  # all rows have that length

    def write(self, layer: int, k_BTHK: Tensor, v_BTHK: Tensor) -> tuple[Tensor, Tensor]:
        """Puts keys and values behind those of each row. Returns those of all tokens up to the longest row's, B x S x H
        x K."""
        num_rows, num_new = k_BTHK.shape[:2]
        stop = self.longest + num_new
        keys, values = self.keys[layer], self.values[layer]
        if self.is_even:
            keys[:, self.longest : stop] = k_BTHK
            values[:, self.longest : stop] = v_BTHK
        else:
            rows_B1 = torch.arange(num_rows, device=keys.device)[:, None]
            slots_BT = self.lengths_B[:, None] + torch.arange(num_new, device=keys.device)
            keys[rows_B1, slots_BT] = k_BTHK.to(keys.dtype)
            values[rows_B1, slots_BT] = v_BTHK.to(values.dtype)
        return keys[:, :stop], values[:, :stop]

    def rows(self, indices_R: Tensor) -> KVCache:
        """These rows alone."""
        lengths_R = self.lengths_B[indices_R]
        longest = int(lengths_R.max())
        is_even = longest == int(lengths_R.min())
        return KVCache([k[indices_R] for k in self.keys], [v[indices_R] for v in self.values], lengths_R, longest,
                       is_even)  # fmt: skip

    def joined(self, other: KVCache) -> KVCache:
        """The rows of both."""
        return KVCache(
            [torch.cat(both) for both in zip(self.keys, other.keys)],
            [torch.cat(both) for both in zip(self.values, other.values)],
            torch.cat([self.lengths_B, other.lengths_B]),
            max(self.longest, other.longest),
            self.is_even and other.is_even and self.longest == other.longest,
        )


class Attention(nn.Module):
    """Causal self-attention with rotary positions and normalised queries and keys. Heads share keys and values (arXiv
    2305.13245) where the shape says so."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = config.num_heads, config.kv_heads
        num_rows = (config.num_heads + 2 * config.kv_heads) * config.head_width
        self.qkv = Linear(config.width, num_rows)  # all heads of queries, then of keys, then of values
        self.out = Linear(config.width, config.width)
        self.sharpness = nn.Parameter(torch.empty(1))  # factor of the products of queries and keys

    def forward(self, x_BTD: Tensor, rotation: Tensor, mask: Mask | None, cache: KVCache | None, layer: int) -> Tensor:
        heads = (self.num_heads, self.num_kv_heads)
        qk_BTNK, v_BTHK = self.qkv(x_BTD).unflatten(-1, (sum(heads) + heads[1], -1)).split((sum(heads), heads[1]), 2)
        factors_N1 = torch.cat([self.sharpness.expand(heads[0]), torch.ones_like(self.sharpness).expand(heads[1])])
        q_BTHK, k_BTHK = rotate(normalize(qk_BTNK, factors_N1[:, None]), rotation).split(heads, 2)
        if cache is not None:
            k_BTHK, v_BTHK = cache.write(layer, k_BTHK, v_BTHK)
        return self.out(attend(q_BTHK, k_BTHK, v_BTHK, mask).flatten(2))


class Block(nn.Module):
    """Attention, then a gated hidden layer (SwiGLU), each behind a norm and added to its input."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=NORM_EPS)
        self.attention = Attention(config)
        self.hidden_norm = nn.RMSNorm(config.width, eps=NORM_EPS)
        self.gate_up = Linear(config.width, 2 * config.hidden)
        self.down = Linear(config.hidden, config.width)

    def forward(self, x_BTD: Tensor, rotation: Tensor, mask: Mask | None, cache: KVCache | None, layer: int) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), rotation, mask, cache, layer)
        return x_BTD + self.down(gated(self.gate_up(self.hidden_norm(x_BTD))))


class LanguageModel(nn.Module):
    """Tokens to logits of the next token."""

    def __init__(self, config: LMConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.recomputes = False
        """Whether blocks are computed again in the backward pass instead of kept: less memory, a third more work."""
        self.uses_flex_attention = False
        """Whether whole rows go through FlexAttention, which passes over pairs of different pieces."""
        self.has_fixed_shapes = False
        """Whether blocks always see the same shapes, as compiled ones must."""
        self.embedding = nn.Embedding(vocabulary.size, config.width)
        places = vocabulary.max_tokens_per_image
        self.place_embedding = nn.Embedding(places, config.width) if config.place_embedding else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.width, eps=NORM_EPS)
        self.head = Linear(config.width, vocabulary.size)

    def forward(self, tokens_BT: Tensor, pieces_BT: Tensor, wanted: Wanted | None = None) -> Tensor | TokenLosses:
        """Logits B x T x V of whole rows; where targets are given, losses, and no logits are kept. See ``features``."""
        x_BTD = self.features(tokens_BT, pieces_BT)
        return self.head(x_BTD) if wanted is None else losses_of_head(self.head, x_BTD.flatten(0, 1), wanted)

    def features(self, tokens_BT: Tensor, pieces_BT: Tensor) -> Tensor:
        """What the head makes logits of, B x T x D.

        Args:
            tokens_BT: ids of the vocabulary.
            pieces_BT: which piece each token belongs to; a piece is a run of equal numbers. A token sees the tokens
                of its own piece up to itself. Padding is a piece like any other.
        """
        lengths = None if self.has_fixed_shapes or self.uses_flex_attention else _piece_lengths(pieces_BT)
        mask: Mask
        if lengths is not None:
            mask = PieceLengths(lengths)
        elif self.uses_flex_attention:
            mask = block_mask(pieces_BT)
        else:
            mask = _bias(_piece_mask(pieces_BT), self._dtype())
        places_BT = places_in_picture(tokens_BT, self.vocabulary)
        return self._run(tokens_BT, piece_positions(pieces_BT), places_BT, mask, None)

    def extend(self, tokens_BT: Tensor, num_new_B: Tensor, places_BT: Tensor, cache: KVCache) -> Tensor:
        """Logits B x V of what follows tokens that continue the rows of the cache, which grow by them.

        Args:
            tokens_BT: rows padded on the right.
            num_new_B: how many tokens of each row are real, in [1, T], T among them; all are where T is 1.
            places_BT: as ``places_in_picture`` gives.
        """
        num_new = tokens_BT.shape[1]
        positions_BT = cache.lengths_B[:, None] + torch.arange(num_new, device=tokens_BT.device)
        mask = None
        if num_new > 1 or not cache.is_even:  # a token sees what stands before it in its row: padding stands behind
            slots_S = torch.arange(cache.longest + num_new, device=tokens_BT.device)
            mask = _bias(slots_S <= positions_BT[..., None], self._dtype())
        x_BTD = self._run(tokens_BT, positions_BT, places_BT, mask, cache)
        if num_new > 1:
            x_BTD = x_BTD.take_along_dim(num_new_B[:, None, None] - 1, 1)
        cache.lengths_B = cache.lengths_B + num_new_B
        cache.longest += num_new
        cache.is_even = cache.is_even and bool(num_new == 1 or (num_new_B == num_new).all())
        return self.head(x_BTD[:, 0])

    def new_cache(self, num_rows: int, capacity: int) -> KVCache:
        """An empty cache for this many rows and tokens."""
        config, weight = self.config, self.head.weight
        shape = (num_rows, capacity, config.kv_heads, config.head_width)
        kind = weight.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        keys = [weight.new_zeros(shape, dtype=dtype) for _ in self.blocks]
        lengths_B = torch.zeros(num_rows, dtype=torch.long, device=weight.device)
        return KVCache(keys, [torch.zeros_like(key) for key in keys], lengths_B)

    def _dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    def _run(
        self, tokens_BT: Tensor, positions_BT: Tensor, places_BT: Tensor, mask: Mask | None, cache: KVCache | None
    ) -> Tensor:
        x_BTD = self.embedding(tokens_BT)
        if self.place_embedding is not None:
            x_BTD = x_BTD + F.embedding(places_BT + 1, F.pad(self.place_embedding.weight, (0, 0, 1, 0)))
        rotation = _rotation(positions_BT, self.config.head_width)
        for layer, block in enumerate(self.blocks):
            if self.recomputes and torch.is_grad_enabled():
                x_BTD = checkpoint(block, x_BTD, rotation, mask, cache, layer, use_reentrant=False)
            else:
                x_BTD = block(x_BTD, rotation, mask, cache, layer)
        return self.norm(x_BTD)


def build_model(
    config: LMConfig,
    vocabulary: Vocabulary,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    shard: Callable[[LanguageModel], None] | None = None,
) -> LanguageModel:
    """A model with fresh weights: normal of deviation 0.02, zero for output projections and head.

    The generator lives on the CPU, so the same seed gives the same weights on every device and for any number of
    processes that share them.

    Args:
        shard: makes the parameters, which have no memory yet, shares of a process. One parameter at a time is whole.
    """
    with torch.device("meta"):
        model = LanguageModel(config, vocabulary)
    if shard is not None:
        shard(model)
    model.to_empty(device=device)
    for name, parameter in model.named_parameters():
        fill_parameter(parameter, _fresh(name, parameter.shape, config, generator))
    return model


def _fresh(name: str, shape: torch.Size, config: LMConfig, generator: torch.Generator) -> Tensor:
    weight = torch.empty(shape, device="cpu")
    if name.endswith(("norm.weight", "sharpness")):
        return weight.fill_(1)
    if name == "head.weight" or name.endswith(("attention.out.weight", "down.weight")):
        return weight.zero_()
    is_matrix = not name.endswith("embedding.weight")
    return weight.normal_(std=config.width**-0.5 if is_matrix else INIT_STD, generator=generator)


@torch.no_grad()
def fill_parameter(parameter: Tensor, whole: Tensor) -> None:
    """Sets a parameter, or a process's share of it, to a whole tensor that each process has."""
    if isinstance(parameter, DTensor):
        whole = distribute_tensor(
            whole.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
        )
    parameter.copy_(whole)


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters by name, on the CPU; shares of processes, which must all ask, are put together."""
    return {
        name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()
        for name, tensor in model.state_dict().items()
    }


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


def save_model(model: LanguageModel, folder: str, weights: dict[str, Tensor] | None = None) -> None:
    """Write ``model.safetensors``, ``model.json`` and ``vocabulary.json`` into the folder, made if need be.

    Args:
        weights: those of the model where it holds shares of them alone, as ``whole_weights`` gives.
    """
    with local_output(join(folder, WEIGHTS_NAME)) as path:
        save_file(whole_weights(model) if weights is None else weights, path)
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


def attend(q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, mask: Mask | None) -> Tensor:
    """Attention, B x T x H x K. Keys and values may have fewer heads: neighbouring heads of queries share them.

    Args:
        mask: added to the products of queries and keys, B x T x S; or ``PieceLengths``, or a ``block_mask`` for
            FlexAttention: both pass over the pairs of other pieces; None where every query sees every key. Equal up to
            rounding; FlexAttention has no gradients on the CPU.
    """
    if isinstance(mask, PieceLengths):
        parts = zip(*(each.flatten(0, 1).split(mask.lengths) for each in (q_BTHK, k_BSHK, v_BSHK)), strict=True)
        pieces = [_attend(q[None], k[None], v[None], None, is_causal=True)[0] for q, k, v in parts]
        return torch.cat(pieces).unflatten(0, q_BTHK.shape[:2])
    return _attend(q_BTHK, k_BSHK, v_BSHK, mask, is_causal=False)


def _attend(
    q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, mask: Tensor | BlockMask | None, *, is_causal: bool
) -> Tensor:
    q_BHTK, k_BHSK, v_BHSK = (each.transpose(1, 2) for each in (q_BTHK, k_BSHK, v_BSHK))
    shares = q_BHTK.shape[1] != k_BHSK.shape[1]
    if isinstance(mask, BlockMask):
        return flex_attention(q_BHTK, k_BHSK, v_BHSK, block_mask=mask, enable_gqa=shares).transpose(1, 2)
    bias_B1TS = None if mask is None else mask[:, None]
    return F.scaled_dot_product_attention(
        q_BHTK, k_BHSK, v_BHSK, attn_mask=bias_B1TS, is_causal=is_causal, enable_gqa=shares
    ).transpose(1, 2)


def block_mask(pieces_BT: Tensor) -> BlockMask:
    """``_piece_mask`` for FlexAttention: which blocks of pairs hold a pair at all."""

    def sees(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (pieces_BT[row, query] == pieces_BT[row, key]) & (query >= key)

    rows, length = pieces_BT.shape
    return create_block_mask(sees, rows, None, length, length, device=str(pieces_BT.device))


def _piece_lengths(pieces_BT: Tensor) -> list[int] | None:
    """Lengths of the pieces of rows laid end to end; None where they had better go through attention together: on
    another device than the CPU, and where they are very many."""
    if pieces_BT.device.type != "cpu":
        return None
    starts_BT = F.pad(pieces_BT[:, 1:] != pieces_BT[:, :-1], (1, 0), value=True)
    bounds = [*starts_BT.flatten().nonzero()[:, 0].tolist(), pieces_BT.numel()]
    if (len(bounds) - 1) * FEWEST_TOKENS > pieces_BT.numel():
        return None
    return [stop - start for start, stop in itertools.pairwise(bounds)]


def _bias(mask_BTS: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros_like(mask_BTS, dtype=dtype).masked_fill(~mask_BTS, -torch.inf)


def _piece_mask(pieces_BT: Tensor) -> Tensor:
    """True where the token of the row's first index may see that of the second: same piece, not later."""
    order_T = torch.arange(pieces_BT.shape[1], device=pieces_BT.device)
    return (pieces_BT[:, :, None] == pieces_BT[:, None, :]) & (order_T[:, None] >= order_T)


def normalize(x_BTNK: Tensor, factors_N1: Tensor) -> Tensor:
    """Each vector of K numbers with a root mean square of 1, times the factor of its head."""
    norms_BTN1 = torch.linalg.vector_norm(x_BTNK, dim=-1, keepdim=True, dtype=torch.float32)
    return x_BTNK * (factors_N1 * (norms_BTN1.square() / x_BTNK.shape[-1] + NORM_EPS).rsqrt())


def _rotation(positions_BT: Tensor, head_width: int) -> Tensor:
    """Cosine and sine of each position's angles, B x T x 1 x K/2 x 2."""
    exponents = torch.arange(0, head_width, 2, device=positions_BT.device, dtype=torch.float32) / head_width
    angles = positions_BT[..., None, None].float() * ROPE_BASE**-exponents
    return torch.stack([angles.cos(), angles.sin()], -1)


def rotate(x_BTNK: Tensor, rotation: Tensor) -> Tensor:
    """Rotate the neighbouring pairs of each head by their angles. As complex numbers, that is one pass over memory."""
    pairs = x_BTNK.unflatten(-1, (-1, 2))
    if x_BTNK.device.type == "mps" or torch.compiler.is_compiling():  # which do not know complex numbers well
        (cos, sin), (a, b) = rotation.unbind(-1), pairs.unbind(-1)
        return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotation)).flatten(-2)
