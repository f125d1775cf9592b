"""Recognises the format of an image by its first bytes, never by its name or Content-Type.

Only the decoder of that format is then tried. Formats outside ``DECODED`` are recognised too, so that the decision on a
refused image names its format; ``REFUSED`` gives the reason. It compares signatures without parsing and takes a
microsecond.
"""

from __future__ import annotations

import re
import struct

DECODED = (
    "JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "ICO", "CUR", "TIFF", "JPEG2000", "PPM", "TGA", "QOI",
)  # fmt: skip
"""Formats that are decoded, under Pillow's names: all that browsers show (Safari for TIFF and JPEG 2000), and plain
raster formats whose decoders allocate no more than the header states."""

_EDITOR = "working file of an editor: needs a large parser for layers and metadata, and no browser shows it"
_TEXTURE = "texture of a game: no browser shows it, and its header may state a size far beyond the file's length"
_OLD = "no browser shows it, and it is not worth the risk of another parser for hostile bytes"
_STUB = "recognised by Pillow, not decoded"
_ABSENT = "no decoder in Pillow"
_PLUGIN = "no decoder in Pillow; read where the package of ``PLUGINS`` is installed"

REFUSED = {
    "svg": "a drawing: ``render_svg`` renders it if the recipe allows",
    "heif": _PLUGIN,
    "jxl": _PLUGIN,
    "jxr": _ABSENT,
    "hdr": _ABSENT,
    "exr": _ABSENT,
    "xcf": _ABSENT,
    "djvu": _ABSENT,
    "pdf": "a document, not a picture",
    "eps": "a program: Pillow would start Ghostscript",
    "wmf": "drawing commands: Pillow hands them to Windows, and has no decoder elsewhere",
    "emf": "drawing commands: Pillow hands them to Windows, and has no decoder elsewhere",
    "psd": _EDITOR,
    "icns": _EDITOR,
    "dds": _TEXTURE,
    "blp": _TEXTURE,
    "ftex": _TEXTURE,
    "fli": _OLD,
    "sgi": _OLD,
    "pcx": _OLD,
    "dcx": _OLD,
    "sun": _OLD,
    "msp": _OLD,
    "xbm": "source code in C; " + _OLD,
    "xpm": "source code in C; " + _OLD,
    "fits": "measurements without a range to show them in",
    "bufr": _STUB,
    "grib": _STUB,
    "hdf5": _STUB,
    "mpeg": _STUB,
}
"""Formats that are recognised and refused (rule ``image_format``), with the reason. Files in neither list are
``not_an_image``, among them formats of Pillow without a signature (IM, IMT, IPTC, PCD, PIXAR, SPIDER, GBR, McIdas)."""

