"""The filters of a recipe for documents, texts and images, in words, with the number of units that each dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from gobelin.plugins import known_score
from gobelin.report.survey import active_rules, with_thresholds
from gobelin.report.wording import number, rule_meaning
from gobelin.transforms.selection.rules import UNSCORED_RULES, Rule

_LISTED = {
    "document.languages": "Language is one of",
    "document.page_kinds": "Kind of page is one of",
    "document.deny_consent": "The page refuses none of",
    "text.roles": "Kind of text is one of",
    "image.deny_consent": "Neither its response nor its site refuses any of",
    "image.formats": "Format is one of",
    "image.banned_url_words": "Its address has none of the words",
}
_WHETHER = {
    "image.unique_in_document": "Not the same bytes as an image earlier in the document",
    "image.unique_near_in_document": "No near-duplicate of an image earlier in the document",
}
_UNIQUE = {
    "url": "Of documents with one canonical address, the latest capture",
    "exact": "Of documents with the same text, one",
    "near": "Of documents with nearly the same text, one",
    "image_set": "Of documents with the same images, one",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """One rule that the recipe switches on."""

    name: str
    asks: str  # what passes, in words
    dropped: int  # documents, or nodes of documents
    not_run: int  # documents or nodes for which there was no score


def filters_of(run: dict[str, Any]) -> list[Filter]:
    """The rules of the stage ``select``, document rules first."""
    stage = run["stages"]["select"]
    select = with_thresholds(run["recipe"]["select"], stage.get("thresholds", {}))
    dropped = {**stage.get("nodes", {}).get("drop", {}), **stage.get("documents", {}).get("dropped", {})}
    not_run = stage.get("not_run", {})
    found = [(rule.name, _asks(rule, threshold)) for rule, threshold in active_rules(select)]
    found += _others(select)
    order = {"document": 0, "text": 1, "image": 2, "plugins": 3}
    found.sort(key=lambda each: order[each[0].partition(".")[0]])
    return [Filter(name, asks, dropped.get(name, 0), not_run.get(name, 0)) for name, asks in found]


def _asks(rule: Rule, threshold: float) -> str:
    score = known_score(rule.score or "")
    title = rule_meaning(rule.name, rule.score) if score is None else score.title
    unit = "" if score is None or score.unit in ("", "ratio") or score.unit in title.lower() else f" ({score.unit})"
    return f"{title[:1].upper()}{title[1:]}: at {'least' if rule.keeps_above else 'most'} {number(threshold)}{unit}"


def _others(select: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for section, fields in UNSCORED_RULES.items():
        for field in fields:
            name, value = f"{section}.{field}", select[section].get(field)
            if not value:
                continue
            if name in _LISTED:
                yield name, f"{_LISTED[name]}: {', '.join(map(str, value))}"
            elif name in _WHETHER:
                yield name, _WHETHER[name]
            else:
                yield name, f"Differs from images earlier in the document by at least {value} bits of 64"
    for kind in select["document"]["unique"]:
        yield f"document.unique.{kind}", _UNIQUE[kind]
