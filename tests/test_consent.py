"""Opt-out signals: found wherever a page or a response may state them, and read by their own grammars."""

import time

import lxml.html
import pytest

from gobelin.transforms.rights.consent import (
    AI_AGENTS,
    MAX_SIGNALS,
    consent_of_headers,
    directives,
    effective,
    find_consent,
    merge_signals,
    refusal,
)

Headers = tuple[tuple[str, str], ...]


def tree(html: str) -> lxml.html.HtmlElement:
    return lxml.html.document_fromstring(html)


# ------------------------------------------------------------------------------------------------------------- finding


@pytest.mark.parametrize(
    ("html", "headers", "signals"),
    [
        ("<p>x", (), ()),
        ("<meta name=robots content='noai, noimageai'><p>x", (), ("meta robots: noai, noimageai",)),
        ("<meta name=ROBOTS content=NoAI><p>x", (), ("meta robots: NoAI",)),
        ("<body><meta name=' robots ' content=' noai\n'><p>x", (), ("meta robots: noai",)),
        ("<meta name=robots><p>x", (), ("meta robots: ",)),
        (
            "<meta name=robots content=index><meta name=robots content=noai><p>x",
            (),
            ("meta robots: index", "meta robots: noai"),
        ),
        ("<meta name=googlebot content=noindex><p>x", (), ("meta googlebot: noindex",)),
        ("<meta name=Googlebot-News content=noindex><p>x", (), ("meta googlebot-news: noindex",)),
        ("<meta name=CCBot content=nofollow><p>x", (), ("meta ccbot: nofollow",)),
        ("<meta name=Google-Extended content=noai><p>x", (), ("meta google-extended: noai",)),
        ("<meta name=img2dataset content=noai><p>x", (), ("meta img2dataset: noai",)),
        ("<meta http-equiv=X-Robots-Tag content=noai><p>x", (), ("meta x-robots-tag: noai",)),
        ("<meta name=tdm-reservation content=1><p>x", (), ("meta tdm-reservation: 1",)),
        ("<meta name=TDM-Policy content=https://e.example/p><p>x", (), ("meta tdm-policy: https://e.example/p",)),
        ("<meta http-equiv=refresh content=noai><meta name=x http-equiv=x-robots-tag content=noai><p>x", (), ()),
        ("<meta name=description content=noai><p>x", (), ()),
        ("<meta name=robots-nocontent content=x><meta name=abbot-and-costello content=x><p>x", (), ()),
        ("<p>noai", (("Content-Type", "noai"),), ()),
        ("<p>x", (("X-Robots-Tag", "noai"),), ("header x-robots-tag: noai",)),
        (
            "<p>x",
            (("x-robots-tag", "noindex"), ("X-ROBOTS-TAG", "googlebot: noai")),
            ("header x-robots-tag: googlebot: noai", "header x-robots-tag: noindex"),
        ),
        ("<p>x", (("TDM-Reservation", "1"),), ("header tdm-reservation: 1",)),
        ("<p>x", (("Content-Usage", "train-ai=n"),), ("header content-usage: train-ai=n",)),
        # Lines of a structured field are one field; the order of lines is kept.
        (
            "<p>x",
            (("Content-Usage", "train-ai=y"), ("Content-Usage", "search=n")),
            ("header content-usage: train-ai=y, search=n",),
        ),
        ("<p>x", (("Content-Signal", "ai-train=no"),), ("header content-signal: ai-train=no",)),
        ("<meta name=robots content='no&#xD800;ai'><p>x", (), None),
    ],
)
def test_find_consent(html: str, headers: Headers, signals: tuple[str, ...] | None) -> None:
    found = find_consent(tree(html), headers)
    assert signals is None or found == signals
    "".join(found).encode()


def test_an_image_has_the_signals_of_its_response() -> None:
    headers = (("Content-Type", "image/png"), ("X-Robots-Tag", "noimageai"), ("tdm-reservation", "1"))
    assert consent_of_headers(headers) == ("header tdm-reservation: 1", "header x-robots-tag: noimageai")
    assert consent_of_headers(()) == ()


# ---------------------------------------------------------------------------------------------------------- directives


