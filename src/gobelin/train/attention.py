"""Causal self-attention over packed rows: rotary positions, query-key normalisation, masks, the KV cache."""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from gobelin.train.config import LMConfig
from gobelin.train.linear import Linear
from gobelin.train.norms import turned

# B rows, T tokens of a row, S tokens that may be attended to, D model width, H heads (N: of queries and of keys)
# K width of a head

ROPE_BASE = 10_000.0

FEWEST_TOKENS = 16
"""Pieces of a row that have fewer than this on average go through attention behind a mask: a piece by itself costs 0.1
ms a layer, forward and backward."""


@dataclasses.dataclass(frozen=True, slots=True)
class PieceLengths:
    """Lengths of the pieces in packed rows, laid end to end. A token attends to earlier tokens of its piece and to
    itself."""

    lengths: list[int]


Mask = Tensor | BlockMask | PieceLengths
"""What ``attend`` takes."""


@dataclasses.dataclass(slots=True)
class KVCache:
    """Cached keys and values of each layer, (B, capacity, H, K). Rows may have different lengths."""

    keys: list[Tensor]
    values: list[Tensor]
    lengths_B: Tensor  # tokens filled
    longest: int = 0  # of lengths_B
    is_even: bool = True  # all rows have that length

    def write(self, layer: int, k_BTHK: Tensor, v_BTHK: Tensor) -> tuple[Tensor, Tensor]:
        """Appends keys and values to each row. Returns the keys and values of all tokens up to the length of the
        longest row, B x S x H x K."""
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
        """A cache with only these rows."""
        lengths_R = self.lengths_B[indices_R]
        longest = int(lengths_R.max())
        is_even = longest == int(lengths_R.min())
        return KVCache([k[indices_R] for k in self.keys], [v[indices_R] for v in self.values], lengths_R, longest,
                       is_even)  # fmt: skip

    def joined(self, other: KVCache) -> KVCache:
        """A cache with the rows of both."""
        return KVCache(
            [torch.cat(both) for both in zip(self.keys, other.keys)],
            [torch.cat(both) for both in zip(self.values, other.values)],
            torch.cat([self.lengths_B, other.lengths_B]),
            max(self.longest, other.longest),
            self.is_even and other.is_even and self.longest == other.longest,
        )


class Attention(nn.Module):
    """Causal self-attention with rotary positions and normalised queries and keys. If the shape has fewer heads of keys
    and values, groups of query heads share them (grouped-query attention, arXiv 2305.13245)."""

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
        q_BTHK, k_BTHK = turned(qk_BTNK, factors_N1[:, None], rotation).split(heads, 2)
        if cache is not None:
            k_BTHK, v_BTHK = cache.write(layer, k_BTHK, v_BTHK)
        return self.out(attend(q_BTHK, k_BTHK, v_BTHK, mask).flatten(2))


def piece_positions(pieces_BT: Tensor) -> Tensor:
    """Position of each token in its piece, from 0."""
    index_T = torch.arange(pieces_BT.shape[1], device=pieces_BT.device)
    starts_BT = F.pad(pieces_BT[:, 1:] != pieces_BT[:, :-1], (1, 0), value=True)
    return index_T - torch.where(starts_BT, index_T, 0).cummax(1).values


def attend(q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, mask: Mask | None) -> Tensor:
    """Attention output, (B, T, H, K). If there are fewer heads of keys and values, neighbouring query heads share them.

    Args:
        mask: bool, (B, T, S), true where a query may attend to a key. ``PieceLengths`` or a ``block_mask`` for
            FlexAttention are equal up to rounding and skip pairs of different pieces. FlexAttention has no gradients on
            the CPU. None: every query attends to every key.
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
    """``piece_mask`` for FlexAttention, which skips blocks without an allowed pair."""

    def sees(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (pieces_BT[row, query] == pieces_BT[row, key]) & (query >= key)

    rows, length = pieces_BT.shape
    return create_block_mask(sees, rows, None, length, length, device=str(pieces_BT.device))


def piece_lengths(pieces_BT: Tensor) -> list[int] | None:
    """Lengths of the pieces of rows, laid end to end. None if attention with a mask is faster: on devices other than
    the CPU, and with very many pieces."""
    if pieces_BT.device.type != "cpu":
        return None
    starts_BT = F.pad(pieces_BT[:, 1:] != pieces_BT[:, :-1], (1, 0), value=True)
    bounds = [*starts_BT.flatten().nonzero()[:, 0].tolist(), pieces_BT.numel()]
    if (len(bounds) - 1) * FEWEST_TOKENS > pieces_BT.numel():
        return None
    return [stop - start for start, stop in itertools.pairwise(bounds)]


def as_bias(mask_BTS: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros_like(mask_BTS, dtype=dtype).masked_fill(~mask_BTS, -torch.inf)


def piece_mask(pieces_BT: Tensor) -> Tensor:
    """Bool, (B, T, T): whether the token of the first index may attend to the token of the second, which must be in the
    same piece and not later."""
    order_T = torch.arange(pieces_BT.shape[1], device=pieces_BT.device)
    return (pieces_BT[:, :, None] == pieces_BT[:, None, :]) & (order_T[:, None] >= order_T)


def rotation_of(positions_BT: Tensor, head_width: int) -> Tensor:
    """Cosine and sine of the rotation angles of each position, (B, T, 1, K/2, 2)."""
    exponents = torch.arange(0, head_width, 2, device=positions_BT.device, dtype=torch.float32) / head_width
    angles = positions_BT[..., None, None].float() * ROPE_BASE**-exponents
    return torch.stack([angles.cos(), angles.sin()], -1)
