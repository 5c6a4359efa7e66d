"""An experiment as one HTML file to read, mail and keep without the board: answer, table, figures, method, runs."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from html import escape
from typing import Any

import plotly.graph_objects as go
import plotly.offline

from app.analysis import figures
from app.analysis.blocks import value_of
from app.analysis.compared import AtLevel, Comparison, VariantComparison
from app.analysis.fairness import Inequality
from app.analysis.statistics import Stat
from app.errors import Conflict, Invalid
from app.store.rows import Confusion, Run
from cct.architecture import ARCHITECTURE
from cct.events import EpochRecord
from cct.spec import RunSpec

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2430;
       overflow-wrap: break-word }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-size: 0.9rem }
th, td { border-bottom: 1px solid #d8dbe2; padding: 0.3rem 0.6rem; text-align: left }
th, td { overflow-wrap: anywhere; min-width: 4rem }
.answer { font-size: 1.15rem; border-left: 4px solid #4477aa; padding-left: 1rem }
.warning { border-left: 4px solid #cc6677; padding-left: 1rem }
small { color: #5b6270 }
.scrolls { overflow-x: auto }
"""


VARIANTS_BY_CLASS = 8
"""Variants at most of which there are charts by class: with many classes these are what makes the file large."""


def html(
    title: str,
    runs: Sequence[Run],
    records: Mapping[str, Sequence[EpochRecord]],
    confusions: Mapping[str, Confusion],
    found: Comparison,
) -> str:
    """The whole page of a comparison; plotly.js is inside, nothing is loaded. Records and confusions are by run id."""
    group = found.group
    charts = [
        go.Figure(figures.curves(runs, records, "val_top1", group)),
        go.Figure(figures.curves(runs, records, "val_loss", group)),
        *([figures.interaction(runs, found)] if len(found.factors) == 2 else []),
        figures.final_results(runs, found),
        figures.differences(runs, found),
        *_by_class(runs, confusions, found),
    ]
    drawn = "".join(chart.to_html(full_html=False, include_plotlyjs=False) for chart in charts)
    few = f"Charts by class are of the first {VARIANTS_BY_CLASS} of {len(found.variants)} variants."
    unequal = "".join(f"<li>{escape(_inequality(one))}</li>" for one in found.fairness)
    warning = f'<div class="warning">The runs differ in more than variant and seed:<ul>{unequal}</ul></div>'
    doubted = [f"{doubt.text} ({len(doubt.runs)} of {len(runs)} runs)" for doubt in found.doubts]
    told = "".join(f"<li>{escape(sentence)}</li>" for sentence in doubted)
    doubts = f'<div class="warning">Warnings of the runs:<ul>{told}</ul></div>'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{STYLE}</style>
<script>{plotly.offline.get_plotlyjs()}</script></head><body>
<h1>{escape(title)}</h1>
<small>CCT Board, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC</small>
<p class="answer">{escape(found.answer) or "There is nothing to compare yet."}</p>
<p>{escape(found.validated)}</p>
{_effects(found)}
{warning if unequal else ""}
{doubts if told else ""}
<h2>Comparison</h2>{_variants(found)}
<h2>Figures</h2>{drawn}
{f"<p>{few}</p>" if confusions and len(found.variants) > VARIANTS_BY_CLASS else ""}
<h2>Methods</h2><p>{escape(methods(runs, found))}</p><p>{escape(found.method)}</p>
<h2>Runs</h2>{_runs(runs, found)}
</body></html>
"""


def _effects(found: Comparison) -> str:
    """Main effects and interactions of two factors, one by one."""
    items = "".join(f"<li>{escape(effect.text)}</li>" for effect in found.effects)
    return f"<ul>{items}</ul>" if items else ""


def _by_class(runs: Sequence[Run], confusions: Mapping[str, Confusion], found: Comparison) -> Iterator[go.Figure]:
    """Each variant's confusion matrix, then its difference to the baseline by class, where there are such."""
    variants = [row.variant for row in found.variants[:VARIANTS_BY_CLASS]]
    # A variant may have no matrix, no seed in common with the baseline, or other classes.
    for variant in variants:
        with suppress(Conflict, Invalid):
            yield figures.confusion(runs, confusions, found.group, variant)
    for variant in variants:
        if variant != found.baseline:
            with suppress(Conflict, Invalid):
                yield figures.class_differences(
                    runs, confusions, found.group, variant, found.baseline, claims=found.claims
                )


def methods(runs: Sequence[Run], found: Comparison) -> str:
    """A sentence for a paper: what was trained or evaluated, with every setting that all runs share."""
    if not runs:
        return ""
    shared = {
        field.name: value
        for field in fields(RunSpec)
        if field.name not in ("seed", *found.factors)
        and len({value := getattr(run.spec, field.name) for run in runs}) == 1
        and value != ARCHITECTURE.get(field.name)
    }
    varied = " and ".join(
        f"{name} {_several(dict.fromkeys(str(value_of(run, name)) for run in runs))}" for name in found.factors
    )
    if len(found.levels) > 1:
        varied += f", each at {'; '.join(level.level for level in found.levels)},"
    seeds = sorted({run.spec.seed for run in runs})
    what = f"{shared.pop('model', 'the models')} on {shared.pop('dataset', 'the datasets')}"
    if all(run.spec.is_evaluation for run in runs):
        weights = f" with the weights {shared['pretrained']}" if "pretrained" in shared else ""
        return f"We evaluated {what}{weights}, without training; {varied}.{_missing(found)}"
    epochs = f" for {shared.pop('epochs')} epochs" if "epochs" in shared else ""
    rest = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shared.items() if value != "")
    number = f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'} each ({', '.join(map(str, seeds))})"
    share = shared.pop("val_share", None)
    validation = "; validated on the test set after every epoch"
    if share:
        validation = (
            f"; {100 * share:g} % of the training set held out to validate on, the test set read once, at the end"
        )
    elif share is None:
        validation = "; some with training data held out to validate on"
    return (
        f"We trained {what}{epochs} with {varied} and {number}; "
        f"optimizer AdamW with a warm-up and a cosine schedule; {rest}{validation}.{_missing(found)}"
    )


