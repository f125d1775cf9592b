"""Read to tokenize on Prism: two worker pools, and no disk that they share with each other or with the command.

Input and output lie on an S3 server. The bytes are those of a local run. `make portable-test` runs this; it needs the
binary that `python -m tests.cluster` builds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.sample_crawl.make_crawl import make_crawl
from gobelin.pipeline.run.remote_job import NOTE_NAME
from gobelin.store.files import exists, list_files, read_bytes, upload
from gobelin.store.lock import LEASE_NAME
from gobelin.store.paths import join
from tests.cluster import BIN, Front, JobService, Pool, kill_session, members, prism_path
from tests.object_store import BUCKET, s3_server

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not prism_path().exists(), reason="no Prism: python -m tests.cluster builds it"),
]

RECIPE = """\
extends: gobelin
name: cluster
num_shards: 3
score: {clip: null}
select:
  unscored_for_safety: keep
  document: {languages: [en]}
  image: {min_side_px: 48, min_rendered_px: null, max_near_documents: null, min_clip_text: null, min_clip_near: null,
    min_clip_caption: null, min_clip_alt: null}
tokenize:
  vqvae: {image_size: 16, patch_size: 8, num_codes: 16, channels: 8, num_blocks: 1}
  vqvae_steps: 6
  text_vocab_size: 400
