"""Checks images in a separate process, which may hang, crash or meet a decompression bomb without harm.

Decoders are native code that reads hostile bytes. ``ImageChecker`` starts a Python process with Pillow and imagehash,
but without Beam and Arrow. It sends one file at a time through a pipe, and receives the reason of a refusal, or the
facts as JSON, the reduced copy and the pixels of a drawing. The child limits itself: address space (RLIMIT_AS), CPU
time per file (ITIMER_PROF, whose signal ends even native code; CPU time, so that the load of the machine does not
change decisions), wall time as a fallback, no file writes, no core dumps. When it dies, the current file gets a
decision, and the next one gets a new child. It ends with its input, so a killed worker leaves no process behind. It
starts once per worker, and adds 0.2 ms per image (docs/images.md).

This contains accidents and bombs, but not hostile code that runs inside the child. That needs a container.
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
"""Seconds of wall time that a file may take per allowed CPU second, on a busy machine."""

_MAX_REPLY_BYTES = HEX_DIGITS + 4096
"""The size of the thumbnail, and some room for all other facts."""
_SECONDS_TO_STOP = 2.0


class ImageChecker:
    """``check_image`` in a child process. Thread-safe.

    Checkers of one process with equal limits share their children: one per thread that is checking, started when it is
    needed.
    The last ``close`` ends them (after ``keep_children`` it keeps them for later checkers), and so does the end of this
    process.

    Raises:
        RuntimeError: in ``check``, if the child cannot start at all. No image is the cause of that.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._pool: _Pool | None = None

    def check(self, data: bytes) -> ImageFacts | ImageProblem:
        """The facts of an image file, or why it is refused: the result of ``check_image``, or ``image_seconds``,
        ``image_memory``, or ``undecodable_image`` with the signal that ended the decoder."""
        from gobelin.transforms.images.check_image import problem

        if not data or len(data) > self._limits.max_bytes:  # no child is needed
            return problem("image_bytes", len(data), self._limits.max_bytes) if data else problem("empty_image")
        if self._pool is None:
            self._pool = _join_pool(self._limits)
        child = self._pool.take()
        try:
            reply = child.ask(data)
            if reply.get("rule") == "image_memory" and (child.num_served > 1 or child.was_killed):
                child.stop()  # ask a fresh process, because earlier images or a kill may be the cause
                reply = child.ask(data)
        finally:
            self._pool.give_back(child)
        return problem(**reply) if "rule" in reply else ImageFacts(**reply)

    def close(self) -> None:
        """Ends the children if no other checker shares them. A later ``check`` starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.leave()

    @property
    def process_ids(self) -> list[int]:
        """The process ids of the idle children."""
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
    """Makes this process, and those forked from it later, keep decoding processes until ``end_children``."""
    global _are_kept
    _are_kept = True


def end_children() -> None:
    """Ends the idle decoding processes."""
    for pool in list(_pools.values()):
        pool.end()


def _join_pool(limits: ImageLimits) -> _Pool:
    with _lock:
        pool = _pools.setdefault(limits, _Pool(limits))
        pool.num_users += 1
        return pool


class _Child:
    """One decoding process, started when it is first used. For one thread at a time."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self.process: subprocess.Popen[bytes] | None = None
        self.num_served = 0
        self.was_killed = False  # by the kernel because memory is short, or by a person

    def ask(self, data: bytes) -> dict[str, Any]:
        """The reply of the process about a file, or the reason why the process died."""
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
                        raise ValueError("incomplete bytes")
            return reply
        except (OSError, ValueError, struct.error):  # the child is gone, or its reply is malformed
            return self._failure_of(process)

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

    def _failure_of(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Stops a child that has failed. Returns the rule of the decision, by the child's exit code or signal."""
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
            process_group=0,  # outside the terminal's group, so that Ctrl-C reaches only the supervisor
        )
        self.num_served = 0
        assert self.process.stdout is not None
        if self.process.stdout.read(len(_READY)) != _READY:
            self.stop()
            raise RuntimeError(f"the decoding process does not start: {sys.executable} -m {_MODULE}")
        return self.process


_IN_BYTES = ("copy", "rendered")
"""Facts that follow the JSON as bytes."""

_EXIT_MEMORY = 77
_READY = b"ready"


def serve(limits: ImageLimits, requests: BinaryIO, replies: BinaryIO) -> None:
    """The main loop of the child: reads files and replies with facts or reasons until the input ends."""
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
    dct_2d()  # loaded now, so that the first image's time limit does not include it
    limits = ImageLimits(**json.loads(sys.argv[1]))
    if limits.svg:
        from gobelin.transforms.images.render_svg import letters

        letters()
    PillowImage.MAX_IMAGE_PIXELS = limits.max_pixels  # also for nested images
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (limits.max_memory, limits.max_memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # native code must not print between the replies
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
