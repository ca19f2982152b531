"""The report of a run for people: Markdown. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gemini_tuning.core.markdown import linked, place, plain, table
from gemini_tuning.cost.estimate_text import lines as cost_lines
from gemini_tuning.reporting.comparison_table import comparison, named, percent, whereabouts

Report = Mapping[str, Any]
Entries = Sequence[tuple[str, Report]]

OUTCOMES = {
    "promoted": "The winner is the default now.",
    "already default": "The winner was the default already.",
    "rejected": "Rejected: nothing is promoted.",
    "timed out": "Nobody answered in time: nothing is promoted.",
    "champion kept": "The model in production stays: nothing is promoted.",
    "nobody": "No checkpoint is good enough: nothing is promoted.",
    "not promoted": "The winner was not made the default.",
}
ANSWERS = {
    "approved": "approved",
    "another checkpoint": "took another checkpoint",
    "rejected": "rejected",
}


def render(report: Report) -> str:
    """Return the whole report.

    :param report: of :func:`gemini_tuning.reporting.report.build`.
    """
    return "\n".join(
        [
            "# Report of a tuning run",
            "",
            *summary(report),
            *_section("Decision", _decision(report)),
            *_section("Evidence", _evidence(report)),
            *_section("Missing evidence", [f"- {plain(gap)}" for gap in report["missing_evidence"]]),
            *_section("Datasets", _datasets(report)),
            *_section("Cost", cost_lines(report["cost"])),
            *_section("Run", _run(report["run"])),
            *_section("Parameters", _parameters(report["run"])),
            "",
        ]
    )


def summary(report: Report) -> list[str]:
    """Return what it came to, in lines that can also be read in a log."""
    return [
        f"**{OUTCOMES[report['outcome']]}**",
        "",
        f"- Tuning job: {place(report['tuning_job']['name'])}",
        f"- Tuned model: {place(report['tuned_model']['name'])}",
        f"- Reason: {_or_dash(report['decision']['reason'])}",
        f"- Approval: {approval(report['approval'])}",
        f"- Default checkpoint: {_default(report['promotion'])}",
        f"- Copy: {_copy(report['copy'])}",
        "",
        *comparison(report["checkpoints"], report["champion"], marks=_marks(report), reasons=False),
    ]


def approval(record: Report | None) -> str:
    """Return in words who decided what, and when."""
    if not record or not record["required"]:
        return "not required"
    if record["outcome"] == "timed out":
        return f"nobody answered in time ({_or_dash(record['timeout'])} s); that means reject"
    if record["outcome"] not in ANSWERS:
        return _or_dash(record["outcome"])
    by = record["by"] or {}
    who = f"{_or_dash(by.get('name'))} (id {_or_dash(by.get('id'))})"
    what = ANSWERS[record["outcome"]]
    which = f" checkpoint {plain(record['checkpoint_id'])}" if record["checkpoint_id"] is not None else ""
    if record["outcome"] == "another checkpoint":
        which = f", {plain(record['checkpoint_id'])} in place of {_or_dash(record['proposed'])}"
    return f"{who} {what}{which} at {_or_dash(record['at'])}"


def _or_dash(value: object) -> str:
    return "-" if value is None else plain(value)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _marks(report: Report) -> dict[str, str | None]:
    return {"winner": report["promotion"]["winner"], "default before": report["promotion"]["default_before"]}


def _default(promotion: Report) -> str:
    before, after = _or_dash(promotion["default_before"]), _or_dash(promotion["default_after"])
    if promotion["earlier_try"]:
        return f"{before} before; in an earlier try of this run, the default was set to checkpoint {after}"
    return f"{before} before, {after} after (read back)" if promotion["read_back"] else f"{before}, not changed"


def _copy(copy: Report | None) -> str:
    if not copy:
        return "none was made"
    return (
        f"{place(copy['model'])}, with the same {_or_dash(copy['checkpoints'])} checkpoints; "
        f"its default is checkpoint {_or_dash(copy['default_checkpoint_id'])}"
    )


def _decision(report: Report) -> list[str]:
    decision = report["decision"]
    lines = [
        f"Chosen by the rules: {_or_dash(decision['winner'])}. {_or_dash(decision['reason'])}",
        "",
        f"Overfitting: {plain(decision['overfitting'] or _no_overfitting(report))}",
    ]
    if decision["policy"] is not None:
        lines += ["", f"Rules: {plain(json.dumps(decision['policy'], ensure_ascii=False))}"]
    for name, entry in named(report["checkpoints"], report["champion"]):
        lines += ["", f"{name[0].upper()}{name[1:]}:", "", *_reasons(entry["assessment"])]
    return lines


def _no_overfitting(report: Report) -> str:
    known = report["losses"]["eval"] or any((e["losses"] or {}).get("eval_loss") for e in report["checkpoints"])
    return "the losses show none" if known else "not known, as there is no eval loss"


def _reasons(assessment: Report | None) -> list[str]:
    if not assessment:
        return ["- was not assessed"]
    return [
        f"- may be chosen: {'yes' if assessment['passed_gates'] else 'no'}",
        *(f"- for: {plain(reason)}" for reason in assessment["speaks_for"]),
        *(f"- against: {plain(reason)}" for reason in assessment["speaks_against"]),
    ]


def _evidence(report: Report) -> list[str]:
    entries = named(report["checkpoints"], report["champion"])
    return [*whereabouts(entries), "", *_smoke_tests(entries), *_losses(report), *_failures(entries)]


def _smoke_tests(entries: Entries) -> Iterator[str]:
    heading = ("", "suite", "cases", "answered", "passed", "pass rate", "blocked", "tokens", "cost", "error")
    rows = [heading, *((name, *_smoke_test(entry["smoke_test"] or {})) for name, entry in entries)]
    yield from table(rows)


def _smoke_test(test: Report) -> tuple[str, ...]:
    tokens, cost = test.get("tokens") or {}, test.get("cost")
    counts = [_or_dash(test.get(key)) for key in ("suite", "cases", "answered", "passed")]
    return (
        *counts,
        percent(test.get("pass_rate")),
        _or_dash(test.get("blocked")),
        f"{_or_dash(tokens.get('prompt'))} in, {_or_dash(tokens.get('output'))} out",
        f"{cost['amount']:.4g} {_or_dash(cost['currency'])}" if cost else "-",
        _or_dash(test.get("error")),
    )


def _losses(report: Report) -> Iterator[str]:
    known = [entry for entry in report["checkpoints"] if entry["losses"] or entry["evaluation"]]
    if not known:
        return
    rows = [("checkpoint", "train loss", "eval loss", "eval accuracy", "Google's evaluation")]
    for entry in known:
        losses = entry["losses"] or {}
        values = [losses.get(name) for name in ("train_loss", "eval_loss", "eval_accuracy")]
        evaluation = json.dumps(entry["evaluation"], ensure_ascii=False) if entry["evaluation"] else None
        train, evaluated, accuracy = (_or_dash(value) for value in values)
        rows.append((plain(entry["checkpoint_id"]), train, evaluated, accuracy, _or_dash(evaluation)))
    yield from ("", *table(rows))


def _failures(entries: Entries) -> Iterator[str]:
    for name, entry in entries:
        test = entry["smoke_test"] or {}
        failures = [f"- {_or_dash(f['id'])}: {_or_dash(f['reason'])}" for f in test.get("failures", ())]
        if failures:
            yield from ("", f"What {name} failed (a few):", "", *failures)


def _datasets(report: Report) -> list[str]:
    lines = []
    for part, data in report["datasets"].items():
        if not data:
            lines.append(f"- {part}: none")
            continue
        size = f"{_or_dash(data['examples'])} examples, {_or_dash(data['size_bytes'])} bytes"
        lines.append(f"- {part}: {place(data['uri'])}, {size}, sha256 {_or_dash(data['sha256'])}")
        if (tokens := data["tokens"])["input"] is not None:
            sums = f"{tokens['input']} tokens in, {_or_dash(tokens['output'])} out"
            lines.append(f"- {part}, estimated: {sums}; an example has {_or_dash(tokens['min'])} to "
                         f"{_or_dash(tokens['max'])}, half of them up to {_or_dash(tokens['median'])}")  # fmt: skip
        lines += [f"- {part}: {plain(warning)}" for warning in data["warnings"]]
    return lines


def _run(run: Report) -> list[str]:
    return [f"- {name.replace('_', ' ')}: {_or_dash(value)}" for name, value in run.items() if "parameters" not in name]


def _parameters(run: Report) -> list[str]:
    given = set(run["given_parameters"])
    rows = [("parameter", "value", "given")]
    for name, value in run["parameters"].items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append((plain(name), linked(shown, value) if shown else "-", "yes" if name in given else "default"))
    return table(rows) if rows[1:] else []
