"""The image tokenizer as a Beam stage, and the corpus as token shards.

    encode      each distinct image that the corpus shows -> its codes, once (the GPU worker)
    assemble    each document of the corpus -> one mixed sequence of tokens, in the shard of its id

``encode`` goes shard by shard over the stored images and reads no other; ``assemble`` shuffles codes (two bytes a
token) to the documents that show them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.utils.shared import Shared

from gobelin.data.ids import shard_of
from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.rows import Row
from gobelin.data.schemas import CONTINUOUS_TOKEN_SHARDS, IMAGE_CODES, IMAGE_LATENTS, TOKEN_SHARDS
from gobelin.store.shards import read_rows, write_decisions, write_shard
from gobelin.store.tables import read_tables, shard_path, shard_place
from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.sequence import ImageItem, Item, TextItem, encode_document
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import METADATA_KEY, Vocabulary
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.machines import with_model
from gobelin.transforms.progress import advance
from gobelin.transforms.row_steps import empty_shards
from gobelin.transforms.vision.clip import in_batches
from gobelin.transforms.vision.faces import Boxes, blur_faces, faces_of_shard

if TYPE_CHECKING:
    from gobelin.tokenize.image_tokenizer import ImageTokenizer

IMAGES_AT_ONCE = 512
PIXELS_AT_ONCE = 2**25
"""Most pictures, and pixels of pictures, held in memory, at the tokenizer's size: 128 of 512 px are 100 MB."""


class EncodeImages(beam.PTransform):
    """(shard, ids of shown images) -> shards of the data sets ``codes`` and ``decisions``.

    Args:
        scores: folder of ``IMAGE_SCORES`` with the faces that are blurred first; None: nothing is.
    """

    def __init__(
        self, tokenizer: str, images: str, codes: str, decisions: str, num_shards: int, device: str,
        scores: str | None = None,
    ) -> None:  # fmt: skip
        self._arguments, self._device = (tokenizer, images, codes, decisions, num_shards, device, scores), device

    def expand(self, shown: beam.PCollection) -> beam.PCollection:
        return shown | with_model(beam.ParDo(_EncodeImages(*self._arguments)), self._device)


