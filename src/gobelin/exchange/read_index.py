"""Writes documents of foreign files in the layout of archives that were read.

``import`` replaces the reading of archives. It fills the folder that ``read_archives`` fills (a spool of documents, a
spool of images, an index of each). The rest of ``extract`` is the same for both: it fetches missing images if the
recipe says so, joins pages and images by address, and writes each once to the shard of its id. So limits, block lists
and decisions apply to imported documents as to crawled ones.

An image is identified by its address, as in an archive. An image without an address gets one from its bytes. If a
document has the address and the bytes of an image, these bytes take precedence over other bytes for the address. One
reader goes through all files. It remembers the ids of images (about 100 bytes each), so that each image is decoded
once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gobelin.data.ids import image_id
from gobelin.data.model import Action, ArchiveTally, Decision, Source, Unit, to_row
from gobelin.data.rows import NodeRow, Row
from gobelin.data.schemas import ARCHIVES, DECISIONS
from gobelin.exchange.corpus import IMPORTED
from gobelin.exchange.entry import Entry, EntryError, Picture, picture_facts
from gobelin.exchange.similarities import SIMILARITIES
from gobelin.store.dataset import data_output, shard_name
from gobelin.store.paths import join
from gobelin.store.spool import Spool
from gobelin.transforms.archives.read_warc import Capture
from gobelin.transforms.archives.revisits import REVISIT_INDEX
from gobelin.transforms.extract.config import ExtractConfig, image_limits
from gobelin.transforms.extract.decisions import BLOCKED
from gobelin.transforms.extract.extract_image import extract_image, image_row
from gobelin.transforms.extract.indexes import IMAGE_INDEX, PAGE_INDEX, address_keys, blocked_row
from gobelin.transforms.images.block_list import load_block_list
from gobelin.transforms.images.image_formats import identify
from gobelin.transforms.images.image_sandbox import ImageChecker
from gobelin.transforms.progress import advance
from gobelin.transforms.rights.site_policy import POLICY_INDEX
from gobelin.transforms.urls import canonical_url, data_url_reference, describe, well_formed

_SCHEMAS = {
    "pages": PAGE_INDEX,
    "images": IMAGE_INDEX,
    "policies": POLICY_INDEX,
    "revisits": REVISIT_INDEX,
    "decisions": DECISIONS,
    "archives": ARCHIVES,
    IMPORTED: SIMILARITIES,
}

ROWS_AT_ONCE = 4096
"""Index rows that are held before they are written."""

_NAMED, _ALSO = "1", "0"
"""In place of a capture's date: of two images at one address the one that a document names there comes first."""


IMAGE_MISSING = "image_missing"
"""Rule of image nodes that came with neither bytes nor an address."""


