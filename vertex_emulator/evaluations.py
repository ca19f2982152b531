"""Runs the evaluation that a tuning job asked for, and writes its result files."""

import json
from itertools import islice
from typing import Any

from .buckets import Buckets, Conditions
from .errors import GoogleError
from .evaluation import MAX_CASES, Case, evaluate
from .names import derived_id
from .records import Checkpoint, Job, Store
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
        run_id = derived_id("evaluation", job.name, checkpoint.checkpoint_id)
        run: dict[str, Any] = {
            "evaluationRun": job.parent.child("evaluationRuns", run_id),
            "checkpointId": checkpoint.checkpoint_id,
        }
        outcome = evaluate(config["metrics"], self._cases(job.tuning.validation or job.tuning.training, checkpoint))
        prefix = config["outputConfig"]["gcsDestination"]["outputUriPrefix"].rstrip("/")
        directory = f"{prefix}/evaluation-{job.id}-checkpoint-{checkpoint.checkpoint_id}"
        try:
            self._write(f"{directory}/evaluation_results.jsonl", outcome.rows, now)
            self._write(f"{directory}/aggregation_results.jsonl", outcome.aggregations, now)
        except GoogleError as error:
            run["error"] = {"code": _NOT_FOUND, "message": f"Failed to write to {directory}: {error.message}"}
        else:
            dataset = job.spec.get("validationDatasetUri") or job.spec["trainingDatasetUri"]
            run["evaluateDatasetResponse"] = {
                "aggregationOutput": {
                    "dataset": {"gcsSource": {"uris": [dataset]}},
                    "aggregationResults": outcome.aggregations,
                },
                "outputInfo": {"gcsOutputDirectory": directory},
            }
        job.evaluations.append(run)

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
