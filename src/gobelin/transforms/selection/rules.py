"""The table of rules. Each rule compares a score with a threshold of the recipe.

A value equal to the threshold passes, as in OBELICS. If a score is null, its rule was *not run* there: it drops nothing
and is counted as not run. Safety rules are an exception. They drop what they could not judge, unless the recipe says
``unscored_for_safety: keep``.

Packages may add rules (``gobelin/plugins.py``); a recipe names them in the section ``select.plugins``.

The meaning of each threshold is documented where it is declared: ``node_thresholds.py`` and ``document_thresholds.py``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from gobelin.data.model import Role, Unit
from gobelin.plugins import RULES_GROUP, PluginError, Subject, package_of, rule_called
from gobelin.scores import HEAD
from gobelin.transforms.pages.images.image_candidates import names_image_file
from gobelin.transforms.selection.config import SelectConfig


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One comparison. ``score`` is a column of the unit's scores; ``None``: it is not computed yet.

    ``for_prose``: written for sentences, see ``TextRules.not_prose``. ``for_headings``: True: it applies to headings
    only; False: to other texts only;
    None: to both. ``for_captioned``: likewise for images with ``has_own_caption``.
    """

    unit: Unit
    section: Literal["document", "text", "image", "plugins"]
    threshold: str  # field of the section's rules
    score: str | None
    is_safety: bool = False
    passes_without_value: bool = False  # whether a null score means that there is nothing to judge
    for_prose: bool = False
    for_headings: bool | None = None
    for_captioned: bool | None = None
    detail: str | None = None  # column of the scores for the decision's detail
    of: Subject | None = None  # what a rule of a plug-in judges

    @property
    def name(self) -> str:
        return f"{self.section}.{self.threshold}"

    @property
    def subject(self) -> Subject:
        """What the rule judges: the place of its score among those of a document."""
        if self.section == "plugins":
            assert self.of is not None
            return self.of
        return self.section

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
"""Ratios that are undefined for a short text. For example, it cannot repeat a sequence of five words."""


def _of_ratios(unit: Unit, section: Literal["document", "text"], thresholds: tuple[str, ...]) -> Iterator[Rule]:
    """Rules on scores with the names of their thresholds. Those on one text are written for sentences."""
    for threshold in thresholds:
        score = threshold.removeprefix("max_").removeprefix("min_")
        has_none = threshold in _NEEDS_LENGTH
        yield Rule(unit, section, threshold, score, passes_without_value=has_none, for_prose=unit is Unit.NODE)


SITE_COUNT = Rule(Unit.NODE, "text", "max_site_count", "site_count", for_headings=False)
"""Applied to headings as well, after all other rules, if their section is empty."""

