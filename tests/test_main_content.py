"""What is main content: prose and the images in it, whatever stands around them; and how its text is typed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gobelin.data.model import Role
from gobelin.transforms.pages.content.boilerplate import Kind, classify
from gobelin.transforms.pages.content.boilerplate_phrases import (
    BUTTONS,
    CALLS,
    COMMENTS,
    DATE_OR_BYLINE,
    PLUGS,
    RELATED,
    SOURCES,
)
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.decode_text import decode
from gobelin.transforms.pages.tree.find_nodes import PageContent, TextPiece, read_page

URL = "https://a.example/dir/page.html"
PROSE = (
    "The old harbour lies behind the market hall, and on most mornings the boats come in before the sun is up. "
    "People who have lived here for a long time say that the light on the water is never the same on two days."
)
CORPUS = Path(__file__).parents[2] / "shared" / "corpus" / "extraction" / "trafilatura"


def read(body: str, head: str = "<title>The harbour at night</title>") -> PageContent:
    content = read_page(f"<html><head>{head}</head><body>{body}</body></html>".encode(), "utf-8", URL, ())
    assert isinstance(content, PageContent)
    return content


def outline(content: PageContent) -> list[str]:
    """Each piece: its text, or its image's file in brackets; PROSE by its name."""
    lines = []
    for piece in content.pieces:
        if isinstance(piece, ImageReference):
            lines.append(f"[{piece.candidates[0].rsplit('/')[-1]}]")
        else:
            lines.append(piece.text.replace(PROSE, "PROSE"))
    return lines


def typed(content: PageContent) -> list[tuple[str, int | None, str]]:
    return [
        (piece.role.value, piece.level, piece.text.replace(PROSE, "PROSE"))
        for piece in content.pieces
        if isinstance(piece, TextPiece)
    ]


ARTICLE = f"<article><h1>The harbour at night</h1><p>{PROSE}</p><p>{PROSE} Twice.</p></article>"
SAID = ["The harbour at night", "PROSE", "PROSE Twice."]
LINKS = "".join(f"<li><a href=/{n}>Another story, number {n}</a></li>" for n in range(6))


@pytest.mark.parametrize(
    "body",
    [
        f"<nav><ul>{LINKS}</ul></nav>{ARTICLE}<footer><p>{PROSE} Imprint.</p></footer>",
        f"<div id=menu><ul>{LINKS}</ul></div>{ARTICLE}",
        f"<ul>{LINKS}</ul>{ARTICLE}<ul>{LINKS}</ul>",  # named in no way
        f"{ARTICLE}<div class=sidebar><p>{PROSE} Aside.</p><img src=ad.jpg></div>",
        f"{ARTICLE}<div id=comments><p>{PROSE} I think so too.</p></div>",
        f"{ARTICLE}<div class=relatedPosts><h3>See as well</h3><p>{PROSE} Other.</p></div>",
        f"<div class=cookie-consent><p>We use cookies. {PROSE}</p></div>{ARTICLE}",
        f"{ARTICLE}<div hidden><p>{PROSE} Hidden.</p></div>",
        f"{ARTICLE}<div style='color:red; display: none'><p>{PROSE} Hidden.</p></div>",
        f"{ARTICLE}<script>var x = '<p>{PROSE}</p>'</script><template><p>{PROSE}</p></template>",
        f"<div class=wrap><div class=head><a href=/><img src=logo.png></a></div>{ARTICLE}</div>",
        f"<form action=/all><div>{ARTICLE}</div></form>",  # some servers wrap all of a page in a form
        f"<table><tr><td><ul>{LINKS}</ul></td><td>{ARTICLE}</td></tr></table>",  # and old pages in a table
    ],
)
def test_what_stands_around_an_article_is_left_out(body: str) -> None:
    assert outline(read(body)) == SAID


