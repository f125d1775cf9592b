"""Pictures for fitting and showing tokenizers: an array in memory, or a source that is read on demand.

The pictures of a step depend only on seed and step, so a fit that is continued sees the same pictures as one that was
never stopped. A source is a list of groups (row groups of Parquet files, or runs of files of a folder). An epoch visits
the groups in random order. It shuffles pictures within windows of a few groups, so a step reads only a few groups, and
memory holds the encoded pictures of one window. Pictures that cannot be decoded are left out and counted. A tokenizer
with several grids has pictures of several sizes, and a batch is then grouped by size.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gobelin.errors import UserError
from gobelin.store.files import files_in, is_folder, list_files, open_input, read_bytes, size_of
from gobelin.store.paths import join
from gobelin.tokenize.framing import Framing
from gobelin.tokenize.preprocess import decode
from gobelin.transforms.vision.faces import Boxes

MAX_HELD_OUT = 500
FILES_A_GROUP = 64
WINDOW_PICTURES = 1024
"""Approximate number of pictures that are shuffled together. Their encoded files are in memory."""

PICTURE_COLUMNS = ("data", "image", "bytes", "image_bytes", "jpg", "jpeg", "png", "webp")
"""Columns of Parquet files that may hold encoded pictures; the first match counts. The column may be a struct with the
field ``bytes``."""


class Pictures(Protocol):
    """The pictures of a fit."""

    @property
    def num_fitted(self) -> int:
        """Number of pictures that steps draw from."""

    @property
    def fingerprint(self) -> str:
        """Identifies the pictures, so that a fit is continued only with the same ones."""

    def batch(self, step: int, batch_size: int, rank: int = 0, size: int = 1) -> list[np.ndarray]:
        """The pictures of a step, in order. With several processes, the share of this process: ``rank`` of ``size``,
        which divides ``batch_size``."""

    def held_out(self) -> list[np.ndarray]:
        """The pictures that no step sees, 1 to 500 of them."""


def grouped(pictures: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Stacks pictures by size: uint8 B x H x W x 3 each. Sizes are in the order of their first occurrence."""
    groups: dict[tuple[int, ...], list[np.ndarray]] = {}
    for picture in pictures:
        groups.setdefault(picture.shape, []).append(picture)
    return [np.stack(group) for group in groups.values()]


class ArrayPictures:
    """Pictures in memory. A step draws with replacement."""

    def __init__(self, images: Sequence[np.ndarray] | np.ndarray, seed: int, held_out_ratio: float = 0.05) -> None:
        """``images``: uint8 H x W x 3 each, at least 2."""
        order = np.random.default_rng(seed).permutation(len(images))
        num_held_out = _num_held_out(len(images), held_out_ratio)
        self._held_out, self._fitted = np.sort(order[:num_held_out]), np.sort(order[num_held_out:])
        self._images, self._seed = images, seed
        self.num_fitted = len(self._fitted)
        digest = hashlib.sha256()
        for image in images:
            digest.update(np.ascontiguousarray(image).tobytes())
        self.fingerprint = digest.hexdigest()

    def batch(self, step: int, batch_size: int, rank: int = 0, size: int = 1) -> list[np.ndarray]:
        """The pictures of a step."""
        picks = np.random.default_rng([self._seed, step]).integers(self.num_fitted, size=batch_size)
        return [self._images[index] for index in self._fitted[picks[_share(batch_size, rank, size)]]]

    def held_out(self) -> list[np.ndarray]:
        """The pictures that no step sees."""
        return [self._images[index] for index in self._held_out]


Encoded = tuple[bytes, Boxes]
"""The file of a picture, and the faces in it to be blurred."""


class PictureSource(Protocol):
    """Encoded pictures in groups that are read together."""

    @property
    def group_sizes(self) -> Sequence[int]:
        """Number of pictures of each group."""

    @property
    def fingerprint(self) -> str:
        """Digest of the names and sizes of the files."""

    def read(self, group: int, wanted: Sequence[int]) -> list[Encoded]:
        """The pictures with these indices in the group, in this order."""


class FolderSource:
    """The files of a folder and its subfolders. Every file is taken for a picture, whatever its name, unless it is
    hidden."""

    def __init__(self, folder: str) -> None:
        self._paths = [join(folder, name) for name, _ in list_files(folder) if not _is_hidden(name)]
        if not self._paths:
            raise UserError(f"{folder} holds no files: give a folder of pictures, Parquet files, or a run's output")
        number = len(self._paths)
        self.group_sizes = [min(FILES_A_GROUP, number - start) for start in range(0, number, FILES_A_GROUP)]
        self.fingerprint = _digest(f"{path} {size_of(path)}" for path in self._paths)

    def read(self, group: int, wanted: Sequence[int]) -> list[Encoded]:
        """The pictures with these indices in the group, in this order."""
        return [(read_bytes(self._paths[group * FILES_A_GROUP + index]), ()) for index in wanted]


