"""The HTML of the six sites: one template each, with the boilerplate that surrounds content on the real web.

A template is a function of a site and a page. They differ in what they build on (article, grid of figures, table, blog
with a sidebar, manual, plain divs) and in where a caption stands. Logos, icons, trackers, a banner in the midst of the
content, navigation and notices are the same on all pages of a site.
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
    base = f'\n<base href="{page.base_href}">' if page.base_href else ""
    return f"""<!DOCTYPE html>
<html lang="{page.language}">
<head>
<meta charset="{page.charset}">{base}
<title>{html.escape(page.title)} - {site.name}</title>
{page.meta}<meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="{site.asset("style.css")}">
<script>window.dataLayer = window.dataLayer || []; function track(x) {{ dataLayer.push(x); }}</script>
</head>"""


def _tail(page: Page) -> str:
    tracker = f'<img src="{html.escape(page.tracker_url)}" width="1" height="1" alt="" style="display:none">'
    return f"{tracker}\n</body>\n</html>\n"


def _links(site: Site, wrap: str = "{}") -> str:
    addresses = [f"https://{site.host}/{label.lower().replace(' ', '-')}/" for label in site.navigation]
    links = [f'<a href="{url}">{label}</a>' for url, label in zip(addresses, site.navigation)]
    return "".join(wrap.format(link) for link in links)


def _paragraphs(texts: tuple[str, ...], tag: str = "p") -> str:
    return "\n".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)


def _content(site: Site, page: Page, block_markup: str, banner_markup: str) -> str:
    """The blocks, with a banner after the third: the same picture on every page, in the midst of the content."""
    blocks = [
        block_markup.format(
            picture=block.picture_html, caption=html.escape(block.caption), text=html.escape(block.paragraph),
            number=f"{page.number}.{k}",
        )
        for k, block in enumerate(page.blocks, 1)
    ]  # fmt: skip
    banner = f'<img src="{site.asset("campaign.png")}" alt="Join us" width="160" height="96">'
    return "\n".join([*blocks[:3], *([banner_markup.format(banner)] if blocks else []), *blocks[3:]])


def render_article(site: Site, page: Page) -> str:
    """An <article> with <figure> and <figcaption>."""
    block = "<p>{text}</p>\n<figure>{picture}<figcaption>{caption}</figcaption></figure>"
    return f"""{_head(site, page)}
<body>
<header class="site-header">
<a href="https://{site.host}/"><img src="{site.asset("logo.png")}" alt="{site.name}" width="192" height="48"></a>
<nav><ul>{_links(site, "<li>{}</li>")}</ul></nav>
</header>
<article>
<h1>{html.escape(page.title)}</h1>
<p class="byline"><img src="{site.asset("icon-pen.png")}" alt="" width="16" height="16"> {page.date}</p>
{_paragraphs(page.introduction)}
{_content(site, page, block, "<p>{}</p>")}
{_paragraphs(page.closing)}
</article>
<aside class="newsletter"><p>{site.asides[0]}</p></aside>
<footer><p>{site.footer}</p><p class="cookies">{site.asides[1]}</p></footer>
{_tail(page)}"""


def render_gallery(site: Site, page: Page) -> str:
    """A gallery: a grid of figures inside <main>, each with its text."""
    block = (
        '<div class="work"><div class="label"><p>{text}</p></div>\n'
        "<figure>{picture}<figcaption>{caption}</figcaption></figure></div>"
    )
    return f"""{_head(site, page)}
<body class="room">
<header><img class="logo" src="{site.asset("logo.png")}" alt=""><nav class="main-nav">{_links(site)}</nav></header>
<main>
<h1>{html.escape(page.title)}</h1>
<div class="wall-text">{_paragraphs(page.introduction)}</div>
{_content(site, page, block, "<p>{}</p>")}
{_paragraphs(page.closing)}
</main>
<div class="ticket-bar"><p>{site.asides[0]}</p></div>
<footer><p>{site.asides[1]}</p><p>{site.footer}</p>
<img src="{site.asset("button-share.png")}" alt="Share" width="64" height="64"></footer>
{_tail(page)}"""


def render_table(site: Site, page: Page) -> str:
    """A <main> with a table: a picture in one cell, its words in the other."""
    block = "<tr><td><p>{text}</p>\n<p>{caption}</p></td><td>{picture}</td></tr>"
    return f"""{_head(site, page)}
