"""Finds groups among synthetic documents with known similarities: time, memory, and whether the curve's promise holds.

    python bench/duplicates_scale.py --documents 1000000

One document in five has a partner of known Jaccard similarity. There are also 1000 copies of one text, and chains of a
hundred texts in which each is similar only to the next. Signatures are made from sets of shingle hashes and written as
a data set. A separate process then groups it like a local run. The promise (``detection_probability``) is kept under
three conditions. At the target similarity and above, no fewer pairs are joined than it says (3.5 standard errors). The
chains and copies hold together. Nothing else is joined.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gobelin.data.ids import shard_of
from gobelin.data.schemas import IMAGE_SIGNATURES, SIGNATURES
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import read_folder, write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.duplicates.find_duplicates import DuplicatesJob, find_duplicates
from gobelin.transforms.duplicates.image_duplicates import NearImageConfig
from gobelin.transforms.duplicates.minhash import MinHashConfig, detection_probability, signature_of_shingles
from gobelin.transforms.duplicates.signatures import signature_metadata

SIMILARITIES = (0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
NUM_SHINGLES = 200
NUM_SHARDS = 16
CHAIN = 100
COPIES = 1000
MEASURED = pa.schema([("doc_id", pa.string()), ("paragraphs", pa.list_(pa.int64())), ("images", pa.list_(pa.string()))])


def shingle_sets(rng: np.random.Generator, num: int) -> Iterator[tuple[str, np.ndarray]]:
    """(what it is, shingles) of each document: "pair 0.8 17" twice, "chain 3", "copy", "alone"."""
    for chain in range(max(1, num // 20_000)):
        line = fresh(rng, NUM_SHINGLES + 11 * CHAIN)
        for link in range(CHAIN):  # 189 of 211 shingles in common with the next
            yield f"chain {chain}", line[11 * link : 11 * link + NUM_SHINGLES]
    copy = fresh(rng, NUM_SHINGLES)
    for _ in range(min(COPIES, num // 100)):
        yield "copy", copy
    for pair in range(num // 10):
        similarity = SIMILARITIES[pair % len(SIMILARITIES)]
        num_common = round(2 * NUM_SHINGLES * similarity / (1 + similarity))
        items = fresh(rng, 2 * NUM_SHINGLES - num_common)
        for mine in (items[:NUM_SHINGLES], items[-NUM_SHINGLES:]):
            yield f"pair {similarity} {pair}", mine
    while True:
        yield "alone", fresh(rng, NUM_SHINGLES)


def fresh(rng: np.random.Generator, num: int) -> np.ndarray:
    return rng.integers(0, 2**64, num, np.uint64)


def write_corpus(folder: Path, num: int, config: MinHashConfig) -> list[tuple[str, str]]:
    """Writes the data sets that ``score`` would have made. Returns (doc_id, what it is)."""
    rng = np.random.default_rng(1)
    truth, shards = [], [[] for _ in range(NUM_SHARDS)]
    for number, (kind, shingles) in zip(range(num), shingle_sets(rng, num), strict=False):
        doc_id = f"{rng.integers(2**63):016x}{number:016x}"
        signature = signature_of_shingles(shingles, f"{kind}" if kind == "copy" else str(number), config)
        truth.append((doc_id, kind))
        shards[shard_of(doc_id, NUM_SHARDS)].append(
            {"doc_id": doc_id, "url_key": f"https://{number % 5000}.example/{number}", "warc_date": "2025-01-01",
             "text_digest": signature.digest, "bands": list(signature.bands), "sketch": signature.sketch,
             "paragraphs": rng.integers(0, 20 * num, 10).tolist(), "images": []}
        )  # fmt: skip
    for index, rows in enumerate(shards):
        rows.sort(key=lambda row: row["doc_id"])
        for name, schema, chosen in (("signatures", SIGNATURES, rows), ("measurements", MEASURED, rows),
                                     ("images", IMAGE_SIGNATURES, [])):  # fmt: skip
            path = shard_path(str(folder / name), index, NUM_SHARDS)
            write_shard(path, [{key: row[key] for key in schema.names} for row in chosen], schema,
                       signature_metadata(config))  # fmt: skip
    for name in ("signatures", "measurements", "images"):
        commit_shards(str(folder / name), NUM_SHARDS)
    return truth


def group(folder: str, config: MinHashConfig) -> tuple[float, float, float, float]:
    """Seconds, CPU-seconds, peak memory and memory before, GiB, of the grouping, in a process of its own."""
    before = peak_gib()
    start, cpu = time.perf_counter(), time.process_time()
    find_duplicates(DuplicatesJob(f"{folder}/signatures", f"{folder}/measurements", f"{folder}/images", folder,
                                  NUM_SHARDS, config, NearImageConfig(), ()))  # fmt: skip
    return time.perf_counter() - start, time.process_time() - cpu, peak_gib(), before


def peak_gib() -> float:
    """Greatest resident size of this process, GiB. (Linux: ``ru_maxrss`` would remember the process that forked it.)"""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 2**20


def measure(num: int, config: MinHashConfig) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        cpu = time.process_time()
        truth = write_corpus(Path(name), num, config)
        made = time.process_time() - cpu
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as pool:
            wall, cpu, peak, before = pool.submit(group, name, config).result()
        groups = {
            row["doc_id"]: row["near_group"] for row in read_folder(f"{name}/document_groups", ["doc_id", "near_group"])
        }
    return {"documents": num, "signatures_cpu_s": made, "groups_wall_s": wall, "groups_cpu_s": cpu,
            "peak_gb": peak, "before_gb": before, **judge(truth, groups, config)}  # fmt: skip


def judge(truth: list[tuple[str, str]], groups: dict[str, str], config: MinHashConfig) -> dict[str, Any]:
    """Share of the pairs that were joined against the promise, chains and copies that fell apart, others joined."""
    members: dict[str, list[str]] = {}
    for doc_id, kind in truth:
        members.setdefault(kind, []).append(groups[doc_id])
    alone = members.pop("alone", [])
    pairs = {similarity: [0, 0] for similarity in SIMILARITIES}
    broken = sum(len(set(found)) > 1 for kind, found in members.items() if not kind.startswith("pair"))
    for kind, found in members.items():
        if kind.startswith("pair") and len(found) == 2:
            pairs[float(kind.split()[1])][0] += len(set(found)) == 1
            pairs[float(kind.split()[1])][1] += 1
    distinct = {name for found in members.values() for name in set(found)} | set(alone)
    num_foreign = sum(len(set(found)) for found in members.values()) + len(alone) - len(distinct)
    rows = []
    for asked, (found, count) in pairs.items():
        num_common = round(2 * NUM_SHINGLES * asked / (1 + asked))
        similarity = num_common / (2 * NUM_SHINGLES - num_common)
        promise = detection_probability(similarity, config)
        error = math.sqrt(max(promise * (1 - promise), 1 / count) / count)
        rows.append({"similarity": round(similarity, 4), "pairs": count, "joined": found / count, "promise": promise,
                     "errors": (found / count - promise) / error})  # fmt: skip
    return {"pairs": rows, "broken": broken, "joined_by_chance": num_foreign}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    config = MinHashConfig()
    is_kept = True
    for num in options.documents:
        result = measure(num, config)
        pairs = result.pop("pairs")
        print(
            json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in result.items()})
        )
        for row in pairs:
            print("   ", json.dumps({key: round(value, 4) for key, value in row.items()}))
        held = [row["errors"] > -3.5 for row in pairs if row["similarity"] >= config.similarity]
        is_kept &= all(held) and not result["broken"] and not result["joined_by_chance"]
    print("the promise is kept" if is_kept else "THE PROMISE IS BROKEN")
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
