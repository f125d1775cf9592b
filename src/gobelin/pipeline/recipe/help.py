"""Explains the fields of a recipe, compares recipes, and warns about settings that cannot work.

The explanation of a field is the docstring under it in its configuration class, read from the source. So each field is
explained in one place, and `gobelin recipe show` prints the explanation beside the value. The docstring of a threshold
explains its number and gives its source. The table of scores links each threshold to its score.
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

from gobelin.pipeline.recipe.recipe import Recipe, as_dict
from gobelin.pipeline.recipe.values import doubtful_values
from gobelin.pipeline.recipe.yaml import write_yaml
from gobelin.plugins import RULES_GROUP, known_score, package_of, score_called
from gobelin.scores import Score, find_score
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules, TextRules
from gobelin.transforms.selection.rules import IMAGE_RULES, RULES, all_rules, plugin_rule, threshold_of
from gobelin.transforms.text.text_statistics import word_lists

WIDTH = 120

_RULES_OF = {"document": DocumentRules, "text": TextRules, "image": ImageRules}


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


@functools.cache
def described(kind: type) -> dict[str, str]:
    """Field -> its explanation. For a threshold, the explanation begins with the compared score from the table of
    scores."""
    docs = dict(field_docs(kind))
    for rule in RULES:
        score = find_score(rule.score or "")
        if score is not None and _RULES_OF[rule.section] is kind:
            needs = f" Needs {', '.join(map(_setting_of, score.needs))}." if score.needs else ""
            docs[rule.threshold] = f"{_told(score)}. {docs[rule.threshold]}{needs}"
    return docs


def explained_yaml(recipe: Recipe) -> str:
    """The whole recipe as YAML, with a comment above each field that explains it."""
    return "\n".join(_lines(recipe, as_dict(recipe), "")) + "\n"


def _lines(config: Any, values: dict[str, Any], indent: str) -> Iterator[str]:
    docs = described(config.__class__)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        yield from _comment(docs.get(field.name, ""), indent)
        if field.name == "plugins" and value:
            yield f"{indent}plugins:"
            is_scores = isinstance(config, ScoreConfig)
            yield from (_plugin_scores if is_scores else _plugin_rules)(values["plugins"], indent + "  ")
        elif dataclasses.is_dataclass(value):
            yield f"{indent}{field.name}:"
            yield from _lines(value, values[field.name], indent + "  ")
        else:
            yield from textwrap.indent(_setting(field.name, values[field.name]), indent).splitlines()


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _plugin_scores(plugins: dict[str, dict[str, Any]], indent: str) -> Iterator[str]:
    for name, settings in plugins.items():
        found = score_called(name)
        (of,) = found.entry.of
        yield from _comment(f"{_told(found.entry)}, of each {of}; from {found.package}.", indent)
        yield f"{indent}{name}:" if settings else f"{indent}{name}: {{}}"
        docs = field_docs(found.scorer)
        for key, value in settings.items():
            yield from _comment(docs.get(key, ""), indent + "  ")
            yield from textwrap.indent(_setting(key, value), indent + "  ").splitlines()


def _plugin_rules(plugins: dict[str, float | None], indent: str) -> Iterator[str]:
    for name, threshold in plugins.items():
        rule = plugin_rule(name)
        score = known_score(rule.score or "")
        told = "" if score is None else f"{_told(score)}, "
        passes = "least" if rule.keeps_above else "most"
        package = package_of(RULES_GROUP, name)
        yield from _comment(f"{told}at {passes}, of each {rule.subject}; from {package}.", indent)
        yield from textwrap.indent(_setting(name, threshold), indent).splitlines()


def _told(score: Score) -> str:
    """A score's title with the unit of its values."""
    return score.title if score.unit in score.title.lower() else f"{score.title} ({score.unit})"


def _setting(name: str, value: Any) -> str:
    if isinstance(value, (list, dict)):
        return write_yaml({name: value}, default_flow_style=None, width=WIDTH).rstrip()
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
    """Warnings about a valid recipe, one sentence each: rules without a score, contradictory bounds, suspicious values,
    languages without word lists."""
    return [
        *doubtful_values(recipe),
        *_without_score(recipe),
        *_crossing(recipe.select),
        *_without_lists(recipe.select),
    ]


_ALL_GO = "every image will be dropped without a safety score; to keep them, set select.unscored_for_safety=keep"


def _without_score(recipe: Recipe) -> Iterator[str]:
    for rule in all_rules(recipe.select):
        if threshold_of(rule, recipe.select) is not None and rule.score is not None:
            missing = next((key for key, is_there in _needs(rule.score, recipe) if not is_there), None)
            if missing is not None:
                drops = rule.is_safety and recipe.select.unscored_for_safety == "drop"
                yield f"select.{rule.name} needs {missing}: {_ALL_GO if drops else 'it will not run'}"
    absolute = [
        f"select.{rule.name}"
        for rule in IMAGE_RULES
        if rule.threshold.startswith("min_clip_") and isinstance(threshold_of(rule, recipe.select), float)
    ]
    if absolute and recipe.select.image.clip_model is None and recipe.score.clip is not None:
        yield f"{', '.join(absolute)}: a number that belongs to one CLIP model; name it in select.image.clip_model"


def keeps_nothing(recipe: Recipe) -> list[str]:
    """A warning if no document can pass: a safety rule drops every image because this recipe does not compute its
    score, and documents must have an image."""
    least = recipe.select.document.min_images
    if not least or recipe.select.unscored_for_safety != "drop":
        return []
    return [
        f"nothing can be kept: select.{rule.name} needs {missing[0]}, without which every image is dropped unjudged, "
        f"and select.document.min_images={least} wants documents with images; to keep images without a safety score, "
        "set select.unscored_for_safety=keep"
        for rule in all_rules(recipe.select)
        if rule.is_safety and rule.section == "image" and threshold_of(rule, recipe.select) is not None
        if (missing := [key for key, is_there in _needs(rule.score or "", recipe) if not is_there])
    ]


def _needs(score: str, recipe: Recipe) -> Iterator[tuple[str, bool]]:
    """Yields (setting, whether it is set) for each setting that a score needs."""
    entry = known_score(score)
    for need in entry.needs if entry is not None else ():
        yield _setting_of(need), _is_there(need, recipe.score)


def _setting_of(need: str) -> str:
    """The name of the recipe's key for something that a score needs."""
    section, _, name = need.partition(".")
    return f"score.{need} or score.zero_shot.{name}" if section == "heads" else f"score.{need}"


def _is_there(need: str, config: ScoreConfig) -> bool:
    section, _, name = need.partition(".")
    if section == "heads":
        return name in {*config.heads, *config.zero_shot}
    if section == "plugins":
        return name in config.plugins
    held = getattr(config, section)
    return bool(getattr(held, name, None)) if name else held is not None


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
