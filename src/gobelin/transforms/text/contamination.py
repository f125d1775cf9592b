"""Text contamination: n-grams that a corpus shares with evaluation texts. eval_images.py compares images.

Words are runs of letters and digits in lower case; in scripts without spaces each letter is a word. Each run of
``ngram`` words of an evaluation text is a hash in a sorted array. A shorter text is one hash of its own length, so a
question of nine words is found as well. For each document three values are stored: the number of its n-grams that are
hits, the share of its words inside hits, and the file with the most hits. For each node the number of hits that touch
it is stored.

Thirteen words are GPT-3's choice (Brown et al. 2020, arXiv 2005.14165, C); datatrove takes twelve, PaLM eight. GPT-3
ignores n-grams that occur more than ten times in its training set, as common phrases; here the thresholds of rules
serve this purpose. In Chinese or Japanese thirteen letters are six or seven words, so set a higher share.

The hash of a window is a polynomial of 64-bit xxh3 hashes of its words. With a thousand million windows and ten million
hashes of evaluation texts, one false hit is expected in two thousand corpora.

Cost: 10 bytes per n-gram of the evaluation texts; about 10 MB of documents per second and core.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import xxhash

from gobelin.errors import UserError
from gobelin.store.files import open_input
from gobelin.transforms.text.invisible import comparable
from gobelin.transforms.text.repetition import window_hashes
from gobelin.transforms.text.text_config import ContaminationConfig
from gobelin.transforms.text.words import BLOCKS

_WORD = re.compile(rf"[{BLOCKS}]|[^\W_{BLOCKS}]+")
_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n")

Hashes = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True, slots=True)
class EvalTexts:
    """The n-grams of evaluation texts: by length, their sorted distinct hashes and the index of the file of each."""

    names: tuple[str, ...]
    hashes: dict[int, tuple[Hashes, npt.NDArray[np.uint16]]]
    num_short: int  # number of texts that are too short to be searched


@dataclasses.dataclass(frozen=True, slots=True)
class TextContamination:
    """The overlap of a document with evaluation texts."""

    num_eval_ngrams: int
    eval_word_ratio: float  # share of its words inside hits, [0, 1]
    eval_source: str | None  # the file with the most hits; None if there are no hits
    by_text: tuple[int, ...]  # number of hits that touch each of its texts


def load_eval_texts(config: ContaminationConfig) -> EvalTexts:
    """The index of the texts that a recipe names.

    Raises:
        UserError: a file is missing or unreadable, or none of its texts is long enough.
    """
    if len(config.texts) > np.iinfo(np.uint16).max:
        raise UserError(f"score.contamination.texts names {len(config.texts)} files; join some")
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
            raise UserError(
                f"score.contamination.texts: {path} holds no text of at least {config.min_item_words} words "
                "(min_item_words)"
            )
    index = {}
    for size, pieces in found.items():
        distinct, first = np.unique(np.concatenate(pieces), return_index=True)
        index[size] = distinct, np.concatenate(sources[size])[first]
    return EvalTexts(tuple(config.texts), dict(sorted(index.items())), num_short)


def find_contamination(texts: list[str], index: EvalTexts) -> TextContamination:
    """Compares a document with evaluation texts.

    Args:
        texts: of its nodes, in order. An n-gram may span several texts.
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
    return np.fromiter(map(_word_hash, _WORD.findall(comparable(text).lower())), np.uint64)


@functools.lru_cache(maxsize=1 << 16)
def _word_hash(word: str) -> int:
    return xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))


def _texts_of(path: str) -> Iterator[str]:
    try:
        with io.TextIOWrapper(open_input(path), encoding="utf-8-sig") as stream:
            if path.endswith(".jsonl"):
                yield from _json_texts(stream, path)
            else:
                yield from _PARAGRAPHS.split(stream.read())
    except OSError as error:
        raise UserError(f"score.contamination.texts: {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"score.contamination.texts: {path} is not UTF-8") from None


def _json_texts(lines: Iterable[str], path: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = [json.loads(line)]
        except (ValueError, RecursionError):
            raise UserError(f"score.contamination.texts: {path}, line {number}: not JSON") from None
        while values:
            value = values.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict):
                values += value.values()
            elif isinstance(value, list):
                values += value
