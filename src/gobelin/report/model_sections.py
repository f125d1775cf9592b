"""The report's sections on tokens and on training: numbers, charts and images."""

from __future__ import annotations

from typing import Any

from gobelin.report.charts import Line, interval_chart, line_chart, rank_chart
from gobelin.report.score_charts import histogram_chart
from gobelin.report.tokenizer_page import encoded_on
from gobelin.report.tokens import codebook_uses, count_tokens, reconstruct
from gobelin.report.training import curve
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.metrics import read_metrics


def token_section(
    output: str, recipe: dict[str, Any], stages: dict[str, Any], withheld: set[str]
) -> dict[str, Any] | None:
    """Tokens, codebook and reconstructions; None if ``tokenize`` has not run."""
    if stages["tokenize"]["status"] != "done":
        return None
    folder = join(output, "tokenize")
    vocabulary = Vocabulary.load(folder)
    counts = count_tokens(folder)
    return {
        "counts": counts,
        "uses": [
            {"use": use, "chart": rank_chart(use.counts.tolist(), "codes, most used first", "uses")}
            for use in codebook_uses(folder, vocabulary.codebooks)
        ],
        "pictures_as": " or ".join(
            f"{book.rows} × {book.columns} codes of a codebook of {book.num_codes:,}" for book in vocabulary.codebooks
        ),
        "text_size": vocabulary.text_size,
        "fits": stages["tokenize"].get("image_tokenizers") or {},
        "length_chart": histogram_chart(counts.lengths, [], "tokens per document", "documents"),
        "reconstructions": reconstruct(output, recipe, withheld),
        "encoded": [encoded_on(made) for made in stages["tokenize"].get("encoded") or []],
    }


def training_section(output: str, stages: dict[str, Any]) -> dict[str, Any] | None:
    """Curves, losses and the grounding gap; None if ``train`` has not run."""
    summary = stages["train"]
    if summary["status"] != "done":
        return None
    metrics = read_metrics(join(output, "train"))
    losses = summary.get("losses") or {}
    charts = []
    for title, name, unit, css in (
        ("Text", "text_bits_per_byte", "bits a byte of text", "a"),
        ("Pictures", "image_nats", "nats per image token", "b"),
    ):
        held_out = losses.get(f"validation_{name}")
        level = (held_out, f"held out, the model: {held_out:.3f}") if held_out is not None else None
        points = curve(metrics, name)
        if points:
            lines = [Line(f"{title}, training", points, css)]
            evaluations = curve(metrics, f"validation_{name}")
            if len(evaluations) > 1:
                lines.append(Line(f"{title}, held out", evaluations, "held-out"))
            chart = line_chart(lines, "step", unit, level)
            charts.append({"title": title, "unit": unit, "chart": chart, "last": points[-1][1], "held_out": held_out})
    return {"charts": charts, "grounding": _grounding(summary), "losses": losses, "summary": summary}


def _grounding(summary: dict[str, Any]) -> dict[str, Any] | None:
    grounding = summary.get("grounding")
    if not grounding:
        return None
    rows = [
        {"title": title, **grounding[name], "is_clear": grounding[name]["low"] > 0}
        for name, title in (("image", "a picture, given its caption"), ("text", "a caption, given its picture"))
    ]
    chart = interval_chart(
        [(row["title"], row["mean"], row["low"], row["high"]) for row in rows],
        "nats per token: loss with a wrong partner − its own",
    )
    return {"rows": rows, "num_pairs": grounding["num_pairs"], "chart": chart}
