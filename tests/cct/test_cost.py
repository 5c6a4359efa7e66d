from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cct.cost import cost, cost_of_run
from cct.models import CompactTransformer, Model, TextTransformer, parameter_count
from cct.named_models import IMAGE_MODELS, MODELS, TEXT_MODELS, ModelConfig, TextConfig
from cct.pooling import POOLINGS
from cct.spec import RunSpec
from tests.cct.test_models import GOLDEN

OTHERS = [
    replace(IMAGE_MODELS["cct_7_3x1_32"], image_size=45, num_classes=3),
    replace(IMAGE_MODELS["cct_2_3x2_32"], pooling="class_token", conv_channels=48),
    replace(IMAGE_MODELS["cct_7_7x2_224"], image_size=200, positional_embedding="none"),
    replace(IMAGE_MODELS["cvt_2_4_32"], image_size=33, in_channels=1),
    replace(IMAGE_MODELS["vit_6_4_32"], image_size=64, pooling="seqpool_multihead"),
    replace(IMAGE_MODELS["cct_14_7x2_224"], kernel_size=5, conv_layers=3, mlp_ratio=4, image_size=161),
    replace(TEXT_MODELS["text_cct_2"], kernel_size=7, text_length=50, word_channels=100, vocabulary_size=500),
    replace(TEXT_MODELS["text_transformer_2"], pooling="gem", positional_embedding="learnable", num_classes=6),
]


def built(config: ModelConfig | TextConfig) -> Model:
    """The model without values of its weights, which computes shapes only."""
    model = TextTransformer(config) if isinstance(config, TextConfig) else CompactTransformer(config)
    return model.eval().to("meta")


@pytest.mark.parametrize("config", [*MODELS.values(), *OTHERS], ids=[*MODELS, *map(str, range(len(OTHERS)))])
def test_the_cost_is_that_of_the_model(config: ModelConfig | TextConfig) -> None:
    check_cost(config)


def check_cost(config: ModelConfig | TextConfig) -> None:
    """Fails unless the model has the tokens, weights and multiply-accumulates that are told of it."""
    model, known = built(config), cost(config)
    lengths: list[int] = []
    model.classifier.norm.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    if isinstance(config, TextConfig):
        inputs = torch.ones(1, config.text_length, dtype=torch.int32, device="meta")
    else:
        inputs = torch.empty(1, config.in_channels, config.image_size, config.image_size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(inputs)
    assert known.macs == pytest.approx(counter.get_total_flops() / 2, rel=0.01)
    assert known.parameters == parameter_count(model)
    assert [known.tokens] == lengths


@pytest.mark.parametrize("name", GOLDEN["models"])
def test_parameters_are_those_of_the_reference(name: str) -> None:
    golden: dict[str, Any] = GOLDEN["models"][name]
    config = replace(IMAGE_MODELS[name], num_classes=golden["num_classes"], image_size=golden["img_size"])
    assert cost(config).parameters == golden["params"]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_run_costs_what_its_pooling_and_dataset_make_of_the_model(pooling: str) -> None:
    spec = RunSpec(model="cct_4_3x2_32", pooling=pooling, dataset="cifar100")
    model = built(replace(IMAGE_MODELS[spec.model], pooling=pooling, num_classes=100))
    assert cost_of_run(spec).parameters == parameter_count(model)


def test_a_run_on_texts_costs_what_its_vocabulary_makes_of_the_model() -> None:
    spec = RunSpec(model="text_vit_4", dataset="trec")
    model = built(replace(TEXT_MODELS[spec.model], num_classes=6, vocabulary_size=8_000))
    assert cost_of_run(spec).parameters == parameter_count(model)
