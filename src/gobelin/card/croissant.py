"""Croissant 1.1: a machine-readable description of a folder's files and rows (docs.mlcommons.org/croissant)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from gobelin.card.features import Described, croissant_fields
from gobelin.card.layouts import Kind, Layout

FILE_NAME = "croissant.json"

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The standard's own."""

_MEDIA_TYPES: dict[Kind, str] = {
    "parquet": "application/x-parquet",
    "jsonl": "application/jsonlines",
    "zip": "application/zip",
    "tar": "application/x-tar",
    "files": "text/plain",
}
_IMAGE_FILES = ["*.jpg", "*.png", "*.webp", "*.gif", "*.avif", "*.bmp", "*.tif", "*.jp2", "*.ico"]


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """A file that contains files, as it was written."""

    name: str
    num_bytes: int
    sha256: str


def croissant(
    about: dict[str, Any], layouts: Sequence[Layout], archives: Sequence[Archive], names: dict[str, str]
) -> Described:
    """The metadata of a folder.

    Args:
        about: name, description and other properties, by their names in schema.org or RAI.
        archives: files of the layouts that are archives.
        names: of layouts, for people; also the ids of record sets.
    """
    distribution: list[Described] = []
    record_sets = []
    for layout in layouts:
        name = names[layout.name]
        if layout.kind in ("zip", "tar"):
            files, sets = _archived(name, layout, archives)
        else:
            files = [_file_set(name, layout.pattern, _MEDIA_TYPES[layout.kind])]
            fields = croissant_fields(name, _taken_from(name), layout.schema)
            if layout.kind == "files":
                fields = [_of_file(name, "name", "filename", "sc:Text"), _of_file(name, "text", "content", "sc:Text")]
            sets = [_record_set(name, layout.what, fields)]
        distribution += files
        record_sets += sets
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        **about,
        "distribution": distribution,
        "recordSet": record_sets,
    }


def _file(archive: Archive, kind: Kind) -> Described:
    return {
        "@type": "cr:FileObject",
        "@id": archive.name,
        "name": archive.name,
        "contentUrl": archive.name,
        "contentSize": f"{archive.num_bytes} B",
        "encodingFormat": _MEDIA_TYPES[kind],
        "sha256": archive.sha256,
    }


def _archived(name: str, layout: Layout, archives: Sequence[Archive]) -> tuple[list[Described], list[Described]]:
    """The record set of an archived layout. mlcroissant reads the files of an archive and their lines, but no JSON, so
    a document is one field that holds its JSON."""
    files = [_file(archive, layout.kind) for archive in archives]
    inside = {"containedIn": [{"@id": archive.name} for archive in archives]}
    if layout.kind == "zip":
        files.append(_file_set(name, "*.jsonl", "application/jsonlines") | inside)
        return files, [_record_set(name, layout.what, [_of_file(name, "json", "lines", "sc:Text")])]
    files.append(_file_set(name, "*.json", "application/json") | inside)
    files.append(_file_set("images", _IMAGE_FILES, "image/*") | inside)
    return files, [
        _record_set(name, layout.what, [
            _of_file(name, "name", "filename", "sc:Text"), _of_file(name, "json", "content", "sc:Text")]),
        _record_set("images", "one image file of a document, by its name in the JSON", [
            _of_file("images", "name", "filename", "sc:Text"),
            _of_file("images", "image", "content", "sc:ImageObject")]),
    ]  # fmt: skip


def _taken_from(record_set: str) -> Described:
    return {"fileSet": {"@id": f"{record_set}-files"}}


def _file_set(record_set: str, includes: str | list[str], kind: str) -> Described:
    name = f"{record_set}-files"
    return {"@type": "cr:FileSet", "@id": name, "name": name, "includes": includes, "encodingFormat": kind}


def _record_set(name: str, what: str, fields: list[Described]) -> Described:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": what, "field": fields}


def _of_file(record_set: str, name: str, part: str, kind: str) -> Described:
    """A field that is a property of a file."""
    source = {**_taken_from(record_set), "extract": {"fileProperty": part}}
    return {"@type": "cr:Field", "@id": f"{record_set}/{name}", "name": name, "dataType": kind, "source": source}
