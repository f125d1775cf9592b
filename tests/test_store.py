"""Files, folders and locks: one set of promises, held on a disk and on an S3 server."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gobelin.store import files, lock
from gobelin.store.files import (
    delete,
    digest_of,
    exists,
    is_folder,
    list_files,
    local_copy,
    open_input,
    output,
    read_bytes,
    read_json,
    size_of,
    upload,
    write_bytes,
    write_json,
)
from gobelin.store.lock import LockedError, locked
from gobelin.store.paths import absolute, is_remote, join, name_of, parent_of, split_remote
from gobelin.store.spool import Spool, SpoolReader, SpoolRef
from tests.object_store import BUCKET, Door

ODD_NAMES = ["out[1]", "a?b", "c*d", "with space", "50%41", "ä-ß-日本", "{x}", "a+b&c=d", "-dash", "#hash"]


@pytest.fixture(params=["disk", "s3", "gs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder on each kind of place."""
    if request.param == "disk":
        return str(tmp_path)
    return str(request.getfixturevalue("object_store" if request.param == "s3" else "google_store"))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_means_itself(folder: str, name: str) -> None:
    place = join(folder, name)
    write_bytes(join(place, name), b"1")
    assert read_bytes(join(place, name)) == b"1"
    assert exists(join(place, name))
    assert is_folder(place)
    assert list_files(place) == [(name, 1)]


def test_a_pattern_finds_nothing_but_its_own_name(folder: str) -> None:
    write_bytes(join(folder, "out1"), b"1")
    assert not exists(join(folder, "out[1]"))
    assert not exists(join(folder, "out?"))
    assert list_files(join(folder, "out[1]")) == []


def test_output_appears_whole(folder: str) -> None:
    with output(join(folder, "a")) as stream:
        stream.write(b"x" * 100)
        assert not exists(join(folder, "a"))
        assert list_files(folder) == []
    assert size_of(join(folder, "a")) == 100


def test_output_that_fails_leaves_nothing_and_keeps_what_was_there(folder: str) -> None:
    write_bytes(join(folder, "a"), b"old")
    with pytest.raises(RuntimeError, match="midway"):
        _write_half(join(folder, "a"))
    assert read_bytes(join(folder, "a")) == b"old"
    assert list_files(folder) == [("a", 3)]


def _write_half(address: str) -> None:
    with output(address) as stream:
        stream.write(b"half")
        raise RuntimeError("midway")


def test_missing_files_are_told_by_name(folder: str) -> None:
    for act in (read_bytes, size_of, open_input, digest_of):
        with pytest.raises(FileNotFoundError, match="nothing-here"):
            act(join(folder, "nothing-here"))
    assert not exists(join(folder, "nothing-here"))
    assert not is_folder(join(folder, "nothing-here"))
    delete(join(folder, "nothing-here"))


def test_a_folder_is_no_file(folder: str) -> None:
    write_bytes(join(folder, "a", "b"), b"1")
    assert not exists(join(folder, "a"))
    assert is_folder(join(folder, "a"))
    assert not is_folder(join(folder, "a", "b"))


def test_delete_takes_a_folder_and_not_its_neighbour(folder: str) -> None:
    for name in ("run/a", "run/b/c", "running"):
        write_bytes(join(folder, name), b"1")
    delete(join(folder, "run"))
    assert list_files(folder) == [("running", 1)]


def test_open_input_seeks_and_reads_in_order(folder: str) -> None:
    content = bytes(range(256)) * 2000
    write_bytes(join(folder, "a"), content)
    with open_input(join(folder, "a")) as stream:
        assert stream.read() == content
        stream.seek(300_000)
        assert stream.read(10) == content[300_000:300_010]
        stream.seek(-5, 2)
        assert stream.read() == content[-5:]
        stream.seek(7)
        assert stream.read(3) == content[7:10]


def test_reading_in_order_takes_few_requests(s3_door: Door) -> None:
    address = f"s3://{BUCKET}/few-requests"
    write_bytes(address, b"x" * 4_000_000)
    before = s3_door.num_requests.get("GET", 0)
    with open_input(address) as stream:
        while stream.read(10_000):
            pass
    assert s3_door.num_requests["GET"] - before <= 8


