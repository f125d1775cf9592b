"""Scores and rules of other packages: found by name among the entry points of what is installed (docs/plugins.md).

    gobelin.scores   NAME = "module:Class"   a dataclass: its fields are settings, an instance is called for a value
    gobelin.rules    NAME = "module:RULE"    a ``PluginRule``

A recipe names them (``score.plugins``, ``select.plugins``); nothing that it does not name is imported. What goes from
one process to another is the name, so a worker finds a plug-in as the command line did.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.metadata
import re
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from gobelin.data.model import Image
from gobelin.data.schemas import DOCUMENT_SCORES, DOCUMENTS, IMAGE_SCORES, IMAGE_SIGNATURES, IMAGES, NODE_SCORES
from gobelin.errors import UserError, in_a_line
from gobelin.scores import SCORES, Axis, Of, Score, find_score

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SCORES_GROUP, RULES_GROUP = "gobelin.scores", "gobelin.rules"

Subject = Literal["document", "text", "image"]
"""What a rule judges."""

_TYPES = (pa.float32(), pa.float64(), pa.int32(), pa.int64())
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_OWN_NAMES = {
    *SCORES,
    *(field.name for field in NODE_SCORES),
    *(name for schema in (DOCUMENTS, IMAGES, DOCUMENT_SCORES, IMAGE_SCORES, IMAGE_SIGNATURES) for name in schema.names),
    "own_documents",  # on the way, in IMAGE_GROUPS
}
"""What a score may not be called: it would stand beside these, or in their place."""

_COMPARABLE: dict[Subject, set[Of]] = {"document": {"document"}, "text": {"text"}, "image": {"image", "pair"}}


class PluginError(UserError):
    """A plug-in is not there or not what it should be; the message names it and its package."""


@dataclasses.dataclass(frozen=True, slots=True)
class PluginRule:
    """A rule of a plug-in: ``min_...`` keeps values at or above the recipe's threshold, ``max_...`` at or below."""

    score: str  # that of a plug-in or of gobelin's own
    of: Subject
    is_safety: bool = False  # drops what has no value, unless the recipe's unscored_for_safety is keep
    passes_without_value: bool = False  # null: there is nothing to judge, rather than not judged


@dataclasses.dataclass(frozen=True, slots=True)
class PluginScore:
    """A score of a plug-in."""

    entry: Score
    scorer: Any  # the dataclass of its settings, whose instances are called with a ``Document`` or an ``Image``
    package: str  # "name version"

    def with_settings(self, settings: Mapping[str, Any]) -> Any:
        """An instance of ``scorer``.

        Raises:
            pydantic.ValidationError: the settings are of other types.
            Exception: what the scorer itself raises.
        """
        return _adapter(self.scorer).validate_python(dict(settings))

    def settings_of(self, made: Any) -> dict[str, Any]:
        """The settings of an instance as plain values, as YAML and JSON take them."""
        names = {field.name for field in dataclasses.fields(self.scorer) if field.init}
        return dict(_adapter(self.scorer).dump_python(made, mode="json", include=names))


def score_called(name: str) -> PluginScore:
    """The score of this name.

    Raises:
        PluginError: no installed package gives it, more than one does, or it is not what it should be.
    """
    found = _loaded(SCORES_GROUP, name)
    entry, package = getattr(found, "score", None), package_of(SCORES_GROUP, name)
    problem = _problem_of_score(name, found, entry)
    if problem or not isinstance(entry, Score):
        raise PluginError(f"the package {package} gives the score {name}, which {problem}")
    entry = dataclasses.replace(entry, needs=(f"plugins.{name}",), never_null=(), only_in=None)
    return PluginScore(entry, found, package)


def _problem_of_score(name: str, found: Any, entry: Any) -> str | None:
    if name in _OWN_NAMES:
        return "is a name of gobelin's own: the package must choose another"
    is_class = isinstance(found, type) and dataclasses.is_dataclass(found)
    if not is_class or not any("__call__" in vars(base) for base in found.__mro__):
        return "is not a dataclass with callable instances"
    if not isinstance(entry, Score) or entry.name != name:
        return "lacks its entry: score = gobelin.scores.Score(...) with the same name"
    if entry.of not in (("document",), ("image",)):
        return f'is of {entry.of}: of must be ("document",) or ("image",)'
    if entry.axis not in typing.get_args(Axis):
        return f"has the axis {entry.axis!r}: it must be one of {', '.join(typing.get_args(Axis))}"
    if not all(isinstance(text, str) for text in (entry.title, entry.unit, entry.meaning)):
        return "has a title, unit or meaning that is no text"
    if entry.arrow not in _TYPES:
        return f"has values of type {entry.arrow}: arrow must be one of {', '.join(map(str, _TYPES))}"
    try:
        typing.get_type_hints(found)
        _adapter(found)
    except Exception as error:  # noqa: BLE001  # whatever reading annotations may raise
        return f"has settings whose types cannot be read: {in_a_line(error)}"
    return None


