"""The stage ``extract``: pages and images from captures, joined by URL across archives, every record accounted for."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gobelin.data.ids import document_id, image_id, shard_of
from gobelin.data.model import Action, Decision, Unit
from gobelin.store.shards import read_rows
from gobelin.store.tables import list_shards
from gobelin.transforms.extract import extract as extract_module
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.extract.extract_image import ImageDraft, extract_image
from gobelin.transforms.extract.extract_page import PageDraft, extract_page
from gobelin.transforms.extract.indexes import PAGE_INDEX, address_keys
from gobelin.transforms.extract.resolve_urls import choose_capture, wishes_of
from gobelin.transforms.extract.write_documents import Resolution, resolve_nodes
from gobelin.transforms.urls import canonical_url, url_key

Make = Callable[..., Any]
CONFIG = ExtractConfig()
HOST = "https://a.example"
BAD = "data:image/png;base64," + "AAAA" * 200


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


# ------------------------------------------------------------------------------------------------ pure functions


def draft_of(capture: Any) -> PageDraft:
    outcome, _ = extract_page(capture, CONFIG)
    assert isinstance(outcome, PageDraft), outcome
    return outcome


def test_page_draft(capture_of: Make, html_page: Make, prose: str) -> None:
    body = html_page(f"<p>{prose}</p><img src=1.png width=640 alt=One><p>{prose} Once more.</p>", title="The  harbour")
    capture = capture_of(f"{HOST}/dir/page?b=2&a=1#top", body, headers=(("X-Robots-Tag", "noai"),))
    draft = draft_of(capture)
    document = draft.document
    assert document.content_digest == "sha256:" + hashlib.sha256(body).hexdigest()
    assert document.doc_id == document_id(canonical_url(capture.url), document.content_digest)
    assert (document.url, document.title, document.language) == (capture.url, "The harbour", "en")
    assert document.language_score is not None
    assert 0.5 < document.language_score <= 1.0
    assert document.consent == ("header x-robots-tag: noai",)
    assert [node.kind for node in document.nodes] == ["text", "text", "image", "text"]
    assert (document.nodes[2].alt, document.nodes[2].rendered_width) == ("One", 640)
    assert draft.candidates == ((f"{HOST}/dir/1.png",),)


@pytest.mark.parametrize(
    ("body", "options", "action", "rule", "value"),
    [
        (b"<p>x", {"status": "HTTP/1.1 404 Not Found"}, Action.DROP, "http_status", 404),
        (b"<p>x", {"status": "HTTP/1.1 301 Moved"}, Action.DROP, "http_status", 301),
        (b"<p>x", {"status": "HTTP/1.1 206 Partial"}, Action.DROP, "http_status", 206),
        (b"<p>x", {"status": "HTTP/1.1"}, Action.DROP, "http_status", 0),
        (b"", {}, Action.FAIL, "empty_page", 0),
        (b" \n ", {}, Action.FAIL, "empty_page", 3),
        (b"<html><body></body></html>", {}, Action.DROP, "no_main_text", 0),
        (b"<html><body><img src=a.png></body></html>", {}, Action.DROP, "no_main_text", 0),
    ],
)
def test_pages_that_give_no_document(
    capture_of: Make, body: bytes, options: dict[str, Any], action: Action, rule: str, value: float
) -> None:
    capture = capture_of(f"{HOST}/", body, **options)
    outcome, images = extract_page(capture, CONFIG)
    assert isinstance(outcome, Decision)
    assert (outcome.action, outcome.rule, outcome.value, outcome.unit) == (action, rule, value, Unit.DOCUMENT)
    assert (outcome.url, outcome.warc_file, outcome.warc_offset) == (capture.url, "a.warc.gz", capture.warc_offset)
    assert images == {}


def test_page_that_is_too_long(capture_of: Make) -> None:
    capture = dataclasses.replace(capture_of(f"{HOST}/", b"<p>x"), is_truncated=True)
    outcome, _ = extract_page(capture, ExtractConfig(max_page_bytes=4))
    assert isinstance(outcome, Decision)
    assert (outcome.rule, outcome.threshold) == ("page_bytes", 4)


def test_data_images_of_a_page(capture_of: Make, html_page: Make, png: Make, prose: str) -> None:
    """Each distinct one gives one draft or one decision; the nodes name it by its digest, never by its bytes."""
    good = data_url(png(1))
    html = f"<p>{prose}</p><img src='{good}'><img src='{good}'><img src='{BAD}'><p>{prose}</p>"
    outcome, images = extract_page(capture_of(f"{HOST}/", html_page(html)), CONFIG)
    assert isinstance(outcome, PageDraft)
    drafts = [image for image in images.values() if isinstance(image, ImageDraft)]
    decisions = [image for image in images.values() if isinstance(image, Decision)]
    assert [draft.data for draft in drafts] == [png(1)]
    assert [(decision.rule, decision.unit) for decision in decisions] == [("not_an_image", Unit.IMAGE)]
    (first,), (second,), (third,) = outcome.candidates
    assert first == second == drafts[0].url == f"data:image/png;sha256={image_id(png(1))}"
    assert third == decisions[0].url
    assert max(len(url) for urls in outcome.candidates for url in urls) < 120


@pytest.mark.parametrize(
    ("kind", "options", "action", "rule"),
    [
        ("good", {}, None, None),
        ("good", {"status": "HTTP/1.1 404 Not Found"}, Action.DROP, "http_status"),
        ("cut", {}, Action.FAIL, "undecodable_image"),
        ("html", {}, Action.FAIL, "not_an_image"),
        ("empty", {}, Action.FAIL, "empty_image"),
        ("svg", {}, Action.FAIL, "undecodable_image"),
        ("psd", {}, Action.DROP, "image_format"),
    ],
)
def test_image_drafts(
    capture_of: Make, png: Make, kind: str, options: dict[str, Any], action: Action | None, rule: str | None
) -> None:
    body = {"good": png(), "cut": png()[:-300], "html": b"<p>gone", "empty": b"", "svg": b"<svg></svg>"}
    body = (body | {"psd": b"8BPS" + bytes(90)})[kind]
    capture = capture_of(f"{HOST}/a.png", body, "image/png", **options)
    outcome = extract_image(capture, CONFIG)
    if rule is None:
        assert isinstance(outcome, ImageDraft)
        assert (outcome.image_id, outcome.url, outcome.data) == (image_id(body), capture.url, body)
        assert (outcome.facts.width, outcome.facts.height, outcome.facts.format) == (200, 160, "png")
    else:
        assert isinstance(outcome, Decision)
        assert (outcome.unit, outcome.action, outcome.rule) == (Unit.IMAGE, action, rule)
        assert outcome.url == capture.url


def test_image_that_is_too_long(capture_of: Make, png: Make) -> None:
    capture = dataclasses.replace(capture_of(f"{HOST}/a.png", png(), "image/png"), is_truncated=True)
    outcome = extract_image(capture, CONFIG)
    assert isinstance(outcome, Decision)
    assert outcome.rule == "image_bytes"


def image_row(url: str = "u", date: str = "2025", file: str = "a", offset: int = 0) -> dict[str, Any]:
    return {"url": url, "warc_date": date, "warc_file": file, "warc_offset": offset}


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([], None),
        ([image_row()], 0),
        ([image_row(date="2024"), image_row(date="2025"), image_row(date="2023")], 1),
        ([image_row(file="b"), image_row(file="a")], 0),
        ([image_row(offset=9), image_row(offset=10)], 1),
        ([image_row(date=""), image_row(date="2020")], 1),
    ],
)
def test_the_latest_capture_of_a_url_counts(rows: list[dict[str, Any]], chosen: int | None) -> None:
    for order in (rows, rows[::-1]):
        assert choose_capture(iter(order)) == (None if chosen is None else rows[chosen])


def test_wishes_of() -> None:
    urls = [["https://a.example/1", "http://a.example/2"], [], ["https://A.example/1"]]
    other = [[f"https://b.example/{number}" for number in range(40)]]
    pages = [{"doc_id": name, **address_keys("https://a.example/", of_page)} for name, of_page in
             (("a", urls), ("empty", []), ("b", other))]  # fmt: skip
    index = pa.Table.from_pylist([{"doc_id": "first", "candidate_keys": []}, *pages], PAGE_INDEX)[1:]
    one, two = url_key("https://a.example/1"), url_key("https://a.example/2")
    found = rows_of(wishes_of(index))
    assert found[:3] == [(one, "a", 0, 0), (two, "a", 0, 1), (one, "a", 2, 0)]
    assert found[3:] == [(url_key(url), "b", 0, rank) for rank, url in enumerate(other[0])]
    assert rows_of(wishes_of(index[:0])) == []


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


IMAGE_NODE = {"kind": "image", "alt": "x", "image_url": None, "image_id": None}


@pytest.mark.parametrize(
    ("resolutions", "expected"),
    [
        ([], [("u0", None), ("v0", None)]),
        ([Resolution(0, 1, "i1")], [("u1", "i1"), ("v0", None)]),
        ([Resolution(0, 1, "i1"), Resolution(0, 0, "i0")], [("u0", "i0"), ("v0", None)]),
        ([Resolution(1, 0, "i"), Resolution(0, 0, "i")], [("u0", "i"), ("v0", "i")]),
        ([Resolution(0, 0, "i0")] * 3, [("u0", "i0"), ("v0", None)]),
    ],
)
def test_resolve_nodes(resolutions: list[Resolution], expected: list[tuple[str, str | None]]) -> None:
    """The best candidate that the archive holds, whatever the order of the wishes; else the first, without an image."""
    document = {"doc_id": "d", "nodes": [{"kind": "text", "text": "t"}, IMAGE_NODE, {"kind": "text"}, IMAGE_NODE]}
    for order in (resolutions, resolutions[::-1]):
        nodes = resolve_nodes(document, [["u0", "u1"], ["v0"]], order)["nodes"]
        assert [(nodes[place]["image_url"], nodes[place]["image_id"]) for place in (1, 3)] == expected
        assert nodes[0] == {"kind": "text", "text": "t"}
    assert document["nodes"][1] is IMAGE_NODE
    assert IMAGE_NODE["image_id"] is None


# ------------------------------------------------------------------------------------------------ the two graphs


@pytest.fixture(scope="module")
def crawl(
    tmp_path_factory: pytest.TempPathFactory, record: Make, pack: Make, png: Make, jpeg: Make, html_page: Make,
    prose: str, extract_archives: Make,
) -> Any:  # fmt: skip
    """Three archives with one case of each kind, extracted."""

    def page(path: str, content: str, date: str = "2025-01-02T03:04:05Z", **options: Any) -> Any:
        body = html_page(f"<p>{path}. {prose}</p>{content}<p>{prose}</p>", title=path)
        return record(f"{HOST}/{path}", body, date=date, **options)

    def image(path: str, data: bytes, date: str = "2025-01-02T03:04:05Z", **options: Any) -> Any:
        return record(f"{HOST}/{path}", data, "image/png", date=date, **options)

    twice = page("twice", "<img src=near.png>")
    later = dataclasses.replace(twice, date="2025-02-02T00:00:00Z")
    surrogates = page(
        "broken-text", "<img src='near.png' alt='&#xD800; \ufffe'>", headers=(("X-Robots-Tag", "\u0394 noai"),)
    )
    first = [
        page("near", "<img src=near.png>"),
        page("far", "<img src=far.png>"),
        page("lazy", "<img data-src=missing.png src=near.png srcset='gone.png 2x, far.png 1x'>"),
        page("missing", "<img src=missing.png>"),
        page("same-bytes", "<img src=copy-1.png><img src=copy-2.png>"),
        page("spelled", "<img src='http://A.EXAMPLE:80/sp%61ced%20name.png?b=2&amp;a=1#x'>"),
        page("data", f"<img src='{data_url(png(7))}'><img src='data:image/png;base64,AAAA'>"),
        page("data-again", f"<img src='{data_url(png(7))}'>"),
        page("changed", "<img src=changed.png>"),
        twice,
        surrogates,
        page("gone", "", status="HTTP/1.1 410 Gone"),
        record(f"{HOST}/empty", b""),
        record(f"{HOST}/no-text", b"<html><body><img src=near.png></body></html>"),
        image("near.png", png(1)),
        record(f"{HOST}/style.css", b"p {}", "text/css"),
    ]
    second = [
        image("far.png", png(2)),
        image("copy-1.png", jpeg(3)),
        image("copy-2.png", jpeg(3)),
        image("spaced name.png?a=1&b=2", png(4)),
        image("unused.png", png(5)),
        image("broken.png", png(6)[:-200]),
        image("404.png", png(6), status="HTTP/1.1 404 Not Found"),
        image("changed.png", png(8), date="2025-03-01T00:00:00Z"),
        image("changed.png", png(9), date="2024-01-01T00:00:00Z"),
        later,
    ]
    third = [image("late.png", png(10)), record(f"{HOST}/cut", b"<html>" + bytes(5000))]
    folder = tmp_path_factory.mktemp("crawl")
    archives = {"a.warc.gz": pack(first), "b.warc": pack(second, False), "c.warc.gz": pack(third)[:-60]}
    for name, data in archives.items():
        (folder / name).write_bytes(data)
    return extract_archives([str(folder / name) for name in archives], folder / "out", one_by_one=True)


def image_of(crawl: Any, path: str, place: int = 0) -> tuple[str, str | None]:
    """(URL, image id) of a page's image node."""
    nodes = [node for node in crawl.by_url(f"{HOST}/{path}")["nodes"] if node["kind"] == "image"]
    return nodes[place]["image_url"].removeprefix(f"{HOST}/"), nodes[place]["image_id"]


