"""Recognises pages that are a conversation: forum threads, questions with answers, pages that consist of comments.

``post_groups.py`` finds elements with one signature that are dated or signed. ``find_thread`` decides by a score
whether these are the page's content: by the page's declarations, the words of its address and of its elements' names,
and the amount of other prose beside the posts. An article with comments below stays an article. ``thread_content.py``
reads the posts.

Linear in the page's blocks and containers.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from gobelin.data.model import PageKind, Role
from gobelin.transforms.pages.content.page_kind import PageFacts
from gobelin.transforms.pages.content.post_groups import PostGroup, find_groups, name_words
from gobelin.transforms.pages.tree.page_blocks import Block, PageBlocks

_FORUM_WORDS = frozenset((
    "forum", "forums", "topic", "thread", "threads", "discussion", "discussions", "bbs", "boards", "question",
    "questions", "answers", "viewtopic", "viewthread", "showthread", "messageboard", "conversation", "postlist",
    "poststream", "issue",
))  # fmt: skip
"""Words in the names of the elements around the posts."""

_POST_WORDS = frozenset((
    "post", "posts", "reply", "replies", "answer", "answers", "message", "messages", "msg", "postbit", "postbody",
    "postcontent", "posttext", "postmessage", "response",
))  # fmt: skip
_COMMENT_WORDS = frozenset(("comment", "comments", "commentlist", "commentbody", "commenttext"))
_TELLING_WORDS = _FORUM_WORDS | _POST_WORDS | _COMMENT_WORDS
_ANSWER_WORDS = frozenset(("answer", "answers", "question", "questions"))
_REPLY_WORDS = frozenset(("reply", "replies", "answer", "answers", "comment", "comments", "response"))
_OPENING_WORDS = frozenset(("question", "topic"))

_MIN_SCORE = 2
_MIN_SCORE_ALONE = 3  # for a single post
_MAX_GROUPS = 6  # number of groups that are scored
_MIN_PROSE = 80  # characters
_MIN_TABLE_CHARS = 100
_NO_ARTICLE = 100  # characters of prose beside the posts
_SHORT = 1000
_MANY_CHARS = 400
_MANY_POSTS = 6
_MAX_BETWEEN = 0.7  # prose between the posts, of that in them
_FRAME = 0.95  # share of a group's text in one member, above which that member is the page's frame and not a post
_NEAR = 3  # number of elements, from the post outwards, whose names may mark a post
_NEAR_COMMENTS = 5
_MAX_DEPTH = 30


@dataclasses.dataclass(frozen=True, slots=True)
class Thread:
    """The positions of a page's posts."""

    kind: PageKind
    members: list[int]  # containers, one per post, in the page's order; one may be inside another
    owners: list[int]  # for each container, the innermost post around it or the post itself, else -1
    marks: list[bool]  # of each block, whether it dates or signs a post
    start: int  # first block of the conversation, including the mark of the first post
    end: int
    is_opened_above: bool  # whether the post that all others answer may have another signature


def find_thread(page: PageBlocks, facts: PageFacts, content: Sequence[Block]) -> Thread | None:
    """The conversation, if the page is one, else None.

    Args:
        content: what would be the main content if the page were an article.
    """
    if not (facts.says_forum or _names_posts(page)):
        return None
    groups, marks = find_groups(page)
    if not groups:
        return None
    places = {id(block): index for index, block in enumerate(page.blocks)}
    chosen = [places[id(block)] for block in content if id(block) in places]
    for group in groups[:_MAX_GROUPS]:
        owners = _owners(page, group)
        least = _MIN_SCORE if len(group.members) > 1 else _MIN_SCORE_ALONE
        if _score(page, facts, group, owners, chosen, marks) < least:
            continue
        if facts.is_conversation or not _is_list(page, group):
            return _thread(page, facts, group, owners, marks)
    return None


def _names_posts(page: PageBlocks) -> bool:
    return any(
        container.names and not _TELLING_WORDS.isdisjoint(name_words(container.names)) for container in page.containers
    )


def _owners(page: PageBlocks, group: PostGroup) -> list[int]:
    members = set(group.members)
    owners: list[int] = []
    for index, container in enumerate(page.containers):
        owners.append(index if index in members else owners[container.parent] if container.parent >= 0 else -1)
    return owners


def has_unread_posts(page: PageBlocks, facts: PageFacts) -> bool:
    """Whether the page declares a forum and its posts seem to be among the skipped boilerplate or the data tables."""
    hidden = shown = 0
    for block in page.blocks:
        if block.role is Role.TABLE and block.num_chars >= _MIN_TABLE_CHARS:
            hidden += block.num_chars
        elif block.num_chars and not block.text:
            if not (_POST_WORDS | _COMMENT_WORDS).isdisjoint(name_words(page.containers[block.container].names)):
                hidden += block.num_chars
        else:
            shown += block.num_chars - block.link_chars
    return hidden >= _MANY_CHARS // 2 and hidden > (0.5 if facts.says_forum else 1.0) * shown


