"""Rules on the texts and images of a document, in their places: repeats, headings, formats, opt-outs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gobelin.data.model import Role
from gobelin.data.rows import Row
from gobelin.transforms.selection.config import PiiRules, SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules, TextRules
from tests.judging import image_node, judge, text_in, text_node


def test_a_node_has_one_decision_and_the_others_stay() -> None:
    config = SelectConfig(text=TextRules(min_words=10, max_words=20, max_site_count=2))
    nodes = [text_node(num_words=15), text_node(num_words=5, site_count=9), text_node(num_words=30), image_node()]
    verdict = judge(nodes, config)
    assert [(decision.rule, decision.node_index) for decision in verdict.decisions] == [
        ("text.max_site_count", 1),
        ("text.max_words", 2),
    ]
    assert verdict.document["nodes"] == [nodes[0][0], nodes[3][0]]


def test_words_and_images_are_counted_after_the_node_rules() -> None:
    nodes = [text_node(num_words=30), text_node(num_words=3), image_node("i1"), image_node("i2", width=5, height=5)]
    rules: dict[str, Any] = {"text": TextRules(min_words=4), "image": ImageRules(min_side_px=100)}
    for document, dropped_by in [
        (DocumentRules(min_words=30, min_images=1), None),
        (DocumentRules(min_words=31), "document.min_words"),
        (DocumentRules(min_images=2), "document.min_images"),
        (DocumentRules(max_words=29), "document.max_words"),
        (DocumentRules(max_words=30, max_images=1), None),
        (DocumentRules(max_images=0), "document.max_images"),
    ]:
        assert judge(nodes, SelectConfig(document=document, **rules)).dropped_by == dropped_by


def test_an_image_that_the_archive_does_not_hold() -> None:
    verdict = judge([text_node(), image_node(None)], SelectConfig())
    (decision,) = verdict.decisions
    assert (decision.rule, decision.node_index, decision.url) == (
        "image.missing",
        1,
        "https://a.example/photos/boat.png",
    )
    assert len(verdict.document["nodes"]) == 1


@pytest.mark.parametrize(
    ("formats", "found", "is_dropped"),
    [(("png", "jpeg"), "png", False), (("jpeg",), "png", True), (None, "tiff", False), ((), "png", True)],
)
def test_formats(formats: tuple[str, ...] | None, found: str, is_dropped: bool) -> None:
    verdict = judge([image_node(format=found)], SelectConfig(image=ImageRules(formats=formats)))
    assert [decision.rule for decision in verdict.decisions] == (["image.formats"] if is_dropped else [])
    if is_dropped:
        assert verdict.decisions[0].detail == found


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("https://a.example/logo.png", "logo"),
        ("https://a.example/Site-LOGO_2x.PNG", "logo"),
        ("https://a.example/icons/boat.png", "icon"),
        ("https://a.example/silicon.png", None),
        ("https://logo.example/boat.png", None),
        ("data:image/png;sha256=00", None),
        ("http://[", None),
    ],
)
def test_banned_url_words(url: str, word: str | None) -> None:
    config = SelectConfig(image=ImageRules(banned_url_words=("logo", "icon")))
    verdict = judge([image_node(node={"image_url": url})], config)
    assert [(decision.rule, decision.detail) for decision in verdict.decisions] == (
        [("image.banned_url_words", word)] if word else []
    )


def repeated(images: list[tuple[Row, Row]], **rules: Any) -> list[int | None]:
    verdict = judge([text_node(), *images], SelectConfig(image=ImageRules(**rules)))
    return [decision.node_index for decision in verdict.decisions]


def test_unique_in_document() -> None:
    images = [image_node("i1"), image_node("i2"), image_node("i1"), image_node("i1")]
    assert repeated(images) == []
    assert repeated(images, unique_in_document=True) == [3, 4]


@pytest.mark.parametrize(("distance", "is_dropped"), [(0, True), (5, True), (6, False), (64, False)])
def test_phash_distance_in_document(distance: int, is_dropped: bool) -> None:
    first, second = "0" * 16, f"{(1 << distance) - 1:016x}"
    images = [image_node("i1", phash=first), image_node("i2", phash=second)]
    assert repeated(images, min_phash_distance_in_document=6) == ([2] if is_dropped else [])


@pytest.mark.parametrize(
    ("node", "times", "rule"),
    [
        ({}, 19, "image.max_documents"),
        ({}, 10, None),
        ({"caption": "A boat at the quay"}, 19, None),
        ({"caption": "A boat at the quay"}, 101, "image.max_documents_captioned"),
        ({"caption": "A boat at the quay", "link_url": "https://a.example/photos/boat-large.jpg"}, 19, None),
        ({"caption": "A boat at the quay", "link_url": "https://w.example/wiki/File:Boat.jpg"}, 19, None),
        ({"caption": "Ten boats you must see", "link_url": "https://a.example/ten-boats"}, 19, "image.max_documents"),
        ({"caption": ""}, 19, "image.max_documents"),
    ],
)  # fmt: skip
def test_a_picture_with_a_caption_of_its_own_may_come_again_on_more_pages(
    node: Row, times: int, rule: str | None
) -> None:
    config = SelectConfig(image=ImageRules(max_documents=10, max_near_documents=10, max_documents_captioned=100))
    verdict = judge([text_node(), image_node(node=node, num_documents=times, near_count=times)], config)
    assert [decision.rule for decision in verdict.decisions] == ([rule] if rule else [])


def test_without_a_bound_of_their_own_pictures_with_captions_are_held_to_that_of_the_others() -> None:
    verdict = judge(
        [text_node(), image_node(node={"caption": "A boat"}, num_documents=11)],
        SelectConfig(image=ImageRules(max_documents=10)),
    )
    assert [decision.rule for decision in verdict.decisions] == ["image.max_documents"]


def test_phash_distance_counts_against_every_earlier_image_that_stayed() -> None:
    """The second goes for being like the first; the third is like the second alone, and stays."""
    hashes = [0, 0b111, 0b111111]
    images = [image_node(f"i{n}", phash=f"{value:016x}") for n, value in enumerate(hashes)]
    assert repeated(images, min_phash_distance_in_document=4) == [2]


def test_the_first_good_copy_stays() -> None:
    """A copy that went for another reason does not count as the first."""
    small = {"rendered_width": 5, "rendered_height": 5}
    images = [image_node("i1", node=small), image_node("i1"), image_node("i1")]
    assert repeated(images, unique_in_document=True, min_rendered_px=100) == [1, 3]


def test_the_first_copy_that_goes_for_its_email_does_not_count() -> None:
    config = SelectConfig(image=ImageRules(unique_in_document=True), pii=PiiRules(email="drop"))
    verdict = judge([image_node("i1", node={"alt": "me@a.example"}), image_node("i1")], config)
    assert [(decision.rule, decision.node_index) for decision in verdict.decisions] == [("pii.email", 0)]


@pytest.mark.parametrize("role", list(Role))
def test_rules_for_sentences_leave_out_what_is_no_prose(role: Role) -> None:
    nodes = [text_in(role, num_words=1, special_char_ratio=0.9, stop_word_ratio=0.0), image_node()]
    rules = TextRules(min_words=4, max_special_char_ratio=0.3, min_stop_word_ratio=0.3)
    verdict = judge(nodes, SelectConfig(text=rules))
    is_prose = role not in (Role.HEADING, Role.CODE, Role.TABLE)
    assert [decision.rule for decision in verdict.decisions] == (["text.min_words"] if is_prose else [])
    strict = judge(nodes, SelectConfig(text=dataclasses.replace(rules, not_prose=())))
    assert [decision.rule for decision in strict.decisions] == ["text.min_words"]


@pytest.mark.parametrize("role", list(Role))
def test_rules_for_every_text_hold_for_code_too(role: Role) -> None:
    verdict = judge([text_in(role, num_lorem_ipsum=3), image_node()], SelectConfig(text=TextRules(max_lorem_ipsum=2)))
    assert [decision.rule for decision in verdict.decisions] == ["text.max_lorem_ipsum"]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("role", list(Role))
def test_repeated_texts_go_and_headings_have_a_bound_of_their_own(role: Role, count: int) -> None:
    """On the threshold and above it; something is left of the heading's section."""
    nodes = [text_in(role, site_count=count), image_node()]
    of_texts = judge(nodes, SelectConfig(text=TextRules(max_site_count=2)))
    of_headings = judge(nodes, SelectConfig(text=TextRules(max_site_count=None, max_site_count_heading=2)))
    is_above, is_heading = count > 2, role == Role.HEADING
    assert [decision.rule for decision in of_texts.decisions] == ["text.max_site_count"] * (is_above and not is_heading)
    assert [decision.rule for decision in of_headings.decisions] == ["text.max_site_count_heading"] * (
        is_above and is_heading
    )


