"""Keys under which duplicates meet, and groups made from those that met; for texts and for images.

    same text      ``text_digest``: a hash of the words, so that case, punctuation and spacing do not matter
    alike texts    MinHash (Broder, 1997): of the set of 5-word shingles, the smallest value under each of
                   bands * rows hash functions. Two texts agree in one of them with probability s, the Jaccard
                   similarity of their sets. Bands of ``rows`` values are the keys: found with 1 - (1 - s^rows)^bands.
    alike images   64-bit perceptual hashes at most ``distance`` bits apart. Split into distance + joint chunks,
                   two such hashes agree in at least ``joint`` chunks (pigeonhole principle), so each choice of
                   that many chunks is a key and no pair is ever missed. More joint chunks: more keys, each rarer.
    groups         edges from each member of a bucket to its smallest member (n - 1 of them, not n^2), joined over
                   all buckets by union-find. A group is named after its smallest id, so that the answer depends
                   on neither the order of the input nor on who computed what.

Every key is a signed 64-bit number computed by xxHash or rensa from the data alone: no process-dependent ``hash``.
A bucket's members meet because of one key; for images each pair is then verified, for texts it may be
(``shingle_hashes``, ``jaccard``).

Cost: about 4000 documents of 2 kB a second and core for the MinHash keys, nearly all of it for the shingles;
microseconds for an image. ``connected_components`` holds every id of an edge in memory, about 200 bytes each.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import xxhash
from rensa import RMinHash

PHASH_BITS = 64

# Scripts without spaces (Thai to Burmese, Khmer, kana, Han) a character at a time; else runs of letters and digits.
_BLOCKS = (
    "\u0e00-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_BLOCKS}]|[^\W{_BLOCKS}]+")
# Distinct hashes up to which comparing all pairs beats sorting them into finer buckets first.
_MAX_ALL_PAIRS = 2048
_FINE_JOINT = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MinHashConfig:
    """How alike two texts must be to meet; see ``detection_probability`` for what a choice means."""

    bands: int = 14
    """Number of keys a text. More find more of the dissimilar pairs."""
    rows: int = 8
    """MinHash values a key. More make a key rarer, so that only more similar texts meet."""
    window: int = 5
    """Words a shingle. Shorter ones make any two texts more alike."""
    seed: int = 1
    """Of the hash functions. Signatures of different seeds cannot be compared."""

    def __post_init__(self) -> None:
        if min(self.bands, self.rows, self.window) < 1:
            raise ValueError(f"bands, rows and window must be at least 1, not {self.bands}, {self.rows}, {self.window}")


def detection_probability(similarity: float, config: MinHashConfig) -> float:
    """Probability that two texts of this Jaccard similarity, [0, 1], share at least one band key."""
    return 1.0 - (1.0 - similarity**config.rows) ** config.bands


def normalised_words(text: str) -> list[str]:
    """Words for comparison: compatibility forms unified (NFKC), case folded, punctuation and spacing left out."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def text_digest(text: str) -> str | None:
    """128-bit hash of the text's normalised words, 32 hex digits; None for a text without words.

    Texts without words are not duplicates of each other: nothing is known about what their pages show.
    """
    words = normalised_words(text)
    if not words:
        return None
    return hashlib.blake2b(" ".join(words).encode(), digest_size=16).hexdigest()


def shingle_hashes(text: str, window: int) -> npt.NDArray[np.uint64]:
    """Hashes, (S,), of the distinct ``window``-word shingles, sorted. Fewer words are one shingle; no words, none."""
    words = normalised_words(text)
    if not words:
        return np.empty(0, np.uint64)
    hashes = [
        xxhash.xxh3_64_intdigest(" ".join(words[start : start + window]).encode())
        for start in range(max(1, len(words) - window + 1))
    ]
    return np.unique(np.array(hashes, np.uint64))


def jaccard(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> float:
    """Jaccard similarity, [0, 1], of two sets given as sorted distinct hashes; 0 if both are empty."""
    num_common = len(np.intersect1d(a, b, assume_unique=True))
    return num_common / max(1, len(a) + len(b) - num_common)


def minhash_signature(shingles: npt.NDArray[np.uint64], config: MinHashConfig) -> npt.NDArray[np.uint32]:
    """MinHash values, (bands * rows,), of a set of shingle hashes, which must not be empty."""
    num_hashes = config.bands * config.rows
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles, [0, len(shingles)], num_hashes, config.seed)
    return np.array(matrix.to_rows()[0], np.uint32)


def minhash_band_keys(text: str, config: MinHashConfig) -> tuple[int, ...]:
    """One signed 64-bit key a band, different from band to band; none for a text without words."""
    shingles = shingle_hashes(text, config.window)
    if not len(shingles):
        return ()
    bands = minhash_signature(shingles, config).astype("<u4").reshape(config.bands, config.rows)
    return tuple(_signed(xxhash.xxh3_64_intdigest(band.tobytes(), index)) for index, band in enumerate(bands))


