"""``gobelin recipe``: lists presets; prints, compares and checks recipes."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import App, Parameter

from gobelin.pipeline.cli.options import RecipeName, Settings

app = App(name="recipe")


@app.command(name="list", help="the presets that come with gobelin")
def list_() -> int:
    """Prints the presets, one per line."""
    from gobelin.pipeline.recipe.recipe import PRESETS, preset_names

    for name in preset_names():
        first = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        print(f"{name:<16}{first.removeprefix('#').strip()}")
    return 0


@app.command(help="a recipe with every default, each field explained")
def show(
    name: RecipeName,
    /,
    *,
    plain: Annotated[bool, Parameter(help="without the explanations")] = False,
    settings: Settings = [],  # noqa: B006  # nobody changes it
) -> int:
    """Prints a recipe."""
    from gobelin.pipeline.recipe.help import explained_yaml
    from gobelin.pipeline.recipe.recipe import load_recipe, to_yaml

    recipe = load_recipe(name, tuple(settings))
    print(to_yaml(recipe) if plain else explained_yaml(recipe), end="")
    return 0


@app.command(help="the settings that differ between two recipes")
def diff(name: RecipeName, other: RecipeName, /, *, settings: Settings = []) -> int:  # noqa: B006
    """Prints the settings that differ; ``--set`` changes the first recipe."""
    from gobelin.pipeline.recipe.help import differences
    from gobelin.pipeline.recipe.recipe import load_recipe

    for key, left, right in differences(load_recipe(name, tuple(settings)), load_recipe(other)):
        print(f"{key}: {_value(left)} -> {_value(right)}")
    return 0


@app.command(help="check a recipe, and print what cannot work in it")
def check(name: RecipeName, /, *, settings: Settings = []) -> int:  # noqa: B006
    """Prints warnings and errors."""
    from gobelin.pipeline.recipe.help import warnings_of
    from gobelin.pipeline.recipe.recipe import load_recipe
    from gobelin.pipeline.run.preflight import problems
    from gobelin.pipeline.run.stage_names import STAGES
    from gobelin.transforms.duplicates.minhash import curve

    recipe = load_recipe(name, tuple(settings))
    warnings = warnings_of(recipe)
    for warning in warnings:
        print(f"warning: {warning}")
    unusable = problems(recipe, STAGES)
    for line in unusable:
        print(f"error: {line}")
    noted = f", with {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
    tried = f", if its CLIP model can be opened here: `gobelin check-setup {name}` tries" if recipe.score.clip else ""
    print(f"recipe {recipe.name} {'cannot be used as it stands' if unusable else f'can be used{noted}{tried}'}")
    print(f"\n{curve(recipe.score.minhash)}")
    return 2 if unusable else 0


def _value(value: object) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)
