"""Reads the log of a training run. Does not import torch."""

from __future__ import annotations

import json
from typing import Any

from gobelin.store.files import exists, read_bytes
from gobelin.store.paths import join

METRICS_NAME = "metrics.jsonl"
SPEED_NAME = "speed.jsonl"


def read_metrics(folder: str) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``, in order of their steps."""
    path = join(folder, METRICS_NAME)
    if not exists(path):
        return []
    lines = read_bytes(path).decode().splitlines()
    return sorted((json.loads(line) for line in lines if line), key=lambda line: line["step"])
