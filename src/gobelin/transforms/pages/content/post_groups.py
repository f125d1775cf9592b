"""Finds groups of containers that hold the posts of a conversation: messages of a thread, answers, comments.

The containers of a group have the same *signature*: the same tag and the same class words. Numbers, words with numbers
inside, and words for positions (``odd``, ``first``) are ignored. A container without class words gets its signature
from its tag and its parent's. A group holds posts if a *mark*, which dates or signs a post, stands between most of its
members.

Among several groups, the one that divides the most text into the most posts comes first. Among those that are about
equal in this, the one with the fewest blocks comes first. All is linear in the containers and blocks.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate, pairwise

from gobelin.data.model import Role
from gobelin.transforms.pages.tree.page_blocks import Block, PageBlocks

_CLASS_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_POSITIONS = frozenset((
    "odd", "even", "first", "last", "alt", "alternate", "new", "unread", "online", "offline", "active", "current",
    "op", "depth", "level", "by", "row", "clearfix", "js", "is", "has", "d", "p", "m", "mt", "mb", "py", "px",
))  # fmt: skip
_MARK_WORDS = frozenset((
    "author", "user", "username", "poster", "avatar", "profile", "nick", "nickname", "member", "byline", "meta", "date",
    "time", "timestamp", "datetime", "posted", "postedby", "published", "postdate", "userinfo", "postprofile",
    "userdetails", "infos", "tagline", "attribution", "poststamp", "signed", "postuser", "hnuser",
))  # fmt: skip
_POST_NAMES = frozenset(("comment", "post", "reply", "message", "answer"))
_HEAD_WORDS = frozenset(("info", "head", "header", "heading", "details"))
_TEXT_WORDS = frozenset(("content", "contents", "body", "text"))
"""A post's text is often named after its author. These words tell that it is the text."""

_NOT_POSTS = frozenset((
    "signature", "sig", "quote", "bbcode", "blockquote", "avatar", "profile", "author", "user", "member", "attachment",
    "menu", "nav", "navigation", "widget", "tooltip", "footer", "breadcrumb", "breadcrumbs", "toolbar", "cookie",
))  # fmt: skip

_MONTHS = r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zé]{0,7}"
_UNITS = (
    r"(?:s|m|h|d|w|mo|y|sec|min|hr|second|minute|hour|day|week|month|year)s?\b(?: ago)?"
    r"|(?:秒|分|小时|天|周|个?月|年|日|時間|ヶ月|週間|시간|개월)(?:钟)?\s?(?:前|之前|전)?"
    r"|(?:tag|stunde|woche|monat|jahr|d[ií]a|hora|mes|semana|a[nñ]o|jour|heure|mois|semaine|giorn|settiman|dni|godz)"
    r"|(?:дн|час|мин|мес|год|лет|нед)"
)
DATE = re.compile(
    r"(?=\d|\b[jfmasond])"  # what all begin with: found twice as fast
    r"(?:\d{1,2}:\d{2}\b|\b(?:19|20)\d\d\b|\b\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\b"
    rf"|(?<![\d.,])\d{{1,3}}\s?(?:{_UNITS})|\b{_MONTHS}\.?\s\d{{1,2}}\b|\b\d{{1,2}}\.?\s{_MONTHS}\b)",
    re.I,
)
"""A date, a time of day, or an age such as "3 days ago"."""

_RECENT = re.compile(
    r"\ban?\s(?:second|minute|hour|day|week|month|year) ago\b|刚刚|昨天|今天|方才"
    r"|\b(?:yesterday|today|just now|gestern|heute|hier|ayer|вчера|сегодня)\b",
    re.I,
)
_MAX_RECENT_CHARS = 40
_DIGIT = re.compile(r"\d")

MAX_MARK_CHARS = 160
_MIN_MARKED = 0.7
_MIN_CHARS = 40
_AROUND = 14  # blocks before the first post, or after the last, that may hold its mark
_ABOUT_AS_WELL = 0.85
_MAX_GROUPS = 24
_MAX_COLUMNS = 9
_MAX_PATH = 6


@dataclasses.dataclass(slots=True)
class PostGroup:
    """Posts with one signature."""

    members: list[int]  # indexes of containers in the page's order; one may be inside another
    words: frozenset[str]  # class words of the members
    chars: float  # number of characters of text in the members, without links
    score: float
    share: float = 0.0  # share of the characters in the longest member
    is_dated: bool = True  # whether most members have a mark


