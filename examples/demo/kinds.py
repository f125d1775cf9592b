"""Precision and recall by kind of dirt, with the rules for each kind.

An *item* is a line of ``truth.jsonl`` (a page, an image, a text, an e-mail address). It *went* if the corpus does not
hold it. The *reason* is the rule that left it out. For a page it is the rule of its decision, and for an image or a
text that of the decision on its node. It is ``extraction`` if no node ever held it, and ``page`` if it went with its
page.

    recall       of the items of the kind that should go, the share that went, for whatever reason
    by its rule  of those that went, the share whose reason is a rule of the kind (``RULES``)
    precision    of all items, of any kind, whose reason is a rule of the kind, the share that should go

Images and texts are judged on pages that should stay, because a page that goes takes them along; images of pages
that should go have a line of their own. Of the copies in a ``group`` one should stay, no matter which; the others
should go. An address went if its page stayed without it; the precision is that of the pages where one was replaced.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gobelin.store.shards import read_folder
from gobelin.transforms.urls import canonical_url

Row = dict[str, Any]

_CLIP = ("image.min_clip_near", "image.min_clip_caption", "image.min_clip_alt", "image.min_clip_text")
_FURNITURE = ("extraction", "image.banned_url_words", "image.min_side_px", "image.max_documents")
_QUALITY = (
    "document.max_char_repetition_ratio", "document.max_word_repetition_ratio", "document.max_special_char_ratio",
    "document.min_stop_word_ratio", "document.min_stop_words", "document.max_flagged_word_ratio",
    "document.min_punctuation_ratio", "document.max_spam_word_ratio", "document.max_top_2gram_char_ratio",
    "document.max_top_3gram_char_ratio", "document.max_top_4gram_char_ratio",
)  # fmt: skip
_COPIES = ("document.unique.url", "document.unique.exact", "document.unique.near")

RULES: dict[str, dict[str, tuple[str, ...]]] = {
    "page": {
        "near_duplicate": _COPIES,
        "mirror": _COPIES,
        "spam": _QUALITY,
        "lorem_ipsum": ("document.max_lorem_ipsum", "document.languages"),  # it is Latin, and that rule comes first
        "thin": ("document.min_images", "document.min_words"),
        **dict.fromkeys(
            ("opt_out_meta", "opt_out_header", "opt_out_tdm", "opt_out_tdm_meta"), ("document.deny_consent",)
        ),
        **dict.fromkeys(("german", "french", "spanish", "chinese"), ("document.languages",)),
        "not_found": ("http_status",),
        "redirect": ("http_status",),
        "plain_text": ("extraction",),  # not HTML: no document is made of it
    },
    "image": {
        "mismatch": _CLIP,
        **dict.fromkeys(("dead_404", "dead_missing", "truncated", "html_as_image", "bomb"), ("image.missing",)),
        **dict.fromkeys(("logo", "icon", "banner"), _FURNITURE),
        **dict.fromkeys(("tracker", "placeholder", "srcset", "picture"), ("extraction",)),  # the last two: copies
        **dict.fromkeys(("mirror", "of a page that goes"), ("page",)),
    },
    "text": {"boilerplate": ("extraction", "text.")},
    "email": {"email": ("pii.email",)},
}  # fmt: skip
"""Unit -> kind of dirt -> names of the rules that are there for it, or how they begin."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What became of one kind of dirt; see the module's text."""

    unit: str
    kind: str
    rules: tuple[str, ...]  # that left out something
    total: int  # items that should go
    went: int
    by_rule: int  # of those that went
    dropped: int  # items of any kind that these rules left out
    right: int  # of those, the ones that should go

    @property
    def recall(self) -> float:
        return self.went / self.total if self.total else 1.0

    @property
    def precision(self) -> float | None:
        """None where no rule of the kind left out anything."""
        return self.right / self.dropped if self.dropped else None


@dataclasses.dataclass(frozen=True, slots=True)
class _Item:
    unit: str
    kind: str
    should_go: bool
    reason: str | None  # None: it is there


def judge_kinds(truth_path: Path, run: Path) -> list[Kind]:
    """One entry for each kind of dirt that the crawl holds, in the order of ``RULES``.

    Args:
        truth_path: the crawl's ``truth.jsonl``.
        run: output folder of a run that got as far as ``select``.
    """
    truth = [json.loads(line) for line in truth_path.read_text(encoding="utf-8").splitlines()]
    items = list(_items(truth, _Run(run)))
    found = []
    for unit, kinds in RULES.items():
        for kind, rules in kinds.items():
            dirt = [item for item in items if (item.unit, item.kind, item.should_go) == (unit, kind, True)]
            if not dirt:
                continue
            went = [item for item in dirt if item.reason is not None]
            left_out = [item for item in items if item.unit == unit and (item.reason or "").startswith(rules)]
            found.append(
                Kind(
                    unit, kind, tuple(sorted({item.reason for item in left_out if item.reason})), len(dirt), len(went),
                    sum((item.reason or "").startswith(rules) for item in went), len(left_out),
                    sum(item.should_go for item in left_out),
                )
            )  # fmt: skip
    return found


