"""What users have named is text in every chart and in the report, never markup for Plotly or a browser."""

import html
import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from app.analysis import figures, report
from app.analysis.comparison import compare
from app.analysis.figures.style import LONGEST, labels, uid, whole
from app.analysis.sequential import Step
from app.analysis.tensorboard import event_file
from app.store.rows import Confusion, Run
from app.store.tuning import Searched, Tuning
from cct.events import BETWEEN_CLASSES
from tests.app.analysis.test_comparison import PROVENANCE, run
from tests.app.store.test_store import RECORD

GROUP = "pretrained"
STEPS = [Step(3, 0.1, 2.0, None), Step(4, 0.1, 1.0, 0.2), Step(5, 0.1, 0.8, 0.3, is_foreseen=True)]
VARIANTS = (
    '<a href="https-evil.example">click</a>',
    "one<br>two",
    "%{evil} and %{x:.1f}",
    "</extra><extra>",
    "</script><script>evil()</script>",
    "&lt;b&gt; &#60;b&#62;",
    "$x^2$",
    "<b>bold",
    "a" * 90 + "<br>" + "b" * 90,
    "a" * 90 + "<sup>" + "b" * 90,
)
"""Names of files of weights, one for each variant."""
SEARCH = Tuning(fields={GROUP: Searched(choices=[*VARIANTS])}, trials=3)
CLASSES = tuple(name.replace("/", "|") for name in VARIANTS)
"""Names of folders of images."""


def hostile() -> tuple[list[Run], dict[str, Confusion]]:
    """Three completed runs for each variant, and their matrices."""
    spec = {"dataset": "image_folder", "image_folder": VARIANTS[0], "model": "cct_7_7x2_224", "epochs": 1}
    facts = {"provenance": PROVENANCE | {"classes": BETWEEN_CLASSES.join(CLASSES)}, "parameters": 10}
    found = [
        run("seqpool", seed, 50.0 + number, spec | {GROUP: name}, id=f"{number}x{seed}", **facts, tags=[name])
        for number, name in enumerate(VARIANTS)
        for seed in (0, 1, 2)
    ]
    found = [one.model_copy(update={"device": VARIANTS[0]}) for one in found]
    counts = [[9 if row == column else 1 + row for column in range(len(CLASSES))] for row in range(len(CLASSES))]
    return found, {one.id: Confusion(epoch=1, counts=counts) for one in found}


def chart(name: str) -> Any:
    runs, found = hostile()
    records = {member.id: [RECORD] for member in runs}
    longer = {one: [*first, replace(RECORD, epoch=2)] for one, first in records.items()}
    sure = {member.id: figures.Sureness(np.array([0.9, 0.6], np.float32), np.array([True, False])) for member in runs}
    one, other = VARIANTS[:2]
    few = [member for member in runs if getattr(member.spec, GROUP) in VARIANTS[:4]]
    mean = [
        member.model_copy(update={"id": f"{member.id}m", "spec": replace(member.spec, pooling="mean")})
        for member in runs
    ]
    pair = [*runs, *mean]
    three = [
        member.model_copy(update={"spec": replace(member.spec, lr=0.001 * (1 + member.spec.seed % 2))})
        for member in pair
    ]
    tried = [member.model_copy(update={"variant": getattr(member.spec, GROUP)}) for member in runs]
    charts: dict[str, Callable[[], Any]] = {
        "curves": lambda: figures.curves(runs, records, group=GROUP, smoothing=0.5),
        "curves with named ends": lambda: figures.curves(runs, longer, group=GROUP, named_ends=True),
        "final_results": lambda: figures.final_results(runs, compare(runs, GROUP, one)),
        "differences": lambda: figures.differences(runs, compare(runs, GROUP, one)),
        "course": lambda: figures.course(one, "#4477AA", STEPS, 0.5, is_settled=False),
        "cost": lambda: figures.cost(runs, "parameters", GROUP),
        "reliability": lambda: figures.reliability(runs, sure, GROUP),
        "confusion": lambda: figures.confusion(runs, found, GROUP, one),
        "confusion minus": lambda: figures.confusion(runs, found, GROUP, one, other),
        "interaction": lambda: figures.interaction(runs, compare(runs, f"{GROUP},pooling")),
        "interaction across": lambda: figures.interaction(runs, compare(runs, f"pooling,{GROUP}")),
        "curves in blocks": lambda: figures.curves(runs, records),
        "final_results in blocks": lambda: figures.final_results(runs, compare(runs)),
        "differences in blocks": lambda: figures.differences(pair, compare(pair)),
        "cost in blocks": lambda: figures.cost(runs, "parameters"),
        "reliability in blocks": lambda: figures.reliability(few, sure),
        "class_differences": lambda: figures.class_differences(runs, found, GROUP, one, other),
        "heat": lambda: figures.heat(pair, compare(pair, f"{GROUP},pooling")),
        "heat across": lambda: figures.heat(pair, compare(pair, f"pooling,{GROUP}")),
        "over_factors": lambda: figures.over_factors(three, compare(three, f"{GROUP},pooling")),
        "over_factors across": lambda: figures.over_factors(three, compare(three, f"pooling,{GROUP}")),
        "trials": lambda: figures.trials(tried, SEARCH),
        "parallel": lambda: figures.parallel(tried, SEARCH),
    }
    return charts[name]()


