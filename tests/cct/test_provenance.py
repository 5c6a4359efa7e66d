"""Which change of the code concerns which runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cct
from cct.checkpoint import CheckpointMismatch
from cct.provenance import continued

SOFTMAX_AND_MEAN = """
import json, sys
from pathlib import Path
from cct.provenance import _code
for changes in json.load(sys.stdin):
    for name, text in changes.items():
        Path("cct", name).write_text(text)
    print(json.dumps(_code("seqpool_softmax_tokens") | _code("mean")))
"""
NEW = '\n\n@register("new")\nclass New(SeqPool):\n    """New."""\n\n    formula = "x"\n'


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with a copy of the package."""
    source = Path(cct.__file__).parent
    shutil.copytree(source, tmp_path / "cct", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def code(folder: Path, *changes: dict[str, str]) -> list[dict[str, str]]:
    """What stands in the provenance as the code, after each of the changes of files."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", SOFTMAX_AND_MEAN]
    printed = subprocess.run(
        command, cwd=folder, env=environment, input=json.dumps(changes), check=True, capture_output=True, text=True
    ).stdout
    return [json.loads(line) for line in printed.splitlines()]


def test_a_change_of_the_code_is_seen_in_the_runs_that_it_concerns(copied: Path) -> None:
    poolings, augmentation = ((copied / "cct" / name).read_text() for name in ("pooling.py", "augment.py"))
    before, *changed = code(
        copied,
        {},
        {
            "pooling.py": poolings.replace(
                "class SeqPool(nn.Linear):", "class SeqPool(nn.Linear):\n    changed = True\n"
            )
        },
        {"pooling.py": poolings, "augment.py": augmentation.replace("CROP_PADDING = 4", "CROP_PADDING = 5")},
        {"augment.py": augmentation, "pooling.py": "# A comment.\n" + poolings + NEW},
    )
    assert list(before) == ["code", "code of seqpool_softmax_tokens", "code of mean"]
    derived, shared, _ = ({key for key in before if before[key] != each[key]} for each in changed)
    assert derived == {"code of seqpool_softmax_tokens"}, "it derives from sequence pooling"
    assert shared == {"code"}
    assert code(copied, {}) == [before], "another pooling does not matter"


def test_what_changes_while_a_run_is_away_is_told_with_the_epoch() -> None:
    first = {"dataset_sha256": "d", "threads": "2", "code": "a"}
    second = continued(first, first | {"threads": "1", "processor": "p"}, 4)
    assert second == first | {"threads": "2; from epoch 4: 1", "processor": "not recorded; from epoch 4: p"}
    assert continued(second, first | {"threads": "1", "processor": "p"}, 6) == second
    assert continued(second, first, 6)["threads"] == "2; from epoch 4: 1; from epoch 6: 2"
    recorded = first | {"compile": "graph"}
    assert continued(recorded, first | {"compile": "off"}, 4) == recorded, "which computes the same"
    with pytest.raises(CheckpointMismatch, match="when epoch 5 ended"):
        continued(second, first | {"dataset_sha256": "e"}, 6)
