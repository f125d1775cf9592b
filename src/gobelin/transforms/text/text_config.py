"""Settings of text scores that need the user's files: lists, models, evaluation sets. Imports none of their
libraries."""

from __future__ import annotations

import dataclasses

from gobelin.errors import UserError

MIN_NGRAM = 5
MAX_NGRAM = 50


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TextScoreConfig:
    """The user's files by language (ISO 639-1 code: path). A kind that is not given uses the packaged list, or is not
    scored."""

    stop_words: dict[str, str] = dataclasses.field(default_factory=dict)
    """Function words, one per line. Replaces the packaged list of a language, or adds one for a language without."""

    spam_words: dict[str, str] = dataclasses.field(default_factory=dict)
    """Words and phrases of share bars and calls to action, one per line. Replaces the packaged list."""

    flagged_words: dict[str, str] = dataclasses.field(default_factory=dict)
    """Words and phrases that max_flagged_word_ratio counts, one per line. Only an English list is packaged."""

    common_words: dict[str, str] = dataclasses.field(default_factory=dict)
    """Words that are common in a language: JSON, or one per line with an optional count after a tab. OBELICS: words
    seen at least twice in ten million documents. No list is packaged; without one, min_common_word_ratio is not run."""

    min_common_count: int = 2
    """Minimum count of a common word in such a file. OBELICS: 2."""

    perplexity_models: dict[str, str] = dataclasses.field(default_factory=dict)
    """KenLM models, ARPA or binary. Needs `pip install kenlm`. Without a model, max_perplexity is not run. OBELICS and
    CCNet: 5-grams of Wikipedia."""

    perplexity_tokenizers: dict[str, str] = dataclasses.field(default_factory=dict)
    """SentencePiece models with which the KenLM models were trained. Needs `pip install sentencepiece`. Without one,
    the KenLM model gets words in lower case without punctuation."""

    quality_models: dict[str, str] = dataclasses.field(default_factory=dict)
    """fastText classifiers, .bin or .ftz. The key "*" is used for all other languages. DCLM's classifier is English."""

    quality_label: str = "__label__hq"
    """The label whose probability is the score. DCLM: __label__hq."""

    def __post_init__(self) -> None:
        if self.min_common_count < 1:
            raise UserError(f"min_common_count must be at least 1, got {self.min_common_count}")
        for field in dataclasses.fields(self):
            by_language = getattr(self, field.name)
            for language in by_language if isinstance(by_language, dict) else ():
                is_code = 2 <= len(language) <= 3 and language.isascii() and language.islower()
                if not is_code and (language, field.name) != ("*", "quality_models"):
                    raise UserError(f"{field.name}: {language!r} is not a language code; use one such as en, de, zh")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ContaminationConfig:
    """Evaluation sets that must not occur in the corpus."""

    texts: tuple[str, ...] = ()
    """Files of texts: .jsonl (each string in the object of a line is a text) or plain text (paragraphs separated by
    empty lines)."""

    images: tuple[str, ...] = ()
    """Image files, or folders that are searched recursively."""

    ngram: int = 13
    """Number of consecutive words that count as a hit. GPT-3: 13; datatrove: 12; PaLM: 8."""

    min_item_words: int = 8
    """Minimum number of words of a text that is shorter than ``ngram``. Such a text is searched as a whole."""

    def __post_init__(self) -> None:
        if not MIN_NGRAM <= self.ngram <= MAX_NGRAM:
            raise UserError(f"ngram must be in [{MIN_NGRAM}, {MAX_NGRAM}], got {self.ngram}")
        if not 1 <= self.min_item_words <= self.ngram:
            raise UserError(f"min_item_words must be in [1, ngram = {self.ngram}], got {self.min_item_words}")
