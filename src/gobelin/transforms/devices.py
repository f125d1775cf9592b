"""Where torch computes: the names that recipes give to devices, and how exactly a device multiplies by default.

torch is imported inside the functions.
"""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Literal

from gobelin.errors import UserError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")

Precision = Literal["float32", "bfloat16"]


def check_device(device: str) -> None:
    """Raises UserError unless the name is known; ``cuda:1`` is one too. Whether it is there, ``torch_device`` says."""
    if device.partition(":")[0] not in DEVICES:
        raise UserError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")


def torch_device(name: str) -> torch.device:
    """The device of a recipe's ``device``: cpu, cuda, mps, or for auto the first of cuda, mps and cpu that is there.
    Under torchrun each process has its own GPU.

    Raises:
        UserError: this machine, or this torch, has no such device.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_there in there.items() if is_there)
    if not there.get(name.partition(":")[0], False):
        raise UserError(f"torch {torch.__version__} finds no device {name} here: set device to cpu or auto")
    if name == "cuda" and (rank := os.environ.get("LOCAL_RANK")) is not None:
        return torch.device(name, int(rank))
    return torch.device(name)


def fastest_precision(device: torch.device | str = "cpu") -> Precision:
    """bfloat16 where the device multiplies it in hardware, otherwise float32."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    if kind != "cpu":
        return "float32"
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if has else "float32"


def device_kind(device: torch.device | str) -> str:
    """What a device is, so that a result can be repeated: ``cpu AVX512``, ``cuda NVIDIA H200``, ``mps``."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if kind == "cpu" else kind


def num_gpus_here() -> int:
    """NVIDIA GPUs that processes of this machine may use, told by their device files: without torch, which takes
    seconds to load."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(glob.glob("/dev/nvidia[0-9]*"))