@pytest.mark.parametrize(
    ("inside", "kept"),
    [
        ("<p>Read more: <a href=/x>A quite different story that is told elsewhere</a></p>", []),
        (f"<div class=share-bar><a href=/s>Share</a></div><ul>{LINKS}</ul>", []),
        ("<p>Advertisement</p>", []),
        (f"<h3>You may also like</h3><ul>{LINKS}</ul>", []),
        (f"<p>These are the other stories:</p><ul>{LINKS}</ul>",
         ["These are the other stories:", *(f"Another story, number {n}" for n in range(6))]),
        ("<figure><img src=a.jpg><figcaption>A boat.</figcaption></figure>", ["[a.jpg]"]),
        ("<aside><img src=a.jpg></aside>", ["[a.jpg]"]),
        ("<blockquote><img src=a.jpg></blockquote>", ["[a.jpg]"]),
        ("<div class=image-lightbox><a href=big.jpg><img src=a.jpg></a></div>", ["[big.jpg]"]),
        ("<p><img src=a.jpg>Boats.</p>", ["[a.jpg]", "Boats."]),
        ("<table><tr><th>Boat</th><th>Year</th></tr><tr><td>Anna</td><td>1911</td></tr></table>",
         ["Boat | Year\nAnna | 1911"]),
    ],
)  # fmt: skip
def test_inside_an_article(inside: str, kept: list[str]) -> None:
    content = read(f"<article><p>{PROSE}</p>{inside}<p>{PROSE} Twice.</p></article>")
    assert outline(content) == ["PROSE", *kept, "PROSE Twice."]


def test_a_heading_without_text_is_left_out() -> None:
    content = read(f"<article><p>{PROSE}</p><h2>Notes</h2><h3>Links</h3><ul>{LINKS}</ul></article>")
    assert outline(content) == ["PROSE"]


def test_comments_end_the_content() -> None:
    content = read(f"<div><p>{PROSE}</p><p>{PROSE} 2</p><h3>3 Comments</h3><p>I was there. {PROSE}</p></div>")
    assert outline(content) == ["PROSE", "PROSE 2"]