def _score(
    page: PageBlocks, facts: PageFacts, group: PostGroup, owners: list[int], content: list[int], marks: list[bool]
) -> int:
    """The evidence for a conversation. The weights were chosen on pages of forums, news and blogs. Two facts for a
    conversation outweigh one against it."""
    blocks, containers = page.blocks, page.containers
    start, end = containers[group.members[0]].start, max(containers[index].end for index in group.members)
    between = sum(
        _prose(blocks[index]) for index in range(start, end) if owners[blocks[index].container] < 0 and not marks[index]
    )
    if between > _MAX_BETWEEN * group.chars:
        return 0
    beside = between + sum(_prose(blocks[index]) for index in content if not start <= index < end)
    levels = _names_around(page, group)
    is_comment, named = _what_named(levels)
    score = 0
    if facts.is_conversation:
        score += 3
    if facts.is_forum_address or facts.is_question_address:
        score += 2
    opening = next((blocks[i].container for i in content if i < start and blocks[i].role is not Role.HEADING), -1)
    forum_words = _FORUM_WORDS if group.is_dated else _FORUM_WORDS - _ANSWER_WORDS  # FAQs have answers too
    told = [*levels[1:], *(_names_of(page, opening, _NEAR) if named and not is_comment else ())]
    is_named_forum = any(not forum_words.isdisjoint(words) for words in told)
    is_of_forum = facts.says_forum or is_named_forum
    if is_named_forum:
        score += 2
    if named:
        score += -1 if is_comment else 1
    is_called_so = named or not _FORUM_WORDS.isdisjoint(levels[0] | levels[1])
    if group.is_dated and is_called_so and group.chars >= _MANY_CHARS:
        is_several = len(group.members) >= 3
        if beside < 0.1 * group.chars:
            score += 1 + is_several + (is_several and beside < _NO_ARTICLE)
        elif is_comment and is_several and beside < min(_SHORT, group.chars) and facts.og_type != "article":
            score += 3  # a picture or a few lines, with comments
    if group.share > _FRAME:
        score -= 2 if named or len(group.members) >= _MANY_POSTS else 4
    if facts.is_article:
        score -= 2
    elif facts.og_type == "article":  # both forums and news sites declare it
        score -= 1 if is_of_forum else 3
    if facts.is_product or facts.is_manual or "faqpage" in facts.types:
        score -= 3
    return score


def _names_around(page: PageBlocks, group: PostGroup) -> list[frozenset[str]]:
    """The name words of the posts, then those of each element around the first post, from the innermost outwards."""
    own = frozenset[str]().union(*map(name_words, group.words))
    return [own, *_names_of(page, page.containers[group.members[0]].parent, _MAX_DEPTH), frozenset()]


def _names_of(page: PageBlocks, place: int, depth: int) -> list[frozenset[str]]:
    """The name words of a container and of the ``depth`` - 1 containers around it."""
    levels: list[frozenset[str]] = []
    while place >= 0 and len(levels) < depth:
        levels.append(name_words(page.containers[place].names))
        place = page.containers[place].parent
    return levels


def _what_named(levels: list[frozenset[str]]) -> tuple[bool, bool]:
    """Returns (whether it is a comment, whether it is a post or a comment), by the innermost names that say one of
    both."""
    for depth, words in enumerate(levels[:_NEAR_COMMENTS]):
        if words & _COMMENT_WORDS:
            return True, True
        if depth < _NEAR and words & _POST_WORDS:
            return False, True
    return False, False


def _prose(block: Block) -> int:
    """The number of characters outside links, or 0 for a heading or a short block."""
    if block.role is Role.HEADING or block.num_chars < (_MIN_PROSE if block.text.isascii() else 0.5 * _MIN_PROSE):
        return 0
    return block.num_chars - block.link_chars


def _is_list(page: PageBlocks, group: PostGroup) -> bool:
    """Whether each member has its own linked heading, as the articles of a list have."""
    blocks, containers = page.blocks, page.containers
    headings = []
    before = max(0, containers[group.members[0]].start - 8)
    for index in group.members:
        start = containers[index].start
        for place in range(max(before, start - 8), min(start + 3, containers[index].end)):
            block = blocks[place]
            is_title = block.role is Role.HEADING and block.link_chars > 0.5 * block.num_chars
            if is_title and block.num_chars >= (20 if block.text.isascii() else 8):
                headings.append(_RE.sub("", block.text).casefold())
                break
        before = start + 1
    return len(headings) > 0.6 * len(group.members) and len(set(headings)) > 0.6 * len(headings)


_RE = re.compile(r"^\s*(?:(?:re|aw|sv|antw|回复|回覆)\s*[:：]\s*){1,5}", re.I)


def _thread(page: PageBlocks, facts: PageFacts, group: PostGroup, owners: list[int], marks: list[bool]) -> Thread:
    containers = page.containers
    first = group.members[0]
    start = containers[first].start
    if len(group.members) > 1:
        place = containers[first].parent
        while place > 0 and containers[place].end <= containers[group.members[1]].start:
            start = containers[place].start
            place = containers[place].parent
    words = _names_around(page, group)[0] | name_words(containers[max(0, containers[first].parent)].names)
    is_question = "qapage" in facts.types or facts.is_question_address or not _ANSWER_WORDS.isdisjoint(words)
    return Thread(
        kind=PageKind.QUESTION if is_question else PageKind.THREAD,
        members=group.members,
        owners=owners,
        marks=marks,
        start=start,
        end=max(containers[index].end for index in group.members),
        is_opened_above=not _REPLY_WORDS.isdisjoint(words) and _OPENING_WORDS.isdisjoint(words),
    )
