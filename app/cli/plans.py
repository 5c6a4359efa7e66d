"""What the command line takes and says of plans."""

import json
import math
from typing import Any

from app.cli.output import UsageError

EXAMPLES = {
    "--plan": "--plan max_seeds=10",
    "--tune": """--tune '{"fields": {"lr": {"low": 0.0001, "high": 0.01, "log": true}}}'""",
    "--variant": "--variant pooling=gem,lr=0.002",
}


def value_of(text: str) -> Any:
    """The value as JSON, else as text; the server says whether it fits."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value


def parse_fields(text: str, option: str) -> dict[str, Any]:
    """An option's value as a JSON object, or as FIELD=VALUE,FIELD=VALUE. Raises `UsageError`."""
    example = f"for example {EXAMPLES[option]}"
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{option} {text!r} is no JSON object ({error}); {example}") from error
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key in found:
            raise UsageError(f"{option} {part!r} is not FIELD=VALUE, or given twice; {example}")
        found[key] = value_of(value)
    return found


def is_unfinished(experiment: dict[str, Any]) -> bool:
    """Whether runs are to be trained, or may yet be queued by a plan."""
    return bool(experiment["queued"] + experiment["running"]) or experiment["plan_state"] == "open"


def plan_lines(experiment: dict[str, Any]) -> list[str]:
    """How far a plan is; empty if there is none."""
    plan, planning = experiment["plan"], experiment["planning"]
    if not plan:
        return []
    begin = (
        f"plan of {experiment['planned_at'][:16].replace('T', ' ')}: {plan['measure']} against {plan['baseline']}, "
        f"alike within ±{plan['smallest_difference']:g}, error rate {100 * plan['alpha']:g} %, "
        f"at most {experiment['max_seeds']} seeds; {_state(experiment)}"
    )
    variants = [
        f"- {name}: {_variant(one, experiment['max_seeds'])}"
        for name, one in planning["variants"].items()
        if one["outcome"] != "baseline"
    ]
    return [begin, *variants]


def _state(experiment: dict[str, Any]) -> str:
    saved = experiment["planning"]["saved_runs"]
    match experiment["plan_state"]:
        case "ended":
            return f"it has ended after {experiment['runs']} runs, {saved} fewer than all seeds of all variants"
        case "cancelled":
            return f"it was cancelled; POST /experiments/{experiment['id']}/retry goes on with it"
        case _:
            return "it is open"


def _variant(one: dict[str, Any], max_seeds: int) -> str:
    if one["why"]:
        return str(one["why"])
    if one["outcome"] == "open":
        return f"open: {one['seeds']} of {max_seeds} seeds"
    if one["outcome"] == "undecided":
        return f"undecided, the budget of {max_seeds} seeds is spent"
    return f"{one['outcome']}, settled after {one['seeds']} seeds ({one['seconds']:.0f} s of training)"
