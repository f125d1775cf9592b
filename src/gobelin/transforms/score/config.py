"""Settings of a recipe's section ``score``."""

from __future__ import annotations

import dataclasses
from typing import Any

from gobelin.errors import UserError
from gobelin.transforms.devices import check_device
from gobelin.transforms.duplicates.image_duplicates import NearImageConfig
from gobelin.transforms.duplicates.minhash import MinHashConfig
from gobelin.transforms.duplicates.semantic_duplicates import SemanticConfig
from gobelin.transforms.text.text_config import ContaminationConfig, TextScoreConfig
from gobelin.transforms.vision.faces import FaceConfig
from gobelin.transforms.vision.heads import check_name
from gobelin.transforms.vision.zero_shot import ZeroShotPrompts


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """The model that compares images and texts."""

    model: str
    """An architecture of open_clip (ViT-L-14-quickgelu), ``hf-hub:...``, or ``local-dir:FOLDER`` with open_clip's
    configuration and weights."""

    pretrained: str | None = None
    """open_clip's tag of the weights (openai, laion2b_s34b_b79k ...) or a file. Must be null with the other two forms
    of ``model``."""

    batch_size: int = 16
    """Images or texts per forward pass. 16 is best on cpu, about 256 on cuda. Results are equal for any value up to
    rounding; keep it fixed within a corpus."""

    device: str = "cpu"
    """Where the model runs: cpu, cuda, mps, or auto for the fastest available. Each worker process holds a model, so
    --workers must fit the GPU."""

    threads: int = 1
    """Threads per worker that decode images ahead of the model. Use 1 on cpu, because the workers share its cores; on
    cuda the number of cores per worker. Results are equal."""

    def __post_init__(self) -> None:
        brings_weights = self.model.startswith(("local-dir:", "hf-hub:"))
        if not brings_weights and not self.pretrained:
            raise UserError(
                f"CLIP model {self.model} names no weights, and random ones are never used: set pretrained to a tag of "
                "open_clip or a file, or model to local-dir:FOLDER"
            )
        if brings_weights and self.pretrained:
            raise UserError(f"CLIP model {self.model} brings its own weights: leave pretrained out")
        if self.batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {self.batch_size}")
        check_device(self.device)
        if self.threads < 1:
            raise UserError(f"threads must be at least 1, got {self.threads}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """What is measured. Thresholds belong to ``select``."""

    text: TextScoreConfig = dataclasses.field(default_factory=TextScoreConfig)
    """Word lists and models of texts."""

    contamination: ContaminationConfig | None = None
    """Evaluation sets that are searched in the corpus. Null: not run."""

    minhash: MinHashConfig = dataclasses.field(default_factory=MinHashConfig)
    """Near-duplicate texts. The default joins 97 % of pairs of Jaccard similarity 0.8 and none of 0.5. OBELICS: 16
    hashes over 5-grams."""

    near_images: NearImageConfig = dataclasses.field(default_factory=NearImageConfig)
    """Near-duplicate images."""

    earlier: tuple[str, ...] = ()
    """Output folders of earlier runs. Documents and images that their corpora contain are recognised by signatures and
    named in the scores. ``document.unique`` then keeps them out of this corpus."""

    clip: ClipConfig | None = None
    """Image-text similarity. Null: not run."""

    heads: dict[str, str] = dataclasses.field(default_factory=dict)
    """Networks on CLIP embeddings of images: name of the score -> .safetensors file (`gobelin heads convert` and
    `gobelin heads train` make them). Each belongs to one CLIP model, which must be that of ``clip``. The names nsfw,
    aesthetic and watermark have rules of their own; others are used by image.max_head and image.min_head."""

    zero_shot: dict[str, ZeroShotPrompts] = dataclasses.field(default_factory=dict)
    """Scores from prompts: name -> {positive: [texts], negative: [texts]}, the probability that an image fits the
    positive texts better. Names as in ``heads``."""

    faces: FaceConfig | None = None
    """Face detection, for image.max_faces and tokenize.blur_faces. Null: not run."""

    semantic: SemanticConfig | None = None
    """Images with similar meaning, by the embeddings of ``clip``. Null: not run."""

    plugins: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Scores of installed packages: name -> settings, {} for the defaults."""

    def __post_init__(self) -> None:
        if self.semantic is not None and self.clip is None:
            raise UserError("semantic compares image embeddings, which clip makes, but clip is null: set it too")
        for section in ("heads", "zero_shot"):
            for name in getattr(self, section):
                check_name(name)
            if getattr(self, section) and self.clip is None:
                raise UserError(f"{section} read image embeddings, which clip makes, but clip is null: set it too")
        for name in self.heads.keys() & self.zero_shot.keys():
            raise UserError(f"both heads and zero_shot have a {name}: leave one out")
