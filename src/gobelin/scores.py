"""The table of scores: every number that a rule may compare, declared once.

From an entry come the column of the data sets ``score/documents`` and ``score/images`` (``data/model.py``), the axis of
its histogram and its words in the report, the help of its rules in ``gobelin recipe show``, and the checks of a
recipe: which setting a score needs, and between which values it lies. What computes it stands elsewhere; which rule
compares it, in ``transforms/selection/rules.py``. A package that is installed may add entries (``plugins.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa

Of = Literal["document", "text", "image", "pair"]
"""What a score is of; a pair is an image in a document, beside its texts."""

DataSet = Literal["documents", "nodes", "images"]
"""Where a column stands: ``score/documents``, its list ``nodes``, ``score/images``."""

_STANDS_IN: dict[Of, tuple[DataSet, ...]] = {
    "document": ("documents",),
    "text": ("nodes",),
    "image": ("nodes", "images"),
    "pair": ("nodes",),
}

Axis = Literal["linear", "count", "log"]

LOG_FLOOR = 0.5
"""Values below this are shown here on a logarithmic axis: zero has no place on it."""

HEAD = "head."
"""Prefix of the names of scores by a user's own heads: ``head.NAME``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """One entry of the table."""

    name: str  # of the column; snake_case
    of: tuple[Of, ...]
    title: str  # in the report
    unit: str  # what its values are counted in, in the report
    meaning: str = ""  # of the column: unit or range, and when it is null
    _: dataclasses.KW_ONLY
    arrow: pa.DataType | None = pa.float32()  # noqa: RUF009  # a constant; None: no column, made when it is compared
    axis: Axis = "linear"
    lowest: float = LOG_FLOOR  # value shown on a logarithmic axis
    low: float | None = 0.0  # no value is below this
    high: float | None = None  # no value is above this
    needs: tuple[str, ...] = ()  # settings of the recipe's section ``score`` without which it is null
    told: dict[DataSet, str] = dataclasses.field(default_factory=dict, hash=False)  # other meanings, by data set
    never_null: tuple[DataSet, ...] = ()
    only_in: DataSet | None = None  # the one data set that has the column; None: all that could have it

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """Where it is a column."""
        if self.arrow is None:
            return ()
        return (self.only_in,) if self.only_in else tuple(place for of in self.of for place in _STANDS_IN[of])

    def column(self, data_set: DataSet) -> pa.Field:
        """Its field in a schema."""
        meaning = self.told.get(data_set) or self.meaning or self.unit
        return pa.field(self.name, self.arrow, data_set not in self.never_null, {"unit": meaning})


_PROSE: tuple[Of, ...] = ("document", "text")
_SHARE = "[0, 1]"
_LISTED = "[0, 1]; null where the language has no list"
_NGRAMS = "[0, 1], of letters"


def _ratio(name: str, of: tuple[Of, ...], title: str, unit: str, meaning: str = _SHARE, **more: Any) -> Score:
    return Score(name, of, title, unit, meaning, **{"high": 1.0, **more})


def _count(name: str, of: tuple[Of, ...], title: str, unit: str, meaning: str = "", **more: Any) -> Score:
    return Score(name, of, title, unit, meaning, **{"arrow": pa.int32(), "axis": "count", **more})


def _cosine(name: str, of: tuple[Of, ...], title: str, meaning: str, needs: tuple[str, ...] = ("clip",)) -> Score:
    return Score(name, of, title, "cosine", meaning, low=-1.0, high=1.0, needs=needs)


def _head(name: str, title: str, unit: str, meaning: str) -> Score:
    return Score(name, ("image",), title, unit, meaning, low=None, needs=(f"heads.{name}",))


def _unstored(name: str, of: Of, title: str, unit: str, axis: Axis = "linear", **more: Any) -> Score:
    return Score(name, (of,), title, unit, **{"arrow": None, "axis": axis, **more})


