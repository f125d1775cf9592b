"""The key of each stage: a digest of its settings, the files that they name, the input, and the previous stage's key.

A stage is done if its key is unchanged. Otherwise the stage and all later stages run again. Another version of gobelin
changes all keys, because its results may differ. Another version of a plug-in package changes the key of the stage that
uses it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata

from gobelin.data.schemas import SCHEMA_VERSION
from gobelin.pipeline.recipe.recipe import Recipe, fingerprint
from gobelin.pipeline.run.inputs import Archive
from gobelin.pipeline.run.state import Part
from gobelin.plugins import packages_of
from gobelin.store.files import exists, files_in, is_folder, list_files, tag_of
from gobelin.store.paths import join, name_of
from gobelin.transforms.selection.node_thresholds import RelativeThreshold
from gobelin.transforms.text.text_resources import resource_files
from gobelin.transforms.vision.clip import LOCAL_DIR
from gobelin.transforms.vision.heads import beside

IMAGES_SEEN = ("image_embeddings", "image_faces", "embed_decisions")
TEXTS_SEEN = ("text_embeddings", "text_decisions")
"""Data sets of ``score`` that models made of images and of texts; they are kept when it is complete."""

_VERSION = importlib.metadata.version("gobelin")


def stage_keys(recipe: Recipe, archives: tuple[Archive, ...]) -> dict[str, str]:
    """The key of each stage for a recipe and an input."""
    keys: dict[str, str] = {}
    files = [list(archive.to_json().values()) for archive in archives]
    blocked = _block_lists(recipe)
    keys["extract"] = fingerprint(_VERSION, SCHEMA_VERSION, files, recipe.num_shards, recipe.extract, blocked)
    keys["score"] = fingerprint(
        keys["extract"], recipe.score, _weights(recipe), _heads(recipe), _text_files(recipe), _earlier_keys(recipe),
        packages_of(recipe.score.plugins, ()),
    )  # fmt: skip
    keys["select"] = fingerprint(
        keys["score"], recipe.select, _reference_keys(recipe), packages_of((), recipe.select.plugins)
    )
    keys["tokenize"] = fingerprint(keys["select"], recipe.seed, recipe.tokenize, _tokenizer_files(recipe))
    given = [recipe.train.held_out] if recipe.train.held_out else []
    given += [join(address, "tokenize", "manifest.json") for address in sorted(recipe.train.mixture)]
    keys["train"] = fingerprint(keys["tokenize"], recipe.seed, recipe.train, _digest_files(given))
    keys["sample"] = fingerprint(keys["train"], recipe.seed, recipe.sample)
    keys["report"] = fingerprint(keys["sample"], recipe)
    return keys


def parts_of(stage: str, recipe: Recipe, keys: dict[str, str]) -> tuple[Part, ...]:
    """The parts of a stage with keys of their own. For ``score``, these are the outputs of models, which are most of
    its cost."""
    if stage != "score":
        return ()
    clip, weights, faces = recipe.score.clip, _weights(recipe), recipe.score.faces
    seen = fingerprint(keys["extract"], clip, weights, faces)
    return (
        Part("images", seen, IMAGES_SEEN),
        Part("texts", fingerprint(keys["extract"], clip, weights), TEXTS_SEEN),
    )


def _block_lists(recipe: Recipe) -> list[str]:
    """Digests of the files with block lists. If a list changes, all archives are read again."""
    lists = recipe.extract.block_list
    paths = [path for kind in (lists.md5, lists.sha256, lists.url_sha256, lists.url_md5, lists.pdq) for path in kind]
    return [_digest_files([path]) for path in paths]


def _earlier_keys(recipe: Recipe) -> list[str]:
    """Keys of the scores and decisions of earlier runs that this run refers to."""
    manifests = [join(run, stage, "manifest.json") for run in recipe.score.earlier for stage in ("score", "select")]
    return [_digest_files([path]) for path in manifests]


def _reference_keys(recipe: Recipe) -> list[str]:
    """Keys of the scores of other runs that relative thresholds refer to."""
    rules = [getattr(recipe.select.image, field.name) for field in dataclasses.fields(recipe.select.image)]
    runs = [rule.of for rule in rules if isinstance(rule, RelativeThreshold) and rule.of is not None]
    return [_digest_files([join(run, "score", "manifest.json")]) for run in runs]


def _text_files(recipe: Recipe) -> str:
    """Digest of the word lists, text models and evaluation sets that a recipe names."""
    named = resource_files(recipe.score.text, recipe.score.contamination)
    images = recipe.score.contamination.images if recipe.score.contamination else ()
    inside = [join(each, name) for each in images for name, _ in list_files(each)]
    return _digest_files([*named, *images, *inside])


def _heads(recipe: Recipe) -> list[str]:
    """Digests of the heads' files."""
    return [_digest_files([path, beside(path)]) for _, path in sorted(recipe.score.heads.items())]


def _weights(recipe: Recipe) -> str | None:
    """Digest of local CLIP weights; a tag or hub name is its own digest."""
    clip = recipe.score.clip
    if clip is None:
        return None
    if clip.model.startswith(LOCAL_DIR):
        folder = clip.model.removeprefix(LOCAL_DIR)
        return _digest_files(files_in(folder)) if is_folder(folder) else None
    return _digest_files([clip.pretrained]) if clip.pretrained and exists(clip.pretrained) else None


def _tokenizer_files(recipe: Recipe) -> list[str]:
    config = recipe.tokenize
    images = [each.image_tokenizer for each in config.image_tokenizers().values()]
    given = [path for path in (*images, config.text_tokenizer) if path]
    return [_digest_files(files_in(path) or [path]) for path in given if is_folder(path) or exists(path)]


def _digest_files(addresses: list[str]) -> str:
    """Digest of the names and contents of the files that exist."""
    digest = hashlib.sha256()
    for address in addresses:
        if exists(address):
            digest.update(f"{name_of(address)}\0{tag_of(address)}\0".encode())
    return digest.hexdigest()
