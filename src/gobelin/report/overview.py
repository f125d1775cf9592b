"""The funnel of a run, and warnings for the reader."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from gobelin.report.reasons import Reason
from gobelin.report.survey import ScoreSurvey, active_rules
from gobelin.report.wording import percent
from gobelin.transforms.score.plugin_scores import ERROR
from gobelin.transforms.selection.rules import UNSCORED_RULES

FUNNEL_STAGES = ("extract", "score", "select", "tokenize")


@dataclasses.dataclass(frozen=True, slots=True)
class FunnelRow:
    """Counts of one unit in one stage. ``start`` is the count of the first stage, ``apart`` is counted separately."""

    stage: str
    unit: str
    seen: int
    kept: int
    dropped: int
    failed: int
    start: int
    apart: int = 0

    @property
    def adds_up(self) -> bool:
        return self.seen == self.kept + self.dropped + self.failed


@dataclasses.dataclass(frozen=True, slots=True)
class Warned:
    """A warning for the reader."""

    level: Literal["danger", "warning", "note"]
    title: str
    text: str


def funnel(stages: dict[str, Any], unit: str, num_file_answers: int = 0) -> list[FunnelRow]:
    """Counts of a unit in each stage that ran.

    Args:
        num_file_answers: responses that ``extract`` dropped and that are not pages; they are counted separately.
    """
    rows: list[FunnelRow] = []
    for name in FUNNEL_STAGES:
        counts = stages.get(name, {}).get(unit)
        if counts is None:
            continue
        apart = num_file_answers if name == "extract" else 0
        seen, dropped = counts["seen"] - apart, sum(counts["dropped"].values()) - apart
        start = rows[0].start if rows else seen
        rows.append(FunnelRow(name, unit, seen, counts["kept"], dropped, counts["failed"], start, apart))
    return rows


def warnings_of(run: dict[str, Any], surveys: list[ScoreSurvey], reasons: list[Reason]) -> list[Warned]:
    """All warnings, the most serious first."""
    stages, recipe = run["stages"], run["recipe"]["select"]
    found = [*_unbalanced(stages)]
    if stages["score"]["status"] == "done":
        found += _unscored_safety(stages, recipe, surveys)
    if stages["select"]["status"] == "done":
        found += _not_run(stages, surveys, recipe)
        found += _one_sided(surveys, reasons, recipe)
    found += _failures(reasons)
    found += _plugin_failures(reasons)
    alerts = stages.get("train", {}).get("alerts", ())
    found += [Warned("warning", "Training", f"{alert[:1].upper()}{alert[1:]}.") for alert in alerts]
    not_run = [name for name, stage in stages.items() if stage["status"] != "done" and name != "report"]
    if not_run:
        found.append(Warned("note", "Stages that have not run", ", ".join(not_run)))
    return found


def _unbalanced(stages: dict[str, Any]) -> list[Warned]:
    rows = [*funnel(stages, "documents"), *funnel(stages, "images")]
    return [
        Warned(
            "danger",
            "The numbers do not add up",
            f"{row.stage}, {row.unit}: {row.seen:,} seen, but {row.kept:,} kept + {row.dropped:,} dropped + "
            f"{row.failed:,} failed",
        )
        for row in rows
        if not row.adds_up
    ]


def _unscored_safety(stages: dict[str, Any], recipe: dict[str, Any], surveys: list[ScoreSurvey]) -> list[Warned]:
    is_scored = any(survey.score == "nsfw" and survey.histogram.num_values for survey in surveys)
    if is_scored and "nsfw" not in stages["score"].get("not_run", []):
        return []
    asked = recipe["image"]["max_nsfw"] is not None
    if not asked:
        follows = "The recipe does not ask for it."
    elif recipe["unscored_for_safety"] == "keep":
        follows = "The recipe asks for it (image.max_nsfw) and keeps pictures that could not be judged."
    else:
        follows = "The recipe asks for it (image.max_nsfw) and drops every picture that could not be judged."
    return [
        Warned("danger", "NSFW not scored", f"No picture was checked for unsafe content: there was no model. {follows}")
    ]


def _not_run(stages: dict[str, Any], surveys: list[ScoreSurvey], recipe: dict[str, Any]) -> list[Warned]:
    asked = {rule.name: rule for rule, _ in active_rules(recipe)}
    partly, never = [], []
    met = {found.rule.name: found for survey in surveys for found in survey.rules}
    for name in sorted(stages["select"].get("not_run", {})):
        found = met.get(name)
        if found is None or not found.num_values:
            never.append(name)
        elif name in asked:
            total = found.num_values + found.num_missing
            partly.append(f"{name} ({percent(found.num_missing, total)} of {total:,})")
    warned = []
    if never:
        text = f"{', '.join(never)}: the recipe asks for them, but nothing computed their scores. They dropped nothing."
        if recipe["unscored_for_safety"] == "drop":
            text = f"{', '.join(never)}: the recipe asks for them, but nothing computed their scores."
        warned.append(Warned("warning", "Rules that could not run", text))
    if partly:
        why = "Where there is no score (no word list for the language, or a text too short), a rule drops nothing"
        warned.append(Warned("warning", "Rules that could not judge all", f"{why}: {', '.join(partly)}"))
    return warned


def _one_sided(surveys: list[ScoreSurvey], reasons: list[Reason], recipe: dict[str, Any]) -> list[Warned]:
    all_fail, none_fail = [], []
    for survey in surveys:
        for found in survey.rules:
            if found.num_values and not found.num_failed:
                none_fail.append(found.rule.name)
            elif found.num_values and not found.num_passed:
                all_fail.append(found.rule.name)
    decided = {reason.rule for reason in reasons if reason.stage == "select"}
    none_fail += sorted(_switched_on(recipe) - decided)
    warned = []
    if all_fail:
        text = f"{', '.join(all_fail)}: a threshold that nothing passes is mostly a threshold for another scale."
        warned.append(Warned("warning", "Rules that would drop all that they measure", text))
    if none_fail:
        text = f"{', '.join(none_fail)}: right for a clean corpus, or a threshold for another scale."
        warned.append(Warned("note", "Rules that found nothing to drop", text))
    return warned


def _switched_on(recipe: dict[str, Any]) -> set[str]:
    """Rules that are switched on and compare no score."""
    rules = UNSCORED_RULES.items()
    found = {f"{section}.{name}" for section, fields in rules for name in fields if recipe[section].get(name)}
    return found | {f"document.unique.{kind}" for kind in recipe["document"]["unique"]}


def _plugin_failures(reasons: list[Reason]) -> list[Warned]:
    failed = [reason for reason in reasons if reason.rule.startswith(ERROR)]
    if not failed:
        return []
    told = ", ".join(f"{each.rule.removeprefix(ERROR)} of {each.times:,} {each.unit}s" for each in failed)
    return [Warned("warning", "Scores of plug-ins that failed", f"{told}: null there, and no rule on them ran")]


def _failures(reasons: list[Reason]) -> list[Warned]:
    failed = [reason for reason in reasons if reason.action == "fail"]
    if not failed:
        return []
    text = "; ".join(f"{reason.stage}: {reason.times:,} {reason.unit}s, {reason.rule}" for reason in failed)
    return [Warned("warning", "What could not be read or scored", text)]
