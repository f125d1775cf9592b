"""Rules over columns decide what the rules document by document decide: made-up documents that break each in turn."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gobelin.data.model import Action, Role, Unit
from gobelin.data.schemas import DOCUMENT_SCORES, DOCUMENTS
from gobelin.pipeline.ask.what_if import Outcome
from gobelin.pipeline.recipe.recipe import Recipe, change
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.selection.columns.judge_columns import ColumnJudge, rules_by_name
from gobelin.transforms.selection.columns.judged import STAYS
from gobelin.transforms.selection.columns.load_columns import NotAlignedError, count_words, load_columns
from gobelin.transforms.selection.rules import all_rules
from gobelin.transforms.selection.select import judge_document

NUM = 300
WORDS = ("harbour", "boat", "net", "ann@a.example", "tide", "lighthouse", "192.0.2.1", "8.8.8.8")
RECIPE = (
    "document={min_words: 4, min_images: 1, max_images: 9, languages: [en], unique: [url, near],"
    " max_spam_word_ratio: 0.9, deny_consent: [noai], page_kinds: [article]}",
    "text={min_words: 2, max_site_count: 3, max_site_count_heading: 8, max_spam_word_ratio: 0.95}",
    "image={min_side_px: 60, max_side_px: 900, max_nsfw: 0.9, min_clip_near: -0.5, min_clip_alt: 0.02, formats: [png],"
    " banned_url_words: [logo], max_head: {gore: 0.97}}",
)  # fmt: skip

CHANGES = (
    (),
    ("image.min_side_px=300",),
    ("image.max_nsfw=0.4", "unscored_for_safety=keep"),
    ("image.min_clip_near=0.3", "image.min_clip_alt=0.6"),
    ("image.max_head={gore: 0.5}",),
    ("text.max_site_count=0",),
    ("text.max_site_count=1", "text.max_site_count_heading=null"),
    ("text.min_words=4", "text.not_prose=[]"),
    ("text.roles=[heading, paragraph]",),
    ("document.min_words=12", "document.max_spam_word_ratio=0.5"),
    ("document.unique=[exact, near, url, image_set]",),
    ("document.unique=[image_set]", "image.min_side_px=500"),
    ("document.min_assigned_ratio=0.4", "document.assigned_similarity=0.3"),
    ("image.unique_in_document=true",),
    ("image.unique_near_in_document=true", "image.unique_in_document=true"),
    ("image.min_phash_distance_in_document=3", "image.unique_near_in_document=true"),
    ("image.min_phash_distance_in_document=2", "image.unique_in_document=true"),
    ("image.max_documents=4",),
    ("image.max_documents=4", "image.max_documents_captioned=8"),
    ("image.max_documents=8", "image.max_documents_captioned=4"),
    ("document.min_words=null", "document.min_images=null", "text.max_site_count=null"),
)


def text_node(draw: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    text = " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 7)))
    role = draw.choice([Role.HEADING, Role.HEADING, Role.PARAGRAPH, Role.PARAGRAPH, Role.CODE])
    level = draw.choice([1, 2, 3, 7, None]) if role == Role.HEADING else None
    node = {"kind": "text", "role": str(role), "level": level, "text": text}
    pii = {"num_emails": text.count("@"), "num_ips": text.count("8.8.8.8")}
    scores = {"kind": "text", "num_words": len(text.split()), "site_count": draw.choice([1, 1, 2, 5, 9, None])}
    return node, {**scores, **pii, "spam_word_ratio": draw.choice([None, draw.random()])}


def image_node(draw: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    number = draw.randint(0, 12)
    known = None if draw.random() < 0.05 else f"{number:064x}"
    alt = draw.choice([None, "a boat", "write to ann@a.example"])
    url = f"https://a.example/{draw.choice(['logo', 'view', 'view', 'view'])}.png"
    node = {
        "kind": "image",
        "image_id": known,
        "image_url": url,
        "alt": alt,
        "rendered_width": draw.choice([None, 90]),
        "caption": draw.choice([None, "A boat"]),
        "link_url": draw.choice([None, "https://a.example/1.png", url[:-4]]),
    }
    scores = {
        "kind": "image", "image_id": known, "format": draw.choice(["png", "png", "png", "gif"]),
        "consent": draw.choice([[], ["header x-robots-tag: noai"]]), "width": 40 + 80 * number, "height": 400,
        "phash": f"{number * 3:016x}", "near_group": f"{number // 3:064x}", "num_documents": number,
        "nsfw": draw.choice([None, draw.random(), draw.random()]),
        "clip_near_max": draw.choice([None, draw.uniform(-1, 1)]),
        "clip_alt": draw.choice([None, draw.random()]), "clip_assigned_score": draw.choice([None, draw.random()]),
        "num_emails": (alt or "").count("@"), "num_ips": 0,
        "heads": [{"name": "gore", "value": draw.random()}] if draw.random() < 0.8 else None,
    }  # fmt: skip
    return node, scores


def made_up(draw: random.Random, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    pairs = [image_node(draw) if draw.random() < 0.4 else text_node(draw) for _ in range(draw.randint(0, 12))]
    doc_id = f"{number:032x}"
    document = {
        "doc_id": doc_id, "url": f"https://a.example/{number}", "warc_file": "a", "warc_offset": 0, "warc_length": 1,
        "warc_date": draw.choice(["2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z", ""]), "content_digest": "",
        "title": "Of ann@a.example", "language": draw.choice(["en", "en", "en", "fr", None]), "language_score": 0.9,
        "licences": [], "charset": "utf-8", "extractor": "x",
        "page_kind": draw.choice(["article"] * 9 + [None, "list"]),
        "consent": draw.choice([[]] * 9 + [["meta robots: noai"]]), "nodes": [node for node, _ in pairs],
    }  # fmt: skip
    groups = {f"{kind}_group": f"{draw.randint(0, 2 * NUM):032x}" for kind in ("url", "exact", "near")}
    earlier = [{"kind": draw.choice(["exact", "url", "older_url"]), "doc_id": "e", "run": "r"}]
    scores = {
        "doc_id": doc_id, "num_words": 9, "num_images": 1, **groups, "earlier": earlier if draw.random() < 0.05 else [],
        "clip_model": draw.choice(["m", "m", None]), "spam_word_ratio": draw.choice([None, draw.random()]),
        "nodes": [scores for _, scores in pairs],
    }  # fmt: skip
    return document, scores


def filled(rows: list[dict[str, Any]], schema: pa.Schema) -> list[dict[str, Any]]:
    """The rows with every column of a schema, as they are read."""
    return pa.Table.from_pylist(rows, schema).to_pylist()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[dict[str, Any], dict[str, Any]]]]:
    draw = random.Random(5)
    pairs = [made_up(draw, number) for number in range(NUM)]
    documents = filled([document for document, _ in pairs], DOCUMENTS)
    scores = filled([score for _, score in pairs[:-1]], DOCUMENT_SCORES)  # one could not be scored
    folder = tmp_path_factory.mktemp("columns")
    for name, rows, schema in (("documents", documents, DOCUMENTS), ("scores", scores, DOCUMENT_SCORES)):
        for shard, part in enumerate((rows[: NUM // 2], rows[NUM // 2 :])):
            write_shard(shard_path(str(folder / name), shard, 2), part, schema)
        commit_shards(str(folder / name), 2)
    return folder, list(zip(documents, scores))


def config_of(changes: tuple[str, ...]) -> Any:
    return change(Recipe(name="made-up"), tuple(f"select.{each}" for each in (*RECIPE, *changes))).select


@pytest.mark.parametrize("pii", ["replace", "drop"])
@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: ",".join(changes) or "as it is")
def test_columns_decide_as_documents_one_by_one(made: Any, changes: tuple[str, ...], pii: str) -> None:
    folder, pairs = made
    config = config_of((*changes, f"pii.email={pii}"))
    judge = ColumnJudge(load_columns(str(folder / "documents"), str(folder / "scores"), config))
    judged = judge.judge(config)
    expected, dropped = Outcome(), Counter[str]()
    for document, scores in pairs:
        verdict = judge_document(document, scores, config)
        expected.add(verdict, scores)
        dropped.update(each.rule for each in verdict.decisions if each.unit is Unit.NODE and each.action is Action.DROP)
    expected.drop_duplicates(config.document.unique)
    ids = [document["doc_id"] for document, _ in pairs]
    reasons = {doc_id: judged.names["document"][code] for doc_id, code in zip(ids, judged.documents) if code != STAYS}
    assert reasons == expected.reasons
    assert judged.totals() == expected.totals()
    assert judged.counts("text") + judged.counts("image") == dropped


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("image.min_side_px", ("100", "400", "null", "60")),
        ("text.max_site_count", ("0", "8", "null")),
        ("text.max_spam_word_ratio", ("0.1", "0.7")),
        ("document.min_words", ("20", "null", "1")),
        ("image.max_nsfw", ("0.2", "1")),
        ("image.min_clip_near", ("-1", "0.9")),
    ],
)  # fmt: skip
def test_a_threshold_that_is_moved(made: Any, rule: str, values: tuple[str, ...]) -> None:
    """What is kept between two calls changes nothing, and what a rule cannot judge is counted."""
    folder, pairs = made
    start = config_of(("unscored_for_safety=keep",))
    columns = load_columns(str(folder / "documents"), str(folder / "scores"), start)
    held, dragged = rules_by_name(all_rules(start))[rule], ColumnJudge(columns)
    for value in values:
        config = config_of(("unscored_for_safety=keep", f"{rule}={value}"))
        moved, anew = dragged.judge(config, held), ColumnJudge(columns).judge(config)
        assert moved.totals() == anew.totals()
        assert (moved.documents == anew.documents).all()
        assert (moved.images == anew.images).all()
        assert (moved.texts == anew.texts).all()
        if held.subject != "document" and value != "null" and rule != "text.max_site_count":
            unscored = sum(judge_document(*pair, config).not_run.count(rule) for pair in pairs)
            assert dragged.not_run(held, config) == unscored


def test_words_are_cut_as_python_cuts_them() -> None:
    texts = ["", " ", None, "a", " a  b\tc\n", "a\x1fb", "a\xa0b\u3000c", "a\u200bb", "\x1c", "a\x85b\u2028c"]
    assert count_words(pa.array(texts)).tolist() == [len((text or "").split()) for text in texts]


def test_scores_of_other_documents_are_an_error(made: Any, tmp_path: Path) -> None:
    folder, pairs = made
    for shard in range(2):
        write_shard(shard_path(str(tmp_path), shard, 2), [pairs[0][1] | {"doc_id": "f" * 32}], DOCUMENT_SCORES)
    commit_shards(str(tmp_path), 2)
    with pytest.raises(NotAlignedError, match="run the score stage again"):
        load_columns(str(folder / "documents"), str(tmp_path), config_of(()))


def test_a_shard_without_documents_is_read(tmp_path: Path) -> None:
    for name, schema in (("documents", DOCUMENTS), ("scores", DOCUMENT_SCORES)):
        write_shard(shard_path(str(tmp_path / name), 0, 1), [], schema)
        commit_shards(str(tmp_path / name), 1)
    columns = load_columns(str(tmp_path / "documents"), str(tmp_path / "scores"), config_of(()))
    assert len(columns.ids) == 0