# fmt: off
_OF_TEXT: tuple[Score, ...] = (  # definitions: docs/text-scores.md
    _count("num_words", _PROSE, "Words", "words", "words", axis="log", never_null=("documents",)),
    _ratio("char_repetition_ratio", _PROSE, "Repeated 10-character sequences", "share of characters",
           "[0, 1], 10-grams"),
    _ratio("word_repetition_ratio", _PROSE, "Repeated 5-word sequences", "share of sequences", "[0, 1], 5-grams"),
    _ratio("special_char_ratio", _PROSE, "Characters that are no letters", "share of characters"),
    _ratio("stop_word_ratio", _PROSE, "Function words", "share of words", _LISTED),
    _ratio("flagged_word_ratio", _PROSE, "Flagged words", "share of words", _LISTED),
    _ratio("punctuation_ratio", _PROSE, "Punctuation marks", "marks per token",
           told={"nodes": "[0, 1]; null under 12 tokens"}),
    _ratio("spam_word_ratio", _PROSE, "Spam words (subscribe, share, click ...)", "share of words", _LISTED),
    _ratio("common_word_ratio", _PROSE, "Words that are common in the language", "share of words",
           "[0, 1]; null without a list of the user's", needs=("text.common_words",)),
    _count("num_lorem_ipsum", _PROSE, "Filler phrases", "phrases", "occurrences of filler phrases"),
    Score("mean_word_length", _PROSE, "Mean length of a word", "letters", "letters; null where words are letters"),
    _count("max_word_length", _PROSE, "Longest word", "letters", "letters; null where words are letters"),
    Score("symbol_word_ratio", _PROSE, "Hashes or ellipses", "symbols per word", "hashes or ellipses per word"),
    _ratio("alphabetic_word_ratio", _PROSE, "Pieces that hold a letter", "share of pieces",
           "[0, 1], of white-space pieces; null without any"),
    _ratio("terminal_punctuation_ratio", _PROSE, "Lines that end as a sentence does", "share of lines",
           "[0, 1], of lines; null in scripts without such marks"),
    _count("num_curly_brackets", _PROSE, "Curly brackets", "brackets", "occurrences"),
    _count("num_javascript", _PROSE, "Mentions of JavaScript", "times", "occurrences of the word"),
    _count("num_policy_phrases", _PROSE, 'Phrases such as "privacy policy"', "phrases",
           "occurrences of C4's phrases; null but in English"),
    _count("num_eval_ngrams", _PROSE, "Runs of words of an evaluation set", "runs of words",
           "n-grams of evaluation texts; null: none given", needs=("contamination.texts",)),
    _count("site_count", ("text",), "Number of times the text occurs on its host", "times",
           "times this very text occurs on its host"),
)

_OF_DOCUMENT: tuple[Score, ...] = (
    _count("num_stop_words", ("document",), "Different ones of the most frequent words", "words",
           "different ones of the language's most frequent; null where it has no list"),
    _ratio("bullet_line_ratio", ("document",), "Lines that are list items", "share of lines", "[0, 1], of lines"),
    _ratio("ellipsis_line_ratio", ("document",), "Lines that end with an ellipsis", "share of lines",
           "[0, 1], of lines; null in scripts without such marks"),
    _ratio("short_line_ratio", ("document",), "Short lines", "share of lines",
           "[0, 1], of lines; null in scripts where a short one is not known"),
    Score("line_break_ratio", ("document",), "Line breaks", "breaks per word", "line breaks per word"),
    _count("num_sentences", ("document",), "Sentences", "sentences", "sentences; null in scripts without such marks"),
    _ratio("duplicate_line_ratio", ("document",), "Lines that stood before", "share of lines", "[0, 1], of lines"),
    _ratio("duplicate_line_char_ratio", ("document",), "Characters in lines that stood before", "share of characters",
           "[0, 1], of the lines' characters"),
    _ratio("duplicate_paragraph_ratio", ("document",), "Paragraphs that stood before", "share of paragraphs",
           "[0, 1], of texts"),
    _ratio("duplicate_paragraph_char_ratio", ("document",), "Characters in paragraphs that stood before",
           "share of characters", "[0, 1], of the texts' characters"),
    *(_ratio(f"top_{n}gram_char_ratio", ("document",), f"Letters in the most frequent run of {n} words",
             "share of letters", _NGRAMS) for n in (2, 3, 4)),
    *(_ratio(f"duplicate_{n}gram_char_ratio", ("document",), f"Letters in runs of {n} words that stood before",
             "share of letters", _NGRAMS) for n in range(5, 11)),
    _ratio("eval_word_ratio", ("document",), "Words in runs of an evaluation set", "share of words",
           "[0, 1], words in n-grams of evaluation texts; null: none given", needs=("contamination.texts",)),
    Score("perplexity", ("document",), "Perplexity under a language model", "a token",
          "a token; null without a model of the user's", arrow=pa.float64(), needs=("text.perplexity_models",)),
    _ratio("quality", ("document",), "Quality by a classifier", "probability",
           "probability, [0, 1]; null without a model of the user's", needs=("text.quality_models",)),
    _unstored("language_score", "document", "Probability of the language", "probability", high=1.0),
    _unstored("words_left", "document", "Words left after the node rules", "words", "log"),
    _unstored("images_left", "document", "Pictures left after the node rules", "pictures", "count"),
    _unstored("assigned_ratio", "document", "Pictures that fit their assigned text", "share of pictures", high=1.0,
              needs=("clip",)),
)

