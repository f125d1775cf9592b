"""The patch discriminator of VQGAN. It distinguishes pictures from reconstructions.

The network is that of pix2pix (Isola et al., arXiv 1611.07004) in the version of taming-transformers
(``NLayerDiscriminator``, three layers). GroupNorm replaces BatchNorm, so that a picture's logits do not depend on the
other pictures of the batch. The loss is the hinge loss of taming's ``vqperceptual.py``. The weight of the adversarial
loss adapts to the gradients at the last layer of the decoder, as in VQGAN (Esser et al., arXiv 2012.09841, equation 7):

    lambda = weight x |grad of the reconstruction loss| / (|grad of the adversarial loss| + 1e-4), at most 1e4 x weight
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gobelin.errors import UserError
from gobelin.tokenize.networks import Network
from gobelin.tokenize.processes import Processes, add_gradients

CHANNELS = 64
MIN_SIDE = 32
"""The least number of pixels of a picture's shorter side. Three layers of stride 2 and two more of 4 x 4 reduce 32 to
2."""

ADAPTIVE_EPS = 1e-4
MAX_ADAPTIVE = 1e4
BETAS = (0.5, 0.9)  # of Adam, as in taming


class PatchDiscriminator(nn.Module):
    """Images B x 3 x H x W in [-1, 1] to logits B x 1 x h x w, one per patch: positive for pictures."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        widths = [CHANNELS, 2 * CHANNELS, 4 * CHANNELS, 8 * CHANNELS]
        layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS, 4, 2, 1), nn.LeakyReLU(0.2)]
        for index, (before, width) in enumerate(itertools.pairwise(widths)):
            stride = 2 if index < 2 else 1
            layers += [nn.Conv2d(before, width, 4, stride, 1, bias=False), nn.GroupNorm(32, width), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        with torch.no_grad():
            for module in self.layers:
                if isinstance(module, nn.Conv2d):
                    module.weight.normal_(0, 0.02, generator=generator)
                    if module.bias is not None:
                        module.bias.zero_()

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return self.layers(images_B3HW)


def check_sizes(sizes: Sequence[tuple[int, int]]) -> None:
    """Raises UserError if pictures are too small for the discriminator."""
    least = min(min(size) for size in sizes)
    if least < MIN_SIDE:
        raise UserError(
            f"the discriminator needs pictures of at least {MIN_SIDE} px per side, but a grid has {least} px"
        )


def generator_loss(fake: Tensor) -> Tensor:
    """The tokenizer's loss. It is low if the discriminator takes reconstructions for pictures."""
    return -fake.float().mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The hinge loss of the discriminator."""
    return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean())


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor) -> float:
    """The weight of the adversarial loss, from the gradients of both losses at the last layer of the decoder."""
    ratio = reconstruction.float().norm() / (adversarial.float().norm() + ADAPTIVE_EPS)
    return float(ratio.clamp(0, MAX_ADAPTIVE))


class Adversary:
    """A discriminator that is fitted beside a tokenizer.

    The gradients of the adversarial loss are kept apart from those of the reconstruction until every process has seen
    all pictures of a step. So its weight does not depend on how the pictures are divided among processes.
    """

    def __init__(
        self, network: Network, rate: float, weight: float, seed: int, device: torch.device
    ) -> None:  # fmt: skip
        with torch.device("cpu"):
            self._network = PatchDiscriminator(torch.Generator().manual_seed(seed + 1)).to(device)
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=rate, betas=BETAS)
        self._weight = weight
        self._last = last_weight(network)
        self._held: dict[int, Tensor] = {}
        self._seen: list[tuple[Tensor, Tensor, float]] = []
        self.last_factor = 0.0
        """The weight of the adversarial loss in the last step."""

    def judge(self, real_B3HW: Tensor, fake_B3HW: Tensor, share: float, weights: Sequence[Tensor]) -> None:
        """Adds up the gradients of the adversarial loss. ``share`` is the share of the step's pictures in this
        batch."""
        loss = share * generator_loss(self._network(fake_B3HW))
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        for place, gradient in enumerate(gradients):
            if gradient is not None:
                held = self._held.get(place)
                self._held[place] = gradient if held is None else held + gradient
        self._seen.append((real_B3HW, fake_B3HW.detach(), share))

    def add_to(self, weights: Sequence[Tensor], processes: Processes) -> None:
        """Adds the adversarial gradients to those of the weights, which hold the reconstruction's gradients of all
        processes."""
        held = [self._held.get(place, torch.zeros_like(weight)) for place, weight in enumerate(weights)]
        self._held = {}
        if processes.size > 1:
            flat = processes.add(torch.cat([gradient.flatten() for gradient in held]))
            parts = flat.split([gradient.numel() for gradient in held])
            held = [part.view_as(gradient) for part, gradient in zip(parts, held)]
        (last,) = (place for place, weight in enumerate(weights) if weight is self._last)
        of_reconstruction = weights[last].grad
        assert of_reconstruction is not None
        self.last_factor = self._weight * adaptive_weight(of_reconstruction, held[last])
        for weight, gradient in zip(weights, held):
            part = self.last_factor * gradient
            weight.grad = part if weight.grad is None else weight.grad + part

    def learn(self, rate: float, autocast: Callable[[], torch.autocast], processes: Processes) -> None:
        """Makes a step of the discriminator on the pictures that it has judged, and on their reconstructions."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        for real_B3HW, fake_B3HW, share in self._seen:
            with autocast():
                loss = discriminator_loss(self._network(real_B3HW), self._network(fake_B3HW))
            (share * loss).backward()
        self._seen = []
        own = list(self._network.parameters())
        add_gradients(own, processes)
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        self._optimizer.step()

    def state(self) -> dict[str, Any]:
        """The state on which its next step depends."""
        return {"network": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])


def last_weight(network: Network) -> Tensor:
    """The weights of the last convolution of a decoder."""
    return [module for module in network.decoder.modules() if isinstance(module, nn.Conv2d)][-1].weight
