"""The report of a run as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator

from gemini_tuning.core.formatting import capitalize, percent
from gemini_tuning.core.markdown import linked, or_dash, place, plain, section, table
from gemini_tuning.core.xcom import ApprovalXCom, AssessmentXCom, DatasetXCom, SmokeTestXCom
from gemini_tuning.cost.estimate_text import estimate_markdown
from gemini_tuning.reporting.comparison_table import CheckpointReport, Named, comparison, named, result_links
from gemini_tuning.reporting.report import CopyReport, PromotionReport, Report, RunReport

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
    return "\n".join(
        [
            "# Report of a tuning run",
            "",
            *summary(report),
            *section("Decision", _decision(report)),
            *section("Evidence", _evidence(report)),
            *section("Missing evidence", [f"- {plain(gap)}" for gap in report.missing_evidence]),
            *section("Datasets", _datasets(report)),
            *section("Cost", estimate_markdown(report.cost)),
            *section("Run", _run(report.run)),
            *section("Parameters", _parameters(report.run)),
            "",
        ]
    )


def summary(report: Report) -> list[str]:
    """Return the outcome and the comparison, in lines that are also readable in a log."""
    marks = {"winner": report.promotion.winner, "default before": report.promotion.default_before}
    return [
        f"**{OUTCOMES[report.outcome]}**",
        "",
        f"- Tuning job: {place(report.tuning_job.name)}",
        f"- Tuned model: {place(report.tuned_model.name)}",
        f"- Reason: {or_dash(report.decision.reason)}",
        f"- Approval: {approval(report.approval)}",
        f"- Default checkpoint: {_default(report.promotion)}",
        f"- Copy: {_copy(report.copied_model)}",
        "",
        *comparison(report.checkpoints, report.champion, marks=marks, reasons=False),
    ]


def approval(record: ApprovalXCom | None) -> str:
    """Return who decided what, and when."""
    if not record or not record.required:
        return "not required"
    by = f"by {or_dash(record.by.name)} (id {or_dash(record.by.id)})" if record.by else "by -"
    when = f"{by} at {or_dash(record.at)}"
    checkpoint, proposed = or_dash(record.checkpoint_id), or_dash(record.proposed)
    match record.outcome:
        case "approved":
            return f"checkpoint {checkpoint} approved {when}"
        case "another checkpoint":
            return f"checkpoint {checkpoint} selected instead of {proposed} {when}"
        case "rejected":
            return f"rejected {when}"
        case "timed out":
            return f"no response within {or_dash(record.timeout)} s, which counts as a rejection"
    return or_dash(record.outcome)


def _default(promotion: PromotionReport) -> str:
    before, after = or_dash(promotion.default_before), or_dash(promotion.default_after)
    if promotion.earlier_try:
        return f"{before} before; an earlier try of this run set checkpoint {after}"
    return f"{before} before, {after} after (read back)" if promotion.read_back else f"{before}, not changed"


def _copy(copy: CopyReport | None) -> str:
    if not copy:
        return "none"
    return (
        f"{place(copy.model)}, with the same {or_dash(copy.checkpoints)} checkpoints; "
        f"its default is checkpoint {or_dash(copy.default_checkpoint_id)}"
    )


def _decision(report: Report) -> list[str]:
    decision = report.decision
    lines = [
        f"Winner by the rules: {or_dash(decision.winner)}. {or_dash(decision.reason)}",
        "",
        f"Overfitting: {plain(decision.overfitting or _no_overfitting(report))}",
    ]
    if decision.policy is not None:
        lines += ["", f"Rules: {plain(json.dumps(decision.policy, ensure_ascii=False))}"]
    for name, entry in named(report.checkpoints, report.champion):
        lines += ["", f"{capitalize(name)}:", "", *_reasons(entry.assessment)]
    return lines


def _no_overfitting(report: Report) -> str:
    known = report.losses.eval or any(entry.losses and entry.losses.eval_loss for entry in report.checkpoints)
    return "the losses show none" if known else "unknown, because there is no eval loss"


def _reasons(assessment: AssessmentXCom | None) -> list[str]:
    if not assessment:
        return ["- Not assessed"]
    return [
        "- Eligible" if assessment.passed_gates else "- Rejected",
        *(f"- for: {plain(reason)}" for reason in assessment.speaks_for),
        *(f"- against: {plain(reason)}" for reason in assessment.speaks_against),
    ]


def _evidence(report: Report) -> list[str]:
    entries = named(report.checkpoints, report.champion)
    heading = ("", "suite", "cases", "answered", "passed", "pass rate", "blocked", "tokens", "cost", "error")
    rows = [heading, *((name, *_smoke_test(entry.smoke_test or SmokeTestXCom())) for name, entry in entries)]
    return [*result_links(entries), "", *table(rows), *_losses(report), *_failures(entries)]


def _smoke_test(test: SmokeTestXCom) -> tuple[str, ...]:
    cost = "-" if test.cost is None else f"{test.cost.amount:.4g} {or_dash(test.cost.currency)}"
    return (
        *map(or_dash, (test.suite, test.cases, test.answered, test.passed)),
        percent(test.pass_rate),
        or_dash(test.blocked),
        f"{or_dash(test.tokens.prompt)} in, {or_dash(test.tokens.output)} out",
        cost,
        or_dash(test.error),
    )


def _losses(report: Report) -> Iterator[str]:
    rows = [_loss_row(entry) for entry in report.checkpoints if entry.losses]
    if rows:
        heading = ("checkpoint", "train loss", "eval loss", "eval accuracy", "Google's evaluation")
        yield from ("", *table([heading, *rows]))


def _loss_row(entry: CheckpointReport) -> tuple[str, ...]:
    losses = entry.losses
    values = (losses.train_loss, losses.eval_loss, losses.eval_accuracy) if losses else (None, None, None)
    evaluation = json.dumps(entry.evaluation, ensure_ascii=False) if entry.evaluation else None
    return (plain(entry.checkpoint_id), *map(or_dash, values), or_dash(evaluation))


def _failures(entries: Named) -> Iterator[str]:
    for name, entry in entries:
        failures = entry.smoke_test.failures if entry.smoke_test else []
        if failures:
            lines = (f"- {or_dash(failure.id)}: {or_dash(failure.reason)}" for failure in failures)
            yield from ("", f"Failed cases of {name} (the first few):", "", *lines)


def _datasets(report: Report) -> list[str]:
    parts = {"training": report.datasets.training, "validation": report.datasets.validation}
    return [line for part, data in parts.items() for line in (_dataset(part, data) if data else [f"- {part}: none"])]


def _dataset(part: str, data: DatasetXCom) -> Iterator[str]:
    size = f"{or_dash(data.examples)} examples, {or_dash(data.size_bytes)} bytes"
    yield f"- {part}: {place(data.uri)}, {size}, sha256 {or_dash(data.sha256)}"
    tokens = data.tokens
    if tokens.input is not None:
        yield (
            f"- {part}, estimated: {tokens.input} tokens in, {or_dash(tokens.output)} out; {or_dash(tokens.min)} to "
            f"{or_dash(tokens.max)} per example, median {or_dash(tokens.median)}"
        )
    yield from (f"- {part}: {plain(warning)}" for warning in data.warnings)


def _run(run: RunReport) -> list[str]:
    facts = run.model_dump(exclude={"parameters", "given_parameters"})
    return [f"- {name.replace('_', ' ')}: {or_dash(value)}" for name, value in facts.items()]


def _parameters(run: RunReport) -> list[str]:
    given = set(run.given_parameters)
    rows = [("parameter", "value", "given")]
    for name, value in run.parameters.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append((plain(name), linked(shown, value) if shown else "-", "yes" if name in given else "default"))
    return table(rows) if rows[1:] else []
