"""The recipe: all settings that determine the output of a run, in one YAML file.

A recipe is read into nested frozen dataclasses, one per stage, each defined beside its stage. A recipe may extend
another one (``extends: obelics``) and name only what differs. An unknown key is an error that suggests the nearest
known key. Presets are the files in ``presets/``.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import os
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from gobelin.errors import UserError, in_a_line
from gobelin.pipeline.recipe.yaml import parse_yaml, write_yaml
from gobelin.plugins import PluginError, PluginScore, is_installed, packages_of, score_called
from gobelin.store.files import exists, read_bytes
from gobelin.store.paths import is_remote, join, name_of, parent_of
from gobelin.tokenize.config import TokenizeConfig
from gobelin.train.config import SampleConfig, TrainConfig
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.rules import plugin_rule

PRESETS = Path(__file__).parent / "presets"


MAX_SHARDS = 99_999
"""File names have five digits."""


class RecipeError(UserError):
    """A recipe cannot be used. The message says what is wrong and what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The settings of a whole run."""

    name: str
    """What the recipe is called. An output folder belongs to one name."""

    seed: int = 0
    """Seed of every fit and of sampling."""

    num_shards: int = 8
    """Files of each data set. About one for every 5,000 documents: a process holds a whole one, then
    half a gigabyte. At least one a worker."""

    packages: tuple[str, ...] = ()
    """Packages that give the scores and rules of the sections ``plugins``. Written here when a recipe is read, so that
    a machine that lacks one says which."""

    extract: ExtractConfig = dataclasses.field(default_factory=ExtractConfig)
    """What may be read at all."""

    score: ScoreConfig = dataclasses.field(default_factory=ScoreConfig)
    """What is measured."""

    select: SelectConfig = dataclasses.field(default_factory=SelectConfig)
    """What enters the corpus."""

    tokenize: TokenizeConfig = dataclasses.field(default_factory=TokenizeConfig)
    """How pictures and words become tokens."""

    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    """How the model is trained."""

    sample: SampleConfig = dataclasses.field(default_factory=SampleConfig)
    """What is drawn from the model."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_shards <= MAX_SHARDS:
            raise UserError(f"num_shards must be in [1, {MAX_SHARDS}], got {self.num_shards}")


def preset_names() -> list[str]:
    """Names of the presets that come with gobelin."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_recipe(name_or_path: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        name_or_path: a preset's name, or the path of a YAML file.
        overrides: ``section.key=value`` each, the value as YAML.

    Raises:
        RecipeError: there is no such recipe, a key is unknown, or a value has the wrong type.
    """
    return _validated(_overridden(_read(name_or_path, {}), overrides), name_or_path)


def change(recipe: Recipe, overrides: tuple[str, ...]) -> Recipe:
    """The recipe with some settings changed: ``section.key=value`` each, the value as YAML.

    Raises:
        RecipeError: a key is unknown, or a value has the wrong type.
    """
    return _validated(_overridden(as_dict(recipe), overrides), recipe.name)


T = TypeVar("T")


def settings_as(config: type[T], settings: tuple[str, ...]) -> T:
    """A configuration with some settings: ``key=value`` each, the value as YAML.

    Raises:
        RecipeError: a key is unknown, or a value has the wrong type.
    """
    values = _overridden({}, settings)
    _check_keys(values, config, "--set", "")
    return _told(lambda: TypeAdapter(config).validate_python(values), values, "--set")


def _overridden(values: dict[str, Any], overrides: tuple[str, ...]) -> dict[str, Any]:
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator:
            raise RecipeError(f"--set {override}: expected section.key=value, as in select.image.min_side_px=100")
        _merge(values, _nest(path.split("."), _parse_yaml(text, f"--set {override}")))
    return values


def _validated(values: dict[str, Any], name_or_path: str) -> Recipe:
    _check_keys(values, Recipe, name_or_path, "")
    _check_finite(values, name_or_path, "")
    _complete_plugins(values, name_or_path)
    return _told(lambda: TypeAdapter(Recipe).validate_python(values), values, name_or_path)


