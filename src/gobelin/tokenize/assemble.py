"""Turns each document of the corpus into one mixed sequence of tokens, or into several if it is long.

Codes (``encode.py``), two bytes per token, are shuffled to the documents that show their images. Sequences stay in the
shard of their document. ``token_shards.py`` shuffles them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.data.markdown_blocks import fenced, table_as_markdown
from gobelin.data.model import Action, Decision, Role, Unit, alt_text, to_row
from gobelin.data.rows import DocumentRow, NodeRow
from gobelin.store.shards import read_rows, write_shard
from gobelin.store.tables import read_tables, shard_path, shard_place
from gobelin.tokenize.config import Order
from gobelin.tokenize.order import Assignments, beyond, ordered
from gobelin.tokenize.sequence import ImageItem, Item, TextItem
from gobelin.tokenize.shown import SHOWN, uses_of_images
from gobelin.tokenize.split import encode_sequences
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.token_shards import SequenceColumns, sequence_row, sequence_schema
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.progress import advance
from gobelin.transforms.row_steps import empty_shards
from gobelin.transforms.urls import site_of


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceLayout:
    """How the sequences of a document are made."""

    alt_as_caption: bool = True
    order: Order = "interleaved"
    max_images: int | None = None
    max_tokens: int | None = None
    seed: int = 0
    assignments: tuple[str, str] | None = None
    """The folders of ``score/documents`` and ``select/decisions``, if the order is by assignment."""


class AssembleDocuments(beam.PTransform):
    """(shard numbers of the corpus, rows of ``IMAGE_CODES``) -> shards of ``sequence_schema``, and ``decisions`` on
    parts that were left out.

    Args:
        corpus: folder of the documents.
        output: folder of the sequences.
        num_shards: number of shards of both.
        vocabulary: vocabulary of the sequences.
        text_tokenizer: text tokenizer of the vocabulary.
        layout: how sequences are made.
        parts: for each shard of the corpus, files with the codes of its images, if codes were partitioned before. Then
            the second input must be empty.
    """

    def __init__(
        self, corpus: str, output: str, num_shards: int, vocabulary: Vocabulary, text_tokenizer: TextTokenizer,
        layout: SequenceLayout, parts: Sequence[Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        self._corpus, self._num_shards, self._parts = corpus, num_shards, parts
        self._arguments = (corpus, output, num_shards, vocabulary, text_tokenizer, layout)

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.DoOutputsTuple:
        shards, codes = inputs
        if self._parts is None:
            by_shard = (
                (
                    {
                        "uses": shards
                        | "ImagesOfCorpus" >> beam.FlatMap(uses_of_images, self._corpus, self._num_shards),
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


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedImage:
    """Codes of an image, int32, and the index of its codebook in the vocabulary."""

    codes: np.ndarray
    codebook: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Codes:
    image_id: str
    codes: bytes  # int32, or float16 latents if tokens are continuous
    codebook: int = 0  # index in the vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class ReadCodesOfShards:
    """Reads a shard of ``IMAGE_CODES``, and repeats each row for every shard of the corpus that shows the image, with
    its number in the column ``shard`` (``partition.Read``).

    Args:
        shown: for each shard of images, files of ``SHOWN``.
    """

    shown: tuple[tuple[str, ...], ...]

    def __call__(self, path: str, columns: list[str]) -> Iterator[pa.Table]:
        index = shard_place(path)[0]
        shown = pa.concat_tables([SHOWN.empty_table(), *(t for file in self.shown[index] for t in read_tables(file))])
        shown = shown.group_by(["image_id", "shard"]).aggregate([])  # removes duplicates of different row groups
        for codes in read_tables(path, columns):
            place = pc.index_in(shown["image_id"], codes["image_id"].combine_chunks())
            is_here = pc.is_valid(place)
            yield codes.take(place.filter(is_here)).append_column("shard", shown["shard"].filter(is_here))


def codes_in_part(index: int, paths: Sequence[Sequence[str]]) -> tuple[int, list[_Codes]]:
    """The number of a shard of the corpus, and the codes of its images.

    Args:
        index: number of the shard.
        paths: for each shard, files of ``IMAGE_CODES``.
    """
    return index, [_codes_by_id(row)[1] for path in paths[index] for row in read_rows(path)]


def _codes_by_id(row: Mapping[str, Any]) -> tuple[str, _Codes]:
    latents = row.get("latents")
    found = np.asarray(row["codes"], np.int32) if latents is None else np.asarray(latents, np.float16)
    return row["image_id"], _Codes(row["image_id"], found.tobytes(), row.get("codebook") or 0)


def _codes_to_shards(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[int, _Codes]]:
    _, sides = joined
    codes = next(iter(sides["codes"]), None)
    if codes is not None:
        for index in sides["uses"]:
            yield index, codes


class _AssembleShard(WebStep):
    def __init__(
        self, corpus: str, output: str, num_shards: int, vocabulary: Vocabulary, text_tokenizer: TextTokenizer,
        layout: SequenceLayout,
    ) -> None:  # fmt: skip
        self._corpus, self._output, self._num_shards = corpus, output, num_shards
        self._vocabulary, self._text_tokenizer, self._layout = vocabulary, text_tokenizer, layout

    def process(self, element: tuple[int, Iterable[_Codes | None]]) -> Iterator[Any]:
        index, group = element
        stored = {item.image_id: item for item in group if item is not None}
        codebooks, latents = self._vocabulary.codebooks, None  # one per grid of the run's image tokenizers
        codebook = codebooks[0]
        if codebook.is_continuous:  # an id only marks the position of a latent
            zeros = [np.zeros(book.tokens_per_image, np.int32) for book in codebooks]
            codes = {name: EncodedImage(zeros[item.codebook], item.codebook) for name, item in stored.items()}
            latents = {name: np.frombuffer(item.codes, np.float16) for name, item in stored.items()}
        else:
            codes = {
                name: EncodedImage(np.frombuffer(item.codes, np.int32), item.codebook) for name, item in stored.items()
            }
        decisions: list[Decision] = []
        path = shard_path(self._output, index, self._num_shards)
        write_shard(path, self._rows(index, codes, decisions, latents), sequence_schema(codebook))
        yield path
        for decision in decisions:
            yield beam.pvalue.TaggedOutput("decisions", to_row(decision))

    def _rows(
        self, index: int, codes: Mapping[str, EncodedImage], decisions: list[Decision],
        latents: dict[str, np.ndarray] | None = None,
    ) -> Iterator[SequenceColumns]:  # fmt: skip
        folders, assignments = self._layout.assignments, None
        if folders is not None:
            scores, selected = (shard_path(folder, index, self._num_shards) for folder in folders)
            assignments = Assignments(scores, selected)
        for document in read_rows(shard_path(self._corpus, index, self._num_shards)):
            advance("documents")
            assigned = None if assignments is None else assignments.of(document["doc_id"])
            made = attempt(self._sequences, document, codes, latents, assigned)
            if isinstance(made, Refused) or not made[0]:
                rule, detail = ("tokenize_error", made.detail) if isinstance(made, Refused) else ("nothing_left", None)
                decisions.append(
                    Decision(
                        stage="tokenize", unit=Unit.DOCUMENT, action=Action.FAIL, rule=rule,
                        doc_id=document["doc_id"], url=document["url"], detail=detail,
                    )
                )  # fmt: skip
                continue
            decisions += made[1]
            yield from made[0]

    def _sequences(
        self, document: DocumentRow, codes: Mapping[str, EncodedImage], latents: dict[str, np.ndarray] | None,
        assigned: list[int | None] | None,
    ) -> tuple[list[SequenceColumns], list[Decision]]:  # fmt: skip
        """The rows of a document, and the decisions on its parts that were left out. There are no rows if nothing is
        left."""
        layout, doc_id = self._layout, document["doc_id"]
        nodes = shown_nodes(document["nodes"], codes)
        if assigned is not None and len(assigned) != len(document["nodes"]):
            raise ValueError(f"{len(assigned)} scored nodes are left of {len(document['nodes'])}")
        if assigned is not None:  # to positions among the shown nodes
            place_of = {place: index for index, place in enumerate(nodes)}
            texts = [assigned[place] for place in nodes]
            assigned = [None if text is None else place_of.get(text) for text in texts]
        kinds = [document["nodes"][place]["kind"] for place in nodes]
        dropped = beyond(kinds, layout.max_images)
        places = [nodes[index] for index in ordered(kinds, layout.order, assigned) if index not in dropped]
        items = document_items([document["nodes"][place] for place in places], codes, layout.alt_as_caption)
        decisions = [
            self._decision(document, nodes[index], Action.DROP, "max_images", kinds.count("image"), layout.max_images)
            for index in sorted(dropped)
        ]
        if not items:
            return [], []
        sequences, shortened = encode_sequences(
            doc_id, items, self._vocabulary, self._text_tokenizer, layout.max_tokens
        )
        decisions += [
            self._decision(document, places[each.item], Action.REPLACE, "caption_too_long", each.num_tokens,
                           layout.max_tokens)
            for each in shortened
        ]  # fmt: skip
        rows, site = [], site_of(document["url"])
        for part, sequence in enumerate(sequences):
            row = sequence_row(doc_id, site, None if len(sequences) == 1 else part, sequence, layout.seed)
            if latents is not None:
                of_images = [latents[span.image_id] for span in sequence.spans]
                row["latents"] = np.concatenate([np.empty(0, np.float16), *of_images])
            rows.append(row)
        return rows, decisions

    @staticmethod
    def _decision(
        document: DocumentRow, place: int, action: Action, rule: str, value: int, threshold: int | None
    ) -> Decision:  # fmt: skip
        node = document["nodes"][place]
        return Decision(
            stage="tokenize", unit=Unit.NODE, action=action, rule=rule, doc_id=document["doc_id"], node_index=place,
            image_id=node["image_id"], url=node["image_url"], value=value, threshold=threshold,
        )  # fmt: skip


def shown_nodes(nodes: Sequence[NodeRow], codes: Mapping[str, EncodedImage]) -> list[int]:
    """Positions of the nodes that become part of a document's sequence: texts, and images with codes."""
    return [place for place, node in enumerate(nodes) if node["kind"] == "text" or node["image_id"] in codes]


def document_items(nodes: Iterable[NodeRow], codes: Mapping[str, EncodedImage], alt_as_caption: bool) -> list[Item]:
    """The items of a sequence.

    Args:
        nodes: texts and images of the document.
        codes: codes of the images by id.
        alt_as_caption: whether the alt text replaces a missing caption.
    """
    items: list[Item] = []
    for node in nodes:
        if node["kind"] == "text":
            items.append(TextItem(written_text(node)))
        elif node["image_id"] is not None:
            caption = node["caption"] or (alt_text(node["alt"]) if alt_as_caption else None)
            items.append(_image_item(node["image_id"], codes[node["image_id"]], caption))
    return items


def written_text(node: NodeRow) -> str:
    """The text of a node as it is tokenized: code and tables in Markdown, anything else unchanged."""
    text = node["text"] or ""
    if node["role"] == Role.CODE:
        return fenced(text, node.get("code_language") or "")
    if node["role"] == Role.TABLE:
        return table_as_markdown(text, node.get("header_rows"))
    return text


def _image_item(identifier: str, image: EncodedImage, caption: str | None) -> ImageItem:
    return ImageItem(identifier, tuple(image.codes.tolist()), caption, image.codebook)