PLUGINS = {"heif": ("pillow_heif", "HEIF"), "jxl": ("pillow_jxl", "JXL")}
"""Formats that a package adds to Pillow: its module, and Pillow's name of the format."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II\x2a\0", "TIFF"),
    (b"MM\0\x2a", "TIFF"),
    (b"II\x2b\0", "TIFF"),
    (b"MM\0\x2b", "TIFF"),
    (b"II\0\x2a", "TIFF"),  # byte order and version contradict each other, but Pillow reads these too
    (b"MM\x2a\0", "TIFF"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"qoif", "QOI"),
    (b"II\xbc", "jxr"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (b"8BPS", "psd"),
    (b"%!PS", "eps"),
    (b"\xc5\xd0\xd3\xc6", "eps"),
    (b"%PDF", "pdf"),
    (b"\xd7\xcd\xc6\x9a", "wmf"),
    (b"icns", "icns"),
    (b"DDS ", "dds"),
    (b"BLP1", "blp"),
    (b"BLP2", "blp"),
    (b"FTEX", "ftex"),
    (b"\x01\xda", "sgi"),
    (b"\x59\xa6\x6a\x95", "sun"),
    (b"\xb1\x68\xde\x3a", "dcx"),
    (b"DanM", "msp"),
    (b"LinS", "msp"),
    (b"SIMPLE  =", "fits"),
    (b"#?RADIANCE", "hdr"),
    (b"#?RGBE", "hdr"),
    (b"v/1\x01", "exr"),
    (b"gimp xcf", "xcf"),
    (b"AT&TFORM", "djvu"),
    (b"/* XPM */", "xpm"),
    (b"GRIB", "grib"),
    (b"BUFR", "bufr"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"\0\0\1\xb3", "mpeg"),
)

_PICTURES = frozenset((
    "JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "ICO", "CUR", "TIFF", "JPEG2000", "PPM", "QOI",
    "heif", "jxl", "jxr", "hdr", "exr", "xcf", "djvu", "wmf", "emf", "psd", "icns", "dds", "blp", "sun", "dcx",
))  # fmt: skip
"""Formats that the first bytes identify with certainty. Not Targa, formats with signatures of two letters (SGI, PCX),
source code (SVG, XBM, XPM), and formats that are not images (PDF, HDF5)."""

_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))
"""Header sizes of all versions of BMP, after the first 14 bytes."""

_PPM_HEADER = re.compile(rb"P[1-6](?:\s|#[^\n]{0,200}\n){1,20}\d{1,6}(?:\s|#[^\n]{0,200}\n){1,20}\d{1,6}\s")
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
"""Bytes that do not occur in text (MIME Sniffing Standard, 3)."""

_SVG_HEAD_BYTES = 4096
"""Number of bytes in which the root element is searched, after an XML declaration, a comment or a document type."""


def identify(data: bytes) -> str | None:
    """The format of a file: one of ``DECODED`` (capitals), a key of ``REFUSED``, or None."""
    head = data[:64]
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] in (b"\0\0\1\0", b"\0\0\2\0") and head[4:6] > b"\0\0":  # without images in it, it may be a Targa
        return "ICO" if head[2] == 1 else "CUR"
    if head[:4] == b"RIFF" and head[8:15] == b"WEBPVP8":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _of_brands(data)
    if len(head) > 2 and head[0] == 0x50 and head[1] in b"123456fy" and head[2] in b" \t\r\n#":
        return "PPM"
    if head[:4] == b"\1\0\0\0" and head[40:44] == b" EMF":
        return "emf"
    if len(head) >= 16 and head[4:6] in (b"\x11\xaf", b"\x12\xaf") and head[14:16] in (b"\0\0", b"\3\0"):
        return "fli"
    if head[:1] == b"\x0a" and head[1:2] in (b"\0", b"\2", b"\3", b"\5") and head[2:3] == b"\1":
        return "pcx"
    if _is_svg(data):
        return "svg"
    if head.startswith(b"#define") and b"_width" in head:
        return "xbm"
    return "TGA" if _is_tga(data) else None


def is_picture(data: bytes) -> bool:
    """Whether the first bytes alone prove that a file is an image. Text does not, whatever its first letters are."""
    if _BINARY.search(data, 0, 512) is None:
        return _PPM_HEADER.match(data) is not None  # the only format that may consist of text
    name = identify(data)
    if name == "PPM":
        return _PPM_HEADER.match(data) is not None
    if name == "BMP":
        return int.from_bytes(data[14:18], "little") in _BMP_HEADERS
    return name in _PICTURES


def _of_brands(data: bytes) -> str | None:
    """AVIF or HEIF, which share a container, by the brands in its first box; None for other brands, such as those of
    video."""
    size = min(struct.unpack(">I", data[:4])[0], 4096)
    brands = {data[8:12]} | {data[place : place + 4] for place in range(16, size, 4)}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "heif" if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"} else None


def _is_svg(data: bytes) -> bool:
    head = data[:_SVG_HEAD_BYTES]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.replace(b"\0", b"")[2:]
    head = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    before, found, _ = head.partition(b"<svg")
    return bool(found) and (
        not before or (before.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<html" not in before)
    )


def _is_tga(data: bytes) -> bool:
    """Whether a file is a Targa. The format has no signature, so the fields of its 18-byte header must be consistent.
    Text and other formats do not pass."""
    if len(data) < 18:
        return False
    has_map, kind, map_length, map_depth, width, height, depth = struct.unpack("<xBBxxHBxxxxHHBx", data[:18])
    if not (width and height) or kind not in (1, 2, 3, 9, 10, 11) or depth not in (1, 8, 16, 24, 32):
        return False
    if has_map:
        return has_map == 1 and map_depth in (15, 16, 24, 32) and map_length > 0
    return kind not in (1, 9) and map_length == 0
