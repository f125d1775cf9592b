"""Adds a page of the documentation to the few messages that a newcomer often meets."""

from __future__ import annotations

PAGES = {
    "docs/common-crawl.md": ("file, which holds no pages, but",),
    "docs/fetching.md": ("contact must be a web page",),
    "docs/model-scores.md": ("names no weights, and random ones are never used", "open_clip has no architecture"),
    "docs/recipes.md": ("nothing can be kept: select.", "the recipe's CLIP thresholds hold for", ": unknown key "),
    "docs/tokenizers.md": ("too few to fit an image tokenizer on", "is of no layout of an image tokenizer"),
    "docs/training.md": ("training stopped at step", "was tokenized with other tokenizers than this run"),
    "docs/troubleshooting.md": (
        "the recipe kept no document, so there is nothing to tokenize", "(out of memory?)"
    ),
}  # fmt: skip
"""Page -> words of messages."""


def with_page(message: str) -> str:
    """A message whose first line is followed by a helpful page, if there is one and the message names none."""
    if "docs/" in message:
        return message
    page = next((page for page, parts in PAGES.items() if any(part in message for part in parts)), None)
    first, newline, rest = message.partition("\n")
    return message if page is None else f"{first} (see {page}){newline}{rest}"
