"""XComs as typed values: whatever was pushed, reading it never fails and the result is plain JSON."""

import json

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemini_tuning.core import xcom
from gemini_tuning.core.exceptions import InvalidInputError
from tests.gemini_tuning.reporting import run_values
from tests.gemini_tuning.strategies import HUGE_INT, json_values, spoiled

VALUES = {
    xcom.ValidationXCom: run_values.DATASETS,
    xcom.BilledTokensXCom: run_values.BILLED,
    xcom.SmokeTestXCom: run_values.summary("1"),
    xcom.MetricsXCom: run_values.METRICS,
    xcom.DecisionXCom: run_values.decision(),
    xcom.ApprovalXCom: run_values.APPROVED,
    xcom.PromotionXCom: run_values.PROMOTION,
    xcom.CopyXCom: run_values.COPY,
    xcom.ProgressXCom: {
        "name": run_values.JOB,
        "state": "RUNNING",
        "completed_epochs": 3,
        "epoch_count": 6,
        "checkpoints": [{"checkpoint_id": "1", "epoch": 1, "step": 10, "endpoint": None}],
        "train_loss": [[1, 2.1]],
        "at": "2026-11-22T10:00:00+00:00",
    },
    xcom.PublicationXCom: {"model": run_values.MODEL, "version": "1", "checkpoint_id": "2", "asset": "gcp://x"},
    xcom.ReportXCom: {"winner": "2", "outcome": "promoted", "copy": run_values.COPY["model"], "report_json": "/r.json"},
}
kinds = st.sampled_from(list(VALUES))


@given(kinds.flatmap(lambda kind: st.tuples(st.just(kind), spoiled(VALUES[kind]))))
@example((xcom.SmokeTestXCom, dict.fromkeys(run_values.summary("1"), HUGE_INT)))
@example((xcom.DecisionXCom, dict.fromkeys(run_values.decision(), "half \ud800")))
def test_from_xcom_with_wrong_fields_is_json_of_its_own_schema(pair):
    kind, pushed = pair
    value = kind.from_xcom(pushed)
    dumped = json.loads(json.dumps(value.model_dump(), allow_nan=False, default=str))
    jsonschema.Draft202012Validator(kind.model_json_schema(mode="serialization")).validate(dumped)


@given(kinds, json_values)
def test_from_xcom_with_any_value_is_none_unless_it_is_a_mapping_with_fields(kind, value):
    assert (kind.from_xcom(value) is None) == (not isinstance(value, dict) or not value)


@pytest.mark.parametrize("kind", VALUES)
def test_from_xcom_with_a_good_value_keeps_every_field(kind):
    value = kind.from_xcom(VALUES[kind])
    for name in type(value).model_fields:
        alias = type(value).model_fields[name].validation_alias or name
        if isinstance(pushed := VALUES[kind].get(alias), str | int | float) and name != "at":
            assert getattr(value, name) == pushed


def test_from_xcom_with_one_wrong_field_keeps_the_others():
    found = xcom.SmokeTestXCom.from_xcom(run_values.summary("1", cases="x", latency_ms=3, failures=[7]))
    assert (found.cases, found.latency_ms.p95, found.passed) == (None, None, 20)
    assert found.failures == []
    assert xcom.ProgressXCom.from_xcom({"at": "yesterday", "state": "RUNNING"}).at is None


@pytest.mark.parametrize("value", ["{'a': 1}", [], 7, True])
def test_from_input_without_a_mapping_names_the_parameter(value):
    with pytest.raises(InvalidInputError) as error:
        xcom.DecisionXCom.from_input(value, "decision")
    assert (error.value.field, error.value.code) == ("decision", "not_a_mapping")


def test_from_input_of_a_skipped_task_is_none():
    assert xcom.PromotionXCom.from_input(None, "promotion") is None
