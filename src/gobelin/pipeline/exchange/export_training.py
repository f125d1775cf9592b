"""What leaves a run for other trainers: token shards as their flat files, or the model in a layout of transformers."""

from __future__ import annotations

from typing import Any

from gobelin.exchange.token_files import documents_of, write_megatron, write_nanogpt
from gobelin.pipeline.exchange.export import check_done
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.pipeline.run.run import RECIPE_NAME
from gobelin.pipeline.run.state import OutputError
from gobelin.pipeline.stages.held_out import hold_out
from gobelin.store.files import exists, list_files, make_folder, write_json
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import Vocabulary


def export_training(output: str, name: str, target: str) -> dict[str, Any]:
    """Writes the token shards of a run (``megatron``, ``nanogpt``) or its model (``transformers``) into a folder, with
    ``vocabulary.json``. Returns what ``export.json`` says.

    What is held out from training is not in Megatron's ``train`` and nanoGPT's ``train.bin``, but in ``val``.

    Raises:
        OutputError: the stage has not run, or the target holds something.
        UserError: the model has no such layout.
    """
    run = check_done(output, "train" if name == "transformers" else "tokenize")
    if exists(target) or list_files(target):
        raise OutputError(f"--to {target}: is not an empty folder: choose another one")
    make_folder(target)
    vocabulary = Vocabulary.load(join(output, "tokenize"))
    vocabulary.save(target)
    if name == "transformers":
        from gobelin.train.model import load_model
        from gobelin.train.transformers_layout import save_as_transformers

        longest = run["recipe"]["train"]["row_tokens"]
        save_as_transformers(load_model(join(output, "train")), target, longest)
        found: dict[str, Any] = {"architecture": "Qwen3ForCausalLM", "longest": longest}
    else:
        shards = join(output, "tokenize", "shards")
        held_out = set(hold_out(output, load_recipe(join(output, RECIPE_NAME)).train).documents)
        if name == "nanogpt":
            found = write_nanogpt(documents_of(shards), held_out.__contains__, target, vocabulary.size)
        else:
            found = {
                part: write_megatron(
                    (tokens for doc_id, tokens in documents_of(shards) if (doc_id in held_out) == (part == "val")),
                    target, part, vocabulary.size,
                )
                for part in ("train", "val")
            }  # fmt: skip
    summary = {"format": name, "vocabulary_size": vocabulary.size, **found}
    write_json(join(target, "export.json"), summary)
    return summary
