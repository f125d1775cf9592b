"""Main content of manuals, indexes and themes: rows of paging, tables of contents, pages of little prose."""

from __future__ import annotations

import pytest

from gobelin.transforms.pages.content.boilerplate import FOOT, Kind, classify
from gobelin.transforms.pages.content.boilerplate_phrases import FIGURE_NUMBER
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.find_nodes import PageContent, TextPiece, read_page

PROSE = (
    "The old harbour lies behind the market hall, and on most mornings the boats come in before the sun is up. "
    "People who have lived here for a long time say that the light on the water is never the same on two days."
)
TEXT = f"<h1>Boats</h1><p>{PROSE}</p><p>{PROSE} 2</p>"
KEPT = ["Boats", "PROSE", "PROSE 2"]
ITEMS = "".join(f"<li><a href=/{n}>Another chapter, number {n}</a></li>" for n in range(6))


def read(body: str) -> list[ImageReference | TextPiece]:
    content = read_page(f"<title>Boats</title><body>{body}</body>".encode(), "utf-8", "https://a.example/b/c.html", ())
    assert isinstance(content, PageContent)
    return list(content.pieces)


def outline(body: str) -> list[str]:
    """Each piece: its text, or its image's file in brackets with its caption behind; PROSE by its name."""
    return [
        piece.text.replace(PROSE, "PROSE")
        if isinstance(piece, TextPiece)
        else f"[{piece.candidates[0].rsplit('/')[-1]}]{piece.caption or ''}"
        for piece in read(body)
    ]


def arrow(name: str, alt: str = "") -> str:
    return f"<a href=x.html><img src={name} alt='{alt}'></a>"


PAGING = {
    "words in a table": "<table><tr><td><a href=a>Prev</a><td><a href=b>Up</a><td><a href=c>Next</a></table>",
    "titles below": "<table><tr><td><a href=a>Prev</a><td>&nbsp;<td><a href=c>Next</a>"
    "<tr><td>Sails<td><a href=i>Home</a><td>Oars</table>",
    "arrows": "<div>[<a href=a>&lt;&lt; Sails</a>] [<a href=t>Top</a>] [<a href=c>Oars &gt;&gt;</a>]</div>",
    "pictures named by their words": f"<div>{arrow('1.svg', 'Previous')}{arrow('2.svg', 'Up')}"
    f"{arrow('3.svg', 'Next')}</div>",
    "pictures named by their files": f"<table><tr><td>{arrow('next.png', 'Oars')}<td>{arrow('up.png', 'Boats')}"
    f"<td>{arrow('previous.png', 'Sails')}<td><b>Boats</b></table>",
    "loose pictures": f"{arrow('prev_motif.svg')}\n{arrow('contents_motif.svg')}\n{arrow('next_motif.svg')}<hr>",
    "German": "<table><tr><td><a href=a>Zurück</a><td><a href=b>Nach oben</a><td><a href=c>Weiter</a></table>",
    "Japanese": "<table><tr><td><a href=a>前のページ</a><td><a href=b>目次</a><td><a href=c>次のページ</a></table>",
}


@pytest.mark.parametrize("row", PAGING.values(), ids=PAGING)
def test_rows_of_paging_are_left_out_whatever_they_are_called(row: str) -> None:
    assert outline(f"{row}{TEXT}{row}") == KEPT
    assert outline(f"<div class=x>{row}<div>{TEXT}</div>{row}</div>") == KEPT


@pytest.mark.parametrize(
    ("inside", "kept"),
    [
        ("<p>The <a href=n>next</a> chapter is about oars.</p>", ["The next chapter is about oars."]),
        ("<p><img src=next.png alt=Next></p>", ["[next.png]"]),  # no link
        (f"<p>{arrow('map.png', 'A map')}</p>", ["[map.png]"]),
        ("<table><tr><td>Next<td>Go on<tr><td>Back<td>Return</table>", ["Next | Go on\nBack | Return"]),
        ("<p>a > b</p>", ["a > b"]),
    ],
)
def test_what_only_looks_like_paging_stays(inside: str, kept: list[str]) -> None:
    assert outline(f"<div>{TEXT}{inside}<p>{PROSE} 3</p></div>") == [*KEPT, *kept, "PROSE 3"]


def test_a_heading_named_after_a_menu_stays() -> None:
    headings = f"<h2 class='anchor anchorTargetStickyNavbar_Vzrq'>Hulls</h2><p>{PROSE} 3</p>"
    assert outline(f"<article>{TEXT}{headings}</article>") == [*KEPT, "Hulls", "PROSE 3"]


