"""Classifies an element by its names: the words of class, id and role that mark navigation, sharing, comments and
similar parts, or the article itself.

A name is split into words at every sign and capital letter, and whole words are compared: ``related-posts`` and
``relatedPosts`` are marked, ``correlated`` is not. Words of web jargon (``navbar``) count in any name. But most words
that mark boilerplate are also ordinary words, and generators make names from headings. Such a word counts if the rest
of the name only describes structure (``cookie-notice``, ``share-buttons-2``), not if the rest is a subject
(``cookie-recipe``, ``share-price``). Words that also serve layout (``hidden``, ``meta``, ``print``) count only as the
whole name, or as its first or last word. Each name is judged by itself and its verdict is cached, because sites share
names.
"""

from __future__ import annotations

import enum
import itertools
import re
from collections.abc import Sequence

from gobelin.transforms.pages.tree.structural_words import STRUCTURAL_WORDS


class Kind(enum.IntEnum):
    """The kind of an element, by its tag and names."""

    NEUTRAL = 0
    CONTENT = 1  # named as content, text, post ...
    ARTICLE = 2  # <article>, <main>, role=main, itemprop=articleBody
    SUSPECT = 3  # boilerplate unless it holds prose
    BOILERPLATE = 4  # navigation, sharing, comments ...
    CAPTION = 5  # the text below a picture
    GUTTER = 6  # line numbers beside code
    UNSEEN = 7  # for screen readers or printers only, or hidden by convention


MAY_ENLARGE = re.compile("lightbox|popup|overlay|modal|zoom", re.I)
"""Names of boilerplate that are also names of the frame around an image that opens enlarged."""

MAY_FRAME = re.compile("sidebar", re.I)
"""Names of boilerplate that are also names of boxes in a text, and of page layouts with a sidebar."""

FOOT = re.compile(
    r"(?:^|\s)(?:(?:page|site|main|global|document)[-_]?)?"
    r"(?:footer(?:[-_]\w{1,20})?|foot|colophon|copyright|cookies?)(?:\s|$)",
    re.I,
)
"""Names of elements below a page's text that never are that text."""

CONSENT = re.compile(r"consent|gdpr|onetrust|(?:^|[\s_-])cookies?(?:[\s_-]|$)", re.I)
"""Names of consent notices, which may be longer than the article below them."""

_HASHED = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*+[0-9])[A-Za-z0-9]{6,}")
_MIXED = re.compile(r"[A-Za-z]\d")
_HEX = re.compile(r"[0-9a-f]{8,}")
_WORDS = re.compile(r"[A-Z]+(?![a-zß-ÿ])|[A-Z]?[a-zß-ÿ]+|[^\W\d_A-Za-z]+|\d+")
_VOWEL = re.compile(r"[aeiouy]|[^\W\d_a-z]")
_CHANGES = re.compile(r"(?<=[a-z])(?=[A-Z\d])|(?<=[A-Z])(?=\d)|(?<=\d)(?=[A-Za-z])|(?<=[A-Z])(?=[A-Z])")

_JARGON = frozenset((
    "nav", "navi", "navbar", "navbox", "navlinks", "subnav", "topnav", "menubar", "megamenu", "submenu", "breadcrumb",
    "breadcrumbs", "breadcrump", "pagination", "paginator", "pagenavi", "pagenav", "prevnext", "navheader",
    "navfooter", "skiplink", "skiplinks", "footerlinks", "colophon", "tocset", "tocview", "tocsub", "tocframe",
    "tocbox", "tocnav", "fussbereich", "seitenfuss", "sharebar", "sharethis", "addthis", "addtoany", "socialmedia",
    "shariff", "socialicons", "commentlist", "commentform", "disqus", "relateds", "mostread", "mostpopular",
    "outbrain", "taboola", "teads", "zergnet", "gdpr", "dsgvo", "rgpd", "lgpd", "onetrust", "cookiebot", "usercentrics",
    "didomi", "borlabs", "footer", "sidebar", "sidebars", "sitemap", "kommentare", "commentaires", "comentarios",
    "adsense", "adbox", "adslot", "dfp", "offcanvas", "tagcloud", "taglist", "postmeta", "postmetadata", "entrymeta",
    "authorbox", "tableofcontents", "toctoggle", "ugc", "flyout",
))  # fmt: skip
"""Web jargon and names of services. They count in any name."""

