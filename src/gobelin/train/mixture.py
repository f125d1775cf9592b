"""Other corpora in the training mixture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from gobelin.errors import UserError
from gobelin.store.files import exists
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.batches import Portion
from gobelin.train.held_out import FILE_NAME, HeldOut
from gobelin.train.near_held_out import near_held_out
from gobelin.train.shards import (
    Split,
    TokenCorpus,
    TokenIndex,
    corpus_of,
    read_index,
    split_of,
    vocabulary_of,
)

VALIDATION = "validation_"
"""Before the names of losses on held-out documents."""


def shards_in(address: str) -> str:
    """The token shards of an output folder; or the address itself, if it is a folder of shards."""
    return join(address, "tokenize", "shards") if exists(join(address, "run.json")) else address.rstrip("/")


def prefix_of(number: int) -> str:
    """The prefix of the names of losses on another corpus's held-out documents, by its index in the sorted
    addresses."""
    return f"{VALIDATION}mixture_{number}_"


@dataclasses.dataclass(frozen=True, slots=True)
class Mixture:
    """The run's own corpus, and the other corpora of the mixture."""

    own: TokenCorpus
    others: list[tuple[float, TokenCorpus]]
    """The share of all tokens, in (0, 1), and the corpus, in the order of their addresses."""
    num_near: int = 0
    """Documents that are not trained on because their text is a near-duplicate of a held-out one."""

    @property
    def identity(self) -> list[list[str | float]]:
        """Fingerprints of the training documents of each corpus, and their shares. Empty without other corpora."""
        own_share = 1 - sum(share for share, _ in self.others)
        corpora = [(own_share, self.own), *self.others] if self.others else []
        return [[corpus.training.fingerprint, share] for share, corpus in corpora]

    @property
    def portions(self) -> list[Portion]:
        """The portions for the loader."""
        return [Portion(corpus.training, share) for share, corpus in self.others]


def read_mixture(
    shards: str, mixture: Mapping[str, float], vocabulary: Vocabulary, held_out: float | HeldOut, ratio: float,
    kept_in: str,
) -> Mixture:  # fmt: skip
    """Reads the run's own corpus and those of ``train.mixture``. No corpus trains on a document or site that any of
    them holds out. With other corpora, near-duplicates of held-out documents are removed, too. (Within the run's own
    corpus, ``score`` has found them.)

    Another corpus holds out what its own run held out, if that run trained. Otherwise it holds out the share ``ratio``,
    as whole sites if its shards name them.

    Args:
        held_out: of the run's own corpus, as for ``read_corpus``.
        kept_in: folder for the indexes.

    Raises:
        UserError: an address has no token shards, its tokenizers differ (the message has both fingerprints), or there
            is nothing to train on.
    """
    own_index = read_index(shards, vocabulary, kept_in)
    own_split = split_of(own_index, held_out)
    found: list[tuple[str, float, TokenIndex, Split]] = []
    for address, share in sorted(mixture.items()):
        theirs = vocabulary_of(shards_in(address))
        if theirs != vocabulary:
            raise UserError(
                f"train.mixture: {address} was tokenized with other tokenizers than this run "
                f"({vocabulary.difference(theirs)}): give both runs the same tokenize.text_tokenizer and "
                "tokenize.image_tokenizer"
            )
        index = read_index(shards_in(address), vocabulary, join(kept_in, f"mixture_{len(found)}"))
        file = join(address, "train", FILE_NAME)
        split = split_of(index, HeldOut.load(file) if exists(file) else ratio, by_site=True)
        found.append((address, share, index, split))
    sources = [(own_index, own_split, shards)]
    sources += [(index, split, f"train.mixture: {address}") for address, _, index, split in found]
    splits = [split for _, split, _ in sources]

    def corpora() -> list[TokenCorpus]:
        return [corpus_of(index, split, splits, vocabulary, name) for index, split, name in sources]

    own, *others = corpora()
    num_near = 0
    if others:
        near = near_held_out(
            [each.training for each in (own, *others)], [each.validation for each in (own, *others)], kept_in
        )
        num_before = sum(len(each.training) for each in (own, *others))
        splits.append(Split(near[:0], near, near[:0]))
        own, *others = corpora()
        num_near = num_before - sum(len(each.training) for each in (own, *others))
    return Mixture(own, [(share, corpus) for (_, share, *_), corpus in zip(found, others, strict=True)], num_near)
