"""Measures the speed of training: the loader alone, and a step compared with one of nanoGPT's model.

    python bench/train.py loader [--tokens 30000000] [--folder DIR]
    python bench/train.py resume [--tokens 100000000] [--folder DIR] [--size "10 M"]
    python bench/train.py products
    python bench/train.py peer [--steps 8] [--threads 1]
    python bench/train.py loss [--size "2 M"] [--steps 400] [--rates 0.001 0.003 0.01]

``loader`` writes a synthetic corpus and reads an epoch of it. It measures rows and tokens a second, peak memory, and
the time to continue from the middle of an epoch. ``resume`` starts a process that goes on with a checkpoint in the
middle of such an epoch, and measures from its start to the end of its first step. ``products`` multiplies matrices of a
model's shapes with MKL and with oneDNN. ``peer`` trains on random tokens, in turns with a model of GPT-2's published
architecture as in nanoGPT (learned positions, LayerNorm, GELU, tied head, AdamW). That model is implemented again here,
with the same width, layers and vocabulary. ``loss`` trains both on text and prints the held-out loss beside the
seconds. All of them measure CPU-seconds, ``resume`` also the clock, on one thread unless told otherwise, and take
medians. ``bench/sample.py`` compares sampling with the memory bound.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gobelin.data.schemas import TOKEN_SHARDS
from gobelin.store.dataset import commit_shards, data_output, shard_name
from gobelin.store.files import exists
from gobelin.store.paths import join
from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.text_tokenizer import fit_bpe
from gobelin.tokenize.vocabulary import (
    CAPTION_OF_NEXT,
    DOCUMENT,
    END_OF_DOCUMENT,
    END_OF_IMAGE,
    IMAGE,
    TEXT,
    Vocabulary,
)
from gobelin.train import linear
from gobelin.train.batches import Loader
from gobelin.train.config import LMConfig, TrainConfig
from gobelin.train.shards import read_corpus
from gobelin.train.size import SHAPES
from gobelin.train.trainee import Trainee
from gobelin.train.trainer import train

TEXT_SIZE = 4096
COMPARED = ("2 M", "10 M")


def vocabulary() -> Vocabulary:
    """Of 4,096 text tokens, and pictures of 7 x 7 codes out of 256."""
    book = Codebook(name="vqvae", kind="vqvae", num_codes=256, rows=7, columns=7, fingerprint="0" * 64)
    return Vocabulary(
        text_size=TEXT_SIZE, codebooks=(book,), text_fingerprint="0" * 64, text_token_bytes=(4,) * TEXT_SIZE
    )


def write_corpus(folder: str, num_tokens: int, num_shards: int = 8) -> None:
    """Documents of texts of 20 to 120 tokens and captioned pictures, about 500 tokens each, ids drawn evenly. Shards
    have the same documents, under names of their own."""
    random, words, rows, written = np.random.default_rng(0), vocabulary(), [], 0
    while written < num_tokens // num_shards:
        rows.append(_document(random, words))
        written += len(rows[-1]["tokens"])
    schema = TOKEN_SHARDS.with_metadata({b"gobelin.vocabulary": words.to_json().encode()})
    table = _table(rows, schema)
    for shard in range(num_shards):
        names = pa.array([f"{shard:02x}{number:030x}" for number in range(len(rows))])
        with data_output(folder, shard_name(shard, num_shards)) as new:
            with pq.ParquetWriter(new.stream, schema, compression="zstd") as writer:
                writer.write_table(table.set_column(0, schema.field("doc_id"), names), row_group_size=2000)
            new.num_rows = len(rows)
    commit_shards(folder, num_shards)


def _table(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    tokens = [row["tokens"] for row in rows]
    ends = np.cumsum([0, *map(len, tokens)]).astype(np.int32)
    columns = [
        pa.array([""] * len(rows)),
        pa.ListArray.from_arrays(ends, np.concatenate(tokens).astype(np.int32)),
        pa.array([row["image_spans"] for row in rows], schema.field("image_spans").type),
        pa.nulls(len(rows), pa.int32()),
        pa.nulls(len(rows), pa.string()),
    ]
    return pa.table(columns, ["doc_id", "tokens", "image_spans", "part", "site"]).cast(schema)


def _document(random: np.random.Generator, words: Vocabulary) -> dict[str, Any]:
    parts, spans, length = [np.array([DOCUMENT])], [], 1
    for _ in range(int(random.integers(2, 14))):
        text = random.integers(words.text_offset, words.image_offset, int(random.integers(20, 120)))
        if random.random() < 0.3:
            codes = random.integers(words.image_offset, words.size, 49)
            item = np.concatenate([[CAPTION_OF_NEXT], text[:20], [IMAGE], codes, [END_OF_IMAGE]])
            spans.append({"start": length + 22, "length": 49, "image_id": f"{random.integers(1 << 60):064x}"})
        else:
            item = np.concatenate([[TEXT], text])
        parts.append(item)
        length += len(item)
    return {"tokens": np.concatenate([*parts, [END_OF_DOCUMENT]]), "image_spans": spans}


def bench_loader(num_tokens: int, folder: str) -> None:
    """Writes the corpus if need be, then measures in processes of their own."""
    if not exists(join(folder, "_manifest.json")):
        write_corpus(folder, num_tokens)
    for part in ("index", "epoch", "ahead", "resume"):
        told = subprocess.run(
            [sys.executable, __file__, "part", part, "--folder", folder], check=True, capture_output=True, text=True
        )
        print(told.stdout.strip())


def bench_part(part: str, folder: str) -> None:
    """One measurement, in a fresh process: its peak memory is its own."""
    before, started = _peak_mb(), time.process_time()
    corpus = read_corpus(folder, vocabulary(), 0.0, kept_in=folder)
    index = corpus.training.index
    of_documents = (index.lengths, index.num_images, index.longest_image, index.hashes, index.sites)
    held = sum(array.nbytes for array in (*of_documents, index.groups))
    found: dict[str, object] = {"part": part, "index_cpu_s": round(time.process_time() - started, 2)}
    if part == "index":
        tokens = corpus.training.num_tokens
        found |= {"documents": len(corpus.training), "tokens": tokens, "index_bytes_a_token": round(held / tokens, 3)}
    loader = Loader(corpus.training, row_tokens=1024, caption_drop=0.1, seed=0)
    started, num_rows, position = time.process_time(), 0, 0
    if part in ("epoch", "ahead"):
        with loader.reading_ahead() if part == "ahead" else contextlib.nullcontext():
            while position >> 32 < loader.num_windows:
                batch, position = loader.batch(position, 8)
                num_rows += len(batch.tokens_BT)
            seconds = time.process_time() - started  # of the process that trains
        found |= {
            "rows": num_rows, "rows_a_cpu_s": round(num_rows / seconds),
            "tokens_a_cpu_s": round(1024 * num_rows / seconds), "utilisation": round(loader.utilisation(0), 4),
        }  # fmt: skip
    elif part == "resume":
        loader.batch((loader.num_windows // 2) << 32 | 1000, 8)
        found["first_batch_cpu_s"] = round(time.process_time() - started, 2)
    print(json.dumps({**found, "peak_mb": round(_peak_mb()), "imports_mb": round(before)}))


def bench_resume(num_tokens: int, folder: str, size: str) -> None:
    """A run takes a step and stops. Its checkpoint is moved to the middle of the epoch, and a process goes on there."""
    if not exists(join(folder, "_manifest.json")):
        write_corpus(folder, num_tokens)
    output = join(folder, "run")
    shutil.rmtree(output, ignore_errors=True)
    _run_steps(folder, output, size, 1)
    (state,) = Path(output).glob("checkpoint_*/state.json")
    values = json.loads(state.read_text(encoding="utf-8"))
    corpus = read_corpus(folder, vocabulary(), TrainConfig().validation_ratio, kept_in=output)
    middle = Loader(corpus.training, row_tokens=1024, caption_drop=0.1, seed=0).num_windows // 2
    state.write_text(json.dumps({**values, "position": middle << 32 | 1000}), encoding="utf-8")
    subprocess.run([sys.executable, __file__, "part", "whole", "--folder", folder, "--size", size,
                    "--started", str(time.time())], check=True)  # fmt: skip


def _run_steps(folder: str, output: str, size: str, num_steps: int) -> list[tuple[float, float]]:
    """When each step ended, by the clock and in seconds of this process's CPU time."""
    config = TrainConfig(model=SHAPES[size], row_tokens=1024, batch_rows=4, threads=1)
    ends: list[tuple[float, float]] = []
    train(
        folder, vocabulary(), config, output, seed=0, stop=lambda: len(ends) == num_steps,
        on_step=lambda step, metrics: ends.append((time.time(), time.process_time())),
    )  # fmt: skip
    return ends


