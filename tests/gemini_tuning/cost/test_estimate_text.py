"""The estimate and what was billed: in the report, in the question, in one line."""

import json

import jsonschema
import pytest
from support import context, finished_job

from gemini_tuning.core.files import Files
from gemini_tuning.cost.estimate_text import entry, in_words, lines
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators import (
    GeminiListCheckpointsOperator,
    GeminiTuningReportOperator,
    GeminiValidateTuningOperator,
)
from gemini_tuning.reporting.approval_request import Offer, question
from gemini_tuning.reporting.report import SCHEMA, build
from gemini_tuning.reporting.report_markdown import render
from tests.gemini_tuning.reporting.run_values import BILLED, COST, DATASETS, RESULTS, decision, everything

VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
OPEN = {  # Google decides on the epochs
    **COST,
    "total": None,
    "budget": None,
    "epochs": None,
    "counted": None,
    "unknown": ["tuning: Google decides on the epochs: give epoch_count"],
    "items": [{**COST["items"][0], "tokens": {"training": 6_000}, "amount": None, "at_least": 0.03}, COST["items"][1]],
}


def billed(cost=COST, **change):
    found = entry(cost, {**BILLED, **change})["billed"]
    VALIDATOR.validate(build(**everything(datasets={**DATASETS, "cost": cost}, billed={**BILLED, **change})))
    return found


def test_the_estimate_stands_in_the_report_as_it_was_pushed():
    found = build(**everything())["cost"]
    assert {key: value for key, value in found.items() if key != "billed"} == COST


def test_what_was_billed_is_compared_with_the_estimate():
    assert billed() == {
        "reported_tokens": 19_800,
        "counted": "for each epoch",
        "tokens": 19_800,
        "amount": 0.099,
        "estimated_tokens": 18_000,
        "estimated_amount": 0.09,
        "ratio": 1.1,
    }


def test_a_file_that_the_service_counts_once_is_billed_for_each_epoch():
    found = billed(billable_tokens=6_600)
    assert (found["reported_tokens"], found["counted"], found["tokens"]) == (6_600, "once", 19_800)
    assert (found["amount"], found["ratio"]) == (0.099, 1.1)


@pytest.mark.parametrize("change", [{"epoch_count": 1}, {"epoch_count": None}, {"dataset_tokens": None}])
def test_where_nothing_tells_the_ways_apart_the_figure_is_taken_as_it_is(change):
    found = billed(**change)
    assert (found["counted"], found["tokens"]) == (None, 19_800)


def test_epochs_that_google_decided_on_are_in_the_comparison():
    found = billed(OPEN)
    assert (found["estimated_tokens"], found["estimated_amount"], found["ratio"]) == (18_000, 0.09, 1.1)


def test_without_a_price_the_tokens_are_compared_alone():
    cost = {**COST, "items": [{**COST["items"][0], "prices": {"training": None}}]}
    found = billed(cost)
    assert (found["ratio"], found["amount"], found["estimated_amount"]) == (1.1, None, None)


@pytest.mark.parametrize("change", [{"billable_tokens": None}, {"billable_tokens": 0}, {"billable_tokens": "many"}])
def test_a_service_that_does_not_tell(change):
    assert billed(**change) is None
    assert "Billed: the service does not tell" in "\n".join(lines(entry(COST, {**BILLED, **change})))


def test_a_run_without_an_estimate():
    found = build(**everything(datasets={**DATASETS, "cost": None}))
    VALIDATOR.validate(found)
    assert found["cost"] is None
    assert "## Cost" not in render(found)
    assert in_words(None) == "not estimated"


def test_the_markdown():
    said = render(build(**everything()))
    for piece in (
        "## Cost",
        "| tuning     | gemini-2.5-flash | -       | 18,000 training       | 0.0900     |",
        "| smoke test | gemini-2.5-flash | 72      | 0 input, 5,000 output | 0.0125     |",
        "| **all**    |                  |         |                       | **0.1025** |",
        "- Estimated before the job, with prices of 2026-11-23",
        "- Budget: 5.00 USD",
        "- Counted by gemini-2.5-flash: 2,200 tokens in 47 examples, estimated were 2,000",
        "- Billed: 19,800 training tokens (the service counts 19,800, each example for each epoch), 0.0990 USD; "
        "1.1 times the estimate of 18,000 tokens, 0.0900 USD",
    ):
        assert piece in said
    said = "\n".join(lines(entry(OPEN)))
    assert "| **at least 0.1025** |" in said
    assert "- Not known: tuning: Google decides on the epochs: give epoch_count" in said


def test_the_line_of_the_log():
    assert in_words(entry(COST)) == (
        "0.1025 USD: tuning of gemini-2.5-flash 0.0900 (18,000 tokens), smoke test of gemini-2.5-flash 0.0125 "
        "(72 prompts); budget 5.00; prices of 2026-11-23"
    )
    assert in_words(entry(OPEN)) == (
        "at least 0.1025 USD: tuning of gemini-2.5-flash at least 0.0300 (6,000 tokens), smoke test of "
        "gemini-2.5-flash 0.0125 (72 prompts); not known: tuning: Google decides on the epochs: give epoch_count; "
        "prices of 2026-11-23"
    )


def test_a_person_is_shown_the_estimate():
    offer = Offer.of(decision())
    body = question(offer, decision=decision(), results=RESULTS, cost=COST, timeout=60.0)
    assert "- Cost, estimated before the job: 0.1025 USD: tuning of gemini-2.5-flash 0.0900 (18,000 tokens)" in body
    assert "Cost" not in question(offer, decision=decision(), results=RESULTS, timeout=60.0)


def test_from_the_check_to_the_report(vertex, tmp_path):
    """What the steps push, handed on as the DAG does it."""
    checked = GeminiValidateTuningOperator(
        task_id="validate",
        training_dataset_uri="gs://bucket/train.jsonl",
        prices="dags/config/prices.yaml",
        base_model="gemini-2.5-flash",
        epoch_count=3,
    ).execute(context())
    job, ctx = finished_job(vertex), context()
    GeminiListCheckpointsOperator(task_id="list", tuning_job=job.name).execute(ctx)
    written = GeminiTuningReportOperator(
        task_id="report",
        report_uri=str(tmp_path),
        tuning_job=job.name,
        model=job.model,
        results=RESULTS,
        decision=decision(),
        datasets=checked,
        billed=json.dumps(ctx["ti"].xcoms["billed"]),  # what the template makes of it
    ).execute(context())
    report = json.loads(b"".join(Files(GeminiTuningHook()).read_lines(written["report_json"])))
    VALIDATOR.validate(report)
    found = report["cost"]["billed"]
    assert (found["reported_tokens"], found["counted"], found["tokens"]) == (43_650, "for each epoch", 43_650)
    assert found["ratio"] == pytest.approx(1, rel=0.01)
    assert found["amount"] == pytest.approx(report["cost"]["total"], rel=0.01)
