"""A later crawl against the signatures of an earlier one: what is in its corpus already does not come again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.schemas import DECISIONS, DOCUMENTS, IMAGE_SIGNATURES, IMAGES, SIGNATURES
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import read_folder
from gobelin.transforms.duplicates.find_duplicates import DuplicatesJob, find_duplicates
from gobelin.transforms.duplicates.image_duplicates import NearImageConfig
from gobelin.transforms.duplicates.minhash import MinHashConfig
from gobelin.transforms.duplicates.signatures import document_signature, signature_metadata
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.score.measure import MEASUREMENTS
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules
from gobelin.transforms.selection.write_corpus import keep_one

Make = Callable[..., Any]
Row = dict[str, Any]

LONG = " ".join(f"word{number}" for number in range(120))
NEAR = LONG.replace("word60", "another")
NEW = "Something new that was never here."
JANUARY, JUNE = "2025-01-01T00:00:00Z", "2025-06-01T00:00:00Z"
CONFIG = MinHashConfig()


def page(doc_id: str, text: str, url: str = "", warc_date: str = JUNE) -> Row:
    return {"doc_id": doc_id, "text": text, "url": url or f"https://b.example/{doc_id}", "warc_date": warc_date}


@pytest.fixture
def run(tmp_path: Path, write_data_set: Make) -> Make:
    """(name, pages, earlier names, dropped ids) -> survivors, as ``select`` sees them: scores nothing but duplicates,
    in tmp_path/name, and leaves what a run leaves there."""

    def make(name: str, pages: list[Row], earlier: tuple[str, ...] = (), dropped: tuple[str, ...] = ()) -> list[Row]:
        folder = tmp_path / name
        signed = [document_signature(row, row["text"], CONFIG) for row in pages]
        measured = [{"doc_id": row["doc_id"], "paragraphs": [1], "images": [], "scores": ""} for row in pages]
        decisions = [to_row(Decision("select", Unit.DOCUMENT, Action.DROP, "a.rule", doc_id=each)) for each in dropped]
        signatures = write_data_set(
            folder / "score/signatures/documents", signed, SIGNATURES, 2, "doc_id", signature_metadata(CONFIG)
        )
        images = write_data_set(folder / "score/signatures/images", [], IMAGE_SIGNATURES, 2)
        measurements = write_data_set(folder / "work/measurements", measured, MEASUREMENTS, 2)
        write_data_set(folder / "select/decisions", decisions, DECISIONS, 2)
        folders = tuple(str(tmp_path / each) for each in earlier)
        work = str(folder / "work")
        find_duplicates(DuplicatesJob(signatures, measurements, images, work, 2, CONFIG, NearImageConfig(), folders))
        assert commit_shards(f"{work}/document_groups", 2)
        groups = {row["doc_id"]: row for row in read_folder(f"{work}/document_groups")}
        return [
            {
                **row,
                **{key: groups[row["doc_id"]][key] for key in ("url_group", "exact_group", "near_group", "earlier")},
            }
            for row in pages
        ]

    return make


def drops(survivors: list[Row], unique: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Kind of the rule, and which document of which run is named, of each that ``select`` drops."""
    _, decisions = keep_one(survivors, unique)
    found = {}
    for decision in decisions:
        doc_id, _, folder = (decision.detail or "").removeprefix("kept: ").partition(" of ")
        found[decision.doc_id or ""] = (decision.rule.removeprefix("document.unique."), f"{doc_id} {Path(folder).name}")
    return found


