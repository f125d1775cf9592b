"""The sample crawl: its pictures are what its words say, its truth is what its archives hold, and it repeats."""

from __future__ import annotations

import collections
import gzip
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import lxml.html
import numpy as np
import pyarrow as pa
import pytest
import trafilatura
from PIL import Image
from warcio.archiveiterator import ArchiveIterator

from examples.demo.kinds import RULES, Kind, judge_kinds, kind_lines
from examples.sample_crawl.dirt import bomb_png
from examples.sample_crawl.figures import FIGURE_KINDS
from examples.sample_crawl.judge import judge
from examples.sample_crawl.make_crawl import SHARES, make_crawl, plan_roles
from examples.sample_crawl.model import place_of
from examples.sample_crawl.page_prose import CAPTION_LINES
from examples.sample_crawl.pages import OPT_OUTS
from examples.sample_crawl.references import DAMAGES, GOOD_WAYS, link
from examples.sample_crawl.scenes import (
    HELD_OUT_COMBINATIONS,
    KINDS,
    NUM_PHRASINGS,
    PALETTE,
    SEEN_COMBINATIONS,
    caption,
    clip_pairs,
    draw_figure,
    draw_scene,
    paragraph,
    render_scene,
)
from examples.sample_crawl.sites import SITES
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import write_shard
from gobelin.store.tables import shard_path

HELD_OUT_WORDS = re.compile("|".join(rf"\b{color}\W+{kind}" for color, kind in sorted(HELD_OUT_COMBINATIONS)), re.I)


class Crawl:
    """A small crawl, read back from its files."""

    def __init__(self, folder: Path) -> None:
        self.summary = make_crawl(folder, seed=3, pages=60)
        self.truth: list[dict[str, Any]] = [
            json.loads(line) for line in self.summary.truth_path.read_text().splitlines()
        ]
        self.responses: dict[str, tuple[int, str, bytes]] = {}  # URL -> status, content type, decoded body
        self.file_of: dict[str, str] = {}
        self.record_types: collections.Counter[str] = collections.Counter()
        for path in self.summary.paths:
            with path.open("rb") as stream:
                for record in ArchiveIterator(stream, check_digests="raise"):
                    self.record_types[record.rec_type] += 1
                    if record.rec_type != "response":
                        continue
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    assert url not in self.responses, f"{url} was fetched twice"
                    kind = record.http_headers.get_header("Content-Type")
                    status = int(record.http_headers.get_statuscode())
                    self.responses[url] = status, kind, record.content_stream().read()
                    self.file_of[url] = path.name

    def lines(self, unit: str, *kinds: str) -> list[dict[str, Any]]:
        return [line for line in self.truth if line["unit"] == unit and (not kinds or line["kind"] in kinds)]

    def text(self, url: str) -> str:
        charset = re.search("charset=(.*)", self.responses[url][1])
        return self.responses[url][2].decode(charset[1] if charset else "utf-8")


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Crawl:
    return Crawl(tmp_path_factory.mktemp("crawl"))


# Scenes and the judge


@pytest.mark.parametrize(("size", "sigma"), [(64, 0), (56, 0), (64, 12), (56, 12)])
def test_judge_is_right_on_drawn_scenes(size: int, sigma: int) -> None:
    rng = np.random.default_rng(size)
    for split in ["seen"] * 240 + ["held_out"] * 60:
        scene = draw_scene(rng, split)
        pixels = np.asarray(render_scene(scene, size)) + rng.normal(0, sigma, (size, size, 3))
        verdict = judge(pixels.clip(0, 255).astype(np.uint8))
        assert (verdict.color, verdict.kind, verdict.background) == (scene.color, scene.kind, scene.background)


def test_judge_sees_no_shape_on_an_empty_ground() -> None:
    verdict = judge(np.full((64, 64, 3), 250, dtype=np.uint8))
    assert (verdict.color, verdict.kind, verdict.background) == (None, None, "white")


