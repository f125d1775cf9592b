"""Every graph as Dataflow would get it, without a network: what it holds, how large it is, which machines it asks for.

A template is written in place of a submission. The graphs are those of a run from archives to tokens on all shards at
once, as a cluster gets them; each is translated, and then run here, so that the next one has its input.
"""

from __future__ import annotations

import base64
import bz2
import json
import pickletools
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2

from examples.sample_crawl.make_crawl import make_crawl
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.run import open_run as run_module
from gobelin.pipeline.run.supervisor import run_pipeline
from gobelin.pipeline.stages.extract import FetchJob, fetch_images, read_archives
from gobelin.pipeline.stages.score import EmbedJob, embed_images, embed_texts
from gobelin.pipeline.stages.tokenize import EncodeJob, encode_images
from gobelin.store.dataset import Attempt
from gobelin.tokenize.encode import Encoding
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.fetching.fetch_config import FetchConfig
from gobelin.transforms.images.stored_images import StoredImages
from gobelin.transforms.resource_hints import ACCELERATOR_VARIABLE
from gobelin.transforms.score.config import ClipConfig, ScoreConfig
from tests.in_process import InProcess

pytest.importorskip("google.cloud.storage", reason="Dataflow's runner is not installed: pip install 'gobelin[gcp]'")
pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]

RECIPE = """\
extends: gobelin
name: small
num_shards: 3
score: {clip: null}
select:
  unscored_for_safety: keep
  document: {languages: [en], unique: [url, near, image_set]}
  image: {min_side_px: 48, min_rendered_px: null, max_near_documents: null, min_clip_text: null, min_clip_near: null,
    min_clip_caption: null, min_clip_alt: null}
tokenize:
  vqvae: {image_size: 16, patch_size: 8, num_codes: 16, channels: 8, num_blocks: 1}
  vqvae_steps: 2
  text_vocab_size: 400
"""

MAX_REQUEST_BYTES = 10 * 10**6
"""Of a job description (Dataflow's limit)."""

MAX_PAYLOAD_BYTES = 10**6
"""Of one step: a tenth of the limit, so that some tens of steps have room."""

PAR_DO = "beam:transform:pardo:v1"
PRIMITIVES = {
    "beam:transform:impulse:v1", PAR_DO, "beam:transform:group_by_key:v1",
    "beam:transform:flatten:v1", "beam:transform:reshuffle:v1",
}  # fmt: skip


