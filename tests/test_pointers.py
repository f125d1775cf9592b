"""Files that docstrings and comments name are there."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "gobelin"

POINTER = re.compile(r"(?<![\w./-])(?:[\w/][\w/-]*\.py|docs/[\w/-]+\.md)\b")

FOREIGN = {
    "build_obelics/13_final_processing.py", "utils/simplification_utils.py",  # OBELICS
    "compute_assignments.py", "convert_mmc4_to_wds.py",  # MMC4, OpenFlamingo
    "src/models.py", "models.py", "h14_nsfw_model.py", "vqperceptual.py",  # LAION, DataComp, taming-transformers
    "megatron/core/datasets/indexed_dataset.py", "nemo_curator/tasks/interleaved.py",
}  # fmt: skip
"""Files of other projects, named as sources."""


def words(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the docstrings and comments of a file."""
    code = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_files_that_are_named_are_there() -> None:
    ours = [
        path.relative_to(ROOT).as_posix()
        for folder in ("src/gobelin", "tests", "bench", "examples", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md")
    ] + ["ARCHITECTURE.md"]
    stale = [
        f"{path.relative_to(ROOT)}, line {line}: {name}"
        for path in sorted(SOURCE.rglob("*.py"))
        for line, text in words(path)
        for name in POINTER.findall(text)
        if name not in FOREIGN and not any(f"/{each}".endswith(f"/{name}") for each in ours)
    ]
    assert stale == []
