"""Thresholds, for ``gobelin browse``: the effect of a change, the values that a rule compares, and the nearest
values."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from gobelin.pipeline.browse.collection import Changes, Collection, JsonObject, settings
from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.plugins import known_score
from gobelin.report import wording
from gobelin.report.histograms import Histogram
from gobelin.transforms.selection.columns.judged import Judged
from gobelin.transforms.selection.rules import Rule, threshold_of


def consequence(run: Collection, changes: Changes, held: str | None) -> JsonObject:
    """The effect of changes, as numbers."""
    begin = time.perf_counter()
    after = run.judged(changes, held)
    rows = []
    for subject in ("document", "text", "image"):
        left, right = run.base.counts(subject), after.counts(subject)
        rows += [
            {
                "subject": subject,
                "rule": rule,
                "before": left[rule],
                "after": right[rule],
                "meaning": run.meaning(rule),
            }
            for rule in sorted({*left, *right}, key=lambda rule: (-max(left[rule], right[rule]), rule))
        ]
    not_run = run.not_run(changes, held)
    return {
        "seen": [len(run.columns.ids), len(run.columns.image_nodes), int(run.columns.words.sum())],
        "before": run.base.totals(), "after": after.totals(), "rules": rows, "not_run": not_run,
        "coming": int((after.is_kept & ~run.base.is_kept).sum()),
        "going": int((run.base.is_kept & ~after.is_kept).sum()),
        "settings": settings(changes), "milliseconds": round(1000 * (time.perf_counter() - begin)),
    }  # fmt: skip


def described_rules(run: Collection) -> list[JsonObject]:
    """Every rule with a threshold, and what it compares."""
    found = []
    for rule in run.rules.values():
        if rule.score is None:
            continue
        title, unit = wording.score_title(rule.score)
        entry = known_score(rule.score)
        field = change_type(run.recipe, rule)
        found.append(
            {
                "rule": rule.name, "subject": rule.subject, "score": rule.score, "title": title, "unit": unit,
                "threshold": threshold_of(rule, run.recipe.select), "keeps_above": rule.keeps_above,
                "is_whole": field is int, "axis": entry.axis if entry else "linear", "is_safety": rule.is_safety,
            }
        )  # fmt: skip
    return found


def histogram(run: Collection, name: str) -> JsonObject:
    """The values that a rule compares, with the recipe: adjacent bars, and their range."""
    rule = run.rule_called(name)
    values = _values_of(run, rule, run.base)
    assert rule.score is not None
    made = Histogram.of_score(rule.score)
    there = values[~np.isnan(values)].astype(np.float64)
    made.add(there, np.ones(len(there), bool))
    threshold = threshold_of(rule, run.recipe.select)
    bars = made.bars([] if threshold is None else [float(threshold)])
    return {
        "bars": [[bar.low, bar.high, bar.total] for bar in bars], "values": len(there),
        "missing": int(len(values) - len(there)),
        "low": float(there.min()) if len(there) else 0.0, "high": float(there.max()) if len(there) else 1.0,
    }  # fmt: skip


def nearest(run: Collection, name: str, threshold: float, num: int = 12) -> JsonObject:
    """The items nearest to a threshold on either side, places of one subject. They help to choose the threshold."""
    rule = run.rule_called(name)
    values = _values_of(run, rule, run.base)
    is_better = values >= np.float32(threshold) if rule.keeps_above else values <= np.float32(threshold)
    is_worse = ~is_better & ~np.isnan(values)
    if rule.subject == "image":
        is_there = run.columns.images >= 0
        is_better, is_worse = is_better & is_there, is_worse & is_there
    distance = np.abs(values - np.float32(threshold))
    sides = {}
    for side, mask in (("passing", is_better), ("failing", is_worse)):
        places = np.flatnonzero(mask)
        part = places[np.argpartition(distance[places], num * 4)[: num * 4]] if len(places) > num * 4 else places
        order = part[np.argsort(distance[part], kind="stable")]
        if rule.subject == "image":
            order = order[np.sort(np.unique(run.columns.images[order], return_index=True)[1])]
        sides[side] = [(int(place), float(values[place])) for place in order[:num]]
    return {"subject": rule.subject, **sides}


def _values_of(run: Collection, rule: Rule, judged: Judged) -> npt.NDArray[np.float32]:
    assert rule.score is not None
    left = {"words_left": judged.num_words, "images_left": judged.num_images}.get(rule.score)
    return run.columns.score(rule.subject, rule.score) if left is None else left.astype(np.float32)


def change_type(recipe: Recipe, rule: Rule) -> type:
    """The type of a rule's threshold: int or float."""
    if rule.section == "plugins" or "." in rule.threshold:
        return float
    hint = type(getattr(recipe.select, rule.section)).__dataclass_fields__[rule.threshold].type
    return int if "int" in str(hint) else float