class ParquetSource:
    """A column of encoded pictures in Parquet files: binary, or a struct with the field ``bytes`` as in Hugging Face's
    data sets."""

    def __init__(
        self,
        paths: Sequence[str],
        *,
        key: str | None = None,
        keep: Callable[[pa.Table], pa.Array] | None = None,
        faces: Mapping[str, Boxes] | None = None,
    ) -> None:
        """Args:
        key: column with the ids of the pictures, needed for ``keep`` and ``faces``.
        keep: given a table with the column ``key``, returns a mask of the rows to use.
        faces: by id, the faces to blur.
        """
        self._key, self._faces = key, faces or {}
        self._groups: list[tuple[str, int, np.ndarray | None]] = []
        self.group_sizes: list[int] = []
        names = []
        for path in paths:
            with open_input(path) as stream:
                file = _parquet(stream, path)
                _picture_column(file.schema_arrow, path)  # an error now, not at the first step
                for group in range(file.num_row_groups):
                    rows = None
                    if keep is not None and key is not None:
                        rows = np.flatnonzero(keep(file.read_row_group(group, [key])).to_numpy(zero_copy_only=False))
                    size = file.metadata.row_group(group).num_rows if rows is None else len(rows)
                    if size:
                        self._groups.append((path, group, rows))
                        self.group_sizes.append(size)
                names.append(f"{path} {size_of(path)}")
        if not self.group_sizes:
            raise UserError(f"no pictures in {', '.join(paths[:3]) or 'no Parquet files'}")
        self.fingerprint = _digest([*names, str(self.group_sizes)])

    def read(self, group: int, wanted: Sequence[int]) -> list[Encoded]:
        """The pictures with these indices in the group, in this order."""
        path, row_group, rows = self._groups[group]
        with open_input(path) as stream:
            file = pq.ParquetFile(stream)
            column = _picture_column(file.schema_arrow, path)
            table = file.read_row_group(row_group, [column, *([] if self._key is None else [self._key])])
        values = table[column.partition(".")[0]].combine_chunks()
        if pa.types.is_struct(values.type):
            values = values.field("bytes")
        places = [index if rows is None else int(rows[index]) for index in wanted]
        ids = ["" if self._key is None else table[self._key][place].as_py() for place in places]
        return [(values[place].as_py() or b"", self._faces.get(name, ())) for place, name in zip(places, ids)]


class JoinedSource:
    """The concatenation of several sources."""

    def __init__(self, sources: Sequence[PictureSource]) -> None:
        self._groups = [(source, group) for source in sources for group in range(len(source.group_sizes))]
        self.group_sizes = [size for source in sources for size in source.group_sizes]
        self.fingerprint = _digest([source.fingerprint for source in sources])

    def read(self, group: int, wanted: Sequence[int]) -> list[Encoded]:
        """The pictures with these indices in the group, in this order."""
        source, own = self._groups[group]
        return source.read(own, wanted)


