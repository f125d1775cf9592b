"""The life of a decoding process (``decoders.py``): encoded pictures in, pixels out, until its input ends."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
from typing import BinaryIO

import numpy as np

from gobelin.tokenize.preprocess import decode
from gobelin.transforms.urls import describe


def serve(size: tuple[int, int], requests: BinaryIO, replies: BinaryIO) -> None:
    """A request is JSON, its length before it: (bytes, faces) of each file; the files follow. A reply is JSON, with
    its length before it, that says of each why it gives no pixels, or null; the pixels of the others follow."""
    while len(head := requests.read(8)) == 8:
        refused: list[str | None] = []
        pictures: list[np.ndarray] = []
        for num_bytes, faces in json.loads(requests.read(struct.unpack(">Q", head)[0])):
            data = requests.read(num_bytes)
            try:
                pictures.append(decode(data, tuple(map(tuple, faces)), size))
                refused.append(None)
            except Exception as error:  # noqa: BLE001  # the boundary: a bad picture costs itself
                refused.append(describe(error))
        encoded = json.dumps(refused).encode()
        replies.write(struct.pack(">Q", len(encoded)) + encoded)
        for pixels in pictures:
            replies.write(np.ascontiguousarray(pixels).data.cast("B"))
        replies.flush()


def _main() -> None:
    replies = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)  # what native code prints must not get among the replies
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        serve((int(sys.argv[1]), int(sys.argv[2])), sys.stdin.buffer, replies)
    os._exit(0)


if __name__ == "__main__":
    _main()