class ReadIndex:
    """Receives documents of foreign files. A context manager, whose index is complete at its end."""

    def __init__(self, folder: str, config: ExtractConfig) -> None:
        self._config = config
        load_block_list(config.block_list)  # a list that cannot be read ends the run, not every image
        self._writers = {name: _IndexWriter(join(folder, name), schema) for name, schema in _SCHEMAS.items()}
        self._pages, self._bytes = Spool(join(folder, "spools")), Spool(join(folder, "spools"))
        self._documents: set[str] = set()
        self._images: dict[str, bool | None] = {}  # by id: whether it is stored; None: it is on a block list
        self._addresses: set[bytes] = set()  # what was written of images under addresses
        self._named: set[bytes] = set()  # images without bytes, under the addresses where documents name them
        self._num_aliases = 0
        self.problem: str | None = None  # the first thing that could not be read

    @property
    def is_empty(self) -> bool:
        """Whether no document was received."""
        return not self._documents

    def __enter__(self) -> ReadIndex:
        self._checker = ImageChecker(image_limits(self._config))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._checker.close()
        self._pages.close()
        self._bytes.close()
        try:
            if kind is None:
                for writer in self._writers.values():
                    writer.close()
        finally:
            for writer in self._writers.values():
                writer.abandon()

    def read(self, name: str, entries: Iterator[Entry | EntryError]) -> None:
        """Reads all documents of one file.

        Args:
            name: of the file, for decisions and tallies.
        """
        name = well_formed(name)
        num_documents = num_images = 0
        try:
            for number, entry in enumerate(entries):
                advance("documents")
                num_documents += 1
                if isinstance(entry, EntryError):
                    problem = well_formed(str(entry)[:300])
                    self._decide(Unit.DOCUMENT, Action.FAIL, entry.rule, name, number, detail=problem)
                    self.problem = self.problem or f"{name}: {problem}"
                else:
                    num_images += self._take(entry, name, number)
        except ValueError as error:  # the file is damaged: what came before counts
            self.problem = self.problem or str(error)
            self._decide(Unit.RECORD, Action.FAIL, "damaged_file", name, num_documents, detail=describe(error))
        tally = ArchiveTally(name, num_documents, num_documents, num_images, 0)
        self._writers["archives"].write(to_row(tally))

    def read_images(self, name: str, rows: Iterator[Row]) -> None:
        """Reads rows of ``IMAGES`` from beside the documents (the column ``data`` and those in ``PICTURE_FACTS``). Call
        it after all documents."""
        name = well_formed(name)
        num_images = 0
        for number, row in enumerate(rows):
            advance("images")
            data, facts = row.get("data"), picture_facts(row)
            if not isinstance(data, bytes):
                continue
            identifier = image_id(data)
            given = row.get("image_id")  # not that of its bytes where an export has blurred faces
            name_known = given if isinstance(given, str) else identifier
            for url in facts.get("urls") or [_name_of(data)]:
                date = _NAMED if _key(name_known, canonical_url(url)) in self._named else _ALSO
                num_images += self._image(Picture(data, facts), identifier, url, date, name, number)
        self._writers["archives"].write(to_row(ArchiveTally(name, 0, 0, num_images, 0)))

    def _take(self, entry: Entry, name: str, number: int) -> int:
        """Writes a document and its images. Returns the number of new image records."""
        document = entry.document
        if document["doc_id"] in self._documents:
            self._decide(Unit.DOCUMENT, Action.DROP, "captured_twice", name, number,
                         doc_id=document["doc_id"], url=document["url"])  # fmt: skip
            return 0
        self._documents.add(document["doc_id"])
        blocked = load_block_list(self._config.block_list)
        hit = blocked.match_url(document["url"]) if blocked else None
        if hit is not None:
            self._decide(Unit.DOCUMENT, Action.DROP, BLOCKED, name, number, detail=hit.list_name)
            return 0
        about = {"doc_id": document["doc_id"], "url": document["url"]}
        for left in entry.left_out:
            self._decide(left.unit, Action.DROP, left.rule, name, number, value=left.value, threshold=left.threshold,
                         detail=left.detail and well_formed(left.detail), **about)  # fmt: skip
        candidates = []
        num_images = 0
        for node_index, node, picture in _shown(entry):
            url = node["image_url"]
            if picture is not None and picture.data is not None:
                url = url or _name_of(picture.data)
                identifier = image_id(picture.data)
                known = picture.facts.get("urls", ())
                spelling = next((each for each in known if canonical_url(each) == canonical_url(url)), url)
                num_images += self._image(picture, identifier, spelling, _NAMED, name, number)
                for further in known:
                    self._image(picture, identifier, further, _ALSO, name, number)
            elif url and node["image_id"]:
                self._named.add(_key(node["image_id"], canonical_url(url)))
            if url is None:
                self._decide(Unit.NODE, Action.FAIL, IMAGE_MISSING, name, number, node_index=node_index, **about)
            is_allowed = url is not None and (blocked is None or blocked.match_url(url) is None)
            candidates.append([url] if url is not None and is_allowed else [])
        if entry.cosines is not None:
            self._writers[IMPORTED].write({"doc_id": document["doc_id"], "cosines": entry.cosines})
        nodes = [{**node, "image_url": None, "image_id": None} if node["kind"] == "image" else node
                 for node in document["nodes"]]  # fmt: skip
        payload = json.dumps({**document, "nodes": nodes}, ensure_ascii=False).encode("utf-8", "replace")
        row: Row = {
            "doc_id": document["doc_id"], "url": document["url"], "warc_file": document["warc_file"],
            "warc_offset": document["warc_offset"], "warc_date": document["warc_date"],
            "consent": document["consent"], "payload_digest": None,
        }  # fmt: skip
        row |= address_keys(document["url"], candidates)
        self._writers["pages"].write({**row, **to_row(self._pages.write(payload))})
        return num_images

    def _image(self, picture: Picture, identifier: str, url: str, date: str, name: str, number: int) -> int:
        """Writes an image with an address, unless this was done before. Returns 1 for a new image, otherwise 0."""
        url = well_formed(url)
        key = _key(identifier, url, date)
        if key in self._addresses:
            return 0
        self._addresses.add(key)
        if identifier not in self._images:
            self._images[identifier] = self._new_image(picture, url, date, name, number)
            return 1
        if self._images[identifier]:
            self._alias(identifier, url, date)
        elif self._images[identifier] is None:
            self._block(url)
        return 0

    def _new_image(self, picture: Picture, url: str, date: str, name: str, number: int) -> bool | None:
        """Checks an image and stores it. Returns whether it is stored; None if it is on a block list."""
        data, facts = picture.data or b"", picture.facts
        capture = Capture(
            url=url, status=200, content_type="", charset=None, headers=(), payload=data,
            is_truncated=len(data) > self._config.image.max_bytes, problem=None,
            warc_file=facts.get("warc_file", name), warc_offset=facts.get("warc_offset", number), warc_length=0,
            warc_date=date, payload_digest=f"sha256:{image_id(data)}", consent=tuple(facts.get("consent", ())),
            source=Source(facts.get("source", Source.ARCHIVE)),
        )  # fmt: skip
        try:
            outcome = extract_image(capture, self._config, self._checker.check)
        except Exception as error:  # noqa: BLE001  # the stage boundary: one bad picture never ends a run
            self._decide(Unit.IMAGE, Action.FAIL, "extract_error", name, number, url=url, detail=describe(error))
            return False
        if isinstance(outcome, Decision):
            self._writers["decisions"].write(to_row(outcome))
            if outcome.rule == BLOCKED:
                self._block(url)
                return None
            return False
        if outcome.pages_left_out is not None:
            self._writers["decisions"].write(to_row(outcome.pages_left_out))
        self._writers["images"].write(image_row(outcome, url, self._bytes))
        return True

    def _alias(self, identifier: str, url: str, date: str) -> None:
        """Adds a further address of a stored image: a revisit that identifies it by its digest."""
        row = {"url": url, "warc_date": date, "refers_to_url": None, "refers_to_date": None,
               "payload_digest": f"sha256:{identifier}", "warc_file": "", "warc_offset": self._num_aliases,
               "is_redirect": False}  # fmt: skip
        self._writers["revisits"].write(row)
        self._num_aliases += 1

    def _block(self, url: str) -> None:
        """Blocks an address, which then no document may use."""
        self._writers["images"].write(blocked_row(url))

    def _decide(self, unit: Unit, action: Action, rule: str, name: str, number: int, **about: Any) -> None:
        decision = Decision("extract", unit, action, rule, warc_file=name, warc_offset=number, **about)
        self._writers["decisions"].write(to_row(decision))


