"""Measures the cost of moving a threshold in ``gobelin browse``: judges made-up scores again and again.

.venv/bin/python bench/browse.py --documents 1000000 --nodes 12
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pyarrow as pa

from gobelin.pipeline.recipe.recipe import change, load_recipe
from gobelin.transforms.selection.columns.columns import Columns
from gobelin.transforms.selection.columns.judge_columns import ColumnJudge, rules_by_name
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.rules import all_rules, threshold_of

SHARE_OF_IMAGES = 0.25
MOVES = {
    "image.min_side_px": ("100", "160", "220"),
    "text.max_site_count": ("2", "3", "4"),
    "document.min_words": ("20", "40", "80"),
    "document.max_spam_word_ratio": ("0.5", "0.3", "0.2"),
}


def made_up(recipe: SelectConfig, num: int, nodes: int, seed: int = 0) -> Columns:
    """Documents of ``nodes`` nodes each; each rule alone drops one in fifty; one in four has a near-duplicate."""
    draw = np.random.default_rng(seed)
    total = num * nodes
    is_image = draw.random(total) < SHARE_OF_IMAGES
    document = np.repeat(np.arange(num, dtype=np.int32), nodes)
    texts, images = np.flatnonzero(~is_image).astype(np.int32), np.flatnonzero(is_image).astype(np.int32)
    num_texts, num_images = len(texts), len(images)

    def ends(places: np.ndarray) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(np.bincount(document[places], minlength=num))]).astype(np.int64)

    ids = pa.array([f"{number:032x}" for number in range(num)], pa.large_string())
    words = draw.integers(1, 80, num_texts).astype(np.int32)
    is_heading = draw.random(total) < 0.15
    lengths = {"document": num, "text": num_texts, "image": num_images}
    sides = {name: draw.integers(50, 1500, num_images).astype(np.float32) for name in
             ("min_side", "max_side", "min_rendered", "max_rendered")}  # fmt: skip
    sides["aspect_ratio"] = draw.uniform(0.4, 2.5, num_images).astype(np.float32)
    scores = {}
    for rule in all_rules(recipe):
        limit = threshold_of(rule, recipe)
        if rule.score and rule.score not in sides and limit is not None:
            beyond = np.abs(draw.standard_normal(lengths[rule.subject], dtype=np.float32))
            fails = draw.random(len(beyond), dtype=np.float32) < 0.02
            scores[rule.subject, rule.score] = float(limit) + np.where(fails == rule.keeps_above, -beyond, beyond)
    scores["text", "num_words"] = words.astype(np.float32)
    scores["text", "site_count"] = draw.geometric(0.6, num_texts).astype(np.float32)
    scores["image", "clip_assigned_score"] = draw.random(num_images, dtype=np.float32)
    groups = {kind: draw.integers(0, 5 * num, num).astype(np.int32) for kind in ("url", "exact", "near")}
    groups["near"] = draw.integers(0, 3 * num, num).astype(np.int32)
    return Columns(
        ids=ids, urls=ids, titles=ids, languages=ids, fixed=np.zeros(num, np.int8), earlier=np.zeros(num, np.int8),
        groups=groups, rank=draw.permutation(num).astype(np.int32), has_clip=np.ones(num, bool),
        text_ends=ends(texts), image_ends=ends(images), of_document=document,
        levels=np.where(is_heading & ~is_image, draw.integers(1, 4, total), 0).astype(np.int8),
        text_nodes=texts, roles=np.where(is_heading[texts], 1, 2).astype(np.int8), words=words,
        text_pii=np.zeros(num_texts, np.int8), image_nodes=images, image_fixed=np.zeros(num_images, np.int8),
        image_pii=np.zeros(num_images, np.int8), images=draw.integers(0, num_images, num_images).astype(np.int32),
        image_ids=pa.nulls(num_images, pa.large_string()), sides=sides,
        near=draw.integers(0, num_images, num_images).astype(np.int32),
        read=lambda where, name: pa.nulls(total if where == "nodes" else num, pa.float64()), scores=scores,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=12)
    arguments = parser.parse_args()
    recipe = change(
        load_recipe("obelics"),
        ("select.text={max_spam_word_ratio: 0.45, max_site_count: 3}", "select.document.min_stop_word_ratio=0.05",
         "select.document.min_common_word_ratio=null", "select.text.min_common_word_ratio=null"),
    )  # fmt: skip
    judge = ColumnJudge(made_up(recipe.select, arguments.documents, arguments.nodes))
    rules = rules_by_name(all_rules(recipe.select))
    num_rules = sum(threshold_of(rule, recipe.select) is not None for rule in rules.values())
    print(f"{arguments.documents:,} documents of {arguments.nodes} nodes, {num_rules} rules")
    for name, values in MOVES.items():
        for value in values:
            config = change(recipe, (f"select.{name}={value}",)).select
            begin, cpu = time.perf_counter(), time.process_time()
            judged = judge.judge(config, rules[name])
            seconds = time.perf_counter() - begin
            print(f"{name}={value:<6} {seconds:6.2f} s, {time.process_time() - cpu:5.2f} CPU-s, kept {judged.totals()}")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")


if __name__ == "__main__":
    main()
