"""Export, import, export again: every format, byte by byte, on documents that hold everything that a document can."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gobelin.card.card import CARD_FILES
from gobelin.data.ids import image_id
from gobelin.data.model import Decision, Node, Role, Unit, to_row
from gobelin.data.schemas import DECISIONS, DOCUMENTS, IMAGE_EMBEDDINGS, IMAGE_SCORES, IMAGES, TEXT_EMBEDDINGS
from gobelin.exchange import read_index
from gobelin.exchange.entry import SIDE, Entry
from gobelin.exchange.formats import FORMATS, find_sources
from gobelin.pipeline.cli.exchange import FORMATS as NAMES
from gobelin.pipeline.exchange import import_corpus
from gobelin.pipeline.exchange.export import export_corpus
from gobelin.pipeline.recipe.recipe import Recipe, as_dict
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.state import OutputError, read_json, write_json
from gobelin.pipeline.stages import extract_imported as import_stage
from gobelin.store.paths import name_of
from gobelin.store.shards import read_folder, read_rows
from gobelin.transforms.images.check_image import ImageLimits, check_image
from tests.in_process import InProcess

NUM_SHARDS = 2

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Source:
    """A run whose documents leave."""

    output: Path
    documents: list[Row]
    images: list[Row]


def export(output: Path, stage: str, name: str, target: Path, with_images: bool) -> Row:
    return export_corpus(str(output), stage, name, str(target), with_images)


def hex_id(name: str) -> str:
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def image_row(data: bytes, urls: list[str], **changes: Any) -> Row:
    facts = to_row(check_image(data, ImageLimits()))
    del facts["copy"], facts["rendered"]
    facts |= {"source_format": None, "source_sha256": None}
    return {
        "image_id": image_id(data), "data": data, "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(), **facts,
        "urls": sorted(urls), "consent": [], "source": "archive", "warc_file": "a.warc.gz", "warc_offset": 7, **changes,
    }  # fmt: skip


def picture(row: Row, url: str | None = None, **changes: Any) -> Node:
    return Node("image", image_url=url or row["urls"][0], image_id=row["image_id"], **changes)


@pytest.fixture(scope="module")
def pictures(png: Callable[..., bytes], jpeg: Callable[..., bytes]) -> list[Row]:
    inline = png(4)
    return [
        # also of what stood once at the second image's address: documents name the second one there
        image_row(
            png(1),
            [
                "https://a.example/1.png",
                "https://a.example/10.png",
                "https://a.example/gr%C3%B6%C3%9Fe.jpg",
                "https://cdn.example/one.png",
            ],
            consent=["x-robots-tag: noai"],
        ),
        image_row(jpeg(2), ["https://a.example/gr%C3%B6%C3%9Fe.jpg"], source="fetched", warc_file="", warc_offset=0),
        image_row(png(3), ["https://a.example/3"], warc_offset=2**40),
        image_row(inline, [f"data:image/png;sha256={image_id(inline)}"]),
    ]


@pytest.fixture(scope="module")
def pages(pictures: list[Row], a_document: Callable[..., Row]) -> list[Row]:
    one, two, three, inline = pictures
    paragraph, heading = Role.PARAGRAPH, Role.HEADING
    nodes = {
        "everything": [
            Node("text", heading, 1, "A harbour"),
            Node("text", paragraph, text="Two texts, one after the other.\n\nWith an empty line in it."),
            picture(one, alt="boats", caption="Boats, early", title="a title", link_url="https://a.example/big",
                    rendered_width=320, rendered_height=240),
            picture(three),
            Node("text", Role.LIST_ITEM, 2, "a point"),
            Node("text", Role.CODE, text="if x:\n\n    y = 'ß 😀 \u2028'\n", code_language="c++"),
            picture(two, "https://a.example/größe.jpg"),
            Node("text", Role.TABLE, text="a | b\nc | d", header_rows=0),
        ],
        "twice": [picture(three), Node("text", Role.QUOTATION, text="Said she."), picture(three), picture(inline)],
        "other address": [Node("text", paragraph, text="one"), picture(one, "https://cdn.example/one.png")],
        "no text": [picture(two)],
        "no image": [Node("text", Role.CAPTION, text="Of a film."), Node("text", None, text="No role.")],
    }  # fmt: skip
    facts: dict[str, Row] = {
        "everything": {
            "title": "The harbour", "warc_date": "2024-05-06T07:08:09Z", "warc_offset": 2**40,
            "charset": "windows-1252", "page_kind": "question",
            "licences": [{"uri": "https://cc.example/by", "scope": "image", "evidence": "a[rel=license]",
                          "image_url": "https://a.example/1.png"}],
            "consent": ["meta robots: noai", "x"], "language": None, "language_score": None,
        },
    }  # fmt: skip
    return [
        a_document(hex_id(name), ()) | {"nodes": [to_row(node) for node in held]} | facts.get(name, {})
        for name, held in nodes.items()
    ]


@pytest.fixture
def source(tmp_path: Path, pages: list[Row], pictures: list[Row], write_data_set: Callable[..., str]) -> Source:
    """A run whose ``extract`` is done; ``select`` kept the same documents."""
    output = tmp_path / "run"
    for stage in ("extract", "select"):
        write_data_set(output / stage / "documents", pages, DOCUMENTS, NUM_SHARDS)
    write_data_set(output / "extract" / "images", pictures, IMAGES, NUM_SHARDS, key="image_id")
    write_data_set(output / "select" / "decisions", [], DECISIONS, NUM_SHARDS)
    finish(output)
    return Source(output, pages, pictures)


def finish(output: Path, clip_model: str | None = None, blurs_faces: bool = False) -> None:
    stages = {name: {"status": "done", "key": "k", "clip_model": clip_model} for name in ("extract", "score", "select")}
    recipe = as_dict(Recipe(name="gobelin"))
    recipe["tokenize"]["blur_faces"] = blurs_faces
    recipe["score"]["faces"] = {"detector": "a:b"} if blurs_faces else None
    write_json(str(output / "run.json"), {"recipe": recipe, "stages": stages})


@pytest.fixture
def import_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """(format, folder or files, name=..., overrides...) -> the output folder of an import, made in this process."""
    monkeypatch.setattr(import_corpus, "Supervisor", InProcess)

    def run(name: str, *sources: Path, output: str = "imported", recipe: str = "", **_: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(f"name: back\nnum_shards: {NUM_SHARDS}\n{recipe}")
        folder = tmp_path / output
        import_corpus.run_import(str(folder), str(path), (), name, [str(each) for each in sources], Screen(quiet=True))
        return folder

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    """What an export holds, but for the files that tell of the run."""
    of_run = ("export.json", *CARD_FILES)
    names = (path for path in folder.rglob("*") if path.is_file() and path.name not in of_run)
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


def rows_of(output: Path, name: str) -> list[Row]:
    return sorted(
        read_folder(str(output / "extract" / name)), key=lambda row: str(row.get("doc_id") or row["image_id"])
    )


def test_the_command_line_knows_the_formats() -> None:
    assert set(NAMES) == set(FORMATS)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_round_trip_loses_nothing(
    name: str, source: Source, tmp_path: Path, import_from: Callable[..., Path]
) -> None:
    summary = export(source.output, "select", name, tmp_path / "first", with_images=True)
    imported = import_from(name, tmp_path / "first")
    export(imported, "extract", name, tmp_path / "second", with_images=True)

    lost = {hex_id("no text")} if name == "mmc4" else set()
    assert summary["documents"]["dropped"] == ({"no_text": 1} if lost else {})
    expected = [row for row in source.documents if row["doc_id"] not in lost]
    assert rows_of(imported, "documents") == sorted(expected, key=lambda row: row["doc_id"])
    assert rows_of(imported, "images") == sorted(source.images, key=lambda row: row["image_id"])
    first, second = files_of(tmp_path / "first"), files_of(tmp_path / "second")
    assert first.pop("left_out.jsonl") if lost else not first.pop("left_out.jsonl")
    assert not second.pop("left_out.jsonl")
    assert first == second


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_equal_documents_give_equal_bytes(name: str, source: Source, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        export(source.output, "select", name, tmp_path / folder, with_images=True)
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")
    for card in CARD_FILES:
        assert (tmp_path / "first" / card).read_bytes() == (tmp_path / "second" / card).read_bytes()


def test_an_import_is_counted_and_goes_on(source: Source, tmp_path: Path, import_from: Callable[..., Path]) -> None:
    """The manifest adds up, and the key is the one that ``score`` asks for."""
    from gobelin.pipeline.recipe.recipe import load_recipe
    from gobelin.pipeline.run.inputs import Archive
    from gobelin.pipeline.run.keys import stage_keys

    export(source.output, "select", "parquet", tmp_path / "first", with_images=False)
    imported = import_from("parquet", tmp_path / "first")
    run, manifest = read_json(str(imported / "run.json")), read_json(str(imported / "extract" / "manifest.json"))
    assert run is not None
    assert manifest is not None
    assert run["stages"]["extract"]["status"] == "done"
    archives = tuple(Archive(item["path"], item["bytes"]) for item in run["input"])
    assert [archive.path.partition(":")[0] for archive in archives] == ["parquet"] * NUM_SHARDS
    assert manifest["key"] == stage_keys(load_recipe(str(imported / "recipe.yaml")), archives)["extract"]
    assert (manifest["documents"]["seen"], manifest["documents"]["kept"]) == (5, 5)
    assert (manifest["images"]["seen"], manifest["images"]["kept"]) == (4, 4)  # one that is met again is not new


def test_a_document_that_comes_twice_is_taken_once(
    source: Source, tmp_path: Path, import_from: Callable[..., Path]
) -> None:
    for folder in ("first", "second"):
        export(source.output, "select", "nemo", tmp_path / folder, with_images=False)
    imported = import_from("nemo", tmp_path / "first", tmp_path / "second")
    manifest = read_json(str(imported / "extract" / "manifest.json"))
    assert manifest is not None
    assert (manifest["documents"]["seen"], manifest["documents"]["dropped"]) == (10, {"captured_twice": 5})
    assert (manifest["images"]["seen"], manifest["images"]["kept"]) == (4, 4)


def test_limits_hold_for_what_is_imported(source: Source, tmp_path: Path, import_from: Callable[..., Path]) -> None:
    """A document keeps the address of an image that is too large; a block list takes the address too."""
    listed = tmp_path / "sha256.txt"
    listed.write_text(source.images[2]["image_id"] + "\n")
    export(source.output, "select", "webdataset", tmp_path / "first", with_images=False)
    limit = len(source.images[0]["data"]) - 1
    recipe = f"extract: {{image: {{max_bytes: {limit}}}, block_list: {{sha256: [{listed}]}}}}\n"
    imported = import_from("webdataset", tmp_path / "first", recipe=recipe)
    decisions = {(row["unit"], row["rule"]) for row in rows_of(imported, "decisions") if row["unit"] == "image"}
    assert ("image", "block_list") in decisions
    assert ("image", "image_bytes") in decisions
    kept = {row["image_id"] for row in rows_of(imported, "images")}
    assert source.images[2]["image_id"] not in kept
    nodes = [node for row in rows_of(imported, "documents") for node in row["nodes"] if node["kind"] == "image"]
    assert "https://a.example/3" not in {node["image_url"] for node in nodes}
    assert any(node["image_url"] == "https://a.example/1.png" and node["image_id"] is None for node in nodes)


def test_without_images_addresses_stay(source: Source, tmp_path: Path, import_from: Callable[..., Path]) -> None:
    export(source.output, "select", "obelics", tmp_path / "first", with_images=False)
    assert not (tmp_path / "first" / "images").exists()
    imported = import_from("obelics", tmp_path / "first")
    assert rows_of(imported, "images") == []
    found = rows_of(imported, "documents")
    expected = sorted(source.documents, key=lambda row: row["doc_id"])
    assert [[node["image_url"] for node in row["nodes"]] for row in found] == [
        [node["image_url"] for node in row["nodes"]] for row in expected
    ]


def embeddings(source: Source) -> tuple[list[Row], list[Row]]:
    rng = np.random.default_rng(0)

    def unit() -> np.ndarray:
        vector = rng.normal(size=8)
        return (vector / np.linalg.norm(vector)).astype(np.float16)

    images = [{"image_id": row["image_id"], "embedding": unit()} for row in source.images]
    texts = [
        {"doc_id": row["doc_id"], "node_index": index, "role": "text", "embedding": unit()}
        for row in source.documents
        for index, node in enumerate(row["nodes"])
        if node["kind"] == "text"
    ]
    return images, texts


def test_cosines_belong_to_the_nodes_that_are_left(
    source: Source, tmp_path: Path, write_data_set: Callable[..., str], import_from: Callable[..., Path]
) -> None:
    """``select`` drops a text and an image: the matrix has the others' rows and columns, also after a round trip."""
    dropped = (1, 3)
    page = next(row for row in source.documents if row["doc_id"] == hex_id("everything"))
    left = {**page, "nodes": [node for index, node in enumerate(page["nodes"]) if index not in dropped]}
    write_data_set(source.output / "select" / "documents", [left], DOCUMENTS, NUM_SHARDS)
    decisions = [
        to_row(Decision("select", Unit.NODE, "drop", "x", doc_id=page["doc_id"], node_index=index))  # type: ignore[arg-type]
        for index in dropped
    ]
    write_data_set(source.output / "select" / "decisions", decisions, DECISIONS, NUM_SHARDS)
    images, texts = embeddings(source)
    score = source.output / "score"
    write_data_set(score / "image_embeddings", images, IMAGE_EMBEDDINGS, NUM_SHARDS, key="image_id")
    write_data_set(score / "text_embeddings", texts, TEXT_EMBEDDINGS, NUM_SHARDS)
    finish(source.output, clip_model="model@1")

    summary = export(source.output, "select", "mmc4", tmp_path / "first", with_images=True)
    assert (summary["cosines_from"], summary["clip_model"], summary["not_scored"]) == ("embeddings", "model@1", 0)
    (found,) = mmc4_objects(tmp_path / "first")
    by_image = {row["image_id"]: row["embedding"].astype(float) for row in images}
    by_text = {row["node_index"]: row["embedding"].astype(float) for row in texts if row["doc_id"] == page["doc_id"]}
    expected = [
        [float(by_image[page["nodes"][image]["image_id"]] @ by_text[text]) for text in (0, 4, 5, 7)] for image in (2, 6)
    ]
    np.testing.assert_allclose(found["similarity_matrix"], expected, atol=1e-5)
    assert found["text_list"] == [page["nodes"][index]["text"] for index in (0, 4, 5, 7)]

    imported = import_from("mmc4", tmp_path / "first")
    again = export(imported, "extract", "mmc4", tmp_path / "second", with_images=True)
    assert again["cosines_from"] == "similarities"
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")


