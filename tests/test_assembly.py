"""Token shards put together in one batch, and in several to which codes are dealt out: the same files."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest

from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.schemas import CONTINUOUS_TOKEN_SHARDS, DECISIONS, DOCUMENTS, IMAGE_CODES, IMAGE_LATENTS, TOKEN_SHARDS
from gobelin.pipeline.stages.tokenize import AssembleJob, deal_shown_out, run_assembly
from gobelin.store import shards
from gobelin.store.dataset import Attempt
from gobelin.store.shards import read_folder, read_rows
from gobelin.tokenize.encode import _EncodeImages
from gobelin.tokenize.sequence import ImageSpan, decode_document, image_latents
from gobelin.tokenize.shown import shown_images, shown_in_part
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.shards import read_corpus
from tests.token_corpora import small_tokenizer, small_vocabulary

Make = Callable[..., Any]
NUM_SHARDS = 4


@pytest.fixture
def corpus(tmp_path: Path, write_data_set: Make, a_document: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty documents; an image of most, one that all show, one that could not be encoded, codes that nobody shows."""
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 600)  # several row groups a file
    documents = [
        a_document(f"{n:032x}", [f"a red square {n}", *([(f"i{n // 2}",)] if n % 5 else []), ("all",), ("lost",)])
        for n in range(20)
    ]
    documents.append(a_document("f" * 32, [("lost",)]))  # nothing is left of it
    codes = [{"image_id": name, "codes": [number % 32] * 4}
             for number, name in enumerate(["all", "nobody", *(f"i{n}" for n in range(10))])]  # fmt: skip
    lost = Decision(stage="tokenize", unit=Unit.IMAGE, action=Action.FAIL, rule="undecodable_image", image_id="lost",
                    url="https://a.example/lost.png")  # fmt: skip
    write_data_set(tmp_path / "documents", documents, DOCUMENTS, NUM_SHARDS)
    write_data_set(tmp_path / "codes", codes, IMAGE_CODES, NUM_SHARDS, "image_id")
    write_data_set(tmp_path / "failed", [to_row(lost)], DECISIONS, NUM_SHARDS, "image_id")
    return tmp_path


def assemble(corpus: Path, name: str, plan: Any, at_once: int | None, vocabulary: Vocabulary | None = None) -> Path:
    tokenizer = small_tokenizer()
    sources = (str(corpus / source) for source in ("documents", "codes", "failed"))
    output, work = corpus / name, str(corpus / name / "work")
    job = AssembleJob(
        *sources, Attempt(str(output), ""), NUM_SHARDS, vocabulary or small_vocabulary(tokenizer), tokenizer, True
    )  # fmt: skip
    shown = None if at_once is None else deal_shown_out(plan, str(corpus / "documents"), work, NUM_SHARDS)
    run_assembly(plan, job, work, shown, 21, at_once or 1)
    return output


@pytest.mark.parametrize(("num_workers", "at_once"), [(1, 5), (2, 1), (1, 21)])
def test_batches_give_the_same_files(corpus: Path, plan_here: Make, num_workers: int, at_once: int) -> None:
    whole = assemble(corpus, "whole", plan_here(), None)
    batched = assemble(corpus, "batched", plan_here(num_workers), at_once)
    for name in ("shards", "decisions"):
        files = sorted((whole / name).glob("*.parquet"))
        assert len(files) == NUM_SHARDS
        for file in files:
            assert (batched / name / file.name).read_bytes() == file.read_bytes()
    rows = list(read_folder(str(whole / "shards")))
    assert sorted(len(row["image_spans"]) for row in rows) == [1] * 4 + [2] * 16
    assert set(rows[0]) == set(TOKEN_SHARDS.names)
    assert {row["rule"] for row in read_folder(str(whole / "decisions"))} == {"undecodable_image", "nothing_left"}