class Translated:
    """One graph as Dataflow gets it."""

    def __init__(self, folder: Path, graph: Any, units: list[Any], job: Any) -> None:
        options = PipelineOptions(
            [
                "--runner=DataflowRunner", "--project=p", "--region=europe-west4", "--no_auth",
                "--dataflow_endpoint=http://localhost:9", f"--staging_location={folder}", f"--temp_location={folder}",
                f"--template_location={folder}/template.json", "--sdk_container_image=example.com/gobelin:1",
                "--experiments=use_runner_v2", "--pickle_library=cloudpickle", "--job_name=gobelin",
            ]
        )  # fmt: skip
        pipeline = beam.Pipeline(options=options)
        graph(pipeline, units, job)
        pipeline.run()
        self.name, self.num_bytes = graph.__name__, (folder / "template.json").stat().st_size
        self.description = json.loads((folder / "template.json").read_text())
        (proto,) = folder.rglob("pipeline.pb")
        self.proto = beam_runner_api_pb2.Pipeline.FromString(proto.read_bytes())
        self.num_bytes = max(self.num_bytes, proto.stat().st_size)

    def primitives(self) -> list[Any]:
        return [each for each in self.proto.components.transforms.values() if not each.subtransforms]

    def hints(self) -> set[tuple[str, str]]:
        """(hint, value) of all environments."""
        found = set()
        for environment in self.proto.components.environments.values():
            found |= {(name.split(":")[2], value.decode()) for name, value in environment.resource_hints.items()}
        return found

    def functions(self) -> list[bytes]:
        """The pickled functions of its steps."""
        steps = [each.spec.payload for each in self.primitives() if each.spec.urn == PAR_DO]
        functions = [beam_runner_api_pb2.ParDoPayload.FromString(payload).do_fn for payload in steps]
        return [each.payload for each in functions if each.urn == "beam:dofn:pickled_python_info:v1"]


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Translated]:
    """By name, the graphs of a run from archives to tokens."""
    found: dict[str, Translated] = {}

    class Translating(InProcess):
        is_local = False

        def run_graph(self, title: str, graph: Any, batches: list[Any], *_: Any) -> None:
            for units, job in batches:
                found[graph.__name__] = Translated(tmp_path_factory.mktemp("job"), graph, units, job)
                run_pipeline(graph, units, job, ())

    folder = tmp_path_factory.mktemp("dataflow")
    make_crawl(folder / "crawl", seed=3, pages=40)
    (folder / "small.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "Supervisor", Translating)
        arguments = ["--recipe", str(folder / "small.yaml"), "--input", str(folder / "crawl" / "*.warc.gz")]
        assert main(["run", "--output", str(folder / "out"), *arguments, "--until", "tokenize", "--quiet"]) == 0
    return found


def test_every_graph_of_a_run_is_translated(translated: dict[str, Translated]) -> None:
    assert {"read_archives", "write_documents", "measure_documents", "write_corpus", "encode_images"} <= set(translated)
    assert len(translated) >= 15
    for each in translated.values():
        used = {transform.spec.urn for transform in each.primitives()}
        assert used <= PRIMITIVES, each.name


def test_no_job_and_no_step_is_too_large(translated: dict[str, Translated]) -> None:
    """Elements of ``Create`` are payloads of their step: archives, shards."""
    for each in translated.values():
        assert each.num_bytes < MAX_REQUEST_BYTES / 5, each.name
        largest = max(len(transform.spec.payload) for transform in each.primitives())
        assert largest < MAX_PAYLOAD_BYTES, each.name


def test_code_travels_by_name(translated: dict[str, Translated]) -> None:
    """What is pickled by value is the code as it was where the job began, beside another version in the image."""
    num_functions = 0
    for each in translated.values():
        for pickled in each.functions():
            num_functions += 1
            assert not files_of_code(pickled), each.name
    assert num_functions > 50


def files_of_code(pickled: bytes) -> set[str]:
    """Files whose code a pickle of Beam's holds, Beam's own left out."""
    strings = {argument for _, argument, _ in pickletools.genops(unpacked(pickled)) if isinstance(argument, str)}
    return {each for each in strings if each.endswith(".py") and "apache_beam" not in each}


def unpacked(pickled: bytes) -> bytes:
    return bz2.decompress(base64.b64decode(pickled))


def test_code_that_travels_by_value_is_seen() -> None:
    from apache_beam.internal import pickler

    def local() -> int:
        return 1

    assert files_of_code(pickler.dumps(local))
    assert not files_of_code(pickler.dumps(read_archives))


# ------------------------------------------------------------------------------------------------ machines


def hints_of(folder: Path, graph: Any, job: Any) -> set[tuple[str, str]]:
    return Translated(folder, graph, [0, 1], job).hints()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_steps_with_a_model_ask_for_memory_and_a_gpu(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ACCELERATOR_VARIABLE, raising=False)
    ram = ("min_ram_bytes", str(16 * 10**9))
    gpu = {("accelerator", "type:nvidia-l4;count:1;install-nvidia-driver")} if device == "cuda" else set()
    embed = EmbedJob(
        ScoreConfig(clip=ClipConfig(model="ViT-B-32", pretrained="none", device=device)), "in", Attempt("out", ""), 2
    )
    encode = EncodeJob(Encoding("tokenizer", StoredImages("images", None, 2), "codes", "decisions", device), "corpus")
    for number, (graph, job) in enumerate([(embed_images, embed), (embed_texts, embed), (encode_images, encode)]):
        (tmp_path / str(number)).mkdir()
        assert hints_of(tmp_path / str(number), graph, job) == {ram, *gpu}


def test_another_gpu_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCELERATOR_VARIABLE, "type:nvidia-tesla-t4;count:1;install-nvidia-driver")
    encode = EncodeJob(Encoding("tokenizer", StoredImages("images", None, 2), "codes", "decisions", "cuda"), "corpus")
    assert ("accelerator", "type:nvidia-tesla-t4;count:1;install-nvidia-driver") in hints_of(
        tmp_path, encode_images, encode
    )


def test_steps_without_a_model_ask_for_nothing(translated: dict[str, Translated], tmp_path: Path) -> None:
    for name, each in translated.items():
        assert bool(each.hints()) is (name == "encode_images"), name
    config = ExtractConfig(fetch=FetchConfig(enabled=True, contact="bot@example.org"))
    fetch = FetchJob(config, "wanted", 2, "folder", 1)
    assert hints_of(tmp_path, fetch_images, fetch) == set()