def test_splits_keep_to_their_combinations() -> None:
    rng = np.random.default_rng(0)
    assert {draw_scene(rng).combination for _ in range(2000)} == set(SEEN_COMBINATIONS)
    assert {draw_scene(rng, "held_out").combination for _ in range(300)} == HELD_OUT_COMBINATIONS
    assert {color for color, _ in SEEN_COMBINATIONS} == set(PALETTE)
    assert {kind for _, kind in SEEN_COMBINATIONS} == set(KINDS)


def test_pictures_of_scenes_are_distinct() -> None:
    rng = np.random.default_rng(1)
    pictures = {render_scene(draw_scene(rng)).tobytes() for _ in range(2000)}
    assert len(pictures) == 2000


@pytest.mark.parametrize(
    ("x", "y", "place"),
    [
        (0.3, 0.3, "top left"),
        (0.5, 0.7, "bottom"),
        (0.52, 0.46, "middle"),
        (0.6, 0.5, "right"),
        (0.6, 0.4, "top right"),
    ],
)
def test_place_is_named_by_the_centre(x: float, y: float, place: str) -> None:
    assert place_of(x, y) == place


@pytest.mark.parametrize("phrasing", range(NUM_PHRASINGS))
def test_caption_names_color_and_kind(phrasing: int) -> None:
    scene = draw_scene(np.random.default_rng(phrasing))
    words = caption(scene, phrasing)
    assert f"{scene.color} {scene.kind}" in words
    assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|\{", words)


def test_paragraph_says_nothing_false() -> None:
    rng = np.random.default_rng(2)
    for _ in range(500):
        scene = draw_scene(rng)
        words = re.findall("[a-z]+", paragraph(scene, rng).lower())
        for own, others in (
            (scene.color, PALETTE),
            (scene.kind, KINDS),
            (scene.background, ("white", "black", "gray")),
        ):
            assert {word for word in words if word in others} <= {own}
        assert {word for word in words if word in ("small", "large")} <= {
            scene.size,
            "small" if "file" in words else "",
        }
        assert 5 <= len(words) <= 50


@pytest.mark.parametrize("kind", FIGURE_KINDS)
def test_figures_repeat_and_show_no_held_out_combination(kind: str) -> None:
    scene = draw_figure(np.random.default_rng(5), kind)
    picture = render_scene(scene)
    assert picture.tobytes() == render_scene(scene).tobytes()
    assert picture.size == (scene.width, scene.height)
    assert 0.5 <= scene.width / scene.height <= 2
    assert not {part.combination for part in scene.parts} & HELD_OUT_COMBINATIONS
    assert "{" not in caption(scene, 1) + paragraph(scene, np.random.default_rng(0))


def test_bar_chart_has_its_tallest_bar_where_the_caption_says() -> None:
    scene = draw_figure(np.random.default_rng(8), "bar chart")
    distance = np.abs(np.asarray(render_scene(scene)).astype(int) - PALETTE[scene.color]).sum(axis=2)
    heights = (distance < 30).sum(axis=0)  # per column of pixels
    tallest = int(heights.argmax() / scene.width * len(scene.values))
    ordinal = ("first", "second", "third", "fourth", "fifth", "sixth")[tallest]
    assert f"the {ordinal} bar is the tallest" in caption(scene, 1)


def test_clip_pairs_repeat_and_stay_away_from_held_out_combinations(crawl: Crawl) -> None:
    pairs = clip_pairs(seed=3, n=300)
    again = clip_pairs(seed=3, n=300)
    assert [(p.tobytes(), words) for p, words, _ in pairs] == [(p.tobytes(), words) for p, words, _ in again]
    shown = {scene.combination for _, _, scene in pairs} | {q.combination for _, _, s in pairs for q in s.parts}
    assert not shown & HELD_OUT_COMBINATIONS
    assert not any(HELD_OUT_WORDS.search(words) for _, words, _ in pairs)
    crawled = {_pixels(body) for _, kind, body in crawl.responses.values() if kind == "image/png" and len(body) > 200}
    # Gradients and the like have so few parameters that two of them may be the same picture by chance.
    fitted = {picture.tobytes() for picture, _, scene in pairs if scene.family == "shape"}
    assert crawled
    assert not fitted & crawled


def _pixels(body: bytes) -> bytes | None:
    try:
        with Image.open(io.BytesIO(body)) as picture:
            return picture.convert("RGB").tobytes()
    except (OSError, Image.DecompressionBombError):
        return None


# The crawl


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second, other = (
        {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        for folder in (_made(tmp_path / "a", 1), _made(tmp_path / "b", 1), _made(tmp_path / "c", 2))
    )
    assert first == second
    assert all(first[name] != other[name] for name in first if name.endswith(".gz"))


def _made(folder: Path, seed: int) -> Path:
    make_crawl(folder, seed=seed, pages=40)
    return folder


def test_too_few_pages_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 40"):
        make_crawl(tmp_path, pages=39)


def test_every_kind_of_dirt_is_there_and_none_prevails() -> None:
    counts = collections.Counter(plan_roles(900, seed=1))
    assert set(counts) == {"good", *SHARES}
    assert all(10 <= count <= 27 for role, count in counts.items() if role != "good")


def test_small_crawl_has_every_kind(crawl: Crawl) -> None:
    assert {line["kind"] for line in crawl.lines("page")} == {"good", "email", *SHARES}
    kinds = {line["kind"] for line in crawl.lines("image")}
    assert kinds >= {
        "good",
        "mismatch",
        "mirror",
        "spam",
        "lorem_ipsum",
        "german",
        "opt_out_meta",
        *DAMAGES,
        *GOOD_WAYS,
    }
    assert kinds >= {"logo", "icon", "banner", "tracker", "placeholder"}
    assert set(crawl.record_types) == {"warcinfo", "request", "response", "metadata"}


def test_truth_names_every_response(crawl: Crawl) -> None:
    named = {line["url"] for line in crawl.lines("page") + crawl.lines("image")}
    assert {url for url in crawl.responses if not url.endswith("/robots.txt")} <= named
    missing = {line["url"] for line in crawl.lines("page") + crawl.lines("image")} - set(crawl.responses)
    kinds = {line["kind"] for line in crawl.lines("image") if line["url"] in missing}
    kinds -= set(OPT_OUTS)  # whose pages have all of them
    assert kinds == {"dead_missing", "data_uri", "placeholder"}


def test_truth_has_the_digest_of_what_the_archive_holds(crawl: Crawl) -> None:
    for line in crawl.lines("image"):
        status, _, body = crawl.responses.get(line["url"], (0, "", b""))
        if status == 200:
            assert line["image_id"] == hashlib.sha256(body).hexdigest()
        elif not line["url"].startswith("data:"):
            assert "image_id" not in line


def test_pictures_show_what_the_truth_says(crawl: Crawl) -> None:
    judged = 0
    for line in crawl.lines("image"):
        sound = line["kind"] not in DAMAGES and line["url"] in crawl.responses
        if not sound or line.get("scene", {}).get("family") != "shape":
            continue
        scene = line["scene"]
        with Image.open(io.BytesIO(crawl.responses[line["url"]][2])) as picture:
            verdict = judge(np.asarray(picture.convert("RGB")))
        assert (verdict.color, verdict.kind, verdict.background) == (scene["color"], scene["kind"], scene["background"])
        judged += 1
        named = f"{scene['color']} {scene['kind']}" in line["caption"]
        if line["kind"] in ("good", *GOOD_WAYS):
            assert named, line
        if line["kind"] == "mismatch":
            assert scene["color"] not in line["caption"] + line["alt"]
            assert f"{line['described']['color']} {line['described']['kind']}" in line["caption"]
    assert judged > 400


def test_damaged_pictures_cannot_be_read(crawl: Crawl) -> None:
    for line in crawl.lines("image", *DAMAGES):
        status, _, body = crawl.responses.get(line["url"], (404, "", b""))
        assert not line["keep"]
        assert status == 404 or _pixels(body) is None


def test_bomb_declares_what_it_does_not_hold() -> None:
    body = bomb_png(1)
    assert len(body) < 200
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(body))


def test_no_held_out_combination_in_pictures_or_words(crawl: Crawl) -> None:
    for line in crawl.lines("image"):
        scene = line.get("scene", {})
        shown = {(scene.get("color"), scene.get("kind"))} | {(p["color"], p["kind"]) for p in scene.get("parts", [])}
        assert not shown & HELD_OUT_COMBINATIONS
    for url, (_, kind, _) in crawl.responses.items():
        if kind.startswith("text/"):
            assert not HELD_OUT_WORDS.search(crawl.text(url)), url


def test_pages_refer_to_every_picture_of_the_truth(crawl: Crawl) -> None:
    on_page = collections.defaultdict(list)
    for line in crawl.lines("image"):
        for url in line["page_url"]:
            on_page[url].append(line)
    for page in crawl.lines("page", "good", "email", "near_duplicate", "mirror", "spam"):
        found = set(_references(crawl.text(page["url"]), page["url"]))
        for line in on_page[page["url"]]:
            if line["kind"] != "placeholder" and not line["url"].startswith("data:"):
                assert line["url"] in found, (page["url"], line)


def _references(text: str, page_url: str) -> list[str]:
    """The addresses in a page's tags, as a browser would ask for them."""
    tree = lxml.html.document_fromstring(text)
    base = urljoin(page_url, next(iter(tree.xpath("//base/@href")), ""))
    written = tree.xpath("//@src | //@data-src | //@data-original | //@data-lazy-src")
    written += [part.split()[0] for value in tree.xpath("//@srcset") for part in value.split(",")]
    return [re.sub(r"[^!-~]|\s", _encode, urljoin(base, address)) for address in written]


def _encode(character: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in character[0].encode())


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.label)
def test_main_text_is_found_and_boilerplate_is_not(crawl: Crawl, site: Any) -> None:
    page = next(
        line for line in crawl.lines("page", "good", "email") if line["url"].startswith(f"https://{site.host}/")
    )
    found = trafilatura.extract(crawl.text(page["url"]), output_format="xml", include_images=True, url=page["url"])
    assert found is not None
    words = " ".join(lxml.html.fromstring(found.encode()).text_content().split())
    for line in crawl.lines("text"):
        if line["url"] == page["url"]:
            assert (line["text"] in words) == line["keep"], line["text"]


