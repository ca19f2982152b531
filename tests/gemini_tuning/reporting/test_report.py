"""The report of a run: the document, its Markdown, and the step that writes both."""

import json
from types import SimpleNamespace

import jsonschema
import pytest
from support import context

from gemini_tuning.core.curves import summary as metrics_summary
from gemini_tuning.core.exceptions import InvalidInputError, PermanentServiceError
from gemini_tuning.core.resources import Checkpoint, TuningJob
from gemini_tuning.core.xcom import ApprovalXCom, DecisionXCom, MetricsXCom
from gemini_tuning.cost.estimate import BilledModel, CostInputs, counted_tokens, estimate_cost
from gemini_tuning.cost.prices import PriceTable
from gemini_tuning.datasets.dataset_check import DatasetReport
from gemini_tuning.operators.approval import NO_RESPONSE
from gemini_tuning.operators.approve_checkpoint import GeminiApproveCheckpointOperator
from gemini_tuning.operators.write_report import GeminiTuningReportOperator, run_facts
from gemini_tuning.reporting.markdown_templates import ENVIRONMENT
from gemini_tuning.reporting.report import SCHEMA, Report, build, compare, read_results
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.decision import Assessment, Decision
from gemini_tuning.smoke.suite import parse_suite
from gemini_tuning.smoke.suite_format import json_schema
from gemini_tuning.smoke.summary import summarize
from tests.gemini_tuning.reporting import run_values
from tests.gemini_tuning.reporting.run_values import APPROVED, COPY, METRICS, MODEL, RESULTS, decision, everything

VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
TIMED_OUT = {**APPROVED, "outcome": "timed out", "checkpoint_id": None, "by": None}
REJECTED = {**APPROVED, "outcome": "rejected", "checkpoint_id": None}
ANOTHER = {**APPROVED, "outcome": "another checkpoint", "checkpoint_id": "3"}


def built(**change):
    return build(**everything(**change))


def report(**change):
    """Return the JSON document."""
    found = built(**change)
    VALIDATOR.validate(found.as_dict())
    assert json.loads(found.as_bytes()) == found.as_dict()
    return found.as_dict()


def cells(lines):
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]


# ---------------------------------------------------------------------------------------- examples


def test_the_examples_have_the_fields_that_the_steps_push():
    found = Assessment(Candidate("1"), ())
    pushed = Decision("1", "promote", "x", (found,)).as_dict()
    assert {*pushed, "default_checkpoint_id", "policy"} == set(decision())
    assert set(pushed["checkpoints"][0]) == set(decision()["checkpoints"][0])
    suite = parse_suite("cases: [{id: a, prompt: Hi, assert: [{type: contains, value: x}]}]", "one.yaml")
    checkpoint = Checkpoint("1", 1, 10, "e").as_dict()
    assert set(summarize(suite, checkpoint, [], "gs://bucket/r.jsonl")) == set(RESULTS[0])
    measured = metrics_summary([Checkpoint("1", 1, 10)], {}, {}, [])
    assert set(measured) == set(METRICS)
    assert set(measured["checkpoints"]["1"]) == set(METRICS["checkpoints"]["1"])
    assert set(DatasetReport().as_dict()) | {"uri"} == set(run_values.DATASETS["training"])
    table = PriceTable(currency="USD", date="2026-11-23", models={"m": {"tuning": 5}})
    counted = counted_tokens("gemini-2.5-flash", 50, 110, 100)
    inputs = CostInputs(BilledModel("m", "m"), DatasetReport(), suite=suite, counted=counted)
    cost = estimate_cost(inputs, table).model_dump()
    assert set(cost) == set(run_values.COST)
    assert set(cost["counted"]) == set(run_values.COST["counted"])
    assert {frozenset(item) for item in cost["items"]} == {frozenset(item) for item in run_values.COST["items"]}
    assert set(TuningJob("j", "SUCCEEDED").billed()) == set(run_values.BILLED)
    approve = GeminiApproveCheckpointOperator(task_id="approve", decision=decision(), results=[])
    assert set(approve._finish({}, "approved", "2", NO_RESPONSE)) == set(APPROVED)


# ---------------------------------------------------------------------------------------- document


