"""What a run did and why, as one JSON document: the audit trail. Pure; its shape stands in ``report.schema.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gemini_tuning.core import xcom
from gemini_tuning.core.console import console_link
from gemini_tuning.core.text import redact
from gemini_tuning.cost.estimate_text import entry as cost_entry
from gemini_tuning.reporting.comparison_table import champion as champion_entry
from gemini_tuning.reporting.comparison_table import compare

Json = dict[str, Any]

TOKENS = ("input", "output", "min", "median", "p95", "max")
SCHEMA_VERSION = 2
SCHEMA = Path(__file__).with_name("report.schema.json")
REFUSED = ("rejected", "timed out")


def build(
    *,
    run: Mapping[str, Any],
    tuning_job: object,
    model: object,
    results: Iterable[object],
    decision: object,
    datasets: object = None,
    champion: object = None,
    metrics: object = None,
    approval: object = None,
    promotion: object = None,
    copy: object = None,
    billed: object = None,
    mask: Callable[[str], str] = redact,
) -> Json:
    """Return the report of one run.

    :param run: ``{"dag_id", "run_id", "run_type", "logical_date", "run_after", "start_date", "triggered_by",
        "parameters", "given_parameters"}``.
    :param results: what the smoke tests pushed.
    :param decision: what the choice pushed.
    :param datasets: what the check at the beginning pushed.
    :param champion: what the smoke test of the model in production pushed; ``None`` without one.
    :param metrics: what reading the metrics pushed.
    :param approval: who decided; ``None`` when nobody was asked.
    :param promotion: what setting the default pushed; ``None`` when it was skipped.
    :param copy: what the check of the copy pushed; ``None`` when there was no copy.
    :param billed: what the list of the checkpoints pushed of the tokens that the service bills.
    :param mask: removes secrets from the text of a parameter.
    :raises ValueError: naming what is not the mapping that a step pushes.
    """
    chosen, measured = xcom.mapping(decision, "decision"), xcom.optional(metrics, "metrics")
    tested = xcom.optional(champion, "champion")
    said_approval = _approval(xcom.optional(approval, "approval"), chosen)
    said_promotion = _promotion(xcom.optional(promotion, "promotion"), chosen, said_approval)
    checked = xcom.optional(datasets, "datasets")
    data = _datasets(checked)
    checkpoints = compare(results, chosen, measured)
    report = {
        "schema_version": SCHEMA_VERSION,
        "outcome": _outcome(chosen, said_approval, said_promotion),
        "run": _run(run, mask),
        "datasets": data,
        "cost": cost_entry(xcom.part(checked, "cost"), billed),
        "tuning_job": _resource(tuning_job),
        "tuned_model": _resource(model),
        "checkpoints": checkpoints,
        "champion": champion_entry(tested, chosen),
        "losses": {name: xcom.curve(measured.get(f"{name}_loss")) for name in ("train", "eval")},
        "decision": _decision(chosen),
        "approval": said_approval,
        "promotion": said_promotion,
        "copy": _copy(xcom.optional(copy, "copy")),
    }
    named = [xcom.texts(measured.get("missing")), xcom.texts(chosen.get("missing"))]
    report["missing_evidence"] = xcom.joined([*named, _gaps(data, checkpoints, measured=bool(measured))])
    return report


def as_bytes(report: Mapping[str, Any]) -> bytes:
    """Return the JSON file."""
    return (json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")


def _resource(name: object) -> Json:
    return {"name": xcom.text(name), "console": console_link(name)}


def _run(run: Mapping[str, Any], mask: Callable[[str], str]) -> Json:
    facts = ("dag_id", "run_id", "run_type", "logical_date", "run_after", "start_date", "triggered_by")
    return {
        **{key: xcom.text(run.get(key)) for key in facts},
        "parameters": xcom.anything(dict(run.get("parameters") or {}), mask),
        "given_parameters": xcom.texts(run.get("given_parameters")),
    }


def _datasets(pushed_: Mapping[str, Any]) -> Json:
    return {part: _dataset(xcom.part(pushed_, part)) for part in ("training", "validation")}


def _dataset(data: Mapping[str, Any]) -> Json | None:
    if not data:
        return None
    return {
        **{key: xcom.text(data.get(key)) or None for key in ("uri", "sha256", "generation")},
        **{key: xcom.whole(data.get(key)) for key in ("examples", "size_bytes")},
        "tokens": {key: xcom.whole(xcom.part(data, "tokens").get(key)) for key in TOKENS},
        "found": {key: count for key, value in xcom.part(data, "found").items() if (count := xcom.whole(value))},
        "warnings": xcom.texts(data.get("warnings")),
    }


def _decision(decision: Mapping[str, Any]) -> Json:
    return {
        "winner": xcom.text(decision.get("winner")),
        "outcome": xcom.text(decision.get("outcome")),
        "reason": xcom.text(decision.get("reason")),
        "overfitting": xcom.text(decision.get("overfitting")),
        "policy": xcom.anything(decision.get("policy")),
    }


def _approval(approval: Mapping[str, Any], decision: Mapping[str, Any]) -> Json | None:
    """Return who decided; Airflow keeps what a task pushed, though another try of the run skips it."""
    if not approval or xcom.text(approval.get("proposed")) != xcom.text(decision.get("winner")):
        return None
    by = xcom.part(approval, "by")
    return {
        "required": approval.get("required") is True,
        **{key: xcom.text(approval.get(key)) for key in ("outcome", "checkpoint_id", "proposed", "at")},
        "by": {key: xcom.text(by.get(key)) for key in ("id", "name")} if by else None,
        "timeout": xcom.number(approval.get("timeout")),
        "offered": xcom.texts(approval.get("offered")),
    }


def _promotion(promotion: Mapping[str, Any], decision: Mapping[str, Any], approval: Json | None) -> Json:
    """Return what became of the default: as it was read back, or as it was found and left."""
    before = decision.get("default_checkpoint_id", promotion.get("default_before"))
    winner = xcom.text(decision.get("winner")) if approval is None else approval["checkpoint_id"]
    after = xcom.text(promotion.get("default_after") if promotion else before)
    return {
        "winner": winner,
        "read_back": bool(promotion),
        "earlier_try": bool(promotion) and after != winner,
        "default_before": xcom.text(before),
        "default_after": after,
        **{key: xcom.text(promotion.get(key)) for key in ("endpoint_before", "endpoint_after")},
    }


def _outcome(decision: Mapping[str, Any], approval: Json | None, promotion: Json) -> str:
    """Return in one word what the run came to."""
    if promotion["read_back"] and not promotion["earlier_try"]:
        return "promoted" if promotion["default_after"] != promotion["default_before"] else "already default"
    if approval and approval["outcome"] in REFUSED:
        return str(approval["outcome"])
    if promotion["winner"] is not None:
        return "already default" if promotion["winner"] == promotion["default_before"] else "not promoted"
    return "champion kept" if decision.get("outcome") == "keep_champion" else "nobody"


def _copy(copy: Mapping[str, Any]) -> Json | None:
    if not copy:
        return None
    return {
        **{
            key: xcom.text(copy.get(key))
            for key in ("source_model", "model", "default_checkpoint_id", "default_of_source")
        },
        "checkpoints": xcom.whole(copy.get("checkpoints")),
        "console": console_link(copy.get("model")),
    }


def _gaps(datasets: Mapping[str, Any], checkpoints: Sequence[Mapping[str, Any]], *, measured: bool) -> list[str]:
    """Name what the report should have and nobody pushed."""
    gaps = [f"the {part} file's sha256" for part, data in datasets.items() if data and not data["sha256"]]
    if not datasets["training"]:
        gaps.append("what the training file was")
    gaps += [f"a smoke test of checkpoint {c['checkpoint_id']}" for c in checkpoints if not c["smoke_test"]]
    gaps += [f"an assessment of checkpoint {c['checkpoint_id']}" for c in checkpoints if not c["assessment"]]
    if not measured:
        gaps.append("the losses: the job's metrics were not read")
    return gaps
