"""Measures what the models of the demo learned, on pictures and captions that they have not seen.

Held out means:
    pictures    drawn from other seeds than the crawl's, none with the codes of a picture in training
    seen        combinations of colour and kind that occur in training
    unseen      the four combinations that occur nowhere in the crawl, not in a picture and not in a word
    settings    temperature and guidance are chosen on captions of their own, which are not reported
    control     the same drawn pictures, judged against another caption's scene

Shares are judged on the pixels by ``examples.sample_crawl.judge`` (1.000 right on true pictures).
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from examples.demo.fit_clip import matched_auc
from examples.sample_crawl.judge import judge
from examples.sample_crawl.model import Scene
from examples.sample_crawl.scenes import NUM_PHRASINGS, caption, draw_scene, render_scene
from gobelin.store.tables import list_shards
from gobelin.tokenize.image_tokenizer import ImageTokenizer, load_image_tokenizer
from gobelin.tokenize.preprocess import preprocess
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.train.evaluate import grounding_gap
from gobelin.train.model import LanguageModel, load_model
from gobelin.train.pairs import Pair
from gobelin.train.sample import SamplingConfig, sample_captions, sample_images
from gobelin.transforms.vision.clip import ClipSpec, load_clip

_TEST_STREAM, _TUNING_STREAM = 0x7E57, 0x70E5
"""First words of the seeds of held-out scenes; the crawl and the CLIP pairs have others."""

TEMPERATURES = (0.6, 0.8)
GUIDANCE = (2.0, 3.0, 4.0)


@dataclasses.dataclass(frozen=True, slots=True)
class _Exam:
    scenes: list[Scene]
    captions: list[str]
    pixels: np.ndarray  # uint8, N x S x S x 3
    codes: np.ndarray  # N x tokens_per_image


def measure_clip(crawl: Path, run: Path, clip_model: str, limit: int = 1500) -> dict[str, float]:
    """AUC with which CLIP tells a picture of the crawl with its own caption from one with another's, and from the
    crawl's planted mismatches."""
    truth = [json.loads(line) for line in (crawl / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    images = [row for row in truth if row["unit"] == "image" and row.get("caption") and row.get("image_id")]
    good = [row for row in images if row["keep"]]
    good = good[:: max(1, len(good) // limit)]
    planted = [row for row in images if row["kind"] == "mismatch"]
    paths = list_shards(str(run / "score" / "image_embeddings"))
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    embeddings = dict(zip(table["image_id"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    good = [row for row in good if row["image_id"] in embeddings]
    planted = [row for row in planted if row["image_id"] in embeddings]
    clip = load_clip(ClipSpec(model=clip_model), "cpu")
    of_images = np.array([embeddings[row["image_id"]] for row in good], np.float16)
    of_texts = clip.embed_texts([row["caption"] for row in good])
    of_others = np.roll(of_texts, len(good) // 2, axis=0)
    right = np.sum(of_images.astype(np.float32) * of_texts, axis=1)
    planted_images = np.array([embeddings[row["image_id"]] for row in planted], np.float32)
    wrong = np.sum(planted_images * clip.embed_texts([row["caption"] for row in planted]), axis=1)
    return {
        "pairs": len(good),
        "auc_other_caption": float(matched_auc(of_images, of_texts, of_others)),
        "planted": len(planted),
        "auc_planted": float((right[:, None] > wrong[None]).mean()),
    }


def measure_model(run: Path, num_test: int = 200, num_tuning: int = 64, seed: int = 1) -> dict[str, Any]:
    """Everything about the tokenizer and the language model: reconstructions, drawn pictures, captions, grounding."""
    image_tokenizer = load_image_tokenizer(str(run / "tokenize" / "image_tokenizer"))
    text_tokenizer = TextTokenizer.load(str(run / "tokenize"))
    model = load_model(str(run / "train"))
    training = _training_codes(run)
    tuning = _exam("seen", _TUNING_STREAM, num_tuning, image_tokenizer, training, seed)
    settings, tried = _choose_settings(model, text_tokenizer, image_tokenizer, tuning, seed)
    results: dict[str, Any] = {"settings": dataclasses.asdict(settings), "settings_tried": tried}
    splits: tuple[Literal["seen", "held_out"], ...] = ("seen", "held_out")
    for split in splits:
        exam = _exam(split, _TEST_STREAM, num_test, image_tokenizer, training, seed)
        drawn = image_tokenizer.decode(sample_images(model, text_tokenizer, exam.captions, settings, seed))
        written = sample_captions(
            model, text_tokenizer, exam.codes, SamplingConfig(temperature=0.0, top_k=0, cfg_scale=1.0), seed
        )
        offset = model.vocabulary.text_offset
        pairs = [
            Pair(
                tuple(offset + token for token in text_tokenizer.encode(words)),
                tuple(int(code) + model.vocabulary.image_offset for code in codes),
            )
            for words, codes in zip(exam.captions, exam.codes, strict=True)
        ]
        results["unseen" if split == "held_out" else "seen"] = {
            "captions": len(exam.captions),
            "reconstructed": _shares(image_tokenizer.decode(exam.codes), exam.scenes),
            "drawn": _shares(drawn, exam.scenes),
            "control": _shares(drawn, _other_scenes(exam.scenes)),
            "captions_right": float(
                np.mean([_names(words, scene) for words, scene in zip(written, exam.scenes, strict=True)])
            ),
            "grounding": dataclasses.asdict(grounding_gap(model, pairs, seed=seed)),
        }
    return results


def _training_codes(run: Path) -> set[bytes]:
    """Codes of every image in the token shards."""
    found = set()
    for path in list_shards(str(run / "tokenize" / "codes")):
        for codes in pq.read_table(path, columns=["codes"])["codes"].to_pylist():
            found.add(np.array(codes, np.int32).tobytes())
    return found


def _exam(
    split: Literal["seen", "held_out"], stream: int, number: int, tokenizer: ImageTokenizer, training: set[bytes],
    seed: int,
) -> _Exam:  # fmt: skip
    """Scenes with their captions and pictures; those whose picture stands in training are replaced by others."""
    rng = np.random.default_rng([stream, seed])
    scenes: list[Scene] = []
    pixels: list[np.ndarray] = []
    codes: list[np.ndarray] = []
    while len(scenes) < number:
        scene = draw_scene(rng, split)
        picture = preprocess(render_scene(scene), tokenizer.size)
        ids = tokenizer.encode(picture[None])[0]
        if ids.astype(np.int32).tobytes() not in training:
            scenes.append(scene)
            pixels.append(picture)
            codes.append(ids)
    captions = [caption(scene, int(rng.integers(NUM_PHRASINGS))) for scene in scenes]
    return _Exam(scenes, captions, np.stack(pixels), np.stack(codes))


def _choose_settings(
    model: LanguageModel, text_tokenizer: TextTokenizer, tokenizer: ImageTokenizer, exam: _Exam, seed: int
) -> tuple[SamplingConfig, list[dict[str, float]]]:
    """The settings with the largest share of pictures whose colour and kind are right, on the tuning captions."""
    tried = []
    for temperature, guidance in itertools.product(TEMPERATURES, GUIDANCE):
        settings = SamplingConfig(temperature=temperature, cfg_scale=guidance)
        drawn = tokenizer.decode(sample_images(model, text_tokenizer, exam.captions, settings, seed))
        shares = _shares(drawn, exam.scenes)
        tried.append({"temperature": temperature, "cfg_scale": guidance, **shares})
    best = max(tried, key=lambda row: row["both"])
    return SamplingConfig(temperature=best["temperature"], cfg_scale=best["cfg_scale"]), tried


def _shares(pictures: np.ndarray, scenes: Sequence[Scene]) -> dict[str, float]:
    """Shares of pictures whose colour, kind, and both are the scene's."""
    verdicts = [judge(picture) for picture in pictures]
    color = np.array([verdict.color == scene.color for verdict, scene in zip(verdicts, scenes, strict=True)])
    kind = np.array([verdict.kind == scene.kind for verdict, scene in zip(verdicts, scenes, strict=True)])
    return {"color": float(color.mean()), "kind": float(kind.mean()), "both": float((color & kind).mean())}


def _other_scenes(scenes: Sequence[Scene]) -> list[Scene]:
    return [*scenes[len(scenes) // 2 :], *scenes[: len(scenes) // 2]]


def _names(words: str, scene: Scene) -> bool:
    """Whether a caption names the scene's colour and kind."""
    return scene.color in words and scene.kind in words


def lines(clip: dict[str, float], model: dict[str, Any]) -> list[str]:
    """The results for a terminal."""
    shown = [
        f"  CLIP tells a picture's own caption from another's: AUC {clip['auc_other_caption']:.3f} "
        f"({clip['pairs']:,} pictures of the crawl); from a planted mismatch: AUC {clip['auc_planted']:.3f} "
        f"({clip['planted']} pictures)",
        f"  sampling settings, chosen on other captions: temperature {model['settings']['temperature']}, guidance "
        f"{model['settings']['cfg_scale']}",
        "",
        f"  {'':<34}{'colour':>8}{'kind':>8}{'both':>8}",
    ]
    for name, title in (("seen", "seen combinations"), ("unseen", "unseen combinations")):
        part = model[name]
        for row, what in (
            ("reconstructed", "VQ-VAE reconstructions"),
            ("drawn", "drawn from captions"),
            ("control", "control: another caption"),
        ):
            shares = part[row]
            shown.append(
                f"  {title + ', ' + what if row == 'reconstructed' else '  ' + what:<44}"
                f"{shares['color']:>6.2f}{shares['kind']:>8.2f}{shares['both']:>8.2f}"
            )
        for direction, what in (("image", "picture, given its caption"), ("text", "caption, given its picture")):
            gap = part["grounding"][direction]
            shown.append(
                f"    grounding gap, {what}: {gap['mean']:.3f} [{gap['low']:.3f}, {gap['high']:.3f}] nats per token"
            )
        shown.append(f"    captions written for pictures that name colour and kind: {part['captions_right']:.2f}")
    return shown
