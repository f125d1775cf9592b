"""What a page declares about itself: its schema.org types, its ``og:type``, the words of its address, and its
generator. The kind of the page follows from these and from its content.

    article    one text, whatever stands below it
    list       of articles, or of links to them
    thread     a conversation: posts in order (``threads.py``)
    question   a conversation that answers a question
    product    an offer with its description
    manual     a page of documentation
    other      none of these, or no evidence

Sources: the types of https://schema.org, https://ogp.me, the classes of https://microformats.org.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from itertools import islice

from lxml import etree
from lxml.html import HtmlElement

from gobelin.data.model import PageKind, Role
from gobelin.transforms.pages.tree.page_blocks import Block, PageBlocks

_ITEM_TYPES = etree.XPath("/descendant::*/@itemtype")
_JSON_TYPE = re.compile(r'"@type"\s{0,9}:\s{0,9}\[?\s{0,9}"([^"]{1,60})"')
_MAX_DECLARED = 200
_MAX_TYPE_CHARS = 200
_MAX_JSON_CHARS = 500_000

CONVERSATIONS = frozenset(("discussionforumposting", "qapage"))
ARTICLES = frozenset((
    "article", "newsarticle", "blogposting", "reportagenewsarticle", "analysisnewsarticle", "opinionnewsarticle",
    "scholarlyarticle", "report", "recipe", "howto", "review", "advertisercontentarticle", "liveblogposting",
))  # fmt: skip
_MANUALS = frozenset(("techarticle", "apireference"))
_PRODUCTS = frozenset(("product", "productgroup", "individualproduct", "productmodel"))
_LISTS = frozenset(("collectionpage", "searchresultspage"))
_GENERATORS = re.compile(
    r"sphinx|docutils|mkdocs|docusaurus|doxygen|javadoc|docbook|asciidoctor|antora|gitbook|mdbook|texi2html|makeinfo"
    r"|rustdoc|vitepress|pdoc|ford\b|jupyter.?book|latex2html|hevea|starlight",
    re.I,
)
_FORUM_ADDRESS = re.compile(
    r"/(?:forums?|bbs|boards?|messageboards?|threads?|topics?|discussions?|discuss|questions?|answers|community|qa"
    r"|issues/\d|r/\w{1,30}/comments|[td]/(?:[\w-]{1,200}/)?\d)(?=[/._?=&#-]|\d|$)"
    r"|(?:viewtopic|showthread|viewthread|showtopic)"
    r"|^\w+://(?:[^/]{0,100}\.)?(?:forums?|bbs|boards?|discuss|community|answers|ask|talk)\w{0,12}\.",
    re.I,
)
_QUESTION_ADDRESS = re.compile(r"[/.](?:questions?|answers?|qa|ask|q-and-a|zhidao|wenda)(?=[/._?=&#-]|\d|$)", re.I)
_MANUAL_ADDRESS = re.compile(
    r"/(?:docs?|documentation|manuals?|handbook|user-?guide|reference|api|javadoc|man\d?)(?=[/._-]|\d|$)"
    r"|^\w+://(?:docs?|documentation|manual|help)\.",
    re.I,
)
_DATED = re.compile(
    r"(?!citation)[\w:.-]{0,20}?(?:publish(?:ed)?[-_]?(?:date|time)|pub[-_]?date|publication[-_]?date|release_date"
    r"|article:published_time|date\.?(?:published|created|issued))",
    re.I,
)
"""Names of ``<meta>`` with the date of publication, as on news sites and blogs."""

_BOOK_LINKS = frozenset(("up", "contents", "chapter", "section", "subsection", "appendix", "glossary"))
"""Values of ``rel`` that HTML 4.01 (6.12) defines for the parts of a collection of documents."""

_MAX_URL_CHARS = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class PageFacts:
    """What a page declares about itself. All names are in lower case."""

    types: frozenset[str] = frozenset()  # schema.org types
    og_type: str = ""
    generator: str = ""
    is_dated: bool = False  # its head has a date of publication
    is_in_book: bool = False  # its head links to chapters, contents or an index
    is_forum_address: bool = False
    is_question_address: bool = False
    is_manual_address: bool = False

    @property
    def is_conversation(self) -> bool:
        return not self.types.isdisjoint(CONVERSATIONS)

    @property
    def says_forum(self) -> bool:
        return self.is_conversation or self.is_forum_address or self.is_question_address

    @property
    def is_article(self) -> bool:
        return not self.types.isdisjoint(ARTICLES)

    @property
    def is_manual(self) -> bool:
        return not self.types.isdisjoint(_MANUALS) or _GENERATORS.search(self.generator) is not None

    @property
    def is_recipe(self) -> bool:
        return "recipe" in self.types

    @property
    def kind(self) -> PageKind:
        """The declared kind of the page, without regard to its text; OTHER if it declares none."""
        if self.is_product and not self.is_article:
            return PageKind.PRODUCT
        if self.is_manual:
            return PageKind.MANUAL
        if self.is_article or self.og_type == "article" or self.is_dated:
            return PageKind.ARTICLE
        return PageKind.MANUAL if self.is_in_book or self.is_manual_address else PageKind.OTHER

    @property
    def is_product(self) -> bool:
        return self.og_type.startswith("product") or not self.types.isdisjoint(_PRODUCTS)


NO_FACTS = PageFacts()


def read_facts(tree: HtmlElement, url: str) -> PageFacts:
    """Reads what the page declares, in one pass over the tree."""
    types = {
        name.rpartition("/")[2].lower()
        for found in _ITEM_TYPES(tree)[:_MAX_DECLARED]
        for name in found[:_MAX_TYPE_CHARS].split()
    }
    og_type = generator = ""
    is_in_book = is_dated = False
    num_json = 0
    for element in islice(tree.iter("meta", "script", "link"), _MAX_DECLARED):
        if element.tag == "meta":
            name = element.get("property") or element.get("name") or element.get("itemprop") or ""
            if name == "og:type":
                og_type = og_type or (element.get("content") or "")[:_MAX_TYPE_CHARS].strip().lower()
            elif name == "generator":
                generator = generator or (element.get("content") or "")[:_MAX_TYPE_CHARS].lower()
            is_dated = is_dated or (
                _DATED.fullmatch(name[:_MAX_TYPE_CHARS]) is not None and bool(element.get("content"))
            )
        elif element.tag == "link":
            is_in_book = is_in_book or (element.get("rel") or "").lower() in _BOOK_LINKS
        elif element.get("type") == "application/ld+json" and element.text and num_json < _MAX_JSON_CHARS:
            num_json += len(element.text)
            names = _JSON_TYPE.findall(element.text, 0, _MAX_JSON_CHARS)
            types.update(name.rpartition("/")[2].lower() for name in names)
    address = url[:_MAX_URL_CHARS]
    return PageFacts(
        types=frozenset(types),
        og_type=og_type,
        generator=generator,
        is_dated=is_dated,
        is_in_book=is_in_book,
        is_forum_address=_FORUM_ADDRESS.search(address) is not None,
        is_question_address=_QUESTION_ADDRESS.search(address) is not None,
        is_manual_address=_MANUAL_ADDRESS.search(address) is not None,
    )


def classify_page(page: PageBlocks, facts: PageFacts, content: Sequence[Block]) -> PageKind:
    """The kind of a page that is not a conversation, by its declarations and its main content."""
    words = sum(block.num_chars for block in content)
    links = sum(block.link_chars for block in content)
    prose = sum(b.num_chars - b.link_chars for b in content if b.role is not Role.HEADING and b.num_chars >= 80)
    if facts.is_product and not facts.is_article:
        return PageKind.PRODUCT
    if facts.is_manual:
        return PageKind.LIST if links > 0.5 * words else PageKind.MANUAL
    if words and links > 0.5 * words:
        return PageKind.LIST
    if facts.is_article:
        return PageKind.ARTICLE
    if facts.types & _LISTS or _num_linked_headings(content) >= _MIN_ITEMS:
        return PageKind.LIST
    if facts.og_type == "article" or facts.is_dated:
        return PageKind.ARTICLE
    if facts.is_in_book or facts.is_manual_address:
        return PageKind.MANUAL
    if prose >= _MIN_PROSE:
        return PageKind.ARTICLE
    return PageKind.OTHER


_MIN_ITEMS = 4
_MIN_PROSE = 300


def _num_linked_headings(content: Sequence[Block]) -> int:
    """The number of headings that are links to other pages; 0 if most headings are not."""
    headings = [block for block in content if block.role is Role.HEADING]
    linked = sum(block.link_chars >= 0.8 * block.num_chars > 0 for block in headings)
    return linked if linked > 0.5 * len(headings) else 0
