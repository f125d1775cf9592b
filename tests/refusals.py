"""A command that is refused: exit code 2 and one line that says why."""

from __future__ import annotations

import pytest

from gobelin.pipeline.cli.main import main


class Refusal:
    """A command that ends with exit code 2 and one line on standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str, code: int = 2) -> str:
        self._capsys.readouterr()
        assert main(argv) == code
        lines = self._capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("gobelin: ")
        assert "Traceback" not in lines[0]
        return lines[0]
