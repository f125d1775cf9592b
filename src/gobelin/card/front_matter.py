"""The YAML front matter of a data card, for Hugging Face's hub and the package ``datasets``."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import yaml

from gobelin.card.escape import one_line
from gobelin.card.facts import Facts
from gobelin.card.features import as_image, hf_features
from gobelin.card.layouts import Layout
from gobelin.card.tally import Tally

_LANGUAGE = re.compile(r"[a-z]{2,3}")
_SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
    (10_000_000_000, "1B<n<10B"),
)  # fmt: skip
"""Categories of the hub, by the number of documents."""


def front_matter(facts: Facts) -> str:
    """The front matter, with the lines that enclose it."""
    # datasets reads all configurations of a folder with one loader
    layouts = [layout for layout in facts.layouts if layout.kind == facts.layouts[0].kind]
    languages = languages_of(facts.tally)
    num_documents = facts.tally.documents
    size = next((name for limit, name in _SIZES if num_documents < limit), "10B<n<100B")
    head: dict[str, Any] = {
        "pretty_name": one_line(facts.title),
        **({"language": languages} if languages else {}),
        "license": "other",
        "license_name": "as-stated-by-each-page",
        "size_categories": [size],
        "task_categories": ["image-text-to-text", "image-to-text", "text-generation"],
        "tags": ["interleaved", "image-text", "web", "gobelin"],
    }
    if layouts[0].kind != "files":  # which datasets has no loader for
        head["configs"] = [_config(layout) for layout in layouts]
        head["dataset_info"] = [_info(layout, facts) for layout in layouts]
    written = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{written}---\n"


def languages_of(tally: Tally) -> list[str]:
    """Codes of languages that the hub accepts."""
    return sorted(code for code in tally.languages if _LANGUAGE.fullmatch(code))


def _config(layout: Layout) -> dict[str, Any]:
    return {
        "config_name": layout.name,
        **({"default": True} if layout.name == "default" else {}),
        "data_files": [{"split": "train", "path": layout.pattern}],
    }


def _info(layout: Layout, facts: Facts) -> dict[str, Any]:
    num_bytes = facts.num_bytes[layout.name]
    split = {"name": "train", "num_bytes": num_bytes, "num_examples": facts.num_rows[layout.name]}
    return {
        "config_name": layout.name,
        "features": hf_features(_schema(layout, facts)),
        "splits": [split],
        "download_size": num_bytes,
        "dataset_size": num_bytes,
    }


def _schema(layout: Layout, facts: Facts) -> pa.Schema:
    """The columns that ``datasets`` makes. For a tar file they are the files of its samples, null if a sample has no
    such file."""
    if layout.kind != "tar":
        return layout.schema
    images = [as_image(pa.field(name, pa.binary())) for name in facts.members]
    return pa.schema([("__key__", pa.string()), ("__url__", pa.string()), ("json", pa.struct(list(layout.schema))),
                      *images])  # fmt: skip
