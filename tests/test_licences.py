"""Licence statements: where they stand decides what they are said of."""

import json
import time

import lxml.html
import pytest

from gobelin.data.model import Licence
from gobelin.transforms.rights.licences import MAX_LICENCES, creative_commons, find_licences

URL = "https://a.example/dir/page.html"
BY = "https://creativecommons.org/licenses/by/4.0/"


def find(html: str) -> tuple[Licence, ...]:
    return find_licences(lxml.html.document_fromstring(html), URL)


def json_ld(value: object) -> str:
    return f"<script type='application/ld+json'>{json.dumps(value)}</script><p>x"


@pytest.mark.parametrize(
    ("html", "licences"),
    [
        ("<p>x", ()),
        ("<p>CC BY 4.0, see creativecommons.org/licenses/by/4.0/", ()),
        # rel
        ("<link rel=license href='https://l.example/by'><p>x", [("https://l.example/by", "page", "link[rel=license]")]),
        ("<a rel='nofollow License' href='/by'>x</a>", [("https://a.example/by", "unknown", "a[rel=license]")]),
        ("<a rel=cc:license href=by>x</a>", [("https://a.example/dir/by", "unknown", "a[rel=license]")]),
        ("<a rel=license>x</a><a rel=license href=''>x</a><a rel=license href='javascript:x'>x</a>", ()),
        ("<a rel=licensee href=/by>x</a><a rel=nofollow href=/by>x</a>", ()),
        (f"<link rel=copyright href={BY}><p>x", [(BY, "page", "link[rel=copyright]")]),
        ("<link rel=copyright href=/imprint><p>x", ()),
        # links to Creative Commons
        (f"<p>See <a href={BY}>CC BY</a>", [(BY, "unknown", "a[href]")]),
        (f"<p><a href='{BY}deed.de?x=1#y'>CC</a>", [(f"{BY}deed.de", "unknown", "a[href]")]),
        ("<p><a href='//creativecommons.org/licenses/ by/4.0/'>CC</a>", [(BY, "unknown", "a[href]")]),
        ("<a href=https://creativecommons.org/about/>x</a><a href=https://creativecommons.org/licenses/>x</a>", ()),
        (f"<a href=https://share.example/?u={BY}>x</a>", ()),
        # the same twice is one; http and https are two, as found
        (f"<p><a href={BY}>x</a><a rel=license href={BY}>x</a>", [(BY, "unknown", "a[href]")]),
        (
            f"<p><a href={BY}>x</a><a href={BY.replace('https', 'http')}>x</a>",
            [(BY.replace("https", "http"), "unknown", "a[href]"), (BY, "unknown", "a[href]")],
        ),
        (f"<p><a href={BY}>x</a><footer><a href={BY}>x</a></footer>", [(BY, "page", "a[href] in footer")]),
        # footers and notices
        (f"<footer><p><a href={BY}>x</a></footer>", [(BY, "page", "a[href] in footer")]),
        (f"<div class=site-footer><p><a href={BY}>x</a></div>", [(BY, "page", "a[href] in footer")]),
        (f"<div role=contentinfo><a href={BY}>x</a></div>", [(BY, "page", "a[href] in footer")]),
        (f"<body class=has-footer><p><a href={BY}>x</a>", [(BY, "unknown", "a[href]")]),
        (f"<ul class=post-copyright><li><a href={BY}>x</a></ul>", [(BY, "page", "a[href] in notice")]),
        (f"<article class=license-news><p><a href={BY}>x</a></article>", [(BY, "unknown", "a[href]")]),
        (f"<div id=seitenfuss><p><a href={BY}>x</a></div>", [(BY, "page", "a[href] in footer")]),
        (
            f"<p><a href={BY}><img src=//i.creativecommons.org/l/by/4.0/88x31.png></a>",
            [(BY, "page", "a[href] in badge")],
        ),
        (f"<p><a href={BY}><img src=harbour.jpg></a>", [(BY, "unknown", "a[href]")]),
        (f"<aside class=textwidget><p><a href={BY}>x</a></aside>", [(BY, "page", "a[href] in sidebar")]),
        (f"<main class=with-sidebar><p><a href={BY}>x</a></main>", [(BY, "unknown", "a[href]")]),
        # meta
        (f"<meta name=DCTERMS.license content={BY}><p>x", [(BY, "page", "meta dcterms.license")]),
        (f"<meta name=dc.rights content='CC BY, see {BY}'><p>x", [(BY, "page", "meta dc.rights")]),
        (f"<meta property=og:license content={BY}><p>x", [(BY, "page", "meta og:license")]),
        ("<meta name=dc.rights content='All rights reserved'><p>x", ()),
        ("<meta name=copyright content='https://a.example/imprint'><p>x", ()),
        (f"<meta name=description content='{BY}'><p>x", ()),
        # microdata
        ("<link itemprop=license href=/by><p>x", [("https://a.example/by", "page", "link[itemprop=license]")]),
        ("<p><a itemprop=license href=/by>x</a>", [("https://a.example/by", "unknown", "a[itemprop=license]")]),
        (f"<meta itemprop=license content={BY}><p>x", [(BY, "page", "meta[itemprop=license]")]),
        (
            f"<div itemscope itemtype=http://schema.org/ImageObject><a itemprop=license href={BY}>x</a></div>",
            [(BY, "image", "a[itemprop=license] in ImageObject")],
        ),
        (
            f"<p itemscope itemtype=https://schema.org/ImageObject><link itemprop=license href={BY}></p>",
            [(BY, "image", "link[itemprop=license] in ImageObject")],
        ),
        (
            f"<p itemscope itemtype=https://schema.org/BlogPosting><a itemprop=license href={BY}>x</a>",
            [(BY, "page", "a[itemprop=license] in BlogPosting")],
        ),
        (
            f"<p itemscope itemtype=https://schema.org/Person><a itemprop=license href={BY}>x</a>",
            [(BY, "unknown", "a[itemprop=license]")],
        ),
    ],
)
def test_statements_of_pages(html: str, licences: list[tuple[str, str, str]]) -> None:
    assert find(html) == tuple(Licence(*each) for each in licences)