_BOILERPLATE_WORDS = frozenset((
    "navigation", "navigational", "menu", "pager", "sharing", "socials", "sociable", "social", "comments",
    "commenting", "replies", "related", "recommended", "recommendation", "recommendations", "trending", "newsletter",
    "newsletters", "cookie", "cookies", "advert", "adverts", "advertisement", "advertisements", "advertising",
    "sponsored", "werbung", "anzeigen", "publicidad", "tooltip", "disclaimer", "disclosure", "disclosures",
    "popup", "lightbox", "overlay", "toolbar",
    "signup", "signin", "author", "authors", "byline", "bio", "consent", "privacy", "rating", "vote",
    "poll", "survey", "feedback", "popular", "recommend", "login", "register", "subscribe", "sponsor", "share",
    "comment",
))  # fmt: skip
"""Ordinary words that mark boilerplate; see ``_of_words``."""

_TOPICS = frozenset((
    "menu", "cookie", "cookies", "advertising", "sponsor", "author", "authors", "bio", "consent", "privacy", "rating",
    "vote", "poll", "survey", "popular", "recommend", "register", "share", "social",
))  # fmt: skip
"""Those of them that may also end the name of a subject: ``market-share``, ``oat-cookies``."""

_LABELS = frozenset(("fig", "figure", "tbl", "sec", "eq", "lst", "thm", "category", "tag"))
"""A subject follows these words: labels of figures and sections, categories of a blog."""

_OPENERS = frozenset(("menu", "navigation", "related", "recommended", "trending", "popular"))
"""Words that may precede the name of a part or page of the site: ``menu-company``, ``related-guides``."""

_BOILERPLATE_NAMES = frozenset((
    "foot", "share", "shares", "comment", "respond", "kommentar", "recommend", "popular", "subscribe",
    "subscription", "subscriptions", "login", "register", "registration", "consent", "ad", "ads", "adv", "sponsor",
    "sponsors", "banner", "banners", "anzeige", "pub", "modal", "overlay", "tags", "tagged", "byline",
    "author", "authors", "bio", "dateline", "metadata", "print", "printer", "printonly", "noprint", "rating",
    "ratings", "vote", "votes", "voting", "donate", "donation", "donations", "widget", "hidden", "hide", "poll",
    "toc", "promo", "promos", "promotion", "promobox", "rail", "feedback", "is-hidden", "d-none", "invisible",
    "copyright", "copyrights", "toast", "related-posts",
    "catlinks", "navbox", "infobar", "reflist-nav",
))  # fmt: skip
_BOILERPLATE_EDGES = frozenset((
    "print", "printer", "meta", "ad", "ads", "adv", "sponsor",
))  # fmt: skip
_PRINT = frozenset(("print", "printer"))
"""Beside a word for content they may mean a button, or the printed part of a page: ``content_print``."""

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
    "cookie-law", "comment-area", "comments-area", "comment-section", "comment-count",
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
_ARTICLE_PAIRS = frozenset((
    "article-body", "article-content", "article-text", "entry-content", "post-content", "post-body", "story-body",
    "story-content", "content-body", "post-text", "body-text",
))  # fmt: skip
_UNSEEN_NAMES = frozenset((
    "sr-only", "screen-reader-text", "screen-reader-only", "visually-hidden", "visuallyhidden", "sr-only-focusable",
    "assistive-text", "a11y-hidden", "screenreader", "screen-reader", "u-visually-hidden", "element-invisible",
    "editsection", "mw-editsection",
))  # fmt: skip
_UNSEEN_PAIRS = frozenset((
    "visually-hidden", "hidden-visually", "hide-visually", "visually-hide", "accessibly-hidden", "sr-only", "for-sr",
    "reader-text", "reader-only", "assistive-text", "element-invisible",
))  # fmt: skip
_GUTTERS = frozenset((
    "gutter", "linenos", "lineno", "line-numbers", "line-numbers-rows", "linenodiv", "rouge-gutter", "lnt", "ln-num",
))  # fmt: skip
_GRID_TAGS = frozenset(("div", "section", "article", "main", "aside", "header", "ul", "ol", "li"))
"""Elements whose class ``gutter`` means a layout column with spacing, not a column of line numbers."""

