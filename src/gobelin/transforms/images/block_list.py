"""Block lists: hashes of files that must not be kept. They are checked before anything is decoded, written or shown.

A list is a text file with one hexadecimal hash per line. The recipe's key gives the kind: MD5 or SHA-256 of a file's
bytes, SHA-256 or MD5 of a URL (as Re-LAION-5B's partners provide them), or PDQ, 256 bits that are similar for near
copies. ``#`` starts a comment. gobelin comes without a list.

Exact hashes are sorted arrays of 16 or 32 bytes per entry. A binary search takes some microseconds, whatever their
number. For PDQ, if two hashes differ in at most d of 256 bits, they have a band of 16 bits in which they differ in at
most d // 16. Therefore 16 tables by band give the few entries whose bits need to be counted (multi-index hashing,
Norouzi et al. 2012). An image is also compared in its seven rotated and mirrored forms. Costs: see docs/images.md.

A hit names the list and nothing about the image. Nothing else may be recorded about it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator

import numpy as np

from gobelin.errors import UserError
from gobelin.store.files import open_input
from gobelin.store.paths import name_of
from gobelin.transforms.urls import canonical_url, w3lib_canonical, without_fragment

NUM_BANDS = 16
"""Number of 16-bit bands of a PDQ hash."""

_READ_BYTES = 8 * 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BlockListConfig:
    """Files of hashes. Decisions name a list by its file name without the folder."""

    md5: tuple[str, ...] = ()
    """Paths of lists of MD5 hashes of image files."""

    sha256: tuple[str, ...] = ()
    """Paths of lists of SHA-256 hashes of image files."""

    url_sha256: tuple[str, ...] = ()
    """Paths of lists of SHA-256 hashes of URLs, of images or pages. A URL is compared as found and in canonical
    forms."""

    url_md5: tuple[str, ...] = ()
    """Paths of lists of MD5 hashes of URLs."""

    pdq: tuple[str, ...] = ()
    """Paths of lists of PDQ hashes. Needs the package ``pdqhash``."""

    pdq_distance: int = 31
    """Number of bits, of 256, in which a near copy may differ. ThreatExchange recommends 31. Fewer bits miss edited
    copies; more take time, and in the end cause false hits (unrelated images differ in 128 bits)."""

    def __post_init__(self) -> None:
        if not 0 <= self.pdq_distance <= 64:
            raise UserError(f"pdq_distance must be in [0, 64], got {self.pdq_distance}")


@dataclasses.dataclass(frozen=True, slots=True)
class BlockHit:
    """``list_name``: the file with the hash. ``kind``: md5, sha256, url_sha256, url_md5 or pdq."""

    list_name: str
    kind: str


class BlockList:
    """Loaded lists. Matching is thread-safe."""

    def __init__(self, config: BlockListConfig) -> None:
        self._exact = {
            kind: [(name_of(path), load_hashes(path, num_bytes)) for path in getattr(config, kind)]
            for kind, num_bytes in (("md5", 16), ("sha256", 32), ("url_sha256", 32), ("url_md5", 16))
        }
        self._near = [(name_of(path), PdqIndex(load_hashes(path, 32), config.pdq_distance)) for path in config.pdq]

    def match(self, url: str | None, data: bytes) -> BlockHit | None:
        """A hit of an image's URL or bytes, before it is decoded."""
        hit = self.match_url(url) if url else None
        if hit or not (self._exact["md5"] or self._exact["sha256"]):
            return hit
        return self.match_bytes(
            hashlib.md5(data, usedforsecurity=False).hexdigest() if self._exact["md5"] else "",
            hashlib.sha256(data).hexdigest() if self._exact["sha256"] else "",
        )

    def match_bytes(self, md5: str, sha256: str) -> BlockHit | None:
        """A hit of the hexadecimal hashes of an image file's bytes. Either may be ""."""
        return self._find("md5", [md5] if md5 else []) or self._find("sha256", [sha256] if sha256 else [])

    def match_url(self, url: str) -> BlockHit | None:
        """A hit of a URL in any of its spellings (``url_spellings``)."""
        if not (self._exact["url_sha256"] or self._exact["url_md5"]):
            return None
        spellings = [spelling.encode("utf-8", "replace") for spelling in url_spellings(url)]
        return self._find("url_sha256", [hashlib.sha256(each).hexdigest() for each in spellings]) or self._find(
            "url_md5", [hashlib.md5(each, usedforsecurity=False).hexdigest() for each in spellings]
        )

    def match_pdq(self, pdq: str | None) -> BlockHit | None:
        """A hit of a PDQ hash of 64 hexadecimal digits, rotated or mirrored too; None without a hash."""
        if pdq is None or not self._near:
            return None
        forms = dihedral_forms(pdq)
        return next((BlockHit(name, "pdq") for name, index in self._near if index.holds(forms)), None)

    def _find(self, kind: str, digests: list[str]) -> BlockHit | None:
        for name, hashes in self._exact[kind]:
            if any(contains(hashes, bytes.fromhex(digest)) for digest in digests):
                return BlockHit(name, kind)
        return None


@functools.lru_cache(maxsize=2)
def load_block_list(config: BlockListConfig) -> BlockList | None:
    """The lists of a configuration, read once per process; None if it names none.

    Raises:
        UserError: a file is missing, or a line is not a hash. The message names the line.
    """
    named = (config.md5, config.sha256, config.url_sha256, config.url_md5, config.pdq)
    return BlockList(config) if any(named) else None


