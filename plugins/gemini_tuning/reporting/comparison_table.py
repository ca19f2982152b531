"""The checkpoints of a run side by side: what is known of each, and the table that people decide by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gemini_tuning.core import xcom
from gemini_tuning.core.markdown import linked, plain, table

Json = dict[str, Any]

MAX_CELL = 300  # characters
FIGURES = ("pass_rate", "score", "latency_p95_ms", "train_loss", "eval_loss")  # of an assessment
HEADINGS = (
    "checkpoint",
    "epoch",
    "step",
    "pass rate",
    "score",
    "critical failures",
    "p50 / p95",
    "eval loss",
    "remarks",
    "for",
    "against",
)


def compare(
    results: Iterable[object], decision: Mapping[str, Any], metrics: Mapping[str, Any] | None = None
) -> list[Json]:
    """Return what is known of each checkpoint, best first, as the decision ranks them.

    :param results: what the smoke tests pushed.
    :param decision: what the choice pushed.
    :param metrics: what reading the metrics pushed.
    :raises ValueError: naming what is not the mapping that a step pushes.
    """
    summaries = [xcom.mapping(result, f"results, number {number}") for number, result in enumerate(results, 1)]
    tested = {_id(summary): summary for summary in summaries}
    assessed = {_id(found): found for found in _mappings(decision.get("checkpoints"))}
    losses = xcom.part(metrics or {}, "checkpoints")
    return [
        _entry(identifier, tested.get(identifier), assessed.get(identifier), losses.get(identifier))
        for identifier in dict.fromkeys([*assessed, *tested])
    ]


def champion(summary: Mapping[str, Any] | None, decision: Mapping[str, Any]) -> Json | None:
    """Return the same of the model in production; ``None`` when it was not asked."""
    assessment = xcom.part(decision, "champion")
    if not summary and not assessment:
        return None
    return _entry(_id(summary or assessment), summary, assessment, None)


def comparison(
    checkpoints: Sequence[Mapping[str, Any]],
    champion: Mapping[str, Any] | None = None,
    *,
    marks: Mapping[str, str | None],
    reasons: bool = True,
) -> list[str]:
    """Return the table's lines.

    :param checkpoints: of :func:`compare`.
    :param champion: of :func:`champion`.
    :param marks: what is to be remarked of which checkpoint: ``{"winner": "4", "default before": "6"}``.
    :param reasons: with what speaks for and against each; they make long lines.
    """
    rows = [_row(entry, plain(entry["checkpoint_id"]), marks) for entry in checkpoints]
    if champion:
        rows.append(_row(champion, "champion", {}))
    width = None if reasons else -2
    return table([HEADINGS[:width], *(row[:width] for row in rows)])


def named(
    checkpoints: Iterable[Mapping[str, Any]], champion: Mapping[str, Any] | None
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return all who were asked, each with a name in Markdown; the champion's id may be that of a checkpoint."""
    pairs = [(f"checkpoint {plain(entry['checkpoint_id'])}", entry) for entry in checkpoints]
    return [*pairs, ("champion", champion)] if champion else pairs


