"""A page's nodes in reading order, its text out of whatever encoding."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable

import pytest

from gobelin.data.model import Role
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.decode_text import decode
from gobelin.transforms.pages.tree.find_nodes import PageContent, PageProblem, TextPiece, read_page
from gobelin.transforms.pages.tree.parse_html import MAX_TAGS

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
    text = "L'été, à l'écluse où la grève est déjà très fréquentée, " * 9
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


HOSTILE = {
    "no tag at all": b"<p>" + b"a" * 3_000_000,
    "words and no tag": b"<p>" + b"ab " * 1_000_000,
    "divs in divs": b"<div>" * 100_000,
    "bold in bold": b"<b>x " * 100_000,
    "tables in tables": b"<table><tr><td>" * 60_000,
    "lists in lists": b"<ul><li>" * 100_000,
    "links in links": b"<a href=x>" * 100_000,
    "no closing tags": b"<p>x" * 100_000,
    "tiny elements": b"<i>a</i>" * 100_000,
    "empty lines": b"a<br>" * 100_000,
    "headings that are links": b"<h2><a href=x>title</a></h2><p>text. " * 20_000,
    "articles in articles": b"<article>words of it. " * 50_000,
    "boilerplate in boilerplate": b"<div class=lightbox><img src=a.jpg>" * 20_000,
    "attributes of one tag": b"<p " + b" ".join(b"a%d" % n for n in range(300_000)) + b">text",
    "attributes of many tags": (b"<p " + b" ".join(b"a%d" % n for n in range(9_999)) + b">text ") * 100,
    "one long attribute": b"<p class='" + b"aB " * 1_000_000 + b"'>text",
    "names without end": b"".join(b"<div class='c%d-x'>t</div>" % n for n in range(50_000)),
    "open comment": b"<!--" * 1_000_000,
    "entities": b"&amp;" * 1_000_000,
    "entity bomb": b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]><p>' + b"&b;" * 500_000,
    "one paragraph": b"<p>" + b"word " * 2_000_000,
    "open script": b"<script>" + b"<a " * 200_000,
    "brackets": b"<" * 200_000,
    "zeros": bytes(10_000_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_take_seconds_at_most(name: str) -> None:
    start = time.process_time()
    outcome = read_page(HOSTILE[name], None, URL, ())
    assert isinstance(outcome, PageContent | PageProblem)
    assert time.process_time() - start < 8.0  # 4 on a quiet machine


def test_more_tags_than_any_page_has_are_a_decision() -> None:
    outcome = read_page(b"<b>" * (MAX_TAGS + 1), None, URL, ())
    assert isinstance(outcome, PageProblem)
    assert (outcome.rule, outcome.value, outcome.threshold) == ("page_tags", MAX_TAGS + 1, MAX_TAGS)


@pytest.mark.parametrize("tag", ["div", "b", "font", "center", "span", "ul"])
@pytest.mark.parametrize("times", [300, 3000])
def test_text_below_tags_that_were_never_closed_is_not_lost(prose: str, tag: str, times: int) -> None:
    """The parser itself gives up below 2,048 open elements."""
    content = read(f"<p>First. {prose}</p>{f'<{tag}>' * times}<p>Deep. {prose}</p><img src=a.jpg>{prose}".encode())
    lines = outline(content)
    assert any(line.startswith("First.") for line in lines)
    assert any("Deep." in line for line in lines)
    assert "[a.jpg]" in lines


def test_many_attributes_are_taken_from_their_tag_only(prose: str) -> None:
    tag = b"<p " + b" ".join(b'a%d="b > c"' % n for n in range(20_000)) + b">"
    assert outline(read(b"<article>" + tag + f"{prose}</p><p>{prose} End.</p></article>".encode())) == [
        prose, f"{prose} End.",
    ]  # fmt: skip


RUSSIAN = "Старый порт лежит за рыночным залом, и по утрам лодки приходят до восхода солнца, говорят люди."
CHARSETS = {
    "windows-1251": RUSSIAN,
    "koi8-r": RUSSIAN,
    "shift_jis": "古い港は市場の裏にあり、ほとんどの朝、太陽が昇る前に船が入ってくる。水の上の光は二日と同じではない。",
    "euc-jp": "古い港は市場の裏にあり、ほとんどの朝、太陽が昇る前に船が入ってくる。水の上の光は二日と同じではない。",
    "gb18030": "旧港口位于市场大厅后面，大多数早晨，船只在太阳升起之前进港。在这里住了很久的人说光线从来没有两天一样。",
    "big5": "舊港口位於市場大廳後面，大多數早晨，船隻在太陽升起之前進港。在這裡住了很久的人說光線從來沒有兩天一樣。",
    "euc-kr": "오래된 항구는 시장 뒤에 있으며 대부분의 아침에는 해가 뜨기 전에 배가 들어온다. 빛이 같지 않다.",
    "windows-1250": "Stary port leży za halą targową, a łodzie „przypływają” przed wschodem słońca. Światło.",
    "windows-1256": "يقع الميناء القديم خلف قاعة السوق، وفي معظم الصباحات تدخل القوارب قبل شروق الشمس. يقول الناس ذلك.",
    "utf-16-le": RUSSIAN,
    "utf-16-be": RUSSIAN,
}


@pytest.mark.parametrize("encoding", CHARSETS)
@pytest.mark.parametrize("declared", [None, "utf-8"])
def test_pages_that_declare_nothing_or_something_else(encoding: str, declared: str | None) -> None:
    page = f"<html><head><title>x</title></head><body><div class=a><p>{CHARSETS[encoding]}</p></div></body></html>"
    assert decode(page.encode(encoding), declared)[0] == page


@pytest.mark.parametrize("declared", ["iso-8859-1", "windows-1251", "shift_jis", None])
def test_valid_utf8_is_utf8_whatever_was_declared(declared: str | None) -> None:
    page = f"<p>{RUSSIAN}</p>"
    assert decode(page.encode(), declared) == (page, "utf-8")


def test_a_few_letters_in_a_page_of_markup_decide_its_charset() -> None:
    """Unreadable characters are counted among those outside ASCII, not among all of the page's."""
    page = "<div class=a></div>" * 2000 + "Café, Straße, naïve."
    assert decode(page.encode("cp1252"), None) == (page, "windows-1252")


