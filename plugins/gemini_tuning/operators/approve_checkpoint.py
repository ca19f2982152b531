"""The step at which a person has the last word before a checkpoint is promoted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.bases.branch import BranchMixIn
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import short_repr
from gemini_tuning.core.xcom import mapping, optional, part, text
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.base import RETRY_POLICY, as_list, flag, optional_seconds, optional_text
from gemini_tuning.operators.human_review import answered_at, how_to_ask_anew, nobody_answered, shows_an_old_request
from gemini_tuning.reporting.approval_request import (
    NOT_REQUIRED,
    NOTHING,
    REJECT,
    TIMED_OUT,
    Offer,
    fingerprint,
    question,
    record,
)

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.execution_time.hitl import HITLUser

DAY = 24 * 3600.0  # seconds
ASKED_KEY = "approval_asked"  # in the task state store: the fingerprint of what was asked


class GeminiApproveCheckpointOperator(HITLOperator, BranchMixIn):
    """Ask a person whether the winner may be promoted, and branch on the answer.

    Airflow's human in the loop: the comparison shows under Required Actions, on the home page and on the task. The
    answers are to approve the winner, to take another checkpoint that passed the gates, and to reject; no answer in
    time is a rejection. Meanwhile the task rests in ``awaiting_input``, where it holds neither a worker slot nor a
    triggerer. Who may answer is Airflow's business: the permission for the DAG, and ``assigned_users``.

    A checkpoint is to be promoted: branch to ``set_default_task_id``, also when it is the default, as that may have
    changed while the task waited. Rejected, or nobody won: to ``no_winner_task_id``. Nobody is asked when approval is
    not required, or when there is no winner.

    An answer counts for what was asked: when the choice has changed since, the task fails and nothing is promoted.
    Cleared, the task asks again. As Airflow 3.3 keeps the text of a task's first request for good
    (https://github.com/apache/airflow/pull/73235), that works only while the comparison is the same; else the task
    fails before it shows a table that is not true any more, and says what to do.

    XCom ``return_value``: ``{"required", "outcome", "checkpoint_id", "proposed", "by": {"id", "name"}, "at", "timeout",
    "offered"}``; ``outcome`` is ``approved``, ``another checkpoint``, ``rejected``, ``timed out``, ``not required`` or
    ``nothing to approve``; ``by`` is ``None`` when nobody answered; ``timeout`` in seconds. XCom ``winner``: id of the
    checkpoint to promote, or ``None``.

    :param decision: what the choice pushed. (templated)
    :param results: what the smoke tests pushed; ``None`` for one that was skipped. (templated)
    :param default_checkpoint_id: the default before. (templated)
    :param champion: what the smoke test of the model in production pushed; ``None`` without one. (templated)
    :param metrics: what reading the metrics pushed. (templated)
    :param tuning_job: full name of the job, for a link. (templated)
    :param model: full name of the tuned model, for a link. (templated)
    :param report_uri: folder of the report, for a link. (templated)
    :param checked: what the check at the beginning pushed, with the estimated cost. (templated)
    :param required: whether anybody is asked. (templated)
    :param timeout: seconds that there is time to answer. (templated)
    :param assigned_users: ``{"id", "name"}`` of those who may answer; ``None``: all who may for this DAG.
    :param set_default_task_id: direct downstream task.
    :param no_winner_task_id: direct downstream task.
    :raises ValueError: when the decision can't be offered, or the answer was not offered.
    :raises InvalidInputError: when what is shown, or was, is not what is to be decided now.
    """

    inherits_from_skipmixin = True
    template_fields: Collection[str] = (
        "subject",
        "decision",
        "results",
        "default_checkpoint_id",
        "champion",
        "metrics",
        "tuning_job",
        "model",
        "report_uri",
        "checked",
        "required",
        "timeout",
    )
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
        timeout: float | str = DAY,
        subject: str = "Which checkpoint is to be promoted?",
        assigned_users: HITLUser | list[HITLUser] | None = None,
        set_default_task_id: str = "set_default",
        no_winner_task_id: str = "report",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        # What can be answered is known only at run time; until then there is one answer.
        super().__init__(subject=subject, options=[REJECT], defaults=REJECT, assigned_users=assigned_users, **kwargs)
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
        self.timeout = timeout
        self.set_default_task_id = set_default_task_id
        self.no_winner_task_id = no_winner_task_id

    def execute(self, context: Context) -> Any:
        """Ask; or go on at once when nobody has to be asked."""
        offer, required = Offer.of(mapping(self.decision, "decision")), flag(self.required, "required")
        if offer.proposed is None:
            return self._go_on(context, record(offer, NOTHING, None, required=required))
        if not required:
            return self._go_on(context, record(offer, NOT_REQUIRED, offer.proposed, required=False))
        asked = self._prepare(offer)
        if context["ti"].try_number > 1 and shows_an_old_request(self, context):
            raise InvalidInputError(
                "Airflow would show the comparison of an earlier try, which is not true any more; nobody was asked and "
                "nothing was promoted. " + _how_to_ask_anew(context)
            )
        context["task_state_store"].set(ASKED_KEY, asked, retention=NEVER_EXPIRE)
        for line in (self.body or "").splitlines():
            self.log.info("%s", line)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take the answer, or the time-out, push the record and branch."""
        offer = Offer.of(mapping(self.decision, "decision"))
        if context["task_state_store"].get(ASKED_KEY) != self._prepare(offer):
            raise InvalidInputError(
                "The choice has changed since this was asked, so the answer does not count; nothing was promoted. "
                + _how_to_ask_anew(context)
            )
        timeout, by = self._timeout(), event.get("responded_by_user")
        if nobody_answered(event):
            return self._go_on(context, record(offer, TIMED_OUT, None, timeout=timeout, at=answered_at(event)))
        answer = super().execute_complete(context, event)["chosen_options"]
        if len(answer) != 1:
            raise ValueError(f"expected one answer, not {short_repr(answer)}")
        outcome = offer.outcome(answer[0])
        decided = record(offer, outcome, offer.options[answer[0]], by=by, at=answered_at(event), timeout=timeout)
        return self._go_on(context, decided)

    def _prepare(self, offer: Offer) -> str:
        """Fill in what Airflow's operator asks, which is a new instance when the answer comes; return its hash."""
        self.options, self.defaults = list(offer.options), [REJECT]
        self.response_timeout = timedelta(seconds=self._timeout())
        self.body = question(
            offer,
            decision=self.decision,
            results=[result for result in as_list(self.results, "results") if result is not None],
            champion=self.champion,
            metrics=self.metrics,
            tuning_job=self.tuning_job,
            model=self.model,
            default_checkpoint_id=self._default(),
            report_uri=optional_text(self.report_uri),
            cost=part(optional(self.checked, "checked"), "cost"),
            timeout=self._timeout(),
        )
        return fingerprint(self.body, offer)

    def _default(self) -> str | None:
        return text(self.decision.get("default_checkpoint_id")) or optional_text(self.default_checkpoint_id)

    def _timeout(self) -> float:
        return optional_seconds(self.timeout, "timeout") or DAY

    def _go_on(self, context: Context, decided: dict[str, Any]) -> dict[str, Any]:
        winner = decided["checkpoint_id"]
        self.log.info(
            "%s: checkpoint %s, proposed %s, by %s", decided["outcome"], winner, decided["proposed"], decided["by"]
        )
        context["ti"].xcom_push(key="return_value", value=decided)  # here: skipping leaves by an exception
        context["ti"].xcom_push(key="winner", value=winner)
        self.do_branch(context, self.no_winner_task_id if winner is None else self.set_default_task_id)
        return decided


def _how_to_ask_anew(context: Context) -> str:
    return how_to_ask_anew(context, "the choice")
