"""What people are told of a run: one line, and a short Markdown text that can also be read as it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gemini_tuning.core import xcom
from gemini_tuning.core.markdown import place, plain
from gemini_tuning.core.text import redact, shorten

PROMOTED, REJECTED, NOBODY, FAILED, WAITING = "promoted", "rejected", "nobody", "failed", "waiting_for_approval"
EVENTS = (PROMOTED, REJECTED, NOBODY, FAILED, WAITING)
# What a report's outcome is called here.
EVENT_OF = {
    "promoted": PROMOTED,
    "already default": PROMOTED,
    "rejected": REJECTED,
    "timed out": REJECTED,
    "champion kept": NOBODY,
    "no winner": NOBODY,
    "not promoted": FAILED,
}
TITLES = {
    "promoted": "Checkpoint {winner} was promoted",
    "already default": "Checkpoint {winner} is the best, and was the default already",
    "rejected": "Rejected, nothing was promoted",
    "timed out": "Nobody answered in time, nothing was promoted",
    "champion kept": "The model in production stays, nothing was promoted",
    "no winner": "No checkpoint is good enough, nothing was promoted",
    "not promoted": "Checkpoint {winner} won, but was not made the default",
}
MAX_TEXT = 10_000  # characters
MAX_TITLE = 200
MAX_ERROR = 500
MAX_FAILURES = 10  # tasks


@dataclass(frozen=True)
class Message:
    """What a notifier's templates see as ``gemini``; all texts, so that a template can use any of them.

    :param event: one of :data:`EVENTS`.
    :param outcome: the report's own word, for example ``already default``; else the event.
    :param title: one line.
    :param text: Markdown: what happened, why, and the comparison.
    :param url: of the run in Airflow's UI.
    :param reason: why the rules chose as they did, or what failed.
    :param model: full name with its version.
    :param report: address of the report in Markdown.
    """

    event: str
    outcome: str
    title: str
    text: str
    dag_id: str
    run_id: str
    url: str
    reason: str = ""
    model: str = ""
    checkpoint_id: str = ""
    tuning_job: str = ""
    report: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as plain values."""
        return asdict(self)


SAMPLES = tuple(
    Message(event, event, "title", "text", dag_id="dag", run_id="run", url="https://airflow.example.com")
    for event in EVENTS
)


@dataclass(frozen=True)
class Run:
    """Where to look for more.

    :param url: of the run in Airflow's UI.
    """

    dag_id: str
    run_id: str
    url: str
    tuning_job: str | None = None


def of_report(run: Run, report: Mapping[str, Any], summary: object) -> Message:
    """Return the message of a run that came to an end.

    :param report: what the report pushed.
    :param summary: the lines that it began with.
    """
    outcome = xcom.text(report.get("outcome")) or "not promoted"
    winner = xcom.text(report.get("winner")) or ""
    title = TITLES.get(outcome, "The run is over: {outcome}").format(winner=winner, outcome=outcome)
    lines = [xcom.text(summary, MAX_TEXT) or f"**{plain(title)}.**", "", *_places(run, report.get("report_markdown"))]
    return _message(
        run,
        EVENT_OF.get(outcome, FAILED),
        outcome,
        title,
        lines,
        reason=report.get("reason"),
        model=report.get("tuned_model"),
        checkpoint_id=winner,
        report=report.get("report_markdown"),
    )


def of_publication(run: Run, published: Mapping[str, Any]) -> Message:
    """Return the message of a promotion without a report, as by hand.

    :param published: what publishing the model pushed.
    """
    checkpoint_id = xcom.text(published.get("checkpoint_id"))
    name = "@".join(xcom.text(published.get(part)) or "?" for part in ("model", "version"))
    title = TITLES[PROMOTED].format(winner=checkpoint_id)
    lines = [f"**{plain(title)}.**", "", f"- Tuned model: {place(name)}", *_places(run, None)]
    return _message(run, PROMOTED, PROMOTED, title, lines, model=name, checkpoint_id=checkpoint_id)


def of_failure(run: Run, failures: Mapping[str, object], report: Message | None = None) -> Message:
    """Return the message of a run that failed.

    :param failures: why, by task; the reason may be missing.
    :param report: the message of its report, where there is one: then only what comes beside or after that has failed.
    """
    named = list(failures.items())[:MAX_FAILURES]
    reasons = [f"{task}: {xcom.text(why, MAX_ERROR) or 'see its log'}" for task, why in named]
    more = len(failures) - len(named)
    lines = ["**The run failed.**", "", *(f"- {plain(reason, 2 * MAX_ERROR)}" for reason in reasons)]
    lines += [f"- and {more} more"] if more else []
    lines += ["", report.text] if report else ["", *_places(run, None)]
    return _message(
        run,
        FAILED,
        FAILED,
        f"The run failed: {', '.join(task for task, _ in named) or 'see its tasks'}",
        lines,
        reason="; ".join(reasons),
        model=report.model if report else None,
        checkpoint_id=report.checkpoint_id if report else None,
        report=report.report if report else None,
    )


def of_request(run: Run, subject: object, body: object, *, model: object, proposed: object) -> Message:
    """Return the message of a run that waits for a person.

    :param body: the comparison, as Airflow shows it under Required Actions.
    :param proposed: checkpoint id.
    """
    question = xcom.text(subject, MAX_TITLE) or "A checkpoint is to be approved"
    lines = [f"**{plain(question)}**", "", xcom.text(body, MAX_TEXT) or "", "", *_places(run, None)]
    return _message(run, WAITING, WAITING, question, lines, model=model, checkpoint_id=proposed)


def _places(run: Run, report: object) -> Sequence[str]:
    return [f"- Run: {plain(run.run_id)}, {run.url}", *([f"- Report: {place(report)}"] if report else [])]


def _message(run: Run, event: str, outcome: str, title: str, lines: Sequence[str], **more: object) -> Message:
    return Message(
        event,
        outcome,
        f"{redact(title, MAX_TITLE)} ({redact(run.dag_id, MAX_TITLE)})",
        shorten("\n".join(lines), MAX_TEXT),
        dag_id=run.dag_id,
        run_id=run.run_id,
        url=run.url,
        tuning_job=xcom.text(run.tuning_job) or "",
        **{name: xcom.text(value) or "" for name, value in more.items()},
    )