@pytest.mark.parametrize(
    ("head", "body", "title"),
    [
        ("<title> A \n title </title>", "<h1>Other</h1>", "A title"),
        ("<title></title><meta property=og:title content='Of the graph'>", "<h1>Other</h1>", "Of the graph"),
        ("", "<h1>The <b>only</b> one</h1>", "The only one"),
        ("", "<svg><title>Icon</title></svg><p>Text", None),
    ],
)
def test_title(head: str, body: str, title: str | None) -> None:
    assert read(f"<html><head>{head}</head><body>{body}</body></html>".encode()).title == title


@pytest.mark.parametrize("body", ["", "<body>"])
@pytest.mark.parametrize("tag", ["article", "main", "section", "x-page", "div"])
def test_a_page_may_leave_out_its_head_and_body(tag: str, body: str) -> None:
    """As HTML allows; what comes first in the body ends the head, whatever its name."""
    first, second = (
        f"The ferry leaves at {hour} and comes back in the evening with fish and news. " * 6 for hour in "95"
    )
    for head in ("<title>A page</title>", "<!doctype html><html lang=en><meta charset=utf-8><title>A page</title>"):
        source = f"{head}{body}<{tag}><h1>The ferry</h1><p>{first}</p><img src=a.png><p>{second}</p></{tag}>"
        content = read_page(source.encode(), None, "https://a.example/", ())
        assert isinstance(content, PageContent)
        assert content.title == "A page"
        assert [getattr(piece, "text", "image")[:9] for piece in content.pieces] == [
            "The ferry", "The ferry", "image", "The ferry",
        ]  # fmt: skip


ICON = "<img src=i.png width=16 height=16>"


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        (f"<p>Press the button {ICON} to keep the picture.", ["Press the button to keep the picture."]),
        (f"<p>Press {ICON}, then {ICON}{ICON} and wait for it.", ["Press, then and wait for it."]),
        (f"<ul><li>Open <b>File</b> {ICON} <i>New</i> for it.</ul>", ["Open File New for it."]),
        (f"<p>按下按钮{ICON}保存图片。", ["按下按钮保存图片。"]),
        (f"<p>The first line ends.<br><br>{ICON} The second line.", ["The first line ends.", "The second line."]),
        (f"<p>The first paragraph.</p>{ICON}<p>The second one.", ["The first paragraph.", "The second one."]),
        (f"<p>The first paragraph.</p>{ICON} Words beside it.", ["The first paragraph.", "Words beside it."]),
        ("<p>Look at <img src=a.jpg width=600 height=400> this.", ["Look at", "[a.jpg]", "this."]),
    ],
)  # fmt: skip
def test_a_sentence_is_whole_where_an_icon_in_it_is_left_out(prose: str, line: str, texts: list[str]) -> None:
    head = "<meta property=og:type content=article><title>Keeping pictures</title>"
    html = f"<html><head>{head}</head><body><article><p>{prose}</p>{line}<p>{prose} Again.</p></article>"
    lines = outline(read(html.encode()))
    assert lines[1:-1] == texts


