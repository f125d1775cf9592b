"""Builds one page of each role: its HTML, the records that belong to it, and the truth about all of it.

A page depends on the seed, its index and its role alone, so a near-duplicate or a mirror is made by building the page
it copies once more and changing it.
"""

from __future__ import annotations

import dataclasses
import gzip
import html
from typing import Any

import numpy as np
from numpy.random import Generator

from examples.sample_crawl.dirt import html_body, lorem_paragraphs, spam_paragraphs
from examples.sample_crawl.languages import LANGUAGES, foreign_caption, foreign_paragraph
from examples.sample_crawl.model import Scene
from examples.sample_crawl.page_prose import PageWriter, reword
from examples.sample_crawl.references import DAMAGES, GOOD_WAYS, ImageTruth, Picture, Placed, Resource, place
from examples.sample_crawl.scenes import NUM_PHRASINGS, caption, draw_figure, draw_scene, paragraphs
from examples.sample_crawl.sites import SITES
from examples.sample_crawl.templates import Block, Page, Site

CRAWL_STREAM = 0xC4A31
"""First word of the crawl's seeds; `scenes.clip_pairs` uses another."""

SCENES_A_PAGE = (11, 15)  # level-6 scenes of a good page, both ends included
FIGURE_SHARE = 0.5  # of the good pages have a picture of another family too; every page of the manual has
ODD_PICTURES = 3  # pictures of a page that are placed in its odd way
MISMATCH_EVERY = 5  # one or two pictures of every fifth good page do not match their words
DAMAGE_PERIOD = 13  # of as many good pages, one has each of the DAMAGES
EMAIL_EVERY = 25
GZIP_EVERY = 31
# These periods and that of the odd ways have no factor in common with the number of sites: all fall on every site.
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October")

OPT_OUTS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "opt_out_meta": ('<meta name="robots" content="noai, noimageai">\n', ()),
    "opt_out_header": ("", (("X-Robots-Tag", "noai"),)),
    "opt_out_tdm": ("", (("tdm-reservation", "1"),)),
    "opt_out_tdm_meta": ('<meta name="tdm-reservation" content="1">\n', ()),
}
"""How a page says that it does not want to be used: tags of its head, headers of its response."""


@dataclasses.dataclass(frozen=True, slots=True)
class PageTruth:
    """What is true of one page, and of texts in it; lines of truth.jsonl."""

    url: str
    keep: bool
    kind: str
    group: str | None = None
    note: str | None = None
    boilerplate: tuple[str, ...] = ()
    content: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltPage:
    """A page with what belongs to it."""

    truth: PageTruth
    response: Resource
    resources: tuple[Resource, ...] = ()
    images: tuple[ImageTruth, ...] = ()


def generator(seed: int, index: int) -> Generator:
    return np.random.default_rng([CRAWL_STREAM, seed, index])


def _distinct_scenes(rng: Generator, num_scenes: int) -> list[Scene]:
    """Level-6 scenes, no two with the same colour and kind."""
    found: dict[tuple[str, str], Scene] = {}
    while len(found) < num_scenes:
        scene = draw_scene(rng)
        found.setdefault(scene.combination, scene)
    return list(found.values())


def _other_color(scene: Scene, rng: Generator) -> Scene:
    """A scene that could be mistaken for no description of this one: another colour, and mostly another kind."""
    while (other := draw_scene(rng)).color == scene.color:
        pass
    return other


def _alternative(site: Site, scene: Scene, phrasing: int, rng: Generator) -> str:
    """The alt text: the caption where it is shown nowhere else, otherwise another phrasing or nothing."""
    if site.caption_place == "alt":
        return caption(scene, phrasing)
    return caption(scene, phrasing + 1 + int(rng.integers(NUM_PHRASINGS - 1))) if rng.random() < 0.7 else ""


def _base_folder(site: Site, number: int) -> str:
    """The folder above that of the page's pictures."""
    folder = site.url_of_picture(number, 1).rsplit("/", 2)[0]
    return folder + "/"


