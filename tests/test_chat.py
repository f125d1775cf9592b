"""`gobelin chat` without a browser: what it answers, to whom, and that a reply ends when nobody listens."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image as PillowImage

from gobelin.errors import UserError
from gobelin.pipeline.ask.model_folder import ModelFolder, open_model
from gobelin.pipeline.chat.replies import Event, read_question, reply
from gobelin.pipeline.chat.server import MAX_REQUEST, ChatServer
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.run.open_run import recipe_of
from gobelin.train.config import SamplingConfig
from tests.model_folders import SIDE, write_model_folder

CONFIG = SamplingConfig(temperature=1.0)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model_folder(str(tmp_path_factory.mktemp("chat") / "out"))


@pytest.fixture(scope="module")
def folder(output: str) -> ModelFolder:
    return open_model(output, recipe_of(output, None, ()))


@pytest.fixture
def server(folder: ModelFolder) -> Iterator[ChatServer]:
    with ChatServer(folder, CONFIG) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def picture_file(color: str = "red") -> str:
    stream = io.BytesIO()
    PillowImage.new("RGB", (40, 30), color).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def events_of(folder: ModelFolder, given: dict[str, Any]) -> list[Event]:
    told: list[Event] = []
    reply(folder, read_question(folder, CONFIG, given), told.append, lambda: None)
    return told


def pixels_of(event: Event) -> np.ndarray:
    return np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(event["png"]))))


def test_a_picture_appears_row_by_row_and_is_that_of_its_codes(folder: ModelFolder) -> None:
    events = events_of(folder, {"items": [{"kind": "text", "text": "a red square"}], "seed": 3})
    assert [event["event"] for event in events] == ["begin", "picture", "picture", "done"]
    assert events[0]["what"] == "picture"
    half, whole = pixels_of(events[1]), pixels_of(events[2])
    assert np.array_equal(whole, folder.pixels(events[2]["codes"]))
    assert (half[SIDE // 2 :] == 200).all()
    assert (half[: SIDE // 2] != 200).any()
    assert "codes" not in events[1]


def test_a_caption_is_told_piece_by_piece_and_a_file_becomes_codes_once(folder: ModelFolder) -> None:
    events = events_of(folder, {"items": [{"kind": "picture", "data": picture_file()}], "seed": 1})
    assert [event["event"] for event in events[:2]] == ["given", "begin"]
    assert events[1]["what"] == "caption"
    assert np.array_equal(pixels_of(events[0]), folder.pixels(events[0]["codes"]))
    assert len([event for event in events if event["event"] == "text"]) > 1
    again = events_of(folder, {"items": [{"kind": "picture", "codes": events[0]["codes"]}], "seed": 1})
    assert again == events[1:]


def test_a_text_is_gone_on_with_and_a_document_has_all_kinds(folder: ModelFolder) -> None:
    words = {"kind": "text", "text": "a red"}
    assert events_of(folder, {"items": [words], "make": "text"})[0] == {"event": "begin", "what": "continue"}
    begun = set()
    for seed in range(200):
        given = {"items": [], "make": "both", "seed": seed, "settings": {"temperature": 5}}
        events = events_of(folder, given)
        begun |= {event["what"] for event in events if event["event"] == "begin"}
        drawn = [event for event in events if event["event"] == "picture" and "codes" in event]
        assert len(drawn) == len([event for event in events if event.get("what") == "picture"])
        if len(begun) == 3:
            break
    assert begun == {"text", "caption", "picture"}


def test_the_page_asks_which_grids_there_are(server: ChatServer) -> None:
    with urlopen(f"{server.url}grids") as answer:
        assert json.load(answer) == ["vqvae:2x2"]


def test_a_long_conversation_is_cut_with_a_note(folder: ModelFolder) -> None:
    items = [{"kind": "text", "text": "a red square " * 5}] * 9
    assert "left out" in events_of(folder, {"items": items})[0]["text"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "a list of items"),
        ({"items": [1]}, "a text or a picture"),
        ({"items": [], "grid": "9x9"}, "no codebook is called '9x9'"),
        ({"items": [{"kind": "text", "text": 5}]}, "at most 100,000 characters"),
        ({"items": [{"kind": "picture", "codes": [0, 1, 2]}]}, "a picture has 4 codes from 0 to 31"),
        ({"items": [{"kind": "picture", "codes": [0, 1, 2, 32]}]}, "a picture has 4 codes"),
        ({"items": [{"kind": "picture", "codes": [0, 1, 2, True]}]}, "a picture has 4 codes"),
        ({"items": [{"kind": "picture", "data": "%%%"}]}, "not in base64"),
        ({"items": [{"kind": "picture", "data": "bm8gcGljdHVyZQ=="}]}, "this file: not a picture"),
        ({"items": [], "make": "poem"}, "make must be one of picture, text, both"),
        ({"items": [], "seed": -1}, "the seed must be"),
        ({"items": [], "settings": {"top_k": 5}}, "settings are temperature"),
        ({"items": [], "settings": {"temperature": float("nan")}}, "temperature must be a number"),
        ({"items": [], "settings": {"temperature": -1}}, "temperature must not be negative"),
        ({"items": [{}] * 1001}, "begin a new one"),
    ],
)
def test_what_cannot_be_asked_is_said_in_words(folder: ModelFolder, given: Any, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        read_question(folder, CONFIG, given)


def ask(
    server: ChatServer, method: str = "GET", path: str | None = None, body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    address = urlsplit(server.url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, address.path if path is None else path, body, given)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def post(server: ChatServer, value: Any, **headers: str) -> tuple[int, bytes]:
    path = urlsplit(server.url).path + "reply"
    given = {"Content_Type": "application/json", **headers}
    status, _, content = ask(server, "POST", path, json.dumps(value).encode(), **given)
    return status, content


def test_the_page_loads_nothing_from_elsewhere(server: ChatServer) -> None:
    path = urlsplit(server.url).path
    for name in ("", "chat.js", "chat.css"):
        status, headers, content = ask(server, path=path + name)
        assert status == 200
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"http:" not in content
        assert b"https:" not in content
        assert b"innerHTML" not in content


def test_only_its_own_page_may_ask(server: ChatServer) -> None:
    port, path = server.server_port, urlsplit(server.url).path
    question = {"items": [{"kind": "text", "text": "red"}]}
    assert ask(server, path="/")[0] == 403
    assert ask(server, path="/wrong/")[0] == 403
    assert ask(server, path="/../etc/passwd")[0] == 403
    assert ask(server, path=path + "../server.py")[0] == 404
    for refused in (
        {"Host": f"evil.example:{port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        assert ask(server, path=path, **refused)[0] == 403
        assert post(server, question, **refused)[0] == 403
    assert post(server, question, Origin=f"http://127.0.0.1:{port}", Sec_Fetch_Site="same-origin")[0] == 200


def test_requests_that_are_none(server: ChatServer) -> None:
    path = urlsplit(server.url).path + "reply"
    kind = {"Content_Type": "application/json"}
    assert ask(server, "POST", path, b"{", **kind)[0] == 400
    assert ask(server, "POST", path, b"[" * 100_000, **kind)[0] == 400
    assert ask(server, "POST", path, b"{}", Content_Type="text/plain")[0] == 415
    assert ask(server, "POST", path, b"", Content_Length=str(MAX_REQUEST + 1), **kind)[0] == 413
    status, content = post(server, {"items": "x"})
    assert (status, json.loads(content)) == (400, {"error": "a request needs a list of items"})
    assert post(server, {"items": []})[0] == 200


def test_a_defect_is_told_and_the_server_lives_on(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("<b>inner</b>")

    with monkeypatch.context() as patch:
        patch.setattr(ModelFolder, "write", broken)
        status, content = post(server, {"items": []})
    assert status == 500
    assert b"inner" not in content
    assert "defect" in json.loads(content)["error"]
    assert "inner" in capsys.readouterr().err
    assert post(server, {"items": []})[0] == 200


def test_a_reply_ends_when_nobody_listens(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page hangs up in the middle; the model is free for the next question soon after."""
    ended, num_tokens = threading.Event(), 0
    plain: Callable[..., Any] = ModelFolder.write

    def slow(self: ModelFolder, *given: Any, on_token: Callable[[int, int], None], **more: Any) -> Any:
        def dawdle(index: int, token: int) -> None:
            nonlocal num_tokens
            num_tokens += 1
            time.sleep(0.05)
            on_token(index, token)

        try:
            return plain(self, *given, on_token=dawdle, **more)
        finally:
            ended.set()

    monkeypatch.setattr(ModelFolder, "write", slow)
    address = urlsplit(server.url)
    body = json.dumps({"items": [{"kind": "text", "text": "a"}], "make": "text"}).encode()
    with socket.create_connection((address.hostname, server.server_port), timeout=30) as connection:
        head = f"POST {address.path}reply HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        heard = b""
        while b'"begin"' not in heard:
            heard += connection.recv(1000)
    assert ended.wait(20)
    assert num_tokens < 20
    monkeypatch.undo()
    assert post(server, {"items": []})[0] == 200


