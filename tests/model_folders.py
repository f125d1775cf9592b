"""An output folder with a model that learned nothing, made in a second: what `sample` and `chat` need of a run."""

from __future__ import annotations

import torch

from gobelin.store.files import write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
from gobelin.tokenize.sequence import build_vocabulary
from gobelin.tokenize.shapes import VQVAEConfig
from gobelin.tokenize.text_tokenizer import FILE_NAME
from gobelin.tokenize.vqvae import PatchAutoencoder
from gobelin.train.model import LMConfig, build_model, save_model
from tests.token_corpora import small_tokenizer

CONTEXT = 96
RECIPE = f"name: tiny\nseed: 5\ntrain: {{row_tokens: {CONTEXT}, threads: 1}}\n"
SIDE = 16
"""Pixels of a picture, which has 2 x 2 codes."""


def write_model_folder(folder: str) -> str:
    """Writes recipe, tokenizers and model. Returns the folder."""
    write_bytes(join(folder, "recipe.yaml"), RECIPE.encode())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PatchAutoencoder(VQVAEConfig(image_size=SIDE, patch_size=8, num_codes=32))
        network.quantizer.codes_Kd.normal_(std=3)  # so that other codes are other pictures
        images = ImageTokenizer(network)
    save_image_tokenizer(images, join(folder, "tokenize", "image_tokenizer"))
    text = small_tokenizer()
    text.save(join(folder, "tokenize", FILE_NAME))
    vocabulary = build_vocabulary(text, [images.codebook])
    generator = torch.Generator().manual_seed(0)
    model = build_model(LMConfig(width=32, num_layers=2, num_heads=2, hidden=64), vocabulary, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3, generator=generator)
    save_model(model, join(folder, "train"))
    return folder
