"""Lists, models and indexes for the scores of texts, loaded once per process."""

from __future__ import annotations

import dataclasses
from typing import Any

from gobelin.transforms.text.contamination import EvalTexts, find_contamination, load_eval_texts
from gobelin.transforms.text.listed_words import Listed, WordLists, read_list, word_lists
from gobelin.transforms.text.text_config import ContaminationConfig, TextScoreConfig
from gobelin.transforms.text.text_models import TextModels, load_text_models


@dataclasses.dataclass(frozen=True, slots=True)
class TextResources:
    """The result of ``load_text_resources``."""

    own_lists: dict[str, dict[str, Listed]]  # the user's lists, by language and kind
    models: TextModels
    eval_texts: EvalTexts | None

    def lists(self, language: str | None) -> WordLists:
        """The word lists of a language: the packaged ones, or the user's in their place."""
        packaged = word_lists(language)
        own = self.own_lists.get(language or "")
        return dataclasses.replace(packaged, **own) if own else packaged

    def contamination(self, texts: list[str]) -> tuple[dict[str, Any], list[int | None]]:
        """Returns (contamination columns of a document, ``num_eval_ngrams`` of each of its texts)."""
        if self.eval_texts is None:
            return {}, [None] * len(texts)
        found = find_contamination(texts, self.eval_texts)
        columns = {
            "num_eval_ngrams": found.num_eval_ngrams,
            "eval_word_ratio": found.eval_word_ratio,
            "eval_source": found.eval_source,
        }
        return columns, list(found.by_text)


def load_text_resources(text: TextScoreConfig, contamination: ContaminationConfig | None = None) -> TextResources:
    """Loads the files that a recipe names.

    Raises:
        UserError: a file or a library is missing, or a file is not of the expected kind.
    """
    own: dict[str, dict[str, Listed]] = {}
    for kind, paths in (
        ("stop", text.stop_words), ("spam", text.spam_words), ("flagged", text.flagged_words),
        ("common", text.common_words),
    ):  # fmt: skip
        for language, path in paths.items():
            own.setdefault(language, {})[kind] = read_list(path, language, text.min_common_count)
    has_texts = contamination is not None and contamination.texts
    return TextResources(
        own, load_text_models(text), load_eval_texts(contamination) if contamination and has_texts else None
    )


def resource_files(text: TextScoreConfig, contamination: ContaminationConfig | None = None) -> list[str]:
    """Sorted paths of all files that ``load_text_resources`` reads. The key of a stage depends on them."""
    by_language = (
        text.stop_words, text.spam_words, text.flagged_words, text.common_words, text.perplexity_models,
        text.perplexity_tokenizers, text.quality_models,
    )  # fmt: skip
    paths = {path for paths in by_language for path in paths.values()}
    return sorted(paths | set(contamination.texts if contamination else ()))