def test_groups_have_one_that_stays(crawl: Crawl) -> None:
    groups = collections.defaultdict(list)
    for line in crawl.lines("page") + crawl.lines("image"):
        if "group" in line:
            groups[line["unit"], line["group"]].append(line["keep"])
    assert groups
    assert all(sum(keeps) == 1 for keeps in groups.values())


def test_copies_are_copies(crawl: Crawl) -> None:
    pairs = collections.defaultdict(dict)
    for line in crawl.lines("page"):
        if "group" in line:
            pairs[line["group"]][line["kind"]] = set(re.findall(r"\w+", crawl.text(line["url"])))
    for kinds in pairs.values():
        copy = kinds.get("mirror") or kinds["near_duplicate"]
        original = next(words for kind, words in kinds.items() if kind in ("good", "email"))
        assert len(copy & original) / len(copy | original) > 0.8


def test_emails_stand_where_the_truth_says(crawl: Crawl) -> None:
    lines = crawl.lines("email")
    assert lines
    assert all(line["text"] in crawl.text(line["url"]) for line in lines)
    with_address = {url for url, (_, kind, _) in crawl.responses.items() if "html" in kind and "@" in crawl.text(url)}
    kept = {line["url"] for line in crawl.lines("page") if line["keep"]}
    assert with_address & kept == {line["url"] for line in lines}


