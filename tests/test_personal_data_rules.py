"""``select`` on personal data: replaced, dropped or left, kind by kind."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gobelin.data.model import Action, Unit
from gobelin.transforms.selection.config import PiiRules, SelectConfig
from gobelin.transforms.selection.select import Verdict
from gobelin.transforms.text.pii import COLUMNS, Pii
from tests.judging import image_node, judge, text_node


def emails(mode: Any) -> Verdict:
    nodes = [
        text_node("Write to ann@a.example or bob@b.example."),
        image_node("i1", node={"alt": "Ann, ann@a.example", "caption": "bob@b.example"}),
        text_node("No address here, only react@17.0.2."),
    ]
    return judge(nodes, SelectConfig(pii=PiiRules(email=mode)))


def test_emails_are_replaced() -> None:
    verdict = emails("replace")
    first, second, third = verdict.document["nodes"]
    assert first["text"] == "Write to <EMAIL> or <EMAIL>."
    assert (second["alt"], second["caption"]) == ("Ann, <EMAIL>", "<EMAIL>")
    assert third["text"] == "No address here, only react@17.0.2."
    assert [(d.rule, d.action, d.node_index, d.value) for d in verdict.decisions] == [
        ("pii.email", Action.REPLACE, 0, 2.0),
        ("pii.email", Action.REPLACE, 1, 2.0),
    ]
    assert verdict.dropped_by is None


def test_emails_drop_their_node() -> None:
    verdict = emails("drop")
    assert [(d.rule, d.action, d.node_index) for d in verdict.decisions] == [
        ("pii.email", Action.DROP, 0),
        ("pii.email", Action.DROP, 1),
    ]
    assert len(verdict.document["nodes"]) == 1


def test_emails_may_stay() -> None:
    verdict = emails("keep")
    assert verdict.decisions == ()
    assert "ann@a.example" in verdict.document["nodes"][0]["text"]


@pytest.mark.parametrize("mode", ["replace", "drop"])
def test_no_address_is_left_anywhere_in_what_is_kept(mode: Any) -> None:
    """Title and decisions included: the corpus must not leak what its texts hide."""
    document = {"title": "Contact ann@a.example"}
    verdict = judge(
        [text_node("x ann@a.example y"), text_node()], SelectConfig(pii=PiiRules(email=mode)), document=document
    )
    kept = {name: verdict.document[name] for name in ("title", "nodes")}
    assert "ann@a" not in repr(kept)
    assert "ann@a" not in repr(verdict.decisions)


PERSONAL = {
    Pii.EMAIL: "ann@a.example",
    Pii.IP: "93.184.216.34",
    Pii.PHONE: "+49 30 901820",
    Pii.CARD: "4111 1111 1111 1111",
    Pii.IBAN: "DE89 3704 0044 0532 0130 00",
    Pii.SECRET: "AKIAIOSFODNN7EXAMPLE",
}


def hold(kind: Pii, action: str) -> Verdict:
    value = PERSONAL[kind]
    nodes = [
        text_node(f"It is {value}."),
        image_node(
            "i1", node={"alt": f"a {value}", "caption": value, "title": value, "link_url": "https://b.example/"}
        ),
        image_node("i2", node={"link_url": f"https://b.example/?q={value}"}),
        text_node("Nothing here."),
    ]
    config = SelectConfig(pii=PiiRules(**{str(kind): action}))  # type: ignore[arg-type]
    return judge(nodes, config, document={"title": f"Of {value}"})


def test_every_kind_has_a_setting() -> None:
    assert {field.name for field in dataclasses.fields(PiiRules)} == set(Pii) == set(PERSONAL)


@pytest.mark.parametrize("kind", list(Pii))
def test_personal_data_is_replaced(kind: Pii) -> None:
    verdict = hold(kind, "replace")
    placeholder = f"<{kind.upper()}>"
    text, image, link, _ = verdict.document["nodes"]
    assert text["text"] == f"It is {placeholder}."
    assert (image["alt"], image["caption"], image["title"]) == (f"a {placeholder}", placeholder, placeholder)
    assert (image["link_url"], link["link_url"]) == ("https://b.example/", None)
    assert verdict.document["title"] == f"Of {placeholder}"
    assert [(d.rule, d.action, d.node_index, d.value, d.threshold) for d in verdict.decisions] == [
        (f"pii.{kind}", Action.REPLACE, 0, 1, 0),
        (f"pii.{kind}", Action.REPLACE, 1, 3, 0),
        (f"pii.{kind}", Action.REPLACE, 2, 1, 0),
        (f"pii.{kind}", Action.REPLACE, None, 1, 0),  # in the title
    ]
    of_title = verdict.decisions[-1]
    assert (of_title.unit, of_title.detail, verdict.dropped_by) == (Unit.DOCUMENT, "title", None)


@pytest.mark.parametrize("kind", list(Pii))
def test_personal_data_drops_its_node(kind: Pii) -> None:
    verdict = hold(kind, "drop")
    assert [(d.rule, d.action, d.node_index) for d in verdict.decisions] == [
        *((f"pii.{kind}", Action.DROP, index) for index in range(3)),
        (f"pii.{kind}", Action.REPLACE, None),  # a title is no reason to lose a document
    ]
    assert [node["text"] for node in verdict.document["nodes"]] == ["Nothing here."]


@pytest.mark.parametrize("kind", list(Pii))
def test_personal_data_may_stay(kind: Pii) -> None:
    verdict = hold(kind, "keep")
    assert verdict.decisions == ()
    assert verdict.document["nodes"][2]["link_url"].endswith(PERSONAL[kind])


@pytest.mark.parametrize("kind", list(Pii))
@pytest.mark.parametrize("action", ["replace", "drop"])
def test_no_personal_data_is_left_in_corpus_or_decisions(kind: Pii, action: str) -> None:
    verdict = hold(kind, action)
    assert PERSONAL[kind] not in repr((verdict.document["title"], verdict.document["nodes"], verdict.decisions))


def test_a_kind_that_drops_comes_before_one_that_is_replaced() -> None:
    node = text_node(f"{PERSONAL[Pii.EMAIL]} {PERSONAL[Pii.IP]}")
    verdict = judge([node], SelectConfig(pii=PiiRules(ip="drop")))
    assert [(d.rule, d.action) for d in verdict.decisions] == [("pii.ip", Action.DROP)]


def test_what_was_counted_is_not_looked_for_again() -> None:
    """Scores say that there is nothing; null says that nobody looked."""
    none = dict.fromkeys(COLUMNS.values(), 0)
    for counted, is_left in ((none, True), ({**none, "num_emails": 1}, False), ({**none, "num_emails": None}, False)):
        verdict = judge([text_node("ann@a.example", **counted)], SelectConfig())
        assert (verdict.document["nodes"][0]["text"] == "ann@a.example") is is_left
    kept = judge([text_node("ann@a.example", **{**none, "num_emails": 1})], SelectConfig(pii=PiiRules(email="keep")))
    assert kept.document["nodes"][0]["text"] == "ann@a.example"
