"""The numbers of a run as a short table, for a terminal."""

from __future__ import annotations

from typing import Any

from gobelin.pipeline.ask.rule_effects import effect_lines
from gobelin.pipeline.run.state import RUN_NAME, read_json
from gobelin.store.paths import join


def _ending(training: dict[str, Any]) -> str:
    """The number of training steps, why training ended, and the step of the final weights."""
    why = {"epochs": " (train.epochs)", "patience": " early, without a lower held-out loss (train.patience)"}
    model = training["model_step"]
    which = "the last one" if model == training["steps"] else f"step {model:,}, where the held-out loss was lowest"
    return f"{training['steps']:,} steps, ended{why.get(training['ended_by'], '')}; the model is that of {which}"


def _why_nothing(stages: dict[str, Any], recipe: dict[str, Any]) -> list[str]:
    """Lines that say why a run kept no document, and what to do. Empty if it kept some."""
    counts = stages.get("select", {}).get("documents")
    if not isinstance(counts, dict) or counts.get("kept") or "seen" not in counts:
        return []
    extracted = stages.get("extract", {})
    if not counts["seen"]:
        pages = extracted.get("documents", {}).get("seen", 0)
        if not pages:
            records = extracted.get("records", {}).get("seen", 0)
            return ["", f"nothing was kept: the input holds no page, in {records:,} records"]
        return ["", f"nothing was kept: no document came out of {pages:,} pages; `extract documents` above says why"]
    rule, times = max({**counts["dropped"], **counts["failed_by"]}.items(), key=lambda item: item[1])
    lines = ["", f"nothing was kept: {times:,} of {counts['seen']:,} documents went by {rule}"]
    if rule == "document.min_images":
        fetches = extracted.get("fetches") or {}
        if not extracted.get("images", {}).get("seen") and not recipe["extract"]["fetch"]["enabled"]:
            lines.append(
                "  the input holds pages and no images: fetch them, with --recipe common-crawl or --set "
                "extract.fetch.enabled=true (docs/common-crawl.md)"
            )
        elif fetches and not fetches.get("ok"):
            lines.append("  no image could be fetched: `pictures fetched` above says why (docs/fetching.md)")
        elif extracted.get("images", {}).get("kept"):
            lines.append("  there are images, and rules left them out: see `select images` and `gobelin explain`")
    return lines


def _fetched(extracted: dict[str, Any]) -> list[str]:
    """How many pictures could be fetched, and why the others could not."""
    fetches = dict(extracted.get("fetches") or {})
    if not fetches:
        return []
    num_all, num_fetched = sum(fetches.values()), fetches.pop("ok", 0)
    http_errors = extracted.get("http_errors", {})
    if http_errors:
        fetches.pop("http_error", None)
    others = {**fetches, **{f"HTTP {status}": times for status, times in http_errors.items()}}
    why = ", ".join(f"{status}: {times:,}" for status, times in sorted(others.items(), key=lambda item: -item[1]))
    return ["", f"pictures fetched: {num_fetched:,} of {num_all:,}{f' ({why})' if why else ''}"]


def summary_lines(output: str) -> list[str]:
    """The numbers of a run as a short table, for a terminal."""
    run: dict[str, Any] = read_json(join(output, RUN_NAME)) or {"stages": {}}
    stages: dict[str, Any] = run["stages"]
    lines, reasons = _table(stages)
    lines += ["", "most frequent reasons", *reasons] if reasons else []
    lines += _fetched(stages.get("extract", {}))
    if stages:
        lines += _why_nothing(stages, run["recipe"])
    lines += _what_failed(stages)
    effects = stages.get("select", {}).get("rules")
    if effects:
        lines += effect_lines(effects)
    tokens = stages.get("tokenize", {}).get("tokens")
    if tokens:
        lines.append(
            f"tokens: {tokens['all']:,}, of which {tokens['image']:,} image tokens; vocabulary {tokens['vocabulary']:,}"
        )
    return lines + _training(stages.get("train", {}))


def _table(stages: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The table, and the most frequent reasons for dropped documents and images."""
    lines = [f"{'stage':<10}{'unit':<11}{'seen':>9}{'kept':>9}{'dropped':>9}{'failed':>8}{'seconds':>9}"]
    reasons = []
    for name, stage in stages.items():
        seconds = f"{stage['seconds']:.1f}" if "seconds" in stage else stage["status"]
        for unit in ("documents", "images"):
            counts = stage.get(unit)
            if not isinstance(counts, dict) or "seen" not in counts:
                continue
            dropped = sum(counts["dropped"].values())
            lines.append(
                f"{name:<10}{unit:<11}{counts['seen']:>9,}{counts['kept']:>9,}{dropped:>9,}{counts['failed']:>8,}"
                f"{seconds:>9}"
            )
            seconds = ""
            top = sorted({**counts["dropped"], **counts["failed_by"]}.items(), key=lambda item: -item[1])
            reasons += [f"  {name} {unit}: {times:,} {rule}" for rule, times in top[:8]]
        if "documents" not in stage or "seen" not in stage.get("documents", {}):
            lines.append(f"{name:<10}{'':<46}{seconds:>9}")
    return lines, reasons


def _what_failed(stages: dict[str, Any]) -> list[str]:
    """Lines about records that could not be read or scored."""
    lines = []
    unreadable = stages.get("extract", {}).get("records", {}).get("unreadable", 0)
    if unreadable:
        lines.append(
            f"  extract: {unreadable:,} {'place' if unreadable == 1 else 'places'} in the input could not be read; see "
            "`gobelin export --decisions --stage extract`"
        )
    not_run = stages.get("select", {}).get("not_run", {})
    if not_run:
        lines += ["", "rules that could not run (no score): " + ", ".join(sorted(not_run))]
    errors = stages.get("score", {}).get("plugin_errors", {})
    if any(errors.values()):
        failed = ", ".join(f"{name} {times:,}" for name, times in errors.items() if times)
        lines += ["", f"scores of plug-ins that failed: {failed}"]
    return lines


def _training(training: dict[str, Any]) -> list[str]:
    lines = []
    if training.get("losses"):
        shown = {name: value for name, value in training["losses"].items() if value is not None}
        lines.append("losses: " + ", ".join(f"{name} {value:.3f}" for name, value in shown.items()))
    if training.get("ended_by"):
        lines.append(f"train: {_ending(training)}")
    lines += [f"warning: train: {alert}" for alert in training.get("alerts", ())]
    lines += [f"train: {note}" for note in training.get("notes", ())]
    for direction in ("image", "text") if training.get("grounding") else ():
        gap = training["grounding"][direction]
        lines.append(
            f"grounding gap ({direction} given its partner against another): {gap['mean']:.3f} "
            f"[{gap['low']:.3f}, {gap['high']:.3f}] nats per token, {training['grounding']['num_pairs']} pairs"
        )
    return lines