@pytest.mark.parametrize(
    ("table", "roles"),
    [
        ("<tr><td rowspan=2> </td><th>Note</th></tr><tr><td>It is so.</td></tr>", ["paragraph", "paragraph"]),
        ("<tr><th>Note</th></tr><tr><td><img src=i.png></td><td>So.</td></tr>", ["paragraph", None, "paragraph"]),
        ("<tr><th>Name</th><th>Size</th></tr><tr><td>ant</td><td>4 mm</td></tr>", ["table"]),
        ("<tr><td>Name</td><td></td></tr><tr><td>ant</td><td></td></tr><tr><td>bee</td><td></td></tr>", ["table"]),
    ],
)  # fmt: skip
def test_a_box_of_one_column_is_no_table(prose: str, table: str, roles: list[str | None]) -> None:
    html = f"<html><body><article><p>{prose}</p><table>{table}</table><p>{prose} Again.</p></article>"
    pieces = read(html.encode()).pieces[1:-1]
    assert [piece.role.value if isinstance(piece, TextPiece) else None for piece in pieces] == roles


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ("<li>one<li>two", ["- one", "- two"]),
        ("<li><p>one</p><p>more</p><pre>code</pre><p>again</p></li><li>two",
         ["- one", "more", "code", "again", "- two"]),
        ("<li><b>one</b><br><br>more<ul><li>deep<div>below</div></ul>again<li>two",
         ["- one", "more", "-- deep", "below", "again", "- two"]),
        ("<li><ul><li>deep</ul>one<p>more", ["-- deep", "- one", "more"]),
        ("<li>one <img src=a.jpg width=600 height=400> and on", ["- one", "and on"]),
        ("<p>one<p>two", ["one", "two"]),
    ],
)  # fmt: skip
def test_only_the_first_text_of_a_list_item_is_an_item(prose: str, items: str, told: list[str]) -> None:
    html = f"<html><body><article><p>{prose}</p><ul>{items}</ul><p>{prose} Again.</p></article>"
    pieces = [piece for piece in read(html.encode()).pieces[1:-1] if isinstance(piece, TextPiece)]
    bullets = ["-" * (piece.level or 0) + " " if piece.role is Role.LIST_ITEM else "" for piece in pieces]
    assert [bullet + piece.text for bullet, piece in zip(bullets, pieces, strict=True)] == told


def test_how_long_a_generator_ran_is_no_text(prose: str) -> None:
    line = "<p><strong>Total running time of the script:</strong> ( 0 minutes 0.129 seconds)</p>"
    other = "<p>Its total running time of the script is what we measure in this chapter, and it is short enough.</p>"
    lines = outline(read(f"<html><body><article><p>{prose}</p>{other}<p>{prose} Again.</p>{line}</article>".encode()))
    assert len(lines) == 3
    assert not any(each.startswith("Total") for each in lines)


@pytest.mark.parametrize(
    ("label", "is_text"),
    [
        ("On this page", False),
        ("Table of Contents", False),
        ("Toggle table of contents sidebar", False),
        ("Edit on GitHub", False),
        ("View page source", False),
        ("Estimated memory usage: 9 MB", False),
        ("On this page we list what the miller wrote down.", True),
        ("Close the sidebar to see more of the mill", True),
    ],
)
def test_labels_of_a_sidebar_are_no_text(label: str, is_text: bool) -> None:
    prose = "<p>The wheel turned all winter, and the miller wrote down each hour that it stood still.</p>" * 3
    html = f"<html><body><div class=body><h1>The mill</h1><p>{label}</p>{prose}<div>{label}</div></div></body></html>"
    content = read_page(html.encode(), "utf-8", "https://a.example/x", ())
    assert isinstance(content, PageContent)
    assert any(label in getattr(piece, "text", "") for piece in content.pieces) is is_text


@pytest.mark.parametrize(
    "character", ["&#1;", "&#xB;", "&#31", "&#x0000C;", "&#65535;", "&#xFFFE;", "\ufffe", "&#xD800;", "&#0;"]
)
@pytest.mark.parametrize(
    "html",
    [
        "<script src=/mathjax.js></script><p>see \\(x{0}\\) and \\[y{0}\\]</p>", "<p>10<sup>8{0}</sup> is</p>",
        "<img src=a.png alt='x{0}'>", "<img class=tex alt='x^2{0}'>", "<noscript><img src=a.png alt='{0}'></noscript>",
        "<a-b><template shadowrootmode=open><p>{0}<slot></slot></p></template>q{0}</a-b>",
        "<script type=math/tex>x{0}</script>", "<span class=math>\\(x{0}\\)</span>", "<math><mi>x{0}</mi></math>",
        "<svg width=90 height=90 aria-label='{0}'><title>{0}</title><path d='M0 0L90 90'/></svg>",
        "<figure><img src=a.png><figcaption>{0} cap</figcaption></figure>", "<pre class='language-{0}'>x{0}</pre>",
    ],
)  # fmt: skip
def test_characters_that_xml_has_not_cost_no_page(html_page: Page, prose: str, html: str, character: str) -> None:
    page = html_page(f"<p>{prose}</p>{html.format(character)}<p>{prose} 2</p>")
    assert isinstance(read_page(page, "utf-8", "https://a.example/", ()), PageContent)


def test_references_to_other_characters_stay(html_page: Page, prose: str) -> None:
    content = read_page(
        html_page(f"<p>{prose} &#169;&#0169;&#xA9;&#x1F600;&#128512;&#1114;</p>"), "utf-8", "https://a.example/", ()
    )
    assert isinstance(content, PageContent)
    assert any(isinstance(piece, TextPiece) and piece.text.endswith("©©©😀😀њ") for piece in content.pieces)
