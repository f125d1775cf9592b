"""Scores an extractor's output against the gold: text F1 of three kinds, images kept, in place, with captions.

Pure functions over words and pieces; nothing here reads a file. An output is a list of *pieces* in reading order:
texts, and images with every URL that the extractor names for them.

Text
    snippets   trafilatura's evaluation: each must-have and must-not snippet is looked for as an exact substring.
    body       scrapinghub's article-extraction benchmark: shingles of 4 words as multisets, precision and recall
               averaged over pages, F1 of the two averages.
    shingles   the same counting on 5 words, lower case, F1 of each page. Texts that the gold calls neutral are taken
               out of the output first, so that they are neither missed nor counted against.

Images
    An image of the output is the first image of the gold with a URL in common that is not taken yet.
    *In place*: runs of 4 words that occur exactly once in the output and exactly once in the page's container are
    anchors; those that contradict the order of the most others do not count. Between the last anchor before the image
    in the output and the first one after it, the page must have the image, give or take 20 words. An extractor that
    drops text near the image loses anchors, not its place.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from urllib.parse import unquote, urljoin

SLACK = 20
"""Words by which an image may be off its place."""

ANCHOR = 4
"""Words of an anchor."""

CAPTION_OVERLAP = 0.8
"""Share of common words (Dice) from which an extractor's caption is the page's, [0, 1]."""

NEAR_OVERLAP = 0.9
"""Share of a caption's words that must stand around an image for the caption to be near it, [0, 1]."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_TEX_BLOCK = re.compile(
    r"\\begin\{(\w{1,20}\*?)\}.{0,5000}?\\end\{\1\}|\\\(.{0,2000}?\\\)|\\\[.{0,2000}?\\\]", re.DOTALL
)
_TEX_DOLLARS = re.compile(r"\$\$[^$]{1,2000}\$\$|\$(?=\S)[^$]{1,1000}(?<=\S)\$(?![\w{(])")
_RAISED = re.compile(r"(?<=[\w)\]])[\^_](?=[\w(+-])")
_ANY_WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A text, or an image: then ``urls`` are all that the extractor names for it, absolute and normalised."""

    text: str = ""
    urls: frozenset[str] = frozenset()
    alt: str = ""
    caption: str = ""

    @property
    def is_image(self) -> bool:
        return bool(self.urls)


@dataclasses.dataclass(frozen=True, slots=True)
class GoldImage:
    """An image of the container, or one that does not count (``is_neutral``), wherever on the page it stands."""

    urls: frozenset[str]
    is_neutral: bool
    place: int = 0  # words of GoldPage.words before it
    alt: str = ""
    caption: int | None = None  # index in GoldPage.captions; several images may share one


@dataclasses.dataclass(frozen=True, slots=True)
class GoldPage:
    """What a page's main content is. ``words`` lacks captions, which extractors may place or attach as they like."""

    text_words: tuple[str, ...]  # captions in place
    neutral: tuple[tuple[str, ...], ...]  # words of each text that may be kept or not
    words: tuple[str, ...]
    images: tuple[GoldImage, ...]
    captions: tuple[str, ...]


@dataclasses.dataclass(slots=True)
class ImageCounts:
    """Sums over pages. A caption that several images share counts once, and is attached if one of them carries it."""

    gold: int = 0
    kept: int = 0
    in_place: int = 0
    other: int = 0  # images of the output that are not content
    captions: int = 0
    captions_attached: int = 0
    captions_near: int = 0  # attached, or in the text around the image
    alts: int = 0
    alts_attached: int = 0

    def add(self, more: ImageCounts) -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(more, field.name))


def words_of(text: str) -> list[str]:
    """Words in lower case; a Chinese, Japanese or Korean character is a word.

    Formulas between dollar signs or TeX's delimiters are no words, nor are the signs of a raised or lowered number: in
    a container's own text the ones are images and the others digits alone.
    """
    text = _TEX_DOLLARS.sub(_without_formula, _TEX_BLOCK.sub(" ", text))
    return _WORD.findall(_RAISED.sub("", text).lower())


def _without_formula(dollars: re.Match[str]) -> str:
    """Nothing where what stands between dollar signs is TeX; prices and single letters stay."""
    return dollars[0] if _TEX_SIGNS.isdisjoint(dollars[0]) else " "


_TEX_SIGNS = frozenset("\\^_")


DRAWING = "drawing"
"""Among the addresses of an inline ``<svg>``, which gold of sites does not list: it is neither content nor wrong."""


