"""Token shards in the layouts of Chameleon and Emu3, and back; ids agree with what transformers does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gobelin.errors import UserError
from gobelin.exchange.token_layouts import LayoutError, Picture, TokenLayout, load_layout
from gobelin.pipeline.cli.main import main
from gobelin.store.shards import read_folder
from gobelin.tokenize.sequence import ImageItem, Item, TextItem
from gobelin.tokenize.text_tokenizer import fit_bpe
from tests.token_corpora import small_tokenizer, small_vocabulary, write_shards

GRID = (2, 3)
NUM_CODES = 40
CHAMELEON = ("<s>", "<pad>", "</s>", "<unk>", "<racm3:break>", "<eoss>", "<reserved08706>", "<image>")
EMU3 = ("<|endoftext|>", "<|extra_200|>", "<|extra_201|>", "<|extra_203|>", "<|extra_204|>", "<|image token|>",
        "<|image start|>", "<|image end|>", "<image>")  # fmt: skip
HOSTILE = "<s> <racm3:break> IMGIMGAZ <|image start|><|visual token 000000|> </s> é 🙂"
WORDS = small_tokenizer()
VOCABULARY = small_vocabulary(WORDS, GRID, NUM_CODES)
DOCUMENTS: dict[str, list[Item]] = {
    "a" * 32: [
        TextItem("a red square"),
        TextItem("and\n\na green one"),
        ImageItem("f" * 64, (0, 9, 10, 39, 7, 1), "blue"),
        ImageItem("e" * 64, (1, 2, 3, 4, 5, 6)),
        TextItem(""),
    ],
    "b" * 32: [TextItem(HOSTILE), ImageItem("d" * 64, (39,) * 6, HOSTILE)],
    "c" * 32: [],
    **{f"{n:032x}": [ImageItem(f"{n:064x}", (n,) * 6, f"caption {n}"), TextItem(f"page {n}")] for n in range(20)},
}  # fmt: skip


def code_name(name: str, code: int) -> str:
    if name == "emu3":
        return f"<|visual token {code:06d}|>"
    return "IMGIMG" + str(code).translate(str.maketrans("0123456789", "ABCDEFGHIJ")) + "Z"


def definition(name: str) -> str:
    """A tokenizer in this layout: a BPE with the layout's special tokens, and codes in no order of ids."""
    from tokenizers import AddedToken, Tokenizer

    tokenizer = Tokenizer.from_str(WORDS._definition)
    codes = sorted((code_name(name, code) for code in range(NUM_CODES)), key=lambda each: each[::-1])
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in CHAMELEON if name == "chameleon"])
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in EMU3 if name == "emu3"])
    tokenizer.add_tokens([AddedToken(each, normalized=False) for each in codes])
    text: str = tokenizer.to_str()
    return text


@pytest.fixture(scope="module", params=["chameleon", "emu3"])
def layout(request: pytest.FixtureRequest) -> TokenLayout:
    return TokenLayout(request.param, definition(request.param))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    WORDS.save(str(folder / "tokenize" / "text_tokenizer.json"))
    write_shards(folder / "tokenize" / "shards", DOCUMENTS, VOCABULARY, WORDS)
    VOCABULARY.save(str(folder / "tokenize"))
    return folder