@pytest.mark.parametrize("killed_at", ["by-shard", "similarities.parquet", "recipe"])
def test_an_import_that_was_killed_runs_again(
    killed_at: str, source: Source, tmp_path: Path, write_data_set: Callable[..., str],
    import_from: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Wherever it was stopped, the same command gives what it would have given at once."""
    images, texts = embeddings(source)
    score = source.output / "score"
    write_data_set(score / "image_embeddings", images, IMAGE_EMBEDDINGS, NUM_SHARDS, key="image_id")
    write_data_set(score / "text_embeddings", texts, TEXT_EMBEDDINGS, NUM_SHARDS)
    finish(source.output, clip_model="model@1")
    export(source.output, "select", "mmc4", tmp_path / "first", with_images=True)
    whole = import_from("mmc4", tmp_path / "first", output="whole")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if killed_at == "by-shard":  # the cosines are cut into shards, and not all are written
            patched.setattr(import_stage, "write_shard", killed)
        elif killed_at == "similarities.parquet":  # all of the index is in its place but the last part
            close = read_index._IndexWriter.close
            patched.setattr(
                read_index._IndexWriter, "close",
                lambda self: killed() if name_of(self._folder) == "similarities" else close(self),
            )  # fmt: skip
        else:
            patched.setattr(import_corpus.Run, "write_summary", killed)
        with pytest.raises(KeyboardInterrupt):
            import_from("mmc4", tmp_path / "first", output="again")
    again = import_from("mmc4", tmp_path / "first", output="again")
    for name in ("documents", "images", "similarities"):
        assert files_of(again / "extract" / name) == files_of(whole / "extract" / name), name


def mmc4_objects(folder: Path) -> list[Row]:
    import zipfile

    found = []
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            (name,) = archive.namelist()
            assert name == path.name.removesuffix(".zip")
            found += [json.loads(line) for line in archive.read(name).splitlines()]
    return found


def test_what_cannot_leave_is_written_down(source: Source, tmp_path: Path, write_data_set: Callable[..., str]) -> None:
    """An image whose bytes are not there goes from formats that hold bytes, and stays as an address elsewhere."""
    write_data_set(source.output / "extract" / "images", source.images[:2], IMAGES, NUM_SHARDS, key="image_id")
    summary = export(source.output, "select", "nemo", tmp_path / "nemo", with_images=False)
    assert summary["images"] == {"seen": 8, "kept": 4, "dropped": {"image_missing": 4}}
    lines = [json.loads(line) for line in (tmp_path / "nemo" / "left_out.jsonl").read_text().splitlines()]
    assert {(line["rule"], line["unit"], line["image_id"]) for line in lines} == {
        ("image_missing", "node", row["image_id"]) for row in source.images[2:]
    }
    summary = export(source.output, "select", "obelics", tmp_path / "obelics", with_images=False)
    assert summary["images"]["kept"] == 8


def test_only_what_is_shown_leaves(source: Source, tmp_path: Path, write_data_set: Callable[..., str]) -> None:
    """Images of pages that ``select`` dropped are in no export."""
    kept = [row for row in source.documents if row["doc_id"] == hex_id("no text")]
    write_data_set(source.output / "select" / "documents", kept, DOCUMENTS, NUM_SHARDS)
    for name in FORMATS:
        export(source.output, "select", name, tmp_path / name, with_images=True)
        held = files_of(tmp_path / name)
        others = [row for row in source.images if row["image_id"] != kept[0]["nodes"][0]["image_id"]]
        assert not any(row["data"] in content for row in others for content in held.values())
        assert not any(row["image_id"].encode() in content for row in others for content in held.values())
    rows = [row for path in sorted((tmp_path / "obelics" / "images").iterdir()) for row in read_rows(str(path))]
    assert [row["image_id"] for row in rows] == [kept[0]["nodes"][0]["image_id"]]


def test_images_that_came_as_addresses_can_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, png: Callable[..., bytes], import_from: Callable[..., Path]
) -> None:
    pytest.importorskip("aiohttp")
    from gobelin.transforms.fetching import fetch_http
    from tests.misbehaving_server import network, serving

    with serving(png(0, 200, 160)) as server:
        world = network(server.port)
        monkeypatch.setattr(fetch_http, "Network", lambda: world)
        found = {"kind": "image", "url": server.url("/signals")}
        lacking = {"kind": "image", "url": server.url("/404")}
        page = {"url": "http://a.example/", "items": [{"kind": "text", "text": "A text."}, found, lacking]}
        (tmp_path / "a.jsonl").write_text(json.dumps(page) + "\n")
        fetch = "{enabled: true, contact: bot@example.org, host_delay_seconds: 0, retry_seconds: 0.02}"
        imported = import_from("jsonl", tmp_path / "a.jsonl", recipe=f"extract: {{fetch: {fetch}}}\n")
    (image,) = rows_of(imported, "images")
    assert (image["source"], image["urls"]) == ("fetched", [found["url"]])
    (document,) = rows_of(imported, "documents")
    assert [node["image_id"] for node in document["nodes"]] == [None, image["image_id"], None]


def images_of(folder: Path, name: str) -> dict[str, bytes]:
    """The bytes that an export holds, by the id that its documents give them."""
    beside = [row for path in sorted(folder.glob("images/*.parquet")) for row in read_rows(str(path))]
    found = {row["image_id"]: row["data"] for row in beside}
    for path in find_sources(name, [str(folder)]):
        for entry in FORMATS[name].read_source(path):
            assert isinstance(entry, Entry)
            found |= {node["image_id"]: held.data for node, held in entry.shown if held is not None and held.data}
    return found


@pytest.fixture
def faces(source: Source, write_data_set: Callable[..., str]) -> list[str]:
    """The recipe has faces blurred. Ids: of the image with a face, of those without, of one that was not searched."""
    with_face, without, inline, unknown = (source.images[place] for place in (2, 0, 3, 1))
    box = {"x0": 0.25, "y0": 0.25, "x1": 0.75, "y1": 0.75, "score": 1.0}
    nothing = dict.fromkeys(IMAGE_SCORES.names) | {"near_group": "", "near_count": 1, "num_documents": 1}
    rows = [
        nothing | {each: row[each] for each in ("image_id", "width", "height", "phash")} | {"faces": boxes}
        for row, boxes in ((with_face, [box]), (without, []), (inline, []), (unknown, None))
    ]
    write_data_set(source.output / "score" / "images", rows, IMAGE_SCORES, NUM_SHARDS, key="image_id")
    finish(source.output, blurs_faces=True)
    return [row["image_id"] for row in (with_face, without, inline, unknown)]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_faces_are_blurred_in_every_format(
    name: str, source: Source, faces: list[str], tmp_path: Path, import_from: Callable[..., Path]
) -> None:
    with_face, without, inline, unknown = faces
    summary = export(source.output, "select", name, tmp_path / "first", with_images=True)
    by_id = {row["image_id"]: row["data"] for row in source.images}
    found = images_of(tmp_path / "first", name)
    shown = set(faces) - {unknown}
    assert found.keys() == shown
    assert {each for each in shown if found[each] != by_id[each]} == {with_face}
    assert summary["images"] == {"seen": 8, "kept": 6, "dropped": {"faces_unknown": 2}}
    assert summary["faces_blurred"] == 3
    imported = import_from(name, tmp_path / "first")
    assert {row["image_id"] for row in rows_of(imported, "images")} == {without, inline, image_id(found[with_face])}
    export(imported, "extract", name, tmp_path / "second", with_images=True)
    again = images_of(tmp_path / "second", name)
    assert sorted(again.values()) == sorted(found.values())


@pytest.mark.parametrize("name", ["jsonl", "obelics"])
def test_a_blurred_image_keeps_its_place_at_an_address_that_it_shares(
    name: str,
    source: Source,
    faces: list[str],
    tmp_path: Path,
    write_data_set: Callable[..., str],
    import_from: Callable[..., Path],
) -> None:
    """Another image once stood at the address under which a document names this one."""
    shared = source.images[1]["image_id"]
    rows = list(read_folder(str(source.output / "score" / "images")))
    box = {"x0": 0.25, "y0": 0.25, "x1": 0.75, "y1": 0.75, "score": 1.0}
    found = [row | ({"faces": [box]} if row["image_id"] == shared else {}) for row in rows]
    shutil.rmtree(source.output / "score" / "images")
    write_data_set(source.output / "score" / "images", found, IMAGE_SCORES, NUM_SHARDS, key="image_id")
    export(source.output, "select", name, tmp_path / "first", with_images=True)
    blurred = images_of(tmp_path / "first", name)[shared]
    assert blurred != source.images[1]["data"]
    documents = {row["doc_id"]: row for row in rows_of(import_from(name, tmp_path / "first"), "documents")}
    (node,) = documents[hex_id("no text")]["nodes"]
    assert node["image_id"] == image_id(blurred)


def test_an_export_says_which_faces_it_blurred(source: Source, faces: list[str], tmp_path: Path) -> None:
    export(source.output, "select", "nemo", tmp_path / "nemo", with_images=False)
    rows = [row for path in sorted((tmp_path / "nemo" / "data").glob("*.parquet")) for row in read_rows(str(path))]
    told = [json.loads(row[SIDE]) for row in rows if row["modality"] == "image"]
    assert sorted(side["faces_blurred"] for side in told) == [False, False, False, True, True, True]
    export(source.output, "select", "obelics", tmp_path / "obelics", with_images=True)
    rows = [row for path in sorted((tmp_path / "obelics" / "images").iterdir()) for row in read_rows(str(path))]
    assert {row["image_id"]: row["faces_blurred"] for row in rows} == dict(zip(faces, (True, False, False)))


@pytest.mark.parametrize(("name", "unit", "kept"), [("webdataset", "node", 3), ("obelics", "image", 6)])
def test_a_face_in_a_file_that_cannot_be_decoded_again_stays_here(
    name: str,
    unit: str,
    kept: int,
    source: Source,
    faces: list[str],
    tmp_path: Path,
    write_data_set: Callable[..., str],
) -> None:
    """With its node where the format holds bytes; elsewhere the address leaves."""
    damaged = [row | ({"data": row["data"][:40]} if row["image_id"] == faces[0] else {}) for row in source.images]
    shutil.rmtree(source.output / "extract" / "images")
    write_data_set(source.output / "extract" / "images", damaged, IMAGES, NUM_SHARDS, key="image_id")
    summary = export(source.output, "select", name, tmp_path / "first", with_images=True)
    assert summary["images"]["kept"] == kept
    assert images_of(tmp_path / "first", name).keys() == {faces[1], faces[2]}
    lines = [json.loads(line) for line in (tmp_path / "first" / "left_out.jsonl").read_text().splitlines()]
    found = {(line["unit"], line["image_id"]) for line in lines if line["rule"] == "undecodable_image"}
    assert found == {(unit, faces[0])}


def test_addresses_leave_without_a_look_at_faces(source: Source, faces: list[str], tmp_path: Path) -> None:
    summary = export(source.output, "select", "obelics", tmp_path / "first", with_images=False)
    assert summary["images"] == {"seen": 8, "kept": 8, "dropped": {}}
    assert "faces_blurred" not in summary


def test_cosines_follow_the_images_that_leave(
    source: Source, faces: list[str], tmp_path: Path, write_data_set: Callable[..., str]
) -> None:
    """An image goes because nobody searched it for faces; its row of the matrix goes too."""
    images, texts = embeddings(source)
    score = source.output / "score"
    write_data_set(score / "image_embeddings", images, IMAGE_EMBEDDINGS, NUM_SHARDS, key="image_id")
    write_data_set(score / "text_embeddings", texts, TEXT_EMBEDDINGS, NUM_SHARDS)
    finish(source.output, clip_model="model@1", blurs_faces=True)
    export(source.output, "select", "mmc4", tmp_path / "first", with_images=True)
    found = next(each for each in mmc4_objects(tmp_path / "first") if each["url"].endswith(hex_id("everything")))
    by_image = {row["image_id"]: row["embedding"].astype(float) for row in images}
    by_text = {
        row["node_index"]: row["embedding"].astype(float) for row in texts if row["doc_id"] == hex_id("everything")
    }
    expected = [[float(by_image[each] @ by_text[text]) for text in sorted(by_text)] for each in faces[1::-1]]
    np.testing.assert_allclose(found["similarity_matrix"], expected, atol=1e-5)


@pytest.mark.parametrize("missing", ["detector", "score"])
def test_faces_that_nobody_looked_for_stop_an_export_of_images(
    missing: str, source: Source, faces: list[str], tmp_path: Path
) -> None:
    run = read_json(str(source.output / "run.json"))
    assert run is not None
    if missing == "score":
        run["stages"]["score"]["status"] = "not run"
    else:
        run["recipe"]["score"]["faces"] = None
    write_json(str(source.output / "run.json"), run)
    with pytest.raises(OutputError, match="faces are to be blurred"):
        export(source.output, "select", "webdataset", tmp_path / "first", with_images=False)
    assert not (tmp_path / "first").exists()
    export(source.output, "select", "jsonl", tmp_path / "first", with_images=False)


def test_a_target_that_holds_something_is_refused(source: Source, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(OutputError, match="is not an empty folder"):
        export(source.output, "select", "jsonl", tmp_path / "full", with_images=False)
    with pytest.raises(ValueError, match="no such format; there are jsonl, markdown, mmc4"):
        export(source.output, "select", "csv", tmp_path / "new", with_images=False)
    write_json(str(source.output / "run.json"), {"stages": {"select": {"status": "not run"}}})
    with pytest.raises(OutputError, match="stage select has not run"):
        export(source.output, "select", "jsonl", tmp_path / "new", with_images=False)
    assert not (tmp_path / "new").exists()


def test_damage_in_one_file_costs_what_is_behind_it(
    source: Source, tmp_path: Path, import_from: Callable[..., Path]
) -> None:
    """A tar that is cut off, and one that is whole."""
    export(source.output, "select", "webdataset", tmp_path / "first", with_images=False)
    first, second = sorted((tmp_path / "first").glob("*.tar"))
    first.write_bytes(first.read_bytes()[:-12_000])
    imported = import_from("webdataset", tmp_path / "first")
    manifest = read_json(str(imported / "extract" / "manifest.json"))
    assert manifest is not None
    assert manifest["records"]["unreadable"] == 1
    assert 0 < manifest["documents"]["kept"] < len(source.documents)
    damaged = [row for row in rows_of(imported, "decisions") if row["rule"] == "damaged_file"]
    assert [row["warc_file"] for row in damaged] == [f"webdataset:{first}"]
    assert second.name == "00001.tar"


def test_another_format_is_told(source: Source, tmp_path: Path, import_from: Callable[..., Path]) -> None:
    export(source.output, "select", "parquet", tmp_path / "first", with_images=False)
    with pytest.raises(ValueError, match="no document could be read; is the format right"):
        import_from("nemo", *sorted((tmp_path / "first" / "data").iterdir()))


def test_an_output_of_another_import_is_refused(
    source: Source, tmp_path: Path, import_from: Callable[..., Path]
) -> None:
    export(source.output, "select", "jsonl", tmp_path / "first", with_images=True)
    imported = import_from("jsonl", tmp_path / "first")
    before = files_of(imported)
    assert import_from("jsonl", tmp_path / "first") == imported  # done already
    assert {name: data for name, data in files_of(imported).items() if name != "run.json"} == {
        name: data for name, data in before.items() if name != "run.json"
    }
    with pytest.raises(OutputError, match="belongs to another recipe or input"):
        import_from("jsonl", next((tmp_path / "first").glob("*.jsonl")))
    with pytest.raises(OutputError, match="is not empty and no output folder"):
        import_from("jsonl", tmp_path / "first", output="first")


def test_sources_that_are_not_there_are_refused(tmp_path: Path, import_from: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        import_from("nemo", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no files of format nemo \(data/\*.parquet or \*.parquet\)"):
        import_from("nemo", tmp_path / "empty")
    (tmp_path / "empty" / "a.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        import_from("nemo", tmp_path / "empty")
