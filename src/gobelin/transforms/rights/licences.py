"""Finds licence statements of a page: the licence, its scope and its place. They are recorded and not trusted.

One walk over the tree reads

    link, a     rel=license (and licence, cc:license, dct:license); rel=copyright if it is Creative Commons; any <a> to
    a
                licence of creativecommons.org
    meta        dcterms.license, dc.rights and similar names, if they hold an address
    itemprop    license, on a link, a or meta (microdata); the type of its item is the scope
    JSON-LD     ``license`` of any object, at any depth; ``acquireLicensePage`` is where one buys, not a licence

The scope of a statement is ``page`` in the head, in a footer or sidebar, in a part that is named for it, or around the
licence's badge. It is ``image`` in a figure, in the caption of an image or in an ImageObject. Anywhere else it is
``unknown``, because prose also links to licences.

This must run before ``rewrite_images``, which removes figcaptions from the tree.

Cost: about 0.3 ms for a page of 150 KB, two thirds of which is the walk. JSON-LD is parsed only if it contains
"license".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from lxml.html import HtmlElement

from gobelin.data.model import Licence
from gobelin.transforms.urls import resolve, split_url

MAX_LICENCES = 256
"""Maximum number of licences of one page. Galleries state one per image."""

MAX_JSON_CHARS = 1 << 20
MAX_JSON_OBJECTS = 10_000
"""Maximum number of objects in one page's JSON-LD that are read."""

_RELATIONS = frozenset(("license", "licence", "cc:license", "dct:license", "dcterms:license"))
_LICENCE_METAS = frozenset(
    ("license", "licence", "dc.license", "dc.rights.license", "dcterms.license", "dc.rights", "dcterms.rights")
)
_RIGHTS_METAS = frozenset(("rights", "copyright", "og:rights", "og:license", "cc:license"))
"""These are mostly free text. An address in them counts only if it is Creative Commons."""

_ADDRESS = re.compile(r"https?://[^\s\"'<>()]{1,2000}", re.I)
_CREATIVE_COMMONS = re.compile(
    r"/(?:licenses/(?P<code>(?:by|nc|nd|sa)(?:-(?:nc|nd|sa|by)){0,3})|publicdomain/(?P<mark>zero|mark))"
    r"(?:/(?P<version>\d\.\d))?(?=/|$)",
    re.I,
)
_FOOTERS = re.compile(r"footer|colophon|contentinfo|imprint|impressum|seitenfu|fusszeile|pied[-_]?de[-_]?page", re.I)
_SIDEBARS = re.compile(r"sidebar|textwidget", re.I)
_NOTICES = re.compile(r"licen[sc]e|copyright", re.I)
_CAPTIONS = re.compile(r"caption|credit|attribution|licen[sc]e|copyright", re.I)
_WHOLE_PAGE = ("body", "main", "article", "html")
_BADGE = re.compile(r"creativecommons\.org|licensebuttons\.net|/cc[-_]?by|88x31", re.I)
_PAGE_TYPES = re.compile(r"(?:article|posting|page|website|creativework|book|report|blog|learningresource)$", re.I)
_IMAGE_TYPES = ("ImageObject", "Photograph")
_OPENINGS = ("<!--", "//<![CDATA[", "// <![CDATA[", "<![CDATA[")
_CLOSINGS = ("-->", "//]]>", "// ]]>", "]]>")
_LAZY_SOURCES = ("data-src", "data-original", "data-lazy-src")
_MAX_LEVELS = 32
"""Number of ancestors of a link that are read."""

_CAPTION_LEVELS = 4
"""Number of these ancestors that may be its caption or notice."""

_MAX_FIGURE_ELEMENTS = 64
"""Maximum number of elements of an image with its caption."""

_MAX_LINKS = 2000
"""Maximum number of links of a page that are examined."""


def find_licences(tree: HtmlElement, base_url: str) -> tuple[Licence, ...]:
    """The licence statements of a page: distinct, sorted by address, at most ``MAX_LICENCES``. A statement of unknown
    scope is left
    out if the page states the same licence for itself.

    Args:
        base_url: the address against which references resolve.

    Returns:
        ``uri`` is absolute and as found, without white space and, at creativecommons.org, without query and fragment.
        ``image_url`` is one of the absolute addresses of the image itself.
    """
    found: dict[tuple[str, str, str | None], Licence] = {}
    budget, num_links = MAX_JSON_OBJECTS, 0
    links = {link for link in tree.iter("a") if _may_state(link)}
    for element in tree.iter("a", "link", "meta", "script") if links else tree.iter("link", "meta", "script"):
        if element.tag == "a" and element not in links:
            continue
        statements: Iterable[Licence]
        if element.tag == "script":
            text = element.text or ""
            if "icense" not in text or "ld+json" not in (element.get("type") or "").lower():
                continue
            statements, budget = _in_json_ld(text, base_url, budget)
        else:
            statements = _in_meta(element, base_url) if element.tag == "meta" else _in_link(element, base_url)
        for licence in statements:
            found.setdefault((licence.uri, licence.scope, licence.image_url), licence)
        num_links += element.tag == "a"
        if len(found) >= MAX_LICENCES or num_links >= _MAX_LINKS:
            break
    of_page = {licence.uri for licence in found.values() if licence.scope == "page"}
    kept = [each for each in found.values() if each.scope != "unknown" or each.uri not in of_page]
    ordered = sorted(kept, key=lambda licence: (licence.uri, licence.scope, licence.image_url or ""))
    return tuple(ordered[:MAX_LICENCES])