def whereabouts(entries: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return a line for each with links to its results and its endpoint.

    :param entries: of :func:`named`.
    """
    lines = []
    for name, entry in entries:
        test = entry["smoke_test"]
        places = {"results": test["results_uri"] if test else None, "endpoint": entry["endpoint"]}
        links = [f"{what} {linked(address, address)}" for what, address in places.items() if address]
        lines.append(f"- {name}: {', '.join(links) or 'no results, no endpoint'}")
    return lines


def percent(share: float | int | None) -> str:
    """Return a share of 0 to 1 in words."""
    return "-" if share is None else f"{share:.1%}"


def _id(found: Mapping[str, Any]) -> str:
    return xcom.text(found.get("checkpoint_id"), MAX_CELL) or "unknown"


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def _entry(
    identifier: str, summary: Mapping[str, Any] | None, assessment: Mapping[str, Any] | None, line: object
) -> Json:
    either = {**(assessment or {}), **{k: v for k, v in (summary or {}).items() if v is not None}}
    losses = line if isinstance(line, Mapping) else None
    return {
        "checkpoint_id": identifier,
        "epoch": xcom.whole(either.get("epoch")),
        "step": xcom.whole(either.get("step")),
        "endpoint": xcom.text(either.get("endpoint")),
        "smoke_test": _smoke_test(summary) if summary else None,
        "losses": _losses(losses) if losses else None,
        "evaluation": xcom.anything(losses.get("evaluation")) if losses else None,
        "assessment": _assessment(assessment) if assessment else None,
    }


def _smoke_test(summary: Mapping[str, Any]) -> Json:
    counts = ("cases", "answered", "passed", "critical_failures", "blocked")
    latency, tokens, cost = (xcom.part(summary, key) for key in ("latency_ms", "tokens", "cost"))
    return {
        **{key: xcom.text(summary.get(key)) for key in ("suite", "suite_fingerprint", "results_uri")},
        **{key: xcom.whole(summary.get(key)) for key in counts},
        **{key: xcom.number(summary.get(key)) for key in ("pass_rate", "score")},
        **{key: xcom.interval(summary.get(key)) for key in ("pass_rate_interval", "score_interval")},
        "critical_failed": xcom.texts(summary.get("critical_failed"), MAX_CELL),
        "latency_ms": {key: xcom.number(latency.get(key)) for key in ("p50", "p95")},
        "tokens": {key: xcom.whole(tokens.get(key)) for key in ("prompt", "output")},
        "cost": _cost(cost),
        "failures": [
            {key: xcom.text(failure.get(key), MAX_CELL) for key in ("id", "reason")}
            for failure in _mappings(summary.get("failures"))
        ],
        "error": xcom.text(summary.get("error")),
    }


def _cost(cost: Mapping[str, Any]) -> Json | None:
    amount = xcom.number(cost.get("amount"))
    return None if amount is None else {"amount": amount, "currency": xcom.text(cost.get("currency"), MAX_CELL)}


def _losses(line: Mapping[str, Any]) -> Json:
    earlier = xcom.part(line, "from_step")
    names = ("train_loss", "eval_loss", "eval_accuracy")
    return {
        **{name: xcom.number(line.get(name)) for name in names},
        "from_step": {name: step for name in names if (step := xcom.whole(earlier.get(name))) is not None},
    }


def _assessment(found: Mapping[str, Any]) -> Json:
    return {
        "passed_gates": found.get("passed_gates") is True,
        "pass_rate_interval": xcom.interval(found.get("pass_rate_interval")),
        **{key: xcom.number(found.get(key)) for key in FIGURES},
        **{key: xcom.texts(found.get(key), MAX_CELL) for key in ("speaks_for", "speaks_against")},
    }


def _row(entry: Mapping[str, Any], name: str, marks: Mapping[str, str | None]) -> list[str]:
    test, assessment = entry["smoke_test"] or {}, entry["assessment"] or {}
    rates = assessment if assessment.get("pass_rate") is not None else test
    remarks = [mark for mark, identifier in marks.items() if identifier == entry["checkpoint_id"]]
    if test.get("error") and not assessment:
        remarks.append(plain(test["error"], MAX_CELL))
    return [
        name,
        _cell(entry["epoch"]),
        _cell(entry["step"]),
        percent(rates.get("pass_rate")) + _between(rates.get("pass_rate_interval")),
        "-" if rates.get("score") is None else f"{rates['score']:.3f}",
        _cell(test.get("critical_failures")),
        _latency(test, assessment),
        _loss(entry, assessment),
        ", ".join(remarks) or "-",
        _cell("; ".join(assessment.get("speaks_for") or ()) or None),
        _cell("; ".join(assessment.get("speaks_against") or ()) or None),
    ]


def _cell(value: object) -> str:
    return "-" if value is None else plain(value)


def _between(bounds: Sequence[float] | None) -> str:
    return f" ({bounds[0]:.1%} to {bounds[1]:.1%})" if bounds else ""


def _latency(test: Mapping[str, Any], assessment: Mapping[str, Any]) -> str:
    measured = test.get("latency_ms") or {}
    both = (measured.get("p50"), measured.get("p95") or assessment.get("latency_p95_ms"))
    return "-" if both == (None, None) else " / ".join("-" if ms is None else f"{ms:.0f} ms" for ms in both)


def _loss(entry: Mapping[str, Any], assessment: Mapping[str, Any]) -> str:
    loss = (entry["losses"] or assessment).get("eval_loss")
    return "-" if loss is None else f"{loss:.4g}"
