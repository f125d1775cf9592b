"""The report's section on an ablation: models of equal cost on raw, curated, random and dropped documents."""

from __future__ import annotations

from typing import Any

from gobelin.report.charts import interval_chart
from gobelin.store.files import exists, read_json
from gobelin.store.paths import join

FOLDER = "ablation"
"""In an output folder."""

RESULTS = "ablation.json"

ARM_MEANINGS = {
    "raw": "all documents that reached select, none of its rules applied",
    "curated": "the corpus that select kept",
    "random": "a random part of raw with the tokens of curated, another one for each seed",
    "dropped": "the documents that select dropped, as they came",
}

HELD_OUT_MEANINGS = {
    "raw": "documents of held-out sites, none of the rules applied: chosen without the filter, though like the arm raw",
    "curated": "those of them that the recipe keeps, as it leaves them: like the arm curated, so in its favour",
    "independent": "documents of another folder, which neither the filter nor the crawl chose",
}

METRIC_TITLES = {
    "text_bits_per_byte": ("Text", "bits a byte"),
    "image_nats": ("Pictures", "nats a code"),
    "image_gap": ("Grounding gap of pictures", "nats a code"),
    "text_gap": ("Grounding gap of captions", "nats per token"),
}

NUM_USUAL_SEEDS = 5


def ablation_section(output: str) -> dict[str, Any] | None:
    """The ablation of an output folder, for the page; None if there is none."""
    address = join(output, FOLDER, RESULTS)
    if not exists(address):
        return None
    found: dict[str, Any] = read_json(address)
    groups: dict[str, list[dict[str, Any]]] = {name: [] for name in found["held_out"]}
    for result in found["results"]:
        title, unit = METRIC_TITLES[result["metric"]]
        groups[result["held_out"]].append({**result, "title": title, "unit": unit, "chart": _chart(result, unit)})
    num_intervals = sum(len(result["differences"]) for result in found["results"])
    return {
        "found": found,
        "groups": groups,
        "arms": ARM_MEANINGS,
        "held_out": HELD_OUT_MEANINGS,
        "num_intervals": num_intervals,
        "num_by_chance": num_intervals / 20,
        "is_few": len(found["seeds"]) < NUM_USUAL_SEEDS,
    }


def _chart(result: dict[str, Any], unit: str) -> Any:
    rows = [
        (f"{each['arm']} − {each['against']}", each["mean"], each["low"], each["high"])
        for each in result["differences"]
    ]
    return interval_chart(rows, f"{unit}; {'less' if result['is_loss'] else 'more'} is better")
