"""Speeds up the translation of Beam's pipelines in the worker processes of a local run.

For every pipeline, Beam computes the same things again: the signature of each function, the state that each DoFn
declares, and the options, with a new argparse parser for each class of options. In a worker that runs many small
pipelines, this is half of a pipeline's cost. The results depend only on the function, the class or the flags, so this
module caches them. If a version of Beam lacks one of these functions, nothing is replaced for it.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import sys
import types
from collections.abc import Callable
from typing import Any

_MAX_FUNCTIONS = 4096
_KEPT = "kept_by_gobelin"


def install() -> None:
    """Caches Beam's results in this process and in processes forked from it. A second call changes nothing."""
    import apache_beam.options.pipeline_options
    import apache_beam.runners.portability.fn_api_runner
    import apache_beam.transforms.userstate
    import apache_beam.typehints.decorators

    _replace("apache_beam.typehints.decorators", "get_signature", _by_function)
    _replace("apache_beam.transforms.core", "_check_fn_use_yield_and_return", _by_function)  # reads the source
    _replace("apache_beam.transforms.userstate", "get_dofn_specs", _by_class)
    with contextlib.suppress(AttributeError):
        _keep_options(apache_beam.options.pipeline_options.PipelineOptions)


def _replace(module_name: str, name: str, wrap: Callable[[Any], Any]) -> None:
    """Replaces a function of Beam by a wrapped one, in every module of Beam that has imported it by name."""
    original = getattr(sys.modules[module_name], name, None)
    if original is None or hasattr(original, _KEPT):
        return
    wrapped = wrap(original)
    setattr(wrapped, _KEPT, True)
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("apache_beam") and vars(module).get(name) is original:
            setattr(module, name, wrapped)


def _by_function(of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Caches one result per function. All bound methods of a function share it. Beam never changes a result in
    place."""

    @functools.lru_cache(_MAX_FUNCTIONS)
    def of_function(function: types.FunctionType) -> Any:
        return of(function)

    @functools.lru_cache(_MAX_FUNCTIONS)
    def of_method(function: types.FunctionType) -> Any:
        return of(types.MethodType(function, object()))

    @functools.wraps(of)
    def look_up(function: Any) -> Any:
        if type(function) is types.FunctionType:
            return of_function(function)
        if type(function) is types.MethodType and type(function.__func__) is types.FunctionType:
            return of_method(function.__func__)
        return of(function)

    return look_up


def _by_class(get_dofn_specs: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Caches one result per DoFn class. Objects that have methods of their own are not cached."""
    kept: dict[type, Any] = {}

    @functools.wraps(get_dofn_specs)
    def look_up(dofn: Any) -> Any:
        if any(isinstance(value, types.MethodType) for value in getattr(dofn, "__dict__", {}).values()):
            return get_dofn_specs(dofn)
        if type(dofn) not in kept:
            kept[type(dofn)] = get_dofn_specs(dofn)
        states, timers = kept[type(dofn)]
        return set(states), set(timers)

    return look_up


def _keep_options(options: Any) -> None:
    """Parses a pipeline's flags once per class of options. ``view_as`` makes hundreds of objects of few classes."""
    original = options.__init__
    if hasattr(original, _KEPT):
        return
    kept: dict[tuple[type, tuple[str, ...]], Any] = {}

    @functools.wraps(original)
    def __init__(self: Any, flags: Any = None, **kwargs: Any) -> None:
        if not isinstance(flags, (list, tuple)):
            original(self, flags, **kwargs)
            return
        key = (type(self), tuple(flags))
        if key not in kept:
            original(self, flags, **kwargs)
            kept[key] = vars(copy.deepcopy(self._visible_options))
            return
        self._flags = flags
        # Values are strings, numbers, and lists and dicts of them.
        values = {name: copy.copy(value) for name, value in kept[key].items()}
        self._visible_options = argparse.Namespace(**values)
        self._all_options = kwargs
        for name, value in values.items():
            self._all_options.setdefault(name, value)

    def names(self: Any) -> list[str]:
        return sorted(vars(self._visible_options))  # without a look at the namespace's methods

    setattr(__init__, _KEPT, True)
    options.__init__ = __init__
    options._visible_option_list = names