def _told(make: Callable[[], T], values: dict[str, Any], name_or_path: str, prefix: str = "") -> T:
    """Calls ``make``. If values have wrong types, the error names them.

    Args:
        prefix: key of the section that holds the values, with a dot.
    """
    try:
        return make()
    except ValidationError as error:
        # A value with several possible types gives one error per type. The error of a type's own check comes first.
        problem = min(error.errors(), key=lambda each: (each["type"] != "value_error", -len(each["loc"])))
        keys = ".".join(_keys_of(problem["loc"], values, problem["type"] == "missing"))
        where = f"{prefix}{keys}".rstrip(".") or "the whole"
        given = json.dumps(problem["input"], default=str)[:80]
        if isinstance(problem["input"], bool):
            words, quoted = _TRUTH[problem["input"]]
            given += f"; YAML reads {words} so: quote it where a text is meant, as {quoted!r}"
        if problem["type"] == "value_error":
            raise RecipeError(f"recipe {name_or_path}: {where}: {problem['ctx']['error']}") from None
        message = "expected a list, as [a, b]" if problem["type"] == "tuple_type" else problem["msg"]
        raise RecipeError(f"recipe {name_or_path}: {where}: {message}, got {given}") from None


def _complete_plugins(values: dict[str, Any], recipe: str) -> None:
    """Adds the default settings of plug-in scores, and the packages of plug-in scores and rules.

    Raises:
        RecipeError: no installed package provides one of them, or its settings are invalid.
    """
    scores, rules = (_plugins_of(values, section, recipe) for section in ("score", "select"))
    given = values.get("packages") or ()
    if not isinstance(given, (list, tuple)) or not all(isinstance(name, str) for name in given):
        raise RecipeError(f"recipe {recipe}: packages: expected a list of names, as [a, b]")
    needed = [name for name in given if not is_installed(name)]
    lacking = f"; the recipe was made with {', '.join(needed)}, which is not installed" if needed else ""
    try:
        for name, settings in scores.items():
            if not isinstance(settings, (dict, NoneType)):
                where = f"score.plugins.{name}"
                raise RecipeError(f"recipe {recipe}: {where}: expected settings, as {{}}, got {json.dumps(settings)}")
            scores[name] = _completed(score_called(name), settings or {}, recipe)
        for name, threshold in rules.items():
            plugin_rule(name)
            if isinstance(threshold, bool):
                where = f"select.plugins.{name}"
                raise RecipeError(f"recipe {recipe}: {where}: expected a number, got {json.dumps(threshold)}")
        values["packages"] = sorted({package.split()[0] for package in packages_of(scores, rules)})
    except PluginError as error:
        raise RecipeError(f"recipe {recipe}: {error}{lacking}") from None


def _completed(found: PluginScore, settings: dict[str, Any], recipe: str) -> dict[str, Any]:
    """All settings of a plug-in score, as plain values."""
    where = f"score.plugins.{found.entry.name}"
    _check_keys(settings, found.scorer, recipe, f"{where}.")
    try:
        made = _told(lambda: found.with_settings(settings), settings, recipe, f"{where}.")
        return found.settings_of(made)
    except RecipeError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a plug-in may raise
        told = f"{found.package} does not take these settings: {in_a_line(error)}"
        raise RecipeError(f"recipe {recipe}: {where}: {told}") from None


def _plugins_of(values: dict[str, Any], section: str, recipe: str) -> dict[str, Any]:
    held = (values.get(section) or {}).get("plugins") if isinstance(values.get(section), dict) else None
    if not isinstance(held, (dict, NoneType)) or not all(isinstance(name, str) for name in held or ()):
        raise RecipeError(f"recipe {recipe}: {section}.plugins: expected names and their values")
    return held or {}


_TRUTH = {False: ("no, off and false", "no"), True: ("yes, on and true", "yes")}
"""Words that YAML 1.1 takes for a truth value, and one of them: ``no`` is also a language."""


def _keys_of(place: tuple[int | str, ...], values: Any, is_missing: bool) -> Iterator[str]:
    """The keys on the path to a value, without the type names that pydantic inserts."""
    for part in place:
        is_key = isinstance(values, dict) and part in values
        if is_key or (isinstance(values, list) and isinstance(part, int)):
            values = values[part]
            yield str(part)
    if is_missing:
        yield str(place[-1])