MANUAL = f"<h1>The harbour</h1><p>{PROSE}</p><p>{PROSE} 2</p><p>{PROSE} 3</p>"
ROWS = "".join(
    f"<tr><td class=l><a href=/t{n}>Type{n}</a></td><td class=r><a href=/f{n}>function_number_{n}</a> ()</td></tr>"
    for n in range(4)
)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        # A section called comments in a text about comments, and one that readers wrote.
        (f"<div>{MANUAL}<h2>Comments</h2><p>{PROSE} 4</p><img src=a.png><h2>Other</h2><p>{PROSE} 5</p></div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3", "Comments", "PROSE 4", "[a.png]", "Other", "PROSE 5"]),
        (f"<div>{MANUAL}<h2>2 Comments</h2><p>{PROSE} 4</p><h2>Leave a reply</h2><p>{PROSE} 5</p></div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3"]),
        # Names made from a heading or from a checksum.
        (f"<div>{MANUAL}<section id=share-your-changes><h2>Share your changes</h2><p>{PROSE} 4</p></section></div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3", "Share your changes", "PROSE 4"]),
        (f"<div>{MANUAL}<div id=related-posts><h2>Related posts</h2><p>{PROSE} 4</p></div></div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3"]),
        (f"<div>{MANUAL}<div class=member:ad34d4bbd6d3064aa56e7a2cc3ee97be><p>{PROSE} 4</p></div></div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3", "PROSE 4"]),
        # A box in the text, and a column beside it.
        (f"<div>{MANUAL}<div class=sidebar><p class=title>A word</p><p>{PROSE} Box.</p></div><p>{PROSE} 4</p></div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3", "A word", "PROSE Box.", "PROSE 4"]),
        (f"<div><div>{MANUAL}<p>{PROSE} 4</p></div><div class=sidebar><p>{PROSE} Aside.</p></div>"
         f"<div><p>{PROSE} 5</p></div></div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3", "PROSE 4", "PROSE 5"]),
        # What a manual says of each parameter is said again; a second copy of a passage is not.
        (f"<div>{MANUAL}<h2>Other</h2><p>{PROSE}</p><p>And so on, as the wind goes.</p></div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3", "Other", "PROSE", "And so on, as the wind goes."]),
        (f"<div>{MANUAL}<p>{PROSE} 2</p><p>{PROSE} 3</p></div>", ["The harbour", "PROSE", "PROSE 2", "PROSE 3"]),
        (f"<div>{MANUAL}<p>{PROSE} 3</p></div>", ["The harbour", "PROSE", "PROSE 2", "PROSE 3"]),
        # The site's sign above the text; an image that leads elsewhere.
        (f"<div><a href=../index.html><img src=logo.png></a><hr>{MANUAL}</div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3"]),
        (f"<div><a href=large.html><img src=a.png></a><hr>{MANUAL}</div>",
         ["[a.png]", "The harbour", "PROSE", "PROSE 2", "PROSE 3"]),
        # Prev, Up, Next.
        (f"<div><div class=navheader><table><tr><th colspan=2>The harbour</th></tr><tr><td><a href=/a>Prev</a></td>"
         f"<td><a href=/b>Next</a></td></tr></table></div>{MANUAL}</div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3"]),
        # Tables of names, each with a link: as data, and laid out.
        (f"<div>{MANUAL}<h2>Functions</h2><div><table>{ROWS}</table></div><p>{PROSE} 4</p></div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3", "Functions",
          "\n".join(f"Type{n} | function_number_{n} ()" for n in range(4)), "PROSE 4"]),
        (f"<div>{MANUAL}<table><tr><td><h2>Functions</h2></td></tr>{ROWS}</table><p>{PROSE} 4</p></div>",
         ["The harbour", "PROSE", "PROSE 2", "PROSE 3", "Functions",
          *(text for n in range(4) for text in (f"Type{n}", f"function_number_{n} ()")), "PROSE 4"]),
        (f"<div class=head>The index</div><div class=contents><p>Short words.</p><table><tr><td><h2>Functions</h2>"
         f"</td></tr>{ROWS}<tr><td>&nbsp;</td><td>{PROSE}</td></tr></table></div>",
         ["Short words.", "Functions",
          *(text for n in range(4) for text in (f"Type{n}", f"function_number_{n} ()")), "PROSE"]),
        # Pages without prose: an index above a long footer, a gallery.
        (f"<div><h1>All members</h1><ul>{LINKS}</ul></div><div class=footer><p>© {PROSE} {PROSE}</p></div>",
         ["All members", *(f"Another story, number {n}" for n in range(6))]),
        ("<h1>Gallery</h1><div><h2>Windows</h2><a href=a.html><img src=a.png></a><a href=b.html><img src=b.png></a>"
         "<h2>Buttons</h2><a href=c.html><img src=c.png></a></div><div class=footer><hr>Made by a machine</div>",
         ["Gallery", "Windows", "[a.png]", "[b.png]", "Buttons", "[c.png]"]),
    ],
)  # fmt: skip
def test_manuals(body: str, kept: list[str]) -> None:
    assert outline(read(body, head="<title>A manual</title>")) == kept


def test_lead_and_image_between_heading_and_article() -> None:
    body = f"<h1>The harbour at night</h1><p>{PROSE} Lead.</p><img src=lead.jpg><div class=article-body>"
    content = read(f"<div><div>{body}{f'<p>{PROSE}</p>' * 1}<p>{PROSE} 2</p><p>{PROSE} 3</p></div></div></div>")
    assert outline(content)[-5:] == ["PROSE Lead.", "[lead.jpg]", "PROSE", "PROSE 2", "PROSE 3"]


@pytest.mark.parametrize(
    ("around", "kept"),
    [
        ("<img src=1.jpg><h1>The harbour</h1>{}", ["[1.jpg]", "The harbour", "TEXT"]),
        ("<h1>The harbour</h1><img src=1.jpg>{}", ["The harbour", "[1.jpg]", "TEXT"]),
        ("<p><img src=1.jpg><img src=2.jpg></p><h1>The harbour</h1>{}", ["[1.jpg]", "[2.jpg]", "The harbour", "TEXT"]),
        ("<h1>The harbour</h1>{}<p><img src=1.jpg><img src=2.jpg></p>", ["The harbour", "TEXT", "[1.jpg]", "[2.jpg]"]),
        # Others are no part of it: a linked heading, a second one, a section's, a line of text, the site's mark.
        ("<img src=1.jpg><h1><a href=/x>The harbour</a></h1>{}", ["TEXT"]),
        ("<img src=1.jpg><h1>The harbour</h1><h1>Times</h1>{}", ["Times", "TEXT"]),
        ("{}<h2>Also</h2><img src=1.jpg>", ["TEXT"]),
        ("<a href=/><img src=1.jpg></a><h1>The harbour</h1>{}", ["TEXT"]),
        ("<h1>The harbour</h1>{}", ["The harbour", "TEXT"]),
    ],
)
def test_the_heading_and_images_beside_the_text(around: str, kept: list[str]) -> None:
    text = f"<div class=text><p>{PROSE}</p><p>{PROSE} Twice.</p></div>"
    body = f"<nav><ul>{LINKS}</ul></nav><div class=wrap>{around.format(text)}</div>"
    expected = [part for line in kept for part in (["PROSE", "PROSE Twice."] if line == "TEXT" else [line])]
    assert outline(read(body, "<title>Port life</title>")) == expected


