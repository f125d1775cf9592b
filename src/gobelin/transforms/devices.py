"""The devices of torch: the names that recipes use, and the precision that a device chooses by default.

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
    """Raises UserError if the name is unknown. ``cuda:1`` is known. ``torch_device`` checks whether the device
    exists."""
    if device.partition(":")[0] not in DEVICES:
        raise UserError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")


def torch_device(name: str) -> torch.device:
    """The device that a recipe names: cpu, cuda, mps, or auto for the first available of cuda, mps and cpu. Under
    torchrun each process has its own GPU.

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
    """The kind and model of a device, so that a result can be repeated: ``cpu AVX512``, ``cuda NVIDIA H200``,
    ``mps``."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if kind == "cpu" else kind


def num_gpus_here() -> int:
    """The number of NVIDIA GPUs that processes may use. It counts device files, because loading torch takes seconds."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(glob.glob("/dev/nvidia[0-9]*"))