@pytest.mark.parametrize(
    ("signal", "found"),
    [
        ("meta robots: noai, noimageai", {"noai", "noimageai"}),
        ("meta robots: NoAI", {"noai"}),
        ("meta robots: noai;noimageai", {"noai", "noimageai"}),
        ("meta robots: noai noimageai", {"noai", "noimageai"}),
        ("meta robots: ", set()),
        ("meta robots: index, follow", {"index", "follow"}),
        ("meta robots: none", {"none", "noindex", "nofollow"}),
        ("meta robots: max-snippet:-1, noai", {"noai", "max-snippet", "max-snippet=-1"}),
        ("meta robots: max-image-preview:none", {"max-image-preview", "max-image-preview=none"}),
        ("header x-robots-tag: googlebot: noindex", {"noindex"}),
        ("header tdm-reservation: 1", {"tdm-reservation=1"}),
        ("meta tdm-reservation: 0", {"tdm-reservation=0"}),
        ("tdmrep.json tdm-reservation: 1", {"tdm-reservation=1"}),
        # Other values are protocol errors: as if there were none.
        ("meta tdm-reservation: 2", set()),
        ("meta tdm-reservation: yes", set()),
        ("meta tdm-reservation: ", set()),
        ("header tdm-reservation: 1, 0", set()),
        ("meta tdm-policy: https://e.example/p", {"tdm-policy", "tdm-policy=https://e.example/p"}),
        ("header content-usage: train-ai=n, search=y", {"train-ai=n", "search=y"}),
        # The examples of draft-ietf-aipref-vocab: the last of a key counts, and only as a token.
        ('header content-usage: train-ai=y, train-ai, search=n, search="n"', set()),
        ("header content-usage: train-ai;allow=n, train-ai=y", {"train-ai=y"}),
        ('header content-usage: train-ai;has;parameters="?"', set()),
        ("header content-usage: train-ai=n;p=1", {"train-ai=n"}),
        ("header content-usage: train-ai=maybe", set()),
        ("header content-usage: train-ai=?0", set()),
        # Malformed: refusals are read, permissions are not.
        ("header content-usage: train-ai = n", {"train-ai=n"}),
        ("header content-usage: Train-AI=N, search = y", {"train-ai=n"}),
        ("header content-usage: train-ai = no", set()),
        ("header content-usage: train-ai=ü", set()),
        ("header content-signal: ai-train, =no, ai-input=", set()),
        ("header content-signal: search=yes, ai-train=no", {"search=yes", "ai-train=no"}),
        ("robots.txt content-signal: Search=YES,AI-Train = No,use=full", {"search=yes", "ai-train=no", "use=full"}),
        ("robots.txt content-signal: gptbot: ai-train=no", {"ai-train=no"}),
        ("robots.txt content-usage: gptbot: train-ai=n", {"train-ai=n"}),
        ("robots.txt disallow: *", {"disallow"}),
        ("robots.txt disallow: ccbot", {"disallow"}),
    ],
)  # fmt: skip
def test_directives(signal: str, found: set[str]) -> None:
    assert directives(signal) == found


LINE = "header x-robots-tag: noarchive, googlebot: noindex, nofollow, BingBot: noai, noimageai, max-snippet: 5"


@pytest.mark.parametrize(
    ("signal", "agents", "found"),
    [
        (LINE, (), {"noarchive"}),
        (LINE, ("googlebot",), {"noarchive", "noindex", "nofollow"}),
        (LINE, ("bingbot",), {"noarchive", "noai", "noimageai", "max-snippet", "max-snippet=5"}),
        (LINE, ("ccbot",), {"noarchive"}),
        (LINE, None, {"noarchive", "noindex", "nofollow", "noai", "noimageai", "max-snippet", "max-snippet=5"}),
        ("header x-robots-tag: bingbot: max-snippet: 5", ("bingbot",), {"max-snippet", "max-snippet=5"}),
        ("header x-robots-tag: gptbot: noindex, *: noai", (), {"noai"}),
        ("header x-robots-tag: Kangaroo Bot: noai", (), set()),
        ("header x-robots-tag: Kangaroo Bot: noai", ("kangaroo bot",), {"noai"}),
        ("header x-robots-tag: iaskspider/2.0: noai", (), set()),
        ("meta robots: noai", (), {"noai"}),
        ("meta gptbot: noai", (), set()),
        ("meta gptbot: noai", ("gptbot",), {"noai"}),
        ("meta x-robots-tag: noai", (), {"noai"}),
        ("robots.txt disallow: ccbot", (), set()),
        ("robots.txt disallow: ccbot", ("ccbot",), {"disallow"}),
        ("robots.txt disallow: *", (), {"disallow"}),
        ("robots.txt content-signal: gptbot: ai-train=no", ("ccbot",), set()),
        ("robots.txt content-signal: ai-train=no", (), {"ai-train=no"}),
    ],
)
def test_directives_of_agents(signal: str, agents: tuple[str, ...] | None, found: set[str]) -> None:
    assert directives(signal, agents) == found


