"""The report of a run as Markdown."""

from __future__ import annotations

from gemini_tuning.cost.estimate_text import estimate_markdown
from gemini_tuning.reporting import markdown_templates
from gemini_tuning.reporting.report import Report

OUTCOMES = {
    "promoted": "The winner is now the default checkpoint.",
    "already default": "The winner was the default checkpoint already.",
    "rejected": "Rejected: nothing was promoted.",
    "timed out": "The approval request timed out: nothing was promoted.",
    "champion kept": "The model in production stays: nothing was promoted.",
    "no winner": "No checkpoint is eligible: nothing was promoted.",
    "not promoted": "The winner was not set as the default checkpoint.",
}


def render(report: Report) -> str:
    """Return the whole report."""
    has_eval_loss = report.losses.eval or any(entry.losses and entry.losses.eval_loss for entry in report.checkpoints)
    no_overfitting = "the losses show none" if has_eval_loss else "unknown, because there is no eval loss"
    return markdown_templates.render(
        "report.md.j2",
        report=report,
        outcome=OUTCOMES[report.outcome],
        overfitting=report.decision.overfitting or no_overfitting,
        cost=markdown_templates.Markdown("\n".join(estimate_markdown(report.cost))),
    )


def summary(report: Report) -> list[str]:
    """Return the outcome and the comparison, in lines that are also readable in a log."""
    return markdown_templates.render("summary.md.j2", report=report, outcome=OUTCOMES[report.outcome]).splitlines()