def normal_url(base: str, url: str) -> str:
    """A key under which two spellings of one address meet: absolute, unquoted, without fragment; data: as a digest."""
    url = url.strip()
    if url[:5].lower() == "data:":
        return "data:" + hashlib.sha1("".join(url.split()).encode(), usedforsecurity=False).hexdigest()
    with contextlib.suppress(ValueError):
        url = urljoin(base, url)
    return unquote(url.partition("#")[0]).removeprefix("https:").removeprefix("http:")


# Text


def snippet_counts(text: str, must_have: Sequence[str], must_not: Sequence[str]) -> tuple[int, int, int]:
    """True positives, false positives, false negatives of one page, by exact substring."""
    found = sum(snippet in text for snippet in must_have)
    return found, sum(snippet in text for snippet in must_not), len(must_have) - found


def precision_recall_f1(tp: float, fp: float, fn: float) -> tuple[float, float, float]:
    """Of summed counts. Nothing given and nothing wanted is perfect."""
    precision = tp / (tp + fp) if tp + fp else float(not fn)
    recall = tp / (tp + fn) if tp + fn else float(not fp)
    return precision, recall, harmonic(precision, recall)


def harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def shingles(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    """Runs of ``size`` words with their counts; a shorter text is one run."""
    if not words:
        return Counter()
    return Counter(tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1)))


def shingle_counts(gold: Sequence[str], output: Sequence[str], size: int) -> tuple[int, int, int]:
    """True positives, false positives, false negatives of one page, as multisets of runs of words."""
    wanted, given = shingles(gold, size), shingles(output, size)
    common = (wanted & given).total()
    return common, given.total() - common, wanted.total() - common


def page_f1(gold: GoldPage, pieces: Iterable[Piece]) -> float:
    """F1 of a page's text on runs of 5 words."""
    words = without_neutral(words_of(text_of(pieces)), gold.neutral)
    return precision_recall_f1(*shingle_counts(gold.text_words, words, 5))[2]


def without_neutral(words: Sequence[str], neutral: Iterable[Sequence[str]]) -> list[str]:
    """The words without each neutral text, once each, where it stands there whole. Single words stay."""
    text = f" {' '.join(words)} "
    for part in neutral:
        if len(part) > 1:
            text = text.replace(f" {' '.join(part)} ", " ", 1)
    return text.split()


def body_scores(pages: Iterable[tuple[str, str]]) -> tuple[float, float, float]:
    """scrapinghub's precision, recall and F1 over pairs of gold text and output."""
    precisions, recalls = [], []
    for gold, output in pages:
        tp, fp, fn = shingle_counts(_ANY_WORD.findall(gold), _ANY_WORD.findall(output), 4)
        precision, recall, _ = precision_recall_f1(tp, fp, fn)
        if tp + fp:
            precisions.append(precision)
        if tp + fn:
            recalls.append(recall)
    precision = sum(precisions) / len(precisions) if precisions else 0.0
    recall = sum(recalls) / len(recalls) if recalls else 0.0
    return precision, recall, harmonic(precision, recall)


def genre_scores(pages: Iterable[tuple[str, str]]) -> tuple[float, float, float]:
    """Precision, recall and F1 over pairs of gold text and output: runs of 4 words as multisets, a Han or kana
    character is a word; each the mean of the pages' values."""
    rows = [precision_recall_f1(*shingle_counts(words_of(gold), words_of(output), 4)) for gold, output in pages]
    precision, recall, f1 = (sum(column) / len(rows) for column in zip(*rows))
    return precision, recall, f1


def text_of(pieces: Iterable[Piece]) -> str:
    """The output as a reader sees it: texts, and captions where their images stand."""
    return "\n".join(piece.caption if piece.is_image else piece.text for piece in pieces)


# Images