@pytest.mark.parametrize(
    ("html", "scope", "evidence", "image"),
    [
        (f"<figure><img src=1.jpg><figcaption>A, <a href={BY}>CC</a></figcaption></figure>", "image",
         "a[href] in figcaption", "1.jpg"),
        (f"<figure><img src=1.jpg><p><a rel=license href={BY}>CC</a></figure>", "image",
         "a[rel=license] in figure", "1.jpg"),
        # A figure counts more than what it is in, and than a badge in it.
        (f"<footer><figure><a href={BY}><img src=https://i.creativecommons.org/l/by/4.0/88x31.png></a>"
         "<img data-src=2.jpg src=data:image/gif;base64,R0></figure></footer>", "image", "a[href] in figure", "2.jpg"),
        (f"<div class=wp-caption><img src=1.jpg><p class=wp-caption-text><a href={BY}>CC</a></div>", "image",
         "a[href] in caption", "1.jpg"),
        (f"<div><img src=1.jpg><span class=copyright>Photo <a href={BY}>CC</a></span></div>", "image",
         "a[href] in caption", "1.jpg"),
        (f"<div itemscope itemtype=https://schema.org/ImageObject><img itemprop=contentUrl src=1.jpg><p>x"
         f"<a itemprop=license href={BY}>CC</a></div>", "image", "a[itemprop=license] in ImageObject", "1.jpg"),
        (f"<div itemscope itemtype=https://schema.org/Photograph><img src=1.jpg>"
         f"<meta itemprop=license content={BY}></div>", "image", "meta[itemprop=license] in Photograph", "1.jpg"),
        # Which of two pictures, or whether any, cannot be told.
        (f"<div><img src=1.jpg><img src=2.jpg><span class=credit><a href={BY}>CC</a></span></div>", "unknown",
         "a[href]", None),
        (f"<figure><figcaption><a href={BY}>CC</a></figcaption></figure>", "unknown", "a[href] in figcaption", None),
        (f"<article><img src=1.jpg><p class=credits><a href={BY}>CC</a></article>", "unknown", "a[href]", None),
        (f"<p><img src=1.jpg> <a href={BY}>CC</a></p>", "unknown", "a[href]", None),
        ("<div><img src=1.jpg>" + "<p>x" * 100 + f"<p class=license><a href={BY}>CC</a></div>", "page",
         "a[href] in notice", None),
        (f"<div class=license><a rel=license href={BY}><img src=/cc-by.png></a></div>", "page",
         "a[rel=license] in notice", None),
    ],
)  # fmt: skip
def test_statements_of_images(html: str, scope: str, evidence: str, image: str | None) -> None:
    image_url = image and f"https://a.example/dir/{image}"
    assert find(f"<div>{html}</div>") == (Licence(BY, scope, evidence, image_url),)


