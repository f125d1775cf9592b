"""Ids of documents and images, and the shard that an id falls to."""

from __future__ import annotations

import hashlib


def shard_of(identifier: str, num_shards: int) -> int:
    """The shard, in [0, num_shards), of a row with this id. Uniform; depends on the id alone."""
    digest = hashlib.blake2b(identifier.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % num_shards


def document_id(canonical_url: str, content_digest: str) -> str:
    """128-bit id of a page: its canonical URL and the digest of its payload, as 32 hex digits."""
    return hashlib.blake2b(f"{canonical_url}\n{content_digest}".encode(), digest_size=16).hexdigest()


def image_id(data: bytes) -> str:
    """Content address of an image: SHA-256 of its bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()
