"""The worker that makes codes of pictures: batches across shards, decoding processes, memory that is short, and what is
written down of how codes were made."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
import torch

from gobelin.data.model import Action
from gobelin.errors import UserError
from gobelin.pipeline.run.plan import Batch, Step, data_sets
from gobelin.pipeline.stages.tokenize import EncodeJob, encode_images
from gobelin.report.tokenizer_page import encoded_on
from gobelin.store.shards import read_folder
from gobelin.store.tables import list_shards
from gobelin.tokenize import decoders
from gobelin.tokenize.agreement import drawn_pictures, measure_agreement
from gobelin.tokenize.decoders import DecoderPool, default_processes
from gobelin.tokenize.encode import Encoding, how_encoded
from gobelin.tokenize.framing import Framing
from gobelin.tokenize.image_tokenizer import (
    ImageTokenizer,
    load_image_tokenizer,
    precision_for,
    save_image_tokenizer,
)
from gobelin.tokenize.networks import build_network
from gobelin.tokenize.preprocess import decode
from gobelin.tokenize.shapes import FSQConfig, KLVAEConfig, VQGANConfig, VQVAEConfig
from gobelin.transforms.boundary import Refused
from gobelin.transforms.devices import check_device, device_kind, fastest_precision, num_gpus_here, torch_device
from gobelin.transforms.images.stored_images import StoredImages

torch.set_num_threads(1)

Make = Callable[..., Any]
NUM_SHARDS = 3
NAMES = [f"{number:064x}" for number in range(23)]

_DOCUMENTS = pa.schema(
    [("doc_id", pa.string()), ("nodes", pa.list_(pa.struct([("kind", pa.string()), ("image_id", pa.string())])))]
)
_IMAGES = pa.schema(
    [
        ("image_id", pa.string()),
        ("data", pa.large_binary()),
        ("urls", pa.list_(pa.string())),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)

TRUNK: dict[str, Any] = {"image_size": 16, "channels": 8, "multipliers": (1, 2), "num_blocks": 1,
                         "attention_levels": (), "norm_groups": 4, "z_channels": 4}  # fmt: skip
VQVAE = VQVAEConfig(image_size=16, channels=8, num_blocks=1, num_codes=32, code_width=4)
VQGAN = VQGANConfig(**TRUNK, num_codes=32, code_width=4)
KLVAE = KLVAEConfig(**TRUNK, latent_channels=2)


def network_of(config: Any) -> Any:
    network = build_network(config, torch.Generator().manual_seed(0))
    if hasattr(network, "quantizer") and hasattr(network.quantizer, "start_at"):
        shape = network.quantizer.codes_Kd.shape
        network.quantizer.start_at(0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1)))
    return network


def a_file(number: int) -> bytes:
    """A PNG of noise."""
    pixels = np.random.default_rng(number).integers(0, 256, (20 + number, 24, 3), np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def run(tmp_path: Path, write_data_set: Make) -> Path:
    """A corpus of four documents that show 23 images, of which one is no picture; and a tokenizer."""
    images = [
        {
            "image_id": name,
            "data": b"no picture" if number == 5 else a_file(number),
            "urls": [f"https://a.example/{name}"],
            "width": 24,
            "height": 20 + number,
        }
        for number, name in enumerate(NAMES)
    ]
    write_data_set(tmp_path / "images", images, _IMAGES, NUM_SHARDS, "image_id")
    nodes = [{"kind": "image", "image_id": name} for name in NAMES]
    documents = [{"doc_id": f"{place:032x}", "nodes": nodes[place::4]} for place in range(4)]
    write_data_set(tmp_path / "documents", documents, _DOCUMENTS, NUM_SHARDS)
    save_image_tokenizer(ImageTokenizer(network_of(VQVAE)), str(tmp_path / "tokenizer"))
    return tmp_path


@pytest.fixture
def encoded(run: Path, plan_here: Make) -> Make:
    """Encodes the corpus: (folder, workers, settings) -> the files of codes and decisions, by name."""

    def encode(name: str, workers: int = 1, **changes: Any) -> dict[str, bytes]:
        return _encoded(plan_here(), run, name, workers, **changes)

    return encode


def _encoded(plan: Any, run: Path, name: str, workers: int, **changes: Any) -> dict[str, bytes]:
    work = run / name
    encoding = Encoding(
        str(run / "tokenizer"), StoredImages(str(run / "images"), None, NUM_SHARDS), str(work / "codes"),
        str(work / "failed"), **changes,
    )  # fmt: skip
    job = EncodeJob(encoding, str(run / "documents"))
    batches = [Batch(list(range(NUM_SHARDS))[first::workers], job) for first in range(workers)]
    plan.run(Step("encode", encode_images, batches, data_sets(str(work), NUM_SHARDS, "codes", "failed")))
    paths = [*list_shards(str(work / "codes")), *list_shards(str(work / "failed"))]
    return {os.path.relpath(path, work): Path(path).read_bytes() for path in paths}


def test_files_do_not_depend_on_workers_or_decoding_processes(run: Path, encoded: Make) -> None:
    one = encoded("one")
    assert len(one) == 2 * NUM_SHARDS
    assert encoded("three", workers=3) == one
    assert encoded("processes", processes=2) == one
    rows = {row["image_id"]: row["codes"] for row in read_folder(str(run / "one" / "codes"))}
    assert sorted(rows) == [name for number, name in enumerate(NAMES) if number != 5]
    tokenizer = load_image_tokenizer(str(run / "tokenizer"))
    for number in (0, 22):
        assert (
            rows[NAMES[number]] == tokenizer.encode(decode(a_file(number), (), Framing(((2, 2),), 8))[None])[0].tolist()
        )
    (decision,) = read_folder(str(run / "one" / "failed"))
    assert (decision["rule"], decision["image_id"], decision["action"]) == ("undecodable_image", NAMES[5], Action.FAIL)


def test_batches_are_filled_across_shards(encoded: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    forward = ImageTokenizer._forward

    def counted(self: ImageTokenizer, batch: np.ndarray) -> torch.Tensor:
        sizes.append(len(batch))
        return forward(self, batch)

    monkeypatch.setattr(ImageTokenizer, "_forward", counted)
    encoded("counted", batch_size=8)
    assert sizes == [8, 8, 6]


def test_a_file_says_on_what_it_was_encoded(run: Path, encoded: Make) -> None:
    encoded("exact")
    (made,) = how_encoded(str(run / "exact" / "codes"))
    assert made == {
        "device": device_kind("cpu"), "precision": "float32", "batch_size": 32, "halved": 0, "torch": torch.__version__,
    }  # fmt: skip
    encoded("rough", precision="bfloat16", batch_size=4)
    assert how_encoded(str(run / "rough" / "codes"))[0]["precision"] == "bfloat16"


class _Scarce:
    """A network that has memory for so many pictures at a time."""

    def __init__(self, network: Any, most: int) -> None:
        self._network, self._most = network, most
        self.sizes: list[int] = []

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        if len(images) > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._network.encode(images)


def test_a_batch_that_takes_too_much_memory_is_halved() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (50, 16, 16, 3), np.uint8)
    tokenizer = ImageTokenizer(network_of(VQVAE))
    expected = tokenizer.encode(pictures)
    scarce = tokenizer._encoder = _Scarce(tokenizer.network, 9)  # type: ignore[assignment]
    assert (np.stack(list(tokenizer.encode_all(pictures))) == expected).all()
    assert (tokenizer.batch_size, tokenizer.num_halved) == (8, 2)
    assert scarce.sizes[:3] == [32, 16, 8]
    assert set(scarce.sizes[3:]) == {8}
    assert tokenizer.made_how()["halved"] == 2
    assert (tokenizer.encode(pictures) == expected).all()


def test_memory_for_no_picture_at_all_is_an_error() -> None:
    tokenizer = ImageTokenizer(network_of(VQVAE))
    tokenizer._encoder = _Scarce(tokenizer.network, 0)  # type: ignore[assignment]
    with pytest.raises(UserError, match="too little memory to encode one picture of 16 x 16"):
        tokenizer.encode(np.zeros((3, 16, 16, 3), np.uint8))


@pytest.mark.parametrize(
    "config", [VQVAE, FSQConfig(image_size=16, channels=8), VQGAN, KLVAE], ids=lambda each: each.kind
)
def test_a_trunk_in_bfloat16_gives_nearly_the_same(config: Any) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    network = network_of(config)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = measure_agreement(network, pictures, "noise", "cpu")
    assert {name: found[name] for name in ("pictures", "of", "device")} == {
        "pictures": 8, "of": "noise", "device": device_kind("cpu"),
    }  # fmt: skip
    assert 0 < found["bfloat16"] < 0.05 if config.kind == "klvae" else found["bfloat16"] > 0.8
    assert all((value == before[name]).all() for name, value in network.state_dict().items())


def test_agreement_stands_beside_the_tokenizer(tmp_path: Path) -> None:
    agreement = {"bfloat16": 0.99, "pictures": 4, "of": "noise", "device": "cpu"}
    saved = ImageTokenizer(network_of(VQVAE), agreement=agreement)
    save_image_tokenizer(saved, str(tmp_path))
    loaded = load_image_tokenizer(str(tmp_path))
    assert loaded.agreement == agreement
    assert loaded.codebook == saved.codebook


def test_precision_by_kind_and_device(tmp_path: Path) -> None:
    for config, expected in ((VQVAE, "float32"), (VQGAN, fastest_precision("cpu")), (KLVAE, "float32")):
        folder = str(tmp_path / config.kind)
        save_image_tokenizer(ImageTokenizer(network_of(config)), folder)
        assert precision_for(folder, "auto", torch.device("cpu")) == expected
        assert precision_for(folder, "bfloat16", torch.device("cpu")) == "bfloat16"


def pictures_of(files: Iterable[bytes]) -> Iterator[tuple[int, tuple[bytes, Any, int]]]:
    faces = ((0.1, 0.1, 0.6, 0.6),)
    return ((number, (data, faces if number % 3 == 0 else (), 0)) for number, data in enumerate(files))


def test_decoding_processes_give_the_same_pixels() -> None:
    files = [b"no picture" if number in (3, 40) else a_file(number) for number in range(50)]
    here = list(DecoderPool([Framing(((2, 3),), 8)]).decoded(pictures_of(files)))
    pool = DecoderPool([Framing(((2, 3),), 8)], 2)
    try:
        there = list(pool.decoded(pictures_of(files)))
        again = list(pool.decoded(pictures_of(files[:20])))
    finally:
        pool.close()
    assert [key for key, _ in there] == list(range(50))
    for (_, one), (_, other) in zip([*here, *here[:20]], [*there, *again], strict=True):
        assert isinstance(one, Refused) is isinstance(other, Refused)
        if isinstance(one, Refused):
            assert one == other
        else:
            assert (one == other).all()
    assert isinstance(there[3][1], Refused)


def test_a_picture_that_ends_its_process_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [a_file(number) for number in range(20)]
    pool = DecoderPool([Framing(((2, 2),), 8)], 1)
    asked = decoders._Child._ask

    def deadly(self: decoders._Child, chunk: list[decoders.Encoded]) -> Any:
        if any(data == files[4] for data, *_ in chunk):
            process = self._process = self._process or self._start()
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        return asked(self, chunk)

    monkeypatch.setattr(decoders._Child, "_ask", deadly)
    try:
        found = dict(pool.decoded(pictures_of(files)))
    finally:
        pool.close()
    assert [key for key, pixels in found.items() if isinstance(pixels, Refused)] == [4]
    assert (found[5] == decode(files[5], (), Framing(((2, 2),), 8))).all()


def test_how_many_processes_decode() -> None:
    assert default_processes("cpu", 1) == 0
    assert 1 <= default_processes("cuda", 1) <= decoders.MAX_PROCESSES
    assert default_processes("cuda", 10_000) == 1


def test_names_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("auto", "cpu", "cuda", "mps", "cuda:1"):
        check_device(name)
    with pytest.raises(UserError, match="device must be one of auto, cpu, cuda, mps, got 'gpu'"):
        check_device("gpu")
    for there, expected in ((("cuda", "mps"), "cuda"), (("mps",), "mps"), ((), "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: "cuda" in there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=there: "mps" in there)
        assert torch_device("auto").type == expected
    with pytest.raises(UserError, match="finds no device cuda:1 here"):
        torch_device("cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert num_gpus_here() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert num_gpus_here() == 0


def test_patterns_are_drawn_alike_and_of_the_asked_for_size() -> None:
    drawn = drawn_pictures((16, 24))
    assert drawn.shape == (16, 16, 24, 3)
    assert (drawn == drawn_pictures((16, 24))).all()
    assert drawn.std() > 20
    assert len(drawn_pictures((512, 512))) == 2


def test_the_report_says_on_what_pictures_were_encoded() -> None:
    made = {"device": "cpu AVX512", "precision": "float32", "batch_size": 16, "halved": 1, "torch": "2"}
    assert encoded_on(made) == "cpu AVX512, float32, 16 pictures at a time; halved 1 times, as memory was short"
