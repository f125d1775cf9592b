"""Recognises the format of a picture by its first bytes, never by its name or its Content-Type.

Exactly one decoder is then asked, the one for that format. Formats outside ``DECODED`` are named, so that a picture
which is refused says what it was; ``REFUSED`` holds why. Costs a microsecond: signatures only, no parsing.
"""

from __future__ import annotations

import re
import struct

DECODED = (
    "JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "ICO", "CUR", "TIFF", "JPEG2000", "PPM", "TGA", "QOI",
)  # fmt: skip
"""Formats that are decoded, under Pillow's names: all that a browser shows (Safari for TIFF and JPEG 2000), and plain
rasters whose decoders allocate what the header says and nothing else."""

_EDITOR = "working file of an editor: layers and metadata in a large parser, and no browser shows it"
_TEXTURE = "texture of a game, which no browser shows; its size is the header's word, whatever the file's length"
_OLD = "no browser shows it, and it is not worth another parser near hostile bytes"
_STUB = "recognised by Pillow, not decoded"
_ABSENT = "no decoder in Pillow"
_PLUGIN = "no decoder in Pillow; read where the package of ``PLUGINS`` is installed"

REFUSED = {
    "svg": "a drawing, not pixels: ``render_svg`` makes pixels of it, where a recipe lets it",
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
"""Formats that are recognised and refused (rule ``image_format``), with the reason. What is in neither list is
``not_an_image``: among it formats of Pillow's without a signature (IM, IMT, IPTC, PCD, PIXAR, SPIDER, GBR, McIdas)."""

PLUGINS = {"heif": ("pillow_heif", "HEIF"), "jxl": ("pillow_jxl", "JXL")}
"""Formats that a package adds to Pillow: its module, and the name under which Pillow then has the format."""

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
    (b"II\0\x2a", "TIFF"),  # byte order and number contradict each other; Pillow reads these too
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
"""Formats that their first bytes tell for sure. Not Targa, and not those of two letters (SGI, PCX), of source code
(SVG, XBM, XPM), and those that are no pictures (PDF, HDF5)."""

_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))
"""Bytes of the header behind a BMP's first 14, of all its versions."""

_PPM_HEADER = re.compile(rb"P[1-6](?:\s|#[^\n]{0,200}\n){1,20}\d{1,6}(?:\s|#[^\n]{0,200}\n){1,20}\d{1,6}\s")
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
"""Bytes that no text has (MIME Sniffing Standard, 3)."""

_SVG_HEAD_BYTES = 4096
"""How far into a file a root element is looked for: behind an XML declaration, a comment, a document type."""


def identify(data: bytes) -> str | None:
    """Name of a file's format: one of ``DECODED`` (capitals), a key of ``REFUSED``, or None."""
    head = data[:64]
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] in (b"\0\0\1\0", b"\0\0\2\0") and head[4:6] > b"\0\0":  # with no picture in it, it may be a Targa
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
    """Whether the first bytes alone show that a file is a picture. Text is not, whatever letters it begins with."""
    if _BINARY.search(data, 0, 512) is None:
        return _PPM_HEADER.match(data) is not None  # the one format that may be all text
    name = identify(data)
    if name == "PPM":
        return _PPM_HEADER.match(data) is not None
    if name == "BMP":
        return int.from_bytes(data[14:18], "little") in _BMP_HEADERS
    return name in _PICTURES


def _of_brands(data: bytes) -> str | None:
    """AVIF and HEIF share a container; its first box names the brands. Video has others."""
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
    """Targa has no signature: its 18 bytes of header must fit each other. No text and no other format passes."""
    if len(data) < 18:
        return False
    has_map, kind, map_length, map_depth, width, height, depth = struct.unpack("<xBBxxHBxxxxHHBx", data[:18])
    if not (width and height) or kind not in (1, 2, 3, 9, 10, 11) or depth not in (1, 8, 16, 24, 32):
        return False
    if has_map:
        return has_map == 1 and map_depth in (15, 16, 24, 32) and map_length > 0
    return kind not in (1, 9) and map_length == 0
