"""Typed rows have the columns of their schemas, and their types."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import pyarrow as pa
import pytest

import gobelin
from gobelin.data import rows, schemas
from gobelin.scores import SCORES

STRUCTS = {
    "LicenceRow": schemas.DOCUMENTS.field("licences").type.value_type,
    "NodeRow": schemas.NODE,
    "HeadValueRow": schemas.HEAD_VALUES.value_type,
    "FaceRow": schemas.FACES.value_type,
    "NodeScoresRow": schemas.NODE_SCORES,
    "EarlierRow": schemas.DOCUMENT_SCORES.field("earlier").type.value_type,
    "ImageSpanRow": schemas.TOKEN_SHARDS.field("image_spans").type.value_type,
}
"""Rows inside of rows."""

SCHEMAS = {
    "DocumentRow": schemas.DOCUMENTS,
    "ImageRow": schemas.IMAGES,
    "DecisionRow": schemas.DECISIONS,
    "ArchiveRow": schemas.ARCHIVES,
    "FetchRow": schemas.FETCHES,
    "NotRunRow": schemas.NOT_RUN,
    "DocumentScoresRow": schemas.DOCUMENT_SCORES,
    "ImageScoresRow": schemas.IMAGE_SCORES,
    "SignatureRow": schemas.SIGNATURES,
    "ImageSignatureRow": schemas.IMAGE_SIGNATURES,
    "ImageEmbeddingRow": schemas.IMAGE_EMBEDDINGS,
    "TextEmbeddingRow": schemas.TEXT_EMBEDDINGS,
    "ImageCodesRow": schemas.IMAGE_CODES,
    "ImageCopyRow": schemas.IMAGE_COPIES,
    "TokenRow": schemas.TOKEN_SHARDS,
    "TokenIndexRow": schemas.TOKEN_INDEX,
    "ImageLatentsRow": schemas.IMAGE_LATENTS,
    "ContinuousTokenRow": schemas.CONTINUOUS_TOKEN_SHARDS,
}

WIDER = {"ImageCodesRow": schemas.WIDE_IMAGE_CODES}
"""Schemas of the same rows with wider numbers."""

INDEXES = {
    "transforms.archives.revisits:RevisitRow": "REVISIT_INDEX",
    "transforms.selection.write_corpus:SurvivorRow": "SURVIVORS",
    "transforms.selection.write_corpus:UseRow": "USES",
    "transforms.extract.indexes:PageIndexRow": "PAGE_INDEX",
    "transforms.extract.indexes:ImageIndexRow": "IMAGE_INDEX",
    "transforms.extract.resolve_urls:ImageNameRow": "IMAGE_NAMES",
    "transforms.extract.resolve_urls:ResolutionRow": "RESOLUTIONS",
    "transforms.extract.write_documents:ShownRow": "SHOWN",
    "transforms.fetching.wanted_urls:WantedRow": "WANTED",
    "transforms.fetching.wanted_urls:KeyRow": "KEYS",
    "transforms.fetching.wanted_urls:TakenRow": "TAKEN",
    "transforms.fetching.wanted_urls:ChosenRow": "CHOSEN",
    "transforms.duplicates.groups:DocumentGroupRow": "DOCUMENT_GROUPS",
    "transforms.duplicates.groups:ImageGroupRow": "IMAGE_GROUPS",
    "transforms.score.measure:MeasurementRow": "MEASUREMENTS",
    "transforms.score.join_scores:ImageUseRow": "USES_OF_IMAGES",
    "transforms.score.join_scores:FactRow": "FACTS",
    "transforms.vision.faces:ImageFacesRow": "IMAGE_FACES",
    "pipeline.stages.score_duplicates:EdgeRow": "EDGES",
    "pipeline.stages.score_duplicates:UnfinishedRow": "UNFINISHED",
    "transforms.rights.site_policy:PolicyRow": "POLICY_INDEX",
}
"""Classes of rows that one step writes and another one reads, beside their schemas: "module:class" -> schema."""

KINDS = {
    int: pa.types.is_integer,
    float: pa.types.is_floating,
    str: pa.types.is_string,
    bool: pa.types.is_boolean,
    bytes: lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
}


def is_of(hint: Any, kind: pa.DataType) -> bool:
    """Whether values of a pyarrow type have a Python type; None is looked at elsewhere."""
    if get_origin(hint) in (Sequence, list):
        (item,) = kinds_of(get_args(hint)[0]) or (None,)
        return pa.types.is_list(kind) and is_of(item, kind.value_type)
    if is_typeddict(hint):
        return pa.types.is_struct(kind) and problems(hint, kind) == []
    return hint in KINDS and bool(KINDS[hint](kind))


def kinds_of(hint: Any) -> list[Any]:
    """The types that a hint allows, without None."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [each for each in options if each is not NoneType]