def bench_whole_resume(folder: str, size: str, started: float) -> None:
    """In a fresh process: seconds from ``started`` by the clock, and of the CPU from the process's start."""
    imported = time.time(), time.process_time()
    first, second = _run_steps(folder, join(folder, "run"), size, 2)
    found = {"imports_s": imported[0] - started, "imports_cpu_s": imported[1], "first_step_s": first[0] - started,
             "first_step_cpu_s": first[1], "second_step_alone_cpu_s": second[1] - first[1]}  # fmt: skip
    print(json.dumps({"size": size, "tokens_a_step": 4096, **{name: round(each, 2) for name, each in found.items()}}))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class PeerBlock(nn.Module):
    """A block of GPT-2."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norms[0](x_BTD)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTD = x_BTD + self.out(y.transpose(1, 2).flatten(2))
        return x_BTD + self.down(F.gelu(self.up(self.norms[1](x_BTD))))


class Peer(nn.Module):
    """GPT-2 of this width, without dropout."""

    def __init__(self, config: LMConfig, vocabulary_size: int, row_tokens: int) -> None:
        super().__init__()
        self.embedding, self.places = (
            nn.Embedding(vocabulary_size, config.width),
            nn.Embedding(row_tokens, config.width),
        )
        self.blocks = nn.ModuleList(PeerBlock(config.width, config.num_heads) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.head = nn.Linear(config.width, vocabulary_size, bias=False)
        self.embedding.weight = self.head.weight
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                is_last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * config.num_layers) if is_last else 0.02)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(tokens_BT) + self.places.weight[: tokens_BT.shape[1]]
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.head(self.norm(x_BTD))


def bench_products(repeats: int = 15) -> None:
    """Operations a second of one core, for the product of a layer and the two of its gradients."""
    torch.set_num_threads(1)
    for width, outputs in ((128, 384), (128, 704), (256, 1408), (128, TEXT_SIZE)):
        x, weight, gradient = torch.randn(1024, width), torch.randn(outputs, width), torch.randn(1024, outputs)
        pairs = {"forward": (x, weight.T), "of the input": (gradient, weight), "of the weights": (x.T, gradient)}
        for name, (left, right) in pairs.items():
            rates = {
                way: 2 * 1024 * width * outputs / statistics.median(_seconds(multiply, left, right, repeats)) / 1e9
                for way, multiply in (("MKL", torch.matmul), ("oneDNN", _by_onednn))
            }
            told = ", ".join(f"{way} {rate:4.0f}" for way, rate in rates.items())
            print(f"1024 x {width} x {outputs:<5}{name:<15} 10^9 operations a second: {told}")


def _by_onednn(left: Tensor, right: Tensor) -> Tensor:
    return linear.times_transposed(left, right.T)


def _seconds(multiply: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor, repeats: int) -> list[float]:
    found = []
    for _ in range(repeats + 1):
        started = time.process_time()
        multiply(left, right)
        found.append(time.process_time() - started)
    return found[1:]


def bench_peer(steps: int, threads: int) -> None:
    """Tokens a second of CPU time, in turns."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    words = vocabulary()
    for name in COMPARED:
        shape = SHAPES[name]
        config = TrainConfig(model=shape, row_tokens=256, batch_rows=4)
        tokens_BT = torch.randint(words.text_offset, words.size, (4, 256), generator=torch.Generator().manual_seed(0))
        ways = {"gobelin": _own(config, words, tokens_BT, with_muon=True),
                "gobelin, AdamW alone": _own(config, words, tokens_BT, with_muon=False),
                "nanoGPT's model": _peer(shape, words, tokens_BT)}  # fmt: skip
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(steps):
            for way, (step, _) in ways.items():
                started = time.process_time()
                step()
                seconds[way].append(time.process_time() - started)
        least = statistics.median(seconds["nanoGPT's model"][1:])
        for way, (_, parameters) in ways.items():
            median = statistics.median(seconds[way][1:])
            print(f"{name:<6}{way:<22}{parameters / 1e6:6.2f} M parameters {1024 / median:8.0f} tokens a CPU second"
                  f"  {median / least:5.2f} of nanoGPT's step")  # fmt: skip


