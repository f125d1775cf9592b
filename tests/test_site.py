"""The documentation: it builds without a warning, loads nothing from elsewhere, quotes messages that the code has."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gobelin.pipeline.cli.main import main
from gobelin.pipeline.cli.pages import PAGES, with_page
from gobelin.pipeline.recipe.recipe import preset_names

ROOT = Path(__file__).parents[1]
QUIET = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"']?([^\"' >]+)|<link\b[^>]*\bhref=[\"']?([^\"' >]+)"
)


def messages() -> Iterator[str]:
    """Every text in gobelin's code, with … where a value stands in it."""
    for path in (ROOT / "src" / "gobelin").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def quoted() -> list[str]:
    text = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    return re.findall(r"^### `(.+)`$", text, re.MULTILINE)


def stands_in(message: str, text: str) -> bool:
    """Whether the words of a quoted message stand in a text, in their order."""
    place = 0
    for words in filter(None, (part.strip() for part in message.split("…"))):
        place = text.find(words, place)
        if place < 0:
            return False
        place += len(words)
    return True


def test_each_message_that_is_explained_is_one_of_the_code() -> None:
    texts = set(messages())
    assert len(quoted()) >= 20
    assert [message for message in quoted() if not any(stands_in(message, text) for text in texts)] == []


def test_a_message_that_the_code_has_not_is_found_out() -> None:
    assert stands_in("… has … rows", "… has … rows in …")
    assert not stands_in("… has … columns", "… has … rows in …")
    assert not stands_in("rows … has", "… has … rows in …")


def test_messages_name_the_page_that_helps(capsys: pytest.CaptureFixture[str]) -> None:
    texts = set(messages())
    own = {part for parts in PAGES.values() for part in parts}
    elsewhere = {text for text in texts if text not in own}
    assert [page for page in PAGES if not (ROOT / page).is_file()] == []
    assert [part for part in own if not any(part in text for text in elsewhere)] == []
    assert main(["recipe", "show", "small", "--set", "select.imagee.min_side_px=1"]) == 2
    assert capsys.readouterr().err.strip().endswith("(see docs/recipes.md)")
    assert with_page("killed by signal 9 (out of memory?)\n(the log)") == (
        "killed by signal 9 (out of memory?) (see docs/troubleshooting.md)\n(the log)"
    )
    assert with_page("nothing fits") == "nothing fits"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=QUIET, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_the_site_has_every_page(site: Path) -> None:
    sources = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert sources <= {path.stem for path in site.glob("*.html")}


def test_the_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = [
        (path.name, address)
        for path in site.rglob("*.html")
        for found in LOADED.findall(path.read_text("utf-8"))
        for address in found
        if address
    ]
    assert len(loaded) > 100
    assert [each for each in loaded if re.match(r"(?:https?:)?//", each[1])] == []
    styles = " ".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", styles) == []


def test_all_fields_of_a_recipe_stand_on_their_page(site: Path) -> None:
    page = (site / "recipe-fields.html").read_text("utf-8")
    for name in ("min_side_px", "num_shards", "vqvae_steps", "batch_rows", "contact", "temperature"):
        assert f"<code>{name}</code>" in page
    assert all(name in page for name in preset_names())


def test_a_dead_link_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Title\n\n[There](nowhere.md), [here](index.md#none)\n")
    settings = (
        (ROOT / "mkdocs.yml")
        .read_text("utf-8")
        .partition("hooks:")[0]
        .replace("docs_dir: docs", f"docs_dir: {tmp_path}/docs")
    )
    (tmp_path / "mkdocs.yml").write_text(settings)
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=QUIET, timeout=100, check=False)
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
    assert "#none" in done.stderr


def test_no_command_of_the_documents_writes_where_a_build_of_the_site_cleans_up() -> None:
    (built,) = re.findall(r"^site_dir: (\S+)", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert built.startswith("out/")  # which git ignores
    texts = {path: path.read_text("utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
    written = {folder for text in texts.values() for folder in re.findall(r"\bout/[\w./-]+", text)}
    assert {"out/site", "out/mine"} <= {"/".join(folder.split("/")[:2]) for folder in written}
    assert [folder for folder in written if folder == built or folder.startswith(f"{built}/")] == []