def test_teasers_below_an_article_go_with_their_images() -> None:
    cards = "".join(
        f"<div><a href=/{n}><img src={n}.jpg></a><h3><a href=/{n}>A story {n}</a></h3><p>It begins so.</p></div>"
        for n in range(4)
    )
    assert outline(read(f"<div><p>{PROSE}</p><p>{PROSE} 2</p><p>{PROSE} 3</p>{cards}</div>")) == [
        "PROSE", "PROSE 2", "PROSE 3",
    ]  # fmt: skip


def test_an_index_page_keeps_its_links_and_images() -> None:
    cards = "".join(
        f"<div><a href=/{n}><img src={n}.jpg></a><h2><a href=/{n}>A story with a title {n}</a></h2></div>"
        for n in range(4)
    )
    lines = outline(read(f"<nav><ul>{LINKS}</ul></nav><main>{cards}</main>"))
    assert lines == [line for n in range(4) for line in (f"[{n}.jpg]", f"A story with a title {n}")]


def test_boilerplate_by_name_is_none_where_it_holds_the_text() -> None:
    assert outline(read(f"<div class=sidebar><p>{PROSE}</p><p>{PROSE} 2</p></div>")) == ["PROSE", "PROSE 2"]


def test_hidden_text_is_read_where_there_is_no_other() -> None:
    content = read(f"<p>Loading</p><div style='display:none'>{f'<p>{PROSE}</p>' * 1}<p>{PROSE} 2 {PROSE}</p></div>")
    assert content.extractor == "gobelin_hidden"
    assert "PROSE" in outline(content)


def test_trafilatura_serves_where_only_a_script_holds_the_text() -> None:
    data = json.dumps({"@type": "Article", "articleBody": f"{PROSE} {PROSE} 2 {PROSE} 3"})
    content = read(f"<p>Loading</p><script type='application/ld+json'>{data}</script>")
    assert content.extractor == "trafilatura"
    assert "PROSE" in outline(content)[0]


