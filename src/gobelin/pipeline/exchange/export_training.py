"""Export for other trainers: token shards in their flat files, or the model in a layout of transformers."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

from gobelin.card.token_card import TokenFacts, write_token_card
from gobelin.exchange.token_files import documents_of, write_megatron, write_nanogpt
from gobelin.pipeline.exchange.cards import facts_of_run
from gobelin.pipeline.exchange.export import check_done
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.pipeline.run.state import RECIPE_NAME, OutputError
from gobelin.pipeline.stages.tokenize_fit import IMAGE_TOKENIZER
from gobelin.pipeline.stages.train_held_out import hold_out
from gobelin.store import files
from gobelin.store.files import exists, list_files, make_folder, write_json
from gobelin.store.paths import join
from gobelin.tokenize.text_tokenizer import FILE_NAME as TEXT_TOKENIZER
from gobelin.tokenize.vocabulary import Vocabulary


def export_training(output: str, name: str, target: str) -> dict[str, Any]:
    """Writes the token shards of a run (``megatron``, ``nanogpt``) or its model (``transformers``) into a folder, with
    ``vocabulary.json``, both tokenizers and a data card. Returns the content of ``export.json``.

    Held-out documents are in ``val``, and training documents in ``train``. Documents in neither part of the split
    (``HeldOut.left_out``) are left out.

    Raises:
        OutputError: the stage has not run, or the target is not empty.
        UserError: the model has no such layout.
    """
    run = check_done(output, "train" if name == "transformers" else "tokenize")
    if exists(target) or list_files(target):
        raise OutputError(f"--to {target}: is not an empty folder: choose another one")
    make_folder(target)
    vocabulary = Vocabulary.load(join(output, "tokenize"))
    if name == "transformers":
        from gobelin.train.model import load_model
        from gobelin.train.transformers_layout import save_as_transformers

        longest = run["recipe"]["train"]["row_tokens"]
        save_as_transformers(load_model(join(output, "train")), target, longest)
        found: dict[str, Any] = {"architecture": "Qwen3ForCausalLM", "longest": longest}
    else:
        shards = join(output, "tokenize", "shards")
        split = hold_out(output, load_recipe(join(output, RECIPE_NAME)).train)
        left_out, held_out = set(split.left_out), set(split.documents)
        documents = (each for each in documents_of(shards) if each[0] not in left_out)
        if name == "nanogpt":
            found = write_nanogpt(documents, held_out.__contains__, target, vocabulary.size)
        else:
            found = write_megatron(documents, held_out.__contains__, target, vocabulary.size)
        vocabulary.save(target)
        found["left_out"] = len(left_out)
    _copy_tokenizers(join(output, "tokenize"), target)
    summary = {"format": name, "vocabulary_size": vocabulary.size, **found}
    write_card(output, target, run, summary, vocabulary)
    write_json(join(target, "export.json"), summary)
    return summary


def write_card(output: str, target: str, run: dict[str, Any], summary: dict[str, Any], vocabulary: Vocabulary) -> None:
    """Writes the data card of such a folder."""
    shows_faces = not run["recipe"]["tokenize"]["blur_faces"]
    corpus = dataclasses.replace(facts_of_run(output, run), format=summary["format"], with_images=shows_faces)
    write_token_card(target, TokenFacts(corpus, summary, vocabulary))


def _copy_tokenizers(source: str, target: str) -> None:
    for name, _ in list_files(source):
        if name == TEXT_TOKENIZER or name.startswith(f"{IMAGE_TOKENIZER}/"):
            with files.open_input(join(source, name)) as given, files.output(join(target, name)) as copy:
                shutil.copyfileobj(given, copy)
