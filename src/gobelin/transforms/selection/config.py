"""Settings of the recipe's section ``select``: which documents and nodes enter the corpus."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from gobelin.errors import UserError
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules, TextRules

PiiAction = Literal["replace", "drop", "keep"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PiiRules:
    """The treatment of personal data in texts, alt texts, captions and titles: replace it by a placeholder (replace),
    drop the node that holds it (drop; in a document's title it is replaced), or keep it (keep)."""

    email: PiiAction = "replace"
    """E-mail addresses: <EMAIL>."""

    ip: PiiAction = "replace"
    """Public IP addresses: <IP>."""

    phone: PiiAction = "replace"
    """Telephone numbers in international form: <PHONE>."""

    card: PiiAction = "replace"
    """Payment card numbers: <CARD>."""

    iban: PiiAction = "replace"
    """Bank account numbers: <IBAN>."""

    secret: PiiAction = "replace"
    """Keys and passwords: <SECRET>."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SelectConfig:
    """Which documents and nodes enter the corpus. Needs no model: it compares scores with these thresholds."""

    document: DocumentRules = dataclasses.field(default_factory=DocumentRules)
    """Rules for whole documents."""

    text: TextRules = dataclasses.field(default_factory=TextRules)
    """Rules for text nodes."""

    image: ImageRules = dataclasses.field(default_factory=ImageRules)
    """Rules for image nodes."""

    pii: PiiRules = dataclasses.field(default_factory=PiiRules)
    """The treatment of personal data, by kind."""

    plugins: dict[str, float | None] = dataclasses.field(default_factory=dict)
    """Rules of installed packages: name -> threshold; null: off."""

    unscored_for_safety: Literal["drop", "keep"] = "drop"
    """What happens to an image that a safety rule could not judge because the score is missing."""

    def __post_init__(self) -> None:
        for section in (self.document, self.text, self.image):
            for field in dataclasses.fields(section):
                value = getattr(section, field.name)
                for each in value.values() if isinstance(value, dict) else (value,):
                    if isinstance(each, float) and not math.isfinite(each):
                        raise UserError(f"{field.name} must be a number, got {each}")
