"""One run, one job: what a later try does with what an earlier one has asked for."""

import json
from dataclasses import asdict

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred
from support import LOCATION, LONG, SPEC, TaskStateStore, context, finished_job, masked

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.exceptions import (
    CopyModelError,
    CreateOutcomeUnknownError,
    InvalidInputError,
    NotSentError,
    PermanentServiceError,
    RetryLimitExceededError,
    TransientServiceError,
    TuningJobError,
)
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators import create_tuning_job
from gemini_tuning.operators import idempotent_create as module
from gemini_tuning.operators.copy_model import GeminiCopyModelOperator
from gemini_tuning.operators.create_tuning_job import GeminiCreateTuningJobOperator
from gemini_tuning.operators.idempotent_create import SEND_TIMEOUT, Submission
from gemini_tuning.sensors.tuning_job import GeminiTuningJobSensor

SEARCH_ONCE = -SEND_TIMEOUT  # as lookup_timeout


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch):
    monkeypatch.setattr(module, "SEARCH_INTERVAL", 0.01)


def create(**change):
    request = {"training_dataset_uri": "gs://bucket/train.jsonl", "base_model": "gemini-2.5-flash", "epoch_count": 3}
    return GeminiCreateTuningJobOperator(**{"task_id": "task", "tuning_request": request, **change})


def jobs(vertex):
    return vertex.state()["tuningJobs"]


def states(vertex):
    return [job["state"].removeprefix("JOB_STATE_") for job in jobs(vertex)]


def test_the_job_is_labelled_with_its_run(vertex):
    ctx = context(run_id="manual__2026-11-22T10:00:00+00:00")
    create(tuning_request={**SPEC.as_dict(), "labels": {"team": "ferry"}}).execute(ctx)
    labels = jobs(vertex)[0]["labels"]
    assert labels["team"] == "ferry"
    assert labels["airflow_dag"] == "dag"
    assert labels["airflow_run"].startswith("manual__2026-11-22t10-00-00-00-00-")
    assert labels["airflow_task"] == "task"
    assert len(labels["airflow_request"]) == 16
    announced = ctx["ti"].xcoms["submission"]
    assert announced["labels"] == {k: v for k, v in labels.items() if k != "team"}
    assert announced["sent_at"] > 0


def test_a_later_try_takes_the_job_that_is_there(vertex):
    store = TaskStateStore()
    first = create().execute(context(store=store))
    for number in (2, 3):
        assert create().execute(context(store=store, try_number=number, max_tries=3)) == first
        vertex.advance(LONG)  # under way the first time, successful the second
    assert states(vertex) == ["SUCCEEDED"]


@pytest.mark.parametrize("fault", [{"drop": "after"}, {"status": 503, "applied": True}, {"body": "truncated"}])
def test_a_create_whose_answer_was_lost_is_found_in_the_same_try(vertex, fault):
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "times": 1, **fault}])
    name = create().execute(context())
    assert [job["name"] for job in jobs(vertex)] == [name]


def test_a_job_that_shows_late_is_looked_for_until_it_does(vertex, monkeypatch):
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "drop": "after", "times": 1}])
    find, looks = GeminiTuningHook.find_tuning_jobs, []

    def late(self, labels, **where):
        looks.append(labels)
        return find(self, labels, **where) if len(looks) > 4 else []

    monkeypatch.setattr(GeminiTuningHook, "find_tuning_jobs", late)
    name = create().execute(context())
    assert [job["name"] for job in jobs(vertex)] == [name]
    assert len(looks) == 5


def test_a_create_that_never_arrived_is_sent_again_by_the_next_try(vertex, snapshot):
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "drop": "before", "times": 1}])
    store = TaskStateStore()
    with pytest.raises(CreateOutcomeUnknownError) as error:
        create(lookup_timeout=SEARCH_ONCE).execute(context(store=store))
    assert str(error.value.__cause__) in str(error.value)
    assert "us-central1" in error.value.resource
    assert error.value.hint == snapshot
    assert jobs(vertex) == []
    name = create(lookup_timeout=SEARCH_ONCE).execute(context(store=store, try_number=2))
    assert [job["name"] for job in jobs(vertex)] == [name]


