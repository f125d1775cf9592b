"""Writes true words about the level-6 scenes: captions and short paragraphs.

A paragraph is an opening that names colour and kind, a sentence on size, place or background, and often a remark that
holds for every picture or for every picture of that kind. Sentences are dealt from shuffled decks (`Deck`), so that a
page does not say the same thing twice, and the second sentence never repeats an attribute of the first. All are plain
English with its usual share of function words.
"""

from __future__ import annotations

import functools
import re

from numpy.random import Generator

from examples.sample_crawl.model import Scene

AT = {
    "top left": "at the top left",
    "top": "at the top",
    "top right": "at the top right",
    "left": "on the left",
    "middle": "in the middle",
    "right": "on the right",
    "bottom left": "at the bottom left",
    "bottom": "at the bottom",
    "bottom right": "at the bottom right",
}
"""Each place as an adverbial."""

SHARES = {
    ("circle", "large"): "a third", ("circle", "small"): "an eighth",
    ("square", "large"): "a third", ("square", "small"): "an eighth",
    ("triangle", "large"): "a fifth", ("triangle", "small"): "a twelfth",
    ("cross", "large"): "a quarter", ("cross", "small"): "a tenth",
}  # fmt: skip
"""How much of the picture the shape covers, rounded."""

CAPTIONS = (
    "This is {a}.",
    "{SA} on a {b} background.",
    "{A} {at}.",
    "There is {sa} here.",
    "A picture of {a}.",
    "{SA} {at}, drawn on {b}.",
)
"""The phrasings of `caption`: all name colour and kind, three the size, two the background, two the place."""

OPENINGS = (
    "Here we see {sa}, and it stands alone on the sheet.",
    "{A} is all that this picture holds.",
    "The picture shows {a}, {at} of the frame.",
    "This one is {a}, drawn with a clean edge.",
    "What you are looking at is {a}.",
    "In this drawing there is {a} and nothing else.",
    "For this plate we chose {a}.",
    "You can see {a} {at} of the frame.",
    "{A} has been placed {at} of the sheet.",
    "If you were asked to name it, you would say that it is {a}.",
    "Someone has drawn {sa} and left the rest empty.",
    "The shape is a {k}, and its colour is {c}.",
    "The {c} {k} is easy to find, for it is the only thing here.",
    "There is just one shape in the drawing, and it is {a}.",
    "Of all the shapes there could have been, it is {a} that was drawn.",
    "It took a single shape to fill this card: {a}.",
    "The subject is {a}, and it is {s}.",
    "A {k} was drawn here, and it was filled with {c}.",
    "The only colour apart from {b} is {c}, and it belongs to a {k}.",
    "This {k} is {c} from edge to edge.",
    "All that was put on the paper is {sa}.",
    "Look {at} and you will find {a}.",
    "On this card there is {a}, which has been set {at}.",
    "Nobody could miss the {c} {k} in this one.",
    "It has {a} as its only figure.",
    "I would call this {sa}, and I doubt that you would call it anything else.",
    "This frame was kept for {a}.",
    "{A} can be seen {at} when you open the file.",
    "Both the colour and the form are plain: it is {a}.",
    "The answer to the question of what is shown is {a}.",
    "It is {a} that we meet now.",
    "One {c} {k}, and no more than that, has been drawn.",
    "Let us call it by its name: {a}.",
    "Now for {a}, which is as plain as it sounds.",
    "My own favourite of these is {a}, and here it is.",
    "They asked us for {a}, so we made them one.",
)

DETAILS = (
    "It is {s}, and the background is {b}.",
    "The ground behind it is {b}, and it sits {at}.",
    "It lies {at} of the frame and is rather {s}.",
    "Behind it there is nothing but {b}.",
    "The background was left {b}, so the {c} is what you notice.",
    "As you can see, it is {s} and was put {at}.",
    "Around it everything is {b}, and it is {s}.",
    "It has been drawn {s}, on plain {b}.",
    "The rest of the surface is {b}.",
    "For its size you would say {s}; for its place, {at}.",
    "The {b} that surrounds it has no pattern in it.",
    "You will find it {at}, with {b} on every side.",
    "Since it is {s}, it takes up about {share} of the space.",
    "It does not touch the border, for it sits {at} and keeps its distance.",
    "Against the {b} ground, and {at} of it, it is hard to mistake.",
    "The sheet itself is {b}, without any texture.",
    "A {b} background was chosen to go with it.",
    "It is one of the {s} ones, and it was set down {at}.",
    "There is {b} above it, below it and at both sides.",
    "The {c} part is {s}, and all of the remaining part is {b}.",
    "That it is {s} can be told from how much {b} is left.",
    "We had it {at}, on a {b} sheet.",
    "As for the size, it is {s}, and as for the ground, it is {b}.",
    "Someone placed it {at}, and there it has stayed.",
    "What remains of the card is {b}.",
    "It is {s} for a figure of this series, and its ground is {b}.",
    "It covers {share} of the area, more or less, and what is not {c} is {b}.",
    "Its home is {at}; its company is plain {b}.",
    "They wanted it {s}, and they wanted {b} behind it.",
    "Your eye will find it {at}, because that is where it is.",
    "The paper is {b} and the figure on it is {s}.",
    "Not much is left to tell: the ground is {b}, and the place is {at}.",
)

