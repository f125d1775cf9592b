"""Thresholds for documents, each with its meaning and its source.

A threshold of null switches its rule off. A value equal to the threshold passes. ``rules.py`` names the score of each
threshold, and the table of scores (``gobelin/scores.py``) defines it.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from gobelin.data.model import PageKind


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DocumentRules:
    """Rules for a whole document. Numbers of words and images are those after the node rules; ratios are those of the
    whole extracted prose (without code)."""

    languages: tuple[str, ...] | None = None
    """Languages to keep, ISO 639-1. OBELICS and MMC4: en."""

    page_kinds: tuple[PageKind, ...] | None = None
    """Kinds of page to keep: article, list (of articles), thread, question, product, manual, other."""

    min_language_score: float | None = None
    """OBELICS: 0.8."""

    deny_consent: tuple[str, ...] | None = None
    """Refused uses, or single directives, that drop a page. Uses: ai-train, image-train, ai-input, tdm, search, index,
    image-index, by whichever signal they are refused. Directives: noai, noimageai, tdm-reservation=1, noindex ..."""

    consent_agents: tuple[str, ...] | None = None
    """Robots whose opt-outs count besides opt-outs for all robots, in lower case (gptbot, ccbot ...). Null: those of
    all robots."""

    min_images: int | None = None
    """OBELICS: 1."""

    max_images: int | None = None
    """OBELICS: 30."""

    min_words: int | None = None
    """OBELICS: 10."""

    max_words: int | None = None
    """OBELICS: 2000; its authors drop long articles in this way."""

    max_char_repetition_ratio: float | None = None
    """OBELICS: 0.1."""

    max_word_repetition_ratio: float | None = None
    """OBELICS: 0.2."""

    max_special_char_ratio: float | None = None
    """OBELICS: 0.275."""

    min_stop_word_ratio: float | None = None
    """OBELICS: 0.35."""

    max_flagged_word_ratio: float | None = None
    """OBELICS: 0.01."""

    min_punctuation_ratio: float | None = None
    """OBELICS: 0.03."""

    max_spam_word_ratio: float | None = None
    """OBELICS' paper: 0.12."""

    max_lorem_ipsum: int | None = None
    """C4 and OmniCorpus: 0."""

    min_common_word_ratio: float | None = None
    """OBELICS: 0.9."""

    max_perplexity: float | None = None
    """A KenLM model. OBELICS: 1500."""

    min_quality: float | None = None
    """Probability of a fastText classifier's label. DCLM: 0.018."""

    min_mean_word_length: float | None = None
    """Gopher: 3. Not run if words are letters."""

    max_mean_word_length: float | None = None
    """Gopher: 10."""

    max_symbol_word_ratio: float | None = None
    """Gopher: 0.1."""

    min_alphabetic_word_ratio: float | None = None
    """Gopher: 0.8."""

    min_stop_words: int | None = None
    """Number of distinct words among the eight or so most frequent of the language. Gopher: 2. Not run for languages
    without a list."""

    max_bullet_line_ratio: float | None = None
    """Gopher: 0.9."""

    max_ellipsis_line_ratio: float | None = None
    """Gopher: 0.3."""

    min_terminal_punctuation_ratio: float | None = None
    """FineWeb: 0.12."""

    max_short_line_ratio: float | None = None
    """Lines of at most 30 characters. FineWeb: 0.67."""

    max_line_break_ratio: float | None = None
    """FineWeb: 0.3."""

    min_sentences: int | None = None
    """Sentences of the whole prose. C4: 3 (as printed in JMLR: 5); MMC4's core: 4."""

    max_sentences: int | None = None
    """MMC4's core: 40."""

    max_curly_brackets: int | None = None
    """C4: 0; this drops each page with code in its text."""

    max_duplicate_line_ratio: float | None = None
    """Gopher: 0.3."""

    max_duplicate_line_char_ratio: float | None = None
    """Gopher: 0.2; FineWeb: 0.01."""

    max_duplicate_paragraph_ratio: float | None = None
    """Gopher: 0.3."""

    max_duplicate_paragraph_char_ratio: float | None = None
    """Gopher: 0.2."""

    max_top_2gram_char_ratio: float | None = None
    """Gopher: 0.2."""

    max_top_3gram_char_ratio: float | None = None
    """Gopher: 0.18."""

    max_top_4gram_char_ratio: float | None = None
    """Gopher: 0.16."""

    max_duplicate_5gram_char_ratio: float | None = None
    """Gopher: 0.15."""

    max_duplicate_6gram_char_ratio: float | None = None
    """Gopher: 0.14."""

    max_duplicate_7gram_char_ratio: float | None = None
    """Gopher: 0.13."""

    max_duplicate_8gram_char_ratio: float | None = None
    """Gopher: 0.12."""

    max_duplicate_9gram_char_ratio: float | None = None
    """Gopher: 0.11."""

    max_duplicate_10gram_char_ratio: float | None = None
    """Gopher: 0.10."""

    max_eval_ngrams: int | None = None
    """GPT-3 and datatrove: 0."""

    max_eval_word_ratio: float | None = None
    """Llama 2 calls a sample contaminated from 0.2, and dirty from 0.8."""

    min_assigned_ratio: float | None = None
    """Share of the remaining images whose cosine with their assigned text is at least ``assigned_similarity``. MMC4
    core: 0.75. Belongs to one model."""

    assigned_similarity: float = 0.25
    """See ``min_assigned_ratio``. MMC4 core: 0.25 with ViT-L/14."""

    unique: tuple[Literal["url", "exact", "near", "image_set"], ...] = ()
    """Kinds of duplicate of which one document stays: same URL, same text, near-duplicate text, same set of (remaining)
    images. The latest capture stays. OBELICS: url, near, image_set."""