class KilledError(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("moment", ["before it is sent", "after the answer"])
def test_a_worker_that_dies_with_its_create_leaves_enough_behind(vertex, monkeypatch, moment):
    real = GeminiTuningHook.create_tuning_job

    def dying(self, spec, **where):
        if moment == "after the answer":
            real(self, spec, **where)
        raise KilledError

    store = TaskStateStore()
    with monkeypatch.context() as patch:
        patch.setattr(GeminiTuningHook, "create_tuning_job", dying)
        with pytest.raises(KilledError):
            create().execute(context(store=store))
    name = create(lookup_timeout=SEARCH_ONCE).execute(context(store=store, try_number=2))
    assert [job["name"] for job in jobs(vertex)] == [name]


def test_a_worker_that_dies_before_it_remembers_anything_has_asked_for_nothing(vertex, monkeypatch):
    def dying(self, key, value, **more):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(TaskStateStore, "set", dying)
        with pytest.raises(KilledError):
            create().execute(context())
    assert jobs(vertex) == []


def test_a_worker_that_wakes_up_too_late_sends_nothing(vertex, monkeypatch):
    store = TaskStateStore()
    with monkeypatch.context() as patch:
        patch.setattr(Submission, "send_before", property(lambda self: self.sent_at - 1))
        with pytest.raises(NotSentError):
            create().execute(context(store=store))
    assert not [r for r in vertex.requests() if r["method"] == "POST" and r["path"].endswith("tuningJobs")]
    create().execute(context(store=store, try_number=2))
    assert len(jobs(vertex)) == 1


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "expired"])
def test_a_failed_job_is_replaced_up_to_a_limit(vertex, outcome, capsys, snapshot):
    vertex.faults([{"job": {}, "outcome": outcome}])
    store = TaskStateStore()
    for number in (1, 2):
        create(max_attempts=2).execute(context(store=store, try_number=number))
        vertex.advance(LONG)
    first, second = (job["name"] for job in jobs(vertex))
    log = capsys.readouterr().out
    assert first in log
    assert outcome.upper() in log
    with pytest.raises(RetryLimitExceededError) as error:
        create(max_attempts=2).execute(context(store=store, try_number=3))
    assert (error.value.code, error.value.resource) == ("max_attempts_reached", second)
    assert error.value.field == "max_attempts"
    assert "2 of 2" in str(error.value)
    assert error.value.hint == snapshot
    assert len(jobs(vertex)) == 2


def test_a_job_on_its_way_out_is_not_taken(vertex):
    store = TaskStateStore()
    first = create().execute(context(store=store))
    vertex.advance(9)
    GeminiTuningHook().cancel_tuning_job(first)
    assert create().execute(context(store=store, try_number=2)) != first


def test_a_new_job_can_be_forced_by_clearing_but_not_by_a_retry(vertex):
    store = TaskStateStore()
    first = create(force_new_job="True").execute(context(store=store))
    assert create(force_new_job="True").execute(context(store=store, try_number=2)) == first  # a retry
    cleared = context(store=store, try_number=3, max_tries=2)
    second = create(force_new_job="True").execute(cleared)
    assert second != first
    vertex.advance(LONG)
    assert states(vertex) == ["CANCELLED", "SUCCEEDED"]
    retried = context(store=store, try_number=4, max_tries=2)
    assert create(force_new_job="True").execute(retried) == second


def test_two_runs_and_two_airflows_never_take_each_others_job(vertex, capsys):
    mine = create().execute(context(store=TaskStateStore(), run_id="a"))
    other_run = create().execute(context(store=TaskStateStore(), run_id="b"))
    other_airflow = create().execute(context(store=TaskStateStore(), run_id="a"))
    assert len({mine, other_run, other_airflow}) == 3
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert [mine in line for line in warnings] == [True]


def test_when_the_task_state_store_was_emptied_no_second_job_is_created(vertex, snapshot):
    name = create().execute(context())
    with pytest.raises(CreateOutcomeUnknownError) as error:
        create().execute(context(try_number=2))
    assert (error.value.field, error.value.resource) == ("force_new_job", name)
    assert masked(error.value) == snapshot
    assert len(jobs(vertex)) == 1
    create(force_new_job=True).execute(context(try_number=2))
    assert len(jobs(vertex)) == 2


