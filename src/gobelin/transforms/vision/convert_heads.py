"""Converts published heads to gobelin's format: LAION's aesthetic predictors, NSFW detectors and violence prompts.

    kind           published file                                          input               layers
    aesthetic-v1   sa_0_4_vit_{b_16,b_32,l_14}_linear.pth                  OpenAI B/16 .. L/14 one, linear
    aesthetic-v2   sac+logos+ava1-l14-linearMSE.pth                        OpenAI L/14         five without activation,
                                                                                               multiplied into one
    nsfw           clip_ViT-{B-32,L-14}_openai_binary_nsfw_head.pth,       OpenAI B/32, L/14   standardised, ReLU,
                   DataComp's port of the same                                                 sigmoid
                   h14_nsfw.pth                                            LAION H/14          ReLU, no sigmoid
    violence       violence_detection_vit_{b_32,l_14}.npy                  OpenAI B/32, L/14   two prompts

Layouts: LAION-AI/aesthetic-predictor, christophschuhmann/improved-aesthetic-predictor,
LAION-AI/CLIP-based-NSFW-Detector (src/models.py, h14_nsfw_model.py), mlfoundations/dataset2metadata (models.py). All of
them
read L2-normalised embeddings. ``.pth`` files are read with ``weights_only=True``, which runs no code from them, and
``.npy``
files without pickle; a file that cannot be read in this way is refused. A Keras SavedModel (the .zip of the NSFW
detector)
would need TensorFlow and may contain code; the same weights are published as .pth.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import Any

import numpy as np
import numpy.typing as npt

from gobelin.errors import UserError
from gobelin.store.files import digest_of, exists, local_copy
from gobelin.store.paths import name_of
from gobelin.transforms.vision.heads import Head, Layer, fold_standardisation

Tensors = Mapping[str, npt.NDArray[np.floating]]

OPENAI = {"b_16": "ViT-B-16-quickgelu/openai", "b_32": "ViT-B-32-quickgelu/openai", "l_14": "ViT-L-14-quickgelu/openai"}
_BY_DIM = {512: OPENAI["b_32"], 768: OPENAI["l_14"], 1024: "ViT-H-14/laion2b_s32b_b79k"}
_MIT, _APACHE = "MIT", "Apache-2.0"
_VIOLENCE_SCALE = 100.0
_NUMBERED = re.compile(r"\d+")


def convert_head(path: str, kind: str, clip_model: str | None = None, name: str | None = None) -> Head:
    """The head of a published file.

    Args:
        kind: a key of ``KINDS``.
        clip_model: the CLIP model of its embeddings, if it is not the one that the kind and size imply.
        name: of the head; None: aesthetic, nsfw or violence.

    Raises:
        UserError: the kind or file does not exist, the file cannot be read without running code, or its layout is not
            that of
            the kind.
    """
    if kind not in KINDS:
        raise UserError(f"no kind of head {kind!r}: known are {', '.join(KINDS)}")
    if not exists(path):
        raise UserError(f"{path}: no such file")
    try:
        with local_copy(path) as file:
            head = KINDS[kind](file)
    except KeyError as error:
        raise UserError(f"{name_of(path)} is not a file of {kind}: it has no {error.args[0]}") from None
    return Head(
        name=name or kind.partition("-")[0],
        clip_model=clip_model or _model_of(path, head.dim, kind),
        layers=head.layers,
        higher_is=head.higher_is,
        range=head.range,
        licence=head.licence,
        source=f"{head.source}: {name_of(path)}",
        sha256=digest_of(path),
        notes=head.notes,
    )


def _model_of(path: str, dim: int, kind: str) -> str:
    for part, model in OPENAI.items():
        if part in name_of(path).lower().replace("-", "_"):
            return model
    if dim not in _BY_DIM or kind == "aesthetic-v1":
        raise UserError(f"{name_of(path)} does not tell the CLIP model of its embeddings: give --clip-model")
    return _BY_DIM[dim]


def _aesthetic_v1(path: str) -> Head:
    tensors = _state_dict(path)
    _expect(path, tensors, {"weight", "bias"}, "aesthetic-v1")
    layer = Layer(tensors["weight"].astype(np.float64), tensors["bias"].astype(np.float64), "none")
    return _draft((layer,), "better", None, _MIT, "LAION-AI/aesthetic-predictor", {"scale": "about 1 to 10"})


def _aesthetic_v2(path: str) -> Head:
    tensors = _state_dict(path)
    names = [f"layers.{place}" for place in (0, 2, 4, 6, 7)]
    _expect(path, tensors, {f"{name}.{part}" for name in names for part in ("weight", "bias")}, "aesthetic-v2")
    weight = tensors["layers.0.weight"].astype(np.float64)
    bias = tensors["layers.0.bias"].astype(np.float64)
    for name in names[1:]:  # there is no activation between them, so they are one matrix
        following = tensors[f"{name}.weight"].astype(np.float64)
        weight, bias = following @ weight, following @ bias + tensors[f"{name}.bias"].astype(np.float64)
    source = "christophschuhmann/improved-aesthetic-predictor"
    notes = {"scale": "about 1 to 10; LAION-Aesthetics cuts at 4.5, 4.75, 5, 6, 6.25, 6.5"}
    return _draft((Layer(weight, bias, "none"),), "better", None, _APACHE, source, notes)


def _nsfw(path: str) -> Head:
    tensors = _state_dict(path)
    source = "LAION-AI/CLIP-based-NSFW-Detector"
    if "layers.0.weight" in tensors:  # H/14
        names = _in_order(tensors, r"layers\.\d+")
        layers = [_layer(tensors, name, "relu") for name in names]
        # The last two layers have no activation.
        layers[-2:] = [Layer(layer.weight, layer.bias, "none") for layer in layers[-2:]]
        return _draft(tuple(layers), "worse", None, _MIT, source, {"scale": "a regression on 0 to 1, without bounds"})
    if "norm.mean" in tensors:
        mean, variance = tensors["norm.mean"], tensors["norm.variance"]
        names = _in_order(tensors, r"linear_\d+")
        std = np.sqrt(variance.astype(np.float64)) + 1e-10
    elif "norm.running_mean" in tensors:  # a batch norm of eps 0, whose weight and bias may be other than 1 and 0
        mean = tensors["norm.running_mean"].astype(np.float64)
        std = np.sqrt(tensors["norm.running_var"].astype(np.float64)) / tensors["norm.weight"]
        mean = mean - tensors["norm.bias"] * std
        names = _in_order(tensors, r"dense\d*")
    else:
        raise UserError(f"{name_of(path)} is not an NSFW head of LAION: it has {', '.join(sorted(tensors)[:6])} ...")
    layers = [_layer(tensors, name, "relu") for name in names]
    first, last = layers[0], layers[-1]
    layers[0] = Layer(*fold_standardisation(first.weight, first.bias, mean, std), "relu")
    layers[-1] = Layer(last.weight, last.bias, "sigmoid")
    notes = {"cuts": "MMC4 0.1, clip-retrieval and NeMo Curator 0.5, OmniCorpus 0.8"}
    return _draft(tuple(layers), "worse", (0.0, 1.0), _MIT, source, notes)


def _violence(path: str) -> Head:
    try:
        with open(path, "rb") as stream:
            rows = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{name_of(path)} is not an .npy file of numbers: {error}") from None
    if rows.ndim != 2 or len(rows) != 2 or rows.dtype.kind != "f":
        raise UserError(f"{name_of(path)}: a violence head is two prompts, an array of shape (2, dim)")
    units = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    layer = Layer(_VIOLENCE_SCALE * (units[1] - units[0])[None], np.zeros(1), "sigmoid")
    notes = {"scale": f"softmax of {_VIOLENCE_SCALE:g} times the cosines; above 0.5 is what LAION's argmax says"}
    return _draft((layer,), "worse", (0.0, 1.0), _MIT, "LAION-AI/CLIP-based-NSFW-Detector", notes)


def _draft(
    layers: tuple[Layer, ...],
    higher_is: Any,
    bounds: tuple[float, float] | None,
    licence: str,
    source: str,
    notes: dict[str, Any],
) -> Head:
    return Head("draft", "", layers, higher_is, bounds, licence, source, None, notes)


KINDS: dict[str, Callable[[str], Head]] = {
    "aesthetic-v1": _aesthetic_v1,
    "aesthetic-v2": _aesthetic_v2,
    "nsfw": _nsfw,
    "violence": _violence,
}
"""Kinds of published files."""


def _state_dict(path: str) -> dict[str, npt.NDArray[np.floating]]:
    name = name_of(path)
    ending = os.path.splitext(name)[1]
    if ending in (".zip", ".keras", ".h5"):
        raise UserError(
            f"{name} is a Keras model, which needs TensorFlow and may hold code. LAION publishes the same NSFW "
            "heads as models/clip_ViT-L-14_openai_binary_nsfw_head.pth and clip_ViT-B-32_...: convert one of those"
        )
    if ending in (".p", ".pkl", ".pickle"):
        raise UserError(
            f"{name} is a pickle, which runs code when it is read. If you trust it, read it once yourself "
            "and write the array with numpy.save"
        )
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about formats that are refused anyway
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, ValueError, EOFError, OSError, KeyError, TypeError, AttributeError) as error:
        first = str(error).strip().partition("\n")[0][:200]
        said = f" (torch: {first})" if first and not isinstance(error, KeyError) else ""  # a KeyError has only a byte
        raise UserError(
            f"{name} holds other objects than tensors or is damaged. It is not read, because that may run code{said}"
        ) from None
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise UserError(f"{name} is not a state dict: a mapping of names to tensors")
    return {key: tensor.detach().to(torch.float32).numpy() for key, tensor in loaded.items()}


def _expect(path: str, tensors: Tensors, names: set[str], kind: str) -> None:
    if set(tensors) != names:
        raise UserError(
            f"{name_of(path)} is not a file of {kind}: expected {', '.join(sorted(names))}, found "
            f"{', '.join(sorted(tensors)[:12]) or 'nothing'}"
        )


def _in_order(tensors: Tensors, pattern: str) -> list[str]:
    """The names of layers that match a pattern, by number; a name without a number comes first."""
    found = {name.removesuffix(".weight") for name in tensors if re.fullmatch(rf"{pattern}\.weight", name)}
    return sorted(found, key=lambda name: int((_NUMBERED.findall(name) or ["-1"])[-1]))


def _layer(tensors: Tensors, name: str, activation: Any) -> Layer:
    return Layer(tensors[f"{name}.weight"].astype(np.float64), tensors[f"{name}.bias"].astype(np.float64), activation)