def creative_commons(uri: str) -> str | None:
    """The short name of a Creative Commons licence ("CC BY-NC-SA 4.0", "CC0 1.0", "PDM 1.0") without the jurisdiction
    of a ported licence; None for any other address."""
    match = _creative_commons_match(uri)
    if match is None:
        return None
    name = f"CC {match['code'].upper()}" if match["code"] else {"zero": "CC0", "mark": "PDM"}[match["mark"].lower()]
    return f"{name} {match['version']}" if match["version"] else name


def _creative_commons_match(uri: str) -> re.Match[str] | None:
    parts = split_url("".join(uri.split()))
    if parts is None:
        return None
    host = (parts.netloc or "").lower().removeprefix("www.")
    return _CREATIVE_COMMONS.match(parts.path) if host == "creativecommons.org" else None


def _may_state(link: HtmlElement) -> bool:
    """Whether a link may state a licence."""
    href, relations = link.get("href"), link.get("rel")
    if href and "creativecommons.org" in href:
        return True
    return (relations is not None and "icen" in relations.lower()) or link.get("itemprop") is not None


def _in_link(link: HtmlElement, base_url: str) -> Iterator[Licence]:
    tag, href = str(link.tag), str(link.get("href") or "")
    relations = str(link.get("rel") or "").lower().split()
    if not href:
        return
    if not _RELATIONS.isdisjoint(relations):
        evidence = f"{tag}[rel=license]"
    elif link.get("itemprop") == "license":
        evidence = f"{tag}[itemprop=license]"
    elif "copyright" in relations and creative_commons(href):
        evidence = f"{tag}[rel=copyright]"
    elif tag == "a" and creative_commons(href):
        evidence = "a[href]"
    else:
        return
    uri = _address(href, base_url)
    if uri is None:
        return
    scope, place, image_url = (link.get("itemprop") == "license" and _item(link, base_url)) or (
        ("page", None, None) if tag == "link" else _surroundings(link, base_url)
    )
    yield Licence(uri, scope, f"{evidence} in {place}" if place else evidence, image_url)


def _in_meta(element: HtmlElement, base_url: str) -> Iterator[Licence]:
    name = (element.get("name") or element.get("property") or "").lower()
    is_microdata = element.get("itemprop") == "license"
    if name not in _LICENCE_METAS and name not in _RIGHTS_METAS and not is_microdata:
        return
    address = _ADDRESS.search((element.get("content") or "")[:4096])
    uri = _address(address.group(), base_url) if address else None
    if uri is None or (name in _RIGHTS_METAS and not creative_commons(uri)):
        return
    scope, place, image_url = (is_microdata and _item(element, base_url)) or ("page", None, None)
    evidence = "meta[itemprop=license]" if is_microdata else f"meta {name}"
    yield Licence(uri, scope, f"{evidence} in {place}" if place else evidence, image_url)


def _item(element: HtmlElement, base_url: str) -> tuple[str, str, str | None] | None:
    """(scope, type, address of the image) of the microdata item around an element; None if its type implies no
    scope."""
    holders = (parent for parent in islice(element.iterancestors(), _MAX_LEVELS) if "itemscope" in parent.attrib)
    item = next(holders, None)
    name = re.split(r"[/#]", str(item.get("itemtype") or "").strip())[-1][:100] if item is not None else ""
    if item is None or not name:
        return None
    if not name.endswith(_IMAGE_TYPES):
        return ("page", name, None) if _PAGE_TYPES.search(name) else None
    for part in islice(item.iter(), _MAX_FIGURE_ELEMENTS):
        if part.get("itemprop") in ("contentUrl", "image", "url"):
            address = resolve(base_url, str(part.get("src") or part.get("href") or part.get("content") or ""))
            if address is not None and not address.startswith("data:"):
                return "image", name, address
    return "image", name, _image_address(item, base_url)