@pytest.mark.parametrize("store", ["object_store", "google_store"])
def test_a_payload_takes_one_request(request: pytest.FixtureRequest, store: str, s3_door: Door) -> None:
    folder = str(request.getfixturevalue(store))
    payloads = [b"first", b"", b"x" * 100_000]
    spool, reader = Spool(folder), SpoolReader()
    refs = [spool.write(payload) for payload in payloads]
    spool.close()
    before = sum(s3_door.num_requests.values())
    assert [reader.read(ref) for ref in reversed(refs)] == payloads[::-1]
    if store == "object_store":
        assert sum(s3_door.num_requests.values()) - before == 2
    with pytest.raises(OSError, match="spool-"):
        reader.read(SpoolRef(refs[0].path, 0, 200_000))


def test_json_is_whole_numbers_and_finite(folder: str) -> None:
    write_json(join(folder, "a.json"), {"ä": [1, 0.5, None]})
    assert read_json(join(folder, "a.json")) == {"ä": [1, 0.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(join(folder, "b.json"), float("nan"))
    write_bytes(join(folder, "c.json"), b"{")
    with pytest.raises(ValueError, match=r"c\.json is not JSON"):
        read_json(join(folder, "c.json"))


def test_folders_travel_to_a_store_and_back(folder: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_bytes(b"1")
    (source / "sub" / "b").write_bytes(b"22")
    upload(str(source), join(folder, "copy"))
    assert list_files(join(folder, "copy")) == [("a", 1), ("sub/b", 2)]
    with local_copy(join(folder, "copy")) as copy:
        assert (Path(copy) / "sub" / "b").read_bytes() == b"22"
    with local_copy(join(folder, "copy", "a")) as copy:
        assert Path(copy).read_bytes() == b"1"
        assert Path(copy).name == "a"


def test_written_files_have_the_permissions_of_others(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"1")
    write_bytes(str(tmp_path / "written"), b"1")
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "written")}
    assert len(modes) == 1


def test_a_second_writer_is_locked_out_and_told_who_writes(folder: str) -> None:
    with locked(join(folder, "out")):
        with pytest.raises(LockedError, match=r"another gobelin is at work there"), locked(join(folder, "out")):
            pass
        with locked(join(folder, "other")):
            pass
    with locked(join(folder, "out")):
        pass


def test_a_lease_that_ran_out_is_taken_over(s3_door: Door) -> None:
    folder = f"s3://{BUCKET}/ran-out"
    write_bytes(join(folder, lock.LEASE_NAME), json.dumps({"owner": "dead", "until": time.time() - 1}).encode())
    with locked(folder):
        assert read_json(join(folder, lock.LEASE_NAME))["owner"] != "dead"
    assert list_files(folder) == []


def test_the_lease_of_a_process_that_died_here_is_taken_over_at_once(s3_door: Door) -> None:
    folder = f"s3://{BUCKET}/killed"
    code = (
        "import os, signal, sys; from gobelin.store.lock import locked\n"
        "with locked(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=False, timeout=60)
    assert exists(join(folder, lock.LEASE_NAME))
    with locked(folder):
        assert read_json(join(folder, lock.LEASE_NAME))["pid"] == os.getpid()


def test_a_lease_that_holds_can_be_deleted_as_the_message_says(s3_door: Door) -> None:
    folder = f"s3://{BUCKET}/broken"
    write_bytes(join(folder, lock.LEASE_NAME), json.dumps({"owner": "dead", "until": time.time() + 100}).encode())
    with pytest.raises(LockedError, match=r"delete s3://.*lease"), locked(folder):
        pass
    delete(join(folder, lock.LEASE_NAME))
    with locked(folder):
        pass


def test_a_lease_is_renewed(s3_door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = f"s3://{BUCKET}/renewed"
    monkeypatch.setattr(lock, "LEASE_SECONDS", 0.6)
    with locked(folder):
        first = read_json(join(folder, lock.LEASE_NAME))["until"]
        deadline = time.monotonic() + 20
        while read_json(join(folder, lock.LEASE_NAME))["until"] == first and time.monotonic() < deadline:
            time.sleep(0.05)
        assert read_json(join(folder, lock.LEASE_NAME))["until"] > first


def test_a_stolen_lease_is_an_error(s3_door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = f"s3://{BUCKET}/stolen"
    monkeypatch.setattr(lock, "LEASE_SECONDS", 0.3)
    with pytest.raises(lock.LeaseLostError, match="thief"):
        _lose_lease(folder)
    assert read_json(join(folder, lock.LEASE_NAME))["owner"] == "thief"


def _lose_lease(folder: str) -> None:
    with locked(folder):
        write_bytes(join(folder, lock.LEASE_NAME), json.dumps({"owner": "thief", "until": time.time() + 99}).encode())
        time.sleep(1)


def test_an_outage_costs_time_only(s3_door: Door) -> None:
    folder, door = f"s3://{BUCKET}/outage", s3_door
    write_bytes(join(folder, "a"), b"1")
    refused = door.num_refused
    door.close_for(2)
    assert read_bytes(join(folder, "a")) == b"1"
    door.close_for(2)
    write_bytes(join(folder, "b"), b"2")
    door.close_for(1)
    assert list_files(folder) == [("a", 1), ("b", 1)]
    assert door.num_refused > refused + 4


@pytest.mark.parametrize("where", ["request", "silent", "answer"])
def test_a_connection_that_is_cut_costs_time_only(s3_door: Door, where: str) -> None:
    """Of each kind of request, the first ones are cut: while it comes in, when it was served, while it is answered."""
    folder = f"s3://{BUCKET}/cut-{where}"
    content = bytes(range(256)) * 1000
    write_bytes(join(folder, "a"), content)

    def check(act: Callable[[], object], expected: object) -> None:
        left = [2]

        def cut(method: str, path: str) -> str:
            left[0] -= 1
            return where if left[0] >= 0 else ""

        s3_door.cut = cut
        assert act() == expected
        s3_door.cut = None
        assert left[0] < 2

    check(lambda: read_bytes(join(folder, "a")), content)
    with open_input(join(folder, "a")) as stream:
        check(lambda: (stream.seek(200_000), stream.read(100)), (200_000, content[200_000:200_100]))
    check(lambda: list_files(folder), [("a", len(content))])
    check(lambda: exists(join(folder, "a")), True)
    check(lambda: exists(join(folder, "b")), False)
    check(lambda: write_bytes(join(folder, "b"), b"2"), None)
    check(lambda: upload(__file__, join(folder, "d")), None)
    check(lambda: delete(join(folder, "d")), None)
    assert [(name, read_bytes(join(folder, name))) for name, _ in list_files(folder)] == [
        ("a", content),
        ("b", b"2"),
    ]
    with locked(join(folder, "out")):
        pass


def _read_in_child(address: str) -> None:
    assert read_bytes(address) == b"1"


def test_another_process_has_a_client_of_its_own(s3_door: Door) -> None:
    address = f"s3://{BUCKET}/forked"
    write_bytes(address, b"1")
    process = multiprocessing.get_context("forkserver").Process(target=_read_in_child, args=(address,))
    process.start()
    process.join(30)
    assert process.exitcode == 0


def test_addresses_are_taken_apart() -> None:
    assert is_remote("s3://b/k")
    assert is_remote("gs://b/k")
    assert not is_remote("/a/s3://b")
    assert not is_remote("ftp://x")
    assert join("s3://b/k/", "a", "b") == "s3://b/k/a/b"
    assert join("/a/", "b") == "/a/b"
    assert split_remote("s3://b/k/l/") == ("s3://b", "k/l")
    assert split_remote("gs://b") == ("gs://b", "")
    assert name_of("s3://b/k/l/") == "l"
    assert name_of("/a/b") == "b"
    assert parent_of("s3://b/k/l") == "s3://b/k"
    assert parent_of("/a/b/") == "/a"
    assert absolute("s3://b/k/") == "s3://b/k"
    assert Path(absolute("a[1]")).is_absolute()


def test_temporary_files_are_no_files(tmp_path: Path) -> None:
    (tmp_path / f"{files.TEMPORARY_PREFIX}x.tmp").write_bytes(b"1")
    assert list_files(str(tmp_path)) == []