def test_shown_images_are_those_that_each_shard_finds(corpus: Path, plan_here: Make) -> None:
    parts = deal_shown_out(plan_here(2), str(corpus / "documents"), str(corpus / "work"), NUM_SHARDS)
    expected: dict[int, set[str]] = {index: set() for index in range(NUM_SHARDS)}
    for shard in range(NUM_SHARDS):
        for index, identifier in shown_images(shard, str(corpus / "documents"), NUM_SHARDS):
            expected[index].add(identifier)
    for index in range(NUM_SHARDS):
        assert shown_in_part(index, parts) == (index, sorted(expected[index]))
    assert sum(map(len, expected.values())) == 12


def test_latents_stand_beside_the_spans(corpus: Path, plan_here: Make, write_data_set: Make) -> None:
    tokenizer = small_tokenizer()
    codebook = dataclasses.replace(
        small_vocabulary(tokenizer).codebooks[0], name="klvae", kind="klvae", num_codes=1, latent_channels=3
    )
    vocabulary = dataclasses.replace(small_vocabulary(tokenizer), codebooks=(codebook,))
    names = ["all", "nobody", *(f"i{n}" for n in range(10))]
    latents = {name: np.arange(12, dtype=np.float16) / 8 + number for number, name in enumerate(names)}
    rows = [{"image_id": name, "codes": [0] * 4, "latents": each} for name, each in latents.items()]
    shutil.rmtree(corpus / "codes")
    write_data_set(corpus / "codes", rows, IMAGE_LATENTS, NUM_SHARDS, "image_id")
    whole = assemble(corpus, "whole", plan_here(), None, vocabulary)
    batched = assemble(corpus, "batched", plan_here(), 5, vocabulary)
    for file in sorted((whole / "shards").glob("*.parquet")):
        assert (batched / "shards" / file.name).read_bytes() == file.read_bytes()
    read = list(read_folder(str(whole / "shards")))
    assert set(read[0]) == set(CONTINUOUS_TOKEN_SHARDS.names)
    for row in read:
        spans = [ImageSpan(**span) for span in row["image_spans"]]
        found = image_latents(row["latents"], len(spans), codebook)
        assert found.shape == (len(spans), 4, 3)
        for span, each in zip(spans, found, strict=True):
            assert (each.ravel() == latents[span.image_id]).all()
        assert len(decode_document(row["tokens"], spans, vocabulary, tokenizer)) == 1 + len(spans)
    with pytest.raises(ValueError, match="are not those of 2 images"):
        image_latents([0.0] * 12, 2, codebook)
    with pytest.raises(ValueError, match="continuous latents"):
        read_corpus(str(whole / "shards"), vocabulary, 0.0)


def test_a_kl_vae_writes_latents_beside_codes_that_mark_places(tmp_path: Path, write_data_set: Make) -> None:
    torch = pytest.importorskip("torch")
    from gobelin.tokenize.config import KLVAEConfig
    from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
    from gobelin.tokenize.networks import build_network

    config = KLVAEConfig(
        image_size=(8, 16), norm_groups=2, channels=8, multipliers=(1, 2), num_blocks=1, latent_channels=3
    )
    tokenizer = ImageTokenizer(build_network(config, torch.Generator().manual_seed(0)))
    save_image_tokenizer(tokenizer, str(tmp_path / "tokenizer"))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    schema = pa.schema([("image_id", pa.string()), ("data", pa.binary()), ("urls", pa.list_(pa.string()))])
    row = {"image_id": "a", "data": stream.getvalue(), "urls": ["https://a.example/a.png"]}
    write_data_set(tmp_path / "images", [row], schema, 1, "image_id")
    step = _EncodeImages(*(str(tmp_path / name) for name in ("tokenizer", "images", "codes", "failed")), 1, "cpu", None)
    step.setup()
    assert list(step.process((0, ["a"])))
    (read,) = read_rows(next((tmp_path / "codes").glob("*.parquet")).as_posix())
    assert read["codes"] == [0] * 32
    assert (image_latents(read["latents"], 1, tokenizer.codebook)[0] == tokenizer.encode(pixels[None])[0]).all()
