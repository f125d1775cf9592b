"""Words in URLs: whole words only, however they are written."""

import pytest

from gobelin.transforms.url_words import banned_word, url_words

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


def test_url_words() -> None:
    assert url_words("https://cdn.img.example.org/aB/siteLogo-2x.PNG?v=3") == {
        "cdn", "img", "a", "b", "site", "logo", "x", "png",
    }  # fmt: skip
