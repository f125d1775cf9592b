"""Token shards put together in one batch, and in several to which codes are dealt out: the same files."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gobelin.data.model import Action, Decision, Node, Role, Unit, to_row
from gobelin.data.schemas import CONTINUOUS_TOKEN_SHARDS, DECISIONS, DOCUMENTS, IMAGE_CODES, IMAGE_LATENTS, TOKEN_SHARDS
from gobelin.errors import UserError
from gobelin.pipeline.stages.tokenize import AssembleJob, partition_shown, run_assembly, shuffle_into_shards
from gobelin.store import shards
from gobelin.store.dataset import Attempt
from gobelin.store.shards import read_folder, read_rows
from gobelin.tokenize import token_shards
from gobelin.tokenize.assemble import SequenceLayout, document_items
from gobelin.tokenize.encode import Encoding, _EncodeImages
from gobelin.tokenize.sequence import ImageSpan, TextItem, decode_document, image_latents
from gobelin.tokenize.shown import shown_images, shown_in_part
from gobelin.tokenize.token_shards import SHARDS_KEY
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train import shards as train_shards
from gobelin.train.shards import read_corpus, read_index
from gobelin.transforms.images.stored_images import StoredImages
from gobelin.transforms.urls import site_of
from tests.token_corpora import small_tokenizer, small_vocabulary

Make = Callable[..., Any]
NUM_SHARDS = 4


@pytest.fixture
def corpus(tmp_path: Path, write_data_set: Make, a_document: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty documents; an image of most, one that all show, one that could not be encoded, codes that nobody shows."""
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 600)  # several row groups a file
    documents = [
        a_document(f"{n:032x}", [f"a red square {n}", *([(f"i{n // 2}",)] if n % 5 else []), ("all",), ("lost",)])
        for n in range(20)
    ]
    documents.append(a_document("f" * 32, [("lost",)]))  # nothing is left of it
    codes = [{"image_id": name, "codes": [number % 32] * 4}
             for number, name in enumerate(["all", "nobody", *(f"i{n}" for n in range(10))])]  # fmt: skip
    lost = Decision(stage="tokenize", unit=Unit.IMAGE, action=Action.FAIL, rule="undecodable_image", image_id="lost",
                    url="https://a.example/lost.png")  # fmt: skip
    write_data_set(tmp_path / "documents", documents, DOCUMENTS, NUM_SHARDS)
    write_data_set(tmp_path / "codes", codes, IMAGE_CODES, NUM_SHARDS, "image_id")
    write_data_set(tmp_path / "failed", [to_row(lost)], DECISIONS, NUM_SHARDS, "image_id")
    return tmp_path


def assemble(
    corpus: Path, name: str, plan: Any, at_once: int | None, vocabulary: Vocabulary | None = None,
    layout: SequenceLayout | None = None, shard_tokens: int = 200,
) -> Path:  # fmt: skip
    tokenizer = small_tokenizer()
    sources = (str(corpus / source) for source in ("documents", "codes", "failed"))
    output, work = corpus / name, str(corpus / name / "work")
    job = AssembleJob(
        *sources, Attempt(str(output), ""), str(output / "work" / "sequences"), NUM_SHARDS,
        vocabulary or small_vocabulary(tokenizer), tokenizer, layout or SequenceLayout(),
    )  # fmt: skip
    shown = None if at_once is None else partition_shown(plan, str(corpus / "documents"), work, NUM_SHARDS)
    run_assembly(plan, job, work, shown, 21, at_once or 1)
    totals = shuffle_into_shards(plan, job, work, shard_tokens)
    assert totals.num_tokens == sum(len(row["tokens"]) for row in read_folder(str(output / "shards")))
    return output


@pytest.mark.parametrize(("num_workers", "at_once"), [(1, 5), (2, 1), (3, 21)])
def test_batches_give_the_same_files(corpus: Path, plan_here: Make, num_workers: int, at_once: int) -> None:
    whole = assemble(corpus, "whole", plan_here(), None)
    batched = assemble(corpus, "batched", plan_here(num_workers), at_once)
    for name in ("shards", "index", "decisions"):
        files = sorted((whole / name).glob("*.parquet"))
        assert len(files) > 1
        for file in files:
            assert (batched / name / file.name).read_bytes() == file.read_bytes()
    rows = list(read_folder(str(whole / "shards")))
    assert sorted(len(row["image_spans"]) for row in rows) == [1] * 4 + [2] * 16
    assert set(rows[0]) == set(TOKEN_SHARDS.names)
    urls = {document["doc_id"]: document["url"] for document in read_folder(str(corpus / "documents"))}
    assert all(row["site"] == site_of(urls[row["doc_id"]]) for row in rows)
    assert {row["rule"] for row in read_folder(str(whole / "decisions"))} == {"undecodable_image", "nothing_left"}


