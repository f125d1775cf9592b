"""`gobelin browse` without a browser: what it answers, to whom, and what it keeps."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from examples.sample_crawl.make_crawl import make_crawl
from gobelin.data.model import Node, Role, to_row
from gobelin.errors import UserError
from gobelin.pipeline.ask.what_if import Outcome, _judge
from gobelin.pipeline.browse import details
from gobelin.pipeline.browse.answers import Answers
from gobelin.pipeline.browse.collection import PAGE, AskError, Collection, settings
from gobelin.pipeline.browse.find import Query, find_documents, find_pictures, left_out
from gobelin.pipeline.browse.server import BrowseServer
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.recipe import RecipeError, change, load_recipe
from gobelin.report.marks import MarksError, draw, error_rates, read_marks, wilson
from gobelin.transforms.selection.columns.judged import STAYS

RECIPE = """
name: looked-at
num_shards: 3
select:
  document: {min_words: 20, min_images: 1, unique: [url, near], languages: [en], max_spam_word_ratio: 0.5}
  text: {min_words: 2, max_site_count: 3, max_lorem_ipsum: 0}
  image: {min_side_px: 48, max_side_px: 5000, max_aspect_ratio: 3, max_documents: 8, banned_url_words: [logo, banner]}
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the sample crawl."""
    folder = tmp_path_factory.mktemp("browse")
    make_crawl(folder / "crawl", seed=3, pages=60)
    (folder / "recipe.yaml").write_text(RECIPE)
    run = ["run", "--recipe", str(folder / "recipe.yaml"), "--input", str(folder / "crawl" / "*.warc.gz")]
    assert main([*run, "--until", "select", "--output", str(folder / "out"), "--workers", "1", "--quiet"]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def collection(output: Path) -> Collection:
    return Collection(str(output))


@pytest.fixture
def answers(collection: Collection) -> Iterator[Answers]:
    yield Answers([collection])
    (Path(collection.output) / "marks.jsonl").unlink(missing_ok=True)


@pytest.fixture
def server(answers: Answers) -> Iterator[BrowseServer]:
    with BrowseServer(answers) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


# what it decides


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image.min_side_px": 100},
        {"image.max_documents": None, "text.max_site_count": 1},
        {"text.min_words": 9, "document.min_words": 150},
        {"image.max_aspect_ratio": 1.1, "document.max_images": 3},
        {"document.min_images": 4},
    ],
    ids=lambda changes: ",".join(changes) or "as it is",
)
def test_a_moved_threshold_decides_what_select_would(
    collection: Collection, output: Path, changes: dict[str, float | None]
) -> None:
    config = change(load_recipe(str(output / "recipe.yaml")), tuple(settings(changes))).select
    expected: Outcome = _judge(str(output), config, config)[0]
    judged = collection.judged(changes, next(iter(changes), None))
    reasons = {
        doc_id: judged.names["document"][code]
        for doc_id, code in zip(collection.columns.ids.to_pylist(), judged.documents)
        if code != STAYS
    }
    assert reasons == expected.reasons
    assert judged.totals() == expected.totals()
    assert len(expected.survivors) not in (0, len(collection.columns.ids))


def test_what_follows_is_what_what_if_says(answers: Answers, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "--output", str(output), "--what-if", "image.min_side_px=100", "--quiet"]) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    table = {line[0]: line for line in said if line and line[0] in ("documents", "images", "words")}
    follows = answers.on_judge({"changes": {"image.min_side_px": 100}, "held": "image.min_side_px"})
    numbers = [(f"{before:,}", f"{after:,}") for before, after in zip(follows["before"], follows["after"])]
    assert numbers[0] == tuple(table["documents"][1:3])
    assert numbers[1] == tuple(table["images"][2:4])
    assert numbers[2] == tuple(table["words"][1:3])
    assert follows["settings"] == ["select.image.min_side_px=100"]
    assert follows["before"] != follows["after"]


def test_rules_that_are_off_and_bad_values(answers: Answers) -> None:
    assert answers.on_judge({"changes": {"image.max_nsfw": 0.1}, "held": "image.max_nsfw"})["not_run"] > 0
    with pytest.raises(AskError, match=r"no rule .* 'image.max_sid'"):
        answers.on_judge({"changes": {"image.max_sid": 1}})
    with pytest.raises(RecipeError, match="min_side_px"):
        answers.on_judge({"changes": {"image.min_side_px": 0.5}})
    with pytest.raises(AskError, match="numbers"):
        answers.on_judge({"changes": {"image.min_side_px": "x: 1"}})


def test_the_recipe_change_is_a_recipe(answers: Answers, output: Path) -> None:
    changes = {"image.min_side_px": 100.0, "text.max_site_count": None, "document.max_spam_word_ratio": 0.25}
    written = answers.on_write({"changes": changes})
    made = load_recipe(written["file"])
    assert made == change(
        load_recipe(str(output / "recipe.yaml")), tuple(settings({**changes, "image.min_side_px": 100}))
    )
    assert f"--recipe {written['file']}" in written["command"]
    with pytest.raises(AskError, match="no threshold differs"):
        answers.on_write({"changes": {}})


# what it shows


def test_documents_are_filtered_searched_and_sorted(collection: Collection) -> None:
    def found(**given: Any) -> list[str]:
        places, _ = find_documents(collection, Query(**given), {})
        return [collection.columns.ids[int(place)].as_py() for place in places]

    every = found()
    assert sorted([*found(view="kept"), *found(view="dropped")]) == sorted(every)
    first = collection.columns.urls[0].as_py()
    assert every[0] in found(text=first.upper())
    assert found(text=every[3][:12]) == [every[3]]
    assert found(text="zebra-that-is-nowhere", in_text=True) == []
    page = details.document(collection, every[0], {})
    words = next(node["text"] for node in page["nodes"] if node["kind"] == "text" and len(node["text"]) > 60)
    assert every[0] in found(text=words[10:50], in_text=True)
    assert every[0] not in found(text=words[10:50])
    host = urlsplit(first).hostname
    assert set(found(site=host)) == {
        each for each in every if host in collection.columns.urls[collection.places[each]].as_py()
    }
    words_left = collection.judged({}).num_words
    lengths = [int(words_left[collection.places[each]]) for each in found(sort="words_left", descending=True)]
    assert lengths == sorted(lengths, reverse=True)
    assert len(found(score="num_sentences", low=5, high=9)) < len(every)
    rule = next(iter(collection.base.counts("document")))
    assert len(found(rule=rule)) == collection.base.counts("document")[rule]
    with pytest.raises(AskError, match="no score"):
        found(sort="nonsense")


def test_what_has_no_scores_is_listed(collection: Collection) -> None:
    rows, total, rules = left_out(collection, "", "", 0)
    assert total > len(rules) > 1
    assert {row["rule"] for row in rows} <= set(rules)
    seen = [row for offset in range(0, total, PAGE) for row in left_out(collection, "", "", offset)[0]]
    assert len(seen) == total
    of_rule = left_out(collection, "", rules[0], 0)
    assert of_rule[1] == sum(row["rule"] == rules[0] for row in seen)
    assert left_out(collection, "no-such-address", "", 0)[:2] == ([], 0)


def test_pictures_stand_once_and_near_ones_on_both_sides(collection: Collection, answers: Answers) -> None:
    places, _ = find_pictures(collection, Query(), {})
    images = collection.columns.images[places]
    assert len(set(images.tolist())) == len(images) == len(collection.columns.image_ids)
    places, values = find_pictures(collection, Query(sort="min_side"), {})
    assert values.tolist() == sorted(values.tolist())
    near = answers.on_near({"rule": "image.min_side_px", "threshold": 64})
    assert near["passing"]
    assert all(row["value"] >= 64 for row in near["passing"])
    assert all(row["value"] < 64 for row in near["failing"])
    texts = answers.on_near({"rule": "text.min_words", "threshold": 6})
    assert all(len(row["text"].split()) for row in texts["failing"])


def test_a_document_side_by_side(collection: Collection, answers: Answers) -> None:
    kept = int(collection.base.is_kept.nonzero()[0][0])
    doc_id = collection.columns.ids[kept].as_py()
    page = answers.on_document({"doc_id": doc_id, "changes": {"text.min_words": 400}})
    assert all(node["rule"] for node in page["nodes"] if node["role"] == "paragraph" and node["kind"] == "text")
    assert answers.on_source({"doc_id": doc_id})["text"].lstrip().lower().startswith("<")
    assert "has not run" in answers.on_tokens({"doc_id": doc_id})["why"]
    assert answers.on_document({"doc_id": doc_id})["rule"] == ""
    with pytest.raises(AskError, match="no document"):
        answers.on_document({"doc_id": "0" * 32})
    clusters = answers.on_clusters({"kind": "images"})
    assert all(group["size"] > 1 for group in clusters["groups"])


def test_a_page_is_shown_without_what_loads_or_runs() -> None:
    page = """<html><head><base href=//x><meta http-equiv=refresh content='0;url=//x'><script>1</script>
        <link rel=preload href=//x></head><body onload=go() background=//x><img src=//x onerror=go()>
        <a href=javascript:go()>words</a><svg><script>2</script><use xlink:href=//x /></svg><iframe src=//x></iframe>
        <form action=//x>more</form><p style='color:red'>kept"""
    shown = details.rendered(page).decode()
    assert "words" in shown
    assert "more" in shown
    assert "kept" in shown
    assert not any(word in shown for word in ("script", "//x", "go()", "refresh", "iframe", "onload", "<form"))
    assert b"empty" in details.rendered("")
    xhtml = '<?xml version="1.0" encoding="iso-8859-1"?><html><body><p>h\u00e9</p></body></html>'
    assert "<p>h\u00e9</p>" in details.rendered(xhtml).decode()


