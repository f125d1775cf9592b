"""Files of deploy/: they fit their schemas, and what must fit together does: ports, names, versions, options.

The schemas come with two packages that `.ci/run` installs: kubernetes-validate, and docker-compose 1.29.2, of which
nothing but the file with the Compose specification is read.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gobelin.pipeline.cli.main import main

DEPLOY = Path(__file__).parents[1] / "deploy"
VERSION = importlib.metadata.version("apache-beam")


def objects() -> dict[tuple[str, str], dict[str, Any]]:
    """By kind and name, the objects for Kubernetes."""
    documents = [each for path in DEPLOY.glob("kubernetes/*.yaml") for each in yaml.safe_load_all(path.read_text())]
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def test_kubernetes_takes_the_objects() -> None:
    """Of the operator's own kind, whose schema is not at hand, the pods."""
    validator = pytest.importorskip(
        "kubernetes_validate", reason="schemas of Kubernetes: pip install kubernetes-validate"
    )
    kinds = set()
    for (kind, name), each in objects().items():
        checked = each
        if kind == "FlinkDeployment":
            spec = each["spec"]["taskManager"]["podTemplate"]["spec"]
            checked = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        validator.validate(checked, "1.34", strict=True)
        kinds.add(kind)
    assert kinds == {"FlinkDeployment", "Deployment", "Service", "Job"}


@pytest.mark.parametrize("name", ["compose", "compose-flink"])
def test_compose_takes_its_files(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    try:
        files = importlib.metadata.files("docker-compose") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the schema of Compose: pip install --no-deps docker-compose==1.29.2")
    (schema,) = [each for each in files if each.name == "compose_spec.json"]
    composed = yaml.safe_load((DEPLOY / f"{name}.yaml").read_text())
    jsonschema.Draft7Validator(json.loads(Path(str(schema.locate())).read_text())).validate(composed)


def containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    spec = workload["spec"]
    template = spec["taskManager"]["podTemplate"] if workload["kind"] == "FlinkDeployment" else spec["template"]
    return list(template["spec"]["containers"])


def test_all_speak_of_one_beam() -> None:
    docker = (DEPLOY / "Dockerfile").read_text()
    assert re.findall(r"^ARG BEAM=(.+)$", docker, re.M) == [VERSION]
    text = "".join(path.read_text() for path in DEPLOY.rglob("*") if path.is_file())
    assert set(re.findall(r"job_server:([\d.]+)", text)) == {VERSION}


def test_a_flink_cluster_has_workers_beside_each_task_manager() -> None:
    flink = objects()["FlinkDeployment", "gobelin-flink"]
    assert (flink["apiVersion"], flink["spec"]["flinkVersion"]) == ("flink.apache.org/v1beta1", "v1_20")
    assert flink["spec"]["image"].partition(":")[2] == "1.20"
    (workers,) = containers(flink)
    assert workers["args"] == ["--worker_pool"]
    (server,) = containers(objects()["Deployment", "gobelin-jobs"])
    assert "--flink-master=gobelin-flink-rest:8081" in server["args"]
    assert "flink1.20" in server["image"]


def test_services_lead_to_pods_and_ports() -> None:
    found = objects()
    for (kind, name), service in found.items():
        if kind != "Service":
            continue
        pods = found["Deployment", name]["spec"]["template"]
        assert service["spec"]["selector"].items() <= pods["metadata"]["labels"].items()
        open_ports = {port["containerPort"] for each in pods["spec"]["containers"] for port in each["ports"]}
        assert {port["port"] for port in service["spec"]["ports"]} <= open_ports


def test_gpu_workers_ask_for_a_gpu() -> None:
    (workers,) = containers(objects()["Deployment", "gobelin-gpu"])
    assert workers["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert workers["ports"][0]["containerPort"] == 50000


def test_the_command_in_a_job_is_one_of_gobelin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = containers(objects()["Job", "gobelin-run"])
    beam = assert_only_the_input_is_missing([*command["command"][1:], *command["args"]], tmp_path, capsys)
    services = {(name, port["port"]) for (kind, name), each in objects().items() if kind == "Service"
                for port in each["spec"]["ports"]}  # fmt: skip
    named = [each.partition("=")[2].split(":") for each in beam if "endpoint" in each]
    assert {(name, int(port)) for name, port in named} <= services


def test_the_command_on_cloud_run_is_one_of_gobelin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = yaml.safe_load((DEPLOY / "dataflow" / "run-job.yaml").read_text())
    (command,) = job["spec"]["template"]["spec"]["template"]["spec"]["containers"]
    assert command["command"] == ["gobelin"]
    beam = assert_only_the_input_is_missing(command["args"], tmp_path, capsys)
    assert f"--sdk_container_image={command['image']}" in beam
    assert "--experiments=use_runner_v2" in beam


def assert_only_the_input_is_missing(given: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """A command line, its folders being others, ends because there is no input. Returns Beam's part of it."""
    options, beam = given[: given.index("--")], given[given.index("--") + 1 :]
    local = {"--output": folder / "out", "--input": folder / "none", "--scratch": folder / "scratch"}
    replaced = [f"{name}={local[name]}" if (name := each.partition("=")[0]) in local else each for each in options]
    assert main([*replaced, "--", *beam]) == 2
    assert str(folder / "none") in capsys.readouterr().err, "nothing but the input is wrong"
    return beam


def test_compose_starts_what_its_command_names() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert services["workers"]["command"] == ["--worker_pool"]
    named = re.findall(r"(?:job_endpoint|environment_config)=(\w+):(\d+)", text)
    assert named == [("jobs", "8073"), ("workers", "50000")]
    assert {name for name, _ in named} <= set(services)
    assert "--job_port=8073" in (DEPLOY / "Dockerfile").read_text()
    stages = set(re.findall(r" AS (\w+)$", (DEPLOY / "Dockerfile").read_text(), re.M))
    assert {each["build"]["target"] for each in services.values() if "build" in each} <= stages


def test_flink_on_compose_has_what_its_command_names() -> None:
    text = (DEPLOY / "compose-flink.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    named = re.findall(r"(?:job_endpoint|artifact_endpoint|environment_config)=([\w-]+):(\d+)", text)
    assert named == [("jobs", "8099"), ("jobs", "8098"), ("localhost", "50000")]
    assert services["workers"]["network_mode"] == "service:taskmanager", "so the task manager's localhost is the pool's"
    assert "--flink-master=jobmanager:8081" in services["jobs"]["command"]
    kubernetes = objects()
    (server,) = containers(kubernetes["Deployment", "gobelin-jobs"])
    assert services["jobs"]["image"] == server["image"]
    assert services["jobmanager"]["image"] == kubernetes["FlinkDeployment", "gobelin-flink"]["spec"]["image"]


def test_the_page_speaks_of_every_file() -> None:
    """Whether it was run, what it costs, how it is stopped."""
    rows = [line for line in (DEPLOY / "README.md").read_text().splitlines() if line.startswith("| `")]
    names = [re.findall(r"`([^`]+)`", row)[0] for row in rows]
    files = {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.suffix == ".yaml"} | {"Dockerfile"}
    assert set(names) == {name for name in files if not name.startswith("dataflow/")} | {"dataflow/"}
    assert all(row.count("|") == 5 and "**no**" in row for row in rows)
