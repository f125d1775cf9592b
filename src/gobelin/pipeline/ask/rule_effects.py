"""Finds rules of a recipe that dropped nothing, and rules that dropped everything.

Either may be right. More often the threshold has another scale, the list is for another language, or there is a typing
error. So the terminal and the report mention such rules.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any

import pyarrow.compute as pc

from gobelin.data.model import Action, Unit
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.rules import UNSCORED_RULES, all_rules, threshold_of

WIDTH = 120


def rules_in_force(config: SelectConfig) -> list[str]:
    """Names of the rules that a recipe switches on, as in decisions."""
    names = [rule.name for rule in all_rules(config) if threshold_of(rule, config) is not None]
    for section, fields in UNSCORED_RULES.items():
        names += [f"{section}.{field}" for field in fields if getattr(getattr(config, section), field)]
    return names + [f"document.unique.{kind}" for kind in config.document.unique]


def rule_effects(
    config: SelectConfig,
    decisions: dict[Unit, dict[Action, Counter[str]]],
    scores: str,
    num_documents: int,
    not_run: dict[str, int],
) -> dict[str, list[str]]:
    """Rules that ``dropped_nothing`` and rules that ``dropped_everything``, sorted.

    Args:
        scores: folder of the documents' scores.
        not_run: number of times that each rule could not run; these rules are reported elsewhere.
    """
    dropped = decisions[Unit.DOCUMENT][Action.DROP] + decisions[Unit.NODE][Action.DROP]
    totals = {"document": num_documents, **_count_nodes(scores)}
    rules = rules_in_force(config)
    subjects = {rule.name: rule.subject for rule in all_rules(config)}
    there_were = {rule: totals[subjects.get(rule, rule.split(".")[0])] for rule in rules}
    return {
        "dropped_nothing": sorted(rule for rule in rules if not dropped[rule] and rule not in not_run),
        "dropped_everything": sorted(rule for rule in rules if there_were[rule] and dropped[rule] == there_were[rule]),
    }


def _count_nodes(scores: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for path in list_shards(scores):
        for table in read_tables(path, ["nodes.list.element.kind"]):
            kinds = pc.struct_field(pc.list_flatten(table["nodes"].combine_chunks()), "kind")
            counts.update({item["values"]: item["counts"] for item in pc.value_counts(kinds).to_pylist()})
    return {"text": counts["text"], "image": counts["image"]}


def effect_lines(effects: dict[str, Any]) -> list[str]:
    """The result of ``rule_effects`` in words, for a terminal."""
    lines: list[str] = []
    for did in ("everything", "nothing"):
        if effects[f"dropped_{did}"]:
            told = f"rules that dropped {did}: {', '.join(effects[f'dropped_{did}'])}"
            lines += textwrap.wrap(told, WIDTH, subsequent_indent="  ", break_long_words=False)
    return lines
