"""The page of `gobelin browse` in a real Chromium, on a run whose titles, addresses and texts are full of markup.

Needs Chromium on the machine (Debian: `apt-get install chromium`) and the package playwright; skipped without.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gobelin.pipeline.browse.answers import Answers
from gobelin.pipeline.browse.collection import Collection
from gobelin.pipeline.browse.server import BrowseServer
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.report.marks import read_marks

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")

Make = Callable[..., Any]
HOST = "https://a.example"
SCRIPT = "<script>window.hurt=1</script><img src=x onerror=window.hurt=2>"
ESCAPED = SCRIPT.replace("<", "&lt;")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]

RECIPE = """
num_shards: 2
select:
  document: {min_images: 1, min_words: 10, unique: [near]}
  text: {min_words: 2}
  image: {min_side_px: 150, max_aspect_ratio: 3}
"""


@pytest.fixture(scope="module")
def output(
    tmp_path_factory: pytest.TempPathFactory, record: Any, pack: Make, html_page: Make, png: Make, prose: str
) -> Path:
    folder = tmp_path_factory.mktemp("page")
    hostile = (
        f"<h2>{ESCAPED}</h2><p>{prose} {ESCAPED}</p><img src='one.png?<script>' alt=\"{ESCAPED}\"><p>{prose} Z.</p>"
    )
    records = [record(f"{HOST}/<script>hurt</script>?q=%3Cb%3E", html_page(hostile, ESCAPED))]
    records.append(record(f"{HOST}/one.png?%3Cscript%3E", png(1, 400, 300), "image/png"))
    records.append(record(f"{HOST}/<script>gone", b"<p>gone", status="HTTP/1.1 404 Not Found"))
    for number in range(2, 60):
        words = f"Number {number}, {' '.join(f'word{number}x{place}' for place in range(40))}"
        body = f"<p>{prose} {words}</p><img src={number}.png alt='Picture {number}'><p>{words}.</p>"
        records.append(record(f"{HOST}/page-{number}-{'unbroken_' * 8}", html_page(body, f"Page {number}")))
        records.append(record(f"{HOST}/{number}.png", png(number, 100 + 6 * number, 160 + number), "image/png"))
    (folder / "a.warc.gz").write_bytes(pack(records))
    (folder / "looked-at.yaml").write_text(RECIPE)
    run = ["run", "--recipe", str(folder / "looked-at.yaml"), "--input", str(folder / "a.warc.gz"), "--until", "select"]
    assert main([*run, "--output", str(folder / "out"), "--workers", "1", "--quiet"]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def url(output: Path) -> Iterator[str]:
    collection = Collection(str(output))
    nsfw = collection.columns.score("image", "nsfw")
    nsfw[:] = 0.1
    nsfw[collection.columns.images == collection.columns.images[3]] = 0.9  # as a head would say
    with BrowseServer(Answers([collection, Collection(str(output))])) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, url: str, output: Path) -> Iterator[Any]:
    """A new window of the page. What the console says but for plain logs, and what is loaded from elsewhere, fails."""
    problems: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    opened = context.new_page()
    opened.on(
        "console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None
    )
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: None if request.url.startswith(url) else problems.append(request.url))
    opened.goto(url)
    opened.wait_for_selector(".row")
    yield opened
    assert opened.evaluate("window.hurt") is None
    context.close()
    (output / "marks.jsonl").unlink(missing_ok=True)
    assert problems == []


def go(page: Any, url: str, place: str, selector: str) -> None:
    page.goto(f"{url}#/{place}")
    page.wait_for_selector(selector)


def until(page: Any, expression: str) -> None:
    """Waits for a condition. (Playwright's own way evaluates strings in the page, which its policy forbids.)"""
    end = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def total(page: Any) -> int:
    return int(page.locator(".count").inner_text().split()[0])


def test_what_the_web_says_stays_text(page: Any, url: str) -> None:
    page.get_by_role("searchbox").fill("hurt")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.row').length === 1")
    assert "<script>" in page.locator(".row h3").inner_text()
    page.locator(".row").click()
    page.wait_for_selector(".panes")
    text = page.locator("main").inner_text()
    assert text.count("<script>window.hurt=1</script>") >= 3
    assert page.locator("main script, main [onerror]").count() == 0
    page.get_by_role("button", name="Raw page").click()
    page.wait_for_selector(".pane pre")
    page.get_by_role("button", name="Show as a page").click()
    frame = page.frame_locator("iframe")
    assert "The old harbour" in frame.locator("body").inner_text()
    assert page.locator("iframe").get_attribute("sandbox") == ""
    assert frame.locator("script").count() == 0


def test_filters_narrow_and_sort(page: Any, url: str) -> None:
    everything = total(page)
    assert everything == 59
    page.get_by_role("button", name="Show more").click()
    until(page, "document.querySelectorAll('.row').length === 59")
    page.get_by_label("Show", exact=True).select_option("dropped")
    until(page, f"parseInt(document.querySelector('.count').textContent) < {everything}")
    dropped = total(page)
    page.get_by_label("Show", exact=True).select_option("kept")
    until(page, f"parseInt(document.querySelector('.count').textContent) === {everything - dropped}")
    page.get_by_label("Sort by").select_option("words_left")
    page.wait_for_selector(".row b")
    page.get_by_label("Order").select_option("true")
    until(page, "location.hash.includes('descending=true')")
    page.wait_for_selector(".row b")
    values = [float(text.replace(",", "")) for text in page.locator(".row b").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    go(page, url, "documents?rule=document.min_images", ".row")
    assert total(page) == dropped
    go(page, url, "documents?text=word7x3&in_text=true", ".row")
    assert page.locator(".row h3").all_inner_texts() == ["Page 7"]
    go(page, url, "documents?score=images_left&low=1&site=a.example", ".row")
    assert total(page) == everything - dropped


def test_a_threshold_is_dragged(page: Any, url: str, output: Path) -> None:
    go(page, url, "thresholds", ".rule svg rect")
    page.wait_for_selector(".totals .tile")
    before = page.locator(".totals b").first.inner_text()
    slider = page.get_by_label("Threshold of image.min_side_px", exact=True)
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=12)
    page.mouse.up()
    until(page, f"document.querySelector('.totals b').textContent !== '{before}'")
    page.wait_for_selector("text=Just on the wrong side")
    value = page.get_by_label("Exact threshold of image.min_side_px").input_value()
    line = page.locator("[aria-label='image.min_side_px'] svg line")
    at = line.evaluate("each => each.getBoundingClientRect().x")
    assert abs(at - (box["x"] + box["width"] * 0.9)) < 5  # the thumb is where it was left, under its line
    assert int(value) > 150
    assert page.locator("#pending").inner_text() == "1 threshold moved"
    page.wait_for_selector(f"text=--set select.image.min_side_px={value}")
    page.get_by_role("button", name="Write the recipe change").click()
    page.wait_for_selector("text=Written to")
    assert load_recipe(str(output / "browse.yaml")).select.image.min_side_px == int(value)
    page.locator("a", has_text="would go").click()
    page.wait_for_selector(".row")
    assert total(page) > 0
    page.go_back()
    page.wait_for_selector(".rule.moved")
    page.get_by_role("button", name="Forget all changes").click()
    until(page, f"document.querySelector('.totals b')?.textContent === '{before}'")
    exact = page.get_by_label("Exact threshold of text.min_words")
    exact.fill("3")
    exact.press("Tab")
    page.wait_for_selector(".rule.moved")
    off = page.locator(".rule.moved").get_by_role("button", name="Off")
    off.click()
    assert off.get_attribute("aria-pressed") == "true"
    page.locator(".rule.moved").get_by_role("button", name="As in the recipe").click()
    until(page, "!document.querySelector('.rule.moved')")
    page.get_by_label("Another rule").select_option("image.max_documents")
    page.wait_for_selector("[aria-label='image.max_documents'] svg rect")


def test_what_has_no_scores_is_listed(page: Any, url: str) -> None:
    page.get_by_label("Show", exact=True).select_option("left_out")
    page.wait_for_selector("table tbody tr")
    assert total(page) == page.locator("main tbody tr").count() > 0
    page.get_by_label("Rule").select_option("http_status")
    until(page, "document.querySelectorAll('main tbody tr').length === 1")
    assert f"{HOST}/<script>gone" in page.locator("main tbody tr").inner_text()
    page.get_by_role("searchbox").fill("nothing has it")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('main tbody tr').length === 0")


def test_keys(page: Any, url: str) -> None:
    page.keyboard.press("?")
    assert page.get_by_role("dialog").inner_text().startswith("Keys")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    first = page.locator(".row").first
    assert "chosen" in first.get_attribute("class")
    title = first.locator("h3").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_selector(".panes")
    assert page.locator("h2").first.inner_text() == title
    page.keyboard.press("Escape")
    page.wait_for_selector(".row")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("j2")
    assert page.get_by_role("searchbox").input_value() == "j2"
    page.keyboard.press("Escape")
    for key, heading in (
        ("2", "Pictures"),
        ("4", "Duplicates"),
        ("5", "Audit by eye"),
        ("6", "Comparison"),
        ("1", "Documents"),
    ):
        page.keyboard.press(key)
        until(page, f"document.querySelector('main h2')?.textContent === '{heading}'")


def test_unsafe_pictures_are_blurred_until_asked_for(page: Any, url: str) -> None:
    go(page, url, "pictures", ".shot img")
    unsafe = page.locator(".shot-button.unsafe")
    assert unsafe.count() == 1
    assert "blur" in unsafe.locator("img").evaluate("each => getComputedStyle(each).filter")
    page.keyboard.press("b")
    assert unsafe.locator("img").evaluate("each => getComputedStyle(each).filter") == "none"
    page.get_by_role("button", name="Unsafe pictures are shown").click()
    unsafe.click()
    assert unsafe.locator("img").evaluate("each => getComputedStyle(each).filter") == "none"
    assert page.locator("#large[open]").count() == 0
    page.locator(".shot-button").first.click()
    until(page, "document.getElementById('large-picture').naturalWidth > 0")
    assert page.locator("#large[open]").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("#large[open]").count() == 0
    page.get_by_role("link", name="its page").first.click()
    page.wait_for_selector(".item.chosen")


def test_an_audit_goes_through_its_sample(page: Any, url: str, output: Path) -> None:
    go(page, url, "audit?size=3", "table.audit")
    page.get_by_role("button", name="Judge kept").click()
    page.wait_for_selector("text=Is it right to keep this?")
    for key, number in (("r", 2), ("w", 3), ("r", None)):
        page.keyboard.press(key)
        page.wait_for_selector(f"text={number} of 3:" if number else "table.audit")
    page.wait_for_selector("text=3 of 3")
    row = page.locator("table.audit tbody tr").first.inner_text()
    assert "33 %" in row
    marks = read_marks(str(output))
    assert sorted(mark.verdict for mark in marks) == ["right", "right", "wrong"]
    assert all(mark.audit for mark in marks)
    go(page, url, "documents", ".row")
    page.locator(".row").first.click()
    page.wait_for_selector(".panes")
    page.keyboard.press("n")
    page.get_by_label("Note").fill("<b>odd</b>")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=in " + str(output / "marks.jsonl"))
    assert "<b>odd</b>" in page.locator(".verdict").inner_text()
    assert "<b>odd</b>" in {mark.note for mark in read_marks(str(output))}


VIEWS = {
    "documents": ".row", "pictures": ".shot img", "thresholds": ".totals .tile", "duplicates": "h2", "compare": "table",
    "audit": "table", "document": ".panes", "documents?view=left_out": "table",
}  # fmt: skip


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark"), (1280, "dark"), (400, "light")])
def test_everybody_can_use_it(page: Any, url: str, width: int, scheme: str, axe: str) -> None:
    """WCAG 2.1 AA as far as axe can tell, and nothing to be scrolled sideways."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    first = page.locator(".row", has_text="unbroken").first.get_attribute("href").removeprefix("#/")
    for view, selector in VIEWS.items():
        go(page, url, first if view == "document" else view, selector)
        if view == "document":
            for name in ("Raw page", "Decisions", "Tokens"):
                button = page.get_by_role("button", name=name)
                if button.get_attribute("aria-pressed") == "false":
                    button.click()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        assert violations(page, axe) == [], view


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_everybody_can_read_the_report(browser: Any, output: Path, width: int, scheme: str, axe: str) -> None:
    assert main(["report", "--output", str(output), "--quiet"]) == 0
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text))
    opened.goto((output / "report" / "index.html").as_uri())
    assert opened.evaluate("window.hurt") is None
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(opened, axe) == []
    assert problems == []
    context.close()


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_playwright_python", reason="the package axe-playwright-python is not installed")
    return (Path(package.__file__).parent / "axe.min.js").read_text()


def violations(page: Any, axe: str) -> list[str]:
    page.evaluate(axe)
    options = {"runOnly": {"type": "tag", "values": RULES}}
    found = page.evaluate("options => axe.run(document, options)", options)
    assert len(found["passes"]) > 5
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]
