"""Files of deploy/: they are YAML, and what must fit together does: ports, names, versions, options."""

from __future__ import annotations

import importlib.metadata
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
    given = command["args"]
    options, beam = given[: given.index("--")], given[given.index("--") + 1 :]
    local = [f"--output={tmp_path / 'out'}" if each.startswith("--output") else each for each in options]
    local = [f"--input={tmp_path / 'none'}" if each.startswith("--input") else each for each in local]
    local = [each for each in local if not each.startswith("--scratch")]
    assert main([command["command"][1], *local, "--", *beam]) == 2
    assert "none" in capsys.readouterr().err, "nothing but the input is wrong"
    services = {(name, port["port"]) for (kind, name), each in objects().items() if kind == "Service"
                for port in each["spec"]["ports"]}  # fmt: skip
    named = [each.partition("=")[2].split(":") for each in beam if "endpoint" in each]
    assert {(name, int(port)) for name, port in named} <= services


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
