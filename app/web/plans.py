"""What a request with a plan asks for: its variants, its seeds, and the runs that it begins with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

from app.analysis.blocks import value_of
from app.analysis.compared import Comparison
from app.analysis.comparison import compare, group_runs
from app.analysis.plans import beside_plan, exploratory, unclaimed, with_plan
from app.analysis.sequential import Step, course, judge
from app.errors import Conflict, Invalid
from app.limits import RUNS_PER_REQUEST
from app.store.plan import BEST, FINAL, MEAN, MOST_SEEDS, TEST, Measure, Plan, PlannedVariant, Planning
from app.store.rows import Experiment, Run, State
from app.store.run_store import RunStore
from app.store.variants import VARIANT, Variant
from app.store.variants import variant_of as variant_of_spec
from app.web.specs import parse_spec
from cct.events import EpochRecord
from cct.named_datasets import DATASETS
from cct.spec import RunSpec

LAST_SEED = 2**31 - 1
TRIALS = (
    "Nothing is claimed: these runs are trials of a search, each with other settings. The experiment that follows it "
    "compares the best of each variant on fresh seeds."
)


def planned(
    spec: Mapping[str, Any], axes: Mapping[str, Sequence[Any]], plan: Plan, variants: Sequence[Variant] = ()
) -> tuple[Planning, list[RunSpec]]:
    """How the plan stands before its first run, and the first run of each variant.

    Raises `Invalid`, or pydantic's `ValidationError`, which name the field.
    """
    if "seed" in axes:
        raise Invalid("axes.seed", "is chosen by the plan: it takes seeds from spec.seed on; leave the axis out")
    factor = factor_of(axes, variants)
    shared = dict(spec) | {name: values[0] for name, values in axes.items() if name != factor}
    if variants:
        specs = {one.name: parse_spec(shared | one.values) for one in variants}
    else:
        made_of = (parse_spec(shared | {factor: value}) for value in axes[factor])
        specs = {str(made.value_of(factor)): made for made in made_of}
    if len(specs) < len(variants or axes[factor]):
        raise Invalid(f"axes.{factor}", "names a value twice; each variant is one")
    if plan.baseline not in specs:
        choices = f"{plan.baseline!r} is not among the values of {factor}; choose one of {', '.join(specs)}"
        raise Invalid("plan.baseline", choices)
    if plan.first_look > plan.max_seeds:
        raise Invalid("plan.first_look", f"is more than max_seeds; use at most {plan.max_seeds}")
    if any(made.is_evaluation for made in specs.values()):
        raise Invalid(
            "plan", "is for runs that are trained: an evaluation, with epochs 0, gives the same for all seeds"
        )
    few_epochs = [made for made in specs.values() if made.epochs < 3]
    if few_epochs and plan.measure == MEAN:
        raise Invalid("plan.measure", "needs runs of at least 3 epochs; train longer or choose another measure")
    if plan.measure == TEST and not all(made.val_share for made in specs.values()):
        raise Invalid("plan.measure", "needs runs that hold training data out; set val_share, such as 0.1")
    first_seed = next(iter(specs.values())).seed
    if first_seed + MOST_SEEDS > LAST_SEED:
        raise Invalid("spec.seed", f"leaves a plan too few seeds; use at most {LAST_SEED - MOST_SEEDS}")
    if plan.first_look * len(specs) > RUNS_PER_REQUEST:
        raise Invalid("axes", f"make {plan.first_look * len(specs)} runs at once; {RUNS_PER_REQUEST} are allowed")
    first = {
        name: PlannedVariant(outcome="baseline" if name == plan.baseline else "open", runs=plan.first_look)
        for name in specs
    }
    saved = (plan.max_seeds - plan.first_look) * len(specs)
    return Planning(factor=factor, first_seed=first_seed, variants=first, saved_runs=saved), list(specs.values())


def factor_of(axes: Mapping[str, Sequence[Any]], variants: Sequence[Variant] = ()) -> str:
    """The axis whose values a plan compares, or that these are named variants. Raises `Invalid`."""
    several = [VARIANT] if variants else []
    several += [name for name, values in axes.items() if name != "seed" and len(values) > 1]
    if len(several) > 1:
        raise Invalid(
            "axes",
            f"vary {' and '.join(several)}: a plan compares the values of one field; give the others one value each, "
            "in spec (plans of several fields are yet to come)",
        )
    if not several:
        raise Invalid("axes", "vary nothing that a plan could compare; give two or more values of one field")
    return several[0]


def with_seed(spec: RunSpec, seed: int) -> RunSpec:
    """The same run with another seed. It is not checked again."""
    return RunSpec.stored(asdict(spec) | {"seed": seed})


def with_seeds(specs: Sequence[RunSpec], seeds: Sequence[int]) -> list[RunSpec]:
    """Each run with each seed; seeds vary slowest."""
    return [with_seed(spec, seed) for seed in seeds for spec in specs]


def fresh_seed(experiment: Experiment, runs: Sequence[Run], linked: Sequence[Run]) -> int:
    """The first seed that no run of the experiment, of its plan's future, or of those linked to it, can have."""
    used = [run.spec.seed for run in (*runs, *linked)]
    used += [seed for seed in experiment.axes.get("seed", ()) if isinstance(seed, int)]
    used += [spec.seed for spec in experiment.deleted]
    if experiment.planning:
        used.append(experiment.planning.first_seed + MOST_SEEDS - 1)
    first = max(used, default=-1) + 1
    if first + MOST_SEEDS > LAST_SEED:
        raise Invalid("seeds", f"of this experiment go up to {first - 1}, so that none are left; queue another one")
    return first


