"""Write the report of a run, to the log and to two files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from gemini_tuning.core.exceptions import InvalidInputError, ServiceError
from gemini_tuning.core.files import GCS, JSON, MARKDOWN, Files, folder_problem, joined
from gemini_tuning.core.text import redact, replace_surrogates
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import GCP_FIELDS, GeminiBaseOperator, as_list, optional_mapping, optional_text

NEXT_STEP = "Only the report of the run is missing: make the folder writable, then clear this task."


class GeminiTuningReportOperator(GeminiBaseOperator):
    """Write what the run did and why as JSON and as Markdown.

    The files are ``report.json`` (its shape: ``report.schema.json`` beside :mod:`gemini_tuning.reporting.report`) and
    ``report.md``; when the task is cleared they are replaced. The table of the checkpoints goes to the log as well.

    XCom: ``{"winner", "outcome", "reason", "tuned_model", "default_before", "default_after", "copy",
    "report_markdown", "report_json"}``. ``outcome`` is ``promoted``, ``already default``, ``rejected``, ``timed out``,
    ``champion kept``, ``no winner`` or ``not promoted``; ``winner`` is a checkpoint id or ``None``; ``copy`` is the
    copy's full name or ``None``; the last two are the files' addresses. XCom ``summary``: the top of ``report.md``.

    :param report_uri: folder of this run's own: ``gs://bucket/folder`` or an absolute path. (templated)
    :param tuning_job: full name of the job. (templated)
    :param model: full name of the tuned model. (templated)
    :param results: what the smoke tests pushed. (templated)
    :param decision: what the choice pushed. (templated)
    :param datasets: what the check at the beginning pushed. (templated)
    :param champion: what the smoke test of the model in production pushed; ``None`` without one. (templated)
    :param metrics: what reading the metrics pushed. (templated)
    :param approval: XCom of the approval; ``None`` when none was requested. (templated)
    :param promotion: what setting the default pushed; ``None`` when it was skipped. (templated)
    :param copy: what the check of the copy pushed; ``None`` when there was none. (templated)
    :param billed: what the list of the checkpoints pushed of the tokens that the service bills. (templated)
    :raises InvalidInputError: when ``report_uri`` is no folder.
    :raises ServiceError: when Cloud Storage refuses a file or does not answer.
    :raises OSError: when a file can't be written to the disk.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS, "report_uri", "tuning_job", "model", "results", "decision", "datasets", "champion",
        "metrics", "approval", "promotion", "copy", "billed",
    )  # fmt: skip
    operator_extra_links = (links.TUNED_MODEL, links.RUN_PAGE)

    def __init__(
        self,
        *,
        report_uri: str,
        tuning_job: str,
        model: str | None,
        results: Iterable[Mapping[str, Any]],
        decision: Mapping[str, Any],
        datasets: Mapping[str, Any] | None = None,
        champion: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        approval: Mapping[str, Any] | None = None,
        promotion: Mapping[str, Any] | None = None,
        copy: Mapping[str, Any] | str | None = None,
        billed: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.report_uri = report_uri
        self.tuning_job = tuning_job
        self.model = model
        self.results = results
        self.decision = decision
        self.datasets = datasets
        self.champion = champion
        self.metrics = metrics
        self.approval = approval
        self.promotion = promotion
        self.copy = copy
        self.billed = billed

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the report to the log and the files, and return their addresses."""
        from gemini_tuning.core.xcom import SUMMARY_XCOM
        from gemini_tuning.reporting.report import build

        folder = optional_text(self.report_uri)
        if problem := folder_problem("report_uri", folder) if folder else "report_uri: required":
            raise InvalidInputError(f"{problem}.", field="report_uri", code="no_folder", hint=NEXT_STEP)
        given = ("tuning_job", "model", "decision", "datasets", "champion", "metrics", "promotion")
        report = build(
            run=run_facts(context),
            results=as_list(self.results, "results"),
            **{name: getattr(self, name) for name in given},
            **{name: optional_mapping(getattr(self, name), name) or None for name in ("approval", "copy", "billed")},
            mask=_masked,
        )
        lines = report.summary()
        for line in lines:
            self.log.info("%s", line)
        context["ti"].xcom_push(key=SUMMARY_XCOM, value=replace_surrogates("\n".join(lines)))
        json_uri, markdown_uri = (joined(str(folder), name) for name in ("report.json", "report.md"))
        self._write(json_uri, report.as_bytes(), JSON)
        self._write(markdown_uri, report.as_markdown().encode("utf-8", "replace"), MARKDOWN)
        return {
            "winner": report.promotion.winner,
            "outcome": report.outcome,
            "reason": report.decision.reason,
            "tuned_model": report.tuned_model.name,
            "default_before": report.promotion.default_before,
            "default_after": report.promotion.default_after,
            "copy": report.copied_model.model if report.copied_model else None,
            "report_json": json_uri,
            "report_markdown": markdown_uri,
        }

    def _write(self, uri: str, content: bytes, content_type: str) -> None:
        try:
            Files(self.hook if uri.startswith(GCS) else None).write(uri, content, content_type)
        except ServiceError as error:
            error.add_hint(NEXT_STEP)
            raise
        except OSError as error:
            raise OSError(f"Could not write {uri}: {error}. {NEXT_STEP}") from error
        self.log.info("Written: %s", uri)


def run_facts(context: Context) -> dict[str, Any]:
    """Return what Airflow knows of the run: who or what started it, when, and with what."""
    run, ti, times = context["dag_run"], context["ti"], ("logical_date", "run_after", "start_date")
    run_type, given = getattr(run, "run_type", None), getattr(run, "conf", None) or {}
    return {
        "dag_id": ti.dag_id,
        "run_id": ti.run_id,
        "run_type": getattr(run_type, "value", run_type),
        **{name: time.isoformat() if (time := getattr(run, name, None)) else None for name in times},
        "triggered_by": getattr(run, "triggering_user_name", None),
        "parameters": dict(context["params"]),
        "given_parameters": sorted(given) if isinstance(given, Mapping) else [],
    }


def _masked(text: str) -> str:
    """Remove secrets: those that Airflow knows, for example a connection's password, and what resembles one."""
    from airflow.sdk._shared.secrets_masker import redact as mask_secrets

    return redact(mask_secrets(text))
