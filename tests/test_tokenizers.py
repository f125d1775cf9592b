"""Tokenizers outside of a run: sources of pictures, fits that stop and go on, what is shown of one."""

from __future__ import annotations

import io
import itertools
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from gobelin.errors import UserError
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.cli.tokenizers import Kind
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.tokenizers import pictures as reading_pictures
from gobelin.pipeline.tokenizers.fit import FitOptions, fit, shape_of
from gobelin.tokenize import pictures as reading
from gobelin.tokenize.codebook import read_codebook
from gobelin.tokenize.framing import Framing
from gobelin.tokenize.image_tokenizer import load_image_tokenizer
from gobelin.tokenize.pictures import FolderSource, ParquetSource, StreamedPictures, pictures_at
from gobelin.tokenize.shapes import FITTED_KINDS

torch.set_num_threads(1)

SHAPE = ("image_size=16", "channels=8", "num_blocks=1", "num_codes=8", "code_width=4")


def a_picture(number: int) -> bytes:
    """A PNG whose colour is its number."""
    stream = io.BytesIO()
    PIL.Image.new("RGB", (20, 16), (number, 100, 200)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 40 pictures, one of them in a folder below, and a file that is none."""
    made = tmp_path / "pictures"
    (made / "below").mkdir(parents=True)
    for number in range(40):
        (made / ("below" if number == 7 else "") / f"{number:02d}.png").write_bytes(a_picture(number))
    (made / "notes.txt").write_text("no picture")
    (made / ".hidden").write_text("not looked at")
    return made


def _stream(source: Any, **options: Any) -> StreamedPictures:
    return StreamedPictures(source, Framing(((1, 1),), 8), 5, **options)


def _numbers(images: list[np.ndarray]) -> list[int]:
    return [int(image[0, 0, 0]) for image in images]


def _epoch(pictures: StreamedPictures, start: int) -> list[int]:
    found = [pictures.at(place) for place in range(start, start + pictures.num_fitted)]
    return [int(picture[0, 0, 0]) for picture in found if picture is not None]


def test_an_epoch_sees_every_picture_once_in_another_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WINDOW_PICTURES", 10)
    monkeypatch.setattr(reading, "FILES_A_GROUP", 4)
    pictures = _stream(FolderSource(str(folder)), held_out_ratio=0.2)
    first, second = _epoch(pictures, 0), _epoch(pictures, pictures.num_fitted)
    kept = _numbers(pictures.held_out())
    assert pictures.num_fitted == 33  # of 41 files; one is no picture
    assert sorted(first) == sorted(second)
    assert first != second
    assert first != sorted(first)
    assert not set(first) & set(kept)
    assert sorted([*first, *kept]) == list(range(40))
    again = _stream(FolderSource(str(folder)), held_out_ratio=0.2)
    assert (np.stack(again.batch(5, 6)) == np.stack(pictures.batch(5, 6))).all()  # whatever was read before


def test_what_cannot_be_decoded_is_replaced_and_counted(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(a_picture(number) if number % 2 else b"no picture")
    pictures = _stream(FolderSource(str(tmp_path)), held_out_ratio=0.1)
    batch = pictures.batch(0, 7)
    assert np.stack(batch).shape == (7, 8, 8, 3)
    assert pictures.num_undecodable > 0
    assert {number % 2 for number in _numbers(batch)} == {1}
    (tmp_path / "only").mkdir()
    for number in range(3):
        (tmp_path / "only" / f"{number}.png").write_bytes(b"no picture")
    bad = _stream(FolderSource(str(tmp_path / "only")))
    with pytest.raises(UserError, match="none of the pictures"):
        bad.batch(0, 2)
    with pytest.raises(UserError, match="none of the held-out"):
        bad.held_out()


def _binary(data: list[bytes]) -> pa.Table:
    return pa.table({"id": list(range(len(data))), "data": pa.array(data, pa.binary())})


def _struct(data: list[bytes]) -> pa.Table:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table({"image": pa.array([{"bytes": each, "path": None} for each in data], kind)})


@pytest.mark.parametrize("table", [_binary, _struct], ids=["binary", "struct"])
def test_parquet_files_are_read_by_row_group(table: Callable[[list[bytes]], pa.Table], tmp_path: Path) -> None:
    for file in range(2):
        data = [a_picture(number) for number in range(20 * file, 20 * file + 20)]
        pq.write_table(table(data), tmp_path / f"{file}.parquet", row_group_size=6)
    source = pictures_at(str(tmp_path))
    assert list(source.group_sizes) == [6, 6, 6, 2] * 2
    pictures = _stream(source, held_out_ratio=0.1)
    assert sorted([*_epoch(pictures, 0), *_numbers(pictures.held_out())]) == list(range(40))
    few = _stream(pictures_at(str(tmp_path / "0.parquet")), max_images=7)
    assert few.num_fitted == 6
    assert few.fingerprint != pictures.fingerprint


def test_rows_are_chosen_and_faces_blurred(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, ::2] = 255
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    pq.write_table(_binary([stream.getvalue()] * 6), tmp_path / "a.parquet", row_group_size=4)
    source = ParquetSource(
        [str(tmp_path / "a.parquet")],
        key="id",
        keep=lambda table: pa.array([value % 2 == 1 for value in table["id"].to_pylist()]),
        faces={3: ((0.0, 0.0, 1.0, 1.0),)},  # type: ignore[dict-item]
    )
    assert source.group_sizes == [2, 1]
    assert [bool(faces) for _, faces in source.read(0, [1, 0])] == [True, False]
    pictures = StreamedPictures(source, Framing(((2, 2),), 8), 0, held_out_ratio=0.0)
    contrast = sorted(int(np.ptp(picture)) for place in range(3) if (picture := pictures.at(place)) is not None)
    assert contrast[0] < 255 == contrast[1] == contrast[2]


OTHER = pa.table({"a": [1]})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.mkdir(), "holds no files"),
        (lambda path: (path.mkdir(), (path / "a.parquet").write_bytes(b"x")), "not a Parquet file"),
        (
            lambda path: (path.mkdir(), pq.write_table(pa.table({"a": [1]}), path / "a.parquet")),
            "no column of pictures",
        ),
        (lambda path: (path.mkdir(), pq.write_table(_binary([]), path / "a.parquet")), "no pictures in"),
    ],
)
def test_sources_without_pictures_are_refused(make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(UserError, match=message):
        pictures_at(str(tmp_path / "x"))


# ------------------------------------------------------------------------------------------------ fit, convert, show


def test_kinds_are_those_of_the_configuration() -> None:
    assert get_args(Kind) == FITTED_KINDS


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("vqgan", ("num_code=3",), "num_code"),
        ("fsq", ("levels=[8,x]",), "levels"),
        ("vqvae", ("patch_size=9",), "does not divide"),
        ("vqvae", ("channels",), "expected"),
        ("vae", (), "no kind of image tokenizer"),
    ],
)
def test_impossible_shapes_are_refused(kind: str, settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        shape_of(kind, settings)


def test_a_fit_from_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    settings = [word for setting in SHAPE[1:] for word in ("--set", setting)]
    line = ["fit-tokenizer", str(folder), "--output", str(out), "--size", "16x24", *settings, "--steps", "6"]
    assert main([*line, "--threads", "1"]) == 0
    assert "PSNR" in capsys.readouterr().out
    assert read_codebook(str(out)).grid == (2, 3)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["num_images"], summary["num_held_out"]) == (39, 2)
    page = (out / "reconstructions.html").read_text()
    before, during = page.split("<h2>While it was fitted</h2>")
    assert before.count('<img src="data:image/png;base64,') == 2 * before.count("<figure>") > 0
    assert during.count("<img") == 2 * (1 + 6)  # two held-out pictures: the original, and after each of six steps
    assert during.count("none yet") == 2  # codes, in the plain steps
    assert "http-equiv=refresh" not in page
    assert not (out / "looks.json").exists()
    assert main(line) == 2  # there is one already
    assert "holds an image tokenizer already" in capsys.readouterr().err
    assert main(["tokenizer", "show", str(out)]) == 0
    told = capsys.readouterr().out
    assert "2 x 3 = 6 tokens" in told
    assert read_codebook(str(out)).fingerprint in told
    assert "PSNR" not in told
    assert main(["tokenizer", "show", str(out), str(folder), "--page", str(tmp_path / "a.html"), "--images", "20"]) == 0
    told = capsys.readouterr().out
    assert "over 20 pictures" in told or "over 19 pictures" in told
    assert "perplexity" in told
    assert "its reconstruction" in (tmp_path / "a.html").read_text()


def test_a_decoder_is_fitted_on_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    line = ["fit-tokenizer", str(folder), "--threads=1", "--batch-size=6", "--micro-batch=4", "--precision=float32"]
    shape = ["--size", "32", "--set", "channels=8", "--set", "num_codes=16"]
    assert main([*line, *shape, "--output", first, "--steps=5"]) == 0
    assert main([*line, "--decoder-of", first, "--set", "channels=8", "--output", second]) == 2
    assert "keeps the shape of its tokenizer" in capsys.readouterr().err
    adversary = ["--discriminator=0.1", "--discriminator-start=1", "--learning-rate=1e-3"]
    assert main([*line, "--decoder-of", first, "--output", second, "--steps=3", *adversary]) == 0
    assert read_codebook(second) == read_codebook(first)  # the codes are still those of the first
    weights = [json.loads((tmp_path / name / "config.json").read_text())["fingerprint"] for name in ("first", "second")]
    assert weights[0] != weights[1]
    loaded = load_image_tokenizer(second)
    assert (loaded.fingerprint, loaded.codebook.fingerprint) == (weights[1], weights[0])


@pytest.mark.parametrize("size", ["0", "x16", "16x", "16x0", "-3", "1e3"])
def test_odd_sizes_are_refused(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenizer", "convert", str(tmp_path), str(tmp_path / "out"), f"--size={size}"]) == 2
    assert "--size" in capsys.readouterr().err


def _fit_line(folder: Path, out: Path) -> list[str]:
    settings = [word for setting in SHAPE[1:] for word in ("--set", setting)]
    machine = ["--precision=float32", "--threads=1", "--quiet"]
    return ["fit-tokenizer", str(folder), "--output", str(out), "--size=16", *settings, "--steps=8", *machine]


@pytest.mark.parametrize(
    ("option", "checkpoint"), [("--checkpoint-steps=3", 3), ("--checkpoint-seconds=0", 5), ("--checkpoint-steps=9", 0)]
)
def test_a_fit_whose_process_ended_goes_on(
    option: str, checkpoint: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gobelin.tokenize import fit as fitting

    assert main(_fit_line(folder, tmp_path / "whole")) == 0
    advance, done = fitting._Fit.advance, itertools.count(1)

    def end(self: Any) -> float:
        if next(done) == 6:
            raise KeyboardInterrupt
        return advance(self)

    line = [*_fit_line(folder, tmp_path / "parts"), option]
    monkeypatch.setattr(fitting._Fit, "advance", end)
    assert main(line) == 130
    written = tmp_path / "parts" / "checkpoint.pt"
    assert (torch.load(written, weights_only=True)["step"] if written.exists() else 0) == checkpoint
    monkeypatch.setattr(fitting._Fit, "advance", advance)
    assert main(_fit_line(folder, tmp_path / "parts")) == 0  # another interval is the same fit
    assert read_codebook(str(tmp_path / "parts")) == read_codebook(str(tmp_path / "whole"))
    assert not written.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_fit_that_is_asked_to_stop_writes_a_checkpoint_and_goes_on(
    number: signal.Signals, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gobelin.tokenize import fit as fitting

    assert main(_fit_line(folder, tmp_path / "whole")) == 0
    advance, done, before = fitting._Fit.advance, itertools.count(1), signal.getsignal(number)

    def ask(self: Any) -> float:
        if next(done) == 4:
            signal.raise_signal(number)
        return advance(self)

    monkeypatch.setattr(fitting._Fit, "advance", ask)
    assert main(_fit_line(folder, tmp_path / "parts")) == 130
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 4
    assert signal.getsignal(number) is before
    assert main(_fit_line(folder, tmp_path / "parts")) == 0
    assert read_codebook(str(tmp_path / "parts")) == read_codebook(str(tmp_path / "whole"))


def test_a_folder_of_something_else_is_left_alone(folder: Path) -> None:
    with pytest.raises(UserError, match="is not empty"):
        fit(str(folder), str(folder), FitOptions("vqvae", SHAPE), Screen(quiet=True))


def test_a_checkpoint_is_converted_and_shown(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gobelin.tokenize.networks import build_network
    from gobelin.tokenize.shapes import VQGANConfig

    config = VQGANConfig(
        image_size=16, channels=32, multipliers=(1, 1), num_blocks=1, attention_levels=(), z_channels=8, num_codes=6,
        code_width=4,
    )  # fmt: skip
    weights = build_network(config, torch.Generator()).state_dict()
    encoder = {
        f"model.vqmodel.{key}": value
        for key, value in weights.items()
        if not key.startswith(("quantizer.", "decoder.", "post_quant"))
    }
    save_file(
        {**encoder, "model.vqmodel.quantize.embedding.weight": torch.randn(6, 4)}, tmp_path / "chameleon.safetensors"
    )
    out = str(tmp_path / "out")
    assert main(["tokenizer", "convert", str(tmp_path / "chameleon.safetensors"), out, "--size", "16"]) == 0
    told = capsys.readouterr().out
    assert "from the layout chameleon" in told
    assert "of the codes are float32's (16 pictures drawn patterns, cpu" in told
    assert main(["tokenizer", "show", out, str(folder), "--page", str(tmp_path / "page.html"), "--images", "8"]) == 0
    told = capsys.readouterr().out
    assert "perplexity" in told
    assert "PSNR" not in told
    assert "of the codes are float32's" in told
    assert "no decoder" in (tmp_path / "page.html").read_text()
    assert "of the codes are float32" in (tmp_path / "page.html").read_text()
    assert main(["tokenizer", "convert", str(folder / "00.png"), str(tmp_path / "none")]) == 2
    told = capsys.readouterr().err
    assert "is not a checkpoint of torch: it is neither an archive nor a pickle of tensors" in told
    assert "weights_only" not in told


@pytest.mark.parametrize(("side", "opens_copies"), [(64, True), (256, False)])
def test_the_pictures_of_a_run_are_those_of_its_corpus(
    side: int, opens_copies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gobelin.store.dataset import commit_shards, data_output, shard_name

    def write(name: str, places: list[int], of: int) -> None:
        rows = {"image_id": [f"{place:064x}" for place in places], "data": [a_picture(of + place) for place in places]}
        folder = str(tmp_path / "extract" / name)
        with data_output(folder, shard_name(0, 1)) as new:
            pq.write_table(pa.table(rows), new.stream)
            new.num_rows = len(places)
        assert commit_shards(folder, 1)

    write("images", [0, 1, 2, 3], of=0)
    write("copies", [0, 2], of=100)
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "recipe.yaml").write_text("{}\n")
    monkeypatch.setattr(reading_pictures, "some_images_shown", lambda *_: [f"{1:064x}", f"{2:064x}"])
    source = reading_pictures.pictures_of(str(tmp_path), 10, Framing(((side // 8, side // 8),), 8))
    found = [data for group, size in enumerate(source.group_sizes) for data, _ in source.read(group, range(size))]
    assert found == ([a_picture(102), a_picture(1)] if opens_copies else [a_picture(1), a_picture(2)])
