"""Equal and similar texts: digests, MinHash signatures, and the guarantees of the signatures.

    same text      ``text_digest``: a hash of the words, which ignores case, punctuation and spacing
    alike texts    MinHash (Broder, 1997): of the set of 5-word shingles, the smallest value under each of bands * rows
    hash
                   functions. Two texts agree in one value with probability s, the Jaccard similarity of their sets.
                   Each band
                   of ``rows`` values is a key. Texts meet, which means that they share a key, with probability
                   1 - (1 - s^rows)^bands.
    verified       For two texts that met, the share of equal values over all bands estimates s. It is taken from the
    lowest
                   byte of each value (b-bit minwise hashing; Li and Koenig, 2010): 126 bytes per document instead of
                   its
                   shingles. ``detection_probability`` is the exact joint probability for independent hash functions.
                   Those of
                   rensa vary less, so it is a lower bound at the target and above.

OBELICS and datatrove join all texts that met. At a target of 0.8, this joins one pair in eight of similarity 0.5. With
verification it is one in seven million.

Keys are signed 64-bit numbers that xxHash and rensa compute from the data alone. They do not use Python's ``hash``,
which depends on the process, so signatures of today match those of a later crawl.

Cost: about 3000 documents of 1500 words per second and core (docs/duplicates.md).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import re
import unicodedata

import numpy as np
import numpy.typing as npt
import xxhash
from rensa import RMinHash

from gobelin.errors import UserError
from gobelin.transforms.duplicates.alike_pairs import Indices, IsAlike
from gobelin.transforms.text.invisible import comparable

MAX_HASHES = 128
"""Maximum number of MinHash values per document, if bands and rows are chosen automatically."""

MEETING_PROBABILITY = 0.95
"""Minimum probability that texts of the target similarity meet, if bands and rows are chosen automatically."""

# A word is one character in scripts without spaces (Thai to Burmese, Khmer, kana, Han), otherwise a run of letters and
# digits.
_BLOCKS = (
    "\u0e00-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_BLOCKS}]|[^\W{_BLOCKS}]+")
# For UTF-8: ASCII letters become lower case, other ASCII outside words becomes spaces, and the rest is unchanged.
_ASCII_WORDS = bytes(
    code if code > 127 else ord(chr(code).lower()) if chr(code).isalnum() or chr(code) == "_" else 32
    for code in range(256)
)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_BYTE_CHANCE = 1 / 256  # probability that the lowest bytes of two different values agree


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MinHashConfig:
    """How similar two texts must be to count as near-duplicates. ``curve`` prints the effect of a choice."""

    similarity: float = 0.8
    """Jaccard similarity of the sets of shingles, (0, 1), from which pairs are to be found. OmniCorpus and NeMo
    Curator: 0.8; datatrove's 14 bands of 8 rows correspond to 0.72."""

    bands: int | None = None
    """Keys per text; more keys find more dissimilar pairs. Null: chosen for ``similarity``. Set both or neither."""

    rows: int | None = None
    """MinHash values per key; with more of them, only more similar texts meet. Null: chosen for ``similarity``."""

    window: int = 5
    """Words per shingle. Shorter shingles make any two texts more similar."""

    seed: int = 1
    """Seed of the hash functions. Signatures of different seeds cannot be compared."""

    verify: bool = True
    """Whether texts that share a key are joined only if their signatures estimate a similarity of at least two standard
    errors below ``similarity``. False: all texts that share a key are joined, as in OBELICS and datatrove."""

    def __post_init__(self) -> None:
        if not 0.0 < self.similarity < 1.0:
            raise UserError(f"similarity must be between 0 and 1, got {self.similarity}")
        if (self.bands is None) != (self.rows is None):
            raise UserError(f"set bands and rows both or neither, got {self.bands} and {self.rows}")
        if min(self.window, self.num_bands, self.num_rows) < 1:
            raise UserError(
                f"bands, rows and window must be at least 1, got {self.num_bands}, {self.num_rows}, {self.window}"
            )

    @property
    def num_bands(self) -> int:
        return choose_bands(self.similarity)[0] if self.bands is None else self.bands

    @property
    def num_rows(self) -> int:
        return choose_bands(self.similarity)[1] if self.rows is None else self.rows

    @property
    def num_hashes(self) -> int:
        return self.num_bands * self.num_rows


@functools.cache
def choose_bands(similarity: float) -> tuple[int, int]:
    """(bands, rows) of the steepest curve under which texts of this similarity still meet.

    It takes the most rows with which, and with as many bands as ``MAX_HASHES`` allows, they meet with
    ``MEETING_PROBABILITY``.
    """
    for rows in range(MAX_HASHES, 1, -1):
        bands = MAX_HASHES // rows
        if band_probability(similarity, bands, rows) >= MEETING_PROBABILITY:
            return bands, rows
    return MAX_HASHES, 1