def test_schema_file_is_the_schema_of_the_model():
    """To write it: ``json.dump(json_schema(Report, mode="serialization"), SCHEMA.open("w"), indent=2)``."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json_schema(Report, mode="serialization")
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)
    for broken in ({"schema_version": 2}, {"outcome": "fine"}, {"more": 1}, {"missing_evidence": None}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate({**report(), **broken})


def test_a_promotion_with_everything():
    found = report()
    assert found["outcome"] == "promoted"
    assert found["promotion"] == {
        "winner": "2",
        "read_back": True,
        "earlier_try": False,
        "default_before": "3",
        "default_after": "2",
        "endpoint_before": f"{run_values.PARENT}/endpoints/3",
        "endpoint_after": f"{run_values.PARENT}/endpoints/2",
    }
    assert found["approval"] == APPROVED
    assert found["datasets"]["training"]["sha256"] == "ab" * 32
    assert found["copy"]["model"] == COPY["model"]
    assert found["losses"] == {"train": [[10, 0.5], [20, 0.3]], "eval": [[10, 0.6], [18, 0.45]]}
    assert found["missing_evidence"] == ["no losses of checkpoint 3"]


def test_each_checkpoint_has_what_each_step_said_of_it_in_the_order_of_the_decision():
    best, second, last = report()["checkpoints"]
    assert [c["checkpoint_id"] for c in (best, second, last)] == ["2", "3", "1"]
    assert best["smoke_test"]["results_uri"] == "gs://bucket/results/checkpoint-2.jsonl"
    assert best["smoke_test"]["passed"] == 22
    assert best["losses"] == {
        "train_loss": 0.3,
        "eval_loss": 0.45,
        "eval_accuracy": 0.8,
        "from_step": {"eval_loss": 18},
    }
    assert best["evaluation"] == {"FLUENCY/AVERAGE": 4.5}
    assert second["losses"] is None
    assert last["assessment"]["speaks_against"] == ["pass rate 41.7% is below 80.0%"]


@pytest.mark.parametrize(
    ("change", "outcome", "winner", "after"),
    [
        ({}, "promoted", "2", "2"),
        ({"approval": None}, "promoted", "2", "2"),
        ({"approval": ANOTHER, "promotion": None}, "already default", "3", "3"),
        ({"approval": None, "promotion": None, "decision": decision("3")}, "already default", "3", "3"),
        ({"approval": REJECTED, "promotion": None}, "rejected", None, "3"),
        ({"approval": TIMED_OUT, "promotion": None}, "timed out", None, "3"),
        ({"approval": None, "promotion": None, "decision": decision(None)}, "no winner", None, "3"),
        (
            {"approval": None, "promotion": None, "decision": decision(None, outcome="keep_champion")},
            "champion kept",
            None,
            "3",
        ),
        ({"approval": None, "promotion": None}, "not promoted", "2", "3"),
    ],
)
def test_what_a_run_came_to(change, outcome, winner, after):
    found = report(**change)
    assert (found["outcome"], found["promotion"]["winner"]) == (outcome, winner)
    assert (found["promotion"]["default_before"], found["promotion"]["default_after"]) == ("3", after)
    assert built(**change).as_markdown()


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"decision": decision(None), "approval": None}, "no winner"),
        ({"decision": decision(None)}, "no winner"),
        ({"approval": REJECTED}, "rejected"),
        ({"approval": TIMED_OUT}, "timed out"),
    ],
)
def test_xcom_of_an_earlier_try_of_a_skipped_task_is_ignored(change, outcome, snapshot):
    """Airflow keeps the XComs of a task that is skipped after it was cleared."""
    found = report(**change)
    assert (found["outcome"], found["promotion"]["winner"]) == (outcome, None)
    assert found["approval"] == change.get("approval")
    assert found["promotion"]["earlier_try"] is True
    assert (found["promotion"]["default_before"], found["promotion"]["default_after"]) == ("3", "2")
    assert built(**change).as_markdown() == snapshot


def test_an_approval_of_another_decision_does_not_count():
    found = report(decision=decision("3"), promotion=None)
    assert (found["outcome"], found["approval"], found["promotion"]["winner"]) == ("already default", None, "3")


def test_missing_xcoms_are_reported(snapshot):
    found = report(
        datasets={"training": {"uri": "gs://bucket/train.jsonl", "examples": 1, "size_bytes": 2, "warnings": []}},
        metrics=None,
        results=RESULTS[:2],
        decision=decision(missing=["no token counts"]),
    )
    assert len(found["missing_evidence"]) == 4
    assert found["missing_evidence"] == snapshot
    assert report(datasets=None)["missing_evidence"] == snapshot


def test_secrets_in_parameters_are_removed_by_name_and_by_look():
    parameters = {
        "labels": {"api_key": "hunter2", "team": "search"},
        "db_password": "hunter2",
        "description": "ya29.hunter2",
        "kms_key_name": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
        "service_account": "tuner@project.iam",
        "max_output_tokens": 7,
        "metrics": [{"token": "hunter2"}],
        "deep": [[[[[[{"password": "hunter2"}]]]]]],
    }
    run = report(run={**run_values.RUN, "parameters": parameters})["run"]
    assert "hunter2" not in json.dumps(run)
    assert run["parameters"]["labels"] == {"api_key": "[removed]", "team": "search"}
    assert run["parameters"]["kms_key_name"] == parameters["kms_key_name"]
    assert run["parameters"]["service_account"] == "tuner@project.iam"
    assert run["parameters"]["max_output_tokens"] == 7


# ---------------------------------------------------------------------------------------- markdown


def test_the_table_of_the_checkpoints():
    checkpoints = compare(read_results(RESULTS), DecisionXCom.from_xcom(decision()), MetricsXCom.from_xcom(METRICS))
    comparison = ENVIRONMENT.get_template("checkpoints.md.j2").module.comparison
    table = cells(comparison(checkpoints, None, {"winner": "2", "default before": "3"}).splitlines())
    assert table[1] == [
        "2", "2", "20", "91.7% (81.7% to 91.7%)", "0.917", "0", "101 ms / 321 ms", "0.45", "winner",
        "answers all critical cases", "-",
    ]  # fmt: skip
    assert [row[8] for row in table[1:]] == ["winner", "default before", "-"]
    assert table[3][9:] == ["-", "pass rate 41.7% is below 80.0%"]
    assert len(cells(comparison(checkpoints, None, {}, reasons=False).splitlines())[0]) == 9


def test_checkpoint_that_could_not_be_tested_and_champion_are_in_the_table(snapshot):
    broken = run_values.summary(
        "1", error="it is not | deployed", pass_rate=None, score=None, latency_ms=None, pass_rate_interval=None
    )
    found = built(
        results=[broken], decision=decision(None, checkpoints=[], champion=run_values.assessment("9")),
        champion=run_values.summary("9"), metrics=None,
    )  # fmt: skip
    _, first, champion = cells(found.summary())
    assert first == ["1", "1", "10", "-", "-", "0", "-", "-", "it is not \\| deployed"]
    assert champion[0] == "champion"
    assert found.as_markdown() == snapshot


def test_markdown_of_a_promotion(snapshot):
    assert built().as_markdown() == snapshot


def test_summary_of_a_rejection(snapshot):
    assert built(approval=REJECTED, promotion=None, copy=None).summary() == snapshot


@pytest.mark.parametrize(
    "record",
    [
        None,
        APPROVED,
        ANOTHER,
        REJECTED,
        TIMED_OUT,
        {**APPROVED, "required": False},
        {**APPROVED, "outcome": "nothing to approve"},
    ],
    ids=["none", "approved", "another", "rejected", "timed out", "not required", "nothing"],
)
def test_approval_as_text(record, snapshot):
    assert str(ENVIRONMENT.get_template("approval.md.j2").module.approval(ApprovalXCom.from_xcom(record))) == snapshot


@pytest.mark.parametrize(
    "change",
    [{"decision": decision(overfitting="from step 18 on")}, {}, {"metrics": None}],
    ids=["found", "none", "unknown"],
)
def test_overfitting_is_reported(change, snapshot):
    (line,) = [line for line in built(**change).as_markdown().splitlines() if line.startswith("Overfitting")]
    assert line == snapshot


# ---------------------------------------------------------------------------------------- operator


def operator(folder, **change):
    arguments = everything(**change)
    del arguments["run"]
    return GeminiTuningReportOperator(task_id="report", report_uri=str(folder), **arguments)


def test_both_files_and_their_addresses(tmp_path, capsys):
    folder = tmp_path / "runs" / "run"
    pushed = operator(folder).execute(context())
    assert pushed == {
        "winner": "2",
        "outcome": "promoted",
        "reason": "Checkpoint 2 wins.",
        "tuned_model": MODEL,
        "default_before": "3",
        "default_after": "2",
        "copy": COPY["model"],
        "report_json": f"{folder}/report.json",
        "report_markdown": f"{folder}/report.md",
    }
    document = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    VALIDATOR.validate(document)
    assert (folder / "report.md").read_text(encoding="utf-8") == built(run=document["run"]).as_markdown()
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md"}
    assert "91.7% (81.7% to 91.7%)" in capsys.readouterr().out


def test_a_run_that_promotes_nobody_has_a_report_as_well(tmp_path):
    pushed = operator(tmp_path, decision=decision(None), approval=None, promotion=None, copy=None).execute(context())
    assert (pushed["winner"], pushed["outcome"], pushed["default_after"], pushed["copy"]) == (
        None,
        "no winner",
        "3",
        None,
    )
    assert decision(None)["reason"] in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_cleared_it_replaces_the_files(tmp_path):
    operator(tmp_path).execute(context())
    operator(tmp_path, approval=REJECTED, promotion=None).execute(context())
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["outcome"] == "rejected"
    assert "Rejected" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_in_cloud_storage(vertex):
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

    pushed = operator("gs://bucket/reports/run/").execute(context())
    assert pushed["report_json"] == "gs://bucket/reports/run/report.json"
    hook = GeminiTuningHook()
    VALIDATOR.validate(json.loads(b"".join(hook.read_lines(pushed["report_json"]))))
    assert b"".join(hook.read_lines(pushed["report_markdown"])).startswith(b"# Report of a tuning run")


@pytest.mark.parametrize("status", [403, 404])
def test_a_refused_file_says_where_why_and_what_to_do(vertex, status):
    vertex.faults([{"path": "upload", "status": status, "message": "The bucket is closed."}])
    with pytest.raises(PermanentServiceError) as caught:
        operator("gs://bucket/reports/run").execute(context())
    assert (caught.value.code, caught.value.resource) == (status, "gs://bucket/reports/run/report.json")
    assert "gs://bucket/reports/run/report.json" in str(caught.value)
    assert "The bucket is closed." in str(caught.value)
    assert "clear this task" in str(caught.value)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(OSError, match=r"Could not write .*/taken/report.json: .*clear this task"):
        operator(tmp_path / "taken").execute(context())


@pytest.mark.parametrize("folder", ["", "None", "reports", "gs://", "s3://bucket/x"])
def test_what_is_no_folder(folder):
    with pytest.raises(InvalidInputError) as caught:
        operator(folder).execute(context())
    assert (caught.value.field, caught.value.code) == ("report_uri", "no_folder")


def test_what_airflow_knows_of_the_run():
    found = context(params={"epoch_count": 3, "suite": "s"}, conf={"epoch_count": 3})
    assert run_facts(found)["triggered_by"] is None
    found["dag_run"] = SimpleNamespace(
        conf={"epoch_count": 3}, run_type=SimpleNamespace(value="manual"), triggering_user_name="ada"
    )
    assert run_facts(found) == {
        "dag_id": "dag",
        "run_id": "run",
        "run_type": "manual",
        "logical_date": None,
        "run_after": None,
        "start_date": None,
        "triggered_by": "ada",
        "parameters": {"epoch_count": 3, "suite": "s"},
        "given_parameters": ["epoch_count"],
    }


def test_what_airflow_masks_in_logs_is_masked_in_the_report(tmp_path):
    from airflow.sdk.log import mask_secret

    mask_secret("correct-horse-battery")
    operator(tmp_path).execute(context(params={"description": "use correct-horse-battery here"}))
    text = (tmp_path / "report.json").read_text(encoding="utf-8") + (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "correct-horse-battery" not in text
    assert "use *** here" in text