def find_groups(page: PageBlocks) -> tuple[list[PostGroup], list[bool]]:
    """Returns (groups that may hold a conversation, best first; for each block, whether it is a mark). Both are empty
    if there is no such group."""
    blocks, containers = page.blocks, page.containers
    plain = [0, *accumulate(0 if b.role is Role.HEADING else b.num_chars - b.link_chars for b in blocks)]
    if plain[-1] < _MIN_CHARS:
        return [], []
    by_make: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    makes: list[tuple[str, ...]] = []
    cells = [0] * len(containers)  # for each row, the number of its cells so far
    for index, container in enumerate(containers):
        words = make_words(container.names)
        parent = makes[container.parent] if container.parent >= 0 else ()
        tag = container.tag
        if tag == "td":
            cells[container.parent] += 1
            tag = f"td{min(cells[container.parent], _MAX_COLUMNS)}"
        make = (tag, *words) if words else (tag, "/", *parent[:_MAX_PATH])
        makes.append(make)
        if container.end > container.start and plain[container.end] > plain[container.start]:
            by_make[make].append(index)
            if len(words) > 1:
                by_make[tag, words[0]].append(index)
    found: list[tuple[float, tuple[str, ...], list[int]]] = []
    for make, members in by_make.items():
        if len(members) < 2 or not _NOT_POSTS.isdisjoint(make) or _is_beside(page, members[0]):
            continue
        chars = sum(plain[containers[i].end] - plain[containers[i].start] for i in members)
        if chars >= max(_MIN_CHARS, 0.1 * plain[-1]):
            found.append((chars, make, members))
    bodies = _named_bodies(page, plain)
    if not found and not bodies:
        return [], []
    found.sort(key=lambda each: each[0], reverse=True)
    is_mark = find_marks(page)
    marks = [0, *accumulate(is_mark)]
    unmarked = [0, *accumulate(_said_once(blocks, is_mark))]
    groups = []
    for _, make, members in found[:_MAX_GROUPS]:
        group = _weigh(page, make, members, marks, unmarked)
        if group is not None:
            groups.append(group)
    groups = _rank(page, groups)
    if bodies:
        said = float(sum(unmarked[containers[i].end] - unmarked[containers[i].start] for i in bodies))
        groups.append(
            PostGroup(
                bodies,
                frozenset(word for i in bodies for word in make_words(containers[i].names)),
                said,
                math.sqrt(said),
                is_dated=False,
            )
        )
    return groups, is_mark


def _named_bodies(page: PageBlocks, plain: list[int]) -> list[int]:
    """The innermost elements that are named as the body of a post."""
    bodies: list[int] = []
    containers = page.containers
    for index, container in enumerate(containers):
        if container.names and plain[container.end] > plain[container.start] and _names_body(container.names):
            if bodies and containers[bodies[-1]].end >= container.end:
                bodies.pop()
            bodies.append(index)
    return bodies


_BODY = re.compile(
    r"(?:post|reply|answer|question|message|topic|thread)s?[-_]{0,2}(?:body|content|text|message|copy)(?![a-z])", re.I
)


@functools.lru_cache(maxsize=1 << 12)
def _names_body(names: str) -> bool:
    return _BODY.search(names) is not None


def _is_beside(page: PageBlocks, index: int) -> bool:
    """Whether a container is in a box beside the page's content."""
    containers = page.containers
    for _ in range(_MAX_DEPTH):
        if index <= 0:
            return False
        container = containers[index]
        if container.tag in _BESIDE_TAGS or not _BESIDE.isdisjoint(name_words(container.names)):
            return container.end - container.start < 0.5 * len(page.blocks)
        index = container.parent
    return False


_MAX_DEPTH = 40
_BESIDE_TAGS = frozenset(("aside", "nav", "footer", "header"))
_BESIDE = frozenset((
    "sidebar", "widget", "widgets", "related", "recommend", "recommended", "recent", "latest", "popular", "trending",
    "footer", "menu", "nav", "teaser", "teasers", "carousel", "slider", "similar",
))  # fmt: skip


def _said_once(blocks: list[Block], is_mark: list[bool]) -> Iterator[int]:
    """For each block, its number of characters outside links if it is not a mark and its text is unique except for
    numbers, else 0. Ranks, labels and signatures recur, but the text of a post does not."""
    texts = [
        ""
        if block.num_chars <= block.link_chars
        else _DIGITS.sub("0", block.text)
        if block.num_chars <= MAX_MARK_CHARS
        else block.text
        for block in blocks
    ]
    counts = Counter(texts)
    for block, text, marked in zip(blocks, texts, is_mark, strict=True):
        is_said = text and not marked and counts[text] == 1 and block.role is not Role.HEADING
        yield block.num_chars - block.link_chars if is_said else 0


_DIGITS = re.compile(r"\d+")


