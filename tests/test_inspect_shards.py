"""``gobelin shards inspect``: a row comes back as text and pictures, whatever the web wrote into it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

from gobelin.pipeline.cli.main import main
from gobelin.tokenize.sequence import ImageItem, Item, TextItem
from tests.token_corpora import small_tokenizer, small_vocabulary, write_shards

torch = pytest.importorskip("torch")
HOSTILE = '<script>alert(1)</script> \x1b[2J \u202e <|image|> & "quotes" é'
DOCUMENTS: dict[str, list[Item]] = {
    "a" * 32: [TextItem("a red square"), ImageItem("f" * 64, (0, 1, 2, 31), HOSTILE), TextItem("")],
    "b" * 32: [TextItem(HOSTILE)],
    "c" * 32: [TextItem(f"page {0}")],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with tokenizers and shards: 2 x 2 codes, pictures of 16 px."""
    from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
    from gobelin.tokenize.networks import build_network
    from gobelin.tokenize.shapes import VQVAEConfig

    folder = tmp_path_factory.mktemp("run")
    tokens = folder / "tokenize"
    config = VQVAEConfig(image_size=16, patch_size=8, num_codes=32)
    tokenizer = ImageTokenizer(build_network(config, torch.Generator().manual_seed(0)))
    save_image_tokenizer(tokenizer, str(tokens / "image_tokenizer"))
    words = small_tokenizer()
    vocabulary = dataclasses.replace(small_vocabulary(words), codebooks=(tokenizer.codebook,))
    words.save(str(tokens / "text_tokenizer.json"))
    write_shards(tokens / "shards", DOCUMENTS, vocabulary, words)
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["shards", "inspect", *words]) == 0
    return capsys.readouterr().out


def test_what_shards_hold(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, str(run))
    assert "sequences   3\n" in out
    assert "images      1\n" in out
    assert "32 codes in 2 x 2" in out
    (one, *_) = sorted((run / "tokenize" / "shards").glob("*.parquet"))
    assert f"sequences   {pq.read_metadata(one).num_rows}\n" in said(capsys, str(one))


def test_a_document_on_the_terminal(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, str(run), "--document", "aaaa")
    lines = out.splitlines()
    assert sum("<|document|>" in line for line in lines) == 1
    assert any(line.endswith(f"2 x 2 codes of {'f' * 64}: 0 1 2 31") for line in lines)
    assert any('"a red square"' in line for line in lines)
    assert "\\u001b[2J" in out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_the_page_is_escaped_and_has_the_picture(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gobelin.tokenize.image_tokenizer import load_image_tokenizer

    page = tmp_path / "page"
    said(capsys, str(run), "--document", "a" * 32, "--page", str(page))
    html = (page / "index.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert 'src="0000.png"' in html
    assert "default-src &#x27;none&#x27;" in html or "default-src 'none'" in html
    decoded = load_image_tokenizer(str(run / "tokenize" / "image_tokenizer")).decode(np.array([[0, 1, 2, 31]]))[0]
    assert (np.asarray(PIL.Image.open(page / "0000.png")) == decoded).all()
    assert main(["shards", "inspect", str(run), "--row", "0", "--page", str(page)]) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_every_row_by_its_number(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = []
    for row in range(3):
        lines = said(capsys, str(run), "--row", str(row)).splitlines()
        ids.append(next(line for line in lines if line.startswith("  document")).split()[1])
    assert sorted(ids) == sorted(DOCUMENTS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--row", "3"), "there are rows 0 to 2"),
        (("--row", "-1"), "there are rows 0 to 2"),
        (("--document", "d"), "no document in these shards has an id that begins with it"),
        (("--row", "0", "--document", "a"), "not both"),
        (("--page", "x"), "give --row N or --document ID"),
        (("--row", "0", "--tokenizers", "nowhere"), "no text tokenizer at nowhere"),
    ],
)
def test_what_cannot_be_shown(
    words: tuple[str, ...], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shards", "inspect", str(run), *words]) == 2
    assert message in capsys.readouterr().err


def test_files_that_are_no_token_shards(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and nothing")
    table = pq.read_table(next((run / "tokenize" / "shards").glob("*.parquet")))
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "y.parquet")
    broken = table.set_column(1, "tokens", [[[1, 5, 2, 2]] * len(table)])
    pq.write_table(broken.replace_schema_metadata(table.schema.metadata), run / "tokenize" / "broken.parquet")
    for path, message in (
        (tmp_path / "x.parquet", "not a Parquet file"), (tmp_path / "y.parquet", "not a token shard"),
        (tmp_path / "z.parquet", "no such file"), (tmp_path, "no token shards"),
        (run / "tokenize" / "broken.parquet", "may not stand inside a document"),
    ):  # fmt: skip
        assert main(["shards", "inspect", str(path), "--row", "0"]) == 2
        assert message in capsys.readouterr().err
