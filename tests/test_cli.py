"""The command line: what is wrong is one clear line and an exit code; what is done is not done twice.

Runs go through ``main`` in this process (worker processes and all); a few through the installed command.
"""

from __future__ import annotations

import gzip
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gobelin.data.schemas import SCHEMA_VERSION
from gobelin.pipeline.cli import main as cli
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.run.stage_names import STAGES
from gobelin.store.lock import locked
from gobelin.store.tables import list_shards
from tests.refusals import Refusal

Make = Callable[..., Any]
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent

RECIPE = """\
name: tiny
num_shards: 2
select:
  document: {languages: [en], min_images: 1, unique: [url]}
  text: {min_words: 2}
  image: {min_side_px: 100}
"""


@pytest.fixture(scope="module")
def inputs(
    tmp_path_factory: pytest.TempPathFactory, record: Make, pack: Make, png: Make, html_page: Make, prose: str
) -> Path:
    """A folder with two small archives and a recipe."""
    folder = tmp_path_factory.mktemp("inputs")

    def page(number: int, content: str) -> Any:
        html = f"<p>Number {number}. {prose}</p>{content}<p>{'word ' * number}{prose}</p>"
        return record(f"https://a.example/{number}", html_page(html, title=f"Page {number}"))

    caption = "<figcaption>The harbour</figcaption>"
    first = [page(n, f"<figure><img src={n}.png alt='Boat “{n}”'>{caption}</figure>") for n in range(3)]
    second = [record(f"https://a.example/{n}.png", png(n, 200 if n < 2 else 90), "image/png") for n in range(3)]
    (folder / "a.warc.gz").write_bytes(pack(first))
    (folder / "b.warc.gz").write_bytes(pack(second))
    (folder / "tiny.yaml").write_text(RECIPE)
    return folder


def arguments(command: str, inputs: Path, output: Path, *more: str) -> list[str]:
    patterns = ["--input", str(inputs / "*.warc.gz")]
    return [command, "--recipe", str(inputs / "tiny.yaml"), *patterns, "--output", str(output), "--workers", "2", *more]


