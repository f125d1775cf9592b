"""A standalone Flink with two task managers, and the sample crawl on it where Beam's job server for Flink is at hand.

`make flink-test FLINK_JOB_SERVER_JAR=FILE` runs this. The jar (`org.apache.beam:beam-runners-flink-1.20-job-server`, of
Beam's version) is Beam's and on Maven Central; it is not downloaded here.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.sample_crawl.make_crawl import make_crawl
from gobelin.pipeline.run.remote_job import NOTE_NAME
from gobelin.store.files import exists, list_files, read_bytes
from gobelin.store.paths import join
from tests.cluster import BIN, Pool
from tests.flink_cluster import FlinkCluster, flink, flink_folder

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not flink_folder().exists(), reason="no Flink: python -m tests.flink_cluster downloads it"),
]
JAR = os.environ.get("FLINK_JOB_SERVER_JAR", "")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    with flink(tmp_path_factory.mktemp("flink") / "cluster") as found:
        yield found


def test_flink_comes_up_answers_and_is_stopped(cluster: FlinkCluster, tmp_path: Path) -> None:
    overview = cluster.get("/overview")
    assert overview["flink-version"].startswith("1.20.")
    assert (overview["taskmanagers"], overview["slots-total"]) == (2, 2)
    assert cluster.get("/jobs") == {"jobs": []}
    other = FlinkCluster(tmp_path / "other", num_task_managers=1)
    try:
        other.start()
        other.kill_task_manager()
        other.wait_for_task_managers(0)
        other.add_task_manager()
        other.wait_for_task_managers(1)
    finally:
        other.stop()
    assert not [pid for pid in other.process_ids if Path(f"/proc/{pid}").exists()]


@pytest.mark.skipif(
    not JAR, reason="the crawl was not run on Flink: FLINK_JOB_SERVER_JAR names no job server of Beam's for Flink 1.20"
)
def test_a_crawl_on_flink_gives_the_bytes_of_a_local_run(cluster: FlinkCluster, tmp_path: Path) -> None:
    """A worker pool on this machine serves both task managers; the output folder is one that all see. A task manager
    dies in mid-run: Flink starts the job's tasks again, or the same command goes on."""
    make_crawl(tmp_path / "crawl", seed=3, pages=40)
    with _start(tmp_path, "local", "--workers", "2") as local:
        assert local.wait(600) == 0
    pool = Pool(tmp_path / "pool")
    pool.start()
    remote = (
        "--runner", "FlinkRunner", "--", f"--flink_master={cluster.address}", "--flink_version=1.20",
        f"--flink_job_server_jar={JAR}", "--environment_type=EXTERNAL", f"--environment_config=localhost:{pool.port}",
        "--parallelism=2",
    )  # fmt: skip
    try:
        with _start(tmp_path, "flink", *remote) as disturbed:
            while not any(job["status"] == "RUNNING" for job in cluster.get("/jobs")["jobs"]):
                assert disturbed.poll() is None, "over before a job was seen"
                time.sleep(0.1)
            cluster.kill_task_manager()
            cluster.add_task_manager()
            assert disturbed.wait(600) in (0, 1)
        cluster.wait_for_task_managers(2)
        with _start(tmp_path, "flink", *remote) as again:
            assert again.wait(600) == 0
    finally:
        pool.kill()
    assert _digests(tmp_path / "flink") == _digests(tmp_path / "local")
    assert not exists(join(str(tmp_path / "flink"), NOTE_NAME))


def _start(folder: Path, name: str, *more: str) -> subprocess.Popen[bytes]:
    argv = ["--recipe", "obelics", "--set", "num_shards=3", "--until", "select", "--quiet"]
    argv += ["--input", str(folder / "crawl" / "*.warc.gz"), "--output", str(folder / name), *more]
    return subprocess.Popen([str(BIN / "gobelin"), "run", *argv])


def _digests(output: Path) -> dict[str, str]:
    names = [name for name, _ in list_files(str(output)) if name.endswith(".parquet")]
    return {name: hashlib.sha256(read_bytes(join(str(output), name))).hexdigest() for name in names}
