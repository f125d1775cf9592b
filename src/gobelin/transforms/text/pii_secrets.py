"""Finds keys and passwords in text: tokens with a known prefix, private keys, and random values in assignments.

    known prefix        keys of clouds, code hosts, package registries, payment and model services, in the formats that
                        these services publish for scanners (AKIA..., ghp_..., xoxb-..., sk_live_..., AIza...,
                        hf_...), and signed JSON web tokens
    private keys        from "-----BEGIN ... PRIVATE KEY-----" to its end, or for 16 KiB if the end is missing
    assignments         the value after "password", "secret", "token", "api_key" ... and ":" or "=", if it is one token
                        of 16 to 128 characters, with digits and letters and at least 3.5 bits per character; not a
                        call or an index ("token = next_token2(")

Not found are passwords that look like words, and keys without a mark (40 hex digits may as well be a commit). Each
pattern is bounded and is applied only where its fixed prefix occurs, so the time is linear.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

_TOKEN = "[A-Za-z0-9_-]"
_KNOWN = {
    # fixed prefix: pattern of the rest
    "AKIA": r"[0-9A-Z]{16}(?![0-9A-Za-z])",  # Amazon
    "ASIA": r"[0-9A-Z]{16}(?![0-9A-Za-z])",
    "AIza": rf"{_TOKEN}{{35}}",  # Google
    "ya29.": rf"{_TOKEN}{{20,255}}",
    "ghp_": r"[A-Za-z0-9]{36,255}",  # GitHub
    "gho_": r"[A-Za-z0-9]{36,255}",
    "ghu_": r"[A-Za-z0-9]{36,255}",
    "ghs_": r"[A-Za-z0-9]{36,255}",
    "ghr_": r"[A-Za-z0-9]{36,255}",
    "github_pat_": r"[A-Za-z0-9_]{50,255}",
    "glpat-": rf"{_TOKEN}{{20,255}}",  # GitLab
    "xoxb-": r"[A-Za-z0-9-]{20,255}",  # Slack
    "xoxp-": r"[A-Za-z0-9-]{20,255}",
    "xoxa-": r"[A-Za-z0-9-]{20,255}",
    "xoxs-": r"[A-Za-z0-9-]{20,255}",
    "sk_live_": r"[A-Za-z0-9]{16,255}",  # Stripe
    "rk_live_": r"[A-Za-z0-9]{16,255}",
    "sk-": rf"(?=[a-z-]{{0,16}}[A-Za-z0-9_]*?\d){_TOKEN}{{32,255}}",  # model services
    "hf_": r"[A-Za-z]{30,255}",  # Hugging Face
    "npm_": r"[A-Za-z0-9]{36}",
    "pypi-AgEI": rf"{_TOKEN}{{50,255}}",
    "SG.": rf"{_TOKEN}{{22}}\.{_TOKEN}{{43}}",  # SendGrid
    "dop_v1_": r"[a-f0-9]{64}",  # DigitalOcean
    "shpat_": r"[a-fA-F0-9]{32}",  # Shopify
    "eyJ": rf"{_TOKEN}{{8,2000}}\.eyJ{_TOKEN}{{8,4000}}\.{_TOKEN}{{16,1000}}",  # JSON web tokens
}
_PATTERNS = {start: re.compile(rf"(?<![A-Za-z0-9_]){re.escape(start)}{rest}") for start, rest in _KNOWN.items()}

_BEGIN = re.compile(r"-----BEGIN (?:[A-Z]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END (?:[A-Z]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_STARTS = re.compile(r"[ \t\r]*(?:\n|[A-Za-z0-9+/=]{16}|\Z)")
"""What follows the first line of a key without an end. Text that quotes that line does not match."""
MAX_KEY = 16_384
"""Maximum number of characters of a private key in which its end is searched."""

_ASSIGNED = re.compile(r"""[:=]\s{0,3}["']?([A-Za-z0-9+/_.~!@#$%^*-]{16,128})(?![A-Za-z0-9+/_.~!@#$%^*(\[-])""")
_NAME = re.compile(
    r"(?:(?:api|access|secret|private|auth|client|account)[_ -]?(?:key|secret|token)|passw(?:or)?d|passphrase|secret"
    r"|token)[_ -]{0,2}[\"']?\s{0,3}\Z",
    re.IGNORECASE,
)
_NAME_REACH = 24
"""Number of characters before the separator in which the name must end."""
MIN_BITS = 3.5
"""Bits per character. Random letters and digits of 20 characters have about 4, words 3 or less."""


def find_secrets(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each key or password. In order within each kind; finds may overlap."""
    for start, pattern in _PATTERNS.items():
        if start in text:
            for found in pattern.finditer(text):
                yield found.span()
    if "-----BEGIN " in text:
        yield from _private_keys(text)
    if "=" in text or ":" in text:
        yield from _assigned(text)


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    done = 0
    end = _END.search(text)
    for begin in _BEGIN.finditer(text):
        if begin.start() < done:
            continue
        if end and end.start() < begin.end():
            end = _END.search(text, begin.end())
        if end and end.end() <= begin.end() + MAX_KEY:
            done = end.end()
        elif _KEY_STARTS.match(text, begin.end()):
            done = min(len(text), begin.end() + MAX_KEY)
        else:
            continue
        yield begin.start(), done


def _assigned(text: str) -> Iterator[tuple[int, int]]:
    for found in _ASSIGNED.finditer(text):
        before = text[max(0, found.start() - _NAME_REACH) : found.start()]
        if _NAME.search(before) and is_random(found[1]):
            yield found.span(1)


def is_random(token: str) -> bool:
    """Whether a token has digits, letters and at least ``MIN_BITS`` bits per character."""
    has_digit = any(character.isdigit() for character in token)
    has_letter = any(character.isalpha() for character in token)
    return has_digit and has_letter and bits_a_character(token) >= MIN_BITS


def bits_a_character(token: str) -> float:
    """The entropy of a token's characters, in bits per character."""
    counts = Counter(token).values()
    return -sum(count / len(token) * math.log2(count / len(token)) for count in counts)
