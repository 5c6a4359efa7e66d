"""Files of weights as training programs leave them."""

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from cct import checkpoint
from cct.models import TextTransformer, create_model
from cct.named_datasets import DATASETS
from cct.pretrained import load_pretrained
from cct.spec import RunSpec
from cct.training import train
from cct.weights import UnusableWeights, export_safetensors, read_weights

State = dict[str, Tensor]


def trained() -> State:
    return create_model("cct_2_3x2_32", seed=1).state_dict()


def started(path: Path) -> tuple[State, list[str]]:
    """The weights of a new model that starts from the file, and those that it does not take."""
    model = create_model("cct_2_3x2_32", seed=2)
    return model.state_dict(), load_pretrained(model, path).not_used_for


def prefixed(state: State, prefix: str) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: prefixed(state, "module."),
        lambda state: {"state_dict": prefixed(state, "model.")},
        lambda state: {"model_state_dict": prefixed(state, "module._orig_mod.")},
        lambda state: {"net": state, "acc": 91.2, "epoch": 3},
        lambda state: {"model": state | {"running.num_batches_tracked": torch.tensor(7)}},
        lambda state: {"state_dict": state, "args": argparse.Namespace(lr=1e-3, out=Path("x")), "arch": "cct"},
        lambda state: {"state_dict": state, "metric": np.float64(91.2), "history": np.arange(3.0)},
        lambda state: {"model": state, "model_ema": None},
    ],
)
def test_what_training_programs_wrap_weights_in_is_taken_off(wrapped: Callable[[State], Any], tmp_path: Path) -> None:
    state = trained()
    torch.save(wrapped(state), tmp_path / "weights.pth")
    taken, not_used = started(tmp_path / "weights.pth")
    assert not not_used
    assert all(torch.equal(taken[key], state[key]) for key in state)


def test_numbers_of_numpy_1_are_read(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save({"state_dict": trained(), "metric": np.float64(1)}, content, _use_new_zipfile_serialization=False)
    assert b"cnumpy._core.multiarray" in content.getvalue()
    old = content.getvalue().replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
    (tmp_path / "weights.pth").write_bytes(old)
    assert started(tmp_path / "weights.pth")[1] == []


@pytest.mark.parametrize(("raw", "average"), [("state_dict", "state_dict_ema"), ("model", "model_ema")])
def test_the_average_is_taken_and_told(raw: str, average: str, tmp_path: Path) -> None:
    state = trained()
    torch.save({raw: {key: value + 1 for key, value in state.items()}, average: state}, tmp_path / "weights.pth")
    assert read_weights(tmp_path / "weights.pth").entry == average
    folder = tmp_path / "pretrained"
    folder.mkdir()
    (tmp_path / "weights.pth").rename(folder / "weights.pth")
    spec = RunSpec(dataset="digits", epochs=1, pretrained="weights.pth")
    facts: Any = next(train(spec, data_dir=tmp_path))
    assert facts.provenance["pretrained_entry"] == average


def test_weights_without_a_head_keep_the_models_own(tmp_path: Path) -> None:
    head = {"classifier.fc.weight", "classifier.fc.bias"}
    torch.save({key: value for key, value in trained().items() if key not in head}, tmp_path / "weights.pth")
    assert set(started(tmp_path / "weights.pth")[1]) == head


@pytest.mark.parametrize("name", ["weights.pth", "weights.bin", "weights"])
def test_what_a_file_holds_decides_not_its_name(name: str, tmp_path: Path) -> None:
    safetensors.torch.save_file(trained(), tmp_path / name)
    assert started(tmp_path / name)[1] == []
    torch.save(trained(), tmp_path / "weights.safetensors")
    assert started(tmp_path / "weights.safetensors")[1] == []


class Setting:
    """A class of somebody's program."""


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants:UserWarning")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"state_dict": {"a": torch.ones(1)}, "setting": Setting()},
            r"there is a tests\.cct\.test_weights\.Setting in",
        ),
        ({"state_dict": {"a": "b"}}, "in its state_dict, holds 'a', a str"),
        ({"a": torch.ones(2).to_sparse()}, r"holds 'a', a Tensor torch\.sparse_coo"),
        ({"a": torch.ones(2).to(torch.float8_e5m2)}, r"holds 'a' as torch\.float8_e5m2, too coarse"),
        ({}, "holds nothing"),
        (3, "holds a int and no state dict"),
    ],
)
def test_what_cannot_be_used_is_named_with_a_way_out(content: object, said: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UnusableWeights, match=said) as error:
        read_weights(tmp_path / "weights.pth")
    assert "save it again with torch.save(model.state_dict(), ...)" in str(error.value)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_a_torch_script_program_is_recognised(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "weights.pt")
    with pytest.raises(UnusableWeights, match="is a TorchScript program; save its weights"):
        read_weights(tmp_path / "weights.pt")


