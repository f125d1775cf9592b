"""Groups the files of a tar file into samples by their names.

WebDataset's rule: adjacent files whose names are equal up to the first dot are one sample, such as ``7.json``,
``7.0.jpg`` and ``7.en.txt``. But some people write ``img.v1.jpg``, ``img.v1.txt``, ``img.v2.jpg``, ``img.v2.txt`` and
mean two samples. So within a group, a name is a sample of its own if it has a file of words (extension ``txt``,
``text``, ``caption`` or ``json``) and an image with the same name or with a name that begins with it. A file of words
at a higher level takes precedence: ``img.json`` without ``img.jpg`` describes all images below it, and all is one
sample.

    7.json 7.0.jpg 7.1.jpg                    one: the only words are at the top
    img.v1.jpg img.v1.txt img.v2.jpg ...      one for each version
    img.jpg img.txt img.v1.jpg img.v1.txt     two: each has words and an image
    img.json img.v1.jpg img.v1.txt ...        one: the words at the top have no image of their own
    7.jpg 7.txt 7.en.txt                      one: the other words have no image
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
    """Folder and name up to the first dot. None for a file that belongs to no sample: without a dot, or with a leading
    one."""
    folder, _, base = name.rpartition("/")
    stem, dot, _ = base.partition(".")
    return (folder, stem) if dot and stem else None


def extension_of(name: str) -> str:
    """The part after the last dot, in lower case."""
    return name.rpartition("/")[2].rpartition(".")[2].lower()


def stem_of(name: str) -> str:
    """A file's name without its folder and its last extension."""
    return name.rpartition("/")[2].rpartition(".")[0]


def group_names(names: Iterable[str]) -> list[list[str]]:
    """The samples among names that have one ``key_of``. Keeps the order of names, and orders samples by their first
    names."""
    held = list(names)
    owners = _owners(held)
    found: dict[str, list[str]] = {}
    for name in held:
        stem = stem_of(name)
        owner = next((each for each in reversed(_levels(stem)) if each in owners), None)
        found.setdefault((stem if owners else "") if owner is None else owner, []).append(name)
    return list(found.values())


def _owners(names: list[str]) -> set[str]:
    """Names that are samples of their own."""
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