class StreamedPictures:
    """Pictures of a source, decoded on demand. Every epoch sees each picture once, in another order."""

    def __init__(
        self, source: PictureSource, framing: Framing, seed: int, *, held_out_ratio: float = 0.05,
        max_images: int | None = None,
    ) -> None:  # fmt: skip
        self._source, self._framing, self._seed = source, framing, seed
        starts = np.concatenate([[0], np.cumsum(source.group_sizes)])
        self._starts = starts.tolist()
        number = int(starts[-1])
        if number < 2 and held_out_ratio:
            raise UserError("a fit needs two pictures or more")
        chosen = np.random.default_rng(seed).permutation(number)[: max_images or number]
        num_held_out = _num_held_out(len(chosen), held_out_ratio)
        self._held_out = np.sort(chosen[:num_held_out])
        fitted = np.sort(chosen[num_held_out:])
        self._fitted = [part for part in np.split(fitted, np.searchsorted(fitted, starts[1:-1])) if len(part)]
        self.num_fitted = len(fitted)
        self._kept: list[np.ndarray] | None = None  # the held-out ones, once they were asked for
        self.num_undecodable = 0
        self.fingerprint = _digest([source.fingerprint, str(framing), str(max_images), str(held_out_ratio)])
        self._window: tuple[tuple[int, int], np.ndarray, dict[int, Encoded]] | None = None

    def batch(self, step: int, batch_size: int, rank: int = 0, size: int = 1) -> list[np.ndarray]:
        """The pictures of a step; those that cannot be decoded are replaced by others of it."""
        places = range(step * batch_size, (step + 1) * batch_size)[_share(batch_size, rank, size)]
        pictures = [picture for place in places if (picture := self.at(place)) is not None]
        if not pictures:
            raise UserError("none of the pictures of a step can be decoded: are these picture files?")
        return [pictures[index % len(pictures)] for index in range(len(places))]

    def held_out(self) -> list[np.ndarray]:
        """The pictures that no step sees."""
        if self._kept is None:
            found = map(self._open, self._read(self._held_out.tolist()))
            self._kept = [picture for picture in found if picture is not None]
        if not self._kept:
            raise UserError("none of the held-out pictures can be decoded: are these picture files?")
        return self._kept

    def at(self, place: int) -> np.ndarray | None:
        """The picture at a position of the endless sequence of epochs, or None if it cannot be decoded."""
        epoch, offset = divmod(place, self.num_fitted)
        for number, (start, indices) in enumerate(self._windows(epoch)):
            if offset < start + len(indices):
                if self._window is None or self._window[0] != (epoch, number):
                    order = np.random.default_rng([self._seed, epoch, number]).permutation(indices)
                    self._window = ((epoch, number), order, dict(zip(order.tolist(), self._read(order.tolist()))))
                _, order, data = self._window
                return self._open(data[int(order[offset - start])])
        raise AssertionError("an epoch holds every place")

    def _windows(self, epoch: int) -> Iterator[tuple[int, np.ndarray]]:
        """The windows of an epoch: the position of the first picture, and the indices of the pictures."""
        waiting: list[np.ndarray] = []
        start = 0
        for group in np.random.default_rng([self._seed, epoch]).permutation(len(self._fitted)):
            waiting.append(self._fitted[group])
            if sum(map(len, waiting)) >= WINDOW_PICTURES:
                yield start, np.concatenate(waiting)
                start += sum(map(len, waiting))
                waiting = []
        if waiting:
            yield start, np.concatenate(waiting)

    def _read(self, indices: Sequence[int]) -> list[Encoded]:
        """Encoded pictures. Each group is read once."""
        by_group: dict[int, list[int]] = {}
        for index in sorted(indices):
            by_group.setdefault(bisect.bisect_right(self._starts, index) - 1, []).append(index)
        found: dict[int, Encoded] = {}
        for group, members in by_group.items():
            inside = [index - self._starts[group] for index in members]
            found |= dict(zip(members, self._source.read(group, inside)))
        return [found[index] for index in indices]

    def _open(self, encoded: Encoded) -> np.ndarray | None:
        data, faces = encoded
        try:
            return decode(data, faces, self._framing)
        except OSError:
            self.num_undecodable += 1
            return None


def pictures_at(address: str) -> PictureSource:
    """The pictures at an address: a folder of picture files or of Parquet files, or one Parquet file.

    Raises:
        UserError: there are no files, or no column of pictures.
    """
    if address.endswith(".parquet"):
        return ParquetSource([address])
    if not is_folder(address):
        raise UserError(f"{address}: no such folder or Parquet file")
    paths = [path for path in files_in(address) if path.endswith(".parquet")]
    return ParquetSource(paths) if paths else FolderSource(address)


def _share(batch_size: int, rank: int, size: int) -> slice:
    """The positions in a batch that belong to process ``rank`` of ``size``."""
    return slice(rank * batch_size // size, (rank + 1) * batch_size // size)


def _picture_column(schema: pa.Schema, path: str) -> str:
    for name in PICTURE_COLUMNS:
        kind = schema.field(name).type if name in schema.names else None
        if kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            return name
        if kind is not None and pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return f"{name}.bytes"
    raise UserError(
        f"{path} has no column of pictures ({', '.join(PICTURE_COLUMNS)}); it has {', '.join(schema.names)}"
    )


def _parquet(stream: BinaryIO, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(stream)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a Parquet file: {error}") from None


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _num_held_out(number: int, ratio: float) -> int:
    return min(MAX_HELD_OUT, max(1, round(ratio * number))) if ratio else 0


def _digest(lines: Iterator[str] | Sequence[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
