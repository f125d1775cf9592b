"""Measures how well an image and a text match: cosines of CLIP embeddings (Radford et al., 2021, arXiv 2103.00020).

Models are loaded by open_clip from a name and weights, and are identified by a ``fingerprint``, because a threshold is
only valid for one model: 0.28 for OpenAI's ViT-B/32 (LAION-5B), 0.15 for ViT-L/14 (MMC4). Conditions that would
silently shift scores are errors here: missing weights (random ones are never used), and another activation than the one
that the weights were trained with (QuickGELU).

Embeddings are L2-normalised float16. Cosines are computed from them in float64, so they depend only on the two vectors.
An embedding itself depends on the shape of its batch, in the last bits of float32, so each batch is padded to
``batch_size``. With that, an image or text got the same bits in any batch and at any position, with one thread and with
two (ViT-B/32 and a small model, on CPU). Other devices, versions and batch sizes may round differently: batches of 1
against 64 changed 1 number in 2000 by one unit of float16.

A text model reads only the first ``context_length`` tokens (77 in public models, about 55 English words).

torch and open_clip are imported inside functions. Computations from stored embeddings need neither: ``image_text``,
``heads``, ``zero_shot``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from gobelin.errors import UserError
from gobelin.store.files import exists, local_copy
from gobelin.store.paths import is_remote, name_of
from gobelin.transforms.vision.model_hub import hub_or_cache

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_T = TypeVar("_T")

LOCAL_DIR = "local-dir:"
_HUB = "hf-hub:"
# The resized image is cropped to its central square, so cutting off the ends of a long strip first changes nothing. A
# strip of 1 x 10 000 pixels would otherwise be enlarged to 224 x 2 240 000.
_MAX_ASPECT = 8
# open_clip's tokenizer caches all words.
_MAX_REMEMBERED_WORDS = 100_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """Which CLIP model to use, and how."""

    model: str
    """An architecture of open_clip ("ViT-B-32-quickgelu"), "local-dir:DIR" (open_clip_config.json and weights, as
    ``examples.demo.fit_clip`` writes) or "hf-hub:ORG/NAME" (downloads)."""
    pretrained: str | None = None
    """Weights for an architecture: a tag of open_clip ("openai"; downloads unless cached) or a file. A file does not
    tell the activation of its training: for OpenAI's weights, among others, use the "-quickgelu" architecture. None
    with "local-dir:" and "hf-hub:", which contain their weights."""
    batch_size: int = 16
    """Images or texts per batch. A larger batch uses more memory. Another size changes the last bits of embeddings."""


@dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True)  # Beam shares models by weak reference
class ClipModel:
    """A loaded model. ``embed_images`` and ``embed_texts`` keep the order of their inputs."""

    fingerprint: str
    dim: int  # of an embedding
    batch_size: int
    context_length: int  # tokens
    image_size: int  # longer side of its input, px
    logit_scale: float  # factor of cosines before a softmax
    _model: Any
    _preprocess: Callable[[Image], torch.Tensor]
    _tokenize: Callable[[list[str]], torch.Tensor]
    _device: torch.device

    def prepare_image(self, image: Image) -> torch.Tensor:
        """The model's input for an image (mode RGB, any size). Thread-safe."""
        return self._preprocess(_limit_aspect(image))

    def prepare_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Token ids, (N, context_length), of N texts. Text beyond the context length is cut off."""
        return self._tokenize([_limit_words(text, self.context_length) for text in texts])

    def embed_prepared_images(self, prepared: Sequence[torch.Tensor]) -> npt.NDArray[np.float16]:
        """Embeddings, (N, dim), unit length, of at most ``batch_size`` images from ``prepare_image``."""
        import torch

        return self._encode(torch.stack(list(prepared)), self._model.encode_image)

    def embed_images(self, images: Iterable[Image]) -> npt.NDArray[np.float16]:
        """Embeddings, (N, dim), unit length, of N images (mode RGB, any size)."""
        batches = in_batches(map(self.prepare_image, images), self.batch_size)
        return self._joined(map(self.embed_prepared_images, batches))

    def embed_texts(self, texts: Iterable[str]) -> npt.NDArray[np.float16]:
        """Embeddings, (N, dim), unit length, of N texts. Text beyond the context length is ignored."""
        batches = in_batches(texts, self.batch_size)
        return self._joined(self._encode(self.prepare_texts(batch), self._model.encode_text) for batch in batches)

    def _joined(self, embedded: Iterable[npt.NDArray[np.float16]]) -> npt.NDArray[np.float16]:
        return np.concatenate([np.empty((0, self.dim), np.float16), *embedded])

    def _encode(self, batch: torch.Tensor, encode: Callable[..., torch.Tensor]) -> npt.NDArray[np.float16]:
        import torch

        num = len(batch)
        if num < self.batch_size:  # always the same shape; see the module's docstring
            batch = torch.cat([batch, batch.new_zeros((self.batch_size - num, *batch.shape[1:]))])
        with torch.inference_mode():
            return encode(batch.to(self._device), normalize=True)[:num].half().cpu().numpy()


def in_batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Lists of ``size`` items; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def load_clip(spec: ClipSpec, device: torch.device | str) -> ClipModel:
    """Loads the model of ``spec`` on ``device``.

    Raises:
        UserError: the model or its weights are unknown, missing or unreadable, do not fit each other, or were trained
            with
            another activation. The message says what to do.
    """
    try:
        import open_clip
        import torch
        from safetensors import SafetensorError
    except ModuleNotFoundError as error:
        raise UserError(f"CLIP scores need {error.name}: pip install 'gobelin[models]'") from error
    # Exceptions of open_clip, torch and safetensors for files that are missing, broken, or of another architecture.
    unreadable = (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, AssertionError,
                  ModuleNotFoundError, UnpicklingError, SafetensorError)  # fmt: skip
    own_weights = spec.model.startswith((LOCAL_DIR, _HUB))
    _check_weights_named(spec, own_weights)
    if not own_weights:
        _check_architecture(spec)
    try:
        with (
            contextlib.nullcontext() if _is_on_disk(spec) else hub_or_cache(),
            _on_disk(spec) as local,
            torch.random.fork_rng(devices=[]),  # weights are first drawn, then replaced
        ):
            model, preprocess = open_clip.create_model_from_pretrained(local.model, local.pretrained, device=device)
            config = open_clip.get_model_config(local.model)
            tokenizer = open_clip.get_tokenizer(local.model, **_tokenizer_files(local.model, config))
    except unreadable as error:
        raise UserError(_why_not_loaded(spec, error)) from error
    model.eval()
    return ClipModel(
        fingerprint=_fingerprint(spec, model, config, tokenizer),
        dim=config["embed_dim"],
        batch_size=spec.batch_size,
        context_length=tokenizer.context_length,
        image_size=_image_size(model),
        logit_scale=float(model.logit_scale.detach().exp()),
        _model=model,
        _preprocess=preprocess,
        _tokenize=_with_bounded_cache(tokenizer),
        _device=torch.device(device),
    )


def _image_size(model: Any) -> int:
    size = model.visual.image_size
    return max(size) if isinstance(size, (tuple, list)) else int(size)


def _why_not_loaded(spec: ClipSpec, error: Exception) -> str:
    """The message for a model that cannot be loaded. If weights were to be downloaded, it names the alternatives."""
    said = f"CLIP model {spec.model!r} with {spec.pretrained or 'its own weights'!r} could not be loaded: "
    if _is_on_disk(spec):
        return f"{said}{error}"
    return (
        f"{said}{str(error).partition('. ')[0]}; where it cannot be downloaded, name a file (score.clip.pretrained) "
        "or a folder (score.clip.model=local-dir:FOLDER), or do without it: --set score.clip=null"
    )


def _is_on_disk(spec: ClipSpec) -> bool:
    """Whether the weights are a file or a folder that the recipe names."""
    return spec.model.startswith(LOCAL_DIR) or bool(spec.pretrained and exists(spec.pretrained))


@contextlib.contextmanager
def _on_disk(spec: ClipSpec) -> Iterator[ClipSpec]:
    """The same spec with local copies of files on an object store, which open_clip cannot read."""
    with contextlib.ExitStack() as stack:
        folder = spec.model.removeprefix(LOCAL_DIR)
        if spec.model.startswith(LOCAL_DIR) and is_remote(folder):
            spec = dataclasses.replace(spec, model=LOCAL_DIR + stack.enter_context(local_copy(folder)))
        if spec.pretrained and is_remote(spec.pretrained):
            spec = dataclasses.replace(spec, pretrained=stack.enter_context(local_copy(spec.pretrained)))
        yield spec


def _check_weights_named(spec: ClipSpec, own_weights: bool) -> None:
    if own_weights and spec.pretrained:
        raise UserError(f"CLIP model {spec.model!r} brings its own weights: leave out pretrained={spec.pretrained!r}")
    if not own_weights and not spec.pretrained:
        raise UserError(
            f"CLIP model {spec.model!r} names no weights, and random ones are never used: give pretrained= a tag of "
            f"open_clip or a file, or use model={LOCAL_DIR}DIR"
        )


def _check_architecture(spec: ClipSpec) -> None:
    """Raises ``UserError`` unless architecture, tag and activation fit each other. Downloads nothing."""
    import open_clip

    config = open_clip.get_model_config(spec.model)
    if config is None:
        raise UserError(f"open_clip has no architecture {spec.model!r}; open_clip.list_models() names them")
    tag = open_clip.get_pretrained_cfg(spec.model, spec.pretrained)
    if not tag:
        if not exists(str(spec.pretrained)):
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.model)) or "none"
            raise UserError(f"{spec.pretrained!r} is neither a file nor a tag of {spec.model}, whose tags are: {tags}")
        return
    if bool(tag.get("quick_gelu", False)) != bool(config.get("quick_gelu", False)):
        base = spec.model.removesuffix("-quickgelu")
        fitting = f"{base}-quickgelu" if tag.get("quick_gelu") else base
        raise UserError(
            f"weights {spec.pretrained!r} were trained with another activation (QuickGELU) than {spec.model!r} has, "
            f"which would shift every score: use model={fitting!r}"
        )


def _tokenizer_files(model: str, config: Mapping[str, Any]) -> dict[str, str]:
    """The vocabulary file of a local folder, which open_clip would search in the working directory."""
    bpe_path = config["text_cfg"].get("tokenizer_kwargs", {}).get("bpe_path")
    if bpe_path is None or not model.startswith(LOCAL_DIR):
        return {}
    return {"bpe_path": os.path.join(model.removeprefix(LOCAL_DIR), bpe_path)}


def model_name(model: str, pretrained: str | None) -> str:
    """The part of a model's fingerprint before the @, which is known before the model is loaded."""
    name = "local" if model.startswith(LOCAL_DIR) else model.removeprefix(_HUB)
    return f"{name}/{os.path.splitext(name_of(pretrained))[0]}" if pretrained else name


