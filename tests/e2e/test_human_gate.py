"""A person has the last word, in a real Airflow: asked under Required Actions, answered by the API as the UI does."""

import json

import pytest
from runs import WAIT, Run, advance

from demo.stack import Stack

pytestmark = pytest.mark.airflow

APPROVE = "promote.approve"
LENIENT = {"require_approval": True, "min_pass_rate": 0.3}  # so that several checkpoints pass the gates


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("stack") / "home", speed=0) as stack:
        yield stack


def asked(stack, **params):
    """Start a run and wait until it asks."""
    run = Run.start(stack, **LENIENT, **params)
    run.wait_for_state(WAIT, "deferred")
    advance(stack)
    wait_for_question(run)
    return run


def wait_for_question(run, task=APPROVE):
    """Wait until it asks, and until the scheduler has taken note that the worker is done.

    An answer within that second makes Airflow think that the worker has died: it fails the try, and asks again.
    """

    def heartbeat():
        return run.stack.api.get("/monitor/health")["scheduler"]["latest_scheduler_heartbeat"]

    run.wait_for_state(task, "awaiting_input")
    run.wait_for("the end of the worker", lambda: run.process(task) is None)
    for _ in range(2):
        seen = heartbeat()
        run.wait_for("the scheduler's next round", lambda seen=seen: heartbeat() > seen)


def request(run, task=APPROVE):
    """Return what a person sees."""
    return run.stack.api.get(f"{run.path}/taskInstances/{task}/-1/hitlDetails")


def answer(run, option, task=APPROVE):
    """Answer as the UI does."""
    path = f"/api/v2{run.path}/taskInstances/{task}/-1/hitlDetails"
    return run.stack.api.http.patch(path, json={"chosen_options": [option], "params_input": {}})


def option(run, beginning):
    """Return the first answer that begins so."""
    return next(option for option in request(run)["options"] if option.startswith(beginning))


def default_of(stack, report):
    models = {model["name"]: model for model in stack.emulator("GET", "/state")["models"]}
    return models[report["tuned_model"]]["defaultCheckpointId"]


def document(run):
    """Return the JSON report, as it lies in the bucket."""
    return json.loads(run.stack.read(run.xcom("report")["report_json"]))


def test_approved(stack):
    run = asked(stack)
    task = run.task(APPROVE)
    assert (task["trigger"], task["triggerer_job"]) == (None, None)
    pool = stack.api.get("/pools/default_pool")
    assert (pool["running_slots"], pool["queued_slots"], pool["deferred_slots"]) == (0, 0, 0)

    shown = request(run)
    proposed = run.xcom("choose", "decision")["winner"]
    assert shown["options"][0] == f"Approve checkpoint {proposed}"
    assert shown["options"][-1] == "Reject" == shown["defaults"][0]
    assert any(offered.startswith("Select checkpoint ") for offered in shown["options"])
    assert f"**Proposed: checkpoint {proposed}.**" in shown["body"]
    assert "| checkpoint | epoch | step | pass rate" in shown["body"]
    assert "https://console.cloud.google.com/storage/browser/_details/" in shown["body"]

    assert answer(run, "Approve checkpoint 99").status_code == 400
    assert answer(run, shown["options"][0]).status_code == 200
    assert answer(run, "Reject").status_code == 409
    assert run.finish() == "success"

    approval = run.xcom(APPROVE)
    assert (approval["outcome"], approval["checkpoint_id"], approval["proposed"]) == ("approved", proposed, proposed)
    assert approval["by"]["name"] == stack.user
    assert approval["at"]
    report = run.xcom("report")
    assert (report["outcome"], report["winner"], report["default_after"]) == ("promoted", proposed, proposed)
    assert default_of(stack, report) == proposed
    written = document(run)
    assert written["approval"] == approval
    assert written["run"]["triggered_by"] == stack.user
    assert written["run"]["parameters"]["require_approval"] is True


def test_rejected_and_asked_again(stack):
    run = asked(stack)
    assert answer(run, "Reject").status_code == 200
    assert run.finish() == "success"
    report = run.xcom("report")
    assert (report["outcome"], report["winner"], report["default_after"]) == ("rejected", None, "6")
    assert default_of(stack, report) == "6"
    assert run.state("promote.set_default") == run.state("copy.copy_model") == "skipped"

    run.clear(APPROVE, downstream=True)
    wait_for_question(run)
    assert answer(run, option(run, "Approve")).status_code == 200
    assert run.finish() == "success"
    report = run.xcom("report")
    assert (report["outcome"], default_of(stack, report)) == ("promoted", report["winner"])
    assert document(run)["approval"]["outcome"] == "approved"


def test_nobody_answers(stack):
    run = asked(stack, approval_timeout_seconds=10)
    assert run.finish() == "success"
    approval = run.xcom(APPROVE)
    assert (approval["outcome"], approval["by"], approval["timeout"]) == ("timed out", None, 10)
    report = run.xcom("report")
    assert (report["outcome"], default_of(stack, report)) == ("timed out", "6")


def test_another_checkpoint_and_a_comparison_that_has_changed_is_not_decided_by_an_old_table(stack):
    """Airflow keeps the first request of a task instance; the error says how to get another one, and that works."""
    run = asked(stack)
    taken = next(o for o in request(run)["options"] if o.startswith("Select checkpoint ") and " 6 " not in o)
    assert answer(run, taken).status_code == 200
    assert run.finish() == "success"
    report = run.xcom("report")
    assert taken == f"Select checkpoint {report['winner']} instead"
    assert run.xcom(APPROVE)["outcome"] == "another checkpoint"
    assert default_of(stack, report) == report["winner"] != run.xcom("choose", "decision")["winner"]

    results = stack.api.xcom(run.dag_id, run.run_id, "evaluate.smoke_test", map_index=0)["results_uri"]
    lines = [json.loads(line) for line in stack.read(results).splitlines()]
    perfect = [{**line, "passed": True, "score": 1.0, "error": None} for line in lines]
    stack.write(results, "".join(json.dumps(line) + "\n" for line in perfect))
    run.clear("choose", downstream=True)
    assert run.finish() == "failed"
    assert "Airflow would show the comparison of an earlier try" in run.logs(APPROVE)
    assert default_of(stack, report) == report["winner"]

    stack.api.http.delete(f"/api/v2{run.path}/taskInstances/{APPROVE}").raise_for_status()
    run.clear("choose", downstream=True, latest_version=True)
    wait_for_question(run)
    assert "100.0%" in request(run)["body"]
    assert answer(run, option(run, "Approve")).status_code == 200
    assert run.finish() == "success"
    assert run.xcom("report")["outcome"] == "promoted"
