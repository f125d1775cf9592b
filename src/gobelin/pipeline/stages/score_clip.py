"""The part of the stage ``score`` that loads the CLIP model and embeds the prompts, in a worker process of its own.

torch is imported inside the functions, because the command line and the text stages start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gobelin.pipeline.run.state import read_json
from gobelin.pipeline.run.supervisor import Supervisor
from gobelin.pipeline.run.worker import Task
from gobelin.store.files import exists, write_json
from gobelin.store.paths import join, parent_of
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.vision.heads import check_heads, load_head, save_head
from gobelin.transforms.vision.zero_shot import zero_shot_head

if TYPE_CHECKING:
    pass


_CLIP_NAME = "clip.json"


def prepare_clip(supervisor: Supervisor, config: ScoreConfig, work: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Loads the CLIP model once, in a process that then ends, and embeds the zero-shot prompts.

    Returns:
        The model's fingerprint, and (name of the score, path) of each head, including those made from prompts.

    Raises:
        StepFailedError: the model cannot be loaded.
        UserError: a head cannot be read, or belongs to another model.
    """
    for head_path in config.heads.values():
        load_head(head_path)  # what is wrong with it comes before a model is loaded
    assert config.clip is not None
    path = join(work, _CLIP_NAME)
    if not knows_clip(work):
        title = "score: load CLIP" + (" (may download it)" if config.clip.pretrained else "")
        supervisor.run(title, [Task("load-clip", _write_fingerprint, (config, path), alone=True)])
    fingerprint = (read_json(path) or {})["fingerprint"]
    check_heads({name: load_head(head_path) for name, head_path in config.heads.items()}, fingerprint)
    heads = {**config.heads, **{name: _prompts_path(work, name) for name in config.zero_shot}}
    return fingerprint, tuple(sorted(heads.items()))


def knows_clip(work: str) -> bool:
    """Whether ``prepare_clip`` has written its results to ``work``."""
    return exists(join(work, _CLIP_NAME))


def _prompts_path(work: str, name: str) -> str:
    return join(work, "zero_shot", f"{name}.safetensors")


def _write_fingerprint(config: ScoreConfig, path: str) -> None:
    from gobelin.transforms.vision.embed import load_model

    assert config.clip is not None
    model = load_model(config.clip)
    for name, prompts in config.zero_shot.items():
        positive, negative = model.embed_texts(prompts.positive), model.embed_texts(prompts.negative)
        head = zero_shot_head(name, prompts, positive, negative, model.logit_scale, model.fingerprint)
        save_head(head, _prompts_path(parent_of(path), name))
    write_json(path, {"fingerprint": model.fingerprint})
