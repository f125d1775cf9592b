"""Reads a run's documents and their scores into ``Columns``, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gobelin.data.model import Role
from gobelin.data.rows import NodeRow
from gobelin.errors import UserError
from gobelin.scores import HEAD
from gobelin.store.files import open_input
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.rights.consent import refusal
from gobelin.transforms.selection.columns.columns import (
    EARLIER_KINDS,
    GROUP_KINDS,
    ROLES,
    Bytes,
    Columns,
    Floats,
    Ints,
    as_floats,
    coded,
)
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.rules import all_rules, has_own_caption, threshold_of
from gobelin.transforms.selection.select import PII_FIELDS, without_personal_data
from gobelin.transforms.selection.url_words import banned_word
from gobelin.transforms.selection.write_corpus import known_earlier
from gobelin.transforms.text.pii import COLUMNS, Pii

_MAX_LEVEL = 6

Arrays = dict[str, pa.Array]
"""Values of nodes, by the name of the column."""


class NotAlignedError(UserError):
    """Documents and scores belong to different runs."""


_FACTS = ("kind", "image_id", "consent", "format", "width", "height", "near_group", *COLUMNS.values())

_GIVEN = (
    "kind",
    "role",
    "level",
    "image_id",
    "image_url",
    "rendered_width",
    "rendered_height",
    "link_url",
    *PII_FIELDS,
)

_OF_DOCUMENT = ("url", "title", "language", "warc_date", "consent", "page_kind", "language_score")


def load_columns(
    documents: str, scores: str, config: SelectConfig, advance: Callable[[int], None] = lambda done: None
) -> Columns:
    """Reads ``extract/documents`` and ``score/documents``.

    Args:
        config: determines which scores are read first. Its conditions without a number are evaluated here.
        advance: called with the number of shards that have been read.

    Raises:
        NotAlignedError: the scores do not belong to the documents.
    """
    wanted = {rule.score for rule in all_rules(config) if rule.score and threshold_of(rule, config) is not None}
    paths = list(zip(list_shards(documents), list_shards(scores), strict=True))
    parts = []
    for number, (of_documents, of_scores) in enumerate(paths, 1):
        parts.append(_Part(of_documents, of_scores, config, wanted).columns())
        advance(number)
    return _joined(parts, [path for _, path in paths])


class _Part:
    """One shard."""

    def __init__(self, documents: str, scores: str, config: SelectConfig, wanted: set[str]) -> None:
        self._config = config
        names = _names_in(scores)
        own = {"doc_id", "clip_model", "earlier", *(f"{kind}_group" for kind in GROUP_KINDS)}
        of_nodes = [name for name in (*_FACTS, *wanted, "num_words", "clip_assigned_score") if name in names["nodes"]]
        own |= wanted & names["documents"]
        self._scores = _read(scores, [*own, *(f"nodes.list.element.{name}" for name in of_nodes)])
        given = _read(documents, ["doc_id", *_OF_DOCUMENT, *(f"nodes.list.element.{name}" for name in _GIVEN)])
        self._given = given.filter(pc.is_in(given["doc_id"], self._scores["doc_id"].combine_chunks()))
        self._lists = self._given["nodes"].combine_chunks(), self._scores["nodes"].combine_chunks()
        if not self._given["doc_id"].equals(self._scores["doc_id"]) or not pc.list_value_length(self._lists[0]).equals(
            pc.list_value_length(self._lists[1])
        ):
            raise NotAlignedError(f"{scores} does not belong to {documents}: run the score stage again")
        self._nodes = [_flat(lists) for lists in self._lists]
        self._read_names = wanted

    def columns(self) -> dict[str, Any]:
        given, scored = self._nodes
        is_image = np.asarray(pc.equal(given["kind"], "image"))
        lengths = np.asarray(pc.list_value_length(self._lists[0])).astype(np.int64)
        document = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        texts, images = np.flatnonzero(~is_image).astype(np.int32), np.flatnonzero(is_image).astype(np.int32)
        words, pii = self._words_and_pii(given, scored)
        missing = np.asarray(pc.or_(pc.is_null(given["image_id"]), pc.is_null(scored["image_id"])))
        found = {
            "ids": self._given["doc_id"], "urls": self._given["url"], "titles": self._given["title"],
            "languages": self._given["language"], "dates": self._given["warc_date"],
            **{f"{kind}_group": self._scores[f"{kind}_group"] for kind in GROUP_KINDS},
            "fixed": self._fixed(), "earlier": self._earlier(),
            "has_clip": np.asarray(pc.is_valid(self._scores["clip_model"])),
            "num_texts": np.bincount(document[texts], minlength=len(lengths)),
            "num_images": np.bincount(document[images], minlength=len(lengths)),
            "of_document": document, "levels": _levels(given), "text_nodes": texts,
            "roles": _codes(given["role"], ROLES)[texts], "words": words[texts], "text_pii": pii[texts],
            "image_nodes": images, "image_pii": pii[images], "captioned": _captioned(given, images),
            "image_fixed": self._image_fixed(given, scored, images, missing[images]),
            "image_id": pc.if_else(pa.array(missing), None, given["image_id"]).take(pa.array(images)),
            "image_group": scored["near_group"].take(pa.array(images)),
            "language_score": as_floats(self._given["language_score"].combine_chunks()),
            **{f"side {name}": values[images] for name, values in _sides(given, scored).items()},
        }  # fmt: skip
        for name in self._read_names & set(self._scores.column_names):
            found[f"document {name}"] = as_floats(self._scores[name].combine_chunks())
        for name in (self._read_names | {"num_words", "clip_assigned_score"}) & set(scored):
            values = as_floats(scored[name])
            found[f"text {name}"], found[f"image {name}"] = values[texts], values[images]
        return found

    def _fixed(self) -> Bytes:
        rules = self._config.document
        found = np.zeros(len(self._given), np.int8)
        if rules.page_kinds is not None:
            found[~_is_in(self._given["page_kind"], rules.page_kinds)] = 3
        if rules.languages is not None:
            found[~_is_in(self._given["language"], rules.languages)] = 2
        _refuse(found, self._given["consent"], rules.deny_consent, rules.consent_agents, 1)
        return found

    def _image_fixed(self, given: Arrays, scored: Arrays, images: Ints, missing: npt.NDArray[np.bool_]) -> Bytes:
        rules = self._config.image
        places = pa.array(images)
        found = np.zeros(len(images), np.int8)
        if rules.banned_url_words is not None:
            urls = given["image_url"].take(places).to_pylist()
            found[[banned_word(url, rules.banned_url_words) is not None if url else False for url in urls]] = 4
        if rules.formats is not None:
            found[~_is_in(scored["format"].take(places), rules.formats)] = 3
        consent = scored["consent"].take(places)
        _refuse(found, consent, rules.deny_consent, self._config.document.consent_agents, 2)
        found[missing] = 1
        return found

    def _earlier(self) -> Bytes:
        earlier = self._scores["earlier"].combine_chunks()
        found = np.zeros(len(earlier), np.int8)
        for place in np.flatnonzero(np.asarray(pc.list_value_length(earlier)) > 0).tolist():
            known = known_earlier(earlier[place].as_py(), self._config.document.unique)
            found[place] = 0 if known is None else EARLIER_KINDS.index(known["kind"]) + 1
        return found

    def _words_and_pii(self, given: Arrays, scored: Arrays) -> tuple[Ints, Bytes]:
        """For each node: (the number of words as shown, the kind of personal data that drops it)."""
        words = count_words(given["text"])
        pii = np.zeros(len(words), np.int8)
        personal = [kind for kind in Pii if getattr(self._config.pii, kind) != "keep"]
        holds_none = np.ones(len(words), bool)
        for kind in personal:
            holds_none &= np.asarray(pc.fill_null(pc.equal(scored[COLUMNS[kind]], 0), False))
        for place in np.flatnonzero(~holds_none).tolist():
            node = {name: given[name][place].as_py() for name in (*PII_FIELDS, "link_url")}
            changed, counts = without_personal_data(cast(NodeRow, node), personal)
            words[place] = len(changed["text"].split()) if changed["text"] else 0
            dropping = (kind for kind in Pii if counts[kind] and getattr(self._config.pii, kind) == "drop")
            pii[place] = next((list(Pii).index(kind) + 1 for kind in dropping), 0)
        return words, pii


def count_words(texts: pa.Array) -> Ints:
    """The number of words in each text, as ``str.split`` splits them; 0 for null.

    Arrow's white space is Unicode's property. Python has four more control characters, so these are replaced first.
    """
    plain = pc.replace_substring_regex(pc.fill_null(texts, ""), "[\\x1c-\\x1f]", " ")
    trimmed = pc.utf8_trim_whitespace(plain)
    counts = np.array(pc.list_value_length(pc.utf8_split_whitespace(trimmed))).astype(np.int32)
    counts[np.asarray(pc.equal(trimmed, ""))] = 0
    return counts


def _read(path: str, names: list[str]) -> pa.Table:
    tables = list(read_tables(path, names))
    if tables:
        return pa.concat_tables(tables)
    with open_input(path) as stream:  # a shard without rows has no row groups
        return pq.ParquetFile(stream).read(columns=names)


def _names_in(path: str) -> dict[str, set[str]]:
    """The columns of a shard of scores, and those of its nodes."""
    with open_input(path) as stream:
        schema = pq.read_schema(stream)
    nodes = schema.field("nodes").type.value_type
    return {"documents": set(schema.names), "nodes": {field.name for field in nodes}}


def _flat(lists: pa.Array) -> Arrays:
    """The fields of the structs in these lists."""
    nodes = lists.flatten()
    return {field.name: pc.struct_field(nodes, field.name) for field in nodes.type}


def _is_in(values: Any, allowed: Iterable[str]) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.is_in(values, value_set=pa.array(list(allowed), pa.string())))


def _codes(values: pa.Array, names: tuple[str | None, ...]) -> Bytes:
    """Numbers of words; 0 for null and for a word that is not in ``names``."""
    found = pc.index_in(values, value_set=pa.array(names[1:], pa.string()))
    return np.asarray(pc.fill_null(found, -1)).astype(np.int8) + np.int8(1)


def _levels(given: Arrays) -> Bytes:
    is_heading = np.asarray(pc.fill_null(pc.equal(given["role"], str(Role.HEADING)), False))
    levels = np.asarray(pc.fill_null(given["level"], 0)).astype(np.int32)
    levels[levels == 0] = _MAX_LEVEL
    return np.where(is_heading, np.minimum(levels, _MAX_LEVEL), 0).astype(np.int8)


def _refuse(found: Bytes, signals: Any, denied: Any, agents: Any, number: int) -> None:
    if not denied:
        return
    has_some = np.asarray(pc.fill_null(pc.greater(pc.list_value_length(signals), 0), False))
    for place in np.flatnonzero(has_some).tolist():
        if refusal(signals[place].as_py(), denied, agents):
            found[place] = number


def _sides(given: Arrays, scored: Arrays) -> dict[str, Floats]:
    with np.errstate(divide="ignore", invalid="ignore"):
        width, height = (np.asarray(scored[name].cast(pa.float64()).fill_null(np.nan)) for name in ("width", "height"))
        shown = [as_floats(given[f"rendered_{name}"]) for name in ("width", "height")]
        return {
            "min_side": np.minimum(width, height).astype(np.float32),
            "max_side": np.maximum(width, height).astype(np.float32),
            "min_rendered": np.fmin(*shown),
            "max_rendered": np.fmax(*shown),
            "aspect_ratio": (width / height).astype(np.float32),
        }


def _captioned(given: Arrays, images: Ints) -> npt.NDArray[np.bool_]:
    captions, links = (given[name].take(pa.array(images)) for name in ("caption", "link_url"))
    found = np.array(pc.fill_null(pc.not_equal(captions, ""), False))
    for place in np.flatnonzero(found & np.asarray(pc.is_valid(links))).tolist():
        found[place] = has_own_caption("caption", links[place].as_py())
    return found


def _joined(parts: list[dict[str, Any]], score_paths: list[str]) -> Columns:
    def strings(name: str) -> pa.Array:
        pieces = [part[name] for part in parts]
        chunks = [
            chunk for piece in pieces for chunk in (piece.chunks if isinstance(piece, pa.ChunkedArray) else [piece])
        ]
        return pa.chunked_array([chunk.cast(pa.large_string()) for chunk in chunks], pa.large_string()).combine_chunks()

    def numbers(name: str) -> Any:
        return np.concatenate([part.pop(name) for part in parts])

    def ends(name: str) -> npt.NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(numbers(name))]).astype(np.int64)

    num_documents, num_nodes = 0, 0
    for part in parts:
        here, nodes = len(part["fixed"]), len(part["of_document"])
        part["of_document"] += np.int32(num_documents)
        part["text_nodes"] += np.int32(num_nodes)
        part["image_nodes"] += np.int32(num_nodes)
        num_documents, num_nodes = num_documents + here, num_nodes + nodes
    image_codes, image_ids = coded(strings("image_id"))
    ids = strings("ids")
    order = pc.sort_indices(pa.table({"date": strings("dates"), "id": ids}),
                            [("date", "descending"), ("id", "ascending")])  # fmt: skip
    rank = np.empty(num_documents, np.int32)
    rank[np.asarray(order)] = np.arange(num_documents, dtype=np.int32)
    keys = [key for key in parts[0] if key.split(" ")[0] in ("document", "text", "image", "side") and " " in key]
    scores = {tuple(key.split(" ", 1)): numbers(key) for key in keys if not key.startswith("side ")}
    scores["document", "language_score"] = numbers("language_score")
    return Columns(
        ids=ids, urls=strings("urls"), titles=strings("titles"), languages=strings("languages"),
        fixed=numbers("fixed"), earlier=numbers("earlier"),
        groups={kind: coded(strings(f"{kind}_group"))[0] for kind in GROUP_KINDS},
        rank=rank, has_clip=numbers("has_clip"), text_ends=ends("num_texts"), image_ends=ends("num_images"),
        of_document=numbers("of_document"), levels=numbers("levels"), text_nodes=numbers("text_nodes"),
        roles=numbers("roles"), words=numbers("words"), text_pii=numbers("text_pii"),
        image_nodes=numbers("image_nodes"), image_fixed=numbers("image_fixed"), image_pii=numbers("image_pii"),
        captioned=numbers("captioned"),
        images=image_codes, image_ids=image_ids, near=coded(strings("image_group"))[0],
        sides={key.removeprefix("side "): numbers(key) for key in keys if key.startswith("side ")},
        read=_reader(score_paths), scores=scores,  # type: ignore[arg-type]  # two words per key
    )  # fmt: skip


def _reader(paths: list[str]) -> Callable[[str, str], pa.Array]:
    def read(where: str, name: str) -> pa.Array:
        return pa.concat_arrays(list(_pieces(where, name)))

    def _pieces(where: str, name: str) -> Iterator[pa.Array]:
        for path in paths:
            column = "heads" if name.startswith(HEAD) else name
            if column not in _names_in(path)[where]:
                wanted = "doc_id" if where == "documents" else "nodes.list.element.kind"
                table = _read(path, [wanted])
                num = len(table) if where == "documents" else len(table["nodes"].combine_chunks().flatten())
                yield pa.nulls(num, pa.float64())
            elif where == "documents":
                yield _read(path, [name])[name].combine_chunks()
            elif name.startswith(HEAD):
                yield _head_values(_read(path, ["nodes.list.element.heads"]), name.removeprefix(HEAD))
            else:
                lists = _read(path, [f"nodes.list.element.{name}"])["nodes"].combine_chunks()
                yield pc.struct_field(lists.flatten(), name)

    return read


def _head_values(table: pa.Table, name: str) -> pa.Array:
    """The value of a user's head for each node; the last one if there are several."""
    heads = pc.struct_field(table["nodes"].combine_chunks().flatten(), "heads")
    found = np.full(len(heads), np.nan)
    flat = heads.flatten()
    of_node = np.asarray(pc.list_parent_indices(heads))
    is_it = np.asarray(pc.equal(pc.struct_field(flat, "name"), name))
    found[of_node[is_it]] = np.asarray(pc.struct_field(flat, "value").cast(pa.float64()).fill_null(np.nan))[is_it]
    return pa.array(found, from_pandas=True)
