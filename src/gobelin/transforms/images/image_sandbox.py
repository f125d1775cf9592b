"""Checks images in a separate process, which a hang, a crash or a bomb may take down.

A decoder is native code near hostile bytes. ``ImageChecker`` starts one Python process, with Pillow and imagehash in it
and neither Beam nor Arrow, hands it one file at a time through a pipe, and reads back a reason, or facts as JSON, the
reduced copy and the pixels of a drawing. The child sets its own limits: address space (RLIMIT_AS), CPU time for each
file (ITIMER_PROF, whose signal ends it even inside native code; CPU time, so that a busy machine decides as an idle
one), wall time as a backstop, no files, no core dumps. When it dies, the file in hand becomes a decision and the next
file gets a new child. It ends with its input, so a worker that is killed leaves nothing behind. It starts once in a
worker's life, and costs 0.2 ms per image (docs/images.md).

This contains accidents and bombs. It does not contain code that runs inside the child: that needs a container.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image as PillowImage

from gobelin.transforms.images.measure_image import ImageFacts, dct_2d, measure_image
from gobelin.transforms.images.open_image import ImageLimits, UnusableImageError
from gobelin.transforms.images.thumbnail import HEX_DIGITS

if TYPE_CHECKING:
    from gobelin.transforms.images.check_image import ImageProblem

_MODULE = "gobelin.transforms.images.image_sandbox"

WALL_FACTOR = 6
"""Wall seconds that a file may take for each CPU-second it may take: on a machine that is that busy."""

_MAX_REPLY_BYTES = HEX_DIGITS + 4096
"""The thumbnail, and as much for all other facts."""
_SECONDS_TO_STOP = 2.0


class ImageChecker:
    """``check_image`` in a child process. Checkers of one process with the same limits share their children: one for
    each thread that is checking at the same time, started when it is first needed. The last ``close`` ends them (after
    ``keep_children``, it leaves them for later checkers), and so does the end of this process. Safe to call from
    several threads.

    Raises:
        RuntimeError: by ``check``, where the child cannot start at all: that is no fault of an image.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._pool: _Pool | None = None

    def check(self, data: bytes) -> ImageFacts | ImageProblem:
        """Facts of an image file, or the reason why it is refused: what ``check_image`` says, or ``image_seconds``,
        ``image_memory``, or ``undecodable_image`` with the signal that ended the decoder."""
        from gobelin.transforms.images.check_image import problem

        if not data or len(data) > self._limits.max_bytes:  # not worth the way
            return problem("image_bytes", len(data), self._limits.max_bytes) if data else problem("empty_image")
        if self._pool is None:
            self._pool = _join_pool(self._limits)
        child = self._pool.take()
        try:
            reply = child.ask(data)
            if reply.get("rule") == "image_memory" and (child.num_served > 1 or child.was_killed):
                child.stop()  # judged by a fresh process: neither what was decoded before nor a kill matters
                reply = child.ask(data)
        finally:
            self._pool.give_back(child)
        return problem(**reply) if "rule" in reply else ImageFacts(**reply)

    def close(self) -> None:
        """Ends the children, when no other checker shares them. A later ``check`` starts another."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.leave()

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the children that wait for work."""
        return [] if self._pool is None else self._pool.process_ids()