def _several(values: Iterable[str]) -> str:
    """Names that have commas in them stand between semicolons."""
    return ("; " if any(", " in value for value in values) else ", ").join(values)


def _missing(found: Comparison) -> str:
    """Which cells of a grid of several fields have no results."""
    if len(found.levels) == len(found.factors) == 1:
        return ""
    cells = [f"{name} at {at.level}" if at.level else name for at in found.levels for name in at.missing]
    return f" Without a completed run: {'; '.join(cells)}." if cells else ""


def epochs_csv(runs: Sequence[Run], records: Mapping[str, Sequence[EpochRecord]]) -> str:
    """One line per run and epoch: what is varied, then what was measured; a run's last line has its test top-1."""
    measured = ["lr_of_epoch" if field.name == "lr" else field.name for field in fields(EpochRecord)]
    tested = ["test_top1", "test_top1_at_best"]
    specified = [field.name for field in fields(RunSpec)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", *specified, *measured, *tested])
    for run in runs:
        spec = [run.spec.value_of(name) for name in specified]
        for record in records[run.id]:
            of_run = [getattr(run, name) for name in tested] if record is records[run.id][-1] else [None, None]
            writer.writerow([run.id, *spec, *asdict(record).values(), *of_run])
    return out.getvalue()


def _inequality(one: Inequality) -> str:
    return f"{one.field}: " + "; ".join(f"{s.value} ({', '.join(s.variants)})" for s in one.settings)


def _variants(found: Comparison) -> str:
    several = len(found.levels) > 1
    rows = [
        line
        for row in found.variants
        for line in [_variant(row, found), *([_level(row, at, found) for at in row.levels] if several else [])]
    ]
    rows += [
        [f"{r.label}: {r.pooling}", "", _percent(r.final), _percent(r.best), "-", "", f"{r.said}. {r.source}"]
        for r in found.references
    ]
    head = [", ".join(found.factors), "seeds", "final top-1", "best top-1", "test top-1"]
    head += [f"difference to {found.baseline}", "verdict"]
    without = None if any(row.test for row in found.variants) else head.index("test top-1")
    head, *rows = [[cell for column, cell in enumerate(line) if column != without] for line in (head, *rows)]
    return _table(head, rows)


def _variant(row: VariantComparison, found: Comparison) -> list[str]:
    return [
        row.variant + (" (mixes the batch)" if row.mixes_batch else ""),
        str(row.seeds),
        _stat(row.final, " %"),
        _stat(row.best, " %"),
        _stat(row.test, " %"),
        _stat(row.difference, " points", found.interval) if row.variant != found.baseline else "baseline",
        row.verdict,
    ]


def _level(row: VariantComparison, at: AtLevel, found: Comparison) -> list[str]:
    """A variant at one level of what else varies."""
    is_baseline = row.variant == found.baseline
    return [
        f"{row.variant}, {at.level}",
        str(at.final.n if at.final else 0),
        _stat(at.final, " %"),
        "",
        _stat(at.test, " %"),
        "baseline" if is_baseline else _stat(at.difference, " points", found.interval),
        at.outcome or "" if at.final or is_baseline else "missing: no completed run",
    ]


def _runs(runs: Sequence[Run], found: Comparison) -> str:
    varied = list(dict.fromkeys(["pooling", *found.factors, *(name for at in found.levels for name in at.values)]))
    rows: list[list[Any]] = [
        [
            *(r.id, *(value_of(r, name) for name in varied), r.spec.seed, r.state),
            "evaluation" if r.spec.is_evaluation else f"{r.epoch}/{r.spec.epochs}",
            *(r.best_top1, r.final_top1, _rounded(r.test_top1)),
            *(_rounded(r.final_balanced), _rounded(r.majority_share), r.device),
        ]
        for r in runs
    ]
    head = ["run", *varied, "seed", "state", "epoch", "best top-1", "final top-1", "test top-1"]
    return _table([*head, "final balanced", "most frequent class", "device"], rows)


def _percent(top1: float | None) -> str:
    return "-" if top1 is None else f"{top1:.2f} %"


def _rounded(percent: float | None) -> str:
    return "" if percent is None else f"{percent:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(tag: str, cells: Sequence[Any]) -> str:
        texts = ["" if cell is None else str(cell) for cell in cells]
        return "<tr>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts) + "</tr>"

    table = f"<table><thead>{line('th', head)}</thead><tbody>{''.join(line('td', row) for row in rows)}</tbody></table>"
    return f'<div class="scrolls" tabindex="0">{table}</div>'


def _stat(stat: Stat | None, unit: str, interval: str = "95 % CI") -> str:
    if stat is None:
        return "-"
    spread = f" ± {stat.sd:.2f}" if stat.sd is not None else ""
    ends = f" ({interval} {stat.low:.2f} to {stat.high:.2f})" if stat.low is not None else ""
    return f"{stat.mean:.2f}{spread}{unit}{ends}"
