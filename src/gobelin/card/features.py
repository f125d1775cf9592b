"""Describes columns for Hugging Face's front matter (``dataset_info.features``) and for Croissant."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

Described = dict[str, Any]

IMAGE_MARK = b"image"
"""Value of the metadata ``holds`` of a field whose bytes, or whose struct's bytes, are an image."""

_TYPES = {"double": "float64", "float": "float32", "halffloat": "float16"}


def as_image(field: pa.Field) -> pa.Field:
    """The field, marked as the bytes of an image file."""
    return field.with_metadata({**(field.metadata or {}), b"holds": IMAGE_MARK})


def is_image(field: pa.Field) -> bool:
    """Whether ``as_image`` marked it."""
    return (field.metadata or {}).get(b"holds") == IMAGE_MARK


def hf_features(schema: pa.Schema) -> list[Described]:
    """Features of the package ``datasets``, as in the YAML front matter."""
    return [_feature(field) for field in schema]


def _feature(field: pa.Field) -> Described:
    return {"name": field.name, **_kind(field.type, is_image(field))}


def _kind(kind: pa.DataType, holds_image: bool) -> Described:
    if _is_list(kind):
        inner = _kind(kind.value_type, holds_image)
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    if holds_image:
        return {"dtype": "image"}
    if pa.types.is_struct(kind):
        return {"struct": [_feature(field) for field in kind]}
    return {"dtype": _TYPES.get(str(kind), str(kind))}


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def croissant_fields(record_set: str, source: Described, schema: pa.Schema) -> list[Described]:
    """Fields of a record set, one for each column that Croissant supports: nested at most as deep as a list of structs.

    Args:
        source: the file set, ``{"fileSet": {"@id": ...}}``.
    """
    return [found for field in schema if (found := _field(record_set, source, field))]


def _field(record_set: str, source: Described, field: pa.Field) -> Described | None:
    taken = {**source, "extract": {"column": field.name}}
    kind, about = field.type, _about(f"{record_set}/{field.name}", field)
    if _is_list(kind):
        kind = kind.value_type
        # mlcroissant 1.1 does not cast arrays of images, so these use the format of Croissant 1.0.
        about |= {"repeated": True} if is_image(field) else {"isArray": True, "arrayShape": "-1"}
    if is_image(field):
        if pa.types.is_struct(kind):
            taken["transform"] = {"jsonPath": "bytes"}
        return {**about, "dataType": "sc:ImageObject", "source": taken}
    if pa.types.is_struct(kind):
        inner = [_sub_field(about["@id"], taken, sub) for sub in kind if not pa.types.is_nested(sub.type)]
        return {**about, "subField": inner} if inner else None
    if pa.types.is_nested(kind):
        return None
    return {**about, "dataType": _data_type(kind), "source": taken}


def _sub_field(parent: str, source: Described, field: pa.Field) -> Described:
    taken = {**source, "transform": {"jsonPath": field.name}}
    return {**_about(f"{parent}/{field.name}", field), "dataType": _data_type(field.type), "source": taken}


def _about(identifier: str, field: pa.Field) -> Described:
    told = (field.metadata or {}).get(b"unit", b"").decode()
    return {
        "@type": "cr:Field",
        "@id": identifier,
        "name": field.name,
        **({"description": told} if told else {}),
    }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    return "sc:Text"