def test_roles_and_levels() -> None:
    content = read(
        f"<article><h1>One</h1><h3>Three</h3><p>{PROSE}</p><ul><li>First<ul><li>Nested</li></ul></li><li><p>Last</p>"
        f"</li></ul><blockquote><p>Quoted.</p></blockquote><pre>code  here\n  and\there</pre>"
        f"<table><caption>Boats</caption><tr><td>a</td><td>b</td></tr><tr><td></td><td>d</td></tr></table>"
        f"<dl><dt>Term</dt><dd>Its definition.</dd></dl><p>{PROSE} End.</p></article>"
    )
    assert typed(content) == [
        ("heading", 1, "One"), ("heading", 3, "Three"), ("paragraph", None, "PROSE"), ("list_item", 1, "First"),
        ("list_item", 2, "Nested"), ("list_item", 1, "Last"), ("quotation", None, "Quoted."),
        ("code", None, "code  here\n  and\there"), ("caption", None, "Boats"), ("table", None, "a | b\n| d"),
        ("paragraph", None, "Term"), ("paragraph", None, "Its definition."), ("paragraph", None, "PROSE End."),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("html", "texts"),
    [
        ("<p>Hyper<b>link</b>ed and <code>a == b</code>.</p>", ["Hyperlinked and a == b."]),
        ("<div>One<div>Two</div>Three</div>", ["One", "Two", "Three"]),
        ("<p>One<br>two<br><br>three</p>", ["One\ntwo", "three"]),
        ("<p>soft\xadhyphen&nbsp;here</p>", ["softhyphen here"]),
        ("<p>A<!-- comment -->B</p>", ["AB"]),
        ("<p>E = mc<sup>2</sup></p>", ["E = mc2"]),
        ("<p><ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>字</p>", ["漢字"]),
        ("<p>Let <math><mi>x</mi><annotation encoding='application/x-tex'>x_{tex}</annotation></math> be.</p>",
         ["Let $x_{tex}$ be."]),
        ("<p>Let <script type='math/tex'>x^2</script> be.</p>", ["Let $x^2$ be."]),
        ("<h2>Title<a class=headerlink href=#t>¶</a></h2><p>Some text.</p>", ["Title", "Some text."]),
        ("<p>Seen <span class=sr-only>not </span>here.</p>", ["Seen here."]),
        ("<pre><span class=lineno>1 </span>a\n<span class=lineno>2 </span>b</pre>", ["a\nb"]),
        ("<pre><div>a</div><div>b</div></pre>", ["a\nb"]),
        ("<table><tr><td class=gutter><pre>1\n2</pre></td><td><pre>a\nb</pre></td></tr></table>", ["a\nb"]),
        ("<table><tr><td>one<br>two</td><td><p>x</p><p>y</p></td></tr><tr><td>c<td>d</table>",
         ["one two | x y\nc | d"]),
        ("<p>$x < y$ and <unknown>more</unknown>.</p>", ["$x < y$ and more."]),
        ("<ul><li>a</li>\n<li>b</li></ul>", ["a", "b"]),
    ],
)  # fmt: skip
def test_text_as_a_browser_shows_it(html: str, texts: list[str]) -> None:
    content = read(f"<article><p>{PROSE}</p>{html}<p>{PROSE} End.</p></article>")
    assert outline(content) == ["PROSE", *texts, "PROSE End."]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("<td><img src=x.jpg></td><td>d</td>", ["a | b", "[x.jpg]", "| d"]),
        ("<td>c</td><td><img src=x.jpg></td>", ["a | b\nc", "[x.jpg]"]),
        ("<td>c</td><td><img src=x.jpg></td><td>e</td>", ["a | b", "[x.jpg]", "c |  | e"]),
        ("<td>c<img src=x.jpg></td><td>d</td>", ["a | b", "[x.jpg]", "c | d"]),
    ],
)
def test_an_image_in_a_table_stands_before_its_row_or_behind_the_text_to_its_left(
    row: str, expected: list[str]
) -> None:
    rows = f"<tr><td>a</td><td>b</td></tr><tr>{row}</tr>"
    content = read(f"<article><p>{PROSE}</p><table>{rows}</table><p>{PROSE} End.</p></article>")
    assert outline(content) == ["PROSE", *expected, "PROSE End."]


def test_the_head_of_a_table_stays_with_its_first_row_whatever_image_stands_between() -> None:
    rows = "".join(f"<tr><td>{n}.py<td><img src={n}.jpg><td>It draws {n}.</tr>" for n in ("lines", "bars"))
    table = f"<table><tr><th>Source<th>Picture<th>What it does</tr>{rows}</table>"
    content = read(f"<article><p>{PROSE}</p>{table}<p>{PROSE} End.</p></article>")
    first = "Source | Picture | What it does\nlines.py |  | It draws lines."
    assert outline(content) == [
        "PROSE",
        "[lines.jpg]",
        first,
        "[bars.jpg]",
        "bars.py |  | It draws bars.",
        "PROSE End.",
    ]
    assert [piece.header_rows for piece in content.pieces if getattr(piece, "role", None) is Role.TABLE] == [1, 0]