def test_a_second_question_waits_for_the_first_or_is_told(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gobelin.pipeline.chat.server._BUSY_SECONDS", 0.1)
    with server.model_is_free:
        status, content = post(server, {"items": []})
    assert status == 409
    assert "another reply" in json.loads(content)["error"]
    assert post(server, {"items": []})[0] == 200


def test_the_command(output: str) -> None:
    """It says where the page is, and ends with Ctrl-C."""
    command = [str(Path(sys.executable).parent / "gobelin"), "chat", output, "--set", "sample.sampling.temperature=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            address = urlsplit(url)
            assert address.hostname == "127.0.0.1"
            connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
            connection.request("GET", address.path)
            assert connection.getresponse().status == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()  # a shell may have told its background jobs to ignore Ctrl-C


def test_what_the_command_refuses(output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["chat", output, "--port", str(taken.getsockname()[1])]) == 2
    assert "name another with --port" in capsys.readouterr().err
    assert main(["chat", output, "--port", "70000"]) == 2
    assert main(["chat", str(tmp_path)]) == 2
    assert "has no recipe" in capsys.readouterr().err


def test_questions_keep_the_recipes_settings(folder: ModelFolder) -> None:
    question = read_question(folder, CONFIG, {"items": [], "settings": {"cfg_scale": 2}})
    assert question.config == dataclasses.replace(CONFIG, cfg_scale=2)
