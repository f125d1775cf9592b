"""The stages after ``tokenize``: a model is trained, samples are drawn from it, and the run is reported."""

from __future__ import annotations

import dataclasses
from typing import Any

from gobelin.errors import UserError
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.worker import Task
from gobelin.pipeline.stages import fits
from gobelin.store.paths import join
from gobelin.train.held_out import HeldOut


def train(context: Context) -> dict[str, Any]:
    """Token shards -> a model."""
    folder, recipe = context.folder("train"), context.recipe
    if recipe.train.held_out is not None:
        HeldOut.load(recipe.train.held_out)  # what is wrong with it is said before a worker starts
    outlook = fits.training_outlook(context.output, recipe)
    context.supervisor.say(f"train: {outlook.sentence()}")
    warning = outlook.warning()
    if warning is not None:
        context.supervisor.say(f"warning: train: {warning}")
    task = Task("train", fits.train_model, (context.output, recipe), alone=True)
    context.supervisor.run("train", [task], "steps", outlook.steps, threads=recipe.train.threads)
    summary = fits.read_summary(folder.path)
    alerts = [*([] if warning is None else [warning]), *summary["alerts"]]
    return {**summary, "outlook": dataclasses.asdict(outlook), "alerts": alerts}


def sample(context: Context) -> dict[str, Any]:
    """A model -> pictures and texts, and a page of them."""
    folder, recipe = context.folder("sample"), context.recipe
    if recipe.sample.rank and recipe.score.clip is None:
        raise UserError("sample.rank needs a CLIP model: give score.clip, or say sample.rank=false")
    task = Task("sample", fits.sample_model, (context.output, recipe), alone=True)
    context.supervisor.run("sample", [task], "pictures", threads=recipe.train.threads)
    return fits.read_summary(folder.path)


def report(context: Context) -> dict[str, Any]:
    """What happened, as one page."""
    from gobelin.report.page import write_report

    write_report(context.output, join(context.output, "report"))
    return {"path": "report/index.html"}