@pytest.mark.parametrize(
    ("tag", "names", "kind"),
    [
        ("div", "related-posts", Kind.BOILERPLATE),
        ("div", "relatedPosts", Kind.BOILERPLATE),
        ("div", "correlated", Kind.NEUTRAL),
        ("div", "commentary", Kind.NEUTRAL),
        ("div", "post-comments", Kind.BOILERPLATE),
        ("body", "has-sidebar", Kind.NEUTRAL),
        ("div", "print", Kind.BOILERPLATE),
        ("div", "blueprint", Kind.NEUTRAL),
        ("div", "imprint-text", Kind.CONTENT),
        ("div", "label-hidden", Kind.NEUTRAL),  # of a label, by a stylesheet; not the block
        ("div", "hidden", Kind.BOILERPLATE),
        ("div", "entry-content", Kind.ARTICLE),
        ("td", "gutter", Kind.GUTTER),
        ("span", "gutter", Kind.GUTTER),
        ("div", "col w17unit gutter", Kind.NEUTRAL),
        ("div", "gutter linenos", Kind.GUTTER),
        ("div", "content_print", Kind.SUSPECT),
        ("div", "print-button", Kind.BOILERPLATE),
        ("span", "screen-reader-text", Kind.UNSEEN),
        ("span", "harbour-u-visually-hidden", Kind.UNSEEN),
        ("span", "srOnly", Kind.UNSEEN),
        ("div", "show-for-sr", Kind.UNSEEN),
        ("div", "not-sr-only", Kind.NEUTRAL),
        ("div", "md:sr-only", Kind.NEUTRAL),
        ("div", "hidden-treasures", Kind.NEUTRAL),
        ("div", "teaser-text", Kind.SUSPECT),
        # A subject behind the word: the name is that of the subject.
        ("div", "cookie-recipe", Kind.NEUTRAL),
        ("div", "cookieRecipe", Kind.NEUTRAL),
        ("div", "Social_sciences", Kind.NEUTRAL),
        ("div", "share-price", Kind.NEUTRAL),
        ("div", "comment-ca-va", Kind.NEUTRAL),
        ("div", "comment-ça-va", Kind.NEUTRAL),
        ("div", "popup-books", Kind.NEUTRAL),
        ("div", "ad-hoc", Kind.NEUTRAL),
        ("div", "call-to-arms", Kind.NEUTRAL),
        ("div", "meta-analysis", Kind.NEUTRAL),
        ("div", "fig-recommended", Kind.NEUTRAL),
        ("div", "category-social", Kind.NEUTRAL),
        ("div", "tools-of-the-trade", Kind.NEUTRAL),
        ("div", "cookie", Kind.BOILERPLATE),
        ("div", "cookie-notice-2", Kind.BOILERPLATE),
        ("div", "cookieBar", Kind.BOILERPLATE),
        ("div", "social-icons", Kind.BOILERPLATE),
        ("div", "share_buttons_left", Kind.BOILERPLATE),
        ("div", "comment-list-wrapper", Kind.BOILERPLATE),
        ("div", "popup-overlay", Kind.BOILERPLATE),
        ("div", "ad-slot-3", Kind.BOILERPLATE),
        ("div", "call-to-action", Kind.BOILERPLATE),
        ("div", "tag-list", Kind.BOILERPLATE),
        ("div", "inline-adv", Kind.BOILERPLATE),
        ("div", "advent-calendar", Kind.NEUTRAL),
        ("div", "copyright", Kind.BOILERPLATE),
        ("div", "copyright-law", Kind.NEUTRAL),
        ("div", "ugc-item", Kind.BOILERPLATE),
        ("div", "bar-flyout-pane", Kind.BOILERPLATE),
        ("div", "tab-content nav-tabContent", Kind.CONTENT),
        ("div", "tab-pane nav-tab-pane comments", Kind.BOILERPLATE),
        ("div", "tabs nav-tabs", Kind.BOILERPLATE),
        ("section", "editorial-disclosure", Kind.BOILERPLATE),
        ("div", "disclosure-of-risks-to-ferries", Kind.NEUTRAL),
        ("span", "mw-editsection", Kind.UNSEEN),
        ("div", "survey", Kind.BOILERPLATE),
        ("div", "survey-of-ferries", Kind.NEUTRAL),
        # Before it stands the name of a site, or a subject: some words may end the name of one.
        ("div", "wp-comments", Kind.BOILERPLATE),
        ("div", "harbourtheme-comments", Kind.BOILERPLATE),
        ("div", "market-share", Kind.SUSPECT),
        ("div", "oat-and-raisin-cookies", Kind.SUSPECT),
        # Words of page makers count everywhere; of a name in blocks and elements, one is enough.
        ("div", "harbour-navbar-blue", Kind.BOILERPLATE),
        ("div", "story__share--mastodon", Kind.BOILERPLATE),
        ("div", "style--cookie-bar-8KGjRO5HCp", Kind.BOILERPLATE),
    ],
)
def test_what_names_say(tag: str, names: str, kind: Kind) -> None:
    assert classify(tag, names) is kind