KIND_REMARKS = {
    "circle": (
        "Every point of the outline is as far from the centre as any other.",
        "Turn it as you like, and it will look the same.",
        "The outline is one single curve that comes back to where it began.",
        "You could draw such a thing with a compass.",
        "There are no corners on it at all.",
    ),
    "square": (
        "All four of the sides are as long as one another.",
        "It has four corners, and each of them is a right angle.",
        "You could draw it with a ruler and not much more.",
        "If you fold it along a diagonal, the two halves will match.",
        "Its sides run along those of the frame.",
    ),
    "triangle": (
        "Of its three corners, one points up.",
        "The base is at the foot, and the two other sides lean towards each other.",
        "It is wider at the foot than it is higher up.",
        "Its left half is the mirror of its right half.",
        "You can count three sides, and all of them are straight.",
    ),
    "cross": (
        "It has four arms, and all of them are of the same length.",
        "If you count its corners, you will get to twelve.",
        "It is made of two bars that meet at their centres.",
        "After a quarter of a turn it would look the same.",
        "One of its bars lies down and the other one stands up.",
    ),
}

REMARKS = (
    "There is no shadow, and there is no outline.",
    "Its border is soft by less than the width of a pixel.",
    "It was drawn by a program, from a few numbers.",
    "A child could copy it with a pencil and a little paint.",
    "No words have been written on it.",
    "We think that it would look well on a wall.",
    "It is as simple as can be, and that is what we like about it.",
    "Nothing moves in it, and nothing is hidden.",
    "The tone is the same all over, with no shading.",
    "You may take a while to look at it, or you may go on.",
    "It lay on the desk for a day before it came to this page.",
    "To see it better, step back from the screen a little.",
    "It is not the work of a famous hand, and it does not need to be.",
    "What it means is for you to say.",
    "There are many like it in our drawers, but no two are quite the same.",
    "Two colours are all that it needs.",
    "It would be just as clear from the other side of the room.",
    "Those who like things plain will be pleased with this.",
    "Nobody has yet asked us to change anything in it.",
    "If it were any simpler, there would be nothing to show.",
    "You could say what it is in two words, and so could anyone.",
    "We have looked at it for so long that we see it with our eyes shut.",
    "It does what it should, and it does no more.",
    "When it was printed, it came out just as it is on the screen.",
    "A friend of ours has the same thing on a mug.",
    "Some would hang it, and others would send it as a card.",
    "It was among the first that we made, and we are still fond of it.",
    "Once you have seen it, you will know it again.",
    "The file is small, and so it will be with you at once.",
    "Neither of us can say why we like it as much as we do.",
)

REMARK_SHARE = 0.15
DETAIL_SHARE = 0.6
"""Paragraphs with a sentence on size, ground or place."""
KIND_REMARK_SHARE = 0.35  # of the remarks


def with_article(words: str) -> str:
    """ "orange cross" -> "an orange cross"."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def sentence_case(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


class Deck:
    """Deals the options of each list in a random order, each once before any of them comes again."""

    def __init__(self, rng: Generator) -> None:
        self.rng = rng
        self._left: dict[tuple[str, ...], list[int]] = {}

    def deal(self, options: tuple[str, ...]) -> str:
        left = self._left.get(options)
        if not left:
            left = self._left[options] = self.rng.permutation(len(options)).tolist()
        return options[left.pop()]


def fields_of(scene: Scene) -> dict[str, str]:
    """What the templates may say about a scene of one shape."""
    thing = with_article(f"{scene.color} {scene.kind}")
    sized = f"a {scene.size} {scene.color} {scene.kind}"
    return {
        "a": thing, "A": sentence_case(thing), "sa": sized, "SA": sentence_case(sized), "c": scene.color,
        "k": scene.kind, "s": scene.size, "b": scene.background, "at": AT[scene.place],
        "share": SHARES[scene.kind, scene.size],
    }  # fmt: skip


def shape_caption(scene: Scene, phrasing: int) -> str:
    """The caption of a level-6 scene; ``phrasing`` is taken modulo the number of phrasings."""
    return CAPTIONS[phrasing % len(CAPTIONS)].format_map(fields_of(scene))


@functools.cache
def _attributes(template: str) -> frozenset[str]:
    """Which of size (s), background (b) and place (a) a template tells."""
    told = {"s": "s", "sa": "s", "share": "s", "b": "b", "at": "a"}
    return frozenset(told[name] for name in re.findall(r"{(\w+)}", template) if name in told)


def shape_paragraph(scene: Scene, deck: Deck) -> str:
    """One to three true sentences about a level-6 scene; about 8 to 40 words."""
    fields = fields_of(scene)
    opening = deck.deal(OPENINGS)
    sentences = [opening.format_map(fields)]
    if deck.rng.random() < DETAIL_SHARE:
        detail = deck.deal(DETAILS)
        while _attributes(opening) & _attributes(detail):
            detail = deck.deal(DETAILS)
        sentences.append(detail.format_map(fields))
    if deck.rng.random() < REMARK_SHARE:
        of_kind = deck.rng.random() < KIND_REMARK_SHARE
        sentences.append(deck.deal(KIND_REMARKS[scene.kind] if of_kind else REMARKS))
    return " ".join(sentences)
