"""Finds the files that a name or a pattern matches, on a local disk or an object store."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Iterator

from gobelin.store.files import size_of
from gobelin.store.paths import is_remote, join
from gobelin.store.remote import list_files as list_remote

_SIGNS = re.compile(r"[*?[]")


def find_files(pattern: str) -> dict[str, int]:
    """Files and their sizes in bytes, by path: the file of exactly this name, or else the files that match the pattern.

    A pattern is read part by part, from the left. On a local disk, a part that is the name of an existing file or
    folder is literal, so ``crawl [2024]/*.warc.gz`` searches the folder ``crawl [2024]``. In any other part ``*``
    matches any characters, ``?`` one character, and ``[ab]`` one of these; ``**`` also matches slashes. As in a shell,
    a wildcard at the beginning of a name does not match a dot.
    """
    if is_remote(pattern):
        return _find_remote(pattern)
    absolute = pattern.startswith(os.sep)
    parts = [part for part in pattern.split(os.sep) if part]
    found = _walk(os.sep if absolute else "", parts) if parts else iter(())
    return {path: os.path.getsize(path) for path in found if os.path.isfile(path)}


def _find_remote(pattern: str) -> dict[str, int]:
    """``find_files`` on an object store: the object of exactly this name, or else the matching objects."""
    with contextlib.suppress(FileNotFoundError):
        return {pattern: size_of(pattern)}
    if not _SIGNS.search(pattern):
        return {}
    parts = pattern.split("/")
    num_plain = next(index for index, part in enumerate(parts) if _SIGNS.search(part))
    folder, rest = "/".join(parts[:num_plain]), "/".join(parts[num_plain:])
    matches = _compiled(rest).fullmatch
    found = sorted(list_remote(folder))
    return {join(folder, name): size for name, size in found if matches(name) or matches(f"./{name}")}


def _compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern. Only ``**`` matches slashes."""
    expression, position = "", 0
    while position < len(pattern):
        sign = pattern[position]
        closing = pattern.find("]", position + 2) if sign == "[" else -1
        if pattern.startswith("**", position):
            expression, position = expression + ".*", position + 2
        elif sign == "*":
            expression, position = expression + "[^/]*", position + 1
        elif sign == "?":
            expression, position = expression + "[^/]", position + 1
        elif closing > 0:
            inside = pattern[position + 1 : closing].replace("\\", r"\\")
            expression += f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
            position = closing + 1
        else:
            expression, position = expression + re.escape(sign), position + 1
    return re.compile(expression, re.S)


def _walk(folder: str, parts: list[str]) -> Iterator[str]:
    """Paths below a folder that match the parts of a pattern. Ignores unreadable folders."""
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if os.path.lexists(os.path.join(folder, first)):
        yield from _walk(os.path.join(folder, first), rest)
    elif "**" in first:
        matches = _compiled(os.sep.join(parts)).fullmatch
        for parent, folders, names in os.walk(folder or "."):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = os.path.normpath(os.path.join(parent, name))
                below = os.path.relpath(path, folder or ".")
                if not name.startswith(".") and (matches(below) or matches(os.path.join(".", below))):
                    yield path
    elif _SIGNS.search(first):
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(folder or ".")):
                if fnmatch.fnmatchcase(name, first) and (first.startswith(".") or not name.startswith(".")):
                    yield from _walk(os.path.join(folder, name), rest)