@pytest.fixture
def first(run: Make) -> None:
    """A corpus of two pages; a third one was dropped."""
    pages = [
        page("a", LONG, "https://a.example/page", JANUARY),
        page("b", "A text of its own, that stands here alone.", "https://a.example/other", JANUARY),
        page("c", "Short.", "https://a.example/short", JANUARY),
        page("d", "", "https://a.example/pictures", JANUARY),
    ]
    run("first", pages, dropped=("c",))


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(
    ("later", "unique", "expected"),
    [
        (page("z", LONG.upper()), ("exact",), ("exact", "a first")),
        (page("z", NEAR), ("near",), ("near", "a first")),
        (page("z", NEAR, warc_date="2024-01-01T00:00:00Z"), ("near",), ("near", "a first")),  # whatever the dates
        (page("z", NEAR), ("exact", "url"), None),
        (page("z", NEW), ("exact", "near", "url"), None),
        (page("z", NEW, "https://a.example/page", "2024-01-01T00:00:00Z"), ("url",), ("url", "a first")),
        (page("z", NEW, "https://a.example/page", JANUARY), ("url",), ("url", "a first")),
        (page("z", NEW, "https://a.example/page", JUNE), ("url",), None),  # the page has changed: newest wins
        (page("z", LONG, "https://a.example/page", JUNE), ("url",), None),
        (page("z", LONG, "https://a.example/page", JUNE), ("url", "exact"), ("exact", "a first")),  # unchanged
        (page("z", "Short."), ("url", "exact", "near"), None),  # dropped there: not in the corpus
        (page("z", ""), ("exact", "near"), None),  # texts without words are no duplicates
        (page("d", "", "https://a.example/pictures", JANUARY), ("near",), ("near", "d first")),  # the very same page
        (page("z", LONG), (), None),
    ],
)
def test_what_is_known_does_not_come_again(
    run: Make, later: Row, unique: tuple[str, ...], expected: tuple[str, str] | None
) -> None:
    found = drops(run("second", [later], ("first",)), unique)
    assert found.get(later["doc_id"]) == expected


@pytest.mark.usefixtures("first")
def test_the_page_that_is_replaced_is_named(run: Make) -> None:
    (survivor,) = run("second", [page("z", NEW, "https://a.example/page")], ("first",))
    assert [(each["kind"], each["doc_id"]) for each in survivor["earlier"]] == [("older_url", "a")]


@pytest.mark.usefixtures("first")
def test_all_of_a_group_go_where_an_earlier_one_is_known(run: Make) -> None:
    """And none of them keeps a third that is connected with it alone from staying."""
    shared = "https://b.example/2"
    survivors = run("second", [page("x", LONG), page("y", NEAR, shared), page("z", NEW, shared, JANUARY)], ("first",))
    assert drops(survivors, ("url", "near")) == {"x": ("near", "a first"), "y": ("near", "a first")}


@pytest.mark.usefixtures("first")
def test_three_runs_in_a_row(run: Make) -> None:
    """A later run names all before it; what the second kept is known to the third."""
    run("second", [page("m", NEW)], ("first",))
    survivors = run("third", [page("p", NEW), page("q", LONG)], ("first", "second"))
    assert drops(survivors, ("exact",)) == {"p": ("exact", "m second"), "q": ("exact", "a first")}


def test_the_latest_of_several_is_named(run: Make) -> None:
    run("one", [page("k", LONG, warc_date=JUNE), page("m", LONG, warc_date=JANUARY)])
    run("two", [page("j", LONG, warc_date=JUNE)])
    assert drops(run("three", [page("z", LONG)], ("one", "two")), ("exact",)) == {"z": ("exact", "j two")}


def test_the_whole_way(
    tmp_path: Path, a_document: Make, an_image: Make, write_data_set: Make, score_documents: Make, select_from: Make
) -> None:
    """Two runs through the graphs: a page is known, and an image that two pages showed before is over a cap of two."""

    def go(name: str, documents: list[Row], earlier: tuple[str, ...]) -> Any:
        folder = tmp_path / name
        write_data_set(folder / "documents", documents, DOCUMENTS, 2)
        write_data_set(folder / "images", [an_image("i1"), an_image("i2", dhash="f" * 16)], IMAGES, 2, "image_id")
        config = ScoreConfig(earlier=tuple(str(tmp_path / each) for each in earlier))
        scored = score_documents(folder, folder / "score", 2, config)
        rules = SelectConfig(document=DocumentRules(unique=("near",)), image=ImageRules(max_documents=2))
        selected = select_from(folder / "documents", folder / "score/documents", folder / "select", 2, rules)
        for data_set in ("documents", "images", "score/documents", "score/images", "select/documents"):
            shutil.rmtree(folder / data_set)  # signatures and decisions are all that a later run needs
        return scored, selected

    images = [("i1",), ("i2",)]
    go("first", [a_document("a", [LONG, *images]), a_document("b", ["Another.", images[0]])], ())
    scored, selected = go("second", [a_document("c", [NEAR]), a_document("d", ["A new one.", *images])], ("first",))
    counts = {name: (row["num_documents"], row["near_count"]) for name, row in scored.images.items()}
    assert counts == {"i1": (3, 3), "i2": (2, 2)}
    assert selected.dropped("image") == {"i1": "image.max_documents"}
    assert selected.dropped("document") == {"c": "document.unique.near"}
    assert set(selected.documents) == {"d"}
