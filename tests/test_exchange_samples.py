"""Samples of other people's tars: which files belong together, words once, pages of a TIFF in their places."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from gobelin.data.ids import image_id
from gobelin.exchange import foreign_samples, jsonl, mmc4, nemo, webdataset
from gobelin.exchange.entry import Entry, EntryError, Origin
from gobelin.exchange.foreign_rows import attempt
from gobelin.exchange.read_index import ReadIndex
from gobelin.exchange.sample_names import group_names, key_of
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.extract.extract_image import ImageDraft, extract_image
from gobelin.transforms.images.tiff_pages import split_pages

Row = dict[str, Any]
Make = Callable[..., Any]

HERE = Origin("a file", 3)
RUBBISH = "\x01\x02\ufffd\ufffd\x03\x04\x05\ufffdab\x06"


def tar_at(path: Path, files: list[tuple[str, bytes]]) -> str:
    with tarfile.open(path, mode="w") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


def a_tiff(*seeds: int) -> bytes:
    """A TIFF whose pages are as many pictures."""
    pages = [PillowImage.effect_mandelbrot((60 + seed, 50), (-2, -1.5, 1, 1.5), 5 + seed) for seed in seeds]
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    return stream.getvalue()


def shape(entry: Entry | EntryError) -> list[Any]:
    """Texts as they are; an image as its caption and its bytes."""
    assert isinstance(entry, Entry), entry
    return [
        node["text"] if node["kind"] == "text" else (node["caption"], picture.data if picture else None)
        for node, picture in entry.laid_out
    ]


def taken(tmp_path: Path, path: str) -> tuple[list[Row], list[Row], list[Row]]:
    """(documents, images, decisions) of the index that an import makes of a tar."""
    folder = tmp_path / "index"
    with ReadIndex(str(folder), ExtractConfig()) as index:
        index.read("a.tar", webdataset.read_source(path))
    pages, images, decisions = (
        [row for file in (folder / name).rglob("*.parquet") for row in pq.read_table(file).to_pylist()]
        for name in ("pages", "images", "decisions")
    )
    return pages, images, decisions


@pytest.mark.parametrize(
    ("names", "samples"),
    [
        ("7.json 7.0.jpg 7.1.jpg", ["7.json 7.0.jpg 7.1.jpg"]),
        ("7.0.jpg 7.json", ["7.0.jpg 7.json"]),
        ("img.v1.jpg img.v1.txt", ["img.v1.jpg img.v1.txt"]),
        ("img.v1.jpg img.v1.txt img.v2.JPG img.v2.TXT", ["img.v1.jpg img.v1.txt", "img.v2.JPG img.v2.TXT"]),
        ("img.v1.jpg img.v2.jpg img.v1.txt img.v2.txt", ["img.v1.jpg img.v1.txt", "img.v2.jpg img.v2.txt"]),
        ("img.v1.jpg img.v1.txt img.v2.jpg", ["img.v1.jpg img.v1.txt", "img.v2.jpg"]),
        ("2.5.1.png 2.5.1.json 2.5.1.txt 2.5.2.png 2.5.2.json",
         ["2.5.1.png 2.5.1.json 2.5.1.txt", "2.5.2.png 2.5.2.json"]),
        ("a.b.json a.b.0.jpg a.b.1.jpg a.c.json a.c.0.jpg", ["a.b.json a.b.0.jpg a.b.1.jpg", "a.c.json a.c.0.jpg"]),
        # the neighbours: what could be read either way
        ("img.jpg img.txt img.v1.jpg img.v1.txt", ["img.jpg img.txt", "img.v1.jpg img.v1.txt"]),
        ("img.json img.v1.jpg img.v1.txt img.v2.jpg", ["img.json img.v1.jpg img.v1.txt img.v2.jpg"]),
        ("7.jpg 7.txt 7.en.txt 7.cls", ["7.jpg 7.txt 7.en.txt 7.cls"]),
        ("7.jpg 7.seg.png 7.txt", ["7.jpg 7.seg.png 7.txt"]),
        ("7.left.jpg 7.right.jpg", ["7.left.jpg 7.right.jpg"]),
        ("7.left.jpg 7.words.txt", ["7.left.jpg 7.words.txt"]),
    ],
)  # fmt: skip
def test_which_files_are_one_sample(names: str, samples: list[str]) -> None:
    assert group_names(names.split()) == [sample.split() for sample in samples]
    assert len({key_of(name) for name in names.split()}) == 1


def test_names_that_are_in_no_sample_and_dots_of_folders() -> None:
    assert [key_of(name) for name in ("README", ".7.jpg", "a/._7.jpg", "v1.0/7.jpg")] == [
        None,
        None,
        None,
        ("v1.0", "7"),
    ]
    many = ["a" + ".x" * 3000 + ending for ending in (".jpg", ".txt")]
    assert group_names(many) == [many]


def test_words_of_dotted_names_come_with_their_picture(tmp_path: Path) -> None:
    """Also hundreds under one name up to the first dot, which are read without holding them all."""
    files = [
        (f"set.v1.{number:04}.{kind}", f"{kind} {number}".encode()) for number in range(300) for kind in ("jpg", "txt")
    ]
    found = [shape(each) for each in webdataset.read_source(tar_at(tmp_path / "a.tar", files))]
    assert found == [[(None, f"jpg {number}".encode()), f"txt {number}"] for number in range(300)]


def test_hidden_files_do_not_part_a_sample(tmp_path: Path) -> None:
    path = tar_at(tmp_path / "a.tar", [("d/7.jpg", b"J"), ("d/._7.txt", b"\0\5"), ("d/7.txt", b"words")])
    (found,) = webdataset.read_source(path)
    assert shape(found) == [(None, b"J"), "words"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"7.txt": b"A red boat.\n", "7.json": b'{"caption": "A red  boat."}'}, [(None, b"J"), "A red boat."]),
        ({"7.txt": b"\xef\xbb\xbfCafe\xcc\x81", "7.json": '{"caption": "Café"}'.encode()},
         [(None, b"J"), "Cafe\u0301"]),
        ({"7.json": b'{"caption": "A red boat."}'}, [(None, b"J"), "A red boat."]),
        ({"7.txt": b"A", "7.caption": b"A", "7.json": b'{"text": "A", "txt": "A", "caption": "A"}'},
         [(None, b"J"), "A"]),
        # what is not the same words stays
        ({"7.txt": b"A red boat.", "7.json": b'{"caption": "A red boat at sea."}'},
         [("A red boat at sea.", b"J"), "A red boat."]),
        ({"7.txt": b"A red boat.", "7.json": b'{"text": "Ein rotes Boot."}'},
         [(None, b"J"), "A red boat.", "Ein rotes Boot."]),
        ({"7.en.txt": b"A red boat.", "7.de.txt": b"Ein rotes Boot."},
         [(None, b"J"), "A red boat.", "Ein rotes Boot."]),
        ({"7.txt": b"  \n", "7.json": b'{"caption": "A red boat."}'}, [(None, b"J"), "A red boat."]),
    ],
)  # fmt: skip
def test_words_of_a_pair_enter_once(files: dict[str, bytes], expected: list[Any]) -> None:
    assert shape(webdataset.entry_of_sample(webdataset.Sample({"7.jpg": b"J", **files}), HERE)) == expected


def test_a_caption_that_stands_beside_its_image_enters_once_in_every_format() -> None:
    rows = [
        {"sample_id": "a", "position": 0, "modality": "text", "text_content": "Long before."},
        {"sample_id": "a", "position": 1, "modality": "image", "caption": "Under\nthe image"},
        {"sample_id": "a", "position": 2, "modality": "image", "caption": "Long before."},
        {"sample_id": "a", "position": 3, "modality": "text", "text_content": "Under the image"},
        {"sample_id": "a", "position": 4, "modality": "text", "text_content": "Far away"},
        {"sample_id": "a", "position": 5, "modality": "image", "caption": "Long before."},
    ]
    captions = [each[0] for each in shape(nemo.entry_of_rows(rows, HERE)) if not isinstance(each, str)]
    assert captions == [None, None, "Long before."]  # the last stands far from its like


PLACES = ["page_0_image_0", "page_0_image_1", "page_3_image_0"]


def with_places(texts: list[Any], images: list[Any] | None) -> bytes:
    return json.dumps(
        {"texts": texts, **({} if images is None else {"images": images}), "url": "http://a.example/p"}
    ).encode()


@pytest.mark.parametrize("order", ["json first", "tiff first"])
@pytest.mark.parametrize(
    "images",
    [
        [None, PLACES[0], None, PLACES[1], PLACES[2]],
        [None, None, None, None, None],
        [None, 0, None, 1, 2],
        [None, "doc.tiff", None, "doc.tiff", "doc.tiff"],
        None,
    ],
    ids=["names", "nulls", "numbers", "the file", "no list"],
)
def test_pages_of_a_tiff_go_to_their_places(images: list[Any] | None, order: str, tmp_path: Path) -> None:
    tiff = a_tiff(1, 2, 3)
    files = [("d/doc.json", with_places(["one", None, "two", None, None], images)), ("d/doc.tiff", tiff)]
    path = tar_at(tmp_path / "a.tar", files if order == "json first" else files[::-1])
    (found,) = webdataset.read_source(path)
    first, second, third = split_pages(tiff).files
    assert shape(found) == ["one", (None, first), "two", (None, second), (None, third)]
    pages, kept, decisions = taken(tmp_path, path)
    assert (len(pages), decisions) == (1, [])
    assert {row["image_id"] for row in kept} == {image_id(each or b"") for each in (first, second, third)}


@pytest.mark.parametrize(("num_pages", "num_places"), [(3, 2), (2, 3), (1, 2), (3, 0)])
def test_other_numbers_of_pages_than_places_are_told(num_pages: int, num_places: int, tmp_path: Path) -> None:
    tiff = a_tiff(*range(num_pages))
    images = [None, *PLACES[:num_places]]
    data = with_places(["one"] + [None] * num_places, images)
    path = tar_at(tmp_path / "a.tar", [("doc.tiff", tiff), ("doc.json", data)])
    (found,) = webdataset.read_source(path)
    files = [*split_pages(tiff).files, None, None][:num_places]
    assert shape(found) == ["one", *((None, each) for each in files)]
    _, kept, decisions = taken(tmp_path, path)
    (told,) = [row for row in decisions if row["rule"] == foreign_samples.SAMPLE_IMAGES]
    assert (told["value"], told["threshold"], told["url"]) == (num_pages, num_places, "http://a.example/p")
    missing = [row["node_index"] for row in decisions if row["rule"] == "image_missing"]
    assert missing == list(range(1 + num_pages, 1 + num_places))
    assert len(kept) == min(num_pages, num_places)


def test_places_that_name_files_or_addresses_keep_them(tmp_path: Path) -> None:
    """A file that is named stays whole, and is found under its name in the sample's folder, too."""
    tiff = a_tiff(1, 2)
    data = with_places(["one", None, None, None], [None, "doc.x.tif", "https://a.example/i.png", "page_0_image_0"])
    (found,) = webdataset.read_source(tar_at(tmp_path / "a.tar", [("d/doc.json", data), ("d/doc.x.tif", tiff)]))
    assert shape(found) == ["one", (None, tiff), (None, None), (None, None)]
    assert isinstance(found, Entry)
    assert [node["image_url"] for node in found.document["nodes"]] == [None, None, "https://a.example/i.png", None]
    _, _, decisions = taken(tmp_path, str(tmp_path / "a.tar"))
    assert sorted((row["rule"], row["value"], row["node_index"]) for row in decisions) == [
        ("image_missing", None, 3), ("image_pages", 1, None)]  # fmt: skip