@pytest.mark.parametrize(
    ("pattern", "text", "says"),
    [
        (RELATED, "Read more: another story", True),
        (RELATED, "Lesen Sie auch: eine andere", True),
        (RELATED, "Related work is discussed in section 2.", False),
        (RELATED, "Moreover, the boats", False),
        (COMMENTS, "12 Comments", True),
        (COMMENTS, "Comments in the code are written in English. They are many.", False),
        (CALLS, "© 2020 The Harbour", True),
        (CALLS, "Anzeige", True),
        (CALLS, "Sharecroppers lived here", False),
        (BUTTONS, "Page 3 of 12", True),
        (BUTTONS, "2 dari 8 halaman", True),
        (BUTTONS, "3 of 12 boats came home", False),
        (BUTTONS, "Enlarge image", True),
        (BUTTONS, "Close the window before the fog comes in", False),
        (CALLS, "We may earn a commission from links", True),
        (CALLS, "Jump to recipe", True),
        (CALLS, "We may earnestly hope so", False),
        (CALLS, "更多", True),
        (CALLS, "更多的船回来了", False),
        (CALLS, "版权所有", True),
        (CALLS, "Подпишитесь на нас", True),
        (RELATED, "相關新聞", True),
        (RELATED, "相關的研究在第二章", False),
        (RELATED, "Baca juga: kapal pulang", True),
        (PLUGS, "Want more stories of the harbour? Sign up here.", True),
        (PLUGS, "Want more fish? The boats bring it at six.", False),
        (PLUGS, "Listen to the Quay on Spotify and elsewhere.", True),
        (PLUGS, "Listen to the gulls and you know the weather.", False),
        (PLUGS, "Get the tides straight to your inbox.", True),
        (PLUGS, "Get the boats back before the fog.", False),
        (PLUGS, "The views expressed are those of the skipper.", True),
        (PLUGS, "The views from the tower are wide.", False),
        (PLUGS, "This story was originally published in 1912.", True),
        (PLUGS, "This story was told to every child.", False),
        (PLUGS, "Watch: the boats come in", True),
        (PLUGS, "Watch the boats come in", False),
        (PLUGS, "Artikel zum Hören • 2 Min", True),
        (PLUGS, "Artikel zum Thema Fische", False),
        (PLUGS, "Haz clic aquí para recibir noticias", True),
        (PLUGS, "Haz clic en Importar", False),
        (PLUGS, "目次を開く", True),
        (PLUGS, "目次には船の名が並ぶ。", False),
        (PLUGS, "关注我们的公众号", True),
        (PLUGS, "关注港口的人很多。", False),
        (PLUGS, "Chia sẻ", True),
        (PLUGS, "Chia sẻ với phóng viên, ông kể về biển.", False),
        (SOURCES, "责任编辑：王海", True),
        (SOURCES, "Sourdough rises slowly", False),
    ],
)
def test_what_phrases_say(pattern: re.Pattern[str], text: str, says: bool) -> None:
    assert bool(pattern.match(text)) is says


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("阅读量340", True),
        ("点赞数", True),
        ("1.2k views", False),
        ("Views: 1.2k", True),
        ("Views of the harbour", False),
        ("来源：海报", True),
        ("来源不明的船", False),
        ("版权", True),
        ("版权的故事", False),
    ],
)
def test_counters_and_bylines_before_the_text(line: str, says: bool) -> None:
    assert bool(DATE_OR_BYLINE.search(line)) is says


def test_what_an_article_says_of_itself_goes_and_a_manual_keeps_it() -> None:
    plug = "This article was first published in the harbour's own paper."
    body = f"<article><h1>The harbour at night</h1><p>{PROSE}</p><p>{plug}</p><p>{PROSE} Twice.</p></article>"
    title = "<title>The harbour at night</title>"
    assert outline(read(body, f"{title}<meta property=og:type content=article>")) == SAID
    assert plug in outline(read(body, f"{title}<meta name=generator content=Sphinx>"))


