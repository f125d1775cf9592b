"""Each format, field by field: what its readers expect of an export, and what becomes of other people's files."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gobelin.data.model import Node, Role, to_row
from gobelin.exchange import hf_parquet, jsonl, lines, mmc4, nemo, obelics, webdataset
from gobelin.exchange.entry import SIDE, Entry, EntryError, Origin, Picture
from gobelin.exchange.writing import Losses, Shard

Row = dict[str, Any]

HERE = Origin("a file", 3)
ID = "0" * 31 + "a"
IMAGE = "0" * 63 + "b"


def fact(image_format: str = "jpeg") -> Row:
    return {
        "image_id": IMAGE, "format": image_format, "width": 640, "height": 480, "urls": ["https://a.example/big.jpg"],
        "consent": [], "source": "archive", "warc_file": "w", "warc_offset": 5,
    }  # fmt: skip


@pytest.fixture
def entry(a_document: Callable[..., Row]) -> Entry:
    """Two texts, an image, a text, the same image again."""
    image = Node("image", image_url="https://a.example/Old_boats-2.jpg?x=1", image_id=IMAGE, alt="Boats", caption="C",
                 rendered_width=320)  # fmt: skip
    nodes = [Node("text", Role.HEADING, 1, "One"), Node("text", Role.PARAGRAPH, text="Two"), image,
             Node("text", Role.PARAGRAPH, text="Three"), image]  # fmt: skip
    document = a_document(ID, ()) | {"nodes": [to_row(node) for node in nodes], "title": "T"}
    return Entry(document, (Picture(b"JPEG", fact()),) * 2)


def kinds(entry: Entry) -> list[Any]:
    """Texts as they are, images as (address, bytes)."""
    pictures = iter(entry.pictures)
    return [
        node["text"]
        if node["kind"] == "text"
        else (node["image_url"], picture.data if (picture := next(pictures)) else None)
        for node in entry.document["nodes"]
    ]


def test_obelics_field_by_field(entry: Entry) -> None:
    row = obelics.obelics_row(entry)
    assert list(row) == obelics.OBELICS.names
    assert row["texts"] == ["One\n\nTwo", None, "Three", None]
    url = "https://a.example/Old_boats-2.jpg?x=1"
    assert row["images"] == [None, url, None, url]
    metadata, general = json.loads(row["metadata"]), json.loads(row["general_metadata"])
    assert [each is None for each in metadata] == [True, False, True, False]
    assert metadata[1] == {
        "document_url": f"https://a.example/{ID}", "unformatted_src": url, "src": url,
        "formatted_filename": "Old boats", "alt_text": "Boats", "rendered_width": 320, "original_width": 640,
        "original_height": 480, "format": "jpeg",
    }  # fmt: skip
    assert {name: value for name, value in general.items() if name != SIDE} == {
        "url": f"https://a.example/{ID}",
        "warc_filename": "a.warc.gz",
        "warc_record_offset": 0,
        "warc_record_length": 1,
    }
    pa.RecordBatch.from_pylist([row], schema=obelics.OBELICS)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://a.example/b/lamborghini-urus_original.jpg", "lamborghini urus original"),
        ("https://a.example/hearts%20and%20home-104x403.png", "hearts and home"),
        ("https://a.example/it?ids=2019", ""),
        ("https://a.example/12345.jpg", ""),
        ("data:image/png;sha256=00", ""),
        ("https://a.example/", ""),
    ],
)
def test_words_of_a_file_name(url: str, words: str) -> None:
    assert obelics.formatted_filename(url) == words


def test_a_foreign_row_of_obelics() -> None:
    metadata = [
        None,
        {"src": "https://a.example/1", "alt_text": "An alt", "rendered_width": 10, "rendered_height": "50%"},
    ]
    general = {"url": "https://a.example/p", "warc_filename": "cc.warc.gz", "warc_record_offset": 7,
               "warc_record_length": 9}  # fmt: skip
    found = obelics.entry_of_row(
        {
            "texts": ["This is a plain English text about boats.\n\nSecond paragraph.", None],
            "images": [None, "https://a.example/1"],
            "metadata": json.dumps(metadata),
            "general_metadata": json.dumps(general),
        },
        HERE,
    )
    document = found.document
    assert (document["url"], document["warc_file"], document["warc_offset"]) == ("https://a.example/p", "cc.warc.gz", 7)
    assert (document["language"], document["extractor"], len(document["doc_id"])) == ("en", "import", 32)
    assert [(node["kind"], node["role"]) for node in document["nodes"]] == [
        ("text", "paragraph"), ("text", "paragraph"), ("image", None)]  # fmt: skip
    image = document["nodes"][2]
    assert (image["alt"], image["rendered_width"], image["rendered_height"]) == ("An alt", 10, None)


def test_a_changed_text_is_heard_and_a_changed_shape_costs_the_nodes_alone(entry: Entry) -> None:
    row = obelics.obelics_row(entry)
    longer = {**row, "texts": ["One\n\nTwo", None, "Other", None]}
    assert obelics.entry_of_row(longer, HERE).document["nodes"][3]["text"] == "Other"
    cut = {**row, "texts": row["texts"][:2], "images": row["images"][:2]}
    found = obelics.entry_of_row(cut, HERE).document
    assert (found["doc_id"], found["title"]) == (ID, "T")
    assert [node["role"] for node in found["nodes"]] == ["paragraph", "paragraph", None]


def test_mmc4_field_by_field(entry: Entry) -> None:
    cosines = np.array([[0.1, 0.3, 0.2], [0.0, 0.4, 0.1]])
    found = mmc4.mmc4_object(entry, cosines)
    assert set(found) == {"text_list", "url", "image_info", "similarity_matrix", "could_have_url_duplicate", SIDE}
    assert found["text_list"] == ["One", "Two", "Three"]
    assert (found["similarity_matrix"], found["could_have_url_duplicate"]) == (cosines.tolist(), 0)
    first, second = found["image_info"]
    assert set(first) == {"image_name", "raw_url", "matched_text_index", "matched_sim", "face_detections", SIDE}
    assert (first["image_name"], first["face_detections"]) == (f"{IMAGE}.jpg", None)
    # 0.2 + 0.4 is more than 0.3 + 0.1: each text gets one image
    assert [(info["matched_text_index"], info["matched_sim"]) for info in (first, second)] == [(2, 0.2), (1, 0.4)]


def test_without_cosines_an_image_belongs_to_the_text_after_it(entry: Entry) -> None:
    found = mmc4.mmc4_object(entry, None)
    assert [info["matched_text_index"] for info in found["image_info"]] == [2, 2]  # the last has none after it
    assert [info["matched_sim"] for info in found["image_info"]] == [None, None]
    assert found["similarity_matrix"] is None


FOREIGN_MMC4 = {
    "image_info": [
        {"face_detections": None, "image_name": "b.jpg", "matched_sim": 0.3, "matched_text_index": 2,
         "raw_url": "http://a.example/1.jpg"},
        {"face_detections": None, "image_name": "d.jpg", "matched_sim": 0.4, "matched_text_index": 1,
         "raw_url": "http://a.example/2.jpg"},
    ],
    "similarity_matrix": [[0.24363446235656738, 0.31, 0.3], [0.22, 0.4, 0.26]],
    "text_list": ["zero", "one", "two"], "url": "http://a.example/p.html", "could_have_url_duplicate": 0,
}  # fmt: skip


def test_a_foreign_object_of_mmc4(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"B")
    found = mmc4.entry_of_object(FOREIGN_MMC4, HERE, str(tmp_path))
    assert kinds(found) == ["zero", ("http://a.example/2.jpg", None), "one", ("http://a.example/1.jpg", b"B"), "two"]
    assert found.cosines == [[0.22, 0.4, 0.26], [0.24363446235656738, 0.31, 0.3]]  # in the order of the nodes


@pytest.mark.parametrize("index", [None, "1", -1, 3, True, 10**30])
def test_an_index_that_names_no_text_puts_the_image_last(index: Any) -> None:
    value = {"text_list": ["one"], "image_info": [{"raw_url": "http://a.example/1", "matched_text_index": index}]}
    assert kinds(mmc4.entry_of_object(value, HERE, None)) == ["one", ("http://a.example/1", None)]


@pytest.mark.parametrize("text", [base64.b64encode(b"PNG").decode(), str(base64.b64encode(b"PNG"))])
def test_bytes_in_the_object(text: str) -> None:
    """As base64, and as OpenFlamingo's script writes it: with the b and the quotes of Python's bytes."""
    value = {"text_list": ["one"], "image_info": [{"image_base64": text, "matched_text_index": 0}]}
    (picture,) = mmc4.entry_of_object(value, HERE, None).pictures
    assert picture is not None
    assert picture.data == b"PNG"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", ".", "..", "a/b", None, 5, "x\0y", "folder"])
def test_a_name_reaches_no_file_outside_its_folder(name: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"S")
    (tmp_path / "images" / "folder").mkdir(parents=True)
    value = {"text_list": ["one"], "image_info": [{"image_name": name, "matched_text_index": 0}]}
    assert mmc4.entry_of_object(value, HERE, str(tmp_path / "images")).pictures == (None,)


def tar_of(files: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def test_webdataset_field_by_field(entry: Entry, tmp_path: Path) -> None:
    webdataset.write_shard(Shard([(entry, None)], str(tmp_path), 0, 1, Losses(io.BytesIO())))
    with tarfile.open(tmp_path / "00000.tar") as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [f"{ID}.json", f"{ID}.0.jpg"]  # the image once
        assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {
            (0, 0, 0, "", 0o644)
        }
        stream = archive.extractfile(members[0])
        assert stream is not None
        sample = json.load(stream)
    assert sample["texts"] == ["One", "Two", None, "Three", None]
    assert sample["images"] == [None, None, f"{ID}.0.jpg", None, f"{ID}.0.jpg"]
    assert [each["url"] for each in sample["image_metadata"]] == ["https://a.example/Old_boats-2.jpg?x=1"] * 2
    assert (sample["url"], sample["title"], sample["language"]) == (f"https://a.example/{ID}", "T", "en")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            [("d/7.json", b'{"texts": ["a", null], "images": [null, "d/7.x.png"], "url": "http://a.example/"}'),
             ("d/7.x.png", b"P")],
            ["a", (None, b"P")],
        ),
        ([("7.x.png", b"P"), ("7.json", b'{"texts": [null, "a"], "images": ["7.x.png", null]}')], [(None, b"P"), "a"]),
        ([("7.jpg", b"J"), ("7.txt", b"a caption")], [(None, b"J"), "a caption"]),
        ([("7.JPG", b"J"), ("7.json", b'{"caption": "a caption", "url": "http://a.example/i"}')],
         [("http://a.example/i", b"J"), "a caption"]),
        ([("7.json", b'{"texts": ["a", null], "images": [null, "page_0_image_85"]}')], ["a", (None, None)]),
    ],
    ids=["as MINT-1T", "image first", "pair", "pair with json", "a name that is not there"],
)  # fmt: skip
def test_foreign_samples(files: list[tuple[str, bytes]], expected: list[Any], tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of(files))
    (found,) = webdataset.read_source(str(tmp_path / "a.tar"))
    assert isinstance(found, Entry)
    assert kinds(found) == expected


def test_samples_follow_each_other(tmp_path: Path) -> None:
    good = b'{"texts": ["a"], "images": [null]}'
    (tmp_path / "a.tar").write_bytes(tar_of([("1.json", good), ("2.json", b"{"), ("3.json", good), ("README", b"")]))
    found = list(webdataset.read_source(str(tmp_path / "a.tar")))
    assert [type(each) for each in found] == [Entry, EntryError, Entry]
    assert len({each.document["doc_id"] for each in found if isinstance(each, Entry)}) == 2  # both have no address


def test_nemo_field_by_field(entry: Entry) -> None:
    rows = list(nemo.rows_of(entry))
    assert [(row["position"], row["modality"], row["content_type"]) for row in rows] == [
        (-1, "metadata", "application/json"), (0, "text", "text/plain"), (1, "text", "text/plain"),
        (2, "image", "image/jpeg"), (3, "text", "text/plain"), (4, "image", "image/jpeg"),
    ]  # fmt: skip
    assert {row["sample_id"] for row in rows} == {ID}
    assert [row["text_content"] for row in rows] == [None, "One", "Two", None, "Three", None]
    assert [row["binary_content"] for row in rows] == [None, None, None, b"JPEG", None, b"JPEG"]
    assert {row["source_ref"] for row in rows} == {row["materialize_error"] for row in rows} == {None}
    pa.RecordBatch.from_pylist(rows, schema=nemo.NEMO)


def test_foreign_rows_of_nemo(tmp_path: Path) -> None:
    """In any order, of two samples, with a locator that is not followed."""
    (tmp_path / "secret").write_bytes(b"S")
    ref = json.dumps({"path": str(tmp_path / "secret")})
    columns = ("sample_id", "position", "modality", "text_content", "binary_content", "source_ref")
    values = [("a", 1, "text", "later", None, None), ("a", 0, "image", None, b"P", None),
              ("a", 2, "table", "1 2", None, None), ("b", 0, "image", None, None, ref),
              ("b", 1, "text", "b's", None, None)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist([dict(zip(columns, row)) for row in values]), tmp_path / "a.parquet")
    first, second = nemo.read_source(str(tmp_path / "a.parquet"))
    assert isinstance(first, Entry)
    assert isinstance(second, Entry)
    assert kinds(first) == [(None, b"P"), "later"]
    assert kinds(second) == [(None, None), "b's"]


def test_parquet_field_by_field(entry: Entry) -> None:
    row = hf_parquet.plain_row(entry)
    batch = pa.RecordBatch.from_pylist([row], schema=hf_parquet.PLAIN)
    features = json.loads(batch.schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == batch.schema.names
    assert features["images"]["feature"] == {"_type": "Image"}
    assert batch.schema.field("images").type.value_type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert row["texts"] == ["One", "Two", None, "Three", None]
    assert [image and image["path"] for image in row["images"]] == [None, None, f"{IMAGE}.jpg", None, f"{IMAGE}.jpg"]


def test_foreign_parquet(tmp_path: Path) -> None:
    rows = [{"texts": [None, "a", None], "images": [{"bytes": b"P", "path": None}, None, {"bytes": None, "path": "x"}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (found,) = hf_parquet.read_source(str(tmp_path / "a.parquet"))
    assert isinstance(found, Entry)
    assert kinds(found) == [(None, b"P"), "a", (None, None)]
    addresses = {"texts": [None, "a"], "images": ["http://a.example/i", None], "url": "http://a.example/p"}
    assert kinds(hf_parquet.entry_of_row(addresses, HERE)) == [("http://a.example/i", None), "a"]


DEEP = "[" * 100_000 + "]" * 100_000
SIDE_OF_A_FOREIGNER = {"document": {"doc_id": "../../x", "url": 5}, "nodes": []}


@pytest.mark.parametrize(
    ("read", "row"),
    [
        (obelics.entry_of_row, {}),
        (obelics.entry_of_row, {"texts": ["a"], "images": []}),
        (obelics.entry_of_row, {"texts": ["a"], "images": ["b"]}),
        (obelics.entry_of_row, {"texts": [None], "images": [None]}),
        (obelics.entry_of_row, {"texts": ["a"], "images": [None], "metadata": DEEP}),
        (obelics.entry_of_row, {"texts": ["a"], "images": [None], "metadata": "[null]", "general_metadata": "[]"}),
        (obelics.entry_of_row, {"texts": ["a"], "images": [None], "metadata": "[null]",
                                "general_metadata": json.dumps({SIDE: SIDE_OF_A_FOREIGNER})}),
        (hf_parquet.entry_of_row, {"texts": "a", "images": None}),
        (hf_parquet.entry_of_row, {"texts": ["a"], "images": [None], SIDE: DEEP}),
        (lambda row, origin: mmc4.entry_of_object(row, origin, None), {"text_list": [1], "image_info": []}),
        (lambda row, origin: mmc4.entry_of_object(row, origin, None), {"text_list": ["a"], "image_info": ["b"]}),
        (lambda row, origin: mmc4.entry_of_object(row, origin, None),
         {"text_list": ["a"], "image_info": [], SIDE: SIDE_OF_A_FOREIGNER}),
        (jsonl.entry_of_object, {"items": [{"kind": "text"}]}),
        (jsonl.entry_of_object, {"items": [{"kind": "text", "text": "a", "role": "emperor"}]}),
        (lambda row, origin: nemo.entry_of_rows([row], origin), {"sample_id": "a", "modality": "text"}),
        (webdataset.entry_of_sample, webdataset.Sample({"1.json": b"[1]"})),
        (webdataset.entry_of_sample, webdataset.Sample({"1.json": b'{"texts": [5], "images": [null]}'})),
        (webdataset.entry_of_sample, webdataset.Sample({"1.cls": b"5"})),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_a_decision(read: Callable[..., Entry], row: Row) -> None:
    with pytest.raises(EntryError) as caught:
        read(row, HERE)
    assert caught.value.rule == "malformed_row"


@pytest.mark.parametrize(
    "changes",
    [
        {"doc_id": "A" * 32},
        {"doc_id": None},
        {"warc_offset": -1},
        {"warc_offset": 2**63},
        {"consent": "noai"},
        {"licences": [{"uri": "x"}]},
        {"language_score": "high"},
    ],
)
def test_a_side_field_that_cannot_be_is_refused(changes: Row, entry: Entry) -> None:
    value = mmc4.mmc4_object(entry, None)
    value[SIDE]["document"].update(changes)
    with pytest.raises(EntryError):
        mmc4.entry_of_object(value, HERE, None)


@pytest.mark.parametrize(
    "changes", [{"role": "x"}, {"level": 2**31}, {"level": -1}, {"image_id": "x"}, {"rendered_width": 1.5}]
)
def test_a_side_fields_node_that_cannot_be_is_refused(changes: Row, entry: Entry) -> None:
    value = mmc4.mmc4_object(entry, None)
    value[SIDE]["nodes"][2].update(changes)
    with pytest.raises(EntryError):
        mmc4.entry_of_object(value, HERE, None)


def test_lone_surrogates_become_question_marks() -> None:
    value = json.loads('{"text_list": ["a\\ud800b"], "image_info": [], "url": "http://a.example/\\udfff"}')
    document = mmc4.entry_of_object(value, HERE, None).document
    assert document["nodes"][0]["text"] == "a?b"
    assert document["url"] == "http://a.example/?"


def test_lines_that_are_too_long_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10)
    stream = io.BytesIO(b'{"a": 1}\n\n{"b": "' + b"x" * 100 + b'"}\n{"c": 2}\n[1]\n{')
    found = list(lines.read_objects(stream))
    assert [number for number, _ in found] == [0, 1, 2, 3, 4]
    assert [value if isinstance(value, dict) else "error" for _, value in found] == [
        {"a": 1}, "error", {"c": 2}, "error", "error"]  # fmt: skip
