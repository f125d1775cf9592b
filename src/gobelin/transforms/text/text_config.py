"""Settings of text scores that need files of the user's: lists, models, evaluation sets. Imports none of their
libraries."""

from __future__ import annotations

import dataclasses

from gobelin.errors import UserError

MIN_NGRAM = 5
MAX_NGRAM = 50


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TextScoreConfig:
    """Files of the user's by language (ISO 639-1 code: path); what is not given is not scored, or as packaged."""

    stop_words: dict[str, str] = dataclasses.field(default_factory=dict)
    """Function words, one a line, instead of the packaged list of a language, or for one that has none."""

    spam_words: dict[str, str] = dataclasses.field(default_factory=dict)
    """Words and phrases of share bars and calls to action, one a line, instead of the packaged list."""

    flagged_words: dict[str, str] = dataclasses.field(default_factory=dict)
    """Words and phrases to be counted for max_flagged_word_ratio, one a line. Packaged: English only."""

    common_words: dict[str, str] = dataclasses.field(default_factory=dict)
    """Words that are common in a language, one a line, a count may follow a tab; or JSON. OBELICS: those seen at least
    twice in ten million documents. None is packaged: without it min_common_word_ratio is not run."""

    min_common_count: int = 2
    """Count from which a word of such a file is common. OBELICS: 2."""

    perplexity_models: dict[str, str] = dataclasses.field(default_factory=dict)
    """KenLM models, ARPA or binary. Needs `pip install kenlm`. Without one max_perplexity is not run. OBELICS and
    CCNet: 5-grams of Wikipedia."""

    perplexity_tokenizers: dict[str, str] = dataclasses.field(default_factory=dict)
    """SentencePiece models under which the KenLM models were trained. Needs `pip install sentencepiece`. Without one a
    model is asked for words, lower case and without punctuation."""

    quality_models: dict[str, str] = dataclasses.field(default_factory=dict)
    """fastText classifiers, .bin or .ftz; the key "*" stands for all other languages. DCLM's is English."""

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
    """Evaluation sets that should not be found in the corpus."""

    texts: tuple[str, ...] = ()
    """Files of texts: .jsonl (every string of each line's object is a text) or plain text (paragraphs between empty
    lines)."""

    images: tuple[str, ...] = ()
    """Image files, or folders of them (all below)."""

    ngram: int = 13
    """Words in a row that are a hit. GPT-3: 13; datatrove: 12; PaLM: 8."""

    min_item_words: int = 8
    """Texts shorter than ``ngram`` are looked for as a whole, unless they have fewer words than this."""

    def __post_init__(self) -> None:
        if not MIN_NGRAM <= self.ngram <= MAX_NGRAM:
            raise UserError(f"ngram must be in [{MIN_NGRAM}, {MAX_NGRAM}], got {self.ngram}")
        if not 1 <= self.min_item_words <= self.ngram:
            raise UserError(f"min_item_words must be in [1, ngram = {self.ngram}], got {self.min_item_words}")
