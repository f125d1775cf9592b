"""A prompt of texts and pictures as tokens: captions where they belong, and what is cut where it is too long."""

from __future__ import annotations

import pytest

from gobelin.errors import UserError
from gobelin.tokenize.grammar import DocumentWriter
from gobelin.tokenize.sequence import ImageItem
from gobelin.tokenize.vocabulary import CAPTION_OF_NEXT, CAPTION_OF_PREVIOUS, END_OF_IMAGE, IMAGE, TEXT
from gobelin.train.prompt import Make, Part, Prompt, build_prompt, what_to_make
from tests.token_corpora import small_tokenizer, small_vocabulary

TOKENIZER = small_tokenizer()
VOCABULARY = small_vocabulary(TOKENIZER)
PICTURE = ImageItem(None, (1, 2, 3, 4))
CODES = [IMAGE, *(VOCABULARY.image_offset + code for code in PICTURE.codes), END_OF_IMAGE]


def words(text: str) -> list[int]:
    return [VOCABULARY.text_offset + index for index in TOKENIZER.encode(text)]


def built(parts: list[Part], make: Make, context: int = 100) -> Prompt:
    prompt = build_prompt(parts, make, context, VOCABULARY, TOKENIZER)
    writer = DocumentWriter(VOCABULARY, context)
    for token in prompt.tokens:
        writer.append(token)  # the grammar takes it, and what is to follow fits
    return prompt


RED, BLUE = "a red square", "a blue one"
TOLD = ImageItem(None, PICTURE.codes, RED)


@pytest.mark.parametrize(
    ("parts", "make", "expected"),
    [
        ([], "picture", [IMAGE]),
        ([""], "picture", [IMAGE]),
        ([], "text", [TEXT]),
        ([], "both", []),
        ([RED], "picture", [CAPTION_OF_NEXT, *words(RED), IMAGE]),
        ([RED], "text", [TEXT, *words(RED)]),
        ([RED], "both", [TEXT, *words(RED)]),
        ([RED, BLUE], "picture", [TEXT, *words(RED), CAPTION_OF_NEXT, *words(BLUE), IMAGE]),
        ([PICTURE], "text", [*CODES, CAPTION_OF_PREVIOUS]),
        ([PICTURE], "picture", [*CODES, IMAGE]),
        ([RED, PICTURE], "text", [TEXT, *words(RED), *CODES, CAPTION_OF_PREVIOUS]),
        ([RED, PICTURE], "both", [CAPTION_OF_NEXT, *words(RED), *CODES]),
        ([TOLD], "text", [*CODES, CAPTION_OF_PREVIOUS, *words(RED), TEXT]),
        ([TOLD, BLUE], "picture", [*CODES, CAPTION_OF_PREVIOUS, *words(RED), CAPTION_OF_NEXT, *words(BLUE), IMAGE]),
        ([PICTURE, RED], "text", [*CODES, TEXT, *words(RED)]),
        (
            [RED, PICTURE, BLUE],
            "picture",
            [CAPTION_OF_NEXT, *words(RED), *CODES, CAPTION_OF_NEXT, *words(BLUE), IMAGE],
        ),
    ],
)
def test_texts_and_pictures_in_their_order(parts: list[Part], make: Make, expected: list[int]) -> None:
    prompt = built(parts, make)
    assert (prompt.tokens, prompt.notes) == (expected, [])
    assert prompt.ends == ("document" if make == "both" else "item")


def test_what_is_asked_for_follows_from_the_end() -> None:
    assert [what_to_make(parts) for parts in ([], [RED], [PICTURE], [PICTURE, RED])] == [
        "both", "picture", "text", "picture"
    ]  # fmt: skip


def test_a_long_prompt_loses_its_first_items_with_a_word() -> None:
    parts: list[Part] = [RED, PICTURE, BLUE, PICTURE, RED]
    whole = built(parts, "picture").tokens
    cut = built(parts, "picture", context=len(whole) + 5)
    assert cut.tokens == whole[len(words(RED)) + 1 + len(CODES) :]
    (note,) = cut.notes
    assert note.startswith("the prompt has 24 tokens; the context of 30 holds 22")
    assert note.endswith("the first item is left out")
    assert "first 2 items" in built(parts, "picture", context=14).notes[0]


def test_an_item_that_is_too_long_is_shortened() -> None:
    caption = built([RED * 20], "picture", context=30)
    assert caption.tokens == [CAPTION_OF_NEXT, *words(RED * 20)[:21], IMAGE]
    assert "it is shortened" in caption.notes[0]
    text = built([RED * 20], "text", context=30)
    assert text.tokens == [TEXT, *words(RED * 20)[-20:]]  # of 30 two are the document's own, a quarter is for the text
    picture = built([RED * 20, PICTURE], "both", context=30)
    assert picture.tokens[-6:] == CODES


@pytest.mark.parametrize("parts", [[TOLD], [RED, PICTURE]])
def test_a_picture_that_fits_alone_loses_its_whole_caption(parts: list[Part]) -> None:
    for context in (14, 15):  # room for 6 or 7 tokens: the picture, and a mark without a word
        prompt = built([*parts], "picture", context)
        assert prompt.tokens == [*CODES, IMAGE]
        assert "it is shortened" in prompt.notes[-1]


def test_a_picture_without_room_is_an_error() -> None:
    with pytest.raises(UserError, match="no room for one"):
        built([RED], "picture", context=7)
    with pytest.raises(UserError, match="a picture of the prompt has 6 tokens"):
        built([PICTURE], "picture", context=13)
