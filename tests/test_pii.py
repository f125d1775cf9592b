"""Personal data: found where it is, nowhere else, in linear time.

Numbers are made up or published as examples; none belongs to anybody.
"""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gobelin.transforms.text.pii import (
    PLACEHOLDERS,
    Pii,
    count_pii,
    find_pii,
    kinds_in,
    replace_pii,
)
from gobelin.transforms.text.pii_secrets import MAX_KEY, bits_a_character


def replace_emails(text: str) -> tuple[str, int]:
    replaced, counts = replace_pii(text, {Pii.EMAIL})
    return replaced, counts[Pii.EMAIL]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("No address, only an @ sign.", None),
        ("Write to jo@example.org.", "Write to <EMAIL>."),
        ("jo.doe+news@mail.example.co.uk, please", "<EMAIL>, please"),
        ("<jo@example.org>", "<<EMAIL>>"),
        ("mailto:jo@example.org?subject=x", "mailto:<EMAIL>?subject=x"),
        ("(jo@example.org)(al@example.org)", "(<EMAIL>)(<EMAIL>)"),
        ("'jo@example.org'", "'<EMAIL>'"),
        ("O'Neil@example.org", "<EMAIL>"),
        ("...jo@example.org...", "...<EMAIL>..."),
        ("see jo@example.org- or call", "see <EMAIL>- or call"),
        ("jo@example.org.", "<EMAIL>."),
        ("JO_1@EXAMPLE.ORG", "<EMAIL>"),
        ("legit@example.org", "<EMAIL>"),
        ("请联系jo@example.org谢谢", "请联系<EMAIL>谢谢"),
        ("jürgen@müller.de schreibt", "<EMAIL> schreibt"),
        ("jo@xn--mller-kva.xn--p1ai", "<EMAIL>"),
        ("https://jo:secret@example.org/x", "https://jo:<EMAIL>/x"),
        ("jo@example.org@example.com", "<EMAIL>@example.com"),
        ("jo@example.org.17", "<EMAIL>.17"),
        # Not addresses.
        ("react@17.0.2", None),
        ("user@localhost", None),
        ("git clone git@example.org:a/b.git", None),
        ("icon@2x.png and photo@3x.JPEG", None),
        ("@jo on some site, https://example.org/@jo/1", None),
        ("jo@ example.org", None),
        ("jo @example.org", None),
        ("jo@-example.org", None),
        ("jo@.org", None),
        ("jo.@example.org", None),
        ("jo@example.c", None),
        ("a" * 65 + "@example.org", None),
    ],
)
def test_replace_emails(text: str, expected: str | None) -> None:
    replaced, num_found = replace_emails(text)
    assert replaced == (text if expected is None else expected)
    assert num_found == replaced.count("<EMAIL>")


def test_longest_local_part_is_found() -> None:
    assert replace_emails("a" * 64 + "@example.org") == ("<EMAIL>", 1)


@given(st.text(alphabet="ab.-@ é", max_size=60))
def test_nothing_is_left_and_nothing_else_is_touched(text: str) -> None:
    replaced, num_found = replace_emails(text)
    assert num_found == replaced.count("<EMAIL>")
    kept = replaced.split("<EMAIL>")
    assert text.startswith(kept[0])
    assert text.endswith(kept[-1])
    assert all(part in text for part in kept)


