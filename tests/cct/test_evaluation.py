"""Given weights are evaluated like a run, without training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cct import checkpoint
from cct.__main__ import main
from cct.events import Confusion, EpochRecord, Event, Facts, Look, Progress, RunWarning
from cct.models import create_model
from cct.own_image import look_with_checkpoints
from cct.published import PUBLISHED
from cct.spec import RunSpec, SpecError
from cct.training import train
from cct.weights import UnusableWeights, export_safetensors
from tests.cct.test_pretrained import packed
from tests.cct.test_texts import trec
from tests.cct.told import only

__all__ = ["trec"]

TRAINED = RunSpec(
    model="cvt_2_4_32",
    kernel_size=8,
    dataset="digits",
    epochs=3,
    batch_size=32,
    lr=2e-3,
    warmup_epochs=0,
    augmentation="none",
)
SPEC = replace(TRAINED, epochs=0, pretrained="last.safetensors")
DONE = ("val_loss", "val_top1", "val_top5", "val_balanced", "val_nll", "val_ece", "pooling_entropy")
"""What both training and evaluation measure."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], Path]:
    """The events of a training, and a data folder with the weights that it ended with."""
    data = tmp_path_factory.mktemp("data")
    events: list[Event] = list(train(TRAINED, data_dir=data, checkpoint_dir=data / "run"))
    (data / "pretrained").mkdir()
    export_safetensors(data / "run" / checkpoint.LAST, data / "pretrained" / "last.safetensors")
    return events, data


def test_an_evaluation_measures_what_the_training_measured_at_its_end(
    trained: tuple[list[Event], Path], tmp_path: Path
) -> None:
    events, data = trained
    facts, *evaluated = train(SPEC, data_dir=data, checkpoint_dir=tmp_path / "run")
    [record], [*_, before] = only(EpochRecord, evaluated), only(EpochRecord, events)
    assert [getattr(record, name) for name in DONE] == [getattr(before, name) for name in DONE]
    assert (record.epoch, record.lr, record.train_loss, record.train_top1) == (0, None, None, None)
    assert (record.images_per_second, only(Progress, evaluated)) == (None, [])
    [look], [*_, seen] = only(Look, evaluated), only(Look, events)
    assert look == replace(seen, epoch=0)
    [confusion], [*_, counted] = only(Confusion, evaluated), only(Confusion, events)
    assert confusion == replace(counted, epoch=0)
    assert isinstance(facts, Facts)
    assert facts.provenance["pretrained_not_used_for"] == ""
    assert not [warning for warning in facts.warnings if "warm-up" in warning.code]
    assert only(RunWarning, evaluated) == []
    again = list(train(SPEC, data_dir=data, checkpoint_dir=tmp_path / "run", recorded=[record]))
    assert again == [facts, *evaluated], "as if the process had ended before anything was delivered"
    pixels = torch.zeros(3, 32, 32, dtype=torch.uint8)
    looks = look_with_checkpoints(SPEC, tmp_path / "run", pixels)
    assert {name: one.epoch for name, one in looks.items()} == {"last": 0, "best": 0}


def test_only_weights_that_are_given_are_evaluated(trained: tuple[list[Event], Path]) -> None:
    with pytest.raises(
        SpecError, match="epochs: is 0, which evaluates given weights; name them as pretrained, or train"
    ):
        RunSpec(dataset="digits", epochs=0)
    with pytest.raises(SpecError, match="seed: changes nothing where nothing is trained"):
        replace(SPEC, seed=1)
    torch.save(create_model("cvt_2_4_32", num_classes=3).state_dict(), trained[1] / "pretrained" / "three.pth")
    for spec, lacking in (
        (replace(SPEC, pooling="seqpool_multihead"), "classifier.attention_pool"),
        (replace(SPEC, pretrained="three.pth"), "classifier.fc.weight, classifier.fc.bias, so there is nothing to eva"),
    ):
        with pytest.raises(UnusableWeights, match=f"has no weights that fit this model's {lacking}"):
            list(train(spec, data_dir=trained[1]))


def test_published_weights_are_evaluated_by_name_from_files_in_their_form(tmp_path: Path) -> None:
    name = "cct2-3x2_cifar10"
    (tmp_path / "pretrained").mkdir()
    packed(create_model("cct_2_3x2_32", seed=5).state_dict(), tmp_path / "pretrained" / f"{name}.pth.zip")
    spec = RunSpec(model=PUBLISHED[name].model, dataset="digits", epochs=0, pretrained=name)
    *evaluated, guesses = train(spec, data_dir=tmp_path)
    [record] = only(EpochRecord, evaluated)
    assert record.val_nll == pytest.approx(2.3, abs=0.5), "they are not trained"
    assert isinstance(guesses, RunWarning)
    assert (guesses.code, guesses.text[:55]) == (
        "learned-nothing",
        "The weights know nothing of what they were evaluated on",
    )
    assert guesses.text.endswith("Were they trained on this dataset, with its classes in this order?")


def test_words_that_the_weights_do_not_know_are_unknown_words(trec: Path) -> None:
    spec = RunSpec(model="text_cct_2", dataset="trec", epochs=1, batch_size=4, warmup_epochs=0)
    [before] = only(EpochRecord, train(spec, data_dir=trec, checkpoint_dir=trec / "run"))
    (trec / "pretrained").mkdir()
    weights = torch.load(trec / "run" / checkpoint.LAST, weights_only=True)
    torch.save({"model": weights["model"], "vocabulary": weights["vocabulary"]}, trec / "pretrained" / "all.pt")
    forgetful = [word if number < 5 else f"{word}?" for number, word in enumerate(weights["vocabulary"])]
    torch.save({"model": weights["model"], "vocabulary": forgetful}, trec / "pretrained" / "few.pt")
    torch.save(weights["model"], trec / "pretrained" / "nameless.pt")
    evaluation = replace(spec, epochs=0, pretrained="all.pt")
    [record] = only(EpochRecord, train(evaluation, data_dir=trec))
    assert [getattr(record, name) for name in DONE] == [getattr(before, name) for name in DONE]
    few = [list(train(replace(evaluation, pretrained="few.pt"), data_dir=trec)) for _ in range(2)]
    [facts] = only(Facts, few[0])
    assert any("all others are one and the same unknown word" in warning.text for warning in facts.warnings)
    [record], [again] = only(EpochRecord, few[0]), only(EpochRecord, few[1])
    assert record.val_nll == again.val_nll != before.val_nll
    with pytest.raises(UnusableWeights, match=r"embedder\.embeddings\.weight, so there is nothing to evaluate"):
        list(train(replace(evaluation, pretrained="nameless.pt"), data_dir=trec))


def test_weights_are_evaluated_from_the_command_line(
    trained: tuple[list[Event], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", "cvt_2_4_32", "--kernel-size", "8", "--dataset", "digits", "--epochs", "0"]
    options += ["--data", str(trained[1])]
    assert main([*options, "--pretrained", "last.safetensors", "--out", str(tmp_path / "run")]) == 0
    *_, columns, said = capsys.readouterr().out.splitlines()
    [*_, before] = only(EpochRecord, trained[0])
    assert columns.split()[:3] == ["0", "-", "-"]
    assert said.startswith(f"evaluated without training: top-1 {before.val_top1:.2f} %, balanced")
    extend = ["--extend", str(tmp_path / "run"), "--epochs", "3", "--out", str(tmp_path / "more")]
    assert main(extend) == 2
    assert "is an evaluation; train with the same --pretrained instead" in capsys.readouterr().err
