"""Choose the checkpoint to promote."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from gemini_tuning.core.exceptions import CheckpointError
from gemini_tuning.core.files import Files
from gemini_tuning.core.text import short_repr
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import (
    GCP_FIELDS,
    GeminiBaseOperator,
    as_list,
    flag,
    optional_float,
    optional_text,
)

if TYPE_CHECKING:
    from gemini_tuning.selection.candidate import Candidate
    from gemini_tuning.selection.decision import Decision


class GeminiChooseCheckpointOperator(GeminiBaseOperator):
    """Compare the checkpoints' smoke tests and choose the one to promote.

    Reads the results files that the smoke tests name and applies the rules of
    :func:`gemini_tuning.selection.decide.decide`. It changes nothing and does not branch:
    :class:`GeminiRouteOperator` does, on ``next_step``.

    XCom ``return_value``, and one XCom per key: ``{"decision", "winner", "next_step"}``. ``decision`` is
    :meth:`gemini_tuning.selection.decision.Decision.as_dict` with ``default_checkpoint_id`` and ``policy``, at most
    8 KB with 10 checkpoints; ``winner`` a checkpoint id or ``None``; ``next_step`` one of ``approve``,
    ``set_default``, ``publish`` (the winner is already the default) and ``report`` (no winner).

    :param results: XComs of the smoke tests. (templated)
    :param champion: XCom of the champion's smoke test; ``None`` without a champion. (templated)
    :param champion_name: its full name; when that is given and ``champion`` is missing, nothing wins. (templated)
    :param metrics: what :class:`GeminiReadTuningMetricsOperator` pushed. (templated)
    :param model: full name of the tuned model: its default is read, as it may have changed since. (templated)
    :param min_pass_rate: 0 to 1, weighted share of the cases; no checkpoint below it can win. (templated)
    :param max_latency_p95: milliseconds; no checkpoint whose 95th percentile is above it can win. (templated)
    :param allow_blocked: whether a checkpoint with blocked responses may win. (templated)
    :param significance: two-sided; results of two checkpoints whose p-value is not below it are a tie. (templated)
    :param require_improvement: whether the winner must be significantly better than the champion. (templated)
    :param require_approval: whether an approval is required. (templated)
    :raises ValueError: when a parameter is out of its range.
    :raises CheckpointError: when no checkpoint could be tested because the service was unavailable.
    :raises ResultError: when results can't be compared, naming the file and line, or the field.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS, "results", "champion", "champion_name", "metrics", "model", "min_pass_rate",
        "max_latency_p95", "allow_blocked", "significance", "require_improvement", "require_approval",
    )  # fmt: skip
    operator_extra_links = (links.TUNED_MODEL, links.RUN_PAGE)

    def __init__(
        self,
        *,
        results: Iterable[Mapping[str, Any]],
        model: str,
        champion: Mapping[str, Any] | None = None,
        champion_name: str | None = None,
        metrics: Mapping[str, Any] | None = None,
        min_pass_rate: float | str = 0.8,
        max_latency_p95: float | str | None = None,
        allow_blocked: bool | str = False,
        significance: float | str = 0.05,
        require_improvement: bool | str = False,
        require_approval: bool | str = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.results = results
        self.model = model
        self.champion = champion
        self.champion_name = champion_name
        self.metrics = metrics
        self.min_pass_rate = min_pass_rate
        self.max_latency_p95 = max_latency_p95
        self.allow_blocked = allow_blocked
        self.significance = significance
        self.require_improvement = require_improvement
        self.require_approval = require_approval

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide and return the decision."""
        from gemini_tuning.core.xcom import MetricsXCom
        from gemini_tuning.selection.candidate import Candidate
        from gemini_tuning.selection.decide import decide
        from gemini_tuning.selection.gates import Policy

        min_pass_rate = optional_float(self.min_pass_rate, "min_pass_rate")
        policy = Policy(
            min_pass_rate=math.nan if min_pass_rate is None else min_pass_rate,  # nan is refused
            max_latency_p95_ms=optional_float(self.max_latency_p95, "max_latency_p95"),
            allow_blocked=flag(self.allow_blocked, "allow_blocked"),
            significance=optional_float(self.significance, "significance") or 0.0,
            require_improvement=flag(self.require_improvement, "require_improvement"),
        )
        approval = flag(self.require_approval, "require_approval")
        results = as_list(self.results, "results")
        candidates = [self._candidate(result, f"results, number {number}") for number, result in enumerate(results, 1)]
        unavailable = any(result.get("service_unavailable") for result in results)
        if unavailable and not any(candidate.was_tested for candidate in candidates):
            problem = f"No checkpoint could be tested, because the service was unavailable. {candidates[0].error}"
            hint = "Clear the smoke tests and their downstream tasks."
            raise CheckpointError(problem, code="service_unavailable", hint=hint)
        champion = self._candidate(self.champion, "champion") if self.champion else None
        if champion is None and (name := optional_text(self.champion_name)):
            champion = Candidate(name, error="its smoke test pushed nothing")  # nothing is promoted over it
        decision = decide(candidates, policy, champion, MetricsXCom.from_xcom(self.metrics))
        self._log(decision)
        default = self.hook.get_model(self.model).default_checkpoint_id
        return {
            "decision": {**decision.as_dict(), "default_checkpoint_id": default, "policy": asdict(policy)},
            "winner": decision.winner,
            "next_step": decision.next_step(default, require_approval=approval),
        }

    def _candidate(self, result: Any, where: str) -> Candidate:
        from gemini_tuning.core.case_outcomes import ResultError, outcomes_from_lines
        from gemini_tuning.core.xcom import MetricsXCom, SmokeTestXCom
        from gemini_tuning.selection.candidate import Candidate

        if not isinstance(result, Mapping):
            problem = f"{where}: expected the XCom of a smoke test, not {short_repr(result)}"
            raise ResultError(problem, field="results", code="wrong_type")
        summary = SmokeTestXCom.from_xcom(result) or SmokeTestXCom()
        metrics = MetricsXCom.from_xcom(self.metrics) or MetricsXCom()
        uri = str(result.get("results_uri") or "")
        try:
            outcomes = outcomes_from_lines(Files(self.hook).read_lines(uri), uri) if uri else {}
        except FileNotFoundError as error:
            hint = "A path must be one that all workers see; set results_uri to gs://bucket/folder and run again."
            problem = f"{where}: {uri} does not exist."
            raise ResultError(problem, resource=uri, code="not_found", hint=hint) from error
        try:
            return Candidate.from_smoke_test(summary, outcomes, metrics.checkpoints.get(summary.checkpoint_id))
        except ResultError as error:
            message, field = f"{where}: {error}", error.field
            raise ResultError(message, field=field, resource=error.resource, code=error.code) from None

    def _log(self, decision: Decision) -> None:
        named = [(f"Checkpoint {each.candidate.checkpoint_id}", each) for each in decision.assessments]
        if decision.champion:
            named.append(("Champion", decision.champion))
        for name, assessment in named:
            for text in assessment.speaks_for:
                self.log.info("%s: + %s", name, text)
            for text in assessment.speaks_against:
                self.log.info("%s: - %s", name, text)
        for text in filter(None, (*decision.missing, decision.overfitting, decision.reason)):
            self.log.info("%s", text)
