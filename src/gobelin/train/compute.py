"""Where torch computes, and how exactly."""

from __future__ import annotations

import os

import torch

from gobelin.errors import UserError


def torch_device(name: str) -> torch.device:
    """The device of a recipe's ``device``: auto, cpu, cuda or mps. Under torchrun each process has its own.

    Raises:
        UserError: this machine, or this torch, has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_there in there.items() if is_there)
    if not there.get(name, False):
        raise UserError(f"torch {torch.__version__} finds no device {name} here: set device to cpu or auto")
    return (
        torch.device(name, int(os.environ["LOCAL_RANK"]))
        if name == "cuda" and "LOCAL_RANK" in os.environ
        else torch.device(name)
    )


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """Within it, products of matrices are computed in this precision: float32 or bfloat16."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