def _ways(good_index: int, scenes: list[Scene], rng: Generator) -> list[str]:
    """The way in which each picture is placed; odd and damaged ones fall on level-6 scenes only."""
    ways = ["good"] * len(scenes)
    free = [i for i in rng.permutation(len(scenes)).tolist() if scenes[i].family == "shape"]
    if good_index % MISMATCH_EVERY == 1:
        for _ in range(1 + good_index % 2):
            ways[free.pop()] = "mismatch"
    if (damage := good_index % DAMAGE_PERIOD) < len(DAMAGES):
        ways[free.pop()] = DAMAGES[damage]
    odd = good_index % (len(GOOD_WAYS) + 2)  # two pages in eleven have none
    if odd < len(GOOD_WAYS):
        for i in free[:ODD_PICTURES]:
            ways[i] = GOOD_WAYS[odd]
    if "base_href" in ways:  # holds for the whole page
        ways = ["base_href" if way == "good" else way for way in ways]
    return ways


def _response(url: str, text: str, charset: str, good_index: int, headers: tuple[tuple[str, str], ...]) -> Resource:
    body = text.encode(charset)
    content_type = "text/html" if good_index % 5 == 2 else f"text/html; charset={charset}"
    if good_index % GZIP_EVERY == 3:
        return Resource(url, gzip.compress(body, mtime=0), content_type, 200, (("Content-Encoding", "gzip"), *headers))
    return Resource(url, body, content_type, 200, headers)


def tracker_url(index: int) -> str:
    return f"https://metrics.example/p.gif?v={index % 40}"


def shared_truths(site: Site, index: int) -> tuple[ImageTruth, ...]:
    """The pictures that a template puts on every page. Their bytes are written once, by `make_crawl`."""
    names = {"logo.png": "logo", "campaign.png": "banner"}
    extra = {"shapes": ("icon-pen.png",), "gallery": ("button-share.png",), "blog": ("icon-like.png", "icon-mail.png"),
             "docs": ("icon-home.png",)}.get(site.label, ())  # fmt: skip
    if site.label == "blog":  # has its name in letters
        del names["logo.png"]
    urls = [(site.asset(name), kind) for name, kind in names.items()] + [(site.asset(name), "icon") for name in extra]
    urls.append((tracker_url(index), "tracker"))
    if site.label == "blog":
        urls.append(("https://ads.example/square/125.png", "banner"))
    return tuple(ImageTruth(url, False, kind) for url, kind in urls)