def test_opt_outs_are_said(crawl: Crawl) -> None:
    signs = {"opt_out_meta": "noai", "opt_out_tdm_meta": "tdm-reservation"}
    for kind, sign in signs.items():
        assert all(sign in crawl.text(line["url"]) for line in crawl.lines("page", kind))
    raw = b"".join(gzip.decompress(path.read_bytes()) for path in crawl.summary.paths)
    assert raw.count(b"X-Robots-Tag: noai") == len(crawl.lines("page", "opt_out_header"))
    assert raw.count(b"tdm-reservation: 1") == len(crawl.lines("page", "opt_out_tdm"))


def test_pictures_are_mostly_in_other_files_than_their_pages(crawl: Crawl) -> None:
    lines = [line for line in crawl.lines("image", "good") if line["url"] in crawl.file_of]
    apart = sum(crawl.file_of[line["url"]] != crawl.file_of[line["page_url"][0]] for line in lines)
    assert apart / len(lines) > 0.6


def test_summary_counts_the_truth(crawl: Crawl) -> None:
    summary = crawl.summary
    assert sum(summary.pages_by_kind.values()) == len(crawl.lines("page")) == 60
    assert sum(summary.images_by_kind.values()) == len(crawl.lines("image"))
    assert summary.num_records == sum(crawl.record_types.values())
    assert json.loads((summary.truth_path.parent / "summary.json").read_text())["num_scenes"] == summary.num_scenes


