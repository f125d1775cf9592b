"""The image tokenizer as a Beam stage: encodes each distinct image of the corpus once, on the GPU worker.

Each process has one tokenizer, or several if the recipe has several; then each picture goes to one of them. Pictures
come in the order of shards and ids. Batches have a fixed size and may hold pictures of several documents and shards, so
only the last batches are padded. The next pictures are decoded while the device computes (``decoders.py``). Codes
depend on the picture, the tokenizer, the kind of device and the settings, which each file's metadata records. They do
not depend on batches, workers or decoding processes. A picture that cannot be decoded becomes a decision.
``assemble.py`` makes sequences of the codes.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypedDict

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.utils.shared import Shared

from gobelin.data.model import Action, Decision, Unit
from gobelin.data.schemas import CODEBOOK_OF_IMAGE, IMAGE_CODES, IMAGE_LATENTS, MAX_NARROW_CODES, WIDE_IMAGE_CODES
from gobelin.store.files import open_input
from gobelin.store.shards import write_decisions, write_shard
from gobelin.store.tables import list_shards, shard_path
from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.decoders import DecoderPool, Encoded, default_processes
from gobelin.tokenize.framing import Framing
from gobelin.tokenize.preprocess import decode_side
from gobelin.tokenize.shown import shown_in_part
from gobelin.transforms.boundary import Refused, WebStep
from gobelin.transforms.images.stored_images import StoredImages
from gobelin.transforms.progress import advance
from gobelin.transforms.resource_hints import with_model
from gobelin.transforms.row_steps import InTurn
from gobelin.transforms.vision.faces import faces_of_shard

if TYPE_CHECKING:
    from gobelin.tokenize.image_tokenizers import ImageTokenizers

ENCODED_KEY = "gobelin.encoded"
"""Key of the metadata of a shard of codes: a JSON list with kind of device, precision, batch size and version of torch
for each tokenizer."""

Shown = tuple[Sequence[int], Iterable[tuple[int, str | None]]]
"""Numbers of the shards that are encoded together, and (shard, image id) of the images to encode."""


@dataclasses.dataclass(frozen=True, slots=True)
class Encoding:
    """The input, settings and output of the stage."""

    tokenizer: str
    images: StoredImages
    codes: str
    decisions: str
    device: str = "cpu"
    precision: str = "auto"
    batch_size: int | None = None  # None: a default for the device
    processes: int | None = None  # that decode pictures; None: a default for the device
    workers: int = 1  # number of workers on this machine
    scores: str | None = None  # ``IMAGE_SCORES`` with faces to blur; None: no blurring
    shown: tuple[tuple[str, ...], ...] | None = None  # per shard, files of ``SHOWN``; None: use the given ids


class EncodeImages(beam.PTransform):
    """``Shown`` -> shards of the data sets ``codes`` and ``decisions``."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding

    def expand(self, shown: beam.PCollection) -> beam.PCollection:
        return shown | with_model(beam.ParDo(_EncodeImages(self._encoding)), self._encoding.device)


def copies_serve(framings: Iterable[Framing], copy_side_px: int) -> bool:
    """Whether the reduced copies of images are large enough for image tokenizers with these framings."""
    return all(decode_side(framing) <= copy_side_px for framing in framings)