class _Pool:
    """The children of a process for one set of limits."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._idle: list[_Child] = []
        self.num_users = 0

    def take(self) -> _Child:
        with _lock:
            return self._idle.pop() if self._idle else _Child(self._limits)

    def give_back(self, child: _Child) -> None:
        with _lock:
            self._idle.append(child)

    def leave(self) -> None:
        with _lock:
            self.num_users -= 1
            is_last = self.num_users == 0
        if is_last and not _are_kept:
            self.end()

    def end(self) -> None:
        with _lock:
            ended, self._idle = self._idle, []
        for child in ended:
            child.stop()

    def process_ids(self) -> list[int]:
        with _lock:
            return [child.process.pid for child in self._idle if child.process]


_lock = threading.Lock()
_pools: dict[ImageLimits, _Pool] = {}
_are_kept = False


def keep_children() -> None:
    """From now on this process, and those forked from it, keep decoding processes until ``end_children``."""
    global _are_kept
    _are_kept = True


def end_children() -> None:
    """Ends the decoding processes that wait for work."""
    for pool in list(_pools.values()):
        pool.end()


def _join_pool(limits: ImageLimits) -> _Pool:
    with _lock:
        pool = _pools.setdefault(limits, _Pool(limits))
        pool.num_users += 1
        return pool


class _Child:
    """One decoding process, or the promise of one. For one thread at a time."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self.process: subprocess.Popen[bytes] | None = None
        self.num_served = 0
        self.was_killed = False  # by somebody else: the kernel, where memory is short, or a person

    def ask(self, data: bytes) -> dict[str, Any]:
        """What the process says of a file, or of its own death."""
        process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        self.num_served += 1
        try:
            process.stdin.write(struct.pack(">Q", len(data)))
            process.stdin.write(data)
            process.stdin.flush()
            (length,) = struct.unpack(">I", process.stdout.read(4))
            if length > _MAX_REPLY_BYTES:
                raise ValueError(f"a reply of {length} bytes")
            reply = json.loads(process.stdout.read(length))
            for name in _IN_BYTES:
                num_bytes = reply.pop(f"{name}_bytes", 0)
                if num_bytes:
                    reply[name] = process.stdout.read(num_bytes)
                    if len(reply[name]) != num_bytes:
                        raise ValueError("half a picture")
            return reply
        except (OSError, ValueError, struct.error):  # the child is gone, or speaks in tongues
            return self._epitaph(process)

    def stop(self) -> None:
        """Ends the process. The next ``ask`` starts another."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(OSError), process:  # closes the pipes and waits
            try:
                if process.stdin is not None:
                    process.stdin.close()
                process.wait(_SECONDS_TO_STOP)
            except (OSError, subprocess.TimeoutExpired):
                process.kill()

    def _epitaph(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        self.stop()
        number = -process.returncode
        self.was_killed = number == signal.SIGKILL
        if number in (signal.SIGPROF, signal.SIGALRM):
            return {"rule": "image_seconds", "threshold": self._limits.max_seconds}
        if process.returncode in (_EXIT_MEMORY, -signal.SIGKILL):
            return {"rule": "image_memory", "threshold": self._limits.max_memory}
        how = signal.Signals(number).name if number > 0 else f"exit code {process.returncode}"
        return {"rule": "undecodable_image", "detail": f"the decoder's process ended: {how}"}

    def _start(self) -> subprocess.Popen[bytes]:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE, json.dumps(dataclasses.asdict(self._limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libtiff describes each damaged file
            env={**os.environ, **threads, "MALLOC_ARENA_MAX": "1"},
            process_group=0,  # out of the terminal's group: Ctrl-C is for the supervisor
        )
        self.num_served = 0
        assert self.process.stdout is not None
        if self.process.stdout.read(len(_READY)) != _READY:
            self.stop()
            raise RuntimeError(f"no decoding process: {sys.executable} -m {_MODULE} does not start")
        return self.process


_IN_BYTES = ("copy", "rendered")
"""Fields of the facts that follow the JSON as bytes."""

_EXIT_MEMORY = 77
_READY = b"ready"


def serve(limits: ImageLimits, requests: BinaryIO, replies: BinaryIO) -> None:
    """The life of the child: files in, facts or reasons out, until the input ends."""
    while len(head := requests.read(8)) == 8:
        signal.setitimer(signal.ITIMER_PROF, limits.max_seconds)
        signal.setitimer(signal.ITIMER_REAL, limits.max_seconds * WALL_FACTOR)
        data = requests.read(struct.unpack(">Q", head)[0])
        behind = b""
        try:
            reply = dataclasses.asdict(measure_image(data, limits))
            for name in _IN_BYTES:
                each = reply.pop(name) or b""
                reply[f"{name}_bytes"] = len(each)
                behind += each
        except UnusableImageError as error:
            reply = {"rule": error.rule, "value": error.value, "threshold": error.threshold, "detail": error.detail}
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        encoded = json.dumps(reply).encode()
        replies.write(struct.pack(">I", len(encoded)) + encoded + behind)
        replies.flush()


def _main() -> None:
    dct_2d()  # loaded now: not on the first image's account
    limits = ImageLimits(**json.loads(sys.argv[1]))
    if limits.svg:
        from gobelin.transforms.images.render_svg import letters

        letters()
    PillowImage.MAX_IMAGE_PIXELS = limits.max_pixels  # also for a picture inside a picture
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (limits.max_memory, limits.max_memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints must not get among the replies
    try:
        replies.write(_READY)
        replies.flush()
        serve(limits, sys.stdin.buffer, replies)
    except MemoryError:
        os._exit(_EXIT_MEMORY)
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    os._exit(0)


if __name__ == "__main__":
    _main()
