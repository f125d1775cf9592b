"""The page of `gobelin chat` in a real Chromium: pictures and texts appear as they are made, and markup stays text.

Needs Chromium on the machine (Debian: `apt-get install chromium`) and the package playwright; skipped without.
"""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage

from gobelin.pipeline.ask.model_folder import ModelFolder, open_model
from gobelin.pipeline.chat.server import ChatServer
from gobelin.pipeline.run.open_run import recipe_of
from gobelin.train.config import SamplingConfig
from tests.model_folders import write_model_folder

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")

MARKUP = "<img src=x onerror=document.title='owned'> & <b>bold</b>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    output = write_model_folder(str(tmp_path_factory.mktemp("chat") / "out"))
    return open_model(output, recipe_of(output, None, ()))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def server(folder: ModelFolder) -> Iterator[ChatServer]:
    with ChatServer(folder, SamplingConfig()) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Any, server: ChatServer) -> Iterator[Any]:
    """The page, on which nothing may go wrong unseen and nothing may be asked of anybody else."""
    context = browser.new_context(viewport={"width": 900, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    told = "Failed to load resource: the server responded with a status of 400"  # which the page shows in words
    opened.on(
        "console", lambda line: line.type == "error" and not line.text.startswith(told) and troubles.append(line.text)
    )
    opened.on("request", lambda asked: asked.url.startswith((server.url, "data:")) or troubles.append(asked.url))
    opened.goto(server.url)
    yield opened
    context.close()
    assert troubles == []


def png(color: str) -> bytes:
    stream = io.BytesIO()
    PillowImage.new("RGB", (50, 30), color).save(stream, "PNG")
    return stream.getvalue()


def sent(page: Any, words: str, make: str = "") -> Any:
    """Sends a text; the turn of the model when it is done."""
    before, done = (page.locator(f".turn.model{state}").count() for state in ("", "[data-done]"))
    page.select_option("#make", make)
    page.fill("#words", words)
    page.click("#send")
    turn = page.locator(".turn.model").nth(before)
    page.locator(".turn.model[data-done]").nth(done).wait_for()
    return turn


def test_a_picture_is_drawn_for_a_caption_and_markup_stays_text(page: Any) -> None:
    turn = sent(page, MARKUP)
    figure = turn.locator("figure[data-finished]")
    figure.wait_for()
    assert figure.locator("img").get_attribute("src").startswith("data:image/png;base64,")
    assert figure.locator("img").evaluate("image => image.naturalWidth") == 16
    assert page.locator(".turn.yours p").text_content() == MARKUP
    assert page.title() == "gobelin chat"
    assert page.locator("#log b").count() == 0
    assert page.locator("#words").input_value() == ""


def test_a_picture_is_given_and_described_and_the_conversation_goes_on(page: Any, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(png("red"))
    page.set_input_files("#files", tmp_path / "red.png")
    page.locator("#waiting img").wait_for()
    turn = sent(page, "")
    assert turn.locator("p").first.text_content()
    assert page.locator("#waiting img").count() == 0
    seen = page.locator(".turn.yours img")
    assert seen.evaluate("image => image.naturalWidth") == 16  # as the model sees it
    sent(page, "a blue square", "picture").locator("figure[data-finished]").wait_for()
    items = page.evaluate("items.map((item) => [item.kind, item.codes ? item.codes.length : item.text])")
    assert [kind for kind, _ in items] == ["picture", "text", "picture"]
    assert items[1][1] == "a blue square"
    assert page.evaluate("items[0].caption.length") > 0
    assert page.evaluate("items[0].data === undefined")
    page.click("#new")
    assert page.locator(".turn").count() == 0
    assert page.evaluate("items.length") == 0


def test_an_empty_turn_is_not_shown(page: Any) -> None:
    page.fill("#words", " \n")
    page.click("#send")
    assert page.locator(".turn").count() == 0
    sent(page, "a red square")
    sent(page, "")  # the model goes on by itself
    assert page.locator(".turn.model").count() == 2
    assert page.locator(".turn.yours").count() == 1


def test_a_dropped_picture_waits_to_be_sent(page: Any) -> None:
    page.evaluate(
        """() => {
          const canvas = document.createElement("canvas");
          canvas.toBlob((blob) => {
            const files = new DataTransfer();
            files.items.add(new File([blob], "drawn.png", { type: "image/png" }));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true }));
          });
        }"""
    )
    page.locator("#waiting img").wait_for()
    sent(page, "", "text")


def test_a_file_that_is_no_picture_is_told_and_the_next_one_works(page: Any, tmp_path: Path) -> None:
    (tmp_path / "fake.png").write_bytes(b"no picture at all")
    page.set_input_files("#files", tmp_path / "fake.png")
    page.locator("#waiting img").wait_for(state="attached")
    page.fill("#words", "what is it?")
    with page.expect_response("**/reply") as answer:
        page.click("#send")
    assert answer.value.status == 400
    page.locator(".error").wait_for()
    assert page.locator(".error").text_content() == "this file: not a picture"
    assert page.locator("#words").input_value() == "what is it?"
    assert page.evaluate("items.length") == 0


def test_a_reply_is_stopped(page: Any, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Callable[..., Any] = ModelFolder.write

    def slow(self: ModelFolder, *given: Any, on_token: Callable[[int, int], None], **more: Any) -> Any:
        def dawdle(index: int, token: int) -> None:
            time.sleep(0.3)
            on_token(index, token)

        return plain(self, *given, on_token=dawdle, **more)

    monkeypatch.setattr(ModelFolder, "write", slow)
    page.fill("#words", "a red")
    page.select_option("#make", "text")
    page.click("#send")
    page.locator(".turn.model p").first.wait_for(state="attached")
    assert page.is_disabled("#send")
    page.click("#stop")
    page.get_by_text("Stopped.").wait_for()
    assert page.is_enabled("#send")
    assert server.model_is_free.acquire(timeout=20)
    server.model_is_free.release()
    monkeypatch.undo()
    sent(page, "a blue square", "picture")


def test_a_server_that_is_gone_is_told(browser: Any, folder: ModelFolder) -> None:
    with ChatServer(folder, SamplingConfig()) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        page = browser.new_page()
        page.goto(server.url)
        server.shutdown()
        thread.join()
    page.fill("#words", "anybody there?")
    page.click("#send")
    page.get_by_text("does gobelin chat still run?").wait_for()
    assert page.locator("#words").input_value() == "anybody there?"
    page.close()
