"""Which words beside an image are its caption, and which are the page's text and stay there."""

from __future__ import annotations

import lxml.html
import pytest

from gobelin.data.model import Role
from gobelin.transforms.pages.captions.caption_text import MAX_CAPTION_CHARS
from gobelin.transforms.pages.captions.captions import MAX_FRAME_CHARS
from gobelin.transforms.pages.images.image_references import ImageReference, rewrite_images
from gobelin.transforms.pages.tree.find_nodes import PageContent, TextPiece, read_page

LONG = " ".join(map(str, range(MAX_CAPTION_CHARS)))


def captions(html: str) -> list[str | None]:
    tree = lxml.html.document_fromstring(f"<html><body>{html}</body></html>")
    found = rewrite_images(tree, "https://a.example/")
    text = " ".join(tree.text_content().split())
    for reference in found:
        # Taken out of the text, once and for all; words of an attribute never stood there.
        assert reference.caption is None or reference.caption not in text or "data-caption" in html
    return [reference.caption for reference in found]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<figure><img src=a.jpg><figcaption>The <b>old</b>\n harbour</figcaption></figure>", ["The old harbour"]),
        ("<figure><figcaption>Above</figcaption><img src=a.jpg></figure>", ["Above"]),
        ("<figure><a href=x><img src=a.jpg></a><div><figcaption>Deep</figcaption></div></figure>", ["Deep"]),
        ("<figure><img src=a.jpg><figcaption> \n </figcaption></figure>", [None]),
        # Of several images the nearest.
        ("<figure><img src=a.jpg><img src=b.jpg><figcaption>Both</figcaption></figure>", [None, "Both"]),
        ("<figure><figcaption>Both</figcaption><img src=a.jpg><img src=b.jpg></figure>", ["Both", None]),
        (
            "<figure><img src=a.jpg><figcaption>A</figcaption><img src=b.jpg><figcaption>B</figcaption></figure>",
            ["A", "B"],
        ),
        ("<figure><img src=a.jpg><figcaption>A</figcaption><figcaption>B</figcaption></figure>", ["A B"]),
        ("<figure><img src=a.jpg><figcaption>A</figcaption><img src=b.png width=16></figure>", ["A", None]),
        ("<figure><img src=a.jpg><img src=b.png width=16><figcaption>A</figcaption></figure>", ["A", None]),
        # Figures in figures: each its own; the caption of all to an image without one.
        (
            "<figure><figure><img src=a.jpg><figcaption>A</figcaption></figure>"
            "<figure><img src=b.jpg><figcaption>B</figcaption></figure></figure>",
            ["A", "B"],
        ),
        (
            "<figure><figure><img src=a.jpg></figure><figure><img src=b.jpg></figure>"
            "<figcaption>All</figcaption></figure>",
            [None, "All"],
        ),
        # An image in the caption stays an image.
        ("<figure><img src=a.jpg><figcaption>Seen <img src=b.jpg> here</figcaption></figure>", ["Seen here", None]),
        ("<figure><figcaption><img src=a.jpg>Words</figcaption></figure>", ["Words"]),
        # The figure's frame may end before its caption.
        ("<div><div><figure><img src=a.jpg></figure></div><figcaption>Astray</figcaption></div>", ["Astray"]),
        # Words that are none: scripts, signs to link by, hints for screen readers; said twice.
        (
            "<figure><img src=a.jpg><figcaption><span class='sr-only'>Image:</span> A<script>b()</script>"
            "<a href='#f'>¶</a></figcaption></figure>",
            ["A"],
        ),
        ("<figure><img src=a.jpg><figcaption><p>Harbour A</p><p>Harbour A</p></figcaption></figure>", ["Harbour A"]),
        # Blocks and marked spans stand apart, letters do not.
        ("<figure><img src=a.jpg><figcaption><p>One.</p><p>Two</p></figcaption></figure>", ["One. Two"]),
        (
            "<figure><img src=a.jpg><figcaption><span class=x>One</span><span class=y>Two</span></figcaption></figure>",
            ["One Two"],
        ),
        ("<figure><img src=a.jpg><figcaption><b>O</b>ne</figcaption></figure>", ["One"]),
        # Another image's, or none's.
        ("<figure><table><tr><td>1</table><figcaption>Table</figcaption></figure><img src=a.jpg>", [None]),
        (f"<figure><img src=a.jpg><figcaption>{LONG}</figcaption></figure>", [None]),
        (f"<figure><img src=a.jpg><figcaption><b>A</b>{' ' * 9000}<b>B</b></figcaption></figure>", [None]),
        ("<picture><source srcset=b.webp><img src=a.jpg></picture>", [None]),
        ("<figure><picture><source srcset=b.webp><img src=a.jpg></picture><figcaption>A</figcaption></figure>", ["A"]),
        ("<figure><img data-src=a.jpg><noscript><img src=a.jpg></noscript><figcaption>A</figcaption></figure>", ["A"]),
        ("<figure><svg><path></path></svg><figcaption>Drawing</figcaption></figure><img src=a.jpg>", [None]),
    ],
)  # fmt: skip
def test_figcaptions(html: str, expected: list[str | None]) -> None:
    assert captions(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        # Sphinx
        ("<div class=figure><img src=a.jpg><p class=caption><span class=caption-text>A</span></p></div>", ["A"]),
        # WordPress
        ("<div class='wp-caption alignleft'><a href=x><img src=a.jpg></a><p class=wp-caption-text>A</p></div>", ["A"]),
        ("<dl class=gallery-item><dt><a href=x><img src=a.jpg></a></dt><dd class='wp-caption-text'>A</dd></dl>", ["A"]),
        # MediaWiki
        (
            "<div class=thumbinner><a href=x><img src=a.jpg></a><div class=thumbcaption><div class=magnify>"
            "<a href=x></a></div>A</div></div>",
            ["A"],
        ),
        # In the text, beside the paragraph that holds the image alone.
        ("<p><img src=a.jpg></p><p class=caption>A</p><p>Text</p>", ["A"]),
        ("<p><img src=a.jpg></p><p class=caption>A</p><p><img src=b.jpg></p><p class=caption>B</p>", ["A", "B"]),
        ("<div><div><span><img src=a.jpg></span></div></div><div class=imageCaption>A</div>", ["A"]),
        ("<img src=a.jpg><div class='media__caption___x1Y2'>A</div>", ["A"]),
        ("<img src=a.jpg><div class=meta><div class=caption>A</div></div>", ["A"]),
        ("<div><p class=caption>A</p><img src=a.jpg></div>", ["A"]),
        # Something small between.
        ("<div><img src=a.jpg><div class=credit>© B</div><div class=caption>A</div></div>", ["© B A"]),
        ("<div><i><img src=a.jpg><a href=x>Enlarge</a></i><div>2 of 7</div><div class=caption>A</div></div>", ["A"]),
        (f"<i><b class=sr-only>{LONG[:200]}</b><img src=a.jpg></i><div class=caption>A</div>", ["A"]),
        # A row of images.
        ("<div><i><img src=a.jpg></i><i><img src=b.jpg></i></div><p class=caption>Both</p>", [None, "Both"]),
        ("<img src=a.jpg><p class=caption>A</p><p class=caption-credit>B</p>", ["A B"]),
        (
            "<img src=a.jpg><p class=caption>The wall in the ...</p><p class=caption>The wall in the evening</p>",
            ["The wall in the evening"],
        ),
        # Icons do not count, if there is another.
        ("<p><i><img src=a.jpg><a href=x><img src=b.png width=16></a></i><b class=caption>A</b></p>", ["A", None]),
        ("<p><img src=b.png width=16></p><p class=caption>A</p>", ["A"]),
        # Tables: the cell of the row below.
        (
            "<table><tr><td><img src=a.jpg></td><td><img src=b.jpg></td></tr>"
            "<tr><td class=caption>A</td><td class=caption>B</td></tr></table>",
            ["A", "B"],
        ),
        (
            "<table><tr><td colspan=2><img src=a.jpg></td><td><img src=b.jpg></td></tr>"
            "<tr><td class=caption>A</td><td></td><td class=caption>B</td></tr></table>",
            ["A", "B"],
        ),
        (
            "<table><tr><td><img src=a.jpg></td><td><img src=b.jpg></td></tr>"
            "<tr><td class=caption colspan=2>Both</td></tr></table>",
            [None, "Both"],
        ),
        (
            "<table><tr><td><a href=x><img src=a.jpg></a></td><td><img src=b.jpg></td></tr>"
            "<tr><td><p class=caption>A</p></td><td><p class=caption>B</p></td></tr></table>",
            ["A", "B"],
        ),
        ("<table><tr><td><img src=a.jpg></td></tr><tr><td>Text</td></tr></table>", [None]),
        # MediaWiki's galleries
        (
            "<ul><li class=gallerybox><div class=thumb><a href=x><img src=a.jpg></a></div>"
            "<div class=gallerytext><p>A</p></div></li></ul>",
            ["A"],
        ),
        # Not captions: by class, by content, by place.
        ("<img src=a.jpg><p class='no-caption'>A</p>", [None]),
        ("<img src=a.jpg><p class='captioned'>A</p>", [None]),
        ("<img src=a.jpg><div class=caption><h2>Heading</h2>Text</div>", [None]),
        ("<img src=a.jpg><div class=caption><img src=b.jpg>A</div>", [None, None]),
        ("<img src=a.jpg><div class=caption><ul><li>A</li></ul></div>", [None]),
        ("<img src=a.jpg> words <div class=caption>A</div>", [None]),
        ("<p>Text <img src=a.jpg></p><p class=caption>A</p>", [None]),
        (f"<img src=a.jpg><p>{'A sentence of the page. ' * 3}</p><p class=caption>A</p>", [None]),
        (f"<img src=a.jpg><p class=caption>{LONG}</p>", [None]),
        ("<p class=caption>A</p><p>Text</p><img src=b.jpg>", [None]),
    ],
)  # fmt: skip
def test_captions_by_class(html: str, expected: list[str | None]) -> None:
    assert captions(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<figure><img src=a.jpg><small>A</small></figure>", ["A"]),
        ("<figure><img src=a.jpg>A</figure>", ["A"]),
        ("<div class=figcenter><img src=a.jpg><p>A</p></div>", ["A"]),
        ("<div class=figcenter><img src=a.jpg><br>A <i>b</i></div>", ["A b"]),
        ("<div align=center><a href=a.jpg><img src=a.jpg></a><br><i>A</i></div>", ["A"]),
        # DocBook: the title below or above, the image in a table of one cell.
        ("<div class=figure><div class=figure-contents><img src=a.jpg></div><p class=title>A</p></div>", ["A"]),
        ("<div class=figure><p class=title><b>A</b></p><div><div><img src=a.jpg></div></div></div>", ["A"]),
        (
            "<div class=figure><p class=title>A</p><div><table><tr><td><img src=a.jpg></td></tr></table></div></div>",
            ["A"],
        ),
        ("<span class=figleft><img src=a.jpg><br><span>A</span></span>", ["A"]),
        ("<center><img src=a.jpg><br>A</center>", ["A"]),
        ("<p><img src=a.jpg><em>A</em></p>", ["A"]),
        ("<p><img src=a.jpg><br><small>A</small></p>", ["A"]),
        # Text of the page.
        ("<p><img src=a.jpg> A</p>", [None]),
        ("<p><img src=a.jpg><b>A</b></p>", [None]),
        ("<p><img src=a.jpg><em>A</em> text</p>", [None]),
        ("<p>Text <img src=a.jpg><em>A</em></p>", [None]),
        ("<div><img src=a.jpg><p>A</p></div>", [None]),
        ("<center>A <img src=a.jpg> B</center>", [None]),
        ("<center><p>A</p><img src=a.jpg></center>", [None]),
        ("<div align=center><p>A</p><img src=a.jpg></div>", [None]),
        ("<div class=figure><p>A</p><p>B</p><img src=a.jpg></div>", [None]),
        ("<div class=figure><p>A</p><img src=a.jpg><p>B</p></div>", [None]),
        ("<div class=figure><p><a href=x>A</a></p><img src=a.jpg></div>", [None]),
        ("<div class=figure><p>A</p><table><tr><td><img src=a.jpg><td>B</table></div>", [None]),
        ("<center><img src=a.jpg></center> To see this, note that", [None]),
        ("<center><p>A</p><img src=a.jpg><p>B</p></center>", [None]),
        ("<center><img src=a.jpg><br>A<br><img src=b.jpg></center>", [None, None]),
        (f"<div class=figcenter><img src=a.jpg><p>{LONG[: 2 * MAX_FRAME_CHARS]}</p></div>", [None]),
        ("<div class=image><img src=a.jpg><h2>A</h2></div>", [None]),
        # Buttons and downloads.
        ("<div class=figcenter><img src=a.jpg><p><a href=b.mid>Listen</a> <a href=b.pdf>Score</a></p></div>", [None]),
        ("<div class=image><img src=a.jpg><a href=l>Enlarge</a></div>", [None]),
        # What a gallery says in an attribute, where the page says nothing.
        ("<img src=a.jpg data-caption='A &lt;i&gt;b&lt;/i&gt;'>", ["A b"]),
        ("<a href=l.jpg data-caption=A><img src=a.jpg></a>", ["A"]),
        ("<figure><img src=a.jpg data-caption=A><figcaption>B</figcaption></figure>", ["B"]),
    ],
)
def test_captions_by_frame(html: str, expected: list[str | None]) -> None:
    assert captions(html) == expected


