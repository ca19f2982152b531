"""The Params of ``gemini_checkpoint_tuning``: what ops fill in, and what a retraining profile may say.

They stand here because several DAGs need them, whole or a few, and a DAG file can't rely on importing another one.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from airflow.sdk import Param

GCS_OBJECT = r"^gs://[a-z0-9][a-z0-9._-]+/\S+$"
MODEL_NAME = r"^projects/[^/@]+/locations/[a-z0-9-]+/models/[A-Za-z0-9_-]+(@[A-Za-z0-9_-]+)?$"
JOB_NAME = r"^projects/[^/]+/locations/[a-z0-9-]+/tuningJobs/[0-9]+$"
SERVING = r"^projects/[^/@]+/locations/[a-z0-9-]+/(endpoints/[0-9a-z-]+|models/[A-Za-z0-9_-]+(@[A-Za-z0-9_-]+)?)$"
FOLDER = r"^(gs://[a-z0-9][a-z0-9._-]+(/\S*)?|/\S*|file:///\S*)$"
KMS_KEY = r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$"
TUNING, CHOICE, PRODUCTION, COPY = "Tuning", "Smoke test and choice", "Champion and approval", "Copy"
CONTINUE, EVALUATION, CLOUD, WAITING = "Go on from a tuned model", "Evaluation by Google", "Google Cloud", "Waiting"
COST = "Cost"


def tuning_params(suites: Path) -> dict[str, Param]:
    """Return the Params of the tuning DAG.

    :param suites: folder of the smoke suites that the form offers.
    """
    names = sorted(path.stem for path in suites.glob("*.yaml"))
    suite = Param(
        names[0] if names else None,
        type="string",
        enum=names,
        section=CHOICE,
        title="Smoke suite",
        description="The prompts that every checkpoint has to answer: a file of dags/config/smoke.",
    )
    # Copies: Airflow writes a run's values into a DAG's Params, and several DAGs ask for these.
    return {name: suite if param is None else copy.copy(param) for name, param in _TUNING.items()}


def tuning_param(name: str, **changes: Any) -> Param:
    """Return a Param of the tuning DAG for another DAG that has the same field.

    :param name: its name.
    :param changes: what that DAG says otherwise, as ``Param`` takes it: ``default``, ``description``, ``section``, ...;
        None takes a part of the schema away.
    """
    param = _TUNING[name]
    if param is None:
        raise KeyError(f"{name} depends on files: tuning_params() makes it")
    default, description = changes.pop("default", param.value), changes.pop("description", param.description)
    schema = {key: value for key, value in {**param.schema, **changes}.items() if value is not None}
    return Param(default, description, schema=schema)


_TUNING: dict[str, Param | None] = {
    "training_dataset_uri": Param(
        type="string",
        pattern=GCS_OBJECT,
        title="Training dataset",
        description="JSONL file in Cloud Storage, one example a line: gs://bucket/train.jsonl",
    ),
    "validation_dataset_uri": Param(
        None,
        type=["null", "string"],
        pattern=GCS_OBJECT,
        title="Validation dataset",
        description="JSONL file with examples that are not in the training file. Without it there is no eval loss.",
    ),
    "base_model": Param(
        "gemini-2.5-flash",
        type="string",
        pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$",
        examples=[
            "gemini-2.5-flash",
            "gemini-2.5-flash-lite",
            "gemini-2.5-pro",
            "gemini-2.0-flash-001",
            "gemini-2.0-flash-lite-001",
        ],
        title="Base model",
        description="Any Gemini model that can be tuned; the known ones are offered. Ignored when you go on from a "
        "tuned model.",
    ),
    "tuned_model_display_name": Param(
        None,
        type=["null", "string"],
        maxLength=128,
        title="Name of the tuned model",
        description="Empty: Google makes one up.",
    ),
    "epoch_count": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=100,
        section=TUNING,
        title="Epochs",
        description="Passes over the training file. Below 10 there is one checkpoint an epoch, from 10 on about ten "
        "in all. Empty: Google decides.",
    ),
    "adapter_size": Param(
        None,
        type=["null", "integer"],
        enum=[None, 1, 2, 4, 8, 16, 32],
        section=TUNING,
        title="Adapter size",
        description="More can learn more and needs more data. Empty: Google decides.",
    ),
    "learning_rate_multiplier": Param(
        None,
        type=["null", "string"],
        pattern=r"^[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?$",
        examples=["0.5", "1", "2", "5"],
        section=TUNING,
        title="Learning-rate multiplier",
        description="Factor on Google's own learning rate, for example 0.5. Empty: 1.",
    ),
    "export_last_checkpoint_only": Param(
        False,
        type="boolean",
        section=TUNING,
        title="Final checkpoint only",
        description="Keep no intermediate checkpoints; then there is nothing to choose from.",
    ),
    "description": Param(None, type=["null", "string"], section=TUNING, title="Description"),
    "labels": Param(
        {},
        type="object",
        additionalProperties={"type": "string", "pattern": "^[a-z0-9_-]{0,63}$"},
        propertyNames={"pattern": "^[a-z][a-z0-9_-]{0,62}$"},
        section=TUNING,
        title="Labels",
        description='Carried over to the model and its endpoints, for example {"team": "search"}.',
    ),
    "pre_tuned_model": Param(
        None,
        type=["null", "string"],
        pattern=MODEL_NAME,
        section=CONTINUE,
        title="Tuned model",
        description="Full name, projects/P/locations/L/models/ID@VERSION: continuous tuning makes its next version.",
    ),
    "pre_tuned_model_checkpoint_id": Param(
        None,
        type=["null", "string"],
        section=CONTINUE,
        title="Checkpoint",
        description="Which of its checkpoints to go on from. Empty: its default.",
    ),
    "evaluation_metrics": Param(
        [],
        type="array",
        items={"type": "object", "required": ["name"]},
        section=EVALUATION,
        title="Metrics",
        description='Google evaluates each checkpoint by these: [{"name": "FLUENCY", "prompt_template": "Evaluate '
        'this {response}"}].',
    ),
    "evaluation_output_uri": Param(
        None,
        type=["null", "string"],
        pattern="^gs://",
        section=EVALUATION,
        title="Output",
        description="Where Google puts the results: gs://bucket/prefix. Needed with metrics.",
    ),
    "budget": Param(
        None,
        type=["null", "number"],
        minimum=0,
        section=COST,
        title="Budget",
        description="In the currency of dags/config/prices.yaml. A run whose estimated cost is above it, or not known, "
        "ends before the job is created. Empty: no budget.",
    ),
    "count_tokens": Param(
        False,
        type="boolean",
        section=COST,
        title="Count tokens",
        description="Google counts the tokens of at most 50 examples, which corrects the estimate and costs nothing.",
    ),
    "suite": None,  # depends on the files that there are
    "min_pass_rate": Param(
        0.8,
        type="number",
        minimum=0,
        maximum=1,
        section=CHOICE,
        title="Minimum pass rate",
        description="Weighted share of cases that a checkpoint must pass to be chosen, 0 to 1. It must pass all "
        "critical ones.",
    ),
    "max_latency_p95_ms": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        section=CHOICE,
        title="Latency limit",
        description="Milliseconds that 95 % of a checkpoint's answers must not exceed. Empty: no limit.",
    ),
    "allow_blocked": Param(
        False,
        type="boolean",
        section=CHOICE,
        title="Blocked answers allowed",
        description="A checkpoint may be chosen although a safety filter held back an answer.",
    ),
    "significance": Param(
        0.05,
        type="number",
        minimum=0.0001,
        maximum=0.5,
        section=CHOICE,
        title="Significance",
        description="Two checkpoints are a tie when the p-value of their difference is not below this. Then the lower "
        "eval loss wins, then the earlier one.",
    ),
    "concurrency": Param(
        8,
        type="integer",
        minimum=1,
        maximum=64,
        section=CHOICE,
        title="Prompts at once",
        description="For each checkpoint, at most; less while Google answers 429.",
    ),
    "results_uri": Param(
        None,
        type=["null", "string"],
        pattern=FOLDER,
        section=CHOICE,
        title="Folder for results",
        description="gs://bucket/folder, or a path that all workers see. Each run gets a folder in it. Empty: "
        "gemini_tuning_results beside the training dataset.",
    ),
    "report_uri": Param(
        None,
        type=["null", "string"],
        pattern=FOLDER,
        section=CHOICE,
        title="Folder for the report",
        description="Empty: with the results.",
    ),
    "champion": Param(
        None,
        type=["null", "string"],
        pattern=SERVING,
        section=PRODUCTION,
        title="Champion",
        description="Full name of the endpoint or model in production. It answers the same suite, and only a "
        "checkpoint that is better is promoted.",
    ),
    "require_improvement": Param(
        False,
        type="boolean",
        section=PRODUCTION,
        title="Improvement must be significant",
        description="Better than the champion by more than chance, not just by the figures.",
    ),
    "require_approval": Param(
        False,
        type="boolean",
        section=PRODUCTION,
        title="Ask a person",
        description="The run waits under Required Actions until somebody approves, rejects or takes another "
        "checkpoint.",
    ),
    "approval_timeout_seconds": Param(
        24 * 3600,
        type="integer",
        minimum=10,
        maximum=30 * 24 * 3600,
        section=PRODUCTION,
        title="Time to answer",
        description="Seconds; no answer by then means no.",
    ),
    "version_aliases": Param(
        False,
        type="boolean",
        section=PRODUCTION,
        title="Set version aliases",
        description="The promoted version of the model gets the alias champion, the one that had it gets previous.",
    ),
    "copy_location": Param(
        None,
        type=["null", "string"],
        pattern="^[a-z]+(-[a-z]+[0-9]+)?$",
        examples=["us-central1", "europe-west4", "asia-southeast1"],
        section=COPY,
        title="Copy to location",
        description="Region that gets a copy of the tuned model with all checkpoints. Empty: no copy.",
    ),
    "copy_project_id": Param(
        None,
        type=["null", "string"],
        section=COPY,
        title="Copy to project",
        description="Empty: the project of the run.",
    ),
    "copy_model_id": Param(
        None,
        type=["null", "string"],
        pattern="^[a-z_][a-z0-9_-]{0,62}$",
        section=COPY,
        title="Id of the new model",
        description="Empty: Google makes one up.",
    ),
    "copy_parent_model": Param(
        None,
        type=["null", "string"],
        pattern=MODEL_NAME,
        section=COPY,
        title="Or new version of",
        description="Full name of a model in the destination that gets the copy as its next version.",
    ),
    "copy_kms_key_name": Param(
        None,
        type=["null", "string"],
        pattern=KMS_KEY,
        section=COPY,
        title="Key for the copy",
        description="Customer-managed encryption key in the destination.",
    ),
    "copy_default_checkpoint_id": Param(
        None,
        type=["null", "string"],
        section=COPY,
        title="Other default on the copy",
        description="Checkpoint id. Empty: the copy keeps the winner.",
    ),
    "gcp_conn_id": Param(
        "google_cloud_default",
        type="string",
        section=CLOUD,
        title="Airflow connection",
        description="Of type Google Cloud.",
    ),
    "project_id": Param(
        None,
        type=["null", "string"],
        section=CLOUD,
        title="Project",
        description="Empty: the connection's project.",
    ),
    "location": Param(
        "us-central1",
        type="string",
        pattern="^[a-z]+(-[a-z]+[0-9]+)?$",
        examples=["us-central1", "europe-west4"],
        section=CLOUD,
        title="Location",
        description="Region where the job runs.",
    ),
    "impersonation_chain": Param(
        None,
        type=["null", "string"],
        section=CLOUD,
        title="Act as",
        description="Service account to impersonate.",
    ),
    "service_account": Param(
        None,
        type=["null", "string"],
        section=CLOUD,
        title="Job's service account",
        description="The account that the tuning job itself runs as.",
    ),
    "kms_key_name": Param(
        None,
        type=["null", "string"],
        pattern=KMS_KEY,
        section=CLOUD,
        title="Encryption key",
        description="Customer-managed key (CMEK) for the job and the model.",
    ),
    "poll_interval": Param(
        60,
        type="number",
        minimum=1,
        maximum=3600,
        section=WAITING,
        title="Seconds between two looks",
        description="At the tuning job and at the copy. Less often while a job's end is far, more often near it.",
    ),
    "deadline_seconds": Param(
        24 * 3600,
        type="integer",
        minimum=60,
        maximum=7 * 24 * 3600,
        section=WAITING,
        title="Deadline for tuning",
        description="Seconds after its creation that a job which is not over is cancelled and the run fails.",
    ),
    "force_new_job": Param(
        False,
        type="boolean",
        section=WAITING,
        title="New job when cleared",
        description="When create_tuning_job is cleared it takes the job that this run has. With this it makes, and "
        "pays, another one instead; the old one is cancelled if it is under way.",
    ),
}
