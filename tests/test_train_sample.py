"""Sampling and grounding: the grammar always holds, and a model that has learned colours shows it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gobelin.tokenize.grammar import parse
from gobelin.tokenize.sequence import ImageItem, Item, TextItem, decode_document
from gobelin.tokenize.vocabulary import CAPTION_OF_NEXT, DOCUMENT, IMAGE, METADATA_KEY, TEXT, Vocabulary
from gobelin.train.evaluate import grounding_gap
from gobelin.train.model import LanguageModel, LMConfig, build_model, load_model, save_model
from gobelin.train.sample import SamplingConfig, draw, sample_captions, sample_document, sample_images
from gobelin.train.shards import Pair, held_out_pairs, read_corpus
from gobelin.train.trainer import TrainConfig, train
from tests.token_corpora import (
    CODES_PER_COLOR,
    COLORS,
    as_version_1,
    colored_documents,
    small_codebook,
    small_tokenizer,
    small_vocabulary,
    write_shards,
)

TOKENIZER = small_tokenizer()
VOCABULARY = small_vocabulary(TOKENIZER)
SHAPE = LMConfig(width=32, num_layers=2, num_heads=2, hidden=64)
CAPTIONS = [f"a {color} square" for color in COLORS]


@pytest.fixture(scope="module")
def untrained() -> LanguageModel:
    """Random weights everywhere: a model that says anything."""
    generator = torch.Generator().manual_seed(0)
    model = build_model(SHAPE, VOCABULARY, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, list[Pair]]:
    """A model of the colours, and pairs that it has not seen."""
    folder = tmp_path_factory.mktemp("learned")
    shards = write_shards(folder / "shards", colored_documents(300, pictures=3), VOCABULARY, TOKENIZER)
    config = TrainConfig(
        model=SHAPE, steps=500, row_tokens=64, batch_rows=8, validation_ratio=0.2, warmup_steps=10, threads=1
    )
    train(shards, VOCABULARY, config, str(folder / "model"), seed=0)
    corpus = read_corpus(shards, VOCABULARY, config.validation_ratio)
    return load_model(str(folder / "model")), held_out_pairs(corpus)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("cfg_scale", [1.0, 1.5])
def test_pictures_have_the_captions_colour(learned: tuple[LanguageModel, list[Pair]], cfg_scale: float) -> None:
    config = SamplingConfig(cfg_scale=cfg_scale, temperature=0.5)
    codes = sample_images(learned[0], TOKENIZER, CAPTIONS * 10, config, _generator())
    assert codes.shape == (40, 4)
    assert codes.dtype == np.int32
    right = codes // CODES_PER_COLOR == np.tile(np.arange(4), 10)[:, None]
    assert right.mean() > 0.9


def test_captions_name_the_pictures_colour(learned: tuple[LanguageModel, list[Pair]]) -> None:
    codes = np.arange(4)[:, None] * CODES_PER_COLOR + np.array([0, 5, 2, 7])
    captions = sample_captions(learned[0], TOKENIZER, codes, SamplingConfig(temperature=0), _generator())
    assert all(caption.startswith(expected) for caption, expected in zip(captions, CAPTIONS, strict=True))


def test_grounding_gap_is_found(learned: tuple[LanguageModel, list[Pair]]) -> None:
    model, pairs = learned
    assert len(pairs) > 20
    grounding = grounding_gap(model, pairs, seed=0)
    assert grounding.num_pairs == len(pairs)
    for gap in (grounding.image, grounding.text):
        assert 0 < gap.low < gap.mean < gap.high
        assert gap.win_ratio > 0.9
    assert grounding.image.mean > 1
    assert grounding_gap(model, pairs, seed=0) == grounding


def test_a_model_that_ignores_its_context_has_no_gap() -> None:
    model = build_model(SHAPE, VOCABULARY, _generator())  # uniform
    code = VOCABULARY.image_offset
    pairs = [Pair((20 + number,), (code + number % 8,) * 4) for number in range(12)]
    grounding = grounding_gap(model, pairs, seed=0)
    assert (grounding.image.mean, grounding.image.low, grounding.image.high, grounding.image.win_ratio) == (0, 0, 0, 0)
    assert grounding.text.true_nats == pytest.approx(np.log(VOCABULARY.size))


def test_the_gap_is_the_difference_of_losses_done_by_hand(untrained: LanguageModel) -> None:
    code = VOCABULARY.image_offset
    pairs = [Pair((20, 21), (code, code + 1, code + 2, code + 3)), Pair((30,), (code + 7,) * 4)]

    @torch.no_grad()
    def nats(head: list[int], tail: tuple[int, ...]) -> float:
        tokens_BT = torch.tensor([[*head, *tail]])
        logits_TV = untrained(tokens_BT, torch.zeros_like(tokens_BT))[0].log_softmax(-1)
        return -sum(logits_TV[len(head) + i - 1, token].item() for i, token in enumerate(tail)) / len(tail)

    def image(caption: tuple[int, ...], codes: tuple[int, ...]) -> float:
        return nats([DOCUMENT, CAPTION_OF_NEXT, *caption, IMAGE], codes)

    def text(codes: tuple[int, ...], caption: tuple[int, ...]) -> float:
        return nats([DOCUMENT, IMAGE, *codes, 4, 7], caption)

    a, b = pairs
    grounding = grounding_gap(untrained, pairs, seed=0)
    by_hand = [image(y.caption, x.codes) - image(x.caption, x.codes) for x, y in ((a, b), (b, a))]
    assert grounding.image.mean == pytest.approx(sum(by_hand) / 2, abs=1e-5)
    by_hand = [text(y.codes, x.caption) - text(x.codes, x.caption) for x, y in ((a, b), (b, a))]
    assert grounding.text.mean == pytest.approx(sum(by_hand) / 2, abs=1e-5)


def test_partners_differ_in_their_caption() -> None:
    code = VOCABULARY.image_offset
    same = [Pair((20,), (code + number,) * 4) for number in range(5)]
    model = build_model(SHAPE, VOCABULARY, _generator())
    with pytest.raises(ValueError, match="different captions"):
        grounding_gap(model, same, seed=0)
    assert grounding_gap(model, [*same, Pair((21,), (code,) * 4)], seed=0).num_pairs == 6


@pytest.mark.parametrize("seed", range(6))
def test_documents_keep_the_grammar(untrained: LanguageModel, seed: int) -> None:
    config = SamplingConfig(temperature=2.0, top_k=0, cfg_scale=2.0)
    tokens = sample_document(untrained, config, _generator(seed), max_tokens=50)
    assert len(tokens) <= 50
    for item in parse(tokens, VOCABULARY):
        assert item.codes is None or item.codes[1] - item.codes[0] == 4
    decode_document(tokens, None, VOCABULARY, TOKENIZER)


@pytest.mark.parametrize("cfg_scale", [1.0, 2.0])
def test_a_prompt_is_continued(untrained: LanguageModel, cfg_scale: float) -> None:
    word = [VOCABULARY.text_offset + index for index in TOKENIZER.encode("red")]
    code = VOCABULARY.image_offset
    config = SamplingConfig(cfg_scale=cfg_scale)
    for prompt in ([TEXT, *word], [CAPTION_OF_NEXT, *word], [CAPTION_OF_NEXT, *word, IMAGE, code, code + 1]):
        tokens = sample_document(untrained, config, _generator(), max_tokens=40, prompt=prompt)
        assert tokens[1 : 1 + len(prompt)] == prompt
        parse(tokens, VOCABULARY)
    with pytest.raises(ValueError, match="not allowed"):
        sample_document(untrained, config, _generator(), max_tokens=40, prompt=word)


def test_a_document_without_room_for_a_picture_has_none(untrained: LanguageModel) -> None:
    for seed in range(5):
        tokens = sample_document(untrained, SamplingConfig(), _generator(seed), max_tokens=7)
        items = decode_document(tokens, None, VOCABULARY, TOKENIZER)
        assert all(isinstance(item, TextItem) for item in items)


def test_sampling_repeats_with_its_generator(untrained: LanguageModel) -> None:
    config = SamplingConfig(temperature=1.0)
    first, again, other = (
        sample_images(untrained, TOKENIZER, CAPTIONS, config, _generator(seed)).tolist() for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@torch.no_grad()
def test_greedy_pictures_equal_a_loop_without_cache(untrained: LanguageModel) -> None:
    """Captions of different lengths, so that padding and guidance are in it."""
    captions = ["red", "a yellow square and a green one", ""]
    config = SamplingConfig(temperature=0, cfg_scale=2.5)
    codes = sample_images(untrained, TOKENIZER, captions, config, _generator())
    code = VOCABULARY.image_offset

    def logits(head: list[int], drawn: list[int]) -> torch.Tensor:
        tokens_BT = torch.tensor([head + [code + value for value in drawn]])
        return untrained(tokens_BT, torch.zeros_like(tokens_BT))[0, -1, code:]

    for caption, row in zip(captions, codes.tolist(), strict=True):
        ids = [VOCABULARY.text_offset + index for index in TOKENIZER.encode(caption)]
        head = [DOCUMENT, CAPTION_OF_NEXT, *ids, IMAGE] if ids else [DOCUMENT, IMAGE]
        drawn: list[int] = []
        for _ in range(4):
            without = logits([DOCUMENT, IMAGE], drawn)
            drawn.append(int((without + 2.5 * (logits(head, drawn) - without)).argmax()))
        assert drawn == row


def test_captions_of_any_model_are_text(untrained: LanguageModel) -> None:
    codes = np.random.default_rng(0).integers(0, 8, (70, 4))
    config = SamplingConfig(temperature=2.0, top_k=0)
    captions = sample_captions(untrained, TOKENIZER, codes, config, _generator(), max_tokens=5)
    assert len(captions) == 70
    assert all(captions)
    with pytest.raises(ValueError, match="B x 4"):
        sample_captions(untrained, TOKENIZER, codes[:, :3], config, _generator())


def test_draw_respects_limits() -> None:
    logits_BV = torch.tensor([[0.0, 3.0, 2.0, -torch.inf]]).expand(500, -1)
    assert set(draw(logits_BV, SamplingConfig(temperature=0), _generator()).tolist()) == {1}
    assert set(draw(logits_BV, SamplingConfig(temperature=1, top_k=2), _generator()).tolist()) == {1, 2}
    assert set(draw(logits_BV, SamplingConfig(temperature=5, top_k=0), _generator()).tolist()) == {0, 1, 2}
    cold = draw(logits_BV, SamplingConfig(temperature=0.5, top_k=0), _generator())
    assert (cold == 1).float().mean().item() == pytest.approx(1 / (1 + np.exp(-2) + np.exp(-6)), abs=0.05)


def test_sampling_config_refuses_negative_values() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        SamplingConfig(temperature=-1)


SEVERAL = dataclasses.replace(
    VOCABULARY,
    codebooks=(*VOCABULARY.codebooks, small_codebook((1, 3), name="wide", num_codes=8, fingerprint="1" * 64)),
)


def test_a_model_of_two_codebooks_draws_each_in_its_grid_and_range() -> None:
    generator = _generator()
    model = build_model(SHAPE, SEVERAL, generator).eval()
    with torch.no_grad():
        model.head.weight.normal_(std=0.3, generator=generator)
    for codebook, (shape, num_codes) in enumerate((((5, 4), 32), ((5, 3), 8))):
        codes = sample_images(model, TOKENIZER, ["a red square"] * 5, SamplingConfig(), generator, codebook=codebook)
        assert codes.shape == shape
        assert codes.max() < num_codes
        written = sample_captions(model, TOKENIZER, codes, SamplingConfig(), generator, codebook=codebook, max_tokens=4)
        assert len(written) == 5
    drawn = set()
    for seed in range(20):
        tokens = sample_document(model, SamplingConfig(cfg_scale=1.5), _generator(seed), max_tokens=40)
        drawn |= {item.codebook for item in parse(tokens, SEVERAL) if item.codes is not None}
    assert drawn == {0, 1}


def test_training_rows_hold_images_of_two_codebooks(tmp_path: Path) -> None:
    documents: dict[str, list[Item]] = {
        f"{number:032x}": [
            ImageItem(f"a{number}", (0, 1, 2, number), "a red square"),
            ImageItem(f"b{number}", (0, 1, number), "a blue square " * 9, codebook=1),
        ]
        for number in range(8)
    }
    shards = write_shards(tmp_path / "shards", documents, SEVERAL, TOKENIZER)
    config = TrainConfig(model=SHAPE, steps=3, row_tokens=24, batch_rows=2, validation_ratio=0.2, threads=1)
    train(shards, SEVERAL, config, str(tmp_path / "model"), seed=0)
    model = load_model(str(tmp_path / "model"))
    assert model.vocabulary == SEVERAL
    pairs = held_out_pairs(read_corpus(shards, SEVERAL, 0.5))
    assert {pair.codebook for pair in pairs} == {0, 1}
    assert grounding_gap(model, pairs, seed=0).num_pairs == len(pairs)


def test_shards_and_models_of_version_1_are_read(tmp_path: Path) -> None:
    shards = Path(write_shards(tmp_path / "shards", colored_documents(20), VOCABULARY, TOKENIZER))
    version_1 = as_version_1(VOCABULARY)
    (shards / "vocabulary.json").write_text(version_1)
    for path in shards.rglob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: version_1.encode()}), path)
    vocabulary = Vocabulary.load(str(shards))
    assert vocabulary == VOCABULARY
    assert len(held_out_pairs(read_corpus(str(shards), vocabulary, 0.5))) > 0
    model = build_model(SHAPE, vocabulary, _generator())
    save_model(model, str(tmp_path / "model"))
    (tmp_path / "model" / "vocabulary.json").write_text(version_1)
    assert load_model(str(tmp_path / "model")).vocabulary == VOCABULARY


def test_shards_of_another_tokenizer_name_both(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", colored_documents(20), VOCABULARY, TOKENIZER)
    other = dataclasses.replace(VOCABULARY, codebooks=(small_codebook(fingerprint="f" * 64),))
    with pytest.raises(ValueError, match="image tokenizer 000000000000 here, ffffffffffff there"):
        read_corpus(shards, other, 0.0)
