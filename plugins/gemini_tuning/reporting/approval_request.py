"""The request for approval before a checkpoint is promoted: its options and its text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemini_tuning.core import xcom
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.resources import checkpoint_id
from gemini_tuning.core.text import replace_surrogates, short_repr
from gemini_tuning.core.xcom import MetricsXCom, SmokeTestXCom, ValidationXCom
from gemini_tuning.cost.estimate_text import estimate_line
from gemini_tuning.reporting.markdown_templates import render
from gemini_tuning.reporting.report import compare, compare_champion, read_results, require_decision

REJECT = "Reject"
APPROVED, ANOTHER, REJECTED, TIMED_OUT = "approved", "another checkpoint", "rejected", "timed out"
NOT_REQUIRED, NOTHING = "not required", "nothing to approve"


@dataclass(frozen=True)
class Offer:
    """The options of an approval request."""

    proposed: str | None  # the winner by the rules; None: nothing to approve
    options: Mapping[str, str | None]  # checkpoint id by label; None for the rejection, which comes last

    @classmethod
    def of(cls, decision: object) -> Offer:
        """Offer the winner and every other eligible checkpoint of an XCom ``decision``.

        :raises InvalidInputError: when the winner is not eligible, or a checkpoint occurs twice.
        """
        if not isinstance(decision, Mapping):
            raise _invalid("decision", f"expected the XCom of choose, not {short_repr(decision)}", "not_a_mapping")
        if decision.get("winner") is None:
            return cls(None, {REJECT: None})
        winner = _checkpoint_id(decision["winner"], "decision.winner")
        eligible = _eligible(decision.get("checkpoints"))
        if winner not in eligible:
            raise _invalid("decision.winner", f"checkpoint {short_repr(winner)} is not eligible", "not_eligible")
        if len(set(eligible)) < len(eligible):
            raise _invalid("decision.checkpoints", "duplicate checkpoint", "duplicate_checkpoint")
        others = {f"Select checkpoint {other} instead": other for other in eligible if other != winner}
        return cls(winner, {f"Approve checkpoint {winner}": winner, **others, REJECT: None})

    def outcome(self, response: str) -> str:
        """Return the outcome of a response; refuse one that is not among the options."""
        if response not in self.options:
            problem = f"{short_repr(response)} is not one of the options: {', '.join(self.options)}"
            raise _invalid("response", problem, "not_an_option")
        chosen = self.options[response]
        if chosen is None:
            return REJECTED
        return APPROVED if chosen == self.proposed else ANOTHER


def question(
    offer: Offer,
    *,
    decision: Mapping[str, Any],
    results: Iterable[object],
    champion: object = None,
    metrics: object = None,
    tuning_job: object = None,
    model: object = None,
    default_checkpoint_id: object = None,
    report_uri: object = None,
    validation: ValidationXCom | None = None,
    timeout: float,
) -> str:
    """Return the comparison as Markdown, with links. The parameters are those of :func:`~.report.build`.

    :param report_uri: folder to which the report will be written.
    :param validation: XCom of ``validate``, with the estimated cost.
    :param timeout: seconds until a missing response counts as a rejection.
    :raises InvalidInputError: naming the parameter that is not a mapping.
    """
    chosen, measured = require_decision(decision), MetricsXCom.from_input(metrics, "metrics")
    body = render(
        "approval_request.md.j2",
        proposed=offer.proposed,
        default_checkpoint_id=xcom.text(default_checkpoint_id),
        decision=chosen,
        checkpoints=compare(read_results(results), chosen, measured),
        champion=compare_champion(SmokeTestXCom.from_input(champion, "champion"), chosen),
        missing=xcom.joined([measured.missing if measured else [], chosen.missing]),
        tuning_job=tuning_job,
        model=model,
        estimate=estimate_line(validation.cost) if validation and validation.cost else None,
        report_uri=report_uri,
        span=_span(timeout),
    )
    return replace_surrogates(body.rstrip())  # Airflow's API accepts only valid UTF-8


def fingerprint(body: str, offer: Offer) -> str:
    """Return a hash of the request: a response is valid only for the comparison that was shown."""
    return hashlib.sha256("\n".join([body, *offer.options]).encode("utf-8", "replace")).hexdigest()


def _eligible(assessments: object) -> list[str]:
    if not isinstance(assessments, list | tuple):
        raise _invalid("decision.checkpoints", f"expected a list, not {short_repr(assessments)}", "wrong_type")
    return [
        _checkpoint_id(assessment.get("checkpoint_id"), f"decision.checkpoints[{number}]")
        for number, assessment in enumerate(assessments)
        if isinstance(assessment, Mapping) and assessment.get("passed_gates") is True
    ]


def _checkpoint_id(value: object, field: str) -> str:
    try:
        return checkpoint_id(value, field)
    except ValueError as problem:
        raise InvalidInputError(str(problem), field=field, code="wrong_type") from None


def _invalid(field: str, problem: str, code: str) -> InvalidInputError:
    return InvalidInputError(f"{field}: {problem}.", field=field, code=code)


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:g} seconds"
