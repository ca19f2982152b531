"""The messages about a run: one line, and a Markdown text that is readable unrendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from gemini_tuning.core import xcom
from gemini_tuning.core.markdown import place, plain
from gemini_tuning.core.text import redact, shorten
from gemini_tuning.core.xcom import PublicationXCom, ReportXCom

PROMOTED, REJECTED, NO_WINNER, FAILED, WAITING = "promoted", "rejected", "no_winner", "failed", "waiting_for_approval"
EVENTS = (PROMOTED, REJECTED, NO_WINNER, FAILED, WAITING)
OUTCOMES = {  # event and title by the outcome in the report
    "promoted": (PROMOTED, "Checkpoint {winner} was promoted"),
    "already default": (PROMOTED, "Checkpoint {winner} won and was already the default"),
    "rejected": (REJECTED, "The promotion was rejected; nothing was changed"),
    "timed out": (REJECTED, "The approval request timed out; nothing was changed"),
    "champion kept": (NO_WINNER, "The champion was kept; nothing was changed"),
    "no winner": (NO_WINNER, "No checkpoint is eligible; nothing was changed"),
    "not promoted": (FAILED, "Checkpoint {winner} won but was not set as the default"),
}
MAX_TEXT = 10_000  # characters
MAX_TITLE = 200
MAX_ERROR = 500
MAX_FAILURES = 10  # tasks


@dataclass(frozen=True)
class Message:
    """What the templates of a notifier see as ``gemini``; every field is a text."""

    event: str  # one of EVENTS
    outcome: str  # the outcome in the report, for example "already default"; otherwise the event
    title: str  # one line
    text: str  # Markdown: the outcome with the comparison, the failed tasks, or the approval request
    dag_id: str
    run_id: str
    url: str  # of the run in Airflow's UI
    reason: str = ""  # of the choice, or the errors
    model: str = ""  # full name with its version
    checkpoint_id: str = ""
    tuning_job: str = ""
    report: str = ""  # address of the report in Markdown


SAMPLES = {
    event: Message(event, event, "title", "text", dag_id="dag", run_id="run", url="https://airflow.example.com")
    for event in EVENTS
}


@dataclass(frozen=True)
class RunLink:
    """The run that a message is about."""

    dag_id: str
    run_id: str
    url: str  # in Airflow's UI
    tuning_job: str = ""  # full name

    def lines(self, report: object = None) -> list[str]:
        """Return the last lines of a message: a link to the run, and one to its report."""
        return ["", f"- Run: {plain(self.run_id)}, {self.url}", *([f"- Report: {place(report)}"] if report else [])]


def message_of_report(run: RunLink, report: ReportXCom, summary: object) -> Message:
    """Return the message about a run that wrote a report; the summary is its first lines, with the comparison."""
    outcome, winner = report.outcome or "not promoted", report.winner or ""
    event, title = OUTCOMES.get(outcome, (FAILED, f"The run has finished: {outcome}"))
    title = title.replace("{winner}", winner)
    lines = [xcom.text(summary, MAX_TEXT) or f"**{plain(title)}.**", *run.lines(report.report_markdown)]
    facts = {"reason": report.reason, "model": report.tuned_model, "report": report.report_markdown}
    return _message(run, event, title, lines, outcome, checkpoint_id=winner, **facts)


def message_of_publication(run: RunLink, published: PublicationXCom) -> Message:
    """Return the message about a promotion without a report."""
    name = f"{published.model or '?'}@{published.version or '?'}"
    title = f"Checkpoint {published.checkpoint_id} was promoted"
    lines = [f"**{plain(title)}.**", "", f"- Tuned model: {place(name)}", *run.lines()[1:]]
    return _message(run, PROMOTED, title, lines, model=name, checkpoint_id=published.checkpoint_id)


def message_of_failure(run: RunLink, errors: Mapping[str, object], report: Message | None = None) -> Message:
    """Return the message about a failed run: its errors by task, and what the run achieved all the same."""
    named = list(errors.items())[:MAX_FAILURES]
    reasons = [f"{task}: {xcom.text(error, MAX_ERROR) or 'see its log'}" for task, error in named]
    more = len(errors) - len(named)
    lines = ["**The run failed.**", "", *(f"- {plain(reason, 2 * MAX_ERROR)}" for reason in reasons)]
    lines += [f"- and {more} more"] if more else []
    lines += ["", report.text] if report else run.lines()
    title = f"The run failed: {', '.join(task for task, _ in named) or 'see its tasks'}"
    achieved = {name: getattr(report, name, "") for name in ("model", "checkpoint_id", "report")}
    return _message(run, FAILED, title, lines, reason="; ".join(reasons), **achieved)


def message_of_request(run: RunLink, subject: object, body: object, *, model: object, proposed: object) -> Message:
    """Return the message about a run that waits for an approval, with the body that Airflow shows for it."""
    title = xcom.text(subject, MAX_TITLE) or "An approval is requested"
    lines = [f"**{plain(title)}**", "", xcom.text(body, MAX_TEXT) or "", *run.lines()]
    return _message(run, WAITING, title, lines, model=model, checkpoint_id=proposed)


def _message(run: RunLink, event: str, title: str, lines: Sequence[str], outcome: str = "", **more: object) -> Message:
    title = f"{redact(title, MAX_TITLE)} ({redact(run.dag_id, MAX_TITLE)})"
    facts = {name: xcom.text(value) or "" for name, value in more.items()}
    return Message(event, outcome or event, title, shorten("\n".join(lines), MAX_TEXT), **asdict(run), **facts)
