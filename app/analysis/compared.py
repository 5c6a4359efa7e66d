"""What a comparison of variants tells. Top-1 in percent."""

from dataclasses import dataclass

from app.analysis.colors import VariantColor
from app.analysis.doubts import Doubt
from app.analysis.effects import Effect
from app.analysis.fairness import Inequality
from app.analysis.references import OtherReference, ReferenceResult
from app.analysis.statistics import Difference, Outcome, Stat
from app.store.plan import Measure


@dataclass(frozen=True, slots=True)
class AtLevel:
    """A variant at one level of what else varies. Top-1 in percent; statistics are over seeds."""

    level: str
    runs: list[str]
    """Ids."""
    final: Stat | None
    test: Stat | None
    """Top-1 on the test set, of runs that hold training data out."""
    difference: Difference | None
    """The measure's result minus the baseline's at this level; null for the baseline, and where nothing else varies."""
    outcome: Outcome | None
    """What is claimed there; null like the difference."""


@dataclass(frozen=True, slots=True)
class Level:
    """A block: values of what varies besides variant and seed."""

    level: str
    """All values in words; empty where nothing else varies."""
    values: dict[str, str]
    """The values of one level, by field of the spec."""
    averaged: bool
    """Whether it counts in the variants' own numbers, as all that are compared have results there."""
    missing: list[str]
    """Variants without a completed run there."""


@dataclass(frozen=True, slots=True)
class VariantComparison:
    """One row of the comparison table. Top-1 in percent; statistics are over seeds, of which each counts with its mean
    over the levels that are averaged."""

    variant: str
    color: VariantColor
    formula: str
    """How the pooling is computed, when runs are grouped by pooling."""
    mixes_batch: bool | None
    """Whether the output for an image depends on its batch-mates in any of the runs; null until probed."""
    runs: int
    seeds: int
    """Seeds with at least one finished epoch, or an evaluation."""
    finished: int
    """Completed runs."""
    best: Stat | None
    """Highest validation top-1 of any epoch, of completed runs: others would be compared at different epochs."""
    final: Stat | None
    """Validation top-1 of the last epoch, of completed runs; the mean where several have the same seed."""
    test: Stat | None
    """Top-1 on the test set after the last epoch, read once, of completed runs that hold training data out."""
    minutes: Stat | None
    """Training time of completed runs."""
    difference: Difference | None
    """The measure's result minus the baseline's, paired by seed, over seeds that both have completed; null for the
    baseline."""
    outcome: Outcome | None
    """What is claimed of the variant against the baseline; null for the baseline."""
    verdict: str
    """The claim as a sentence, with its size and how sure it is."""
    provisional: bool
    """Whether the verdict may change because runs of the variant or of the baseline are unfinished."""
    levels: list[AtLevel]
    """One for each level of the comparison, in its order."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Variants side by side; results are comparable with `references` where model, dataset, epochs and recipe
    agree."""

    group: str
    factors: list[str]
    """The fields of the spec whose values make a variant."""
    baseline: str | None
    answer: str
    """All verdicts in short."""
    variants: list[VariantComparison]
    levels: list[Level]
    """What else varies between runs of a variant; a single level if nothing does."""
    effects: list[Effect]
    """Main effects and interactions of two factors; else none."""
    references: list[ReferenceResult]
    other_references: list[OtherReference]
    """Results for the same model or dataset that are not comparable."""
    fairness: list[Inequality]
    """All in which runs of the same level differ besides variant and seed: a difference may come from there."""
    doubts: list[Doubt]
    """Warnings that some of the runs have."""
    method: str
    """How verdicts are reached and what they assume."""
    measure: Measure
    """The result whose differences are compared."""
    importance: dict[str, float]
    """Share of the variance of results that is due to each factor and to whatever else varies, to all of these
    together, and to the rest; empty unless two vary and each combination has as many runs."""
    validated: str
    """On what the runs are validated, and by how much their best epochs flatter them, as sentences."""
    interval: str
    """What the interval of a difference is."""
    claims: bool
    """Whether p values hold: not if the number of seeds depends on what was seen. With a plan its verdicts alone do."""
