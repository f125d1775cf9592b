"""Reads a recipe's YAML, and refuses values that YAML reads differently than people do.

PyYAML reads YAML 1.1, where ``010`` is 8, ``1_000`` is 1000 and ``12:30`` is 750. YAML 1.2 (core schema, section 10.3)
reads the first as 10 and the others as text. A number that the two versions read differently is an error with its
position. All other scalars are read as in YAML 1.2, except that ``yes``, ``no``, ``on`` and ``off`` are booleans as in
1.1. If a text is expected, such as ``no`` among languages, the recipe's check tells the user to quote it.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_CORE = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:bool", r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", "yYnNoO"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)

_AMBIGUOUS = "!ambiguous"
_TWO_WAYS = (
    r"[-+]?0[0-9_]+(?:\.[0-9_]*)?"  # octal to 1.1, decimal to 1.2
    r"|[-+]?0[oO][0-7_]+|[-+]?0[bB][01_]+|[-+]?0[xX][0-9a-fA-F]*_[0-9a-fA-F_]*|[-+]0[xX][0-9a-fA-F]+"
    r"|[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*\.[0-9_]*_[0-9_]*"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"  # to base 60 in 1.1
)


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, as YAML demands and PyYAML does not: a second ``image:`` would undo the
    first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(None, None, f"the key {key.value} is repeated", key.start_mark)
                seen.add(key.value)
                if value.tag == _AMBIGUOUS:
                    raise _told(value, f"{key.value}: ")
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what ``_Loader`` reads back as it was: text that looks like a number to either is quoted."""


def _told(node: yaml.Node, before: str = "") -> yaml.MarkedYAMLError:
    told = f"{before}{node.value} is read in more ways than one; write the number plainly, as 10, or quote a text"
    return yaml.MarkedYAMLError(None, None, told, node.start_mark)


def _refuse(_: _Loader, node: yaml.Node) -> None:
    raise _told(node)


_Loader.yaml_implicit_resolvers = {}
_Dumper.yaml_implicit_resolvers = {key: list(held) for key, held in yaml.SafeDumper.yaml_implicit_resolvers.items()}
for _tag, _pattern, _first in ((_AMBIGUOUS, _TWO_WAYS, "-+0123456789"), *_CORE):
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), list(_first))
_Loader.add_constructor(_AMBIGUOUS, _refuse)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: it is not YAML, or holds a number that may be read in two ways; the message has the position.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, TypeError) as error:  # PyYAML lets errors of int() and the like through
        raise ValueError(" ".join(str(error).split())[:300]) from None
    except RecursionError:
        raise ValueError("too deeply nested") from None


def write_yaml(value: Any, **options: Any) -> str:
    """Plain values as YAML; ``options`` are those of ``yaml.dump``."""
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, **options)