@pytest.mark.parametrize(
    ("path", "url", "seed"),
    [
        ("near", "near.png", 1),
        ("far", "far.png", 2),
        ("lazy", "near.png", 1),
        ("missing", "missing.png", None),
        ("data", f"data:image/png;sha256={'{}'}", 7),
        ("changed", "changed.png", 8),
        ("twice", "near.png", 1),
        ("spelled", "http://A.EXAMPLE:80/sp%61ced%20name.png?b=2&a=1", 4),
    ],
)
def test_image_is_found(crawl: Any, png: Make, path: str, url: str, seed: int | None) -> None:
    expected = None if seed is None else image_id(png(seed))
    assert image_of(crawl, path) == (url.format(expected), expected)


def test_image_in_another_file_than_its_page(crawl: Any) -> None:
    document = crawl.by_url(f"{HOST}/far")
    (image,) = [row for row in crawl.images if row["image_id"] == image_of(crawl, "far")[1]]
    assert (Path(document["warc_file"]).name, Path(image["warc_file"]).name) == ("a.warc.gz", "b.warc")


def test_same_bytes_under_two_urls_are_one_image(crawl: Any, jpeg: Make) -> None:
    assert image_of(crawl, "same-bytes", 0)[1] == image_of(crawl, "same-bytes", 1)[1] == image_id(jpeg(3))
    (row,) = [row for row in crawl.images if row["image_id"] == image_id(jpeg(3))]
    assert row["urls"] == [f"{HOST}/copy-1.png", f"{HOST}/copy-2.png"]
    assert (row["data"], row["format"], row["width"]) == (jpeg(3), "jpeg", 200)
    assert crawl.rules("image")[f"{HOST}/copy-2.png"] == "same_bytes_stored"