def _shown(entry: Entry) -> Iterator[tuple[int, NodeRow, Picture | None]]:
    """Yields (position among all nodes, node, image) of each image node."""
    for node_index, (node, picture) in enumerate(entry.laid_out):
        if node["kind"] == "image":
            yield node_index, node, picture


def _key(identifier: str, url: str, date: str = "") -> bytes:
    return hashlib.blake2b(f"{identifier} {date} {url}".encode(), digest_size=12).digest()


def _name_of(data: bytes) -> str:
    """An address for an image that has none."""
    return data_url_reference(f"image/{(identify(data) or 'unknown').lower()}", data)


class _IndexWriter:
    """A Parquet file of index rows. It appears when it is closed."""

    def __init__(self, folder: str, schema: pa.Schema) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._new = self._stack.enter_context(data_output(folder, shard_name(0, 1)))
        self._writer = pq.ParquetWriter(self._new.stream, schema, compression="zstd")
        self._schema = schema
        self._held: list[Mapping[str, Any]] = []

    def write(self, row: Mapping[str, Any]) -> None:
        self._held.append(row)
        if len(self._held) >= ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_batch(pa.RecordBatch.from_pylist(self._held, schema=self._schema))
        self._new.num_rows += len(self._held)
        self._held = []

    def close(self) -> None:
        self._flush()
        self._writer.close()
        self._stack.close()

    def abandon(self) -> None:
        """Deletes the file unless it is closed."""
        self._writer.close()
        self._stack.__exit__(RuntimeError, RuntimeError("abandoned"), None)
