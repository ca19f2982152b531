"""Runs the evaluation that a tuning job asked for, and writes its result files."""

import json
from itertools import islice
from typing import Any

from .buckets import Buckets, Conditions
from .errors import GoogleError
from .evaluation import MAX_CASES, Case, Outcome, evaluate, metric_names
from .names import derived_id
from .records import Checkpoint, EvaluationRun, Job, Store
from .serving import Serving

_NOT_FOUND = 5
"""google.rpc.Code."""


class Evaluations:
    """Evaluates checkpoints."""

    def __init__(self, store: Store, buckets: Buckets, serving: Serving) -> None:
        self._store = store
        self._buckets = buckets
        self._serving = serving

    def run(self, job: Job, checkpoint: Checkpoint, now: float) -> None:
        """Evaluate a checkpoint that was just deployed, if the job has an evaluationConfig.

        It takes no virtual time. The dataset is the validation dataset; without one, the training dataset (the
        emulator's choice).
        """
        config = job.spec.get("evaluationConfig")
        if not config or job.tuning is None:
            return
        outcome = evaluate(config["metrics"], self._cases(job.tuning.validation or job.tuning.training, checkpoint))
        prefix = config["outputConfig"]["gcsDestination"]["outputUriPrefix"].rstrip("/")
        directory = f"{prefix}/evaluation-{job.id}-checkpoint-{checkpoint.checkpoint_id}"
        error = self._write_all(directory, outcome, now)
        run = self._keep(job, checkpoint, outcome, error, now)
        shown: dict[str, Any] = {"evaluationRun": run.name, "checkpointId": checkpoint.checkpoint_id}
        if error:
            shown["error"] = error
        else:
            dataset = job.spec.get("validationDatasetUri") or job.spec["trainingDatasetUri"]
            shown["evaluateDatasetResponse"] = {
                "aggregationOutput": {
                    "dataset": {"gcsSource": {"uris": [dataset]}},
                    "aggregationResults": outcome.aggregations,
                },
                "outputInfo": {"gcsOutputDirectory": directory},
            }
        job.evaluations.append(shown)

    def _keep(
        self, job: Job, checkpoint: Checkpoint, outcome: Outcome, error: dict[str, Any] | None, now: float
    ) -> EvaluationRun:
        config = job.spec["evaluationConfig"]
        run = EvaluationRun(
            seq=self._store.next_seq(),
            parent=job.parent,
            id=derived_id("evaluation", job.name, checkpoint.checkpoint_id),
            at=now,
            display_name=f"{job.request['tunedModelDisplayName']} checkpoint {checkpoint.checkpoint_id}",
            labels=dict(job.request["labels"]),
            job=job.name,
            checkpoint_id=checkpoint.checkpoint_id,
            endpoint=checkpoint.endpoint,
            config=config,
            metrics=metric_names(config["metrics"]),
            summary=outcome.summary,
            cases=len(outcome.rows),
            error=error,
            encryption=job.request.get("encryptionSpec"),
        )
        self._store.evaluation_runs[run.name] = run
        return run

    def _write_all(self, directory: str, outcome: Outcome, now: float) -> dict[str, Any] | None:
        """Write both files; returns the google.rpc.Status when that fails."""
        try:
            self._write(f"{directory}/evaluation_results.jsonl", outcome.rows, now)
            self._write(f"{directory}/aggregation_results.jsonl", outcome.aggregations, now)
        except GoogleError as error:
            return {"code": _NOT_FOUND, "message": f"Failed to write to {directory}: {error.message}"}
        return None

    def _cases(self, digest: str, checkpoint: Checkpoint) -> list[Case]:
        exchanges = islice(self._store.files[digest].corpus.exchanges, MAX_CASES)
        return [
            Case(exchange.user_texts[-1], exchange.answer, self._serving.reply(checkpoint, exchange.user_texts))
            for exchange in exchanges
        ]

    def _write(self, uri: str, rows: list[dict[str, Any]], now: float) -> None:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        metadata = {"contentType": "application/jsonl"}
        self._buckets.write(bucket, name, content, metadata=metadata, conditions=Conditions(), now=now)