def _may_be_left_out(row: Any, column: str) -> bool:
    """Scores are declared in the table of scores; rows name those alone that the code reads by name."""
    return row.__name__ in ("NodeScoresRow", "DocumentScoresRow", "ImageScoresRow") and column in SCORES


def problems(row: Any, fields: Any, are_declared: bool = True) -> list[str]:
    """What differs between a class and the fields of a schema or a struct. ``are_declared``: null only where the schema
    says so."""
    hints = get_type_hints(row)
    columns = {field.name: field for field in fields if field.name in hints or not _may_be_left_out(row, field.name)}
    found = [] if list(hints) == list(columns) else [f"{row.__name__}: {set(hints) ^ set(columns) or 'another order'}"]
    for name in hints.keys() & columns.keys():
        kinds = kinds_of(hints[name])
        if are_declared and (kinds != [hints[name]]) != columns[name].nullable:
            found.append(f"{row.__name__}.{name}: nullable is {columns[name].nullable} in the schema")
        if len(kinds) != 1 or not is_of(kinds[0], columns[name].type):
            found.append(f"{row.__name__}.{name}: {columns[name].type} in the schema")
    return found


@pytest.mark.parametrize("name", [*STRUCTS, *SCHEMAS])
def test_a_row_is_what_its_schema_says(name: str) -> None:
    assert problems(getattr(rows, name), (STRUCTS | SCHEMAS)[name]) == []


@pytest.mark.parametrize("name", WIDER)
def test_a_row_is_what_its_wider_schema_says(name: str) -> None:
    assert problems(getattr(rows, name), WIDER[name]) == []


@pytest.mark.parametrize("place", INDEXES)
def test_a_row_between_two_steps_is_what_its_schema_says(place: str) -> None:
    module, name = place.split(":")
    found = importlib.import_module(f"gobelin.{module}")
    assert problems(getattr(found, name), getattr(found, INDEXES[place]), are_declared=False) == []


def test_every_schema_has_a_row_and_every_row_a_schema() -> None:
    named = {id(value) for value in vars(schemas).values() if isinstance(value, pa.Schema)}
    assert named == {id(schema) for schema in (*SCHEMAS.values(), *WIDER.values())}
    classes = {name for name, value in vars(rows).items() if is_typeddict(value)}
    assert classes == {*STRUCTS, *SCHEMAS}
    root = Path(next(iter(gobelin.__path__)))
    elsewhere = {
        f"{path.relative_to(root).with_suffix('').as_posix().replace('/', '.')}:{line.split('(')[0].split()[1]}"
        for path in root.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("class ") and "Row(" in line and path.name != "rows.py"
    }
    assert elsewhere == set(INDEXES)


def test_what_differs_is_found() -> None:
    fields = [pa.field("doc_id", pa.string()), pa.field("bands", pa.list_(pa.string()), nullable=False)]
    found = problems(rows.SignatureRow, fields)
    assert any("sketch" in each for each in found)
    assert any("doc_id: nullable" in each for each in found)
    assert any("bands: list" in each for each in found)
