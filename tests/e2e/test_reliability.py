"""One run, one job, and none left running: a real Airflow with two triggerers, whose parts die at chosen moments.

What is chosen at random is in tests/chaos.
"""

import json
import signal

import pytest
from runs import CONF, COPY, CREATE, TEARDOWN, WAIT, Run, advance, jobs, requests_to, states
from support import LOCATION, SPEC, use_connection

from demo.processes import runs, send
from demo.stack import Stack
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from tests.chaos.airflow import QUICK_RECOVERY

pytestmark = pytest.mark.airflow


TIMED_OUT = """
from datetime import timedelta

from airflow.sdk import DAG
from gemini_tuning.sensors.tuning_job import GeminiTuningJobSensor

with DAG("timed_out", schedule=None, dagrun_timeout=timedelta(seconds=20), params={"tuning_job": ""}):
    GeminiTuningJobSensor(
        task_id="wait_for_tuning_job", tuning_job="{{ params.tuning_job }}", poll_interval=1, deferrable=True
    )
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Two triggerers; what is dead counts as dead after seconds, not minutes; the service's clock by hand."""
    folder = tmp_path_factory.mktemp("dags")
    (folder / "timed_out.py").write_text(TIMED_OUT)
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [
        {"name": "dags-folder", "classpath": local, "kwargs": {}},
        {"name": "more", "classpath": local, "kwargs": {"path": str(folder)}},
    ]
    env = {
        **QUICK_RECOVERY,
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
    }
    home = tmp_path_factory.mktemp("stack") / "home"
    with Stack(home, speed=0, triggerers=2, airflow_env=env, emulator_options=("--journal", "100000")) as stack:
        yield stack


def faults(stack, *rules):
    stack.emulator("POST", "/faults", list(rules))


def waiting(stack, **params):
    """Start a run and wait until its job is under way and nobody but the trigger waits for it."""
    run = Run.start(stack, **params)
    run.wait_for_state(WAIT, "deferred")
    run.wait_for("the trigger", lambda: "Waiting for " in run.log(WAIT))
    advance(stack, 9)
    return run


def test_at_the_deadline_the_job_is_cancelled(stack):
    """First, because the deadline counts in real time, from the job's creation in the service's."""
    run = Run.start(stack, deadline_seconds=60)
    assert run.finish() == "failed"
    assert len(requests_to(stack, ":cancel")) == 1
    advance(stack)
    assert states(stack) == ["CANCELLED"]
    assert f"{jobs(stack)[0]['name']} had not finished at its deadline" in run.log(WAIT)
    assert "Its cancellation was requested." in run.log(WAIT)


# ------------------------------------------------------------------------- a worker dies while it creates the job


DELAYED_CREATE = {"method": "POST", "path": "tuningJobs$", "delay": 5, "times": 1}


def creating(stack, run):
    """Wait until the request is on its way; return the processes that run and supervise the task."""
    run.wait_for("the request", lambda: stack.emulator("GET", "/faults")["replies"][0]["taken"])
    task = run.process(CREATE)
    return task, task.parent()


def assert_one_job_and_success(stack, run):
    run.wait_for_state(WAIT, "deferred")
    advance(stack)
    assert run.finish() == "success"
    assert states(stack) == ["SUCCEEDED"]
    assert requests_to(stack, ":cancel") == []
    assert run.xcom(CREATE) == jobs(stack)[0]["name"]


def test_a_worker_killed_while_the_create_is_on_its_way(stack):
    faults(stack, DELAYED_CREATE)
    run = Run.start(stack)
    task, _ = creating(stack, run)
    task.kill()
    assert_one_job_and_success(stack, run)
    assert run.task(CREATE)["try_number"] == 2