TEXT_RULES: tuple[Rule, ...] = (
    Rule(Unit.NODE, "text", "max_lorem_ipsum", "num_lorem_ipsum"),
    SITE_COUNT,
    Rule(Unit.NODE, "text", "max_site_count_heading", "site_count", for_headings=True),
    Rule(Unit.NODE, "text", "min_words", "num_words", for_prose=True),
    Rule(Unit.NODE, "text", "max_words", "num_words", for_prose=True),
    *_of_ratios(Unit.NODE, "text", (*_RATIOS, *_WORDING)),
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
    Rule(Unit.NODE, "image", "max_documents", "num_documents", for_captioned=False),
    Rule(Unit.NODE, "image", "max_documents_captioned", "num_documents", for_captioned=True),
    Rule(Unit.NODE, "image", "max_near_documents", "near_count", for_captioned=False),
    Rule(Unit.NODE, "image", "max_semantic_documents", "semantic_count", for_captioned=False),
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
    *_of_ratios(Unit.DOCUMENT, "document", (*_RATIOS, *_WORDING, *_LINES)),
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

RULES = (*DOCUMENT_RULES, *TEXT_RULES, *IMAGE_RULES)


@functools.cache
def text_rules(role: str | None, is_prose: bool) -> tuple[Rule, ...]:
    """The rules that apply to a text of this role, in their order."""
    is_heading = role == Role.HEADING
    return tuple(
        rule for rule in TEXT_RULES if (is_prose or not rule.for_prose) and rule.for_headings in (None, is_heading)
    )


def head_rules(config: SelectConfig) -> tuple[Rule, ...]:
    """The rules on scores of the user's heads: ``image.max_head.NAME``, ``image.min_head.NAME``."""
    return tuple(
        head_rule(side, name) for side in ("max_head", "min_head") for name in sorted(getattr(config.image, side))
    )


def head_rule(side: str, name: str) -> Rule:
    """The rule on one head's score.

    Args:
        side: max_head or min_head.
    """
    return Rule(Unit.NODE, "image", f"{side}.{name}", f"{HEAD}{name}", is_safety=side == "max_head")


UNSCORED_RULES: dict[str, tuple[str, ...]] = {
    "document": ("languages", "page_kinds", "deny_consent"),
    "text": ("roles",),
    "image": (
        "deny_consent",
        "formats",
        "banned_url_words",
        "unique_in_document",
        "unique_near_in_document",
        "min_phash_distance_in_document",
    ),
}
"""Rules by section that compare no score, so they are not in ``RULES``."""


@functools.cache
def plugin_rule(name: str) -> Rule:
    """The rule of an installed package with this name.

    Raises:
        PluginError: it does not exist, or has the name of one of gobelin's rules.
    """
    found = rule_called(name)
    if name in {rule.threshold for rule in RULES}:
        package = package_of(RULES_GROUP, name)
        raise PluginError(f"the package {package} has a rule {name}, which is the name of a rule of gobelin")
    return Rule(
        Unit.DOCUMENT if found.of == "document" else Unit.NODE, "plugins", name, found.score, found.is_safety,
        found.passes_without_value, of=found.of,
    )  # fmt: skip


def plugin_rules(config: SelectConfig, subject: Subject | None = None) -> tuple[Rule, ...]:
    """The rules of packages that the recipe names: all of them, or only those for one kind of thing."""
    rules = map(plugin_rule, sorted(config.plugins))
    return tuple(rule for rule in rules if subject in (None, rule.of))


def document_rules(config: SelectConfig) -> tuple[Rule, ...]:
    """The rules that apply to a document, in their order."""
    return (*DOCUMENT_RULES, *plugin_rules(config, "document"))


def image_rules(config: SelectConfig, is_captioned: bool | None = None) -> tuple[Rule, ...]:
    """The rules that apply to an image node, in their order.

    Args:
        is_captioned: ``has_own_caption``; None: all rules.
    """
    own = tuple(rule for rule in IMAGE_RULES if is_captioned is None or is_for(rule, is_captioned, config))
    return (*own, *head_rules(config), *plugin_rules(config, "image"))


def is_for(rule: Rule, is_captioned: bool, config: SelectConfig) -> bool:
    """Whether a rule on images applies to those with a caption, or without. If captioned images have no limit of their
    own, all rules apply to both."""
    if rule.for_captioned is None or config.image.max_documents_captioned is None:
        return True
    return rule.for_captioned == is_captioned


def has_own_caption(caption: str | None, link_url: str | None) -> bool:
    """Whether an image is content with a caption: it has a caption, and its link, if any, leads to an image file or the
    page about it. A teaser's image links elsewhere, with the title below it."""
    return bool(caption) and (link_url is None or names_image_file(link_url))


def all_rules(config: SelectConfig) -> tuple[Rule, ...]:
    """``RULES``, and the rules of a recipe on heads and of packages."""
    return (*RULES, *head_rules(config), *plugin_rules(config))


def threshold_of(rule: Rule, config: SelectConfig) -> Any:
    """The recipe's threshold for a rule; None if the rule is off. A number, or a ``RelativeThreshold`` if the recipe
    has not been resolved."""
    if rule.section == "plugins":
        return config.plugins.get(rule.threshold)
    field, _, name = rule.threshold.partition(".")
    held = getattr(getattr(config, rule.section), field)
    return held.get(name) if name else held


def passes(rule: Rule, value: Any, threshold: float) -> Any:
    """Whether a value (or each of an array) is on the right side of the threshold, or equal to it.

    Scores are stored in 32 bits, so both sides are rounded to 32 bits.
    """
    rounded, limit = np.float32(value), np.float32(threshold)
    return rounded >= limit if rule.keeps_above else rounded <= limit
