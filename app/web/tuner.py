"""Goes on with experiments that tune their variants: the next trials, and then the comparison of the best settings.

As with plans, what is decided is a function of what is stored, so several processes decide it once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.analysis.tuning import Trial, best_of, is_hopeless, may_try_again, propose, trials_of
from app.store.plan import Step
from app.store.rows import Experiment, Run, State
from app.store.run_store import RunStore
from app.store.tuning import Tuning
from app.web.routes.experiments import ExperimentRequest
from app.web.tuning import trial_spec
from cct.events import EpochRecord
from cct.spec import RunSpec


def advance_tuning(store: RunStore, experiment_id: str) -> None:
    """Queues what follows from the trials that have ended. Raises `NotFound`, `Unreadable`."""

    def decide(experiment: Experiment, runs: Sequence[Run]) -> Step | None:
        if experiment.tune is None or experiment.plan_state != "open":
            return None
        if is_done(experiment, runs):
            compare_best(store, experiment, runs)  # before the search ends, so that it is never forgotten
            return Step(None, "ended")
        watched = [run.id for run in runs] if experiment.tune.prune else []
        records = dict(zip(watched, store.epochs(watched), strict=True))
        return next_trials(experiment, runs, records)

    store.advance_plan(experiment_id, decide)


def is_done(experiment: Experiment, runs: Sequence[Run]) -> bool:
    """Whether each variant has had all of its trials."""
    assert experiment.tune
    trials = trials_of(runs, experiment.tune)
    counts = [trials.get(one.name, []) for one in experiment.variants]
    return all(len(found) >= experiment.tune.trials for found in counts) and not any(
        trial.state == "open" for found in counts for trial in found
    )


def next_trials(
    experiment: Experiment, runs: Sequence[Run], records: Mapping[str, Sequence[EpochRecord]]
) -> Step | None:
    """One trial at a time of each variant: who proposes the next knows the results of all before. None: nothing."""
    tuning = experiment.tune
    assert tuning
    trials = trials_of(runs, tuning)
    specs: list[RunSpec] = []
    for one in experiment.variants:
        found = trials.get(one.name, [])
        if len(found) < tuning.trials and all(trial.state != "open" for trial in found):
            base = RunSpec.given(experiment.spec | one.values)
            specs.append(trial_spec(base, propose(tuning, base, found)))
    again = [run.id for run in runs if may_try_again(run)]
    hopeless = [
        run.id
        for run in runs
        if run.state is State.running and not run.cancelling and records.get(run.id)
        if is_hopeless(run, records[run.id], _completed_before(run, runs, records))
    ]
    return Step(None, "open", specs, again, hopeless=hopeless) if specs or again or hopeless else None


def _completed_before(
    run: Run, runs: Sequence[Run], records: Mapping[str, Sequence[EpochRecord]]
) -> list[Sequence[EpochRecord]]:
    return [
        records[one.id]
        for one in runs
        if one.variant == run.variant and one.state is State.completed and records.get(one.id)
    ]


def compare_best(store: RunStore, experiment: Experiment, runs: Sequence[Run]) -> None:
    """Queues the comparison of each variant's best setting on fresh seeds, once.

    A variant without any result is left out, and nothing is compared if fewer than two are left.
    """
    tuning = experiment.tune
    assert tuning
    trials = trials_of(runs, tuning)
    best = {one.name: found for one in experiment.variants if (found := best_of(trials.get(one.name, [])))}
    if len(best) < 2:
        return
    request = comparison_request(experiment, tuning, best)
    request.queue(store, f"tuned {experiment.id}", {"tuned_by": experiment.id, "tuned": told(tuning, experiment, best)})


def comparison_request(experiment: Experiment, tuning: Tuning, best: Mapping[str, Trial]) -> ExperimentRequest:
    """The comparison of the best settings by variant."""
    first = RunSpec.given(experiment.spec | experiment.variants[0].values).seed + 1
    variants: list[dict[str, Any]] = [
        {"name": one.name, **one.values, **best[one.name].settings} for one in experiment.variants if one.name in best
    ]
    seeds = {} if tuning.plan else {"seed": list(range(first, first + tuning.seeds))}
    spec = {name: value for name, value in experiment.spec.items() if name != "seed"}
    return ExperimentRequest(
        name=f"{experiment.name[:150]}, tuned",
        spec=spec | ({"seed": first} if tuning.plan else {}),
        axes=seeds,
        variants=variants,
        priority=experiment.priority,
        plan=tuning.plan,
    )


def told(tuning: Tuning, experiment: Experiment, best: Mapping[str, Trial]) -> str:
    """How the variants of a comparison were tuned, as a sentence may go on after "Tuned, each with "."""
    left_out = [one.name for one in experiment.variants if one.name not in best]
    return tuning.told + (f"; without {', '.join(left_out)}, of which no trial gave a result" if left_out else "")
