"""A data card: ``README.md`` with Hugging Face's front matter, and Croissant's ``croissant.json``.

The card states what a folder holds, where it comes from, what was left out and by which rule, what its makers did not
do, and how to load it. Equal facts give equal bytes. Untrusted words are shown as code (``escape.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from gobelin.card.croissant import FILE_NAME as CROISSANT_NAME
from gobelin.card.croissant import croissant
from gobelin.card.escape import code, one_line
from gobelin.card.facts import Facts
from gobelin.card.filters import filters_of
from gobelin.card.front_matter import front_matter
from gobelin.card.loading import RECORDS, snippets
from gobelin.report.wording import count, file_size, percent, rule_meaning
from gobelin.store.files import to_json, write_bytes
from gobelin.store.paths import join
from gobelin.transforms.selection.rules import RULES

FILE_NAME = "README.md"
CARD_FILES = (FILE_NAME, CROISSANT_NAME)

TOP = 20
"""Rows shown of a table of words of strangers."""

_SCORE_OF = {rule.name: rule.score for rule in RULES}
_STAGES = ("extract", "score", "select")
_ACTIONS = {"replace": "replaced by a mark", "drop": "texts that hold one are left out", "keep": "kept"}


def write_card(folder: str, facts: Facts) -> None:
    """Writes both files into the folder."""
    write_bytes(join(folder, CROISSANT_NAME), to_json(croissant_of(facts)))
    write_bytes(join(folder, FILE_NAME), card_of(facts).encode())


def croissant_of(facts: Facts) -> dict[str, Any]:
    """The folder's metadata in the format Croissant 1.1."""
    about = {
        "name": _slug(facts.name),
        "description": _summary(facts),
        "version": "1.0.0",
        "license": sorted(facts.tally.licences)[:TOP] or ["unknown"],
        "inLanguage": sorted(facts.tally.languages),
        "keywords": ["interleaved", "image-text", "web"],
        "rai:dataCollection": _origin(facts),
        "rai:dataCollectionType": ["Web Scraping"],
        "rai:dataPreprocessingProtocol": [f"{each.name}: {each.asks}" for each in _filters(facts)],
        "rai:dataLimitations": list(_limits(facts)),
        "rai:personalSensitiveInformation": list(_personal(facts)),
    }
    return croissant(about, facts.layouts, facts.archives, RECORDS)


def card_of(facts: Facts) -> str:
    """The text of ``README.md``."""
    parts = [
        f"# {_title(facts)}",
        _summary(facts),
        _origin(facts),
        "## What it holds",
        *_holdings(facts),
        "## How to load it",
        "Run in this folder:",
        *(f"With {what}:\n\n```python\n{text}\n```" for what, text in snippets(facts)),
        *provenance(facts),
    ]
    return front_matter(facts) + "\n" + "\n\n".join(parts) + "\n"


def provenance(facts: Facts) -> list[str]:
    """The sections on the documents and their origin: paragraphs of Markdown."""
    return [
        "## Licences",
        *_licences(facts),
        "## Opt-outs",
        *_opt_outs(facts),
        "## Filters",
        *_filter_table(facts),
        "## What was left out",
        *_left_out(facts),
        "## Personal data",
        _points(_personal(facts)),
        "## Known limits",
        _points(_limits(facts)),
        "## How it was made",
        _points(_made(facts)),
    ]


def _title(facts: Facts) -> str:
    return f"{code(facts.name)}: documents of the web with their images"


def _slug(name: str) -> str:
    return "".join(each if each.isascii() and (each.isalnum() or each in "-_") else "-" for each in name) or "corpus"


def _summary(facts: Facts) -> str:
    tally = facts.tally
    what = f"{count(tally.documents, 'document')} of the web, with texts and images in reading order: "
    held = f"{count(tally.texts, 'text')} ({count(tally.characters, 'character')}) and {count(tally.images, 'image')}."
    state = "" if facts.stage == "select" else " As extracted, before any selection."
    return what + held + state


def _origin(facts: Facts) -> str:
    given = facts.run.get("input", [])
    num_bytes = sum(each.get("bytes", 0) for each in given)
    noun = "input file" if len(given) == 1 else "input files"
    return (
        f"Made by gobelin from {len(given):,} {noun} ({file_size(num_bytes)}) of web archives or other corpora: pages "
        "were parsed, their main content cut out, images joined to their places, everything scored, and the rules of a "
        "recipe applied."
    )