def test_a_worker_killed_after_the_answer_and_before_it_is_stored(stack):
    faults(stack, DELAYED_CREATE)
    run = Run.start(stack)
    task, supervisor = creating(stack, run)
    supervisor.suspend()  # so that the task can't store what it gets
    run.wait_for("the answer", lambda: jobs(stack))
    task.kill()
    supervisor.resume()
    run.wait_for("the next try", lambda: run.task(CREATE)["try_number"] == 2)
    assert_one_job_and_success(stack, run)
    assert "Reattached to tuning job" in run.log(CREATE, 2)


def test_a_worker_killed_after_the_job_is_stored_and_before_the_deferral(stack):
    faults(stack, {"method": "GET", "path": "/tuningJobs/", "delay": 5, "times": 1})
    run = Run.start(stack)
    run.wait_for("the first look", lambda: run.state(WAIT) == "running" and run.process(WAIT))
    run.process(WAIT).kill()
    assert_one_job_and_success(stack, run)


def test_a_create_whose_worker_and_supervisor_die_together(stack):
    faults(stack, {**DELAYED_CREATE, "drop": "after"})
    run = Run.start(stack)
    task, supervisor = creating(stack, run)
    send([supervisor, task], signal.SIGKILL)  # as a machine that dies
    assert_one_job_and_success(stack, run)


def test_a_create_that_is_marked_failed_on_its_way_leaves_no_job_running(stack):
    faults(stack, DELAYED_CREATE)
    run = Run.start(stack)
    creating(stack, run)
    run.mark("failed", CREATE)
    assert run.finish() == "failed"
    run.wait_for_state(TEARDOWN, "success")
    advance(stack)
    assert states(stack) in ([], ["CANCELLED"])


def test_marking_failed_while_a_cleared_create_looks_for_its_job(stack):
    """The new try has nothing of the first one's XComs; the teardown has to find the job all the same."""
    run = waiting(stack)
    faults(stack, {"method": "GET", "path": "/tuningJobs/", "status": 503})
    run.clear(CREATE, downstream=True)
    run.wait_for("the next try", lambda: (run.task(CREATE)["try_number"], run.state(CREATE)) == (2, "running"))
    run.wait_for("a look", lambda: "Worker startup parse complete" in run.log(CREATE, 2))
    run.mark("failed")
    stack.emulator("DELETE", "/faults")
    assert run.finish() == "failed"
    run.wait_for("the teardown", lambda: run.state(TEARDOWN) in ("success", "failed"))
    advance(stack)
    assert states(stack) == ["CANCELLED"]


# ------------------------------------------------------------------------------ triggerers die, stall and come back


def test_triggerers_that_are_killed(stack):
    run = waiting(stack)
    for name in ("triggerer", "triggerer-2"):
        stack.processes[name].kill()
    for name in ("triggerer", "triggerer-2"):
        stack.processes[name].start()
    assert_one_job_and_success(stack, run)


def test_a_triggerer_that_stalls_and_wakes_up_cancels_nothing(stack):
    run = waiting(stack)
    first, second = (stack.processes[name].family() for name in ("triggerer", "triggerer-2"))
    spare = "is not cancelled: the task's state is deferred"
    for stalled in (first, second):  # one of them has the trigger
        before = run.log(WAIT).count("Waiting for ")
        send(stalled, signal.SIGSTOP)
        try:
            if wait_briefly(run, lambda count=before: run.log(WAIT).count("Waiting for ") > count):
                send(stalled, signal.SIGCONT)
                run.wait_for("the old trigger to be told", lambda: spare in run.log(WAIT))
                break
        finally:
            send(stalled, signal.SIGCONT)
    assert spare in run.log(WAIT)
    assert_one_job_and_success(stack, run)


def wait_briefly(run, condition):
    """Return whether something comes true within the time that a dead triggerer is noticed in."""
    from demo.processes import DemoError, wait_until

    try:
        wait_until("the other triggerer", condition, [], 45)
    except DemoError:
        return False
    return True


# ----------------------------------------------------------------------------------------- people mark and clear