def test_one_data_image_in_two_pages_is_one_image(crawl: Any, png: Make) -> None:
    rows = [row for row in crawl.images if row["image_id"] == image_id(png(7))]
    assert len(rows) == 1
    assert image_of(crawl, "data-again")[1] == image_id(png(7))


def test_page_captured_twice_is_one_document(crawl: Any) -> None:
    document = crawl.by_url(f"{HOST}/twice")
    assert Path(document["warc_file"]).name == "a.warc.gz"
    (decision,) = [row for row in crawl.decisions if row["rule"] == "captured_twice"]
    assert (decision["doc_id"], Path(decision["warc_file"]).name) == (document["doc_id"], "b.warc")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("unused.png", "not_in_any_document"),
        ("late.png", "not_in_any_document"),
        ("broken.png", "undecodable_image"),
        ("404.png", "http_status"),
    ],
)
def test_images_that_are_left_out(crawl: Any, path: str, rule: str) -> None:
    assert crawl.rules("image")[f"{HOST}/{path}"] == rule


@pytest.mark.parametrize(
    ("path", "rule"), [("gone", "http_status"), ("empty", "empty_page"), ("no-text", "no_main_text")]
)
def test_pages_that_are_left_out(crawl: Any, path: str, rule: str) -> None:
    assert crawl.rules("document")[f"{HOST}/{path}"] == rule