def test_shards_are_shuffled_by_the_seed_alone_and_hold_the_same_share(corpus: Path, plan_here: Make) -> None:
    orders = []
    for seed in (0, 1):
        folder = assemble(corpus, f"seed{seed}", plan_here(), None, layout=SequenceLayout(seed=seed), shard_tokens=150)
        paths = sorted((folder / "shards").glob("*.parquet"))
        tables = [pq.read_table(path) for path in paths]
        sizes = [pc.sum(pc.list_value_length(table["tokens"])).as_py() for table in tables]
        assert len(sizes) == -(-sum(sizes) // 150)
        assert max(sizes) - min(sizes) < 60  # two documents
        said = json.loads(pq.read_schema(paths[1]).metadata[SHARDS_KEY])
        assert (said["version"], said["seed"], said["shard"], said["num_shards"]) == (3, seed, 1, len(paths))
        orders.append([doc_id for table in tables for doc_id in table["doc_id"].to_pylist()])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) != orders[0]


def test_the_index_finds_each_document(corpus: Path, plan_here: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the trainer's, which is made of it, is the one that a pass over the shards makes."""
    monkeypatch.setattr(token_shards, "ROW_GROUP_BYTES", 300)
    folder, vocabulary = assemble(corpus, "whole", plan_here(), None), small_vocabulary(small_tokenizer())
    index = pq.read_table(folder / "index").to_pylist()
    paths = sorted((folder / "shards").glob("*.parquet"))
    assert len({(row["shard"], row["row_group"]) for row in index}) > len(paths)
    for row in index:
        found = pq.ParquetFile(paths[row["shard"]]).read_row_group(row["row_group"]).slice(row["row"], 1).to_pylist()[0]
        assert (found["doc_id"], len(found["tokens"])) == (row["doc_id"], row["num_tokens"])
        assert [row["num_images"], row["num_image_tokens"]] == [
            len(found["image_spans"]),
            4 * len(found["image_spans"]),
        ]
        stream = np.concatenate(pq.read_table(paths[row["shard"]])["tokens"].to_numpy())
        assert (stream[row["first_token"] : row["first_token"] + row["num_tokens"]] == found["tokens"]).all()
    beside = read_index(str(folder / "shards"), vocabulary)
    monkeypatch.setattr(train_shards, "_index_beside", lambda *_: None)
    by_a_pass = read_index(str(folder / "shards"), vocabulary)
    for field in dataclasses.fields(beside):
        ours, theirs = getattr(beside, field.name), getattr(by_a_pass, field.name)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype
            assert (ours == theirs).all(), field.name
        else:
            assert ours == theirs


def test_an_index_of_other_shards_is_not_used(corpus: Path, plan_here: Make) -> None:
    one = assemble(corpus, "one", plan_here(), None)
    other = assemble(corpus, "other", plan_here(), None, layout=SequenceLayout(seed=1))
    vocabulary = small_vocabulary(small_tokenizer())
    own = read_index(str(one / "shards"), vocabulary)
    shutil.rmtree(one / "index")
    shutil.copytree(other / "index", one / "index")
    assert (read_index(str(one / "shards"), vocabulary).hashes == own.hashes).all()


def test_shards_of_a_later_version_are_refused(corpus: Path, plan_here: Make) -> None:
    folder = assemble(corpus, "whole", plan_here(), None)
    path = next((folder / "shards").glob("*.parquet"))
    table = pq.read_table(path)
    later = json.dumps({"version": 4}).encode()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, SHARDS_KEY: later}), path)
    shutil.rmtree(folder / "index")
    with pytest.raises(UserError, match="version 4, this version of gobelin reads 1 and 3"):
        read_index(str(folder / "shards"), small_vocabulary(small_tokenizer()))


