"""Pages that are a conversation: threads of a forum, questions with their answers, comments that are all of a page.

    post_groups   containers of one make that are dated or signed
    find_thread   whether these are the page: what the page declares, the words of its address and of its containers,
                  and how much other prose stands beside them. An article with comments below stays an article.
    read_thread   the text: the page's heading, what opens the conversation where it is of another make, and each post
                  without names, dates, votes, signatures and quoted posts

Linear in the page's blocks and containers.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from gobelin.documents import PageKind, Role
from gobelin.transforms.pages.boilerplate import Kind
from gobelin.transforms.pages.image_references import ImageReference
from gobelin.transforms.pages.main_content import MainContent, find_main_content
from gobelin.transforms.pages.page_blocks import Block, Container, PageBlocks
from gobelin.transforms.pages.page_kind import PageFacts
from gobelin.transforms.pages.post_groups import DATE, PostGroup, find_groups, name_words

_FORUM_WORDS = frozenset((
    "forum", "forums", "topic", "thread", "threads", "discussion", "discussions", "bbs", "boards", "question",
    "questions", "answers", "viewtopic", "viewthread", "showthread", "messageboard", "conversation", "postlist",
    "poststream", "issue",
))  # fmt: skip
_POST_WORDS = frozenset((
    "post", "posts", "reply", "replies", "answer", "answers", "message", "messages", "msg", "postbit", "postbody",
    "postcontent", "posttext", "postmessage", "response",
))  # fmt: skip
_ANSWER_WORDS = frozenset(("answer", "answers", "question", "questions"))
_COMMENT_WORDS = frozenset(("comment", "comments", "commentlist", "commentbody", "commenttext"))
_REPLY_WORDS = frozenset(("reply", "replies", "answer", "answers", "comment", "comments", "response"))
_QUOTES = frozenset((
    "quote", "blockquote", "signature", "sig", "sign", "postsignature", "usersignature", "signaturecontainer", "quoted",
))  # fmt: skip
_OPENING_WORDS = frozenset(("question", "topic"))
_NOT_TEXT = frozenset((
    "edited", "lastedit", "editedby", "attachbox", "author", "avatar", "username", "userinfo", "postprofile",
    "poster", "byline", "actions", "controls", "buttons", "opts", "likes", "like", "vote", "votes", "voting", "score",
    "report", "reactions", "karma", "badge", "badges", "rank", "spam", "dropdown", "menu", "tooltip",
))  # fmt: skip
_BODY_WORDS = frozenset(("content", "body", "text", "message", "post", "comment", "markdown", "cooked", "entry"))

_FROM = 2  # of the score by which a group of posts is the page
_FROM_ALONE = 3  # where there is one post


@dataclasses.dataclass(frozen=True, slots=True)
class Thread:
    """Where a page's posts are: ``owners`` has, of each block, the post that it is in, or -1."""

    kind: PageKind
    members: list[int]  # containers
    owners: list[int]
    marks: list[bool]  # of each block, whether it dates or signs a post
    start: int  # the first block that belongs to the conversation, with what signs it
    end: int
    is_opened_above: bool  # the post that all others answer may be of another make


def find_thread(page: PageBlocks, facts: PageFacts, content: Sequence[Block]) -> Thread | None:
    """The conversation that a page is, if it is one.

    Args:
        content: what would be its main content if it were an article.
    """
    groups, marks = find_groups(page)
    if not groups:
        return None
    places = {id(block): index for index, block in enumerate(page.blocks)}
    chosen = [places[id(block)] for block in content if id(block) in places]
    for group in groups[:6]:
        if _judge(page, facts, group, chosen, marks) >= (_FROM if len(group.members) > 1 else _FROM_ALONE) and (facts.is_conversation or not _is_list(page, group)):
            return _thread(page, facts, group, marks)
    return None


def has_unread_posts(page: PageBlocks, facts: PageFacts) -> bool:
    """Whether a page that says it is of a forum seems to hold its posts in what was read as boilerplate or data."""
    if not (facts.is_conversation or facts.is_forum_address or facts.is_question_address):
        outer = " ".join(container.names for container in page.containers[:3])
        if _FORUM_WORDS.isdisjoint(name_words(outer)):
            return False
    hidden = shown = 0
    for block in page.blocks:
        if block.role is Role.TABLE and block.num_chars >= _MANY_CHARS // 2:
            hidden += block.num_chars
        elif block.num_chars and not block.text:
            if not (_POST_WORDS | _COMMENT_WORDS).isdisjoint(name_words(page.containers[block.container].names)):
                hidden += block.num_chars
        else:
            shown += block.num_chars - block.link_chars
    return hidden >= _MANY_CHARS // 2 and hidden > 0.5 * shown