def test_the_file_that_breaks_off_is_reported(crawl: Any) -> None:
    (failed,) = [
        row for row in crawl.decisions if Path(row["warc_file"] or "").name == "c.warc.gz" and row["action"] == "fail"
    ]
    assert failed["unit"] in ("document", "record")


def test_every_record_is_accounted_for(crawl: Any) -> None:
    """seen = kept + dropped + failed, for pages and images; the tally is counted by the reader alone."""
    decided = Counter((row["unit"], row["action"]) for row in crawl.decisions)
    seen = {unit: sum(row[f"num_{unit}s"] for row in crawl.archives) for unit in ("document", "image")}
    for unit, kept in (("document", crawl.documents), ("image", crawl.images)):
        assert seen[unit] == len(kept) + decided[unit, "drop"] + decided[unit, "fail"]
    assert len(crawl.archives) > 0
    for row in crawl.archives:
        assert row["num_records"] >= 0
    assert sum(row["num_records"] for row in crawl.archives) >= 27


def test_only_images_that_a_document_shows_are_stored(crawl: Any) -> None:
    shown = {node["image_id"] for row in crawl.documents for node in row["nodes"]} - {None}
    assert {row["image_id"] for row in crawl.images} == shown
    assert len(crawl.images) == len(shown)


def test_shards_hold_their_rows_in_order(crawl: Any) -> None:
    for name, key in (("documents", "doc_id"), ("images", "image_id")):
        paths = list_shards(str(crawl.folder / name))
        assert [Path(path).name for path in paths] == [f"part-0000{n}-of-00002.parquet" for n in range(2)]
        for index, path in enumerate(paths):
            ids = [row[key] for row in read_rows(path)]
            assert ids == sorted(ids)
            assert {shard_of(each, 2) for each in ids} <= {index}