def test_a_table_of_contents_with_numbers_is_not_the_content() -> None:
    rows = "".join(
        f"<tr><td>{n}.{n}</td><td><a href=/{n}>Chapter about boats, no. {n}</a></td></tr>" for n in range(90)
    )
    text = "<h1>Boats</h1><p>A boat floats on water, as all the world knows.</p>"
    assert outline(f"<div class=left><table>{rows}</table></div><div class=right>{text}</div>") == [
        "Boats",
        "A boat floats on water, as all the world knows.",
    ]


def test_the_last_line_of_an_index_is_not_the_content() -> None:
    line = "<p>We welcome your aid; please write to us when you find mistakes.</p>"
    assert "Another chapter, number 3" in outline(f"<div><h1>Boats</h1><ul>{ITEMS * 3}</ul>{line}</div>")
    assert "Another chapter, number 3" in outline(f"<div><h1>Boats</h1><ul>{ITEMS * 3}</ul></div><div>{line}</div>")
    foot = f"<div id=foot class=footer_report>{line}</div>"
    assert outline(f"<div><ul>{ITEMS}</ul></div>{foot}") == [f"Another chapter, number {n}" for n in range(6)]


def test_an_image_beside_the_region_belongs_to_it() -> None:
    page = f"<section><div><img src=a.jpg><div class=in><div><h2>Boats</h2><p>{PROSE}</p><p>{PROSE} 2</p>"
    assert outline(f"{page}</div></div></div></section>") == ["[a.jpg]", *KEPT]
    logo = page.replace("<img src=a.jpg>", "<a href=/><img src=a.jpg></a>")
    assert outline(f"{logo}</div></div></div></section>") == KEPT


def test_rows_of_code_are_a_small_part_of_the_content() -> None:
    rows = "".join(
        f"<p><a href={n}><img src={n}.png></a></p><table><tr><td>(define button{n}<tr><td>(parent panel))"
        f"<tr><td>(send button{n} set-the-label-to)</table>"
        for n in range(6)
    )
    lines = outline(f"<ul>{ITEMS}</ul><div class=main><h2>Buttons</h2><p>These are the buttons.</p>{rows}</div>")
    assert lines[:2] == ["Buttons", "These are the buttons."]
    assert [line for line in lines if line[0] == "["] == [f"[{n}.png]" for n in range(6)]


def test_a_section_of_a_page_of_little_prose_is_not_all_of_it() -> None:
    pictures = "".join(f"<a href={n}><img src={n}.png></a>." for n in range(4))
    parts = "".join(
        f"<div><h3>Part {n}</h3><ul><li>Set the colour of it</ul><p>Default: {n}</p></div>" for n in range(20)
    )
    body = (
        f"<ul>{ITEMS}</ul><div><h3>Screenshots</h3>{pictures}</div><div><h3>Description</h3><p>{PROSE}</p></div>{parts}"
    )
    lines = outline(body)
    assert [line for line in lines if line[0] == "["] == [f"[{n}.png]" for n in range(4)]
    assert lines.count("Set the colour of it") == 20
    assert "Another chapter, number 3" not in lines


def test_chinese_and_japanese_sentences_are_short() -> None:
    page = (
        "<div class=t><h1>色</h1><p>マゼンタから黄色へのカラーマップを計算します.</p></div>"
        "<div class=e><h3>例</h3><pre>f = scf(); plot3d1(); f.color_map = spring(32);</pre></div>"
    )
    assert "マゼンタから黄色へのカラーマップを計算します." in outline(f"<ul>{ITEMS}</ul>{page}")


def test_chinese_menus_are_menus() -> None:
    menu = "".join(
        f"<li><a href=/{n}>港口的船只在清晨回来的时候人们都在市场大厅后面等待着他们的消息和新鲜的鱼。</a></li>"
        for n in range(20)
    )
    text = "老港口在市场大厅后面，大多数早晨船只在太阳升起之前就回来了。住在这里很久的人说，水面上的光从不相同。"
    lines = outline(f"<div><ul>{menu}</ul></div><div><h1>港口</h1><p>{text}</p><p>{text}二</p></div>")
    assert lines == ["港口", text, f"{text}二"]


def test_an_address_that_ends_a_page_is_left_out() -> None:
    address = (
        f"<hr><address>Questions? Do you want to help? Write to the authors of this manual at once. {PROSE}</address>"
    )
    assert outline(f"<div>{TEXT}{address}</div>") == KEPT
    assert len(outline(f"<div>{TEXT}<address>Market hall, 1 Harbour Road</address><p>{PROSE} 3</p></div>")) == 5


def test_elements_laid_out_as_a_table_are_read_as_one() -> None:
    cells = "".join(
        f"<div class=col-first><a href=t{n}>TypeOfTheProperty{n}</a></div><div class=col-last>The boat no. {n}</div>"
        for n in range(4)
    )
    inherited = "".join(
        f"<code><a href=i{n}>anInheritedProperty{n}</a>, <a href=j{n}>another{n}</a></code>" for n in range(9)
    )
    lines = outline(
        f"<main>{TEXT}<section class=summary><h2>Properties</h2><div class='summary-table two-columns'>{cells}</div>"
        f"<div class=inherited>{inherited}</div></section><p>{PROSE} 3</p></main>"
    )
    assert [line for line in lines if line.startswith("The boat")] == [f"The boat no. {n}" for n in range(4)]


