"""Markdown for people: a CommonMark reader gives back every text, whatever it holds; files have safe names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import markdown_it
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it.token import Token

from gobelin.data.model import Node, Role, alt_text, to_row
from gobelin.data.table_text import row_cells
from gobelin.exchange import markdown, markdown_text
from gobelin.exchange.entry import Entry, Picture

Row = dict[str, Any]

READER = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
IMAGE = "0" * 63 + "b"

TEXTS = st.one_of(
    st.text(st.sampled_from("ab1 \n\t\\`*_{}[]()<>#+-.!|~$&:=\"'^/;x"), max_size=60),
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.lists(
        st.sampled_from(
            ["$x_1$", "$$a*b$$", "$`$", "a | b", "1. ", "- ", "# ", "> ", "***", "```", "~~~", "&amp;", "<b>", "\\",
             "[a]: b", "![", "](", "$5", "word", "\n", "\n\n", "    ", "====", "|", "$\\{x\\}$", "$x\\$",
             "\u2028", "<!--"]
        ),
        max_size=8,
    ).map("".join),
)  # fmt: skip
ROLES = st.sampled_from([*Role, None])
NODES = st.lists(st.tuples(ROLES, st.one_of(st.none(), st.integers(0, 9)), TEXTS), max_size=6)


def spoken(tokens: list[Token]) -> Iterator[str]:
    """The texts of a parsed document, block by block."""
    for token in tokens:
        if token.type == "inline":
            yield "".join(words(token.children or []))
        elif token.type == "fence":
            yield f"$${token.content}$$" if token.info == "math" else token.content
        else:
            assert token.type not in ("html_block", "code_block", "hr"), token


def words(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        assert token.type not in ("html_inline", "link_open", "strong_open", "s_open")
        if token.type == "image":
            yield from words(token.children or [])
        else:
            yield "\n" if token.type in ("softbreak", "hardbreak") else token.content


def squeezed(text: str) -> str:
    """Without white space; a display formula may have become one in the line."""
    return re.sub(r"\$+", "$", "".join(text.replace("\0", "\ufffd").split()))


def heard(text: str) -> str:
    return squeezed("".join(spoken(READER.parse(text))))


def entry_of(document: Row, nodes: list[Node]) -> Entry:
    pictures = [Picture(b"JPEG", {"format": "jpeg"}) for node in nodes if node.is_image]
    return Entry(document | {"nodes": [to_row(node) for node in nodes]}, tuple(pictures))  # type: ignore[arg-type]


@settings(deadline=None)
@given(NODES)
def test_a_reader_of_markdown_gives_the_texts_back(given_nodes: list[tuple[Role | None, int | None, str]]) -> None:
    nodes = [Node("text", role, level, text, header_rows=level) for role, level, text in given_nodes]
    expected = ["".join(row_cells(line)) if node.role is Role.TABLE else line
                for node in nodes for line in re.split(r"\r\n|\r|\n", node.text or "")]  # fmt: skip
    assert heard(markdown.body(entry_of({}, nodes))) == squeezed("".join(expected))


@settings(deadline=None)
@given(TEXTS)
def test_code_stands_as_it_is(text: str) -> None:
    (token,) = READER.parse(markdown_text.code(text))
    assert token.type == "fence"
    assert token.content == re.sub(r"\r\n?", "\n", text.replace("\0", "\ufffd")) + "\n"


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_alternative_texts_and_captions_are_read_back(alt: str, caption: str) -> None:
    text = markdown.body(entry_of({}, [Node("image", image_id=IMAGE, alt=alt, caption=caption)]))
    first, *_ = [token for token in READER.parse(text) if token.type == "inline"]
    (image,) = first.children or []
    assert image.attrs["src"] == f"images/{IMAGE}.jpg"
    assert heard(text) == squeezed((alt_text(alt) or "") + caption)


@settings(deadline=None)
@given(TEXTS.filter(lambda text: "$" not in text))
def test_words_stay_apart_and_lines_stay_lines(text: str) -> None:
    found = "\n".join(spoken(READER.parse(markdown_text.prose(text))))
    plain = re.sub(r"\r\n?", "\n", text.replace("\0", "\ufffd"))
    assert [line.split() for line in found.split("\n") if line.split()] == [
        line.split() for line in plain.split("\n") if line.split()
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so $x^2$ grows", "so $x^2$ grows"),
        ("so $\\{x\\}$ holds", "so $`\\{x\\}`$ holds"),
        ("from $5 to $10", "from \\$5 to \\$10"),
        ("a $$\\int x$$ b", "a\n\n$$\n\\int x\n$$\n\nb"),
        ("$$a * b$$", "```math\na * b\n```"),
        ("1. not a list", "1\\. not a list"),
        ("- no item", "\\- no item"),
        ("* no item", "\\* no item"),
        ("[x] not ticked", "\\[x] not ticked"),
        ("no head\n---", "no head\\\n\\---"),
        ("a [link](to)", "a [link\\](to)"),
        ("__init__ and *b*", "\\_\\_init\\_\\_ and \\*b\\*"),
        ("one\ntwo", "one\\\ntwo"),
        ("one\n\ntwo", "one\n\ntwo"),
    ],
)
def test_prose_as_markdown(text: str, expected: str) -> None:
    assert markdown_text.prose(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "3.3 What x_1 is, in some_module.py and a * b", "C# and C:\\path", "[1] AT&T, if x < y > z", "-5 + 3 = -2",
        "#hashtag", "a | b", "of ~5 m", "1.5 m", "= x", "a ~ b", "(see [2])", "+1", "--- and so on",
    ],
)  # fmt: skip
def test_only_what_would_be_markup_is_escaped(text: str) -> None:
    assert markdown_text.prose(text) == text
    assert markdown_text.heading(text, 2) == f"## {text}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("C #", "# C \\#"), ("# 1", "# # 1"), ("###", "# \\###"), ("1. Boats", "# 1. Boats"), (" ", "")],
)
def test_headings(text: str, expected: str) -> None:
    assert markdown_text.heading(text, 1) == expected


def test_a_document_block_by_block(a_document: Callable[..., Row]) -> None:
    nodes = [
        Node("text", Role.HEADING, 2, "Boats & <b>"),
        Node("text", Role.LIST_ITEM, 1, "one"), Node("text", Role.LIST_ITEM, 2, "two"),
        Node("text", Role.LIST_ITEM, 9, "three"), Node("text", Role.LIST_ITEM, 1, "four"),
        Node("text", Role.CODE, text="a = `b`\n\n    c", code_language="rust"),
        Node("text", Role.TABLE, text="kind | size\nboat | \nship | 3 | 4"),
        Node("text", Role.TABLE, text="kind | a\\|b\nboat | \\|", header_rows=0),
        Node("text", Role.QUOTATION, text="Said she.\n\nTwice."),
        Node("image", image_id=IMAGE, alt="a [boat]", caption="Early *boats*"),
    ]  # fmt: skip
    assert markdown.body(entry_of(a_document("a" * 32, ()), nodes)) == (
        "## Boats & \\<b>\n\n- one\n  - two\n    - three\n- four\n\n```rust\na = `b`\n\n    c\n```\n\n"
        "| kind | size |  |\n| --- | --- | --- |\n| boat |  |  |\n| ship | 3 | 4 |\n\n"
        "|  |  |\n| --- | --- |\n| kind | a\\\\\\|b |\n| boat | \\| |\n\n> Said she.\n>\n> Twice.\n\n"
        f"![a \\[boat\\]](images/{IMAGE}.jpg)\n\n*Early \\*boats\\**\n"
    )


def test_items_after_a_picture_stay_siblings() -> None:
    """They are the rest of a list, whose outer items stand before the picture."""
    levels = [
        (1, "one"),
        (2, "one.one"),
        None,
        (2, "one.two"),
        (2, "one.three"),
        (3, "deep"),
        (1, "two"),
        (2, "two.one"),
    ]
    nodes = [Node("image", image_id=IMAGE) if each is None else Node("text", Role.LIST_ITEM, *each) for each in levels]
    assert markdown.body(entry_of({}, nodes)) == (
        f"- one\n  - one.one\n\n![](images/{IMAGE}.jpg)\n\n- one.two\n- one.three\n  - deep\n- two\n  - two.one\n"
    )


def test_further_paragraphs_of_an_item_stand_in_it() -> None:
    nodes = [
        Node("text", Role.LIST_ITEM, 1, "one"), Node("text", Role.PARAGRAPH, 1, "More of one."),
        Node("text", Role.LIST_ITEM, 2, "deep"), Node("text", Role.PARAGRAPH, 2, "More of deep.\n\nMore."),
        Node("text", Role.PARAGRAPH, 1, "Again of one."), Node("text", Role.LIST_ITEM, 1, "two"),
        Node("text", Role.PARAGRAPH, text="Below the list."), Node("text", Role.PARAGRAPH, 1, "Its item is not here."),
    ]  # fmt: skip
    text = markdown.body(entry_of({}, nodes))
    assert text == (
        "- one\n\n  More of one.\n  - deep\n\n    More of deep.\n\n    More.\n\n  Again of one.\n- two\n\n"
        "Below the list.\n\nIts item is not here.\n"
    )


def test_documents_of_schema_4_are_read() -> None:
    nodes = [to_row(Node("text", Role.CODE, text="a")), to_row(Node("text", Role.TABLE, text="a | b\nc | d"))]
    older = [{name: row[name] for name in row if name not in ("code_language", "header_rows")} for row in nodes]  # type: ignore[misc]
    text = markdown.body(Entry({"nodes": older}, ()))  # type: ignore[typeddict-item]
    assert text == "```\na\n```\n\n| a | b |\n| --- | --- |\n| c | d |\n"


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_names_are_safe_on_every_file_system(title: str) -> None:
    name = markdown.file_name({"title": title, "doc_id": "a" * 32})  # type: ignore[typeddict-item]
    assert re.fullmatch(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?-)?a{32}\.md", name)
    assert len(name) <= 100


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_front_matter_is_yaml_that_ends_where_it_ends(title: str) -> None:
    document: Any = dict.fromkeys(("language", "page_kind", "warc_date"), None) | {
        "url": title, "title": title, "licences": [{"uri": title, "scope": "page"}], "consent": [], "doc_id": "a" * 32,
    }  # fmt: skip
    text = markdown.front_matter(document, {"num_words": 3, "quality": 0.1 + 0.2, "perplexity": None})
    assert re.findall(r"^---$", text, re.M) == ["---", "---"]
    told = yaml.safe_load(text.split("---\n")[1])
    assert told["url"] == title
    assert "\nscores: {num_words: 3, quality: 0.3}\n" in text
    assert told["licences"] == [{"uri": title, "scope": "page"}]


def test_markdown_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Markdown can only be written"):
        markdown.read_source(str(tmp_path / "a.md"))


@pytest.mark.parametrize(
    ("alt", "shown"), [("_images/a-boat.png", ""), ("IMG_0042.JPG", ""), ("A boat.png is shown", "A boat.png is shown")]
)
def test_a_file_name_is_no_alternative_text(alt: str, shown: str) -> None:
    assert f"![{shown}](" in markdown.body(entry_of({}, [Node("image", image_id=IMAGE, alt=alt)]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("of $O(N)$ and $|i-j|>w$", "of $O(N)$ and $`|i-j|>w`$"),
        ("with $k < 0.7$, $1$ or $\\sin(x)$", "with $`k < 0.7`$, $1$ or $\\sin(x)$"),
        ("1 $$x^2$$", "1\n\n$$\nx^2\n$$"),
        ("the $i$th of them", "the $i$th of them"),
        ("$$\\text{for $i$ in } x$$", "$$\n\\text{for $i$ in } x\n$$"),
        ("costs $5 (US$)", "costs \\$5 (US\\$)"),
        ("from $5-$6 to $a word$", "from \\$5-\\$6 to \\$a word\\$"),
    ],
)
def test_formulas_are_told_from_prices(text: str, expected: str) -> None:
    assert markdown_text.prose(text) == expected


def test_a_display_formula_in_a_heading_or_a_cell_is_one_in_the_line() -> None:
    assert markdown_text.inline("So $$x^2$$ is, for $$5 or $$6") == "So $x^2$ is, for \\$\\$5 or \\$\\$6"
    assert markdown_text.table("a | $$|x|^2$$\n$$b_1$$") == "| a | $`\\|x\\|^2`$ |\n| --- | --- |\n| $b_1$ |  |"
