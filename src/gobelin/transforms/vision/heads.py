"""Heads: small networks that map a CLIP embedding of an image to one number (aesthetic, NSFW, watermark ...).

A head consists of two files without code, ``NAME.safetensors`` with the weights and ``NAME.json`` beside it:

    {"format": "gobelin-head", "version": 1, "name": "aesthetic",
     "clip_model": "ViT-L-14-quickgelu/openai",   of its embeddings: a fingerprint, or the part before the @
     "dim": 768, "normalise": "l2",               length of an embedding, which has unit norm
     "activations": ["relu", "sigmoid"],          after each linear layer: none | relu | sigmoid
     "range": [0.0, 1.0], "higher_is": "worse",   of the output; null if it is unbounded
     "licence": "MIT", "source": "...", "sha256": "..." (of the original file), "notes": {...}}

Tensors: ``layers.0.weight`` (outputs, inputs), ``layers.0.bias`` (outputs), ``layers.1.weight`` ...; the last layer has
one
output. Means and variances of an input standardisation are folded into the first layer when a head is made.

To use a head with another model than its own is an error, and so is a pair of files that do not fit each other. gobelin
only stores embeddings of unit length, so ``normalise`` has no other value. All is computed in float64. A linear head
takes 2 microseconds per image, a published NSFW head 10.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gobelin.errors import UserError
from gobelin.scores import SCORES
from gobelin.store.files import exists, read_bytes, size_of, write_bytes
from gobelin.store.paths import name_of

Activation = Literal["none", "relu", "sigmoid"]

FORMAT = "gobelin-head"
VERSION = 1
OWN_COLUMNS = tuple(score.name for score in SCORES.values() if score.needs == (f"heads.{score.name}",))
"""Names of heads whose scores have a column of their own. The scores of all others are in the column ``heads``."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ROWS_AT_ONCE = 4096
_MAX_SIDECAR_BYTES = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """Computes ``activation(weight @ x + bias)``."""

    weight: npt.NDArray[np.float64]  # (outputs, inputs)
    bias: npt.NDArray[np.float64]  # (outputs,)
    activation: Activation


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """A function of an embedding, and its metadata; see the module's docstring for the fields."""

    name: str
    clip_model: str
    layers: tuple[Layer, ...]
    higher_is: Literal["better", "worse"]
    range: tuple[float, float] | None = None
    licence: str | None = None
    source: str | None = None
    sha256: str | None = None
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def dim(self) -> int:
        return self.layers[0].weight.shape[1]

    def score(self, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """The score, (N,), of each of N embeddings, (N, dim). NaN for an embedding of length 0."""
        scores = np.empty(len(embeddings), np.float32)
        for start in range(0, len(embeddings), _ROWS_AT_ONCE):
            values = embeddings[start : start + _ROWS_AT_ONCE].astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                values /= np.linalg.norm(values, axis=1, keepdims=True)
                for layer in self.layers:
                    values = _activate(values @ layer.weight.T + layer.bias, layer.activation)
            scores[start : start + len(values)] = values[:, 0]
        return scores


def _activate(values: npt.NDArray[np.float64], activation: Activation) -> npt.NDArray[np.float64]:
    if activation == "relu":
        return np.maximum(values, 0.0)
    return np.exp(-np.logaddexp(0.0, -values)) if activation == "sigmoid" else values


def is_model(fingerprint: str, stated: str) -> bool:
    """Whether a CLIP model's fingerprint (``NAME/WEIGHTS@DIGEST``) is the stated one, which may lack the digest."""
    return fingerprint == stated or fingerprint.partition("@")[0] == stated


def check_heads(heads: Mapping[str, Head], fingerprint: str) -> None:
    """Raises ``UserError`` if a head belongs to another CLIP model than the embeddings."""
    for name, head in heads.items():
        if not is_model(fingerprint, head.clip_model):
            raise UserError(
                f"head {name!r} reads embeddings of {head.clip_model}, and score.clip is {fingerprint}: its "
                "scores would mean nothing. Use the head's model, or a head trained for this one (gobelin heads train)"
            )


def fold_standardisation(
    weight: npt.NDArray[np.floating], bias: npt.NDArray[np.floating], mean: npt.ArrayLike, std: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(weight, bias) of a layer on raw inputs, from those of a layer on ``(x - mean) / std``."""
    folded = np.asarray(weight, np.float64) / np.asarray(std, np.float64)
    return folded, np.asarray(bias, np.float64) - folded @ np.asarray(mean, np.float64)


def save_head(head: Head, path: str) -> None:
    """Writes ``path`` (.safetensors) and the .json beside it.

    Raises:
        UserError: the path has another suffix, or the head's layers do not fit each other.
    """
    from safetensors.numpy import save

    _check_ending(path)
    _check(head, path)
    tensors = {}
    for place, layer in enumerate(head.layers):
        tensors[f"layers.{place}.weight"] = np.ascontiguousarray(layer.weight, np.float32)
        tensors[f"layers.{place}.bias"] = np.ascontiguousarray(layer.bias, np.float32)
    sidecar = {
        "format": FORMAT,
        "version": VERSION,
        "name": head.name,
        "clip_model": head.clip_model,
        "dim": head.dim,
        "normalise": "l2",
        "activations": [layer.activation for layer in head.layers],
        "range": head.range,
        "higher_is": head.higher_is,
        "licence": head.licence,
        "source": head.source,
        "sha256": head.sha256,
        "notes": dict(head.notes),
    }
    write_bytes(path, save(tensors))
    text = json.dumps(sidecar, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(beside(path), (text + "\n").encode())


def load_head(path: str) -> Head:
    """Loads the head of a ``.safetensors`` file and the ``.json`` beside it.

    Raises:
        UserError: a file is missing or is not a head's, or the two do not fit each other. The message says which and
            why.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ModuleNotFoundError as error:
        raise UserError(f"heads need {error.name}: pip install 'gobelin[models]'") from error
    _check_ending(path)
    sidecar = _sidecar(path)
    try:
        tensors = load(read_bytes(path))
    except FileNotFoundError:
        raise UserError(f"head {path}: no such file") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"head {path} is not a safetensors file: {error}") from None
    activations = sidecar["activations"]
    wanted = {f"layers.{place}.{part}" for place in range(len(activations)) for part in ("weight", "bias")}
    if tensors.keys() != wanted:
        raise UserError(
            f"head {path}: its sidecar describes {len(activations)} layers, its tensors are "
            f"{', '.join(sorted(tensors)) or 'none'}"
        )
    layers = tuple(
        Layer(
            tensors[f"layers.{place}.weight"].astype(np.float64),
            tensors[f"layers.{place}.bias"].astype(np.float64),
            activation,
        )
        for place, activation in enumerate(activations)
    )
    head = Head(
        name=sidecar["name"],
        clip_model=sidecar["clip_model"],
        layers=layers,
        higher_is=sidecar["higher_is"],
        range=None if sidecar.get("range") is None else tuple(sidecar["range"]),
        licence=sidecar.get("licence"),
        source=sidecar.get("source"),
        sha256=sidecar.get("sha256"),
        notes=sidecar.get("notes") or {},
    )
    _check(head, path)
    if head.dim != sidecar["dim"]:
        raise UserError(f"head {path}: its sidecar says dim {sidecar['dim']}, its weights take {head.dim} numbers")
    return head


def check_name(name: str) -> None:
    """Raises ``UserError`` if a name cannot be a head's. It becomes part of names of rules."""
    if not _NAME.fullmatch(name):
        raise UserError(f"a head's name is lower-case letters, digits and underscores, a letter first; got {name!r}")


def beside(path: str) -> str:
    """The path of the ``.json`` beside a head's ``.safetensors``."""
    return os.path.splitext(path)[0] + ".json"


def _check_ending(path: str) -> None:
    if os.path.splitext(path)[1] != ".safetensors":
        raise UserError(
            f"head {path}: a head is a .safetensors file with a .json beside it; `gobelin heads convert` makes one "
            "from a published file"
        )


def _sidecar(path: str) -> dict[str, Any]:
    address, name = beside(path), name_of(beside(path))
    if not exists(address):
        raise UserError(f"head {path}: there is no {name} beside it, which must describe its input and output")
    if size_of(address) > _MAX_SIDECAR_BYTES:
        raise UserError(f"head {path}: {name} is longer than {_MAX_SIDECAR_BYTES} bytes")
    try:
        sidecar = json.loads(read_bytes(address).decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"head {path}: {name} is not JSON: {error}") from None
    if not isinstance(sidecar, dict) or sidecar.get("format") != FORMAT:
        raise UserError(f"head {path}: {name} does not describe a head (format: {FORMAT})")
    if sidecar.get("version") != VERSION:
        raise UserError(
            f"head {path}: version {sidecar.get('version')!r} is not {VERSION}: another version of gobelin made it"
        )
    for key, kind in (("name", str), ("clip_model", str), ("dim", int), ("activations", list)):
        if not isinstance(sidecar.get(key), kind):
            raise UserError(f"head {path}: {key} is missing in {name}, or has a wrong type")
    if sidecar.get("normalise") != "l2":
        raise UserError(
            f"head {path}: normalise is {sidecar.get('normalise')!r}, but gobelin's embeddings have unit length (l2)"
        )
    return sidecar


def _check(head: Head, path: str) -> None:
    check_name(head.name)
    problem = None
    if not head.layers:
        problem = "it has no layer"
    for place, layer in enumerate(head.layers):
        outputs = layer.weight.shape[:1]
        if layer.weight.ndim != 2 or layer.bias.shape != outputs:
            problem = f"layer {place} has a weight of shape {layer.weight.shape} and a bias of {layer.bias.shape}"
        elif place and layer.weight.shape[1] != head.layers[place - 1].weight.shape[0]:
            problem = f"layer {place} takes {layer.weight.shape[1]} inputs, but the layer before it has another width"
        elif place == len(head.layers) - 1 and outputs != (1,):
            problem = f"its last layer has {outputs[0]} outputs instead of one"
        elif not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
            problem = f"layer {place} has weights that are not finite"
        elif layer.activation not in ("none", "relu", "sigmoid"):
            problem = f"activation {layer.activation!r} must be one of none, relu, sigmoid"
        if problem:
            break
    if not problem and head.higher_is not in ("better", "worse"):
        problem = f"higher_is must be better or worse, got {head.higher_is!r}"
    if not problem and head.range is not None:
        numbers = all(isinstance(end, (int, float)) and math.isfinite(end) for end in head.range)
        if len(head.range) != 2 or not numbers or head.range[0] >= head.range[1]:
            problem = f"range must be null or [low, high], got {list(head.range)}"
    if problem:
        raise UserError(f"head {path}: {problem}")
