"""The main loop of a decoding process (``decoders.py``): reads encoded pictures and writes pixels, until its input
ends."""

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
    """Answers requests until the input ends.

    A request is the length of a JSON document (8 bytes, big endian), the document, and files. The document lists
    (bytes, faces, tokenizer) of each file. A reply is the length of a JSON document, the document, and pixels. The
    document lists for each file either an error message or the index of its grid.

    Args:
        framings: framing of each tokenizer.
        requests: stream to read from.
        replies: stream to write to.
    """
    while len(head := requests.read(8)) == 8:
        described: list[str | int] = []
        pictures: list[np.ndarray] = []
        for num_bytes, faces, which in json.loads(requests.read(struct.unpack(">Q", head)[0])):
            data = requests.read(num_bytes)
            try:
                pixels = decode(data, tuple(map(tuple, faces)), framings[which])
                described.append(framings[which].index_of(pixels.shape[:2]))
                pictures.append(pixels)
            except Exception as error:  # noqa: BLE001  # the boundary: a bad picture must not affect others
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
    os.dup2(2, 1)  # output of native code must not mix with the replies
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        serve([_framing(each) for each in json.loads(sys.argv[1])], sys.stdin.buffer, replies)
    os._exit(0)


if __name__ == "__main__":
    _main()