def test_had_one_request_made_two_jobs_the_oldest_is_kept(vertex):
    labels = {"airflow_dag": "dag", "airflow_run": "run", "airflow_task": "task", "airflow_request": "0123456789abcdef"}
    hook = GeminiTuningHook()
    first, second = (
        hook.create_tuning_job(SPEC.model_copy(update={"labels": labels}), project_id=None, location=LOCATION).name
        for _ in range(2)
    )
    store = TaskStateStore(tuning_job=asdict(Submission("0123456789abcdef", sent_at=1.0)))
    assert create().execute(context(store=store, try_number=2)) == first
    vertex.advance(LONG)
    assert {job["name"]: job["state"] for job in jobs(vertex)} == {
        first: "JOB_STATE_SUCCEEDED",
        second: "JOB_STATE_CANCELLED",
    }


def test_over_quota_the_task_waits_its_turn_without_a_worker(vertex):
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "status": 429, "retry_after": 99, "times": 2}])
    store, operator = TaskStateStore(), create()
    for refusals, again in enumerate((operator.execute, operator.execute_after_quota_wait), 1):
        ctx = context(store=store)
        with pytest.raises(TaskDeferred) as caught:
            again(ctx)
        assert caught.value.method_name == "execute_after_quota_wait"
        wait = caught.value.trigger.moment
        pushed = ctx["ti"].xcoms["quota_wait"]
        assert (pushed["refusals"], set(pushed)) == (refusals, {"since", "next_try", "refusals", "message"})
    assert (wait - __import__("pendulum").now("UTC")).total_seconds() > 90
    name = operator.execute_after_quota_wait(context(store=store), None)
    assert [job["name"] for job in jobs(vertex)] == [name]


def test_the_wait_for_quota_ends(vertex, snapshot):
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "status": 429, "message": "No chips left."}])
    with pytest.raises(RetryLimitExceededError) as error:
        create(quota_timeout=0).execute(context())
    assert (error.value.field, error.value.code) == ("quota_timeout", "quota_timeout")
    assert "No chips left." in str(error.value)
    assert error.value.hint == snapshot


def in_dag_with_sensor():
    """Return the operator in a DAG with the sensor that waits for its job."""
    with DAG("dag", schedule=None):
        operator = create()
        GeminiTuningJobSensor(task_id="wait", tuning_job=operator.output)
    return operator


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed"])
def test_create_when_the_sensor_has_finished_creates_no_job(vertex, monkeypatch, snapshot, state):
    monkeypatch.setattr(create_tuning_job, "get_task_states", lambda *_: {"run": {"wait": state}})
    with pytest.raises(InvalidInputError) as error:
        in_dag_with_sensor().execute(context())
    assert (error.value.code, error.value.resource) == ("waiting_task_finished", "wait")
    assert str(error.value) == snapshot
    assert jobs(vertex) == []


@pytest.mark.parametrize("state", [None, "scheduled", "deferred", "up_for_retry"])
def test_create_when_the_sensor_has_not_finished_creates_the_job(vertex, monkeypatch, state):
    monkeypatch.setattr(create_tuning_job, "get_task_states", lambda *_: {"run": {"wait": state}})
    name = in_dag_with_sensor().execute(context())
    assert [job["name"] for job in jobs(vertex)] == [name]


def test_a_retry_announces_again_what_it_looks_for(vertex):
    """Airflow deletes a task's XComs when its next try begins; the teardown would not find the job without them."""
    store = TaskStateStore()
    create().execute(context(store=store))
    vertex.faults([{"method": "GET", "path": "tuningJobs/", "status": 403, "message": "Away."}])
    ctx = context(store=store, try_number=2)
    with pytest.raises(PermanentServiceError):
        create().execute(ctx)
    assert ctx["ti"].xcoms["submission"]["labels"] == {
        key: value for key, value in jobs(vertex)[0]["labels"].items() if key.startswith("airflow_")
    }


def test_a_first_try_that_could_not_look_around_has_forgotten_nothing(vertex):
    create().execute(context())  # another Airflow's job of the same names
    store = TaskStateStore()
    vertex.faults([{"method": "GET", "path": "tuningJobs$", "status": 403, "message": "Not now.", "times": 1}])
    with pytest.raises(PermanentServiceError):
        create().execute(context(store=store))
    create().execute(context(store=store, try_number=2))
    assert len(jobs(vertex)) == 2