def _own(config: TrainConfig, words: Vocabulary, tokens_BT: Tensor, with_muon: bool) -> tuple[Callable[[], None], int]:
    trainee = Trainee(dataclasses.replace(config, optimizer="muon" if with_muon else "adamw"), words, 0)
    rows = [[row.int().numpy()] for row in tokens_BT]  # one document a row: several cost less

    def step() -> None:
        trainee.step(rows, 0, is_measured=False)

    return step, sum(parameter.numel() for parameter in trainee.model.parameters())


def _peer(shape: LMConfig, words: Vocabulary, tokens_BT: Tensor) -> tuple[Callable[[], None], int]:
    model = Peer(shape, words.size, 256)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    targets_BT = tokens_BT.roll(-1, 1)

    def step() -> None:
        F.cross_entropy(model(tokens_BT).flatten(0, 1), targets_BT.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, sum(parameter.numel() for parameter in model.parameters())


def bench_loss(size: str, steps: int, rates: Sequence[float]) -> None:
    """Held-out loss of text against seconds of the CPU, of gobelin's two optimizers and of nanoGPT's loop at several
    learning rates, on the source text of Python's standard library."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    training, held_out, words = _source_text()
    shape = SHAPES[size]
    print(
        f"{len(training):,} tokens to train on, {len(held_out):,} held out, {words.size:,} ids; {steps} steps of 1024"
    )
    runs = {"gobelin": _learner(shape, words, steps, "muon"),
            "gobelin, AdamW alone": _learner(shape, words, steps, "adamw"),
            **{f"nanoGPT's loop, {rate:g}": _peer_learner(shape, words, steps, rate) for rate in rates}}  # fmt: skip
    seconds = dict.fromkeys(runs, 0.0)
    random = np.random.default_rng(0)
    for step in range(steps):
        tokens_BT = _windows(training, random.integers(len(training) - 256, size=4))
        for name, (learn, _) in runs.items():
            started = time.process_time()
            learn(tokens_BT, step)
            seconds[name] += time.process_time() - started
        if (step + 1) % max(1, steps // 10) == 0:
            places = np.linspace(0, len(held_out) - 256, 64).astype(int)
            for name, (_, loss) in runs.items():
                nats = statistics.mean(loss(_windows(held_out, places[start : start + 8])) for start in range(0, 64, 8))
                print(f"{size:<6}{name:<24} step {step + 1:5} {seconds[name]:8.1f} CPU s {nats:8.4f} nats", flush=True)


def _source_text() -> tuple[np.ndarray, np.ndarray, Vocabulary]:
    """Tokens of Python's standard library, of every twentieth file apart, by a tokenizer that is fitted on a part."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = [path for path in sorted(folder.rglob("*.py")) if "site-packages" not in path.parts][:1200]
    texts = [path.read_text(errors="replace") for path in files]
    tokenizer = fit_bpe([text[:4000] for text in texts[::4]], 2048)
    parts = [[tokenizer.encode(text) for text in texts[first::20]] for first in range(20)]
    book = Codebook(name="vqvae", kind="vqvae", num_codes=256, rows=7, columns=7, fingerprint="0" * 64)
    words = Vocabulary(
        text_size=tokenizer.size, codebooks=(book,), text_fingerprint="0" * 64, text_token_bytes=(4,) * tokenizer.size
    )
    joined = [np.concatenate([np.array(text, np.int64) for text in part]) + words.text_offset for part in parts]
    return np.concatenate(joined[1:]), joined[0], words


def _windows(tokens: np.ndarray, starts: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([tokens[start : start + 256] for start in starts]))


Learner = tuple[Callable[[Tensor, int], None], Callable[[Tensor], float]]
"""A step on rows of tokens, and the mean loss of rows."""


def _learner(shape: LMConfig, words: Vocabulary, steps: int, optimizer: Literal["muon", "adamw"]) -> Learner:
    config = TrainConfig(model=shape, steps=steps, row_tokens=256, batch_rows=4, threads=1, optimizer=optimizer)
    trainee = Trainee(config, words, 0)

    @torch.no_grad()
    def loss(tokens_BT: Tensor) -> float:
        logits_BTV = trainee.model(tokens_BT, torch.zeros_like(tokens_BT))
        return F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten()).item()

    return lambda tokens_BT, step: _nothing(
        trainee.step([[row.int().numpy()] for row in tokens_BT], step, is_measured=False)
    ), loss


