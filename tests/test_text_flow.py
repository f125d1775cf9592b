"""What stands behind the flow of an article's text goes; the text's own last lines, sections and tables stay."""

from __future__ import annotations

import pytest

from gobelin.data.model import Role
from gobelin.transforms.pages.content.boilerplate_phrases import PLUGS
from gobelin.transforms.pages.content.main_content import MainContent, has_enough_text
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.find_nodes import PageContent, read_page
from gobelin.transforms.pages.tree.page_blocks import Block

PROSE = (
    "The lighthouse keeper counted the ships twice that morning, because the fog had come in from the north and the "
    "first count had not agreed with the list that the harbour master sends out before breakfast on every working day."
)
TEXT = "".join(f"<p>{PROSE} {n}.</p>" for n in range(9))
ARTICLE = "<meta property=og:type content=article>"
LAST = "She laughed"  # a last line that is no sentence by its length or its end


def read(body: str, head: str = ARTICLE) -> list[str]:
    html = f"<html><head><title>Ships in the fog</title>{head}</head><body>{body}</body></html>"
    content = read_page(html.encode(), "utf-8", "https://coast.example/fog", ())
    assert isinstance(content, PageContent)
    return [
        "[image]" if isinstance(piece, ImageReference) else piece.text.replace(PROSE, "PROSE")
        for piece in content.pieces
    ]


SAID = [f"PROSE {n}." for n in range(9)]
VOTE = "<div class=x1><span>How did you find this story</span></div>"
NOTE = (
    "<div class=x2><p>This paper is written by people who live here. If you want it to go on being printed every "
    "week, please think of giving a little.</p></div>"
)


@pytest.mark.parametrize("added", [VOTE, NOTE, VOTE + NOTE, "<h3>What do you think</h3><p>Yes<p>No"])
def test_what_is_added_behind_the_element_with_the_text_goes(added: str) -> None:
    body = f"<article><div class=t>{TEXT}<p>{LAST}</p></div>{added}</article>"
    assert read(body) == [*SAID, LAST]
    # A page that does not say that it is an article keeps it: it may be a manual or a letter.
    assert len(read(body, head="")) > len(SAID) + 1


def test_lines_in_elements_of_their_own_go_behind_paragraphs_that_have_none() -> None:
    assert read(f"<article>{TEXT}<p>{LAST}</p>{VOTE}</article>") == [*SAID, LAST]
    # Where each paragraph has an element of its own, so has the last line.
    each = "".join(f"<div><p>{PROSE} {n}.</p></div>" for n in range(9))
    assert read(f"<article>{each}<div><p>{LAST}</p></div></article>") == [*SAID, LAST]


@pytest.mark.parametrize(
    "line",
    [
        "Source: The Harbour Post",
        "责任编辑：王海",
        "（编辑：小王）返回首页，查看更多",
        "https://coast.example/fog https://coast.example/fog.jpg 640 480",
        "<a href=/more>All of it</a> on one page",
    ],
)
def test_last_lines_that_say_where_a_text_comes_from_go(line: str) -> None:
    assert read(f"<article>{TEXT}<p>{LAST}</p><p>{line}</p></article>") == [*SAID, LAST]
    # Above the last prose, or as prose, they are the text's. Whoever edited it stands at its head, too.
    assert len(read(f"<article><p>{line}</p>{TEXT}</article>")) == len(SAID) + ("编辑：小王" not in line)
    assert len(read(f"<article>{TEXT}<p>{LAST} and source of it all</p></article>")) == len(SAID) + 1


def test_the_names_of_buttons_stay_where_a_page_explains_them() -> None:
    body = f"<div>{TEXT}<dl><dt>Close</dt><dd>Closes the window.</dd></dl>{TEXT}</div>"
    assert "Close" in read(body, head="")
    assert "Close" not in read(body)


