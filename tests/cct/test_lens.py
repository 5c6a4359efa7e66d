"""What the lens says of the pooling step."""

import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from cct.catalog import poolings
from cct.data import Split
from cct.encoder import Block
from cct.lens import chosen_epochs, chosen_images, look, sentences, token_shares
from cct.models import build, create_model
from cct.named_models import MODELS, TextConfig
from cct.pooling import POOLINGS
from cct.texts import PADDING


@pytest.mark.parametrize("pooling", list(poolings()))
def test_shares_cover_the_token_grid_for_every_pooling(pooling: str) -> None:
    model = create_model("cct_2_3x2_32", pooling=pooling, seed=0).train()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = look(model, images, epoch=3)
    assert model.training
    assert (seen.epoch, len(seen.shares), {len(row) for row in seen.shares}) == (3, 4, {64})
    assert all(sum(row) == pytest.approx(1, abs=0.01) and min(row) >= 0 for row in seen.shares)
    assert all(0 <= entropy <= math.log(64) + 1e-4 for entropy in seen.entropy)
    with torch.no_grad():
        probabilities = model.eval()(images).softmax(dim=1)
    assert seen.predicted == probabilities.argmax(dim=1).tolist()
    assert seen.confidence == pytest.approx(probabilities.amax(dim=1).tolist(), rel=1e-4)


def test_poolings_without_weights_are_shown_as_what_they_amount_to() -> None:
    x = torch.zeros(1, 4, 8)
    x[0, 2, :6] = 1.0
    x[0, 3, 6:] = 1.0
    assert token_shares(POOLINGS["mean"](8), x).tolist() == [[0.25] * 4]
    assert token_shares(POOLINGS["max"](8), x).tolist() == [[0, 0, 0.75, 0.25]]
    expected = x.softmax(dim=1).mean(dim=2)
    assert torch.allclose(token_shares(POOLINGS["logsumexp"](8), x), expected, atol=1e-6)


def test_the_class_token_is_shown_by_what_it_attends_to() -> None:
    """With queries and keys of its own making: the class token asks for the direction that token 5 alone has."""
    model = create_model("cct_2_3x2_32", pooling="class_token", seed=0)
    attention = cast(Block, model.classifier.blocks[-1]).self_attn
    answers = torch.zeros(1, 65, 3, 2, 64)
    answers[:, 0, 0] = 10.0
    answers[:, 5, 1] = 10.0
    attention.qkv.register_forward_hook(lambda *_: answers.flatten(2))
    shares = look(model, torch.randn(1, 3, 32, 32), epoch=1).shares[0]
    assert shares.index(max(shares)) == 4
    assert max(shares) > 0.99


@pytest.mark.parametrize("name", ["text_cct_2", "text_vit_2", "text_cvt_2", "text_transformer_2"])
@pytest.mark.parametrize("pooling", ["seqpool", "max", "class_token"])
def test_the_shares_of_a_text_are_those_of_its_own_words(name: str, pooling: str) -> None:
    model = create_model(name, pooling=pooling, vocabulary_size=50, num_classes=3, seed=0)
    words = torch.randint(2, 50, (3, 20), generator=torch.Generator().manual_seed(0))
    words[1, 7:] = PADDING
    words[2, 1:] = PADDING
    seen = look(model, words, epoch=1)
    assert [len(row) for row in seen.shares] == [20, 7, 1]
    assert all(sum(row) == pytest.approx(1, abs=0.01) and min(row) >= 0 for row in seen.shares)
    assert seen.entropy[2] == 0
    padded = look(model, torch.nn.functional.pad(words, (0, 9), value=PADDING), epoch=1)
    assert padded.shares == seen.shares


def test_a_word_has_the_share_of_the_tokens_that_see_it() -> None:
    """Tokens are windows of four words, of which the pooling takes the second alone."""
    config = replace(
        cast(TextConfig, MODELS["text_vit_2"]), pooling="seqpool", kernel_size=4, text_length=12, vocabulary_size=50
    )
    model = build(config, seed=0)
    second = torch.tensor([0.0, 1.0, 0.0]).expand(1, -1)
    cast(Any, model.classifier.attention_pool).weights = lambda x, mask: second
    [row] = look(model, torch.arange(2, 14)[None], epoch=1).shares
    assert row == [0] * 4 + [0.25] * 4 + [0] * 4
    [row] = look(model, torch.tensor([[2, 3, 4, 5, 6, 7] + [PADDING] * 6]), epoch=1).shares
    assert row == [0] * 4 + [0.5] * 2


def test_texts_are_shown_as_the_words_that_the_model_takes() -> None:
    split = Split(
        torch.zeros(3, 4, dtype=torch.int32), torch.tensor([1, 0, 1]), texts=("Don't panic, Ada!", "", "Why?")
    )
    shown = sentences(split, torch.tensor([1, 0, 2]), 3)
    assert [(text.label, text.words) for text in shown] == [(0, [""]), (1, ["don't", "panic", ","]), (1, ["why", "?"])]


def test_every_run_looks_at_the_same_images_of_all_classes() -> None:
    labels = torch.tensor([3, 3, 0, 1, 0, 2, 3, 1])
    chosen = chosen_images(Split(torch.zeros(8, 3, 4, 4, dtype=torch.uint8), labels))
    assert chosen.tolist() == [2, 3, 5, 0, 4, 7, 1, 6]


@pytest.mark.parametrize(("epochs", "chosen"), [(1, [1]), (4, [1, 2, 3, 4]), (10, [1, 2, 3, 5, 8, 10])])
def test_looks_are_taken_more_often_at_the_beginning(epochs: int, chosen: list[int]) -> None:
    assert sorted(chosen_epochs(epochs)) == chosen