def test_files_of_any_content_are_read_or_refused_by_name(tmp_path: Path) -> None:
    path, random = tmp_path / "weights", np.random.default_rng(0)
    small = {"classifier.fc.bias": torch.ones(3), "a": torch.ones(2, 2)}
    torch.save({"model": small, "epoch": 1}, zipped := io.BytesIO())
    torch.save(small, plain := io.BytesIO(), _use_new_zipfile_serialization=False)
    for whole in (zipped.getvalue(), plain.getvalue(), safetensors.torch.save(small)):
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(random.integers(1, 4)):
                damaged[random.integers(len(damaged))] = random.integers(256)
            path.write_bytes(damaged[: random.integers(len(damaged) + 1)] if random.random() < 0.3 else damaged)
            refused = ""
            try:
                read_weights(path)
            except UnusableWeights as error:
                refused = str(error)
            assert not refused or refused.startswith(str(path)), refused


def write_trec(folder: Path, more: str = "") -> None:
    """Questions whose class is told by one word; `more` are words that are frequent in the training texts."""
    (folder / "trec").mkdir(parents=True)
    words = dict(zip(DATASETS["trec"].class_names, ("why", "what", "which", "who", "where", "when"), strict=True))
    lines = [f"{kind}:x {word} is it {more}" for kind, word in words.items()] * 8
    (folder / "trec" / "train_5500.label").write_text("\n".join(lines))
    (folder / "trec" / "TREC_10.label").write_text("\n".join(line.replace(more, "") for line in lines))


TEXT = RunSpec(dataset="trec", model="text_cct_2", epochs=6, lr=2e-3, warmup_epochs=0, batch_size=8)


@pytest.mark.parametrize("file", ["last.pt", "best.safetensors"])
def test_each_word_keeps_its_vector_where_the_vocabulary_ranks_words_otherwise(file: str, tmp_path: Path) -> None:
    write_trec(tmp_path / "before")
    write_trec(tmp_path / "after", more="aa aa bb bb cc cc dd ee")
    folder = tmp_path / "after" / "pretrained"
    before = list(train(TEXT, data_dir=tmp_path / "before", checkpoint_dir=folder))
    export_safetensors(folder / checkpoint.BEST, folder / "best.safetensors")
    spec = RunSpec(dataset="trec", model="text_cct_2", epochs=1, lr=1e-9, warmup_epochs=0, pretrained=file)
    facts, *after = list(train(spec, data_dir=tmp_path / "after"))
    assert (before[-1].val_top1, after[-1].val_top1) == (100, 100)  # type: ignore[union-attr]
    assert facts.provenance["pretrained_words"] == "10 of 15"  # type: ignore[union-attr]
    not_used = facts.provenance["pretrained_not_used_for"]  # type: ignore[union-attr]
    assert not_used == "classifier.positional_emb", "which is fixed"


def test_an_embedding_of_unknown_words_is_not_used(tmp_path: Path) -> None:
    vocabulary = ("<pad>", "<unk>", "one", "two")

    def model(seed: int) -> TextTransformer:
        made = create_model("text_cct_2", num_classes=6, vocabulary_size=4, seed=seed)
        assert isinstance(made, TextTransformer)
        return made

    torch.save(model(1).state_dict(), tmp_path / "weights.pth")
    own = model(2)
    before = own.embedder.embeddings.weight.clone()
    found = load_pretrained(own, tmp_path / "weights.pth", vocabulary)
    assert (found.not_used_for[0], found.words) == ("embedder.embeddings.weight", None)
    assert torch.equal(own.embedder.embeddings.weight, before)
