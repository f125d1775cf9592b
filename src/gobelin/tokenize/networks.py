"""The network of each kind of image tokenizer."""

from __future__ import annotations

import torch

from gobelin.tokenize.autoencoder import start_weights
from gobelin.tokenize.movq import MoVQ
from gobelin.tokenize.shapes import FSQConfig, KLVAEConfig, MoVQConfig, TokenizerConfig, VQGANConfig, VQVAEConfig
from gobelin.tokenize.vqgan import KLVAE, VQGAN
from gobelin.tokenize.vqvae import PatchAutoencoder

Network = PatchAutoencoder | VQGAN | MoVQ | KLVAE


def make_network(config: TokenizerConfig) -> Network:
    """A network of this shape with uninitialised weights."""
    match config:
        case VQVAEConfig() | FSQConfig():
            return PatchAutoencoder(config)
        case VQGANConfig():
            return VQGAN(config)
        case MoVQConfig():
            return MoVQ(config)
        case KLVAEConfig():
            return KLVAE(config)
        case _:
            raise TypeError(f"no network of the kind {config.kind}")


def build_network(config: TokenizerConfig, generator: torch.Generator, device: torch.device | str = "cpu") -> Network:
    """A network with initial weights. The generator is on the CPU, so that a seed gives the same weights on every
    device."""
    with torch.device("meta"):
        network = make_network(config)
    network.to_empty(device="cpu")
    start_weights(network, generator)
    return network.to(device)
