"""Results that other programs have written: read as they are, and nothing of them is guessed."""

import csv
import io
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Literal

from app.errors import Invalid
from cct.events import EpochRecord

Kind = Literal[
    "log of the reference's script",
    "summary of a timm training",
    "table of epochs",
    "event file of TensorBoard",
    "final result",
]

COLUMNS = tuple(field.name for field in fields(EpochRecord))
"""What a table may have of each epoch."""
_OF_TIMM = {
    "train_loss": "train_loss",
    "val_loss": "eval_loss",
    "val_top1": "eval_top1",
    "val_top5": "eval_top5",
    "lr": "lr",
}
_NUMBER = r"(\d+(?:\.\d+)?)"
_EPOCH = re.compile(rf"^\[Epoch (\d+)\]\s+Top-1\s+{_NUMBER}\s+Time:\s+(-?\d+(?:\.\d+)?)\s*$", re.MULTILINE)
_END = re.compile(rf"finished in {_NUMBER} minutes, best top-1: {_NUMBER}, final top-1: {_NUMBER}")
_FINAL = re.compile(rf"final top-1\D{{0,5}}{_NUMBER}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """What a file says of one training. Top-1 in percent."""

    kind: Kind
    records: list[EpochRecord]
    """One for each epoch that it tells of; none where it has a final result alone."""
    final: float
    best: float | None
    """Null where it does not say."""
    seconds: float | None


def read_results(content: bytes, columns: Mapping[str, str] | None = None, in_fractions: bool = False) -> Found:
    """The results in a log of the reference's `examples/main.py`, the `summary.csv` of a timm training, a CSV table
    with a row for each epoch, an event file of TensorBoard, or a text with a `final top-1`.

    `columns` says which columns of a table, or tags of events, are which of `COLUMNS`; `in_fractions` that their top-1
    lies between 0 and 1. Raises `Invalid`.
    """
    if b"brain.Event:" in content[:64]:
        return _of_events(content, columns or {}, in_fractions)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid("file", "is not a text in UTF-8; give a log or a CSV table") from error
    if found := _EPOCH.findall(text):
        return _of_log(text, [(int(epoch), float(top1), float(minutes)) for epoch, top1, minutes in found])
    first = next((line for line in text.splitlines() if line.strip()), "")
    if "," in first or "\t" in first or ";" in first:
        return _of_table(text, columns or {}, in_fractions)
    if end := _FINAL.findall(text):
        if len(end) > 1:
            raise Invalid("file", f"tells of {len(end)} final results; give one file for each")
        return Found("final result", [], _percent(float(end[0]), "file"), None, None)
    raise Invalid(
        "file",
        "has nothing that is known here: no lines `[Epoch 1]  Top-1 ...` of the reference's script, no table with "
        "commas and a head, no `final top-1: ...`",
    )


def _of_log(text: str, epochs: Sequence[tuple[int, float, float]]) -> Found:
    """The reference's log: top-1 after each epoch, and the minutes since the start."""
    _check_epochs([epoch for epoch, _, _ in epochs])
    records, before = [], 0.0
    for epoch, top1, minutes in epochs:
        known = minutes >= before
        records.append(_record(epoch, _percent(top1, "file"), seconds=60 * (minutes - before) if known else 0.0))
        before = minutes if known else before
    found = Found("log of the reference's script", records, records[-1].val_top1, None, 60 * before or None)
    if not (ends := _END.findall(text)):
        return found
    if len(ends) > 1:
        raise Invalid("file", f"tells of {len(ends)} trainings; give one file for each")
    minutes, best, final = map(float, ends[0])
    if abs(final - found.final) > 0.005:
        raise Invalid("file", f"ends with a final top-1 of {final}, but its last epoch has {found.final}; is it whole?")
    return Found(found.kind, records, found.final, best, 60 * minutes)


def _of_events(content: bytes, columns: Mapping[str, str], in_fractions: bool) -> Found:
    """An event file of TensorBoard, read as a table: the step is the epoch, a scalar's tag a column."""
    if find_spec("tensorboard") is None:
        raise Invalid("file", "is an event file, for which the package tensorboard is missing: cctboard[tensorboard]")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    scalars: dict[int, dict[str, float]] = {}
    with tempfile.NamedTemporaryFile(prefix="events.out.tfevents.") as file:
        file.write(content)
        file.flush()
        try:
            for event in EventFileLoader(file.name).Load():
                for value in event.summary.value:
                    number = make_ndarray(value.tensor) if value.HasField("tensor") else None
                    if number is not None and number.shape == () and number.dtype.kind in "fi":
                        scalars.setdefault(event.step, {})[value.tag] = float(number)
        except Exception as error:  # whatever a damaged file makes its reader trip over
            raise Invalid("file", f"is an event file that cannot be read ({type(error).__name__})") from error
    tags = sorted({tag for values in scalars.values() for tag in values})
    rows = ["\t".join(["epoch", *tags])]
    rows += [
        "\t".join([str(step), *(str(values.get(tag, "")) for tag in tags)]) for step, values in sorted(scalars.items())
    ]
    found = _of_table("\n".join(rows), columns, in_fractions)
    return replace(found, kind="event file of TensorBoard")


def _of_table(text: str, columns: Mapping[str, str], in_fractions: bool) -> Found:
    """A CSV table with a row for each epoch."""
    text = text.lstrip("\r\n")
    head = text.splitlines()[0]
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=head.count)))
    except csv.Error as error:
        raise Invalid("file", f"is no table that can be read ({error})") from error
    names = [name.strip() for name in (rows[0] if rows else {}) if name]
    is_of_timm = not columns and {"epoch", "eval_top1"} <= set(names)
    chosen = dict(_OF_TIMM if is_of_timm else {name: name for name in COLUMNS}) | {"epoch": "epoch"} | dict(columns)
    chosen = {ours: theirs for ours, theirs in chosen.items() if theirs in names or ours in columns}
    for ours, theirs in chosen.items():
        if ours not in COLUMNS:
            raise Invalid("columns", f"{ours!r} is not measured here; choose of {', '.join(COLUMNS)}")
        if theirs not in names:
            raise Invalid("columns", f"the table has no column {theirs!r}; it has {', '.join(names)}")
    for needed in ("epoch", "val_top1"):
        if needed not in chosen:
            raise Invalid("columns", f"say which column is {needed}: one of {', '.join(names) or 'none, it is empty'}")
    values = [
        {ours: _number(row.get(theirs), theirs, line) for ours, theirs in chosen.items()}
        for line, row in enumerate(rows, start=2)
    ]
    epochs = [_epoch(one["epoch"], line) for line, one in enumerate(values, start=2)]
    if epochs and epochs[0] == 0:  # as timm counts them
        epochs = [epoch + 1 for epoch in epochs]
    _check_epochs(epochs)
    tops = [value for one in values for name in ("val_top1", "val_top5", "train_top1") if (value := one.get(name))]
    if in_fractions:
        for one in values:
            one |= {name: 100 * value for name in ("val_top1", "val_top5", "train_top1") if (value := one.get(name))}
    elif tops and max(tops) <= 1:
        raise Invalid("columns", "has no top-1 above 1: if these are fractions, say so (--fractions), else percent")
    records = []
    for epoch, one in zip(epochs, values, strict=True):
        top1 = one.pop("val_top1")
        if top1 is None:
            continue  # timm writes a row also for epochs in which nothing was validated
        del one["epoch"]
        records.append(_record(epoch, _percent(top1, "columns"), **one))
    if not records:
        raise Invalid("file", "has no epoch with a top-1")
    kind: Kind = "summary of a timm training" if is_of_timm else "table of epochs"
    seconds = sum(record.seconds for record in records) or None
    return Found(kind, records, records[-1].val_top1, max(record.val_top1 for record in records), seconds)


def _record(epoch: int, val_top1: float, **known: float | None) -> EpochRecord:
    told = {name: value for name, value in known.items() if value is not None}
    values: dict[str, Any] = dict.fromkeys(COLUMNS) | {"seconds": 0.0} | told | {"epoch": epoch, "val_top1": val_top1}
    return EpochRecord(**values)


def _number(text: str | None, column: str, line: int) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Invalid("file", f"has {text!r} in column {column}, line {line}, which is no number")
    return value


def _epoch(number: float | None, line: int) -> int:
    if number is None or number != int(number):
        raise Invalid("file", f"has no whole number for an epoch in line {line}")
    return int(number)


def _percent(value: float, where: str) -> float:
    if not 0 <= value <= 100:
        raise Invalid(where, f"has a top-1 of {value}, which is no percentage")
    return value


def _check_epochs(epochs: Sequence[int]) -> None:
    if any(after <= before for before, after in pairwise(epochs)):
        raise Invalid("file", "has epochs that do not rise: it tells of several trainings; give one file for each")
    if epochs and epochs[0] < 1:
        raise Invalid("file", f"begins with epoch {epochs[0]}")
