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

from gobelin.documents import Role, Unit


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TextRules:
    """Rules for one text node (a paragraph). A node that breaks one is left out; the document goes on without it."""

    roles: tuple[Role, ...] | None = None
    """What may stand in the corpus: heading, paragraph, list_item, quotation, code, table, caption. Null: all.
    OBELICS' extractor has neither list items nor tables nor code."""

    not_prose: tuple[Role, ...] = (Role.HEADING, Role.CODE, Role.TABLE)
    """Roles to which the rules on words and ratios below do not apply, because they are written for sentences. OBELICS
    has no such exception, and loses short headings."""

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
    """Share of words that are common in the language. OBELICS: 0.8. Needs score.text.common_words."""

    min_mean_word_length: float | None = None
    """Letters. Gopher (of documents): 3. Not run where words are letters."""

    max_mean_word_length: float | None = None
    """Letters. Gopher (of documents): 10."""

    max_word_length: int | None = None
    """Letters of the longest word. C4 (of lines): 1000. Not run where words are letters."""

    max_symbol_word_ratio: float | None = None
    """Hashes, or ellipses, a word. Gopher (of documents): 0.1."""

    min_alphabetic_word_ratio: float | None = None
    """Share of white-space pieces that hold a letter. Gopher (of documents): 0.8."""

    min_terminal_punctuation_ratio: float | None = None
    """Share of a text's lines that end as a sentence does. C4 (of lines): 1; it costs captions and lists."""

    max_curly_brackets: int | None = None
    """Curly brackets. C4 (of documents): 0."""

    max_javascript: int | None = None
    """Times "javascript" stands there. C4 (of lines): 0."""

    max_policy_phrases: int | None = None
    """Phrases such as "privacy policy", "use of cookies". C4's code (of lines): 0. Not run but for English."""

    max_eval_ngrams: int | None = None
    """Runs of words of an evaluation text that touch this text. 0: none. Needs score.contamination."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RelativeThreshold:
    """A threshold that is a place among the scores of a corpus, and so means the same under any model. It becomes a
    number before anything is judged, over all image nodes that have the score (relative_thresholds.py)."""

    top_fraction: float | None = None
    """Share of the values, the best ones, that pass: (0, 1]. DataComp's L/14 baseline: 0.3."""

    quantile: float | None = None
    """The share that does not pass, [0, 1)."""

    of: str | None = None
    """Output folder of another run, whose scores are ranked instead of this one's: a later crawl is then held against
    the same number as the first. Its CLIP model must be this run's."""

    def __post_init__(self) -> None:
        if (self.top_fraction is None) == (self.quantile is None):
            raise ValueError("a relative threshold is either {top_fraction: SHARE} or {quantile: SHARE}")
        if self.top_fraction is not None and not 0.0 < self.top_fraction <= 1.0:
            raise ValueError(f"top_fraction must be in (0, 1], got {self.top_fraction}")
        if self.quantile is not None and not 0.0 <= self.quantile < 1.0:
            raise ValueError(f"quantile must be in [0, 1), got {self.quantile}")


RelativeThreshold.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]  # a misspelt key is an error

