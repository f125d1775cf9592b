"""``gobelin recipe``: presets shown, compared and checked."""

from __future__ import annotations

import pytest
import yaml

from gobelin.pipeline.cli.main import main
from tests.refusals import Refusal


def test_recipe_command(capsys: pytest.CaptureFixture[str], refused: Refusal) -> None:
    assert main(["recipe", "list"]) == 0
    listed = capsys.readouterr().out
    assert "obelics" in listed
    assert "mmc4" in listed
    assert main(["recipe", "show", "obelics", "--set", "select.image.min_side_px=7"]) == 0
    assert "min_side_px: 7" in capsys.readouterr().out
    assert "obelics" in refused("recipe", "show", "obelic")
    assert main(["recipe", "show"]) == 2


def test_recipe_show_explains_each_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "obelics"]) == 0
    explained = capsys.readouterr().out
    assert main(["recipe", "show", "obelics", "--plain"]) == 0
    assert yaml.safe_load(explained) == yaml.safe_load(capsys.readouterr().out)
    assert "# Shorter side (pixels). OBELICS and MMC4: 150.\n    min_side_px: 150" in explained


def test_recipe_diff_names_what_differs_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "diff", "obelics", "obelics"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["recipe", "diff", "obelics", "mmc4", "--set", "select.image.min_side_px=7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "select.image.min_side_px: 7 -> 150" in lines
    assert not [line for line in lines if line.startswith("select.image.max_aspect_ratio:")]


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        (["select.image.max_aspect_ratio=0.1"], "select.image.min_aspect_ratio 0.5 is above max_aspect_ratio 0.1"),
        (["select.image.min_clip_text=0.2"], "select.image.min_clip_text needs score.clip"),
        (["select.document.languages=[en, tlh]"], "no word lists for tlh"),
    ],
)
def test_recipe_check_warns(capsys: pytest.CaptureFixture[str], settings: list[str], warning: str) -> None:
    assert main(["recipe", "check", "obelics"]) == 0
    assert warning not in capsys.readouterr().out
    overrides = [part for setting in settings for part in ("--set", setting)]
    assert main(["recipe", "check", "obelics", *overrides]) == 0
    assert warning in capsys.readouterr().out
