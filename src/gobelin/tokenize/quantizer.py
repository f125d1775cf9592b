"""A vector quantizer with a codebook that follows its vectors (VQ-VAE, arXiv 1711.00937, appendix A.1).

Each vector becomes the nearest of K codes, and the gradient passes straight through. Codes are not trained by gradient:
each is the exponential moving average (EMA) of the vectors assigned to it. Two things keep all K in use. The codebook
starts as k-means centroids of encoded vectors. A code that gets less than 5 % of its fair share moves to a random
vector of the batch, together with its sums (otherwise the old sums would move it straight back). Without these a plain
straight-through codebook collapses to a few codes. With ``normalize``, vectors and codes have length 1, so the nearest
code is the one with the largest cosine (ViT-VQGAN, arXiv 2110.04627; LlamaGen, arXiv 2406.06525).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gobelin.tokenize.processes import ALONE, Processes, rows_of_all

# M vectors, K codebook size, d width of a code

DECAY = 0.95  # of the moving averages: a code remembers about 20 batches
RESTART_SHARE = 0.05  # of the mean wins of a code in a batch; below it the code is dead
KMEANS_ROUNDS = 8


class EmaQuantizer(nn.Module):
    """K codes of width d, kept as buffers: the codes, their moving counts and their moving sums."""

    codes_Kd: Tensor
    counts_K: Tensor
    sums_Kd: Tensor

    def __init__(self, num_codes: int, width: int, *, normalize: bool = False) -> None:
        super().__init__()
        self.normalize = normalize
        self.register_buffer("codes_Kd", torch.zeros(num_codes, width))
        self.register_buffer("counts_K", torch.ones(num_codes))
        self.register_buffer("sums_Kd", torch.zeros(num_codes, width))

    def nearest(self, vectors_Md: Tensor) -> Tensor:
        """Index in [0, K) of the nearest code of each vector, int64, shape M. Distances are computed in float32."""
        return _nearest(self._scaled(vectors_Md.float()), self.codes_Kd)

    def vectors_of(self, indices_M: Tensor) -> Tensor:
        """The codes with these indices, M x d."""
        return self.codes_Kd[indices_M]

    @torch.no_grad()
    def reset(self) -> None:
        """Sets all codes to zero, as before ``start_from``."""
        self.codes_Kd.zero_()
        self.counts_K.fill_(1.0)
        self.sums_Kd.zero_()

    @torch.no_grad()
    def start_at(self, codes_Kd: Tensor) -> None:
        """Initialises the codebook with given codes, for example published ones."""
        codes_Kd = self._scaled(codes_Kd.float())
        self.codes_Kd.copy_(codes_Kd)
        self.counts_K.fill_(1.0)
        self.sums_Kd.copy_(codes_Kd)

    def _scaled(self, vectors_Md: Tensor) -> Tensor:
        return F.normalize(vectors_Md, dim=-1) if self.normalize else vectors_Md

    def forward(self, vectors_Md: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The quantized vectors (straight-through gradient), their indices, and the commitment loss (a scalar)."""
        vectors_Md = self._scaled(vectors_Md.float())
        indices_M = _nearest(vectors_Md, self.codes_Kd)
        quantized_Md = self.codes_Kd[indices_M]
        commitment = F.mse_loss(vectors_Md, quantized_Md)
        return vectors_Md + (quantized_Md - vectors_Md).detach(), indices_M, commitment

    @torch.no_grad()
    def start_from(self, vectors_Md: Tensor, generator: torch.Generator) -> None:
        """Initialises the codebook with k-means centroids of these vectors. There should be at least 40 K of them."""
        num_codes, vectors_Md = len(self.codes_Kd), self._scaled(vectors_Md)
        centroids_Kd = vectors_Md[_draw(len(vectors_Md), num_codes, generator)].clone()
        for _ in range(KMEANS_ROUNDS):
            counts_K, sums_Kd = _sums(vectors_Md, _nearest(vectors_Md, centroids_Kd), num_codes)
            won = counts_K > 0
            centroids_Kd[won] = sums_Kd[won] / counts_K[won, None]
            centroids_Kd[~won] = vectors_Md[_draw(len(vectors_Md), int((~won).sum()), generator)]
        self.start_at(centroids_Kd)

    @torch.no_grad()
    def update(
        self, vectors_Md: Tensor, indices_M: Tensor, generator: torch.Generator, processes: Processes = ALONE
    ) -> int:
        """Moves the codes towards their vectors and restarts dead codes. Returns the number of restarted codes. The
        vectors are those of all processes, and the generators of all processes are in the same state."""
        num_codes, vectors_Md = len(self.codes_Kd), self._scaled(vectors_Md)
        counts_K, sums_Kd = _sums(vectors_Md, indices_M, num_codes)
        processes.add(counts_K)
        processes.add(sums_Kd)
        self.counts_K.lerp_(counts_K, 1 - DECAY)
        self.sums_Kd.lerp_(sums_Kd, 1 - DECAY)
        fair_share = int(counts_K.sum(dtype=torch.float64)) / num_codes
        dead = self.counts_K < RESTART_SHARE * fair_share
        num_dead = int(dead.sum())
        if num_dead:
            all_Md = rows_of_all(vectors_Md, processes)
            fresh_Nd = all_Md[_draw(len(all_Md), num_dead, generator)]
            self.counts_K[dead] = fair_share
            self.sums_Kd[dead] = fresh_Nd * fair_share
        self.codes_Kd.copy_(self._scaled(self.sums_Kd / self.counts_K[:, None]))
        return num_dead


def _nearest(vectors_Md: Tensor, codes_Kd: Tensor) -> Tensor:
    # |v - c|^2 = |v|^2 - 2 v.c + |c|^2, and |v|^2 is the same for every code.
    distances_MK = torch.addmm(codes_Kd.square().sum(1), vectors_Md, codes_Kd.T, alpha=-2)
    return distances_MK.argmin(1)


def _sums(vectors_Md: Tensor, indices_M: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """The number of vectors of each code, and their sum."""
    counts_K = torch.bincount(indices_M, minlength=num_codes).to(vectors_Md.dtype)
    sums_Kd = vectors_Md.new_zeros(num_codes, vectors_Md.shape[1]).index_add_(0, indices_M, vectors_Md)
    return counts_K, sums_Kd


def _draw(num_vectors: int, num_drawn: int, generator: torch.Generator) -> Tensor:
    """Random indices of vectors, distinct if there are enough vectors."""
    order = torch.randperm(num_vectors, generator=generator, device=generator.device)
    return order.repeat(-(-num_drawn // num_vectors))[:num_drawn]
