"""Finds telephone numbers, payment cards and bank accounts in text.

The rules are deliberately narrow, because pages are full of numbers and a wrong replacement loses one.

    phone  "+", a country code of ITU-T E.164, 8 to 15 digits in all, in groups with one separator between them. The
           number after the code does not start with 0, except in countries such as Italy and for the customary "(0)".
           If the whole match is not a valid number, its last group of digits (a year or an hour that follows) is
           removed, then the next one, until it is.
    card   13 to 19 digits in one piece, or in the groups that are printed on cards (4-4-4-4, 4-6-5, 4-6-4), with an
           issuer's first digits and a valid check digit (Luhn, ISO/IEC 7812-1); not 13 digits with the check digit of
           an article number (EAN)
    iban   a country, two check digits and the number of characters of that country, in one piece or in groups of four,
           with remainder 1 modulo 97 (ISO 13616)

Numbers in national form ("020 7946 0958") are not found, because they look like any other number. Candidates are
bounded in length and never start inside another one, so the time is linear in the text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

Spans = Iterator[tuple[int, int]]

# Lookbehinds stand after the first character, so that `re` can jump to the next candidate.
_PHONE = re.compile(r"\+(?<![\w+]\+)[ (]?\d(?:[ \u00a0\u2009\u202f().\-\u2010-\u2013/]{0,2}\d){7,14}(?!\d)")
_PHONE_TRUNK = re.compile(r"\(0\)")
_LAST_GROUP = re.compile(r"[ \u00a0\u2009\u202f().\-\u2010-\u2013/]*\d+\Z|\A\+[ (]?\d*\Z")
_DECIMAL = re.compile(r"\+(?:[2-689]|0)\.")
"""A decimal number. No country code is one of these single digits."""
# Country calling codes of ITU-T E.164.
_COUNTRY_CODE = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|(?:2[1-69]|3[578]|42|5[09]|6[7-9]|8[0578]|9[679])\d"
)
_LEADING_ZERO = ("39", "378", "225", "229", "241", "242")  # Italy, San Marino, Côte d'Ivoire, Benin, Gabon, Congo

_CARD = re.compile(
    r"\d(?<![\w.,+]\d)(?:\d{12,18}|\d{3}[ -]\d{4}[ -]\d{4}[ -]\d{4}|\d{3}[ -]\d{6}[ -]\d{4,5})(?!\w)", re.ASCII
)
_ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}|62\d{14,17}"  # Discover, UnionPay
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
)

# The rest is in a lookahead, because another number may begin inside it.
_IBAN = re.compile(r"[A-Z](?<![A-Za-z0-9][A-Z])[A-Z]\d{2}(?=((?: ?[A-Z0-9]){11,30}))", re.ASCII)
# Length by country, from the registry of ISO 13616.
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip


def find_phones(text: str) -> Spans:
    """(start, end) of each telephone number in international form, in order."""
    if "+" not in text:
        return
    for found in _PHONE.finditer(text):
        written = found[0]
        while written and not _is_phone(written):
            written = _LAST_GROUP.sub("", written)
        if written:
            yield found.start(), found.start() + len(written)


def _is_phone(written: str) -> bool:
    if written.count("(") != written.count(")") or _DECIMAL.match(written):
        return False
    digits = "".join(character for character in _PHONE_TRUNK.sub("", written) if "0" <= character <= "9")
    found = _COUNTRY_CODE.match(digits)
    if found is None or not 8 <= len(digits) <= 15:
        return False
    code, number = found[0], digits[found.end() :]
    if code == "1":  # North America: three digits of area and three of exchange, both from 2
        return len(number) == 10 and number[0] >= "2" and number[3] >= "2"
    return not number.startswith("0") or code in _LEADING_ZERO


def find_cards(text: str) -> Spans:
    """(start, end) of each payment card number, in order."""
    found = _CARD.search(text)
    while found:
        is_card = _is_card(found[0].replace(" ", "").replace("-", ""))
        if is_card:
            yield found.span()
        # If a run of groups is not a card number, one may start inside it.
        found = _CARD.search(text, found.end() if is_card else found.start() + 4)


def _is_card(digits: str) -> bool:
    if _ISSUER.fullmatch(digits) is None or _is_article(digits):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_article(digits: str) -> bool:
    """Whether 13 digits have the check digit of an International Article Number (GS1): weights 1 and 3 alternate."""
    return len(digits) == 13 and sum(int(digit) * (1 + 2 * (place % 2)) for place, digit in enumerate(digits)) % 10 == 0


def find_ibans(text: str) -> Spans:
    """(start, end) of each international bank account number, in order."""
    for found in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(found[0][:2])
        if length is None:
            continue
        held = found[0] + found[1]
        end = _end_of(held, length)
        if end is None or text[found.start() + end : found.start() + end + 1].isalnum():
            continue
        written = held[:end]
        if _is_grouped(written) and _remainder(written.replace(" ", "")) == 1:
            yield found.start(), found.start() + end


def _end_of(written: str, length: int) -> int | None:
    """The end of the first ``length`` characters, not counting spaces; None if there are fewer."""
    places = (index for index, character in enumerate(written) if character != " ")
    last = next(itertools.islice(places, length - 1, None), None)
    return None if last is None else last + 1


def _is_grouped(written: str) -> bool:
    *whole, last = written.split(" ")
    return not whole or (len(last) <= 4 and all(len(group) == 4 for group in whole))


def _remainder(account: str) -> int:
    """The remainder of ISO 7064, modulo 97-10. The first four characters move to the end, and A is 10, B is 11 and so
    on."""
    return int("".join(str(int(character, 36)) for character in account[4:] + account[:4])) % 97
