"""``select`` over data sets: one of each group of duplicates stays, and every document and image has its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gobelin.data.schemas import DOCUMENT_SCORES, DOCUMENTS, NODE_SCORES
from gobelin.store.tables import list_shards
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules, TextRules
from gobelin.transforms.selection.write_corpus import DOCUMENT_DROPPED, image_set, scored_documents

Make = Callable[..., Any]
Row = dict[str, Any]
TEXT = "A text of six words here."


def scores_of(document: Row, images: Row | None = None, **groups: Any) -> Row:
    """A row of ``DOCUMENT_SCORES`` for a document: six words a text, its own groups unless told otherwise."""
    nodes = []
    for node in document["nodes"]:
        row = {**dict.fromkeys(field.name for field in NODE_SCORES), "kind": node["kind"]}
        if node["kind"] == "text":
            row |= {"num_words": 6, "site_count": 1, "num_lorem_ipsum": 0}
        elif node["image_id"] is not None:
            row |= {"image_id": node["image_id"], "format": "png", "width": 400, "height": 300, "phash": "0" * 16,
                    "num_documents": 1, "near_count": 1, **(images or {}).get(node["image_id"], {})}  # fmt: skip
        nodes.append(row)
    own = dict.fromkeys(("url_group", "exact_group", "near_group"), document["doc_id"])
    empty = dict.fromkeys(DOCUMENT_SCORES.names)
    num_images = sum(node["image_id"] is not None for node in document["nodes"])
    return {
        **empty,
        **own,
        "doc_id": document["doc_id"],
        "num_words": 6,
        "num_images": num_images,
        "earlier": [],
        "nodes": nodes,
        **groups,
    }


@pytest.fixture
def select(tmp_path: Path, write_data_set: Make, select_from: Make) -> Make:
    """(documents, their scores, config, num_shards=2) -> what the graph leaves; checks that all adds up, and that one
    process chooses among duplicates as the graph does."""

    def run(documents: list[Row], scores: list[Row], config: SelectConfig, num_shards: int = 2) -> Any:
        write_data_set(tmp_path / "documents", documents, DOCUMENTS, num_shards)
        write_data_set(tmp_path / "scores", scores, DOCUMENT_SCORES, num_shards)
        folders = (tmp_path / "documents", tmp_path / "scores")
        found = select_from(*folders, tmp_path / "select", num_shards, config)
        here = select_from(*folders, tmp_path / "here", num_shards, config, 1)
        assert (here.documents, here.decisions, here.not_run) == (found.documents, found.decisions, found.not_run)
        assert_equal_files(found.folder, here.folder)
        assert {row["doc_id"] for row in scores} == set(found.documents) | set(found.dropped("document"))
        assert not set(found.documents) & set(found.dropped("document"))
        seen = {node["image_id"] for row in scores for node in row["nodes"]} - {None}
        assert seen == found.shown() | set(found.dropped("image"))
        assert not found.shown() & set(found.dropped("image"))
        return found

    return run


def assert_equal_files(folder: Path, other: Path) -> None:
    for name in ("documents", "decisions", "not_run"):
        files = sorted((folder / name).glob("*.parquet"))
        assert files
        for file in files:
            assert (other / name / file.name).read_bytes() == file.read_bytes()


def test_one_of_each_group_stays_and_it_is_the_latest(select: Make, a_document: Make) -> None:
    documents = [a_document(name, [TEXT], warc_date=f"2025-01-0{day}") for name, day in zip("abcde", (2, 3, 1, 5, 5))]
    scores = [scores_of(row, near_group="a" if row["doc_id"] in "abc" else "d") for row in documents]
    found = select(documents, scores, SelectConfig(document=DocumentRules(unique=("near",))))
    assert set(found.documents) == {"b", "d"}
    assert found.dropped("document") == dict.fromkeys("ace", "document.unique.near")
    (decision,) = [row for row in found.decisions if row["doc_id"] == "a"]
    assert (decision["value"], decision["detail"]) == (3.0, "kept: b")


def test_a_group_whose_latest_member_goes_for_another_reason_keeps_the_next(select: Make, a_document: Make) -> None:
    documents = [
        a_document("a", [TEXT], warc_date="2025-01-01"),
        a_document("b", [TEXT], warc_date="2025-01-02"),
        a_document("c", [TEXT], warc_date="2025-01-03", consent=["meta robots: noai"]),
    ]
    scores = [scores_of(row, url_group="a") for row in documents]
    rules = DocumentRules(unique=("url",), deny_consent=("noai",))
    found = select(documents, scores, SelectConfig(document=rules))
    assert set(found.documents) == {"b"}
    assert found.dropped("document") == {"a": "document.unique.url", "c": "document.deny_consent"}


def test_several_kinds_of_duplicates_at_once(select: Make, a_document: Make) -> None:
    """Against brute force on random groups: the latest first, and one stays unless a kept one shares a group with it.
    What a decision names as kept is kept."""
    rng = np.random.default_rng(2)
    kinds = ("url", "near", "exact")
    documents = [a_document(f"d{n:02d}", [TEXT], warc_date=f"2025-01-{rng.integers(1, 10):02d}") for n in range(40)]
    groups = {row["doc_id"]: {f"{kind}_group": f"{kind}-{rng.integers(0, 25)}" for kind in kinds} for row in documents}
    scores = [scores_of(row, **groups[row["doc_id"]]) for row in documents]
    found = select(documents, scores, SelectConfig(document=DocumentRules(unique=kinds)))
    kept: list[str] = []
    for date in sorted({row["warc_date"] for row in documents}, reverse=True):
        for row in documents:
            own = set(groups[row["doc_id"]].items())
            if row["warc_date"] == date and not any(own & set(groups[other].items()) for other in kept):
                kept.append(row["doc_id"])
    assert set(found.documents) == set(kept)
    for row in found.decisions:
        stays = row["detail"].removeprefix("kept: ")
        kind = row["rule"].removeprefix("document.unique.")
        assert stays in found.documents
        assert groups[stays][f"{kind}_group"] == groups[row["doc_id"]][f"{kind}_group"]


@pytest.mark.parametrize(("num_workers", "at_once"), [(2, None), (7, None), (1, 3), (2, 1)])
def test_batches_of_shards_give_the_same_files(
    tmp_path: Path, write_data_set: Make, select_from: Make, a_document: Make, num_workers: int, at_once: int | None
) -> None:
    """Each batch finds its own rows by shard, or has them dealt out."""
    kinds: tuple[Any, ...] = ("url", "image_set")
    config = SelectConfig(
        document=DocumentRules(unique=kinds, max_perplexity=9), image=ImageRules(min_side_px=300),
        unscored_for_safety="keep",
    )  # fmt: skip
    documents = [
        a_document(name, [TEXT, (f"i{index % 3}",), TEXT, (f"own{index}",)]) for index, name in enumerate("abcdefgh")
    ]
    small = {f"own{index}": {"width": 100} for index in range(3)}
    scores = [scores_of(document, small, url_group="a") for document in documents[:3]]
    scores += [scores_of(document) for document in documents[3:]]
    write_data_set(tmp_path / "documents", documents, DOCUMENTS, 5)
    write_data_set(tmp_path / "scores", scores, DOCUMENT_SCORES, 5)
    folders = [tmp_path / "documents", tmp_path / "scores"]
    whole = select_from(*folders, tmp_path / "whole", 5, config)
    batched = select_from(*folders, tmp_path / "batched", 5, config, num_workers, at_once)
    assert {row["unit"] for row in whole.decisions} == {"document", "node", "image"}
    assert len(list((whole.folder / "documents").glob("*.parquet"))) == 5
    assert (tmp_path / "batched" / "work" / f"uses-by-image-0-of-{num_workers}").is_dir() == (at_once is not None)
    assert_equal_files(whole.folder, batched.folder)


def test_what_an_earlier_run_holds_goes_and_takes_no_place(select: Make, a_document: Make) -> None:
    documents = [a_document(name, [TEXT], warc_date=f"2025-01-0{day}") for name, day in zip("abcd", (1, 2, 3, 4))]
    known = {"doc_id": "x", "run": "out/jan"}
    earlier: Row = {"c": [{"kind": "near", **known}], "d": [{"kind": "older_url", **known}]}
    scores = [scores_of(row, near_group="a", earlier=earlier.get(row["doc_id"], [])) for row in documents[:3]]
    scores.append(scores_of(documents[3], earlier=earlier["d"]))
    found = select(documents, scores, SelectConfig(document=DocumentRules(unique=("url", "near"))))
    assert set(found.documents) == {"b", "d"}
    details = {row["doc_id"]: (row["value"], row["detail"]) for row in found.decisions}
    assert details == {"a": (3.0, "kept: b"), "c": (None, "kept: x of out/jan")}


def test_without_kinds_duplicates_stay(select: Make, a_document: Make) -> None:
    documents = [a_document(name, [TEXT]) for name in "ab"]
    scores = [scores_of(row, url_group="a", near_group="a", exact_group="a") for row in documents]
    assert set(select(documents, scores, SelectConfig()).documents) == {"a", "b"}


def test_image_sets_are_those_of_what_is_left(select: Make, a_document: Make) -> None:
    """Two pages that show the same once the icons are gone are duplicates; pages without images are not."""
    icon = {"icon": {"width": 16, "height": 16}, "other": {"width": 16, "height": 16}}
    documents = [
        a_document("a", [TEXT, ("boat",), ("icon",)], warc_date="2025-01-01"),
        a_document("b", [("other",), ("boat",), TEXT], warc_date="2025-01-02"),
        a_document("c", [TEXT, ("icon",)]),
        a_document("d", [TEXT]),
        a_document("e", [TEXT, ("boat",), ("house",)]),
    ]
    scores = [scores_of(row, icon) for row in documents]
    config = SelectConfig(document=DocumentRules(unique=("image_set",)), image=ImageRules(min_side_px=50))
    assert select(documents, scores, config).dropped("document") == {"a": "document.unique.image_set"}


def test_image_set_is_a_set() -> None:
    def page(*images: str | None) -> Row:
        return {"doc_id": "d", "nodes": [{"image_id": image} for image in images]}

    assert image_set(page("a", "b", "a", None)) == image_set(page("b", "a"))
    assert image_set(page("a")) != image_set(page("b"))
    assert image_set(page(None)) == image_set(page()) == "d"


def test_decisions_on_images(select: Make, a_document: Make) -> None:
    """An image that the corpus shows anywhere is kept; one that it does not has the rule that dropped it most often,
    and a rule on the image itself goes before the loss of its document."""
    documents = [
        a_document("a", [TEXT, ("kept",), ("small",), ("both",)]),
        a_document("b", [TEXT, ("small",), ("kept",)], language="de"),
        a_document("c", [TEXT, ("lost",), ("both",), ("rendered", {"rendered_width": 5})], language="de"),
        a_document("d", [TEXT, ("rendered",)], language="de"),
    ]
    images = {"small": {"width": 10}, "both": {"width": 10}}
    config = SelectConfig(
        document=DocumentRules(languages=("en",)), image=ImageRules(min_side_px=100, min_rendered_px=50)
    )  # fmt: skip
    found = select(documents, [scores_of(row, images) for row in documents], config)
    assert set(found.documents) == {"a"}
    assert found.shown() == {"kept"}
    assert found.dropped("image") == {
        "small": "image.min_side_px",
        "both": "image.min_side_px",
        "lost": DOCUMENT_DROPPED,
        "rendered": "image.min_rendered_px",
    }
    (decision,) = [row for row in found.decisions if row["unit"] == "image" and row["image_id"] == "both"]
    assert decision["value"] == 2.0


def test_images_of_a_duplicate_that_goes(select: Make, a_document: Make) -> None:
    documents = [
        a_document("a", [TEXT, ("shared",), ("own",)], warc_date="2025-01-01"),
        a_document("b", [TEXT, ("shared",)], warc_date="2025-01-02"),
    ]
    config = SelectConfig(document=DocumentRules(unique=("near",)))
    found = select(documents, [scores_of(row, near_group="a") for row in documents], config)
    assert found.shown() == {"shared"}
    assert found.dropped("image") == {"own": DOCUMENT_DROPPED}


def test_node_decisions_and_what_is_written(select: Make, a_document: Make) -> None:
    document = a_document("a", ["Write to ann@a.example now.", ("gone", {"image_id": None}), TEXT, ("i",)])
    scores = scores_of(document)
    scores["nodes"][2]["num_words"] = 500
    config = SelectConfig(text=TextRules(max_words=100))
    found = select([document], [scores], config)
    assert [node["text"] for node in found.documents["a"]["nodes"]] == ["Write to <EMAIL> now.", None]
    nodes = {row["node_index"]: (row["action"], row["rule"]) for row in found.decisions if row["unit"] == "node"}
    assert nodes == {0: ("replace", "pii.email"), 1: ("drop", "image.missing"), 2: ("drop", "text.max_words")}
    kept = {name: value for name, value in found.documents["a"].items() if name != "nodes"}
    assert kept == {name: value for name, value in document.items() if name != "nodes"}


def test_not_run_is_added_up_over_shards(select: Make, a_document: Make) -> None:
    documents = [a_document(f"{n:032x}", [TEXT, ("i1",), ("i2",)]) for n in range(12)]
    config = SelectConfig(image=ImageRules(min_aesthetic=3.0), document=DocumentRules(max_perplexity=100.0))
    found = select(documents, [scores_of(row) for row in documents], config, 3)
    assert found.not_run == {"image.min_aesthetic": 24, "document.max_perplexity": 12}
    assert len(found.documents) == 12


def test_safety_fails_closed_in_the_corpus(select: Make, a_document: Make) -> None:
    document = a_document("a", [TEXT, ("i",)])
    found = select([document], [scores_of(document)], SelectConfig(image=ImageRules(max_nsfw=0.5)))
    assert found.shown() == set()
    assert found.dropped("image") == {"i": "image.max_nsfw"}


def test_nothing_in_nothing_out(select: Make) -> None:
    found = select([], [], SelectConfig(document=DocumentRules(unique=("url", "near"))))
    assert (found.documents, found.decisions, found.not_run) == ({}, [], {})
    assert len(list_shards(str(found.folder / "documents"))) == 2


def test_everything_dropped_is_a_corpus_without_rows(select: Make, a_document: Make) -> None:
    documents = [a_document(name, [TEXT]) for name in "abc"]
    found = select(documents, [scores_of(row) for row in documents], SelectConfig(document=DocumentRules(min_words=99)))
    assert found.documents == {}
    assert set(Counter(found.dropped("document").values())) == {"document.min_words"}


def test_a_document_without_scores_is_left_out(tmp_path: Path, write_data_set: Make, a_document: Make) -> None:
    documents = [a_document(name, [TEXT]) for name in "abcd"]
    write_data_set(tmp_path / "documents", documents, DOCUMENTS, 1)
    write_data_set(tmp_path / "scores", [scores_of(documents[n]) for n in (1, 3)], DOCUMENT_SCORES, 1)
    pairs = scored_documents(str(tmp_path / "documents"), str(tmp_path / "scores"), 0, 1)
    assert [(document["doc_id"], scores["doc_id"]) for document, scores in pairs] == [("b", "b"), ("d", "d")]


def test_scores_of_other_documents_are_an_error(tmp_path: Path, write_data_set: Make, a_document: Make) -> None:
    write_data_set(tmp_path / "documents", [a_document("a", [TEXT])], DOCUMENTS, 1)
    write_data_set(tmp_path / "scores", [scores_of(a_document("b", [TEXT]))], DOCUMENT_SCORES, 1)
    with pytest.raises(ValueError, match="run the score stage again"):
        list(scored_documents(str(tmp_path / "documents"), str(tmp_path / "scores"), 0, 1))


@pytest.mark.parametrize(("width", "texts"), [(24, [f"{TEXT} and more."]), (300, [TEXT, "and more."])])
def test_a_sentence_is_one_text_where_its_icon_went(
    select: Make, a_document: Make, width: int, texts: list[str]
) -> None:
    document = a_document("a", [TEXT, ("i1",), "and more."])
    document["nodes"][2]["continues"] = True
    config = SelectConfig(image=ImageRules(min_side_px=48))
    found = select([document], [scores_of(document, {"i1": {"width": width, "height": 300}})], config)
    assert [node["text"] for node in found.documents["a"]["nodes"] if node["kind"] == "text"] == texts