def validation_images(store: RunStore, runs: Sequence[Run]) -> int | None:
    """How many images a run is validated on; None if no run has finished an epoch."""
    known = [run.id for run in runs if run.epoch][:1]
    return next((sum(map(sum, found.counts)) for found in store.confusions(known, "last") if found), None)


def with_measure(store: RunStore, runs: Sequence[Run], measure: Measure) -> Sequence[Run]:
    """The runs with what workers of earlier versions did not write when they completed them."""
    if measure in (FINAL, BEST, TEST):
        return runs
    lacking = [run for run in runs if run.state is State.completed and run.measured(measure) is None]
    records = dict(zip((run.id for run in lacking), store.epochs([run.id for run in lacking]), strict=True))
    return [run.model_copy(update=_measured(found)) if (found := records.get(run.id)) else run for run in runs]


def _measured(records: Sequence[EpochRecord]) -> dict[str, float | None]:
    last = records[-1]
    return {
        "last3_top1": fmean(record.val_top1 for record in records[-3:]),
        "final_balanced": last.val_balanced,
        "final_nll": last.val_nll,
        "final_ece": last.val_ece,
    }


def results_of(runs: Sequence[Run], plan: Plan, planning: Planning) -> dict[str, dict[int, float]]:
    """What counts by now, in percent, by variant and seed."""
    results: dict[str, dict[int, float]] = {name: {} for name in planning.variants}
    for run in runs:
        if (value := result(run, plan)) is not None:
            results[variant_of(run, planning)][run.spec.seed] = value
    return results


def result(run: Run, plan: Plan) -> float | None:
    """What counts of a run, in percent: None as long as nothing does. What diverged is as good as guessing."""
    if run.state is State.failed and run.failure == "diverged":
        classes = DATASETS[run.spec.dataset].num_classes or len(run.class_names)
        return 100 / classes if classes else None
    if run.state is not State.completed:
        return None
    return run.measured(plan.measure)


def compared(
    store: RunStore,
    experiment: Experiment,
    runs: Sequence[Run],
    group: str | None = None,
    baseline: str | None = None,
    measure: Measure | None = None,
) -> Comparison:
    """The comparison of an experiment's runs, with what its plan says if it is about the same variants.

    Without a `group` it is by what the experiment varies; without a `baseline` it is with the plan's, if that is among
    them. Raises `Invalid`.
    """
    group = group or group_of(experiment)
    plan, planning = experiment.plan, experiment.planning
    if plan and baseline is None and plan.baseline in group_runs(runs, group):
        baseline = plan.baseline
    usual: Measure = TEST if experiment.tuned_by and plan is None else FINAL
    runs = with_measure(store, runs, measure or usual)
    found = compare(runs, group, baseline, measure or usual)
    if experiment.tuned and found.answer:
        found = replace(found, answer=f"Tuned, each with {experiment.tuned}: {found.answer}")
    if experiment.tune:
        return unclaimed(found, TRIALS)
    if experiment.exploratory:
        return exploratory(found)
    if plan is None or planning is None:
        return found
    if (found.group, found.baseline, measure or plan.measure) != (planning.factor, plan.baseline, plan.measure):
        return beside_plan(found, plan, planning)
    counting = with_measure(store, runs, plan.measure)
    max_seeds = experiment.max_seeds or plan.max_seeds
    results = results_of(counting, plan, planning)
    judgement = judge(plan, results, planning.first_seed, max_seeds, validation_images(store, runs))
    planned_at = experiment.planned_at or experiment.created_at
    return with_plan(found, plan, planned_at, planning, max_seeds, judgement.variants)


def courses(store: RunStore, experiment: Experiment, runs: Sequence[Run]) -> dict[str, list[Step]]:
    """How each variant of an experiment's plan has come near its boundaries. Raises `Conflict` without a plan."""
    plan, planning = experiment.plan, experiment.planning
    if plan is None or planning is None:
        raise Conflict("this experiment has no plan; POST /experiments/{id}/plan starts one on new seeds")
    counting = with_measure(store, runs, plan.measure)
    max_seeds = experiment.max_seeds or plan.max_seeds
    results = results_of(counting, plan, planning)
    return course(plan, results, planning.first_seed, max_seeds, validation_images(store, runs))


def group_of(experiment: Experiment) -> str:
    """The field of the spec by whose values an experiment is compared, unless somebody names another."""
    if experiment.tune:
        return VARIANT
    if experiment.planning:
        return experiment.planning.factor
    varied = [name for name in experiment.axes if name != "seed"]
    if experiment.variants:
        return VARIANT
    return "pooling" if "pooling" in varied or not varied else varied[0]


def variant_of(run: Run, planning: Planning) -> str:
    """The run's variant, by the name it has in the plan."""
    return str(value_of(run, planning.factor))


def name_of(spec: RunSpec, planning: Planning, variants: Sequence[Variant]) -> str:
    """The name that a run of this spec would have in the plan."""
    if planning.factor == VARIANT:
        return found.name if (found := variant_of_spec(spec, variants)) else ""
    return str(spec.value_of(planning.factor))
