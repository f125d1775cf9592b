"""Sampling and grounding: the grammar always holds, and a model that has learned colours shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gobelin.tokenize.grammar import DocumentWriter, parse
from gobelin.tokenize.sequence import ImageItem, Item, TextItem, decode_document
from gobelin.tokenize.vocabulary import (
    CAPTION_OF_NEXT,
    CAPTION_OF_PREVIOUS,
    DOCUMENT,
    END_OF_IMAGE,
    IMAGE,
    METADATA_KEY,
    TEXT,
    Vocabulary,
)
from gobelin.train.config import TrainConfig
from gobelin.train.evaluate import grounding_gap
from gobelin.train.model import LanguageModel, LMConfig, build_model, load_model, save_model
from gobelin.train.pairs import Pair, held_out_pairs
from gobelin.train.sample import (
    Request,
    SamplingConfig,
    draw,
    generate,
    sample_captions,
    sample_images,
)
from gobelin.train.shards import read_corpus
from gobelin.train.trainer import train
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
    codes = sample_images(learned[0], TOKENIZER, CAPTIONS * 10, config, 0)
    assert codes.shape == (40, 4)
    assert codes.dtype == np.int32
    right = codes // CODES_PER_COLOR == np.tile(np.arange(4), 10)[:, None]
    assert right.mean() > 0.9


def test_captions_name_the_pictures_colour(learned: tuple[LanguageModel, list[Pair]]) -> None:
    codes = np.arange(4)[:, None] * CODES_PER_COLOR + np.array([0, 5, 2, 7])
    captions = sample_captions(learned[0], TOKENIZER, codes, SamplingConfig(temperature=0), 0)
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


def sample_document(
    model: LanguageModel, config: SamplingConfig, seed: int, max_tokens: int, prompt: Sequence[int] = ()
) -> list[int]:
    return generate(model, [Request(prompt, max_tokens, seed)], config)[0]


@pytest.mark.parametrize("seed", range(6))
def test_documents_keep_the_grammar(untrained: LanguageModel, seed: int) -> None:
    config = SamplingConfig(temperature=2.0, top_k=0, cfg_scale=2.0)
    tokens = sample_document(untrained, config, seed, 50)
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
        tokens = sample_document(untrained, config, 0, 40, prompt)
        assert tokens[1 : 1 + len(prompt)] == prompt
        parse(tokens, VOCABULARY)
    with pytest.raises(ValueError, match="not allowed"):
        sample_document(untrained, config, 0, 40, word)


def test_a_document_without_room_for_a_picture_has_none(untrained: LanguageModel) -> None:
    for seed in range(5):
        tokens = sample_document(untrained, SamplingConfig(), seed, 7)
        items = decode_document(tokens, None, VOCABULARY, TOKENIZER)
        assert all(isinstance(item, TextItem) for item in items)


def test_sampling_repeats_with_its_generator(untrained: LanguageModel) -> None:
    config = SamplingConfig(temperature=1.0)
    first, again, other = (sample_images(untrained, TOKENIZER, CAPTIONS, config, seed).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


@torch.no_grad()
def test_greedy_pictures_equal_a_loop_without_cache(untrained: LanguageModel) -> None:
    """Captions of different lengths, so that padding and guidance are in it."""
    captions = ["red", "a yellow square and a green one", ""]
    config = SamplingConfig(temperature=0, cfg_scale=2.5)
    codes = sample_images(untrained, TOKENIZER, captions, config, 0)
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


def _words(text: str) -> list[int]:
    return [VOCABULARY.text_offset + index for index in TOKENIZER.encode(text)]


def _picture(*codes: int) -> list[int]:
    return [IMAGE, *(VOCABULARY.image_offset + code for code in codes), END_OF_IMAGE]


REQUESTS = [
    Request((), 60, 0),
    Request([TEXT, *_words("a red square and")], 60, 1),
    Request([*_picture(1, 2, 3, 4), CAPTION_OF_PREVIOUS], 30, 2, "item"),
    Request([CAPTION_OF_NEXT, *_words("blue"), IMAGE], 40, 3, "item"),
    Request([*_picture(5, 6, 7, 8), CAPTION_OF_NEXT, *_words("a green one"), IMAGE], 40, 4, "item"),
    Request([*_picture(9, 9, 9, 9), TEXT, *_words("red"), *_picture(1, 1, 1, 1)], 50, 5),
    Request([TEXT, *_words("a")], 9, 6, "item"),
    Request([TEXT, *_words("one"), IMAGE, VOCABULARY.image_offset], 33, 7),
]
"""Prompts of all lengths and kinds, some open, some whole; texts, pictures and documents."""

SETTINGS = {
    "greedy": SamplingConfig(temperature=0, cfg_scale=1),
    "greedy-guided": SamplingConfig(temperature=0, cfg_scale=2.5, text_cfg_scale=1.7, repetition_penalty=1.3),
    "drawn": SamplingConfig(temperature=1.2, top_k=40, top_p=0.95, cfg_scale=2, image_cfg_scale=1.4),
    "drawn-by-modality": SamplingConfig(
        cfg_scale=1, image_cfg_scale=3, text_cfg_scale=2, text_temperature=1.5, text_top_k=0, text_top_p=0.8,
        repetition_penalty=1.2,
    ),
}  # fmt: skip


@torch.no_grad()
def _written_plainly(model: LanguageModel, request: Request, config: SamplingConfig) -> list[int]:
    """One document alone, each token from whole sequences without a cache; the rules are written down again."""
    words, first_code = slice(VOCABULARY.text_offset, VOCABULARY.image_offset), VOCABULARY.image_offset
    writer = DocumentWriter(VOCABULARY, request.max_tokens)
    for token in request.prompt:
        writer.append(token)
    random = np.random.default_rng(request.seed)

    def logits(tokens: list[int]) -> torch.Tensor:
        tokens_BT = torch.tensor([tokens])
        return model(tokens_BT, torch.zeros_like(tokens_BT))[0, -1]

    while not writer.done:
        allowed, tokens = writer.allowed(), writer.tokens
        if request.ends == "item" and allowed.special == (END_OF_IMAGE,):
            break
        start = max(index for index, token in enumerate(tokens) if token < VOCABULARY.text_offset)
        mark, item = tokens[start], tokens[start:]
        found = logits(tokens)
        settings = config
        if allowed.codebook is not None:
            image_scale = config.image_cfg_scale or config.cfg_scale
            nothing = logits([DOCUMENT, *item])
            pictures: list[int] = []
            for index, token in enumerate(tokens[:start]):
                pictures += tokens[index : index + 6] if token == IMAGE else []
            behind_pictures = logits([DOCUMENT, *pictures, *item])
            if image_scale == config.cfg_scale:
                found = nothing + image_scale * (found - nothing)
            else:
                found = (
                    nothing + image_scale * (behind_pictures - nothing) + config.cfg_scale * (found - behind_pictures)
                )
            found = found[first_code:]
        else:
            settings = config.of_text
            if mark in (TEXT, CAPTION_OF_NEXT, CAPTION_OF_PREVIOUS) and config.text_cfg_scale != 1:
                other = {CAPTION_OF_PREVIOUS: CAPTION_OF_NEXT}.get(mark, mark)
                nothing = logits([DOCUMENT, other, *item[1:]])[words].log_softmax(-1)
                alone = found[words].log_softmax(-1)
                guided = (nothing + config.text_cfg_scale * (alone - nothing)).log_softmax(-1)
                found[words] = guided + found[words].logsumexp(-1)
            for token in {token for token in tokens if VOCABULARY.text_offset <= token < first_code}:
                found[token] *= config.repetition_penalty if found[token] < 0 else 1 / config.repetition_penalty
            permitted = torch.full_like(found, -torch.inf)
            permitted[list(allowed.special)] = 0
            if allowed.text:
                permitted[words] = 0
            found = found + permitted
        if len(allowed.special) == 1 and not allowed.text:
            token = allowed.special[0]
        else:
            uniform = torch.tensor([random.random(dtype=np.float32)], dtype=torch.float64)
            token = int(draw(found[None], settings, uniform)) + (0 if allowed.codebook is None else first_code)
        if request.ends == "item" and token < VOCABULARY.text_offset:
            break
        writer.append(token)
    return writer.tokens


@pytest.mark.parametrize("settings", SETTINGS)
def test_cache_and_batches_change_no_token(untrained: LanguageModel, settings: str) -> None:
    config = SETTINGS[settings]
    plain = [_written_plainly(untrained, request, config) for request in REQUESTS]
    assert generate(untrained, REQUESTS, config) == plain
    assert generate(untrained, REQUESTS, config, batch_size=1) == plain
    assert generate(untrained, REQUESTS[::-1], config, batch_size=3) == plain[::-1]
    pictures = [item for tokens in (plain[0], plain[1], plain[5]) for item in parse(tokens, VOCABULARY) if item.codes]
    assert len(pictures) > 1  # so guidance comes and goes while others write on


def test_tokens_are_told_as_they_are_drawn_and_the_teller_can_end_it(untrained: LanguageModel) -> None:
    told: dict[int, list[int]] = {index: [] for index in range(len(REQUESTS))}
    written = generate(untrained, REQUESTS, SamplingConfig(), on_token=lambda index, token: told[index].append(token))
    for index, request in enumerate(REQUESTS):
        assert written[index] == [DOCUMENT, *request.prompt, *told[index]]

    class Stop(Exception):
        pass

    def stop(index: int, token: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        generate(untrained, REQUESTS, SamplingConfig(), on_token=stop)


def test_an_item_that_is_not_open_cannot_be_ended(untrained: LanguageModel) -> None:
    for prompt in ((), _picture(1, 2, 3, 4)):
        with pytest.raises(ValueError, match="no item is open"):
            generate(untrained, [Request(prompt, 40, 0, "item")], SamplingConfig())


def test_a_penalty_of_repetition_leaves_fewer_repeated_words(untrained: LanguageModel) -> None:
    def share_of_new(penalty: float) -> float:
        config = SamplingConfig(temperature=0.7, top_k=0, repetition_penalty=penalty)
        requests = [Request([TEXT, *_words("a red")], 40, seed, "item") for seed in range(8)]
        written = generate(untrained, requests, config)
        return sum(len(set(tokens)) for tokens in written) / sum(map(len, written))

    assert share_of_new(1.5) > share_of_new(1.0)


def test_captions_of_any_model_are_text(untrained: LanguageModel) -> None:
    codes = np.random.default_rng(0).integers(0, 8, (70, 4))
    config = SamplingConfig(temperature=2.0, top_k=0)
    captions = sample_captions(untrained, TOKENIZER, codes, config, 0, max_tokens=5)
    assert len(captions) == 70
    assert all(captions)
    with pytest.raises(ValueError, match="B x 4"):
        sample_captions(untrained, TOKENIZER, codes[:, :3], config, 0)


def _drawn(logits_BV: torch.Tensor, **settings: Any) -> list[int]:
    uniforms_B = torch.linspace(0, 1 - 2**-24, len(logits_BV), dtype=torch.float64)
    return draw(logits_BV, SamplingConfig(**settings), uniforms_B).tolist()


def test_draw_respects_limits() -> None:
    logits_BV = torch.tensor([[0.0, 3.0, 2.0, -torch.inf]]).expand(1000, -1)
    assert set(_drawn(logits_BV, temperature=0)) == {1}
    assert set(_drawn(logits_BV, temperature=1, top_k=2)) == {1, 2}
    assert set(_drawn(logits_BV, temperature=5, top_k=0)) == {0, 1, 2}
    assert set(_drawn(logits_BV, temperature=5, top_k=50)) == {0, 1, 2}
    chances = logits_BV[0].softmax(-1).tolist()  # .04, .7, .26, 0
    assert set(_drawn(logits_BV, temperature=1, top_k=0, top_p=chances[1] - 0.01)) == {1}
    assert set(_drawn(logits_BV, temperature=1, top_k=0, top_p=chances[1] + 0.01)) == {1, 2}
    assert set(_drawn(logits_BV, temperature=1, top_k=3, top_p=0.99)) == {0, 1, 2}
    for limits in ({"top_k": 0}, {"top_k": 4}, {"top_k": 0, "top_p": 0.9999}):
        cold = np.array(_drawn(logits_BV, temperature=0.5, **limits))
        assert (cold == 1).mean() == pytest.approx(1 / (1 + np.exp(-2) + np.exp(-6)), abs=0.002)


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
        codes = sample_images(model, TOKENIZER, ["a red square"] * 5, SamplingConfig(), 0, codebook=codebook)
        assert codes.shape == shape
        assert codes.max() < num_codes
        written = sample_captions(model, TOKENIZER, codes, SamplingConfig(), 0, codebook=codebook, max_tokens=4)
        assert len(written) == 5
    drawn = set()
    for seed in range(20):
        tokens = sample_document(model, SamplingConfig(cfg_scale=1.5), seed, 40)
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
