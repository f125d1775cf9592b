"""What of an evaluation set stands in a corpus: n-grams of its texts, look-alikes of its images.

    texts   lower case, runs of letters and digits; each letter by itself in scripts without spaces. Every run of
            ``ngram`` words of an evaluation text is a hash in a sorted array; a shorter text is one hash of its own
            length, so that a question of nine words is found. A document is held against all of them; what is stored
            is the number of its n-grams that are hits, the share of its words that stand in one, and which file holds
            most of them. A node counts the hits that touch it.
    images  near-duplicates by the hashes of shape and the colours (image_duplicates.py); cosine of embeddings, where a
            model embedded both

Thirteen words are GPT-3's choice (Brown et al. 2020, arXiv 2005.14165, C); datatrove takes twelve, PaLM eight. GPT-3
leaves out n-grams that stand more than ten times in its training set, as phrases of the language; here that is what
the rules' thresholds are for. In Chinese or Japanese thirteen letters are six or seven words: ask for a higher share.

Hashes are 64 bits of xxh3 a word, joined to a polynomial a window. Among a thousand million windows and ten million
hashes of evaluation texts one false hit in two thousand corpora is to be expected.

Cost: 8 bytes and 2 of its file an n-gram of the evaluation texts; documents about 5 MB of text a second and core.
Images: 1 ns a pair with an evaluation image.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from gobelin.transforms.check_image import ImageFacts, ImageLimits, check_image
from gobelin.transforms.image_duplicates import ImageHashes, NearImageConfig, are_alike, image_hashes
from gobelin.transforms.repetition import window_hashes
from gobelin.transforms.text_config import ContaminationConfig
from gobelin.transforms.words import BLOCKS

_WORD = re.compile(rf"[{BLOCKS}]|[^\W_{BLOCKS}]+")
_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n")
_CHUNK = 1 << 22
"""Pairs of images at a time."""

Hashes = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True, slots=True)
class EvalTexts:
    """The n-grams of evaluation texts: by length, their hashes, sorted and distinct, and the file each is of."""

    names: tuple[str, ...]
    hashes: dict[int, tuple[Hashes, npt.NDArray[np.uint16]]]
    num_short: int  # texts that are too short to be looked for


@dataclasses.dataclass(frozen=True, slots=True)
class TextContamination:
    """What of evaluation texts a document holds."""

    num_eval_ngrams: int
    eval_word_ratio: float  # share of its words that stand in a hit, [0, 1]
    eval_source: str | None  # the file with the most hits; None: none
    by_text: tuple[int, ...]  # hits that touch each of its texts


@dataclasses.dataclass(frozen=True, slots=True)
class EvalImages:
    """Hashes of evaluation images."""

    names: tuple[str, ...]
    hashes: ImageHashes
    num_unreadable: int  # files that are no pictures


def load_eval_texts(config: ContaminationConfig) -> EvalTexts:
    """The index of the texts that a recipe names.

    Raises:
        ValueError: a file is missing or cannot be read, or none of its texts is long enough.
    """
    if len(config.texts) > np.iinfo(np.uint16).max:
        raise ValueError(f"score.contamination.texts names {len(config.texts)} files; join some")
    found: dict[int, list[Hashes]] = {}
    sources: dict[int, list[npt.NDArray[np.uint16]]] = {}
    num_short = 0
    for number, path in enumerate(config.texts):
        num_long = 0
        for text in _texts_of(path):
            words = _word_hashes(text)
            if len(words) < config.min_item_words:
                num_short += 1
                continue
            num_long += 1
            size = min(config.ngram, len(words))
            hashes = window_hashes(words, size)
            found.setdefault(size, []).append(hashes)
            sources.setdefault(size, []).append(np.full(len(hashes), number, np.uint16))
        if not num_long:
            raise ValueError(
                f"score.contamination.texts: {path} holds no text of at least {config.min_item_words} words "
                "(min_item_words)"
            )
    index = {}
    for size, pieces in found.items():
        distinct, first = np.unique(np.concatenate(pieces), return_index=True)
        index[size] = distinct, np.concatenate(sources[size])[first]
    return EvalTexts(tuple(config.texts), dict(sorted(index.items())), num_short)


def find_contamination(texts: list[str], index: EvalTexts) -> TextContamination:
    """Holds a document against evaluation texts.

    Args:
        texts: of its nodes, in order; an n-gram may begin in one and end in another.
    """
    pieces = [_word_hashes(text) for text in texts]
    words = np.concatenate(pieces) if pieces else np.empty(0, np.uint64)
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    starts = ends - [len(piece) for piece in pieces]
    touched = np.zeros(len(texts), np.int64)
    covered = np.zeros(len(words) + 1, np.int64)
    by_source: Counter[int] = Counter()
    total = 0
    for size, (hashes, sources) in index.hashes.items():
        if len(words) < size:
            continue
        windows = window_hashes(words, size)
        places = np.minimum(np.searchsorted(hashes, windows), len(hashes) - 1)
        hits = np.flatnonzero(hashes[places] == windows)
        if not len(hits):
            continue
        total += len(hits)
        by_source.update(sources[places[hits]].tolist())
        covered[hits] += 1
        covered[hits + size] -= 1
        # A hit touches a text that starts before its end and ends after its start.
        touched += np.searchsorted(hits, ends) - np.searchsorted(hits, starts - size, side="right")
    touched[starts == ends] = 0
    most = min(by_source, key=lambda number: (-by_source[number], number), default=None)
    return TextContamination(
        num_eval_ngrams=total,
        eval_word_ratio=float((np.cumsum(covered[:-1]) > 0).mean()) if len(words) else 0.0,
        eval_source=None if most is None else index.names[most],
        by_text=tuple(touched.tolist()),
    )


def _word_hashes(text: str) -> Hashes:
    return np.fromiter(map(_word_hash, _WORD.findall(text.lower())), np.uint64)


@functools.lru_cache(maxsize=1 << 16)
def _word_hash(word: str) -> int:
    return xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))


def _texts_of(path: str) -> Iterator[str]:
    try:
        with Path(path).open(encoding="utf-8-sig") as stream:
            if path.endswith(".jsonl"):
                yield from _json_texts(stream, path)
            else:
                yield from _PARAGRAPHS.split(stream.read())
    except OSError as error:
        raise ValueError(f"score.contamination.texts: {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"score.contamination.texts: {path} is not UTF-8") from None


def _json_texts(lines: Iterable[str], path: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = [json.loads(line)]
        except (ValueError, RecursionError):
            raise ValueError(f"score.contamination.texts: {path}, line {number}: not JSON") from None
        while values:
            value = values.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict):
                values += value.values()
            elif isinstance(value, list):
                values += value


def load_eval_images(config: ContaminationConfig, limits: ImageLimits | None = None) -> EvalImages:
    """The hashes of the images that a recipe names, those of a folder in the order of their paths.

    Raises:
        ValueError: a path does not exist, or there is no picture in what it names.
    """
    limits = limits or ImageLimits()
    names: list[str] = []
    facts: list[ImageFacts] = []
    num_unreadable = 0
    for given in config.images:
        before = len(names)
        for path in _image_files(given):
            checked = check_image(path.read_bytes(), limits)
            if isinstance(checked, ImageFacts):
                names.append(str(path))
                facts.append(checked)
            else:
                num_unreadable += 1
        if len(names) == before:
            raise ValueError(f"score.contamination.images: no picture in {given}")
    hashes = image_hashes(
        [fact.phash for fact in facts], [fact.dhash for fact in facts], [fact.colour for fact in facts]
    )
    return EvalImages(tuple(names), hashes, num_unreadable)


def _image_files(given: str) -> list[Path]:
    path = Path(given)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"score.contamination.images: no file or folder {given}")
    return sorted(Path(folder, name) for folder, _, files in os.walk(path) for name in files)


def match_images(hashes: ImageHashes, index: EvalImages, config: NearImageConfig) -> list[tuple[int, str | None]]:
    """For each image how many evaluation images it is a near-duplicate of, and the first of them."""
    num_eval = len(index.names)
    if not num_eval:
        return [(0, None)] * len(hashes.phash)
    matches: list[tuple[int, str | None]] = []
    step = max(1, _CHUNK // num_eval)
    for start in range(0, len(hashes.phash), step):
        rows = np.arange(start, min(start + step, len(hashes.phash)))
        near = _near_pairs(hashes, rows, index.hashes, config)
        for row in range(len(rows)):
            found = near.get(row, [])
            matches.append((len(found), index.names[found[0]] if found else None))
    return matches


def _near_pairs(
    hashes: ImageHashes, rows: npt.NDArray[np.int64], others: ImageHashes, config: NearImageConfig
) -> dict[int, list[int]]:
    """Positions in ``others`` of the near-duplicates of each of the rows that has some, by its place in ``rows``."""
    is_near = np.zeros((len(rows), len(others.phash)), np.bool_)
    for distance, one, other in (
        (config.phash_distance, hashes.phash, others.phash),
        (config.dhash_distance, hashes.dhash, others.dhash),
    ):
        if distance is not None:
            is_near |= np.bitwise_count(one[rows][:, None] ^ other[None, :]) <= distance
    left, right = np.nonzero(is_near)
    alike = are_alike(hashes.take(rows[left]), others.take(right), config) if len(left) else np.empty(0, np.bool_)
    near: dict[int, list[int]] = {}
    for row, place in zip(left[alike].tolist(), right[alike].tolist(), strict=True):
        near.setdefault(row, []).append(place)
    return near


def nearest_embeddings(
    embeddings: npt.NDArray[np.float32], eval_embeddings: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The highest cosine of each image with an evaluation image, (N,), and which of them it is, (N,).

    Args:
        embeddings: (N, dim), of unit length.
        eval_embeddings: (M, dim), of unit length and of the same model; M at least 1.
    """
    step = max(1, _CHUNK // len(eval_embeddings))
    best, place = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for start in range(0, len(embeddings), step):
        cosines = embeddings[start : start + step] @ eval_embeddings.T
        best.append(cosines.max(axis=1).astype(np.float32))
        place.append(cosines.argmax(axis=1))
    return np.concatenate(best), np.concatenate(place)