Threshold = float | RelativeThreshold


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageRules:
    """Rules for one image node. A node that breaks one is left out; the document goes on without it."""

    formats: tuple[str, ...] | None = None
    """Allowed formats, by content. OBELICS: jpeg, png, webp."""

    deny_consent: tuple[str, ...] | None = None
    """Refused uses, or single directives, in the image's own response or its host's policies that leave it out. As
    ``document.deny_consent``, whose ``consent_agents`` hold here too."""

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

    max_semantic_documents: int | None = None
    """The same, counted over images of like meaning. Needs score.semantic."""

    unique_near_in_document: bool = False
    """Whether a near-duplicate (score.near_images) of an image before it in its document is left out."""

    unique_in_document: bool = False
    """Whether an image (same bytes) that comes again in a document is left out there. OBELICS (by URL): true."""

    min_phash_distance_in_document: int | None = None
    """Bits by which an image must differ from each one before it in its document. MMC4: 6 (distance 5 is a copy)."""

    clip_model: str | None = None
    """The model under which the CLIP thresholds below were chosen: its fingerprint, or the part before the @
    ("ViT-L-14-quickgelu/openai"). Scores of another model are then an error. Null: the thresholds are believed."""

    min_clip_text: Threshold | None = None
    """CLIP cosine with the document's best-fitting text: a number, which belongs to one model (MMC4: 0.15 with
    ViT-L/14), or {top_fraction: 0.3} or {quantile: 0.7}, which do not."""

    min_clip_near: Threshold | None = None
    """CLIP cosine with the better of the two neighbouring texts; a number, top_fraction or quantile."""

    min_clip_caption: Threshold | None = None
    """CLIP cosine with the caption; passes where there is none. A number, top_fraction or quantile."""

    min_clip_alt: Threshold | None = None
    """CLIP cosine with the alternative text; passes where there is none. A number, top_fraction or quantile."""

    min_clip_assigned: Threshold | None = None
    """CLIP cosine with the text that MMC4's assignment gives the image, each text to one image as far as there are
    enough. A number, top_fraction or quantile."""

    max_nsfw: float | None = None
    """Probability of unsafe content; a safety rule. MMC4: 0.1 with the LAION head. Needs score.heads or
    score.zero_shot of that name."""

    min_aesthetic: Threshold | None = None
    """Aesthetic score on the head's own scale; or top_fraction or quantile. OmniCorpus: 3.7, LAION-Aesthetics: 4.5 to
    6.5. Needs score.heads of that name."""

    max_watermark: float | None = None
    """Probability of a watermark. LAION: 0.8. Needs score.heads or score.zero_shot of that name."""

    max_head: dict[str, float] = dataclasses.field(default_factory=dict)
    """Highest value of further scores of score.heads and score.zero_shot: name -> number. Safety rules."""

    min_head: dict[str, float] = dataclasses.field(default_factory=dict)
    """Lowest value of such scores: name -> number."""

    max_faces: int | None = None
    """Faces in the image. MMC4's fewer-faces set: 0. A safety rule; needs score.faces."""

    max_eval_images: int | None = None
    """Evaluation images that it is a near-duplicate of. 0: none. Needs score.contamination."""

    max_eval_similarity: float | None = None
    """Cosine of embeddings with the nearest evaluation image. Belongs to one model."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DocumentRules:
    """Rules for a whole document. Numbers of words and images are those left after the node rules; ratios are those
    of the whole prose as extracted (without code)."""

    languages: tuple[str, ...] | None = None
    """Languages to keep, ISO 639-1. OBELICS and MMC4: en."""

    min_language_score: float | None = None
    """Probability of the language. OBELICS: 0.8."""

    deny_consent: tuple[str, ...] | None = None
    """Refused uses, or single directives, that drop a page. Uses: ai-train, image-train, ai-input, tdm, search, index,
    image-index, whatever signal refuses them. Directives: noai, noimageai, tdm-reservation=1, noindex ..."""

    consent_agents: tuple[str, ...] | None = None
    """Robots whose opt-outs count, beside those addressed to all, lower case (gptbot, ccbot ...). Null: anybody's."""

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
    """OBELICS: 0.9. Needs score.text.common_words."""

    max_perplexity: float | None = None
    """Perplexity a token under a KenLM model. OBELICS: 1500. Needs score.text.perplexity_models."""

    min_quality: float | None = None
    """Probability of a fastText classifier's label. DCLM: 0.018. Needs score.text.quality_models."""

    min_mean_word_length: float | None = None
    """Letters. Gopher: 3. Not run where words are letters."""

    max_mean_word_length: float | None = None
    """Letters. Gopher: 10."""

    max_symbol_word_ratio: float | None = None
    """Hashes, or ellipses, a word. Gopher: 0.1."""

    min_alphabetic_word_ratio: float | None = None
    """Share of white-space pieces that hold a letter. Gopher: 0.8."""

    min_stop_words: int | None = None
    """Different ones of the language's eight or so most frequent words. Gopher: 2. Not run for languages without a
    list."""

    max_bullet_line_ratio: float | None = None
    """Share of lines that are list items. Gopher: 0.9."""

    max_ellipsis_line_ratio: float | None = None
    """Share of lines that end with an ellipsis. Gopher: 0.3."""

    min_terminal_punctuation_ratio: float | None = None
    """Share of lines that end as a sentence does. FineWeb: 0.12."""

    max_short_line_ratio: float | None = None
    """Share of lines of at most 30 characters. FineWeb: 0.67."""

    max_line_break_ratio: float | None = None
    """Line breaks a word. FineWeb: 0.3."""

    min_sentences: int | None = None
    """Sentences of the whole prose. C4: 5; MMC4's core: 4."""

    max_sentences: int | None = None
    """MMC4's core: 40."""

    max_curly_brackets: int | None = None
    """Curly brackets. C4: 0; it costs every page that shows code within its text."""

    max_duplicate_line_ratio: float | None = None
    """Share of lines that stood before. Gopher: 0.3."""

    max_duplicate_line_char_ratio: float | None = None
    """Share of characters in such lines. Gopher: 0.2; FineWeb: 0.01."""

    max_duplicate_paragraph_ratio: float | None = None
    """Share of texts that stood before. Gopher: 0.3."""

    max_duplicate_paragraph_char_ratio: float | None = None
    """Share of characters in such texts. Gopher: 0.2."""

    max_top_2gram_char_ratio: float | None = None
    """Share of letters in the most frequent pair of words. Gopher: 0.2."""

    max_top_3gram_char_ratio: float | None = None
    """Gopher: 0.18."""

    max_top_4gram_char_ratio: float | None = None
    """Gopher: 0.16."""

    max_duplicate_5gram_char_ratio: float | None = None
    """Share of letters in runs of five words that stood before. Gopher: 0.15."""

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
    """Runs of words of evaluation texts. GPT-3 and datatrove: 0. Needs score.contamination."""

    max_eval_word_ratio: float | None = None
    """Share of words in such runs. Llama 2 calls a sample contaminated from 0.2, dirty from 0.8."""

    min_assigned_ratio: float | None = None
    """Share of the images left whose cosine with their assigned text is at least ``assigned_similarity``. MMC4 core:
    0.75. Belongs to one model."""

    assigned_similarity: float = 0.25
    """See ``min_assigned_ratio``. MMC4 core: 0.25 with ViT-L/14."""

    unique: tuple[Literal["url", "exact", "near", "image_set"], ...] = ()
    """Kinds of duplicate of which one document stays: same URL, same text, near-duplicate text, same set of images
    (of those left). The latest capture stays. OBELICS: url, near, image_set."""


