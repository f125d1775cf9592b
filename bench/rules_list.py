"""The rules that bench/rules.py leaves out, with the way to leave each out.

Each function of ``main_content.RULES`` is a rule. To switch another decision off, a function, a pattern or a list of
words is replaced by another value in every module that knows it by that name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from gobelin.transforms.pages.captions import captions
from gobelin.transforms.pages.content import boilerplate, link_rules, main_content, named_boilerplate, region_rules
from gobelin.transforms.pages.content.region import Region
from gobelin.transforms.pages.tree import find_nodes, page_blocks, visible_text

_NEVER = re.compile("(?!)")


class Depth(enum.Enum):
    """How much of the reading of a page a rule changes, so that the rest need not be done again."""

    CONTENT = "the choice of blocks"
    NAMES = "what the names of elements say, and with it the blocks"
    BLOCKS = "the blocks and the choice"
    PAGE = "all of it"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A decision that can be left out. ``changes``: (module, name, value to put there instead)."""

    name: str
    says: str
    depth: Depth
    changes: tuple[tuple[Any, str, Any], ...]

    @contextlib.contextmanager
    def left_out(self) -> Iterator[None]:
        """While it lasts, pages are read without the rule."""
        with contextlib.ExitStack() as stack:
            for module, name, value in self.changes:
                stack.enter_context(replaced(module, name, value))
            yield


@contextlib.contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Puts a value in the place of a module's name, and of that name in all modules of the package that import it."""
    before = getattr(module, name)
    places = [other for other in _modules() if vars(other).get(name) is before]
    for place in places:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place in places:
            setattr(place, name, before)


@contextlib.contextmanager
def watched(rules: Sequence[Rule]) -> Iterator[set[str]]:
    """While it lasts, the names gather of the rules that decide something: without the others, nothing changes."""
    acted: set[str] = set()
    with contextlib.ExitStack() as stack:
        spies = tuple(
            (of_indexes, tuple(_watched_rule(function, acted) for function in functions))
            for of_indexes, functions in main_content.RULES
        )
        stack.enter_context(replaced(main_content, "RULES", spies))
        for rule in rules:
            for module, name, value in rule.changes:
                if value is _NEVER:
                    spy: Any = _WatchedPattern(getattr(module, name), rule.name, acted)
                elif callable(value):
                    spy = _watched_function(getattr(module, name), value, rule.name, acted)
                else:
                    if name != "RULES":
                        acted.add(rule.name)
                    continue
                stack.enter_context(replaced(module, name, spy))
        yield acted


def _watched_rule(function: Callable[[Region], None], acted: set[str]) -> Callable[[Region], None]:
    @functools.wraps(function)
    def spy(region: Region) -> None:
        before = list(region.drop), list(region.lead), dict(region.captions)
        function(region)
        if before != (region.drop, region.lead, region.captions):
            acted.add(function.__name__)

    return spy


