"""WebDataset: tar files. Files whose names are equal up to the first dot are one sample.

    DOC_ID.json        texts, images: lists of equal length; at each place exactly one of the two is not null, as in
                       MINT-1T. An image is the name of its file in the tar file. image_metadata: address, alt, caption,
                       width and height of each image. Also url, title, language, and the side field
    DOC_ID.3.jpg       image number 3 of the document, from 0; an image that occurs twice in a document is stored once

NVIDIA NeMo Curator's InterleavedWebdatasetReader reads the same layout. Files are sorted by id, without times and
owners, so equal documents give equal bytes. ``sample_names`` groups files into samples, and ``foreign_samples`` turns
foreign samples into documents.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Generator, Iterator
from typing import BinaryIO

from gobelin.data.rows import NodeRow, Row
from gobelin.exchange.entry import (
    SIDE,
    Entry,
    EntryError,
    LeftOut,
    Origin,
    Picture,
    as_json,
    extension,
    side_of,
    side_of_picture,
)
from gobelin.exchange.foreign_rows import attempt, damage_as_user_error
from gobelin.exchange.foreign_samples import Sample, entry_of_sample
from gobelin.exchange.sample_names import group_names, key_of
from gobelin.exchange.writing import Shard
from gobelin.store.files import open_input, output
from gobelin.store.paths import join, name_of

MAX_MEMBER_BYTES = 256 * 1024 * 1024
"""A longer file of a sample is passed over."""

MAX_SAMPLE_BYTES = 512 * 1024 * 1024
"""Bytes of all files of a sample together; files behind them are passed over."""

MAX_MEMBERS = 10_000
"""Files of one sample that are held; more are passed over."""

MAX_NAME_CHARS = 4096
"""A file with a longer name is passed over."""

MEMBERS_AT_ONCE = 64
"""After each so many files of one name up to the first dot, those that are samples of their own are passed on."""


def write_shard(shard: Shard) -> None:
    """One tar file."""
    path = join(shard.folder, f"{shard.index:05d}.tar")
    with output(path) as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for entry, _ in shard.items:
                shard.written.rows += 1
                for name, data in sample_files(entry):
                    shard.written.members.add(name.partition(".")[2])
                    member = tarfile.TarInfo(name)  # mode 0644, and no time, owner or group
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        shard.written.archive(name_of(path), stream)


def sample_files(entry: Entry) -> Iterator[tuple[str, bytes]]:
    """Yields (name, bytes) of the files of a document, its JSON file first. Every image node has an image with
    bytes."""
    document = entry.document
    texts: list[str | None] = []
    images: list[str | None] = []
    described: list[Row] = []
    files: dict[str, tuple[str, bytes]] = {}
    for node, picture in entry.laid_out:
        if node["kind"] == "text":
            texts.append(node["text"])
            images.append(None)
            continue
        assert picture is not None
        assert picture.data is not None
        name = f"{document['doc_id']}.{len(described)}.{extension(picture.facts['format'])}"
        name, _ = files.setdefault(node["image_id"] or name, (name, picture.data))
        texts.append(None)
        images.append(name)
        described.append(image_metadata(node, picture))
    sample = {
        "url": document["url"],
        "title": document["title"],
        "language": document["language"],
        "texts": texts,
        "images": images,
        "image_metadata": described,
        SIDE: side_of(document),
    }
    yield f"{document['doc_id']}.json", as_json(sample).encode("utf-8", "replace")
    yield from files.values()


def image_metadata(node: NodeRow, picture: Picture) -> Row:
    """Metadata of an image for readers, and its side field."""
    return {
        "url": node["image_url"],
        "alt": node["alt"],
        "caption": node["caption"],
        "width": picture.facts["width"],
        "height": picture.facts["height"],
        "sha256": node["image_id"],
        SIDE: side_of_picture(picture),
    }


def read_source(path: str) -> Iterator[Entry | EntryError]:
    """Yields the documents of one tar file, sample by sample.

    Raises:
        UserError: the file is no tar file.
    """
    with damage_as_user_error(path, "a tar file"), open_input(path) as stream:
        for number, sample in enumerate(_samples(stream)):
            yield attempt(entry_of_sample, sample, Origin(name_of(path), number))


def _samples(file: BinaryIO) -> Iterator[Sample]:
    """Yields the files of each sample: adjacent files that ``sample_names`` groups."""
    held: dict[str, bytes] = {}
    passed_over: list[LeftOut] = []
    num_bytes = 0
    key = None
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # else every header that was read stays in memory
            found = key_of(member.name) if member.isreg() else None
            if found is None:
                continue
            if found != key:
                yield from _divided(held, passed_over)
                key, held, passed_over, num_bytes = found, {}, [], 0
            elif len(held) % MEMBERS_AT_ONCE == 0 and len(held) < MAX_MEMBERS:
                held = yield from _finished(held)
                num_bytes = sum(map(len, held.values()))
            problem = _too_much(member, held, num_bytes)
            if problem is not None:
                if len(passed_over) < MAX_MEMBERS:
                    passed_over.append(problem)
                continue
            stream = archive.extractfile(member)
            held[member.name] = stream.read() if stream else b""
            num_bytes += member.size
    yield from _divided(held, passed_over)


def _too_much(member: tarfile.TarInfo, held: dict[str, bytes], num_bytes: int) -> LeftOut | None:
    """The reason why a file is skipped; None if it is kept."""
    limits = (
        ("sample_bytes", member.size, MAX_MEMBER_BYTES),
        ("sample_bytes", num_bytes + member.size, MAX_SAMPLE_BYTES),
        ("sample_files", len(held) + 1, MAX_MEMBERS),
        ("sample_names", len(member.name), MAX_NAME_CHARS),
    )
    for rule, value, limit in limits:
        if value > limit:
            return LeftOut(rule, value, limit, member.name[-200:])
    return None


def _divided(files: dict[str, bytes], passed_over: list[LeftOut]) -> Iterator[Sample]:
    """Yields all samples among files with the same name up to the first dot. The last sample holds the skipped
    files."""
    groups = group_names(files)
    for names in groups[:-1]:
        yield Sample({name: files[name] for name in names})
    if groups or passed_over:
        yield Sample({name: files[name] for name in (groups[-1] if groups else ())}, tuple(passed_over))


def _finished(files: dict[str, bytes]) -> Generator[Sample, None, dict[str, bytes]]:
    """Yields the samples that can get no more files. Returns the other files: those of the last file's sample."""
    groups = group_names(files)
    last = next(reversed(files), None)
    waiting = next((names for names in groups if last in names), [])
    for names in groups:
        if names is not waiting:
            yield Sample({name: files[name] for name in names})
    return {name: files[name] for name in waiting}
