"""The report of a run: one self-contained HTML page, and its numbers as JSON.

Everything from the web may be hostile. Jinja2 escapes all of it. A content security policy forbids scripts and remote
resources. Links use only http and https. Images are decoded and encoded again. The page has no script.

Memory does not depend on the size of the corpus: data sets are read by row group and column, images one at a time, and
examples are chosen by hash. The same output folder gives the same page, byte for byte. A small corpus takes about 10
seconds, mostly for thumbnails and imports.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.compute as pc
import yaml

from gobelin.data.rows import DecisionRow
from gobelin.report import wording
from gobelin.report.ablation import FOLDER, ablation_section
from gobelin.report.corpus_tables import (
    DuplicateGroup,
    document_groups,
    earlier_duplicates,
    image_groups,
    property_tables,
)
from gobelin.report.documents import choose_documents, read_nodes, safe_href, view_documents
from gobelin.report.marks import error_rates, read_marks
from gobelin.report.model_sections import token_section, training_section
from gobelin.report.near_threshold import Sides, near_thresholds
from gobelin.report.openings import openings
from gobelin.report.overview import funnel, warnings_of
from gobelin.report.pictures import make_thumbnails
from gobelin.report.reasons import FILE_ANSWER, Decisions, Reason, read_decisions, spread
from gobelin.report.score_charts import Mark, histogram_chart, kept_chart
from gobelin.report.summary import as_json
from gobelin.report.survey import ScoreSurvey, survey_scores, with_thresholds
from gobelin.report.training import read_samples
from gobelin.store.files import read_json, write_bytes
from gobelin.store.paths import join
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.selection.rules import HEAD, RULES, plugin_rule

NUM_KEPT = 12
NUM_DROPPED = 12
NUM_DROPPED_IMAGES = 24
NUM_OF_A_REASON = 3
"""Examples shown."""

UNIT_NOUNS = {"document": "documents", "text": "texts", "image": "pictures in documents"}

_SCORES = {rule.name: rule.score for rule in RULES}


def write_report(output: str, folder: str) -> str:
    """Writes ``index.html`` and ``report.json`` into the folder. Returns the address of the page.

    Args:
        output: a run's output folder; the page says which stages have not run.
        folder: created if necessary.
    """
    context = _collect(output)
    page = _environment().get_template("page.html.j2").render(context)
    numbers = json.dumps(as_json(context), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(join(folder, "report.json"), numbers.encode())
    address = join(folder, "index.html")
    write_bytes(address, page.encode())
    return address


def write_ablation_page(output: str) -> str:
    """Writes the page of an ablation beside its results. Returns its address."""
    context = {"ablation": ablation_section(output), "version": importlib.metadata.version("gobelin")}
    page = _environment().get_template("ablation_page.html.j2").render(context)
    address = join(output, FOLDER, "index.html")
    write_bytes(address, page.encode())
    return address


def _score_of(rule: str) -> str | None:
    """The score that a rule compares, by the rule's name. Includes rules on the user's heads and of plug-in
    packages."""
    section, _, plugin = rule.partition(".")
    if section == "plugins":
        return plugin_rule(plugin).score
    side, _, name = rule.removeprefix("image.").partition(".")
    return f"{HEAD}{name}" if side in ("max_head", "min_head") else _SCORES.get(rule)


def _collect(output: str) -> dict[str, Any]:
    """The context of the page, by name."""
    run = read_json(join(output, "run.json"))
    stages = run["stages"]
    recipe = with_thresholds(run["recipe"]["select"], stages["select"].get("thresholds", {}))
    run["recipe"]["select"] = recipe
    done = {name for name, stage in stages.items() if stage["status"] == "done"}
    withheld = _withheld_images(output, recipe["image"]["max_nsfw"])
    surveys = survey_scores(output, recipe, done)
    decisions = read_decisions(output, done)
    near = near_thresholds(output, surveys, withheld)
    kept_ids = choose_documents(join(output, "select", "documents"), NUM_KEPT) if "select" in done else []
    dropped = spread(decisions.documents, NUM_DROPPED, set(), "doc_id")
    dropped_images = spread(decisions.images, NUM_DROPPED_IMAGES, withheld, "image_id")
    reasons = _reason_tables(decisions, recipe, withheld)
    views = view_documents(output, [*kept_ids, *(each["doc_id"] for each in dropped if each["doc_id"])], withheld, done)
    groups = _groups(output) if "score" in done else {"images": [], "documents": []}
    members = {(member, -1) for group in groups["documents"] for member in group["group"].members}
    shown = {
        *(node.image_id for view in views.values() for node in view.nodes if node.image_id and node.is_shown),
        *(decision["image_id"] for decision in dropped_images),
        *(
            row["image_id"]
            for table in reasons
            for each in table["rows"]
            for row in each["pictures"]
            if row["image_id"]
        ),
        *(item.image_id for sides in near.values() for side in sides for item in side if item.image_id),
        *(member for group in groups["images"] for member in group.members if member not in withheld),
    }
    thumbnails = make_thumbnails(output, shown)
    return {
        "run": run,
        "stages": stages,
        "is_done": {name: name in done for name in stages},
        "num_bytes": sum(archive["bytes"] for archive in run["input"]),
        "warnings": warnings_of(run, surveys, decisions.reasons),
        "funnels": {
            "documents": funnel(stages, "documents", decisions.num_file_answers),
            "images": funnel(stages, "images"),
        },
        "reasons": reasons,
        "scores": _score_sections(surveys, decisions, near),
        "kept": [views[doc_id] for doc_id in kept_ids],
        "dropped": [views[decision["doc_id"]] for decision in dropped if decision["doc_id"] in views],
        "dropped_images": dropped_images,
        "groups": groups,
        "earlier": [
            {"found": found, "meaning": wording.EARLIER_KINDS[found.kind]}
            for found in (earlier_duplicates(output, "select" in done) if "score" in done else [])
        ],
        "group_titles": read_nodes(output, members),
        "withheld": withheld,
        "properties": property_tables(output, "select" in done),
        "thumbnails": thumbnails,
        "openings": openings(output, run["recipe"], stages, thumbnails.values()),
        "tokens": token_section(output, run["recipe"], stages, withheld),
        "training": training_section(output, stages),
        "ablation": ablation_section(output),
        "audit": error_rates(read_marks(output), str(stages["select"].get("key", ""))),
        "samples": read_samples(join(output, "sample")) if stages["sample"]["status"] == "done" else None,
        "recipe_text": yaml.safe_dump(run["recipe"], sort_keys=False, allow_unicode=True),
    }


def _withheld_images(output: str, max_nsfw: float | None) -> set[str]:
    """Images that are never shown, because the recipe's safety rule classifies them as unsafe."""
    if max_nsfw is None:
        return set()
    found: set[str] = set()
    for path in list_shards(join(output, "score", "images"), may_be_unfinished=True):
        for table in read_tables(path, ["image_id", "nsfw"]):
            found.update(table.filter(pc.greater(table["nsfw"], max_nsfw))["image_id"].to_pylist())
    return found


