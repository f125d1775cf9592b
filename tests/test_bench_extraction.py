"""The measures of bench/extraction.py on cases small enough to be worked out by hand."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import sys
from pathlib import Path

import lxml.html
import pytest
from PIL import Image
from warcio.archiveiterator import ArchiveIterator

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))

import extraction
import extraction_gold as gold
import extraction_metrics as metrics
from extraction_metrics import GoldImage, GoldPage, Piece
from extraction_speed import response, write_archive

BASE = "http://example.org/a/page.html"


def picture(name: str, alt: str = "", caption: str = "") -> Piece:
    return Piece(urls=frozenset((metrics.normal_url(BASE, name),)), alt=alt, caption=caption)


def wanted(name: str, place: int, caption: int | None = None, alt: str = "", is_neutral: bool = False) -> GoldImage:
    return GoldImage(frozenset((metrics.normal_url(BASE, name),)), is_neutral, place, alt, caption)


def numbered(start: int, end: int) -> str:
    return " ".join(f"w{number}" for number in range(start, end))


def split(text: str) -> list[str]:
    return text.split()


def page(images: tuple[GoldImage, ...], num_words: int = 200, captions: tuple[str, ...] = ()) -> GoldPage:
    words = tuple(numbered(0, num_words).split())
    return GoldPage(words, (), words, images, captions)


# Text


def test_snippets_are_exact_substrings() -> None:
    counts = metrics.snippet_counts(
        "The boats come in.\nSubscribe now", ["boats come", "Boats", "go out"], ["Subscribe", "ad"]
    )
    assert counts == (1, 1, 2)
    precision, recall, f1 = metrics.precision_recall_f1(*counts)
    assert (precision, recall) == (1 / 2, 1 / 3)
    assert f1 == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((0, 0, 0), (1, 1, 1)), ((0, 0, 3), (0, 0, 0)), ((0, 2, 0), (0, 0, 0)), ((2, 0, 0), (1, 1, 1))],
)
def test_nothing_given_is_perfect_only_where_nothing_is_wanted(
    counts: tuple[int, int, int], expected: tuple[float, float, float]
) -> None:
    assert metrics.precision_recall_f1(*counts) == expected


def test_shingles_are_multisets() -> None:
    assert metrics.shingle_counts(split("a b a b"), split("a b"), 2) == (1, 0, 2)
    assert metrics.shingle_counts(split("a b"), split("a b a b"), 2) == (1, 2, 0)
    assert metrics.shingle_counts(split("a b c"), split("a b c"), 5) == (1, 0, 0)
    assert metrics.shingle_counts((), (), 5) == (0, 0, 0)


def test_neutral_texts_are_neither_missed_nor_counted_against() -> None:
    text, title = split(numbered(0, 20)), ("on", "the", "light")
    gold_page = GoldPage(tuple(text), (title, ("w3",)), tuple(text), (), ())
    with_title = [Piece("On the light"), Piece(" ".join(text))]
    assert metrics.page_f1(gold_page, with_title) == 1
    assert metrics.page_f1(gold_page, [Piece(" ".join(text))]) == 1
    assert metrics.page_f1(gold_page, [*with_title, Piece("on the light")]) < 1  # once is enough
    assert metrics.page_f1(gold_page, [Piece("on the dark"), Piece(" ".join(text))]) == pytest.approx(
        2 * 16 / (16 + 19)
    )


def test_body_scores_average_over_pages_before_f1() -> None:
    perfect, empty = ("a b c d e", "a b c d e"), ("a b c d e", "")
    precision, recall, f1 = metrics.body_scores([perfect, empty])
    assert (precision, recall) == (1.0, 0.5)  # a page without output has no precision
    assert f1 == pytest.approx(2 / 3)


def test_words_of_chinese_are_characters() -> None:
    assert metrics.words_of("The 图像 x-ray") == ["the", "图", "像", "x", "ray"]


def test_formulas_are_no_words_however_they_are_delimited() -> None:
    for formula in (r"\(\theta\)", r"$\theta$", r"$$\begin{a} x^2 \end{a}$$", r"\begin{a} x^2 \end{a}"):
        assert metrics.words_of(f"the $C$ of {formula} we get $n$") == ["the", "c", "of", "we", "get", "n"]
    assert metrics.words_of("set $GIS_A to 1 and $GIS_B to 2") == ["set", "gisa", "to", "1", "and", "gisb", "to", "2"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("../b/c.png", "http://example.org/b/c.png#top"),
        ("//example.org/x%20y.png", "http://example.org/x y.png"),
        ("https://example.org/a.png", "http://example.org/a.png"),
        ("data:image/png;base64,QUJD\nREVG", "data:image/png;base64,QUJDREVG"),
    ],
)
def test_spellings_of_one_address_meet(one: str, other: str) -> None:
    assert metrics.normal_url(BASE, one) == metrics.normal_url(BASE, other)


# Images


def test_kept_and_content() -> None:
    page_gold = page((wanted("a.png", 50), wanted("b.png", 100), wanted("dot.png", 60, is_neutral=True)))
    pieces = [picture("logo.png"), Piece(numbered(0, 50)), picture("a.png"), picture("dot.png"), picture("a.png")]
    counts = metrics.score_images(page_gold, pieces)
    assert (counts.gold, counts.kept) == (2, 1)
    assert counts.other == 2  # the logo and the second copy; the dot is neutral


def test_an_address_that_a_page_shows_twice_may_be_kept_twice() -> None:
    page_gold = page((wanted("a.png", 50), wanted("a.png", 150)))
    pieces = [Piece(numbered(0, 50)), picture("a.png"), Piece(numbered(50, 150)), picture("a.png"), Piece("w150 w151")]
    counts = metrics.score_images(page_gold, pieces)
    assert (counts.kept, counts.in_place, counts.other) == (2, 2, 0)


@pytest.mark.parametrize(("place", "expected"), [(100, 1), (115, 1), (85, 1), (130, 0), (70, 0), (200, 0), (0, 0)])
def test_in_place_within_twenty_words(place: int, expected: int) -> None:
    pieces = [Piece(numbered(0, place)), picture("a.png"), Piece(numbered(place, 200))]
    assert metrics.score_images(page((wanted("a.png", 100),)), pieces).in_place == expected


def test_dropped_text_does_not_move_an_image() -> None:
    pieces = [Piece(numbered(0, 40)), picture("a.png"), Piece(numbered(160, 200))]
    assert metrics.score_images(page((wanted("a.png", 100),)), pieces).in_place == 1
    assert metrics.score_images(page((wanted("a.png", 190),)), pieces).in_place == 0


def test_images_without_any_text_are_not_in_place() -> None:
    counts = metrics.score_images(page((wanted("a.png", 100),)), [picture("a.png")])
    assert (counts.kept, counts.in_place) == (1, 0)
    short = metrics.score_images(page((wanted("a.png", 9),), num_words=20), [picture("a.png")])
    assert short.in_place == 1  # twenty words have no wrong place


def test_a_title_that_comes_again_in_a_footer_does_not_mislead() -> None:
    pieces = [Piece(numbered(10, 200)), picture("a.png"), Piece(numbered(0, 10))]
    assert metrics.score_images(page((wanted("a.png", 200),)), pieces).in_place == 1


def test_words_inside_captions_are_no_anchors() -> None:
    page_gold = page((wanted("a.png", 180, caption=0),), captions=("w5 w6 w7 w8 w9",))
    pieces = [Piece(numbered(20, 180)), picture("a.png"), Piece("w5 w6 w7 w8 w9"), Piece(numbered(180, 200))]
    counts = metrics.score_images(page_gold, pieces)
    assert (counts.in_place, counts.captions_attached, counts.captions_near) == (1, 0, 1)


def test_captions_attached_or_near() -> None:
    captions = ("Fig. 1. A grave with pillars.", "Fig. 2. The map of the province.")
    images = (wanted("a.png", 50, 0), wanted("b.png", 50, 0), wanted("c.png", 150, 1))
    pieces = [
        Piece(numbered(0, 50)),
        picture("a.png"),
        picture("b.png", caption="Fig. 1: a grave with pillars"),
        Piece(numbered(50, 150)),
        picture("c.png", caption="Something else entirely, of other words"),
        Piece(numbered(150, 200)),
    ]
    counts = metrics.score_images(page(images, captions=captions), pieces)
    assert counts.captions == 2  # two images share the first
    assert (counts.captions_attached, counts.captions_near) == (1, 1)


def test_alts_attached() -> None:
    images = (wanted("a.png", 50, alt="A  grave"), wanted("b.png", 60, alt="A map"), wanted("c.png", 70))
    pieces = [
        Piece(numbered(0, 50)),
        picture("a.png", alt="a grave"),
        picture("b.png", alt="A mop"),
        picture("c.png", "x"),
    ]
    counts = metrics.score_images(page(images), pieces)
    assert (counts.alts, counts.alts_attached) == (2, 1)


# Gold


def gold_of(html: str, **rule: object) -> GoldPage:
    tree = lxml.html.document_fromstring(html)
    sizes = {metrics.normal_url(BASE, "tiny.png"): (30, 300)}
    found = gold.page_gold(tree, BASE, {"container": ["div.body"], **rule}, sizes)
    assert found is not None
    return found


def test_container_gives_words_and_places() -> None:
    found = gold_of(
        "<nav>Home</nav><div class=body><h1>One</h1><p>two th<b>re</b>e<img src=a.png alt=A>four</p><script>no</script>"
        "<p class=ad>drop me</p><p class=date>to<i>d<b>a</b></i>y</p><p>five</p></div><div class=body>six</div>",
        drop=[".ad"],
        neutral_text=[".date", "nav"],
    )
    assert found.words == tuple(split("one two three four five six"))
    assert [(image.place, image.alt) for image in found.images] == [(3, "A")]
    assert found.text_words[-2:] == ("five", "six")
    assert found.neutral == (("today",), ("home",))


def test_pages_without_the_container_are_left_out() -> None:
    tree = lxml.html.document_fromstring("<div class=list>x</div>")
    assert gold.page_gold(tree, BASE, {"container": ["div.body"]}, {}) is None


def test_small_images_and_glyphs_are_neutral() -> None:
    found = gold_of(
        "<div class=body><img src=a.png><img src=b.png width=20><img src=tiny.png><img src=m.png class=math><img>"
        "<video poster=poster.png></video></div>"
        "<img src=logo.png width=10><img src=banner.png>",
        neutral_images=["img.math"],
    )
    names = {url.rpartition("/")[2]: image.is_neutral for image in found.images for url in image.urls}
    assert names == {
        "a.png": False,
        "b.png": True,
        "tiny.png": True,
        "m.png": True,
        "logo.png": True,
        "poster.png": True,
    }


def test_placeholders_do_not_tell_images_apart() -> None:
    found = gold_of(
        "<div class=body><img src=wait.gif data-src=a.png><img src=wait.gif srcset='b.png 1x, b2.png 2x'>"
        "<img src=c.png></div>"
    )
    names = [sorted(url.rpartition("/")[2] for url in image.urls) for image in found.images]
    assert names == [["a.png"], ["b.png", "b2.png"], ["c.png"]]


def test_a_noscript_that_repeats_a_lazy_picture_leaves_it_its_address() -> None:
    found = gold_of(
        "<div class=body><img src=wait1.gif data-src=a.png><noscript><img src=a.png></noscript>"
        "<img src=wait2.gif data-src=a.png></div>"
    )
    shown_twice = gold_of("<div class=body><img src=wait.gif data-src=a.png><img src=b.png data-src=a.png></div>")
    alone = gold_of("<div class=body><img src=wait1.gif data-src=a.png><noscript><img src=a.png></noscript></div>")

    def names(page_found: GoldPage) -> list[list[str]]:
        return [sorted(url.rpartition("/")[2] for url in image.urls) for image in page_found.images]

    assert names(alone) == [["a.png", "wait1.gif"]]
    assert names(found) == [["wait1.gif"], ["wait2.gif"]]
    assert names(shown_twice) == [["wait.gif"], ["b.png"]]


def test_captions_stay_out_of_places_and_in_the_text() -> None:
    found = gold_of(
        "<div class=body><p>one two</p><figure><figcaption>the caption</figcaption><img src=a.png></figure>"
        "<div class=fig><img src=b.png><p class=cap>another</p></div><p>three</p><img src=c.png></div>",
        captions=["ancestor::div[@class='fig'][1]/p[@class='cap']"],
    )
    assert found.words == ("one", "two", "three")
    assert found.text_words == ("one", "two", "the", "caption", "another", "three")
    assert [image.place for image in found.images] == [2, 2, 3]
    assert [image.caption for image in found.images] == [0, 1, None]
    assert found.captions == ("the caption", "another")


def test_a_row_of_captions_is_read_by_column() -> None:
    found = gold_of(
        "<div class=body><table><tr><td><img src=a.png></td><td><img src=b.png></td><td><img src=c.png></td></tr>"
        "<tr><td>a</td><td>b</td><td>c</td></tr>"
        "<tr><td class=caption colspan=2>both</td><td class=caption>third</td></tr></table></div>",
        caption_rows="caption",
    )
    assert [found.captions[image.caption] for image in found.images if image.caption is not None] == [
        "both",
        "both",
        "third",
    ]


def test_an_alt_that_repeats_the_file_name_is_none() -> None:
    found = gold_of("<div class=body><img src=x/fig_1.png alt=../x/fig_1.png><img src=b.png alt='A boat'></div>")
    assert [image.alt for image in found.images] == ["", "A boat"]


def test_markdeep_images() -> None:
    text = "![Figure [lerp]: Linear](../images/fig.jpg width=50%) and ![<b>Image 2</b> x](b.png)"
    assert [match["url"] for match in gold._MARKDEEP_IMAGE.finditer(text)] == ["../images/fig.jpg", "b.png"]


def test_pages_beside_their_texts(tmp_path: Path) -> None:
    for name, size in (("harbour", 30_000), ("made-up", 100)):
        (tmp_path / name).mkdir()
        filler = f"<!--{'.' * size}-->"
        (tmp_path / name / "source.html").write_text(f"<nav>Start</nav><p>The boats <b>come</b> in.</p>{filler}")
        (tmp_path / name / "expected.html").write_text("<div><p>The boats <b>come</b> in.</p><p>Soon.</p></div>")
    (page,) = gold.text_pages(tmp_path)
    assert (page.name, page.body) == ("harbour", "The boats come in. Soon.")


def test_halves_are_of_similar_size_and_fixed() -> None:
    pages = [gold.Page(f"page{number}", "s", BASE, None, b"") for number in range(400)]
    held_out = sum(one.is_held_out for one in pages)
    assert 150 < held_out < 250
    assert held_out == sum(one.is_held_out for one in reversed(pages))


# The whole


def test_archives_are_as_common_crawl_writes_them() -> None:
    stream = io.BytesIO(gzip.compress(response("http://a.org/", "text/html; charset=utf-8", b"<p>x")))
    record = next(iter(ArchiveIterator(stream)))
    assert record.rec_headers.get_header("WARC-Identified-Payload-Type") == "text/html"
    assert record.http_headers.get_header("Content-Type") == "text/html; charset=utf-8"
    assert record.content_stream().read() == b"<p>x"


def test_gobelin_through_the_whole_bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a corpus of three pages; the figures can be worked out by hand."""
    texts = [
        f"The {one} lies behind the {other}, and whoever stays in the {one} until evening sees the {other} lit."
        for one, other in itertools.pairwise(NOUNS)
    ]
    article = "".join(f"<p>{text}</p>" for text in texts)
    html = f"<html><head><title>T</title></head><body><article>{article}</article></body></html>"
    folder = tmp_path / "corpus" / "extraction"
    (folder / "trafilatura").mkdir(parents=True)
    (folder / "article-extraction-benchmark").mkdir()
    (folder / "trafilatura" / "one.html").write_text(html)
    entry = {"file": "one.html", "with": [texts[0], "is not there"], "without": ["Subscribe", texts[1]]}
    (folder / "trafilatura-evaldata.json").write_text(json.dumps({"http://a.org/": entry}))
    (folder / "article-extraction-benchmark" / "two.html.gz").write_bytes(gzip.compress(html.encode()))
    truth = json.dumps({"two": {"url": "http://a.org/2", "articleBody": " ".join(texts)}})
    (folder / "article-extraction-benchmark-ground-truth.json").write_text(truth)
    picture = io.BytesIO()
    Image.new("RGB", (200, 100)).save(picture, "PNG")
    image = "</p><img src=a.png alt='A boat'><p>"
    page_html = f"<html><body><article class=bd-article>{article.replace('</p><p>', image, 1)}</article></body></html>"
    records = [
        ("http://a.org/3", "text/html", page_html.encode()),
        ("http://a.org/a.png", "image/png", picture.getvalue()),
    ]
    write_archive(tmp_path / "corpus" / "web", [*records, ("http://a.org/4", "text/html", b"<p>No container</p>")])
    (tmp_path / "corpus" / "web" / "pages.warc.gz").rename(tmp_path / "corpus" / "web" / "seaborn.warc.gz")
    docs = tmp_path / "docs.md"
    docs.write_text("".join(f"<!-- results: {part} -->\nold\n<!-- end: {part} -->\n" for part in (*PARTS, "ways")))
    status = extraction.main([
        "--corpus", str(tmp_path / "corpus"), "--only", *PARTS, "--extractors", "gobelin", "--docs", str(docs),
        "--json", str(tmp_path / "report.json"), "--dump", str(tmp_path / "dump"), "--worst", "1",
    ])  # fmt: skip
    assert status == 0, capsys.readouterr()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["errors"] == {"gobelin": {}}
    assert report["snippets"]["gobelin"] == {"precision": 0.5, "recall": 0.5, "F1": 0.5, "pages": 1}
    assert report["body"]["gobelin"]["F1"] == 1
    site = report["web"]["sites"]["gobelin"]["seaborn"]
    assert (site["kept"], site["content"], site["in place"], site["alts"], site["captions"]) == (1, 1, 1, 1, None)
    assert site["text F1"] > 0.99
    assert report["web"]["left_out"] == {"seaborn": 1}
    assert "old" not in docs.read_text()
    assert "| seaborn | 1.000 |" in docs.read_text()
    assert {path.name for path in (tmp_path / "dump").rglob("*.txt")} == {"gold.txt", "gobelin.txt"}


PARTS = ("snippets", "body", "web")
NOUNS = ("harbour", "river", "old town", "lighthouse", "bridge", "station", "church", "school", "library", "museum")
