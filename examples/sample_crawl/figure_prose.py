"""Writes true words about the pictures that are not one big shape: captions and short paragraphs.

The same build as `prose`: templates filled from the scene's attributes, dealt from shuffled decks.
"""

from __future__ import annotations

from examples.sample_crawl.model import Scene
from examples.sample_crawl.prose import AT, Deck, sentence_case, with_article

NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
           "thirteen", "fourteen", "fifteen", "sixteen")  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
COURSES = {
    "rising": "rises from left to right",
    "falling": "falls from left to right",
    "peak": "rises and then falls",
    "dip": "falls and then rises",
}
OPPOSITE = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}

CAPTIONS: dict[str, tuple[str, ...]] = {
    "row": (
        "From left to right: {list}.",
        "{List}, side by side.",
        "A row of {n} shapes: {list}.",
        "{List} on a {b} background.",
    ),
    "column": (
        "From top to bottom: {list}.",
        "{List}, one above the other.",
        "A column of {n} shapes: {list}.",
        "{List} on a {b} background.",
    ),
    "bar chart": (
        "A bar chart with {n} {c} bars.",
        "A bar chart in {c}, where the {nth} bar is the tallest.",
        "{N} {c} bars, of which the {nth} is the tallest.",
        "This is {ac} bar chart on a white background.",
    ),
    "line chart": (
        "A line chart in {c} that {course}.",
        "{Ac} line that {course}.",
        "This is a chart of one {c} line on a white background.",
        "A line chart: the {c} curve {course}.",
    ),
    "map": (
        "A map of {n} regions with a river from {d}.",
        "A map with {list}.",
        "A map of {n} regions, with the legend {at}.",
        "This is a map with {n} coloured regions and a river.",
    ),
    "stripes": (
        "{D} stripes in {c} and {b}.",
        "A pattern of {d} {c} and {b} stripes.",
        "This is a texture of {c} and {b} stripes.",
        "{C} and {b} stripes, all of them {d}.",
    ),
    "checks": (
        "A pattern of {c} and {b} checks.",
        "{C} and {b} checks, as on a board.",
        "This is a checked texture in {c} and {b}.",
        "A checked pattern, half {c} and half {b}.",
    ),
    "gradient": (
        "A gradient from {c} at the {d} to {b} at the {o}.",
        "{C} at the {d} that turns to {b} at the {o}.",
        "This is a smooth gradient from {c} to {b}.",
        "A soft change of colour, from {c} to {b}.",
    ),
    "noise": (
        "Random noise in {c} and {b}.",
        "A texture of {c} noise on {b}.",
        "This is a noisy texture in {c} and {b}.",
        "{C} and {b} grain without any order.",
    ),
}

OPENINGS: dict[str, tuple[str, ...]] = {
    "row": (
        "Read from the left, this picture has {list}.",
        "There are {n} shapes in this one, and they stand in a row: {list}.",
        "Here {list} stand beside each other.",
    ),
    "column": (
        "Read from the top, this picture has {list}.",
        "There are {n} shapes in this one, and they stand in a column: {list}.",
        "Here {list} stand one above the other.",
    ),
    "bar chart": (
        "The bars of this chart are {c}, and there are {n} of them.",
        "This chart compares {n} values, each of them drawn as {ac} bar.",
        "We drew {n} bars in {c}, and the {nth} of them goes up the most.",
    ),
    "line chart": (
        "The {c} line in this chart {course}.",
        "What the chart tells us is that the {c} line {course}.",
        "Follow the {c} line and you will see that it {course}.",
    ),
    "map": (
        "The map is split into {n} regions, and a river runs from {d}.",
        "On this map you can tell {n} regions by their colours: {list}.",
        "A river crosses this map from {d}, past {n} regions.",
    ),
    "stripes": (
        "The stripes in this sample are {c} and {b}, and they are {d}.",
        "This cloth would have {d} stripes, {c} on {b}.",
        "Here {c} and {b} take turns in {d} stripes.",
    ),
    "checks": (
        "The checks in this sample are {c} and {b}.",
        "This is a board of {c} and {b}, with a soft edge between the two.",
        "Here {c} and {b} take turns in both directions.",
    ),
    "gradient": (
        "The colour goes from {c} at the {d} to {b} at the {o}.",
        "This sample starts with {c} at the {d}, and it ends in {b}.",
        "It is {c} at the {d}, and little by little it turns {b}.",
    ),
    "noise": (
        "This sample is noise, half of it {c} and half of it {b}.",
        "The grain is {c} and {b}, and it follows no rule.",
        "Here {c} and {b} have been thrown together at random.",
    ),
}

DETAILS: dict[str, tuple[str, ...]] = {
    "shapes": (
        "No two of them have the same colour, and the background is {b}.",
        "They do not touch, and behind them it is all {b}.",
        "The background is {b}, as you can see between them.",
    ),
    "plot": (
        "The axis on the left goes from zero to a hundred, in steps of a quarter.",
        "There is a fine grid behind it, so that you can read the values.",
        "We left out the names, because it is only the form that matters here.",
    ),
    "map": (
        "The legend is {at}, and it has a letter for each of the regions.",
        "You will find the legend {at}; it is the white box with the letters.",
        "The borders are dark, and the letters in the legend {at} say which is which.",
    ),
    "texture": (
        "It could be used as the ground for something else.",
        "There is nothing in it to look at but the texture itself.",
        "It would go on like this if the sheet were larger, or so we would think.",
    ),
}


def join_words(words: list[str]) -> str:
    """Two or more words as a list in a sentence: "a, b and c"."""
    return f"{', '.join(words[:-1])} and {words[-1]}"


def fields_of(scene: Scene) -> dict[str, str]:
    """What the templates may say about a scene of the other families."""
    names = [with_article(f"{part.color} {part.kind}") for part in scene.parts]
    listed = join_words(names) if names else ""
    count = len(scene.parts) or len(scene.values)
    tallest = max(range(len(scene.values)), key=scene.values.__getitem__) if scene.kind == "bar chart" else 0
    return {
        "list": listed, "List": sentence_case(listed), "n": NUMBERS[count] if count < len(NUMBERS) else str(count),
        "N": sentence_case(NUMBERS[count]), "c": scene.color, "C": sentence_case(scene.color),
        "ac": with_article(scene.color), "Ac": sentence_case(with_article(scene.color)), "b": scene.background,
        "nth": ORDINALS[tallest], "course": COURSES.get(scene.detail, ""), "d": scene.detail,
        "D": sentence_case(scene.detail), "o": OPPOSITE.get(scene.detail, ""), "at": AT.get(scene.place, ""),
    }  # fmt: skip


def figure_caption(scene: Scene, phrasing: int) -> str:
    """The caption of a scene of the other families; ``phrasing`` is taken modulo their number (four)."""
    options = CAPTIONS[scene.kind]
    return options[phrasing % len(options)].format_map(fields_of(scene))


def figure_paragraph(scene: Scene, deck: Deck) -> str:
    """Two true sentences about a scene of the other families; 15 to 35 words."""
    fields = fields_of(scene)
    templates = (deck.deal(OPENINGS[scene.kind]), deck.deal(DETAILS[scene.family]))
    return " ".join(template.format_map(fields) for template in templates)