@functools.cache
def _adapter(scorer: type) -> Any:
    from pydantic import TypeAdapter  # for recipes with plug-ins alone

    return TypeAdapter(scorer)


def rule_called(name: str) -> PluginRule:
    """The rule of this name.

    Raises:
        PluginError: no installed package gives it, more than one does, or it is not what it should be.
    """
    found = _loaded(RULES_GROUP, name)
    problem = None
    if not isinstance(found, PluginRule):
        problem = "is no gobelin.plugins.PluginRule"
    elif not name.startswith(("min_", "max_")):
        problem = "must have a name min_... or max_..., which determines what passes"
    else:
        score = known_score(found.score)
        if score is None:
            problem = f"compares {found.score}: no score of gobelin's or of an installed package"
        elif not _COMPARABLE[found.of] & set(score.of):
            judged = " and ".join(f"{of}s" for of in score.of)
            problem = f"judges {found.of}s by {found.score}, a score of {judged}"
    if problem:
        raise PluginError(f"the package {package_of(RULES_GROUP, name)} gives the rule {name}, which {problem}")
    assert isinstance(found, PluginRule)
    return found


def known_score(name: str) -> Score | None:
    """The entry of a score of gobelin's, of the user's heads, or of an installed package. None: there is none."""
    own = find_score(name)
    return own if own is not None or name not in _entry_points(SCORES_GROUP) else score_called(name).entry


def package_of(group: str, name: str) -> str:
    """The package that gives a name, as "name version".

    Raises:
        PluginError: there is none, or more than one.
    """
    found = _entry_points(group).get(name, ())
    packages = sorted({f"{point.dist.name} {point.dist.version}" for point in found if point.dist is not None})
    if len(packages) != 1:
        what = {SCORES_GROUP: "score", RULES_GROUP: "rule"}[group]
        if packages:
            raise PluginError(f"{' and '.join(packages)} both give a {what} {name}: uninstall one")
        near = difflib.get_close_matches(name, _entry_points(group), n=1)
        offered = f"did you mean {near[0]}?" if near else f"given are {', '.join(_entry_points(group)) or 'none'}"
        raise PluginError(f"no installed package gives a {what} {name} (entry points of {group}); {offered}")
    return packages[0]


def packages_of(scores: Iterable[str], rules: Iterable[str]) -> list[str]:
    """The packages that give these scores and rules, as "name version", sorted."""
    named = {(SCORES_GROUP, name) for name in scores} | {(RULES_GROUP, name) for name in rules}
    return sorted({package_of(*each) for each in named})


def is_installed(package: str) -> bool:
    """Whether a package of this name, in any version, is installed."""
    try:
        importlib.metadata.version(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):  # ValueError: an empty name
        return False
    return True


def open_picture(image: Image) -> Picture:
    """The pixels of an image as a model sees them: 8-bit sRGB, upright, on white."""
    from gobelin.transforms.images.open_image import open_rgb

    return open_rgb(image.data)


@functools.cache
def _entry_points(group: str) -> Mapping[str, tuple[importlib.metadata.EntryPoint, ...]]:
    """The entry points of a group by their names, sorted."""
    points = importlib.metadata.entry_points(group=group)
    return {name: tuple(points.select(name=name)) for name in sorted(points.names)}


@functools.cache
def _loaded(group: str, name: str) -> Any:
    package = package_of(group, name)
    if not _NAME.fullmatch(name):
        raise PluginError(f"the package {package} gives {name!r}: a name is lower case, digits and underscores")
    (point, *_) = _entry_points(group)[name]
    try:
        return point.load()
    except Exception as error:  # noqa: BLE001  # whatever an import may raise
        raise PluginError(f"the package {package} gives {name}, which cannot be imported: {in_a_line(error)}") from None