@pytest.mark.parametrize(
    ("url", "form", "written"),
    [
        ("https://a.example/p/x/1.png", "absolute", "https://a.example/p/x/1.png"),
        ("https://a.example/p/x/1.png", "root", "/p/x/1.png"),
        ("https://a.example/p/x/1.png", "relative", "x/1.png"),
        ("https://a.example/q/1.png?w=2", "relative", "../q/1.png?w=2"),
        ("https://b.example/1.png", "root", "https://b.example/1.png"),
        ("https://b.example/1.png", "scheme", "//b.example/1.png"),
    ],
)
def test_link_is_written_in_the_form_asked_for(url: str, form: str, written: str) -> None:
    page_url = "https://a.example/p/page.html"
    assert link(url, page_url, form) == written
    assert urljoin(page_url, written) == url


# What became of each kind of dirt

PAGE, COPY, GERMAN = "https://a.example/1", "https://b.example/1", "https://a.example/de"
OTHER = "https://a.example/2"


def _image(name: str) -> dict[str, Any]:
    return {"kind": "image", "image_url": f"https://a.example/{name}.png", "text": None, "caption": None, "alt": None}


def _text(words: str) -> dict[str, Any]:
    return {"kind": "text", "image_url": None, "text": words, "caption": None, "alt": None}