def test_clearing_gives_the_wait_for_quota_new_patience(vertex):
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "status": 429}])
    store = TaskStateStore(tuning_job=asdict(Submission("0" * 16, queued_since=1.0, refusals=9)))
    with pytest.raises(RetryLimitExceededError):
        create().execute(context(store=store))
    with pytest.raises(TaskDeferred):
        create().execute(context(store=store, max_tries=5))


def test_a_filter_that_finds_nothing_is_not_believed_at_last(vertex, monkeypatch):
    """What Google's filter takes is documented nowhere."""
    real = GeminiTuningHook._list_tuning_jobs
    monkeypatch.setattr(
        GeminiTuningHook, "_list_tuning_jobs", lambda self, f, *where: [] if f else real(self, f, *where)
    )
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "drop": "after", "times": 1}])
    create(lookup_timeout=SEARCH_ONCE).execute(context())
    assert len(jobs(vertex)) == 1


def test_after_a_clear_refusal_the_next_try_need_not_look(vertex):
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "status": 400, "message": "Bad.", "times": 1}])
    store = TaskStateStore()
    with pytest.raises(PermanentServiceError) as error:
        create().execute(context(store=store))
    assert (error.value.code, error.value.service_message) == (400, "Bad.")
    before = len(vertex.requests())
    create().execute(context(store=store, try_number=2))
    assert [r["method"] for r in vertex.requests()[before:] if "tuningJobs" in r["path"]] == ["POST"]


@pytest.mark.parametrize("stored", ["x", 7, [], {}, {"request_id": ""}, {"request_id": "a", "unknown": 1}])
def test_an_invalid_value_in_the_task_state_store_is_an_error(vertex, snapshot, stored):
    with pytest.raises(InvalidInputError) as error:
        create().execute(context(store=TaskStateStore(tuning_job=stored)))
    assert error.value.code == "invalid_submission"
    assert str(error.value) == snapshot
    assert jobs(vertex) == []


@pytest.mark.parametrize("labels", [{"airflow_run": "x"}, {f"l{n}": "x" for n in range(61)}], ids=["ours", "many"])
def test_labels_that_are_reserved_or_too_many_are_refused(vertex, labels):
    with pytest.raises(InvalidInputError) as error:
        create(tuning_request={**SPEC.as_dict(), "labels": labels}).execute(context())
    assert error.value.field == "labels"
    assert jobs(vertex) == []


def test_what_is_stored_is_small_and_holds_no_secret(vertex):
    store = TaskStateStore()
    create().execute(context(store=store))
    assert len(json.dumps(store)) < 500
    assert "PRIVATE" not in json.dumps(store)


def test_the_submission_survives_the_store():
    for submission in (
        Submission(),
        Submission(attempt=2, generation=3, sent_at=5.0, resource="x", queued_since=7.0, refusals=1),
    ):
        assert Submission.from_json(json.loads(json.dumps(asdict(submission)))) == submission
    assert Submission.from_json(None) is None


def test_the_gave_up_error_is_not_a_tuning_job_error():
    assert not issubclass(RetryLimitExceededError, TuningJobError)


# ------------------------------------------------------------------------------------------------ copy


def copy(job, **change):
    arguments = {"destination_location": "europe-west4", "deferrable": True}
    return GeminiCopyModelOperator(task_id="task", model=job.model, **{**arguments, **change})


def start(operator, ctx):
    """Run the task to its deferral; return the operation it waits for."""
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(ctx)
    return caught.value.trigger.resource


def copies(vertex):
    return [m for m in vertex.state()["models"] if "/europe-west4/" in m["name"]]


def copy_requests(vertex):
    return [r["status"] for r in vertex.requests() if r["path"].endswith("models:copy")]


PARENT = {"parent_model": True}
NAMES = [{}, {"model_id": "ferry-copy"}, PARENT]


@pytest.fixture
def job(vertex):
    return finished_job(vertex)


