"""A search of settings, derived from the runs that were its trials: what to try next, what was found. Pure functions.

Optuna proposes (Akiba et al. 2019; its TPE: Bergstra et al. 2011), by what all trials of a variant have measured on the
training data that they held out. There is no other store than the runs, so nothing can be lost or contradict them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Literal

from app.store.plan import TRIED_AGAIN, TRIES_AGAIN
from app.store.rows import Run, State
from app.store.tuning import Searched, Tuning
from cct.events import EpochRecord
from cct.spec import RunSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

Settings = dict[str, Any]
"""A value for each field that is searched."""

FEWEST_EARLIER = 4
"""Trials that must have ended before one is stopped early."""
UNSTOPPED_SHARE = 0.3
"""The share of its epochs that each trial gets in any case."""
LEARNED_NOTHING = 0.0
"""What a trial that diverged counts as, in percent."""


@dataclass(frozen=True, slots=True)
class Trial:
    number: int
    """Among those of its variant, from 1."""
    run: str
    """Its id."""
    settings: Settings
    top1: float | None
    """Final top-1 on held-out data, in percent; null if it was stopped, has failed or goes on."""
    state: Literal["open", "completed", "stopped early", "diverged", "without result"]
    best_so_far: float | None
    """The highest of all trials up to this one."""


def trials_of(runs: Sequence[Run], tuning: Tuning) -> dict[str, list[Trial]]:
    """The trials by variant, from runs in the order of their creation."""
    found: dict[str, list[Trial]] = {}
    for run in runs:
        earlier = found.setdefault(run.variant, [])
        top1 = run.final_top1 if run.state is State.completed else None
        before = earlier[-1].best_so_far if earlier else None
        known = [one for one in (before, top1) if one is not None]
        settings = {name: run.spec.value_of(name) for name in tuning.fields}
        best = max(known, default=None)
        earlier.append(Trial(len(earlier) + 1, run.id, settings, top1, _state(run), best))
    return found


def _state(run: Run) -> Literal["open", "completed", "stopped early", "diverged", "without result"]:
    if run.state is State.completed:
        return "completed"
    if run.state in (State.queued, State.running) or may_try_again(run):
        return "open"
    if run.failure == "diverged":
        return "diverged"
    return "stopped early" if run.unneeded else "without result"


def may_try_again(run: Run) -> bool:
    """Whether a failed trial says nothing of its settings and is trained once more."""
    return run.state is State.failed and run.failure in TRIED_AGAIN and run.retries < TRIES_AGAIN


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the highest result, the first of equals."""
    return max((one for one in trials if one.top1 is not None), key=lambda one: one.top1 or 0.0, default=None)


