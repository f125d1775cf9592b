"""What the command line says of itself: usage errors, help, documented options, completion."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gobelin.pipeline.cli.main import main
from gobelin.pipeline.run.stage_names import STAGES

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["frobnicate"],
        ["run"],
        ["run", "--output", "x", "--until", "dinner"],
        ["run", "--output", "x", "--workers", "two"],
        ["recipe"],
        ["export", "x", "--format", "xml"],
    ],
)
def test_usage_errors(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    printed = capsys.readouterr()
    assert "usage: gobelin" in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["run", "--outptu", "x"], "Did you mean --output?"),
        (["run", "out", "a.warc.gz", "b.warc.gz"], "a.warc.gz b.warc.gz (give archives after --input"),
        (["run", "--recipe", "obelics"], "--output is missing: output folder, local"),
        (["run", "out", "--input"], "--input needs a value"),
        (["run", "out", "--until", "dinner"], 'Choose from: "extract", "score"'),
        (["export", "x", "--format", "obelix"], 'Choose from: "jsonl", "mmc4"'),
        (["recepi"], 'Did you mean "recipe"?'),
    ],
)
def test_a_usage_error_says_in_a_line_what_is_wrong(
    argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    error, usage = capsys.readouterr().err.splitlines()
    assert error.startswith("gobelin: ")
    assert expected in error
    assert usage.startswith("usage: gobelin")


_WATCHED = " --scratch --log-json --metrics --quiet"


OPTIONS = {
    "run": "--output --input --sample --languages --recipe --set --until --workers --runner --running-job" + _WATCHED,
    "extract": "--output --input --sample --languages --recipe --set --workers --runner --running-job" + _WATCHED,
    "score": "--output --recipe --set --workers --runner --running-job" + _WATCHED,
    "select": "--output --recipe --set --what-if --workers --runner --running-job" + _WATCHED,
    "tokenize": "--output --recipe --set --workers --runner --running-job" + _WATCHED,
    "train": "--output --recipe --set --plan" + _WATCHED,
    "sample": "--output --to --format --prompt --image --make --images --number --rank --max-tokens "
    "--temperature --top-k --top-p --guidance --seed --recipe --set" + _WATCHED,
    "report": "--output --recipe --set" + _WATCHED,
    "export": "--output --to --stage --decisions --format --with-images",
    "card": "--write",
    "import": "--format --output --recipe --set --scratch --quiet",
    "chat": "--output --port --set",
    "ablate": "--output --independent --seeds --arms --set --workers --scratch --quiet",
    "explain": "--output --all-scores",
    "status": "--output --json",
    "check": "--output",
    "check-setup": "--set --until --output --input --sample",
    "completion": "--install",
    "recipe list": "",
    "recipe show": "--set --plain",
    "recipe diff": "--set",
    "browse": "--port --open",
    "recipe check": "--set",
    "fit-tokenizer": "--output --kind --size --grids --resize --decoder-of --set --steps --batch-size --micro-batch "
    "--learning-rate --seed --max-images --perceptual --discriminator --discriminator-start --checkpoint-steps "
    "--checkpoint-seconds --precision --threads --device --quiet",
    "tokenizer convert": "--size --name",
    "tokenizer show": "--page --images",
    "shards inspect": "--page --tokenizers --row --document",
    "shards export": "--format --tokenizer --to --codebook",
    "shards import": "--format --tokenizer --to --tokenizers --codebook",
    "heads convert": "--output --kind --clip-model --name",
    "heads train": "--embeddings --labels --output --name",
}
"""Every command, and the options that its help lists."""


@pytest.mark.parametrize("command", OPTIONS)
def test_help_lists_the_options_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: gobelin {command}" in text
    listed = [line.strip() for line in text.splitlines() if re.match(r"  (\w+, )?--", line)]
    labels = [re.split(r"  +", line)[0] for line in listed]
    assert [name for label in labels for name in re.findall(r"--[a-z][a-z-]*", label)] == OPTIONS[command].split()
    assert max(map(len, text.splitlines())) <= 120
    if command in STAGES or command == "run":
        assert "Exit codes" in text
        assert text.index("Input and output:") < text.index("Recipe:") < text.index("Machine:")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    whole = capsys.readouterr().out
    for group in ("recipe", "heads", "tokenizer", "shards"):
        assert main([group, "-h"]) == 0
        whole += capsys.readouterr().out
    named = set(re.findall(r"^  (\w[\w-]*) ", whole, re.M))
    assert named == {word for command in OPTIONS for word in command.split()}


def test_the_documented_options_exist() -> None:
    """Commands in the documentation are called with options that their help lists, or that a stage takes in silence."""
    hidden = {"--input", "--workers", "--runner", "--running-job"}
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")):
        for words in re.findall(
            r"gobelin ((?:heads |recipe |shards |tokenizer )?[a-z-]+) ([^`|\n]*)", page.read_text()
        ):
            command, rest = words
            given = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest.split("#")[0].split(" -- ")[0]))
            if command in OPTIONS:
                known = {*OPTIONS[command].split(), "--help", *(hidden if command in STAGES else ())}
                assert given <= known, f"{page.name}: gobelin {command} {rest}"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gobelin {importlib.metadata.version('gobelin')}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gobelin re", {"recipe", "report"}),
        ("gobelin recipe ", {"list", "show", "diff", "check"}),
        ("gobelin select --wh", {"--what-if"}),
        ("gobelin run --until s", {"score", "select", "sample"}),
        ("gobelin run --input archive-", {"archive-1.warc.gz"}),
    ],
)
def test_completion_in_bash(line: str, expected: set[str], tmp_path: Path) -> None:
    """The script as bash runs it when the key is pressed."""
    (tmp_path / "archive-1.warc.gz").touch()
    script = subprocess.run(
        [str(BIN / "gobelin"), "completion", "bash"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    words = line.split(" ")
    asks = f"COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); COMP_CWORD={len(words) - 1}; _gobelin"
    shown = 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{asks}\n{shown}"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.stderr == ""
    assert set(done.stdout.split()) == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_in_other_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("gobelin", "what-if", "obelics", "tokenize"))
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, timeout=60, check=True)


def test_completion_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert main(["completion", "bash", "--install"]) == 0
    (script,) = tmp_path.rglob("completions/gobelin")
    assert "complete -F _gobelin gobelin" in script.read_text()