def _groups(output: str) -> dict[str, Any]:
    kinds = {
        "near_group": "nearly the same text",
        "exact_group": "the same text",
        "url_group": "the same address",
    }
    documents: list[dict[str, Any]] = []
    told: set[tuple[str, ...]] = set()  # a group of one kind is often one of another kind too
    for column, title in kinds.items():
        found: list[DuplicateGroup] = document_groups(output, column)
        for group in found[:3]:
            if tuple(group.members) not in told:
                told.add(tuple(group.members))
                documents.append({"title": title, "group": group})
    return {"images": image_groups(output), "documents": documents}


def _reason_tables(decisions: Decisions, recipe: dict[str, Any], withheld: set[str]) -> list[dict[str, Any]]:
    """Reasons by stage and unit, with a description of the rule and its threshold, and example images."""
    tables: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for reason in decisions.reasons:
        row = {
            "reason": reason,
            "meaning": wording.rule_meaning(reason.rule, _score_of(reason.rule)),
            "limit": _limit(reason, recipe),
            "pictures": _pictures_of(reason, decisions, withheld),
            "num_files": decisions.num_file_answers if (reason.unit, reason.rule) == ("document", FILE_ANSWER) else 0,
        }
        tables.setdefault((reason.stage, reason.unit), []).append(row)
    return [
        {"stage": stage, "unit": unit, "rows": rows, "total": sum(row["reason"].times for row in rows)}
        for (stage, unit), rows in tables.items()
    ]


