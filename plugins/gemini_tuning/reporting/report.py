"""What a run did and why, as one JSON document: the audit trail. Pure; its shape stands in ``report.schema.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gemini_tuning.reporting import pushed
from gemini_tuning.reporting.comparison import champion as champion_entry
from gemini_tuning.reporting.comparison import compare
from gemini_tuning.reporting.console import console_link
from gemini_tuning.reporting.cost import entry as cost_entry
from gemini_tuning.wording import said

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
    mask: Callable[[str], str] = said,
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
    chosen, measured = pushed.mapping(decision, "decision"), pushed.optional(metrics, "metrics")
    tested = pushed.optional(champion, "champion")
    said_approval = _approval(pushed.optional(approval, "approval"), chosen)
    said_promotion = _promotion(pushed.optional(promotion, "promotion"), chosen, said_approval)
    checked = pushed.optional(datasets, "datasets")
    data = _datasets(checked)
    checkpoints = compare(results, chosen, measured)
    report = {
        "schema_version": SCHEMA_VERSION,
        "outcome": _outcome(chosen, said_approval, said_promotion),
        "run": _run(run, mask),
        "datasets": data,
        "cost": cost_entry(pushed.part(checked, "cost"), billed),
        "tuning_job": _resource(tuning_job),
        "tuned_model": _resource(model),
        "checkpoints": checkpoints,
        "champion": champion_entry(tested, chosen),
        "losses": {name: pushed.curve(measured.get(f"{name}_loss")) for name in ("train", "eval")},
        "decision": _decision(chosen),
        "approval": said_approval,
        "promotion": said_promotion,
        "copy": _copy(pushed.optional(copy, "copy")),
    }
    named = [pushed.texts(measured.get("missing")), pushed.texts(chosen.get("missing"))]
    report["missing_evidence"] = pushed.joined([*named, _gaps(data, checkpoints, measured=bool(measured))])
    return report


def as_bytes(report: Mapping[str, Any]) -> bytes:
    """Return the JSON file."""
    return (json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")


def _resource(name: object) -> Json:
    return {"name": pushed.text(name), "console": console_link(name)}


def _run(run: Mapping[str, Any], mask: Callable[[str], str]) -> Json:
    facts = ("dag_id", "run_id", "run_type", "logical_date", "run_after", "start_date", "triggered_by")
    return {
        **{key: pushed.text(run.get(key)) for key in facts},
        "parameters": pushed.anything(dict(run.get("parameters") or {}), mask),
        "given_parameters": pushed.texts(run.get("given_parameters")),
    }


def _datasets(pushed_: Mapping[str, Any]) -> Json:
    return {part: _dataset(pushed.part(pushed_, part)) for part in ("training", "validation")}


def _dataset(data: Mapping[str, Any]) -> Json | None:
    if not data:
        return None
    return {
        **{key: pushed.text(data.get(key)) or None for key in ("uri", "sha256", "generation")},
        **{key: pushed.whole(data.get(key)) for key in ("examples", "size_bytes")},
        "tokens": {key: pushed.whole(pushed.part(data, "tokens").get(key)) for key in TOKENS},
        "found": {key: count for key, value in pushed.part(data, "found").items() if (count := pushed.whole(value))},
        "warnings": pushed.texts(data.get("warnings")),
    }


def _decision(decision: Mapping[str, Any]) -> Json:
    return {
        "winner": pushed.text(decision.get("winner")),
        "outcome": pushed.text(decision.get("outcome")),
        "reason": pushed.text(decision.get("reason")),
        "overfitting": pushed.text(decision.get("overfitting")),
        "policy": pushed.anything(decision.get("policy")),
    }


def _approval(approval: Mapping[str, Any], decision: Mapping[str, Any]) -> Json | None:
    """Return who decided; Airflow keeps what a task pushed, though another try of the run skips it."""
    if not approval or pushed.text(approval.get("proposed")) != pushed.text(decision.get("winner")):
        return None
    by = pushed.part(approval, "by")
    return {
        "required": approval.get("required") is True,
        **{key: pushed.text(approval.get(key)) for key in ("outcome", "checkpoint_id", "proposed", "at")},
        "by": {key: pushed.text(by.get(key)) for key in ("id", "name")} if by else None,
        "timeout": pushed.number(approval.get("timeout")),
        "offered": pushed.texts(approval.get("offered")),
    }


def _promotion(promotion: Mapping[str, Any], decision: Mapping[str, Any], approval: Json | None) -> Json:
    """Return what became of the default: as it was read back, or as it was found and left."""
    before = decision.get("default_checkpoint_id", promotion.get("default_before"))
    winner = pushed.text(decision.get("winner")) if approval is None else approval["checkpoint_id"]
    after = pushed.text(promotion.get("default_after") if promotion else before)
    return {
        "winner": winner,
        "read_back": bool(promotion),
        "earlier_try": bool(promotion) and after != winner,
        "default_before": pushed.text(before),
        "default_after": after,
        **{key: pushed.text(promotion.get(key)) for key in ("endpoint_before", "endpoint_after")},
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
            key: pushed.text(copy.get(key))
            for key in ("source_model", "model", "default_checkpoint_id", "default_of_source")
        },
        "checkpoints": pushed.whole(copy.get("checkpoints")),
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