def outline(*parts: str) -> list[tuple[Row, Row]]:
    """Nodes: ``2`` is a heading of that level, ``2*`` one that stands nine times on its site, ``p`` a paragraph, ``p*``
    one that does so, ``i`` an image, ``i*`` one that is missing."""
    nodes = []
    for part in parts:
        count = 9 if "*" in part else 1
        if part[0] == "i":
            nodes.append(image_node(None if "*" in part else "i1"))
        else:
            node, scores = text_in("paragraph" if part[0] == "p" else "heading", site_count=count)
            nodes.append(({**node, "level": None if part[0] in "p?" else int(part[0])}, scores))
    return nodes


@pytest.mark.parametrize(
    ("parts", "left"),
    [
        ("2* p", "2* p"),
        ("2* i", "2* i"),
        ("2* p*", ""),  # a block that is on every page, with its heading
        ("2* i*", ""),
        ("2*", ""),
        ("2 p*", "2"),  # this heading is not repeated
        ("p 2*", "p"),
        ("2* 2 p", "2 p"),  # another section of the same level
        ("2* 1 p", "1 p"),
        ("2* 3 p", "2* 3 p"),
        ("1* 2* 3* p", "1* 2* 3* p"),
        ("1* 2* 3* p*", ""),
        ("1* 2* p* 2* p", "1* 2* p"),
        ("1* 2 p*", "1* 2"),  # a heading that stays is something
        ("1* 3* 2* p", "1* 2* p"),
        ("1 2* p* 3* p* 2 p", "1 2 p"),
        ("?* p", "?* p"),
        ("?* 6 p", "6 p"),  # a heading without a level has the lowest
        ("9* 6 p", "6 p"),  # from an import
        ("", ""),
    ],
)
def test_a_repeated_heading_goes_with_its_section(parts: str, left: str) -> None:
    nodes = outline(*parts.split())
    verdict = judge(nodes, SelectConfig(text=TextRules(max_site_count=4)))
    assert len(verdict.document["nodes"]) == len(left.split())
    levels = [str(node["level"]) if node["role"] == "heading" else None for node in verdict.document["nodes"]]
    assert levels == [{"?": "None"}.get(part[0], part[0]) if part[0] not in "pi" else None for part in left.split()]
    gone = [decision for decision in verdict.decisions if decision.rule == "text.max_site_count"]
    assert all((decision.value, decision.threshold) == (9, 4) for decision in gone)
    assert len({decision.node_index for decision in verdict.decisions}) == len(verdict.decisions)
    assert len(verdict.decisions) + len(verdict.document["nodes"]) == len(nodes)


