"""Reads one HTML page into its nodes in reading order: typed pieces of text, and the images between them.

The page is parsed once. Consent, licences, images and main content read the same tree.

    decode            bytes to text
    parse_html        text to a tree, limited in tags and depth
    rewrite_words     formulas, exponents, buttons, components: the words as they are shown
    find_consent, find_licences
    rewrite_images    every image becomes one <img> with its caption
    read_blocks       the visible text of the tree in blocks, in one walk
    find_main_content selects the blocks of the main content
    find_thread       whether the page is a conversation; then its posts are the main content

If these find almost no text, hidden elements are read as well, and then trafilatura is tried. ``extractor`` names the
path that was used. A page of 130 KB takes 5 ms of CPU, and 20-30 ms more if trafilatura is tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from lxml.html import HtmlElement

from gobelin.data.model import Licence, PageKind, Role
from gobelin.transforms.pages.captions.caption_text import join_parts, text_of
from gobelin.transforms.pages.captions.clean_caption import clean_caption
from gobelin.transforms.pages.content.main_content import MainContent, find_main_content, has_enough_text
from gobelin.transforms.pages.content.page_kind import PageFacts, classify_page, read_facts
from gobelin.transforms.pages.content.thread_content import read_thread
from gobelin.transforms.pages.content.threads import Thread, find_thread, has_unread_posts
from gobelin.transforms.pages.content.trafilatura_path import choose_with_trafilatura
from gobelin.transforms.pages.images.image_references import ImageReference, document_base, rewrite_images
from gobelin.transforms.pages.tree.decode_text import decode
from gobelin.transforms.pages.tree.delimited_formulas import may_hold_formulas
from gobelin.transforms.pages.tree.markdeep import is_markdeep, markdeep_to_html
from gobelin.transforms.pages.tree.page_blocks import Block, PageBlocks, read_blocks
from gobelin.transforms.pages.tree.parse_html import PageProblem, parse_html
from gobelin.transforms.pages.tree.readable_text import is_readable
from gobelin.transforms.pages.tree.rewrite_words import rewrite_words
from gobelin.transforms.rights.consent import find_consent
from gobelin.transforms.rights.licences import find_licences
from gobelin.transforms.text.join_sentences import join

__all__ = ["PageContent", "PageProblem", "TextPiece", "read_page"]

MIN_CERTAIN_CHARS = 250
"""Characters of main content (see ``has_enough_text``) below which another path is tried."""

MIN_NAMED_CHARS = 100
"""Characters that are enough if both the page and the element around the text declare an article, as a page with a
video or a short notice does."""

MAX_TRAFILATURA_CHARS = 2_000_000
"""Longer pages are not given to trafilatura, because some of its searches take quadratic time."""

MAX_TITLE_CHARS = 1000
_BODY_IN_SCRIPT = "application/ld+json"


@dataclasses.dataclass(frozen=True, slots=True)
class TextPiece:
    """A block of text. White space is folded, except in code."""

    text: str
    role: Role = Role.PARAGRAPH
    level: int | None = None  # 1-6 for a heading; depth of nesting, from 1, for a list item and its further paragraphs
    code_language: str | None = None
    header_rows: int | None = None  # of a table
    continues: bool = False  # whether it continues the line of the previous text, after images


@dataclasses.dataclass(frozen=True, slots=True)
class PageContent:
    """The content of one page: title, statements on its use, and pieces in reading order."""

    title: str | None
    charset: str  # WHATWG name of the encoding in which the page was read
    extractor: str  # the path that found the main content: gobelin | gobelin_hidden | trafilatura
    page_kind: PageKind
    licences: tuple[Licence, ...]
    consent: tuple[str, ...]
    pieces: tuple[TextPiece | ImageReference, ...]


def read_page(
    payload: bytes, charset: str | None, url: str, headers: tuple[tuple[str, str], ...]
) -> PageContent | PageProblem:
    """Parses a page and finds its main content.

    Args:
        payload: the page's bytes.
        charset: the server's name of the encoding. Wrong and unknown names are ignored.
        url: the page's address.
        headers: of the HTTP response; consent signals are read from them.

    Returns:
        the content, or the problem if the page could not be read.
    """
    text, encoding = decode(payload, charset)
    tree = parse_html(markdeep_to_html(text) if is_markdeep(text) else text)
    if isinstance(tree, PageProblem):
        return tree
    # Holding all elements saves lxml from creating their proxies again in each pass below.
    elements = list(tree.iter())
    base_url = document_base(tree, url, encoding)
    rewrite_words(tree, may_hold_formulas(text))
    title = _find_title(tree)
    consent = find_consent(tree, headers)
    licences = find_licences(tree, base_url)
    references = rewrite_images(tree, base_url)
    own = frozenset(index for index, reference in enumerate(references) if reference.is_own)
    content, extractor, kind = _choose(_Source(tree, text, url, title, references, own))
    del elements
    return PageContent(title, encoding, extractor, kind, licences, consent, tuple(_pieces(content, references)))


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """A page before its main content is chosen."""

    tree: HtmlElement
    text: str
    url: str
    title: str | None
    references: list[ImageReference]
    own: frozenset[int]  # indexes of the images that the page declares to be its own


def _choose(source: _Source) -> tuple[MainContent, str, PageKind]:
    """Returns (main content, extractor, page kind)."""
    facts = read_facts(source.tree, source.url)
    page = read_blocks(source.tree, own=source.own)
    content = find_main_content(page, source.title, source.references, facts)
    for blocks, thread in _conversations(source, page, facts, content):
        posts = read_thread(blocks, thread, source.title, source.references)
        if posts.num_chars:
            return posts, "gobelin", thread.kind
    content, extractor = _certain(source, page, content, facts)
    return content, extractor, classify_page(page, facts, content.blocks)


def _conversations(
    source: _Source, page: PageBlocks, facts: PageFacts, content: MainContent
) -> Iterator[tuple[PageBlocks, Thread]]:
    """Yields the readings of the page as a conversation, if it is one. If the first reading seems to have skipped
    posts, a reading without skipping comes first."""
    if has_unread_posts(page, facts):
        whole = read_blocks(source.tree, own=source.own, is_conversation=True)
        said = {block.text for block in content.blocks if block.text}
        thread = find_thread(whole, facts, [block for block in whole.blocks if block.text in said])
        if thread is not None:
            yield whole, thread
    thread = find_thread(page, facts, content.blocks)
    if thread is not None:
        yield page, thread


def _certain(source: _Source, page: PageBlocks, content: MainContent, facts: PageFacts) -> tuple[MainContent, str]:
    """Returns (content, extractor): the given content, or the result of another path if that content has almost no
    text."""
    if has_enough_text(content, MIN_CERTAIN_CHARS):
        return content, "gobelin"
    if page.num_hidden:
        page = read_blocks(source.tree, with_hidden=True, own=source.own)
        shown = find_main_content(page, source.title, source.references, facts)
        if shown.num_chars >= 2 * max(content.num_chars, MIN_CERTAIN_CHARS):
            return shown, "gobelin_hidden"
    is_named = content.is_named and facts.kind is PageKind.ARTICLE and '"articleBody"' not in source.text
    if is_named and has_enough_text(content, MIN_NAMED_CHARS):
        return content, "gobelin"
    shown_chars = sum(block.num_chars - block.link_chars for block in page.blocks)
    is_little = shown_chars < 2 * MIN_CERTAIN_CHARS and _BODY_IN_SCRIPT not in source.text
    if len(source.text) > MAX_TRAFILATURA_CHARS or is_little:
        return content, "gobelin"
    blocks = choose_with_trafilatura(source.tree, source.url, page)
    num_chars = sum(block.num_chars for block in blocks)
    if num_chars >= 2 * max(content.num_chars, MIN_CERTAIN_CHARS):
        kept = set(map(id, blocks))
        own = [block for block in content.blocks if block.image in source.own and id(block) not in kept]
        return MainContent([*own, *blocks], content.captions, num_chars), "trafilatura"
    return content, "gobelin"


def _pieces(content: MainContent, references: list[ImageReference]) -> list[TextPiece | ImageReference]:
    pieces: list[TextPiece | ImageReference] = []
    before: Block | None = None  # the last text
    for block in content.blocks:
        if block.image is None:
            if not is_readable(block.text):
                before = None
                continue
            continues = block.continues is not None and block.continues is before and block.role is not Role.CODE
            last = pieces[-1] if continues else None
            if isinstance(last, TextPiece):
                pieces[-1] = dataclasses.replace(last, text=join(last.text, block.text))
            else:
                role = Role.PARAGRAPH if block.is_below_item else block.role
                told = (role, block.level, block.code_language, block.header_rows)
                pieces.append(TextPiece(block.text, *told, continues))
            before = block
        elif block.image < len(references):
            reference = references[block.image]
            caption = content.captions.get(block.image)
            if caption:
                caption = join_parts([reference.caption or "", caption])
                reference = dataclasses.replace(reference, caption=caption)
            if reference.caption and (cleaned := clean_caption(reference.caption)) != reference.caption:
                reference = dataclasses.replace(reference, caption=cleaned or None)
            pieces.append(_with_readable_words(reference))
    return pieces


def _with_readable_words(reference: ImageReference) -> ImageReference:
    words = (reference.alt, reference.caption, reference.title)
    if all(text is None or is_readable(text) for text in words):
        return reference
    alt, caption, title = [text if text and is_readable(text) else None for text in words]
    return dataclasses.replace(reference, alt=alt, caption=caption, title=title)


def _find_title(tree: HtmlElement) -> str | None:
    """The page's <title>, else og:title, else its first <h1>, else None. White space is folded."""
    for element in tree.iter("title"):
        text = _folded(element.text)
        if text and not any(parent.tag == "svg" for parent in element.iterancestors()):
            return text
    for element in tree.iter("meta"):
        if element.get("property") == "og:title" or element.get("name") == "og:title":
            text = _folded(element.get("content"))
            if text:
                return text
    heading = next(tree.iter("h1"), None)
    return _folded(text_of(heading)) if heading is not None else None


def _folded(text: str | None) -> str | None:
    return " ".join(text.split())[:MAX_TITLE_CHARS] or None if text and is_readable(text) else None