def named(job, vertex, names):
    """Return the names of a copy; where it is to be a version, with a model that it is a version of."""
    if names is not PARENT:
        return names
    hook, other = (
        GeminiTuningHook(),
        finished_job(vertex, SPEC.model_copy(update={"tuned_model_display_name": "other"})),
    )
    operation = hook.copy_model(other.model, ModelCopySpec(model_id="parent"), location="europe-west4")
    vertex.advance(LONG)
    return {"parent_model": hook.get_operation(operation).model.partition("@")[0]}


@pytest.mark.parametrize("names", NAMES, ids=str)
def test_a_later_try_takes_the_copy_that_is_there(vertex, job, names):
    names, store = named(job, vertex, names), TaskStateStore()
    before = len(copies(vertex))
    first = start(copy(job, **names), context(store=store))
    assert start(copy(job, **names), context(store=store, try_number=2)) == first
    vertex.advance(LONG)
    done = copy(job, **names).execute(context(store=store, try_number=3))
    assert done["operation"] == first
    assert len(copies(vertex)) == before + 1


@pytest.mark.parametrize("names", [{}, {"model_id": "ferry-copy"}], ids=str)
@pytest.mark.parametrize("fault", [{"drop": "after"}, {"status": 503, "applied": True}])
def test_a_copy_whose_answer_was_lost_is_found_in_the_same_try(vertex, job, names, fault):
    names = named(job, vertex, names)
    before = len(copies(vertex))
    vertex.faults([{"method": "POST", "path": "models:copy", "times": 1, **fault}])
    operator, ctx = copy(job, **names), context()
    name = start(operator, ctx)
    vertex.advance(LONG)
    assert operator.execute_complete(ctx, {"status": "ended", "resource": name})["model"]
    assert len(copies(vertex)) == before + 1


def test_a_lost_copy_into_a_parent_is_taken_only_when_it_proves_to_be_ours(vertex, job):
    """Other runs may copy into the same parent, and an operation that is not over does not tell what it copies."""
    names, store = named(job, vertex, PARENT), TaskStateStore()
    before = len(copies(vertex))
    vertex.faults([{"method": "POST", "path": "models:copy", "times": 1, "drop": "after"}])
    for number in (1, 2):
        with pytest.raises(TransientServiceError) as error:
            copy(job, lookup_timeout=SEARCH_ONCE, **names).execute(context(store=store, try_number=number))
        assert "/operations/" in error.value.resource
        assert job.model in str(error.value)
    vertex.advance(LONG)
    done = copy(job, lookup_timeout=SEARCH_ONCE, **names).execute(context(store=store, try_number=3))
    assert done["model"].endswith("/models/parent@2")
    assert len(copies(vertex)) == before + 1


@pytest.mark.parametrize("names", [{}, PARENT], ids=str)
def test_an_operation_that_google_has_forgotten_does_not_make_a_second_copy(vertex, job, names):
    names, store = named(job, vertex, names), TaskStateStore()
    before, first = len(copies(vertex)), start(copy(job, **names), context(store=store))
    vertex.advance(LONG)
    vertex.faults([{"method": "GET", "path": "/operations/[^/]+$", "status": 404}])
    again = copy(job, **names)
    if "parent_model" in names:
        with pytest.raises(PermanentServiceError) as error:
            again.execute(context(store=store, max_tries=4))
        assert (error.value.code, error.value.resource) == (404, first)
    else:
        done = again.execute(context(store=store, max_tries=4))
        assert done["model"].partition("@")[0] == first.partition("/operations/")[0]
    assert len(copies(vertex)) == before + 1


def test_copy_model_after_its_send_deadline_sends_nothing(vertex, job):
    with pytest.raises(NotSentError):
        GeminiTuningHook().copy_model(job.model, ModelCopySpec(), location="europe-west4", not_after=0.0)
    assert copies(vertex) == []


def test_another_model_gets_another_copy(vertex, job):
    """A task that was cleared after a new job was forced."""
    store = TaskStateStore()
    start(copy(job), context(store=store))
    vertex.advance(LONG)
    other = finished_job(vertex, SPEC.model_copy(update={"tuned_model_display_name": "other"}))
    start(copy(other), context(store=store, max_tries=4))
    vertex.advance(LONG)
    done = copy(other).execute(context(store=store, max_tries=4))
    assert "copy-of-" + other.model.rpartition("/")[2].partition("@")[0] in done["model"]
    assert len(copies(vertex)) == 2