_OF_IMAGE: tuple[Score, ...] = (
    _count("num_documents", ("image",), "Documents that show the same bytes", "documents",
           "documents that show these bytes", never_null=("images",)),
    _count("near_count", ("image",), "Documents that show it or a near-duplicate", "documents",
           "documents that show an image of the group", never_null=("images",),
           told={"nodes": "documents that show an image of its near-duplicate group"}),
    _count("semantic_count", ("image",), "Documents that show an image of like meaning", "documents",
           "documents that show an image of the semantic group", told={"nodes": "see image scores"},
           needs=("semantic",)),
    _cosine("clip_text_max", ("pair",), "CLIP: best-fitting text of the page",
            "cosine, highest over the document's texts"),
    _cosine("clip_near_max", ("pair",), "CLIP: better of the two neighbouring texts",
            "cosine, higher of the nearest text before and after"),
    _cosine("clip_alt", ("pair",), "CLIP: alternative text", "cosine with the alternative text"),
    _cosine("clip_caption", ("pair",), "CLIP: caption", "cosine with the caption"),
    _cosine("clip_assigned_score", ("pair",), "CLIP: assigned text", "cosine with that text"),
    _head("nsfw", "Probability of unsafe content", "probability", "probability, [0, 1]"),
    _head("aesthetic", "Aesthetic score", "head's own scale", "head's own scale"),
    _count("num_eval_images", ("image",), "Evaluation images that it looks like", "pictures",
           "evaluation images that it is a near-duplicate of; null: none given", only_in="nodes",
           needs=("contamination.images",)),
    Score("eval_similarity", ("image",), "Nearest evaluation image", "cosine",
          "cosine, highest with an evaluation image; null: not run", low=-1.0, high=1.0, only_in="nodes",
          needs=("clip", "contamination.images")),
    _head("watermark", "Probability of a watermark", "probability", "probability, [0, 1]"),
    _count("num_faces", ("image",), "Faces", "faces", "faces; null: not looked for", needs=("faces",)),
    _unstored("min_side", "image", "Shorter side", "pixels", "log"),
    _unstored("max_side", "image", "Longer side", "pixels", "log"),
    _unstored("min_rendered", "pair", "Shorter side as the page shows it", "pixels", "log"),
    _unstored("max_rendered", "pair", "Longer side as the page shows it", "pixels", "log"),
    _unstored("aspect_ratio", "image", "Width by height", "ratio", "log", lowest=0.01),
)
# fmt: on

SCORES: dict[str, Score] = {score.name: score for score in (*_OF_TEXT, *_OF_DOCUMENT, *_OF_IMAGE)}
"""By name. Columns stand in this order."""


def columns(data_set: DataSet) -> Iterator[pa.Field]:
    """The fields of a data set that hold scores, in the order of the table."""
    return (score.column(data_set) for score in SCORES.values() if data_set in score.data_sets)


def find_score(name: str) -> Score | None:
    """The entry of a score of gobelin's or of one of the user's heads (``head.NAME``); None: there is none."""
    if name.startswith(HEAD):
        head = name.removeprefix(HEAD)
        title = f"Head: {head.replace('_', ' ')}"
        return Score(name, ("image",), title, "head's own scale", arrow=None, low=None, needs=(f"heads.{head}",))
    return SCORES.get(name)
