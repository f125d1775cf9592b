"""What the names of an element say of it: class, id and role words that mark navigation, sharing, comments and the
like, or the article itself.

A name is cut into words at every sign and every capital, and compared as whole words: ``related-posts`` and
``relatedPosts`` are marked, ``correlated`` is not. Words that also serve layout (``hidden``, ``meta``, ``print``) count
only where they are the whole name or open or close it. Each name is judged by itself and its verdict
cached: names recur from site to site.
"""

from __future__ import annotations

import enum
import itertools
import re


class Kind(enum.IntEnum):
    """What an element is, by its tag and names."""

    NEUTRAL = 0
    CONTENT = 1  # named as content, text, post ...
    ARTICLE = 2  # <article>, <main>, role=main, itemprop=articleBody
    SUSPECT = 3  # boilerplate unless there is prose in it
    BOILERPLATE = 4  # navigation, sharing, comments ...
    CAPTION = 5  # the words below a picture
    GUTTER = 6  # line numbers beside code
    UNSEEN = 7  # for screen readers or printers only, or hidden by convention


MAY_ENLARGE = re.compile("lightbox|popup|overlay|modal|zoom", re.I)
"""Names that boilerplate has, and the frame of an image that opens large."""

FOOT = re.compile(
    r"(?:^|\s)(?:(?:page|site|main|global|document)[-_]?)?"
    r"(?:footer(?:[-_]\w{1,20})?|foot|colophon|copyright|cookies?)(?:\s|$)",
    re.I,
)
"""Names of what stands below a page's text and is never that text."""

CONSENT = re.compile(r"consent|gdpr|onetrust|(?:^|[\s_-])cookies?(?:[\s_-]|$)", re.I)
"""Names of what asks for consent, which may be longer than the article below it."""

_HASHED = re.compile(r"[A-Za-z0-9]{8,}")
_MIXED = re.compile(r"[A-Za-z]\d")
_HEX = re.compile(r"[0-9a-f]{8,}")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_BOILERPLATE_WORDS = frozenset((
    "nav", "navi", "navbar", "navbox", "navigation", "navigational", "navlinks", "subnav", "topnav", "menu",
    "menubar", "megamenu", "submenu", "breadcrumb", "breadcrumbs", "breadcrump", "pagination", "pager", "paginator",
    "pagenavi", "pagenav", "prevnext", "navheader", "navfooter", "sitemap", "skiplink", "skiplinks", "footer",
    "footerlinks", "colophon", "tocset", "tocview", "tocsub", "tocframe", "tocbox", "tocnav",
    "fussbereich", "seitenfuss", "sidebar", "sidebars", "sharebar", "sharethis", "addthis", "addtoany", "sharing",
    "socials", "socialmedia", "sociable", "shariff", "socialicons", "social", "comments", "commentlist",
    "commentform", "commenting", "disqus", "replies", "kommentare", "commentaires", "comentarios", "related",
    "relateds", "recommended", "recommendation", "recommendations", "mostread", "mostpopular", "trending",
    "outbrain", "taboola", "zergnet", "newsletter", "newsletters", "cookie", "cookies", "gdpr", "advert", "adverts",
    "advertisement", "advertisements", "advertising", "adsense", "adbox", "adslot", "dfp", "sponsored", "werbung",
    "anzeigen", "publicidad", "tooltip", "offcanvas", "disclaimer", "popup", "lightbox", "overlay", "tagcloud",
    "taglist", "postmeta", "postmetadata", "entrymeta", "authorbox", "toolbar", "signup", "signin",
    "tableofcontents", "toctoggle", "author", "authors", "byline", "bio", "consent", "privacy", "rating", "vote",
    "poll", "feedback", "popular", "recommend", "login", "register", "subscribe", "sponsor", "share", "comment",
))  # fmt: skip
_BOILERPLATE_NAMES = frozenset((
    "foot", "share", "shares", "comment", "respond", "kommentar", "recommend", "popular", "subscribe",
    "subscription", "subscriptions", "login", "register", "registration", "consent", "ad", "ads", "adv", "sponsor",
    "sponsors", "banner", "banners", "anzeige", "pub", "modal", "overlay", "flyout", "tags", "tagged", "byline",
    "author", "authors", "bio", "dateline", "metadata", "print", "printer", "printonly", "noprint", "rating",
    "ratings", "vote", "votes", "voting", "donate", "donation", "donations", "widget", "hidden", "hide", "poll",
    "toc", "promo", "promos", "promotion", "promobox", "rail", "feedback", "is-hidden", "d-none", "invisible",
    "toast", "related-posts", "editsection", "mw-editsection", "catlinks", "navbox", "infobar", "reflist-nav",
))  # fmt: skip
_BOILERPLATE_ENDS = ("navbar", "navigationbar", "breadcrumbs")
_BOILERPLATE_EDGES = frozenset((
    "print", "printer", "meta", "ad", "ads", "sponsor",
))  # fmt: skip
_BOILERPLATE_PAIRS = frozenset((
    "more-stories", "more-news", "more-articles", "more-posts", "read-next", "next-post", "next-article",
    "next-prev", "prev-next", "prev-post", "previous-post", "post-nav", "post-navigation", "also-like", "also-read",
    "most-read", "most-popular", "most-viewed", "latest-news", "latest-posts", "latest-articles", "recent-posts",
    "recent-articles", "recent-news", "top-stories", "other-posts", "post-meta", "entry-meta", "article-meta",
    "meta-info", "meta-data", "entry-utility", "entry-footer", "post-footer", "article-footer", "post-tags",
    "article-tags", "entry-tags", "site-header", "site-footer", "page-footer", "global-header", "top-bar",
    "skip-link", "tag-list", "tag-links", "tags-links", "cat-links", "call-to", "to-top", "back-top", "edit-link",
    "edit-section", "follow-us", "author-box", "author-bio", "about-author", "author-info", "share-buttons",
    "share-bar", "share-button", "share-links", "share-this", "share-tools", "ad-container", "ad-slot", "ad-unit",
    "ad-wrapper", "ad-block", "ad-label", "ad-disclaimer", "comment-list", "comment-form", "comment-respond",
    "comment-area", "comments-area", "comment-section", "comment-count",
))  # fmt: skip
_SUSPECT_WORDS = frozenset((
    "teaser", "teasers", "promo", "toolbox", "tools", "cta", "callout", "promotion", "aside", "widget", "ad", "ads",
    "banner", "paging", "modal", "tags",
))  # fmt: skip
_CAPTION_WORDS = frozenset((
    "caption", "captions", "imagedescription", "imagecaption", "photocaption", "figcaption", "bildunterschrift",
    "bildtext", "legende", "piedefoto", "credit", "credits", "photocredit", "imagecredit", "copyrighttext",
    "bildnachweis",
))  # fmt: skip
_CONTENT_WORDS = frozenset((
    "article", "content", "contents", "post", "entry", "body", "story", "text", "main", "hentry", "blogpost",
))  # fmt: skip
_ARTICLE_NAMES = frozenset((
    "articlebody", "articletext", "storybody",
))  # fmt: skip
_ARTICLE_PAIRS = frozenset((
    "article-body", "article-content", "article-text", "entry-content", "post-content", "post-body", "story-body",
    "story-content", "content-body", "post-text", "body-text",
))  # fmt: skip
_UNSEEN_NAMES = frozenset((
    "sr-only", "screen-reader-text", "screen-reader-only", "visually-hidden", "visuallyhidden", "sr-only-focusable",
    "assistive-text", "a11y-hidden", "screenreader", "screen-reader", "u-visually-hidden", "element-invisible",
))  # fmt: skip
_GUTTERS = frozenset((
    "gutter", "linenos", "lineno", "line-numbers", "line-numbers-rows", "linenodiv", "rouge-gutter", "lnt", "ln-num",
))  # fmt: skip
_NEVER_BOILERPLATE = frozenset(("html", "body", "main", "h1", "h2", "h3", "h4", "h5", "h6"))
"""A heading named after a menu is one to jump to; what its section holds is judged by itself."""

