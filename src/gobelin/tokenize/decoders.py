"""Decodes pictures ahead of the network, in this process or in several others, and returns them in order.

On the CPU the workers of a run share the cores. So each worker decodes its own pictures between two batches, because
another process would only add the cost of the transfer. Beside a GPU, ``DecoderPool`` keeps several processes busy. For
each of them, a thread writes encoded pictures to a pipe and reads pixels back, without holding Python's lock. The
result does not depend on the number of processes. If a file kills its process, only that file is lost: the other files
of its request are decoded again, one by one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TypeVar

import numpy as np

from gobelin.tokenize.framing import Framing
from gobelin.tokenize.preprocess import decode
from gobelin.transforms.boundary import Refused, attempt
from gobelin.transforms.vision.faces import Boxes

Key = TypeVar("Key", bound=Hashable)
Encoded = tuple[bytes, Boxes, int]
"""The file of a picture, the faces in it to blur, and the index of its tokenizer."""

CHUNK = 16
"""Pictures per request to a process."""

MAX_PROCESSES = 16
_MODULE = "gobelin.tokenize.decode_process"


def default_processes(device: str, workers: int = 1) -> int:
    """Number of decoding processes of a worker: none on the CPU, whose cores the workers share; otherwise the worker's
    share of the cores, at most 16.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``.
        workers: number of workers on the machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if device == "cpu" else max(1, min(MAX_PROCESSES, cores // max(1, workers)))


class DecoderPool:
    """Decodes pictures for image tokenizers.

    Args:
        framings: framing of each tokenizer.
        num_processes: number of processes; 0: decode in this process.
    """

    def __init__(self, framings: Sequence[Framing], num_processes: int = 0) -> None:
        self._framings, self._num_processes = tuple(framings), num_processes
        self._local = threading.local()
        self._children: list[_Child] = []
        self._threads = ThreadPoolExecutor(num_processes) if num_processes else None

    def decoded(self, pictures: Iterable[tuple[Key, Encoded]]) -> Iterator[tuple[Key, np.ndarray | Refused]]:
        """The pixels of each picture, uint8 H x W x 3, or why it cannot be decoded; in order."""
        if self._threads is None:
            for key, (data, faces, which) in pictures:
                yield key, attempt(decode, data, faces, self._framings[which])
            return
        waiting: deque[tuple[list[Key], Future[list[np.ndarray | Refused]]]] = deque()
        for keys, chunk in _chunks(pictures):
            waiting.append((keys, self._threads.submit(self._ask, chunk)))
            if len(waiting) > 2 * self._num_processes:
                yield from _answered(*waiting.popleft())
        while waiting:
            yield from _answered(*waiting.popleft())

    def _ask(self, chunk: list[Encoded]) -> list[np.ndarray | Refused]:
        child: _Child | None = getattr(self._local, "child", None)
        if child is None:
            child = self._local.child = _Child(self._framings)
            self._children.append(child)
        return child.ask(chunk)

    def close(self) -> None:
        """Ends the processes."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.stop()
        self._children.clear()


def _chunks(pictures: Iterable[tuple[Key, Encoded]]) -> Iterator[tuple[list[Key], list[Encoded]]]:
    keys: list[Key] = []
    chunk: list[Encoded] = []
    for key, encoded in pictures:
        keys.append(key)
        chunk.append(encoded)
        if len(chunk) == CHUNK:
            yield keys, chunk
            keys, chunk = [], []
    if chunk:
        yield keys, chunk


def _answered(
    keys: list[Key], future: Future[list[np.ndarray | Refused]]
) -> Iterator[tuple[Key, np.ndarray | Refused]]:
    return zip(keys, future.result(), strict=True)


class _Child:
    """One decoding process, for one thread at a time."""

    def __init__(self, framings: Sequence[Framing]) -> None:
        self._framings = framings
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, chunk: list[Encoded]) -> list[np.ndarray | Refused]:
        try:
            return self._ask(chunk)
        except (OSError, EOFError, struct.error) as error:
            self.stop()
            if len(chunk) == 1:
                return [Refused(f"the decoder's process ended: {type(error).__name__}")]
            return [found for encoded in chunk for found in self.ask([encoded])]

    def _ask(self, chunk: list[Encoded]) -> list[np.ndarray | Refused]:
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        request = json.dumps([(len(data), faces, which) for data, faces, which in chunk]).encode()
        process.stdin.write(struct.pack(">Q", len(request)) + request)
        for data, _, _ in chunk:
            process.stdin.write(data)
        process.stdin.flush()
        (length,) = struct.unpack(">Q", _exactly(process.stdout, 8))
        replies: list[str | int] = json.loads(_exactly(process.stdout, length))
        found: list[np.ndarray | Refused] = []
        for reply, (_, _, which) in zip(replies, chunk, strict=True):
            if isinstance(reply, str):
                found.append(Refused(reply))
                continue
            pixels = np.empty((*self._framings[which].sizes[reply], 3), np.uint8)
            _fill(process.stdout, pixels.data.cast("B"))
            found.append(pixels)
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                _MODULE,
                json.dumps([dataclasses.asdict(framing) for framing in self._framings]),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **threads},
            process_group=0,  # so that only the supervisor gets Ctrl-C; the process ends with its input
        )

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()  # it has no state to save
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise EOFError
    return data


def _fill(stream: IO[bytes], target: memoryview) -> None:
    while len(target):
        number = stream.readinto(target)  # type: ignore[attr-defined]
        if not number:
            raise EOFError
        target = target[number:]
