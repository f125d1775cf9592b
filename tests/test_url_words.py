"""Words in URLs: whole words only, however they are written."""

import time

import pytest

from gobelin.transforms.selection.url_words import banned_word, url_words

BANNED = ("logo", "button", "icon", "plugin", "widget", "porn", "xxx", "sex")
SITE = "https://www.example.org"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        # What a search for substrings hits by mistake.
        (f"{SITE}/essex/coast.jpg", None),
        (f"{SITE}/Middlesex.jpg", None),
        (f"{SITE}/unisex-coat.jpg", None),
        (f"{SITE}/silicon-valley.png", None),
        (f"{SITE}/iconic.jpg", None),
        (f"{SITE}/lexicon.png", None),
        (f"{SITE}/catalogo/silla.jpg", None),
        (f"{SITE}/buttonwood-tree.jpg", None),
        (f"{SITE}/wp-content/uploads/2019/07/harbour.jpg", None),
        ("https://button.org/harbour.jpg", None),
        ("https://sex-museum.nl/harbour.jpg", None),
        (f"{SITE}/photo.php?from=widget", None),
        (f"{SITE}/photo.php?theme=/widget/", None),
        (f"{SITE}/sex%C3%A5rig.jpg", None),
        (f"{SITE}/sexårig.jpg", None),
        (f"{SITE}/sex%E5rig.jpg", None),  # Latin-1: a letter that cannot be told
        (f"{SITE}/logo%CC%81n.png", None),  # a letter and its accent as two characters
        (f"{SITE}/iconografía.png", None),
        ("https://logo.co.uk/harbour.jpg", None),
        ("data:image/icon;sha256=ad0sex0logo", None),
        # What it should hit, and what it misses for its case.
        (f"{SITE}/logo.png", "logo"),
        (f"{SITE}/LOGO.png", "logo"),
        (f"{SITE}/img/siteLogo.svg", "logo"),
        (f"{SITE}/img/siteLogo2x.svg", "logo"),
        (f"{SITE}/img/XMLIcon.gif", "icon"),
        (f"{SITE}/img/HTMLicon.gif", None),  # capitals run into small letters: not to be told from one word
        (f"{SITE}/logo_2019-final.jpg", "logo"),
        (f"{SITE}/logo200x60.jpg", "logo"),
        (f"{SITE}/site%20logo.jpg", "logo"),
        (f"{SITE}/icons/arrow.gif", "icon"),
        (f"{SITE}/Buttons/buy.gif", "button"),
        (f"{SITE}/wp-content/plugins/share/images/loading.gif", "plugin"),
        (f"{SITE}/social-widgets/a.png", "widget"),
        ("https://logo.example.org/acme", "logo"),
        ("https://xxx.example.org/1.jpg", "xxx"),
        ("https://icons.example.co.uk/1.jpg", "icon"),
        (f"{SITE}/LOGOs.png", "logo"),
        (f"{SITE}/SiteLOGO.png", "logo"),
        (f"{SITE}/%6C%6F%67%6F.png", "logo"),
        (f"{SITE}/%EF%BC%AC%EF%BC%AF%EF%BC%A7%EF%BC%AF.png", "logo"),  # full-width letters
        (f"{SITE}/标志logo.png", "logo"),
        (f"{SITE}/ÉcoLogo.png", "logo"),
        (f"{SITE}/_next/image?url=%2Fstatic%2Flogo.png&w=640", "logo"),
        (f"{SITE}/resize?w=100&src=https://cdn.example.com/img/icons/a.SVG", "icon"),
        (f"{SITE}/resize?src=logo.png%3Fv=2", "logo"),
        (f"{SITE}/resize?src=https://logo.example.com/a.png", None),
        # Both: the first of the list, not of the URL.
        (f"{SITE}/icons/logo.png", "logo"),
        # Not quite URLs.
        ("", None),
        ("http://[", None),
        ("sha256:0123456789abcdef", None),
        ("images/logo.png", "logo"),
        (f"{SITE}/标志.png", None),
    ],
)
def test_banned_word(url: str, expected: str | None) -> None:
    assert banned_word(url, BANNED) == expected


def test_plurals() -> None:
    assert banned_word(f"{SITE}/ad-boxes/1.png", ["box"]) == "box"
    assert banned_word(f"{SITE}/galleries/1.png", ["Gallery"]) == "Gallery"
    assert banned_word(f"{SITE}/logos.png", []) is None


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("sitelogo", {"sitelogo"}),
        ("SITELOGO", {"sitelogo"}),
        ("siteLogo", {"site", "logo"}),
        ("XMLIcon", {"xml", "icon"}),
        ("LOGOs", {"logos"}),
        ("ABsC", {"a", "bs", "c"}),
        ("aB", {"a", "b"}),
        ("标志A图", {"标志", "a", "图"}),
        ("ÉcoLogo", {"éco", "logo"}),
        ("ÀÉÎ", {"àéî"}),
        ("i18nB2B", {"i", "n", "b"}),
    ],
)
def test_words_of_a_name(written: str, words: set[str]) -> None:
    assert url_words(f"https://example.org/{written}") == words


def test_long_addresses_take_linear_time() -> None:
    start = time.perf_counter()
    for text in ("aA" * 100_000, "%" * 200_000, "?" + "&=" * 100_000, "?a=" + "/" * 200_000, "é" * 200_000):
        assert banned_word(f"{SITE}/{text}", BANNED) is None
    assert time.perf_counter() - start < 10.0


def test_url_words() -> None:
    assert url_words("https://cdn.img.example.org/aB/siteLogo-2x.PNG?v=3") == {
        "cdn", "img", "a", "b", "site", "logo", "x", "png",
    }  # fmt: skip
