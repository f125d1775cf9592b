"""The ways in which a page refers to a picture, with the archive's records for each.

`place` takes a picture and the name of a way and gives the HTML, the records and the truth about each URL. The ways
that a good extractor must see through (lazy, srcset, picture, noscript ...) and the ways in which a picture is lost
(no record, 404, cut short ...) are all here, and nowhere else.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import posixpath
from typing import Any
from urllib.parse import quote, urlsplit

from PIL import Image

from examples.sample_crawl.dirt import PLACEHOLDER_GIF, bomb_png, encode, html_body, truncated
from examples.sample_crawl.model import Scene, describe
from examples.sample_crawl.scenes import render_scene

GOOD_WAYS = ("lazy", "srcset", "picture", "noscript", "data_uri", "no_extension", "base_href", "percent", "mislabelled")
"""Odd but sound: the picture is there and must be kept."""

DAMAGES = ("dead_404", "dead_missing", "truncated", "html_as_image", "bomb")
"""The picture is not there, whatever the page says."""

LAZY_ATTRIBUTES = ("data-src", "data-original", "data-lazy-src")
PLACEHOLDER = "data:image/gif;base64," + base64.b64encode(PLACEHOLDER_GIF).decode()


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """One response of the archive."""

    url: str
    body: bytes
    content_type: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ImageTruth:
    """What is true of one image URL; a line of truth.jsonl once the pages that use it are known."""

    url: str  # absolute; "data:image/png;sha256=..." for data: images
    keep: bool
    kind: str
    image_id: str | None = None  # sha256 of the bytes; None where the archive has none
    scene: dict[str, Any] | None = None
    caption: str | None = None
    alt: str | None = None
    group: str | None = None  # of the lines of one group exactly one should stay
    described: dict[str, Any] | None = None  # the scene that the words are about, where it is another one
    note: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its words and the place where a page would look for it."""

    scene: Scene
    caption: str
    alt: str
    url: str  # absolute, ends in .png
    number: int  # unique in the crawl
    described: Scene | None = None  # the other scene that the words are about, where they do not match


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """The HTML of a picture, the records behind it and the truth about them."""

    html: str
    resources: tuple[Resource, ...]
    truths: tuple[ImageTruth, ...]