@pytest.mark.parametrize(
    ("value", "licences"),
    [
        ({"@type": "Article", "license": BY}, [(BY, "page", None)]),
        ({"@type": ["Thing", "WebPage"], "license": [BY, "/terms"]},
         [("https://a.example/terms", "page", None), (BY, "page", None)]),
        ({"@type": "Dataset", "license": {"@type": "CreativeWork", "url": BY}}, [(BY, "unknown", None)]),
        ({"license": {"@id": BY}}, [(BY, "unknown", None)]),
        ({"@type": "ImageObject", "contentUrl": "/1.jpg", "license": BY}, [(BY, "image", "https://a.example/1.jpg")]),
        ({"@type": "ImageObject", "license": BY}, [(BY, "image", None)]),
        ({"@graph": [{"a": {"b": {"@type": "ImageObject", "url": "https://i.example/1", "license": BY}}}]},
         [(BY, "image", "https://i.example/1")]),
        ({"@type": "Article", "license": "CC BY 4.0"}, []),
        ({"@type": "Article", "license": 5}, []),
        ({"@type": "ImageObject", "acquireLicensePage": "https://a.example/buy"}, []),
        ({"@type": 5, "license": BY}, [(BY, "unknown", None)]),
        ("license", []),
    ],
)  # fmt: skip
def test_json_ld(value: object, licences: list[tuple[str, str, str | None]]) -> None:
    assert find(json_ld(value)) == tuple(Licence(u, scope, "json-ld license", image) for u, scope, image in licences)


@pytest.mark.parametrize(
    ("before", "after"), [("<!--", "-->"), ("//<![CDATA[\n", "\n//]]>"), (" \n", ";\n"), ("\n<![CDATA[", "]]>")]
)
def test_json_ld_in_wrappings(before: str, after: str) -> None:
    body = f'{{"@type": "Article", "headline": "two\nlines", "license": "{BY}"}}'
    assert find(f"<script type='Application/LD+JSON'>{before}{body}{after}</script><p>x") == (
        Licence(BY, "page", "json-ld license"),
    )


@pytest.mark.parametrize(
    "script",
    [
        "<script>{'license': 1}</script>",
        f'<script>{{"license": "{BY}"}}</script>',
        '<script type="application/ld+json">{"license": </script>',
        '<script type="application/ld+json">{"license": "http://["}</script>',
        '<script type="application/ld+json">' + '{"license":' * 50_000 + "</script>",
        '<script type="application/ld+json">{"license": ' + "[" * 50_000 + "</script>",
        '<script type="application/ld+json">{"license": ' + "1" * 50_000 + "}</script>",
        '<script type="application/ld+json"></script>',
    ],
)
def test_what_is_no_json_ld(script: str) -> None:
    assert find(script + "<p>x") == ()


def test_a_lone_surrogate_can_be_written() -> None:
    for licence in find(json_ld({"@type": "Article", "license": "https://a.example/\ud800"})):
        licence.uri.encode()


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (BY, "CC BY 4.0"),
        ("http://www.CreativeCommons.org/licenses/BY-NC-SA/3.0/at/deed.de", "CC BY-NC-SA 3.0"),
        ("//creativecommons.org/licenses/by-nd/2.5", "CC BY-ND 2.5"),
        ("https://creativecommons.org/licenses/ by-sa/4.0/legalcode", "CC BY-SA 4.0"),
        ("https://creativecommons.org/licenses/by/", "CC BY"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0 1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "PDM 1.0"),
        ("https://creativecommons.org/licenses/", None),
        ("https://creativecommons.org/licenses/bypass/", None),
        ("https://creativecommons.org.evil.example/licenses/by/4.0/", None),
        ("https://a.example/creativecommons.org/licenses/by/4.0/", None),
        ("http://[", None),
        ("", None),
    ],
)
def test_creative_commons(uri: str, name: str | None) -> None:
    assert creative_commons(uri) == name


@pytest.mark.parametrize(
    "html",
    [
        f"<a href={BY}>x</a>" * 20_000,
        "<div class=caption>" * 200 + f"<a href={BY}>x</a>" * 5_000,
        "<figure>" + f"<a href={BY}>x</a>" * 20_000 + "<img src=1.jpg>",
        "".join(f"<a rel=license href=/{n}>x</a>" for n in range(20_000)),
        "<meta name=dcterms.license content='" + "http://" * 200_000 + "'>",
        "".join(f"<meta name=dcterms.license content=http://a/{n}>" for n in range(20_000)),
        "<script type=application/ld+json>" + " " * 900_000 + '"license" x</script>',
        "<script type=application/ld+json>[" + '{"license":"http://a/"},' * 20_000 + "1]</script>",
        '<script type=application/ld+json>{"license":1}</script>' * 20_000,
    ],
)
def test_hostile_pages_take_bounded_time(html: str) -> None:
    tree = lxml.html.document_fromstring(html + "<p>x")
    start = time.perf_counter()
    found = find_licences(tree, URL)
    assert time.perf_counter() - start < 10.0
    assert len(found) <= MAX_LICENCES
