"""Commands that look at an output folder and write nothing: ``explain`` and ``check``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from gobelin.pipeline.cli.options import FILES, RunFolder


def explain(
    subject: Annotated[
        str,
        Parameter(
            group=FILES,
            metavar="SUBJECT",
            help="URL of a page or an image, doc_id or image_id, or the beginning of an id",
        ),
    ],
    /,
    output: RunFolder,
    *,
    all_scores: Annotated[
        bool,
        Parameter(help="of texts and pictures too, every score; otherwise those that a rule of the recipe compares"),
    ] = False,
) -> int:
    """Tells the story of one page or image."""
    from gobelin.pipeline.explain import explain as lines_of

    for line in lines_of(output, subject, all_scores):
        print(line)
    return 0


def check(output: RunFolder) -> int:
    """Compares every file with the manifests."""
    from gobelin.pipeline.check_output import check_output

    num_problems = 0
    for told, problems in check_output(output.rstrip("/") or "/"):
        print(told, flush=True)
        for problem in problems:
            print(f"  {problem}", flush=True)
        num_problems += len(problems)
    print(f"{num_problems:,} {'problem' if num_problems == 1 else 'problems'}")
    return 1 if num_problems else 0
