"""The whole way on a small sample crawl: every stage, its numbers, its results; and what an interrupted run leaves."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from examples.demo.truth import judge_corpus, tally_lines
from examples.sample_crawl.make_crawl import make_crawl
from gobelin.exchange.token_files import documents_of
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.run.run_summary import summary_lines
from gobelin.pipeline.run.stage_names import STAGES
from gobelin.store.dataset import commit
from gobelin.store.shards import read_folder
from gobelin.tokenize.assemble import written_text
from gobelin.tokenize.sequence import ImageItem, ImageSpan, TextItem, decode_document
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import METADATA_KEY, Vocabulary
from gobelin.train.held_out import HeldOut
from gobelin.train.model import load_model
from gobelin.train.size import SHAPES
from gobelin.transforms.urls import host_of

SMALL = [
    "select.image.min_clip_near=null", "select.image.min_clip_caption=null", "select.image.min_clip_alt=null",
    "score.clip=null", "num_shards=2", "tokenize.vqvae_steps=6", "tokenize.text_vocab_size=400",
    "tokenize.vqvae={image_size: 16, patch_size: 8, num_codes: 16, channels: 8, num_blocks: 1}",
    "train.steps=3", "train.batch_rows=2", "train.row_tokens=128", "train.threads=1", "train.validation_ratio=0.3",
    "train.model={width: 16, num_layers: 1, num_heads: 2, hidden: 32}", "train.log_every=1",
    "sample.num_captions=2", "sample.images_per_caption=1", "sample.num_documents=1", "sample.max_document_tokens=64",
]  # fmt: skip


def run(output: Path, crawl: Path, *more: str, quiet: bool = True) -> int:
    settings = [part for setting in SMALL for part in ("--set", setting)]
    recipe = str(Path(__file__).parents[1] / "examples" / "demo" / "recipe.yaml")
    return main(
        [
            "run",
            "--recipe",
            recipe,
            "--input",
            str(crawl / "*.warc.gz"),
            "--output",
            str(output),
            *(["--quiet"] if quiet else []),
            "--workers",
            "2",
            *settings,
            *more,
        ]
    )


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crawl")
    make_crawl(folder, seed=3, pages=40)
    return folder


@pytest.fixture(scope="module")
def output(crawl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "out"
    assert run(folder, crawl) == 0
    return folder


pytestmark = pytest.mark.slow


def test_what_training_amounts_to_is_told(output: Path) -> None:
    stages = json.loads((output / "run.json").read_text())["stages"]
    told, tokens = stages["train"]["outlook"], stages["tokenize"]["tokens"]
    assert told["corpus"] == {
        "documents": stages["tokenize"]["documents"]["kept"],
        "tokens": tokens["all"],
        "images": stages["tokenize"]["images"]["kept"],
    }
    assert told["passes"] == pytest.approx(3 * 2 * 128 / (0.7 * tokens["all"]))
    assert any(line.startswith("train: 3 steps, ended; the model is that of") for line in summary_lines(str(output)))


def test_what_training_takes_is_told_and_nothing_written(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert main(["train", str(output), "--plan", "--set", "train.steps=10"]) == 0
    told = capsys.readouterr().out
    assert "10 steps are" in told
    assert [line.split("  ")[0].strip() for line in told.splitlines() if " GB" in line] == ["recipe", *SHAPES]
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_every_stage_is_done_and_adds_up(output: Path) -> None:
    stages = json.loads((output / "run.json").read_text())["stages"]
    assert [stages[name]["status"] for name in STAGES] == ["done"] * len(STAGES)
    for name in ("extract", "score", "select", "tokenize"):
        for unit in ("documents", "images"):
            counts = stages[name][unit]
            assert counts["seen"] > 0
            assert counts["seen"] == counts["kept"] + sum(counts["dropped"].values()) + counts["failed"]
            assert counts["failed"] == sum(counts["failed_by"].values())
    for unit in ("documents", "images"):
        kept = [stages[name][unit]["kept"] for name in ("extract", "score", "select")]
        seen = [stages[name][unit]["seen"] for name in ("score", "select", "tokenize")]
        assert kept == seen


def test_documents_come_back_from_their_tokens(output: Path) -> None:
    """Text byte for byte, code and tables as Markdown, codes code for code, captions where they were."""
    tokens = output / "tokenize"
    vocabulary, text_tokenizer = Vocabulary.load(str(tokens)), TextTokenizer.load(str(tokens))
    codes = {row["image_id"]: tuple(row["codes"]) for row in read_folder(str(tokens / "codes"))}
    corpus = {row["doc_id"]: row["nodes"] for row in read_folder(str(output / "select" / "documents"))}
    found = 0
    for path in sorted((tokens / "shards").glob("*/*.parquet")):
        assert pq.read_schema(path).metadata[METADATA_KEY].decode() == vocabulary.to_json()
        for row in pq.read_table(path).to_pylist():
            spans = [ImageSpan(**span) for span in row["image_spans"]]
            items = decode_document(row["tokens"], spans, vocabulary, text_tokenizer)
            for item, node in zip(items, corpus[row["doc_id"]], strict=True):
                if isinstance(item, TextItem):
                    assert item.text == written_text(node)
                else:
                    assert isinstance(item, ImageItem)
                    assert (item.image_id, item.codes) == (node["image_id"], codes[node["image_id"]])
                    assert item.caption == (node["caption"] or node["alt"])
                    found += 1
    assert found > 50
    assert set(corpus) == {row["doc_id"] for row in read_folder(str(tokens / "shards"))}


def test_what_went_can_be_listed(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = json.loads((output / "run.json").read_text())["stages"]
    for stage in ("extract", "select"):
        assert main(["export", str(output), "--stage", stage, "--decisions"]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        dropped = [row for row in rows if row["unit"] == "document" and row["action"] == "drop"]
        assert len(dropped) == sum(stages[stage]["documents"]["dropped"].values()) > 0
        assert all(row["rule"] and row["url"] for row in dropped)
        assert any("value" in row and "threshold" in row for row in dropped)


def test_what_was_sampled_is_there(output: Path) -> None:
    samples = json.loads((output / "sample" / "samples.json").read_text())
    assert len(samples["from_captions"]) == 2
    names = [name for item in samples["from_captions"] for name in item["images"]]
    pictures = [np.asarray(Image.open(output / "sample" / name)) for name in names]
    assert {picture.shape for picture in pictures} == {(16, 16, 3)}
    page = (output / "sample" / "index.html").read_text()
    assert all(name in page for name in names)


def test_training_is_measured(output: Path) -> None:
    summary = json.loads((output / "train" / "summary.json").read_text())
    assert (summary["steps"], summary["model_step"], summary["ended_by"]) == (3, 3, "steps")
    assert summary["grounding"]["num_pairs"] > 1
    assert summary["losses"]["validation_image_nats"] > 0
    assert 0.5 < summary["utilisation"] <= 1
    held_out = HeldOut.load(str(output / "train" / "held_out.json"))
    urls = {row["doc_id"]: row["url"] for row in read_folder(str(output / "select" / "documents"))}
    assert summary["held_out"]["by"] == held_out.by == "site"
    assert summary["documents"]["validation"] == len(held_out.documents)
    apart = {*held_out.documents, *held_out.left_out}
    assert {name for name, url in urls.items() if host_of(url).removeprefix("www.") in held_out.sites} == apart


def _trained_anew(output: Path, target: Path, *settings: str) -> list[str]:
    """A copy of the run whose model is to be trained anew, and the command that does it."""
    shutil.copytree(output, target)
    return ["train", str(target), "--quiet", *(part for each in settings for part in ("--set", each))]


def test_two_processes_train_under_torchrun(output: Path, tmp_path: Path) -> None:
    """The first runs the stage, the other trains beside it; a second call finds nothing to do, and both end."""
    command = _trained_anew(output, tmp_path / "out", "train.steps=4")
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    gobelin = str(Path(sys.executable).with_name("gobelin"))
    for _ in range(2):
        done = subprocess.run([*program, gobelin, *command], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-3000:]
    stages = json.loads((tmp_path / "out" / "run.json").read_text())["stages"]
    assert (stages["train"]["status"], stages["train"]["steps"]) == ("done", 4)
    checkpoint = tmp_path / "out" / "train" / "checkpoint_00000004"
    assert json.loads((checkpoint / "state.json").read_text())["processes"] == 2


def test_a_stop_under_torchrun_ends_with_a_checkpoint_and_changes_nothing(output: Path, tmp_path: Path) -> None:
    """SIGTERM to torchrun, as a cluster's scheduler sends it; the same command goes on to the losses of a run that was
    left alone."""
    steps = 300
    settings = (f"train.steps={steps}", "train.checkpoint_every=100000", "train.eval_every=100000")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    gobelin, found = str(Path(sys.executable).with_name("gobelin")), {}
    for name in ("alone", "stopped"):
        command = [*torchrun, gobelin, *_trained_anew(output, tmp_path / name, *settings)]
        folder = tmp_path / name / "train"
        shutil.rmtree(folder)
        if name == "stopped":
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
                _wait_until(lambda folder=folder: (folder / "metrics.jsonl").is_file())
                process.send_signal(signal.SIGTERM)
                _, told = process.communicate(timeout=120)
            assert process.returncode != 0
            (checkpoint,) = folder.glob("checkpoint_*")
            state = json.loads((checkpoint / "state.json").read_text())
            assert 0 < state["step"] < steps, told[-3000:]
            assert state["processes"] == 2
            assert not (folder / "model.safetensors").exists()
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        found[name] = (folder / "metrics.jsonl").read_text()
    assert found["stopped"] == found["alone"]


def _wait_until(is_so: Callable[[], bool], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def test_the_model_is_loaded_by_transformers(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exported by the command line, it gives the same logits there; one with place embeddings is refused."""
    transformers = pytest.importorskip("transformers")
    assert main(["export", str(output), "--format", "transformers", "--to", str(tmp_path / "no")]) == 2
    assert "train.model.place_embedding=false" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "no").rglob("*") if path.is_file()], "the same folder may be named again"
    shape = "train.model={width: 32, num_layers: 2, num_heads: 4, num_kv_heads: 2, hidden: 48, place_embedding: false}"
    assert main(_trained_anew(output, tmp_path / "out", shape, "train.steps=4")) == 0
    assert main(["export", str(tmp_path / "out"), "--format", "transformers", "--to", str(tmp_path / "hf")]) == 0
    own = load_model(str(tmp_path / "out" / "train"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path / "hf")).eval()
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    tokens_BT = torch.randint(0, own.vocabulary.size, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected_BTV = own(tokens_BT, torch.zeros_like(tokens_BT))
        torch.testing.assert_close(theirs(tokens_BT).logits, expected_BTV, atol=1e-6, rtol=1e-4)


def test_token_shards_are_files_of_other_trainers(output: Path, tmp_path: Path) -> None:
    documents = dict(documents_of(str(output / "tokenize" / "shards")))
    held_out = set(HeldOut.load(str(output / "train" / "held_out.json")).documents) & documents.keys()
    assert held_out
    for name in ("megatron", "nanogpt"):
        assert main(["export", str(output), "--format", name, "--to", str(tmp_path / name)]) == 0
        assert Vocabulary.load(str(tmp_path / name)) == Vocabulary.load(str(output / "tokenize"))
    for part, is_in in (("train", lambda doc_id: doc_id not in held_out), ("val", lambda doc_id: doc_id in held_out)):
        expected = [tokens.tolist() for doc_id, tokens in documents.items() if is_in(doc_id)]
        assert _read_megatron(tmp_path / "megatron" / part) == expected
        flat = np.memmap(tmp_path / "nanogpt" / f"{part}.bin", dtype=np.uint16, mode="r")  # as nanoGPT's train.py
        assert flat.tolist() == [token for tokens in expected for token in tokens]
    meta = pickle.loads((tmp_path / "nanogpt" / "meta.pkl").read_bytes())  # noqa: S301  # our own file
    assert meta["vocab_size"] == Vocabulary.load(str(output / "tokenize")).size


def _read_megatron(prefix: Path) -> list[list[int]]:
    """Sequences of an IndexedDataset, read by the layout in megatron/core/datasets/indexed_dataset.py."""
    index = prefix.with_suffix(".idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, num_sequences, num_documents = struct.unpack("<QBQQ", index[9:34])
    assert version == 1
    dtype = {4: np.int32, 8: np.uint16}[code]
    lengths = np.frombuffer(index, np.int32, num_sequences, 34)
    pointers = np.frombuffer(index, np.int64, num_sequences, 34 + lengths.nbytes)
    documents = np.frombuffer(index, np.int64, num_documents, 34 + lengths.nbytes + pointers.nbytes)
    assert len(index) == 34 + lengths.nbytes + pointers.nbytes + documents.nbytes
    assert documents.tolist() == list(range(num_sequences + 1))
    content = prefix.with_suffix(".bin").read_bytes()
    return [np.frombuffer(content, dtype, length, pointer).tolist() for length, pointer in zip(lengths, pointers)]


def test_the_truth_of_the_crawl(crawl: Path, output: Path, tmp_path: Path) -> None:
    """Without CLIP only mismatched pictures may stay wrongly; what should stay does."""
    tallies = judge_corpus(crawl / "truth.jsonl", output / "select" / "documents")
    wrong = {tally.kind for tally in tallies if tally.unit in ("page", "image") and tally.right < tally.total}
    assert wrong <= {"mismatch", "banner"}
    assert any("pages that should stay" in line for line in tally_lines(tallies))
    commit(str(tmp_path), [])
    empty = judge_corpus(crawl / "truth.jsonl", tmp_path)
    stayed = [tally for tally in empty if tally.should == "stay"]
    assert all(tally.right == 0 for tally in stayed)


def test_a_second_run_does_nothing_and_a_third_mends_what_an_interrupted_one_left(
    crawl: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    assert run(output, crawl) == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")} == before
    # As if killed while it wrote, stage after stage: half a file lies in each data set, and no manifest says done.
    for path in {path.parent for path in before}:
        (path / ".gobelin-0123.tmp").write_bytes(b"half")
    for name in ("extract", "score", "select", "tokenize"):
        manifest = json.loads((output / name / "manifest.json").read_text())
        (output / name / "work").mkdir(exist_ok=True)
        (output / name / "work" / "key.json").write_text(json.dumps({"key": manifest["key"]}))
        (output / name / "manifest.json").unlink()
    contents = {path: path.read_bytes() for path in before}
    assert run(output, crawl) == 0
    assert {path: path.read_bytes() for path in output.rglob("*.parquet")} == contents
    assert not list(output.rglob("*.tmp"))


def test_what_somebody_altered_is_named_and_made_again(
    crawl: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of another size: by the next run. Of the same size: by `gobelin check`; the next run mends what is deleted."""
    contents = {path: path.read_bytes() for path in output.rglob("*.parquet")}
    shortened = next((output / "select" / "documents").glob("*/part-*.parquet"))
    shortened.write_bytes(contents[shortened][:-5])
    manifest = next((output / "score" / "images").glob("*/_manifest.json"))
    manifest.write_text("{")
    assert run(output, crawl, quiet=False) == 0
    said = capsys.readouterr().out
    assert f"select: {shortened} has {len(contents[shortened]) - 5:,} bytes" in said
    assert f"score: {manifest} is not JSON" in said
    assert "score: is made again" in said
    assert {path: path.read_bytes() for path in output.rglob("*.parquet")} == contents

    altered = next((output / "extract" / "documents").glob("*/part-*.parquet"))
    altered.write_bytes(contents[altered][:-1] + b"?")
    assert main(["check", str(output)]) == 1
    assert f"{altered} was altered" in capsys.readouterr().out
    altered.unlink()
    assert run(output, crawl) == 0
    assert {path: path.read_bytes() for path in output.rglob("*.parquet")} == contents
    assert main(["check", str(output)]) == 0
