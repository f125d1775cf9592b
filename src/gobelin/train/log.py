"""The logs of a training run.

``metrics.jsonl``: losses by step, bit-identical when a run is repeated. ``speed.jsonl``: tokens per second, and model
FLOPs utilisation (MFU), which depend on the clock. TensorBoard's files hold both.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from gobelin.errors import UserError
from gobelin.store.files import exists, make_folder, read_bytes, upload, write_bytes
from gobelin.store.paths import is_remote, join
from gobelin.train.metrics import METRICS_NAME, SPEED_NAME

SECONDS_BETWEEN_WRITES = 10.0
"""A log that somebody watches is at most so old."""

TENSORBOARD_NAME = "tensorboard"

PEAK_FLOPS = {
    "B200": 2250e12, "GH200": 989.5e12, "H200": 989.5e12, "H100 PCIe": 756e12, "H100": 989.5e12, "A100": 312e12,
    "L40S": 362e12, "L4": 121e12, "A10G": 125e12, "RTX 4090": 165.2e12, "RTX 3090": 71e12,
}  # fmt: skip
"""Products of matrices in bfloat16 a second, dense, by what the device's name holds; from the vendor's data sheets."""

Line = Mapping[str, float | None]


class Lines:
    """Lines of JSON in a file. On an object store, every write replaces the whole file."""

    def __init__(self, address: str, content: bytes, is_written: bool) -> None:
        self._address, self.content, self._is_written = address, content, is_written
        self._num_written = -1
        self._next_write = 0.0

    def add(self, line: Line) -> None:
        self.content += json.dumps(line, allow_nan=False).encode() + b"\n"
        if time.monotonic() >= self._next_write:
            self.write()

    def write(self) -> None:
        if self._is_written and self._num_written != len(self.content):
            write_bytes(self._address, self.content)
            self._num_written = len(self.content)
        self._next_write = time.monotonic() + SECONDS_BETWEEN_WRITES


class Log:
    """The logs of a run.

    Args:
        content: of ``metrics.jsonl`` so far.
        step: number of steps done so far.
        is_written: False in all processes but one.
    """

    def __init__(self, folder: str, content: bytes, step: int, is_written: bool, tensorboard: Any) -> None:
        self._metrics = Lines(join(folder, METRICS_NAME), content, is_written)
        speed = join(folder, SPEED_NAME)
        self._speed = Lines(speed, _until(step, read_bytes(speed)) if exists(speed) else b"", is_written)
        self._tensorboard = tensorboard
        self._step, self._started = step, time.monotonic()

    @property
    def content(self) -> bytes:
        """The content of ``metrics.jsonl``."""
        return self._metrics.content

    def add(self, step: int, line: Line) -> None:
        """Adds the measurements of a step."""
        self._metrics.add({"step": step, **line})
        self._to_tensorboard(step, line)

    def add_speed(self, step: int, tokens_per_step: int, flops_per_step: float, device: torch.device) -> Line:
        """Adds the speed since the last call, without pauses."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        steps_per_second = (step - self._step) / seconds
        peak = peak_flops(device)
        line = {
            "seconds": seconds,
            "tokens_per_second": tokens_per_step * steps_per_second,
            "mfu": flops_per_step * steps_per_second / peak if peak else None,
        }
        self._step, self._started = step, time.monotonic()
        self._speed.add({"step": step, **line})
        self._to_tensorboard(step, line)
        return line

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """The time in the block does not count as training time."""
        started = time.monotonic()
        yield
        self._started += time.monotonic() - started

    def write(self) -> None:
        """Writes the lines that are not written yet."""
        self._metrics.write()
        self._speed.write()
        if self._tensorboard is not None:
            self._tensorboard.flush()

    def _to_tensorboard(self, step: int, line: Line) -> None:
        if self._tensorboard is not None:
            for name, value in line.items():
                if value is not None:
                    self._tensorboard.add_scalar(name, value, step)


def _until(step: int, content: bytes) -> bytes:
    """The lines up to a step. Later lines belong to steps that will be repeated."""
    return b"".join(line for line in content.splitlines(keepends=True) if json.loads(line)["step"] <= step)


@contextlib.contextmanager
def opened(folder: str, content: bytes, step: int, *, with_tensorboard: bool, writes: bool) -> Iterator[Log]:
    """Opens the logs of a run, and writes them when the block ends.

    Args:
        writes: whether this process writes.

    Raises:
        UserError: the package tensorboard is not installed.
    """
    with _tensorboard(folder) if with_tensorboard and writes else contextlib.nullcontext() as writer:
        log = Log(folder, content, step, writes, writer)
        log.write()
        try:
            yield log
        finally:
            log.write()


@contextlib.contextmanager
def _tensorboard(folder: str) -> Iterator[Any]:
    """A writer of TensorBoard's files. It writes only to a local disk, so for an object store they are uploaded at the
    end."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("train.tensorboard needs the package tensorboard: pip install 'gobelin[tensorboard]'") from None
    target = join(folder, TENSORBOARD_NAME)
    with tempfile.TemporaryDirectory(prefix="gobelin-tensorboard-") as scratch:
        local = scratch if is_remote(target) else target
        make_folder(local)
        writer = SummaryWriter(local)
        try:
            yield writer
        finally:
            writer.close()
            if is_remote(target):
                upload(scratch, target)


def peak_flops(device: torch.device) -> float | None:
    """Peak FLOPS of a device in bfloat16; None if it is not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((flops for part, flops in PEAK_FLOPS.items() if part in name), None)


def in_words(line: Line, num_codes: int) -> str:
    """The losses of a step in a few words. The image loss is compared with guessing among the codes."""
    found = []
    if line.get("loss") is not None:
        found.append(f"loss {line['loss']:.3f}")
    if line.get("text_bits_per_byte") is not None:
        found.append(f"text {line['text_bits_per_byte']:.2f} bits a byte")
    if line.get("image_nats") is not None:
        found.append(f"images {line['image_nats']:.2f} nats a code (guessing {math.log(num_codes):.2f})")
    return ", ".join(found)