def texts_and_images(row: dict[str, Any]) -> list[str]:
    """Images by id, texts by their words."""
    vocabulary, tokenizer = small_vocabulary(small_tokenizer()), small_tokenizer()
    spans = [ImageSpan(**span) for span in row["image_spans"]]
    items = decode_document(row["tokens"], spans, vocabulary, tokenizer)
    return [item.text if isinstance(item, TextItem) else str(item.image_id) for item in items]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("interleaved", ["i0", "one", "i1", "two", "all", "three"]),
        ("image_first", ["i0", "i1", "all", "one", "two", "three"]),
        ("text_first", ["one", "two", "three", "i0", "i1", "all"]),
        ("assigned", ["all", "one", "i1", "two", "i0", "three"]),
    ],
)
def test_orders(order: Any, expected: list[str], corpus: Path, plan_here: Make, a_document: Make,
                write_data_set: Make) -> None:  # fmt: skip
    """Of the document as it was crawled, ``select`` has dropped a text, to which i1 was assigned, and the scores count
    it; an image without codes has no place."""
    nodes = [("i0",), "one", ("lost",), ("i1",), "two", ("all",), "three"]
    write_data_set(corpus / "documents", [a_document("a" * 32, nodes)], DOCUMENTS, NUM_SHARDS)
    scored = [7, None, None, None, 3, None, 1, None]  # the dropped text is the fourth node; i0 -> three, all -> one
    rows = [{"doc_id": "a" * 32, "nodes": [{"kind": "text", "clip_assigned": text} for text in scored]}]
    node = pa.struct([("kind", pa.string()), ("clip_assigned", pa.int32())])
    schema = pa.schema([("doc_id", pa.string()), ("nodes", pa.list_(node))])
    scores = write_data_set(corpus / "scores", rows, schema, NUM_SHARDS)
    gone = Decision("select", Unit.NODE, Action.DROP, "text.min_words", doc_id="a" * 32, node_index=3)
    decisions = write_data_set(corpus / "selected", [to_row(gone)], DECISIONS, NUM_SHARDS)
    layout = SequenceLayout(order=order, assignments=(scores, decisions) if order == "assigned" else None)
    (row,) = read_folder(str(assemble(corpus, "whole", plan_here(), None, layout=layout) / "shards"))
    assert texts_and_images(row) == expected


def test_most_images(corpus: Path, plan_here: Make) -> None:
    folder = assemble(corpus, "whole", plan_here(), None, layout=SequenceLayout(max_images=1))
    rows = list(read_folder(str(folder / "shards")))
    assert {len(row["image_spans"]) for row in rows} == {1}
    dropped = [row for row in read_folder(str(folder / "decisions")) if row["rule"] == "max_images"]
    assert {(row["image_id"], row["node_index"], row["value"], row["threshold"]) for row in dropped} == {
        ("all", 2, 2.0, 1.0)
    }
    assert len(dropped) == 16


def test_long_documents_become_several_sequences(corpus: Path, plan_here: Make, a_document: Make,
                                                 write_data_set: Make) -> None:  # fmt: skip
    words = "A red square stands here. " * 40
    caption = "a blue square and a green one, " * 20
    nodes = ["short", ("i0",), words, ("i1", {"caption": caption}), "end"]
    write_data_set(corpus / "documents", [a_document("a" * 32, nodes)], DOCUMENTS, NUM_SHARDS)
    folder = assemble(corpus, "whole", plan_here(), None, layout=SequenceLayout(max_tokens=40))
    rows = sorted(read_folder(str(folder / "shards")), key=lambda row: row["part"])
    assert [row["part"] for row in rows] == list(range(len(rows)))
    assert all(len(row["tokens"]) <= 40 for row in rows)
    found = [each for row in rows for each in texts_and_images(row)]
    assert [each for each in found if each in ("i0", "i1", "short", "end")] == ["short", "i0", "i1", "end"]
    pieces = found[2:-2]
    assert "".join(pieces) == words
    assert all(piece.endswith(".") for piece in pieces[:-1])  # between sentences
    (decision,) = [row for row in read_folder(str(folder / "decisions")) if row["unit"] == "node"]
    assert (decision["action"], decision["rule"], decision["node_index"]) == ("replace", "caption_too_long", 3)
    index = pq.read_table(folder / "index")
    assert pc.max(index["longest_image"]).as_py() <= 38


def test_shown_images_are_those_that_each_shard_finds(corpus: Path, plan_here: Make) -> None:
    parts = partition_shown(plan_here(2), str(corpus / "documents"), str(corpus / "work"), NUM_SHARDS)
    expected: dict[int, set[str]] = {index: set() for index in range(NUM_SHARDS)}
    for shard in range(NUM_SHARDS):
        for index, identifier in shown_images(shard, str(corpus / "documents"), NUM_SHARDS):
            expected[index].add(identifier)
    for index in range(NUM_SHARDS):
        assert shown_in_part(index, parts) == (index, sorted(expected[index]))
    assert sum(map(len, expected.values())) == 12