@pytest.mark.parametrize("whole_run", [False, True], ids=["task", "run"])
def test_marking_failed_cancels_the_job_once(stack, whole_run):
    run = waiting(stack)
    run.mark("failed", None if whole_run else WAIT)
    assert run.finish() == "failed"
    run.wait_for("the teardown", lambda: run.state(TEARDOWN) in ("success", "failed"))
    assert len(requests_to(stack, ":cancel")) == 1
    advance(stack)
    (job,) = jobs(stack)
    assert job["state"] == "JOB_STATE_CANCELLED"
    assert f"Cancelled tuning job {job['name']}" in run.log(WAIT) + run.log(TEARDOWN)


def test_marking_failed_before_a_trigger_runs_cancels_the_job(stack):
    """Nobody can tell a trigger that was never started; the teardown looks after that."""
    triggerers = [p for name in ("triggerer", "triggerer-2") for p in stack.processes[name].family()]
    send(triggerers, signal.SIGSTOP)
    try:
        run = Run.start(stack)
        run.wait_for_state(WAIT, "deferred")
        run.mark("failed", WAIT)
        assert run.finish() == "failed"
        run.wait_for_state(TEARDOWN, "success")
        assert len(requests_to(stack, ":cancel")) == 1
    finally:
        send([p for p in triggerers if runs(p)], signal.SIGCONT)


def test_a_run_that_times_out_cancels_its_job(stack, monkeypatch):
    use_connection(monkeypatch, stack.emulator("GET", "/connection"))
    spec = SPEC.model_copy(
        update={"training_dataset_uri": CONF["training_dataset_uri"], "validation_dataset_uri": None}
    )
    name = GeminiTuningHook().create_tuning_job(spec, project_id=None, location=LOCATION).name
    run = Run.start(stack, {"tuning_job": name}, "timed_out")
    wait = WAIT.rpartition(".")[2]  # this DAG has no task groups
    assert run.finish() == "failed"
    assert run.state(wait) == "skipped"
    run.wait_for("the job to be cancelled", lambda: requests_to(stack, ":cancel"))
    assert f"Cancelled tuning job {name}: the task's state is skipped" in run.log(wait)


def test_marking_success_cancels_nothing(stack):
    run = waiting(stack)
    run.mark("success")
    assert run.finish() == "success"
    run.wait_for("the trigger to be told", lambda: "is not cancelled: the task's state is success" in run.log(WAIT))
    assert requests_to(stack, ":cancel") == []


def test_clearing_while_it_tunes_attaches_to_the_same_job(stack):
    run = waiting(stack)
    run.clear(CREATE, downstream=True)
    run.wait_for("the old trigger to be told", lambda: "is not cancelled: the task's state is" in run.logs(WAIT))
    run.wait_for("the next try", lambda: run.task(WAIT)["try_number"] == 2)
    assert_one_job_and_success(stack, run)
    assert "Reattached to tuning job" in run.log(CREATE, 2)


def test_clearing_after_success_makes_neither_a_second_job_nor_a_second_copy(stack):
    run = Run.start(stack, copy_location="europe-west4")
    run.wait_for_state(WAIT, "deferred")
    advance(stack)
    run.wait_for_state(COPY, "deferred")
    advance(stack)
    assert run.finish() == "success"
    first = run.xcom("report")
    run.clear(CREATE, downstream=True)
    run.wait_for("the next try", lambda: run.task(CREATE)["try_number"] == 2)
    assert run.finish() == "success"
    assert states(stack) == ["SUCCEEDED"]
    assert len(requests_to(stack, "models:copy")) == 1
    again = run.xcom("report")
    assert [again[key] for key in ("copy", "winner", "tuned_model")] == [
        first[key] for key in ("copy", "winner", "tuned_model")
    ]