def _pictures_of(reason: Reason, decisions: Decisions, withheld: set[str]) -> list[DecisionRow]:
    """Decisions on images that are examples of a reason: those of its rule that hold a value."""
    if reason.unit != "image" and not (reason.unit == "node" and reason.example["image_id"]):
        return []
    places = [choice.decision for choice in decisions.images.get(reason.rule, [])]
    found = [row for row in places if row["stage"] == reason.stage] or [reason.example]
    return [row for row in found if row["image_id"] not in withheld][:NUM_OF_A_REASON]


def _limit(reason: Reason, recipe: dict[str, Any]) -> str:
    """The threshold in words: a comparison, or the list in the recipe."""
    section, _, name = reason.rule.partition(".")
    given = recipe.get(section, {}).get(name) if section in UNIT_NOUNS else None
    if isinstance(given, list):
        return ", ".join(given)
    if reason.action == "replace" or isinstance(given, bool) or (given is None and reason.threshold is None):
        return ""
    threshold = reason.threshold if given is None else given
    if reason.rule == "http_status":
        return wording.number(threshold)
    value = reason.example["value"]
    is_below = given is None and value is not None and reason.threshold is not None and value < reason.threshold
    is_least = name.startswith("min_") or is_below
    return f"at {'least' if is_least else 'most'} {wording.number(threshold)}"


def _score_sections(
    surveys: list[ScoreSurvey], decisions: Decisions, near: dict[str, Sides]
) -> dict[str, list[dict[str, Any]]]:
    """A chart and its numbers for each score, by section."""
    dropped = {
        reason.rule: reason.times
        for reason in decisions.reasons
        if reason.stage == "select" and reason.unit in ("document", "node") and reason.action == "drop"
    }
    sections: dict[str, list[dict[str, Any]]] = {section: [] for section in UNIT_NOUNS}
    for survey in surveys:
        title, unit = wording.score_title(survey.score)
        marks = [
            Mark(
                found.threshold,
                wording.number(found.threshold),
                found.rule.keeps_above,
                found.num_passed / found.num_values if found.num_values else None,
            )
            for found in survey.rules
        ]
        sections[survey.section].append(
            {
                "title": title,
                "unit": unit,
                "survey": survey,
                "is_quiet": not any(found.num_failed for found in survey.rules),
                "chart": histogram_chart(survey.histogram, marks, unit, UNIT_NOUNS[survey.section]),
                "curve": kept_chart(survey.histogram, marks, unit),
                "rules": [
                    {"found": found, "dropped": dropped.get(found.rule.name, 0), "near": near.get(found.rule.name)}
                    for found in survey.rules
                ],
            }
        )
    return sections


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": wording.number,
        "number_beside": wording.number_beside,
        "breakable": wording.breakable,
        "duration": wording.duration,
        "file_size": wording.file_size,
        "href": safe_href,
    }
    environment.globals |= {
        "percent": wording.percent,
        "count": wording.count,
        "meaning": lambda rule: wording.rule_meaning(rule, _score_of(rule)),
        "stage_titles": wording.STAGE_TITLES,
        "nouns": UNIT_NOUNS,
    }
    return environment
