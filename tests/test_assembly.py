"""Token shards put together in one batch, and in several to which codes are dealt out: the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gobelin.documents import DECISIONS, DOCUMENTS, IMAGE_CODES, TOKEN_SHARDS, Action, Decision, Unit, to_row
from gobelin.pipeline.stages.tokenize import AssembleJob, deal_shown_out, run_assembly
from gobelin.store.dataset import Attempt
from gobelin.tokenize.encode import shown_images, shown_in_part
from gobelin.transforms import shards
from gobelin.transforms.shards import read_folder
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


def assemble(corpus: Path, name: str, plan: Any, at_once: int | None) -> Path:
    tokenizer = small_tokenizer()
    sources = (str(corpus / source) for source in ("documents", "codes", "failed"))
    output, work = corpus / name, str(corpus / name / "work")
    job = AssembleJob(
        *sources, Attempt(str(output), ""), NUM_SHARDS, small_vocabulary(tokenizer), tokenizer, True
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
