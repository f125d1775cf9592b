"""Opt-out signals of pages and images, recorded as found. The recipe decides about them.

A signal is a string, ``where: value``:

    header x-robots-tag: googlebot: noindex, noai      one response header (also ``tdm-reservation``, ``tdm-policy``,
    meta robots: noai, noimageai                       ``content-usage``, ``content-signal``); one meta element
    robots.txt disallow: ccbot                         rules of the site's robots.txt and /.well-known/tdmrep.json for
    the
    tdmrep.json tdm-reservation: 1                     page's address (``site_policy.py``)

``directives`` reads one signal. Directives of X-Robots-Tag apply to the agent named before them, up to the next agent
in the same line. A name before a colon is an agent unless it is a directive with a value. ``refusal`` and ``effective``
read all signals of a page together, with the precedence of TDMRep: a meta element overrides the header, and the header
overrides the file. A value other than 0 or 1, or no value, overrides nothing.

If a signal is ambiguous, the stricter reading counts. Directives for one agent count for all agents, unless the caller
names the relevant agents. In a malformed Content-Usage, refusals count and permissions do not.

Cost: one walk over the tree, about 0.2 ms for a page of 150 KB. Sources: Google's robots meta specification, W3C TDMRep
(2024), draft-ietf-aipref-attach and -vocab, RFC 9651, contentsignals.org.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal

import http_sf
from lxml.html import HtmlElement

from gobelin.transforms.urls import well_formed

Verdict = Literal["allow", "disallow"]

AI_AGENTS = (
    "ai2bot", "ai2bot-dolma", "amazonbot", "anthropic-ai", "applebot-extended", "bytespider", "ccbot",
    "chatglm-spider", "claude-web", "claudebot", "cohere-ai", "cohere-training-data-crawler", "cotoyogi",
    "deepseekbot", "diffbot", "facebookbot", "friendlycrawler", "google-extended", "gptbot", "icc-crawler",
    "imagesiftbot", "img2dataset", "kangaroo bot", "laion-huggingface-processor", "laiondownloader",
    "meta-externalagent", "omgili", "omgilibot", "pangubot", "sbintuitionsbot", "spawning-ai", "timpibot",
    "velenpublicwebcrawler", "webzio-extended",
)  # fmt: skip
"""Product tokens, in lower case, of robots that collect training data (sources: ai.robots.txt and the robots'
owners)."""

MAX_SIGNAL_CHARS = 8192
MAX_SIGNALS = 256
"""Maximum number of signals of one page or image. If there are more, opt-outs have priority."""

_HEADERS = frozenset(("x-robots-tag", "tdm-reservation", "tdm-policy", "content-usage", "content-signal"))
_STRUCTURED = frozenset(("content-usage",))
"""Headers whose lines are one field (RFC 9651), joined by commas. Lines of X-Robots-Tag have separate agents."""

_TDM = frozenset(("tdm-reservation", "tdm-policy"))
_AGENT_METAS = frozenset((*AI_AGENTS, "slurp", "teoma", "yandex", "baiduspider", "bingpreview"))
_ROBOT_META = re.compile(r"robots|[a-z][\w.-]{0,40}bot(?:-[a-z]{1,20})?")
_TAKE_VALUES = frozenset(("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"))
_AGENT = re.compile(r"\*|[a-z][\w./-]{0,60}|[a-z][a-z._-]*(?: [a-z._-]+){1,3}")
"""A product token, or several words without digits: in "25 jun 2010 15:00" the text before the colon is part of a
date."""

_DIRECTIVE = re.compile(r"[a-z][\w-]*(?:\s*=\s*[\w-]+)?")
_REFUSED_KEY = re.compile(r"(?<![\w*.-])([a-z*][\w*.-]{0,60})\s*=\s*n(?![\w*.-])")

_PRECEDENCE = {"meta": 2, "header": 1, "tdmrep.json": 0}

_MEANINGS: dict[str, tuple[Verdict, tuple[str, ...]]] = {
    # robots meta and X-Robots-Tag
    "noai": ("disallow", ("ai-train", "ai-input", "image-train")),
    "noml": ("disallow", ("ai-train", "image-train")),
    "noimageai": ("disallow", ("image-train",)),
    "noindex": ("disallow", ("index",)),
    "noimageindex": ("disallow", ("image-index",)),
    # robots.txt, for every robot or for one that gathers training material
    "disallow": ("disallow", ("ai-train",)),
    # TDMRep
    "tdm-reservation=1": ("disallow", ("tdm",)),
    "tdm-reservation=0": ("allow", ("tdm",)),
}
_USAGE_KEYS: dict[str, tuple[str, ...]] = {
    # Content-Usage: the labels of draft-ietf-aipref-vocab, in its several versions
    "train-ai": ("ai-train",),
    "ai-use": ("ai-input",),
    "search": ("search",),
    "train-genai": ("ai-train",),
    "genai": ("ai-train",),
    "ai": ("ai-train",),
    "ai-output": ("ai-input",),
    "inference": ("ai-input",),
    "tdm": ("tdm",),
    "bots": ("tdm", "ai-train", "ai-input", "search"),
    # Content-Signal
    "ai-train": ("ai-train",),
    "ai-input": ("ai-input",),
}
_MEANINGS |= {f"{key}={value}": ("disallow", uses) for key, uses in _USAGE_KEYS.items() for value in ("n", "no")}
_MEANINGS |= {f"{key}={value}": ("allow", uses) for key, uses in _USAGE_KEYS.items() for value in ("y", "yes")}


def find_consent(tree: HtmlElement, headers: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """The signals of a page in its response headers and meta elements, sorted."""
    metas = []
    for meta in tree.iter("meta"):
        name = (meta.get("name") or "").strip().lower()
        if name in _TDM or name in _AGENT_METAS or _ROBOT_META.fullmatch(name):
            metas.append(_signal(f"meta {name}", meta.get("content") or ""))
        elif not name and (meta.get("http-equiv") or "").strip().lower() == "x-robots-tag":
            metas.append(_signal("meta x-robots-tag", meta.get("content") or ""))
    return merge_signals(consent_of_headers(headers), metas)


def consent_of_headers(headers: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """The signals in the headers of a response, sorted. An image has no other signals of its own."""
    found = []
    lines: dict[str, list[str]] = {}
    for name, value in headers:
        name = name.lower()
        if name in _STRUCTURED:
            lines.setdefault(name, []).append(value)
        elif name in _HEADERS:
            found.append(_signal(f"header {name}", value))
    found += [_signal(f"header {name}", ", ".join(values)) for name, values in lines.items()]
    return merge_signals(found)


def merge_signals(*groups: Iterable[str]) -> tuple[str, ...]:
    """The signals of several sources: distinct, sorted, at most ``MAX_SIGNALS``."""
    distinct = {signal for group in groups for signal in group}
    if len(distinct) > MAX_SIGNALS:
        ranked = sorted(distinct, key=lambda signal: (not _opts_out(signal), signal))
        distinct = set(ranked[:MAX_SIGNALS])
    return tuple(sorted(distinct))


def directives(signal: str, agents: Collection[str] | None = None) -> set[str]:
    """The directives of one signal in lower case: ``{"noai", "noindex"}``, ``{"tdm-reservation=1"}``,
    ``{"ai-train=no"}``.

    Args:
        agents: product tokens in lower case. Only directives for one of them or for all robots count. None: all
            directives.

    ``none`` implies ``noindex`` and ``nofollow``. A directive with a value counts with and without it. A path that
    robots.txt
    forbids is ``disallow``. A value that the grammar does not allow gives nothing.
    """
    return {found for agent, found in _addressed(signal) if agents is None or agent is None or agent in agents}


def refusal(signals: Iterable[str], denied: Collection[str], agents: Collection[str] | None = None) -> str | None:
    """The first reason among a page's signals to leave it out, such as "noai in meta robots: noai"; None if there is
    none.

    Args:
        denied: directives (``noai``, ``tdm-reservation=1``) or uses (``ai-train``, see ``effective``). A use stands for
            all
            directives that refuse it.
        agents: as for ``directives``.
    """
    lowered = {word.lower() for word in denied}
    for signal in _standing(signals):
        refused = {use for verdict, use in _verdicts(signal, agents) if verdict == "disallow"}
        matching = sorted((directives(signal, agents) | refused) & lowered)
        if matching:
            return f"{matching[0]} in {signal}"
    return None


USES = ("ai-train", "ai-input", "image-train", "tdm", "search", "index", "image-index")
"""The uses that an opt-out may refuse."""


def has_meaning(directive: str) -> bool:
    """Whether a directive, in lower case, is known to allow or refuse any use."""
    return directive in _MEANINGS


def effective(signals: Iterable[str], agents: Collection[str] | None = None) -> dict[str, Verdict]:
    """The combined effect of a page's signals: use -> verdict. A use that is not in the result is unknown.

    Uses: see ``USES``. One disallow outweighs any number of allows (draft-ietf-aipref-vocab, "Combining Preferences").
    No use
    implies another.
    """
    verdicts: dict[str, Verdict] = {}
    for signal in _standing(signals):
        for verdict, use in _verdicts(signal, agents):
            verdicts[use] = "disallow" if verdict == "disallow" else verdicts.get(use, "allow")
    return dict(sorted(verdicts.items()))


def _verdicts(signal: str, agents: Collection[str] | None) -> Iterator[tuple[Verdict, str]]:
    """(verdict, use) for each directive of a signal that has a meaning."""
    for agent, directive in _addressed(signal):
        if agents is not None and agent is not None and agent not in agents:
            continue
        verdict, uses = _MEANINGS.get(directive, ("allow", ()))
        yield from ((verdict, use) for use in uses)
        if directive == "noindex" and agent in AI_AGENTS:  # some pages address noindex to robots that build no index
            yield "disallow", "ai-train"


def _standing(signals: Iterable[str]) -> list[str]:
    """The signals without signals of TDMRep that a more specific one overrides. Reservation and policy are independent.
    Two contradictory meta elements both count."""
    every = sorted(signals)
    best: dict[str, int] = {}
    for signal in every:
        place, name = _place(signal)
        if name in _TDM and directives(signal):
            best[name] = max(best.get(name, -1), _PRECEDENCE.get(place, -1))
    return [
        signal
        for signal in every
        if (name := _place(signal)[1]) not in _TDM or _PRECEDENCE.get(_place(signal)[0], -1) == best.get(name)
    ]


def _place(signal: str) -> tuple[str, str]:
    """("header", "x-robots-tag") for "header x-robots-tag: ..."."""
    place, _, name = signal.partition(": ")[0].partition(" ")
    return place, name


def _opts_out(signal: str) -> bool:
    return any(verdict == "disallow" for verdict, _ in _verdicts(signal, None))


def _signal(where: str, value: str) -> str:
    """A signal with folded white space. If it is too long, its end is cut off, but opt-outs for all agents in the end
    are moved to the front."""
    text = " ".join(well_formed(value).split())
    if len(text) > MAX_SIGNAL_CHARS:
        kept = text[:MAX_SIGNAL_CHARS].rpartition(",")[0] or text[:MAX_SIGNAL_CHARS]
        lost = directives(f"{where}: {text}") - directives(f"{where}: {kept}")
        moved = sorted(directive for directive in lost if _MEANINGS.get(directive, ("allow",))[0] == "disallow")
        text = ", ".join([*moved, kept])
    return f"{where}: {text}"


def _addressed(signal: str) -> Iterator[tuple[str | None, str]]:
    """(agent, directive) for each directive of a signal. The agent is None if the directive is for all robots."""
    place, name = _place(signal)
    value = signal.partition(": ")[2].strip()
    agent: str | None = None
    head, colon, rest = value.partition(": ")
    if place == "robots.txt" and colon and _AGENT.fullmatch(head):  # "gptbot: ai-train=no", from one agent's group
        agent, value = head, rest
    match name:
        case "disallow":
            yield None if value == "*" else value, "disallow"
        case "tdm-reservation":
            if value in ("0", "1"):
                yield None, f"tdm-reservation={value}"
        case "tdm-policy":
            if value:
                yield None, "tdm-policy"
                yield None, f"tdm-policy={value}"
        case "content-usage":
            yield from ((agent, directive) for directive in _usage_preferences(value))
        case "content-signal":
            for part in value.lower().split(","):
                key, _, preference = (piece.strip() for piece in part.partition("="))
                if _DIRECTIVE.fullmatch(key) and _DIRECTIVE.fullmatch(preference):
                    yield agent, f"{key}={preference}"
        case _:
            yield from _robots_directives(value.lower(), None if name in ("robots", "x-robots-tag") else name)


def _robots_directives(value: str, agent: str | None) -> Iterator[tuple[str | None, str]]:
    for part in value.replace(";", ",").split(","):
        head, colon, rest = part.partition(":")
        if colon and head.strip() not in _TAKE_VALUES and _AGENT.fullmatch(head.strip()):
            agent = None if head.strip() == "*" else head.strip()
            part = rest
            head, colon, rest = part.partition(":")
        if colon and head.strip() in _TAKE_VALUES:
            yield agent, head.strip()
            yield agent, f"{head.strip()}={rest.strip()}"
            continue
        for directive in _DIRECTIVE.findall(part):
            yield agent, re.sub(r"\s*=\s*", "=", directive)
            if directive == "none":
                yield agent, "noindex"
                yield agent, "nofollow"


def _usage_preferences(value: str) -> Iterator[str]:
    """Preferences of a Content-Usage field, such as ``train-ai=n``: keys with the token y or n; the last value of a key
    counts."""
    try:
        fields: Any = http_sf.parse(value.encode(), tltype="dictionary")
    except ValueError:
        yield from (f"{key}=n" for key in _REFUSED_KEY.findall(value.lower()))
        return
    for key, (item, _) in fields.items():
        if isinstance(item, http_sf.Token) and str(item) in ("y", "n"):
            yield f"{key}={item}"