def test_two_runs(collection: Collection, output: Path, tmp_path: Path) -> None:
    limit = int(np.median(collection.base.num_words[collection.base.is_kept])) + 1
    stricter = f"extends: {output / 'recipe.yaml'}\nselect: {{document: {{min_words: {limit}}}}}"
    (tmp_path / "recipe.yaml").write_text(stricter)
    link = tmp_path / "strict"
    link.mkdir()
    for part in ("extract", "score", "run.json"):
        (link / part).symlink_to(output / part)
    (link / "recipe.yaml").symlink_to(tmp_path / "recipe.yaml")
    both = Answers([collection, Collection(str(link))])
    assert [run["name"] for run in both.on_start({})["runs"]] == ["out", "strict"]
    alike = Answers([collection, collection]).on_start({})["runs"]
    assert [run["name"] for run in alike] == [str(output)] * 2
    told = both.on_compare({})
    assert told["only_here"] > 0 == told["only_there"]
    assert told["both"] == told["totals"][1][0]
    rows = both.on_documents({"view": "only_here"})
    assert rows["total"] == told["only_here"]
    assert both.on_document({"doc_id": rows["rows"][0]["doc_id"]})["elsewhere"] == "document.min_words"
    assert both.on_documents({"view": "only_here", "run": 1})["total"] == 0
    with pytest.raises(AskError, match="no second run"):
        Answers([collection]).on_compare({})
    with pytest.raises(AskError, match="no run"):
        both.on_documents({"run": 7})


