"""What a recipe's fields mean, what tells two recipes apart, and what in a recipe cannot work as it stands.

The meaning of a field is the docstring under it in its configuration class, read from the source: there is one place
where a field is explained, and `gobelin recipe show` prints it beside the value.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import json
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

from gobelin.pipeline.recipe import Recipe, as_dict
from gobelin.transforms.rules import RULES, SelectConfig, threshold_of
from gobelin.transforms.text_statistics import word_lists

WIDTH = 120


@functools.cache
def field_docs(kind: type) -> dict[str, str]:
    """Field -> the text under it in the class, in one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    for statement, following in zip(body.body, body.body[1:]):
        is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and is_text:
            docs[statement.target.id] = " ".join(str(following.value.value).split())  # type: ignore[attr-defined]
    return docs


def explained_yaml(recipe: Recipe) -> str:
    """The whole recipe as YAML, each field under a comment that says what it is."""
    return "\n".join(_lines(recipe, as_dict(recipe), "")) + "\n"


def _lines(config: Any, values: dict[str, Any], indent: str) -> Iterator[str]:
    docs = field_docs(config.__class__)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        yield from textwrap.wrap(
            docs.get(field.name, ""), WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        )
        if dataclasses.is_dataclass(value):
            yield f"{indent}{field.name}:"
            yield from _lines(value, values[field.name], indent + "  ")
        else:
            yield from textwrap.indent(_setting(field.name, values[field.name]), indent).splitlines()


def _setting(name: str, value: Any) -> str:
    if isinstance(value, (list, dict)):
        return yaml.safe_dump({name: value}, default_flow_style=None, allow_unicode=True, width=WIDTH).rstrip()
    return f"{name}: {json.dumps(value, ensure_ascii=False)}"


def differences(first: Recipe, second: Recipe) -> list[tuple[str, Any, Any]]:
    """(key, value in the first, value in the second) of every setting that differs, in the order of the recipe."""
    left, right = dict(_flat(as_dict(first))), dict(_flat(as_dict(second)))
    keys = dict.fromkeys((*left, *right))
    return [(key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)]


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def warnings_of(recipe: Recipe) -> list[str]:
    """What a valid recipe asks for that cannot work, or hardly can: rules without a score, bounds that cross, languages
    without word lists. One sentence each."""
    return [*_without_score(recipe), *_crossing(recipe.select), *_without_lists(recipe.select)]


def _without_score(recipe: Recipe) -> Iterator[str]:
    for rule in RULES:
        if threshold_of(rule, recipe.select) is None:
            continue
        if rule.score is None:
            yield f"select.{rule.name} has no score to compare: it will not run"
        elif rule.score.startswith("clip_") and recipe.score.clip is None:
            yield f"select.{rule.name} needs score.clip: it will not run"


def _crossing(select: SelectConfig) -> Iterator[str]:
    for section in ("document", "text", "image"):
        rules = getattr(select, section)
        for field in dataclasses.fields(rules):
            if not field.name.startswith("min_"):
                continue
            upper = f"max_{field.name.removeprefix('min_')}"
            low, high = getattr(rules, field.name), getattr(rules, upper, None)
            if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
                yield f"select.{section}.{field.name} {low} is above {upper} {high}: nothing can pass"


def _without_lists(select: SelectConfig) -> Iterator[str]:
    needs = [
        f"{section}.{name}"
        for section in ("document", "text")
        for name in ("min_stop_word_ratio", "max_flagged_word_ratio", "max_spam_word_ratio")
        if getattr(getattr(select, section), name) is not None
    ]
    missing = sorted(language for language in select.document.languages or () if word_lists(language).stop is None)
    if needs and missing:
        yield f"no word lists for {', '.join(missing)}: {', '.join(needs)} will not run there"