_NEVER_BOILERPLATE = frozenset(("html", "body", "main", "h1", "h2", "h3", "h4", "h5", "h6"))
"""A heading with the name of a menu is a link target. Its section is judged by itself."""

_TABS = frozenset(("tab-content", "tab-pane"))
"""Classes of the panels of tabs. Their ids name the navigation: ``nav-tabContent``, ``nav-reviews``."""

_TELLING = frozenset().union(
    _JARGON, _BOILERPLATE_WORDS, _BOILERPLATE_NAMES, _BOILERPLATE_EDGES, _BOILERPLATE_PAIRS, _SUSPECT_WORDS,
    _CAPTION_WORDS, _CONTENT_WORDS, _ARTICLE_PAIRS, _UNSEEN_NAMES, _UNSEEN_PAIRS, _GUTTERS,
)  # fmt: skip
"""Names, words and pairs of words. A name without any of them is neutral, as most names are."""

_MAX_CACHED = 1 << 16
_MAX_NAMES_CHARS = 400
_verdicts: dict[tuple[str | bool, str], Kind] = {}  # keys: (tag, names) of an element, (is_open, name)


def classify(tag: str, names: str) -> Kind:
    """The kind of an element. UNSEEN and GUTTER come first, then the strongest verdict on one of its names.

    Args:
        names: its class and id, separated by spaces.
    """
    kind = _verdicts.get((tag, names))
    if kind is None:
        if len(_verdicts) >= _MAX_CACHED:
            _verdicts.clear()
        kind = _verdicts[tag, names] = _classify(tag, names)
    return kind


def _classify(tag: str, names: str) -> Kind:
    is_open = tag in _NEVER_BOILERPLATE
    strongest = Kind.NEUTRAL
    parts = names[:_MAX_NAMES_CHARS].split()
    if not _TABS.isdisjoint(parts):
        parts = [part for part in parts if not part.startswith("nav-")]
    for name in parts:
        kind = _verdicts.get((is_open, name))
        if kind is None:
            kind = _verdicts[is_open, name] = _judge(name, is_open)
        if kind is Kind.UNSEEN or (kind is Kind.GUTTER and (tag not in _GRID_TAGS or name.lower() != "gutter")):
            return kind
        if kind is not Kind.GUTTER and kind is not strongest and _STRENGTHS[kind] > _STRENGTHS[strongest]:
            strongest = kind
    return strongest


_STRENGTHS = [0] * len(Kind)
for _strength, _kind in enumerate((Kind.CONTENT, Kind.SUSPECT, Kind.ARTICLE, Kind.CAPTION, Kind.BOILERPLATE), 1):
    _STRENGTHS[_kind] = _strength


def _judge(name: str, is_open: bool) -> Kind:
    """The verdict on one name.

    Args:
        is_open: whether the name belongs to an element that is never boilerplate.
    """
    lower = name.lower().replace("_", "-")
    parts = _parts(name)
    words = (*parts, "".join(parts))
    pairs = ["-".join(pair) for pair in itertools.pairwise(parts)]
    if _TELLING.isdisjoint((lower, *words, *pairs)):
        return Kind.NEUTRAL
    if lower in _GUTTERS:
        return Kind.GUTTER
    if lower in _UNSEEN_NAMES or _is_for_readers(name, parts, pairs):
        return Kind.UNSEEN
    suspicion = Kind.NEUTRAL if is_open else _suspicion(name, lower, parts)
    if suspicion is Kind.BOILERPLATE:
        return suspicion
    if not _CAPTION_WORDS.isdisjoint(words):
        return Kind.CAPTION
    if not _ARTICLE_PAIRS.isdisjoint(pairs):
        return Kind.ARTICLE
    if suspicion is Kind.SUSPECT or _CONTENT_WORDS.isdisjoint(words):
        return suspicion
    return Kind.CONTENT


