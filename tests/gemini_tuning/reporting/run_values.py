"""What the steps of a run push, as an example that tests change."""

from typing import Any

PARENT = "projects/123/locations/us-central1"
JOB, MODEL = f"{PARENT}/tuningJobs/5", f"{PARENT}/models/7@1"
RUN = {
    "dag_id": "gemini_checkpoint_tuning",
    "run_id": "manual__1",
    "run_type": "manual",
    "logical_date": None,
    "run_after": "2026-11-20T08:00:00+00:00",
    "start_date": "2026-11-20T08:00:01+00:00",
    "triggered_by": "ada",
    "parameters": {"training_dataset_uri": "gs://bucket/train.jsonl", "epoch_count": None},
    "given_parameters": ["training_dataset_uri"],
}
COST = {
    "currency": "USD",
    "price_date": "2026-11-23",
    "total": 0.1025,
    "at_least": 0.1025,
    "unknown": [],
    "budget": 5.0,
    "epochs": 3,
    "counted": {
        "model": "gemini-2.5-flash",
        "examples": 47,
        "counted": 2_200,
        "estimated": 2_000,
        "ratio": 1.1,
    },
    "items": [
        {
            "what": "tuning",
            "model": "gemini-2.5-flash",
            "prompts": None,
            "tokens": {"training": 18_000},
            "prices": {"training": 5.0},
            "amount": 0.09,
            "at_least": 0.09,
            "unknown": [],
        },
        {
            "what": "smoke_test",
            "model": "gemini-2.5-flash",
            "prompts": 72,
            "tokens": {"input": 0, "output": 5_000},
            "prices": {"input": 0.3, "output": 2.5},
            "amount": 0.0125,
            "at_least": 0.0125,
            "unknown": [],
        },
    ],
}
BILLED = {"billable_tokens": 19_800, "dataset_tokens": 6_600, "epoch_count": 3}
DATASETS = {
    "training": {
        "uri": "gs://bucket/train.jsonl",
        "examples": 140,
        "size_bytes": 23_000,
        "sha256": "ab" * 32,
        "tokens": {"input": 4_000, "output": 1_500, "min": 20, "median": 38, "p95": 60, "max": 90},
        "found": {"repeated": 2},
        "warnings": [],
    },
    "validation": None,
    "suite_cases": 24,
    "cost": COST,
}


def summary(checkpoint_id: str, passed: int = 20, **change: Any) -> dict[str, Any]:
    """What the smoke test of a checkpoint pushes."""
    share = passed / 24
    return {
        "checkpoint_id": checkpoint_id,
        "epoch": int(checkpoint_id),
        "step": 10 * int(checkpoint_id),
        "endpoint": f"{PARENT}/endpoints/{checkpoint_id}",
        "suite": "ferry_support",
        "suite_fingerprint": "cd" * 32,
        "results_uri": f"gs://bucket/results/checkpoint-{checkpoint_id}.jsonl",
        "cases": 24,
        "answered": 24,
        "unanswered": 0,
        "passed": passed,
        "pass_rate": share,
        "pass_rate_interval": [share - 0.1, share],
        "score": share,
        "score_interval": [share - 0.1, share],
        "critical_failed": [],
        "critical_failures": 0,
        "blocked": 0,
        "latency_ms": {"p50": 101.2, "p95": 320.8},
        "tokens": {"prompt": 1_000, "output": 200},
        "cost": {"amount": 0.0123, "currency": "USD"},
        "failures": [{"id": "refund", "reason": "does not contain 'refund'"}],
        "error": None,
        **change,
    }


def assessment(checkpoint_id: str, passed: int = 20, *, passed_gates: bool = True) -> dict[str, Any]:
    """What the decision says of a checkpoint."""
    share = passed / 24
    return {
        "checkpoint_id": checkpoint_id,
        "epoch": int(checkpoint_id),
        "step": 10 * int(checkpoint_id),
        "pass_rate": share,
        "pass_rate_interval": [share - 0.1, share],
        "score_interval": [share - 0.1, share],
        "score": share,
        "latency_p95_ms": 320.8,
        "train_loss": 0.3,
        "eval_loss": 0.45,
        "passed_gates": passed_gates,
        "speaks_for": ["answers all critical cases"] if passed_gates else [],
        "speaks_against": [] if passed_gates else ["pass rate 41.7% is below 80.0%"],
    }


def decision(winner: str | None = "2", **change: Any) -> dict[str, Any]:
    """Three checkpoints: 2 and 3 passed the gates, 1 did not; the default is 3."""
    return {
        "winner": winner,
        "outcome": "no_winner" if winner is None else "promote",
        "reason": "No checkpoint wins." if winner is None else f"Checkpoint {winner} wins.",
        "checkpoints": [assessment("2", 22), assessment("3", 21), assessment("1", 10, passed_gates=False)],
        "champion": None,
        "overfitting": None,
        "missing": [],
        "default_checkpoint_id": "3",
        "policy": {"min_pass_rate": 0.8},
        **change,
    }


RESULTS = [summary("1", 10), summary("2", 22), summary("3", 21)]
METRICS = {
    "checkpoints": {
        "1": {"train_loss": 0.5, "eval_loss": 0.6, "eval_accuracy": 0.7, "from_step": {}, "evaluation": None},
        "2": {
            "train_loss": 0.3,
            "eval_loss": 0.45,
            "eval_accuracy": 0.8,
            "from_step": {"eval_loss": 18},
            "evaluation": {"FLUENCY/AVERAGE": 4.5},
        },
    },
    "train_loss": [[10, 0.5], [20, 0.3]],
    "eval_loss": [[10, 0.6], [18, 0.45]],
    "missing": ["no losses of checkpoint 3"],
}
PROMOTION = {
    "model": MODEL,
    "default_before": "3",
    "default_after": "2",
    "endpoint_before": f"{PARENT}/endpoints/3",
    "endpoint_after": f"{PARENT}/endpoints/2",
}
COPY = {
    "source_model": MODEL,
    "model": "projects/123/locations/europe-west4/models/8@1",
    "checkpoints": 3,
    "default_checkpoint_id": "2",
    "default_of_source": "2",
}
APPROVED = {
    "required": True,
    "outcome": "approved",
    "checkpoint_id": "2",
    "proposed": "2",
    "by": {"id": "7", "name": "ada"},
    "at": "2026-11-20T09:30:00+00:00",
    "timeout": 3600.0,
    "offered": ["Approve checkpoint 2", "Take checkpoint 3 instead", "Reject"],
}


def everything(**change: Any) -> dict[str, Any]:
    """All arguments of the report of a run that promoted checkpoint 2 and copied the model."""
    return {
        "run": RUN,
        "tuning_job": JOB,
        "model": MODEL,
        "results": RESULTS,
        "decision": decision(),
        "datasets": DATASETS,
        "champion": None,
        "metrics": METRICS,
        "approval": APPROVED,
        "promotion": PROMOTION,
        "copy": COPY,
        "billed": BILLED,
        **change,
    }
