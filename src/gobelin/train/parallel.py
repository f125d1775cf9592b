"""Data-parallel training by several processes, started by ``torchrun``: one process per device.

The processes take the rows of a step in turn. With ``ddp`` each process holds the whole model, and gradients are
averaged. With ``fsdp`` each holds a shard of every weight, gradient and optimizer state (FSDP2), and blocks are
gathered when they are needed. In both cases a step equals that of a single process, up to rounding.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from gobelin.train.model import LanguageModel

LONGEST_WAIT = timedelta(minutes=30)
"""That a process waits for the others before it gives up."""


@dataclasses.dataclass(frozen=True, slots=True)
class Processes:
    """The processes that train together. Without arguments: this process alone."""

    rank: int = 0
    size: int = 1
    control: dist.ProcessGroup | None = None  # on the CPU, for flags: a device is not waited for
    checkpoints: dist.ProcessGroup | None = None  # on the CPU, for the thread that writes them

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Whether each flag is set in any process. All processes must call it."""
        if self.size == 1:
            return flags
        found = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return tuple(bool(flag) for flag in found)

    def wait(self) -> None:
        """Waits until all processes have called it."""
        if self.size > 1:
            dist.barrier(group=self.control)

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor


ALONE = Processes()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Joins the processes that ``torchrun`` started while the block runs. Without ``torchrun``: this process alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), _on_the_cpu(), _on_the_cpu())
    finally:
        dist.destroy_process_group()


def _on_the_cpu() -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    assert isinstance(group, dist.ProcessGroup)
    return group


def shard(model: LanguageModel, device: torch.device, size: int) -> None:
    """Shards the parameters of each block, and the remaining ones, among processes (FSDP2).

    Outside of a forward or backward pass, the model holds only the shards.
    """
    mesh = init_device_mesh(device.type, (size,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def replicate(model: LanguageModel, device: torch.device) -> nn.Module:
    """Wraps a model so that gradients are averaged over processes (DDP)."""
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


@contextlib.contextmanager
def gradients_are_shared(model: nn.Module, are_shared: bool) -> Iterator[None]:
    """Whether backward passes in the block average gradients over the processes. Only the last pass of a step does."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(are_shared)
        yield
    elif isinstance(model, DistributedDataParallel) and not are_shared:
        with model.no_sync():
            yield
    else:
        yield
