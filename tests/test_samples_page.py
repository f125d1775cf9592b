"""The page of samples says what it has none of, and shows what models and pages wrote as text."""

from __future__ import annotations

from gobelin.report.samples_page import samples_page
from gobelin.train.config import SamplingConfig

EMPTY = ("There was no caption to draw for", "No held-out picture with a caption")


def test_a_section_without_samples_says_why() -> None:
    page = samples_page({"from_captions": [], "from_images": [], "documents": []}, "small", 0, SamplingConfig())
    assert all(words in page for words in EMPTY)


def test_samples_are_shown_and_escaped() -> None:
    samples = {
        "from_captions": [{"caption": "a <b>", "images": ["images/0.png"]}],
        "from_images": [{"image": "images/1.png", "caption": "<i>", "true_caption": "c & d"}],
        "documents": [],
    }
    page = samples_page(samples, "small", 0, SamplingConfig())
    assert not any(words in page for words in EMPTY)
    assert "a &lt;b&gt;" in page
    assert "c &amp; d" in page
    assert 'src="images/0.png"' in page


def test_a_ranked_caption_says_so() -> None:
    drawn = {"caption": "a", "images": ["images/0.png"]}
    pages = [
        samples_page({"from_captions": [item], "from_images": [], "documents": []}, "small", 0, SamplingConfig())
        for item in (drawn, {**drawn, "clip": [0.5]})
    ]
    assert ["in which CLIP finds them" in page for page in pages] == [False, True]