class _Run:
    """What a run made of the pages: the corpus, what was extracted, and why it went."""

    def __init__(self, run: Path) -> None:
        self.corpus = {row["url"]: row["nodes"] for row in read_folder(str(run / "select" / "documents"))}
        self.extracted = {row["url"]: row["nodes"] for row in read_folder(str(run / "extract" / "documents"))}
        urls = {row["doc_id"]: row["url"] for row in read_folder(str(run / "extract" / "documents"))}
        self.of_pages: dict[str, str] = {}
        self.of_nodes: dict[tuple[str, int], str] = {}
        self.replaced: Counter[str] = Counter()  # addresses, by page
        for stage in ("extract", "select"):
            for row in read_folder(str(run / stage / "decisions")):
                page = urls.get(row["doc_id"], row["url"])
                if row["unit"] == "document" and row["action"] == "drop":
                    self.of_pages[page] = row["rule"]
                elif row["unit"] == "node" and row["action"] == "drop":
                    self.of_nodes[page, row["node_index"]] = row["rule"]
                elif row["rule"] == "pii.email":
                    self.replaced[page] += int(row["value"])
        self.images_of = {page: self._images(nodes) for page, nodes in self.corpus.items()}

    @staticmethod
    def _images(nodes: list[Row]) -> set[str]:
        return {canonical_url(node["image_url"]) for node in nodes if node["image_url"]}

    def why_page(self, url: str) -> str | None:
        return None if url in self.corpus else self.of_pages.get(url, "extraction")

    def why_image(self, url: str, pages: list[str]) -> str | None:
        """``pages``: those that should stay and show it."""
        url = canonical_url(url)
        if any(url in self.images_of.get(page, ()) for page in pages):
            return None
        held = [
            (page, index)
            for page in pages
            for index, node in enumerate(self.extracted.get(page, ()))
            if node["image_url"] and canonical_url(node["image_url"]) == url
        ]
        return self._reason(held, any(page in self.corpus for page in pages))

    def why_text(self, text: str, page: str) -> str | None:
        """For a page in the corpus."""
        if any(text in (node[name] or "") for node in self.corpus[page] for name in ("text", "caption", "alt")):
            return None
        held = [(page, index) for index, node in enumerate(self.extracted[page]) if text in (node["text"] or "")]
        return self._reason(held, True)

    def _reason(self, held: list[tuple[str, int]], page_stayed: bool) -> str:
        if not held:
            return "extraction"
        rules = Counter(self.of_nodes[place] for place in held if place in self.of_nodes)
        if not rules or not page_stayed:
            return "page"
        return max(sorted(rules), key=lambda rule: rules[rule])


def _items(truth: list[Row], run: _Run) -> Iterable[_Item]:
    pages_to_stay = {row["url"] for row in truth if row["unit"] == "page" and (row["keep"] or row.get("group"))}
    groups: dict[tuple[str, str], list[tuple[Row, str | None]]] = defaultdict(list)
    for row in truth:
        unit, kind = row["unit"], row["kind"]
        if unit == "page":
            reason = run.why_page(row["url"])
        elif unit == "image":
            pages = [page for page in row["page_url"] if page in pages_to_stay]
            reason = run.why_image(row["url"], pages or row["page_url"])
            if not pages:
                kind, reason = "of a page that goes", None if reason is None else "page"
        elif row["url"] not in run.corpus:
            continue
        elif unit == "email":
            yield _email(row, run)
            continue
        else:
            reason = run.why_text(row["text"], row["url"])
        if row.get("group"):
            groups[unit, row["group"]].append(({**row, "kind": kind}, reason))
        else:
            yield _Item(unit, kind, not row["keep"], reason)
    for rows in groups.values():
        yield from _copies(rows)
    held = {row["url"] for row in truth if row["unit"] == "email"}
    copied = {row["group"] for row in truth if row["unit"] == "page" and row["url"] in held and row.get("group")}
    held |= {row["url"] for row in truth if row["unit"] == "page" and row.get("group") in copied}
    yield from (_Item("email", "good", False, "pii.email") for page in run.replaced if page in pages_to_stay - held)


def _email(row: Row, run: _Run) -> _Item:
    words = [node[name] or "" for node in run.corpus[row["url"]] for name in ("text", "caption", "alt")]
    is_there = any(row["text"] in text for text in words)
    reason = None if is_there else "pii.email" if run.replaced[row["url"]] else "page"
    return _Item("email", "email", True, reason)


def _copies(rows: list[tuple[Row, str | None]]) -> Iterable[_Item]:
    """One of the copies should stay: the one that is there, else the original. The rest have the kinds of copies."""
    kept = [row for row, _ in rows if row["keep"]]
    kinds = [row["kind"] for row, _ in rows if not row["keep"]]
    stays = next((place for place, (_, reason) in enumerate(rows) if reason is None), None)
    if kept and stays is None:
        stays = next(place for place, (row, _) in enumerate(rows) if row["keep"])
    for place, (row, reason) in enumerate(rows):
        is_kept = bool(kept) and place == stays
        yield _Item(row["unit"], kept[0]["kind"] if is_kept else kinds.pop(), not is_kept, reason)


def as_rows(kinds: Iterable[Kind]) -> list[Row]:
    """The kinds as plain values, as JSON takes them."""
    return [
        {**dataclasses.asdict(kind), "recall": kind.recall, "precision": kind.precision} for kind in kinds
    ]  # fmt: skip


def kind_lines(kinds: Iterable[Kind]) -> list[str]:
    """The kinds as a table for a terminal."""
    lines = [
        f"  {'':<26}{'should go':>9}{'went':>7}{'recall':>9}{'by its rule':>13}{'rule dropped':>14}{'precision':>11}"
    ]
    for kind in kinds:
        precision = "-" if kind.precision is None else f"{kind.precision:.3f}"
        share = f"{kind.by_rule / kind.went:.3f}" if kind.went else "-"
        lines.append(
            f"  {kind.unit:<6}{kind.kind:<20}{kind.total:>9,}{kind.went:>7,}{kind.recall:>9.3f}{share:>13}"
            f"{kind.dropped:>14,}{precision:>11}"
        )
    return lines