def _holdings(facts: Facts) -> Iterator[str]:
    rows = [(RECORDS[each.name], f"`{each.pattern}`", f"{facts.num_rows[each.name]:,}", each.what)
            for each in facts.layouts]  # fmt: skip
    yield table_of(("part", "files", "rows", "what"), rows)
    yield f"Files of {file_size(sum(facts.num_bytes.values()))} together."
    if facts.format == "mmc4" and facts.with_images:
        yield "Images lie in `images/`, those of shard N in `images/N/`, under their `image_name`."
    tally = facts.tally
    yield from _counted("Languages, as identified by a model", tally.languages, tally.documents)
    yield from _counted("Sites", tally.sites, tally.documents)


def _counted(title: str, counts: Counter[str], total: int) -> Iterator[str]:
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if not top:
        return
    more = f" (the {TOP} most frequent of {len(top):,})" if len(top) > TOP else ""
    yield f"{title}{more}:"
    yield table_of(
        ("", "documents", "share"),
        [(code(value), f"{times:,}", percent(times, total).replace("\u00a0", " ")) for value, times in top[:TOP]],
    )


def _licences(facts: Facts) -> Iterator[str]:
    tally = facts.tally
    yield (
        "Every page and image stays under its author's rights. Licences are what pages state of themselves, for the "
        "page or for some of its images; nobody has verified them. "
        f"{count(tally.documents - tally.unlicensed, 'document')} of {tally.documents:,} state one."
    )
    yield from _counted("Licences stated", tally.licences, tally.documents)


def _opt_outs(facts: Facts) -> Iterator[str]:
    recipe = facts.run["recipe"]
    denied = [
        ("pages", recipe["select"]["document"]["deny_consent"] if facts.stage == "select" else None),
        ("images", recipe["select"]["image"]["deny_consent"] if facts.stage == "select" else None),
        ("pages, before they were read", recipe["extract"]["gates"]["deny_consent"]),
        ("images that were fetched", recipe["extract"]["fetch"]["opt_outs"]
         if recipe["extract"]["fetch"]["enabled"] else None),
    ]  # fmt: skip
    honoured = [f"of {of}: {', '.join(map(one_line, uses))}" for of, uses in denied if uses]
    if honoured:
        yield "Honoured in every signal (robots.txt, meta tags, response headers, TDMRep):"
        yield _points(honoured)
    else:
        yield "**No opt-out was honoured:** the recipe asks for none."
    agents = recipe["select"]["document"]["consent_agents"]
    if agents and facts.stage == "select":
        yield f"Only those addressed to all robots or to: {', '.join(map(one_line, agents))}."
    stages = facts.run["stages"]
    names = ("document.deny_consent", "image.deny_consent", "gate.deny_consent")
    times = Counter[str]()
    for stage, unit, rule, dropped in _reasons(stages):
        if rule in names and (facts.stage == "select" or stage == "extract"):
            times[unit] += dropped
    if times:
        yield f"Left out for them: {', '.join(count(number, unit) for unit, number in sorted(times.items()))}."
    if facts.tally.refused:
        yield "Pages that are here and refuse a use which the recipe lets pass:"
        yield table_of(("use", "documents"), [(code(use), f"{n:,}") for use, n in sorted(facts.tally.refused.items())])


def _filters(facts: Facts) -> list[Any]:
    return filters_of(facts.run) if facts.stage == "select" else []


def _filter_table(facts: Facts) -> Iterator[str]:
    found = _filters(facts)
    if not found:
        yield "None: these are all documents that could be extracted."
        return
    yield (
        "The conditions for a document, a text or an image to be in the corpus. A value on the threshold passes. A "
        "rule without a score drops nothing, unless it is a safety rule."
    )
    yield table_of(
        ("rule", "what passes", "left out", "not run"),
        [(f"`{each.name}`", _cell(each.asks), f"{each.dropped:,}", f"{each.not_run:,}") for each in found],
    )


def _left_out(facts: Facts) -> Iterator[str]:
    stages = facts.run["stages"]
    asked = {each.name: f"not so: {each.asks}" for each in _filters(facts)}
    rows = [
        (stage, unit, f"`{rule}`", _cell(asked.get(rule) or rule_meaning(rule, _SCORE_OF.get(rule))), f"{times:,}")
        for stage, unit, rule, times in _reasons(stages)
        if facts.stage == "select" or stage == "extract"
    ]
    rows += [
        ("export", unit.removesuffix("s"), f"`{rule}`", _cell(rule_meaning(rule)), f"{times:,}")
        for unit, dropped in facts.left_out.items()
        for rule, times in dropped.items()
    ]
    if rows:
        yield table_of(("stage", "what", "rule", "why", "times"), rows)
    else:
        yield "Nothing."