@pytest.mark.parametrize(("count", "num_left"), [(4, 1), (5, 0)])
def test_a_heading_without_a_section_on_both_sides_of_the_threshold(count: int, num_left: int) -> None:
    verdict = judge([text_in("heading", site_count=count)], SelectConfig(text=TextRules(max_site_count=4)))
    assert len(verdict.document["nodes"]) == num_left


def test_words_of_headings_that_go_do_not_count() -> None:
    config = SelectConfig(document=DocumentRules(min_words=60), text=TextRules(max_site_count=4))
    nodes = [text_in("paragraph"), text_in("heading", site_count=9)]
    assert judge(nodes, config).dropped_by == "document.min_words"


@pytest.mark.parametrize("role", list(Role))
def test_roles_that_are_not_wanted(role: Role) -> None:
    config = SelectConfig(text=TextRules(roles=(Role.PARAGRAPH, Role.CODE)))
    verdict = judge([text_in(role), image_node()], config)
    is_wanted = role in (Role.PARAGRAPH, Role.CODE)
    assert [(decision.rule, decision.detail) for decision in verdict.decisions] == (
        [] if is_wanted else [("text.roles", role)]
    )


@pytest.mark.parametrize(
    ("denied", "consent", "is_dropped"),
    [
        (None, ["header x-robots-tag: noimageai"], False),
        (("image-train",), None, False),
        (("image-train",), [], False),
        (("image-train",), ["header x-robots-tag: noindex"], False),
        (("image-train",), ["header x-robots-tag: noimageai"], True),
        (("tdm",), ["tdmrep.json tdm-reservation: 1"], True),
    ],
)
def test_images_that_opt_out(denied: tuple[str, ...] | None, consent: list[str] | None, is_dropped: bool) -> None:
    config = SelectConfig(image=ImageRules(deny_consent=denied))
    verdict = judge([text_node(), image_node(consent=consent)], config)
    assert ["image.deny_consent"] * is_dropped == [decision.rule for decision in verdict.decisions]


@pytest.mark.parametrize("is_unique", [False, True])
def test_near_duplicates_within_a_document(is_unique: bool) -> None:
    nodes = [
        text_node(),
        image_node("i1", near_group="i1"),
        image_node("i2", near_group="i2"),
        image_node("i3", near_group="i1"),
    ]
    verdict = judge(nodes, SelectConfig(image=ImageRules(unique_near_in_document=is_unique)))
    found = [(decision.rule, decision.image_id, decision.detail) for decision in verdict.decisions]
    assert found == ([("image.unique_near_in_document", "i3", "like i1")] if is_unique else [])
