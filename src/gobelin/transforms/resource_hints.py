"""Resource hints: the memory and GPU that a step needs. Dataflow follows them, and the local runner ignores them."""

from __future__ import annotations

import os

import apache_beam as beam

MODEL_RAM = "16GB"
"""Memory of a worker with a model and batches of pictures. By default, Dataflow has 4 GB per core."""

ACCELERATOR_VARIABLE = "GOBELIN_ACCELERATOR"
ACCELERATOR = "type:nvidia-l4;count:1;install-nvidia-driver"
"""The GPU that a step with a model requests. The environment variable ``ACCELERATOR_VARIABLE`` replaces it."""


def with_model(step: beam.PTransform, device: str) -> beam.PTransform:
    """Gives a step memory for its model, and a GPU if the recipe's device is ``cuda``."""
    if not device.startswith("cuda"):
        return step.with_resource_hints(min_ram=MODEL_RAM)
    accelerator = os.environ.get(ACCELERATOR_VARIABLE) or ACCELERATOR
    return step.with_resource_hints(min_ram=MODEL_RAM, accelerator=accelerator)
