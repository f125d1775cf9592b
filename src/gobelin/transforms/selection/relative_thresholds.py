"""Converts thresholds that are ranks among a corpus' scores to numbers: ``{top_fraction: 0.3}`` -> 0.2134.

    top_fraction f    the k-th highest of n values, k = f n rounded up; k values pass, or more if several equal it
    quantile q        the same as top_fraction 1 - q

All image nodes with the score are ranked, before any rule. An image that is shown a hundred times counts a hundred
times. The numbers depend only on the values, not on the order or partition of files. They are exact: one column is read
into memory, 4 bytes per image node.

Absolute thresholds on CLIP scores belong to a model. ``check_clip_model`` compares the recipe's model with that of the
scores.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gobelin.errors import UserError
from gobelin.store.files import open_input
from gobelin.store.paths import join
from gobelin.store.tables import list_shards
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.node_thresholds import RelativeThreshold
from gobelin.transforms.selection.rules import IMAGE_RULES
from gobelin.transforms.vision.heads import is_model


def resolve_thresholds(config: SelectConfig, scores: str) -> tuple[SelectConfig, dict[str, float]]:
    """Returns (the configuration with only numbers, the resolved thresholds by name of their rule).

    Args:
        scores: the folder ``score/documents`` of the run.

    Raises:
        UserError: no image of this run, or of a reference run, has the score of a relative threshold.
    """
    found: dict[str, float] = {}
    changes: dict[str, Any] = {}
    for rule in IMAGE_RULES:
        threshold = getattr(config.image, rule.threshold)
        if isinstance(threshold, RelativeThreshold) and rule.score is not None:
            folder = scores if threshold.of is None else join(threshold.of, "score", "documents")
            values = image_values(folder, rule.score)
            if not len(values):
                raise UserError(
                    f"select.{rule.name} is a rank among the scores of {folder}, which has none: does the recipe's "
                    "section score contain the model for them?"
                )
            changes[rule.threshold] = found[rule.name] = place_among(values, threshold)
    return dataclasses.replace(config, image=dataclasses.replace(config.image, **changes)), found


def place_among(values: npt.NDArray[np.float32], threshold: RelativeThreshold) -> float:
    """The number of a relative threshold among these values (at least one). The module's docstring defines it."""
    num = len(values)
    share = 1 - threshold.quantile if threshold.quantile is not None else threshold.top_fraction
    assert share is not None
    rank = num - max(1, math.ceil(share * num - 1e-9))  # 0.3 of 10 is 3, although 0.3 is slightly more in binary
    return float(np.partition(values, rank)[rank])


def image_values(scores: str, column: str) -> npt.NDArray[np.float32]:
    """The values of a score of all image nodes that have it, in arbitrary order."""
    parts = [np.empty(0, np.float32)]
    for path in list_shards(scores):
        with open_input(path) as stream:
            file = pq.ParquetFile(stream)
            for group in range(file.num_row_groups):
                nodes = file.read_row_group(group, columns=[f"nodes.list.element.{column}"])["nodes"]
                values = pc.struct_field(pc.list_flatten(nodes), column).drop_null()
                parts.append(values.to_numpy().astype(np.float32))
    return np.concatenate(parts)


def check_clip_model(config: SelectConfig, fingerprint: str | None) -> None:
    """Raises ``UserError`` if CLIP thresholds were chosen for another model than that of the scores."""
    stated = config.image.clip_model
    if stated is not None and fingerprint is not None and not is_model(fingerprint, stated):
        raise UserError(
            f"the recipe's CLIP thresholds hold for {stated} (select.image.clip_model), but the scores are from "
            f"{fingerprint}: choose thresholds for it, or ranks among its scores ({{top_fraction: 0.3}}), and set "
            "select.image.clip_model to it"
        )
