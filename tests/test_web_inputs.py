"""Archives by https and by lists: found, sampled, read by ranges, and asked for again as long as that is of use."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gobelin.data.model import ArchiveTally
from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.pipeline.run import crawls
from gobelin.pipeline.run.crawl_index import Records, load_records, save_records
from gobelin.pipeline.run.inputs import Archive, InputError, find_archives, in_languages, read_batches
from gobelin.pipeline.run.keys import stage_keys
from gobelin.store import web
from gobelin.store.files import open_input, read_bytes
from gobelin.transforms.archives.ranges import open_range
from gobelin.transforms.archives.read_warc import PageCapture, read_range
from tests.crawl_server import CRAWL, FOLDER, CrawlServer, crawl_server, publish, publish_index

SLOW_DOWN = (503, {}, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CrawlServer]:
    monkeypatch.setattr(web, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(web, "_REFUSED_PAUSE_SECONDS", 0.02)
    with crawl_server() as server:
        monkeypatch.setenv(crawls.HOME_VARIABLE, server.url)
        yield server
    web._session.cache_clear()


@pytest.fixture
def crawl(server: CrawlServer, record: Callable[..., Any], pack: Callable[..., bytes]) -> list[str]:
    """Paths of twenty archives of a crawl, three pages in each."""
    pages = [[record(f"https://s{i}.example/{j}", b"<html>" + b"words " * 99) for j in range(3)] for i in range(20)]
    paths = publish(server, [pack(each) for each in pages])
    rows: list[dict[str, Any]] = []
    for path, each in zip(paths, pages, strict=True):
        offset = 0
        for language, page in zip(("eng", "isl,eng", None), each, strict=True):
            length = len(pack([page]))
            place = {"warc_filename": path, "warc_record_offset": offset, "warc_record_length": length}
            rows.append({"content_languages": language, **place})
            offset += length
    rows += [{**rows[0], "warc_filename": "crawl-data/another.warc.gz", "content_languages": "isl"}]
    publish_index(server, rows)
    return paths


def test_a_crawl_by_its_name(server: CrawlServer, crawl: list[str]) -> None:
    found = find_archives([CRAWL])
    assert [each.path for each in found] == sorted(f"{server.url}/{path}" for path in crawl)
    assert [each.size for each in found] == [len(server.files[path]) for path in sorted(crawl)]
    assert len({each.tag for each in found}) == 20
    assert all(agent.startswith("gobelin/") for agent in server.agents)


def test_many_archives_are_announced(server: CrawlServer, crawl: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("gobelin.pipeline.run.inputs.MANY", 19)
    find_archives([CRAWL], 1.0, said.append)
    find_archives([CRAWL], 0.2, said.append)
    assert said == ["input: asking for the sizes of 20 archives, 4 at a time (--sample: some)"]


def test_the_same_archives_however_they_are_named(server: CrawlServer, crawl: list[str], tmp_path: Path) -> None:
    by_name = find_archives([CRAWL])
    listed = f"{FOLDER}/warc.paths.gz"
    (tmp_path / "warc.paths.gz").write_bytes(server.files[listed])
    (tmp_path / "mine.paths").write_text("\n".join([*crawl, ""]))
    for given in (f"{server.url}/{listed}", str(tmp_path / "warc.paths.gz"), str(tmp_path / "mine.paths")):
        assert find_archives([given]) == by_name
    assert find_archives([f"{server.url}/{crawl[0]}"]) == by_name[:1]
    assert find_archives([CRAWL, f"{server.url}/{crawl[0]}"]) == by_name


def test_a_list_of_files_beside_it(tmp_path: Path, make_warc: Callable[..., str], record: Callable[..., Any]) -> None:
    path = make_warc("a/x.warc.gz", [record("https://a.example/", b"<html>")])
    (tmp_path / "mine.paths").write_text(f"a/x.warc.gz\n{path}\n")
    assert [each.path for each in find_archives([str(tmp_path / "mine.paths")])] == [path]
    (tmp_path / "mine.paths").write_text("a/y.warc.gz\n")
    with pytest.raises(InputError, match=r"y\.warc\.gz, which it lists: "):
        find_archives([str(tmp_path / "mine.paths")])


def test_a_sample_is_the_same_each_time_and_grows(server: CrawlServer, crawl: list[str]) -> None:
    every = find_archives([CRAWL])
    server.asked.clear()
    few = find_archives([CRAWL], sample=0.2)
    assert few == find_archives([CRAWL], sample=0.2)
    assert 0 < len(few) < 12
    asked = {path for path, _ in server.asked if path.endswith(".warc.gz")}
    assert {f"{server.url}/{path}" for path in asked} == {each.path for each in few}, "only these were asked for"
    assert set(few) <= set(find_archives([CRAWL], sample=0.6)) < set(every)
    on_s3 = [path for path in crawl if crawls.in_sample(f"s3://commoncrawl/{path}", 0.2)]
    assert {f"{server.url}/{path}" for path in on_s3} == {each.path for each in few}
    with pytest.raises(InputError, match="none of 20 archives is in this sample"):
        find_archives([CRAWL], sample=1e-12)
    for share in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="--sample"):
            find_archives([CRAWL], sample=share)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("CC-MAIN-2031-01", "no such crawl: {url}/crawl-data/CC-MAIN-2031-01/warc.paths.gz is not there"),
        ("{url}/none.paths", "no such list"),
        ("{url}/none.warc.gz", "the server has no such file (404)"),
        (f"{{url}}/{FOLDER}/wet.paths.gz", "is a WET file, which holds no pages, but their text"),
        (f"{{url}}/{FOLDER}/wat.paths.gz", "is a WAT file"),
        ("{url}/empty.paths", "is an empty list"),
        ("{url}/torn.paths.gz", "the list breaks off"),
        ("{url}/page.html", "is not a WARC, ARC or WACZ file"),
        ("{url}/strange.paths", "line 2 is no path"),
        ("{url}/bracket.paths", "names '//[a/b.warc.gz', which is not an address"),
        ("{url}/host.paths", "names 'https://[a/b.warc.gz', which is not an address"),
        ("{url}/file.paths", "names 'file:///etc/passwd', which is not an address"),
        ("{url}/gone.paths", "the server has no such file (404)"),
        ("http://data.example/a.warc.gz", "use https"),
        ("https://me:secret@data.example/a.warc.gz", "leave it out"),
        ("https:///a.warc.gz", "names no host"),
        ("https://a.example:99999/a.warc.gz", "not the address of a file"),
    ],
)
def test_what_is_no_input_is_told(given: str, told: str, server: CrawlServer, crawl: list[str]) -> None:
    server.files |= {
        "empty.paths": b"\n\n",
        "torn.paths.gz": server.files[f"{FOLDER}/warc.paths.gz"][:-9],
        "page.html": b"<html>" * 999,
        "strange.paths": b"a.warc.gz\n\x00\x01\n",
        "bracket.paths": b"//[a/b.warc.gz\n",
        "host.paths": b"https://[a/b.warc.gz\n",
        "file.paths": b"file:///etc/passwd\n",
        "gone.paths": b"a/none.warc.gz\n",
    }
    with pytest.raises(UserError) as caught:
        find_archives([given.format(url=server.url)])
    assert told.format(url=server.url) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "trouble",
    [
        SLOW_DOWN,
        (429, {"Retry-After": "0"}, b""),
        (500, {}, b""),
        (403, {}, SLOW_DOWN[2]),
    ],
    ids=["503", "429", "500", "403"],
)
def test_a_server_in_trouble_is_asked_again(trouble: Any, server: CrawlServer) -> None:
    server.files["a.bin"] = bytes(range(256)) * 1000
    server.troubles = [("a.bin", trouble)] * 3
    assert read_bytes(f"{server.url}/a.bin") == server.files["a.bin"]
    server.troubles = [("a.bin", trouble)] * 3
    with open_input(f"{server.url}/a.bin") as stream:
        stream.seek(100_000)
        assert stream.read(70_000) == server.files["a.bin"][100_000:170_000]
    assert server.troubles == []


def test_an_answer_that_is_cut_is_asked_for_again(server: CrawlServer) -> None:
    server.files["a.bin"] = bytes(range(256)) * 1000
    server.troubles = [("a.bin", (200, {"Content-Length": "9"}, b"1234"))] * 3
    assert read_bytes(f"{server.url}/a.bin") == server.files["a.bin"]
    server.troubles = [("a.bin", (206, {"Content-Length": "1", "Content-Range": "bytes 0-0/256000"}, b""))] * 3
    with open_input(f"{server.url}/a.bin") as stream:
        assert stream.read() == server.files["a.bin"]
    assert server.troubles == []


def test_an_answer_that_trickles_is_given_up(server: CrawlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["a.bin"] = b"content"
    monkeypatch.setattr(web, "_SECONDS_OF_GRACE", -1.0)
    monkeypatch.setattr(web, "_LEAST_BYTES_A_SECOND", 1e12)
    with pytest.raises(OSError, match="only 7 bytes came in 0 s, tried for"):
        web.read(f"{server.url}/a.bin", seconds=0.1)


def test_what_is_packed_is_the_file_whatever_its_encoding(server: CrawlServer) -> None:
    packed = gzip.compress(bytes(10**6))
    server.troubles = [("a.gz", (200, {"Content-Encoding": "gzip"}, packed))]
    assert web.read(f"{server.url}/a.gz", seconds=0.1) == packed


@pytest.mark.parametrize("part", ["bytes 0-99/1000", "bytes */1000", "bytes -99/1000"])
def test_another_part_than_was_asked_for_is_an_error(part: str, server: CrawlServer) -> None:
    server.files["a.bin"] = bytes(1000)
    with open_input(f"{server.url}/a.bin") as stream:
        server.troubles = [("a.bin", (206, {"Content-Range": part, "ETag": ""}, bytes(100)))]
        stream.seek(100)
        with pytest.raises(OSError, match="another part of the file than was asked for"):
            stream.read(10)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("http://data.example/x", "use https"),
        ("https://me:secret@data.example/x", "leave it out"),
        ("file:///etc/passwd", "names no host"),
        ("//[x", "not an address"),
        ("/again", "more than 5 times"),
    ],
)
def test_a_redirect_is_looked_at_before_it_is_followed(target: str, told: str, server: CrawlServer) -> None:
    away: Any = (302, {"Location": target}, b"")
    server.troubles = [("a.bin", away)] + [("again", away)] * 9
    with pytest.raises(OSError, match=told):
        web.read(f"{server.url}/a.bin", seconds=0.1)
    server.files["b.bin"] = b"content"
    packed = {"Location": "/b.bin", "Content-Encoding": "gzip", "Content-Length": "99999"}  # and never sent
    server.troubles = [("a.bin", (302, packed, b"no gzip"))]
    assert web.read(f"{server.url}/a.bin") == b"content"


@pytest.mark.parametrize("is_followed", [False, True])
def test_a_server_elsewhere_leads_nobody_to_this_machine(
    is_followed: bool, server: CrawlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["secret"] = b"of another service"
    home = server.url if is_followed else server.url.replace("127.0.0.1", "localhost")
    monkeypatch.setattr(web, "_LOOPBACK", ("127.0.0.1", "localhost") if is_followed else ("localhost",))
    monkeypatch.setattr(web, "check_address", lambda _: None)
    server.troubles = [("a.bin", (302, {"Location": f"{home}/secret"}, b""))]
    if is_followed:
        assert web.read(f"{server.url}/a.bin") == b"of another service"
        return
    with pytest.raises(OSError, match="which is on this machine"):
        web.read(f"{server.url}/a.bin")
    assert [path for path, _ in server.asked] == ["a.bin"]
    server.files["list.paths"] = f"{home}/secret.warc.gz\n".encode()
    with pytest.raises(crawls.ListError, match="which is on this machine"):
        find_archives([f"{server.url}/list.paths"])


def test_a_host_that_is_no_name_is_told(server: CrawlServer) -> None:
    for host in ("a..example", "a" * 70 + ".example"):
        with pytest.raises(InputError, match="label empty or too long"):
            find_archives([f"https://{host}/a.warc.gz"])


def test_a_server_that_stays_away_is_told(server: CrawlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.troubles = [("a.bin", SLOW_DOWN)] * 100
    with pytest.raises(OSError, match="the server answers 503, tried for 0 s"):
        web.read(f"{server.url}/a.bin", seconds=0.2)
    assert 2 < 100 - len(server.troubles) < 30
    server.troubles = [("a.bin", (503, {"Retry-After": "3600"}, b""))]
    with pytest.raises(OSError, match="503"):
        web.read(f"{server.url}/a.bin", seconds=0.2)
    for status, told in ((403, "refuses"), (401, "refuses"), (418, "answers 418")):
        server.troubles = [("a.bin", (status, {}, b""))]
        with pytest.raises(OSError, match=told):
            web.read(f"{server.url}/a.bin")
        assert server.troubles == []


def test_common_crawl_answers_403_to_whoever_asks_too_much(
    server: CrawlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["a.bin"] = b"content"
    server.troubles = [("a.bin", (403, {}, b"<html>")), ("a.bin", (403, {}, b"<html>"))]
    monkeypatch.setattr(web, "_means_slow_down", lambda *_: True)
    assert read_bytes(f"{server.url}/a.bin") == b"content"


def test_a_server_without_ranges_is_told(server: CrawlServer) -> None:
    server.troubles = [("a.bin", (200, {}, b"all of it"))]
    with pytest.raises(OSError, match="no range requests"):
        web.facts_of(f"{server.url}/a.bin")


def test_redirects_are_followed_to_what_may_be_read(server: CrawlServer) -> None:
    server.files["b.bin"] = b"content"
    packed = {"Location": "/b.bin", "Content-Encoding": "gzip", "Content-Length": "99999"}  # and never sent
    server.troubles = [("a.bin", (302, packed, b"no gzip"))]
    assert read_bytes(f"{server.url}/a.bin") == b"content"
    server.troubles = [("a.bin", (302, {"Location": "/a.bin"}, b""))] * 9
    with pytest.raises(OSError, match="redirects"):
        read_bytes(f"{server.url}/a.bin")


def test_large_files_are_read_in_few_requests(server: CrawlServer) -> None:
    server.files["a.bin"] = bytes(9 << 20)
    with open_input(f"{server.url}/a.bin") as stream:
        while stream.read(1 << 16):
            pass
    assert len(server.asked) < 12


def test_an_archive_that_changed_is_not_read(server: CrawlServer, crawl: list[str], pack: Any, record: Any) -> None:
    server.files[crawl[0]] += bytes(10**6)
    archives = find_archives([CRAWL])
    ((piece, *_), *_) = read_batches(archives)
    with open_range(piece) as (stream, _):
        stream.read(10)
        server.files[crawl[0]] = pack([record("https://other.example/", b"<html>")])
        stream.seek(900_000)
        with pytest.raises(web.ChangedError, match="has changed"):
            stream.read(10)
    with pytest.raises(web.ChangedError, match="give the command with its --input again"):
        list(read_range(piece, 10**6, 10**6))
    recipe = load_recipe("gobelin")
    changed = find_archives([CRAWL])
    assert stage_keys(recipe, archives)["extract"] != stage_keys(recipe, changed)["extract"]
    assert [Archive.from_json(each.to_json()) for each in changed] == list(changed)


def test_pages_are_read_from_the_web(server: CrawlServer, crawl: list[str]) -> None:
    pieces = [piece for batch in read_batches(find_archives([CRAWL])) for piece in batch]
    found = [
        each.capture for piece in pieces for each in read_range(piece, 10**6, 10**6) if isinstance(each, PageCapture)
    ]
    assert len(found) == 60
    assert {capture.warc_file for capture in found} == {f"{server.url}/{path}" for path in crawl}


def test_a_list_too_long_is_not_unpacked(server: CrawlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawls, "_MAX_LIST_BYTES", 1 << 20)
    server.files["bomb.paths.gz"] = gzip.compress(b"a/b.warc.gz\n" * 200_000)
    with pytest.raises(UserError, match="longer than"):
        find_archives([f"{server.url}/bomb.paths.gz"])


def test_pages_in_a_language_by_the_index(server: CrawlServer, crawl: list[str], tmp_path: Path) -> None:
    said: list[str] = []
    every = find_archives([CRAWL])
    server.asked.clear()
    archives, records = in_languages([CRAWL], every, ["is"], said.append)
    assert not any("crawldiagnostics" in path for path, _ in server.asked)
    assert [archive.path for archive in archives] == [archive.path for archive in every]
    assert said[0].startswith("index: 2 files, about ")
    assert said[-1] == "index: 20 pages in 20 archives"
    save_records(str(tmp_path), archives[0].records or "", records)
    loaded = load_records(str(tmp_path), archives[0].records or "")
    pieces = [piece for batch in read_batches(archives, loaded) for piece in batch]
    found = [each for piece in pieces for each in read_range(piece, 10**6, 10**6)]
    assert {each.capture.url for each in found if isinstance(each, PageCapture)} == {
        f"https://s{number}.example/1" for number in range(20)
    }
    assert sum(each.num_records for each in found if isinstance(each, ArchiveTally)) == 20
    recipe = load_recipe("gobelin")
    english, _ = in_languages([CRAWL], every, ["eng"], said.append)
    keys = {stage_keys(recipe, given)["extract"] for given in (every, archives, english)}
    assert len(keys) == 3
    assert [Archive.from_json(each.to_json()) for each in archives] == list(archives)
    two, _ = in_languages([CRAWL], every[:3], ["is", "en"], said.append)
    assert len(two) == 3
    with pytest.raises(UserError, match="give --input and --languages again"):
        load_records(str(tmp_path), "none")


def test_records_near_each_other_are_read_together(server: CrawlServer, crawl: list[str]) -> None:
    far = 10**6
    archive = Archive("a.warc.gz", 60, "tag", "digest")
    records = Records(np.array([0, 100, far, far + 50, 5 * far]), np.array([50, 20, 50, 9, 7]))
    ((*pieces,),) = read_batches((archive,), {"a.warc.gz": records})
    assert [(piece.start, piece.end, piece.only) for piece in pieces] == [
        (0, 120, (0, 100)), (far, far + 59, (far, far + 50)), (5 * far, 5 * far + 7, (5 * far,)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "languages", "told"),
    [
        (CRAWL, ["klingon"], "not a code of a language"),
        (CRAWL, [""], "not a code of a language"),
        (CRAWL, ["deu"], "none of 20 archives holds a page in deu"),
        ("{url}/a.paths", ["isl"], "give a crawl by its name"),
        ("CC-NEWS-2026-05", ["isl"], "no such crawl"),
    ],
)
def test_languages_that_cannot_be_asked_for(
    given: str, languages: list[str], told: str, server: CrawlServer, crawl: list[str]
) -> None:
    archives = find_archives([CRAWL])
    with pytest.raises(UserError, match=told):
        in_languages([given.format(url=server.url)], archives, languages, print)


def test_an_index_that_is_none(server: CrawlServer, crawl: list[str]) -> None:
    archives = find_archives([CRAWL])
    name = next(path for path in server.files if "subset=warc" in path)
    whole = server.files[name]
    for content, told in ((whole[:-100], "cannot be read"), (b"", "cannot be read")):
        server.files[name] = content
        with pytest.raises(UserError, match=told):
            in_languages([CRAWL], archives, ["isl"], print)
    publish_index(server, [{"warc_filename": "a"}] * 2)
    with pytest.raises(UserError, match="has no column content_languages"):
        in_languages([CRAWL], archives, ["isl"], print)


@pytest.mark.parametrize(
    ("offset", "length"), [(None, 50), (0, None), (-5, 50), (0, 0), (0, -(2**31)), (2**31 - 9, 5), (1, 2**31 - 1)]
)
def test_an_index_of_records_that_cannot_be(
    offset: int | None, length: int | None, server: CrawlServer, crawl: list[str]
) -> None:
    archives = find_archives([CRAWL])
    place = {"warc_filename": crawl[0], "warc_record_offset": offset, "warc_record_length": length}
    publish_index(server, [{"content_languages": "isl", **place}] * 2)
    with pytest.raises(InputError, match="the index has a record of"):
        in_languages([CRAWL], archives, ["isl"], print)