def _judge(page: PageBlocks, facts: PageFacts, group: PostGroup, content: list[int], marks: list[bool]) -> int:
    """How much speaks for a conversation."""
    containers = page.containers
    start, end = containers[group.members[0]].start, max(containers[index].end for index in group.members)
    owned = bytearray(len(page.blocks))
    for member in group.members:
        owned[containers[member].start : containers[member].end] = b"1" * (
            containers[member].end - containers[member].start
        )
    between = sum(_prose(page.blocks[index]) for index in range(start, end) if not owned[index] and not marks[index])
    if between > _MAX_BETWEEN * group.chars:
        return 0
    beside = between + sum(_prose(page.blocks[index]) for index in content if not start <= index < end)
    levels = [set[str]().union(*(name_words(word) for word in group.words))]
    place = containers[group.members[0]].parent
    while place >= 0 and len(levels) < _MAX_DEPTH:
        levels.append(set(name_words(containers[place].names)))
        place = containers[place].parent
    names = (
        words & (_POST_WORDS | _COMMENT_WORDS if depth < _NEAR else _COMMENT_WORDS)
        for depth, words in enumerate(levels[:_NEAR_COMMENTS])
    )
    named = next(filter(None, names), set[str]())
    around = set[str]().union(*levels[1:])
    score = 0
    if facts.is_conversation:
        score += 3
    if facts.is_forum_address or facts.is_question_address:
        score += 2
    if not _FORUM_WORDS.isdisjoint(around):
        score += 2
    if named & _COMMENT_WORDS:
        score -= 1
    elif named:
        score += 1
    is_named = bool(named) or not _FORUM_WORDS.isdisjoint(levels[0] | levels[1])
    if group.is_dated and beside < 0.1 * group.chars and group.chars >= _MANY_CHARS and is_named:
        score += 1 + (len(group.members) >= 3) + (len(group.members) >= 3 and beside < _NO_ARTICLE)
    if group.share > _FRAME:
        score -= 2 if named or len(group.members) >= _MANY else 4
    if facts.is_article:
        score -= 2
    elif facts.og_type == "article":
        score -= 1
    if facts.is_product or facts.is_manual:
        score -= 3
    return score


def _prose(block: Block) -> int:
    """The characters of what is not short, no heading and no links."""
    if block.role is Role.HEADING or block.num_chars < (_MIN_PROSE if block.text.isascii() else 0.5 * _MIN_PROSE):
        return 0
    return block.num_chars - block.link_chars


_MIN_PROSE = 80
_NO_ARTICLE = 100  # characters of prose
_MAX_BETWEEN = 0.7
_FRAME = 0.95  # of a page's text in one element: it is the frame of the page rather than a post
_MANY = 6
_MAX_DEPTH = 30
_NEAR = 3  # elements whose names say what a post is: itself and those around it
_NEAR_COMMENTS = 5
_MANY_CHARS = 400


def _is_list(page: PageBlocks, group: PostGroup) -> bool:
    """Whether each member has a heading of its own, as the articles of a list have."""
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


def _thread(page: PageBlocks, facts: PageFacts, group: PostGroup, marks: list[bool]) -> Thread:
    containers = page.containers
    owners = [-1] * len(page.blocks)
    for member in group.members:
        container = containers[member]
        owners[container.start : container.end] = [member] * (container.end - container.start)
    first = group.members[0]
    start = containers[first].start
    place = containers[first].parent
    while len(group.members) > 1 and place > 0 and containers[place].end <= containers[group.members[1]].start:
        start = containers[place].start
        place = containers[place].parent
    words = set().union(*(name_words(word) for word in group.words), name_words(containers[containers[first].parent].names))
    is_question = (
        "qapage" in facts.types or facts.is_question_address or not _ANSWER_WORDS.isdisjoint(words)
    )
    return Thread(
        PageKind.QUESTION if is_question else PageKind.THREAD,
        group.members,
        owners,
        marks,
        start,
        max(containers[index].end for index in group.members),
        not _REPLY_WORDS.isdisjoint(words) and _OPENING_WORDS.isdisjoint(words),
    )


def read_thread(
    page: PageBlocks, thread: Thread, title: str | None, references: Sequence[ImageReference]
) -> MainContent:
    """The page's heading, what opens the conversation, and the text and images of the posts, in order."""
    opening = _opening(page, thread, title, references)
    posts = [page.blocks[index] for index in _read_posts(page, thread, references)]
    blocks = [*opening.blocks, *posts]
    return MainContent(blocks, opening.captions, sum(block.num_chars for block in blocks))