"""
PATIENCE = 10
"""Seconds that a command waits for a job service that is away."""

EXTRACT = ("--until", "extract")
"""Runs that are disturbed end with this stage, whose jobs are of all kinds: Prism takes seconds to begin each."""

INPUT = f"s3://{BUCKET}/crawl"


class Command:
    """``gobelin run`` in a session of its own, with Ctrl-C not ignored."""

    def __init__(self, folder: Path, output: str, more: tuple[str, ...]) -> None:
        argv = [
            str(BIN / "gobelin"), "run", "--recipe", str(folder / "cluster.yaml"), "--input", f"{INPUT}/*.warc.gz",
            "--output", output, "--until", "tokenize", "--scratch", str(folder / "scratch"), *more,
        ]  # fmt: skip
        code = (
            "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.output = output
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def finish(self) -> tuple[int, str, str]:
        """(exit code, what it said, what it said on the error stream)."""
        out, err = self.process.communicate(timeout=600)
        return self.process.returncode, out, err

    def read_until(self, words: str) -> str:
        """What it says until it has said these words; it must say them."""
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if words in line:
                return said
        raise AssertionError(f"{words!r} was not said: {said}")

    def succeed(self) -> str:
        code, out, err = self.finish()
        assert code == 0, out + err
        assert "Traceback" not in out + err
        return out


class Site:
    """The job service, two pools behind a front, and commands."""

    def __init__(self, folder: Path, service: JobService, door: Front, pools: list[Pool], front: Front) -> None:
        self.folder, self.service, self.door = folder, service, door
        self.pools, self._front = pools, front
        self.commands: list[Command] = []

    def start(self, output: str, *more: str) -> Command:
        remote = (
            "--runner", "PortableRunner", *more, "--", f"--job_endpoint={self.door.address}",
            f"--job_server_timeout={PATIENCE}", "--environment_type=EXTERNAL",
            f"--environment_config={self._front.address}",
        )  # fmt: skip
        return self._command(output, remote)

    def local(self, output: str, workers: int) -> dict[str, str]:
        self._command(output, ("--workers", str(workers))).succeed()
        return digests(output)

    def _command(self, output: str, more: tuple[str, ...]) -> Command:
        self.commands.append(Command(self.folder, output, more))
        return self.commands[-1]

    def wait_for_work(self, command: Command, num_jobs: int) -> Pool:
        """The pool that works, once so many jobs have begun."""
        before = sum(pool.num_started for pool in self.pools)
        deadline = time.monotonic() + 120
        while True:
            assert command.process.poll() is None, command.process.communicate()
            assert time.monotonic() < deadline
            started = sum(pool.num_started for pool in self.pools) - before
            busy = [pool for pool in self.pools if pool.num_workers]
            if started >= num_jobs and busy and exists(join(command.output, NOTE_NAME)):
                return busy[0]
            time.sleep(0.05)

    def assert_nothing_is_left(self, output: str) -> None:
        names = [name for name, _ in list_files(output)]
        parts = {part for name in names for part in name.split("/")}
        assert not parts & {NOTE_NAME, LEASE_NAME, "work", "_receipts"}
        assert not [part for part in parts if part.startswith("gobelin-")]
        deadline = time.monotonic() + 20
        while any(pool.num_workers for pool in self.pools):
            assert time.monotonic() < deadline, "a worker is left"
            time.sleep(0.1)
        assert [pool.left_over() for pool in self.pools] == [[], []]


def digests(output: str) -> dict[str, str]:
    """SHA-256 of data, tokenizers and vocabulary, by name."""
    kinds = (".parquet", ".safetensors", "text_tokenizer.json", "vocabulary.json")
    names = [name for name, _ in list_files(output) if name.endswith(kinds)]
    return {name: hashlib.sha256(read_bytes(join(output, name))).hexdigest() for name in names}


def of_extract(found: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in found.items() if name.startswith("extract/")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    folder = tmp_path_factory.mktemp("site")
    make_crawl(folder / "crawl", seed=3, pages=40)
    (folder / "cluster.yaml").write_text(RECIPE)
    with contextlib.ExitStack() as stack:
        endpoint, _ = stack.enter_context(s3_server())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "REGION": "us-east-1"}.items():
            patch.setenv(f"AWS_{name}", value)
        for path in sorted((folder / "crawl").glob("*.warc.gz")):
            upload(str(path), f"{INPUT}/{path.name}")
        pools = [Pool(folder / name) for name in ("one", "two")]
        for pool in pools:
            stack.callback(pool.kill)
            pool.start()
        front = Front([pool.port for pool in pools])
        stack.callback(front.close)
        service = JobService(folder)
        stack.callback(service.kill)
        service.start()
        door = Front([service.port])
        stack.callback(door.close)
        site = Site(folder, service, door, pools, front)
        yield site
        for command in site.commands:
            kill_session(command.process.pid)


@pytest.fixture(scope="module")
def expected(site: Site) -> dict[str, str]:
    """What a local run with one worker writes on a disk."""
    found = site.local(str(site.folder / "local"), 1)
    assert len(found) > 30
    return found


def test_two_pools_without_a_shared_disk_write_the_bytes_of_a_local_run(site: Site, expected: dict[str, str]) -> None:
    assert site.local(f"s3://{BUCKET}/local-2", 2) == expected
    output = f"s3://{BUCKET}/two-pools"
    site.start(output).succeed()
    assert digests(output) == expected
    local = json.loads((site.folder / "local" / "run.json").read_text())["stages"]
    remote = json.loads(read_bytes(join(output, "run.json")))["stages"]
    for stage in ("extract", "score", "select", "tokenize"):
        for unit in ("documents", "images"):
            assert remote[stage][unit] == local[stage][unit]
    assert all(pool.num_started >= 4 for pool in site.pools), "both pools worked"
    site.assert_nothing_is_left(output)


def test_a_run_that_is_disturbed_again_and_again_ends_with_the_same_bytes(site: Site, expected: dict[str, str]) -> None:
    output = f"s3://{BUCKET}/disturbed"

    command = site.start(output, *EXTRACT)
    site.wait_for_work(command, 2)
    os.kill(command.process.pid, signal.SIGINT)
    assert_its_job_was_cancelled(command, 130)

    command = site.start(output, *EXTRACT)
    pool = site.wait_for_work(command, 1)
    pool.kill()  # as a machine that is switched off
    code, out, err = command.finish()
    assert code == 1, out + err
    assert "failed on PortableRunner" in err
    pool.start()

    command = site.start(output, *EXTRACT)
    site.wait_for_work(command, 3)
    os.kill(command.process.pid, signal.SIGTERM)
    assert_its_job_was_cancelled(command, 143)

    for choice in ("cancel", "wait"):
        command = site.start(output, *EXTRACT)
        pool = site.wait_for_work(command, 1)
        pool.signal_workers(signal.SIGSTOP)  # so that the job lasts until the next command meets it
        command.process.kill()
        command.finish()
        command = site.start(output, *EXTRACT, "--running-job", choice)
        said = command.read_until(f"it is RUNNING: {choice}")
        assert "an earlier command left job job-" in said
        pool.signal_workers(signal.SIGCONT)
        command.read_until("is CANCELLED" if choice == "cancel" else "is DONE")
        if choice == "cancel":
            command.process.kill()
            command.finish()
    command.succeed()
    assert digests(output) == of_extract(expected)
    site.assert_nothing_is_left(output)


def test_a_job_service_that_is_killed_and_started_anew(site: Site, expected: dict[str, str]) -> None:
    """The pools stay. Workers of the dead service that come late are not taken for those of a new job."""
    output = f"s3://{BUCKET}/service-killed"
    command = site.start(output, *EXTRACT)
    late = site.wait_for_work(command, 1)
    late.signal_workers(signal.SIGSTOP)  # they have been started, and have not found their service yet
    site.service.kill()
    assert_its_service_was_lost(site, command)

    site.service.start()
    command = site.start(output, *EXTRACT)
    site.wait_for_work(command, 1)
    late.signal_workers(signal.SIGCONT)
    site.wait_for_work(command, 2)
    site.service.kill()
    assert_its_service_was_lost(site, command)

    site.service.start()
    said = site.start(output, *EXTRACT).succeed()
    assert "not known to its job service: going on" in said
    assert digests(output) == of_extract(expected)
    site.assert_nothing_is_left(output)


def assert_its_service_was_lost(site: Site, command: Command) -> None:
    code, out, err = command.finish()
    assert code == 1, out + err
    assert f"the job service {site.door.address} did not answer for {PATIENCE} s" in err
    assert "give the same command again" in err
    assert "Traceback" not in out + err
    assert exists(join(command.output, NOTE_NAME))


def assert_its_job_was_cancelled(command: Command, exit_code: int) -> None:
    """A command that was stopped says which job it cancels; nobody writes any more, and no process is left."""
    code, out, err = command.finish()
    assert code == exit_code, out + err
    assert "on PortableRunner is being cancelled" in err
    assert "is CANCELLED" in err
    assert "Traceback" not in out + err
    assert not exists(join(command.output, NOTE_NAME))
    before = list_files(command.output)
    time.sleep(3)
    assert list_files(command.output) == before
    assert not members(command.process.pid)
