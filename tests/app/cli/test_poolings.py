"""`cctboard new-pooling` writes a pooling that can be used as it is."""

from pathlib import Path

import pytest

from cct import own_poolings, pooling_check
from tests.app.cli.conftest import Command


def test_a_new_pooling_passes_its_checks(cctboard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cctboard("new-pooling", "my_first", "--data", str(tmp_path))
    assert made.returncode == 0, made.stderr
    assert "cctboard submit pooling=my_first" in made.stdout
    own_poolings.use(tmp_path / "poolings")
    try:
        assert own_poolings.found().broken == []
        monkeypatch.setattr(pooling_check, "_CHECKS", pooling_check._CHECKS[:-1])
        found = list(pooling_check.check(own_poolings.full_name("my_first")))
        assert len(found) == 10
        assert {finding.outcome for finding in found} == {"passed"}
    finally:
        own_poolings.use(own_poolings.DEFAULT)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My first", "'My first' is no name of a pooling; use a to z"),
        ("../x", "'../x' is no name of a pooling"),
        ("gem", "'gem' is a pooling of CCT Board; choose another name"),
        ("mine", "mine.py is there already; choose another name, or edit it"),
    ],
)
def test_nothing_is_overwritten_and_odd_names_are_refused(
    name: str, said: str, cctboard: Command, tmp_path: Path
) -> None:
    file = tmp_path / "poolings" / "mine.py"
    file.parent.mkdir()
    file.write_text("x = 1\n")
    refused = cctboard("new-pooling", name, "--data", str(tmp_path))
    assert refused.returncode == 2
    assert said in refused.stderr
    assert [path.name for path in file.parent.iterdir()] == ["mine.py"]
    assert file.read_text() == "x = 1\n"
