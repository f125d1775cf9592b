"""The rules of selection: which score is held against which threshold, and what follows.

A recipe sets thresholds; a threshold of null switches its rule off. Each rule below compares one number of the scores
with one threshold, and a value on the threshold itself passes, as in OBELICS. A rule whose score is null was *not
run* there: it drops nothing and is counted as not run, except safety rules, which drop what they could not judge
(unless the recipe says ``unscored_for_safety: keep``).

Definitions and the values of the presets: OBELICS (arXiv 2306.16527 and its released configuration), MMC4 (arXiv
2304.06939).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np

from gobelin.documents import Unit


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TextRules:
    """Rules for one text node (a paragraph). A node that breaks one is left out; the document goes on without it."""

    min_words: int | None = None
    """Words. OBELICS: 4. Lower it to keep headings."""

    max_words: int | None = None
    """Words. OBELICS: 1000."""

    max_char_repetition_ratio: float | None = None
    """Share of repeated 10-character sequences. OBELICS: 0.1."""

    max_word_repetition_ratio: float | None = None
    """Share of repeated 5-word sequences. OBELICS: 0.1."""

    max_special_char_ratio: float | None = None
    """Share of characters that are no letters. OBELICS: 0.3."""

    min_stop_word_ratio: float | None = None
    """Share of function words. OBELICS: 0.3. Not run for languages without a list."""

    max_flagged_word_ratio: float | None = None
    """Share of words of the flagged list. OBELICS: 0.01."""

    min_punctuation_ratio: float | None = None
    """Punctuation marks a token, in texts of at least 12 tokens. OBELICS: 0.001."""

    max_spam_word_ratio: float | None = None
    """Share of words such as "subscribe", "share", "click". OBELICS: below 0.12."""

    max_lorem_ipsum: int | None = None
    """Filler phrases. C4 and OmniCorpus: 0."""

    max_site_count: int | None = None
    """Times the same text may stand on one host; above it every copy goes. OBELICS: 2."""

    min_common_word_ratio: float | None = None
    """Share of words that are common in the language. OBELICS: 0.8. Needs a word-frequency file: not run yet."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageRules:
    """Rules for one image node. A node that breaks one is left out; the document goes on without it."""

    formats: tuple[str, ...] | None = None
    """Allowed formats, by content. OBELICS: jpeg, png, webp."""

    min_side_px: int | None = None
    """Smaller of width and height. OBELICS and MMC4: 150."""

    max_side_px: int | None = None
    """Larger of width and height. OBELICS: 20000."""

    min_rendered_px: int | None = None
    """Smaller of the width and height at which the page shows it, where it says so. OBELICS: 150."""

    max_rendered_px: int | None = None
    """Larger of the same. OBELICS: 20000."""

    min_aspect_ratio: float | None = None
    """Width by height. OBELICS and MMC4: 0.5."""

    max_aspect_ratio: float | None = None
    """Width by height. OBELICS and MMC4: 2.0."""

    banned_url_words: tuple[str, ...] | None = None
    """Words that may not stand in an image's URL, compared as whole words without regard to case."""

    max_documents: int | None = None
    """Documents that may show the same bytes; above it the image goes everywhere. OBELICS (by URL), MMC4: 10."""

    max_near_documents: int | None = None
    """The same, counted over the image's perceptual near-duplicates. OmniCorpus: 10."""

    unique_in_document: bool = False
    """Whether an image (same bytes) that comes again in a document is left out there. OBELICS (by URL): true."""

    min_phash_distance_in_document: int | None = None
    """Bits by which an image must differ from each one before it in its document. MMC4: 6 (distance 5 is a copy)."""

    min_clip_text: float | None = None
    """CLIP cosine with the document's best-fitting text. MMC4: 0.15 with ViT-L/14. Belongs to one model."""

    min_clip_near: float | None = None
    """CLIP cosine with the better of the two neighbouring texts. Belongs to one model."""

    min_clip_caption: float | None = None
    """CLIP cosine with the caption; passes where there is none. Belongs to one model."""

    min_clip_alt: float | None = None
    """CLIP cosine with the alternative text; passes where there is none. Belongs to one model."""

    max_nsfw: float | None = None
    """Probability of unsafe content; a safety rule. MMC4: 0.1 with the LAION head. Needs a head: not run yet."""

    min_aesthetic: float | None = None
    """Aesthetic score on the head's own scale. OmniCorpus: 3.7. Needs a head: not run yet."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DocumentRules:
    """Rules for a whole document. Numbers of words and images are those left after the node rules; ratios are those
    of the whole text as extracted."""

    languages: tuple[str, ...] | None = None
    """Languages to keep, ISO 639-1. OBELICS and MMC4: en."""

    min_language_score: float | None = None
    """Probability of the language. OBELICS: 0.8."""

    deny_consent: tuple[str, ...] | None = None
    """Opt-out directives that drop a page: noai, noimageai, tdm-reservation=1, noindex ..."""

    min_images: int | None = None
    """Images left. OBELICS: 1."""

    max_images: int | None = None
    """Images left. OBELICS: 30."""

    min_words: int | None = None
    """Words left. OBELICS: 10."""

    max_words: int | None = None
    """Words left. OBELICS: 2000; its authors drop long articles that way."""

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
    """Filler phrases. C4 and OmniCorpus: 0."""

    min_common_word_ratio: float | None = None
    """OBELICS: 0.9. Needs a word-frequency file: not run yet."""

    max_perplexity: float | None = None
    """OBELICS: 1500, KenLM. Needs a language model: not run yet."""

    unique: tuple[Literal["url", "exact", "near", "image_set"], ...] = ()
    """Kinds of duplicate of which one document stays: same URL, same text, near-duplicate text, same set of images
    (of those left). The latest capture stays. OBELICS: url, near, image_set."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SelectConfig:
    """What enters the corpus. Needs no model: it compares scores with these thresholds."""

    document: DocumentRules = dataclasses.field(default_factory=DocumentRules)
    """Rules for whole documents."""

    text: TextRules = dataclasses.field(default_factory=TextRules)
    """Rules for text nodes."""

    image: ImageRules = dataclasses.field(default_factory=ImageRules)
    """Rules for image nodes."""

    emails: Literal["replace", "drop", "keep"] = "replace"
    """What happens to e-mail addresses: a placeholder takes their place, their text node goes, or they stay."""

    unscored_for_safety: Literal["drop", "keep"] = "drop"
    """What happens to an image that a safety rule could not judge because no model was given."""

    def __post_init__(self) -> None:
        for section in (self.document, self.text, self.image):
            for field in dataclasses.fields(section):
                value = getattr(section, field.name)
                if isinstance(value, float) and not math.isfinite(value):
                    raise ValueError(f"{field.name} must be a number, got {value}")


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One comparison. ``score`` is a column of the unit's scores; ``None``: nothing computes it yet."""

    unit: Unit
    section: Literal["document", "text", "image"]
    threshold: str  # field of the section's rules
    score: str | None
    is_safety: bool = False
    passes_without_value: bool = False  # null means that there is nothing to judge, not that it was not judged

    @property
    def name(self) -> str:
        return f"{self.section}.{self.threshold}"

    @property
    def keeps_above(self) -> bool:
        """Whether values at or above the threshold pass; otherwise values at or below it do."""
        return self.threshold.startswith("min_")