def _is_for_readers(name: str, parts: Sequence[str], pairs: Sequence[str]) -> bool:
    """Whether a class hides its element from all but screen readers: ``govuk-visually-hidden``, ``srOnly``,
    ``show-for-sr``. Negated classes (``not-sr-only``) and classes for some screens only (``md:sr-only``) do not
    count."""
    return not (_UNSEEN_PAIRS.isdisjoint(pairs) or ":" in name or "not" in parts or "no" in parts)


def _suspicion(name: str, lower: str, parts: Sequence[str]) -> Kind:
    """BOILERPLATE, SUSPECT or NEUTRAL. In a BEM name (``block__element--modifier``) one part is enough."""
    joined = "".join(parts)
    if (
        not _JARGON.isdisjoint((*parts, joined))
        or not _BOILERPLATE_NAMES.isdisjoint((lower, joined, "-".join(parts)))
        or joined in _BOILERPLATE_WORDS
    ):
        return Kind.BOILERPLATE
    if "__" not in name and "--" not in name:
        return _of_words(parts)
    return max((_of_words(_parts(part)) for part in re.split("__|--", name)), key=_STRENGTHS.__getitem__)


def _of_words(parts: Sequence[str]) -> Kind:
    """The verdict on the words of a name: BOILERPLATE if all other words are structural, SUSPECT if other words stand
    before the marked one, because they may name a site or a theme."""
    marks = [part in _BOILERPLATE_WORDS for part in parts]
    for index, pair in enumerate(itertools.pairwise(parts)):
        if "-".join(pair) in _BOILERPLATE_PAIRS:
            marks[index] = marks[index + 1] = True
    for edge in (0, -1):
        if parts and parts[edge] in _BOILERPLATE_EDGES:
            marks[edge] = True
    free = [mark or _is_structural(part) for mark, part in zip(marks, parts, strict=True)]
    if parts and len(parts[0]) <= 2:
        free[0] = True  # the prefix of a theme or a library: wp-comments
    if not any(marks):
        return Kind.SUSPECT if _ends_with_suspect(parts, free) else Kind.NEUTRAL
    if parts[0] in _LABELS and not marks[0]:
        return Kind.NEUTRAL
    if all(free):
        marked = {part for part, mark in zip(parts, marks, strict=True) if mark}
        is_printed = marked <= _PRINT and not _CONTENT_WORDS.isdisjoint(parts)
        return Kind.SUSPECT if is_printed else Kind.BOILERPLATE
    last = len(marks) - marks[::-1].index(True)
    if not all(free[last:]):
        return Kind.SUSPECT if parts[last - 1] in _OPENERS else Kind.NEUTRAL
    is_one = free.count(False) == 1 and _TOPICS.isdisjoint(parts)
    return Kind.BOILERPLATE if is_one else Kind.SUSPECT


def _ends_with_suspect(parts: Sequence[str], free: Sequence[bool]) -> bool:
    """Whether only structural words follow the last suspect word."""
    last = max((index for index, part in enumerate(parts) if part in _SUSPECT_WORDS), default=None)
    return last is not None and all(free[last:])


def _is_structural(part: str) -> bool:
    """Whether a part of a name does not describe a subject: a number, an abbreviation without vowels, a word of
    layout."""
    return part in STRUCTURAL_WORDS or part in _SUSPECT_WORDS or len(part) == 1 or not _VOWEL.search(part)


def _parts(name: str) -> list[str]:
    return [part.lower() for part in _WORDS.findall(_HASHED.sub(_without_hash, name))]


def _without_hash(run: re.Match[str]) -> str:
    """Removes hashes of build tools from a name: alternating letters and digits, or long hexadecimal numbers."""
    text = run.group()
    is_hash = len(_MIXED.findall(text)) >= 3 or _HEX.fullmatch(text) or len(_CHANGES.findall(text)) > 0.4 * len(text)
    return "" if is_hash else text
