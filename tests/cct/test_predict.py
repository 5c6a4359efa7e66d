import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors import safe_open

from cct.__main__ import main
from cct.checkpoint import Checkpoint
from cct.data import load
from cct.own_image import as_dataset
from cct.spec import RunSpec
from cct.training import train
from cct.weights import export_safetensors
from tests.cct.test_image_files import SPEC, pets
from tests.cct.test_weights import TEXT, write_trec

__all__ = ["pets"]


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, object]]:
    assert main(["predict", *map(str, arguments), "--json"]) == 0
    told: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return told


def test_images_of_a_folder_get_the_answers_of_the_runs_validation(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list(train(SPEC, data_dir=tmp_path, checkpoint_dir=tmp_path / "run"))
    export_safetensors(tmp_path / "run" / "last.pt", tmp_path / "run" / "last.safetensors")
    [*_, answers] = Checkpoint.read(tmp_path / "run" / "last.pt").answers
    files = sorted((pets / "val").rglob("*.*"))
    for weights in ("last.pt", "last.safetensors"):
        told = said(capsys, tmp_path / "run" / weights, *files)
        assert [one["file"] for one in told] == [*map(str, files)]
        assert [one["class"] for one in told] == [("ant", "bee", "cat")[number] for number in answers.predicted]
        sure = [max(one["probabilities"].values()) for one in told]  # type: ignore[attr-defined]
        assert sure == pytest.approx(answers.confidence.tolist(), rel=1e-5)
    assert main(["predict", str(tmp_path / "run" / "best.pt"), str(files[0])]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{files[0]}  ")
    assert line.count(" %") == 3


def test_texts_get_the_answers_of_the_runs_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trec(tmp_path)
    list(train(TEXT, data_dir=tmp_path, checkpoint_dir=tmp_path / "run"))
    [*_, answers] = Checkpoint.read(tmp_path / "run" / "last.pt").answers
    questions = load("trec", tmp_path)[1].texts
    (tmp_path / "questions.txt").write_text("\n\n".join(questions))
    told = said(capsys, tmp_path / "run" / "last.pt", tmp_path / "questions.txt")
    assert [one["text"] for one in told] == [*questions]
    sure = [max(one["probabilities"].values()) for one in told]  # type: ignore[attr-defined]
    assert sure == pytest.approx(answers.confidence.tolist(), rel=1e-4)
    (tmp_path / "empty.txt").write_text(" \n")
    assert main(["predict", str(tmp_path / "run" / "last.pt"), str(tmp_path / "empty.txt")]) == 2
    assert "have no texts" in capsys.readouterr().err


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    spec = RunSpec(dataset="digits", epochs=1, val_share=0.9, pooling="seqpool_softmax_batch", warmup_epochs=0)
    list(train(spec, data_dir=folder, checkpoint_dir=folder))
    return folder


def test_an_export_tells_other_programs_what_they_need(digits_run: Path, tmp_path: Path) -> None:
    export_safetensors(digits_run / "best.pt", tmp_path / "best.safetensors")
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        told = json.loads(file.metadata()["card"])
    assert told["classes"] == [*"0123456789"]
    assert (told["pooling"], told["image_size"], len(told["mean"])) == ("seqpool_softmax_batch", 32, 3)
    assert told["spec"]["precision"] in ("fp32", "bf16"), "what the run was settled to"


def test_a_pooling_that_mixes_a_batch_is_told(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        PIL.Image.new("L", (32, 32), 100 * number).save(digits_run / f"{number}.png")
    weights, *files = (str(digits_run / name) for name in ("best.pt", "0.png", "1.png"))
    assert main(["predict", weights, *files]) == 0
    assert "each answer depends on the other files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "file", "told"),
    [
        ("none.pt", "0.png", "there is no file"),
        ("bare.pt", "0.png", "does not say which model it is of"),
        ("other.pt", "0.png", "does not fit cct_2_3x2_32 with seqpool_softmax_batch"),
        ("best.pt", "text.png", "text.png cannot be read as an image"),
        ("best.pt", "", "cannot be read as an image"),
        ("best.pt", "none.png", "none.png cannot be read as an image"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(
    weights: str, file: str, told: str, digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = torch.load(digits_run / "best.pt", weights_only=True)
    torch.save(best, tmp_path / "best.pt")
    torch.save(best["model"], tmp_path / "bare.pt")
    torch.save(best | {"model": dict(list(best["model"].items())[1:])}, tmp_path / "other.pt")
    (tmp_path / "text.png").write_text("no image")
    PIL.Image.new("L", (32, 32)).save(tmp_path / "0.png")
    assert main(["predict", str(tmp_path / weights), str(tmp_path / file)]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert message.count("\n") == 1


def test_small_images_of_mnist_get_the_border_that_those_trained_on_have() -> None:
    published = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28)
    padded = np.pad(published, 2)
    for pixels in (published, padded):
        seen = as_dataset(PIL.Image.fromarray(pixels).convert("RGB"), RunSpec(dataset="mnist"))
        assert np.array_equal(seen[0], padded)
