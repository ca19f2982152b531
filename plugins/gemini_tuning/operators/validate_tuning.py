"""The first step of a run: check what will be paid for."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.files import JSON, Files, folder_problem, joined
from gemini_tuning.core.names import gcs_problem, serving_problem
from gemini_tuning.core.text import short_repr
from gemini_tuning.datasets.dataset_check import (
    MAX_FILES,
    DatasetReport,
    check_training_dataset,
    check_validation_dataset,
)
from gemini_tuning.operators.base import GCP_FIELDS, optional_text, refuse_unknown_params
from gemini_tuning.operators.cost_estimate import CostEstimateMixin, CostInputs
from gemini_tuning.reporting.notifications import check_notifications
from gemini_tuning.smoke.judge import Judge
from gemini_tuning.smoke.suite import load_suite

if TYPE_CHECKING:
    from airflow.sdk import Context

DEFAULT_FOLDER = "gemini_tuning_results"
FOLDER_KEY = "run_folder"  # in the task state store
FILES_PATIENCE = 120.0  # seconds for all files that a dataset names


class GeminiValidateTuningOperator(CostEstimateMixin):
    """Refuse a run that is bound to fail, before anything is paid.

    Looks for Params that the DAG does not have (Airflow accepts them silently), reads the smoke suite, asks its judge
    one word, looks up the champion, checks the dataset files line by line, looks whether the files that examples name
    are there, estimates what the run costs and holds that against the budget, and writes ``run.json`` into the folders
    of the results and the report, so that a place that can't be written to shows now.

    XCom: ``{"training": {"uri", "examples", "size_bytes", "sha256", "tokens", "found", "warnings"}, "validation": {…}
    or None, "suite_cases": N, "cost": {…} or None, "results_uri", "report_uri"}``; the last two are folders of this
    run's own. ``tokens`` are estimates: ``input`` and ``output`` in all, ``min``, ``median``, ``p95`` and ``max`` of an
    example; ``found`` counts what is odd: ``repeated``, ``leaked``, ``truncated``, ``few``, ``files_unseen``,
    ``byte_order_mark``. ``cost`` is what :func:`gemini_tuning.cost.estimate.estimate` returns; the parameters that it
    needs are in :class:`~gemini_tuning.operators.cost_estimate.CostEstimateMixin`.

    :param training_dataset_uri: ``gs://`` address of the training file. (templated)
    :param validation_dataset_uri: the same for validation. (templated)
    :param suite: smoke suite, see :class:`~gemini_tuning.operators.GeminiSmokeTestCheckpointOperator`. (templated)
    :param suite_folder: folder that the suite lies in. (templated)
    :param copy: the fields of :class:`~gemini_tuning.core.copy_spec.ModelCopySpec` for the copy at the end of the run,
        so
        that a mistake in them shows before the tuning is paid. (templated)
    :param results_uri: folder under which the run gets one for its results: ``gs://bucket/folder`` or an absolute path;
        ``None`` takes ``gemini_tuning_results`` beside the training file. (templated)
    :param report_uri: the same for the report; ``None`` takes the folder of the results. (templated)
    :param champion: full name of the endpoint or model in production. (templated)
    :param notifications: file that says who is told of a run. (templated)
    :raises InvalidInputError: with the file and the lines, or the field; or when the budget is not enough.
    :raises PricesError: when the table of prices is not acceptable.
    :raises InvalidInputError: the suite is not acceptable.
    :raises PermanentServiceError: when something that is named is not there, or can't be read or written.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS,
        *CostEstimateMixin.COST_FIELDS,
        "training_dataset_uri",
        "validation_dataset_uri",
        "suite",
        "suite_folder",
        "copy",
        "results_uri",
        "report_uri",
        "champion",
        "notifications",
    )

    def __init__(
        self,
        *,
        training_dataset_uri: str,
        validation_dataset_uri: str | None = None,
        suite: str | None = None,
        suite_folder: str | None = None,
        copy: Mapping[str, Any] | None = None,
        results_uri: str | None = None,
        report_uri: str | None = None,
        champion: str | None = None,
        notifications: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training_dataset_uri = training_dataset_uri
        self.validation_dataset_uri = validation_dataset_uri
        self.suite = suite
        self.suite_folder = suite_folder
        self.copy = copy
        self.results_uri = results_uri
        self.report_uri = report_uri
        self.champion = champion
        self.notifications = notifications

    def execute(self, context: Context) -> dict[str, Any]:
        """Check everything and push what was counted."""
        refuse_unknown_params(context)
        check_notifications(optional_text(self.notifications))
        if problems := ModelCopySpec.from_mapping(self.copy, optional_text).problems():
            raise InvalidInputError("Nothing was created. " + "; ".join(problems) + ".")
        for name in ("training_dataset_uri", "validation_dataset_uri"):
            if problem := gcs_problem(name, optional_text(getattr(self, name)), required=name.startswith("training")):
                raise InvalidInputError(f"Nothing was created. {problem}.")
        results_uri, report_uri = optional_text(self.results_uri), optional_text(self.report_uri)
        folders = run_folders(self.training_dataset_uri, results_uri, report_uri)
        costing = self.costing()
        suite_name = optional_text(self.suite)
        suite = load_suite(suite_name, self.suite_folder, read_lines=self._lines) if suite_name else None
        if suite and suite.judge:
            self._ask_judge(suite.judge)
        if champion := optional_text(self.champion):
            if problem := serving_problem("champion", champion):
                raise InvalidInputError(f"Nothing was created. {problem}.")
            self.hook.get_serving_endpoint(champion)
        training, validation = self._check_datasets(costing)
        return {
            "training": {"uri": self.training_dataset_uri, **training.as_dict()},
            "validation": {"uri": self.validation_dataset_uri, **validation.as_dict()} if validation else None,
            "suite_cases": len(suite.cases) if suite else 0,
            "cost": self.cost(costing, training, suite, champion),
            **self._make_folders(context, folders),
        }

    def _check_datasets(self, costing: CostInputs | None) -> tuple[DatasetReport, DatasetReport | None]:
        sample = costing.sample if costing else None
        training = check_training_dataset(self.hook.read_blocks(self.training_dataset_uri), sample)
        self._report(self.training_dataset_uri, training)
        if not (uri := optional_text(self.validation_dataset_uri)):
            return training, None
        validation = check_validation_dataset(self.hook.read_blocks(uri), training)
        self._report(uri, validation)
        return training, validation

    def _make_folders(self, context: Context, folders: Mapping[str, str]) -> dict[str, str]:
        """Give the run folders of its own, the same at each try; two Airflows may share a bucket, hence the id."""
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        store, ti = context["task_state_store"], context["ti"]
        if (suffix := store.get(FOLDER_KEY)) is None:
            suffix = uuid.uuid4().hex[:8]
            store.set(FOLDER_KEY, suffix, retention=NEVER_EXPIRE)
        run = {"dag_id": ti.dag_id, "run_id": ti.run_id}
        name = f"{slug(run['run_id'])}-{suffix}"
        made = {key: joined(folder, slug(run["dag_id"]), name) for key, folder in folders.items()}
        for folder in sorted(set(made.values())):
            Files(self.hook).write(joined(folder, "run.json"), json.dumps(run).encode(), JSON)
        return made

    def _ask_judge(self, judge: Judge) -> None:
        """Ask the judge one word: that its name is wrong would otherwise show when the tuning is paid."""

        async def ask() -> None:
            try:
                await self.hook.agenerate(
                    judge.model,
                    "Answer with the word yes.",
                    max_output_tokens=50,
                    project_id=optional_text(self.project_id),
                    location=self.location,
                )
            finally:
                await self.hook.aclose()

        asyncio.run(ask())

    def _lines(self, uri: str) -> Iterator[bytes]:
        return self.hook.read_lines(uri)

    def _look_for_files(self, report: DatasetReport) -> None:
        """Add the files that examples name and that can't be used to the problems of a dataset."""
        if not report.files:
            return
        unusable, late = self.hook.missing_objects(list(report.files), timeout=FILES_PATIENCE)
        for uri, number in sorted(report.files.items(), key=lambda file: file[1]):
            if uri in unusable:
                report.add_problem("file", f"line {number}: {short_repr(uri)} {unusable[uri]}")
        if late:
            text = f"{late} of the files that examples name were not looked for: there was no time left"
            report.warn("files_unseen", late, text)
        if len(report.files) == MAX_FILES:
            text = f"of the files that examples name the first {MAX_FILES} different ones were looked for"
            report.warn("files_unseen", 1, text)

    def _report(self, uri: str, report: DatasetReport) -> None:
        self._look_for_files(report)
        self.log.info("%s: %d examples, %d bytes", uri, report.examples, report.size_bytes)
        for warning in report.warnings:
            self.log.warning("%s: %s", uri, warning)
        if report.problem_count:
            short_repr = "; ".join(report.problems)
            more = report.problem_count - len(report.problems)
            raise InvalidInputError(
                f"Dataset {uri} has {report.problem_count} problem(s): {short_repr}"
                + (f"; and {more} more" if more else "")
                + ". Nothing was created. Correct the file and run again."
            )


def run_folders(training_dataset_uri: str, results_uri: str | None, report_uri: str | None) -> dict[str, str]:
    """Return under which folders a run's results and report are kept.

    :raises InvalidInputError: naming the parameter that names none.
    """
    results = results_uri or joined(training_dataset_uri.rpartition("/")[0], DEFAULT_FOLDER)
    folders = {"results_uri": results, "report_uri": report_uri or results}
    if problems := [problem for name, uri in folders.items() if (problem := folder_problem(name, uri))]:
        raise InvalidInputError("Nothing was created. " + "; ".join(problems) + ".")
    return folders


def slug(name: str) -> str:
    """Return a name as one part of a path."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name).lstrip(".") or "_"
