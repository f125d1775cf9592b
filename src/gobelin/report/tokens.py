"""Statistics of the tokens: their kinds, lengths of documents, use of the codebook; and images beside their
reconstructions.

Token columns are counted one row group at a time. Decoding images needs torch. Without it, the page says that
reconstructions are missing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image as PillowImage

from gobelin.data.rows import Row
from gobelin.report.find_rows import rows_with_ids
from gobelin.report.histograms import Histogram
from gobelin.report.pictures import THUMBNAIL_PX, copies_of, png_uri, webp_uri
from gobelin.report.survey import numbers
from gobelin.store.paths import join
from gobelin.store.tables import list_shards, read_tables
from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.preprocess import decode_side, preprocess
from gobelin.tokenize.sequence import image_latents
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.vision.faces import blur_faces, boxes_of

if TYPE_CHECKING:
    from gobelin.tokenize.framing import Resize
    from gobelin.tokenize.image_tokenizers import ImageTokenizers

NUM_RECONSTRUCTIONS = 12


@dataclasses.dataclass(frozen=True, slots=True)
class TokenCounts:
    """Counts of tokens in all shards."""

    num_documents: int
    num_text: int
    num_image: int
    num_special: int
    num_images: int  # times that a picture stands in a document
    lengths: Histogram  # tokens a document

    @property
    def num_tokens(self) -> int:
        return self.num_text + self.num_image + self.num_special


@dataclasses.dataclass(frozen=True, slots=True)
class CodebookUse:
    """How often each code of a range of the vocabulary occurs. Each distinct image counts once."""

    name: str
    counts: np.ndarray  # K, descending
    images: Mapping[str, int]  # by grid

    @property
    def num_images(self) -> int:
        return sum(self.images.values())

    @property
    def num_used(self) -> int:
        return int((self.counts > 0).sum())

    @property
    def perplexity(self) -> float:
        """The perplexity of the distribution of codes, in [1, K]."""
        shares = self.counts[self.counts > 0] / self.counts.sum()
        return math.exp(-float((shares * np.log(shares)).sum())) if len(shares) else 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Reconstruction:
    """An image, the part that the tokenizer sees, and its reconstruction."""

    image_id: str
    original_uri: str
    seen_uri: str
    decoded_uri: str
    psnr_db: float


def count_tokens(folder: str) -> TokenCounts:
    """Counts over ``tokenize/shards``, with the vocabulary beside them."""
    vocabulary = Vocabulary.load(folder)
    offsets = [vocabulary.text_offset, vocabulary.image_offset]
    lengths = Histogram("log", 1)
    num_documents, num_images = 0, 0
    kinds = np.zeros(3, dtype=np.int64)
    for path in list_shards(join(folder, "shards")):
        for table in read_tables(path, ["tokens", "image_spans", "part"]):
            tokens = table["tokens"].combine_chunks()
            kinds += np.bincount(np.searchsorted(offsets, tokens.flatten().to_numpy(), side="right"), minlength=3)
            sizes = numbers(pc.list_value_length(tokens))
            lengths.add(sizes, np.ones(len(sizes), dtype=bool))
            num_documents += pc.sum(pc.equal(pc.fill_null(table["part"], 0), 0)).as_py() or 0
            num_images += len(table["image_spans"].combine_chunks().flatten())
    special, text, image = kinds.tolist()
    return TokenCounts(num_documents, text, image, special, num_images, lengths)


def codebook_uses(folder: str, codebooks: Sequence[Codebook]) -> list[CodebookUse]:
    """Counts over ``tokenize/codes``, for each tokenizer of these codebooks."""
    counts = {book.name: np.zeros(book.num_codes, dtype=np.int64) for book in codebooks}
    images = np.zeros(len(codebooks), dtype=np.int64)
    for path in list_shards(join(folder, "codes")):
        for table in read_tables(path):
            which = np.zeros(len(table), np.int64) if len(codebooks) == 1 else table["codebook"].to_numpy()
            for index, book in enumerate(codebooks):
                own = table["codes"].filter(pa.array(which == index)).combine_chunks().flatten().to_numpy()
                counts[book.name] += np.bincount(own, minlength=book.num_codes)
            images += np.bincount(which, minlength=len(codebooks))
    found = []
    for name, each in counts.items():
        of_grids = [(book, int(images[index])) for index, book in enumerate(codebooks) if book.name == name]
        by_grid = {f"{book.rows} × {book.columns}": number for book, number in of_grids}
        found.append(CodebookUse(name, np.sort(each)[::-1], by_grid))
    return found


def reconstruct(output: str, recipe: Mapping[str, Any], withheld: set[str]) -> list[Reconstruction] | None:
    """A few images of the corpus with their reconstructions, as the tokenizer saw them, with the smallest ids. None if
    torch is not installed.

    Args:
        recipe: as JSON values.
    """
    try:
        import torch

        from gobelin.tokenize.image_tokenizers import load_image_tokenizers
    except ModuleNotFoundError:
        return None
    tokens = _first_tokens(join(output, "tokenize", "codes"), withheld)
    if not tokens:
        return []
    tokenizers = load_image_tokenizers(join(output, "tokenize", "image_tokenizer"))
    if not tokenizers.has_decoder:
        return []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        decoded = {name: _decoded(tokenizers, row) for name, row in tokens.items()}
    finally:
        torch.set_num_threads(threads)
    faces = boxes_of(rows_with_ids(join(output, "score", "images"), "image_id", set(tokens), ["image_id", "faces"]))
    side = max(map(decode_side, tokenizers.frames.framings))
    copies = copies_of(output, set(tokens)) if side <= recipe["extract"]["image"]["copy_side_px"] else {}
    made = []
    for row in rows_with_ids(join(output, "extract", "images"), "image_id", set(tokens), ["image_id", "data"]):
        identifier = row["image_id"]
        opened = open_rgb(copies.get(identifier, row["data"]), max(side, 2 * THUMBNAIL_PX))
        blurred, (pixels, resize) = blur_faces(opened, faces.get(identifier, ())), decoded[identifier]
        picture = blurred if recipe["tokenize"]["blur_faces"] else opened
        seen = preprocess(picture, pixels.shape[:2], resize)
        psnr_db = _psnr_db(seen, pixels)
        if picture is opened:  # faces are shown to nobody
            seen = preprocess(blurred, pixels.shape[:2], resize)
        blurred.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), PillowImage.Resampling.LANCZOS)
        made.append(Reconstruction(identifier, webp_uri(blurred), _exact(seen), _exact(pixels), psnr_db))
    return sorted(made, key=lambda reconstruction: reconstruction.image_id)


def _decoded(tokenizers: ImageTokenizers, row: Row) -> tuple[np.ndarray, Resize]:
    """The reconstruction of an image from its tokens, and how it was resized to its grid."""
    index = row.get("codebook") or 0
    book = tokenizers.codebooks[index]
    tokens = image_latents(row["latents"], [book])[0] if book.is_continuous else np.array(row["codes"])
    return tokenizers.decode(tokens[None], index)[0], tokenizers.framing_of(index).resize


def _first_tokens(folder: str, withheld: set[str]) -> dict[str, Any]:
    """Rows of codes, or latents, of the images with the smallest ids. Ids are hashes, so they are a random sample."""
    held: dict[str, Any] = {}
    for path in list_shards(folder):
        for table in read_tables(path):
            first = table.sort_by("image_id").slice(0, NUM_RECONSTRUCTIONS + len(withheld)).to_pylist()
            kept = [row for row in first if row["image_id"] not in withheld]
            held |= {row["image_id"]: row for row in kept}
            held = dict(sorted(held.items())[:NUM_RECONSTRUCTIONS])
    return held


def _exact(pixels: np.ndarray) -> str:
    return png_uri(PillowImage.fromarray(pixels))


def _psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 pixels in dB; infinite for equal images."""
    error = float(np.mean((first.astype(np.float64) - second) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf
