"""The six sites of the crawl: who they are, where their files lie, and the HTML of their pages.

Each site has a template of its own (article, gallery of figures, table, blog with a sidebar, manual, plain divs), with
the navigation, headers, footers, sidebars, logos, icons and trackers that surround the content on the real web. All
addresses end in ``.example``, which RFC 2606 reserves.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A picture with its words, as it stands on a page."""

    picture_html: str
    caption: str  # as the page writes it
    paragraph: str


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """What a template needs to know."""

    url: str
    number: int  # within its site, from 1
    title: str
    introduction: tuple[str, ...]
    blocks: tuple[Block, ...]
    closing: tuple[str, ...]
    tracker_url: str
    date: str  # "12 March 2025"
    meta: str = ""  # further tags of the head
    base_href: str | None = None
    language: str = "en"
    charset: str = "utf-8"


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """A site: its host, its words that are not content, and its template."""

    label: str
    host: str
    name: str
    tint: tuple[int, int, int]
    navigation: tuple[str, ...]
    footer: str
    asides: tuple[str, ...]  # cookie notice, newsletter, sidebar: on every page, never content
    page_path: str  # with {n}
    picture_url: str  # with {n} (page) and {k} (picture on the page); ends in .png
    link_form: str  # see `references.link`
    caption_place: str  # figcaption | paragraph | alt
    render: Callable[[Site, Page], str]

    @property
    def boilerplate(self) -> tuple[str, ...]:
        return (self.footer, *self.asides)

    def page_url(self, number: int) -> str:
        return f"https://{self.host}{self.page_path.format(n=number)}"

    def url_of_picture(self, page_number: int, index: int) -> str:
        return self.picture_url.format(n=page_number, k=index)

    def asset(self, name: str) -> str:
        return f"https://{self.host}/assets/{name}"


def _head(site: Site, page: Page) -> str:
    base = f'<base href="{page.base_href}">' if page.base_href else ""
    return (
        f'<!DOCTYPE html>\n<html lang="{page.language}">\n<head>\n<meta charset="{page.charset}">{base}\n'
        f"<title>{html.escape(page.title)} - {site.name}</title>\n{page.meta}"
        '<meta name="viewport" content="width=device-width">\n'
        f'<link rel="stylesheet" href="{site.asset("style.css")}">\n'
        '<script>window.dataLayer = window.dataLayer || []; function track(x) { dataLayer.push(x); }</script>\n</head>\n'
    )


def _tracker(page: Page) -> str:
    return f'<img src="{html.escape(page.tracker_url)}" width="1" height="1" alt="" style="display:none">'


def _links(site: Site, wrap: str = "{}") -> str:
    parts = [f'<a href="https://{site.host}/{label.lower().replace(" ", "-")}/">{label}</a>' for label in site.navigation]
    return "".join(wrap.format(part) for part in parts)


def _paragraphs(texts: tuple[str, ...]) -> str:
    return "\n".join(f"<p>{html.escape(text)}</p>" for text in texts)


def _banner(site: Site, extra: str = "") -> str:
    return f'<img src="{site.asset("campaign.png")}" alt="Join us" width="160" height="96"{extra}>'


def _with_banner(site: Site, blocks: list[str], markup: str) -> str:
    """The blocks with a banner after the third: the same picture on every page, in the midst of the content."""
    return "\n".join([*blocks[:3], *([markup.format(_banner(site))] if blocks else []), *blocks[3:]])


def render_article(site: Site, page: Page) -> str:
    """An <article> with <figure> and <figcaption>."""
    blocks = [
        f"<figure>{b.picture_html}<figcaption>{html.escape(b.caption)}</figcaption></figure>\n"
        f"<p>{html.escape(b.paragraph)}</p>"
        for b in page.blocks
    ]
    return (
        f'{_head(site, page)}<body>\n<header class="site-header"><a href="https://{site.host}/">'
        f'<img src="{site.asset("logo.png")}" alt="{site.name}" width="192" height="48"></a>\n'
        f"<nav><ul>{_links(site, '<li>{}</li>')}</ul></nav></header>\n"
        f'<article>\n<h1>{html.escape(page.title)}</h1>\n<p class="byline"><img src="{site.asset("icon-pen.png")}" '
        f'alt="" width="16" height="16"> {page.date}</p>\n{_paragraphs(page.introduction)}\n'
        f"{_with_banner(site, blocks, '<p>{}</p>')}\n{_paragraphs(page.closing)}\n</article>\n"
        f'<aside class="newsletter"><p>{site.asides[0]}</p></aside>\n'
        f'<footer><p>{site.footer}</p><p class="cookies">{site.asides[1]}</p></footer>\n{_tracker(page)}\n</body>\n</html>\n'
    )


def render_gallery(site: Site, page: Page) -> str:
    """A gallery: a grid of figures inside <main>, each with its text."""
    blocks = [
        f'<div class="work"><figure>{b.picture_html}<figcaption>{html.escape(b.caption)}</figcaption></figure>\n'
        f'<div class="label"><p>{html.escape(b.paragraph)}</p></div></div>'
        for b in page.blocks
    ]
    return (
        f'{_head(site, page)}<body class="room">\n<header><img class="logo" src="{site.asset("logo.png")}" alt="">'
        f'<nav class="main-nav">{_links(site)}</nav></header>\n<main>\n<h1>{html.escape(page.title)}</h1>\n'
        f'<div class="wall-text">{_paragraphs(page.introduction)}</div>\n'
        f"{_with_banner(site, blocks, '<p>{}</p>')}\n{_paragraphs(page.closing)}\n</main>\n"
        f'<div class="ticket-bar"><p>{site.asides[0]}</p></div>\n'
        f'<footer><p>{site.asides[1]}</p><p>{site.footer}</p>'
        f'<img src="{site.asset("button-share.png")}" alt="Share" width="64" height="64"></footer>\n'
        f"{_tracker(page)}\n</body>\n</html>\n"
    )


def render_table(site: Site, page: Page) -> str:
    """A <main> with a table: a picture in one cell, its words in the other."""
    blocks = [
        f"<tr><td>{b.picture_html}</td><td><p>{html.escape(b.caption)}</p>\n"
        f"<p>{html.escape(b.paragraph)}</p></td></tr>"
        for b in page.blocks
    ]
    table = _with_banner(site, blocks, '<tr><td colspan="2">{}</td></tr>')
    return (
        f'{_head(site, page)}<body>\n<div id="masthead"><img src="{site.asset("logo.png")}" alt="{site.name}"> '
        f'<span>{site.name}</span></div>\n<nav id="menu"><ul>{_links(site, "<li>{}</li>")}</ul></nav>\n<main>\n'
        f"<h1>{html.escape(page.title)}</h1>\n{_paragraphs(page.introduction)}\n"
        f"<table>\n<tr><th>Plate</th><th>What it shows</th></tr>\n{table}\n</table>\n{_paragraphs(page.closing)}\n</main>\n"
        f'<aside id="shop"><p>{site.asides[0]}</p></aside>\n<footer><p>{site.footer}</p><p>{site.asides[1]}</p></footer>\n'
        f"{_tracker(page)}\n</body>\n</html>\n"
    )


def render_blog(site: Site, page: Page) -> str:
    """A blog: a post with pictures in paragraphs, a sidebar with links and a badge."""
    blocks = [
        f'<p>{b.picture_html}</p>\n<p class="wp-caption-text">{html.escape(b.caption)}</p>\n'
        f"<p>{html.escape(b.paragraph)}</p>"
        for b in page.blocks
    ]
    recent = "".join(f'<li><a href="{site.page_url(n)}">Entry number {n}</a></li>' for n in range(1, 7))
    return (
        f'{_head(site, page)}<body class="single-post">\n<div id="page">\n<div id="header"><h2><a href="https://{site.host}/">'
        f'{site.name}</a></h2><div class="nav-menu">{_links(site)}</div></div>\n<div id="content" class="post">\n'
        f'<h1 class="entry-title">{html.escape(page.title)}</h1>\n<div class="entry-meta">Posted on {page.date}</div>\n'
        f'<div class="entry-content">\n{_paragraphs(page.introduction)}\n{_with_banner(site, blocks, "<p>{}</p>")}\n'
        f'{_paragraphs(page.closing)}\n</div>\n<div class="sharedaddy"><a href="#"><img src="{site.asset("icon-like.png")}" '
        f'width="24" height="24" alt="Like"></a> <a href="#"><img src="{site.asset("icon-mail.png")}" width="24" '
        f'height="24" alt="Mail"></a></div>\n</div>\n<div id="sidebar" class="sidebar widget-area">'
        f'<div class="widget"><h3>Recent entries</h3><ul>{recent}</ul></div>'
        f'<div class="widget"><p>{site.asides[0]}</p><img src="https://ads.example/square/125.png" width="125" '
        f'height="125" alt="Advertisement"></div></div>\n<div id="footer" class="site-footer"><p>{site.footer}</p>'
        f"<p>{site.asides[1]}</p></div>\n</div>\n{_tracker(page)}\n</body>\n</html>\n"
    )


def render_manual(site: Site, page: Page) -> str:
    """A manual: sections with a heading, a side menu, breadcrumbs, and a link to the next page."""
    blocks = [
        f'<section id="sample-{k}">\n<h2>Sample {page.number}.{k}</h2>\n<figure>{b.picture_html}\n'
        f"<figcaption>{html.escape(b.caption)}</figcaption></figure>\n<p>{html.escape(b.paragraph)}</p>\n</section>"
        for k, b in enumerate(page.blocks, 1)
    ]
    return (
        f'{_head(site, page)}<body>\n<nav class="breadcrumbs"><img src="{site.asset("icon-home.png")}" width="16" height="16" '
        f'alt="Home">{_links(site, " &gt; {}")}</nav>\n<div class="sidebar-menu"><nav><p>{site.asides[0]}</p><ul>'
        f'{_links(site, "<li>{}</li>")}</ul></nav></div>\n<main role="main">\n<h1>{html.escape(page.title)}</h1>\n'
        f"{_paragraphs(page.introduction)}\n{_with_banner(site, blocks, '<p>{}</p>')}\n{_paragraphs(page.closing)}\n</main>\n"
        f'<nav class="pager"><a href="{site.page_url(page.number + 1)}">Next</a></nav>\n'
        f'<footer><img src="{site.asset("logo.png")}" alt=""><p>{site.footer}</p><p>{site.asides[1]}</p></footer>\n'
        f"{_tracker(page)}\n</body>\n</html>\n"
    )


def render_divs(site: Site, page: Page) -> str:
    """Plain divs all the way, as a home-made page has them; the captions are in the alt texts only."""
    blocks = [
        f'<div class="item">{b.picture_html}<div class="text">{html.escape(b.paragraph)}</div></div>' for b in page.blocks
    ]
    introduction = "".join(f"<div>{html.escape(text)}</div>\n" for text in page.introduction)
    closing = "".join(f"<div>{html.escape(text)}</div>\n" for text in page.closing)
    return (
        f'{_head(site, page)}<body>\n<div class="top"><img src="{site.asset("logo.png")}" alt="logo">'
        f'<div class="menu">{_links(site, "{} | ")}</div></div>\n<div class="main">\n<div class="title">'
        f"<b>{html.escape(page.title)}</b></div>\n{introduction}"
        f"{_with_banner(site, blocks, '<div>{}</div>')}\n{closing}</div>\n"
        f'<div class="footer"><div>{site.asides[0]}</div><div>{site.footer}</div><div>{site.asides[1]}</div></div>\n'
        f"{_tracker(page)}\n</body>\n</html>\n"
    )


SITES = (
    Site(
        "shapes", "shapes.example", "Shape Notes", (52, 92, 128), ("Notes", "Drawers", "People", "Contact"),
        "Copyright 2025 the makers of Shape Notes. All rights reserved.",
        ("Get our letter with new notes every month: leave your address at the desk.",
         "This site uses cookies so that it can remember what you have read."),
        "/notes/{n:04d}/", "https://shapes.example/img/{n:04d}/{k}.png", "root", "figcaption", render_article,
    ),
    Site(
        "gallery", "gallery.example", "The Plain Gallery", (96, 64, 88), ("Visit", "Rooms", "Shop", "Press"),
        "The Plain Gallery is a registered charity and is open from ten to five.",
        ("Tickets are sold at the door and on our site until four in the afternoon.",
         "By using this site you agree to our terms and to our privacy policy."),
        "/rooms/room-{n}.html", "https://img.gallery.example/rooms/{n}/{k}.png", "absolute", "figcaption", render_gallery,
    ),
    Site(
        "atlas", "atlas.example", "Atlas of Forms", (70, 96, 72), ("Sheets", "Index", "Order", "Imprint"),
        "Atlas of Forms, published by the Atlas Press, all sheets printed on heavy paper.",
        ("Order the bound edition now and save a tenth of the price of the single sheets.",
         "We keep a small file on your computer to count the visits to our sheets."),
        "/plates/{n}.html", "https://atlas.example/plates/pics/{n}/{k}.png", "relative", "paragraph", render_table,
    ),
    Site(
        "blog", "blog.example", "Rain and Paper", (64, 88, 120), ("Home", "About", "Archive"),
        "Powered by a small program that was written on a train.",
        ("I draw and I write, and you can hire me for one of the two.",
         "All entries may be shared as long as they are shared as a whole."),
        "/2025/entry-{n}/", "https://static.blog.example/uploads/{n}/{k}.png", "scheme", "paragraph", render_blog,
    ),
    Site(
        "docs", "docs.example", "Plotter Manual", (84, 84, 92), ("Guide", "Samples", "Reference", "Changes"),
        "Plotter Manual, built from the sources of release four on the first of the month.",
        ("You are reading the manual of release four, which is the newest one.",
         "Help us to improve this manual and report what is wrong with it."),
        "/release-4/samples/{n}.html", "https://docs.example/release-4/_images/{n}/{k}.png", "relative", "figcaption",
        render_manual,
    ),
    Site(
        "studio", "www.studio.example", "Block Print Studio", (120, 76, 52), ("Start", "Sets", "Prices", "Visit us"),
        "Block Print Studio, the house with the green door, open on weekdays only.",
        ("Our prices are without tax, and we ship within a week of your order.",
         "Site made by hand, best seen with any browser that you like."),
        "/work.php?set={n}", "https://www.studio.example/files/set{n}/{k}.png", "root", "alt", render_divs,
    ),
)  # fmt: skip