def test_clearing_after_a_failure_makes_a_new_job(stack):
    error = {"code": 8, "message": "No chips."}
    faults(stack, {"job": {}, "outcome": "failed", "times": 1, "error": error})
    run = Run.start(stack)
    run.wait_for_state(WAIT, "deferred")
    advance(stack)
    assert run.finish() == "failed"
    run.clear(CREATE, downstream=True)
    run.wait_for("the next try", lambda: run.task(WAIT)["try_number"] == 2)
    run.wait_for_state(WAIT, "deferred")
    advance(stack)
    assert run.finish() == "success"
    assert states(stack) == ["FAILED", "SUCCEEDED"]
    assert "No chips. (code 8)" in run.log(CREATE, 2)
    assert "attempt 2 of 3" in run.log(CREATE, 2)


# ------------------------------------------------------------------------------------------- several at once


def test_two_runs_at_once_keep_to_their_own_jobs_models_and_copies(stack):
    both = [Run.start(stack, copy_location="europe-west4") for _ in range(2)]
    for run in both:
        run.wait_for_state(WAIT, "deferred")
    advance(stack)
    for run in both:
        run.wait_for_state(COPY, "deferred")
    advance(stack)
    assert [run.finish() for run in both] == ["success", "success"]
    reports = [run.xcom("report") for run in both]
    assert len({run.xcom(CREATE) for run in both}) == 2
    for what in ("tuned_model", "copy"):
        assert len({report[what] for report in reports}) == 2
    assert len(jobs(stack)) == 2


def test_runs_over_the_projects_quota_wait_their_turn(stack):
    """A create that the service refuses with 429 is deferred: it holds no worker slot, and the XCom says why."""
    first = waiting(stack)
    message = "Quota exceeded for global concurrent tuning jobs."
    faults(stack, {"method": "POST", "path": "tuningJobs$", "status": 429, "message": message})
    second = Run.start(stack)
    second.wait_for_state(CREATE, "deferred")
    wait = second.xcom(CREATE, "quota_wait")
    assert (wait["refusals"], wait["message"]) == (1, message)
    pool = stack.api.get("/pools/default_pool")
    assert (pool["running_slots"], pool["deferred_slots"]) == (0, 2)
    assert len(jobs(stack)) == 1
    stack.emulator("DELETE", "/faults")
    advance(stack)
    assert first.finish() == "success"
    second.wait_for_state(WAIT, "deferred")
    advance(stack)
    assert second.finish() == "success"
    assert states(stack) == ["SUCCEEDED", "SUCCEEDED"]


# ---------------------------------------------------------------------------------------------- secrets


def test_nothing_that_the_runs_have_written_holds_a_secret(stack):
    """Logs of all parts, the database with XComs, rendered fields and links, the metadata of Airflow: all of it."""
    faults(
        stack,
        {"method": "GET", "path": "/tuningJobs/", "token": "expired", "times": 1},
        {"method": "GET", "path": "/tuningJobs/", "body": "html", "times": 1},
        {"method": "POST", "path": "models:copy", "status": 403, "message": "No copies for you."},
    )
    run = Run.start(stack, copy_location="europe-west4")
    run.wait_for_state(WAIT, "deferred")
    advance(stack)
    assert run.finish() == "failed"
    assert "No copies for you." in run.log(COPY)

    key = stack.emulator("GET", "/key")["private_key"]
    secrets = {line.encode() for line in key.splitlines() if len(line) > 20 and "PRIVATE KEY" not in line}
    secrets |= {b"PRIVATE KEY", b"ya29.", stack.password.encode()}
    assert len(secrets) > 10
    own = {stack.home / "airflow" / "passwords.json", stack.home / "airflow" / "airflow.cfg"}  # Airflow's own
    files = [path for path in stack.home.rglob("*") if path.is_file() and path not in own]
    assert len(files) > 20
    found = {(path.name, secret) for path in files for secret in secrets if secret in path.read_bytes()}
    assert found == set()
    for task in stack.api.tasks(run.dag_id, run.run_id):  # as the UI shows it
        fields = json.dumps(task["rendered_fields"])
        assert not [s for s in secrets if s.decode() in fields], task["task_id"]