def _watched_function(function: Any, instead: Any, name: str, acted: set[str]) -> Any:
    @functools.wraps(function)
    def spy(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        if result != instead(*arguments, **named):
            acted.add(name)
        return result

    return spy


class _WatchedPattern:
    """A pattern that notes when it matches."""

    def __init__(self, pattern: re.Pattern[str], name: str, acted: set[str]) -> None:
        self._pattern, self._name, self._acted = pattern, name, acted

    def __getattr__(self, method: str) -> Any:
        search = getattr(self._pattern, method)

        def spy(*arguments: Any) -> Any:
            found = search(*arguments)
            if found:
                self._acted.add(self._name)
            return found

        return spy


@functools.cache
def _modules() -> list[ModuleType]:
    return [module for key, module in sys.modules.items() if key.startswith("gobelin.transforms.pages.")]


def all_rules() -> list[Rule]:
    """Every rule, in the order in which they act on a page."""
    return [*_caption_rules(), *_name_rules(), *_content_rules(), *_region_rules(), *_fallbacks()]


def _region_rules() -> Iterator[Rule]:
    for _, functions in main_content.RULES:
        for function in functions:
            without = tuple(
                (of_indexes, tuple(other for other in others if other is not function))
                for of_indexes, others in main_content.RULES
            )
            says = " ".join((function.__doc__ or "").split()).partition(". ")[0].rstrip(".")
            yield Rule(function.__name__, says, Depth.CONTENT, ((main_content, "RULES", without),))


def _content_rules() -> Iterator[Rule]:
    for name, module, value, says in (
        ("mark_boilerplate", named_boilerplate, _mark_nothing, "What is named as boilerplate goes"),
        ("_is_named_by_heading", named_boilerplate, _no, "A name made of its own heading marks no boilerplate"),
        ("_is_box", named_boilerplate, _no, "What is called a sidebar is a box where it stands in the text's flow"),
        ("_is_title", named_boilerplate, _no, "What opens a box in the text is its title"),
        ("_is_captioned", named_boilerplate, _no, "A figure with a caption is no boilerplate"),
        ("is_row", main_content, _no, "Rows and cells that set names beside what is said of them are no menus"),
        ("is_index", main_content, _no, "A region whose links are its content keeps them"),
        ("_PREFERENCE", main_content, {}, "An article or what is named as content wins over what holds little more"),
        ("_is_below_links", main_content, _no, "A little prose below nothing but links is an index's last line"),
        ("_with_images", main_content, _same_region, "The region grows by an image or two beside it"),
        ("_whole", main_content, _same_region, "The region grows from a table or few words to the content around"),
        ("_with_most_words", main_content, _same_region, "The region grows to what has three times its words"),
        ("_find_heading", main_content, _none, "The page's own heading is known by its title or its level"),
        ("COMMENTS", region_rules, _NEVER, "Phrases that announce comments"),
        ("RELATED", region_rules, _NEVER, "Phrases that announce other pages"),
        ("CALLS", region_rules, _NEVER, "Phrases that ask to share or subscribe, or say who owns the page"),
        ("PLUGS", region_rules, _NEVER, "What an article says of itself and its site: podcast, letter, whose opinion"),
        ("BUTTONS", region_rules, _NEVER, "Buttons and counters of an article's pictures"),
        ("SOURCES", region_rules, _NEVER, "Last lines that say where a text comes from, or who edited it"),
        ("is_address", main_content, _no, "Addresses that are written out are no prose, and no last lines"),
        ("DATE_OR_BYLINE", region_rules, _NEVER, "Dates and author's lines before the text are dropped"),
        ("CREDIT_INSIDE", region_rules, _NEVER, "A line with a credit below an image is its caption"),
        ("FIGURE_NUMBER", region_rules, _NEVER, "A line with a figure's number below an image is its caption"),
        ("_goes_on", region_rules, _no, "Comments end the page only where no section of the article follows"),
        ("_is_announced", link_rules, _no, "A list of links that a text announces with a colon stays"),
        ("_is_reference", link_rules, _no, "Tables of data whose cells are links are no lists of links"),
    ):  # fmt: skip
        yield Rule(name, says, Depth.CONTENT, ((module, name, value),))


def _name_rules() -> Iterator[Rule]:
    none: frozenset[str] = frozenset()
    for name, module, value, says in (
        ("_JARGON", boilerplate, none, "Words of those who make pages mark boilerplate in any name"),
        ("_TOPICS", boilerplate, none, "Words that end the name of a subject, too, are only suspected there"),
        ("_LABELS", boilerplate, none, "Behind the label of a figure or a section stands a subject"),
        ("_OPENERS", boilerplate, none, "Words that the names of a site's own parts follow"),
        ("STRUCTURAL_WORDS", boilerplate, none, "Words of a name that say nothing of a subject"),
        ("_BOILERPLATE_WORDS", boilerplate, none, "Words of the language that mark it where the rest is structure"),
        ("_BOILERPLATE_NAMES", boilerplate, none, "Names that mark boilerplate as a whole"),
        ("_BOILERPLATE_EDGES", boilerplate, none, "Words that mark boilerplate where they open or close a name"),
        ("_BOILERPLATE_PAIRS", boilerplate, none, "Pairs of words of a name that mark boilerplate"),
        ("_SUSPECT_WORDS", boilerplate, none, "Words of a name that mark boilerplate where no prose is inside"),
        ("_CAPTION_WORDS", boilerplate, none, "Words of a name that mark a caption"),
        ("_CONTENT_WORDS", boilerplate, none, "Words of a name that mark content"),
        ("_ARTICLE_PAIRS", boilerplate, none, "Pairs of words of a name that mark an article"),
        ("_UNSEEN_NAMES", boilerplate, none, "Names of what is there for screen readers alone"),
        ("_UNSEEN_PAIRS", boilerplate, none, "Pairs of words that name what is there for screen readers alone"),
        ("_GUTTERS", boilerplate, none, "Names of line numbers beside code"),
        ("_HASHED", boilerplate, _NEVER, "What a build put into a name says nothing"),
        ("_TAG_KINDS", page_blocks, {}, "Tags that mark boilerplate or an article"),
        ("_BOILERPLATE_ROLES", page_blocks, none, "Roles that mark boilerplate"),
        ("_HIDDEN_STYLE", visible_text, _NEVER, "What a style hides is left out"),
        ("names_quoted_author", page_blocks, _no, "The author of a quotation outside a blockquote is its text"),
    ):  # fmt: skip
        changes: tuple[tuple[Any, str, Any], ...] = ((module, name, value),)
        if module is boilerplate:
            changes = (*changes, (boilerplate, "_verdicts", {}))  # verdicts without the rule are kept apart
        yield Rule(name, says, Depth.NAMES if module is boilerplate else Depth.BLOCKS, changes)


def _caption_rules() -> Iterator[Rule]:
    for name, value, says in (
        ("take_figcaption", _none, "The words of a figcaption are a caption"),
        ("_caption_in", _none, "Elements of class caption beside an image"),
        ("_cell_below", _no_elements, "The cell of class caption under an image's cell"),
        ("_is_frame", _no, "The rest of a small frame around one image"),
        ("_take_centred_above", _none, "The centred line above a centred image"),
    ):  # fmt: skip
        yield Rule(name, says, Depth.PAGE, ((captions, name, value),))


def _fallbacks() -> Iterator[Rule]:
    yield Rule(
        "find_thread",
        "A conversation is read as its posts in order",
        Depth.BLOCKS,
        ((find_nodes, "find_thread", _none), (find_nodes, "has_unread_posts", _no)),
    )
    yield Rule(
        "clean_caption",
        "Captions lose the words of buttons, numbers of slides and what they say twice in a row",
        Depth.CONTENT,
        ((find_nodes, "clean_caption", _same),),
    )
    yield Rule(
        "MIN_NAMED_CHARS",
        "A short text is enough where its element says that it is the article",
        Depth.CONTENT,
        ((find_nodes, "MIN_NAMED_CHARS", find_nodes.MIN_CERTAIN_CHARS),),
    )
    yield Rule(
        "choose_with_trafilatura",
        "trafilatura is asked where next to nothing was found",
        Depth.CONTENT,
        ((find_nodes, "choose_with_trafilatura", _no_elements),),
    )


def _same(words: str) -> str:
    return words


def _no(*_: Any, **__: Any) -> bool:
    return False


def _none(*_: Any, **__: Any) -> None:
    return None


def _no_elements(*_: Any, **__: Any) -> list[Any]:
    return []


def _same_region(page: Any, region: int, *_: Any) -> int:
    return region


def _mark_nothing(page: Any, *_: Any) -> list[bool]:
    return [False] * len(page.blocks)
