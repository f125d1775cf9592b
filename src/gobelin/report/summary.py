"""The numbers of the page as JSON values for programs, without images and prose."""

from __future__ import annotations

import dataclasses
from typing import Any

from gobelin.report.survey import ScoreSurvey
from gobelin.transforms.finite import finite_or_null


def as_json(context: dict[str, Any]) -> dict[str, Any]:
    """The page's context as JSON values."""
    return finite_or_null(
        {
            "recipe": context["run"]["recipe"]["name"],
            "warnings": [dataclasses.asdict(warned) for warned in context["warnings"]],
            "funnel": {unit: [dataclasses.asdict(row) for row in rows] for unit, rows in context["funnels"].items()},
            "reasons": [_reason(row) for table in context["reasons"] for row in table["rows"]],
            "scores": [_score(entry["survey"]) for entries in context["scores"].values() for entry in entries],
            "examples": {
                "kept_documents": [view.doc_id for view in context["kept"]],
                "dropped_documents": [view.doc_id for view in context["dropped"]],
                "dropped_images": [decision["image_id"] for decision in context["dropped_images"]],
            },
            "duplicates": {
                "images": [dataclasses.asdict(group) for group in context["groups"]["images"]],
                "documents": [
                    {"kind": entry["title"], **dataclasses.asdict(entry["group"])}
                    for entry in context["groups"]["documents"]
                ],
            },
            "properties": {
                table.title: [dataclasses.asdict(share) for share in table.shares] for table in context["properties"]
            },
            "audit": [
                {"rule": each.rule, "right": each.num_right, "wrong": each.num_wrong, "interval": each.interval}
                for each in context["audit"]
            ],
            "openings": [dataclasses.asdict(opening) for opening in context["openings"]],
            "tokens": _tokens(context["tokens"]),
            "training": _training(context["training"]),
            "ablation": None if context["ablation"] is None else context["ablation"]["found"],
        }
    )


def _reason(row: dict[str, Any]) -> dict[str, Any]:
    reason = row["reason"]
    names = ("stage", "unit", "action", "rule", "times", "threshold")
    return {name: getattr(reason, name) for name in names}


def _score(survey: ScoreSurvey) -> dict[str, Any]:
    thresholds = [found.threshold for found in survey.rules]
    return {
        "section": survey.section,
        "score": survey.score,
        "num_missing": survey.histogram.num_missing,
        "rules": [
            {
                "rule": found.rule.name,
                "threshold": found.threshold,
                "passed": found.num_passed,
                "failed": found.num_failed,
            }
            for found in survey.rules
        ],
        "bars": [dataclasses.asdict(bar) for bar in survey.histogram.bars(thresholds)],
    }


def _tokens(section: dict[str, Any] | None) -> dict[str, Any] | None:
    if section is None:
        return None
    counts, uses = section["counts"], [each["use"] for each in section["uses"]]
    return {
        "documents": counts.num_documents,
        "tokens": {"text": counts.num_text, "image": counts.num_image, "special": counts.num_special},
        "pictures": counts.num_images,
        "tokens_a_document": [dataclasses.asdict(bar) for bar in counts.lengths.bars([])],
        "codebooks": {
            use.name: {
                "size": len(use.counts),
                "used": use.num_used,
                "perplexity": use.perplexity,
                "pictures": dict(use.images),
            }
            for use in uses
        },
        "psnr_db": {made.image_id: made.psnr_db for made in section["reconstructions"] or []},
    }


def _training(section: dict[str, Any] | None) -> dict[str, Any] | None:
    if section is None:
        return None
    summary = section["summary"]
    told = {name: summary.get(name) or [] for name in ("alerts", "notes")}
    return {"losses": section["losses"], "grounding": summary.get("grounding"), **told}