@pytest.mark.parametrize("over", [True, False])
def test_a_worker_that_dies_with_its_copy_leaves_enough_behind(vertex, job, monkeypatch, over):
    real = GeminiTuningHook.copy_model

    def dying(self, *args, **where):
        real(self, *args, **where)
        raise KilledError

    store = TaskStateStore()
    with monkeypatch.context() as patch:
        patch.setattr(GeminiTuningHook, "copy_model", dying)
        with pytest.raises(KilledError):
            copy(job).execute(context(store=store))
    if over:
        vertex.advance(LONG)
    operator, ctx = copy(job, lookup_timeout=SEARCH_ONCE), context(store=store, try_number=2)
    if not over:
        start(operator, ctx)
        vertex.advance(LONG)
    operator.execute(ctx)
    assert len(copies(vertex)) == 1
    assert copy_requests(vertex) == [200]


def test_where_operations_cannot_be_listed_the_copy_itself_is_looked_for(vertex, job):
    """Google's service is documented to list them; what it does was seen by nobody here."""
    vertex.faults(
        [
            {"method": "GET", "path": "/models/.*/operations$", "status": 501},
            {"method": "POST", "path": "models:copy", "drop": "after", "times": 1},
        ]
    )
    store = TaskStateStore()
    with pytest.raises(CreateOutcomeUnknownError):
        copy(job, lookup_timeout=SEARCH_ONCE).execute(context(store=store))
    with pytest.raises(PermanentServiceError) as error:  # it is under way, and that cannot be seen
        copy(job, lookup_timeout=SEARCH_ONCE).execute(context(store=store, try_number=2))
    assert error.value.code == 409
    vertex.advance(LONG)
    (there,) = copies(vertex)
    assert copy(job).execute(context(store=store, try_number=3))["model"].startswith(there["name"].partition("@")[0])
    assert len(copies(vertex)) == 1


def test_in_place_of_a_copy_that_failed_a_new_one_is_made(vertex, job):
    vertex.faults([{"operation": "copy", "outcome": "failed", "times": 1, "error": {"code": 8, "message": "no room"}}])
    store, ctx = TaskStateStore(), context()
    operator = copy(job)
    name = start(operator, context(store=store))
    vertex.advance(LONG)
    with pytest.raises(CopyModelError) as error:
        operator.execute_complete(ctx, {"status": "ended", "resource": name})
    assert (error.value.code, error.value.resource) == ("copy_failed", name)
    assert "no room (code 8)" in str(error.value)
    second = start(copy(job), context(store=store, try_number=2))
    assert second != name
    vertex.advance(LONG)
    assert len(copies(vertex)) == 1


def test_a_destination_that_is_taken_by_another_model_is_refused(vertex, job):
    other = finished_job(vertex, SPEC.model_copy(update={"tuned_model_display_name": "other"}))
    start(copy(other, model_id="ferry-copy"), context())
    vertex.advance(LONG)
    with pytest.raises(PermanentServiceError) as error:
        copy(job, model_id="ferry-copy").execute(context(run_id="b"))
    assert error.value.code == 409
    assert "ferry-copy" in str(error.value)
    assert len(copies(vertex)) == 1


def test_two_runs_never_take_each_others_copy(vertex, job):
    first, second = (start(copy(job), context(run_id=run)) for run in "ab")
    vertex.advance(LONG)
    assert first != second
    assert len(copies(vertex)) == 2


def test_an_operation_that_made_a_copy_of_something_else_is_not_believed(vertex, job):
    other = finished_job(vertex, SPEC.model_copy(update={"tuned_model_display_name": "other"}))
    name = start(copy(other), context())
    vertex.advance(LONG)
    with pytest.raises(CopyModelError) as error:
        copy(job).execute_complete(context(), {"status": "ended", "resource": name})
    assert error.value.code == "not_a_copy"
    assert job.model in str(error.value)


def test_a_copy_over_quota_waits_its_turn(vertex, job):
    vertex.faults([{"method": "POST", "path": "models:copy", "status": 429, "times": 1}])
    operator, ctx = copy(job), context()
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(ctx)
    assert caught.value.method_name == "execute_after_quota_wait"
    with pytest.raises(TaskDeferred) as caught:
        operator.execute_after_quota_wait(ctx)
    assert caught.value.method_name == "execute_complete"