def test_latents_stand_beside_the_spans(corpus: Path, plan_here: Make, write_data_set: Make) -> None:
    tokenizer = small_tokenizer()
    codebook = dataclasses.replace(
        small_vocabulary(tokenizer).codebooks[0], name="klvae", kind="klvae", num_codes=1, latent_channels=3
    )
    vocabulary = dataclasses.replace(small_vocabulary(tokenizer), codebooks=(codebook,))
    names = ["all", "nobody", *(f"i{n}" for n in range(10))]
    latents = {name: np.arange(12, dtype=np.float16) / 8 + number for number, name in enumerate(names)}
    rows = [{"image_id": name, "codes": [0] * 4, "latents": each} for name, each in latents.items()]
    shutil.rmtree(corpus / "codes")
    write_data_set(corpus / "codes", rows, IMAGE_LATENTS, NUM_SHARDS, "image_id")
    whole = assemble(corpus, "whole", plan_here(), None, vocabulary)
    batched = assemble(corpus, "batched", plan_here(), 5, vocabulary)
    for file in sorted((whole / "shards").glob("*.parquet")):
        assert (batched / "shards" / file.name).read_bytes() == file.read_bytes()
    read = list(read_folder(str(whole / "shards")))
    assert set(read[0]) == set(CONTINUOUS_TOKEN_SHARDS.names)
    for row in read:
        spans = [ImageSpan(**span) for span in row["image_spans"]]
        found = image_latents(row["latents"], [codebook] * len(spans))
        assert [each.shape for each in found] == [(4, 3)] * len(spans)
        for span, each in zip(spans, found, strict=True):
            assert (each.ravel() == latents[span.image_id]).all()
        assert len(decode_document(row["tokens"], spans, vocabulary, tokenizer)) == 1 + len(spans)
    with pytest.raises(ValueError, match="are not those of 2 images"):
        image_latents([0.0] * 12, [codebook] * 2)
    with pytest.raises(ValueError, match="continuous latents"):
        read_corpus(str(whole / "shards"), vocabulary, 0.0)


def test_a_kl_vae_writes_latents_beside_codes_that_mark_places(tmp_path: Path, write_data_set: Make) -> None:
    torch = pytest.importorskip("torch")
    from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
    from gobelin.tokenize.networks import build_network
    from gobelin.tokenize.shapes import KLVAEConfig

    config = KLVAEConfig(
        image_size=(8, 16), norm_groups=2, channels=8, multipliers=(1, 2), num_blocks=1, latent_channels=3
    )
    tokenizer = ImageTokenizer(build_network(config, torch.Generator().manual_seed(0)))
    save_image_tokenizer(tokenizer, str(tmp_path / "tokenizer"))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    kinds = {"image_id": pa.string(), "data": pa.binary(), "urls": pa.list_(pa.string())}
    schema = pa.schema([*kinds.items(), ("width", pa.int32()), ("height", pa.int32())])
    row = {"image_id": "a", "data": stream.getvalue(), "urls": ["https://a.example/a.png"], "width": 9, "height": 9}
    write_data_set(tmp_path / "images", [row], schema, 1, "image_id")
    tokenizer_folder, images, codes, failed = (
        str(tmp_path / name) for name in ("tokenizer", "images", "codes", "failed")
    )
    step = _EncodeImages(Encoding(tokenizer_folder, StoredImages(images, None, 1), codes, failed))
    step.setup()
    assert list(step.process(([0], [(0, "a")])))
    (read,) = read_rows(next((tmp_path / "codes").glob("*.parquet")).as_posix())
    assert read["codes"] == [0] * 32
    assert (image_latents(read["latents"], tokenizer.codebooks)[0] == tokenizer.encode(pixels[None])[0]).all()


def test_code_and_tables_are_read_as_markdown_writes_them() -> None:
    nodes = [
        Node("text", Role.PARAGRAPH, text="a | b ```"), Node("text", Role.CODE, text="a\n\n```b", code_language="c++"),
        Node("text", Role.TABLE, text="x | y\n | *z*", header_rows=1),
    ]  # fmt: skip
    texts = [item.text for item in document_items(map(to_row, nodes), {}, True) if isinstance(item, TextItem)]
    assert texts == ["a | b ```", "````c++\na\n\n```b\n````", "| x | y |\n| --- | --- |\n|  | *z* |"]