def _nothing(_: object) -> None:
    """Of a step nothing is asked."""


def _peer_learner(shape: LMConfig, words: Vocabulary, steps: int, rate: float, warm: int = 30) -> Learner:
    """nanoGPT's loop: a cosine to a tenth of the rate, decay of matrices by 0.1, clipping at 1."""
    torch.manual_seed(0)
    model = Peer(shape, words.size, 256)
    groups = [{"params": [p for p in model.parameters() if (p.ndim == 2) == is_matrix], "weight_decay": decay}
              for is_matrix, decay in ((True, 0.1), (False, 0.0))]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)

    def nats(tokens_BT: Tensor) -> Tensor:
        return F.cross_entropy(model(tokens_BT[:, :-1]).flatten(0, 1), tokens_BT[:, 1:].flatten())

    def learn(tokens_BT: Tensor, step: int) -> None:
        passed = max(0, step - warm) / max(1, steps - warm)
        falling = 0.1 + 0.9 * (0.5 + 0.5 * math.cos(math.pi * passed))
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / warm, falling)
        nats(tokens_BT).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return learn, lambda tokens_BT: nats(tokens_BT).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    loader = commands.add_parser("loader")
    loader.add_argument("--tokens", type=int, default=30_000_000)
    loader.add_argument("--folder", default=os.path.join(tempfile.gettempdir(), "gobelin-bench-tokens"))
    resume = commands.add_parser("resume")
    resume.add_argument("--tokens", type=int, default=100_000_000)
    resume.add_argument("--folder", default=os.path.join(tempfile.gettempdir(), "gobelin-bench-tokens"))
    resume.add_argument("--size", choices=SHAPES, default="10 M")
    part = commands.add_parser("part")
    part.add_argument("part", choices=["index", "epoch", "ahead", "resume", "whole"])
    part.add_argument("--folder", required=True)
    part.add_argument("--size", choices=SHAPES)
    part.add_argument("--started", type=float)
    commands.add_parser("products")
    peer = commands.add_parser("peer")
    peer.add_argument("--steps", type=int, default=8)
    peer.add_argument("--threads", type=int, default=1)
    loss = commands.add_parser("loss")
    loss.add_argument("--size", choices=COMPARED, default="2 M")
    loss.add_argument("--steps", type=int, default=400)
    loss.add_argument("--rates", type=float, nargs="*", default=[1e-3, 3e-3, 1e-2])
    given = parser.parse_args()
    if given.command == "loader":
        bench_loader(given.tokens, given.folder)
    elif given.command == "resume":
        bench_resume(given.tokens, given.folder, given.size)
    elif given.command == "part" and given.part == "whole":
        bench_whole_resume(given.folder, given.size, given.started)
    elif given.command == "part":
        bench_part(given.part, given.folder)
    elif given.command == "products":
        bench_products()
    elif given.command == "loss":
        bench_loss(given.size, given.steps, given.rates)
    else:
        bench_peer(given.steps, given.threads)


if __name__ == "__main__":
    main()
