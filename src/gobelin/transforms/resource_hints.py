"""What a step asks of the machine that it runs on. Dataflow heeds it; the local runner passes over it."""

from __future__ import annotations

import os

import apache_beam as beam

MODEL_RAM = "16GB"
"""For a worker with a model and batches of pictures; Dataflow's own choice has 4 GB per core."""

ACCELERATOR_VARIABLE = "GOBELIN_ACCELERATOR"
ACCELERATOR = "type:nvidia-l4;count:1;install-nvidia-driver"
"""The GPU that a step with a model asks for; the environment variable names another one."""


def with_model(step: beam.PTransform, device: str) -> beam.PTransform:
    """A step that runs a model: with memory for it, and with a GPU where the recipe's device is ``cuda``."""
    if not device.startswith("cuda"):
        return step.with_resource_hints(min_ram=MODEL_RAM)
    accelerator = os.environ.get(ACCELERATOR_VARIABLE) or ACCELERATOR
    return step.with_resource_hints(min_ram=MODEL_RAM, accelerator=accelerator)