def _opening(page: PageBlocks, thread: Thread, title: str | None, references: Sequence[ImageReference]) -> MainContent:
    """What stands above the posts: the page's heading, and the post that opens the conversation where it is of another
    make than the others."""
    heading = _find_heading(page.blocks[: page.containers[thread.members[0]].start], title)
    no_content = MainContent([heading] if heading is not None else [], {}, 0)
    if len(thread.members) == 1 and not thread.is_opened_above:
        return no_content
    above = _above(page, thread.start)
    content = find_main_content(above, title, references)
    if heading is not None and heading in above.blocks:
        below = {id(block) for block in above.blocks[above.blocks.index(heading) :]}
        blocks = [block for block in content.blocks if id(block) in below]
        content = MainContent(blocks, content.captions, sum(block.num_chars for block in blocks))
    said = _num_plain(content.blocks) if thread.is_opened_above else sum(map(_prose, content.blocks))
    posts = sum(_num_plain(page.blocks[i : i + 1]) for i in range(thread.start, thread.end) if thread.owners[i] >= 0)
    if said >= (_MIN_OPENING if thread.is_opened_above else max(_MIN_NOTICE, 0.15 * posts)):
        if heading is not None and heading not in content.blocks:
            return MainContent([heading, *content.blocks], content.captions, content.num_chars)
        return content
    return no_content


_MIN_OPENING = 40
_MIN_NOTICE = 200


def _above(page: PageBlocks, end: int) -> PageBlocks:
    """The page as if it ended before a block."""
    above = PageBlocks()
    above.blocks = page.blocks[:end]
    above.containers = []
    for container in page.containers:
        copy = Container(
            container.tag, container.kind, container.parent, min(container.start, end), container.names, container.is_main
        )
        copy.end, copy.last = min(container.end, end), container.last
        above.containers.append(copy)
    return above


def _find_heading(blocks: Sequence[Block], title: str | None) -> Block | None:
    """The page's heading: the last of the first level, or one that the title contains."""
    wanted = (title or "").casefold()
    best = None
    for block in blocks:
        if block.role is not Role.HEADING or not block.num_chars:
            if best is None and _MIN_TITLE <= len(block.text) and block.text.casefold() in wanted:
                best = block
            continue
        is_title = len(block.text) >= 6 and block.text.casefold() in wanted
        if is_title or (block.level == 1 and (best is None or best.text.casefold() not in wanted)):
            best = block
    return best


_MIN_TITLE = 10


def _read_posts(page: PageBlocks, thread: Thread, references: Sequence[ImageReference]) -> list[int]:
    blocks, owners = page.blocks, thread.owners
    drop = [owner < 0 for owner in owners]
    _drop_named(page, thread, drop)
    _drop_signed(page, thread, drop)
    _drop_names(page, thread, drop)
    _drop_templates(page, thread, drop)
    _drop_quotations(page, thread, drop)
    _drop_endings(page, thread, drop)
    for index in range(thread.start, thread.end):
        image = blocks[index].image
        if image is not None and image < len(references):
            drop[index] = drop[index] or is_sign(references[image])
    return [index for index in range(thread.start, thread.end) if not drop[index]]


def _drop_named(page: PageBlocks, thread: Thread, drop: list[bool]) -> None:
    """What stands in a post and is named after something else, or quotes another."""
    containers = page.containers
    members = set(thread.members)
    holds = _holders(page, thread)
    plain = [0, *accumulate(_num_plain((block,)) for block in page.blocks)]
    for member in thread.members:
        most = 0.7 * (plain[containers[member].end] - plain[containers[member].start])
        for index in range(member + 1, containers[member].last + 1):
            container = containers[index]
            start, end = container.start, container.end
            if index in members or holds[index] or start == end or drop[start]:
                continue
            words = name_words(container.names)
            is_quote = not _QUOTES.isdisjoint(words) or (
                container.tag == "blockquote" and _SAYS.search(page.blocks[start].text) is not None
            )
            is_other = container.kind is Kind.BOILERPLATE or not _NOT_TEXT.isdisjoint(words)
            if is_quote or (is_other and plain[end] - plain[start] <= most):
                drop[start:end] = [True] * (end - start)


def _holders(page: PageBlocks, thread: Thread) -> list[bool]:
    """Of each container, whether a post stands in it."""
    holds = [False] * len(page.containers)
    for member in thread.members:
        place = page.containers[member].parent
        while place >= 0 and not holds[place]:
            holds[place] = True
            place = page.containers[place].parent
    return holds