@pytest.mark.parametrize(
    "date",
    ["25 Jun 2010 15:00:00 PST", "Friday, 25 Jun 2010 15:00:00 PST", "Fri, Jun 25 2010 15:00:00", "2010-06-25T15:00"],
)
def test_a_date_is_no_agent(date: str) -> None:
    found = directives(f"header x-robots-tag: unavailable_after: {date}, noai", ())
    assert "noai" in found
    assert "unavailable_after" in found


@pytest.mark.parametrize("where", ["header x-robots-tag", "meta robots"])
@pytest.mark.parametrize("times", [1, 2000])
def test_an_opt_out_counts_however_far_behind_it_stands(where: str, times: int) -> None:
    """A signal is recorded up to some length; what is cut off must not be the opt-out."""
    value = ", ".join([f"max-snippet:{n}" for n in range(times)] + ["noai"])
    place, name = where.split()
    html = f"<meta name={name} content='{value}'>" if place == "meta" else ""
    (signal,) = find_consent(tree(f"{html}<p>x"), ((name, value),) if place == "header" else ())
    assert len(signal) < 9000
    assert "noai" in directives(signal, ())


# --------------------------------------------------------------------------------------------- all signals of one page


@pytest.mark.parametrize(
    ("signals", "denied", "agents", "found"),
    [
        ([], ["noai"], None, None),
        (["meta robots: noai"], ["noai"], None, "noai in meta robots: noai"),
        (["meta robots: noai"], ["NoAI"], None, "noai in meta robots: noai"),
        (["meta robots: noai"], [], None, None),
        (["meta robots: index", "header x-robots-tag: noai"], ["noai"], None, "noai in header x-robots-tag: noai"),
        (["meta gptbot: noai"], ["noai"], (), None),
        (["robots.txt disallow: ccbot"], ["disallow"], ("gptbot",), None),
        (["robots.txt disallow: ccbot"], ["disallow"], ("ccbot",), "disallow in robots.txt disallow: ccbot"),
        (["meta robots: noimageai, noai", "header x-robots-tag: noai"], ["noai", "noimageai"], None,
         "noai in header x-robots-tag: noai"),
        (["meta robots: noimageai, noai"], ["noimageai", "noai"], None, "noai in meta robots: noimageai, noai"),
        # A use stands for all that refuses it.
        (["robots.txt content-signal: ai-train=no"], ["ai-train"], None,
         "ai-train in robots.txt content-signal: ai-train=no"),
        (["header content-usage: genai=n"], ["ai-train"], None, "ai-train in header content-usage: genai=n"),
        (["header content-usage: train-ai=y", "meta robots: index"], ["ai-train"], None, None),
        (["meta gptbot: noindex, nofollow"], ["ai-train"], None, "ai-train in meta gptbot: noindex, nofollow"),
        (["meta gptbot: noindex"], ["ai-train"], ("ccbot",), None),
        (["meta googlebot: noindex", "meta robots: noindex", "meta ccbot: nofollow"], ["ai-train"], None, None),
        (["tdmrep.json tdm-reservation: 1", "meta tdm-reservation: 0"], ["tdm"], None, None),
        # TDMRep: the header overrides the file, the meta both; a value that says nothing overrides nothing.
        (["tdmrep.json tdm-reservation: 1"], ["tdm-reservation=1"], None,
         "tdm-reservation=1 in tdmrep.json tdm-reservation: 1"),
        (["tdmrep.json tdm-reservation: 1", "header tdm-reservation: 0"], ["tdm-reservation=1"], None, None),
        (["tdmrep.json tdm-reservation: 0", "header tdm-reservation: 1"], ["tdm-reservation=1"], None,
         "tdm-reservation=1 in header tdm-reservation: 1"),
        (["header tdm-reservation: 1", "meta tdm-reservation: 0"], ["tdm-reservation=1"], None, None),
        (["header tdm-reservation: 1", "meta tdm-reservation: yes"], ["tdm-reservation=1"], None,
         "tdm-reservation=1 in header tdm-reservation: 1"),
        (["tdmrep.json tdm-reservation: 1", "header tdm-policy: /p"], ["tdm-reservation=1"], None,
         "tdm-reservation=1 in tdmrep.json tdm-reservation: 1"),
        (["meta tdm-reservation: 0", "meta tdm-reservation: 1"], ["tdm-reservation=1"], None,
         "tdm-reservation=1 in meta tdm-reservation: 1"),
    ],
)  # fmt: skip
def test_refusal(signals: list[str], denied: list[str], agents: tuple[str, ...] | None, found: str | None) -> None:
    assert refusal(signals, denied, agents) == found
    assert refusal(reversed(signals), denied, agents) == found