def test_text_that_utf8_cannot_write_is_mended(crawl: Any) -> None:
    document = crawl.by_url(f"{HOST}/broken-text")
    assert any("noai" in signal for signal in document["consent"])


# ------------------------------------------------------------------------------------------------ edges


def test_no_page_at_all(make_warc: Make, record: Make, png: Make, extract_archives: Make, tmp_path: Path) -> None:
    archive = make_warc("a.warc.gz", [record(f"{HOST}/a.png", png(), "image/png")])
    found = extract_archives([archive], tmp_path / "out")
    assert (found.documents, found.images, len(found.decisions)) == ([], [], 1)
    assert len(list_shards(str(tmp_path / "out" / "documents"))) == 2


def test_a_defect_in_one_page_ends_no_run(
    make_warc: Make, record: Make, html_page: Make, png: Make, prose: str, extract_archives: Make, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whatever the code that reads a page or a picture raises: one decision, and the others go on."""

    def fragile(function: Callable, *arguments: Any) -> Any:
        if b"explode" in arguments[0].payload:
            raise RuntimeError("a defect, \ud800 and all")
        return function(*arguments)

    for name in ("extract_page", "extract_image"):
        original = getattr(extract_module, name)
        monkeypatch.setattr(extract_module, name, lambda *a, original=original: fragile(original, *a))
    archive = make_warc(
        "a.warc.gz",
        [
            record(f"{HOST}/bad", html_page(f"<p>explode {prose}</p>")),
            record(f"{HOST}/good", html_page(f"<p>{prose}</p><img src=a.png><p>{prose}</p>")),
            record(f"{HOST}/bad.png", png() + b"explode", "image/png"),
            record(f"{HOST}/a.png", png(), "image/png"),
        ],
    )
    found = extract_archives([archive], tmp_path / "out")
    assert [row["url"] for row in found.documents] == [f"{HOST}/good"]
    assert len(found.images) == 1
    assert Counter(row["rule"] for row in found.decisions) == {"extract_error": 2}
    assert all("a defect" in row["detail"] for row in found.decisions)