def _surroundings(link: HtmlElement, base_url: str) -> tuple[str, str | None, str | None]:
    """(scope, name of the place, address of the image) of a link, by the elements around it.

    A figure decides first, then a footer. Then a part that is named as a caption or notice: it applies to the single
    image beside
    it if there is one; else a notice applies to the page. The licence's own badge and links in a sidebar apply to the
    page.
    """
    ancestors = [parent for _, parent in zip(range(_MAX_LEVELS), link.iterancestors())]
    for parent in ancestors:
        if parent.tag == "figure":
            image_url = _image_address(parent, base_url)
            in_caption = any(inner.tag == "figcaption" for inner in ancestors)
            return ("image" if image_url else "unknown"), ("figcaption" if in_caption else "figure"), image_url
    names = [_names(parent) for parent in ancestors]
    for parent, name in zip(ancestors, names):
        if parent.tag in ("head", "footer") or (parent.tag != "body" and _FOOTERS.search(name)):
            return "page", "head" if parent.tag == "head" else "footer", None
    for level, name in enumerate(names[:_CAPTION_LEVELS]):
        if not _CAPTIONS.search(name) or ancestors[level].tag in _WHOLE_PAGE:
            continue
        for parent in ancestors[level : level + 3]:
            if parent.tag in _WHOLE_PAGE:
                break
            image_url = _image_address(parent, base_url, only_one=True)
            if image_url:
                return "image", "caption", image_url
        if _NOTICES.search(name):
            return "page", "notice", None
    if any(_BADGE.search(str(img.get("src") or "")) for img in islice(link.iter("img"), 1)):
        return "page", "badge", None
    if any(_SIDEBARS.search(name) for parent, name in zip(ancestors, names) if parent.tag not in _WHOLE_PAGE):
        return "page", "sidebar", None
    return "unknown", None, None


def _names(element: HtmlElement) -> str:
    """Class, id and role of an element."""
    return " ".join(str(element.get(name) or "") for name in ("class", "id", "role"))[:400]


def _image_address(container: HtmlElement, base_url: str, only_one: bool = False) -> str | None:
    """The address of a container's first image, or of its only image if it holds little else. Licence badges are
    skipped."""
    elements = list(islice(container.iter(), _MAX_FIGURE_ELEMENTS + 1))
    if only_one and len(elements) > _MAX_FIGURE_ELEMENTS:
        return None
    found: list[str] = []
    for img in elements:
        if img.tag != "img":
            continue
        addresses = (resolve(base_url, str(img.get(name) or "")) for name in ("src", *_LAZY_SOURCES))
        usable = [url for url in addresses if url and not url.startswith("data:")]
        if usable and not any(_BADGE.search(url) for url in usable):
            found.append(usable[0])
            if len(found) > only_one:
                break
    return found[0] if found and not (only_one and len(found) > 1) else None


def _in_json_ld(text: str, base_url: str, budget: int) -> tuple[list[Licence], int]:
    """Returns (statements in one JSON-LD script, remaining budget of objects). Walks without recursion."""
    if len(text) > MAX_JSON_CHARS:
        return [], budget
    try:
        pending: list[Any] = [json.loads(_unwrapped(text), strict=False)]
    except (ValueError, RecursionError):
        return [], budget
    found: list[Licence] = []
    while pending and budget > 0:
        value = pending.pop()
        budget -= 1
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            found += _in_json_object(value, base_url)
            pending.extend(child for child in value.values() if isinstance(child, (dict, list)))
    return found, budget


def _unwrapped(text: str) -> str:
    """JSON without comment or CDATA marks around it and without a semicolon at its end."""
    text = text.strip()
    for opening in _OPENINGS:
        text = text.removeprefix(opening)
    for closing in _CLOSINGS:
        text = text.removesuffix(closing)
    return text.strip().rstrip(";")


def _in_json_object(value: dict[str, Any], base_url: str) -> Iterator[Licence]:
    types = value.get("@type")
    names = [name for name in (types if isinstance(types, list) else [types]) if isinstance(name, str)]
    image_url = None
    if any(name.endswith(_IMAGE_TYPES) for name in names):
        scope = "image"
        given = value.get("contentUrl") or value.get("url")
        image_url = resolve(base_url, given) if isinstance(given, str) else None
    else:
        scope = "page" if any(_PAGE_TYPES.search(name) for name in names) else "unknown"
    licences = value.get("license")
    for licence in licences if isinstance(licences, list) else [licences]:
        if isinstance(licence, dict):
            licence = licence.get("url") or licence.get("@id")
        uri = _address(licence, base_url) if isinstance(licence, str) and _is_address(licence) else None
        if uri is not None:
            yield Licence(uri, scope, "json-ld license", image_url)


def _is_address(text: str) -> bool:
    """Whether a JSON value is an address and not a licence's name; "CC BY 4.0" would resolve to a file of the site."""
    return text[:8].lower().startswith(("http:", "https:", "/"))


def _address(reference: str, base_url: str) -> str | None:
    """The absolute address of a licence, or None."""
    cleaned = "".join(reference.split())
    uri = resolve(base_url, cleaned)
    if uri is None or uri.startswith("data:"):
        return None
    return re.split(r"[?#]", uri, maxsplit=1)[0] if _creative_commons_match(uri) else uri
