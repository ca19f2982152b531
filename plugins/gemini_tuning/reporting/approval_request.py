"""What a person is asked before a checkpoint is promoted, and what becomes of the answer. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemini_tuning.core import xcom
from gemini_tuning.core.markdown import place, plain
from gemini_tuning.core.resources import checkpoint_id
from gemini_tuning.core.text import short_repr
from gemini_tuning.cost.estimate_text import entry as cost_entry
from gemini_tuning.cost.estimate_text import in_words
from gemini_tuning.reporting.comparison_table import champion as champion_entry
from gemini_tuning.reporting.comparison_table import compare, comparison, named, whereabouts

REJECT = "Reject"
APPROVED, ANOTHER, REJECTED, TIMED_OUT = "approved", "another checkpoint", "rejected", "timed out"
NOT_REQUIRED, NOTHING = "not required", "nothing to approve"


@dataclass(frozen=True)
class Offer:
    """What can be answered.

    :param proposed: the checkpoint that the rules chose; ``None``: there is nothing to approve.
    :param options: checkpoint by the words of the answer; ``None`` for the rejection, which comes last.
    """

    proposed: str | None
    options: Mapping[str, str | None]

    @classmethod
    def of(cls, decision: Mapping[str, Any]) -> Offer:
        """Offer the winner, and every other checkpoint that passed the gates.

        :param decision: what the choice pushed.
        :raises ValueError: when the winner is not among those that passed, or a checkpoint is there twice.
        """
        if decision.get("winner") is None:
            return cls(None, {REJECT: None})
        winner = checkpoint_id(decision["winner"], "decision: winner")
        passed = _passed(decision.get("checkpoints"))
        if winner not in passed:
            raise ValueError(
                f"decision: the winner, checkpoint {short_repr(winner)}, is not among those that passed the gates"
            )
        if len(set(passed)) < len(passed):
            raise ValueError("decision: a checkpoint is there more than once")
        others = {f"Take checkpoint {other} instead": other for other in passed if other != winner}
        return cls(winner, {f"Approve checkpoint {winner}": winner, **others, REJECT: None})

    def outcome(self, answer: str) -> str:
        """Return in one word what an answer means.

        :raises ValueError: when it was not offered.
        """
        if answer not in self.options:
            raise ValueError(
                f"the answer {short_repr(answer)} was not offered; offered were: {', '.join(self.options)}"
            )
        chosen = self.options[answer]
        if chosen is None:
            return REJECTED
        return APPROVED if chosen == self.proposed else ANOTHER


def record(
    offer: Offer,
    outcome: str,
    chosen: str | None,
    *,
    required: bool = True,
    by: Mapping[str, Any] | None = None,
    at: str | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Return who decided what, and when, as it goes to XCom.

    :param chosen: checkpoint id.
    :param by: ``{"id", "name"}`` of the person.
    :param at: ISO time of the answer.
    :param timeout: seconds that there was time.
    """
    return {
        "required": required,
        "outcome": outcome,
        "checkpoint_id": chosen,
        "proposed": offer.proposed,
        "by": {key: xcom.text(by.get(key)) for key in ("id", "name")} if by else None,
        "at": at,
        "timeout": timeout,
        "offered": list(offer.options) if required and offer.proposed is not None else [],
    }


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
    cost: object = None,
    timeout: float,
) -> str:
    """Return the comparison as Markdown, with links.

    :param decision: what the choice pushed; the others likewise, see :func:`gemini_tuning.reporting.report.build`.
    :param report_uri: folder of the report, which the end of the run writes.
    :param cost: what the check at the beginning estimated.
    :param timeout: seconds until no answer counts as a rejection.
    :raises ValueError: naming what is not the mapping that a step pushes.
    """
    checkpoints = compare(results, decision, xcom.optional(metrics, "metrics"))
    in_production = champion_entry(xcom.optional(champion, "champion"), decision)
    marks = {"**proposed**": offer.proposed, "default now": xcom.text(default_checkpoint_id)}
    body = "\n".join(
        [
            f"**Proposed: checkpoint {plain(offer.proposed)}.** {plain(decision.get('reason'))}",
            "",
            *comparison(checkpoints, in_production, marks=marks),
            "",
            *_notes(decision, metrics),
            f"- Tuning job: {place(tuning_job)}",
            f"- Tuned model: {place(model)}",
            *_cost(cost),
            f"- Report, at the end of the run: {place(report_uri)}",
            *whereabouts(named(checkpoints, in_production)),
            "",
            f"One click on an answer is final. No answer within {_span(timeout)} means reject.",
        ]
    )
    return body.encode("utf-8", "replace").decode()  # half a character would not get through to Airflow


def fingerprint(body: str, offer: Offer) -> str:
    """Return a hash of what is asked: an answer counts for the comparison that it was given to."""
    return hashlib.sha256("\n".join([body, *offer.options]).encode("utf-8", "replace")).hexdigest()


def _passed(assessments: object) -> list[str]:
    if not isinstance(assessments, list | tuple):
        raise ValueError(f"decision: checkpoints: expected a list, not {short_repr(assessments)}")
    return [
        checkpoint_id(assessment.get("checkpoint_id"), f"decision: checkpoint {number}")
        for number, assessment in enumerate(assessments, 1)
        if isinstance(assessment, Mapping) and assessment.get("passed_gates") is True
    ]


def _notes(decision: Mapping[str, Any], metrics: object) -> list[str]:
    overfitting = [text] if (text := xcom.text(decision.get("overfitting"))) else []
    missing = [xcom.texts(part.get("missing")) for part in (xcom.optional(metrics, "metrics"), decision)]
    return [
        *(f"- Overfitting: {plain(note)}" for note in overfitting),
        *(f"- Missing evidence: {plain(gap)}" for gap in xcom.joined(missing)),
    ]


def _cost(cost: object) -> list[str]:
    estimate = cost_entry(cost)
    return [f"- Cost, estimated before the job: {plain(in_words(estimate))}"] if estimate else []


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:g} seconds"
