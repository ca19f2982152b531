"""The last step of a run: say what it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from gemini_tuning.operators.base import as_list
from gemini_tuning.report import render

if TYPE_CHECKING:
    from airflow.sdk import Context


class GeminiTuningReportOperator(BaseOperator):
    """Write the run's report to the log and push it, with the outcome in a form that other DAGs can use.

    XCom: ``{"winner", "reason", "tuned_model", "default_before", "default_after", "copy", "report"}``; ``copy`` is
    the copy's full name or ``None``, ``report`` is Markdown.

    :param tuning_job: full name of the job. (templated)
    :param model: full name of the tuned model. (templated)
    :param results: what the smoke tests pushed. (templated)
    :param decision: what the choice pushed. (templated)
    :param promotion: what setting the default pushed; ``None`` when it was skipped. (templated)
    :param copy: what the check of the copy pushed; ``None`` when there was none. (templated)
    """

    template_fields: Sequence[str] = ("tuning_job", "model", "results", "decision", "promotion", "copy")

    def __init__(
        self,
        *,
        tuning_job: str,
        model: str | None,
        results: Iterable[Mapping[str, Any]],
        decision: Mapping[str, Any],
        promotion: Mapping[str, Any] | None = None,
        copy: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tuning_job = tuning_job
        self.model = model
        self.results = results
        self.decision = decision
        self.promotion = promotion
        self.copy = copy

    def execute(self, context: Context) -> dict[str, Any]:
        """Render, log and push the report."""
        report = render(
            tuning_job=self.tuning_job,
            model=self.model,
            results=as_list(self.results, "results"),
            decision=self.decision,
            promotion=self.promotion,
            copy=self.copy,
        )
        for line in report.splitlines():
            self.log.info("%s", line)
        before = self.decision.get("default_checkpoint_id")
        return {
            "winner": self.decision.get("winner"),
            "reason": self.decision.get("reason"),
            "tuned_model": self.model,
            "default_before": before,
            "default_after": self.promotion.get("default_after") if self.promotion else before,
            "copy": self.copy.get("model") if self.copy else None,
            "report": report,
        }
