"""Finds, counts or replaces personal data in text. The values themselves are stored nowhere.

Kinds: e-mail addresses (pii_emails.py), public IP addresses (pii_ips.py), telephone numbers, payment cards, bank
accounts (pii_numbers.py), keys and passwords (pii_secrets.py). Where two overlap, the longer one counts, then the
first of ``Pii``.

Every scanner is linear in the text, whatever it holds; a text without "@", digits or ":" costs next to nothing.
Names of people and postal addresses are not looked for: that takes a model for each language.

Cost: about 18 MB of prose per second and core text by text, 26 where a whole document is asked first (``kinds_in``).
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Collection, Iterator

from gobelin.transforms.text.pii_emails import find_emails
from gobelin.transforms.text.pii_ips import find_ips
from gobelin.transforms.text.pii_numbers import find_cards, find_ibans, find_phones
from gobelin.transforms.text.pii_secrets import find_secrets


class Pii(enum.StrEnum):
    """Kinds of personal data."""

    SECRET = "secret"
    EMAIL = "email"
    IBAN = "iban"
    CARD = "card"
    PHONE = "phone"
    IP = "ip"


ALL = frozenset(Pii)

PLACEHOLDERS = {kind: f"<{kind.upper()}>" for kind in Pii}
"""What stands in the place of a value; plain text, so a tokenizer needs no special token."""

COLUMNS = {kind: f"num_{kind}s" for kind in Pii}
"""Score column of each kind."""

_FINDERS: dict[Pii, Callable[[str], Iterator[tuple[int, int]]]] = {
    Pii.SECRET: find_secrets,
    Pii.EMAIL: find_emails,
    Pii.IBAN: find_ibans,
    Pii.CARD: find_cards,
    Pii.PHONE: find_phones,
    Pii.IP: find_ips,
}


def find_pii(text: str, kinds: Collection[Pii] = ALL) -> list[tuple[int, int, Pii]]:
    """Start, end and kind of each find, in order, not overlapping."""
    if not kinds:
        return []
    found = []
    for rank, kind in enumerate(Pii):
        if kind in kinds:
            found += [(start, start - end, rank, end, kind) for start, end in _FINDERS[kind](text)]
    found.sort()
    spans: list[tuple[int, int, Pii]] = []
    for start, _, _, end, kind in found:
        if not spans or start >= spans[-1][1]:
            spans.append((start, end, kind))
    return spans


def kinds_in(text: str, kinds: Collection[Pii] = ALL) -> list[Pii]:
    """The kinds of personal data that a text may hold. It is asked first, of all texts of a document, joined by line
    breaks: most hold nothing, and need not be gone through one by one."""
    return [kind for kind in Pii if kind in kinds and next(iter(_FINDERS[kind](text)), None) is not None]


def count_pii(text: str, kinds: Collection[Pii] = ALL) -> Counter[Pii]:
    """How many finds of each kind there are; no entry where there are none."""
    return Counter(kind for _, _, kind in find_pii(text, kinds))


def replace_pii(text: str, kinds: Collection[Pii] = ALL) -> tuple[str, Counter[Pii]]:
    """The text with every find replaced by its placeholder, and how many there were of each kind."""
    parts = []
    done = 0
    counts: Counter[Pii] = Counter()
    for start, end, kind in find_pii(text, kinds):
        parts += [text[done:start], PLACEHOLDERS[kind]]
        done = end
        counts[kind] += 1
    return "".join(parts) + text[done:], counts
