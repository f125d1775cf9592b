"""Extracts a ``PageDraft`` from an HTML response: a document whose images are still lists of candidate URLs.

A ``data:`` image of a page becomes an image of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib

from gobelin.data.ids import document_id
from gobelin.data.model import Action, Decision, Document, Licence, Node, Role, Unit
from gobelin.transforms.archives.read_warc import Capture
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.extract.decisions import blocked_decision, capture_decision, refused_decision
from gobelin.transforms.extract.extract_image import Check, ImageDraft, extract_image
from gobelin.transforms.images.block_list import load_block_list
from gobelin.transforms.pages.content.gates import refuse
from gobelin.transforms.pages.content.language import identify_language
from gobelin.transforms.pages.images.image_references import ImageReference, decode_data_url
from gobelin.transforms.pages.tree.find_nodes import PageContent, PageProblem, TextPiece, read_page
from gobelin.transforms.urls import canonical_url, data_url_reference


@dataclasses.dataclass(frozen=True, slots=True)
class PageDraft:
    """A document before its images are resolved."""

    document: Document  # image nodes without image_url and image_id
    candidates: tuple[tuple[str, ...], ...]  # URLs of each image node, best first
    payload_digest: str | None  # as in the archive


def extract_page(
    capture: Capture, config: ExtractConfig, check: Check | None = None
) -> tuple[PageDraft | Decision, dict[str, ImageDraft | Decision]]:
    """Returns (a page's draft, or the decision that leaves it out; the draft or decision of each of its ``data:``
    images, by name).

    Args:
        check: checks images; None: in this process.
    """
    blocked = load_block_list(config.block_list)
    hit = blocked.match_url(capture.url) if blocked else None
    if hit is not None:
        return blocked_decision(capture, Unit.DOCUMENT, hit), {}
    if capture.status != 200:
        return capture_decision(capture, Unit.DOCUMENT, Action.DROP, "http_status", capture.status, 200), {}
    if capture.is_truncated:
        return capture_decision(
            capture, Unit.DOCUMENT, Action.DROP, "page_bytes", len(capture.payload), config.max_page_bytes
        ), {}
    refusal = refuse(capture.payload, capture.headers, config.gates)
    if refusal is not None:
        return refused_decision(capture, Unit.DOCUMENT, refusal), {}
    content = read_page(capture.payload, capture.charset, capture.url, capture.headers)
    if isinstance(content, PageProblem):
        return refused_decision(capture, Unit.DOCUMENT, content), {}
    texts = [piece for piece in content.pieces if isinstance(piece, TextPiece)]
    if not texts:
        return capture_decision(capture, Unit.DOCUMENT, Action.DROP, "no_main_text", 0, 1), {}
    prose = [piece.text for piece in texts if piece.role != Role.CODE] or [piece.text for piece in texts]
    language = identify_language("\n".join(prose))
    nodes, candidates, images = _nodes(content, capture, config, check)
    digest = "sha256:" + hashlib.sha256(capture.payload).hexdigest()
    document = Document(
        doc_id=document_id(canonical_url(capture.url), digest),
        url=capture.url,
        warc_file=capture.warc_file,
        warc_offset=capture.warc_offset,
        warc_length=capture.warc_length,
        warc_date=capture.warc_date,
        content_digest=digest,
        title=content.title,
        language=language[0] if language else None,
        language_score=language[1] if language else None,
        licences=_unlisted(content.licences, config),
        consent=content.consent,
        charset=content.charset,
        extractor=content.extractor,
        page_kind=content.page_kind,
        nodes=tuple(nodes),
    )
    return PageDraft(document, tuple(candidates), capture.payload_digest), images


def _nodes(
    content: PageContent, capture: Capture, config: ExtractConfig, check: Check | None
) -> tuple[list[Node], list[tuple[str, ...]], dict[str, ImageDraft | Decision]]:
    blocked = load_block_list(config.block_list)
    nodes: list[Node] = []
    candidates: list[tuple[str, ...]] = []
    images: dict[str, ImageDraft | Decision] = {}  # a repeated data: image is one image
    for piece in content.pieces:
        if isinstance(piece, TextPiece):
            nodes.append(
                Node(
                    "text", piece.role, piece.level, piece.text,
                    code_language=piece.code_language, header_rows=piece.header_rows, continues=piece.continues or None,
                )
            )  # fmt: skip
            continue
        urls = []
        for url in piece.candidates:
            if url.startswith("data:"):
                url, outcome = _data_image(url, capture, config, check)
                images[url] = outcome
            urls.append(url)
        addresses = [*urls, piece.link_url] if piece.link_url else urls
        if blocked and any(blocked.match_url(url) for url in addresses):
            urls, piece = [], dataclasses.replace(piece, link_url=None)  # its other files show the same image
        candidates.append(tuple(urls))
        nodes.append(_image_node(piece))
    return nodes, candidates, images


def _unlisted(licences: tuple[Licence, ...], config: ExtractConfig) -> tuple[Licence, ...]:
    """The licences without those of images whose address is on a block list."""
    blocked = load_block_list(config.block_list)
    if blocked is None:
        return licences
    return tuple(each for each in licences if each.image_url is None or blocked.match_url(each.image_url) is None)


def _image_node(reference: ImageReference) -> Node:
    return Node(
        kind="image",
        alt=reference.alt,
        caption=reference.caption,
        title=reference.title,
        link_url=reference.link_url,
        rendered_width=reference.rendered_width,
        rendered_height=reference.rendered_height,
    )


def _data_image(
    url: str, capture: Capture, config: ExtractConfig, check: Check | None
) -> tuple[str, ImageDraft | Decision]:
    """Returns (short name of a ``data:`` image, its draft or the decision on it)."""
    decoded = decode_data_url(url)
    media_type, data = decoded if decoded else ("unknown", b"")
    name = data_url_reference(media_type, data)
    found = dataclasses.replace(capture, url=name, status=200, payload=data, payload_digest=None)
    return name, extract_image(found, config, check)