RANDOM = "x8Fk2pQ93zLm4Vn8sT1w"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Public addresses only, and no versions or sections.
        ("from 93.184.216.34:80", "from <IP>:80"),
        ("https://93.184.216.34/x", "https://<IP>/x"),
        ("93.184.216.34.", "<IP>."),
        ("10.0.0.1, 192.168.1.1, 127.0.0.1, 172.16.200.1, 169.254.169.254", None),
        ("192.0.2.100 stands in manuals", None),
        ("section 3.12.1.4, version 10.2.30.41", None),
        ("v93.184.216.34 93.184.216.34.5 93.184.216.341 256.184.216.34 93.184.216.034", None),
        ("2a00:1450:4001:81b::200e", "<IP>"),
        ("[2A00:1450:4001:81b:0:0:0:200E]:443", "[<IP>]:443"),
        ("at 2a00:1450:4001:81b::200e: gone", "at <IP>: gone"),
        ("::1 fe80::1:2:3 2001:db8::1:2:3 12:30:45 std::dead::beef a::b", None),
        # Telephone numbers in international form.
        ("+49 30 901820", "<PHONE>"),
        ("Tel.: +49 (0)30 9018-2012.", "Tel.: <PHONE>."),
        ("+44 20 7946 0958, +1 (202) 555-0143", "<PHONE>, <PHONE>"),
        ("tel:+442079460958", "tel:<PHONE>"),
        ("+39 06 698 12345", "<PHONE>"),
        ("+7 495 123-45-67", "<PHONE>"),
        ("+886\u00a02\u00a01234\u00a05678", "<PHONE>"),
        ("+1 123 555 0143", None),  # no area has that code
        ("+20 000 000 people", None),
        ("+49 1234", None),
        ("+83 1234 5678", None),
        ("030 901820, 020 7946 0958", None),
        ("x+4930901820123, 1+4930901820123", None),
        ("+49 30 9018201234567890", None),
        ("call +1-800-555-0199 24/7", "call <PHONE> 24/7"),
        ("+1 202 555 0143 2024 and +44 20 7946 0958 2024", "<PHONE> 2024 and <PHONE> 2024"),
        ("+1.202.555.0143, +44.2079460958", "<PHONE>, <PHONE>"),
        ("+3.14159265, +2.99792458e8, x = +6.62607015", None),
        # Cards: issuer, length, check digit, shape.
        ("4111 1111 1111 1111", "<CARD>"),
        ("card 4111-1111-1111-1111 12/27", "card <CARD> 12/27"),
        ("1234 4111 1111 1111 1111", "1234 <CARD>"),
        ("4111111111111111", "<CARD>"),
        ("3782 822463 10005", "<CARD>"),
        ("5555555555554444 and 6011111111111117", "<CARD> and <CARD>"),
        ("4111 1111 1111 1112", None),
        ("0000 0000 0000 0000", None),
        ("9111111111111111", None),
        ("41 11 11 11 11 11 11 11", None),
        ("0.4111111111111111", None),
        ("id4111111111111111", None),
        ("4222222222222", "<CARD>"),
        ("EAN 4000000000006 and 4050000000100", None),  # articles, whose digits pass Luhn's check too
        # Accounts: country, length, remainder.
        ("DE89 3704 0044 0532 0130 00", "<IBAN>"),
        ("IBAN: GB82WEST12345698765432.", "IBAN: <IBAN>."),
        ("NL91ABNA0417164300 BIC", "<IBAN> BIC"),
        ("FR14 2004 1010 0505 0001 3M02 606 Paris", "<IBAN> Paris"),
        ("DE89 3704 0044 0532 0130 00 GB82WEST12345698765432 and", "<IBAN> <IBAN> and"),
        ("AB12 DE89 3704 0044 0532 0130 00", "AB12 <IBAN>"),
        ("DE89 3704 0044 0532 0130 01", None),
        ("XX89 3704 0044 0532 0130 00", None),
        ("DE89370400440532013000A", None),
        ("DE89 370400440532013000", None),
        ("de89370400440532013000", None),
        # Keys.
        ("AKIAIOSFODNN7EXAMPLE", "<SECRET>"),
        ("export GITHUB=ghp_" + "a1B2" * 9, "export GITHUB=<SECRET>"),
        ("xoxb-1234567890-abcdefghijkl", "<SECRET>"),
        ("hf_" + "abCdeFghIj" * 3, "<SECRET>"),
        ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4", "Bearer <SECRET>"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc-def\n-----END RSA PRIVATE KEY----- and", "<SECRET> and"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nxyz", "<SECRET>"),
        ("-----BEGIN PRIVATE KEY----- MIIEvQIBADANBgkqhkiG9w0B AQEF", "<SECRET>"),
        (
            "-----BEGIN PRIVATE KEY-----a-----END PRIVATE KEY----- b -----BEGIN PRIVATE KEY-----\nc",
            "<SECRET> b <SECRET>",
        ),
        ("The file starts with -----BEGIN PRIVATE KEY----- and ends later.", None),
        (f'password = "{RANDOM}"', 'password = "<SECRET>"'),
        (f"API_KEY: {RANDOM}", "API_KEY: <SECRET>"),
        (f"?access_token={RANDOM}&x=1", "?access_token=<SECRET>&x=1"),
        ("-----BEGIN PUBLIC KEY-----\nabc", None),
        ("password: correct-horse-battery-staple", None),
        ("token = getTokenFromServer2Response(x)", None),
        ("secret = settings.secrets_by_name2[name]", None),
        ("token: 1111111111111111111a", None),
        (f"commit: {RANDOM}", None),
        (f"secrets are {RANDOM}", None),
        ("task-1234, risk-averse-and-other-words-of-some-length-are-none", None),
        ("ghp_short AKIA123", None),
    ],
)
def test_replace_pii(text: str, expected: str | None) -> None:
    replaced, counts = replace_pii(text)
    assert replaced == (text if expected is None else expected)
    assert counts == count_pii(text)
    assert sum(counts.values()) == sum(replaced.count(placeholder) for placeholder in PLACEHOLDERS.values())


