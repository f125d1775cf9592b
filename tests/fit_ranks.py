"""What each process that torchrun starts does in test_fit_processes.py: fits, one after another.

torchrun --nproc-per-node 2 tests/fit_ranks.py FITS.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gobelin.tokenize.config import FitSettings
from gobelin.tokenize.fit import fit_tokenizer
from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
from gobelin.tokenize.pictures import ArrayPictures
from gobelin.tokenize.processes import ALONE, Processes
from gobelin.tokenize.shapes import CONFIGS
from gobelin.train.parallel import joined


def main(fits: list[dict[str, Any]], processes: Processes = ALONE) -> None:
    torch.set_num_threads(1)
    for one in fits:
        shape = {key: tuple(value) if isinstance(value, list) else value for key, value in one["shape"].items()}
        config = CONFIGS[one["kind"]](**shape)
        random = np.random.default_rng(0)
        height, width = config.size
        slopes = random.uniform(-1, 1, (40, 2, 3))
        places = np.mgrid[:height, :width] / max(height, width) - 0.5
        images = np.clip(128 + 200 * np.einsum("ahw,nac->nhwc", places, slopes), 0, 255).astype(np.uint8)
        settings = FitSettings(**one["settings"])
        losses: list[float] = []
        found = fit_tokenizer(
            ArrayPictures(images, seed=1), config, seed=0, steps=one["steps"], settings=settings, processes=processes,
            on_step=_noting(losses),
        )  # fmt: skip
        assert found is not None
        if processes.rank == 0:
            folder = Path(one["output"])
            save_image_tokenizer(ImageTokenizer(found[0]), str(folder))
            (folder / "losses.json").write_text(json.dumps([losses, found[1].codes_used, found[1].perplexity]))


def _noting(losses: list[float]) -> Callable[[int, float], None]:
    return lambda _, loss: losses.append(loss)


if __name__ == "__main__":
    with joined(torch.device("cpu")) as together:
        main(json.loads(Path(sys.argv[1]).read_text()), together)