@pytest.mark.parametrize(
    ("signals", "verdicts"),
    [
        ([], {}),
        (["meta robots: index, follow"], {}),
        (["meta robots: noai"], {"ai-train": "disallow", "ai-input": "disallow", "image-train": "disallow"}),
        (["meta robots: noimageai"], {"image-train": "disallow"}),
        (["meta robots: none"], {"index": "disallow"}),
        (["header content-usage: train-ai=y"], {"ai-train": "allow"}),
        (["header content-usage: train-ai=y", "robots.txt content-signal: ai-train=no"], {"ai-train": "disallow"}),
        (["robots.txt content-signal: search=yes,ai-train=no"], {"ai-train": "disallow", "search": "allow"}),
        (["header content-usage: genai=n"], {"ai-train": "disallow"}),
        (["header content-usage: bots=n"],
         {"ai-input": "disallow", "ai-train": "disallow", "search": "disallow", "tdm": "disallow"}),
        (["header x-robots-tag: ccbot: none"], {"ai-train": "disallow", "index": "disallow"}),
        (["robots.txt disallow: ccbot"], {"ai-train": "disallow"}),
        (["tdmrep.json tdm-reservation: 1", "meta tdm-reservation: 0"], {"tdm": "allow"}),
        (["tdmrep.json tdm-reservation: 1"], {"tdm": "disallow"}),
    ],
)  # fmt: skip
def test_effective(signals: list[str], verdicts: dict[str, str]) -> None:
    assert effective(signals) == verdicts
    assert effective(reversed(signals)) == verdicts


def test_effective_of_agents() -> None:
    signals = ["robots.txt disallow: ccbot", "meta gptbot: noai"]
    assert effective(signals, ()) == {}
    assert effective(signals, ("ccbot",)) == {"ai-train": "disallow"}


def test_merge_signals() -> None:
    assert merge_signals(["b: 1", "a: 1"], ("a: 1",)) == ("a: 1", "b: 1")
    many = [f"meta a{n}bot: index" for n in range(1000)]
    merged = merge_signals(many, ["meta zbot: noai"])
    assert len(merged) == MAX_SIGNALS
    assert "meta zbot: noai" in merged
    assert merge_signals(["meta zbot: noai"], reversed(many)) == merged


def test_agents_are_product_tokens() -> None:
    assert list(AI_AGENTS) == sorted(set(AI_AGENTS))
    assert all(agent == agent.lower().strip() for agent in AI_AGENTS)


# ------------------------------------------------------------------------------------------------------------- hostile


def test_hostile_pages_take_linear_time() -> None:
    pages = [
        "<meta name=abot content=noai>" * 20_000,
        "".join(f"<meta name=a{n}bot content=noai>" for n in range(5_000)),
        "<meta name=robots content='" + "noai," * 100_000 + "'>",
        "<meta name=robots content='" + "x: " * 100_000 + "'>",
        "<meta name=" + "a" * 1_000_000 + "bot content=noai>",
    ]
    start = time.perf_counter()
    for page in pages:
        found = find_consent(tree(page + "<p>x"), ())
        assert len(found) <= MAX_SIGNALS
        assert sum(map(len, found)) < 100_000
    assert time.perf_counter() - start < 10.0


@pytest.mark.parametrize("name", ["x-robots-tag", "content-usage", "content-signal", "tdm-policy", "tdm-reservation"])
@pytest.mark.parametrize("unit", ["a", "a:", "a b ", "a=", "a=n,", "a=((", 'a="', "a;", ": ", ",", " ", "A=n", "-"])
def test_hostile_headers_take_linear_time(name: str, unit: str) -> None:
    start = time.perf_counter()
    for signal in consent_of_headers(((name, unit * (65536 // len(unit))),)):
        assert len(signal) < 9000
        directives(signal)
    assert time.perf_counter() - start < 2.0
