"""Request approval before a checkpoint is promoted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from airflow.sdk import Context
from airflow.sdk.bases.skipmixin import SkipMixin

from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.approval import NO_RESPONSE, ApprovalBase
from gemini_tuning.operators.cloud_base import as_list, flag, optional_text


class GeminiApproveCheckpointOperator(ApprovalBase, SkipMixin):
    """Request approval of the winner, with the comparison of the checkpoints.

    The user approves the winner, selects another checkpoint that passed the gates, or rejects; no response in time is a
    rejection. After a rejection, and without a winner, the direct downstream tasks are skipped, as by Airflow's
    ``ApprovalOperator``. No approval is requested when it is not required or there is no winner. How requests and
    responses are checked: :class:`~gemini_tuning.operators.approval.ApprovalBase`.

    XCom: ``{"required", "outcome", "checkpoint_id", "proposed", "by": {"id", "name"}, "at", "timeout", "offered"}``;
    ``outcome`` is ``approved``, ``another checkpoint``, ``rejected``, ``timed out``, ``not required`` or ``nothing to
    approve``; ``checkpoint_id`` the checkpoint to promote or ``None``; ``by`` is ``None`` without a response;
    ``timeout`` in seconds.

    :param decision: XCom ``decision`` of the choice. (templated)
    :param results: XComs of the smoke tests; ``None`` for one that was skipped. (templated)
    :param default_checkpoint_id: the default checkpoint before the promotion. (templated)
    :param champion: XCom of the champion's smoke test; ``None`` without one. (templated)
    :param metrics: XCom of the tuning metrics. (templated)
    :param tuning_job: full name of the tuning job, for a link. (templated)
    :param model: full name of the tuned model, for a link. (templated)
    :param report_uri: folder of the report, for a link. (templated)
    :param checked: XCom of the validation, with the estimated cost. (templated)
    :param required: whether an approval is required. (templated)
    :param timeout: seconds until a missing response counts as a rejection. (templated)
    :param assigned_users: ``{"id", "name"}`` of the users who may respond; ``None``: all with permission for the DAG.
    :raises ValueError: when the decision cannot be offered, or the response is not one of the options.
    :raises InvalidInputError: when the request that Airflow shows is not about the current decision.
    """

    inherits_from_skipmixin = True
    request_key = "approval_asked"
    shown = "comparison"
    first_task = "the choice"
    template_fields: Collection[str] = (
        "subject", "decision", "results", "default_checkpoint_id", "champion", "metrics", "tuning_job", "model",
        "report_uri", "checked", "required", "timeout",
    )  # fmt: skip
    operator_extra_links = (links.TUNED_MODEL, links.RUN_PAGE)

    def __init__(
        self,
        *,
        decision: Mapping[str, Any],
        results: Iterable[Mapping[str, Any]],
        default_checkpoint_id: str | None = None,
        champion: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        tuning_job: str | None = None,
        model: str | None = None,
        report_uri: str | None = None,
        checked: Mapping[str, Any] | None = None,
        required: bool | str = True,
        subject: str = "Which checkpoint is to be promoted?",
        **kwargs: Any,
    ) -> None:
        # prepare() sets the options, which are known only at run time.
        super().__init__(subject=subject, options=["Reject"], defaults="Reject", **kwargs)
        self.decision = decision
        self.results = results
        self.default_checkpoint_id = default_checkpoint_id
        self.champion = champion
        self.metrics = metrics
        self.tuning_job = tuning_job
        self.model = model
        self.report_uri = report_uri
        self.checked = checked
        self.required = required

    def execute(self, context: Context) -> Any:
        """Request the approval, if one is required and there is a winner."""
        from gemini_tuning.reporting.approval_request import NOT_REQUIRED, NOTHING, Offer

        proposed, required = Offer.of(self.decision).proposed, flag(self.required, "required")
        if proposed is None or not required:
            outcome = NOTHING if proposed is None else NOT_REQUIRED
            return self._finish(context, outcome, proposed, NO_RESPONSE, required=required)
        return self.request(context)

    def prepare(self) -> str:
        """Set the options and the comparison; return their fingerprint."""
        from gemini_tuning.core.xcom import ValidationXCom
        from gemini_tuning.reporting.approval_request import REJECT, Offer, fingerprint, question

        offer = Offer.of(self.decision)
        self.options, self.defaults = list(offer.options), [REJECT]
        self.body = question(
            offer,
            results=[result for result in as_list(self.results, "results") if result is not None],
            **{name: getattr(self, name) for name in ("decision", "champion", "metrics", "tuning_job", "model")},
            default_checkpoint_id=self.decision.get("default_checkpoint_id")
            or optional_text(self.default_checkpoint_id),
            report_uri=optional_text(self.report_uri),
            validation=ValidationXCom.from_input(self.checked, "checked"),
            timeout=self.timeout_seconds(),
        )
        return fingerprint(self.body, offer)

    def complete(self, context: Context, answer: str | None, response: Mapping[str, Any]) -> Any:
        """Return who decided what, and when; skip the promotion after a rejection."""
        from gemini_tuning.reporting.approval_request import TIMED_OUT, Offer

        offer = Offer.of(self.decision)
        outcome, chosen = (TIMED_OUT, None) if answer is None else (offer.outcome(answer), offer.options[answer])
        return self._finish(context, outcome, chosen, response)

    def _finish(
        self, context: Context, outcome: str, chosen: str | None, response: Mapping[str, Any], *, required: bool = True
    ) -> dict[str, Any]:
        from gemini_tuning.reporting.approval_request import Offer

        offer = Offer.of(self.decision)
        offered = list(offer.options) if required and offer.proposed is not None else []
        decided = {"required": required, "outcome": outcome, "checkpoint_id": chosen, "proposed": offer.proposed}
        decided |= {**response, "offered": offered}
        self.log.info("%s: checkpoint %s, proposed %s, by %s", outcome, chosen, offer.proposed, response["by"])
        if chosen is None:
            context["ti"].xcom_push(key="return_value", value=decided)  # skip() raises, which loses a return value
            self.skip(context["ti"], self.get_direct_relatives(upstream=False))
        return decided
