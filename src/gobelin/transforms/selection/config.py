"""What enters the corpus: the recipe's section ``select``."""

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
    """What happens to personal data in texts, alternative texts, captions and titles: a placeholder takes its place
    (replace), the node that holds it goes (drop; a document's title is replaced), or it stays (keep)."""

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
    """What enters the corpus. Needs no model: it compares scores with these thresholds."""

    document: DocumentRules = dataclasses.field(default_factory=DocumentRules)
    """Rules for whole documents."""

    text: TextRules = dataclasses.field(default_factory=TextRules)
    """Rules for text nodes."""

    image: ImageRules = dataclasses.field(default_factory=ImageRules)
    """Rules for image nodes."""

    pii: PiiRules = dataclasses.field(default_factory=PiiRules)
    """What happens to personal data, kind by kind."""

    plugins: dict[str, float | None] = dataclasses.field(default_factory=dict)
    """Rules that installed packages give: name -> threshold; null: off."""

    unscored_for_safety: Literal["drop", "keep"] = "drop"
    """What happens to an image that a safety rule could not judge because no model was given."""

    def __post_init__(self) -> None:
        for section in (self.document, self.text, self.image):
            for field in dataclasses.fields(section):
                value = getattr(section, field.name)
                for each in value.values() if isinstance(value, dict) else (value,):
                    if isinstance(each, float) and not math.isfinite(each):
                        raise UserError(f"{field.name} must be a number, got {each}")
