"""What mkdocs asks while it builds the site: the page of all recipe fields, and links to files outside docs/."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from gobelin.pipeline.recipe.help import described
from gobelin.pipeline.recipe.recipe import Recipe, as_dict, load_recipe, preset_names

ROOT = Path(__file__).parents[2]

_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)#]+)(?:#[^)]*)?\)")

_ABOUT = """# All fields of a recipe

Made from the descriptions in the code, the same that `gobelin recipe show NAME` prints. Each field has its default, and
the values of presets that say otherwise. [Recipes](recipes.md) says how one is written;
`--set select.image.min_side_px=100` changes a field for one run.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated page."""
    files.append(File.generated(config, "recipe-fields.md", content=recipe_fields()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns a link to a file outside docs/ into its path. Raises PluginError where there is no such file."""

    def path_of(found: re.Match[str]) -> str:
        text, path = found.groups()
        if not (ROOT / path).exists():
            raise PluginError(f"{page.file.src_path}: no file {path}")
        return f"{text} (`{path}`)" if text != path else f"`{path}`"

    return _OUTSIDE.sub(path_of, markdown)


def recipe_fields() -> str:
    """Every field of a recipe: default, values in the presets, meaning."""
    presets = {name: load_recipe(name, ()) for name in preset_names()}
    return _ABOUT + "\n".join(_section(Recipe(name="-"), list(presets.items()), "")) + "\n"


def _section(config: Any, presets: list[tuple[str, Any]], path: str) -> Iterator[str]:
    docs, values = described(config.__class__), as_dict(config)
    nested = []
    yield from ("", "| field | default | |", "|---|---|---|")
    for field in dataclasses.fields(config):
        if not path and field.name == "name":
            continue
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and field.name != "plugins":
            nested.append((field.name, value))
            continue
        default = _short(values[field.name])
        others = [(name, _short(as_dict(of)[field.name])) for name, of in presets if of is not None]
        told = ", ".join(f"{name} {shown}" for name, shown in others if shown != default)
        meaning = _cell(docs.get(field.name, "")) + (f"<br>*{told}*" if told else "")
        yield f"| `{field.name}` | {default} | {meaning} |"
    for name, value in nested:
        full = f"{path}{name}"
        yield from ("", f"{'##' if not path else '###'} {full}", "", _cell(docs.get(name, "")))
        kinds = [(preset, getattr(of, name)) for preset, of in presets if type(getattr(of, name, None)) is type(value)]
        yield from _section(value, kinds, f"{full}.")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return "`" + (text if len(text) <= 60 else f"{text[:56]} …").replace("|", "\\|") + "`"


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|").replace("<", "&lt;")