<body>
<div id="masthead"><img src="{site.asset("logo.png")}" alt="{site.name}"> <span>{site.name}</span></div>
<nav id="menu"><ul>{_links(site, "<li>{}</li>")}</ul></nav>
<main>
<h1>{html.escape(page.title)}</h1>
{_paragraphs(page.introduction)}
<table>
<tr><th>What it shows</th><th>Plate</th></tr>
{_content(site, page, block, '<tr><td colspan="2">{}</td></tr>')}
</table>
{_paragraphs(page.closing)}
</main>
<aside id="shop"><p>{site.asides[0]}</p></aside>
<footer><p>{site.footer}</p><p>{site.asides[1]}</p></footer>
{_tail(page)}"""


def render_blog(site: Site, page: Page) -> str:
    """A blog: a post with pictures in paragraphs, a sidebar with links and an advertisement."""
    block = '<p>{text}</p>\n<p>{picture}</p>\n<p class="wp-caption-text">{caption}</p>'
    recent = "".join(f'<li><a href="{site.page_url(n)}">Entry number {n}</a></li>' for n in range(1, 7))
    buttons = " ".join(
        f'<a href="#"><img src="{site.asset(name)}" width="24" height="24" alt="{alt}"></a>'
        for name, alt in (("icon-like.png", "Like"), ("icon-mail.png", "Mail"))
    )
    return f"""{_head(site, page)}
<body class="single-post">
<div id="page">
<div id="header"><h2><a href="https://{site.host}/">{site.name}</a></h2><div class="nav-menu">{_links(site)}</div></div>
<div id="content" class="post">
<h1 class="entry-title">{html.escape(page.title)}</h1>
<div class="entry-meta">Posted on {page.date}</div>
<div class="entry-content">
{_paragraphs(page.introduction)}
{_content(site, page, block, "<p>{}</p>")}
{_paragraphs(page.closing)}
</div>
<div class="sharedaddy">{buttons}</div>
</div>
<div id="sidebar" class="sidebar widget-area">
<div class="widget"><h3>Recent entries</h3><ul>{recent}</ul></div>
<div class="widget"><p>{site.asides[0]}</p>
<img src="https://ads.example/square/125.png" width="125" height="125" alt="Advertisement"></div>
</div>
<div id="footer" class="site-footer"><p>{site.footer}</p><p>{site.asides[1]}</p></div>
</div>
{_tail(page)}"""


def render_manual(site: Site, page: Page) -> str:
    """A manual: sections with a heading, a side menu, breadcrumbs, and a link to the next page."""
    block = (
        "<section>\n<h2>Sample {number}</h2>\n<p>{text}</p>\n"
        "<figure>{picture}<figcaption>{caption}</figcaption></figure>\n</section>"
    )
    return f"""{_head(site, page)}
<body>
<nav class="breadcrumbs"><img src="{site.asset("icon-home.png")}" width="16" height="16" alt="Home">
{_links(site, " &gt; {}")}</nav>
<div class="sidebar-menu"><nav><p>{site.asides[0]}</p><ul>{_links(site, "<li>{}</li>")}</ul></nav></div>
<main role="main">
<h1>{html.escape(page.title)}</h1>
{_paragraphs(page.introduction)}
{_content(site, page, block, "<p>{}</p>")}
{_paragraphs(page.closing)}
</main>
<nav class="pager"><a href="{site.page_url(page.number + 1)}">Next</a></nav>
<footer><img src="{site.asset("logo.png")}" alt=""><p>{site.footer}</p><p>{site.asides[1]}</p></footer>
{_tail(page)}"""


def render_divs(site: Site, page: Page) -> str:
    """Plain divs all the way, as a home-made page has them; the captions are in the alt texts only."""
    block = '<div class="item"><div class="text">{text}</div>{picture}</div>'
    return f"""{_head(site, page)}
<body>
<div class="top"><img src="{site.asset("logo.png")}" alt="logo"><div class="menu">{_links(site, "{} | ")}</div></div>
<div class="main">
<div class="title"><b>{html.escape(page.title)}</b></div>
{_paragraphs(page.introduction, "div")}
{_content(site, page, block, "<div>{}</div>")}
{_paragraphs(page.closing, "div")}
</div>
<div class="footer"><div>{site.asides[0]}</div><div>{site.footer}</div><div>{site.asides[1]}</div></div>
{_tail(page)}"""