def test_what_stands_around_a_caption_stays_apart() -> None:
    tree = lxml.html.document_fromstring("<figure><img src=a.jpg><figcaption>Words</figcaption> and a tail</figure>")
    rewrite_images(tree, "https://a.example/")
    assert tree.text_content().strip() == "and a tail"


def test_a_caption_serves_once() -> None:
    html = "<div><img src=a.jpg></div><p class=caption>A</p><div><img src=b.jpg></div>"
    assert captions(html) == ["A", None]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        # A table that is a frame around one image; that of a table of data is its own.
        (
            "<table><caption><b>Figure:</b> A</caption><tr><td><div><img src=a.jpg></div></td></tr></table>",
            ["Figure: A"],
        ),
        ("<table><caption>A</caption><tr><td><img src=a.jpg></td><td>1</td></tr></table>", [None]),
        # A centred line right above a centred image, but for titles and links.
        ("<div align=center>A</div><div align=center><p><img src=a.jpg></p></div>", ["A"]),
        ("<center>A</center>\n<center><img src=a.jpg></center>", ["A"]),
        ("<div align=center><b>A</b></div><div align=center><p><img src=a.jpg></p></div>", [None]),
        ("<div align=center><a href=x>A</a></div><div align=center><p><img src=a.jpg></p></div>", [None]),
        ("<div align=center>A</div>and<div align=center><p><img src=a.jpg></p></div>", [None]),
        ("<div>A</div><div align=center><p><img src=a.jpg></p></div>", [None]),
    ],
)
def test_captions_above(html: str, expected: list[str | None]) -> None:
    assert captions(html) == expected