PiiAction = Literal["replace", "drop", "keep"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PiiRules:
    """What happens to personal data in texts, alternative texts, captions and titles: a placeholder takes its place
    (replace), the node that holds it goes (drop; a document's title is replaced), or it stays (keep)."""

    email: PiiAction = "replace"
    """E-mail addresses: <EMAIL>."""

    ip: PiiAction = "replace"
    """Public IP addresses: <IP>."""

    phone: PiiAction = "replace"
    """Telephone numbers in international form: <PHONE>."""

    card: PiiAction = "replace"
    """Payment card numbers: <CARD>."""

    iban: PiiAction = "replace"
    """Bank account numbers: <IBAN>."""

    secret: PiiAction = "replace"
    """Keys and passwords: <SECRET>."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SelectConfig:
    """What enters the corpus. Needs no model: it compares scores with these thresholds."""

    document: DocumentRules = dataclasses.field(default_factory=DocumentRules)
    """Rules for whole documents."""

    text: TextRules = dataclasses.field(default_factory=TextRules)
    """Rules for text nodes."""

    image: ImageRules = dataclasses.field(default_factory=ImageRules)
    """Rules for image nodes."""

    pii: PiiRules = dataclasses.field(default_factory=PiiRules)
    """What happens to personal data, kind by kind."""

    unscored_for_safety: Literal["drop", "keep"] = "drop"
    """What happens to an image that a safety rule could not judge because no model was given."""

    def __post_init__(self) -> None:
        for section in (self.document, self.text, self.image):
            for field in dataclasses.fields(section):
                value = getattr(section, field.name)
                for each in value.values() if isinstance(value, dict) else (value,):
                    if isinstance(each, float) and not math.isfinite(each):
                        raise ValueError(f"{field.name} must be a number, got {each}")


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One comparison. ``score`` is a column of the unit's scores; ``None``: nothing computes it yet.

    ``for_prose``: written for sentences, see ``TextRules.not_prose``.
    """

    unit: Unit
    section: Literal["document", "text", "image"]
    threshold: str  # field of the section's rules
    score: str | None
    is_safety: bool = False
    passes_without_value: bool = False  # null means that there is nothing to judge, not that it was not judged
    for_prose: bool = False
    detail: str | None = None  # column of the scores that says more

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


_WORDING = (
    "min_mean_word_length", "max_mean_word_length", "max_symbol_word_ratio", "min_alphabetic_word_ratio",
    "min_terminal_punctuation_ratio", "min_common_word_ratio",
)  # fmt: skip

_LINES = (
    "max_bullet_line_ratio", "max_ellipsis_line_ratio", "max_short_line_ratio", "max_line_break_ratio",
    "max_duplicate_line_ratio", "max_duplicate_line_char_ratio", "max_duplicate_paragraph_ratio",
    "max_duplicate_paragraph_char_ratio",
    *(f"max_top_{n}gram_char_ratio" for n in (2, 3, 4)),
    *(f"max_duplicate_{n}gram_char_ratio" for n in range(5, 11)),
)  # fmt: skip

_NEEDS_LENGTH = {
    "max_char_repetition_ratio",
    "max_word_repetition_ratio",
    "min_punctuation_ratio",
    "min_alphabetic_word_ratio",
}
"""Ratios that a short text does not have: it cannot repeat a sequence of five words, say."""


def _bare(threshold: str) -> str:
    return threshold.removeprefix("max_").removeprefix("min_")


TEXT_RULES: tuple[Rule, ...] = (
    Rule(Unit.NODE, "text", "max_lorem_ipsum", "num_lorem_ipsum"),
    Rule(Unit.NODE, "text", "max_site_count", "site_count"),
    Rule(Unit.NODE, "text", "min_words", "num_words", for_prose=True),
    Rule(Unit.NODE, "text", "max_words", "num_words", for_prose=True),
    *(
        Rule(Unit.NODE, "text", name, _bare(name), passes_without_value=name in _NEEDS_LENGTH, for_prose=True)
        for name in _RATIOS
    ),
    *(
        Rule(Unit.NODE, "text", name, _bare(name), passes_without_value=name in _NEEDS_LENGTH, for_prose=True)
        for name in _WORDING
    ),
    Rule(Unit.NODE, "text", "max_word_length", "max_word_length", for_prose=True),
    Rule(Unit.NODE, "text", "max_curly_brackets", "num_curly_brackets", for_prose=True),
    Rule(Unit.NODE, "text", "max_javascript", "num_javascript", for_prose=True),
    Rule(Unit.NODE, "text", "max_policy_phrases", "num_policy_phrases", for_prose=True),
    Rule(Unit.NODE, "text", "max_eval_ngrams", "num_eval_ngrams"),
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
    Rule(Unit.NODE, "image", "max_semantic_documents", "semantic_count"),
    Rule(Unit.NODE, "image", "max_nsfw", "nsfw", is_safety=True),
    Rule(Unit.NODE, "image", "max_faces", "num_faces", is_safety=True),
    Rule(Unit.NODE, "image", "max_watermark", "watermark"),
    Rule(Unit.NODE, "image", "min_clip_text", "clip_text_max"),
    Rule(Unit.NODE, "image", "min_clip_near", "clip_near_max"),
    Rule(Unit.NODE, "image", "min_clip_caption", "clip_caption", passes_without_value=True),
    Rule(Unit.NODE, "image", "min_clip_alt", "clip_alt", passes_without_value=True),
    Rule(Unit.NODE, "image", "min_clip_assigned", "clip_assigned_score"),
    Rule(Unit.NODE, "image", "min_aesthetic", "aesthetic"),
    Rule(Unit.NODE, "image", "max_eval_images", "num_eval_images", detail="eval_image"),
    Rule(Unit.NODE, "image", "max_eval_similarity", "eval_similarity"),
)

DOCUMENT_RULES: tuple[Rule, ...] = (
    Rule(Unit.DOCUMENT, "document", "min_language_score", "language_score"),
    Rule(Unit.DOCUMENT, "document", "max_lorem_ipsum", "num_lorem_ipsum"),
    *(
        Rule(Unit.DOCUMENT, "document", name, _bare(name), passes_without_value=name in _NEEDS_LENGTH)
        for name in _RATIOS
    ),
    *(
        Rule(Unit.DOCUMENT, "document", name, _bare(name), passes_without_value=name in _NEEDS_LENGTH)
        for name in (*_WORDING, *_LINES)
    ),
    Rule(Unit.DOCUMENT, "document", "min_stop_words", "num_stop_words"),
    Rule(Unit.DOCUMENT, "document", "min_sentences", "num_sentences"),
    Rule(Unit.DOCUMENT, "document", "max_sentences", "num_sentences"),
    Rule(Unit.DOCUMENT, "document", "max_curly_brackets", "num_curly_brackets"),
    Rule(Unit.DOCUMENT, "document", "max_perplexity", "perplexity"),
    Rule(Unit.DOCUMENT, "document", "min_quality", "quality"),
    Rule(Unit.DOCUMENT, "document", "max_eval_ngrams", "num_eval_ngrams", detail="eval_source"),
    Rule(Unit.DOCUMENT, "document", "max_eval_word_ratio", "eval_word_ratio", detail="eval_source"),
    Rule(Unit.DOCUMENT, "document", "min_assigned_ratio", "assigned_ratio"),
    Rule(Unit.DOCUMENT, "document", "min_words", "words_left"),
    Rule(Unit.DOCUMENT, "document", "max_words", "words_left"),
    Rule(Unit.DOCUMENT, "document", "min_images", "images_left"),
    Rule(Unit.DOCUMENT, "document", "max_images", "images_left"),
)

TEXT_RULES_BUT_PROSE = tuple(rule for rule in TEXT_RULES if not rule.for_prose)
"""What a text is held against that is no prose."""

RULES = (*DOCUMENT_RULES, *TEXT_RULES, *IMAGE_RULES)


HEAD = "head."
"""Before the name of a head in the name of its score."""


def head_rules(config: SelectConfig) -> tuple[Rule, ...]:
    """The rules on scores of the user's own heads: ``image.max_head.NAME``, ``image.min_head.NAME``."""
    return tuple(
        head_rule(side, name) for side in ("max_head", "min_head") for name in sorted(getattr(config.image, side))
    )


def head_rule(side: str, name: str) -> Rule:
    """The rule on one head's score; ``side``: max_head or min_head."""
    return Rule(Unit.NODE, "image", f"{side}.{name}", f"{HEAD}{name}", is_safety=side == "max_head")


def all_rules(config: SelectConfig) -> tuple[Rule, ...]:
    """``RULES``, and those that the recipe makes of heads."""
    return (*RULES, *head_rules(config))


def threshold_of(rule: Rule, config: SelectConfig) -> Any:
    """The recipe's threshold for a rule; None where the rule is off. A number, or a ``RelativeThreshold`` in a recipe
    that has not been resolved."""
    field, _, name = rule.threshold.partition(".")
    held = getattr(getattr(config, rule.section), field)
    return held.get(name) if name else held


def passes(rule: Rule, value: Any, threshold: float) -> Any:
    """Whether a value (or each of an array) is on the right side; the threshold itself is.

    Scores are stored in 32 bits, so both sides are rounded as they are.
    """
    rounded, limit = np.float32(value), np.float32(threshold)
    return rounded >= limit if rule.keeps_above else rounded <= limit
