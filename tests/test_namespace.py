"""The layout's traps: root links named like a module of Python's own, and imports that must stay light.

A folder ``tokenize`` with an ``__init__.py`` within reach of the repository root shadows the standard library's
``tokenize``, and with it ``linecache``, ``traceback``, pytest and every Beam worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipeline", "transforms", "tokenize", "train", "report", "exchange")
HEAVY = ("torch", "open_clip", "torchvision")

LIGHT_MODULES = (
    "gobelin.data.model",
    "gobelin.transforms.archives.read_warc",
    "gobelin.transforms.extract.extract",
    "gobelin.transforms.extract.write_documents",
    "gobelin.transforms.extract.write_images",
    "gobelin.transforms.score.measure",
    "gobelin.transforms.score.join_scores",
    "gobelin.transforms.selection.select",
    "gobelin.transforms.selection.config",
    "gobelin.transforms.selection.rules",
    "gobelin.transforms.selection.write_corpus",
    "gobelin.exchange.formats",
    "gobelin.pipeline.exchange.import_corpus",
    "gobelin.pipeline.stages.extract_imported",
    "gobelin.pipeline.recipe.recipe",
    "gobelin.pipeline.run.plan",
    "gobelin.pipeline.stages.extract",
    "gobelin.pipeline.stages.extract_link",
    "gobelin.pipeline.stages.score",
    "gobelin.pipeline.stages.select",
    "gobelin.pipeline.stages.tokenize",
    "gobelin.pipeline.stages.train",
    "gobelin.pipeline.run.supervisor",
    "gobelin.pipeline.run.fast_beam",
    "gobelin.pipeline.run.preload",
    "gobelin.pipeline.run.worker",
    "gobelin.pipeline.run.worker_pool",
    "gobelin.pipeline.run.run",
    "gobelin.pipeline.cli.main",
    "gobelin.report.page",
    "gobelin.tokenize.codebook",
    "gobelin.tokenize.vocabulary",
    "gobelin.tokenize.sequence",
)


def fresh_python(code: str) -> str:
    """Standard output of a new interpreter that starts in the repository root."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_namespace_packages(package: str) -> None:
    assert list((ROOT / "src" / "gobelin" / package).rglob("__init__.py")) == []


@pytest.mark.parametrize("folder", ["tests", "examples"])
def test_folders_beside_the_package_have_no_init(folder: str) -> None:
    assert list((ROOT / folder).rglob("__init__.py")) == []


@pytest.mark.parametrize("name", ["pipeline", "transforms", "tokenize", "train"])
def test_root_links_point_into_the_package(name: str) -> None:
    link = ROOT / name
    assert link.is_symlink()
    assert link.resolve() == (ROOT / "src" / "gobelin" / name).resolve()


def test_tokenize_is_the_standard_librarys() -> None:
    path = Path(fresh_python("import tokenize; print(tokenize.__file__)"))
    assert path.parent == Path(os.__file__).parent


def test_traceback_works_in_the_root() -> None:
    """``traceback`` reads source lines through ``linecache`` and ``tokenize``."""
    code = "import traceback\ntry: 1/0\nexcept ZeroDivisionError: print(traceback.format_exc())"
    assert "ZeroDivisionError" in fresh_python(code)


@pytest.mark.timeout(300)
def test_text_stages_and_command_line_start_without_torch() -> None:
    """One interpreter for all, module after module: the first that brings torch in is named."""
    code = (
        "import importlib, logging, sys\n"
        "logging.disable(logging.CRITICAL)\n"
        f"for name in {LIGHT_MODULES!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [module for module in {HEAVY!r} if module in sys.modules]\n"
        "    if heavy: print(name, 'imports', heavy); break\n"
        "else: print('light')\n"
    )
    assert fresh_python(code) == "light"


def test_command_line_starts_without_beam() -> None:
    """``gobelin --help`` should not cost the second that importing Beam takes."""
    code = (
        "import sys, gobelin.pipeline.cli.main\n"
        "print([name for name in ('apache_beam', 'torch') if name in sys.modules])"
    )
    assert fresh_python(code) == "[]"


def test_every_module_can_be_imported_once() -> None:
    """No class of gobelin has a second identity under a root link's name."""
    code = (
        "import sys, gobelin.data.model, gobelin.transforms.urls, gobelin.pipeline.run.state\n"
        f"print(sorted(name for name in sys.modules if name.split('.')[0] in {PACKAGES!r} and name != 'tokenize'))"
    )
    assert fresh_python(code) == "[]"
