"""Thresholds for text and image nodes, each with its meaning and its source.

A threshold of null switches its rule off. A value equal to the threshold passes. ``rules.py`` names the score of each
threshold, and the table of scores (``gobelin/scores.py``) defines it.

Values: OBELICS (arXiv 2306.16527 and its released configuration), MMC4 (arXiv 2304.06939).
"""

from __future__ import annotations

import dataclasses

from gobelin.data.model import Role
from gobelin.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TextRules:
    """Rules for one text node (a paragraph). A node that breaks a rule is dropped; its document stays."""

    roles: tuple[Role, ...] | None = None
    """Roles of texts to keep: heading, paragraph, list_item, quotation, code, table, caption. Null: all. OBELICS'
    extractor has neither list items nor tables nor code."""

    not_prose: tuple[Role, ...] = (Role.HEADING, Role.CODE, Role.TABLE)
    """Roles that the rules on words and ratios below skip, because these rules are written for sentences. OBELICS has
    no such exception, and loses short headings."""

    min_words: int | None = None
    """OBELICS: 4. Lower it to keep headings."""

    max_words: int | None = None
    """OBELICS: 1000."""

    max_char_repetition_ratio: float | None = None
    """OBELICS: 0.1."""

    max_word_repetition_ratio: float | None = None
    """OBELICS: 0.1."""

    max_special_char_ratio: float | None = None
    """OBELICS: 0.3."""

    min_stop_word_ratio: float | None = None
    """OBELICS: 0.3. Not run for languages without a list."""

    max_flagged_word_ratio: float | None = None
    """OBELICS: 0.01."""

    min_punctuation_ratio: float | None = None
    """In texts of at least 12 tokens. OBELICS: 0.001."""

    max_spam_word_ratio: float | None = None
    """OBELICS: below 0.12."""

    max_lorem_ipsum: int | None = None
    """C4 and OmniCorpus: 0."""

    max_site_count: int | None = 2
    """Above it, all copies are dropped; a heading is dropped only if its section is empty. OBELICS: 2. It is on unless
    a recipe sets it to null, because no recipe wants a site's menu in its pages."""

    max_site_count_heading: int | None = None
    """The same for headings, even if their section is not empty. Null: no limit, because each chapter may have its
    "Exercises". OBELICS does not distinguish headings from other texts: 2."""

    min_common_word_ratio: float | None = None
    """OBELICS: 0.8."""

    min_mean_word_length: float | None = None
    """Gopher (for documents): 3. Not run if words are letters."""

    max_mean_word_length: float | None = None
    """Gopher (for documents): 10."""

    max_word_length: int | None = None
    """C4 (for lines): 1000. Not run if words are letters."""

    max_symbol_word_ratio: float | None = None
    """Gopher (for documents): 0.1."""

    min_alphabetic_word_ratio: float | None = None
    """Gopher (for documents): 0.8."""

    min_terminal_punctuation_ratio: float | None = None
    """"..." does not count. C4 (for lines): 1; this drops captions and lists."""

    max_curly_brackets: int | None = None
    """C4 (for documents): 0."""

    max_javascript: int | None = None
    """C4 (for lines): 0."""

    max_policy_phrases: int | None = None
    """Includes "use of cookies". C4's code (for lines): 0. Run for English only."""

    max_eval_ngrams: int | None = None
    """Number of n-grams that touch this text. 0: none."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RelativeThreshold:
    """A threshold that is a rank among the scores of a corpus, so it has the same meaning for any model. It is
    converted to a number before anything is judged, over all image nodes with the score (relative_thresholds.py)."""

    top_fraction: float | None = None
    """Share of the values, the highest ones, that pass: (0, 1]. DataComp's L/14 baseline: 0.3."""

    quantile: float | None = None
    """Share of the values that do not pass, [0, 1)."""

    of: str | None = None
    """Output folder of another run whose scores are ranked instead of this one's. A later crawl then has the same
    threshold as the first. Both runs must have the same CLIP model."""

    def __post_init__(self) -> None:
        if (self.top_fraction is None) == (self.quantile is None):
            raise UserError("a relative threshold is either {top_fraction: SHARE} or {quantile: SHARE}")
        if self.top_fraction is not None and not 0.0 < self.top_fraction <= 1.0:
            raise UserError(f"top_fraction must be in (0, 1], got {self.top_fraction}")
        if self.quantile is not None and not 0.0 <= self.quantile < 1.0:
            raise UserError(f"quantile must be in [0, 1), got {self.quantile}")


