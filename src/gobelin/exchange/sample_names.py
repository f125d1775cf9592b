"""Which files of a tar are one sample, told by their names.

WebDataset's rule: neighbours whose names are the same up to the first dot. ``7.json``, ``7.0.jpg`` and ``7.en.txt`` are
one sample. But people also write ``img.v1.jpg``, ``img.v1.txt``, ``img.v2.jpg``, ``img.v2.txt`` and mean two. So among
files that the rule puts together, a name stands for a sample of its own if a file of words is called so (``txt``,
``text``, ``caption`` or ``json`` behind it), with a picture that is called the same or begins so. Words above come
first: where ``img.json`` stands without ``img.jpg``, it describes all pictures below it, and all is one sample.

    7.json 7.0.jpg 7.1.jpg                    one: no words but those at the top
    img.v1.jpg img.v1.txt img.v2.jpg ...      one for each version
    img.jpg img.txt img.v1.jpg img.v1.txt     two: each has words and a picture
    img.json img.v1.jpg img.v1.txt ...        one: the words at the top have no picture of their own
    7.jpg 7.txt 7.en.txt                      one: the further words have no picture
"""

from __future__ import annotations

from collections.abc import Iterable

TEXTS = ("txt", "text", "caption")
"""Extensions of files that hold words."""

PICTURES = frozenset(
    ["jpg", "jpeg", "jpe", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ico", "ppm", "tga", "qoi"]
)

MAX_DOTS = 16
"""Dots of a name that count; what stands behind is one part."""


def key_of(name: str) -> tuple[str, str] | None:
    """Folder and name up to the first dot; None for a file that is in no sample: without a dot, or hidden by one."""
    folder, _, base = name.rpartition("/")
    stem, dot, _ = base.partition(".")
    return (folder, stem) if dot and stem else None


def extension_of(name: str) -> str:
    """Behind the last dot, in lower case."""
    return name.rpartition("/")[2].rpartition(".")[2].lower()


def stem_of(name: str) -> str:
    """A file's name without its folder and its last extension."""
    return name.rpartition("/")[2].rpartition(".")[0]


def group_names(names: Iterable[str]) -> list[list[str]]:
    """The samples among names that have one ``key_of``, each in the order given, in the order of their first files."""
    held = list(names)
    owners = _owners(held)
    found: dict[str, list[str]] = {}
    for name in held:
        stem = stem_of(name)
        owner = next((each for each in reversed(_levels(stem)) if each in owners), None)
        found.setdefault((stem if owners else "") if owner is None else owner, []).append(name)
    return list(found.values())


def _owners(names: list[str]) -> set[str]:
    """Names that stand for a sample of their own."""
    words = {stem_of(name) for name in names if extension_of(name) in (*TEXTS, "json")}
    pictures = {stem_of(name) for name in names if extension_of(name) in PICTURES}
    above = {level for stem in pictures for level in _levels(stem)}
    owners: set[str] = set()
    for stem in sorted(words & above, key=len):
        covering = next((each for each in reversed(_levels(stem)[:-1]) if each in owners), None)
        if covering is None or (covering in pictures and stem in pictures):
            owners.add(stem)
    return owners


def _levels(stem: str) -> list[str]:
    """``a``, ``a.b``, ``a.b.c`` of ``a.b.c``, shortest first."""
    parts = stem.split(".", MAX_DOTS)
    return [".".join(parts[: length + 1]) for length in range(len(parts))]