NAMED = {
    "curves": VARIANTS,
    "curves with named ends": VARIANTS,
    "final_results": VARIANTS,
    "differences": VARIANTS[1:],
    "course": VARIANTS[:1],
    "cost": VARIANTS,
    "reliability": VARIANTS,
    "confusion": CLASSES,
    "confusion minus": CLASSES,
    "interaction": VARIANTS,
    "interaction across": VARIANTS,
    "curves in blocks": VARIANTS,
    "final_results in blocks": VARIANTS,
    "differences in blocks": VARIANTS,
    "cost in blocks": VARIANTS,
    "reliability in blocks": VARIANTS[:4],
    "class_differences": (*CLASSES, *VARIANTS[:2]),
    "heat": VARIANTS,
    "heat across": VARIANTS,
    "over_factors": VARIANTS,
    "over_factors across": VARIANTS,
    "trials": VARIANTS,
    "parallel": VARIANTS,
}
"""By chart whose names are to be read in whole when the pointer is over a point."""


def texts(value: Any) -> Iterator[str]:
    """All that is drawn; what only identifies traces is left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            if key not in ("legendgroup", "uid", "uirevision", "meta", "template"):
                yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)


def test_every_chart_is_tried_here() -> None:
    functions = [name for name in figures.__all__ if inspect.isfunction(getattr(figures, name))]
    drawing = {name for name in functions if "theme" in inspect.signature(getattr(figures, name)).parameters}
    assert {name.split()[0] for name in NAMED} == drawing - {"system"}, "which shows no text of a user's"


@pytest.mark.parametrize("name", NAMED)
def test_no_name_is_markup_in_a_chart(name: str) -> None:
    drawn = json.loads(go.Figure(chart(name)).to_json(remove_uids=False))
    without_ours = [re.sub(r"<br>|</?extra>", "", text) for text in texts(drawn)]
    for text in without_ours:
        assert not re.search(r"[<>$]|&(?!amp;|lt;|gt;|#36;|#37;)", text), text
        values = re.findall(r"%\{([^}:]*)", text)
        assert all(re.fullmatch(r"x|y|z|text|hovertext|customdata(\[\d\])?", value) for value in values), text
    read = [html.unescape(text) for text in without_ours]
    for named in NAMED[name]:
        assert any(named in text for text in read), named
    uids = [trace["uid"] for trace in drawn["data"]]
    assert len(set(uids)) == len(uids)


def test_traces_of_names_that_look_alike_are_told_apart() -> None:
    assert uid("mean", "a b") != uid("mean", "a_b") != uid("mean", "a.b") != uid("mean", "a b")
    assert (uid("mean", "seqpool"), uid("run", "0123")) == ("mean_seqpool", "run_0123"), "which tests look for"
    assert re.fullmatch(r"[\w-]+", uid("mean", '"]<*'))


def test_long_names_are_cut_where_there_is_little_room_and_stay_different() -> None:
    alike = ["x" * 80 + end for end in ("-left", "-right")] + ["y" * 50 + middle + "y" * 50 for middle in "abc"]
    names = ["seqpool_softmax_tokens", "yyyyyyyyyy…yyyyyyyyy (2)", *alike]
    short = labels(names)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert max(map(len, short.values())) <= LONGEST
    assert [short[name] for name in names[:2]] == names[:2]
    assert len(labels(["W" * 90])["W" * 90]) < LONGEST * 0.6, "wide letters need more room"
    assert len(labels(["漢" * 90])["漢" * 90]) < LONGEST * 0.6
    assert (short[alike[0]][-5:], short[alike[1]][-6:]) == ("-left", "-right")


def test_a_whole_name_is_broken_into_lines() -> None:
    name = "Wide " * 30 + "W" * 100
    lines = whole(name).split("<br>")
    assert max(map(len, lines)) <= 60
    assert "".join(lines) == name


def test_no_name_is_markdown_in_a_file_for_tensorboard() -> None:
    name = "a | b [c](https-d) <b> `e` *f*"
    spec = {"dataset": "image_folder", "image_folder": name}
    [row] = [
        line for line in event_file(run("mean", 0, spec=spec), []).split(b"\n") if line.startswith(b"| image_folder |")
    ]
    [_, _, shown, _] = row.decode().split("|")
    assert html.unescape(shown) == f" {name} "
    assert not re.search(r"[\[\]()<>`*]", shown)


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append(tag)


def test_no_name_is_an_element_of_the_report() -> None:
    runs, found = hostile()
    records = {member.id: [RECORD] for member in runs}
    page = report.html(VARIANTS[4], runs, records, found, compare(runs, GROUP))
    elements = Elements()
    elements.feed(page)
    assert "table" in elements.found
    assert {"a", "b", "br", "sup", "extra"}.isdisjoint(elements.found)
    assert [name for name in VARIANTS if "<" in name and name in page] == []
