"""Evaluations of checkpoints by the service, as an evaluation run of its own and as the list of a tuning job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AliasPath, BeforeValidator

from gemini_tuning.core.api_types import MAX_ENUM, ApiResource, Enum, EvaluationRunName, JobError, at, number
from gemini_tuning.core.names import ResourceName, ResourceNameError
from gemini_tuning.core.text import redact

MAX_METRICS = 100  # of an evaluation
# Fields of an aggregation result with a metric's score, and our names of these metrics.
AGGREGATED: Mapping[str, str] = {
    "bleuMetricValue": "bleu",
    "customCodeExecutionResult": "custom_code_execution",
    "exactMatchMetricValue": "exact_match",
    "pointwiseMetricResult": "pointwise_metric",
    "rougeMetricValue": "rouge",
}


def _short_names(metrics: Any) -> Any:
    """Remove the candidate, if there is only one, from ``CANDIDATE/METRIC/AGGREGATION``; keep finite numbers only."""
    if not isinstance(metrics, Mapping):
        return metrics
    scores = {name: score for name, value in metrics.items() if (score := number(value)) is not None}
    some = dict(list(scores.items())[:MAX_METRICS])
    short = {"/".join(str(name).split("/")[-2:]): value for name, value in some.items()}
    return {redact(name, MAX_ENUM): value for name, value in (short if len(short) == len(some) else some).items()}


def _aggregated(results: Any) -> dict[str, float]:
    """Return the scores of a job's own list by ``METRIC/AGGREGATION``; two metrics of a kind are numbered."""
    found: dict[str, float] = {}
    for result in results if isinstance(results, list) else ():
        kind = next((kind for kind in AGGREGATED if isinstance(result, Mapping) and result.get(kind)), "")
        score = number(AliasPath(kind, "score").search_dict_for_path(result)) if kind else None
        if score is None or len(found) == MAX_METRICS:
            continue
        aggregation = redact(result.get("aggregationMetric", ""), MAX_ENUM)
        same = sum(1 for name in found if name.startswith(AGGREGATED[kind]) and name.endswith(f"/{aggregation}"))
        found[f"{AGGREGATED[kind]}{f'_{same + 1}' if same else ''}/{aggregation}"] = score
    return found


def _evaluation_name(value: Any) -> str:
    try:
        return str(ResourceName.parse(value, "evaluationRuns"))
    except ResourceNameError:
        return ""


@dataclass(frozen=True)
class EvaluationRun(ApiResource):
    """The service's own evaluation of one checkpoint, which it does not name in a job that saves its last one only.

    The metrics are by ``METRIC/AGGREGATION``, for example ``{"exact_match/AVERAGE": 0.8}``. In a job's own list, name
    and state may be empty.
    """

    collection = "evaluationRuns"

    name: EvaluationRunName
    checkpoint_id: Enum | None = None
    state: Enum = ""
    metrics: Annotated[
        Mapping[str, float], at("evaluationResults", "summaryMetrics", "metrics"), BeforeValidator(_short_names)
    ] = field(default_factory=dict)
    error: JobError | None = None


@dataclass(frozen=True)
class JobEvaluation(EvaluationRun):
    """An evaluation in a job's own list; invalid parts are left out, because the job is usable without them."""

    name: Annotated[str, at("evaluationRun"), BeforeValidator(_evaluation_name)] = ""
    metrics: Annotated[
        Mapping[str, float],
        at("evaluateDatasetResponse", "aggregationOutput", "aggregationResults"),
        BeforeValidator(_aggregated),
    ] = field(default_factory=dict)
