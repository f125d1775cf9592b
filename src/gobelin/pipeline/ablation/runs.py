"""One run of an ablation: trains a model on an arm's documents and measures it on all held-out sets."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from gobelin.pipeline.ablation.arms import Arm, choose
from gobelin.pipeline.ablation.corpora import Data
from gobelin.pipeline.run.worker import heed_stop, stop_requested
from gobelin.store.files import delete, exists, read_json, write_json
from gobelin.store.paths import join
from gobelin.train.config import TrainConfig
from gobelin.train.held_out import HeldOut
from gobelin.transforms.devices import torch_device
from gobelin.transforms.progress import reach

MAX_TOKENS = 100_000
"""Of a held-out set that the losses of a model are measured on, in whole rows, always the same ones: sites of long
chapters have more tokens than small models are trained on."""


@dataclasses.dataclass(frozen=True, slots=True)
class ArmRun:
    """A model for an arm and a seed."""

    data: Data
    folder: str  # of all runs under these settings
    arm: Arm
    seed: int
    config: TrainConfig

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.seed}"

    @property
    def result(self) -> str:
        """Address of the measurements. The file exists when the run is done."""
        return join(self.folder, f"{self.name}.json")

    @property
    def is_done(self) -> bool:
        return exists(self.result)

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.result)
        return found


def settings_of_runs(config: TrainConfig) -> TrainConfig:
    """The common training settings: the same number of steps, the last weights, and one thread on the CPU, so that
    results do not depend on how many models are trained at the same time."""
    return dataclasses.replace(config, epochs=None, patience=None, mixture={}, threads=1, tensorboard=False)


def train_and_measure(run: ArmRun) -> None:
    """Trains the model, or resumes its training; measures it; stores the numbers and deletes the model."""
    from gobelin.train.compute import autocast
    from gobelin.train.evaluate import grounding_gap, losses_of
    from gobelin.train.model import load_model
    from gobelin.train.pairs import Pair
    from gobelin.train.shards import documents_among
    from gobelin.train.trainer import train
    from gobelin.transforms.torch_threads import torch_threads

    heed_stop()
    begun = time.process_time()
    data, config, vocabulary = run.data, run.config, run.data.vocabulary
    raw, curated = data.trainable()
    chosen = choose(run.arm, raw, curated, run.seed)
    of_arm = set(chosen.doc_ids)
    left_out = tuple(sorted(doc_id for doc_id in data.sizes(chosen.corpus) if doc_id not in of_arm))
    split, folder = HeldOut("file", (), (), left_out), join(run.folder, run.name)
    trained = train(
        data.shards(chosen.corpus), vocabulary, config, folder, seed=run.seed, held_out=split,
        on_step=lambda step, _: reach("steps", step), stop=stop_requested,
    )  # fmt: skip
    if not trained.finished:
        raise SystemExit(1)
    device = torch_device(config.device)
    model, found = load_model(folder, device), {}
    with torch_threads(config.threads):
        for name, target in data.targets().items():
            documents = documents_among(data.shards(target["corpus"]), vocabulary, target["doc_ids"])
            losses = losses_of(
                model, documents, row_tokens=config.row_tokens, batch_rows=config.batch_rows,
                precision=config.precision, max_rows=max(1, MAX_TOKENS // config.row_tokens),
            )  # fmt: skip
            pairs = [Pair(tuple(each["caption"]), tuple(each["codes"]), each["codebook"]) for each in target["pairs"]]
            gaps: dict[str, float | None] = {"image_gap": None, "text_gap": None}
            if len({pair.caption for pair in pairs}) > 1:
                with autocast(device, config.precision):
                    gap = grounding_gap(model, pairs, seed=0)
                gaps = {"image_gap": gap.image.mean, "text_gap": gap.text.mean}
            found[name] = {**{each: losses[each] for each in ("text_bits_per_byte", "image_nats")}, **gaps}
    write_json(
        run.result,
        {
            "arm": run.arm,
            "seed": run.seed,
            "documents": len(chosen.doc_ids),
            **dataclasses.asdict(chosen.size),
            "skipped_batches": trained.num_skipped,
            "training": {name: trained.metrics.get(name) for name in ("text_bits_per_byte", "image_nats")},
            "held_out": found,
            "cpu_seconds": round(time.process_time() - begun, 1),
        },
    )
    delete(folder)