def _drop_signed(page: PageBlocks, thread: Thread, drop: list[bool]) -> None:
    """Where the posts hold what signs them: short texts with a date beside a name, at their ends."""
    blocks = page.blocks
    marks = thread.marks
    for index in range(thread.start, thread.end):
        block = blocks[index]
        if drop[index] or not marks[index] or not block.num_chars:
            continue
        rest = block.num_chars - sum(len(found.group()) for found in DATE.finditer(block.text)) - block.link_chars
        if rest <= 0.3 * block.num_chars or (block.link_chars and rest <= 40):
            drop[index] = True


def _drop_names(page: PageBlocks, thread: Thread, drop: list[bool]) -> None:
    """The links that a post begins with, above its first words, name who writes."""
    blocks, containers = page.blocks, page.containers
    for member in thread.members:
        names = []
        for index in range(containers[member].start, containers[member].end):
            block = blocks[index]
            if drop[index] or not block.num_chars:
                continue
            is_name = block.num_chars <= _MAX_NAME_CHARS and block.link_chars >= 0.9 * block.num_chars
            if not is_name or block.text.startswith("http"):
                for name in names:
                    drop[name] = True
                break
            names.append(index)


_MAX_NAME_CHARS = 40


def _drop_templates(page: PageBlocks, thread: Thread, drop: list[bool]) -> None:
    """Short texts that stand in half of the posts are buttons and labels."""
    blocks = page.blocks
    seen: Counter[str] = Counter()
    for text in {
        (thread.owners[index], _plain(blocks[index].text))
        for index in range(thread.start, thread.end)
        if not drop[index] and 0 < blocks[index].num_chars <= _MAX_LABEL_CHARS
    }:
        seen[text[1]] += 1
    least = max(2, 0.5 * len(thread.members))
    for index in range(thread.start, thread.end):
        if not drop[index] and 0 < blocks[index].num_chars <= _MAX_LABEL_CHARS:
            drop[index] = seen[_plain(blocks[index].text)] >= least


_MAX_LABEL_CHARS = 50
_DIGITS = re.compile(r"\d+")


def _plain(text: str) -> str:
    return _DIGITS.sub("0", text).casefold().strip()


def _drop_endings(page: PageBlocks, thread: Thread, drop: list[bool]) -> None:
    """What ends one post just as it ends another is what somebody signs with."""
    blocks, containers = page.blocks, page.containers
    kept = [
        [i for i in range(containers[m].start, containers[m].end) if not drop[i] and thread.owners[i] == m]
        for m in thread.members
    ]
    for _ in range(_MAX_ENDING):
        last = Counter(blocks[rest[-1]].text for rest in kept if len(rest) > 1 and blocks[rest[-1]].num_chars)
        for rest in kept:
            if len(rest) > 1 and last[blocks[rest[-1]].text] > 1:
                drop[rest.pop()] = True


_MAX_ENDING = 4  # blocks


def _drop_quotations(page: PageBlocks, thread: Thread, drop: list[bool]) -> None:
    """Quotations of what an earlier post says."""
    blocks = page.blocks
    said: set[str] = set()
    for index in range(thread.start, thread.end):
        block = blocks[index]
        if drop[index] or not block.num_chars:
            continue
        if block.role is Role.QUOTATION and (block.text in said or _SAYS.search(block.text)):
            drop[index] = True
        said.add(block.text)


_SAYS = re.compile(r"^.{0,80}(?:wrote|said|schrieb|写道|发表于|escribió|a écrit|написал|ha scritto|escreveu)\s?[:：]", re.I)


def is_sign(reference: ImageReference) -> bool:
    """Whether an image is a smiley, a badge or a picture of who writes."""
    width, height = reference.rendered_width, reference.rendered_height
    if min(width or _SIGN_PX, height or _SIGN_PX) < _SIGN_PX:
        return True
    if reference.alt and _SMILEY.fullmatch(reference.alt.strip()):
        return True
    return any(_SIGN_ADDRESS.search(url, 0, 300) for url in reference.candidates[:1])


_SIGN_PX = 50
_SMILEY = re.compile(r":\w{1,30}:|[:;8=xX]['-]?[()DPpOo|/\\*\]\[]{1,2}|[\U0001f300-\U0001faff\u2600-\u27bf]{1,3}\ufe0f?")
_SIGN_ADDRESS = re.compile(r"smil(?:ey|ie)|emot(?:icon|e)|emoji|avatar|gravatar|/ranks?/|user_?photo|profile_?pic", re.I)


def _num_plain(blocks: Sequence[Block]) -> int:
    return sum(b.num_chars - b.link_chars for b in blocks if b.role is not Role.HEADING)