@pytest.mark.parametrize(
    ("line", "is_caption"),
    [
        ("The quay in 2008. REUTERS/Ada Wren", True),
        ("The quay in fog (dpa)", True),
        ("The quay at night, AFP", True),
        ("Reports seen by Reuters say that the quay will be closed.", False),
    ],
)
def test_a_line_below_an_image_is_its_caption_where_it_credits_an_agency(line: str, is_caption: bool) -> None:
    content = read(
        f"<article><p>{PROSE}</p><p><img src=quay.jpg width=600 height=400></p><p>{line}</p><p>{PROSE} 2</p>"
    )
    assert (line not in outline(content)) is is_caption


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"{CORPUS} is not here")
def test_snippets_of_real_pages() -> None:
    """F1 of must-have and must-not snippets; trafilatura's own protocol and pages, where its default has 0.92."""
    found = wrong = missed = 0
    for url, gold in json.loads((CORPUS.parent / "trafilatura-evaldata.json").read_text()).items():
        path = CORPUS / gold["file"]
        if not path.exists():
            continue
        content = read_page(path.read_bytes(), None, url, ())
        assert isinstance(content, PageContent)
        text = "\n".join(piece.text for piece in content.pieces if isinstance(piece, TextPiece))
        found += sum(snippet in text for snippet in gold["with"])
        missed += sum(snippet not in text for snippet in gold["with"])
        wrong += sum(snippet in text for snippet in gold["without"])
    assert 2 * found / (2 * found + wrong + missed) > 0.935


def test_a_markdeep_page_is_read_as_its_script_would_show_it() -> None:
    content = read(
        f"""\nOverview\n========\n{PROSE.replace(" and ", chr(10) + "and ")}

The first image\n---\nSee [the forum][f].\n
  ![<span class='num'>Figure [a]:</span> A **sphere** of `vec<T>` &amp; co](../images/a-1.png class=pixel)\n
    ~~~~~~ C++\n    #include <vector>\n      x < y\n    ~~~~~~
  - An item that\n    goes on\n  - Another\n\n{PROSE} End.\n\n[f]: https://f.example/\n<!-- Markdeep: -->"""
    )
    assert typed(content) == [
        ("heading", 1, "Overview"), ("paragraph", None, "PROSE"), ("heading", 2, "The first image"),
        ("paragraph", None, "See the forum."), ("code", None, "#include <vector>\n  x < y"),
        ("list_item", 1, "An item that goes on"), ("list_item", 1, "Another"), ("paragraph", None, "PROSE End."),
    ]  # fmt: skip
    image = next(piece for piece in content.pieces if isinstance(piece, ImageReference))
    assert (image.candidates, image.caption) == (
        ("https://a.example/images/a-1.png",),
        "Figure [a]: A sphere of vec<T> & co",
    )


def test_every_role_is_one_of_the_data_model() -> None:
    assert {role for role, _, _ in typed(read(ARTICLE))} <= set(Role)


def test_charset_is_told() -> None:
    text = "Старый порт лежит за рыночным залом, и по утрам лодки приходят до восхода солнца. " * 4
    content = read_page(f"<p>{text}</p>".encode("cp1251"), "iso-8859-1", URL, ())
    assert isinstance(content, PageContent)
    assert content.charset == "windows-1251"
    assert decode(f"<p>{text}</p>".encode("koi8-r"), None)[1] == "koi8-r"


def test_a_consent_dialog_is_none_of_the_content_though_it_is_longer() -> None:
    asked = "".join(f"<p>{PROSE} Partner number {n} stores cookies.</p>" for n in range(9))
    for names in ("class=consent-sdk", "id=onetrust-consent-sdk", "class='gdpr modal'", "id=cookie-notice"):
        assert outline(read(f"{ARTICLE}<div {names}><h2>Your privacy</h2>{asked}</div>")) == SAID
    # A page about consent that holds nothing else is read.
    assert "PROSE Partner number 1 stores cookies." in outline(read(f"<div class=consent-law>{asked}</div>"))