SENTENCE = "The wheel of the mill, seen from the river in spring"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        # The credit goes with the caption, before or behind it.
        ("<div><img src=a.jpg><p class=source><span>Ada</span></p><p class=caption>Mill</p></div>", ["Ada Mill"]),
        ("<div><img src=a.jpg><p class=caption>Mill</p><cite>Ada</cite></div>", ["Mill Ada"]),
        ("<div class=image><img src=a.jpg><p class=source><a href=x>Ada</a></p></div>", ["Ada"]),
        ("<div><img src=a.jpg><p class=source><a href=x>Ada</a></p></div>", [None]),  # in no frame: a list of sources
        ("<div><img src=a.jpg><p class=resources>Ada</p><p>Text</p></div>", [None]),
        # What repeats a long alternative text.
        (f"<div><div><img src=a.jpg alt='{SENTENCE}'></div><div>{SENTENCE}</div></div>", [SENTENCE]),
        (f"<div><div><img src=a.jpg alt='{SENTENCE}'></div><div>{SENTENCE} 2</div></div>", [None]),
        (f"<div><a href=x><img src=a.jpg alt='{SENTENCE}'></a><div><a href=x>{SENTENCE}</a></div></div>", [None]),
        ("<div><div><img src=a.jpg alt='The wheel'></div><div>The wheel</div></div>", [None]),
        # An element as wide as its picture is a frame.
        ("<div style='width: 300px'><img src=a.jpg width=300><div>A</div></div>", ["A"]),
        ("<div style='width:320px;'><a href=x>[+] Enlarge<img src=a.jpg width=300></a><div>A</div></div>", ["A"]),
        ("<div style='width: 640px'><img src=a.jpg width=300><div>A</div></div>", [None]),
        ("<div style='max-width: 300px'><img src=a.jpg width=300><div>A</div></div>", [None]),
        ("<div class=articlePhotoR><img src=a.jpg><span class=t>A</span></div>", ["A"]),
        ("<div class=photorealism><img src=a.jpg><span class=t>A</span></div>", [None]),
        # Laid over the picture, until the pointer comes or always.
        ("<div><img src=a.jpg><div class=large-image-caption style='display: none'>A</div></div>", ["A"]),
        ("<div><img src=a.jpg><div class=caption-overlay>A</div></div>", ["A"]),
        ("<div><img src=a.jpg><div class=overlay style='display: none'>A</div></div>", [None]),
        # A title below the picture in its frame.
        ("<figure><img src=a.jpg><h4>The wheel</h4></figure>", ["The wheel"]),
        ("<div class=figure><img src=a.jpg><h5>The wheel</h5></div>", ["The wheel"]),
        ("<div><img src=a.jpg><h5>The wheel</h5></div>", [None]),
        ("<center><img src=a.jpg><h3>The wheel</h3></center>", [None]),
    ],
)  # fmt: skip
def test_captions_that_are_told_by_what_is_around_them(html: str, expected: list[str | None]) -> None:
    assert captions(html) == expected


@pytest.mark.parametrize(
    ("heading", "is_caption"), [("Figure 2. The mill in spring", True), ("2. The mill in spring", False)]
)
def test_a_heading_with_the_number_of_a_figure_below_it_is_its_title(heading: str, is_caption: bool) -> None:
    prose = "<p>The wheel turned all winter, and the miller wrote down each hour that it stood still.</p>" * 3
    body = f"<article>{prose}<div><img src=a.jpg></div><h4>{heading}</h4><h2>Next</h2>{prose}</article>"
    content = read_page(f"<html><body>{body}</body></html>".encode(), "utf-8", "https://a.example/", ())
    assert isinstance(content, PageContent)
    (picture,) = [piece for piece in content.pieces if isinstance(piece, ImageReference)]
    headings = [piece.text for piece in content.pieces if isinstance(piece, TextPiece) and piece.role is Role.HEADING]
    assert picture.caption == (heading if is_caption else None)
    assert headings == ([] if is_caption else [heading]) + ["Next"]