class _EncodeImages(WebStep):
    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._shared = Shared()

    def setup(self) -> None:
        self._tokenizers: ImageTokenizers = self._shared.acquire(self._load)
        kind, processes = self._tokenizers.tokenizers[0].device.type, self._encoding.processes
        if processes is None:
            processes = default_processes(kind, self._encoding.workers)
        self._pool = DecoderPool(self._tokenizers.frames.framings, processes)

    def teardown(self) -> None:
        self._pool.close()

    def _load(self) -> ImageTokenizers:
        from gobelin.tokenize.image_tokenizers import load_image_tokenizers
        from gobelin.transforms.devices import torch_device

        job = self._encoding
        return load_image_tokenizers(
            job.tokenizer, torch_device(job.device), precision=job.precision, batch_size=job.batch_size
        )

    def process(self, element: Shown) -> Iterator[str]:
        shards, group = element
        ids: dict[int, list[str]] = {index: [] for index in shards}
        for index, identifier in group:
            if identifier is not None:
                ids[index].append(identifier)
        job, num_shards = self._encoding, self._encoding.images.num_shards
        decisions: dict[int, list[Decision]] = {index: [] for index in shards}
        made = InTurn(self._rows(self._pictures(ids, decisions), decisions))
        for index in shards:
            path = shard_path(job.codes, index, num_shards)
            write_shard(path, made.of(index), codes_schema(self._tokenizers.codebooks), last=self._made_how)
            write_decisions(shard_path(job.decisions, index, num_shards), decisions[index])
            yield path

    def _made_how(self) -> dict[str, str]:
        return {ENCODED_KEY: json.dumps(self._tokenizers.made_how(), sort_keys=True)}

    def _pictures(
        self, ids: dict[int, list[str]], decisions: dict[int, list[Decision]]
    ) -> Iterator[tuple[_Key, Encoded]]:
        """The encoded file and the key of each image to encode."""
        job, frames = self._encoding, self._tokenizers.frames
        for index, known in ids.items():
            wanted = set(known if job.shown is None else shown_in_part(index, job.shown)[1])
            faces = None if job.scores is None else faces_of_shard(job.scores, index, job.images.num_shards)
            for row in job.images.read(index, wanted):
                key = _Key(index, row["image_id"], row["urls"][0], frames.tokenizer_for(row["height"], row["width"]))
                if faces is not None and row["image_id"] not in faces:
                    decisions[index].append(_failed(key, "faces_unknown", None))
                    continue
                yield key, (row["data"], (faces or {}).get(row["image_id"], ()), key.tokenizer)

    def _rows(
        self, pictures: Iterable[tuple[_Key, Encoded]], decisions: dict[int, list[Decision]]
    ) -> Iterator[tuple[int, CodesOfImage]]:
        """(shard, row of codes) of each image, in order."""
        waiting: deque[tuple[_Key, int]] = deque()  # with the index of its codebook
        frames, codebooks = self._tokenizers.frames, self._tokenizers.codebooks

        def opened() -> Iterator[tuple[int, np.ndarray]]:
            for key, pixels in self._pool.decoded(pictures):
                if isinstance(pixels, Refused):
                    decisions[key.shard].append(_failed(key, "undecodable_image", pixels.detail))
                else:
                    waiting.append((key, frames.codebook_of(key.tokenizer, pixels.shape[:2])))
                    yield key.tokenizer, pixels

        kind = np.uint16 if _are_narrow(codebooks) else np.int32
        for tokens in self._tokenizers.encode_all(opened()):
            key, codebook = waiting.popleft()
            advance("images")
            row: CodesOfImage = {"image_id": key.image_id, "codes": tokens.astype(kind)}
            if codebooks[codebook].is_continuous:
                row = {"image_id": key.image_id, "codes": np.zeros(len(tokens), np.uint16), "latents": tokens.ravel()}
            if len(codebooks) > 1:
                row["codebook"] = codebook
            yield key.shard, row


class CodesOfImage(TypedDict):
    """A row of the data set ``codes`` (``codes_schema``)."""

    image_id: str
    codes: npt.NDArray[np.integer]
    latents: NotRequired[npt.NDArray[np.float16]]
    codebook: NotRequired[int]


class _Key(NamedTuple):
    """The shard, id, URL and tokenizer of an image to encode."""

    shard: int
    image_id: str
    url: str
    tokenizer: int  # index of its tokenizer


def _failed(key: _Key, rule: str, detail: str | None) -> Decision:
    return Decision(
        stage="tokenize", unit=Unit.IMAGE, action=Action.FAIL, rule=rule, image_id=key.image_id, url=key.url,
        detail=detail,
    )  # fmt: skip


def _are_narrow(codebooks: Sequence[Codebook]) -> bool:
    return max(book.num_codes for book in codebooks) <= MAX_NARROW_CODES


def codes_schema(codebooks: Sequence[Codebook]) -> pa.Schema:
    """Schema of the data set ``codes``. With several codebooks it has a column for the codebook of an image."""
    if codebooks[0].is_continuous:
        schema = IMAGE_LATENTS
    else:
        schema = IMAGE_CODES if _are_narrow(codebooks) else WIDE_IMAGE_CODES
    return schema if len(codebooks) == 1 else schema.append(CODEBOOK_OF_IMAGE)


def how_encoded(codes: str) -> list[dict[str, Any]]:
    """The distinct devices and settings with which the shards of a data set of codes were made. With several
    tokenizers, there is one entry per tokenizer."""
    found: dict[str, None] = {}
    for path in list_shards(codes):
        with open_input(path) as stream:
            metadata = pq.read_metadata(stream).metadata or {}
        if (made := metadata.get(ENCODED_KEY.encode())) is not None:
            found.update(dict.fromkeys(json.dumps(each, sort_keys=True) for each in json.loads(made)))
    return [json.loads(made) for made in sorted(found)]
