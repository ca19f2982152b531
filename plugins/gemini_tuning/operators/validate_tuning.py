"""Validate a run before anything is charged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Context

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.files import JSON, Files, folder_problem, joined
from gemini_tuning.core.names import serving_problem
from gemini_tuning.core.text import short_repr
from gemini_tuning.core.tuning_request import TuningRequest
from gemini_tuning.operators.cloud_base import GCP_FIELDS, optional_text, run_folder
from gemini_tuning.operators.cost_estimate import NOTHING_CREATED, CostEstimateMixin, CostParameters
from gemini_tuning.operators.triggerer_check import TriggererCheckMixin

if TYPE_CHECKING:
    from gemini_tuning.datasets.dataset_check import DatasetReport
    from gemini_tuning.smoke.judge import Judge

DEFAULT_FOLDER = "gemini_tuning_results"
FILES_TIMEOUT = 120.0  # seconds for all files that the examples of a dataset reference


class GeminiValidateTuningOperator(CostEstimateMixin, TriggererCheckMixin):
    """Refuse a run that is bound to fail, before anything is charged, and push what the run needs.

    Checks the Params (Airflow accepts unknown ones silently), the tuning request, the smoke suite and its judge, the
    champion, each line of the dataset files, and the files that examples reference. Estimates the cost and compares it
    with the budget. Writes ``run.json`` into the folders of the results and the report, which shows that they are
    writable. Format of the datasets:
    https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare

    XCom ``return_value``, with each key as an XCom of its own::

        {"tuning_request": {"base_model": "gemini-2.5-flash", …},
         "training": {"uri", "examples", "size_bytes", "sha256", "tokens", "found", "warnings"},
         "validation": {…} or None, "suite_cases": 24, "suite_fingerprint": "…" or None, "cost": {…} or None,
         "results_uri": "gs://…", "report_uri": "gs://…"}

    ``tuning_request`` is for :class:`GeminiCreateTuningJobOperator`, ``suite_fingerprint`` for the smoke tests.
    ``results_uri`` and ``report_uri`` are folders of this run. ``tokens`` are estimates: total ``input`` and
    ``output``, ``min``, ``median``, ``p95`` and ``max`` of an example; ``found`` counts ``repeated``, ``leaked``,
    ``truncated``, ``few``, ``files_unseen``, ``byte_order_mark``. ``cost``: :class:`~gemini_tuning.core.xcom.CostXCom`.

    :param tuning_request: the fields of a :class:`~gemini_tuning.core.tuning_request.TuningRequest`. (templated)
    :param suite: smoke suite, see :class:`GeminiSmokeTestCheckpointOperator`. (templated)
    :param suite_folder: folder that contains the suite. (templated)
    :param copy: the fields of :class:`~gemini_tuning.core.copy_spec.ModelCopySpec` for the copy at the end of the run,
        so that a mistake in them is found before the tuning is charged. (templated)
    :param results_uri: folder in which the run gets a folder for its results: ``gs://bucket/folder`` or an absolute
        path; ``None`` uses ``gemini_tuning_results`` beside the training file. (templated)
    :param report_uri: the same for the report; ``None`` uses the folder of the results. (templated)
    :param champion: full name of the endpoint or model in production. (templated)
    :param notifications: file with the recipients of notifications. (templated)
    :param allow_unknown_params: whether a run may have Params that its DAG does not have, as in a DAG of others.
    :param check_triggerer: whether a triggerer must prove once a day that it can run this package's triggers.
    :raises InvalidInputError: with the parameter as its field; for a dataset or a suite, with the file and its lines.
    :raises YamlError: when the price table is not acceptable.
    :raises TriggererCheckError: when no triggerer can load this package.
    :raises PermanentServiceError: when a named resource does not exist, or cannot be read or written.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS, *CostEstimateMixin.COST_FIELDS, "tuning_request", "suite", "suite_folder", "copy",
        "results_uri", "report_uri", "champion", "notifications",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"tuning_request": "json", "copy": "json"}

    def __init__(
        self,
        *,
        tuning_request: Mapping[str, Any],
        suite: str | None = None,
        suite_folder: str | None = None,
        copy: Mapping[str, Any] | None = None,
        results_uri: str | None = None,
        report_uri: str | None = None,
        champion: str | None = None,
        notifications: str | None = None,
        allow_unknown_params: bool = False,
        check_triggerer: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.tuning_request = tuning_request
        self.suite = suite
        self.suite_folder = suite_folder
        self.copy = copy
        self.results_uri = results_uri
        self.report_uri = report_uri
        self.champion = champion
        self.notifications = notifications
        self.allow_unknown_params = allow_unknown_params
        self.check_triggerer = check_triggerer

    def execute(self, context: Context) -> dict[str, Any]:
        """Check everything and push the checked values."""
        request = self._parse(context)
        if self.check_triggerer:
            self.require_triggerer()
        return self._check(context, request)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Keep the triggerer's proof, then check everything and push the checked values."""
        self.record_triggerer(event)
        return self._check(context, self._parse(context))

    def _parse(self, context: Context) -> TuningRequest:
        from gemini_tuning.reporting.notification_sender import check_notifications

        if not self.allow_unknown_params:
            self.refuse_unknown_params(context)
        request = TuningRequest.parse(self.tuning_request)
        check_notifications(optional_text(self.notifications))
        if problems := ModelCopySpec.from_mapping(self.copy, optional_text).problems():
            raise InvalidInputError(f"{'; '.join(problems)}. {NOTHING_CREATED}", field="copy", code="invalid_copy")
        return request

    def _check(self, context: Context, request: TuningRequest) -> dict[str, Any]:
        from gemini_tuning.smoke.suite import load_suite

        folders = self._folders(request.training_dataset_uri)
        cost_parameters = self.cost_parameters(request)
        name, folder = optional_text(self.suite), optional_text(self.suite_folder)
        suite = load_suite(name, folder, read_lines=self.hook.read_lines) if name else None
        if suite and suite.judge:
            asyncio.run(self._try_judge(suite.judge))
        champion = self._check_champion()
        training, validation = self._check_datasets(request, cost_parameters)
        return {
            "tuning_request": request.as_dict(),
            "training": {"uri": request.training_dataset_uri, **training.as_dict()},
            "validation": {"uri": request.validation_dataset_uri, **validation.as_dict()} if validation else None,
            "suite_cases": len(suite.cases) if suite else 0,
            "suite_fingerprint": suite.fingerprint if suite else None,
            "cost": self.estimate_cost(cost_parameters, training, suite, champion),
            **self._create_folders(context, folders),
        }

    def _check_champion(self) -> str | None:
        if champion := optional_text(self.champion):
            if problem := serving_problem("champion", champion):
                raise InvalidInputError(f"{problem}. {NOTHING_CREATED}", field="champion", code="invalid_name")
            self.hook.get_serving_endpoint(champion)
        return champion

    def _check_datasets(
        self, request: TuningRequest, cost_parameters: CostParameters | None
    ) -> tuple[DatasetReport, DatasetReport | None]:
        from gemini_tuning.datasets.dataset_check import check_training_dataset, check_validation_dataset

        uri, sample = request.training_dataset_uri, cost_parameters.sample if cost_parameters else None
        training = check_training_dataset(self.hook.read_blocks(uri), sample)
        self._report("training_dataset_uri", uri, training)
        if not (uri := request.validation_dataset_uri or ""):
            return training, None
        validation = check_validation_dataset(self.hook.read_blocks(uri), training)
        self._report("validation_dataset_uri", uri, validation)
        return training, validation

    def _folders(self, training_dataset_uri: str) -> dict[str, str]:
        beside_training = joined(training_dataset_uri.rpartition("/")[0], DEFAULT_FOLDER)
        results = optional_text(self.results_uri) or beside_training
        folders = {"results_uri": results, "report_uri": optional_text(self.report_uri) or results}
        for name, uri in folders.items():
            if problem := folder_problem(name, uri):
                raise InvalidInputError(f"{problem}. {NOTHING_CREATED}", field=name, code="invalid_folder")
        return folders

    def _create_folders(self, context: Context, folders: Mapping[str, str]) -> dict[str, str]:
        run = json.dumps({"dag_id": context["ti"].dag_id, "run_id": context["ti"].run_id}).encode()
        created = {key: run_folder(context, folder) for key, folder in folders.items()}
        for folder in sorted(set(created.values())):
            Files(self.hook).write(joined(folder, "run.json"), run, JSON)
        return created

    async def _try_judge(self, judge: Judge) -> None:
        """Send the judge a short prompt: a wrong name would otherwise show after the tuning was charged."""
        prompt, where = "Answer with the word yes.", self.project_and_location
        try:
            await self.hook.agenerate(judge.model, prompt, max_output_tokens=50, **where)
        finally:
            await self.hook.aclose()

    def _check_files(self, report: DatasetReport) -> None:
        from gemini_tuning.datasets.dataset_check import MAX_FILES

        unusable, unchecked = self.hook.missing_objects(list(report.files), timeout=FILES_TIMEOUT)
        for uri, number in sorted(report.files.items(), key=lambda file: file[1]):
            if uri in unusable:
                report.add_problem("file", f"line {number}: {short_repr(uri)} {unusable[uri]}")
        if unchecked:
            text = f"{unchecked} of the referenced files were not checked within {FILES_TIMEOUT:.0f} s"
            report.warn("files_unseen", unchecked, text)
        if len(report.files) == MAX_FILES:
            text = f"only the first {MAX_FILES} different files that examples reference were checked"
            report.warn("files_unseen", 1, text)

    def _report(self, field: str, uri: str, report: DatasetReport) -> None:
        if report.files:
            self._check_files(report)
        self.log.info("%s: %d examples, %d bytes", uri, report.examples, report.size_bytes)
        for warning in report.warnings:
            self.log.warning("%s: %s", uri, warning)
        if report.problem_count:
            more = report.problem_count - len(report.problems)
            problems = "; ".join([*report.problems, *([f"and {more} more"] if more else [])])
            problem = f"{field}: {uri} has {report.problem_count} problem(s): {problems}. {NOTHING_CREATED}"
            hint = "Correct the file and start a new run."
            raise InvalidInputError(problem, field=field, resource=uri, code="invalid_dataset", hint=hint)
