"""The language model: what a token sees, and that caching and packing change nothing."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import pytest
import torch

from gobelin.train import attention
from gobelin.train.attention import piece_positions
from gobelin.train.model import LanguageModel, LMConfig, build_model, load_model, places_in_picture, save_model
from tests.token_corpora import small_tokenizer, small_vocabulary

VOCABULARY = small_vocabulary(small_tokenizer())
CONFIG = LMConfig(width=32, num_layers=2, num_heads=2, hidden=48)
CODE = VOCABULARY.image_offset


SHARED_HEADS = LMConfig(width=32, num_layers=2, num_heads=4, num_kv_heads=2, hidden=48)


@pytest.fixture(params=[CONFIG, SHARED_HEADS], ids=["own heads", "shared heads"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    """Fresh weights, except that what starts at zero is random: else nothing depends on the context."""
    generator = torch.Generator().manual_seed(0)
    model = build_model(request.param, VOCABULARY, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()


def _tokens(rows: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(8, CODE, (rows, length), generator=generator)
    tokens[:, 5:9] = torch.randint(CODE, VOCABULARY.size, (rows, 4), generator=generator)
    return tokens


@torch.no_grad()
def test_cached_steps_equal_the_full_forward(model: LanguageModel) -> None:
    tokens_BT = _tokens(3, 16)
    full_BTV = model(tokens_BT, torch.zeros_like(tokens_BT))
    places_BT = places_in_picture(tokens_BT, VOCABULARY)
    cache = model.new_cache(3, 16)
    for start, stop in ((0, 7), (7, 8), (8, 9), (9, 16)):
        num_new_B = torch.full((3,), stop - start)
        logits_BV = model.extend(tokens_BT[:, start:stop], num_new_B, places_BT[:, start:stop], cache)
        torch.testing.assert_close(logits_BV, full_BTV[:, stop - 1])


@torch.no_grad()
def test_rows_of_different_lengths_go_on_together_leave_and_join(model: LanguageModel) -> None:
    tokens_BT = _tokens(3, 16)
    full_BTV = model(tokens_BT, torch.zeros_like(tokens_BT))
    places_BT = places_in_picture(tokens_BT, VOCABULARY)
    lengths_B, cache = torch.tensor([4, 11, 7]), model.new_cache(3, 16)
    padded_BT = tokens_BT[:, :11].masked_fill(torch.arange(11) >= lengths_B[:, None], 0)
    logits_BV = model.extend(padded_BT, lengths_B, places_in_picture(padded_BT, VOCABULARY), cache)
    torch.testing.assert_close(logits_BV, full_BTV[torch.arange(3), lengths_B - 1])

    def go_on(rows: list[int], lengths: list[int]) -> None:
        here = (torch.tensor(rows), torch.tensor(lengths))
        ones = torch.ones(len(rows), dtype=torch.long)
        logits_BV = model.extend(tokens_BT[here][:, None], ones, places_BT[here][:, None], cache)
        torch.testing.assert_close(logits_BV, full_BTV[here])

    go_on([0, 1, 2], [4, 11, 7])
    go_on([0, 1, 2], [5, 12, 8])
    cache = cache.rows(torch.tensor([2, 0]))
    go_on([2, 0], [9, 6])
    joining = model.new_cache(1, 16)
    model.extend(tokens_BT[1:2, :5], torch.tensor([5]), places_BT[1:2, :5], joining)
    cache = cache.joined(joining)
    go_on([2, 0, 1], [10, 7, 5])
    cache = cache.rows(torch.tensor([1]))
    assert cache.is_even
    go_on([0], [8])


@torch.no_grad()
def test_packed_pieces_equal_pieces_alone(model: LanguageModel) -> None:
    tokens_BT = _tokens(1, 20)
    pieces_BT = torch.tensor([[0] * 4 + [1] * 9 + [2] * 7])
    packed_BTV = model(tokens_BT, pieces_BT)
    for start, stop in ((0, 4), (4, 13), (13, 20)):
        piece_BT = tokens_BT[:, start:stop]
        torch.testing.assert_close(packed_BTV[:, start:stop], model(piece_BT, torch.zeros_like(piece_BT)))


@torch.no_grad()
def test_the_future_is_not_seen(model: LanguageModel) -> None:
    tokens_BT = _tokens(1, 12)
    changed_BT = tokens_BT.clone()
    changed_BT[0, 10] = 9 if tokens_BT[0, 10] != 9 else 10
    before, after = (model(t, torch.zeros_like(t)) for t in (tokens_BT, changed_BT))
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_pieces_one_by_one_and_behind_a_mask_are_the_same(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are the gradients."""
    tokens_BT, pieces_BT = _tokens(2, 24), torch.stack([torch.arange(24) // 9, torch.arange(24) // 17])
    found = []
    for fewest in (1, 1000):
        monkeypatch.setattr(attention, "FEWEST_TOKENS", fewest)
        model.zero_grad()
        logits_BTV = model(tokens_BT, pieces_BT)
        logits_BTV.square().mean().backward()
        found.append([logits_BTV.detach(), *(parameter.grad for parameter in model.parameters())])
    for alone, masked in zip(*found, strict=True):
        torch.testing.assert_close(alone, masked, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_flex_attention_sees_the_same(model: LanguageModel) -> None:
    """It has no gradients on the CPU; forward it runs there, uncompiled."""
    tokens_BT = _tokens(2, 128)
    pieces_BT = torch.stack([torch.arange(128) // 50, torch.arange(128) // 31])
    expected_BTV = model(tokens_BT, pieces_BT)
    model.uses_flex_attention = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that this is slow
        torch.testing.assert_close(model(tokens_BT, pieces_BT), expected_BTV)


def test_blocks_computed_again_have_the_same_gradients(model: LanguageModel) -> None:
    tokens_BT = _tokens(2, 12)
    gradients = []
    for model.recomputes in (False, True):
        model.zero_grad()
        model(tokens_BT, torch.zeros_like(tokens_BT)).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


@torch.no_grad()
def test_without_place_embedding_codes_are_tokens_like_others() -> None:
    model = build_model(dataclasses.replace(CONFIG, place_embedding=False), VOCABULARY, torch.Generator())
    model.head.weight.normal_()
    same_BTV = model(torch.full((1, 4), CODE), torch.arange(4)[None])
    assert torch.equal(same_BTV[0, 0], same_BTV[0, 1])
    assert not [name for name, _ in model.named_parameters() if "place" in name]


@torch.no_grad()
def test_the_place_in_the_picture_matters(model: LanguageModel) -> None:
    tokens_BT = torch.full((1, 4), CODE)
    same_BTV = model(tokens_BT, torch.arange(4)[None])  # four pieces of one token, differing in their place only
    assert not torch.allclose(same_BTV[0, 0], same_BTV[0, 1])


def test_places_count_from_the_start_of_each_picture() -> None:
    tokens_BT = torch.tensor(
        [[1, 3, CODE, CODE + 1, CODE, CODE, 4, 3, CODE, CODE], [CODE, CODE, 9, 9, 3, CODE, 4, 0, 0, 0]]
    )
    assert places_in_picture(tokens_BT, VOCABULARY).tolist() == [
        [-1, -1, 0, 1, 2, 3, -1, -1, 0, 1],
        [0, 1, -1, -1, -1, 0, -1, -1, -1, -1],
    ]


def test_positions_restart_with_each_piece() -> None:
    pieces_BT = torch.tensor([[0, 0, 0, 1, 1, 2], [0, 1, 2, 2, 2, 2]])
    assert piece_positions(pieces_BT).tolist() == [[0, 1, 2, 0, 1, 0], [0, 0, 0, 1, 2, 3]]


def test_same_seed_same_weights_and_no_global_randomness() -> None:
    before = torch.get_rng_state()
    first, second, other = (
        build_model(CONFIG, VOCABULARY, torch.Generator().manual_seed(seed)).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])
    assert torch.equal(before, torch.get_rng_state())


def test_fresh_model_is_uniform() -> None:
    model = build_model(CONFIG, VOCABULARY, torch.Generator().manual_seed(0))
    logits_BTV = model(_tokens(1, 10), torch.zeros(1, 10, dtype=torch.int64))
    assert torch.equal(logits_BTV, torch.zeros_like(logits_BTV))


def test_default_size() -> None:
    vocabulary = small_vocabulary(small_tokenizer(), grid=(7, 7), num_codes=256)
    model = build_model(LMConfig(), vocabulary, torch.Generator().manual_seed(0))
    blocks = sum(parameter.numel() for parameter in model.blocks.parameters())
    assert blocks == 4 * (4 * 128**2 + 3 * 128 * 352 + 2 * 128 + 1)


@torch.no_grad()
def test_saved_model_is_the_same(model: LanguageModel, tmp_path: Path) -> None:
    save_model(model, str(tmp_path / "model"))
    loaded = load_model(str(tmp_path / "model"))
    tokens_BT = _tokens(2, 12)
    pieces_BT = torch.zeros_like(tokens_BT)
    assert loaded.vocabulary == VOCABULARY
    assert torch.equal(loaded(tokens_BT, pieces_BT), model(tokens_BT, pieces_BT))


def test_user_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 2 x num_heads"):
        LMConfig(width=36, num_heads=4)
    with pytest.raises(ValueError, match="num_kv_heads must divide num_heads"):
        LMConfig(num_heads=4, num_kv_heads=3)
    with pytest.raises(ValueError, match="no model in"):
        load_model(str(tmp_path))