RelativeThreshold.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]  # a misspelt key is an error

Threshold = float | RelativeThreshold


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageRules:
    """Rules for one image node. A node that breaks a rule is dropped; its document stays."""

    formats: tuple[str, ...] | None = None
    """Formats to keep, by content. OBELICS: jpeg, png, webp."""

    deny_consent: tuple[str, ...] | None = None
    """Refused uses, or single directives, that drop an image if they are in its own response or its host's policies. As
    ``document.deny_consent``, whose ``consent_agents`` apply here too."""

    min_side_px: int | None = None
    """OBELICS and MMC4: 150."""

    max_side_px: int | None = None
    """OBELICS: 20000."""

    min_rendered_px: int | None = None
    """Applies if the page states the size. OBELICS: 150."""

    max_rendered_px: int | None = None
    """OBELICS: 20000."""

    min_aspect_ratio: float | None = None
    """OBELICS and MMC4: 0.5."""

    max_aspect_ratio: float | None = None
    """OBELICS and MMC4: 2.0."""

    banned_url_words: tuple[str, ...] | None = None
    """Words that must not occur in an image's URL, compared as whole words without regard to case."""

    max_documents: int | None = None
    """Above it, the image is dropped everywhere. OBELICS (by URL), MMC4: 10."""

    max_documents_captioned: int | None = None
    """Replaces the limits max_documents, max_near_documents and max_semantic_documents for an image with a caption that
    does not link to another page: a manual shows its example on many pages. Null: those limits apply."""

    max_near_documents: int | None = None
    """OmniCorpus: 10."""

    max_semantic_documents: int | None = None
    """Above it, the image is dropped everywhere."""

    unique_near_in_document: bool = False
    """Whether a near-duplicate (score.near_images) of an earlier image of its document is dropped."""

    unique_in_document: bool = False
    """Whether a repeated image (same bytes) of a document is dropped. OBELICS (by URL): true."""

    min_phash_distance_in_document: int | None = None
    """Number of bits by which an image must differ from each earlier image of its document. MMC4: 6 (distance 5 is a
    copy)."""

    clip_model: str | None = None
    """The model for which the CLIP thresholds below were chosen: its fingerprint, or the part before the @
    ("ViT-L-14-quickgelu/openai"). Scores of another model are then an error. Null: not checked."""

    min_clip_text: Threshold | None = None
    """A number, which belongs to one model (MMC4: 0.15 with ViT-L/14), or {top_fraction: 0.3} or {quantile: 0.7}, which
    do not."""

    min_clip_near: Threshold | None = None
    """A number, top_fraction or quantile."""

    min_clip_caption: Threshold | None = None
    """An image without a caption passes. A number, top_fraction or quantile."""

    min_clip_alt: Threshold | None = None
    """An image without an alt text passes. A number, top_fraction or quantile."""

    min_clip_assigned: Threshold | None = None
    """The text that MMC4's assignment gives the image: each text to at most one image if there are enough texts. A
    number, top_fraction or quantile."""

    max_nsfw: float | None = None
    """A safety rule. MMC4: 0.1 with the LAION head."""

    min_aesthetic: Threshold | None = None
    """A number, top_fraction or quantile. OmniCorpus: 3.7, LAION-Aesthetics: 4.5 to 6.5."""

    max_watermark: float | None = None
    """LAION: 0.8."""

    max_head: dict[str, float] = dataclasses.field(default_factory=dict)
    """Maximum values of further scores of score.heads and score.zero_shot: name -> number. Safety rules."""

    min_head: dict[str, float] = dataclasses.field(default_factory=dict)
    """Minimum values of such scores: name -> number."""

    max_faces: int | None = None
    """MMC4's fewer-faces set: 0. A safety rule."""

    max_eval_images: int | None = None
    """Number of evaluation images of which it is a near-duplicate. 0: none."""

    max_eval_similarity: float | None = None
    """Cosine of embeddings; a value belongs to one model."""