@pytest.fixture(scope="module")
def finished(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder up to ``select``. Not to be changed: copy it with ``own_copy``."""
    output = tmp_path_factory.mktemp("finished") / "out"
    assert main(arguments("run", inputs, output, "--until", "select", "--quiet")) == 0
    return output


@pytest.fixture
def own_copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def run_json(output: Path) -> dict[str, Any]:
    return json.loads((output / "run.json").read_text())


def written(output: Path) -> dict[str, tuple[int, bytes]]:
    """When each file of the data sets was last written, and its bytes."""
    files = sorted(output.rglob("*.parquet"))
    return {str(path.relative_to(output)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


# ------------------------------------------------------------------------------------------------ bad input


def test_glob_that_matches_nothing(refused: Refusal, inputs: Path, tmp_path: Path) -> None:
    pattern = str(tmp_path / "none-*.warc.gz")
    line = refused("run", "--recipe", "obelics", "--input", pattern, "--output", str(tmp_path / "out"))
    assert pattern in line
    assert "no such file" in line
    assert not (tmp_path / "out").exists()


def test_one_glob_of_two_that_matches_nothing(refused: Refusal, inputs: Path, tmp_path: Path) -> None:
    argv = arguments("run", inputs, tmp_path / "out", "--input", "/nowhere/*.warc")
    assert "/nowhere/*.warc" in refused(*argv)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just some text\nand more\n",
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"<!doctype html><p>404",
        bytes(range(256)) * 20,
        gzip.compress(b"no archive", mtime=0),
        b"\x1f\x8b",
        b"\x1f\x8b\x08" + bytes(range(1, 200)),
        bytes(1000),
    ],
    ids=["empty", "text", "png", "html", "binary", "gzip", "two bytes", "broken gzip", "zeros"],
)
def test_files_that_are_no_archives(refused: Refusal, inputs: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.warc.gz").write_bytes(data)
    line = refused(*arguments("run", inputs, tmp_path / "out", "--input", str(tmp_path / "bad.warc.gz")))
    assert "bad.warc.gz" in line
    assert "not a WARC" in line


def test_input_that_is_a_folder_without_archives(refused: Refusal, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("none")
    line = refused(*arguments("run", inputs, tmp_path / "out", "--input", str(tmp_path / "in")))
    assert f"--input {tmp_path / 'in'}: a folder that holds no *.warc" in line


def test_file_system_that_is_not_there(refused: Refusal, tmp_path: Path) -> None:
    line = refused("run", "--recipe", "obelics", "--input", "nosuch://x/*.warc", "--output", str(tmp_path / "out"))
    assert "nosuch://x/*.warc" in line


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--recipe", "obelix"], "did you mean obelics?"),
        (["--recipe", "none.yaml"], "neither a file nor a preset"),
        (["--set", "select.image.min_side=3"], "did you mean select.image.min_side_px?"),
        (["--set", "select.image.min_side_px=abc"], "select.image.min_side_px"),
        (["--set", "nonsense"], "expected section.key=value"),
        (["--set", "num_shards=0"], "num_shards"),
        (["--workers", "0"], "--workers must be at least 1"),
    ],
)
def test_bad_settings(refused: Refusal, inputs: Path, tmp_path: Path, more: list[str], expected: str) -> None:
    assert expected in refused(*arguments("run", inputs, tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()


def test_new_folder_needs_recipe_and_input(refused: Refusal, inputs: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    assert "--recipe" in refused("run", "--input", str(inputs / "a.warc.gz"), "--output", output)
    assert "--input" in refused("run", "--recipe", "obelics", "--output", output)


def test_output_folder_of_another_recipe(refused: Refusal, inputs: Path, finished: Path) -> None:
    before = written(finished)
    line = refused("run", "--recipe", "obelics", "--input", str(inputs / "*.warc.gz"), "--output", str(finished))
    assert "'tiny'" in line
    assert "'obelics'" in line
    assert "choose another --output" in line
    assert written(finished) == before


def test_output_folder_that_holds_something_else(refused: Refusal, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert "not an output folder of gobelin" in refused(*arguments("run", inputs, tmp_path / "out"))
    assert os.listdir(tmp_path / "out") == ["thesis.txt"]


def test_output_folder_where_another_run_is_at_work(refused: Refusal, inputs: Path, own_copy: Path) -> None:
    before = (own_copy / "recipe.yaml").read_text()
    with locked(str(own_copy)):
        message = refused("select", "--output", str(own_copy), "--set", "select.text.min_words=9")
    assert "another gobelin is at work there" in message
    assert (own_copy / "recipe.yaml").read_text() == before
    assert main(["select", "--output", str(own_copy)]) == 0


def test_output_that_is_a_file_or_cannot_be_made(refused: Refusal, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        assert str(output) in refused(*arguments("run", inputs, output))
    assert (tmp_path / "file").read_text() == "mine"


def test_run_json_that_was_damaged(refused: Refusal, own_copy: Path) -> None:
    (own_copy / "run.json").write_text('{"half')
    assert "run.json" in refused("select", "--output", str(own_copy))


@pytest.mark.parametrize("stage", STAGES[1:-1])
def test_a_stage_alone_needs_those_before_it(refused: Refusal, inputs: Path, tmp_path: Path, stage: str) -> None:
    line = refused(*arguments(stage, inputs, tmp_path / "out"))
    assert "stage extract has not run" in line
    assert "gobelin extract" in line


def test_a_stage_alone_says_that_what_it_needs_is_out_of_date(refused: Refusal, own_copy: Path) -> None:
    line = refused("select", "--output", str(own_copy), "--set", "score.near_images.phash_distance=2")
    assert "stage score was made with other settings" in line


def test_tokenize_of_an_empty_corpus_says_what_to_do(refused: Refusal, own_copy: Path) -> None:
    assert main(["select", "--output", str(own_copy), "--set", "select.document.min_images=50", "--quiet"]) == 0
    line = refused("tokenize", "--output", str(own_copy))
    assert "kept no document" in line


@pytest.mark.parametrize(
    "words", [["export", "--stage", "extract"], ["explain", "https://a.example/1"], ["check"], ["report"]]
)
def test_the_output_folder_is_named_either_way(
    words: list[str], own_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*words, str(own_copy)])  # the report is made here, and is there when it is asked for again
    capsys.readouterr()
    said = []
    for folder in ([str(own_copy)], ["--output", str(own_copy)]):
        assert main([*words, *folder]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != ""


def test_a_run_that_keeps_nothing_says_what_took_it(own_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--output", str(own_copy), "--set", "select.document.min_images=50"]) == 2
    shown = " ".join("".join(capsys.readouterr()).split())
    assert "rules that dropped everything: document.min_images" in shown
    assert f"gobelin report {own_copy} shows what went, and why" in shown
    assert "the recipe kept no document" in shown


@pytest.mark.parametrize("stage", ["extract", "select"])
def test_export_of_what_is_not_there(refused: Refusal, tmp_path: Path, stage: str) -> None:
    assert f"stage {stage} has not run" in refused("export", str(tmp_path / "none"), "--stage", stage)


# ------------------------------------------------------------------------------------------------ runs


def test_a_finished_run_adds_up(finished: Path) -> None:
    run = run_json(finished)
    assert [name for name, stage in run["stages"].items() if stage["status"] == "done"] == [
        "extract",
        "score",
        "select",
    ]
    for name in ("extract", "score", "select"):
        for unit in ("documents", "images"):
            counts = run["stages"][name][unit]
            assert counts["seen"] == counts["kept"] + sum(counts["dropped"].values()) + counts["failed"]
    assert run["stages"]["extract"]["documents"]["seen"] == 3
    assert run["stages"]["select"]["documents"] == {
        "seen": 3, "kept": 2, "dropped": {"document.min_images": 1}, "failed": 0, "failed_by": {}
    }  # fmt: skip
    assert run["recipe"]["name"] == "tiny"
    assert [Path(item["path"]).name for item in run["input"]] == ["a.warc.gz", "b.warc.gz"]
    assert run["schema_version"] == SCHEMA_VERSION


def test_nothing_intermediate_is_left(finished: Path) -> None:
    assert [path for path in finished.rglob("*") if path.name == "work" or path.suffix == ".tmp"] == []


def test_a_second_run_does_nothing(own_copy: Path, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, state = written(own_copy), (own_copy / "run.json").read_bytes()
    assert main(arguments("run", inputs, own_copy, "--until", "select")) == 0
    assert written(own_copy) == before
    assert (own_copy / "run.json").read_bytes() == state
    printed = capsys.readouterr().out
    assert all(f"{stage}: already done" in printed for stage in ("extract", "score", "select"))


def test_recipe_and_input_need_not_be_named_again(own_copy: Path) -> None:
    before = written(own_copy)
    assert main(["run", "--output", str(own_copy), "--until", "select", "--quiet"]) == 0
    assert written(own_copy) == before


def test_a_changed_threshold_redoes_only_select(own_copy: Path) -> None:
    before = written(own_copy)
    override = "select.image.min_side_px=10"
    assert main(["run", "--output", str(own_copy), "--set", override, "--until", "select", "--quiet"]) == 0
    after = written(own_copy)
    redone = {name.split("/")[0] for name in after if after[name] != before.get(name)}
    assert redone == {"select"}
    run = run_json(own_copy)
    assert run["recipe"]["select"]["image"]["min_side_px"] == 10
    assert run["stages"]["select"]["documents"]["kept"] == 3
    # The folder keeps the setting: the next run has nothing to do.
    assert main(["run", "--output", str(own_copy), "--until", "select", "--quiet"]) == 0
    assert written(own_copy) == after


def test_a_changed_threshold_makes_what_follows_stale(own_copy: Path) -> None:
    assert main(["extract", "--output", str(own_copy), "--set", "score.near_images.phash_distance=1", "--quiet"]) == 0
    states = {name: stage["status"] for name, stage in run_json(own_copy)["stages"].items()}
    assert (states["extract"], states["score"], states["select"]) == ("done", "not run", "not run")


def test_changed_input_redoes_everything(own_copy: Path, inputs: Path) -> None:
    argv = ["run", "--output", str(own_copy), "--input", str(inputs / "a.warc.gz"), "--until", "select", "--quiet"]
    assert main(argv) == 0
    run = run_json(own_copy)
    assert len(run["input"]) == 1
    assert run["stages"]["extract"]["images"]["seen"] == 0


def test_one_archive_named_twice_is_read_once(inputs: Path, tmp_path: Path) -> None:
    """By the same path, by a glob beside it, or by another spelling of its path."""
    again = str(inputs / "a.warc.gz")
    other = f"{inputs}/./a.warc.gz"
    argv = arguments("extract", inputs, tmp_path / "out", "--input", again, "--input", other, "--quiet")
    assert main(argv) == 0
    run = run_json(tmp_path / "out")
    assert [Path(item["path"]).name for item in run["input"]] == ["a.warc.gz", "b.warc.gz"]
    assert run["stages"]["extract"]["documents"]["dropped"] == {}


@pytest.mark.parametrize("given", ["folder", "expanded glob"])
def test_archives_of_a_folder_or_of_a_glob_that_the_shell_expanded(
    given: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In any depth, whatever else lies there; hidden files and links to folders are passed over."""
    crawl = tmp_path / "crawl"
    (crawl / "b [1]" / "deep").mkdir(parents=True)
    shutil.copy(inputs / "a.warc.gz", crawl / "z.WARC.gz")
    shutil.copy(inputs / "b.warc.gz", crawl / "b [1]" / "deep" / "b.warc.gz")
    for name in ("index.cdx.gz", ".hidden.warc.gz", "b.warc.gz.part"):
        (crawl / name).write_bytes(b"no archive")
    (crawl / "again").symlink_to(crawl)
    paths = [str(crawl / "b [1]" / "deep" / "b.warc.gz"), str(crawl / "z.WARC.gz")]
    patterns = [str(crawl)] if given == "folder" else paths
    argv = ["extract", "--recipe", str(inputs / "tiny.yaml"), "--input", *patterns, "--output", str(tmp_path / "out")]
    assert main(argv) == 0
    assert "input: 2 archives, 0." in capsys.readouterr().out
    run = run_json(tmp_path / "out")
    assert [item["path"] for item in run["input"]] == paths
    assert run["stages"]["extract"]["documents"]["kept"] == 3


def test_quiet_says_nothing(own_copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--output", str(own_copy), "--until", "select", "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_summary_names_reasons_and_what_did_not_run(own_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    override = "select.image.min_aesthetic=3.0"
    assert main(["select", "--output", str(own_copy), "--set", override]) == 0
    printed = capsys.readouterr().out
    assert "document.min_images" in printed
    assert "rules that could not run (no score): image.min_aesthetic" in printed
    assert "run.json" in printed


def test_a_run_with_nothing_but_damage(tmp_path: Path, inputs: Path, pack: Make, record: Make) -> None:
    """One readable record and garbage behind it: no failure of the run, and the garbage is in the numbers."""
    data = pack([record("https://a.example/style.css", b"p {}", "text/css")])
    (tmp_path / "bad.warc.gz").write_bytes(data + b"\x1f\x8b\x08garbage" * 50)
    argv = ["extract", "--recipe", str(inputs / "tiny.yaml"), "--input", str(tmp_path / "bad.warc.gz"), "--output"]
    assert main([*argv, str(tmp_path / "out"), "--quiet"]) == 0
    assert run_json(tmp_path / "out")["stages"]["extract"]["records"]["unreadable"] >= 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_named_and_a_rerun_goes_on_when_there_is_room(
    small_disk: Path, inputs: Path, refused: Refusal
) -> None:
    output = small_disk / "out"
    line = refused(*arguments("run", inputs, output, "--until", "select", "--quiet"), code=1)
    assert f"no space left on {output} (" in line
    assert "make room and give the same command again" in line
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert main(["run", str(output), "--until", "select", "--quiet"]) == 0
    assert run_json(output)["stages"]["select"]["documents"]["kept"] == 2


# ------------------------------------------------------------------------------------------------ export


@pytest.mark.parametrize(("stage", "count"), [("extract", 3), ("select", 2)])
def test_export(finished: Path, capsys: pytest.CaptureFixture[str], stage: str, count: int) -> None:
    assert main(["export", str(finished), "--stage", stage, "--format", "jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    documents = [json.loads(line) for line in lines]
    assert len(documents) == count
    for document in documents:
        assert document["url"].startswith("https://a.example/")
        assert {item["kind"] for item in document["items"]} == {"text", "image"}
        for item in document["items"]:
            keys = {"kind", "role", "text"} if item["kind"] == "text" else {"kind", "url", "image_id", "alt", "caption"}
            assert set(item) == keys
        kinds = [item["kind"] for item in document["items"]]
        assert kinds.index("image") not in (0, len(kinds) - 1), "in reading order: between two paragraphs"
    image = next(item for item in documents[0]["items"] if item["kind"] == "image")
    assert image["alt"].startswith("Boat “")
    assert image["caption"] == "The harbour"
    assert "“" in lines[0], "text as it is, not escaped"


@pytest.mark.parametrize("words", ["recipe show small", "--help", "--version"])
def test_what_cannot_be_printed_is_an_error(words: str) -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = f"'{BIN / 'gobelin'}' {words} > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, env=buffered)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "o space left on" in done.stderr


def test_export_into_a_closed_pipe(finished: Path) -> None:
    """``gobelin export OUT | head -1`` prints no traceback."""
    command = f"'{BIN / 'gobelin'}' export '{finished}' --stage extract | head -c 20"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert len(done.stdout) == 20


# ------------------------------------------------------------------------------------------------ the installed command


@pytest.mark.parametrize(
    ("argv", "code", "expected"),
    [
        (["run", "--recipe", "obelix", "--input", "x", "--output", "y"], 2, "did you mean obelics?"),
        (["run", "--recipe", "obelics", "--input", "none-*.warc", "--output", "y"], 2, "no such file"),
        (["export", "none"], 2, "has not run"),
        (["recipe", "show", "obelics"], 0, ""),
    ],
)
def test_exit_codes_of_the_command(tmp_path: Path, argv: list[str], code: int, expected: str) -> None:
    done = subprocess.run([str(BIN / "gobelin"), *argv], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == (0 if code == 0 else 1)


def test_stage_folders_hold_what_the_layout_says(finished: Path) -> None:
    for name in ("extract/documents", "extract/images", "extract/decisions", "score/documents", "score/images",
                 "score/decisions", "select/documents", "select/decisions"):  # fmt: skip
        assert len(list_shards(str(finished / name))) == 2, name
    for stage in ("extract", "score", "select"):
        assert json.loads((finished / stage / "manifest.json").read_text())["stage"] == stage


def test_a_command_ends_without_destructors_of_native_libraries() -> None:
    """As if one of them aborted at the process's end, as Arrow's thread pools do now and then."""
    code = (
        "import atexit, ctypes, os\n"
        "abort = ctypes.CFUNCTYPE(None)(lambda: os._exit(134))\n"
        "ctypes.CDLL(None).__cxa_atexit(abort, None, None)\n"
        "atexit.register(lambda: print('swept'))\n"
        "from gobelin.pipeline.cli.main import entry\n"
        "entry()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("gobelin ")
    assert done.stdout.splitlines()[1:] == ["swept"]
    assert done.stderr == ""


def test_a_run_leaves_a_data_card(own_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It tells of the corpus that is there: a change of the recipe takes it away until there is a new one."""
    written_by_run = (own_copy / "README.md").read_text()
    assert main(["card", str(own_copy)]) == 0
    assert capsys.readouterr().out == written_by_run
    (own_copy / "README.md").unlink()
    assert main(["select", str(own_copy), "--quiet"]) == 0
    assert (own_copy / "README.md").read_text() == written_by_run
    (own_copy / "README.md").unlink()
    assert main(["card", "--write", str(own_copy)]) == 0
    assert (own_copy / "README.md").read_text() == written_by_run
    assert str(own_copy.parent) not in written_by_run
    digest = hashlib.sha256((own_copy / "recipe.yaml").read_bytes()).hexdigest()
    assert f"`{digest}`" in written_by_run

    assert main(["extract", "--output", str(own_copy), "--set", "extract.max_page_bytes=1000000", "--quiet"]) == 0
    assert not (own_copy / "README.md").exists()
    assert main(["card", str(own_copy)]) == 2
    assert "there is no corpus yet" in capsys.readouterr().err
    assert main(["card", str(own_copy / "select")]) == 2
    assert "is neither the output folder of a run nor that of an export" in capsys.readouterr().err


def test_markdown_tells_of_each_document_and_its_scores(own_copy: Path, tmp_path: Path) -> None:
    assert main(["export", str(own_copy), "--format", "markdown", "--to", str(tmp_path / "md")]) == 0
    texts = [path.read_text() for path in sorted((tmp_path / "md").glob("*/*.md"))]
    assert texts
    for text in texts:
        told = yaml.safe_load(text.split("---\n")[1])
        assert told["url"].startswith("https://a.example/")
        assert told["scores"]["num_words"] > 2
        assert "](images/" in text
    assert main(["import", str(tmp_path / "md"), "--format", "markdown", "--output", "x", "--recipe", "small"]) == 2


def test_a_request_to_end_is_told_as_ctrl_c_is(capsys: pytest.CaptureFixture[str]) -> None:
    def command(number: int) -> int:
        cli._terminate(number, None)
        return 0

    assert cli._call(command, inspect.signature(command).bind(15), {}) == 143
    assert "the same command goes on from here" in capsys.readouterr().err
