"""The first step of a run: check what will be paid for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.copy_spec import ModelCopySpec
from gemini_tuning.exceptions import InvalidInputError
from gemini_tuning.operators.base import GCP_FIELDS, GoogleCloudFields, optional_text
from gemini_tuning.preflight import DatasetReport, check_training_dataset, check_validation_dataset
from gemini_tuning.smoke.suite import load_suite
from gemini_tuning.tuning_spec import gcs_problem

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
        suite = load_suite(suite_name, self.suite_folder, read_lines=self._lines) if suite_name else None
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
