"""A page's nodes in reading order, its text out of whatever encoding."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable

import pytest

from gobelin.transforms.decode_text import decode
from gobelin.transforms.find_nodes import PageContent, PageProblem, TextPiece, read_page
from gobelin.transforms.image_references import ImageReference

URL = "https://a.example/dir/page.html"
Page = Callable[..., bytes]


def read(payload: bytes, charset: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> PageContent:
    content = read_page(payload, charset, URL, headers)
    assert isinstance(content, PageContent)
    return content


def outline(content: PageContent) -> list[str]:
    """Each piece as a line: the text's beginning, or the picture's best address in brackets."""
    lines = []
    for piece in content.pieces:
        if isinstance(piece, TextPiece):
            lines.append(piece.text)
        else:
            lines.append(f"[{piece.candidates[0].removeprefix('https://a.example/dir/')}]")
    return lines


def test_reading_order(html_page: Page, prose: str) -> None:
    content = read(
        html_page(
            f"<p>First. {prose}</p><figure><img src=1.jpg alt='One'><figcaption>The first.</figcaption></figure>"
            f"<h2>A heading</h2><p>Second. {prose}</p><img src=2.jpg><p>Third <img src=3.jpg> and on. {prose}</p>"
            f"<ul><li>An item</li><li>Another <img src=4.jpg></li></ul><blockquote>Quoted. {prose}</blockquote>"
        )
    )
    assert [line.split(". The old")[0] for line in outline(content)] == [
        "A page", "First", "[1.jpg]", "A heading", "Second", "[2.jpg]", "Third", "[3.jpg]", "and on",
        "An item", "Another", "[4.jpg]", "Quoted",
    ]  # fmt: skip
    first = content.pieces[2]
    assert isinstance(first, ImageReference)
    assert (first.alt, first.caption) == ("One", "The first.")
    assert content.title == "A page"


@pytest.mark.parametrize(
    ("html", "middle"),
    [
        ("<picture><source srcset='l.webp 2x'><img src=s.jpg></picture>", ["[l.webp]"]),
        ("<p><picture><source srcset='l.webp 2x'><img src=s.jpg></picture></p>", ["[l.webp]"]),
        ("<a href='/big.html'><img src=a.jpg></a>", ["[a.jpg]"]),
        ("<div><div><img src=a.jpg></div></div>", ["[a.jpg]"]),
        ("<noscript><img src=a.jpg></noscript>", ["[a.jpg]"]),
        ("<img data-src=a.jpg src='data:image/gif;base64,R0lG'>", ["[a.jpg]"]),
        ("<img src='/photo?id=1'>", ["[https://a.example/photo?id=1]"]),  # no name that looks like a picture's
        ("<img src='a.php'>", ["[a.php]"]),
        ("<img src=a.jpg><img src=b.jpg>", ["[a.jpg]", "[b.jpg]"]),
        ("<img src=a.jpg><img src=a.jpg>", ["[a.jpg]", "[a.jpg]"]),
        ("<video><source src=v.mp4></video><img src=a.jpg>", ["[a.jpg]"]),
        ("<p>One line,<br>and a second.</p>", ["One line,\nand a second."]),
        ("<p>Much   white\n\n space\there.</p>", ["Much white space here."]),
        ("<p>Fish &amp; chips &#x1F41F; &lt;b&gt;</p>", ["Fish & chips 🐟 <b>"]),
        ("<table><tr><td>Left cell</td><td>Right cell</td></tr></table>", ["Left cell", "Right cell"]),
    ],
)
def test_pieces_between_two_paragraphs(html_page: Page, prose: str, html: str, middle: list[str]) -> None:
    content = read(html_page(f"<p>Before. {prose}</p>{html}<p>After. {prose}</p>"))
    lines = outline(content)
    start = next(index for index, line in enumerate(lines) if line.startswith("Before."))
    end = next(index for index, line in enumerate(lines) if line.startswith("After."))
    assert lines[start + 1 : end] == middle


def test_base_href(html_page: Page, prose: str) -> None:
    html = f"<p>{prose}</p><img src=1.jpg><p>{prose}</p>"
    for base, expected in [
        ("https://cdn.example/x/", "https://cdn.example/x/1.jpg"),
        ("/root/", "https://a.example/root/1.jpg"),
        ("javascript:x", "https://a.example/dir/1.jpg"),
        ("http://[", "https://a.example/dir/1.jpg"),
    ]:
        content = read(html_page(html, head=f'<base href="{base}">'))
        images = [piece for piece in content.pieces if isinstance(piece, ImageReference)]
        assert [image.candidates for image in images] == [(expected,)]


def test_navigation_is_left_out(html_page: Page, prose: str) -> None:
    lines = outline(read(html_page(f"<p>{prose}</p><p>{prose} Again.</p>")))
    assert not any("About" in line or "rights reserved" in line for line in lines)


@pytest.mark.parametrize(
    ("payload", "charset", "text"),
    [
        ("é".encode(), "utf-8", "é"),
        ("é".encode(), None, "é"),
        ("é".encode(), "UTF8", "é"),
        ("é".encode("latin-1"), "iso-8859-1", "é"),
        ("“é”".encode("cp1252"), "iso-8859-1", "“é”"),  # as browsers read latin-1
        ("“é”".encode("cp1252"), "us-ascii", "“é”"),
        ("“é”".encode("cp1252"), None, "“é”"),  # nothing said, and no UTF-8
        ("é".encode(), "no-such-encoding", "é"),
        ("é".encode(), "", "é"),
        ("é".encode(), "hex", "é"),  # a codec of Python's, not an encoding
        ("é".encode(), "unicode_escape", "é"),
        (b"\\ud800", "unicode_escape", "\\ud800"),
        ("é".encode(), "punycode", "é"),
        (codecs.BOM_UTF8 + "é".encode(), "iso-8859-1", "é"),
        (codecs.BOM_UTF16_LE + "é".encode("utf-16-le"), None, "é"),
        (codecs.BOM_UTF16_BE + "é".encode("utf-16-be"), "utf-8", "é"),
        ("日本語".encode("shift_jis"), "Shift_JIS", "日本語"),
        ("日本語".encode("shift_jis"), "x-sjis", "日本語"),
        ("①".encode("cp932"), "shift_jis", "①"),
        ("日本語".encode("euc_jp"), "EUC-JP", "日本語"),
        ("한국어".encode("cp949"), "ks_c_5601-1987", "한국어"),
        ("镕".encode("gbk"), "gb2312", "镕"),
        ("国".encode("gbk"), "x-gbk", "国"),
        ("ğ".encode("cp1254"), "iso-8859-9", "ğ"),
        ("привет".encode("koi8-r"), "koi8-r", "привет"),
        ("<meta charset=koi8-r>привет".encode("koi8-r"), None, "<meta charset=koi8-r>привет"),
        (
            "<meta http-equiv='Content-Type' content='text/html; charset=koi8-r'>да".encode("koi8-r"),
            None,
            "<meta http-equiv='Content-Type' content='text/html; charset=koi8-r'>да",
        ),
        (b'<meta charset="utf-16">plain', None, '<meta charset="utf-16">plain'),
        (b"", None, ""),
    ],
)
def test_decode(payload: bytes, charset: str | None, text: str) -> None:
    assert decode(payload, charset)[0] == text


@pytest.mark.parametrize(
    ("text", "encoding", "damage"),
    [
        ("Déjà vu à l’été. " * 40, "utf-8", b"\xff"),
        ("Déjà vu à l’été. " * 40, "utf-8", b"\xe2\x80"),  # a character cut in two
        ("日本語の文章です。" * 60, "shift_jis", b"\x80\xff"),
        ("这是一段中文。" * 60, "gbk", b"\xff"),
    ],
)
def test_one_bad_byte_does_not_spoil_a_page(text: str, encoding: str, damage: bytes) -> None:
    payload = text.encode(encoding)
    found, _ = decode(payload[: len(payload) // 2] + damage + payload[len(payload) // 2 :], encoding)
    same = sum(a == b for a, b in zip(found, text)) + sum(a == b for a, b in zip(reversed(found), reversed(text)))
    assert same > 0.9 * len(text)


@pytest.mark.parametrize(
    "charset", [None, "utf-8", "utf-16", "gbk", "iso-2022-jp", "unicode_escape", "utf-7", "punycode"]
)
def test_any_bytes_decode_to_text_that_utf8_can_write(charset: str | None) -> None:
    for payload in (bytes(range(256)) * 8, b"\xed\xa0\x80" * 100, b"\x00\xd8" * 100, b"\\ud800 &#xD800;" * 50):
        decode(payload, charset)[0].encode("utf-8")


def test_a_wrong_header_is_not_believed_against_all_evidence() -> None:
    """The server says UTF-8, the page is Windows-1252 throughout."""
    text = "é è à ù " * 50
    assert decode(text.encode("cp1252"), "utf-8")[0] == text


@pytest.mark.parametrize(
    "payload",
    [b"", b"  \n\t ", b"\0\0\0", b"<!-- only a comment -->", codecs.BOM_UTF8, b"<?xml version='1.0'?>"],
    ids=["empty", "blank", "nul", "comment", "bom", "declaration"],
)
def test_nothing_to_parse(payload: bytes) -> None:
    content = read_page(payload, None, URL, ())
    assert isinstance(content, PageProblem) or not content.pieces


@pytest.mark.parametrize(
    "payload",
    [
        b"<html><head><title>x</title></head></html>",
        b"<html><frameset><frame src=a.html></frameset></html>",
        b"<html><body></body></html>",
        b"<title>x",
        b"<html><body><img src=a.jpg></body></html>",
        b"<html><body>" + b"<b>" * 5000,
        bytes(range(1, 256)) * 30,
    ],
    ids=["no body", "frameset", "empty body", "cut", "only a picture", "deep", "binary"],
)
def test_odd_pages_do_not_raise(payload: bytes) -> None:
    read_page(payload, None, URL, ())


@pytest.mark.parametrize(
    "head",
    [
        b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">',
        b'\xef\xbb\xbf<?xml version="1.0" encoding="ISO-8859-1"?><html>',
        b"<html>",
        b"",
    ],
)
def test_xhtml_declarations(prose: str, head: bytes) -> None:
    content = read(head + f"<body><p>{prose} Café.</p></body></html>".encode(), "utf-8")
    assert outline(content) == [f"{prose} Café."]


def test_control_characters_and_surrogates_are_gone(html_page: Page, prose: str) -> None:
    """What XML forbids does not reach the data; nor do lone surrogates, which UTF-8 cannot write."""
    content = read(
        html_page(
            f"<p>\0\x01\x0b{prose} &#0; &#xD800; &#55357;&#56832; \x7f</p><img src='a&#xD83D;.jpg' alt='&#xDC00;'>"
        )
    )
    for piece in content.pieces:
        if isinstance(piece, TextPiece):
            piece.text.encode("utf-8")
            assert not set(piece.text) & {"\0", "\x01", "\x0b", "\x7f"}
        else:
            "".join([*piece.candidates, piece.alt or ""]).encode("utf-8")


@pytest.mark.parametrize(
    "unit", ["<div>", "<b>", "<p>x", "<table><tr><td>", "<ul><li>", "<a href=x>", "<!--", "<meta "]
)
def test_hostile_nesting_takes_seconds_at_most(unit: str) -> None:
    start = time.perf_counter()
    read_page(unit.encode() * 20_000, None, URL, ())
    assert time.perf_counter() - start < 10.0
