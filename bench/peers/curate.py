"""datatrove's way from archives to deduplicated, filtered text, in its own environment.

    python curate.py FOLDER_OF_ARCHIVES EMPTY_FOLDER

WarcReader, Trafilatura, Gopher's repetition and quality filters, C4's filter, then MinHash in its four steps, with
datatrove's defaults and two worker processes. A page may take a minute, so that a busy machine loses none. Started by
../overhead.py, which counts the CPU of this process and its children. Prints how many documents are left.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers import JsonlWriter

WORKERS = 2


def main() -> int:
    archives, work = sys.argv[1:3]
    tasks = len(list(Path(archives).glob("*.warc.gz")))
    config = MinhashConfig()

    def run(name: str, pipeline: list, num_tasks: int) -> None:
        LocalPipelineExecutor(
            pipeline, tasks=num_tasks, workers=min(WORKERS, num_tasks), logging_dir=f"{work}/logs/{name}"
        ).run()

    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter()]
    reader = WarcReader(archives, glob_pattern="*.warc.gz")
    run("read", [reader, Trafilatura(timeout=60), *filters, JsonlWriter(f"{work}/kept")], tasks)
    run("sign", [JsonlReader(f"{work}/kept"), MinhashDedupSignature(f"{work}/signatures", config)], tasks)
    run("buckets", [MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)], config.num_buckets)
    run("cluster", [MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)], 1)
    kept = JsonlWriter(f"{work}/unique")
    run("filter", [JsonlReader(f"{work}/kept"), MinhashDedupFilter(f"{work}/remove"), kept], tasks)
    num_kept = 0
    for path in Path(work, "unique").glob("*.jsonl.gz"):
        with gzip.open(path, "rt") as stream:
            num_kept += sum(1 for _ in stream)
    print(json.dumps({"documents": num_kept}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
