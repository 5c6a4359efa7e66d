"""What an experiment would queue: how much, how long, and what is odd about it."""

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, Field

from app.analysis.forecast import forecast, spread_between_seeds, told
from app.analysis.schedule import expected_seconds
from app.store.plan import Plan
from app.store.rows import Run
from app.store.run_store import RunStore
from app.web.own_poolings import unsure
from cct.cost import cost_of_run
from cct.named_datasets import DATASETS
from cct.run_warnings import foreseen
from cct.spec import RunSpec


class ModelCost(BaseModel):
    model: str
    pooling: str
    dataset: str
    parameters: int | None = Field(description="Null if the number of classes is known only when the files are read")
    macs: int = Field(description="Multiply-accumulates of one image's forward pass")
    tokens: int


class PreviewWarning(BaseModel):
    """A reason to doubt the results of some of the runs."""

    code: str
    text: str
    runs: int = Field(description="How many runs it concerns")


class Cost(BaseModel):
    runs: int
    seconds: float | None = Field(description="Expected training time on one worker; null if nothing was measured yet")


class PlanPreview(BaseModel):
    """What a plan would cost."""

    at_least: Cost = Field(description="What it queues in any case, before its first look")
    likely: Cost | None = Field(
        description="What it queues on average if all variants are alike; null until similar runs have a spread"
    )
    told: str = Field(description="How likely it is to end with an answer, and what that is taken from")


class Preview(BaseModel):
    """What an experiment would queue; with a plan at most."""

    plan: PlanPreview | None = Field(default=None, description="Only with a plan")
    runs: int
    epochs: int = Field(description="The epochs of all runs together")
    costs: Sequence[ModelCost]
    seconds: float | None = Field(description="Expected training time on one worker; null if nothing was measured yet")
    warnings: Sequence[PreviewWarning] = Field(
        description="What is odd about the runs, which can be queued nevertheless"
    )


def preview(store: RunStore, specs: Sequence[RunSpec]) -> Preview:
    """What runs of these specs are."""
    return _preview(store, specs, store.runs())


def preview_of_plan(
    store: RunStore, plan: Plan, variants: Sequence[RunSpec], first: Sequence[RunSpec], most: Sequence[RunSpec]
) -> Preview:
    """What a plan over variants, one spec each, queues in any case (`first`) and at `most`."""
    known = store.runs()
    whole = _preview(store, most, known)
    spread = spread_between_seeds(variants[0], plan.measure, known)
    images = DATASETS[variants[0].dataset].test_size
    found = forecast(plan, len(variants), round(spread.points, 3), images) if spread else None
    likely = None
    if found:
        likely = Cost(runs=round(found.runs), seconds=whole.seconds and whole.seconds * found.runs / whole.runs)
    at_least = Cost(runs=len(first), seconds=expected_seconds(first, known))
    return whole.model_copy(
        update={"plan": PlanPreview(at_least=at_least, likely=likely, told=told(plan, spread, found))}
    )


def _preview(store: RunStore, specs: Sequence[RunSpec], known: Sequence[Run]) -> Preview:
    models = {(spec.architecture, spec.pooling, spec.source): spec for spec in specs}
    foretold = Counter((warning.code, warning.text) for spec in specs for warning in foreseen(spec))
    poolings = Counter(spec.pooling for spec in specs)
    foretold |= Counter({("pooling-check", text): poolings[name] for name, text in unsure(store, poolings).items()})
    return Preview(
        runs=len(specs),
        epochs=sum(spec.epochs for spec in specs),
        costs=[_cost(spec) for spec in models.values()],
        seconds=expected_seconds(specs, known),
        warnings=[PreviewWarning(code=code, text=text, runs=count) for (code, text), count in foretold.items()],
    )


def _cost(spec: RunSpec) -> ModelCost:
    cost = cost_of_run(spec)
    return ModelCost(
        model=spec.architecture,
        pooling=spec.pooling,
        dataset=spec.source,
        parameters=cost.parameters if DATASETS[spec.dataset].num_classes else None,
        macs=cost.macs,
        tokens=cost.tokens,
    )
