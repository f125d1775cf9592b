"""Zero-shot prompts, relative thresholds, and the model that thresholds belong to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gobelin.data.schemas import DOCUMENT_SCORES, NODE_SCORES
from gobelin.pipeline.recipe.help import warnings_of
from gobelin.pipeline.recipe.recipe import Recipe, RecipeError, load_recipe
from gobelin.store.dataset import Attempt
from gobelin.transforms.score.config import ClipConfig, ScoreConfig
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules, RelativeThreshold
from gobelin.transforms.selection.relative_thresholds import check_clip_model, place_among, resolve_thresholds
from gobelin.transforms.vision.heads import load_head, save_head
from gobelin.transforms.vision.zero_shot import ZeroShotPrompts, zero_shot_head

Row = dict[str, Any]
PROMPTS = ZeroShotPrompts(positive=("a red thing", "something red"), negative=("a thing",))


def unit(*numbers: float) -> npt.NDArray[np.float16]:
    vector = np.array(numbers)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def test_the_probability_is_a_softmax_of_ensemble_means() -> None:
    positive, negative = np.stack([unit(1, 0, 0), unit(1, 1, 0)]), np.stack([unit(0, 0, 1)])
    head = zero_shot_head("red", PROMPTS, positive, negative, 20.0, "m@1")
    images = np.stack([unit(1, 0.4, 0), unit(0, 0, 1), unit(1, 0, 1)])
    mean = positive.astype(float).mean(0)
    sides = np.stack([mean / np.linalg.norm(mean), negative[0].astype(float)])
    logits = 20.0 * images.astype(float) @ sides.T
    expected = np.exp(logits[:, 0]) / np.exp(logits).sum(1)
    assert head.score(images) == pytest.approx(expected, rel=2e-3)
    assert head.score(images)[0] > 0.99
    assert head.score(images)[1] < 0.01


def test_swapping_the_sides_is_the_complement() -> None:
    positive, negative = unit(1, 2, 3)[None], unit(3, 1, 1)[None]
    images = np.stack([unit(1, 1, 1), unit(1, 2, 3), unit(5, 1, 1)])
    one = zero_shot_head("a", PROMPTS, positive, negative, 10.0, "m").score(images)
    other = zero_shot_head("a", PROMPTS, negative, positive, 10.0, "m").score(images)
    assert one + other == pytest.approx(np.ones(3), abs=1e-6)


def test_prompts_are_kept_with_the_head(tmp_path: Path) -> None:
    head = zero_shot_head("red", PROMPTS, unit(1, 0)[None], unit(0, 1)[None], 100.0, "m@1")
    save_head(head, str(tmp_path / "red.safetensors"))
    assert load_head(str(tmp_path / "red.safetensors")).notes["positive"] == list(PROMPTS.positive)


@pytest.mark.parametrize("sides", [((), ("a",)), (("a",), ()), (("a", " "), ("b",))])
def test_prompts_without_text_are_refused(sides: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match="give at least one text, and none that is empty"):
        ZeroShotPrompts(positive=sides[0], negative=sides[1])


# ---- the whole stage, with a CLIP made here ----


def test_prompts_and_heads_through_the_stage(
    tmp_path: Path, png: Callable[..., bytes], write_data_set: Callable[..., str], an_image: Callable[..., Row],
    plan_here: Callable[..., Any],
) -> None:  # fmt: skip
    pytest.importorskip("torch")
    pytest.importorskip("open_clip")
    import torch

    from examples.demo.fit_clip import ClipFitConfig, fit_clip
    from gobelin.data.schemas import IMAGES
    from gobelin.pipeline.run.plan import Batch, Step, data_sets
    from gobelin.pipeline.stages import score as stage
    from gobelin.pipeline.stages import score_clip
    from gobelin.store.files import delete
    from gobelin.store.shards import read_folder
    from gobelin.transforms.images.open_image import open_rgb
    from gobelin.transforms.vision.clip import ClipSpec, load_clip

    torch.set_num_threads(1)
    pictures = [png(seed) for seed in range(40)]
    pairs = [(open_rgb(data), f"picture {place}") for place, data in enumerate(pictures)]
    small = ClipFitConfig(num_steps=2, num_merges=100, batch_size=32, context_length=16, num_held_out=4)
    fit_clip(pairs, tmp_path / "clip", small, seed=1)
    prompts = ZeroShotPrompts(positive=("picture 3", "a picture"), negative=("no picture",))
    clip = ClipConfig(model=f"local-dir:{tmp_path / 'clip'}", batch_size=8)
    model = load_clip(ClipSpec(model=clip.model, batch_size=8), "cpu")
    made = zero_shot_head("odd", prompts, model.embed_texts(("a",)), model.embed_texts(("b",)), 50.0, model.fingerprint)
    save_head(made, str(tmp_path / "odd.safetensors"))
    config = ScoreConfig(clip=clip, heads={"odd": str(tmp_path / "odd.safetensors")}, zero_shot={"nsfw": prompts})

    work = tmp_path / "work"
    score_clip._write_fingerprint(config, str(work / "clip.json"))
    rows = [an_image(f"{place:064x}", data=data) for place, data in enumerate(pictures)]
    rows.append(an_image("f" * 64, data=b"no picture"))
    source = write_data_set(tmp_path / "images", rows, IMAGES, 2, "image_id")
    results = []
    for threads, is_shared in ((1, True), (1, False), (3, True)):
        run = ScoreConfig(clip=ClipConfig(model=clip.model, batch_size=8, threads=threads))
        job = stage.EmbedJob(run, source, Attempt(str(work), ""), 2, is_shared)
        written = data_sets(str(work), 2, "image_embeddings", "embed_decisions")
        for data_set in written:
            delete(data_set.folder)
        plan_here().run(Step("look", stage.embed_images, [Batch([0, 1], job)], written))
        results.append([path.read_bytes() for path in sorted((work / "image_embeddings").glob("*.parquet"))])
    assert results[0] == results[1] == results[2]  # neither threads nor batches across shards change anything
    assert len(results[0]) == 2
    (decision,) = read_folder(str(work / "embed_decisions"))
    assert (decision["rule"], decision["image_id"]) == ("undecodable_image", "f" * 64)

    heads = (("nsfw", str(work / "zero_shot" / "nsfw.safetensors")), ("odd", str(tmp_path / "odd.safetensors")))
    job = stage.HeadsJob(heads, str(work / "image_embeddings"), str(work), 2)
    plan_here().run(Step("heads", stage.score_heads, [Batch([0, 1], job)], data_sets(str(work), 2, "image_heads")))
    found = {row["image_id"]: row for row in read_folder(str(work / "image_heads"))}
    assert len(found) == 40
    embeddings = model.embed_images([open_rgb(data) for data in pictures])
    expected = made.score(embeddings)
    for place in range(40):
        row = found[f"{place:064x}"]
        assert row["heads"] == [{"name": "odd", "value": pytest.approx(float(expected[place]), rel=1e-5)}]
        assert 0 <= row["nsfw"] <= 1
        assert row["aesthetic"] is None
    assert load_head(str(work / "zero_shot" / "nsfw.safetensors")).clip_model == model.fingerprint


# ---- thresholds that are places among the scores ----


@pytest.mark.parametrize(
    ("threshold", "num_passed"),
    [
        (RelativeThreshold(top_fraction=0.3), 3),
        (RelativeThreshold(quantile=0.7), 3),
        (RelativeThreshold(top_fraction=0.25), 3),  # rounded up
        (RelativeThreshold(quantile=0.75), 3),
        (RelativeThreshold(top_fraction=1.0), 10),
        (RelativeThreshold(quantile=0.0), 10),
        (RelativeThreshold(top_fraction=0.001), 1),
        (RelativeThreshold(quantile=0.999), 1),
        (RelativeThreshold(top_fraction=0.7), 7),  # 0.7 * 10 is a little more than 7 in binary
    ],
)
def test_how_many_pass(threshold: RelativeThreshold, num_passed: int) -> None:
    values = np.random.default_rng(1).permutation(np.linspace(0.1, 0.4, 10)).astype(np.float32)
    limit = place_among(values, threshold)
    assert (values >= np.float32(limit)).sum() == num_passed
    assert limit in values.tolist()


def test_equal_values_pass_together() -> None:
    values = np.array([0.1, 0.2, 0.2, 0.2, 0.3], np.float32)
    assert place_among(values, RelativeThreshold(top_fraction=0.4)) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "given",
    [{}, {"top_fraction": 0.1, "quantile": 0.9}, {"top_fraction": 0.0}, {"top_fraction": 1.5}, {"quantile": 1.0}],
)
def test_places_that_are_none_are_refused(given: Row) -> None:
    with pytest.raises(ValueError, match=r"top_fraction|quantile"):
        RelativeThreshold(**given)


def _scores(doc_id: str, values: list[float | None]) -> Row:
    empty = dict.fromkeys(field.name for field in NODE_SCORES)
    nodes = [{**empty, "kind": "text"}, *({**empty, "kind": "image", "clip_text_max": value} for value in values)]
    facts = {"num_words": 1, "num_images": 1, "url_group": "u", "exact_group": "e", "near_group": "n", "earlier": []}
    return {**dict.fromkeys(DOCUMENT_SCORES.names), "doc_id": doc_id, **facts, "nodes": nodes}


def _folder(write_data_set: Callable[..., str], folder: Path, values: list[float | None], num_shards: int) -> str:
    rows = [_scores(f"{place:032x}", values[place : place + 3]) for place in range(0, len(values), 3)]
    return write_data_set(folder, rows, DOCUMENT_SCORES, num_shards)


def test_the_number_does_not_depend_on_the_shards(tmp_path: Path, write_data_set: Callable[..., str]) -> None:
    values: list[float | None] = np.random.default_rng(2).uniform(size=100).tolist()
    values[::7] = [None] * len(values[::7])
    known = np.array([value for value in values if value is not None], np.float32)
    config = SelectConfig(image=ImageRules(min_clip_text=RelativeThreshold(top_fraction=0.2), min_side_px=150))
    found = []
    for num_shards in (1, 2, 5):
        folder = _folder(write_data_set, tmp_path / str(num_shards), values, num_shards)
        found.append(resolve_thresholds(config, folder))
    assert found[0] == found[1] == found[2]
    resolved, numbers = found[0]
    assert resolved.image.min_clip_text == numbers["image.min_clip_text"]
    assert (known >= np.float32(numbers["image.min_clip_text"])).sum() == np.ceil(0.2 * len(known))
    assert resolved.image.min_side_px == 150
    assert resolve_thresholds(resolved, folder) == (resolved, {})


def test_the_place_among_another_runs_scores(tmp_path: Path, write_data_set: Callable[..., str]) -> None:
    own = _folder(write_data_set, tmp_path / "own" / "score" / "documents", [0.1, 0.2, 0.3], 1)
    _folder(write_data_set, tmp_path / "first" / "score" / "documents", [0.7, 0.8, 0.9], 2)
    place = RelativeThreshold(top_fraction=0.1, of=str(tmp_path / "first"))
    _, numbers = resolve_thresholds(SelectConfig(image=ImageRules(min_clip_text=place)), own)
    assert numbers == {"image.min_clip_text": pytest.approx(0.9)}


def test_a_place_among_no_scores_is_refused(tmp_path: Path, write_data_set: Callable[..., str]) -> None:
    folder = _folder(write_data_set, tmp_path / "documents", [None, None], 2)
    config = SelectConfig(image=ImageRules(min_clip_text=RelativeThreshold(quantile=0.5)))
    with pytest.raises(ValueError, match=r"select\.image\.min_clip_text is a rank among the scores"):
        resolve_thresholds(config, folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("min_clip_text: 0.2", 0.2),
        ("min_clip_text: {top_fraction: 0.3}", RelativeThreshold(top_fraction=0.3)),
        ("min_aesthetic: {quantile: 0.5, of: runs/first}", RelativeThreshold(quantile=0.5, of="runs/first")),
    ],
)
def test_thresholds_in_recipes(tmp_path: Path, text: str, expected: object) -> None:
    (tmp_path / "r.yaml").write_text(f"select: {{image: {{{text}}}}}")
    rules = load_recipe(str(tmp_path / "r.yaml")).select.image
    assert getattr(rules, text.partition(":")[0]) == expected


@pytest.mark.parametrize("text", ["{top_fractoin: 0.3}", "{top_fraction: 2}", "{}", "many"])
def test_places_in_recipes_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(f"select: {{image: {{min_clip_text: {text}}}}}")
    with pytest.raises(RecipeError, match="min_clip_text"):
        load_recipe(str(tmp_path / "r.yaml"))


# ---- the model that thresholds belong to ----


@pytest.mark.parametrize("stated", [None, "ViT-L-14-quickgelu/openai", "ViT-L-14-quickgelu/openai@01-02"])
def test_thresholds_of_the_model_hold(stated: str | None) -> None:
    check_clip_model(SelectConfig(image=ImageRules(clip_model=stated)), "ViT-L-14-quickgelu/openai@01-02")
    check_clip_model(SelectConfig(image=ImageRules(clip_model=stated)), None)


@pytest.mark.parametrize("stated", ["ViT-B-32-quickgelu/openai", "ViT-L-14-quickgelu/openai@01-03", "ViT-L-14"])
def test_thresholds_of_another_model_are_refused(stated: str) -> None:
    with pytest.raises(ValueError, match=f"thresholds hold for {stated}.*scores are from ViT-L-14-quickgelu/openai@01"):
        check_clip_model(SelectConfig(image=ImageRules(clip_model=stated)), "ViT-L-14-quickgelu/openai@01-02")


@pytest.mark.parametrize(
    ("image", "score", "warned"),
    [
        (ImageRules(min_clip_text=0.2), "clip", "name it in select.image.clip_model"),
        (ImageRules(min_clip_text=0.2, clip_model="m"), "clip", None),
        (ImageRules(min_clip_text=RelativeThreshold(top_fraction=0.2)), "clip", None),
        (ImageRules(min_clip_text=0.2, clip_model="m"), None, "needs score.clip"),
        (ImageRules(max_head={"gore": 0.5}), "clip", "every image will be dropped without a safety score"),
        (ImageRules(min_head={"gore": 0.5}), "clip", "it will not run"),
        (ImageRules(max_faces=0), "clip", "needs score.faces"),
    ],
)
def test_what_a_check_of_a_recipe_says(image: ImageRules, score: str | None, warned: str | None) -> None:
    clip = ClipConfig(model="local-dir:x") if score else None
    select = SelectConfig(image=image, document=DocumentRules())
    recipe = Recipe(name="r", score=ScoreConfig(clip=clip), select=select)
    said = " ".join(line for line in warnings_of(recipe) if "not checked for safety" not in line)
    assert warned in said if warned else said == ""