def score_images(gold: GoldPage, pieces: Sequence[Piece]) -> ImageCounts:
    """Counts of one page."""
    words: list[str] = []
    placed: list[tuple[Piece, int]] = []  # images of the output, and how many of its words stand before each
    for piece in pieces:
        if piece.is_image:
            placed.append((piece, len(words)))
        else:
            words.extend(words_of(piece.text))
    pairs, num_other = match_images(gold.images, [piece for piece, _ in placed])
    content = [image for image in gold.images if not image.is_neutral]
    counts = ImageCounts(
        gold=len(content), other=num_other, captions=len({image.caption for image in content} - {None})
    )
    counts.alts = sum(bool(image.alt) for image in content)
    anchors = find_anchors(gold.words, words, [words_of(caption) for caption in gold.captions])
    attached, near = set(), set()
    for image, index in pairs:
        piece, place = placed[index]
        counts.kept += 1
        counts.in_place += is_in_place(image.place, place, anchors, num_gold_words=len(gold.words))
        counts.alts_attached += bool(image.alt) and _same_alt(image.alt, piece.alt)
        if image.caption is not None:
            caption = words_of(gold.captions[image.caption])
            if overlap(caption, words_of(piece.caption)) >= CAPTION_OVERLAP:
                attached.add(image.caption)
            reach = len(caption) + SLACK
            around = Counter(words[max(0, place - reach) : place + reach])
            if (Counter(caption) & around).total() >= NEAR_OVERLAP * len(caption):
                near.add(image.caption)
    counts.captions_attached, counts.captions_near = len(attached), len(attached | near)
    return counts


def match_images(gold: Sequence[GoldImage], output: Sequence[Piece]) -> tuple[list[tuple[GoldImage, int]], int]:
    """Content images that were kept, with their index in the output; and how many of the output are not content.
    A second copy of a content image is not content; neutral images are neither."""
    by_url: dict[str, list[int]] = {}
    for position, image in enumerate(gold):
        for url in image.urls:
            by_url.setdefault(url, []).append(position)
    taken: set[int] = set()
    pairs, num_other = [], 0
    for index, piece in enumerate(output):
        candidates = sorted({position for url in piece.urls for position in by_url.get(url, ())})
        free = next((position for position in candidates if position not in taken), None)
        if free is not None:
            taken.add(free)
            if not gold[free].is_neutral:
                pairs.append((gold[free], index))
        elif DRAWING not in piece.urls and not any(gold[position].is_neutral for position in candidates):
            num_other += 1
    return pairs, num_other


def find_anchors(
    gold: Sequence[str], output: Sequence[str], captions: Sequence[Sequence[str]] = ()
) -> list[tuple[int, int]]:
    """Places, in output and gold, of runs of words that occur once in each and in no caption; sorted, and rising in
    both: what does not fit the order of the most others (a title that comes again in a footer) is left out."""
    there = _unique_runs(gold)
    for caption in captions:
        for run in shingles(caption, ANCHOR):
            there.pop(run, None)
    return _longest_rising([(place, there[run]) for run, place in _unique_runs(output).items() if run in there])


def _longest_rising(anchors: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence that rises in its second number (patience sorting, n log n)."""
    tops: list[int] = []  # smallest last gold place of a rising row of each length
    last: list[int] = []  # index of that anchor
    before: list[int] = []
    for index, (_, gold) in enumerate(anchors):
        length = bisect.bisect_left(tops, gold)
        before.append(last[length - 1] if length else -1)
        tops[length : length + 1] = [gold]
        last[length : length + 1] = [index]
    row, index = [], last[-1] if last else -1
    while index >= 0:
        row.append(anchors[index])
        index = before[index]
    return row[::-1]


def _unique_runs(words: Sequence[str]) -> dict[tuple[str, ...], int]:
    places: dict[tuple[str, ...], int] = {}
    for place in range(len(words) - ANCHOR + 1):
        run = tuple(words[place : place + ANCHOR])
        places[run] = -1 if run in places else place
    return {run: place for run, place in places.items() if place >= 0}


def is_in_place(gold_place: int, place: int, anchors: Sequence[tuple[int, int]], num_gold_words: int) -> bool:
    """Whether an image, ``place`` words into the output, stands where the page has it, ``gold_place`` words in."""
    if not anchors:
        return num_gold_words <= SLACK  # so short a page has no wrong place
    last = bisect.bisect_right(anchors, place - ANCHOR, key=lambda anchor: anchor[0]) - 1
    first = bisect.bisect_left(anchors, place, key=lambda anchor: anchor[0])
    is_late = last >= 0 and anchors[last][1] + ANCHOR > gold_place + SLACK
    is_early = first < len(anchors) and anchors[first][1] < gold_place - SLACK
    return not is_late and not is_early


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Common words of two texts as multisets (Dice), [0, 1]."""
    total = len(one) + len(other)
    return 2 * (Counter(one) & Counter(other)).total() / total if total else 0.0


def _same_alt(gold: str, output: str) -> bool:
    return " ".join(gold.split()).casefold() == " ".join(output.split()).casefold()