def propose(tuning: Tuning, base: RunSpec, trials: Sequence[Trial]) -> Settings:
    """What to try next of a variant whose spec is `base`, after trials that have ended.

    By chance and on a grid all variants are tried with the same settings.
    """
    number = len(trials)
    if tuning.sampler == "grid":
        names = list(tuning.fields)
        points = list(product(*(_grid_of(one, _is_integer(name)) for name, one in tuning.fields.items())))
        return dict(zip(names, points[number % len(points)], strict=True))
    own = {name: getattr(base, name) for name in tuning.fields}
    if not trials and all(_contains(searched, own[name]) for name, searched in tuning.fields.items()):
        return own
    import optuna  # takes half a second

    # Generators with neighbouring seeds begin alike, so they are told apart by a hash.
    seed = int.from_bytes(sha256(f"{tuning.seed} {number}".encode()).digest()[:4])
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)
    if tuning.sampler == "tpe":
        sampler = optuna.samplers.TPESampler(n_startup_trials=min(10, max(3, tuning.trials // 3)), seed=seed)
    asked = _study(tuning, trials, sampler).ask(_distributions(tuning))
    return {name: _as_typed(name, asked.params[name]) for name in tuning.fields}


def importance(tuning: Tuning, trials: Mapping[str, Sequence[Trial]]) -> dict[str, float]:
    """How much of the results of trials each field decides, as shares, by PED-ANOVA (Watanabe et al. 2023).

    Of all variants together, each relative to its mean. Empty with fewer than four results.
    """
    results: list[Trial] = []
    for members in trials.values():
        known = [one for one in members if one.top1 is not None]
        mean = fmean(one.top1 or 0.0 for one in known) if known else 0.0
        results += [
            Trial(one.number, one.run, one.settings, (one.top1 or 0.0) - mean, "completed", None) for one in known
        ]
    if len(results) < FEWEST_EARLIER or len({one.top1 for one in results}) < 2:
        return {}
    import optuna

    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    study = _study(tuning, results, optuna.samplers.RandomSampler(0))
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: round(float(found.get(name, 0.0)), 4) for name in tuning.fields}


def is_hopeless(run: Run, records: Sequence[EpochRecord], earlier: Sequence[Sequence[EpochRecord]]) -> bool:
    """Whether a trial's best epoch so far is below the median of what earlier, completed ones had by then."""
    epoch = len(records)
    if len(earlier) < FEWEST_EARLIER or epoch < max(1, UNSTOPPED_SHARE * run.spec.epochs):
        return False

    def best_by_then(found: Sequence[EpochRecord]) -> float:
        return max(record.val_top1 for record in found[:epoch])

    return best_by_then(records) < median(best_by_then(found) for found in earlier)


def _study(tuning: Tuning, trials: Sequence[Trial], sampler: Any) -> "Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(tuning)
    for one in trials:
        top1 = LEARNED_NOTHING if one.state in ("diverged", "stopped early") else one.top1
        if top1 is not None and one.state != "open":
            study.add_trial(optuna.trial.create_trial(params=one.settings, distributions=distributions, value=top1))
    return study


def _distributions(tuning: Tuning) -> dict[str, "BaseDistribution"]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, one in tuning.fields.items():
        if one.choices is not None:
            found[name] = CategoricalDistribution(one.choices)
        elif _is_integer(name):
            found[name] = IntDistribution(int(one.low or 0), int(one.high or 0), log=one.log)
        else:
            found[name] = FloatDistribution(one.low or 0.0, one.high or 0.0, log=one.log)
    return found


def _grid_of(one: Searched, is_integer: bool) -> list[Any]:
    """A field's values, evenly spaced in a range."""
    if one.choices is not None:
        return one.choices
    low, high, steps = one.low or 0.0, one.high or 0.0, one.steps or 2
    shares = [step / (steps - 1) for step in range(steps)]
    values = [low * (high / low) ** share if one.log else low + (high - low) * share for share in shares]
    return [round(value) if is_integer else float(f"{value:.6g}") for value in values]


def _contains(searched: Searched, value: Any) -> bool:
    if searched.choices is not None:
        return value in searched.choices
    return bool((searched.low or 0.0) <= value <= (searched.high or 0.0))


def _is_integer(name: str) -> bool:
    return RunSpec.__dataclass_fields__[name].type is int


def _as_typed(name: str, value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def grid_size(tuning: Tuning) -> int:
    """How many settings a grid has."""
    size = 1
    for one in tuning.fields.values():
        size *= len(one.choices) if one.choices is not None else one.steps or 2
    return size


def changed_by_tuning(trials: Mapping[str, Sequence[Trial]]) -> str:
    """What became of the order of variants from their first trial to their best one; empty before all have both."""
    first = {variant: found[0].top1 for variant, found in trials.items() if found and found[0].top1 is not None}
    best = {variant: one.top1 for variant, found in trials.items() if (one := best_of(found))}
    if len(trials) < 2 or len(first) < len(trials) or len(best) < len(trials):
        return ""
    (led, before), (leads, after) = (max(one.items(), key=lambda item: item[1] or 0.0) for one in (first, best))
    gains = ", ".join(f"{variant} {(best[variant] or 0.0) - (first[variant] or 0.0):+.2f}" for variant in trials)
    changed = f"{led} led before ({before:.2f} %), {leads} leads now ({after:.2f} %)"
    if led == leads:
        changed = f"{led} led before ({before:.2f} %) and leads now ({after:.2f} %)"
    return (
        f"From the first trial to the best one, on held-out data and with one seed: {changed}; points gained: {gains}. "
        "The comparison on fresh seeds tells what holds."
    )