def image_id(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def data_reference(media_type: str, body: bytes) -> str:
    """How the truth names an image that has no URL of its own."""
    return f"data:{media_type};sha256={image_id(body)}"


def link(url: str, page_url: str, form: str) -> str:
    """A URL as the page writes it: absolute, scheme (without "https:"), root (path only) or relative."""
    target, page = urlsplit(url), urlsplit(page_url)
    if form == "absolute" or (target.netloc != page.netloc and form != "scheme"):
        return url
    if form == "scheme":
        return url.removeprefix("https:")
    rest = f"?{target.query}" if target.query else ""
    if form == "root":
        return target.path + rest
    return posixpath.relpath(target.path, posixpath.dirname(page.path) or "/") + rest


def img(source: str, alt: str, scene: Scene, extra: str = "") -> str:
    size = f' width="{scene.width}" height="{scene.height}"'
    return f'<img src="{html.escape(source)}" alt="{html.escape(alt)}"{size}{extra}>'


def place(picture: Picture, way: str, page_url: str, form: str) -> Placed:
    """One picture placed on a page in a way of GOOD_WAYS or DAMAGES, "good" or "mismatch"."""
    scene, url, alt = picture.scene, picture.url, picture.alt
    drawn = render_scene(scene)
    as_jpeg = way == "good" and picture.number % 16 == 5
    body, content_type = (encode(drawn, "JPEG"), "image/jpeg") if as_jpeg else (encode(drawn), "image/png")
    if as_jpeg:
        url = url.removesuffix(".png") + ".jpg"

    def truth(kind: str, keep: bool = True, data: bytes | None = body, **fields: Any) -> ImageTruth:
        return ImageTruth(
            fields.pop("url", url), keep, kind, image_id(data) if data is not None else None, describe(scene),
            picture.caption, alt, **fields,
        )  # fmt: skip

    def plain(kind: str, keep: bool = True, **fields: Any) -> Placed:
        tag = img(link(url, page_url, form), alt, scene)
        return Placed(tag, (Resource(url, body, content_type),), (truth(kind, keep, **fields),))

    match way:
        case "good":
            return plain("good")
        case "mismatch":
            assert picture.described is not None
            return plain(way, keep=False, described=describe(picture.described))
        case "base_href":  # the page's <base> is the folder of the pictures, one level up
            folder = posixpath.dirname(posixpath.dirname(url)) + "/"
            tag = img(url.removeprefix(folder), alt, scene)
            return Placed(tag, (Resource(url, body, content_type),), (truth(way),))
        case "no_extension":
            root = url[: url.index("/", 8)]
            odd = picture.number % 2
            url = f"{root}/image?id={picture.number}&w={scene.width}" if odd else f"{root}/media/{picture.number:08x}"
            return plain(way)
        case "percent":
            folder = posixpath.dirname(url)
            name = f"größe {scene.size or scene.kind} № {picture.number}.png"
            url = f"{folder}/{quote(name)}"
            written = link(url, page_url, form)
            if picture.number % 2:  # as a careless author writes it; a browser encodes it
                written = posixpath.dirname(written) + "/" + name
            return Placed(img(written, alt, scene), (Resource(url, body, content_type),), (truth(way),))
        case "mislabelled":
            url = url.removesuffix(".png") + ".jpg"
            content_type = "image/jpeg"
            return plain(way, note="PNG bytes, served as image/jpeg")
        case "data_uri":
            source = "data:image/png;base64," + base64.b64encode(body).decode()
            return Placed(img(source, alt, scene), (), (truth(way, url=data_reference("image/png", body)),))
        case "lazy":
            attribute = LAZY_ATTRIBUTES[picture.number % 3]
            extra = f' {attribute}="{html.escape(link(url, page_url, form))}" class="lazyload" loading="lazy"'
            tag = img(PLACEHOLDER, alt, scene, extra)
            return Placed(tag, (Resource(url, body, content_type),), (truth(way), placeholder_truth()))
        case "noscript":
            waiting = f'<img src="{PLACEHOLDER}" alt="" class="js-picture" data-number="{picture.number}">'
            tag = f"{waiting}<noscript>{img(link(url, page_url, form), alt, scene)}</noscript>"
            return Placed(tag, (Resource(url, body, content_type),), (truth(way), placeholder_truth()))
        case "srcset" | "picture":
            return _place_variants(picture, way, page_url, form, drawn, body)
        case "dead_404":
            answer = Resource(url, html_body("404 Not Found"), "text/html", 404)
            return dataclasses.replace(plain(way, keep=False, data=None), resources=(answer,))
        case "dead_missing":
            return dataclasses.replace(plain(way, keep=False, data=None), resources=())
        case "truncated" | "html_as_image" | "bomb":
            body = {
                "truncated": truncated(body),
                "html_as_image": html_body(f"Picture {picture.number} has moved"),
                "bomb": bomb_png(picture.number),
            }[way]
            return plain(way, keep=False, data=body)
    raise ValueError(f"there is no way {way!r} to place a picture")


def placeholder_truth() -> ImageTruth:
    note = "shown until a script runs"
    return ImageTruth(
        data_reference("image/gif", PLACEHOLDER_GIF), False, "placeholder", image_id(PLACEHOLDER_GIF), note=note
    )


def _place_variants(picture: Picture, way: str, page_url: str, form: str, drawn: Image.Image, body: bytes) -> Placed:
    """The same scene in two files, of which a browser would take one."""
    scene, url = picture.scene, picture.url
    stem = url.removesuffix(".png")
    if way == "srcset":
        large_scene = dataclasses.replace(scene, width=scene.width * 2, height=scene.height * 2)
        other_url, other_type = f"{stem}-2x.png", "image/png"
        other_body = encode(render_scene(large_scene))
        candidates = f"{link(url, page_url, form)} 1x, {link(other_url, page_url, form)} 2x"
        tag = f'<img srcset="{html.escape(candidates)}" alt="{html.escape(picture.alt)}">'
    else:
        other_url, other_type = f"{stem}.webp", "image/webp"
        other_body = encode(drawn, "WEBP")
        source = f'<source type="image/webp" srcset="{html.escape(link(other_url, page_url, form))}">'
        tag = f"<picture>{source}{img(link(url, page_url, form), picture.alt, scene)}</picture>"
    group = f"variants-{picture.number}"
    truths = tuple(
        ImageTruth(
            where, keep, way, image_id(data), describe(scene), picture.caption, picture.alt, group,
            note="one of two files of the same picture",
        )
        for where, keep, data in ((other_url, True, other_body), (url, False, body))
    )  # fmt: skip
    resources = (Resource(url, body, "image/png"), Resource(other_url, other_body, other_type))
    return Placed(tag, resources, truths)
