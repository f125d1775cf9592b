"""Exports a trained model in the layout of Qwen3 in ``transformers``, which has the same blocks.

Both normalise queries and keys, use rotary positions, share heads of keys and values, use SwiGLU, and have an untied
head. Qwen3 rotates pairs of numbers from the two halves of a head, this model neighbouring pairs, so rows of the query
and key weights are reordered. Qwen3 lacks the embedding of an image token's place, so the model must have been trained
without it (``train.model.place_embedding: false``).
"""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from gobelin.errors import UserError
from gobelin.store.files import local_output, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import DOCUMENT, END_OF_DOCUMENT, PAD
from gobelin.train.attention import ROPE_BASE
from gobelin.train.model import WEIGHTS_NAME, Block, LanguageModel
from gobelin.train.norms import NORM_EPS

CONFIG_NAME = "config.json"


def save_as_transformers(model: LanguageModel, folder: str, longest: int) -> None:
    """Writes ``config.json`` and ``model.safetensors``, which ``AutoModelForCausalLM.from_pretrained`` reads, and
    ``vocabulary.json``.

    Args:
        longest: number of tokens per row in training.

    Raises:
        UserError: the model has place embeddings.
    """
    if model.config.place_embedding:
        raise UserError(
            "this model embeds the position of an image token in its picture, which no model of transformers does: "
            "train one with train.model.place_embedding=false"
        )
    with local_output(join(folder, WEIGHTS_NAME)) as path:
        save_file(_weights(model), path, metadata={"format": "pt"})
    write_bytes(join(folder, CONFIG_NAME), (json.dumps(_config(model, longest), indent=2) + "\n").encode())
    model.vocabulary.save(folder)


def _config(model: LanguageModel, longest: int) -> dict[str, Any]:
    shape = model.config
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": model.vocabulary.size,
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": longest,
        "rms_norm_eps": NORM_EPS,
        "rope_theta": ROPE_BASE,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "tie_word_embeddings": False,
        "bos_token_id": DOCUMENT,
        "eos_token_id": END_OF_DOCUMENT,
        "pad_token_id": PAD,
        "dtype": "float32",
    }


def _weights(model: LanguageModel) -> dict[str, Tensor]:
    shape = model.config
    heads = [each * shape.head_width for each in (shape.num_heads, shape.kv_heads, shape.kv_heads)]
    found = {
        "model.embed_tokens.weight": model.embedding.weight,
        "model.norm.weight": model.norm.weight,
        "lm_head.weight": model.head.weight,
    }
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        attention, name = block.attention, f"model.layers.{number}"
        queries, keys, values = attention.qkv.weight.split(heads)
        ones_K = torch.ones(shape.head_width, device=keys.device)
        found |= {
            f"{name}.self_attn.q_proj.weight": _halves(queries, shape.head_width),
            f"{name}.self_attn.k_proj.weight": _halves(keys, shape.head_width),
            f"{name}.self_attn.v_proj.weight": values,
            f"{name}.self_attn.q_norm.weight": attention.sharpness * ones_K,
            f"{name}.self_attn.k_norm.weight": ones_K,
        }
        gate, up = block.gate_up.weight.chunk(2)
        found |= {
            f"{name}.self_attn.o_proj.weight": attention.out.weight,
            f"{name}.input_layernorm.weight": block.attention_norm.weight,
            f"{name}.post_attention_layernorm.weight": block.hidden_norm.weight,
            f"{name}.mlp.gate_proj.weight": gate,
            f"{name}.mlp.up_proj.weight": up,
            f"{name}.mlp.down_proj.weight": block.down.weight,
        }
    return {name: weight.detach().to("cpu", torch.float32).contiguous() for name, weight in found.items()}


def _halves(weight: Tensor, head_width: int) -> Tensor:
    """Reorders the rows of heads from neighbouring pairs to pairs across the two halves."""
    return weight.unflatten(0, (-1, head_width // 2, 2)).transpose(1, 2).flatten(0, 2)