_MAX_CACHED = 1 << 16
_MAX_NAMES_CHARS = 400
_verdicts: dict[tuple[bool, str], Kind] = {}


def classify(tag: str, names: str) -> Kind:
    """The kind of an element; ``names`` are its class and id, with spaces between. The strongest verdict on one of the
    names counts; what is not to be seen comes first."""
    is_open = tag in _NEVER_BOILERPLATE
    strongest = Kind.NEUTRAL
    for name in names[:_MAX_NAMES_CHARS].split():
        kind = _verdicts.get((is_open, name))
        if kind is None:
            if len(_verdicts) >= _MAX_CACHED:
                _verdicts.clear()
            kind = _verdicts[is_open, name] = _judge(name, is_open)
        if kind is Kind.GUTTER or kind is Kind.UNSEEN:
            return kind
        if kind is not strongest and _STRENGTHS[kind] > _STRENGTHS[strongest]:
            strongest = kind
    return strongest


_STRENGTHS = [0] * len(Kind)
for _strength, _kind in enumerate((Kind.CONTENT, Kind.SUSPECT, Kind.ARTICLE, Kind.CAPTION, Kind.BOILERPLATE), 1):
    _STRENGTHS[_kind] = _strength


def _judge(name: str, is_open: bool) -> Kind:
    """What one name says. ``is_open``: it is that of an element that is never boilerplate."""
    lower = name.lower().replace("_", "-")
    if lower in _GUTTERS:
        return Kind.GUTTER
    if lower in _UNSEEN_NAMES:
        return Kind.UNSEEN
    parts = [part.lower() for part in _WORDS.findall(_HASHED.sub(_without_hash, name))]
    joined = "".join(parts)
    words = {*parts, joined}
    pairs = {f"{a}-{b}" for a, b in itertools.pairwise(parts)}
    if not is_open and not (
        not joined.endswith(_BOILERPLATE_ENDS)
        and _BOILERPLATE_WORDS.isdisjoint(words)
        and _BOILERPLATE_NAMES.isdisjoint((lower, joined, "-".join(parts)))
        and _BOILERPLATE_EDGES.isdisjoint((*parts[:1], *parts[-1:]))
        and _BOILERPLATE_PAIRS.isdisjoint(pairs)
    ):
        return Kind.BOILERPLATE
    if not _CAPTION_WORDS.isdisjoint(words):
        return Kind.CAPTION
    if not _ARTICLE_PAIRS.isdisjoint(pairs) or not _ARTICLE_NAMES.isdisjoint(words):
        return Kind.ARTICLE
    if not is_open and not _SUSPECT_WORDS.isdisjoint(words):
        return Kind.SUSPECT
    return Kind.NEUTRAL if _CONTENT_WORDS.isdisjoint(words) else Kind.CONTENT


def _without_hash(run: re.Match[str]) -> str:
    """What a build or a checksum put into a name says nothing: letters and digits that alternate, or long hex."""
    text = run.group()
    return "" if len(_MIXED.findall(text)) >= 3 or (_HEX.fullmatch(text) and not text.isalpha()) else text
