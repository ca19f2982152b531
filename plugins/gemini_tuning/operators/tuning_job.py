"""The first steps of a run: check what will be paid for, then create the tuning job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.copy_spec import ModelCopySpec
from gemini_tuning.exceptions import InvalidInputError
from gemini_tuning.operators.base import (
    CREATE_RETRY_POLICY,
    GCP_FIELDS,
    GoogleCloudFields,
    flag,
    optional_float,
    optional_int,
    optional_json,
    optional_text,
)
from gemini_tuning.preflight import DatasetReport, check_training_dataset, check_validation_dataset
from gemini_tuning.smoke.suite import load_suite
from gemini_tuning.tuning_spec import TuningJobSpec, gcs_problem

if TYPE_CHECKING:
    from airflow.sdk import Context


class GeminiPreflightOperator(GoogleCloudFields):
    """Refuse a run that is bound to fail, before anything is paid.

    Looks for Params that the DAG does not have (Airflow accepts them silently), reads the smoke suite, and checks
    the dataset files line by line.

    XCom: ``{"training": {"examples", "size_bytes", "warnings"}, "validation": {…} or None, "suite_cases": N}``.

    :param training_dataset_uri: ``gs://`` address of the training file. (templated)
    :param validation_dataset_uri: the same for validation. (templated)
    :param suite: smoke suite, see :class:`~gemini_tuning.operators.GeminiSmokeTestCheckpointOperator`. (templated)
    :param suite_folder: folder that the suite lies in. (templated)
    :param copy: the fields of :class:`~gemini_tuning.copy_spec.ModelCopySpec` for the copy at the end of the run, so
        that a mistake in them shows before the tuning is paid. (templated)
    :raises InvalidInputError: with the file and the lines, or the field.
    :raises SuiteError: when the suite is not acceptable.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS,
        "training_dataset_uri",
        "validation_dataset_uri",
        "suite",
        "suite_folder",
        "copy",
    )

    def __init__(
        self,
        *,
        training_dataset_uri: str,
        validation_dataset_uri: str | None = None,
        suite: str | None = None,
        suite_folder: str | None = None,
        copy: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training_dataset_uri = training_dataset_uri
        self.validation_dataset_uri = validation_dataset_uri
        self.suite = suite
        self.suite_folder = suite_folder
        self.copy = copy

    def execute(self, context: Context) -> dict[str, Any]:
        """Check everything and push what was counted."""
        self._refuse_unknown_params(context)
        if problems := ModelCopySpec.from_mapping(self.copy, optional_text).problems():
            raise InvalidInputError("Nothing was created. " + "; ".join(problems) + ".")
        for name in ("training_dataset_uri", "validation_dataset_uri"):
            if problem := gcs_problem(name, optional_text(getattr(self, name)), required=name.startswith("training")):
                raise InvalidInputError(f"Nothing was created. {problem}.")
        suite_name = optional_text(self.suite)
        suite = load_suite(suite_name, self.suite_folder) if suite_name else None
        training = check_training_dataset(self._lines(self.training_dataset_uri))
        self._report(self.training_dataset_uri, training)
        validation = None
        if uri := optional_text(self.validation_dataset_uri):
            validation = check_validation_dataset(self._lines(uri), training.examples)
            self._report(uri, validation)
        return {
            "training": training.as_dict(),
            "validation": validation.as_dict() if validation else None,
            "suite_cases": len(suite.cases) if suite else 0,
        }

    def _refuse_unknown_params(self, context: Context) -> None:
        conf = getattr(context["dag_run"], "conf", None) or {}
        known = context["dag"].params
        if unknown := sorted(set(conf) - set(known)):
            there = ", ".join(sorted(known))
            raise InvalidInputError(
                f"Unknown parameter {', '.join(unknown)}; nothing was created. This DAG has: {there}."
            )

    def _lines(self, uri: str) -> Iterator[bytes]:
        return self.hook.read_lines(uri)

    def _report(self, uri: str, report: DatasetReport) -> None:
        self.log.info("%s: %d examples, %d bytes", uri, report.examples, report.size_bytes)
        for warning in report.warnings:
            self.log.warning("%s: %s", uri, warning)
        if report.problem_count:
            shown = "; ".join(report.problems)
            more = report.problem_count - len(report.problems)
            raise InvalidInputError(
                f"Dataset {uri} has {report.problem_count} problem(s): {shown}"
                + (f"; and {more} more" if more else "")
                + ". Nothing was created. Correct the file and run again."
            )


class GeminiCreateTuningJobOperator(GoogleCloudFields):
    """Create a supervised tuning job that saves checkpoints, and push its name. Does not wait.

    The request is sent once. When its answer is lost the task fails without a retry and says where to look, because
    a second job would be paid as well. Clearing the task makes a second job.

    XCom: the job's full name, ``projects/P/locations/L/tuningJobs/ID``.

    Parameters are those of :class:`~gemini_tuning.tuning_spec.TuningJobSpec`; all are templated.

    :param base_model: model to tune, for example ``gemini-2.5-flash``; or give ``pre_tuned_model``.
    :param training_dataset_uri: ``gs://`` address of the JSONL training file.
    :param validation_dataset_uri: ``gs://`` address of the JSONL validation file.
    :param epoch_count: passes over the training file.
    :param adapter_size: 1, 2, 4, 8, 16 or 32.
    :param learning_rate_multiplier: factor on the service's learning rate.
    :param tuned_model_display_name: at most 128 characters.
    :param description: free text.
    :param labels: mapping; carried over to the model and its endpoints.
    :param export_last_checkpoint_only: keep the final checkpoint only.
    :param evaluation_metrics: list of mappings with the fields of google-genai's ``Metric``.
    :param evaluation_output_uri: ``gs://`` prefix for the service's evaluation results.
    :param pre_tuned_model: full name of a tuned model to go on from (continuous tuning).
    :param pre_tuned_model_checkpoint_id: which of its checkpoints; ``None`` is its default.
    :param kms_key_name: customer-managed key for job and model.
    :param service_account: account the job runs as.
    :raises InvalidInputError: when the service would refuse the values; nothing was sent.
    :raises CreateOutcomeUnknownError: when the answer to the create was lost.
    """

    SPEC_FIELDS = (
        "base_model",
        "training_dataset_uri",
        "validation_dataset_uri",
        "epoch_count",
        "adapter_size",
        "learning_rate_multiplier",
        "tuned_model_display_name",
        "description",
        "labels",
        "export_last_checkpoint_only",
        "evaluation_metrics",
        "evaluation_output_uri",
        "pre_tuned_model",
        "pre_tuned_model_checkpoint_id",
        "kms_key_name",
        "service_account",
    )
    template_fields: Sequence[str] = (*GCP_FIELDS, *SPEC_FIELDS)

    def __init__(
        self,
        *,
        training_dataset_uri: str,
        base_model: str | None = None,
        validation_dataset_uri: str | None = None,
        epoch_count: int | str | None = None,
        adapter_size: int | str | None = None,
        learning_rate_multiplier: float | str | None = None,
        tuned_model_display_name: str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        export_last_checkpoint_only: bool | str = False,
        evaluation_metrics: Sequence[Mapping[str, Any]] | None = None,
        evaluation_output_uri: str | None = None,
        pre_tuned_model: str | None = None,
        pre_tuned_model_checkpoint_id: str | None = None,
        kms_key_name: str | None = None,
        service_account: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retry_policy", CREATE_RETRY_POLICY)
        super().__init__(**kwargs)
        self.base_model = base_model
        self.training_dataset_uri = training_dataset_uri
        self.validation_dataset_uri = validation_dataset_uri
        self.epoch_count = epoch_count
        self.adapter_size = adapter_size
        self.learning_rate_multiplier = learning_rate_multiplier
        self.tuned_model_display_name = tuned_model_display_name
        self.description = description
        self.labels = labels
        self.export_last_checkpoint_only = export_last_checkpoint_only
        self.evaluation_metrics = evaluation_metrics
        self.evaluation_output_uri = evaluation_output_uri
        self.pre_tuned_model = pre_tuned_model
        self.pre_tuned_model_checkpoint_id = pre_tuned_model_checkpoint_id
        self.kms_key_name = kms_key_name
        self.service_account = service_account

    def execute(self, context: Context) -> str:
        """Create the job and push its name."""
        spec = self.spec()
        if problems := spec.problems():
            raise InvalidInputError("The tuning job was not created. " + "; ".join(problems) + ".")
        job = self.hook.create_tuning_job(spec, project_id=optional_text(self.project_id), location=self.location)
        self.log.info("Created tuning job %s (%s), state %s", job.name, job.display_name, job.state)
        return job.name

    def spec(self) -> TuningJobSpec:
        """Return the rendered parameters as one value.

        :raises ValueError: when a number is none.
        """
        pre_tuned_model = optional_text(self.pre_tuned_model)
        return TuningJobSpec(
            base_model=None if pre_tuned_model else optional_text(self.base_model),
            pre_tuned_model=pre_tuned_model,
            pre_tuned_model_checkpoint_id=optional_text(self.pre_tuned_model_checkpoint_id),
            training_dataset_uri=optional_text(self.training_dataset_uri) or "",
            validation_dataset_uri=optional_text(self.validation_dataset_uri),
            epoch_count=optional_int(self.epoch_count, "epoch_count"),
            adapter_size=optional_int(self.adapter_size, "adapter_size"),
            learning_rate_multiplier=optional_float(self.learning_rate_multiplier, "learning_rate_multiplier"),
            tuned_model_display_name=optional_text(self.tuned_model_display_name),
            description=optional_text(self.description),
            labels=optional_json(self.labels, dict, "labels"),
            export_last_checkpoint_only=flag(self.export_last_checkpoint_only, "export_last_checkpoint_only"),
            evaluation_metrics=optional_json(self.evaluation_metrics, list, "evaluation_metrics"),
            evaluation_output_uri=optional_text(self.evaluation_output_uri),
            kms_key_name=optional_text(self.kms_key_name),
            service_account=optional_text(self.service_account),
        )