def load_hashes(path: str, num_bytes: int) -> np.ndarray:
    """The sorted distinct hashes of a list file, as an array (N, num_bytes) of uint8.

    Raises:
        UserError: the file cannot be read, or a line is not a hash of that length.
    """
    parts: list[bytes] = []
    first = 1
    try:
        with open_input(path) as stream:
            while block := stream.read(_READ_BYTES):
                block += stream.readline()  # to the end of a line
                parts.append(_parse(block, num_bytes, path, first))
                first += block.count(b"\n")
    except OSError as error:
        raise UserError(f"block list {path} cannot be read: {error}") from error
    hashes = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, num_bytes)
    order = np.lexsort(hashes.view(">u8").T[::-1])
    hashes = hashes[order]
    is_new = np.ones(len(hashes), bool)
    is_new[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
    return hashes[is_new]


def _parse(block: bytes, num_bytes: int, path: str, first: int) -> bytes:
    lines = block.split(b"\n")
    hashes = [line.partition(b"#")[0].strip() for line in lines] if b"#" in block else [*map(bytes.strip, lines)]
    try:
        if all(len(each) in (0, 2 * num_bytes) for each in hashes):
            return bytes.fromhex(b"".join(hashes).decode("ascii"))
    except ValueError:
        pass
    for number, each in enumerate(hashes, first):
        if each and (len(each) != 2 * num_bytes or each.strip(b"0123456789abcdefABCDEF")):
            raise UserError(
                f"block list {path}, line {number}: {each[:80].decode('ascii', 'replace')!r} is not a hash of "
                f"{2 * num_bytes} hexadecimal digits"
            )
    raise AssertionError("every line was a hash")


def contains(hashes: np.ndarray, digest: bytes) -> bool:
    """Whether a sorted array of hashes contains one."""
    low, high = 0, len(hashes)
    while low < high:
        middle = (low + high) // 2
        if hashes[middle].tobytes() < digest:
            low = middle + 1
        else:
            high = middle
    return low < len(hashes) and hashes[low].tobytes() == digest


def url_spellings(url: str) -> list[str]:
    """The forms in which the maker of a list may have hashed a URL: as found; without fragment; canonical (w3lib),
    under http and https; and gobelin's canonical form, without a scheme."""
    spellings = [url, without_fragment(url)]
    canonical = w3lib_canonical(url.strip())
    _, colon, rest = canonical.partition("://")
    spellings += [canonical, *([f"http://{rest}", f"https://{rest}"] if colon else []), canonical_url(url)]
    return list(dict.fromkeys(spellings))


def dihedral_forms(pdq: str) -> np.ndarray:
    """A PDQ hash and the hashes of the rotated and mirrored image, (8, 32) uint8.

    The hash holds the signs of 16 x 16 frequencies relative to their median. Mirroring an image changes the sign of
    every other
    row or column; a quarter turn also swaps rows and columns. The median is assumed to be 0, which causes errors of a
    few bits
    (docs/images.md).
    """
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(pdq), np.uint8)).reshape(16, 16)
    odd = np.arange(16) % 2
    forms = [
        form ^ (flip_rows * odd[:, None]) ^ (flip_columns * odd[None, :])
        for form in (bits, bits.T)
        for flip_rows, flip_columns in itertools.product((0, 1), (0, 1))
    ]
    return np.packbits(np.array(forms, np.uint8).reshape(8, 256), axis=1)


class PdqIndex:
    """An index of PDQ hashes, (N, 32) uint8, by the value of each of their 16 bands. It takes 96 bytes per hash and 4
    MB."""

    def __init__(self, hashes: np.ndarray, distance: int) -> None:
        self._distance = distance
        self._words = np.ascontiguousarray(hashes).view(np.uint64)  # (N, 4)
        bands = np.ascontiguousarray(hashes).view(np.uint16)  # (N, 16)
        self._orders = np.stack([np.argsort(band, kind="stable").astype(np.uint32) for band in bands.T])
        self._starts = np.zeros((NUM_BANDS, 65537), np.int64)
        for band, starts in zip(bands.T, self._starts):
            np.cumsum(np.bincount(band, minlength=65536), out=starts[1:])
        self._masks = np.array(list(_masks(distance // NUM_BANDS)), np.uint16)

    def holds(self, forms: np.ndarray) -> bool:
        """Whether a hash is within the distance of one of ``forms``, (M, 32) uint8."""
        return any(self._holds(form) for form in forms)

    def _holds(self, form: np.ndarray) -> bool:
        keys = form.view(np.uint16)[:, None] ^ self._masks[None, :]  # (16, masks)
        rows = np.arange(NUM_BANDS)[:, None]
        starts, ends = self._starts[rows, keys], self._starts[rows, keys.astype(np.int64) + 1]
        lengths = (ends - starts).ravel()
        total = int(lengths.sum())
        if total == 0:
            return False
        before = np.cumsum(lengths) - lengths
        places = np.arange(total) + np.repeat((starts + rows * self._orders.shape[1]).ravel() - before, lengths)
        candidates = self._words[self._orders.ravel()[places]]
        distances = np.bitwise_count(candidates ^ form.view(np.uint64)).sum(axis=1, dtype=np.int64)
        return bool((distances <= self._distance).any())


def _masks(radius: int) -> Iterator[int]:
    """All 16-bit numbers with at most ``radius`` bits set."""
    for count in range(radius + 1):
        for places in itertools.combinations(range(16), count):
            yield sum(1 << place for place in places)
