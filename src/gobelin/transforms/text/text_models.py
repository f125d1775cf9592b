"""The user's models that score a whole text: KenLM for perplexity, fastText for quality. Neither comes with gobelin.

    perplexity  10 ** (-log10 probability / tokens). The end of a line is a token. Lines are scored one by one, as in
                CCNet (arXiv 1911.00359), whose models OBELICS uses. Tokens are pieces of the SentencePiece model, of
                text that is normalised as CCNet's was: lower case, no accents, digits as 0, plain punctuation. Without
                a SentencePiece model they are words (words.py).
    quality     the probability of one label under a fastText classifier, for the text in one line (fastText stops at a
                line break)

The libraries are loaded if a recipe names a model: ``kenlm`` and ``sentencepiece`` for perplexity; fastText's predictor
is a dependency of language identification. A library parses the model's file in native code, so use only files that you
trust.

Cost: fastText scores 7 MB of text per second and core with a model of 176 labels. KenLM's speed depends on the size of
the model.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

from gobelin.errors import UserError
from gobelin.store.files import exists, local_copy
from gobelin.transforms.text.line_statistics import lines_of
from gobelin.transforms.text.text_config import TextScoreConfig
from gobelin.transforms.text.words import words_of

MAX_LINE = 10_000
"""Maximum number of characters of a line that are scored."""

Score = Callable[[list[str]], float | None]
"""Texts of a document -> its score; None if there is no text."""

_PLAIN = {
    "，": ",", "。": ".", "、": ",", "„": '"', "”": '"', "“": '"', "«": '"', "»": '"', "１": '"', "」": '"', "「": '"',
    "《": '"', "》": '"', "´": "'", "∶": ":", "：": ":", "？": "?", "！": "!", "（": "(", "）": ")", "；": ";",
    "–": "-", "—": " - ", "．": ". ", "～": "~", "’": "'", "…": "...", "━": "-", "〈": "<", "〉": ">", "【": "[",
    "】": "]", "％": "%", "►": "-",
}  # fmt: skip
_PLAIN_TABLE = str.maketrans(_PLAIN)
_DIGIT = re.compile(r"\d")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclasses.dataclass(frozen=True, slots=True)
class TextModels:
    """The models of a recipe by language. ``quality`` may have the key "*" for all other languages."""

    perplexity: dict[str, Score]
    quality: dict[str, Score]

    def scores(self, texts: list[str], language: str | None) -> dict[str, float | None]:
        """``perplexity`` and ``quality`` of a document; None if there is no model for its language."""
        perplexity = self.perplexity.get(language or "")
        quality = self.quality.get(language or "", self.quality.get("*"))
        return {
            "perplexity": perplexity(texts) if perplexity else None,
            "quality": quality(texts) if quality else None,
        }


def load_text_models(config: TextScoreConfig) -> TextModels:
    """The models that a recipe names.

    Raises:
        UserError: a file or a library is missing, a file is not such a model, or the model lacks the label.
    """
    for language in config.perplexity_tokenizers.keys() - config.perplexity_models.keys():
        raise UserError(f"perplexity_tokenizers names {language}, for which perplexity_models names no model")
    return TextModels(
        {
            language: load_perplexity(path, language, config.perplexity_tokenizers.get(language))
            for language, path in config.perplexity_models.items()
        },
        {language: load_quality(path, config.quality_label) for language, path in config.quality_models.items()},
    )


def load_perplexity(path: str, language: str, tokenizer: str | None = None) -> Score:
    """A function for the perplexity under a KenLM model. Raises as ``load_text_models`` does."""
    kenlm = _library("kenlm", "perplexity_models")
    _check_file(path, "perplexity_models")
    quiet = kenlm.Config()
    quiet.show_progress = False
    quiet.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        with local_copy(path) as file:
            model = kenlm.Model(file, quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"perplexity_models: {path} is not a KenLM model: {_first_line(error)}") from None
    split = functools.partial(_joined_words, language=language) if tokenizer is None else _pieces(tokenizer)
    return functools.partial(_perplexity, model=model, split=split)


def load_quality(path: str, label: str) -> Score:
    """A function for the probability of a label under a fastText classifier. Raises as ``load_text_models`` does."""
    fasttext = _library("fasttext", "quality_models", package="fasttext-predict")
    _check_file(path, "quality_models")
    try:
        with local_copy(path) as file:
            model = fasttext.load_model(file)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise UserError(f"quality_models: {path} is not a fastText model: {_first_line(error)}") from None
    labels = _predict(model, "a")
    if label not in labels:
        known = ", ".join(sorted(labels)[:5])
        raise UserError(f"quality_models: {path} knows no label {label!r}, but {known} ...; set quality_label to one")
    return functools.partial(_quality, model=model, label=label)


def _perplexity(texts: list[str], model: Any, split: Callable[[str], str]) -> float | None:
    log10_probability = 0.0
    num_tokens = 0
    for line in _lines(texts):
        tokens = split(line[:MAX_LINE])
        if tokens:
            log10_probability += model.score(tokens)
            num_tokens += tokens.count(" ") + 2  # the tokens and the end of the line
    if not num_tokens:
        return None
    return float(10.0 ** min(300.0, -log10_probability / num_tokens))


def _quality(texts: list[str], model: Any, label: str) -> float | None:
    text = " ".join(line[:MAX_LINE] for line in _lines(texts))
    if not text:
        return None
    return min(1.0, _predict(model, text)[label])


def _predict(model: Any, text: str) -> dict[str, float]:
    labels, probabilities = model.predict(text, k=-1, threshold=-1.0)
    return {str(label): float(probability) for label, probability in zip(labels, probabilities, strict=True)}


def _lines(texts: list[str]) -> Iterable[str]:
    for text in texts:
        yield from lines_of(text.replace("\0", " "))


def _joined_words(line: str, language: str) -> str:
    return " ".join(words_of(line, language))


def _pieces(path: str) -> Callable[[str], str]:
    sentencepiece = _library("sentencepiece", "perplexity_tokenizers")
    _check_file(path, "perplexity_tokenizers")
    processor = sentencepiece.SentencePieceProcessor()
    try:
        with local_copy(path) as file:
            processor.Load(file)
    except (OSError, RuntimeError) as error:
        raise UserError(f"perplexity_tokenizers: {path} is not a SentencePiece model: {_first_line(error)}") from None

    def split(line: str) -> str:
        return " ".join(processor.EncodeAsPieces(normalise(line)))

    return split


def normalise(line: str) -> str:
    """Normalises a line as CCNet did for the training of its language models."""
    line = "".join(
        character for character in unicodedata.normalize("NFD", line.lower()) if unicodedata.category(character) != "Mn"
    )
    return _UNPRINTABLE.sub("", _DIGIT.sub("0", line).translate(_PLAIN_TABLE)).strip()


def _library(name: str, setting: str, package: str | None = None) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"score.text.{setting} needs the library {package or name}: pip install {package or name}, or leave the "
            "setting out (the rule on it is then not run)"
        ) from None


def _check_file(path: str, setting: str) -> None:
    if not exists(path):
        raise UserError(f"score.text.{setting}: no file {path}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
