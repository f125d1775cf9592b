"""Reads an HTML tree into blocks of text and images in reading order, and the containers that hold them.

One walk over the tree, without recursion. White space is folded as a browser folds it: inline elements never split a
word, block elements always do, a line break stays a line break, two of them begin a new block, and ``<pre>`` keeps its
lines. A data table becomes one block with one line per row (``page_tables.py``). What no reader sees (scripts,
templates, hidden elements, line numbers beside code) is left out.

The blocks of a container are a contiguous range, so a sum over a container is a difference of two prefix sums. The walk
takes 1-2 us per element.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import islice

from lxml import etree
from lxml.html import HtmlElement

from gobelin.data.model import Role
from gobelin.transforms.pages.captions.attributions import MAX_ATTRIBUTION_CHARS, NAMES_AUTHOR, names_quoted_author
from gobelin.transforms.pages.content.boilerplate import MAY_ENLARGE, MAY_FRAME, Kind, classify
from gobelin.transforms.pages.images.image_references import sentinel_index
from gobelin.transforms.pages.tree.code_language import code_language
from gobelin.transforms.pages.tree.formulas import is_definitions
from gobelin.transforms.pages.tree.page_tables import is_data_table, read_table
from gobelin.transforms.pages.tree.visible_text import BREAK, CONTAINERS, SKIPPED, fold, hides

_BLOCKS = CONTAINERS | frozenset((
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd", "pre", "hr", "thead", "tbody", "tfoot",
    "caption", "figcaption", "summary", "legend", "hgroup", "listing", "xmp", "plaintext", "search", "html",
))  # fmt: skip
_PLAIN = frozenset((
    "b", "strong", "em", "u", "s", "sub", "sup", "small", "big", "font", "tt", "wbr", "br", "nobr", "cite", "ins",
))  # fmt: skip
"""Inline elements whose attributes are not read."""

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = frozenset((
    "ul", "ol", "menu", "dir",
))  # fmt: skip
_ROLES = {
    "li": Role.LIST_ITEM,
    "blockquote": Role.QUOTATION,
    **dict.fromkeys(("pre", "listing", "xmp", "plaintext"), Role.CODE),
    **dict.fromkeys(("caption", "figcaption"), Role.CAPTION),
    **dict.fromkeys(_HEADINGS, Role.HEADING),
}
_RESETS = frozenset((
    "article", "main", "section", "td", "th", "dt", "dd", "dl", "table",
))  # fmt: skip
"""Elements whose text is a paragraph whatever their parents are, except inside a quotation."""

_TAG_KINDS = {
    **dict.fromkeys(("article", "main"), Kind.ARTICLE),
    **dict.fromkeys(("nav", "footer", "dialog", "menu"), Kind.BOILERPLATE),
}
_BOILERPLATE_ROLES = frozenset((
    "navigation", "banner", "contentinfo", "search", "complementary", "menu", "menubar", "toolbar", "dialog",
    "alertdialog", "tablist", "alert",
))  # fmt: skip
_PROSE = ("p", "br", "article", "main", "h1", "pre", "blockquote")
"""A boilerplate element without any of these is skipped. One that has some is read, because it may hold main
content."""

_ARTICLE, _BOILERPLATE, _GUTTER, _NEUTRAL, _SUSPECT, _UNSEEN = (
    Kind.ARTICLE, Kind.BOILERPLATE, Kind.GUTTER, Kind.NEUTRAL, Kind.SUSPECT, Kind.UNSEEN,
)  # fmt: skip
_CODE, _HEADING, _LIST_ITEM, _PARAGRAPH, _QUOTATION = (
    Role.CODE, Role.HEADING, Role.LIST_ITEM, Role.PARAGRAPH, Role.QUOTATION,
)  # fmt: skip
"""Looked up once, for the walk: in Python 3.11 a member of an enum takes five times as long as a name of the module."""

_TEXT_LENGTH = etree.XPath("string-length(normalize-space(.))")
_HOME = re.compile(
    r"\s*(?:https?://[^/?#\s]{1,253}/?|(?:\.{0,2}/){0,9}(?:(?:index|default|home)\.\w{3,5})?)(?:#.{0,80})?\s*$", re.I
)
_MAX_LEFT_OUT_CHARS = 5000
_MAX_LINK_DEPTH = 8
_MAX_NAME_CHARS = 200
_EMPTY_LINES = re.compile(rf"\s*{BREAK}\s*{BREAK}[\s{BREAK}]*")
_BLANK = " \t\r\n\f\xa0\u200b\u200c\u200d\ufeff"
_SIGN_LINKS = ("headerlink", "viewcode-link", "viewcode-back")
_PERMALINKS = frozenset(("¶", "#", "§", "🔗", "⚓", "⚓︎", "∞", ""))


class Block:
    """A block of text, or an image. ``link_chars`` of its ``num_chars`` characters are inside links."""

    __slots__ = (
        "code_language", "container", "continues", "header_rows", "image", "is_below_item", "leads_home", "level",
        "link_chars", "num_chars", "num_links", "role", "text",
    )  # fmt: skip

    def __init__(self, text: str, role: Role, level: int | None, container: int, link_chars: int, num_links: int):
        self.text = text
        self.role = role
        self.level = level
        self.container = container
        self.num_chars = len(text)
        self.link_chars = min(link_chars, self.num_chars)
        self.num_links = num_links
        self.code_language: str | None = None
        self.header_rows: int | None = None  # of a table
        self.image: int | None = None  # index of its reference
        self.continues: Block | None = None  # the earlier block of the same line, if images interrupt the line
        self.is_below_item = False  # whether its list item has other text above it
        self.leads_home = False  # whether this is an image in a link to the first page of the site or manual


class Container:
    """An element that holds the blocks [``start``, ``end``). ``last`` is the index of the last container inside it."""

    __slots__ = ("end", "is_main", "kind", "last", "names", "parent", "start", "tag")

    def __init__(self, tag: str, kind: Kind, parent: int, start: int, names: str, is_main: bool) -> None:
        self.tag = tag
        self.kind = kind
        self.parent = parent
        self.start = start
        self.end = start
        self.last = 0
        self.names = names  # class and id
        self.is_main = is_main  # whether its tag or role (not only its names) marks main content


class PageBlocks:
    """Blocks in reading order, and containers in document order: a parent comes before its children."""

    __slots__ = ("blocks", "containers", "num_hidden")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.containers = [Container("html", Kind.NEUTRAL, -1, 0, "", False)]
        self.num_hidden = 0  # elements that were left out because the page hides them


def read_blocks(
    tree: HtmlElement, with_hidden: bool = False, own: Collection[int] = (), is_conversation: bool = False
) -> PageBlocks:
    """Reads the blocks of ``tree``, in which each image is one ``<img>`` with a sentinel address.

    Args:
        with_hidden: whether to read hidden elements as well (a script may show them later).
        own: indexes of references to the page's own images. These are read even inside skipped boilerplate.
        is_conversation: whether the page is a conversation. Then no boilerplate is skipped, and tables are layout.
    """
    return _Walk(with_hidden, own, is_conversation).read(tree)


def _elements_with_prose(tree: HtmlElement) -> set[HtmlElement]:
    """The elements with a tag in ``_PROSE``, and all their ancestors."""
    found: set[HtmlElement] = set()
    for element in tree.iter(*_PROSE):
        holder: HtmlElement | None = element
        while holder is not None and holder not in found:
            found.add(holder)
            holder = holder.getparent()
    return found


class _Walk:
    """The state of the walk: the open elements, and the text that has not become a block yet."""

    def __init__(self, with_hidden: bool, own: Collection[int], is_conversation: bool) -> None:
        self._with_hidden = with_hidden
        self._own = own
        self._is_conversation = is_conversation
        self._page = PageBlocks()
        self._container = 0
        self._role = _PARAGRAPH
        self._level: int | None = None
        self._frames: list[tuple[int, Role, int | None]] = []  # container, role, level around each open block element
        self._with_prose: set[HtmlElement] = set()
        self._buffer: list[str] = []
        self._link_chars = 0
        self._num_links = 0
        self._line: Block | None = None  # the text before the images that interrupt the current line
        self._links: list[HtmlElement] = []  # the open links
        self._list_depth = 0
        self._items: list[bool] = []  # of each open list item, whether it has text
        self._code_language: str | None = None  # of the open code element
        self._pre_depth = 0  # number of open block elements from <pre> on

    def read(self, tree: HtmlElement) -> PageBlocks:
        self._with_prose = _elements_with_prose(tree)
        buffer, links = self._buffer, self._links
        opened: list[tuple[HtmlElement, str | None]] = []  # with its tag, if it is a block
        children: list[Iterator[HtmlElement]] = [iter((tree,))]  # of each open element, those that follow
        while children:
            element = next(children[-1], None)
            if element is None:
                children.pop()
                if not opened:
                    break
                element, block = opened.pop()
                if block is not None:
                    self._close_block(block)
                elif links and element is links[-1]:
                    links.pop()
                text = element.tail
            else:
                tag = element.tag
                block = None
                is_skipped = False
                if tag in _BLOCKS:
                    is_skipped = not self._open_block(element, tag)
                    block = tag
                elif tag in _PLAIN:
                    if tag == "br":
                        buffer.append(BREAK)
                elif tag == "a":
                    is_skipped = not self._open_link(element)
                elif tag == "img":
                    self._image(element)
                    is_skipped = True
                elif tag in SKIPPED:
                    is_skipped = True
                elif not isinstance(tag, str):
                    continue  # a comment in what was a <noscript>
                else:
                    items = element.items()
                    is_skipped = bool(items) and self._look_at(tag, items) is None
                if is_skipped:
                    text = element.tail
                else:
                    opened.append((element, block))
                    children.append(iter(element))
                    text = element.text
            if text and (buffer or self._pre_depth or not text.isspace()):
                buffer.append(text)
                if links:
                    self._link_chars += len(text.strip())
        self._flush()
        page = self._page
        page.containers[0].end = len(page.blocks)
        page.containers[0].last = len(page.containers) - 1
        return page

    def _look_at(self, tag: str, items: list[tuple[str, str]]) -> tuple[Kind, str, bool] | None:
        """Returns (kind, class and id, whether its role marks main content) of an element, or None if readers do not
        see it."""
        names, kind, is_main, is_hidden = "", _NEUTRAL, False, False
        for name, value in items:
            if name == "class" or name == "id":
                names = f"{names} {value[:_MAX_NAME_CHARS]}" if names else value[:_MAX_NAME_CHARS]
            elif name == "style" or name == "hidden":
                is_hidden = is_hidden or hides(name, value)
            elif name == "aria-hidden":
                is_hidden = is_hidden or (value == "true" and tag not in CONTAINERS)
            elif name == "role":
                if value == "main" or value == "article":
                    is_main = True
                elif value in _BOILERPLATE_ROLES:
                    kind = _BOILERPLATE
            elif name == "itemprop" and value == "articleBody":
                is_main = True
        if names:
            if self._pre_depth and tag == "span" and "boring" in names.split():
                return None  # lines of code that a book hides (mdBook)
            named = classify(tag, names)
            if named is _GUTTER:
                return None
            if named is _UNSEEN:
                is_hidden = True
            elif named > kind:
                kind = named
        if is_hidden and tag != "body" and tag != "html":
            self._page.num_hidden += 1
            if not self._with_hidden:
                return None
        return _ARTICLE if is_main else kind, names, is_main

    def _open_block(self, element: HtmlElement, tag: str) -> bool:
        """Opens a block element. Returns False if its content is not to be walked."""
        kind, names, is_main = _NEUTRAL, "", False
        items = element.items()
        if items:
            seen = self._look_at(tag, items)
            if seen is None:
                return False
            kind, names, is_main = seen
        if kind < _BOILERPLATE and tag in _TAG_KINDS:
            kind = _TAG_KINDS[tag]
            is_main = kind is _ARTICLE
        if (kind is _BOILERPLATE or kind is _SUSPECT) and not (self._pre_depth or self._is_conversation):
            if (tag == "footer" or NAMES_AUTHOR.search(names)) and self._is_attribution(element, names):
                kind = _NEUTRAL
            elif kind is _BOILERPLATE and self._leave_out(element, tag, names):
                return False
        if self._pre_depth:
            self._end_line()
            self._frames.append((self._container, self._role, self._level))
            self._pre_depth += 1
            return True
        if self._buffer:
            self._flush()
        self._line = None
        page = self._page
        if tag == "table" and not self._is_conversation and is_data_table(element):
            self._table(element)
            return False
        self._frames.append((self._container, self._role, self._level))
        if tag in CONTAINERS or kind:
            container = Container(tag, kind, self._container, len(page.blocks), names, is_main)
            self._container = len(page.containers)
            page.containers.append(container)
        role = _ROLES.get(tag)
        if role is not None:
            self._role, self._level = role, None
            if role is _LIST_ITEM:
                self._level = max(1, self._list_depth)
                self._items.append(False)
            elif role is _HEADING:
                self._level = _HEADINGS[tag]
            elif role is _CODE:
                self._pre_depth = 1
                self._code_language = code_language(element)
        elif tag in _LISTS:
            self._list_depth += 1
        elif tag in _RESETS and self._role is not _QUOTATION:
            self._role, self._level = _PARAGRAPH, None
        return True

    def _is_attribution(self, element: HtmlElement, names: str) -> bool:
        """Whether an element whose names look like an author's names the author of a quotation."""
        if self._buffer:
            self._flush()
        page = self._page
        last = page.blocks[-1] if page.blocks else None
        if last is None or not last.text or not 0 < int(_TEXT_LENGTH(element)) <= MAX_ATTRIBUTION_CHARS:
            return False
        is_below, is_inside = last.role is _QUOTATION, self._role is _QUOTATION
        around = page.containers[self._container].names if last.container >= self._container else ""
        return (is_below and is_inside) or names_quoted_author(element, f"{names} {around}", is_below)

    def _leave_out(self, element: HtmlElement, tag: str, names: str) -> bool:
        """Skips a boilerplate element if it can be skipped, and returns whether it did. A block without text takes its
        place. The rules treat that block as a line of links, so they see that a heading above it has lost its
        section."""
        if element in self._with_prose or tag == "figure" or MAY_ENLARGE.search(names) or MAY_FRAME.search(names):
            return False
        num_chars = int(_TEXT_LENGTH(element))
        if num_chars > _MAX_LEFT_OUT_CHARS:
            return False
        if self._buffer:
            self._flush()
        page = self._page
        container = Container(tag, _BOILERPLATE, self._container, len(page.blocks), names, False)
        block = Block("", _PARAGRAPH, None, len(page.containers), 0, 2)
        block.num_chars = block.link_chars = num_chars
        page.blocks.append(block)
        page.containers.append(container)
        if self._own:
            self._own_images(element, len(page.containers) - 1)
        container.end = len(page.blocks)
        container.last = len(page.containers) - 1
        return True

    def _own_images(self, element: HtmlElement, container: int) -> None:
        """Adds the page's own images that are inside a skipped element."""
        for image in element.iter("img"):
            index = sentinel_index(image.get("src") or "")
            if index in self._own:
                linked = any(holder.tag == "a" for holder in islice(image.iterancestors(), _MAX_LINK_DEPTH))
                block = Block("", _PARAGRAPH, None, container, 0, int(linked))
                block.image = index
                self._page.blocks.append(block)

    def _close_block(self, tag: str) -> None:
        if self._pre_depth > 1:
            self._pre_depth -= 1
            self._frames.pop()
            self._end_line()
            return
        if self._buffer:
            self._flush()
        self._line = None
        self._pre_depth = 0
        if tag in _LISTS:
            self._list_depth -= 1
        elif tag == "li":
            self._items.pop()
        container = self._container
        self._container, self._role, self._level = self._frames.pop()
        if container != self._container:
            page = self._page
            page.containers[container].end = len(page.blocks)
            page.containers[container].last = len(page.containers) - 1

    def _end_line(self) -> None:
        """Begins a new line in code where a nested block element begins or ends, unless the text already ends with a
        line break."""
        if self._buffer and not self._buffer[-1].endswith((BREAK, "\n")):
            self._buffer.append(BREAK)

    def _open_link(self, element: HtmlElement) -> bool:
        """Opens a link. Returns False for a permalink sign, which links to the heading around it, and for a link from a
        signature to its source, or back."""
        if len(element) == 0 and (element.text or "").strip(_BLANK) in _PERMALINKS:
            return False
        names = element.get("class") or ""
        if len(element) == 1 and element[0].tag == "span":
            names += f" {element[0].get('class') or ''}"
        if any(sign in names for sign in _SIGN_LINKS):
            return False
        href = element.get("href")
        # An address on the page itself leads back to the contents or to a note, but for lists of contents.
        if href and (href[0] != "#" or self._role is _LIST_ITEM):
            self._num_links += 1
            self._links.append(element)
        return True

    def _image(self, element: HtmlElement) -> None:
        index = sentinel_index(element.get("src") or "")
        if index is not None:
            if self._buffer:
                is_whole = BREAK in self._buffer[-1]
                num_blocks = len(self._page.blocks)
                self._flush()
                if is_whole:
                    self._line = None
                elif len(self._page.blocks) > num_blocks:
                    self._line = self._page.blocks[-1]
            self._add_image(index)

    def _add_image(self, index: int) -> None:
        block = Block("", self._role, None, self._container, 0, len(self._links))
        block.image = index
        block.leads_home = bool(self._links) and _HOME.match(self._links[-1].get("href") or "") is not None
        self._page.blocks.append(block)

    def _table(self, table: HtmlElement) -> None:
        for part in read_table(table, self._with_hidden):
            if isinstance(part, int):
                self._add_image(part)
            else:
                block = Block(part.text, part.role, None, self._container, part.link_chars, part.num_links)
                block.header_rows = part.header_rows
                self._page.blocks.append(block)

    def _flush(self) -> None:
        """Turns the buffered text into one block, or into several if empty lines divide it."""
        raw = "".join(self._buffer)
        self._buffer.clear()
        link_chars, num_links = self._link_chars, self._num_links
        self._link_chars = self._num_links = 0
        if self._role is _CODE:
            code = raw.replace(BREAK, "\n").strip("\n")
            texts = [code] if code.strip() else []
        else:
            parts = _EMPTY_LINES.split(raw) if BREAK in raw else [raw]
            texts = [text for text in map(fold, parts) if text and not is_definitions(text)]
        line = None if raw.startswith(BREAK) else self._line
        if texts:
            self._line = None
        for text in texts:
            links = link_chars if len(texts) == 1 else link_chars * len(text) // len(raw)
            block = Block(text, self._role, self._level, self._container, links, num_links)
            block.continues, line = line, None
            if self._role is _LIST_ITEM:
                block.is_below_item, self._items[-1] = self._items[-1], True
            if self._role is _CODE:
                block.code_language = self._code_language
            self._page.blocks.append(block)
