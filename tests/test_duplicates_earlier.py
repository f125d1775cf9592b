"""A later crawl against the signatures of an earlier one: what is in its corpus already does not come again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from gobelin.documents import DOCUMENTS, IMAGES
from gobelin.transforms.measure import ScoreConfig
from gobelin.transforms.rules import DocumentRules, ImageRules, SelectConfig

Make = Callable[..., Any]
Row = dict[str, Any]

LONG = " ".join(f"word{number}" for number in range(120))
NEAR = LONG.replace("word60", "another")
JANUARY, JUNE = "2025-01-01T00:00:00Z", "2025-06-01T00:00:00Z"


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, write_data_set: Make, score_documents: Make, select_from: Make,
    an_image: Make,
) -> Make:  # fmt: skip
    """(name, documents, unique, earlier names, min_words) -> (scored, selected): one run in a folder of that name."""
    base = tmp_path_factory.mktemp("runs")

    def make(name: str, documents: list[Row], unique: Any, earlier: tuple[str, ...] = (), min_words: int = 1) -> Any:
        folder = base / name
        shutil.rmtree(folder, ignore_errors=True)
        images = sorted({node["image_id"] for row in documents for node in row["nodes"] if node["image_id"]})
        write_data_set(folder / "extract/documents", documents, DOCUMENTS, 2)
        write_data_set(folder / "extract/images", [an_image(each) for each in images], IMAGES, 2, "image_id")
        config = ScoreConfig(earlier=tuple(str(base / each) for each in earlier))
        scored = score_documents(folder / "extract", folder / "score", 2, config)
        rules = SelectConfig(
            document=DocumentRules(unique=unique, min_words=min_words), image=ImageRules(max_documents=2)
        )
        selected = select_from(folder / "extract/documents", folder / "score/documents", folder / "select", 2, rules)
        for data_set in ("extract", "score/documents", "score/images", "select/documents"):
            shutil.rmtree(folder / data_set)  # signatures and decisions are all that a later run may need
        return scored, selected

    return make


def drops(selected: Any) -> dict[str, tuple[str, str]]:
    """Rule and detail by document, the run's folder without the test's own part of the path."""
    return {
        row["doc_id"]: (row["rule"].removeprefix("document."), (row["detail"] or "").split("/")[-1])
        for row in selected.decisions
        if row["unit"] == "document"
    }


@pytest.fixture(scope="module")
def first(run: Make, a_document: Make) -> Any:
    documents = [
        a_document("a", [LONG], url="https://a.example/page", warc_date=JANUARY),
        a_document(
            "b", ["A text of its own, that stands here alone."], url="https://a.example/other", warc_date=JANUARY
        ),
        a_document("c", ["Short."], url="https://a.example/short", warc_date=JANUARY),
    ]
    return run("first", documents, ("url", "exact", "near"), min_words=3)


@pytest.mark.parametrize(
    ("text", "url", "date", "unique", "rule"),
    [
        (LONG.upper(), "https://b.example/copy", JUNE, ("exact",), "unique.exact"),
        (NEAR, "https://b.example/near", JUNE, ("near",), "unique.near"),
        (NEAR, "https://b.example/near", JUNE, ("exact", "url"), None),
        ("Something new.", "https://a.example/page", "2024-01-01T00:00:00Z", ("url",), "unique.url"),  # an older crawl
        ("Something new.", "https://a.example/page", JANUARY, ("url",), "unique.url"),
        ("Something new.", "https://a.example/page", JUNE, ("url",), None),  # the page has changed: newest wins
        (LONG, "https://a.example/page", JUNE, ("url",), None),
        (LONG, "https://a.example/page", JUNE, ("url", "exact"), "unique.exact"),  # captured again, unchanged
        ("Short.", "https://b.example/short", JUNE, ("url", "exact", "near"), None),  # dropped there: not in the corpus
    ],
)
def test_what_is_known_does_not_come_again(
    first: Any, run: Make, a_document: Make, text: str, url: str, date: str, unique: tuple[str, ...], rule: str | None
) -> None:
    assert set(first[1].documents) == {"a", "b"}
    _, selected = run("second", [a_document("z", [text], url=url, warc_date=date)], unique, ("first",))
    if rule is None:
        assert set(selected.documents) == {"z"}
    else:
        found, detail = drops(selected)["z"]
        assert (found, detail) == (rule, "first")
        assert next(row["detail"] for row in selected.decisions).startswith("kept: a of ")


def test_the_page_that_is_replaced_is_named(first: Any, run: Make, a_document: Make) -> None:
    newer = a_document("z", ["Something new."], url="https://a.example/page", warc_date=JUNE)
    scored, selected = run("second", [newer], ("url",), ("first",))
    assert [(each["kind"], each["doc_id"]) for each in scored.documents["z"]["earlier"]] == [("older_url", "a")]
    assert set(selected.documents) == {"z"}


def test_all_of_a_group_go_where_an_earlier_one_is_known(first: Any, run: Make, a_document: Make) -> None:
    """And none of them keeps a third that is connected with it alone from staying."""
    documents = [
        a_document("x", [LONG], url="https://b.example/1", warc_date=JUNE),
        a_document("y", [NEAR], url="https://b.example/2", warc_date=JUNE),
        a_document("z", ["New and short."], url="https://b.example/2", warc_date=JANUARY),
    ]
    _, selected = run("second", documents, ("url", "near"), ("first",))
    assert {name: rule for name, (rule, _) in drops(selected).items()} == {"x": "unique.near", "y": "unique.near"}


def test_three_runs_in_a_row(first: Any, run: Make, a_document: Make) -> None:
    """A later run names all before it; what the second kept is known to the third."""
    fresh = "Nothing of this was ever seen before the second of three."
    run("second", [a_document("m", [fresh], url="https://b.example/m", warc_date=JUNE)], ("exact",), ("first",))
    documents = [
        a_document("p", [fresh], url="https://c.example/p", warc_date=JUNE),
        a_document("q", [LONG], url="https://c.example/q", warc_date=JUNE),
    ]
    _, selected = run("third", documents, ("exact",), ("first", "second"))
    assert {name: detail for name, (_, detail) in drops(selected).items()} == {"p": "second", "q": "first"}


def test_images_are_counted_across_runs(run: Make, a_document: Make) -> None:
    """Two documents showed it before; a third is over the cap of two."""
    images = [("i1",), ("i2",)]
    run("pictures", [a_document("a", ["One page.", *images]), a_document("b", ["Another.", images[0]])], ())
    scored, selected = run("second", [a_document("c", ["A third page.", *images])], (), ("pictures",))
    counts = {name: (row["num_documents"], row["near_count"]) for name, row in scored.images.items()}
    assert counts == {"i1": (3, 3), "i2": (2, 2)}
    assert selected.dropped("image") == {"i1": "image.max_documents"}
    assert selected.shown() == {"i2"}
