"""Documentation is complete where completeness can be checked."""

from pathlib import Path

from app.settings import Settings


def test_every_setting_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "deployment.md").read_text(encoding="utf-8")
    missing = [name for name in Settings.model_fields if f"`CCTBOARD_{name.upper()}`" not in text]
    assert not missing