def test_a_folder_without_scores_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["browse", str(tmp_path)]) == 2
    assert "there is no run.json in it" in capsys.readouterr().err
    (tmp_path / "run.json").write_text("{}")
    assert main(["browse", str(tmp_path)]) == 2
    assert "has no scores yet" in capsys.readouterr().err
    assert main(["browse", str(tmp_path / "run.json")]) == 2
    assert "there is no run.json in it" in capsys.readouterr().err


# marks


@pytest.mark.parametrize(
    ("num", "of", "low", "high"), [(0, 10, 0, 0.2775), (5, 10, 0.2366, 0.7634), (1, 200, 0.0009, 0.0278), (0, 0, 0, 1)]
)
def test_wilson(num: int, of: int, low: float, high: float) -> None:
    assert wilson(num, of) == pytest.approx((low, high), abs=1e-4)


def test_a_draw_repeats_and_differs_by_rule_and_seed() -> None:
    places = list(range(1000, 2000))
    assert draw(places, "a", 1, 20) == draw(places, "a", 1, 20)
    assert len(set(draw(places, "a", 1, 20))) == 20
    assert draw(places, "a", 1, 20) != draw(places, "a", 2, 20)
    assert draw(places, "a", 1, 20) != draw(places, "b", 1, 20)
    assert sorted(draw(places[:5], "a", 1, 20)) == places[:5]


def test_an_audit_counts_what_was_drawn(answers: Answers, collection: Collection, output: Path) -> None:
    rule = next(each for each in answers.on_audit({"size": 4})["rules"] if each["rule"] == "kept")
    assert len(rule["items"]) == 4
    assert rule["population"] == collection.base.totals()[0]
    told = {each["rule"]: each["meaning"] for each in answers.on_audit({"size": 4})["rules"]}
    assert told["document.min_images"] == "pictures left after the node rules, at least 1"
    for number, item in enumerate(rule["items"][:3]):
        verdict = "right" if number else "wrong"
        answers.on_mark({**item, "rule": "kept", "verdict": verdict, "note": "<b>why", "audit": True})
    other = next(doc_id for doc_id in collection.places if doc_id not in {item["doc_id"] for item in rule["items"]})
    answers.on_mark({"doc_id": other, "node_index": None, "rule": "kept", "verdict": "wrong"})
    again = next(each for each in answers.on_audit({"size": 4})["rules"] if each["rule"] == "kept")
    assert (again["right"], again["wrong"]) == (2, 1)
    assert (again["low"], again["high"]) == wilson(1, 3)
    rates = error_rates(read_marks(str(output)), collection.selection)
    assert [(each.rule, each.num_right, each.num_wrong) for each in rates] == [("kept", 2, 1)]
    assert rates[0].notes[0].verdict == "wrong"
    assert error_rates(read_marks(str(output)), "another selection") == []
    answers.on_mark({**rule["items"][0], "rule": "kept", "verdict": "", "note": ""})
    assert len(read_marks(str(output))) == 3
    assert main(["report", "--output", str(output), "--quiet"]) == 0
    page = (output / "report" / "index.html").read_text()
    assert "Audit by eye" in page
    assert "&lt;b&gt;why" in page
    audit = json.loads((output / "report" / "report.json").read_text())["audit"]
    assert [(each["rule"], each["right"], each["wrong"]) for each in audit] == [("kept", 2, 0)]


