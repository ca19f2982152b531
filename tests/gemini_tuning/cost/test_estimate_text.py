"""The estimate and what was billed: in the report, in the question, in one line."""

import json

import jsonschema
import pytest
from support import SPEC, context, finished_job

from gemini_tuning.core.files import Files
from gemini_tuning.core.xcom import BilledTokensXCom, CostXCom, ValidationXCom
from gemini_tuning.cost.estimate_text import cost_report, estimate_line
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators.list_checkpoints import GeminiListCheckpointsOperator
from gemini_tuning.operators.validate_tuning import GeminiValidateTuningOperator
from gemini_tuning.operators.write_report import GeminiTuningReportOperator
from gemini_tuning.reporting.approval_request import Offer, question
from gemini_tuning.reporting.markdown_templates import render
from gemini_tuning.reporting.report import SCHEMA, build
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


def reported(cost, billed=None):
    return cost_report(CostXCom.from_xcom(cost), BilledTokensXCom.from_xcom(billed))


def billed(cost=COST, **change):
    found = reported(cost, {**BILLED, **change}).billed
    VALIDATOR.validate(build(**everything(datasets={**DATASETS, "cost": cost}, billed={**BILLED, **change})).as_dict())
    return found and found.model_dump()


def test_the_estimate_stands_in_the_report_as_it_was_pushed():
    found = build(**everything()).as_dict()["cost"]
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


def estimate_markdown(cost):
    return render("cost.md.j2", report={"cost": cost}).splitlines()


@pytest.mark.parametrize("change", [{"billable_tokens": None}, {"billable_tokens": 0}, {"billable_tokens": "many"}])
def test_service_without_billable_tokens_is_reported(change, snapshot):
    assert billed(**change) is None
    assert estimate_markdown(reported(COST, {**BILLED, **change}))[-1] == snapshot


def test_a_run_without_an_estimate():
    found = build(**everything(datasets={**DATASETS, "cost": None}))
    VALIDATOR.validate(found.as_dict())
    assert found.cost is None
    assert "## Cost" not in found.as_markdown()
    assert estimate_line(None) == "not estimated"


def test_estimate_markdown(snapshot):
    assert "\n".join(estimate_markdown(reported(COST, BILLED))) in build(**everything()).as_markdown()
    assert estimate_markdown(reported(COST, BILLED)) == snapshot
    assert estimate_markdown(reported(OPEN)) == snapshot


def test_estimate_text(snapshot):
    assert estimate_line(reported(COST)) == snapshot
    assert estimate_line(reported(OPEN)) == snapshot


def test_a_person_is_shown_the_estimate():
    offer = Offer.of(decision())
    body = question(
        offer, decision=decision(), results=RESULTS, validation=ValidationXCom.from_xcom(DATASETS), timeout=60.0
    )
    assert f": {estimate_line(reported(COST))}" in body
    assert "Cost" not in question(offer, decision=decision(), results=RESULTS, timeout=60.0)


def test_from_the_check_to_the_report(vertex, tmp_path):
    """What the steps push, handed on as the DAG does it."""
    checked = GeminiValidateTuningOperator(
        task_id="validate",
        prices="dags/config/prices.yaml",
        tuning_request=SPEC.as_dict(),
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
        billed=json.dumps(ctx["ti"].xcoms["billed"]),  # as rendered by the template
    ).execute(context())
    report = json.loads(b"".join(Files(GeminiTuningHook()).read_lines(written["report_json"])))
    VALIDATOR.validate(report)
    found = report["cost"]["billed"]
    assert (found["reported_tokens"], found["counted"], found["tokens"]) == (43_650, "for each epoch", 43_650)
    assert found["ratio"] == pytest.approx(1, rel=0.01)
    assert found["amount"] == pytest.approx(report["cost"]["total"], rel=0.01)
