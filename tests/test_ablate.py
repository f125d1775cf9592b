"""``gobelin ablate``: the corpora that are compared, the intervals, and the command itself at toy size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.sample_crawl.make_crawl import make_crawl
from gobelin.errors import UserError
from gobelin.pipeline.ablation.arms import Size, choose
from gobelin.pipeline.ablation.results import compare, difference, paired_interval
from gobelin.pipeline.cli.main import main
from gobelin.store.files import read_json
from gobelin.train.held_out import HeldOut

RAW = {f"{number:032x}": Size(100 + number, 10) for number in range(60)}
CURATED = {doc_id: Size(50, 10) for doc_id in list(RAW)[:20]}


def test_interval_is_students_t() -> None:
    # t of 4 degrees of freedom at 97.5 % is 2.7764; the deviation of 1..5 is sqrt(2.5)
    assert paired_interval([1, 2, 3, 4, 5]) == pytest.approx((3, 3 - 1.96324, 3 + 1.96324), abs=1e-4)


@pytest.mark.parametrize(
    ("pairs", "is_loss", "verdict"),
    [
        ([(1.0, 2.0), (1.1, 2.0)], True, "better"),
        ([(1.0, 2.0), (1.1, 2.0)], False, "worse"),
        ([(1.0, 2.0), (2.0, 1.0)], True, "inconclusive"),
        ([(1.0, 1.0), (2.0, 2.0)], True, "inconclusive"),
    ],
)
def test_verdict(pairs: list[tuple[float, float]], is_loss: bool, verdict: str) -> None:
    assert difference("curated", "raw", pairs, is_loss).verdict == verdict


def test_seeds_are_paired() -> None:
    """Seeds differ by far more than arms do, and the interval does not see it."""
    runs = {
        (arm, seed): {"raw": {"text_bits_per_byte": seed + shift, "image_nats": None, "image_gap": None,
                              "text_gap": None}}
        for arm, shift in (("raw", 0.0), ("curated", -0.1))
        for seed in range(3)
    }  # fmt: skip
    (result,) = compare(runs)  # type: ignore[arg-type]
    (found,) = result["differences"]
    assert (found["low"], found["high"]) == pytest.approx((-0.1, -0.1))
    assert found["verdict"] == "better"
    assert result["arms"]["raw"]["deviation"] == pytest.approx(1)


def test_arms() -> None:
    raw, curated, random, dropped = (choose(arm, RAW, CURATED, 1) for arm in ("raw", "curated", "random", "dropped"))
    assert set(raw.doc_ids) == set(RAW)
    assert (curated.corpus, set(curated.doc_ids), curated.size) == ("curated", set(CURATED), Size(1000, 200))
    assert set(dropped.doc_ids) == set(RAW) - set(CURATED)
    assert set(random.doc_ids) <= set(RAW)
    assert 1000 <= random.size.tokens < 1000 + max(size.tokens for size in RAW.values())
    assert choose("random", RAW, CURATED, 1) == random
    assert choose("random", RAW, CURATED, 2).doc_ids != random.doc_ids


@pytest.mark.parametrize(("arm", "curated"), [("dropped", RAW), ("curated", {})])
def test_empty_arm_is_told(arm: str, curated: dict[str, Size]) -> None:
    with pytest.raises(UserError, match="nothing to compare"):
        choose(arm, RAW, curated, 1)  # type: ignore[arg-type]


RECIPE = str(Path(__file__).parents[1] / "examples" / "demo" / "recipe.yaml")

SMALL = [
    "select.image.min_clip_near=null", "select.image.min_clip_caption=null", "select.image.min_clip_alt=null",
    "score.clip=null", "num_shards=1", "tokenize.vqvae_steps=6", "tokenize.text_vocab_size=400",
    "tokenize.vqvae={image_size: 16, patch_size: 8, num_codes: 16, channels: 8, num_blocks: 1}",
    "train.steps=3", "train.batch_rows=2", "train.row_tokens=128", "train.validation_ratio=0.3",
    "train.model={width: 16, num_layers: 1, num_heads: 2, hidden: 32}",
]  # fmt: skip


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that has got as far as ``select``, and one of another crawl as far as ``score``."""
    made = []
    for seed, until in ((3, "select"), (4, "score")):
        crawl, output = tmp_path_factory.mktemp("crawl"), tmp_path_factory.mktemp("run") / "out"
        make_crawl(crawl, seed=seed, pages=40)
        settings = [part for setting in SMALL for part in ("--set", setting)]
        assert main(["run", "--recipe", RECIPE, "--input", str(crawl / "*.warc.gz"), "--output", str(output),
                     "--until", until, "--workers", "1", "--quiet", *settings]) == 0  # fmt: skip
        made.append(output)
    return made[0], made[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command(outputs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    output, independent = outputs
    command = ["ablate", "--output", str(output), "--independent", str(independent), "--workers", "1"]
    assert main([*command, "--seeds", "2", "--arms", "curated", "random", "dropped"]) == 0
    told = capsys.readouterr().out
    found = read_json(str(output / "ablation" / "ablation.json"))
    assert found["seeds"] == [1, 2]
    assert set(found["arms"]) == {"curated", "random", "dropped"}
    assert set(found["held_out"]) == {"raw", "curated", "independent"}
    measured = {(result["held_out"], result["metric"]) for result in found["results"]}
    assert {("independent", "text_bits_per_byte"), ("independent", "image_nats"), ("raw", "image_gap")} <= measured
    for result in found["results"]:
        for each in result["differences"]:
            assert each["low"] <= each["mean"] <= each["high"]
            assert (each["verdict"] == "inconclusive") == (each["low"] <= 0 <= each["high"])
    assert "curated - random" in told

    (data,) = (output / "ablation").glob("data-*")
    split, targets = HeldOut.load(str(data / "held_out.json")), read_json(str(data / "targets.json"))
    assert set(targets["raw"]["doc_ids"]) == set(split.documents)
    assert set(targets["curated"]["doc_ids"]) < set(split.documents)
    assert targets["independent"]["doc_ids"]
    results = sorted((output / "ablation").glob("runs-*/*.json"))
    assert len(results) == 6
    assert not list((output / "ablation").glob("runs-*/*/"))  # models are not kept

    page = (output / "ablation" / "index.html").read_text()
    assert "<script" not in page
    assert "inconclusive" in page
    report = (output / "report" / "index.html").read_text()
    assert "Does curation help?" in report
    assert json.loads((output / "report" / "report.json").read_text())["ablation"]["seeds"] == [1, 2]

    # What is done stays: another seed of two arms adds two runs, and one that was lost is made again, to the bit.
    numbers = read_json(str(results[0]))
    results[0].unlink()
    kept = results[1].stat().st_mtime_ns
    assert main([*command, "--seeds", "3", "--arms", "curated", "random", "--quiet"]) == 0
    assert len(list((output / "ablation").glob("runs-*/*.json"))) == 8
    assert results[1].stat().st_mtime_ns == kept
    again = read_json(str(results[0]))
    assert {**again, "cpu_seconds": 0} == {**numbers, "cpu_seconds": 0}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seeds", "1"], "--seeds must be at least 2"),
        (["--arms", "raw", "dropped"], "--arms must hold two that are compared"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--independent", "{output}"], "--independent is another output folder"),
        (["--set", "select.document.min_images=3"], "stage select was made with other settings"),
    ],
)
@pytest.mark.slow
def test_misuse_is_told(
    outputs: tuple[Path, Path], more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [each.format(output=outputs[0]) for each in more]
    assert main(["ablate", "--output", str(outputs[0]), *more]) == 2
    assert words in capsys.readouterr().err