def test_a_mark_that_is_none(answers: Answers, collection: Collection, output: Path) -> None:
    doc_id = next(iter(collection.places))
    for given in ({"verdict": "maybe"}, {"node_index": "1"}, {"note": "x" * 3000}, {"doc_id": "0" * 32}, {"note": 3}):
        with pytest.raises(AskError):
            answers.on_mark({"doc_id": doc_id, "verdict": "right", **given})
    (output / "marks.jsonl").write_text('{"doc_id": "x"}\n')
    with pytest.raises(MarksError, match=r"marks\.jsonl, line 1"):
        read_marks(str(output))


# to whom it answers

Ask = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def ask(server: BrowseServer) -> Ask:
    def send(
        path: str, body: Any = None, token: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        given = {"Content-Type": "application/json"} if body is not None else {}
        data = json.dumps(body) if isinstance(body, dict) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", f"/{token or server.token}/{path}", data, given | named)
        answer = connection.getresponse()
        read = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return read

    return send


def test_the_page_is_served_with_a_strict_policy(ask: Ask) -> None:
    for path in ("", "browse.js", "browse.css", "page.css", "icon.svg"):
        status, headers, body = ask(path)
        assert status == 200
        assert body
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [{"Host": "attacker.example"}, {"Origin": "https://attacker.example"}, {"Origin": "null"},
     {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}],
)  # fmt: skip
def test_other_pages_are_refused(ask: Ask, headers: dict[str, str]) -> None:
    assert ask("", **headers)[0] == 403
    assert ask("api/start", {}, **headers)[0] == 403


def test_without_the_token_there_is_nothing(ask: Ask, server: BrowseServer) -> None:
    assert ask("api/start", {}, token="x" * len(server.token))[0] == 403
    assert ask("", token=server.token[:-1])[0] == 403
    assert ask("api/start", {})[0] == 200
    assert ask("api/start", {}, Origin=server.url[: -len(server.token) - 2])[0] == 200
    assert server.server_address[0] == "127.0.0.1"


def test_questions_that_are_none(ask: Ask) -> None:
    assert ask("api/nothing", {})[0] == 400
    assert ask("api/__class__", {})[0] == 400
    assert ask("api/start", "[1]")[0] == 400
    assert ask("api/start", "{")[0] == 400
    assert ask("api/start", "[" * 10**5)[0] == 400
    assert ask("image/" + "0" * 64 + "?side=%C2%B2")[0] == 404  # a digit, and no number
    assert ask("api/start", {}, Content_Type="text/plain")[0] == 415
    assert ask("api/start", "x", Content_Length=str(2 << 20))[0] == 413  # refused before it is read
    assert ask("../../etc/passwd")[0] == 404
    assert ask("image/" + "0" * 64)[0] == 404
    assert b"no document" in ask("page/" + "0" * 32)[2]


def test_pictures_are_encoded_anew_and_pages_are_in_a_sandbox(ask: Ask, collection: Collection) -> None:
    image_id = collection.columns.image_ids[0].as_py()
    status, headers, body = ask(f"image/{image_id}?side=2400")
    assert status == 200
    assert headers["Content-Type"] == "image/webp"
    assert body[8:12] == b"WEBP"
    status, headers, _ = ask(f"page/{collection.columns.ids[0].as_py()}")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


def test_a_port_that_is_taken_is_said(server: BrowseServer, answers: Answers) -> None:
    with pytest.raises(UserError, match=f"port {server.server_port} cannot be opened"):
        BrowseServer(answers, server.server_port)
    for port in (-1, 65_536):
        with pytest.raises(UserError, match="from 0 to 65535"):
            BrowseServer(answers, port)


def test_the_command_prints_its_address_and_ends_with_ctrl_c(output: Path) -> None:
    command = [str(Path(sys.executable).with_name("gobelin")), "browse", str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if line.startswith("http"))
            parts = urlsplit(line.strip())
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=20)
            connection.request("GET", parts.path)
            assert connection.getresponse().status == 200
            connection.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_code_and_tables_are_told_as_what_they_are() -> None:
    code, table, older = (
        to_row(Node("text", Role.CODE, text="a", code_language="c++")),
        to_row(Node("text", Role.TABLE, text="a | b\nc", header_rows=0)),
        to_row(Node("text", Role.TABLE, text="a | b\nc")),
    )
    assert details._structure(code) == {"code_language": "c++"}
    assert details._structure(table) == {"table": [["a", "b"], ["c", ""]], "header_rows": 0}
    assert details._structure(older)["header_rows"] == 1