@pytest.fixture
def judged(tmp_path: Path) -> dict[tuple[str, str], Kind]:
    """Two good pages, one of them with a copy, and a German one, after a run that was right in some of it only."""
    nodes = {
        PAGE: [_image("good"), _image("wrong"), _image("missed"), _text("Good words."), _text("Menu")],
        COPY: [_image("copied")],
        OTHER: [_image("lost"), _text("Lost words."), _text("Write to <EMAIL>.")],
        GERMAN: [_image("gut")],
    }
    corpus = {PAGE: [nodes[PAGE][0], *nodes[PAGE][2:4]], OTHER: [nodes[OTHER][2]]}
    decisions = [
        (PAGE, 1, "drop", "image.min_clip_near"),
        (OTHER, 0, "drop", "image.min_clip_near"),
        (PAGE, 4, "drop", "text.max_site_count"),
        (OTHER, 1, "drop", "text.min_words"),
        (OTHER, 2, "replace", "pii.email"),
        (COPY, None, "drop", "document.unique.exact"),
        (GERMAN, None, "drop", "document.languages"),
    ]
    for name, held in (("extract", nodes), ("select", corpus)):
        rows = [{"doc_id": url, "url": url, "nodes": page} for url, page in held.items()]
        _write(tmp_path / name / "documents", rows)
        _write(tmp_path / name / "decisions", [
            {"unit": "document" if place is None else "node", "action": action, "rule": rule, "doc_id": url,
             "url": url, "node_index": place, "value": 1.0}
            for url, place, action, rule in (decisions if name == "select" else [])
        ])  # fmt: skip
    truth = [
        {"unit": "page", "url": PAGE, "keep": True, "kind": "good", "group": "g"},
        {"unit": "page", "url": COPY, "keep": False, "kind": "mirror", "group": "g"},
        {"unit": "page", "url": OTHER, "keep": True, "kind": "good"},
        {"unit": "page", "url": GERMAN, "keep": False, "kind": "german"},
        *(
            {"unit": "image", "url": f"https://a.example/{name}.png", "page_url": [page], "keep": keep, "kind": kind}
            for name, page, keep, kind in [
                ("good", PAGE, True, "good"), ("wrong", PAGE, False, "mismatch"), ("missed", PAGE, False, "mismatch"),
                ("lost", OTHER, True, "good"), ("never", PAGE, False, "logo"), ("gut", GERMAN, False, "german"),
            ]
        ),
        {"unit": "text", "url": PAGE, "keep": True, "kind": "good", "text": "Good words."},
        {"unit": "text", "url": PAGE, "keep": False, "kind": "boilerplate", "text": "Menu"},
        {"unit": "text", "url": OTHER, "keep": True, "kind": "good", "text": "Lost words."},
        {"unit": "email", "url": OTHER, "keep": False, "kind": "email", "text": "me@a.example"},
    ]  # fmt: skip
    path = tmp_path / "truth.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in truth))
    return {(kind.unit, kind.kind): kind for kind in judge_kinds(path, tmp_path)}


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    node = pa.struct([(name, pa.string()) for name in ("kind", "image_url", "text", "caption", "alt")])
    fields = {"nodes": pa.list_(node), "node_index": pa.int32(), "value": pa.float64()}
    names = ("doc_id", "url", "nodes") if folder.name == "documents" else (
        "unit", "action", "rule", "doc_id", "url", "node_index", "value")  # fmt: skip
    schema = pa.schema([(name, fields.get(name, pa.string())) for name in names])
    write_shard(shard_path(str(folder), 0, 1), rows, schema)
    assert commit_shards(str(folder), 1)


@pytest.mark.parametrize(
    ("unit", "kind", "counts"),
    [
        # should go, went, of these by a rule of the kind; left out by these rules, of which should go
        ("page", "mirror", (1, 1, 1, 1, 1)),
        ("page", "german", (1, 1, 1, 1, 1)),
        ("image", "mismatch", (2, 1, 1, 2, 1)),  # one was missed, and a good picture was lost with the other
        ("image", "logo", (1, 1, 1, 1, 1)),
        ("image", "of a page that goes", (1, 1, 1, 1, 1)),
        ("text", "boilerplate", (1, 1, 1, 2, 1)),
        ("email", "email", (1, 1, 1, 1, 1)),
    ],
)
def test_kinds_of_dirt(judged: dict[tuple[str, str], Kind], unit: str, kind: str, counts: tuple[int, ...]) -> None:
    found = judged[unit, kind]
    assert (found.total, found.went, found.by_rule, found.dropped, found.right) == counts
    assert found.recall == counts[1] / counts[0]
    assert found.precision == counts[4] / counts[3]


def test_the_table_names_every_kind_of_dirt_and_no_other(crawl: Crawl, judged: dict[tuple[str, str], Kind]) -> None:
    for unit in ("page", "image", "text", "email"):
        dirt = {line["kind"] for line in crawl.lines(unit) if not line["keep"]}
        named = set(RULES[unit]) - {"of a page that goes"}
        pages = {line["kind"] for line in crawl.lines("page") if not line["keep"]} if unit == "image" else set()
        assert dirt - pages - named == set()
        assert named - dirt == set()
    assert len(kind_lines(judged.values())) == len(judged) + 1


def test_a_third_of_the_captions_for_clip_stand_after_a_line_as_on_the_pages() -> None:
    starts = tuple(line.split("{")[0] for lines in CAPTION_LINES.values() for line in lines)
    words = [words for _, words, _ in clip_pairs(seed=4, n=300)]
    assert 0.15 < sum(": " in text and text.startswith(starts) for text in words) / len(words) < 0.31