def build_good(seed: int, index: int, good_index: int, role: str = "good") -> BuiltPage:
    """A page with eleven to fifteen scenes. ``role``: "good", "near_duplicate" (a few words changed) or an opt-out."""
    rng = generator(seed, index)
    site = SITES[good_index % len(SITES)]
    number = good_index // len(SITES) + 1
    url = site.page_url(number)
    scenes = _distinct_scenes(rng, int(rng.integers(SCENES_A_PAGE[0], SCENES_A_PAGE[1] + 1)))
    if site.label == "docs" or rng.random() < FIGURE_SHARE:
        scenes.insert(int(rng.integers(len(scenes) + 1)), draw_figure(rng))
    ways = _ways(good_index, scenes, rng)
    described = [_other_color(s, rng) if way == "mismatch" else s for s, way in zip(scenes, ways)]
    texts = paragraphs(tuple(described), rng)
    placed: list[Placed] = []
    captions: list[str] = []
    for k, (scene, words, way) in enumerate(zip(scenes, described, ways), 1):
        phrasing = int(rng.integers(NUM_PHRASINGS))
        captions.append(caption(words, phrasing))
        alt = _alternative(site, words, phrasing, rng)
        picture = Picture(scene, captions[-1], alt, site.url_of_picture(number, k), index * 32 + k, words)
        placed.append(place(picture, way, url, "absolute" if "base_href" in ways else site.link_form))

    shown = [s for s, way in zip(scenes, ways) if s.family == "shape" and way not in (*DAMAGES, "mismatch")]
    writer = PageWriter(site.label, number, shown, len(scenes), rng)
    introduction, closing, emails = writer.introduction(), [writer.closing()], []
    if good_index % EMAIL_EVERY == 7:
        emails = [f"{('mara.lind', 'office', 'j.okafor', 'prints')[number % 4]}{number}@{site.host}"]
        closing.append(writer.with_email(emails[0]))
    if role == "near_duplicate":
        url += "&print=1" if "?" in url else "?print=1"
        texts = reword(texts, np.random.default_rng([CRAWL_STREAM, seed, index, 1]))
    meta, headers = OPT_OUTS.get(role, ("", ()))
    blocks = tuple(Block(p.html, writer.caption_line(c), text) for p, c, text in zip(placed, captions, texts))
    page = Page(
        url, number, writer.title(), tuple(introduction), blocks, tuple(closing), tracker_url(index),
        f"{1 + index % 28} {MONTHS[index % len(MONTHS)]} 2025", meta,
        _base_folder(site, number) if "base_href" in ways else None,
    )  # fmt: skip
    truth = PageTruth(
        url, role == "good", "email" if emails and role == "good" else role, boilerplate=site.boilerplate,
        content=(introduction[0], texts[0], texts[len(texts) // 2]), emails=tuple(emails),
    )  # fmt: skip
    return BuiltPage(
        truth,
        _response(url, site.render(site, page), "utf-8", good_index, headers),
        tuple(resource for p in placed for resource in p.resources),
        (*(t for p in placed for t in p.truths), *shared_truths(site, index)),
    )


def _simple_page(
    seed: int, index: int, role: str, site: Site, url: str, title: str, texts: list[str], scenes: list[Scene],
    captions: list[str], note: str, language: str = "en", charset: str = "utf-8",
) -> BuiltPage:  # fmt: skip
    """A page that should go whole, in a site's template: texts, and under the first of them the pictures."""
    placed = [
        place(
            Picture(scene, words, words, f"{url.rstrip('/')}/pictures/{k}.png", index * 32 + k), "good", url, "absolute"
        )
        for k, (scene, words) in enumerate(zip(scenes, captions), 1)
    ]
    blocks = tuple(Block(p.html, words, text) for p, words, text in zip(placed, captions, texts))
    rest = tuple(texts[len(blocks) :])
    page = Page(
        url, 1 + index % 9, title, rest[:1], blocks, rest[1:], tracker_url(index), "3 May 2025", language=language,
        charset=charset,
    )  # fmt: skip
    response = Resource(url, site.render(site, page).encode(charset), f"text/html; charset={charset}")
    truth = PageTruth(url, False, role, note=note)
    images = tuple(dataclasses.replace(t, keep=False, kind=role, note=note) for p in placed for t in p.truths)
    shared = tuple(image for image in shared_truths(site, index) if blocks or image.kind != "banner")
    return BuiltPage(truth, response, tuple(r for p in placed for r in p.resources), (*images, *shared))


def _elsewhere(site: Site, host: str, name: str) -> Site:
    """The site's template on another host."""
    return dataclasses.replace(site, host=host, name=name)


def build_spam(seed: int, index: int, number: int) -> BuiltPage:
    rng = generator(seed, index)
    texts = spam_paragraphs(rng, number)
    scenes = [draw_scene(rng) for _ in range(2)]
    site = _elsewhere(SITES[0], "deals.example", "Best Deals")
    url = f"https://{site.host}/offer/{number}/"
    return _simple_page(
        seed, index, "spam", site, url, "Best deals now", texts, scenes, ["Best offer of the day!", "Buy it now!"],
        f"flavour {number % 3}",
    )  # fmt: skip


def build_lorem(seed: int, index: int, number: int) -> BuiltPage:
    rng = generator(seed, index)
    scenes = [draw_scene(rng) for _ in range(2)]
    site = _elsewhere(SITES[number % 2], "template.example", "Theme")
    url = f"https://{site.host}/demo/{number}/"
    return _simple_page(
        seed, index, "lorem_ipsum", site, url, "Just another page", lorem_paragraphs(rng), scenes,
        ["Lorem ipsum dolor", "Sit amet"], "filler text",
    )  # fmt: skip


def build_foreign(seed: int, index: int, number: int, role: str) -> BuiltPage:
    rng = generator(seed, index)
    language = LANGUAGES[role]
    scenes = [draw_scene(rng) for _ in range(6)]
    texts = [foreign_paragraph(language, scene, rng) for scene in scenes]
    picked = [language.introductions[i] for i in rng.permutation(4).tolist()]
    site = _elsewhere(SITES[number % 2], f"{language.code}.shapes.example", language.title)
    joint = "" if language.code == "zh" else " "
    return _simple_page(
        seed, index, role, site, f"https://{site.host}/heft/{number}/",
        f"{language.title} {number}", [*texts, joint.join(picked[:2]), joint.join(picked[2:])], scenes,
        [foreign_caption(language, scene, rng) for scene in scenes], f"language {language.code}", language.code,
        language.charset,
    )  # fmt: skip


THIN = (
    "There is nothing here yet, but we will fill this page when we find the time to do so.",
    "Our shop is closed for the holidays. We will be back in the first week of the new year.",
    "To see the drawings you have to log in with the name and the word that we sent you.",
    "This page has been moved to another part of the site, and you will find it in the menu.",
)


def build_thin(seed: int, index: int, number: int) -> BuiltPage:
    site = SITES[number % len(SITES)]
    url = f"https://{site.host}/info/{number}/"
    texts = [f"{THIN[number % len(THIN)]} This is notice {number}."]
    return _simple_page(
        seed, index, "thin", site, url, f"Notice {number}", texts, [], [], "no pictures, hardly any text"
    )


def build_answer(index: int, number: int, role: str) -> BuiltPage:
    """A response that is no page: an error, a redirect, plain text."""
    site = SITES[number % len(SITES)]
    match role:
        case "not_found":
            status = 500 if number % 3 == 2 else 404
            url = f"https://{site.host}/lost/{number}.html"
            answer = Resource(url, html_body(f"Error {status}"), "text/html", status)
            note = f"status {status}"
        case "redirect":
            url, target = f"https://{site.host}/old/{number}.html", site.page_url(number)
            body = f'<html><body><a href="{html.escape(target)}">moved</a></body></html>'.encode()
            answer, note = Resource(url, body, "text/html", 301, (("Location", target),)), "status 301"
        case _:
            url = f"https://{site.host}/files/{number}.txt"
            text = f"{THIN[number % len(THIN)]}\nThis is file {number} of the archive, and it is not a web page.\n"
            answer, note = Resource(url, text.encode(), "text/plain; charset=utf-8"), "text/plain, not HTML"
    return BuiltPage(PageTruth(url, False, role, note=note), answer)


def mirror_of(page: BuiltPage) -> tuple[BuiltPage, BuiltPage]:
    """The page with the truth that it has a copy, and the copy: the same page and pictures on another host."""
    host = page.truth.url.split("/")[2]
    group = f"mirror-{host}-{page.truth.url.rsplit(host, 1)[1].strip('/')}"

    def moved(url: str) -> str:
        return url.replace(f"{host}/", f"{host.removeprefix('www.').removesuffix('.example')}.mirror.example/", 1)

    old = page.response
    zipped = ("Content-Encoding", "gzip") in old.headers
    text = (gzip.decompress(old.body) if zipped else old.body).decode()
    for place_ in (f"//{host}/", f"//img.{host}/", f"//static.{host}/"):
        text = text.replace(place_, moved(place_))
    body = gzip.compress(text.encode(), mtime=0) if zipped else text.encode()

    def grouped(image: ImageTruth) -> str | None:
        return image.group or (f"mirror-{image.url}" if image.keep else None)

    def copied(image: ImageTruth) -> ImageTruth:
        kind = "mirror" if image.keep or image.group else image.kind
        return dataclasses.replace(image, url=moved(image.url), keep=False, kind=kind, group=grouped(image))

    own = [image for image in page.images if image.scene is not None]
    shared = [image for image in page.images if image.scene is None]
    original = dataclasses.replace(
        page,
        truth=dataclasses.replace(page.truth, group=group, note="has a mirror; exactly one of the two should stay"),
        images=(*(dataclasses.replace(image, group=grouped(image)) for image in own), *shared),
    )
    mirror = BuiltPage(
        PageTruth(moved(page.truth.url), False, "mirror", group, f"the same page as {page.truth.url}"),
        dataclasses.replace(old, url=moved(old.url), body=body),
        tuple(dataclasses.replace(resource, url=moved(resource.url)) for resource in page.resources),
        (*(copied(image) for image in own), *(dataclasses.replace(i, url=moved(i.url)) for i in shared)),
    )
    return original, mirror


def opted_out(page: BuiltPage, role: str) -> BuiltPage:
    """The page's pictures go with it."""
    note = "leaves with its page"
    images = tuple(
        dataclasses.replace(image, keep=False, kind=role, group=None, note=note) if image.scene is not None else image
        for image in page.images
    )
    return dataclasses.replace(page, images=images)


def truth_line(unit: str, **fields: Any) -> dict[str, Any]:
    """A line of truth.jsonl: the unit first, then what is known."""
    return {"unit": unit} | {name: value for name, value in fields.items() if value is not None}