def test_each_kind_can_be_looked_for_alone() -> None:
    text = "jo@example.org, +49 30 901820, 93.184.216.34"
    assert replace_pii(text, {Pii.PHONE}) == ("jo@example.org, <PHONE>, 93.184.216.34", {Pii.PHONE: 1})
    assert replace_pii(text, ()) == (text, {})


def test_what_overlaps_is_replaced_once() -> None:
    text = f"token={RANDOM}@example.org"
    (span,) = find_pii(text)
    assert text[span[0] : span[1]] == text.partition("=")[2]


def test_a_private_key_without_an_end_takes_no_more_than_its_limit() -> None:
    text = "-----BEGIN PRIVATE KEY-----" + "a" * (2 * MAX_KEY)
    replaced, counts = replace_pii(text)
    assert counts == {Pii.SECRET: 1}
    assert len(replaced) == len("<SECRET>") + MAX_KEY


@pytest.mark.parametrize(("token", "bits"), [("aaaa", 0.0), ("abab", 1.0), ("abcd", 2.0)])
def test_bits_a_character(token: str, bits: float) -> None:
    assert bits_a_character(token) == bits


@given(st.text(alphabet="+149 0-.:@aDE=", max_size=80))
def test_replacing_leaves_nothing_to_find(text: str) -> None:
    replaced, _ = replace_pii(text)
    spans = find_pii(text)
    assert all(start < end for start, end, _ in spans)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert len(replaced) == len(text) + sum(len(PLACEHOLDERS[kind]) - (end - start) for start, end, kind in spans)


HOSTILE = [
    "a.", "x@a-", "@", "a@", "a@a.", "a@b.co", "@a.", "-@-", "a" * 64 + "@", "a@" + "a." * 127, ".", "'@'",
    "1 ", "1-1 ", "1.", "1.1.1.1 ", "111.1.1.1 ", "+", "+1 ", "+49 1", "+12345678901 ", "::", "a::a ", "1:1:1:1 ",
    "DE00 ", "DE00", "AA00A", "4111 1111 1111 1111 ", "4", "eyJ", "eyJa.", "eyJ" + "a" * 9 + ".", "sk-", "sk-a", "AKIA",
    "ghp_a", "token=", "token=a1", f"password:{RANDOM} ", "=", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "SG.",
    "hf_", "'\"= ", "token : ", "\u0660",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """A megabyte in a second: about half of it on a quiet machine for the worst of these."""
    text = unit * (500_000 // len(unit))
    start = time.process_time()
    count_pii(text)
    assert time.process_time() - start < 5.0


PIECES = st.sampled_from(
    ["jo@example.org", "+49 30 901820", "93.184.216.34", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "AKIA",
     "IOSFODNN7EXAMPLE", f"token: {RANDOM}", "password", "=", ":", RANDOM, " ", "-----BEGIN PRIVATE KEY-----", "a", "1"]
)  # fmt: skip


@given(st.lists(st.lists(PIECES, max_size=4).map("".join), max_size=5))
def test_a_document_is_asked_first(texts: list[str]) -> None:
    """What one of its texts holds is of a kind that the texts together hold."""
    kinds = set(kinds_in("\n\n".join(texts)))
    assert all(set(count_pii(text)) <= kinds for text in texts)
    assert set(kinds_in("\n\n".join(texts), {Pii.EMAIL})) == kinds & {Pii.EMAIL}