def test_a_description_said_of_three_members_stays() -> None:
    said = f"{PROSE} {PROSE}"
    members = "".join(f"<h3>member{n}</h3><p>boolean member{n}()</p><p>{said} It is so.</p>" for n in range(3))
    assert sum(line.endswith("It is so.") for line in outline(f"<div>{TEXT}{members}</div>")) == 3


def test_a_suspected_section_named_by_its_heading_stays() -> None:
    picture = "<p><img src=a.png></p>"
    named = f"<div id=market-share class=section><h3>Market share</h3>{picture}</div>"
    other = f"<div id=market-share class=section><h3>Tell others</h3>{picture}</div>"
    assert outline(f"<div>{TEXT}{named}<p>{PROSE} 3</p></div>") == [*KEPT, "Market share", "[a.png]", "PROSE 3"]
    assert outline(f"<div>{TEXT}{other}<p>{PROSE} 3</p></div>") == [*KEPT, "PROSE 3"]


def test_a_section_named_by_a_heading_with_low_lines() -> None:
    section = "<div id=ppc_dens_overlay class='section level4'><h4>ppc_dens_overlay</h4><p><img src=a.png></p></div>"
    body = f"<div>{TEXT}{section}<p>{PROSE} 3</p></div>"
    assert outline(body) == [*KEPT, "ppc_dens_overlay", "[a.png]", "PROSE 3"]


@pytest.mark.parametrize(
    ("text", "is_caption"),
    [
        ("Figure 1. Clock discipline", True),
        ("Fig. 2.3: A boat", True),
        ("Abbildung 4: Ein Boot", True),
        ("図2.12: 船", True),
        ("Рис. 3. Лодка", True),
        ("Figure 1 shows a typical wedge.", False),
        ("Figures of boats", False),
    ],
)
def test_a_line_that_begins_with_a_figure_s_number(text: str, is_caption: bool) -> None:
    assert bool(FIGURE_NUMBER.match(text)) is is_caption
    lines = outline(f"<div>{TEXT}<div><img src=a.png></div><div><p>{text}</p></div><p>{PROSE} 3</p></div>")
    assert lines == [*KEPT, *([f"[a.png]{text}"] if is_caption else ["[a.png]", text]), "PROSE 3"]


@pytest.mark.parametrize(
    ("tag", "names", "kind"),
    [
        ("div", "tocset", Kind.BOILERPLATE),
        ("div", "protocol", Kind.NEUTRAL),
        ("h2", "anchorTargetStickyNavbar", Kind.NEUTRAL),
        ("div", "anchorTargetStickyNavbar", Kind.BOILERPLATE),
    ],
)
def test_names(tag: str, names: str, kind: Kind) -> None:
    assert classify(tag, names) is kind
    assert FOOT.search("footer_report")
    assert not FOOT.search("footnotes")


GENERATOR = '<meta name="generator" content="Sphinx 5.3">'


def test_sections_of_a_manual_named_by_links_are_no_teasers() -> None:
    names = ("curve", "surface", "scatter")
    sections = "".join(
        f"<section><h3><a href={name}.html>{name}_module</a></h3><p>Names of {name}.</p></section>" for name in names
    )
    rows = "".join(
        f"<div class=example><p><a href={name}.py>{name}_example.py</a></p><a href={name}.html><img src={name}.png></a>"
        f"<p>This shows how a {name} is drawn.</p></div>"
        for name in names
    )
    body = f"<main><h1>Boats</h1>{f'<p>{PROSE}</p>' * 4}{sections}<h2>Drawing</h2><div>{rows}</div></main>"
    shown = [f"This shows how a {name} is drawn." for name in names]
    wanted = [f"{name}_module" for name in names] + [f"[{name}.png]" for name in names] + shown
    assert set(wanted) <= set(outline(GENERATOR + body))
    assert not set(wanted) & set(outline(body)), "only what the page says of itself makes the difference"


def test_headings_over_tables_of_data_are_no_titles_of_teasers() -> None:
    table = "<table><tr><th>Name<th>Value<tr><td>length<td>{0}</table>"
    sections = "".join(f"<h3><a href={i}.html>Measured part {i}</a></h3>{table.format(i)}" for i in range(3))
    kept = outline(f"<main><h1>Boats</h1>{f'<p>{PROSE}</p>' * 4}{sections}</main>")
    assert [text for text in kept if text.startswith("Measured")] == [f"Measured part {i}" for i in range(3)]