def _weigh(
    page: PageBlocks, make: tuple[str, ...], members: list[int], marks: list[int], plain: list[int]
) -> PostGroup | None:
    """A group from containers with one signature, or None if most of them have no mark."""
    containers = page.containers
    starts = [containers[index].start for index in members]
    if len(set(starts)) < len(starts):  # if one is directly inside another, the inner one is the post
        following = [*starts[1:], -1]
        members = [index for index, after in zip(members, following) if after != containers[index].start]
        starts = [containers[index].start for index in members]
    while len(members) > 2 and _is_frame(page, members, plain):
        members, starts = members[1:], starts[1:]
    if len(members) < 2:
        return None
    last = containers[members[-1]].end
    num_marked = sum(marks[after] > marks[before] for before, after in pairwise(starts))
    top = max(0, starts[0] - _AROUND)
    num_marked += marks[starts[0]] > marks[top] or marks[min(len(marks) - 1, last + _AROUND)] > marks[starts[-1]]
    if num_marked < _MIN_MARKED * len(members):
        return None
    chars = score = largest = 0.0
    open_members: list[tuple[int, float]] = []  # (end, characters outside inner members)
    for index in [*members, -1]:
        start = containers[index].start if index >= 0 else len(page.blocks)
        while open_members and open_members[-1][0] <= start:
            _, own = open_members.pop()
            chars += own
            largest = max(largest, own)
            score += math.sqrt(max(0.0, own))
        if index >= 0:
            own = float(plain[containers[index].end] - plain[start])
            if open_members:
                end, outer = open_members[-1]
                open_members[-1] = end, outer - own
            open_members.append((containers[index].end, own))
    if chars < _MIN_CHARS:
        return None
    return PostGroup(members, frozenset(make), chars, score, largest / chars)


def _is_frame(page: PageBlocks, members: list[int], plain: list[int]) -> bool:
    """Whether the first member is only a frame around the others."""
    first, following = page.containers[members[0]], page.containers[members[1]]
    last = page.containers[members[-1]]
    if first.end < last.end:
        return False
    beside = plain[following.start] - plain[first.start] + plain[first.end] - plain[last.end]
    return beside < 0.1 * (plain[last.end] - plain[following.start])


def _rank(page: PageBlocks, groups: list[PostGroup]) -> list[PostGroup]:
    if not groups:
        return []
    best = max(group.score for group in groups)
    containers = page.containers

    def besides(group: PostGroup) -> tuple[bool, int]:
        spans = sum(containers[index].end - containers[index].start for index in group.members)
        return group.score < _ABOUT_AS_WELL * best, spans

    return sorted(groups, key=besides)


def find_marks(page: PageBlocks) -> list[bool]:
    """For each block, whether it dates or signs a post: a short text with a date, or an element named after a date or
    author."""
    containers = page.containers
    named: list[bool] = []
    for container in containers:
        is_small = container.end - container.start <= 6
        words = name_words(container.names)
        named.append(is_small and not _MARK_WORDS.isdisjoint(words) and _TEXT_WORDS.isdisjoint(words))
    marks = []
    for block in page.blocks:
        container = containers[block.container]
        is_marked = named[block.container] or (not container.names and named[container.parent])
        is_marked = is_marked or (not block.text and block.image is None and _is_unread_head(container.names))
        marks.append(block.num_chars <= MAX_MARK_CHARS and (is_marked or _is_dated(block.text)))
    return marks


def _is_unread_head(names: str) -> bool:
    """Whether an element that was skipped is named as the head of a post: ``comment__info``."""
    words = name_words(names)
    return not _POST_NAMES.isdisjoint(words) and not _HEAD_WORDS.isdisjoint(words)


def _is_dated(text: str) -> bool:
    if _DIGIT.search(text):
        return DATE.search(text) is not None
    return len(text) <= _MAX_RECENT_CHARS and _RECENT.search(text) is not None


@functools.lru_cache(maxsize=1 << 15)
def make_words(names: str) -> tuple[str, ...]:
    """The distinctive words of class and id: whole, in their order, without trailing numbers, at most four. Words with
    numbers inside are generated and are left out."""
    words = []
    for name in names.split():
        found = _NUMBERED.fullmatch(name)
        if found and found[1].lower() not in _POSITIONS and (len(found[1]) >= _MIN_NUMBERED or not found[2]):
            words.append(found[1])
    return tuple(dict.fromkeys(words))[:4]


_NUMBERED = re.compile(r"([A-Za-z_-]+)(\d*)")
_MIN_NUMBERED = 4


@functools.lru_cache(maxsize=1 << 15)
def name_words(names: str) -> frozenset[str]:
    """The single words in class and id, in lower case."""
    if "js-" in names or "thread-" in names:
        names = _NO_NAME.sub("", names)
    return frozenset(map(str.lower, _CLASS_WORDS.findall(names)))


_NO_NAME = re.compile(r"(?<!\S)(?:js-\S+|thread-(?:even|odd|alt))(?!\S)")
"""Hooks for scripts, and WordPress's numbering of comments below an article."""