def test_words_beside_a_tiff_of_pages_come_behind_all_of_them() -> None:
    tiff = a_tiff(1, 2)
    files = {"7.tif": tiff, "7.json": b'{"url": "http://a.example/p", "caption": "Two"}'}
    found = webdataset.entry_of_sample(webdataset.Sample(files), HERE)
    assert shape(found) == [*((None, page) for page in split_pages(tiff).files), "Two"]
    assert found.document["url"] == "http://a.example/p"  # of the whole: no page has it for its own


def test_files_that_are_passed_over_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "MAX_MEMBER_BYTES", 200)
    monkeypatch.setattr(webdataset, "MAX_MEMBERS", 2)
    files = [("7.txt", b"words"), ("7.a.jpg", bytes(300)), ("7.b.jpg", b"J"), ("7.c.jpg", b"K"), ("8.txt", bytes(201))]
    path = tar_at(tmp_path / "a.tar", files)
    _, _, decisions = taken(tmp_path, path)
    told = sorted(
        (row["unit"], row["rule"], row["value"], row["detail"]) for row in decisions if row["unit"] != "image"
    )
    assert told == [
        ("document", "sample_bytes", None, "all files are passed over: 8.txt"),
        ("record", "sample_bytes", 300, "7.a.jpg"),
        ("record", "sample_files", 3, "7.c.jpg"),
    ]