def band_probability(similarity: float, bands: int, rows: int) -> float:
    """Probability that two texts of this Jaccard similarity, [0, 1], meet: that at least one of their band keys is
    equal."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def detection_probability(similarity: float, config: MinHashConfig) -> float:
    """Probability that two texts of this Jaccard similarity, [0, 1], are joined: that they meet and, if requested, pass
    verification.

    Both depend on the same values. The probability is computed exactly, with generating functions in the number of
    equal bytes: all
    outcomes with enough equal bytes, minus those without an equal band.
    """
    if not config.verify:
        return band_probability(similarity, config.num_bands, config.num_rows)
    equal = similarity + (1.0 - similarity) * _BYTE_CHANCE
    band = np.array([math.comb(config.num_rows, k) * equal**k * (1.0 - equal) ** (config.num_rows - k)
                     for k in range(config.num_rows + 1)])  # fmt: skip
    unequal = band.copy()
    unequal[-1] -= similarity**config.num_rows
    every, none = np.ones(1), np.ones(1)
    for _ in range(config.num_bands):
        every, none = np.convolve(every, band), np.convolve(none, unequal)
    return float((every - none)[min_equal_bytes(config) :].sum())


def min_equal_bytes(config: MinHashConfig) -> int:
    """Number of equal bytes of two sketches from which their texts count as alike: two standard errors below the mean
    for texts of the target similarity."""
    equal = config.similarity + (1.0 - config.similarity) * _BYTE_CHANCE
    mean = config.num_hashes * equal
    return math.ceil(mean - 2.0 * math.sqrt(mean * (1.0 - equal)))


def curve(config: MinHashConfig) -> str:
    """A printable table of the effect of the configuration: similarity, share that meets, share that is joined."""
    heads = (
        f"near-duplicate texts: {config.num_bands} bands of {config.num_rows} rows for similarity {config.similarity:g}"
    )
    lines = [heads, f"{'similarity':>12}{'meet':>9}{'joined':>9}"]
    for percent in (30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 100):
        similarity = percent / 100
        meet = band_probability(similarity, config.num_bands, config.num_rows)
        lines.append(f"{similarity:>12.2f}{meet:>9.4f}{detection_probability(similarity, config):>9.4f}")
    return "\n".join(lines)


def normalised_words(text: str) -> list[bytes]:
    """Words for comparison, in UTF-8: NFKC, case folded, without punctuation, spacing and invisible characters."""
    text = comparable(text)
    pieces = text.encode("utf-8", "replace").translate(_ASCII_WORDS).split()
    if text.isascii():
        return pieces
    # A piece between ASCII spaces and punctuation is split further only if it has characters outside ASCII.
    return [word for piece in pieces for word in ((piece,) if piece.isascii() else _split(piece))]


def _split(piece: bytes) -> list[bytes]:
    normal = unicodedata.normalize("NFKC", piece.decode()).casefold()
    return [word.encode() for word in _WORD.findall(normal)]


@dataclasses.dataclass(frozen=True, slots=True)
class TextSignature:
    """The stored data of a text by which its duplicates are found. A text without words has no digest and no keys, and
    no duplicates."""

    digest: str | None  # 128-bit, 32 hex digits
    bands: tuple[int, ...]  # signed 64-bit keys, one per band
    sketch: bytes  # lowest byte of each MinHash value


def text_signature(text: str, config: MinHashConfig) -> TextSignature:
    """Digest, band keys and sketch of a text, from one pass over its words."""
    words = normalised_words(text)
    if not words:
        return TextSignature(None, (), b"")
    return signature_of_shingles(_shingles(words, config.window), _digest(words), config)


def signature_of_shingles(shingles: npt.NDArray[np.uint64], digest: str, config: MinHashConfig) -> TextSignature:
    """The signature of a text with this digest and these shingle hashes, which may repeat."""
    values = minhash_values(shingles, config)
    bands = values.astype("<u4").reshape(config.num_bands, config.num_rows)
    keys = tuple(_signed(xxhash.xxh3_64_intdigest(band.tobytes(), index)) for index, band in enumerate(bands))
    return TextSignature(digest, keys, (values & 0xFF).astype(np.uint8).tobytes())


def _digest(words: list[bytes]) -> str:
    return hashlib.blake2b(b" ".join(words), digest_size=16).hexdigest()


def shingle_hashes(text: str, window: int) -> npt.NDArray[np.uint64]:
    """Hashes, (S,), of the distinct ``window``-word shingles, sorted. A text with fewer words is one shingle; one
    without words has none."""
    words = normalised_words(text)
    return np.unique(_shingles(words, window)) if words else np.empty(0, np.uint64)


def _shingles(words: list[bytes], window: int) -> npt.NDArray[np.uint64]:
    """Hashes, (N,), of the shingles in reading order: xxHash of each word, combined over ``window`` words."""
    return shingles_of(np.fromiter(map(xxhash.xxh3_64_intdigest, words), np.uint64, len(words)), window)


def shingles_of(hashes: npt.NDArray[np.uint64], window: int) -> npt.NDArray[np.uint64]:
    """Hashes of the shingles of a text, shape (max(1, W - window + 1),), from the hashes of its W words (W >= 1)."""
    length = min(window, len(hashes))
    shingles = np.zeros(len(hashes) - length + 1, np.uint64)
    for start in range(length):
        shingles = (shingles ^ hashes[start : start + len(shingles)]) * _MIX
    shingles ^= shingles >> np.uint64(32)
    return shingles * _MIX


def jaccard(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> float:
    """Jaccard similarity, [0, 1], of two sets given as sorted distinct hashes; 0 if both are empty."""
    num_common = len(np.intersect1d(a, b, assume_unique=True))
    return num_common / max(1, len(a) + len(b) - num_common)


def minhash_values(shingles: npt.NDArray[np.uint64], config: MinHashConfig) -> npt.NDArray[np.uint32]:
    """MinHash values, (bands * rows,), of shingle hashes. There must be at least one, and they may repeat."""
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles, [0, len(shingles)], config.num_hashes, config.seed)
    return np.array(matrix.to_rows()[0], np.uint32)


def sketches_alike(sketches: npt.NDArray[np.uint8], config: MinHashConfig) -> IsAlike:
    """A function that tells whether texts are near-duplicates by their sketches, (N, hashes)."""
    enough = min_equal_bytes(config)

    def is_alike(a: Indices, b: Indices) -> npt.NDArray[np.bool_]:
        return np.count_nonzero(sketches[a] == sketches[b], axis=1) >= enough

    return is_alike


def _signed(key: int) -> int:
    return key - (1 << 64) if key >> 63 else key