_RATIOS = (
    "max_char_repetition_ratio", "max_word_repetition_ratio", "max_special_char_ratio", "min_stop_word_ratio",
    "max_flagged_word_ratio", "min_punctuation_ratio", "max_spam_word_ratio",
)  # fmt: skip


_NEEDS_LENGTH = {"max_char_repetition_ratio", "max_word_repetition_ratio", "min_punctuation_ratio"}
"""Ratios that a short text does not have: it cannot repeat a sequence of five words, say."""


def _bare(threshold: str) -> str:
    return threshold.removeprefix("max_").removeprefix("min_")


TEXT_RULES: tuple[Rule, ...] = (
    Rule(Unit.NODE, "text", "max_lorem_ipsum", "num_lorem_ipsum"),
    Rule(Unit.NODE, "text", "max_site_count", "site_count"),
    Rule(Unit.NODE, "text", "min_words", "num_words"),
    Rule(Unit.NODE, "text", "max_words", "num_words"),
    *(Rule(Unit.NODE, "text", name, _bare(name), passes_without_value=name in _NEEDS_LENGTH) for name in _RATIOS),
    Rule(Unit.NODE, "text", "min_common_word_ratio", None),
)

IMAGE_RULES: tuple[Rule, ...] = (
    Rule(Unit.NODE, "image", "min_side_px", "min_side"),
    Rule(Unit.NODE, "image", "max_side_px", "max_side"),
    Rule(Unit.NODE, "image", "min_rendered_px", "min_rendered", passes_without_value=True),
    Rule(Unit.NODE, "image", "max_rendered_px", "max_rendered", passes_without_value=True),
    Rule(Unit.NODE, "image", "min_aspect_ratio", "aspect_ratio"),
    Rule(Unit.NODE, "image", "max_aspect_ratio", "aspect_ratio"),
    Rule(Unit.NODE, "image", "max_documents", "num_documents"),
    Rule(Unit.NODE, "image", "max_near_documents", "near_count"),
    Rule(Unit.NODE, "image", "max_nsfw", "nsfw", is_safety=True),
    Rule(Unit.NODE, "image", "min_clip_text", "clip_text_max"),
    Rule(Unit.NODE, "image", "min_clip_near", "clip_near_max"),
    Rule(Unit.NODE, "image", "min_clip_caption", "clip_caption", passes_without_value=True),
    Rule(Unit.NODE, "image", "min_clip_alt", "clip_alt", passes_without_value=True),
    Rule(Unit.NODE, "image", "min_aesthetic", "aesthetic"),
)

DOCUMENT_RULES: tuple[Rule, ...] = (
    Rule(Unit.DOCUMENT, "document", "min_language_score", "language_score"),
    Rule(Unit.DOCUMENT, "document", "max_lorem_ipsum", "num_lorem_ipsum"),
    *(
        Rule(Unit.DOCUMENT, "document", name, _bare(name), passes_without_value=name in _NEEDS_LENGTH)
        for name in _RATIOS
    ),
    Rule(Unit.DOCUMENT, "document", "min_common_word_ratio", None),
    Rule(Unit.DOCUMENT, "document", "max_perplexity", None),
    Rule(Unit.DOCUMENT, "document", "min_words", "words_left"),
    Rule(Unit.DOCUMENT, "document", "max_words", "words_left"),
    Rule(Unit.DOCUMENT, "document", "min_images", "images_left"),
    Rule(Unit.DOCUMENT, "document", "max_images", "images_left"),
)

RULES = (*DOCUMENT_RULES, *TEXT_RULES, *IMAGE_RULES)


def threshold_of(rule: Rule, config: SelectConfig) -> float | None:
    """The recipe's threshold for a rule; None where the rule is off."""
    return getattr(getattr(config, rule.section), rule.threshold)


def passes(rule: Rule, value: Any, threshold: float) -> Any:
    """Whether a value (or each of an array) is on the right side; the threshold itself is.

    Scores are stored in 32 bits, so both sides are rounded as they are.
    """
    rounded, limit = np.float32(value), np.float32(threshold)
    return rounded >= limit if rule.keeps_above else rounded <= limit
