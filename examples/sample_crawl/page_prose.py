"""The words of a page around its pictures: title, introduction, closing, and the sentence with an e-mail address.

Built like `prose`: sentences dealt from decks, with slots for when, where and who, so that the pages of a site are of
one kind but not near-duplicates of each other. Every statement about the pictures (how many, which) is true.
"""

from __future__ import annotations

from numpy.random import Generator

from examples.sample_crawl.figure_prose import NUMBERS
from examples.sample_crawl.model import Scene
from examples.sample_crawl.prose import Deck, sentence_case

LEADS: dict[str, tuple[str, ...]] = {
    "shapes": (
        "This is a note from our drawing room, where we keep the shapes that we made {when}.",
        "The notebook was open {where} when we began this part of it, and {who} sat down to draw.",
        "Not all of what we drew {when} went into the notebook, but this did.",
        "{Who} filled these sheets {when}, and we have put them in the order in which they were made.",
    ),
    "gallery": (
        "Welcome to this room of the gallery, which was hung {when} by {who}.",
        "The room that you have come into was empty until we hung it {when}.",
        "{Who} chose the works for this room, and had them hung {where}.",
        "This room is one of the quiet ones, and only a few people came to see it {when}.",
    ),
    "atlas": (
        "The plates on this sheet of the atlas were drawn {when} and checked by {who}.",
        "An atlas of forms should be dull and right, and we made these plates {when} with that in mind.",
        "{Who} asked for a sheet that can be read {where}, and so we put it into the form of a table.",
        "This sheet was bound into the atlas {when}, after the ones before it had been sold.",
    ),
    "blog": (
        "It rained {when}, so {who} and I stayed in and drew.",
        "I had meant to write about something else, but {when} I found these in a box {where}.",
        "{Who} wrote to me {when} and asked what I was up to, and this is what I am up to.",
        "There is not much news from here, but I did some drawing {where} and I want to show it.",
    ),
    "docs": (
        "This part of the manual shows what the drawing program gives when it is called with the values in the text.",
        "The samples below were made {when} with the settings that come with the program.",
        "{Who} made these samples to test the program, and they are kept here so that you can compare your own.",
        "Before you change a setting, look at what it did for the samples on this page.",
    ),
    "studio": (
        "Our workshop made this set {when} for a customer who had asked for something plain.",
        "{Who} cut the blocks for this set, and the rest of us printed it {where}.",
        "The set that we show here left the workshop {when}, and it has not come back to us.",
        "If you came to see us {when}, you may have seen this set on the table {where}.",
    ),
}

FACTS = (
    "There are {n} pictures on this page, and among them you will find {x} and {y}.",
    "You will see {n} of them, from {x} to {y}.",
    "In all there are {n}, and the list of them has both {x} and {y} in it.",
    "The one that most people ask about is {x}, but {y} has its friends too; there are {n} to choose from.",
    "We count {n} pictures, with {x} and with {y} in their midst.",
    "Of the {n} that are shown, {x} was the first to be done, and {y} came last.",
    "Whoever has time for only two of the {n} should see {x} and {y}.",
    "Here are {n} pictures, with {x} and {y} among them.",
)

MIDDLES = (
    "You do not have to know anything about drawing to enjoy what follows.",
    "The words beside each of the pictures say what it shows, and they do not say more than that.",
    "We have tried to be exact, because it is so easy to be wrong about simple things.",
    "They were all made in the same way, and so it is only what they show that sets them apart.",
    "It is a good habit to look first and to read after that.",
    "Should you find a mistake in the text, it is ours and not that of the pictures.",
    "There is no need to go through them in the order in which they stand.",
    "Each has a ground of its own and a place of its own, and that is about all there is to say of them.",
    "Some of our readers print them out, and others just scroll.",
    "The idea came to us {when}, and we have not been able to let go of it since then.",
    "We were {where} when the first of them was done.",
    "As {who} once told us, the plain ones are the hardest to get right.",
    "It took us longer than we thought, as it always does.",
    "A few of them had to be done twice before we were happy with them.",
    "What we want from a drawing is that it can be described without any doubt.",
    "All of them are small enough to be held in the mind at once.",
    "They are for anyone who wants to look at them, and for nobody in particular.",
    "We would not call it art, but we would not mind if you did.",
    "If you like them, there are more of the kind on the other pages.",
    "The colours are those that we had at hand, and we did not mix them.",
    "{Who} looked at them {when} and could not find anything to complain about.",
    "You may want to keep a sheet of paper next to you, in case you want to try it too.",
)

CLOSINGS = (
    "These were the {n} that we wanted to show, and there will be others.",
    "If you came here for {x}, you have now seen it.",
    "Now that you have seen {y} you can go back to the top and begin again.",
    "{Who} would like to have {x} back, but we are not yet done with it.",
    "In the end it is {y} that we like best, although we were not of one mind about it.",
    "So much for {x}, and for all the others.",
    "A print of {y} hangs {where}, and so it is not for sale.",
    "We are not sure that {x} was worth the trouble, but {who} thinks so.",
    "We put {y} into its frame {when}, and now it is done.",
)

PARTINGS = (
    "That is all for this page, and we hope that it was not too much.",
    "We will go on with this before long, if nothing gets in the way.",
    "Thank you for reading down to here; not everyone does.",
    "The originals are kept {where}, and they are in good order.",
    "It is time to close the box and to put it back on its shelf.",
    "We do not know yet what will come next, and we do not mind that.",
    "When we look at them side by side they seem to belong together, and that is enough.",
    "There were more, but we had to stop somewhere, and we stopped here.",
    "Anyone can do as much with a little patience and a free afternoon.",
    "We have written down what we saw, and you can check it against the pictures.",
    "Until the next time, keep your pencils sharp.",
    "Whatever else you do today, have a look out of the window too.",
)