@pytest.mark.parametrize(
    ("call", "head", "stays"),
    [
        ("If you enjoyed this article, we have a proposition", ARTICLE, False),
        ("If you enjoyed this article, we have a proposition", "", True),
        ("If you enjoyed the walk, the keeper has a proposition", ARTICLE, True),
    ],
)
def test_a_long_call_to_the_reader_goes_where_it_ends_an_article(call: str, head: str, stays: bool) -> None:
    call += " for you: join the circle of those who pay for the lamp, and read every issue before the others have it."
    call += " Members are asked to the light once a year, and they are given a key to the gallery."
    assert (call in read(f"<article>{TEXT}<p>{LAST}</p><p>{call}</p></article>", head)) is stays
    assert call in read(f"<article><p>{call}</p>{TEXT}</article>", head)


@pytest.mark.parametrize(
    ("link", "stays"),
    [
        ("广告英国的大学排名全知晓", False),
        ("看地图", True),
        ("A guide to fog in the harbour", False),
        ("The fog", True),
    ],
)
def test_paragraphs_that_are_one_link_go_where_they_say_more_than_a_word_or_two(link: str, stays: bool) -> None:
    kept = read(f"<article>{TEXT}<p><a href=/x>{link}</a></p>{TEXT}</article>")
    assert (link in kept) is stays


def test_prose_behind_the_text_stays_where_it_is_a_good_part_of_the_article() -> None:
    more = "".join(f"<p>{PROSE} More {n}.</p>" for n in range(4))
    kept = read(f"<article><div class=t>{TEXT}</div><div class=u>{more}</div></article>")
    assert kept == [*SAID, *(f"PROSE More {n}." for n in range(4))]


@pytest.mark.parametrize("behind", ["<figure><img src=/fog.jpg width=600 height=400></figure>", "<pre>count = 2</pre>"])
def test_pictures_and_code_behind_the_text_stay(behind: str) -> None:
    assert len(read(f"<article><div class=t>{TEXT}</div>{behind}</article>")) == len(SAID) + 1


def test_the_longest_of_several_sections_is_not_the_text() -> None:
    short = "<section><h2>Hours</h2><ul><li>Monday<li>Friday</ul></section>"
    kept = read(f"<article><section><h2>The fog</h2>{TEXT}</section>{short}</article>")
    assert kept == ["The fog", *SAID, "Hours", "Monday", "Friday"]


def test_a_recipe_keeps_its_facts() -> None:
    recipe = '<script type="application/ld+json">{"@type": "Recipe", "name": "Soup"}</script>'
    body = f"<article><div class=t>{TEXT}</div><div class=facts>390 kcal</div></article>"
    assert read(body, ARTICLE + recipe) == [*SAID, "390 kcal"]
    assert read(body) == SAID


@pytest.mark.parametrize(("count", "is_kept"), [(2, True), (3, False)])
def test_a_line_three_times_in_a_row_is_no_text(count: int, is_kept: bool) -> None:
    line = "<p>This part is hidden until you load the page again.</p>"
    body = f"<article><div class=t><p>{PROSE} First.</p>{line * count}{TEXT}</div></article>"
    assert any(text.startswith("This part") for text in read(body)) is is_kept
    assert any(text.startswith("This part") for text in read(body, head=""))


@pytest.mark.parametrize(("repeats", "is_enough"), [(11, True), (9, False)])
def test_chinese_has_enough_text_in_fewer_characters(repeats: int, is_enough: bool) -> None:
    text = "港口的船今天早上回来了。" * repeats  # of 12 characters, 11 of them ideographs
    block = Block(text, Role.PARAGRAPH, None, 0, 0, 0)
    assert has_enough_text(MainContent([block], {}, len(text)), 300) is is_enough


@pytest.mark.parametrize(
    "text",
    [
        "The views and opinions expressed here are the author's.", "Views expressed here", "— Opinions expressed here",
        "特别声明：以上", "声明：以上", "以上观点仅代表作者", "观点不代表本站",
        "Story continues below", "Video continues after",
        "E-mail us at the desk", "EMAIL the reporter", "Become a member", "Artikel zum Hören",
        "Подписывайтесь на канал", "Skip ad", "See the full story", "Lire la suite",
    ],
)  # fmt: skip
def test_phrases_are_found_by_the_letter_that_a_text_begins_with(text: str) -> None:
    assert PLUGS.match(text)
    assert not PLUGS.match(f"Lighthouses: {text}")
