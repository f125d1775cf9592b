"""Finds suspicious values in a recipe, and missing files that it names.

The types of a recipe are checked when it is read. This module finds values that are valid but useless: an opt-out word
that no site uses, a format that no image has, a bound that nothing can pass. Such a rule would pass everything or
nothing, which would be noticed hours later. Files are checked before the first stage runs, because a later stage opens
them. Each file costs one request to the disk or the object store.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.plugins import known_score
from gobelin.store.files import exists, is_folder
from gobelin.store.paths import is_remote, join
from gobelin.transforms.duplicates.signatures import open_earlier
from gobelin.transforms.images.image_formats import DECODED
from gobelin.transforms.pages.content.language import given_instead_of, known_languages
from gobelin.transforms.rights.consent import USES, has_meaning
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.node_thresholds import RelativeThreshold
from gobelin.transforms.selection.rules import all_rules, threshold_of
from gobelin.transforms.vision.clip import LOCAL_DIR, model_name
from gobelin.transforms.vision.heads import load_head

_DIRECTIVES = ("noai", "noml", "noimageai", "noindex", "noimageindex", "disallow", "tdm-reservation=1", "ai-train=no",
               "train-ai=n")  # fmt: skip
"""What is proposed for a misspelt directive; more are known to ``has_meaning``."""

_BY_LANGUAGE = ("stop_words", "spam_words", "flagged_words", "common_words", "perplexity_models",
                "perplexity_tokenizers", "quality_models")  # fmt: skip
"""Settings of ``score.text`` that name files by language."""

_FORMATS = tuple(sorted(name.lower() for name in DECODED))

_COUNTRIES = {"cn": "zh", "cz": "cs", "dk": "da", "gr": "el", "jp": "ja", "ua": "uk"}
"""Country codes that are no language's, and the language that is meant."""


def doubtful_values(recipe: Recipe) -> list[str]:
    """Suspicious values, one sentence each."""
    select = recipe.select
    return [
        *_words("select.document.deny_consent", select.document.deny_consent),
        *_words("select.image.deny_consent", select.image.deny_consent),
        *_words("extract.gates.deny_consent", recipe.extract.gates.deny_consent),
        *_formats(select.image.formats),
        *_languages("select.document.languages", select.document.languages),
        *_languages("extract.gates.languages", recipe.extract.gates.languages),
        *_languages_of_files(recipe),
        *_unguarded(select),
        *_impossible(select),
        *_without_faces(recipe),
    ]


def _words(key: str, words: Iterable[str] | None) -> Iterator[str]:
    for word in words or ():
        if word.lower() not in USES and not has_meaning(word.lower()):
            known = ", ".join(USES)
            near = _nearest(word.lower(), (*USES, *_DIRECTIVES)) or f"the uses are {known}"
            yield f"{key}: {word!r} is no use and no directive that is known, so it refuses next to nothing; {near}"


def _formats(formats: Iterable[str] | None) -> Iterator[str]:
    for name in formats or ():
        if name not in _FORMATS:
            near = _nearest(name, _FORMATS) or f"formats are {', '.join(_FORMATS)}"
            yield f"select.image.formats: no picture is {name!r}; {near}"


def _languages(key: str, languages: Iterable[str] | None) -> Iterator[str]:
    for language in languages or ():
        if language in _COUNTRIES:
            yield f"{key}: {language!r} is a country; its language is {_COUNTRIES[language]!r}"
        elif language not in known_languages():
            given = given_instead_of(language)
            if not re.fullmatch(r"[a-z]{2,3}", language):
                yield f"{key}: no language is {language!r}; give codes of ISO 639-1, as {given or 'en or de'}"
            elif given is not None:
                yield f"{key}: language identification has no label {language!r}; its label is {given!r}"
            else:
                yield f"{key}: language identification has no label {language!r}, so no document has this language"


def _languages_of_files(recipe: Recipe) -> Iterator[str]:
    for name in _BY_LANGUAGE:
        yield from _languages(f"score.text.{name}", getattr(recipe.score.text, name))


def _unguarded(select: SelectConfig) -> Iterator[str]:
    """A warning if images may pass without a safety score, and the recipe does not allow that explicitly."""
    is_guarded = any(rule.is_safety and threshold_of(rule, select) is not None for rule in all_rules(select))
    if select.unscored_for_safety == "drop" and not is_guarded:
        yield (
            "select.unscored_for_safety: no safety rule is on (image.max_nsfw), so images that were not checked for "
            "safety are kept; give the rule a threshold, or set unscored_for_safety to keep"
        )


def _impossible(select: SelectConfig) -> Iterator[str]:
    for rule in all_rules(select):
        entry, value = known_score(rule.score or ""), threshold_of(rule, select)
        if entry is None or not isinstance(value, (int, float)):
            continue
        if not rule.keeps_above and entry.low is not None and value < entry.low:
            yield f"select.{rule.name} {value}: the score is never below {entry.low:g}, so nothing can pass"
        elif rule.keeps_above and entry.high is not None and value > entry.high:
            yield f"select.{rule.name} {value}: the score is at most {entry.high:g}, so nothing can pass"