def hamming(a: str, b: str) -> int:
    """Number of bits in which two hexadecimal hashes differ."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def phash_band_keys(phash: str, distance: int, joint: int = 1) -> tuple[int, ...]:
    """Signed 64-bit keys of which two perceptual hashes at most ``distance`` bits apart share at least one.

    Args:
        phash: 16 hexadecimal digits.
        distance: bits, 0 to 64 - joint.
        joint: chunks a key. With 1 there are distance + 1 keys of 64 / (distance + 1) bits: few, but in a large
            corpus many images share one. With 2 there are (distance + 2)(distance + 1) / 2 of about twice the bits.
    """
    value = int(phash, 16)
    return tuple(
        _signed(xxhash.xxh3_64_intdigest((value & mask).to_bytes(8, "little"), index))
        for index, mask in enumerate(_masks(distance, joint))
    )


def star_edges(ids: Iterable[str]) -> list[tuple[str, str]]:
    """Edges (id, smallest id) from every other id of a bucket, sorted: they connect it with n - 1 edges."""
    distinct = sorted(set(ids))
    return [(other, distinct[0]) for other in distinct[1:]]


def phash_bucket_edges(members: Iterable[tuple[str, str]], distance: int) -> list[tuple[str, str]]:
    """Edges that connect exactly the images of a bucket whose hashes are at most ``distance`` bits apart.

    Args:
        members: (image_id, perceptual hash of 16 hexadecimal digits) in any order.
        distance: bits.

    Returns:
        (id, smallest id of its component within the bucket), sorted; at most one edge an id, whatever the
        number of pairs. Equal hashes are merged before any are compared, so a million copies of one placeholder
        cost a sort. Many *distinct* hashes are compared within finer buckets only.
    """
    first_id: dict[int, str] = {}
    edges = []
    for image_id, phash in sorted(set(members)):
        value = int(phash, 16)
        edges.append((image_id, first_id.setdefault(value, image_id)))
    values = np.array(sorted(first_id), np.uint64)
    for i, j in _pairs_within(values, distance):
        edges.append((first_id[int(values[i])], first_id[int(values[j])]))
    groups = connected_components(edges)
    return sorted((image_id, group) for image_id, group in groups.items() if image_id != group)


def connected_components(edges: Iterable[tuple[str, str]]) -> dict[str, str]:
    """For every id of an edge, the smallest id that it is connected with (itself included), whatever the order."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = node = parent[above]  # halve the path for those who come after
        return node

    for a, b in edges:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return {node: root(node) for node in list(parent)}


def _signed(key: int) -> int:
    return key - (1 << 64) if key >> 63 else key


@functools.cache
def _masks(distance: int, joint: int) -> tuple[int, ...]:
    """Of 64 bits, each choice of ``joint`` out of distance + joint chunks of nearly equal width."""
    num_chunks = distance + joint
    if distance < 0 or joint < 1 or num_chunks > PHASH_BITS:
        raise ValueError(f"distance {distance} with {joint} joint chunks does not fit a hash of {PHASH_BITS} bits")
    bounds = [PHASH_BITS * index // num_chunks for index in range(num_chunks + 1)]
    chunks = [(1 << high) - (1 << low) for low, high in itertools.pairwise(bounds)]
    return tuple(sum(choice) for choice in itertools.combinations(chunks, joint))


def _pairs_within(values: npt.NDArray[np.uint64], distance: int) -> Iterator[tuple[int, int]]:
    """Indices i < j of the values at most ``distance`` bits apart; a pair may come more than once."""
    if len(values) <= _MAX_ALL_PAIRS:
        yield from _all_pairs_within(np.arange(len(values)), values, distance)
        return
    joint = min(_FINE_JOINT, PHASH_BITS - distance)
    for mask in _masks(distance, joint):
        masked = values & np.uint64(mask)
        order = np.argsort(masked, kind="stable")
        starts = np.flatnonzero(np.diff(masked[order], prepend=~masked[order[:1]]))
        sizes = np.diff(starts, append=len(values))
        for start, size in zip(starts[sizes > 1], sizes[sizes > 1]):
            yield from _all_pairs_within(order[start : start + size], values, distance)


def _all_pairs_within(
    members: npt.NDArray[np.intp], values: npt.NDArray[np.uint64], distance: int
) -> Iterator[tuple[int, int]]:
    chosen = values[members]
    for position in range(len(members) - 1):
        apart = np.bitwise_count(chosen[position] ^ chosen[position + 1 :])
        for other in np.flatnonzero(apart <= distance):
            yield int(members[position]), int(members[position + 1 + other])
