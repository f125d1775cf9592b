"""What each process that torchrun starts does in test_train_parallel.py: the runs of a list, one after another.

torchrun --nproc-per-node 2 tests/train_ranks.py RUNS.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.batches import Batch
from gobelin.train.config import LMConfig, TrainConfig
from gobelin.train.parallel import joined
from gobelin.train.trainee import Trainee
from gobelin.train.trainer import train


def main(runs: list[dict[str, Any]]) -> None:
    with joined(torch.device("cpu")) as processes:
        for run in runs:
            settings = {**run["config"], "model": LMConfig(**run["config"]["model"])}
            rows: list[np.ndarray] = []
            Trainee.own_batches = _noting(Trainee.own_batches, rows)  # type: ignore[method-assign]
            calls = iter(range(1, 10_000))
            train(
                run["shards"], Vocabulary.load(run["shards"]), TrainConfig(**settings), run["output"], seed=0,
                stop=lambda calls=calls, last=run["last"]: next(calls) == last, processes=processes,
            )  # fmt: skip
            np.save(Path(run["output"]) / f"rows_{processes.rank}.npy", np.stack(rows[:4]))


def _noting(own_batches: Any, rows: list[np.ndarray]) -> Any:
    """Keeps the tokens of each step's batches."""

    def noting(trainee: Trainee, step_rows: Any) -> list[Batch]:
        batches = own_batches(trainee, step_rows)
        rows.append(torch.cat([batch.tokens_BT for batch in batches]).numpy())
        return batches

    return noting


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