def _without_faces(recipe: Recipe) -> Iterator[str]:
    if recipe.tokenize.blur_faces and recipe.score.faces is None:
        yield "tokenize.blur_faces needs score.faces, which finds the faces: tokenize will stop"


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def unusable_inputs(recipe: Recipe) -> list[str]:
    """Problems with the files and folders of a recipe up to its section ``select``, one sentence each: missing ones,
    heads that cannot be read or belong to another CLIP model, and earlier runs whose signatures cannot be compared.
    Paths are relative to the working directory."""
    return [
        *(f"{key}: {path}: {problem}" for key, path in _named_files(recipe) if (problem := _problem_with(path))),
        *_unusable_heads(recipe),
        *_unusable_earlier(recipe.score),
    ]


def unusable_tokenizers(recipe: Recipe) -> list[str]:
    """Missing tokenizers that the section ``tokenize`` names, one sentence each."""
    named = {"text_tokenizer": recipe.tokenize.text_tokenizer}
    for name, each in recipe.tokenize.image_tokenizers().items():
        named[f"codebooks.{name}.image_tokenizer" if name else "image_tokenizer"] = each.image_tokenizer
    return [
        f"tokenize.{key}: {path}: {problem}" for key, path in named.items() if path and (problem := _problem_with(path))
    ]


def tokenize_lacks(recipe: Recipe) -> list[str]:
    """Inputs of the section ``tokenize`` that earlier stages will not produce, one sentence each. The stage itself
    would notice this hours later."""
    lacks = []
    if recipe.tokenize.order == "assigned" and recipe.score.clip is None:
        lacks.append("tokenize.order: assigned needs score.clip, which assigns images to texts: set it")
    if recipe.tokenize.blur_faces and recipe.score.faces is None:
        lacks.append("tokenize.blur_faces needs score.faces, which finds the faces: set it, or leave out blur_faces")
    return lacks


def other_clip_model(recipe: Recipe) -> list[str]:
    """A warning if the CLIP thresholds of ``select`` belong to another model than ``score`` will load, judged by its
    name. ``select`` would refuse the scores later."""
    clip, stated = recipe.score.clip, recipe.select.image.clip_model
    if clip is None or stated is None or stated.partition("@")[0] == model_name(clip.model, clip.pretrained):
        return []
    model = model_name(clip.model, clip.pretrained)
    return [
        f"the CLIP thresholds hold for {stated} (select.image.clip_model), and score.clip is {model}: set "
        f"select.image.clip_model={model} and choose new thresholds, or relative ones ({{top_fraction: 0.3}})"
    ]


def _problem_with(path: str) -> str | None:
    """The reason why a file or folder cannot be read, in a few words; None if it can."""
    try:
        return None if exists(path) or is_folder(path) else "no such file or folder"
    except OSError as error:
        return f"cannot be looked at: {error.strerror or error}"


def _unusable_heads(recipe: Recipe) -> Iterator[str]:
    clip = recipe.score.clip
    for name, path in recipe.score.heads.items():
        if clip is None or _problem_with(path):
            continue
        try:
            head = load_head(path)
        except UserError as error:
            yield f"score.heads.{name}: {error}"
            continue
        stated, model = head.clip_model.partition("@")[0], model_name(clip.model, clip.pretrained)
        if stated != model:
            yield f"score.heads.{name}: {path} reads embeddings of {stated}, and score.clip is {model}"


def _unusable_earlier(config: ScoreConfig) -> Iterator[str]:
    for folder in config.earlier:
        if not _problem_with(folder):
            try:
                open_earlier((folder,), config.minhash)
            except UserError as error:
                yield str(error)


def _named_files(recipe: Recipe) -> Iterator[tuple[str, str]]:
    lists, score = recipe.extract.block_list, recipe.score
    for kind in ("md5", "sha256", "url_sha256", "url_md5", "pdq"):
        yield from ((f"extract.block_list.{kind}", path) for path in getattr(lists, kind))
    for name in _BY_LANGUAGE:
        named: dict[str, Any] = getattr(score.text, name)
        yield from ((f"score.text.{name}.{language}", path) for language, path in named.items())
    if score.contamination is not None:
        yield from (("score.contamination.texts", path) for path in score.contamination.texts)
        yield from (("score.contamination.images", path) for path in score.contamination.images)
    yield from (("score.earlier", path) for path in score.earlier)
    for name, path in score.heads.items():
        yield f"score.heads.{name}", path
    for rule in dataclasses.fields(recipe.select.image):
        place = getattr(recipe.select.image, rule.name)
        if isinstance(place, RelativeThreshold) and place.of is not None:
            yield f"select.image.{rule.name}.of", join(place.of, "score", "documents")
    if score.clip is not None and score.clip.model.startswith(LOCAL_DIR):
        yield "score.clip.model", score.clip.model.removeprefix(LOCAL_DIR)
    if score.clip is not None and score.clip.pretrained is not None and is_remote(score.clip.pretrained):
        yield "score.clip.pretrained", score.clip.pretrained