def _reasons(stages: dict[str, Any]) -> Iterator[tuple[str, str, str, int]]:
    """Yields (stage, unit, rule, number) of dropped and failed units, by stage, the most frequent first."""
    for stage in _STAGES:
        counts = stages.get(stage, {})
        for unit in ("documents", "images"):
            held = counts.get(unit, {})
            yield from _sorted(stage, unit.removesuffix("s"), {**held.get("dropped", {}), **held.get("failed_by", {})})
        yield from _sorted(stage, "node", counts.get("nodes", {}).get("drop", {}))


def _sorted(stage: str, unit: str, times: dict[str, int]) -> Iterator[tuple[str, str, str, int]]:
    for rule, number in sorted(times.items(), key=lambda item: (-item[1], item[0])):
        yield stage, unit, rule, number


def _personal(facts: Facts) -> Iterator[str]:
    if facts.stage != "select":
        yield "Nothing was replaced: addresses, numbers and keys are as on the pages."
    else:
        actions = facts.run["recipe"]["select"]["pii"]
        replaced = facts.run["stages"]["select"].get("nodes", {}).get("replace", {})
        for kind in ("email", "ip", "phone", "card", "iban", "secret"):
            what = rule_meaning(f"pii.{kind}")
            times = replaced.get(f"pii.{kind}")
            told = f", in {count(times, 'text')}" if times else ""
            yield f"{what[:1].upper()}{what[1:]}: {_ACTIONS[actions[kind]]}{told}."
        yield "They are found by patterns: some are missed. Names of people were not looked for."
    if facts.faces_blurred is not None:
        yield f"Faces that a detector found are blurred, in {count(facts.faces_blurred, 'image')}; it misses some."
    elif facts.format is None or facts.with_images or any(layout.kind == "tar" for layout in facts.layouts):
        yield "Faces were not blurred."


def _limits(facts: Facts) -> Iterator[str]:
    recipe, stages = facts.run["recipe"], facts.run["stages"]
    yield "The main content of a page is found by rules: some furniture stays, some content is lost."
    yield "Texts are the words of strangers on the web: they may be wrong, biased, offensive or made by machines."
    missing = set(stages.get("score", {}).get("not_run", ()))
    if "nsfw" in missing or recipe["select"]["image"]["max_nsfw"] is None:
        yield "No image was checked for unsafe content."
    if recipe["score"]["clip"] is None:
        yield "Whether an image fits its texts was not measured."
    if recipe["score"]["contamination"] is None:
        yield "Texts and images of evaluation sets were not looked for."
    if facts.stage == "select" and "near" not in recipe["select"]["document"]["unique"]:
        yield "Near-duplicates of texts were not left out."
    if facts.format in ("obelics", "mmc4", "jsonl") and not facts.with_images:
        yield "Images are addresses: their content may change or disappear."
    if facts.format == "mmc4":
        yield "A text is a paragraph, where the authors of MMC4 have a sentence."
    if any(layout.kind in ("zip", "tar") for layout in facts.layouts):
        yield (
            "mlcroissant unpacks archives into a cache by their names alone (~/.cache/croissant/extract): empty it "
            "before another data set whose archives are called the same."
        )


def _made(facts: Facts) -> Iterator[str]:
    yield f"gobelin {one_line(facts.version)}, recipe {code(facts.name)}, seed {facts.run['recipe'].get('seed', 0)}."
    yield f"SHA-256 of the recipe with every default spelled out (`recipe.yaml`): `{facts.recipe_digest}`."
    yield f"Documents of the stage `{facts.stage}`, whose key is `{facts.run['stages'][facts.stage]['key']}`."
    model = facts.run["stages"].get("score", {}).get("clip_model")
    if model:
        yield f"CLIP model behind the scores: {code(str(model))}."
    plugins = facts.run["recipe"].get("packages") or ()
    versions = facts.run.get("versions", {})
    if plugins:
        yield f"Plug-ins: {', '.join(code(f'{name} {versions.get(name)}') for name in plugins)}."
    if facts.format is None:
        yield "What each file holds, in rows, bytes and SHA-256: `_manifest.json` beside it."
    elif facts.left_out:
        yield "What this export left out: `left_out.jsonl`, one decision per line; counts: `export.json`."


def _points(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _cell(text: str) -> str:
    return one_line(text, 1000).replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<").replace("`", "\\`")


def table_of(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table. Cells are Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
