"""The life of a decoding process (``decoders.py``): encoded pictures in, pixels out, until its input ends."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from gobelin.tokenize.framing import Framing
from gobelin.tokenize.preprocess import decode
from gobelin.transforms.urls import describe


def serve(framings: Sequence[Framing], requests: BinaryIO, replies: BinaryIO) -> None:
    """A request is JSON, its length before it: (bytes, faces, tokenizer) of each file; the files follow. A reply is
    JSON, with its length before it, that says of each why it gives no pixels, or which grid it has; the pixels of the
    others follow."""
    while len(head := requests.read(8)) == 8:
        described: list[str | int] = []
        pictures: list[np.ndarray] = []
        for num_bytes, faces, which in json.loads(requests.read(struct.unpack(">Q", head)[0])):
            data = requests.read(num_bytes)
            try:
                pixels = decode(data, tuple(map(tuple, faces)), framings[which])
                described.append(framings[which].index_of(pixels.shape[:2]))
                pictures.append(pixels)
            except Exception as error:  # noqa: BLE001  # the boundary: a bad picture costs itself
                described.append(describe(error))
        encoded = json.dumps(described).encode()
        replies.write(struct.pack(">Q", len(encoded)) + encoded)
        for pixels in pictures:
            replies.write(np.ascontiguousarray(pixels).data.cast("B"))
        replies.flush()


def _framing(given: dict[str, Any]) -> Framing:
    return Framing(tuple((rows, columns) for rows, columns in given["grids"]), given["token_pixels"], given["resize"])


def _main() -> None:
    replies = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)  # what native code prints must not get among the replies
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        serve([_framing(each) for each in json.loads(sys.argv[1])], sys.stdin.buffer, replies)
    os._exit(0)


if __name__ == "__main__":
    _main()
