"""LPIPS, a perceptual distance (Zhang et al., arXiv 1801.03924): VGG-16's features and the heads of LPIPS, with weights
from a file.

gobelin has no weights of its own. It reads files of the package `lpips` (a complete state dictionary with backbone and
heads) and checkpoints of taming-transformers, which hold both under ``loss.perceptual_loss``.
"""

from __future__ import annotations

import hashlib
import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gobelin.errors import UserError
from gobelin.tokenize.convert import read_weights

CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Positions of the convolutions in VGG-16, by slice. The resolution is halved between slices."""
WIDTHS = (64, 128, 256, 512, 512)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
_FIRST = "net.slice1.0.weight"


class Lpips(nn.Module):
    """Distance of pictures in [-1, 1] of at least 16 px per side. Its weights are frozen."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.slices = nn.ModuleList()
        before = 3
        for width, places in zip(WIDTHS, CONVOLUTIONS):
            channels = [before, *[width] * len(places)]
            self.slices.append(nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in itertools.pairwise(channels)))
            before = width
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in WIDTHS)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, first_B3HW: Tensor, second_B3HW: Tensor) -> Tensor:
        """The distance of each pair, shape B; 0 for equal pictures."""
        first, second = (first_B3HW - self.shift) / self.scale, (second_B3HW - self.shift) / self.scale
        distance_B = first_B3HW.new_zeros(len(first_B3HW))
        for index, (convolutions, head) in enumerate(zip(self.slices, self.heads)):
            if index:
                first, second = F.max_pool2d(first, 2), F.max_pool2d(second, 2)
            assert isinstance(convolutions, nn.ModuleList)
            for convolution in convolutions:
                first, second = F.relu(convolution(first)), F.relu(convolution(second))
            distance_B = distance_B + head((_unit(first) - _unit(second)).square()).mean((1, 2, 3))
        return distance_B

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the weights, hex."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name}\n".encode() + tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


def load_lpips(address: str) -> Lpips:
    """LPIPS with the weights of this file. Raises UserError if weights are missing; the message names one."""
    found = read_weights(address)
    prefix = next((key.removesuffix(_FIRST) for key in sorted(found) if key.endswith(_FIRST)), None)
    if prefix is None:
        raise UserError(f"{address} holds no LPIPS with VGG-16: no key ends in {_FIRST}")
    weights = {}
    for index, places in enumerate(CONVOLUTIONS):
        for number, place in enumerate(places):
            for part in ("weight", "bias"):
                weights[f"slices.{index}.{number}.{part}"] = f"{prefix}net.slice{index + 1}.{place}.{part}"
        weights[f"heads.{index}.weight"] = f"{prefix}lin{index}.model.1.weight"
    network = Lpips()
    own = network.state_dict()
    wrong = [key for name, key in weights.items() if key not in found or found[key].shape != own[name].shape]
    if wrong:
        raise UserError(
            f"{address} holds no complete LPIPS with VGG-16: {len(wrong)} weights are missing or of another shape, "
            f"such as {wrong[0]}"
        )
    network.load_state_dict({name: found[key].float() for name, key in weights.items()}, strict=False)
    return network


def _unit(features_BCHW: Tensor) -> Tensor:
    """Normalises the features of each position to length 1."""
    return features_BCHW / (features_BCHW.square().sum(1, keepdim=True).clamp(min=1e-20).sqrt() + 1e-10)