def _read(name_or_path: str, seen: dict[str, str]) -> dict[str, Any]:
    """The values of a recipe and of the recipes that it extends.

    Args:
        seen: the files on the path of ``extends``, each with the name that referred to it.
    """
    preset = PRESETS / f"{name_or_path}.yaml"
    is_preset = "/" not in name_or_path and preset.is_file()
    path = str(preset) if is_preset else name_or_path
    try:
        content = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        close = difflib.get_close_matches(name_or_path, preset_names(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise RecipeError(
            f"no recipe {name_or_path!r}: it is neither a file nor a preset ({', '.join(preset_names())}){hint}"
        ) from None
    real = path if is_remote(path) else os.path.realpath(path)
    if real in seen:
        loop = [*list(seen.values())[list(seen).index(real) :], name_or_path]
        raise RecipeError(f"recipe {name_or_path} extends itself: {' -> '.join(loop)}")
    seen = {**seen, real: name_or_path}
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise RecipeError(f"recipe {name_or_path}: not a text file in UTF-8") from None
    values = _parse_yaml(text, str(name_or_path))
    if not isinstance(values, dict):
        raise RecipeError(f"recipe {name_or_path}: expected a mapping of sections, got {type(values).__name__}")
    stem = name_of(path).rpartition(".")[0] or name_of(path)
    parent = values.pop("extends", None)
    if parent is not None:
        beside = join(parent_of(path), str(parent))
        base = _read(beside if exists(beside) else str(parent), seen)
        _merge(base, values)
        base["name"] = values.get("name", stem)
        return base
    values.setdefault("name", stem)
    return values


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise RecipeError(f"recipe {where}: not valid YAML: {error}") from None


def _nest(path: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> None:
    """``base`` with ``changes``: mappings are merged, anything else is replaced."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _check_keys(values: Any, kind: Any, recipe: str, where: str) -> None:
    """Raises RecipeError for keys that the configuration class does not have."""
    if not dataclasses.is_dataclass(kind) or not isinstance(values, dict):
        return
    hints = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind) if field.init]
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {where}{close[0]}?" if close else f"; known keys: {', '.join(known)}"
            raise RecipeError(f"recipe {recipe}: unknown key {where}{key}{hint}")
        if isinstance(value, bool) and {int, float} & _types_in(hints[key]) and bool not in _types_in(hints[key]):
            raise RecipeError(f"recipe {recipe}: {where}{key}: expected a number, got {json.dumps(value)}")
        _check_keys(value, _configuration_in(hints[key]), recipe, f"{where}{key}.")
        if typing.get_origin(hints[key]) is dict and isinstance(value, dict):  # of configurations, by name
            for name, each in value.items():
                _check_keys(each, typing.get_args(hints[key])[1], recipe, f"{where}{key}.{name}.")


def _check_finite(values: Any, recipe: str, where: str) -> None:
    """Raises RecipeError for .nan and .inf. No setting may have these values, and every comparison with NaN is
    false."""
    if isinstance(values, float) and not math.isfinite(values):
        raise RecipeError(f"recipe {recipe}: {where}: expected a finite number, got {values}")
    parts = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in parts:
        _check_finite(value, recipe, f"{where}.{key}" if where else str(key))


def _configuration_in(hint: Any) -> Any:
    """The configuration class among the types of a value; the hint itself if there is none."""
    return next((part for part in _types_in(hint) if dataclasses.is_dataclass(part)), hint)


def _types_in(hint: Any) -> set[Any]:
    """The types that a value may have."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return set(typing.get_args(hint)) if is_union else {hint}


def as_dict(value: Any) -> Any:
    """A configuration as plain values, for YAML and JSON."""
    return json.loads(json.dumps(dataclasses.asdict(value), allow_nan=False))


def to_yaml(recipe: Recipe) -> str:
    """The whole recipe with all defaults."""
    return write_yaml(as_dict(recipe), sort_keys=False)


def fingerprint(*parts: Any) -> str:
    """16 hex digits that change with any of the parts (configurations or plain values)."""
    plain = [as_dict(part) if dataclasses.is_dataclass(part) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]