def _fingerprint(spec: ClipSpec, model: Any, config: Mapping[str, Any], tokenizer: Any) -> str:
    """The name, and digests of the weights and of all preprocessing. It does not depend on where the files are."""
    weights = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        weights.update(tensor.contiguous().cpu().numpy().tobytes())
    vocabulary = sorted(getattr(tokenizer, "encoder", {}).items())
    around = json.dumps([config, model.visual.preprocess_cfg, vocabulary], sort_keys=True, default=str)
    name = model_name(spec.model, spec.pretrained)
    return f"{name}@{weights.hexdigest()[:16]}-{hashlib.sha256(around.encode()).hexdigest()[:8]}"


def _with_bounded_cache(tokenizer: Any) -> Callable[[list[str]], torch.Tensor]:
    """The tokenizer with a cache of words that is emptied before it takes too much memory."""
    cache = getattr(tokenizer, "cache", {})
    special = dict(cache)

    def tokenize(texts: list[str]) -> torch.Tensor:
        if len(cache) > _MAX_REMEMBERED_WORDS:
            cache.clear()
            cache.update(special)
        return tokenizer(texts)

    return tokenize


def _limit_words(text: str, context_length: int) -> str:
    """The part of a text that can reach the model: its first words, each shortened.

    A word is at least one token, so later words cannot reach it. The tokenizer's time is quadratic in the longest word,
    and a page
    in Chinese may be one word; its kept part is almost certainly longer than the context.
    """
    words = text.split(maxsplit=context_length)[:context_length]
    return " ".join(word[: 4 * context_length] for word in words)[: 16 * context_length]


def _limit_aspect(image: Image) -> Image:
    width, height = image.size
    if width > _MAX_ASPECT * height:
        margin = (width - _MAX_ASPECT * height) // 2
        return image.crop((margin, 0, width - margin, height))
    if height > _MAX_ASPECT * width:
        margin = (height - _MAX_ASPECT * width) // 2
        return image.crop((0, margin, width, height - margin))
    return image
