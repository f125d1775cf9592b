"""A compact decoder-only language model over mixed sequences of text and image tokens.

It has pre-norm RMSNorm, rotary positions (arXiv 2104.09864), SwiGLU (arXiv 2002.05202), RMS-normalised queries and keys
with one learned factor per layer (arXiv 2405.09818: they stabilize training on mixed modalities), output projections
that start at zero, no biases, and an untied head. An image token may also have a learned embedding of its place in the
image, which is computed from the tokens. A row may hold several pieces of documents. A piece attends only to itself,
and its positions start at 0.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gobelin.errors import UserError
from gobelin.store.files import exists, local_copy, local_output, read_json, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.attention import (
    Attention,
    KVCache,
    Mask,
    PieceLengths,
    as_bias,
    block_mask,
    piece_lengths,
    piece_mask,
    piece_positions,
    rotation_of,
)
from gobelin.train.config import LMConfig
from gobelin.train.linear import Linear, gated
from gobelin.train.losses import TokenLosses, Wanted, losses_of_head
from gobelin.train.norms import RMSNorm

# B rows, T tokens of a row, S tokens that may be attended to, D model width, H heads (N: of queries and of keys)
# K width of a head, V vocabulary, M tokens whose logits are asked for

CONFIG_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"
INIT_STD = 0.02


class Block(nn.Module):
    """Attention and a gated feed-forward layer (SwiGLU), both pre-norm with a residual connection."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width)
        self.attention = Attention(config)
        self.hidden_norm = RMSNorm(config.width)
        self.gate_up = Linear(config.width, 2 * config.hidden)
        self.down = Linear(config.hidden, config.width)

    def forward(self, x_BTD: Tensor, rotation: Tensor, mask: Mask | None, cache: KVCache | None, layer: int) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), rotation, mask, cache, layer)
        return x_BTD + self.down(gated(self.gate_up(self.hidden_norm(x_BTD))))


class LanguageModel(nn.Module):
    """Predicts logits of the next token."""

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
        self.norm = RMSNorm(config.width)
        self.head = Linear(config.width, vocabulary.size)

    def forward(self, tokens_BT: Tensor, pieces_BT: Tensor, wanted: Wanted | None = None) -> Tensor | TokenLosses:
        """Logits of whole rows, (B, T, V); or, if ``wanted`` is given, losses without stored logits. See
        ``features``."""
        x_BTD = self.features(tokens_BT, pieces_BT)
        return self.head(x_BTD) if wanted is None else losses_of_head(self.head, x_BTD.flatten(0, 1), wanted)

    def features(self, tokens_BT: Tensor, pieces_BT: Tensor) -> Tensor:
        """The input of the head, (B, T, D).

        Args:
            tokens_BT: ids of the vocabulary.
            pieces_BT: piece of each token; a piece is a run of equal numbers. A token attends to earlier tokens of its
                piece and to itself. Padding is a piece like any other.
        """
        lengths = None if self.has_fixed_shapes or self.uses_flex_attention else piece_lengths(pieces_BT)
        mask: Mask
        if lengths is not None:
            mask = PieceLengths(lengths)
        elif self.uses_flex_attention:
            mask = block_mask(pieces_BT)
        else:
            mask = as_bias(piece_mask(pieces_BT), self._dtype())
        places_BT = places_in_picture(tokens_BT, self.vocabulary)
        return self._run(tokens_BT, piece_positions(pieces_BT), places_BT, mask, None)

    def extend(self, tokens_BT: Tensor, num_new_B: Tensor, places_BT: Tensor, cache: KVCache) -> Tensor:
        """Appends tokens to the rows of the cache. Returns the logits of the next token of each row, (B, V).

        Args:
            tokens_BT: rows padded on the right.
            num_new_B: number of real tokens in each row, in [1, T]; at least one row has T. If T is 1, all are real.
            places_BT: result of ``places_in_picture``.
        """
        num_new = tokens_BT.shape[1]
        positions_BT = cache.lengths_B[:, None] + torch.arange(num_new, device=tokens_BT.device)
        mask = None
        if num_new > 1 or not cache.is_even:  # a token sees what stands before it in its row: padding stands behind
            slots_S = torch.arange(cache.longest + num_new, device=tokens_BT.device)
            mask = as_bias(slots_S <= positions_BT[..., None], self._dtype())
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
        rotation = rotation_of(positions_BT, self.config.head_width)
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
    """A model with fresh weights: normal with standard deviation 0.02; zero for output projections and head.

    The generator is on the CPU, so the same seed gives the same weights on every device and for any number of
    processes.

    Args:
        shard: shards the parameters, which have no memory yet, among processes. Then only one parameter at a time is
            whole.
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
    """Sets a parameter, or a process's shard of it, from a whole tensor that each process has."""
    if isinstance(parameter, DTensor):
        whole = distribute_tensor(
            whole.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
        )
    parameter.copy_(whole)


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """The whole parameters by name, on the CPU. Gathers shards, so all processes must call it."""
    return {
        name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()
        for name, tensor in model.state_dict().items()
    }


def places_in_picture(tokens_BT: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Place of each image token in its image, in raster order, [0, N); -1 for every other token.

    Images in a row must be whole, except that the last one may be incomplete.
    """
    index_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
    in_picture_BT = tokens_BT >= vocabulary.image_offset
    last_other_BT = torch.where(in_picture_BT, -1, index_T).cummax(1).values
    return torch.where(in_picture_BT, index_T - last_other_BT - 1, -1)


def save_model(model: LanguageModel, folder: str, weights: dict[str, Tensor] | None = None) -> None:
    """Writes ``model.safetensors``, ``model.json`` and ``vocabulary.json`` into the folder, which is created if
    necessary.

    Args:
        weights: result of ``whole_weights``, if the model is sharded.
    """
    with local_output(join(folder, WEIGHTS_NAME)) as path:
        save_file(whole_weights(model) if weights is None else weights, path)
    config = json.dumps(dataclasses.asdict(model.config), indent=2, allow_nan=False)
    write_bytes(join(folder, CONFIG_NAME), (config + "\n").encode())
    model.vocabulary.save(folder)


def load_model(folder: str, device: torch.device | str = "cpu") -> LanguageModel:
    """Reads the model that ``save_model`` wrote. Raises UserError if there is none."""
    if not exists(join(folder, CONFIG_NAME)) or not exists(join(folder, WEIGHTS_NAME)):
        raise UserError(f"no model in {folder}: train one, or give the output folder of the train stage")
    config = LMConfig(**read_json(join(folder, CONFIG_NAME)))
    with torch.device("meta"):
        model = LanguageModel(config, Vocabulary.load(folder))
    with local_copy(join(folder, WEIGHTS_NAME)) as weights:
        model.load_state_dict(load_file(weights), assign=True)
    return model.to(device).eval()
