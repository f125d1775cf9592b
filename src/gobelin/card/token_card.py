"""The data card of exported token files or of an exported model: ``README.md``.

It describes the meaning of ids, how to load the files, and the documents behind the tokens: their licences, opt-outs,
filters and limits, as in the card of the corpus (``card.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import yaml

from gobelin.card.card import FILE_NAME, provenance, table_of
from gobelin.card.escape import code, one_line
from gobelin.card.facts import Facts
from gobelin.card.front_matter import languages_of
from gobelin.report.wording import count
from gobelin.store.files import write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import Vocabulary

_MEGATRON = """\
import numpy as np

index = np.memmap("train.idx", np.uint8, "r")  # in Megatron-LM: IndexedDataset("train")
lengths = index[34 : 34 + 4 * int(index[18:26].view(np.uint64)[0])].view(np.int32)
tokens = np.memmap("train.bin", np.{dtype}, "r")
document = tokens[: lengths[0]]"""

_NANOGPT = """\
import numpy as np

tokens = np.memmap("train.bin", np.{dtype}, "r")  # as nanoGPT's train.py does
document = tokens[: 1 + int(np.argmax(tokens == {end}))]"""

_WORDS = """
import json
from tokenizers import Tokenizer

with open("vocabulary.json") as file:
    vocabulary = json.load(file)
first, last = vocabulary["text_offset"], vocabulary["image_offset"]
words = [int(token) - first for token in document if first <= token < last]
print(Tokenizer.from_file("text_tokenizer.json").decode(words))"""

_TRANSFORMERS = """\
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(".")  # its ids are those of vocabulary.json"""


@dataclasses.dataclass(frozen=True, slots=True)
class TokenFacts:
    """Facts about such a folder."""

    corpus: Facts  # of the documents behind the tokens
    summary: dict[str, Any]  # export.json
    vocabulary: Vocabulary


def write_token_card(folder: str, facts: TokenFacts) -> None:
    """Writes the card into the folder."""
    write_bytes(join(folder, FILE_NAME), token_card(facts).encode())


def token_card(facts: TokenFacts) -> str:
    """The text of ``README.md``."""
    is_model = facts.summary["format"] == "transformers"
    what = "model of texts and images" if is_model else "tokens of documents of the web with their images"
    parts = [
        f"# {code(facts.corpus.name)}: {what}",
        *(_model(facts) if is_model else _files(facts)),
        "## What the ids mean",
        *_ids(facts.vocabulary),
        "## How to load it",
        "Run in this folder:",
        f"```python\n{_snippet(facts)}\n```",
        *provenance(facts.corpus),
    ]
    return _head(facts, is_model) + "\n" + "\n\n".join(parts) + "\n"


def _head(facts: TokenFacts, is_model: bool) -> str:
    head: dict[str, Any] = {
        "pretty_name": one_line(facts.corpus.title),
        "language": languages_of(facts.corpus.tally),
        "license": "other",
        "license_name": "as-stated-by-each-page",
        **({"library_name": "transformers", "pipeline_tag": "text-generation"} if is_model else {}),
        "tags": ["interleaved", "image-text", "web", "tokens", "gobelin"],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=120)}---\n"


def _files(facts: TokenFacts) -> Iterator[str]:
    summary = facts.summary
    documents = sum(summary[part]["documents"] for part in _PARTS)
    yield (
        f"{count(sum(summary[part]['tokens'] for part in _PARTS), 'token')} of {count(documents, 'document')}, a token "
        f"{summary['dtype']}, little-endian."
    )
    yield table_of(
        ("files", "documents", "tokens", "what"),
        [
            (f"`{part}.*`", f"{summary[part]['documents']:,}", f"{summary[part]['tokens']:,}", what)
            for part, what in _PARTS.items()
        ],
    )
    if summary["left_out"]:
        yield (
            f"{count(summary['left_out'], 'document')} in neither, because of near-duplicates on the other side of the "
            "split."
        )


_PARTS = {"train": "to train on", "val": "held out from training: whole sites, where the corpus has several"}


def _model(facts: TokenFacts) -> Iterator[str]:
    summary = facts.summary
    yield (
        f"A {summary['architecture']} in the layout of transformers, trained by gobelin on rows of "
        f"{count(summary['longest'], 'token')}. It knows what its documents say, and checks nothing."
    )


def _ids(vocabulary: Vocabulary) -> Iterator[str]:
    rows = [(str(token), code(name)) for token, name in enumerate(vocabulary.special_tokens)]
    rows.append((
        _range(vocabulary.text_offset, vocabulary.image_offset),
        f"text: ids of `text_tokenizer.json` (SHA-256 `{vocabulary.text_fingerprint[:12]}`) + {vocabulary.text_offset}",
    ))  # fmt: skip
    for number, (name, book) in enumerate(zip(vocabulary.codebook_names, vocabulary.codebooks)):
        ids = vocabulary.image_range(number)
        what = "places of latents, which are not here" if book.latent_channels else "codes"
        rows.append((
            _range(ids.start, ids.stop),
            f"images of {book.rows} x {book.columns}: {what} of the image tokenizer {code(name)} ({book.kind}, "
            f"fingerprint `{book.fingerprint[:12]}`) + {ids.start}",
        ))  # fmt: skip
    yield table_of(("ids", "what"), rows)
    yield (
        "A document is `<|document|>`, its texts and images in reading order, `<|end_of_document|>`. A text follows "
        "the token that names its kind. The codes of an image stand row by row between the token that begins it and "
        "`<|end_of_image|>`. `vocabulary.json` says the same for programs. `image_tokenizer/` turns codes into "
        "pictures (`gobelin.tokenize.image_tokenizer`)."
    )


def _range(start: int, stop: int) -> str:
    return f"{start} to {stop - 1}"


def _snippet(facts: TokenFacts) -> str:
    if facts.summary["format"] == "transformers":
        return _TRANSFORMERS
    known = {"dtype": facts.summary["dtype"], "end": facts.vocabulary.special_tokens.index("<|end_of_document|>")}
    loading = _MEGATRON if facts.summary["format"] == "megatron" else _NANOGPT
    return loading.format_map(known) + "\n" + _WORDS
