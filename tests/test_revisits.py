"""Revisit records, and what a site says in robots.txt and tdmrep.json, joined to pages and images across archives."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gobelin.data.ids import image_id
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.images.block_list import BlockListConfig

Make = Callable[..., Any]
HOST = "https://a.example"
FIRST, LATER = "2025-01-02T03:04:05Z", "2025-06-02T03:04:05Z"


def revisit(record: Any, url: str, *headers: tuple[str, str]) -> Any:
    return record(url, b"", kind="revisit", date=LATER, warc_headers=headers)


@pytest.fixture
def two_archives(make_warc: Make, record: Any, html_page: Make, png: Make, prose: str) -> list[str]:
    page = html_page(f"<p>{prose}</p><img src=/old.png><p>{prose} It rained.</p>")
    later_page = html_page(
        f"<p>{prose} Later.</p><img src=/new-name.png><img src=/dated.png><p>It rained on. {prose}</p>"
    )
    digest = ("WARC-Payload-Digest", "sha1:AAAA")
    first = make_warc(
        "first.warc.gz",
        [
            record(f"{HOST}/page", page, warc_headers=(("WARC-Payload-Digest", "sha1:PAGE"),)),
            record(f"{HOST}/old.png", png(1), "image/png", warc_headers=(digest,)),
            record(f"{HOST}/undigested.png", png(2), "image/png"),
        ],
    )
    second = make_warc(
        "second.warc.gz",
        [
            record(f"{HOST}/later", later_page, date=LATER),
            revisit(record, f"{HOST}/new-name.png", digest),
            revisit(record, f"{HOST}/dated.png", ("WARC-Refers-To-Target-URI", f"{HOST}/undigested.png"),
                    ("WARC-Refers-To-Date", FIRST)),
            revisit(record, f"{HOST}/page", ("WARC-Payload-Digest", "sha1:PAGE")),
            revisit(record, f"{HOST}/nowhere.png", ("WARC-Payload-Digest", "sha1:NONE")),
            revisit(record, f"{HOST}/no-key.png"),
        ],
    )  # fmt: skip
    return [second, first]


@pytest.fixture
def two_crawls(two_archives: list[str], extract_archives: Make, tmp_path: Path) -> Any:
    return extract_archives(two_archives, tmp_path / "out", one_by_one=True)


def test_a_revisited_image_is_found_under_its_new_name(two_crawls: Any, png: Make) -> None:
    nodes = [node for node in two_crawls.by_url(f"{HOST}/later")["nodes"] if node["kind"] == "image"]
    assert [node["image_url"] for node in nodes] == [f"{HOST}/new-name.png", f"{HOST}/dated.png"]
    assert [node["image_id"] for node in nodes] == [image_id(png(1)), image_id(png(2))]
    stored = {row["image_id"]: row["urls"] for row in two_crawls.images}
    assert stored[image_id(png(1))] == [f"{HOST}/new-name.png", f"{HOST}/old.png"]
    assert stored[image_id(png(2))] == [f"{HOST}/dated.png", f"{HOST}/undigested.png"]


def test_each_other_revisit_has_its_decision(two_crawls: Any) -> None:
    document = two_crawls.by_url(f"{HOST}/page")
    found = {
        row["url"]: (row["action"], row["rule"], row["doc_id"])
        for row in two_crawls.decisions
        if row["unit"] == "record"
    }
    assert found == {
        f"{HOST}/page": ("drop", "revisit", document["doc_id"]),
        f"{HOST}/nowhere.png": ("fail", "revisit_without_original", None),
        f"{HOST}/no-key.png": ("fail", "revisit_without_original", None),
    }


@pytest.mark.parametrize(
    ("dates", "headers", "seed"),
    [
        ((FIRST,), (("WARC-Refers-To-Target-URI", f"{HOST}/old.png"),), 0),  # no date
        (
            (FIRST[:-1] + ".125Z",),
            (("WARC-Refers-To-Target-URI", f"{HOST}/old.png"), ("WARC-Refers-To-Date", FIRST)),
            0,
        ),
        ((FIRST, "2026-01-01T00:00:00Z"), (("WARC-Refers-To-Target-URI", f"{HOST}/old.png"),), 0),  # not a later one
        ((FIRST, "2025-03-03T00:00:00Z"), (("WARC-Refers-To-Target-URI", f"{HOST}/old.png"),), 1),
        ((FIRST,), (("WARC-Refers-To-Target-URI", f"{HOST}/old.png"), ("WARC-Refers-To-Date", LATER)), None),
        (("2026-01-01T00:00:00Z",), (("WARC-Refers-To-Target-URI", f"{HOST}/old.png"),), None),
    ],
)
def test_revisits_that_name_their_original_by_address(
    dates: tuple[str, ...],
    headers: tuple[tuple[str, str], ...],
    seed: int | None,
    make_warc: Make,
    record: Any,
    html_page: Make,
    png: Make,
    prose: str,
    extract_archives: Make,
    tmp_path: Path,
) -> None:
    page = html_page(f"<p>{prose}</p><img src=/again.png><p>{prose} It rained.</p>")
    captures = [record(f"{HOST}/old.png", png(number), "image/png", date=date) for number, date in enumerate(dates)]
    archive = make_warc(
        "a.warc.gz", [record(f"{HOST}/page", page), revisit(record, f"{HOST}/again.png", *headers), *captures]
    )
    found = extract_archives([archive], tmp_path / "out")
    (node,) = [node for node in found.by_url(f"{HOST}/page")["nodes"] if node["kind"] == "image"]
    assert node["image_id"] == (None if seed is None else image_id(png(seed)))


def test_a_page_that_the_server_said_was_not_modified(
    make_warc: Make, record: Any, html_page: Make, prose: str, extract_archives: Make, tmp_path: Path
) -> None:
    page = record(f"{HOST}/page", html_page(f"<p>{prose}</p><p>{prose} It rained.</p>"))
    found = extract_archives([make_warc("a.warc.gz", [revisit(record, f"{HOST}/page"), page])], tmp_path / "out")
    (decision,) = found.decisions
    assert (decision["rule"], decision["doc_id"]) == ("revisit", found.by_url(f"{HOST}/page")["doc_id"])


def test_images_still_add_up(two_crawls: Any) -> None:
    seen = sum(row["num_images"] for row in two_crawls.archives)
    decided = sum(row["unit"] == "image" for row in two_crawls.decisions)
    assert (seen, len(two_crawls.images), decided) == (2, 2, 0)


@pytest.mark.parametrize("rows_at_once", [1, 2])
def test_linking_in_batches_gives_the_same_files(
    two_archives: list[str], make_warc: Make, record: Any, extract_archives: Make, tmp_path: Path, rows_at_once: int
) -> None:
    robots = record(f"{HOST}/robots.txt", b"User-agent: GPTBot\nDisallow: /\n", "text/plain")
    archives = [*two_archives, make_warc("robots.warc.gz", [robots])]
    whole = extract_archives(archives, tmp_path / "whole", num_shards=3)
    assert whole.by_url(f"{HOST}/later")["consent"] == ["robots.txt disallow: gptbot"]
    assert any(image["consent"] for image in whole.images)
    batched = extract_archives(archives, tmp_path / "batched", num_shards=3, rows_at_once=rows_at_once)
    assert (batched.folder / "work" / "urls-1").is_dir()
    for name in ("documents", "images", "decisions", "archives", "fetches"):
        files = sorted((whole.folder / name).glob("*.parquet"))
        assert len(files) == (1 if name in ("archives", "fetches") else 3)
        for file in files:
            assert (batched.folder / name / file.name).read_bytes() == file.read_bytes()


def test_an_image_is_found_under_the_address_that_redirects_to_it(
    make_warc: Make, record: Any, html_page: Make, png: Make, prose: str, extract_archives: Make, tmp_path: Path
) -> None:
    cdn = "https://cdn.example"

    def redirect(url: str, location: str | None, body: bytes = b"", **options: Any) -> Any:
        headers = () if location is None else (("Location", location),)
        return record(
            url, body, options.pop("type", "text/plain"), status="HTTP/1.1 302 Found", headers=headers, **options
        )

    names = ("moved", "html", "far", "page", "gone", "loop", "nowhere", "later")
    images = "".join(f"<p>{prose} {name}</p><img src=/{name}.png>" for name in names)
    pages = make_warc(
        "pages.warc.gz",
        [
            record(f"{HOST}/page", html_page(f"{images}<p>{prose}</p>")),
            redirect(f"{HOST}/moved.png", f"{cdn}/1.png", date=LATER),
            redirect(f"{HOST}/html.png", "/here.png", b"<html><body>Moved</body></html>", type="text/html"),
            redirect(f"{HOST}/far.png", f"{HOST}/moved.png"),  # two hops
            redirect(f"{HOST}/page.png", "page"),
            redirect(f"{HOST}/gone.png", f"{cdn}/gone.png"),
            redirect(f"{HOST}/loop.png", "HTTP://a.example:80/loop.png#again"),
            redirect(f"{HOST}/nowhere.png", None),
            redirect(f"{HOST}/later.png", f"{cdn}/1.png"),
        ],
    )
    pictures = make_warc(
        "pictures.warc.gz",
        [
            record(f"{cdn}/1.png", png(1), "image/png"),
            record(f"{HOST}/here.png", png(2), "image/png"),
            record(f"{HOST}/later.png", png(3), "image/png", date=LATER),  # captured itself, after it was a redirect
        ],
    )
    found = extract_archives([pages, pictures], tmp_path / "out", one_by_one=True)
    nodes = [node for node in found.by_url(f"{HOST}/page")["nodes"] if node["kind"] == "image"]
    held = {node["image_url"].rpartition("/")[2]: node["image_id"] for node in nodes}
    lost = dict.fromkeys((f"{name}.png" for name in ("far", "page", "gone", "loop", "nowhere")), None)
    assert held == {**lost, "moved.png": image_id(png(1)), "html.png": image_id(png(2)), "later.png": image_id(png(3))}
    urls = {row["image_id"]: row["urls"] for row in found.images}
    assert urls[image_id(png(1))] == [f"{HOST}/later.png", f"{HOST}/moved.png", f"{cdn}/1.png"]
    assert [(row["url"], row["rule"]) for row in found.decisions] == [(f"{HOST}/html.png", "http_status")]
    (tally,) = [row for row in found.archives if "pages" in row["warc_file"]]
    assert (tally["num_records"], tally["num_documents"], tally["num_images"]) == (9, 2, 0)


def test_what_a_site_says_reaches_its_pages_and_the_images_it_serves(
    make_warc: Make, record: Any, html_page: Make, png: Make, prose: str, extract_archives: Make, tmp_path: Path
) -> None:
    pictures = "https://pictures.example"
    page = html_page(f"<p>{prose}</p><img src={pictures}/1.png><p>{prose} It rained.</p>")
    archive = make_warc(
        "a.warc.gz",
        [
            record(f"{HOST}/page", page),
            record(f"{HOST}/open/page", page.replace(b"rained", b"snowed")),
            record(f"{pictures}/1.png", png(1), "image/png", headers=(("X-Robots-Tag", "noimageai"),)),
        ],
    )
    robots = (
        b"User-agent: GPTBot\nDisallow: /\nAllow: /open/\n\nUser-agent: *\nDisallow:\nContent-Signal: ai-train=no\n"
    )
    tdmrep = b'[{"location": "/*", "tdm-reservation": 1}]'
    policies = make_warc(
        "robots.warc.gz",
        [
            record(f"{HOST}/robots.txt", robots, "text/plain"),
            record(f"{pictures}/.well-known/tdmrep.json", tdmrep, "application/json"),
        ],
    )
    found = extract_archives([archive, policies], tmp_path / "out", one_by_one=True)
    assert found.by_url(f"{HOST}/page")["consent"] == [
        "robots.txt content-signal: ai-train=no",
        "robots.txt disallow: gptbot",
    ]
    assert found.by_url(f"{HOST}/open/page")["consent"] == ["robots.txt content-signal: ai-train=no"]
    (image,) = found.images
    assert image["consent"] == ["header x-robots-tag: noimageai", "tdmrep.json tdm-reservation: 1"]


@pytest.mark.parametrize("kind", ["md5", "sha256", "url_sha256"])
def test_a_blocked_image_leaves_neither_bytes_nor_address(
    make_warc: Make,
    record: Any,
    html_page: Make,
    png: Make,
    prose: str,
    extract_archives: Make,
    tmp_path: Path,
    kind: str,
) -> None:
    url = f"{HOST}/listed.png"
    listed = {
        "md5": hashlib.md5(png(1)).hexdigest(),
        "sha256": hashlib.sha256(png(1)).hexdigest(),
        "url_sha256": hashlib.sha256(url.encode()).hexdigest(),
    }[kind]
    (tmp_path / "known.txt").write_text(f"# known\n{listed}\n")
    images = (
        "<figure><a href=listed.png><img src=listed.png></a><figcaption>By"
        " <a rel=license href=https://creativecommons.org/licenses/by/4.0/>CC</a></figcaption></figure>"
        "<img src=other.png><img src=again.png><img src=small.png srcset='listed.png 900w, other.png 300w'>"
    )
    page = html_page(f"<p>{prose}</p>{images}<p>{prose} It rained.</p>")
    digest = ("WARC-Payload-Digest", "sha1:AAAA")
    archive = make_warc(
        "a.warc.gz",
        [
            record(f"{HOST}/page", page),
            record(url, png(1), "image/png", warc_headers=(digest,)),
            record(f"{HOST}/other.png", png(2), "image/png"),
            revisit(record, f"{HOST}/again.png", digest),
        ],
    )
    config = ExtractConfig(block_list=BlockListConfig(**{kind: (str(tmp_path / "known.txt"),)}))
    found = extract_archives([archive], tmp_path / "out", config=config)
    assert [row["image_id"] for row in found.images] == [image_id(png(2))]
    nodes = [node for node in found.by_url(f"{HOST}/page")["nodes"] if node["kind"] == "image"]
    assert [(node["image_url"], node["image_id"]) for node in nodes] == [
        (None, None),
        (f"{HOST}/other.png", image_id(png(2))),
        (None, None),
        (None, None),
    ]
    (decision,) = [row for row in found.decisions if row["rule"] == "block_list"]
    assert (decision["unit"], decision["detail"], decision["url"], decision["image_id"]) == (
        "image", "known.txt", None, None
    )  # fmt: skip
    assert re.search("listed.png|again.png", f"{found.documents} {found.images} {found.decisions}") is None


@pytest.mark.parametrize("listed", ["again.png", "old.png"])
def test_a_revisit_with_a_listed_address_is_blocked(
    listed: str, make_warc: Make, record: Any, html_page: Make, png: Make, prose: str, extract_archives: Make,
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "known.txt").write_text(hashlib.sha256(f"{HOST}/{listed}".encode()).hexdigest())
    page = html_page(f"<p>{prose}</p><img src=again.png><img src=new.png><p>{prose} It rained.</p>")
    digest = ("WARC-Payload-Digest", "sha1:AAAA")
    again = revisit(record, f"{HOST}/again.png", digest, ("WARC-Refers-To-Target-URI", f"{HOST}/old.png"))
    archive = make_warc(
        "a.warc.gz",
        [
            record(f"{HOST}/page", page),
            again,
            revisit(record, f"{HOST}/new.png", digest),
            record(f"{HOST}/copy.png", png(1), "image/png", warc_headers=(digest,)),
        ],
    )
    config = ExtractConfig(block_list=BlockListConfig(url_sha256=(str(tmp_path / "known.txt"),)))
    found = extract_archives([archive], tmp_path / "out", config=config)
    nodes = [node for node in found.by_url(f"{HOST}/page")["nodes"] if node["kind"] == "image"]
    assert [(node["image_url"], node["image_id"]) for node in nodes] == [(None, None), (None, None)]
    assert [row["unit"] for row in found.decisions if row["rule"] == "block_list"] == ["record"]
    assert re.search("again.png|old.png", f"{found.documents} {found.images} {found.decisions}") is None
