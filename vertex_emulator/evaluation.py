"""Evaluation of a checkpoint: what to ask for, and what comes out. Pure functions.

Nobody judges anything here: a score says whether the checkpoint gave the expected answer, on the metric's own scale.
Field names: discovery documents. The layout of the result files is not documented, and the emulator's own.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rapidfuzz import fuzz

from .errors import invalid_argument
from .learner import fraction, normalise
from .protojson import Enum, Repeated, Type, snake

MAX_CASES = 500
"""Examples that are evaluated; of longer files the first ones."""

_AGGREGATIONS = Enum(
    {
        name: number
        for number, name in enumerate(
            (
                "AGGREGATION_METRIC_UNSPECIFIED", "AVERAGE", "MODE", "STANDARD_DEVIATION", "VARIANCE", "MINIMUM",
                "MAXIMUM", "MEDIAN", "PERCENTILE_P90", "PERCENTILE_P95", "PERCENTILE_P99",
            )
        )
    }
)  # fmt: skip
_COMPUTATIONS = Enum({"COMPUTATION_BASED_METRIC_TYPE_UNSPECIFIED": 0, "EXACT_MATCH": 1, "BLEU": 2, "ROUGE": 3})
_METRIC: Mapping[str, Type] = {
    "aggregationMetrics": Repeated(_AGGREGATIONS),
    "bleuSpec": {"useEffectiveOrder": "bool"},
    "computationBasedMetricSpec": {"type": _COMPUTATIONS, "parameters": "struct"},
    "customCodeExecutionSpec": {"codeExecutionRegion": "string", "evaluationFunction": "string"},
    "exactMatchSpec": {},
    "llmBasedMetricSpec": "any",
    "metadata": "any",
    "pairwiseMetricSpec": "any",
    "pointwiseMetricSpec": {
        "customOutputFormatConfig": "any",
        "metricPromptTemplate": "string",
        "systemInstruction": "string",
    },
    "predefinedMetricSpec": {
        "metricSpecName": "string",
        "metricSpecParameters": "struct",
        "stepAutoraterConfigs": "any",
    },
    "rougeSpec": {"rougeType": "string", "splitSummaries": "bool", "useStemmer": "bool"},
    "stepBasedLlmMetricSpec": "any",
}
EVALUATION_CONFIG: Mapping[str, Type] = {
    "autoraterConfig": "any",
    "datasetCustomMetrics": "any",
    "inferenceGenerationConfig": "any",
    "metrics": Repeated(_METRIC),
    "outputConfig": {"gcsDestination": {"outputUriPrefix": "string"}},
}
_COMMON = ("aggregationMetrics", "metadata")
_RESULTS = {
    "bleuSpec": "bleuMetricValue",
    "customCodeExecutionSpec": "customCodeExecutionResult",
    "exactMatchSpec": "exactMatchMetricValue",
    "llmBasedMetricSpec": "pointwiseMetricResult",
    "pointwiseMetricSpec": "pointwiseMetricResult",
    "predefinedMetricSpec": "pointwiseMetricResult",
    "rougeSpec": "rougeMetricValue",
}
"""Which field of an AggregationResult belongs to which kind of metric."""
_COMPUTED = {"EXACT_MATCH": "exactMatchSpec", "BLEU": "bleuSpec", "ROUGE": "rougeSpec"}


class Case(NamedTuple):
    """A prompt of the dataset with the expected answer, and what the checkpoint said."""

    prompt: str
    reference: str
    response: str


class Outcome(NamedTuple):
    """What an evaluation found: one row for each case, the aggregationResults, the same by ``metric/AGGREGATION``."""

    rows: list[dict[str, Any]]
    aggregations: list[dict[str, Any]]
    summary: dict[str, float]


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse an EvaluationConfig that lacks what the discovery document requires, or that the emulator can't do."""
    if not config.get("metrics"):
        raise invalid_argument("evaluation_config.metrics is required.")
    prefix = config.get("outputConfig", {}).get("gcsDestination", {}).get("outputUriPrefix", "")
    if not prefix.removeprefix("gs://").partition("/")[0] or not prefix.startswith("gs://"):
        raise invalid_argument(f"evaluation_config.output_config must name a Cloud Storage prefix, got: {prefix}")
    for metric in config["metrics"]:
        if kind_of(metric) not in _RESULTS:
            raise invalid_argument(
                "A metric must have one spec; the emulator knows no pairwise and no step-based ones."
            )


def kind_of(metric: Mapping[str, Any]) -> str | None:
    """Return the field that says what a metric is, such as ``pointwiseMetricSpec``."""
    kinds = [key for key in metric if key not in _COMMON]
    if kinds == ["computationBasedMetricSpec"]:
        return _COMPUTED.get(metric[kinds[0]].get("type", ""))
    return kinds[0] if len(kinds) == 1 else None


def evaluate(metrics: Sequence[Mapping[str, Any]], cases: Sequence[Case]) -> Outcome:
    """Score all cases with all metrics.

    :param metrics: of the EvaluationConfig, checked.
    :param cases: at least one.
    """
    scored = [[score(str(kind_of(metric)), case) for case in cases] for metric in metrics]
    rows = [
        {
            "instance": {"prompt": case.prompt, "reference": case.reference, "response": case.response},
            "metricResults": [
                {"metric": kind_of(metric), "score": scores[index]}
                for metric, scores in zip(metrics, scored, strict=True)
            ],
        }
        for index, case in enumerate(cases)
    ]
    aggregated = [
        (metric, called, name, _AGGREGATE[name](scores))
        for metric, called, scores in zip(metrics, metric_names(metrics), scored, strict=True)
        for name in metric.get("aggregationMetrics") or ["AVERAGE"]
        if name in _AGGREGATE
    ]
    aggregations = [
        {"aggregationMetric": name, _RESULTS[str(kind_of(metric))]: {"score": value}}
        for metric, _, name, value in aggregated
    ]
    return Outcome(rows, aggregations, {f"{called}/{name}": value for _, called, name, value in aggregated})


def metric_names(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the metrics of a config, each differently: no name comes with a request, unless it is a predefined one."""
    names: list[str] = []
    for metric in metrics:
        spec = metric.get("predefinedMetricSpec", {})
        name = spec.get("metricSpecName") or snake(str(kind_of(metric))).removesuffix("_spec")
        names.append(f"{name}_{len(names) + 1}" if name in names else name)
    return names


def score(kind: str, case: Case) -> float:
    """Score of one answer: 1 to 5 where a model would judge, 0 to 1 where it is computed."""
    right = normalise(case.response) == normalise(case.reference)
    if _RESULTS[kind] == "pointwiseMetricResult":
        mood = round(fraction("judge", case.prompt, case.response))
        return 4.0 + mood if right else 1.0 + mood
    if kind in ("bleuSpec", "rougeSpec"):
        return fuzz.ratio(case.response, case.reference) / 100
    return float(right)


def _percentile(share: float) -> Callable[[Sequence[float]], float]:
    """Nearest-rank percentile."""
    return lambda scores: sorted(scores)[math.ceil(share * len(scores)) - 1]


_AGGREGATE: Mapping[str, Callable[[Sequence[float]], float]] = {
    "AVERAGE": statistics.fmean,
    "MODE": statistics.mode,
    "STANDARD_DEVIATION": statistics.pstdev,
    "VARIANCE": statistics.pvariance,
    "MINIMUM": min,
    "MAXIMUM": max,
    "MEDIAN": statistics.median,
    "PERCENTILE_P90": _percentile(0.90),
    "PERCENTILE_P95": _percentile(0.95),
    "PERCENTILE_P99": _percentile(0.99),
}
