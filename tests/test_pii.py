"""E-mail addresses: found where they are, nowhere else, in linear time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gobelin.transforms.pii import PLACEHOLDER, count_emails, replace_emails


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
        ("请联系jo@example.org谢谢", "请联系<EMAIL>谢谢"),
        ("jürgen@müller.de schreibt", "<EMAIL> schreibt"),
        ("jo@xn--mller-kva.xn--p1ai", "<EMAIL>"),
        ("https://jo:secret@example.org/x", "https://jo:<EMAIL>/x"),
        ("jo@example.org@example.com", "<EMAIL>@example.com"),
        ("jo@example.org.17", "<EMAIL>.17"),
        # Not addresses.
        ("react@17.0.2", None),
        ("user@localhost", None),
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
    assert num_found == replaced.count(PLACEHOLDER) == count_emails(text)


def test_longest_local_part_is_found() -> None:
    assert replace_emails("a" * 64 + "@example.org") == ("<EMAIL>", 1)
    assert replace_emails("jo@example.org", "[mail]") == ("[mail]", 1)


@given(st.text(alphabet="ab.-@ é", max_size=60))
def test_nothing_is_left_and_nothing_else_is_touched(text: str) -> None:
    replaced, num_found = replace_emails(text, "\0")
    assert count_emails(text) == num_found == replaced.count("\0")
    kept = replaced.split("\0")
    assert text.startswith(kept[0])
    assert text.endswith(kept[-1])
    assert all(part in text for part in kept)


@pytest.mark.parametrize(
    "unit", ["a.", "x@a-", "@", "a@", "a@a.", "a@b.co", "@a.", "-@-", "a" * 64 + "@", "a@" + "a." * 127, ".", "'@'"]
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    count_emails(text)
    assert time.process_time() - start < 3.0