@pytest.mark.parametrize("name", ["chameleon", "emu3"])
def test_there_and_back(name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tokenizer.json").write_text(definition(name))
    common = ("--format", name, "--tokenizer", str(tmp_path / "tokenizer.json"))
    assert main(["shards", "export", str(run), *common, "--to", str(tmp_path / "out")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["sequences"], said["images"], said["left_out"], said["texts_changed"]) == (23, 23, 0, 0)
    assert ("1,024 codes" in " ".join(said["notes"])) is (name == "chameleon")
    back = str(tmp_path / "back")
    tokenizers = ("--tokenizers", str(run / "tokenize"))
    assert main(["shards", "import", str(tmp_path / "out"), *common, *tokenizers, "--to", back]) == 0
    ours, theirs = (sorted(read_folder(str(each)), key=lambda row: row["doc_id"])
                    for each in (run / "tokenize" / "shards", back))  # fmt: skip
    assert ours == theirs
    assert main(["shards", "inspect", back]) == 0
    assert main(["shards", "export", str(run), *common, "--to", str(tmp_path / "out")]) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_texts_are_not_read_with_another_tokenizer(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids would be words all the same, and wrong ones."""
    shutil.copytree(run / "tokenize" / "shards", tmp_path / "mine" / "shards")
    fit_bpe(["other words altogether"] * 4, 280).save(str(tmp_path / "mine" / "text_tokenizer.json"))
    (tmp_path / "tokenizer.json").write_text(definition("chameleon"))
    common = ("--format", "chameleon", "--tokenizer", str(tmp_path / "tokenizer.json"))
    assert main(["shards", "export", str(tmp_path / "mine" / "shards"), *common, "--to", str(tmp_path / "out")]) == 2
    assert "is not the one that made" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["chameleon", "emu3"])
def test_what_comes_without_a_side_field(name: str, run: Path, tmp_path: Path) -> None:
    """Texts and images are there; which text was a caption is not."""
    (tmp_path / "tokenizer.json").write_text(definition(name))
    common = ("--format", name, "--tokenizer", str(tmp_path / "tokenizer.json"))
    assert main(["shards", "export", str(run), *common, "--to", str(tmp_path / "out")]) == 0
    for path in (tmp_path / "out").glob("*.parquet"):
        table = pq.read_table(path)
        broken = [[b"\xff not JSON".decode("latin-1")] * len(table)]
        pq.write_table(table.set_column(table.schema.get_field_index("gobelin"), "gobelin", broken), path)
    back = str(tmp_path / "back")
    tokenizers = ("--tokenizers", str(run / "tokenize"))
    assert main(["shards", "import", str(tmp_path / "out"), *common, *tokenizers, "--to", back]) == 0
    ours, theirs = ({row["doc_id"]: row for row in read_folder(str(each))} for each in (run / "tokenize/shards", back))
    assert set(ours) == set(theirs)
    for name_, row in ours.items():
        for mine, other in zip(row["image_spans"], theirs[name_]["image_spans"], strict=True):
            codes = [each["tokens"][span["start"] : span["start"] + span["length"]]
                     for each, span in ((row, mine), (theirs[name_], other))]  # fmt: skip
            assert codes[0] == codes[1]


texts = st.text(max_size=20) | st.lists(
    st.sampled_from([*CHAMELEON, *EMU3, "IMGIMGAZ", "<|visual token 000007|>", " ", "a"]), max_size=6
).map("".join)
pictures = st.lists(st.integers(0, NUM_CODES - 1), min_size=6, max_size=6).map(
    lambda codes: Picture(np.array(codes).reshape(GRID))
)


@given(st.lists(st.tuples(texts, pictures), max_size=4), texts)
@settings(max_examples=150, deadline=None)
def test_names_of_their_special_tokens_in_a_text_are_text(layout: TokenLayout, pairs: list[Any], last: str) -> None:
    runs = [each for pair in pairs for each in pair] + [last]
    found = layout.decode(layout.encode(runs), GRID)
    for mine, theirs in zip(runs, found, strict=True):
        if isinstance(mine, Picture):
            assert isinstance(theirs, Picture)
            assert (mine.codes == theirs.codes).all()
        else:
            assert mine == theirs


def test_the_ids_are_those_of_transformers(layout: TokenLayout) -> None:
    """Image tokens by its mappings of codes, the rest by its processors' templates."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer

    full = Tokenizer.from_str(definition(layout.name))
    vocabulary = full.get_vocab(with_added_tokens=True)
    codes = np.array([[3, 12, 0], [39, 7, 20]])
    ids = layout.encode(["a red square", Picture(codes), "blue"])
    if layout.name == "chameleon":
        from transformers.models.chameleon.modeling_chameleon import ChameleonImageVocabularyMapping

        image = ChameleonImageVocabularyMapping(vocabulary).convert_img2bpe(torch.tensor(codes.ravel())).tolist()
        around = "<s>a red square<racm3:break>", "<eoss>blue</s>"
    else:
        from transformers.models.emu3.modeling_emu3 import Emu3ImageVocabularyMapping

        image = Emu3ImageVocabularyMapping(vocabulary).convert_img2bpe(torch.tensor(codes)).ravel().tolist()
        around = ("<|extra_203|>a red square<|image start|>2*3<|image token|>",
                  "<|extra_201|><|image end|>blue<|extra_204|>")  # fmt: skip
    assert transformers
    expected = [*full.encode(around[0], add_special_tokens=False).ids, *image,
                *full.encode(around[1], add_special_tokens=False).ids]  # fmt: skip
    assert ids == expected


def test_emu3s_original_files(tmp_path: Path) -> None:
    import base64

    ranks = [bytes([byte]) for byte in range(256)] + [b"re", b"red"]
    lines = b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(ranks))
    (tmp_path / "emu3.tiktoken").write_bytes(lines)
    names = ["<|image token|>", "<|image start|>", "<|image end|>", *(code_name("emu3", code) for code in range(7))]
    (tmp_path / "emu3_vision_tokens.txt").write_text("\n".join(names) + "\n")
    layout = load_layout("emu3", str(tmp_path))
    first = 151643 + 3
    ids = layout.encode(["red12", Picture(np.array([[0, 6]]))])
    picture = [first + 206, 49, 42, 50, first + 205, first + 208, first + 214, first + 200, first + 201, first + 207]
    assert ids == [first + 203, 257, 49, 50, *picture, first + 204]
    with pytest.raises(UserError, match="lacks the special tokens"):
        load_layout("emu3", str(tmp_path / "emu3.tiktoken"))


def test_what_does_not_fit(layout: TokenLayout, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LayoutError, match="outside"):
        layout.encode([Picture(np.array([[NUM_CODES]]))])
    good = layout.encode(["a", Picture(np.zeros(GRID, int)), "b"])
    for bad in ([], good[1:], good[:-1], [good[0], *good], good[:-4] + good[-1:], good[:6] + good[7:]):
        with pytest.raises(LayoutError):
            layout.decode(bad, GRID)
    other = "emu3" if layout.name == "chameleon" else "chameleon"
    with pytest.raises(UserError, match=f"does not fit the layout {other}"):
        TokenLayout(other, definition(layout.name))  # type: ignore[arg-type]
    for content, message in ((b"{}", "not a tokenizer"), (b"\xff", "not UTF-8")):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(UserError, match=message):
            load_layout(layout.name, str(tmp_path / "x.json"))
    from tokenizers import Tokenizer

    parts = json.loads(definition(layout.name))
    last = {code_name(layout.name, NUM_CODES - 1)}
    parts["added_tokens"] = [each for each in parts["added_tokens"] if each["content"] not in last]
    fewer = Tokenizer.from_str(json.dumps(parts))
    fewer.save(str(tmp_path / "fewer.json"))
    given_ = ("--format", layout.name, "--tokenizer", str(tmp_path / "fewer.json"), "--to", str(tmp_path / "out"))
    assert main(["shards", "export", str(run), *given_]) == 2
    assert "has 40 codes" in capsys.readouterr().err
