# ruff: noqa: E501  # markup
"""Conversations: told from articles with comments, lists and products, and read post by post."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from gobelin.data.model import PageKind
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.find_nodes import PageContent, TextPiece, read_page

POSTS = (
    "My sourdough has stopped rising since I moved house. Same flour, same jar, same hours. What could it be?",
    "Measure the temperature of the kitchen at night. Below eighteen degrees mine needs twice as long.",
    "That was it, thank you!",
    "Old thread, but it helped me too: a cupboard above the fridge is three degrees warmer than the table.",
)
NAMES = ("breadhead", "Old Miller", "breadhead", "Ines")
DATES = ("Mar 3, 2021, 10:12", "Mar 3, 2021, 14:40", "Mar 4, 2021, 08:01", "Apr 12, 2022, 19:30")
SIGNATURE = "Crumbs are the confetti of a life well lived."
PROSE = "".join(
    f"<p>Bakers of the {century} century wrote little down, and what they wrote has gone up in smoke with them.</p>"
    for century in ("fourteenth", "fifteenth", "sixteenth", "seventeenth")
)


def page(body: str, head: str = "", attributes: str = "", url: str = "https://a.example/x") -> tuple[str, str]:
    return (
        f"<html><head><title>No rise - Bread talk</title>{head}</head><body {attributes}>"
        '<div id="nav"><ul><li><a href="/">Start</a></li><li><a href="/m">Members</a></li></ul></div>'
        f'{body}<div id="footer"><p>All times are UTC. <a href="/p">Privacy</a></p></div></body></html>',
        url,
    )


def each(post: Callable[[int], str]) -> str:
    return "".join(post(number) for number in range(len(POSTS)))


def read(html: str, url: str) -> PageContent:
    content = read_page(html.encode(), "utf-8", url, ())
    assert isinstance(content, PageContent)
    return content


def texts(content: PageContent) -> list[str]:
    return [piece.text for piece in content.pieces if isinstance(piece, TextPiece)]


PROFILE_BESIDE = page(
    "<h2><a href='/t'>No rise</a></h2>"
    + each(
        lambda n: (
            f"""<div id="p{n + 70}" class="post bg{n % 2}"><dl class="postprofile"><dt>
        <img class="avatar" src="/avatar/{n}.jpg" width="90" height="90"><a href="/u" class="username">{NAMES[n]}</a>
        </dt><dd>Posts: {n}31</dd><dd>Joined: Sun Jan 5, 2014</dd></dl><div class="postbody"><h3><a href="#p">Re: No rise</a></h3>
        <p class="author">by <a href="/u">{NAMES[n]}</a> {DATES[n]}</p><div class="content">
        {"<blockquote><cite>Old Miller wrote:</cite> Measure the temperature.</blockquote>" if n == 2 else ""}
        {POSTS[n]}{'<br><img src="/loaf.jpg" width="600" height="400"><img src="/s/smile.gif" alt=":)">' if n == 1 else ""}
        </div><div class="signature">{SIGNATURE}</div></div></div>"""
        )
    ),
    attributes='class="section-viewtopic"',
)
MICRODATA = page(
    "<h1>No rise</h1>"
    + each(
        lambda n: (
            f"""<div class="topic-body crawler-post" itemscope itemtype="http://schema.org/DiscussionForumPosting">
        <div class="crawler-post-meta"><a href="/u">{NAMES[n]}</a> <time>{DATES[n]}</time></div>
        <div class="post" itemprop="text"><p>{POSTS[n]}</p></div><div><span class="post-likes">{n} Likes</span></div></div>"""
        )
    )
)
LAID_OUT_IN_TABLES = page(
    '<table><tr><td><strong>No rise - Bread talk</strong></td></tr></table><div id="posts">'
    + each(
        lambda n: (
            f"""<table id="post{n}" class="tborder"><tr><td class="thead">{DATES[n]}</td><td>#<a href="x">{n}</a></td>
        </tr><tr><td class="alt2"><div><a href="/u">{NAMES[n]}</a></div><div>Join Date: Jan 2014</div></td><td class="alt1">
        <div class="smallfont"><strong>Re: No rise</strong></div><div id="post_message_{n}">{POSTS[n]}</div>
        <div>______<br>{SIGNATURE}</div></td></tr></table>"""
        )
    )
    + "</div>",
    url="https://a.example/showthread.php?t=5",
)
NESTED = page(
    f'<div class="thing"><p class="title"><a href="/r">No rise - Bread talk</a></p><div class="md"><p>{POSTS[0]}</p></div></div>'
    '<div class="commentarea">'
    + "".join(
        f"""<div class="thing comment"><p class="tagline"><a href="/u">{NAMES[n]}</a> {n} points 3 years ago</p>
        <div class="md"><p>{POSTS[n]}</p></div><ul class="buttons"><li><a>permalink</a></li><li><a>reply</a></li></ul>
        <div class="child">"""
        for n in (1, 2, 3)
    )
    + "</div></div>" * 3
    + "</div>",
    url="https://a.example/r/bread/comments/1/no_rise/",
)
COMMENTS_ARE_ALL = page(
    '<table><tr><td><a href="https://b.example">No rise - Bread talk</a></td></tr></table><table class="comment-tree">'
    + "".join(
        f"""<tr class="athing" id="{n}"><td><table><tr><td><img src="s.gif" width="{40 * n}" height="1"></td><td class="default"><div>
        <a href="/u">{NAMES[n]}</a> {n + 2} hours ago</div><div class="comment"><span>{POSTS[n]}</span><p>This is true of ovens, too.
        So number {"abcd"[n]} says.</p><div class="reply"><p><a href="r">reply</a></p></div></div></td></tr></table></td></tr>"""
        for n in range(4)
    )
    + "</table>"
)
HEADS_UNREAD = page(
    "<h1>No rise</h1><div class='comments_list'>"
    + each(
        lambda n: (
            f"""<div class="comments_list__comment"><div class="comment__info"><ul class="comment__info__date"><li>{DATES[n]}</li></ul>
            <a href="/u">{NAMES[n]}</a></div><div class="comment__text"><p>{POSTS[n]}</p>
            <p>This is true of ovens, too. So number {"abcd"[n]} says.</p></div></div>"""
        )
    )
    + "</div>",
    url="https://a.example/topic/5/no-rise/",
)
THREADS = {
    "heads named as comments": HEADS_UNREAD,
    "profile beside the post": PROFILE_BESIDE,
    "microdata": MICRODATA,
    "tables": LAID_OUT_IN_TABLES,
    "answers in answers": NESTED,
    "comments are all": COMMENTS_ARE_ALL,
}


@pytest.mark.parametrize("name", THREADS)
def test_posts_are_the_page(name: str) -> None:
    content = read(*THREADS[name])
    text = "\n".join(texts(content))
    assert content.page_kind is PageKind.THREAD
    places = [text.find(post) for post in POSTS]
    assert -1 not in places
    assert places == sorted(places)
    assert texts(content)[0].startswith("No rise")
    for word in (
        "Joined",
        "Posts:",
        "Old Miller",
        "Ines",
        "2021",
        "wrote:",
        "Likes",
        "confetti",
        "points",
        "permalink",
    ):
        assert word not in text


def test_pictures_of_posts_stay_and_those_of_people_go() -> None:
    content = read(*PROFILE_BESIDE)
    images = [piece.candidates[0] for piece in content.pieces if not isinstance(piece, TextPiece)]
    assert images == ["https://a.example/loaf.jpg"]


def answer(number: int) -> str:
    return f"""<div class="answer" id="answer-{number}"><div class="votecell"><div class="vote-count">{number}</div></div>
    <div class="prose post-body"><p>{POSTS[number]}</p></div><div class="post-signature">answered {DATES[number]}
    <a href="/u">{NAMES[number]}</a></div></div>"""


@pytest.mark.parametrize("answers", [(1,), (1, 3)])
def test_question_and_answers(answers: tuple[int, ...]) -> None:
    html, url = page(
        f"""<h1><a href="/questions/1">No rise</a></h1><div class="question" id="question"><div class="prose post-body">
        <p>{POSTS[0]}</p></div><div class="post-signature">asked {DATES[0]} <a href="/u">{NAMES[0]}</a></div></div>
        <div id="answers"><h2>{len(answers)} Answers</h2>{"".join(map(answer, answers))}</div>""",
        head='<script type="application/ld+json">{"@context": "https://schema.org", "@type": "QAPage"}</script>',
        url="https://a.example/questions/1/no-rise",
    )
    content = read(html, url)
    assert content.page_kind is PageKind.QUESTION
    assert texts(content) == ["No rise", POSTS[0], *(POSTS[number] for number in answers)]


def test_what_opens_a_thread_in_another_make_stays() -> None:
    html, url = page(
        f"""<h1>No rise</h1><div class="topic-detail"><p>{POSTS[0]}</p></div><div class="replies">"""
        + "".join(
            f'<div class="reply" id="reply-{n}"><div class="info"><a href="/u">{NAMES[n]}</a> #{n} 1 month ago</div>'
            f'<div class="markdown"><p>{POSTS[n]}</p></div></div>'
            for n in (1, 2, 3)
        )
        + "</div>",
        url="https://a.example/topics/9",
    )
    assert texts(read(html, url)) == ["No rise", *POSTS]


def test_signature_that_no_name_tells() -> None:
    html, url = page(
        "<h1>No rise</h1>"
        + each(
            lambda n: (
                f"""<div class="msg"><div class="who"><a href="/u">{NAMES[n]}</a> {DATES[n]}</div>
            <div class="msgtext"><div>{POSTS[n]}</div><div>{SIGNATURE if n in (0, 2) else ""}</div></div></div>"""
            )
        ),
        url="https://a.example/forum/4",
    )
    assert texts(read(html, url)) == ["No rise", *POSTS]


def comments(name: str) -> str:
    return f'<section class="{name}"><h2>4 comments</h2>' + each(
        lambda n: (
            f'<div class="comment"><div class="comment-author"><a href="/u">{NAMES[n]}</a> {DATES[n]}</div>'
            f'<div class="comment-text"><p>{POSTS[n]}</p></div></div>'
        )
    )


OTHERS = {
    "blog": (PageKind.ARTICLE, page(f'<main><article class="post"><h1>Bread</h1>{PROSE}</article>{comments("thread")}')),
    "news": (
        PageKind.ARTICLE,
        page(
            f"<article><h1>Bread</h1>{PROSE}</article>{comments('discussion')}",
            head='<script type="application/ld+json">{"@type": "NewsArticle"}</script>',
        ),
    ),
    "list": (
        PageKind.LIST,
        page(
            each(
                lambda n: f'<article class="post"><h2><a href="/{n}">The bread of month number {n} and its crust</a></h2>'
                f"<p>By <a href='/u'>{NAMES[n]}</a>, {DATES[n]}</p><p>{POSTS[n]}</p><p>{POSTS[3 - n]}</p></article>"
            )
        ),
    ),
    "columns that are dated": (
        PageKind.ARTICLE,
        page(
            f'<div class="box-post"><h1>Bread</h1><p>{DATES[0]}</p>{PROSE}</div>'
            + each(lambda n: f'<div class="box-post"><h4>Day {n}</h4><p>{DATES[n]}</p><p>{POSTS[n]}</p></div>'),
            head='<meta property="og:type" content="article">',
        ),
    ),
    "product": (
        PageKind.PRODUCT,
        page(
            f'<div itemscope itemtype="https://schema.org/Product"><h1>Oven</h1>{PROSE}</div>{comments("reviews")}',
            url="https://a.example/community/oven",
        ),
    ),
    "releases": (
        PageKind.ARTICLE,
        page("<h1>Changes</h1>" + each(lambda n: f'<div class="release"><h2>{n}.0 ({DATES[n]})</h2><p>{POSTS[n]}</p></div>')),
    ),
    "manual": (
        PageKind.MANUAL,
        page(
            "<h1>Ovens</h1>" + each(lambda n: f'<p>{POSTS[n]}</p><div class="topic"><p>Since 2021</p><p>{POSTS[n]}</p></div>'),
            head='<meta name="generator" content="Docutils 0.18">',
        ),
    ),
    "answers that nobody signs": (
        PageKind.ARTICLE,
        page(
            '<h1>Asked often</h1><div class="questions">'
            + each(lambda n: f'<h3>What of {NAMES[n]} and the bread?</h3><div class="answer-text"><p>{POSTS[n]}</p></div>')
            + "</div>"
        ),
    ),
    "nothing": (PageKind.OTHER, page("<h1>Bread</h1><p>Soon.</p>")),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_of_page(name: str) -> None:
    kind, (html, url) = OTHERS[name]
    assert read(html, url).page_kind is kind


def test_an_index_of_a_forum_is_no_thread() -> None:
    html, url = page(
        each(
            lambda n: (
                f'<div class="topic"><h3><a href="/t/{n}">Why is my loaf of {DATES[n]} so flat?</a></h3><div class="meta">'
                f'<a href="/u">{NAMES[n]}</a> {DATES[n]}</div><p class="excerpt">{POSTS[n]}</p></div>'
            )
        ),
        url="https://a.example/forum/",
    )
    assert read(html, url).page_kind not in (PageKind.THREAD, PageKind.QUESTION)


@pytest.mark.parametrize("name", ["blog", "news", "product"])
def test_comments_of_an_article_go(name: str) -> None:
    text = "\n".join(texts(read(*OTHERS[name][1])))
    assert "fourteenth" in text
    assert POSTS[1] not in text


def test_posts_nested_deeply_take_time_in_proportion() -> None:
    def seconds(depth: int) -> float:
        posts = "".join(
            f'<div class="reply"><p><a href="/u">Ines</a> 3 hours ago</p><div class="text"><p>Loaf {chr(0x4E00 + n)}: {POSTS[1]}</p></div>'
            for n in range(depth)
        )
        html, url = page(posts + "</div>" * depth, url="https://a.example/forum/1")
        start = time.process_time()
        assert read(html, url).page_kind is PageKind.THREAD
        return time.process_time() - start

    seconds(50)
    assert seconds(900) < 12 * max(seconds(300), 0.02)


def pictures_in_posts(above: str, below: str) -> list[str]:
    posts = each(
        lambda n: (
            f"<div class=post>{above.format(n=n)}<p class=date><a href=/u/{n}>{NAMES[n]}</a>, {DATES[n]}</p>"
            f"<p>{POSTS[n]}</p>{below.format(n=n)}</div>"
        )
    )
    content = read(*page(f"<div class=thread><h1>No rise</h1>{posts}</div>"))
    assert content.page_kind is PageKind.THREAD
    return [piece.candidates[0].rsplit("/")[-1] for piece in content.pieces if isinstance(piece, ImageReference)]


def test_pictures_above_the_name_that_opens_a_post_are_portraits() -> None:
    assert pictures_in_posts("<img src=/p{n}.jpg>", "<img src=/loaf{n}.jpg>") == [f"loaf{n}.jpg" for n in range(4)]


def test_pictures_that_stand_in_three_posts_are_signs() -> None:
    assert pictures_in_posts("", "<img src=/medal.jpg><img src=/loaf{n}.jpg>") == [f"loaf{n}.jpg" for n in range(4)]
