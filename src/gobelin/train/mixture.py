"""Other corpora that training mixes in."""

from __future__ import annotations

from collections.abc import Mapping

from gobelin.errors import UserError
from gobelin.store.files import exists
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.batches import Portion
from gobelin.train.held_out import FILE_NAME, HeldOut
from gobelin.train.shards import Documents, read_corpus, vocabulary_of


def shards_in(address: str) -> str:
    """The token shards of an output folder; or the address, which is a folder of shards itself."""
    return join(address, "tokenize", "shards") if exists(join(address, "run.json")) else address.rstrip("/")


def read_mixture(
    mixture: Mapping[str, float], vocabulary: Vocabulary, split: float | HeldOut, kept_in: str
) -> list[Portion]:
    """The documents to mix in, of each address of ``train.mixture``, with their share of all tokens.

    What the run holds out, and what the other run held out, is not among them.

    Args:
        split: of the run's own corpus, as for ``read_corpus``.
        kept_in: folder that keeps the indexes.

    Raises:
        UserError: no token shards there, or of other tokenizers; the message names the fingerprints of both.
    """
    portions: list[Portion] = []
    for address, share in sorted(mixture.items()):
        shards = shards_in(address)
        theirs = vocabulary_of(shards)
        if theirs != vocabulary:
            raise UserError(
                f"train.mixture: {address} was tokenized with other tokenizers than this run "
                f"({vocabulary.difference(theirs)}): give both runs the same tokenize.text_tokenizer and "
                "tokenize.image_tokenizer"
            )
        kept, held_out = join(kept_in, f"mixture_{len(portions)}"), join(address, "train", FILE_NAME)
        documents = read_corpus(shards, vocabulary, split, kept_in=kept).training
        if exists(held_out):
            theirs_too = read_corpus(shards, vocabulary, HeldOut.load(held_out), kept_in=kept).training
            documents = Documents(documents.index, documents.chosen & theirs_too.chosen, vocabulary)
        if not documents.num_tokens:
            raise UserError(f"train.mixture: {address} holds nothing to train on")
        portions.append(Portion(documents, share))
    return portions
