"""The examples read token shards as they are written, through the libraries that they are for."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gobelin.data.schemas import DECISIONS, DOCUMENTS, IMAGE_CODES
from gobelin.pipeline.stages.tokenize import AssembleJob, run_assembly, shuffle_into_shards
from gobelin.store.dataset import Attempt, make_current
from gobelin.store.shards import read_folder
from gobelin.tokenize import token_shards
from gobelin.tokenize.assemble import SequenceLayout
from tests.token_corpora import small_tokenizer, small_vocabulary

EXAMPLES = Path(__file__).parents[1] / "examples" / "read_shards"
pytestmark = pytest.mark.filterwarnings("default")  # of the libraries
NUM_DOCUMENTS = 60


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"read_shards_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # worker processes unpickle from it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tokenize(tmp_path_factory: pytest.TempPathFactory, write_data_set: Callable[..., Any],
             a_document: Callable[..., Any], plan_here: Callable[..., Any]) -> Path:  # fmt: skip
    """What the stage writes, for 60 documents, in several shards of several row groups."""
    folder = tmp_path_factory.mktemp("run")
    documents = [a_document(f"{n:032x}", [f"a red square {n}", ("image",)]) for n in range(NUM_DOCUMENTS)]
    write_data_set(folder / "documents", documents, DOCUMENTS, 2)
    write_data_set(folder / "codes", [{"image_id": "image", "codes": [1, 2, 3, 31]}], IMAGE_CODES, 2, "image_id")
    write_data_set(folder / "failed", [], DECISIONS, 2, "image_id")
    words, output = small_tokenizer(), folder / "tokenize"
    job = AssembleJob(
        *(str(folder / name) for name in ("documents", "codes", "failed")), Attempt(str(output), "key"),
        str(folder / "sequences"), 2, small_vocabulary(words), words, SequenceLayout(),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_shards, "ROW_GROUP_BYTES", 400)
        run_assembly(plan_here(), job, str(folder / "work"), None, NUM_DOCUMENTS)
        shuffle_into_shards(plan_here(), job, str(folder / "work"), 300)
    for name in ("shards", "index"):
        make_current(str(output / name / "key"))
    job.vocabulary.save(str(output))
    return output


@pytest.fixture(scope="module")
def expected(tokenize: Path) -> list[list[int]]:
    found = [row["tokens"] for row in read_folder(str(tokenize / "shards"))]
    assert len(found) == NUM_DOCUMENTS
    return found


@pytest.mark.parametrize("name", ["with_torch", "with_datasets", "with_webdataset"])
def test_they_need_no_gobelin(name: str) -> None:
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(module.startswith("gobelin") for module in imported)


def test_plain_torch(tokenize: Path, expected: list[list[int]]) -> None:
    torch = pytest.importorskip("torch")
    module = example("with_torch")
    whole = [tokens.tolist() for tokens in module.TokenSequences(tokenize)]
    assert whole == expected
    later = [tokens.tolist() for tokens in module.TokenSequences(tokenize, first=37)]
    assert later == expected[37:]
    loader = torch.utils.data.DataLoader
    ranks = [list(loader(module.TokenSequences(tokenize, rank=rank, world_size=2), batch_size=None)) for rank in (0, 1)]
    shared = [tokens.tolist() for share in ranks for tokens in share]
    assert all(ranks)
    assert sorted(shared) == sorted(expected)
    for rank, share in enumerate(ranks):
        rest = module.TokenSequences(tokenize, first=7, rank=rank, world_size=2)
        assert [tokens.tolist() for tokens in rest] == [tokens.tolist() for tokens in share[7:]]
    workers = loader(module.TokenSequences(tokenize), batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(tokens.tolist() for tokens in workers) == sorted(expected)
    rows = torch.cat(list(loader(module.Packed(module.TokenSequences(tokenize), 64), batch_size=1)))
    stream = [token for tokens in expected for token in tokens]
    assert rows.ravel().tolist() == stream[: rows.numel()]
    assert 0 <= len(stream) - rows.numel() < 64


def test_datasets(tokenize: Path, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("datasets")
    rows = list(example("with_datasets").open_shards(tokenize))
    assert [row["tokens"] for row in rows] == expected
    assert {sum(row["is_image"]) for row in rows} == {4}
    assert all(row["is_image"][row["image_spans"][0]["start"]] for row in rows)


def test_webdataset(tokenize: Path, expected: list[list[int]], tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    module = example("with_webdataset")
    tars = module.write_tars(tokenize, tmp_path / "tars")
    samples = list(module.open_tars(tars))
    assert [tokens.tolist() for tokens, _ in samples] == expected
    assert all(isinstance(tokens, np.ndarray) and spans[0]["length"] == 4 for tokens, spans in samples)
    again = module.write_tars(tokenize, tmp_path / "again")
    assert [Path(each).read_bytes() for each in again] == [Path(each).read_bytes() for each in tars]


def test_the_command_line(tokenize: Path, expected: list[list[int]]) -> None:
    pytest.importorskip("torch")
    command = [sys.executable, str(EXAMPLES / "with_torch.py"), str(tokenize)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True).stdout
    assert said.endswith("tokens\n")
    assert int(said.split()[2].replace(",", "")) > sum(map(len, expected)) - 256
