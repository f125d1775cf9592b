"""Scores that need the whole corpus, against brute force: groups, counts, similarities."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.schemas import DECISIONS, DOCUMENTS, IMAGE_EMBEDDINGS, IMAGE_SCORES, IMAGES, TEXT_EMBEDDINGS
from gobelin.store.shards import read_folder
from gobelin.transforms.duplicates.image_duplicates import are_alike, image_hashes
from gobelin.transforms.duplicates.minhash import min_equal_bytes, text_signature
from gobelin.transforms.images.thumbnail import NUM_CELLS
from gobelin.transforms.score import measure as measure_module
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.score.join_scores import ImageFacts, add_similarities, complete_scores
from gobelin.transforms.score.measure import measure_document
from gobelin.transforms.text.text_statistics import text_statistics
from gobelin.transforms.urls import canonical_url, host_of

Make = Callable[..., Any]
Row = dict[str, Any]

NUM_SHARDS = 3
CONFIG = ScoreConfig()
MODEL = "a-model"
UNUSED, FAILED = "unused".ljust(64, "0"), "failed".ljust(64, "0")
WORDS = """harbour market boat light water stone bridge window garden river morning evening people story road field
summer winter glass paper silver yellow house letter island forest mountain village engine signal"""


def sentence(rng: np.random.Generator, length: int = 14) -> str:
    return " ".join(rng.choice(WORDS.split(), length)).capitalize() + "."


def components(ids: list[str], alike: Callable[[str, str], bool]) -> dict[str, str]:
    """Smallest id that each is connected with, by repeated passes over all pairs."""
    group = {each: each for each in ids}
    pairs = [(a, b) for a, b in itertools.combinations(ids, 2) if alike(a, b)]
    for _ in ids:
        before = dict(group)
        for a, b in pairs:
            group[a] = group[b] = min(group[a], group[b])
        if group == before:
            break
    return group


def texts_of(row: Row) -> list[str]:
    return [node["text"] for node in row["nodes"] if node["kind"] == "text"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, a_document: Make, an_image: Make, write_data_set: Make) -> Any:
    """Sixty documents on three hosts with shared paragraphs, near-copies, copies, few images shown often."""
    rng = np.random.default_rng(5)
    images = []
    for group in range(8):
        base = int(rng.integers(0, 2**63))
        for member in range(3):
            flipped = base
            for bit in rng.choice(64, size=2 * member, replace=False):
                flipped ^= 1 << int(bit)
            images.append(
                an_image(
                    f"{group}{member}".ljust(64, "0"),
                    phash=f"{flipped:016x}",
                    width=300 + group,
                    thumbnail=f"{300 + group:08x}{300:08x}" + f"{group * 9 % 250:02x}" * NUM_CELLS,
                )
            )
    images += [an_image(UNUSED), an_image(FAILED)]
    ids = [row["image_id"] for row in images[:-2]]
    shared = [sentence(rng) for _ in range(6)]
    documents = []
    for number in range(60):
        own = [sentence(rng) for _ in range(3)]
        if number % 5 == 4:  # a near-copy of the one before: one word more
            own = [*texts_of(documents[-1])[:-1], texts_of(documents[-1])[-1] + " Again"]
        elif number % 7 == 6:  # a copy but for case and punctuation
            own = [text.upper().rstrip(".") for text in texts_of(documents[-1])]
        nodes: list[Any] = [*own, *rng.choice(shared, size=int(rng.integers(0, 3)))]
        for image in rng.choice(ids, size=int(rng.integers(0, 4))):
            nodes.insert(int(rng.integers(0, len(nodes) + 1)), (str(image),))
        host = f"{'abc'[number % 3]}.example"
        path = f"page-{number - number % 2 if number % 11 == 1 else number}"
        url = f"http{'s' * (number % 2)}://{host if number % 11 != 1 else 'a.example'}/{path}"
        plain = [str(node) if isinstance(node, str) else node for node in nodes]  # not NumPy's own strings
        documents.append(a_document(f"{int(rng.integers(2**63)):032x}", plain, url=url))
    documents.append(a_document("0" * 32, []))
    documents.append(a_document("1" * 32, ["!!! ???"]))
    documents.append(a_document("2" * 32, ["!!! ???", (ids[0],)]))
    documents.append(a_document("3" * 32, [("missing", {"image_id": None})]))
    documents.append(a_document("4" * 32, [sentence(rng), (FAILED,), (ids[0],), sentence(rng)]))
    folder = tmp_path_factory.mktemp("corpus")
    write_data_set(folder / "documents", documents, DOCUMENTS, NUM_SHARDS)
    write_data_set(folder / "images", images, IMAGES, NUM_SHARDS, "image_id")
    return folder, documents, images


def unit_vectors(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.normal(size=(count, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def scored(
    corpus: Any, tmp_path_factory: pytest.TempPathFactory, score_documents: Make, write_data_set: Make
) -> Any:  # fmt: skip
    """The corpus scored, with embeddings at random for all images but one, which the embedder could not open."""
    folder, documents, images = corpus
    output = tmp_path_factory.mktemp("scores")
    rng = np.random.default_rng(6)
    embedded = images[:-1]
    by_image = dict(zip([row["image_id"] for row in embedded], unit_vectors(rng, len(embedded)), strict=True))
    places = [
        (row["doc_id"], index, "text")
        for row in documents
        for index, node in enumerate(row["nodes"])
        if node["kind"] == "text" and any(each["image_id"] for each in row["nodes"])
    ]
    by_text = dict(zip(places, unit_vectors(rng, len(places)), strict=True))
    rows = [{"image_id": name, "embedding": vector} for name, vector in by_image.items()]
    write_data_set(output / "image_embeddings", rows, IMAGE_EMBEDDINGS, NUM_SHARDS, "image_id")
    text_rows = [
        {"doc_id": doc_id, "node_index": index, "role": role, "embedding": vector}
        for (doc_id, index, role), vector in by_text.items()
    ]
    write_data_set(output / "text_embeddings", text_rows, TEXT_EMBEDDINGS, NUM_SHARDS)
    write_data_set(output / "text_decisions", [], DECISIONS, NUM_SHARDS)
    failed = to_row(Decision("score", Unit.IMAGE, Action.FAIL, "undecodable_image", image_id=FAILED))
    write_data_set(output / "embed_decisions", [failed], DECISIONS, NUM_SHARDS, "image_id")
    return score_documents(folder, output, NUM_SHARDS, CONFIG, MODEL), by_image, by_text


def test_every_document_and_image_has_one_row(corpus: Any, scored: Any) -> None:
    _, documents, images = corpus
    found = scored[0]
    assert set(found.documents) == {row["doc_id"] for row in documents}
    decided = {row["image_id"]: (row["action"], row["rule"]) for row in found.decisions}
    assert decided == {FAILED: ("fail", "undecodable_image"), UNUSED: ("fail", "document_failed")}
    assert set(found.images) == {row["image_id"] for row in images} - set(decided)
    for row in documents:
        kinds = [node["kind"] for node in row["nodes"]]
        assert [node["kind"] for node in found.documents[row["doc_id"]]["nodes"]] == kinds


@pytest.mark.parametrize(("num_workers", "at_once"), [(2, None), (NUM_SHARDS, None), (1, 15), (2, 1)])
def test_batches_of_shards_give_the_same_files(
    corpus: Any, scored: Any, score_documents: Make, tmp_path: Path, num_workers: int, at_once: int | None
) -> None:
    """Each batch looks for its own rows, or has them dealt out."""
    whole = scored[0].folder
    for name in ("image_embeddings", "text_embeddings", "text_decisions", "embed_decisions"):
        shutil.copytree(whole / name, tmp_path / name)
    score_documents(corpus[0], tmp_path, NUM_SHARDS, CONFIG, MODEL, num_workers, at_once)
    num_batches = num_workers if at_once is None else NUM_SHARDS
    assert len(list((tmp_path / "work").glob("facts-?-of-*"))) == num_batches
    assert (tmp_path / "work" / f"uses-0-of-{num_workers}").is_dir() == (at_once is not None)
    for name in ("documents", "images", "decisions", "signatures/images", "signatures/documents"):
        files = sorted((whole / name).glob("*.parquet"))
        assert len(files) == NUM_SHARDS
        for file in files:
            assert (tmp_path / name / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("kind", ["url_group", "exact_group", "near_group"])
def test_groups(corpus: Any, scored: Any, kind: str) -> None:
    documents = {row["doc_id"]: row for row in corpus[1]}
    whole = {name: "\n\n".join(texts_of(row)) for name, row in documents.items()}
    signed = {name: text_signature(text, CONFIG.minhash) for name, text in whole.items()}

    def are_near(a: str, b: str) -> bool:
        equal = sum(x == y for x, y in zip(signed[a].sketch, signed[b].sketch, strict=False))
        return bool(set(signed[a].bands) & set(signed[b].bands)) and equal >= min_equal_bytes(CONFIG.minhash)

    alike: dict[str, Callable[[str, str], bool]] = {
        "url_group": lambda a, b: canonical_url(documents[a]["url"]) == canonical_url(documents[b]["url"]),
        "exact_group": lambda a, b: signed[a].digest is not None and signed[a].digest == signed[b].digest,
        "near_group": are_near,
    }
    expected = components(sorted(documents), alike[kind])
    assert {name: row[kind] for name, row in scored[0].documents.items()} == expected
    assert len(set(expected.values())) < len(expected), "the corpus should hold some duplicates"


def test_texts_without_words_are_no_duplicates(scored: Any) -> None:
    for kind in ("exact_group", "near_group"):
        assert {scored[0].documents[digit * 32][kind] for digit in "0123"} == {digit * 32 for digit in "0123"}


def test_site_counts(corpus: Any, scored: Any) -> None:
    """How often a text stands on its host, over all pages; twice in one page counts twice."""
    counts = Counter((host_of(row["url"]), text) for row in corpus[1] for text in texts_of(row))
    for row in corpus[1]:
        nodes = scored[0].documents[row["doc_id"]]["nodes"]
        found = [node["site_count"] for node in nodes if node["kind"] == "text"]
        assert found == [counts[host_of(row["url"]), text] for text in texts_of(row)]
    assert max(counts.values()) > 3


def test_image_counts(corpus: Any, scored: Any) -> None:
    _, documents, images = corpus
    users = {row["image_id"]: set() for row in images}
    for row in documents:
        for node in row["nodes"]:
            if node["image_id"]:
                users[node["image_id"]].add(row["doc_id"])
    COLUMNS = ("phash", "dhash", "colour", "thumbnail")
    hashes = {row["image_id"]: image_hashes(*([row[each]] for each in COLUMNS)) for row in images}
    group = components(sorted(hashes), lambda a, b: bool(are_alike(hashes[a], hashes[b], CONFIG.near_images)[0]))
    for name, row in scored[0].images.items():
        near = set().union(*(users[other] for other in users if group[other] == group[name]))
        assert (row["num_documents"], row["near_group"], row["near_count"]) == (
            len(users[name]),
            group[name],
            len(near),
        )
    assert len(set(group.values())) < len(group)


def test_image_nodes_carry_their_images_scores(corpus: Any, scored: Any) -> None:
    for row in corpus[1]:
        for node, scores in zip(row["nodes"], scored[0].documents[row["doc_id"]]["nodes"], strict=True):
            if node["image_id"] in (None, FAILED):
                assert (scores["image_id"], scores["width"], scores["num_documents"]) == (None, None, None)
            else:
                image = scored[0].images[node["image_id"]]
                names = ("width", "height", "phash", "num_documents", "near_count", "nsfw", "aesthetic")
                assert {name: scores[name] for name in names} == {name: image[name] for name in names}
                assert scores["format"] == "png"


def test_text_statistics_are_those_of_the_texts(corpus: Any, scored: Any) -> None:
    for row in corpus[1][:10]:
        scores = scored[0].documents[row["doc_id"]]
        whole = text_statistics("\n\n".join(texts_of(row)), "en")
        assert scores["num_words"] == whole.num_words
        assert scores["num_images"] == sum(node["image_id"] is not None for node in row["nodes"])
        if whole.stop_word_ratio is not None:
            assert scores["stop_word_ratio"] == pytest.approx(whole.stop_word_ratio, rel=1e-6)


def test_similarities(corpus: Any, scored: Any) -> None:
    """The highest cosine with any text, and with the nearer of the two neighbours, by loops over float64."""
    found, by_image, by_text = scored
    compared = 0
    for row in corpus[1]:
        nodes = found.documents[row["doc_id"]]["nodes"]
        vectors = {
            index: by_text[row["doc_id"], index, "text"].astype(float)
            for index, node in enumerate(row["nodes"])
            if (row["doc_id"], index, "text") in by_text
        }
        for index, node in enumerate(row["nodes"]):
            if node["image_id"] not in by_image or not vectors:
                assert (nodes[index]["clip_text_max"], nodes[index]["clip_near_max"]) == (None, None)
                continue
            cosines = {
                place: float(vector @ by_image[node["image_id"]].astype(float)) for place, vector in vectors.items()
            }
            before = [place for place in vectors if place < index][-1:]
            after = [place for place in vectors if place > index][:1]
            assert nodes[index]["clip_text_max"] == pytest.approx(max(cosines.values()), abs=1e-6)
            assert nodes[index]["clip_near_max"] == pytest.approx(max(cosines[p] for p in before + after), abs=1e-6)
            assert (nodes[index]["clip_alt"], nodes[index]["clip_caption"]) == (None, None)
            compared += 1
    assert compared > 20


def test_the_model_is_named_beside_its_scores(scored: Any) -> None:
    found = scored[0]
    assert {row["clip_model"] for row in found.documents.values()} == {MODEL}
    assert {row["clip_model"] for row in found.images.values()} == {MODEL}


def test_without_a_model_nothing_is_scored(
    corpus: Any, tmp_path: Path, score_documents: Make
) -> None:  # fmt: skip
    found = score_documents(corpus[0], tmp_path / "scores", NUM_SHARDS, CONFIG)
    for row in found.documents.values():
        assert row["clip_model"] is None
        assert {node["clip_text_max"] for node in row["nodes"]} <= {None}
    assert {row["clip_model"] for row in found.images.values()} == {None}


def test_alt_and_caption_similarities() -> None:
    scores = {"nodes": [{"kind": "text", "image_id": None}, {"kind": "image", "image_id": "i"}]}
    one, other = np.eye(4, dtype=np.float16)[:2]
    facts = {"i": ImageFacts({"image_id": "i"}, one.tobytes())}
    texts = [
        {"node_index": 0, "role": "text", "embedding": other},
        {"node_index": 1, "role": "alt", "embedding": one},
        {"node_index": 1, "role": "caption", "embedding": -one},
    ]
    add_similarities(scores, facts, texts)
    image = scores["nodes"][1]
    names = ("clip_text_max", "clip_near_max", "clip_alt", "clip_caption")
    assert [image[name] for name in names] == [0.0, 0.0, 1.0, -1.0]


def test_complete_scores(a_document: Make) -> None:
    measured, signature = measure_document(a_document("d", ["A text.", ("i",), ("j",)]), CONFIG)
    known = {"image_id": "i", "format": "png", "num_documents": 7, "near_group": "h", "near_count": 9}
    image = dict.fromkeys(IMAGE_SCORES.names) | known
    earlier = [{"kind": "near", "doc_id": "a", "run": "out"}]
    group = {
        "url_group": "b",
        "exact_group": "d",
        "near_group": "c",
        "earlier": earlier,
        "site_counts": [5, None, None],
    }
    row = complete_scores(json.loads(measured["scores"]), group, {"i": ImageFacts(image, None)})
    assert (row["near_group"], row["url_group"], row["exact_group"], row["earlier"]) == ("c", "b", "d", earlier)
    assert (row["nodes"][0]["site_count"], row["nodes"][1]["num_documents"], row["nodes"][1]["near_count"]) == (5, 7, 9)
    assert (row["nodes"][1]["near_group"], row["nodes"][2]["image_id"]) == ("h", None)
    assert (signature["doc_id"], signature["url_key"]) == ("d", canonical_url("https://a.example/d"))


def test_signatures_are_kept_for_later_runs(corpus: Any, scored: Any) -> None:
    documents = corpus[1]
    found = scored[0].folder / "signatures"
    rows = {row["doc_id"]: row for row in read_folder(str(found / "documents"))}
    assert set(rows) == {row["doc_id"] for row in documents}
    for row in documents:
        signature = text_signature("\n\n".join(texts_of(row)), CONFIG.minhash)
        assert (tuple(rows[row["doc_id"]]["bands"]), rows[row["doc_id"]]["sketch"]) == (
            signature.bands,
            signature.sketch,
        )
    pictures = {row["image_id"]: row for row in read_folder(str(found / "images"))}
    assert set(pictures) == set(scored[0].images)
    for name, row in pictures.items():
        assert row["num_documents"] == scored[0].images[name]["num_documents"]


def test_an_empty_corpus_is_no_error(tmp_path: Path, write_data_set: Make, score_documents: Make) -> None:
    write_data_set(tmp_path / "documents", [], DOCUMENTS, 2)
    write_data_set(tmp_path / "images", [], IMAGES, 2, "image_id")
    found = score_documents(tmp_path, tmp_path / "scores", 2)
    assert (found.documents, found.images, found.decisions) == ({}, {}, [])


def test_a_defect_in_one_document_ends_no_run(
    tmp_path: Path, write_data_set: Make, a_document: Make, an_image: Make, score_documents: Make, select_from: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It fails with a reason, and its images are accounted for in what follows."""
    original = measure_module.count_text

    def fragile(text: str, *arguments: Any) -> Any:
        if "explode" in text:
            raise RuntimeError("a defect")
        return original(text, *arguments)

    monkeypatch.setattr(measure_module, "count_text", fragile)
    documents = [a_document("a", ["All is well here.", ("i1",)]), a_document("b", ["explode", ("i1",), ("i2",)])]
    write_data_set(tmp_path / "documents", documents, DOCUMENTS, 1)
    write_data_set(tmp_path / "images", [an_image("i1"), an_image("i2")], IMAGES, 1, "image_id")
    scored = score_documents(tmp_path, tmp_path / "scores", 1)
    assert set(scored.documents) == {"a"}
    decided = {
        (row["unit"], row["doc_id"] or row["image_id"]): (row["action"], row["rule"]) for row in scored.decisions
    }
    assert decided == {("document", "b"): ("fail", "score_error"), ("image", "i2"): ("fail", "document_failed")}
    assert len(scored.decisions) == 2
    from gobelin.transforms.selection.config import SelectConfig

    selected = select_from(
        tmp_path / "documents", scored.folder / "documents", tmp_path / "select", 1, SelectConfig()
    )  # fmt: skip
    assert set(selected.documents) == {"a"}
    assert set(scored.images) == selected.shown() | set(selected.dropped("image")) == {"i1"}