def test_a_text_that_cannot_be_read_goes_and_the_others_stay_beside_their_images(tmp_path: Path) -> None:
    value = {
        "text_list": ["zero", RUBBISH, "two"], "similarity_matrix": [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]],
        "image_info": [{"raw_url": "http://a.example/1", "matched_text_index": 1},
                       {"raw_url": "http://a.example/2", "matched_text_index": 2}],
    }  # fmt: skip
    found = attempt(mmc4.entry_of_object, value, HERE, None)
    assert isinstance(found, Entry)
    assert [node["text"] or node["image_url"] for node in found.document["nodes"]] == [
        "zero", "http://a.example/1", "http://a.example/2", "two"]  # fmt: skip
    assert found.cosines == [[0.1, 0.3], [0.4, 0.6]]
    assert [(left.rule, left.value) for left in found.left_out] == [("unreadable_text", len(RUBBISH))]
    items = [
        {"kind": "text", "text": "caf\ufffd au lait, twice"},
        {"kind": "image", "url": "http://a.example/1", "alt": RUBBISH},
    ]
    found = attempt(jsonl.entry_of_object, {"items": items, "title": RUBBISH}, HERE)
    assert isinstance(found, Entry)
    assert (found.document["title"], found.document["nodes"][1]["alt"]) == (None, None)
    assert found.document["nodes"][0]["text"] == "caf\ufffd au lait, twice"  # a stray character is no reason
    assert [left.detail for left in found.left_out] == ["alt of node 1", "title of the document"]
    path = tar_at(tmp_path / "a.tar", [("7.txt", b"\xff\xfe\x00\x01" * 9), ("7.json", b"{}"), ("8.txt", b"words")])
    pages, _, decisions = taken(tmp_path, path)
    assert [(row["unit"], row["rule"]) for row in decisions] == [("document", "unreadable_text")]
    assert len(pages) == 1


def test_pages_of_a_tiff_that_an_archive_holds_are_told(capture_of: Make, png: Make) -> None:
    for body, left_out in ((a_tiff(1, 2, 3), 2), (a_tiff(1), None), (png(), None)):
        outcome = extract_image(capture_of("http://a.example/i", body, "image/tiff"), ExtractConfig())
        assert isinstance(outcome, ImageDraft)
        assert outcome.data == body
        decision = outcome.pages_left_out
        assert (decision and decision.value) == left_out
        if decision is not None:
            assert (decision.unit, decision.rule, decision.image_id) == ("record", "image_pages", image_id(body))
