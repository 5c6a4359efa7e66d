import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from cct.__main__ import main
from cct.named_datasets import DATASETS
from cct.named_models import MODELS
from cct.pooling import POOLINGS

TINY = [
    "--model",
    "cvt_2_4_32",
    "--dataset",
    "digits",
    "--augmentation",
    "none",
    "--batch-size",
    "256",
    "--kernel-size",
    "8",
    "--pooling",
    "mean",
]


def test_a_run_prints_a_line_per_epoch_and_goes_on_from_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*TINY, "--epochs", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0].startswith("cvt_2_4_32, mean: 226,698 parameters on ")
    assert [line.split()[0] for line in first[3:5]] == ["1", "2"]
    assert first[-1].startswith("final top-1 ")
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == first, "a finished run is not trained again"


def test_several_seeds_are_trained_in_folders_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [*TINY, "--epochs", "1", "--val-share", "0.9", "--batch-size", "64"]
    assert main([*common, "--seeds", "3", "1", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert {line.split(":")[0] for line in said[:-1]} == {"seed 3", "seed 1"}
    assert re.fullmatch(r"final top-1 of 2 seeds: [\d.]+ ± [\d.]+ % \(mean ± sample standard deviation\)", said[-1])
    assert main([*common, "--seed", "3", "--out", str(tmp_path / "seed-3")]) == 0, "which is finished"
    alone = capsys.readouterr().out.splitlines()
    assert alone == [line.removeprefix("seed 3: ") for line in said if line.startswith("seed 3: ")]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["--seeds", "1", "1"], "each seed once"),
        (["--seeds", "1", "2", "--seed", "3"], "--seeds names them all"),
        (["--seeds", "-1", "2"], "--seeds"),
        (["--epochs", "-1"], "--epochs"),
        (["--lr", "fast"], "--lr"),
        (["--pooling", "median"], "seqpool_softmax_tokens"),
        (["--model", "cct_2_3x2"], "did you mean cct_2_3x2_32?"),
        (["--batch-size", "2000", "--dataset", "digits"], "1437"),
        (["--speed", "9"], "--speed"),
    ],
)
def test_a_mistake_is_answered_in_one_line(wrong: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(wrong)
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1


def test_what_cannot_be_trained_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--epochs", "1", "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main([*TINY, "--epochs", "1", "--out", str(tmp_path), "--seed", "1"]) == 1
    assert "seed differ" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"cctboard {version('cctboard')}\n"


def test_the_list_names_all_there_is_without_loading_torch() -> None:
    code = "import sys; from cct.__main__ import main; main(['--list']); assert 'torch' not in sys.modules"
    listed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {*MODELS, *POOLINGS, *DATASETS} <= {*listed}


def test_the_package_gives_functions_not_modules_of_their_name() -> None:
    code = (
        "import cct; from cct.training import Facts; from cct import train; assert train is cct.train; "
        "train(cct.RunSpec(), data_dir=None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