class _EncodeImages(WebStep):
    def __init__(
        self, tokenizer: str, images: str, codes: str, decisions: str, num_shards: int, device: str, scores: str | None
    ) -> None:
        self._path, self._images, self._codes, self._decisions = tokenizer, images, codes, decisions
        self._num_shards, self._device, self._scores = num_shards, device, scores
        self._shared = Shared()

    def setup(self) -> None:
        self._tokenizer: ImageTokenizer = self._shared.acquire(self._load)

    def _load(self) -> ImageTokenizer:
        from gobelin.tokenize.image_tokenizer import load_image_tokenizer

        return load_image_tokenizer(self._path, self._device)

    def process(self, element: tuple[int, Iterable[str | None]]) -> Iterator[str]:
        index, shown = element
        wanted = set(shown)
        decisions: list[Decision] = []
        path = shard_path(self._codes, index, self._num_shards)
        schema = codes_schema(self._tokenizer.codebook)
        write_shard(path, self._rows(index, wanted, decisions), schema)
        write_decisions(shard_path(self._decisions, index, self._num_shards), decisions)
        yield path

    def _rows(self, index: int, wanted: set[str | None], decisions: list[Decision]) -> Iterator[Row]:
        rows = read_rows(shard_path(self._images, index, self._num_shards), ["image_id", "data", "urls"])
        faces = None if self._scores is None else faces_of_shard(self._scores, index, self._num_shards)
        pictures = self._pictures((row for row in rows if row["image_id"] in wanted), faces, decisions)
        height, width = self._tokenizer.size
        for batch in in_batches(pictures, max(1, min(IMAGES_AT_ONCE, PIXELS_AT_ONCE // (height * width)))):
            tokens = self._tokenizer.encode(np.stack([pixels for _, pixels in batch]))
            advance("images", len(batch))
            for (identifier, _), each in zip(batch, tokens, strict=True):
                if self._tokenizer.codebook.is_continuous:
                    yield {"image_id": identifier, "codes": np.zeros(len(each), np.int32), "latents": each.ravel()}
                else:
                    yield {"image_id": identifier, "codes": each}

    def _pictures(
        self, rows: Iterable[Row], faces: dict[str, Boxes] | None, decisions: list[Decision]
    ) -> Iterator[tuple[str, np.ndarray]]:
        size = self._tokenizer.size
        for row in rows:
            is_known = faces is None or row["image_id"] in faces
            pixels = attempt(_pixels, row["data"], (faces or {}).get(row["image_id"], ()), size) if is_known else None
            if pixels is None or isinstance(pixels, Refused):
                rule, detail = ("faces_unknown", None) if pixels is None else ("undecodable_image", pixels.detail)
                decisions.append(
                    Decision(
                        stage="tokenize", unit=Unit.IMAGE, action=Action.FAIL, rule=rule,
                        image_id=row["image_id"], url=row["urls"][0], detail=detail,
                    )
                )  # fmt: skip
                continue
            yield row["image_id"], pixels


def _pixels(data: bytes, faces: Boxes, size: tuple[int, int]) -> np.ndarray:
    from gobelin.tokenize.image_tokenizer import preprocess

    return preprocess(blur_faces(open_rgb(data, 2 * max(size)), faces), size)


@dataclasses.dataclass(frozen=True, slots=True)
class _Codes:
    image_id: str
    codes: bytes  # int32, or float16 latents where tokens are continuous


def codes_schema(codebook: Codebook) -> pa.Schema:
    """Schema of the data set ``codes`` of a tokenizer."""
    return IMAGE_LATENTS if codebook.is_continuous else IMAGE_CODES


class AssembleDocuments(beam.PTransform):
    """(shard numbers of the corpus, rows of ``IMAGE_CODES``) -> token shards; ``decisions`` on empty documents.

    Args:
        parts: of each shard of the corpus, files with the codes of its images, where they were dealt out; no rows come
            in then.
    """

    def __init__(
        self, corpus: str, output: str, num_shards: int, vocabulary: Vocabulary, text_tokenizer: TextTokenizer,
        alt_as_caption: bool, parts: Sequence[Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        self._corpus, self._num_shards, self._parts = corpus, num_shards, parts
        self._arguments = (corpus, output, num_shards, vocabulary, text_tokenizer, alt_as_caption)

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.DoOutputsTuple:
        shards, codes = inputs
        if self._parts is None:
            by_shard = (
                (
                    {
                        "uses": shards | "ImagesOfCorpus" >> beam.FlatMap(_uses, self._corpus, self._num_shards),
                        "codes": codes | "ById" >> beam.Map(_codes_by_id),
                    }
                    | "JoinById" >> beam.CoGroupByKey()
                    | "ToShards" >> beam.FlatMap(_codes_to_shards),
                    empty_shards(codes.pipeline, range(self._num_shards)),
                )
                | beam.Flatten()
                | beam.GroupByKey()
            )
        else:
            by_shard = shards | "CodesOfShard" >> beam.Map(codes_in_part, self._parts)
        return by_shard | beam.ParDo(_AssembleShard(*self._arguments)).with_outputs("decisions", main="paths")


SHOWN = pa.schema([("image_id", pa.string()), ("shard", pa.int32())])
"""One row an image and a shard of the corpus with a document that shows it."""


def read_shown(path: str, _: list[str]) -> Iterator[pa.Table]:
    """The rows of ``SHOWN`` of a shard of the corpus, each once a row group (``partition.Read``)."""
    index = shard_place(path)[0]
    for table in read_tables(path, ["nodes.list.element.image_id"]):
        ids = pc.unique(pc.struct_field(pc.list_flatten(table["nodes"]), "image_id").drop_null())
        yield pa.table([ids, pa.repeat(pa.scalar(index, pa.int32()), len(ids))], SHOWN)


def shown_images(index: int, corpus: str, num_shards: int) -> Iterator[tuple[int, str]]:
    """(image shard, image_id) of each image that a shard of the corpus shows."""
    for identifier, _ in _uses(index, corpus, num_shards):
        yield shard_of(identifier, num_shards), identifier


def shown_in_part(index: int, paths: Sequence[Sequence[str]]) -> tuple[int, list[str]]:
    """(image shard, ids of its images that the corpus shows).

    Args:
        paths: of each shard, files of ``SHOWN``.
    """
    return index, sorted({row["image_id"] for path in paths[index] for row in read_rows(path, ["image_id"])})


@dataclasses.dataclass(frozen=True, slots=True)
class ReadCodesOfShards:
    """Shards of ``IMAGE_CODES`` -> rows of it, once for each shard of the corpus that shows the image; ``shard`` says
    which (``partition.Read``).

    Args:
        shown: of each shard of images, files of ``SHOWN``.
    """

    shown: tuple[tuple[str, ...], ...]

    def __call__(self, path: str, columns: list[str]) -> Iterator[pa.Table]:
        index = shard_place(path)[0]
        shown = pa.concat_tables([SHOWN.empty_table(), *(t for file in self.shown[index] for t in read_tables(file))])
        shown = shown.group_by(["image_id", "shard"]).aggregate([])  # one a row group so far
        for codes in read_tables(path, columns):
            place = pc.index_in(shown["image_id"], codes["image_id"].combine_chunks())
            is_here = pc.is_valid(place)
            yield codes.take(place.filter(is_here)).append_column("shard", shown["shard"].filter(is_here))


def _uses(index: int, corpus: str, num_shards: int) -> Iterator[tuple[str, int]]:
    found: set[str] = set()
    for table in read_shown(shard_path(corpus, index, num_shards), []):
        found.update(table["image_id"].to_pylist())
    for identifier in sorted(found):
        yield identifier, index


def codes_in_part(index: int, paths: Sequence[Sequence[str]]) -> tuple[int, list[_Codes]]:
    """(shard of the corpus, codes of the images that it shows).

    Args:
        paths: of each shard, files of ``IMAGE_CODES``.
    """
    return index, [_Codes(*_codes_by_id(row)) for path in paths[index] for row in read_rows(path)]


def _codes_by_id(row: Row) -> tuple[str, bytes]:
    latents = row.get("latents")
    found = np.asarray(row["codes"], np.int32) if latents is None else np.asarray(latents, np.float16)
    return row["image_id"], found.tobytes()


def _codes_to_shards(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[int, _Codes]]:
    identifier, sides = joined
    codes = next(iter(sides["codes"]), None)
    if codes is not None:
        for index in sides["uses"]:
            yield index, _Codes(identifier, codes)


class _AssembleShard(WebStep):
    def __init__(
        self, corpus: str, output: str, num_shards: int, vocabulary: Vocabulary, text_tokenizer: TextTokenizer,
        alt_as_caption: bool,
    ) -> None:  # fmt: skip
        self._corpus, self._output, self._num_shards = corpus, output, num_shards
        self._vocabulary, self._text_tokenizer, self._alt_as_caption = vocabulary, text_tokenizer, alt_as_caption

    def process(self, element: tuple[int, Iterable[_Codes | None]]) -> Iterator[Any]:
        index, group = element
        stored = {item.image_id: item.codes for item in group if item is not None}
        codebook, latents = self._vocabulary.codebooks[0], None  # of the run's image tokenizer
        if codebook.is_continuous:  # an id marks the place of a latent
            codes = dict.fromkeys(stored, np.zeros(codebook.tokens_per_image, np.int32))
            latents = {name: np.frombuffer(data, np.float16) for name, data in stored.items()}
        else:
            codes = {name: np.frombuffer(data, np.int32) for name, data in stored.items()}
        decisions: list[Decision] = []
        path = shard_path(self._output, index, self._num_shards)
        metadata = {METADATA_KEY.decode(): self._vocabulary.to_json()}
        schema = CONTINUOUS_TOKEN_SHARDS if codebook.is_continuous else TOKEN_SHARDS
        write_shard(path, self._rows(index, codes, decisions, latents), schema, metadata)
        yield path
        for decision in decisions:
            yield beam.pvalue.TaggedOutput("decisions", to_row(decision))

    def _rows(
        self, index: int, codes: dict[str, np.ndarray], decisions: list[Decision],
        latents: dict[str, np.ndarray] | None = None,
    ) -> Iterator[Row]:  # fmt: skip
        for document in read_rows(shard_path(self._corpus, index, self._num_shards)):
            advance("documents")
            row = attempt(self._row, document, codes, latents)
            if row is None or isinstance(row, Refused):
                rule, detail = ("nothing_left", None) if row is None else ("tokenize_error", row.detail)
                decisions.append(
                    Decision(
                        stage="tokenize", unit=Unit.DOCUMENT, action=Action.FAIL, rule=rule,
                        doc_id=document["doc_id"], url=document["url"], detail=detail,
                    )
                )  # fmt: skip
                continue
            yield row

    def _row(self, document: Row, codes: dict[str, np.ndarray], latents: dict[str, np.ndarray] | None) -> Row | None:
        """The sequence of a document; None where nothing of it is left."""
        items = document_items(document["nodes"], codes, self._alt_as_caption)
        if not items:
            return None
        tokens, spans = encode_document(document["doc_id"], items, self._vocabulary, self._text_tokenizer)
        image_spans = [dataclasses.asdict(span) for span in spans]
        row: Row = {"doc_id": document["doc_id"], "tokens": tokens, "image_spans": image_spans}
        if latents is not None:
            of_images = [latents[span.image_id] for span in spans]
            row["latents"] = np.concatenate([np.empty(0, np.float16), *of_images])
        return row


def alt_text(alt: str | None) -> str | None:
    """An alternative text that says something: a file's name or path, which many pages give instead, does not."""
    return None if alt is None or _FILE_NAME.fullmatch(alt) else alt


_FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|webp|svg|bmp|avif|tiff?)", re.IGNORECASE)


def document_items(nodes: Iterable[Row], codes: dict[str, np.ndarray], alt_as_caption: bool) -> list[Item]:
    """What of a document enters its sequence, in reading order.

    Args:
        codes: of the images at hand; an image without codes is left out, its caption too.
        alt_as_caption: whether the alternative text stands in where there is no caption.
    """
    items: list[Item] = []
    for node in nodes:
        if node["kind"] == "text":
            items.append(TextItem(node["text"]))
        elif node["image_id"] in codes:
            caption = node["caption"] or (alt_text(node["alt"]) if alt_as_caption else None)
            items.append(ImageItem(node["image_id"], tuple(codes[node["image_id"]].tolist()), caption))
    return items