WHENS = ("last week", "in the spring", "over two evenings", "on a Sunday", "in the week after the fair", "in March",
         "before the summer", "a year ago", "at the end of the season", "on the first cold day", "in the holidays",
         "between two other jobs", "in one afternoon", "after a long break", "late in the autumn", "in May",
         "at the turn of the year", "on a quiet morning")  # fmt: skip

WHERES = ("by the window", "in the back room", "at the long table", "under the stairs", "in the old office",
          "on the top floor", "next to the door", "in a room with good light", "at home", "in the library",
          "behind the shop", "in the shed", "near the stove", "in the cellar", "on the balcony")  # fmt: skip

WHOS = ("a friend of ours", "my sister", "one of the printers", "the new assistant", "our neighbour", "an old teacher",
        "the person at the desk", "a student", "someone from the office", "my uncle", "a cousin of mine", "a visitor",
        "the man who cuts our paper", "a colleague", "one of the children", "the oldest of us")  # fmt: skip

TITLES: dict[str, tuple[str, ...]] = {
    "shapes": ("How we drew {x}, part {i}", "Notebook, part {i}", "Note {i}, with {x} and {y}"),
    "gallery": ("Room {i}", "Room {i}: {x} and other works", "In room {i}"),
    "atlas": ("Sheet {i} of the atlas", "Plates {i}.1 to {i}.{count}", "Sheet {i}: from {x} to {y}"),
    "blog": ("What I drew for all of you, number {i}", "On {x}", "{X}, {y}, and some rain"),
    "docs": ("Samples {i}", "{i}. What the program draws", "{i}. Samples with {x}"),
    "studio": ("Set {i}", "Set {i} from the workshop", "The set that has {x} in it, number {i}"),
}

CAPTION_LINES: dict[str, tuple[str, ...]] = {
    "atlas": ("Checked by {who} {when}", "Redrawn {where} {when}", "As {who} saw it {where}"),
    "blog": ("Drawn {where} {when}", "Found {where} {when}", "For {who}, {where}"),
}
"""What stands before a caption on the sites that write it as a paragraph."""

EMAIL_SENTENCES = (
    "If you want a print of one of these, write to {mail} and we will answer within a week.",
    "Questions about this page can be sent to {mail}, where {who} will read them.",
    "You can reach us under {mail} on most days, but not on a Sunday.",
    "The address for orders is {mail}, and it is the only one that we look at.",
)

SWAPS = {
    "picture": "image", "pictures": "images", "plain": "simple", "drawn": "painted", "sheet": "page",
    "background": "backdrop", "ground": "backdrop", "easy": "simple", "small": "little", "shows": "presents",
    "because": "since", "figure": "form", "rather": "quite", "nothing": "nought", "others": "more", "again": "anew",
}  # fmt: skip
"""What a near-duplicate page says in another word."""


def _slots(deck: Deck) -> dict[str, str]:
    who = deck.deal(WHOS)
    return {"when": deck.deal(WHENS), "where": deck.deal(WHERES), "who": who, "Who": sentence_case(who)}


def with_caption_line(caption: str, rng: Generator) -> str:
    """The caption after one of the lines of the sites that write one before it."""
    lines = [line for of_site in CAPTION_LINES.values() for line in of_site]
    line = lines[int(rng.integers(len(lines)))].format_map(_slots(Deck(rng)))
    return f"{line}: {caption}"


def name_of(scene: Scene) -> str:
    """A level-6 scene in a noun phrase: "a small red circle"."""
    return f"a {scene.size} {scene.color} {scene.kind}"


class PageWriter:
    """Writes the words around the pictures of one page."""

    def __init__(self, site: str, number: int, shown: list[Scene], num_pictures: int, rng: Generator) -> None:
        """``shown``: at least two level-6 scenes that the page really shows; they are named in the text."""
        self.deck = Deck(rng)
        self.site = site
        first, second = (name_of(shown[i]) for i in rng.permutation(len(shown))[:2].tolist())
        self.facts = {
            "n": NUMBERS[num_pictures], "count": str(num_pictures), "i": str(number), "x": first, "y": second,
            "X": sentence_case(first),
        }  # fmt: skip

    def _say(self, options: tuple[str, ...]) -> str:
        return self.deck.deal(options).format_map(self.facts | _slots(self.deck))

    def title(self) -> str:
        return self._say(TITLES[self.site])

    def introduction(self) -> list[str]:
        """Two paragraphs."""
        return [
            f"{self._say(LEADS[self.site])} {self._say(FACTS)}",
            f"{self._say(MIDDLES)} {self._say(MIDDLES)}",
        ]

    def closing(self) -> str:
        return f"{self._say(CLOSINGS)} {self._say(PARTINGS)}"

    def caption_line(self, caption: str) -> str:
        """A caption as a paragraph of its own: with words before it, or a site would say the same line many times."""
        options = CAPTION_LINES.get(self.site)
        return f"{self._say(options)}: {caption}" if options else caption

    def with_email(self, address: str) -> str:
        return self.deck.deal(EMAIL_SENTENCES).format_map({"mail": address} | _slots(self.deck))


def reword(paragraphs: list[str], rng: Generator, num_changes: int = 5) -> list[str]:
    """The same paragraphs with ``num_changes`` words replaced by others (fewer where there is nothing to replace)."""
    words = [paragraph.split(" ") for paragraph in paragraphs]
    places = [(i, j) for i, line in enumerate(words) for j, word in enumerate(line) if word in SWAPS]
    for index in rng.permutation(len(places))[:num_changes].tolist():
        i, j = places[index]
        words[i][j] = SWAPS[words[i][j]]
    return [" ".join(line) for line in words]
