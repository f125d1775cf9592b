"""Finds, counts or replaces personal data in text. The values themselves are never stored.

Kinds: e-mail addresses (pii_emails.py), public IP addresses (pii_ips.py), telephone numbers, payment cards, bank
accounts (pii_numbers.py), keys and passwords (pii_secrets.py). If two finds overlap, the one that starts first counts,
then the longer one, then the first in the order of ``Pii``.

Each scanner is linear in the text, and a text without "@", digits or ":" takes almost no time. Names of people and
postal addresses are not searched, because that needs a model for each language.

Cost: about 18 MB of prose per second and core text by text; 26 MB if a whole document is checked first (``kinds_in``).
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
"""The replacement of each kind. It is plain text, so a tokenizer needs no special token."""

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
    """(start, end, kind) of each find, in order, without overlaps."""
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
    """The kinds of personal data that a text may hold. Call it first with all texts of a document joined by line
    breaks. Most documents hold none, and then their texts need not be searched one by one."""
    return [kind for kind in Pii if kind in kinds and next(iter(_FINDERS[kind](text)), None) is not None]


def count_pii(text: str, kinds: Collection[Pii] = ALL) -> Counter[Pii]:
    """The number of finds of each kind; kinds without finds have no entry."""
    return Counter(kind for _, _, kind in find_pii(text, kinds))


def replace_pii(text: str, kinds: Collection[Pii] = ALL) -> tuple[str, Counter[Pii]]:
    """The text with placeholders for all finds, and the number of finds of each kind."""
    parts = []
    done = 0
    counts: Counter[Pii] = Counter()
    for start, end, kind in find_pii(text, kinds):
        parts += [text[done:start], PLACEHOLDERS[kind]]
        done = end
        counts[kind] += 1
    return "".join(parts) + text[done:], counts
