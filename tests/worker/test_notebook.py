"""The Python client and the notebook of the documentation, against a real board."""

import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from app import Board
from app.cli.output import UsageError
from tests.worker.conftest import QUICK

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


@pytest.mark.timeout(480)
def test_the_notebook_leads_to_a_verdict(board: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCTBOARD_URL", str(board.base_url))
    known: dict[str, Any] = {}
    shown: list[Any] = []
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs"), "what it gives depends on the machine"
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("epochs=6", "epochs=2, val_share=0.9")
            *statements, last = source.strip().split("\n")
            is_expression = not last.startswith((" ", ")")) and "=" not in last.split("(")[0]
            exec("\n".join(statements if is_expression else [*statements, last]), known)
            shown.append(eval(last, known) if is_expression else None)
    poolings, _, experiment, answer, figure, count, again = [one for one in shown if one is not None] + [None] * 0
    assert poolings[0] == "seqpool"
    assert isinstance(answer, str)
    assert answer
    assert {trace.type for trace in figure.data} == {"scatter"}
    assert count == 6 * 2
    assert again
    assert experiment.row["completed"] == 8
    html = experiment._repr_html_()
    assert "<strong>From a notebook</strong>" in html
    assert html.count("<tr>") == 3
    [run, *_] = experiment.runs()
    assert run.epochs()[-1]["epoch"] == 2
    assert f"{run.row['final_top1']:.2f} %" in repr(run)


def test_what_is_wrong_is_told_as_on_the_command_line(board: httpx.Client) -> None:
    client = Board(str(board.base_url))
    with pytest.raises(UsageError, match="did you mean gem"):
        client.submit(pooling="gme")
    for missing in (client.run, client.experiment):
        with pytest.raises(UsageError, match="there is no "):
            missing("0123456789ab")
    with pytest.raises(UsageError, match="no board answers at"):
        Board("http://127.0.0.1:9").runs()
    run = client.submit(**QUICK, epochs=1000, seed=7)
    with pytest.raises(TimeoutError, match="it goes on, and can be waited for again"):
        run.wait(timeout=0.1)
    assert run.cancel().wait(timeout=60).row["state"] == "cancelled"
    assert client.runs(1)[0].id == run.id
