"""The operators against the local Vertex AI, called as Airflow's task runner calls them."""

import hashlib
import json
from dataclasses import replace

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout, TaskDeferred
from support import DATA, LOCATION, LONG, SPEC, TaskStateStore, context, finished_job, masked, request_arguments

from gemini_tuning.core.exceptions import (
    CheckpointError,
    CopyModelError,
    CreateOutcomeUnknownError,
    InvalidInputError,
    PermanentServiceError,
    TransientServiceError,
    VerificationError,
)
from gemini_tuning.core.files import Files
from gemini_tuning.core.resources import Checkpoint, Model, TuningJob
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators import cloud_base as base_module
from gemini_tuning.operators.copy_model import GeminiCopyModelOperator
from gemini_tuning.operators.create_tuning_job import GeminiCreateTuningJobOperator
from gemini_tuning.operators.list_checkpoints import GeminiListCheckpointsOperator, merge_checkpoints
from gemini_tuning.operators.set_default_checkpoint import GeminiSetDefaultCheckpointOperator
from gemini_tuning.operators.validate_tuning import GeminiValidateTuningOperator
from gemini_tuning.operators.verify_model_copy import GeminiVerifyModelCopyOperator
from gemini_tuning.triggers.model_copy import CopyModelTrigger

SUITES = "dags/config/smoke"
GOOD_LINE = '{"contents": [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]}\n'


def jobs(vertex):
    return vertex.state()["tuningJobs"]


# ------------------------------------------------------------------------------------------- preflight


def preflight(**change):
    arguments = {
        "training_dataset_uri": "gs://bucket/train.jsonl",
        "validation_dataset_uri": "gs://bucket/validation.jsonl",
        "base_model": "gemini-2.5-flash",
        "suite": "ferry_support",
        "suite_folder": SUITES,
    }
    return GeminiValidateTuningOperator(**request_arguments(**{"task_id": "validate", **arguments, **change}))


def test_preflight_counts(vertex):
    found = preflight().execute(context())
    assert found["training"]["examples"] == 140
    assert found["validation"]["examples"] == 36
    assert found["suite_cases"] == 24
    assert found["training"]["uri"] == "gs://bucket/train.jsonl"
    assert found["training"]["sha256"] == hashlib.sha256((DATA / "train.jsonl").read_bytes()).hexdigest()
    assert preflight(validation_dataset_uri=None, suite=None).execute(context())["validation"] is None


def test_preflight_gives_each_run_folders_of_its_own_which_every_try_gets_again(vertex, tmp_path):
    store = TaskStateStore()
    run = "manual__2026-11-22T10:00:00+00:00"
    found = preflight(report_uri=str(tmp_path)).execute(context(store=store, run_id=run))
    assert found["results_uri"].startswith("gs://bucket/gemini_tuning_results/dag/manual__2026-11-22T10_00_00+00_00-")
    assert found["report_uri"].startswith(f"{tmp_path}/dag/manual__")
    assert preflight(report_uri=str(tmp_path)).execute(context(store=store, run_id=run)) == found
    assert preflight().execute(context(run_id=run))["results_uri"] != found["results_uri"]
    about = b"".join(Files(GeminiTuningHook()).read_lines(found["results_uri"] + "/run.json"))
    assert json.loads(about) == {"dag_id": "dag", "run_id": run}


@pytest.mark.parametrize("name", ["results_uri", "report_uri"])
def test_validate_with_a_folder_that_is_not_one_is_refused(vertex, snapshot, name):
    with pytest.raises(InvalidInputError) as error:
        preflight(**{name: "results"}).execute(context())
    assert (error.value.field, error.value.code) == (name, "invalid_folder")
    assert str(error.value) == snapshot


def test_preflight_refuses_a_folder_that_can_not_be_written_to(vertex):
    vertex.faults([{"method": "POST", "path": "/upload/", "status": 403, "message": "No objects for you."}])
    with pytest.raises(PermanentServiceError) as error:
        preflight().execute(context())
    assert "gs://bucket/gemini_tuning_results/" in str(error.value)
    assert error.value.code == 403
    assert "No objects for you." in error.value.service_message


def test_preflight_refuses_a_champion_that_is_not_there(vertex):
    with pytest.raises(PermanentServiceError) as error:
        preflight(champion="projects/p/locations/us-central1/endpoints/404").execute(context())
    assert (error.value.code, error.value.resource) == (404, "projects/p/locations/us-central1/endpoints/404")


def test_preflight_names_the_lines_of_a_malformed_dataset(vertex):
    vertex.put_object("gs://bucket/bad.jsonl", GOOD_LINE + "{oops\n" + GOOD_LINE + '{"contents": []}\n')
    with pytest.raises(InvalidInputError) as error:
        preflight(training_dataset_uri="gs://bucket/bad.jsonl").execute(context())
    assert (error.value.field, error.value.resource) == ("training_dataset_uri", "gs://bucket/bad.jsonl")
    assert error.value.code == "invalid_dataset"
    assert "line 2: " in str(error.value)
    assert "line 4: " in str(error.value)


def test_preflight_refuses_a_missing_file(vertex):
    with pytest.raises(PermanentServiceError) as error:
        preflight(validation_dataset_uri="gs://bucket/absent.jsonl").execute(context())
    assert (error.value.code, error.value.resource) == (404, "gs://bucket/absent.jsonl")


def test_preflight_refuses_other_addresses(vertex):
    with pytest.raises(InvalidInputError) as error:
        preflight(training_dataset_uri="/etc/passwd").execute(context())
    assert error.value.field == "training_dataset_uri"
    assert "/etc/passwd" in str(error.value)


def test_preflight_reads_the_suites_cases_in_cloud_storage(vertex, tmp_path):
    suite = "defaults: {prompt: '{{ q }}', assert: [{type: number-equals, value: '{{ a }}'}]}\n"
    (tmp_path / "sums.yaml").write_text(suite + "cases_from: {file: gs://bucket/sums.jsonl}")
    vertex.put_object("gs://bucket/sums.jsonl", '{"q": "1+1", "a": 2}\n{"q": "2+2", "a": "4"}\n')
    found = preflight(suite="sums", suite_folder=str(tmp_path)).execute(context())
    assert found["suite_cases"] == 2
    vertex.put_object("gs://bucket/sums.jsonl", '{"q": "1+1", "a": 2}\n{"q": "2+2", "a": "four"}\n')
    with pytest.raises(InvalidInputError) as caught:
        preflight(suite="sums", suite_folder=str(tmp_path)).execute(context())
    assert (caught.value.code, caught.value.resource) == ("invalid_value", "gs://bucket/sums.jsonl")
    assert str(caught.value).startswith("gs://bucket/sums.jsonl:2: ")


def test_preflight_refuses_a_missing_suite(vertex):
    with pytest.raises(InvalidInputError) as caught:
        preflight(suite="fairy_support").execute(context())
    assert (caught.value.field, caught.value.code) == ("suite", "cannot_be_read")
    assert "ferry_support" in caught.value.hint


def test_validate_with_an_unknown_param_is_refused(vertex, snapshot):
    with pytest.raises(InvalidInputError) as error:
        preflight().execute(context(params={"epoch_count": 3}, conf={"epochs": 3}))
    assert (error.value.field, error.value.code) == ("epochs", "unknown_param")
    assert str(error.value) == snapshot


# ---------------------------------------------------------------------------------------------- create


def create(**change):
    arguments = {"training_dataset_uri": "gs://bucket/train.jsonl", "base_model": "gemini-2.5-flash"}
    return GeminiCreateTuningJobOperator(**request_arguments(**{"task_id": "create", **arguments, **change}))


def test_create_pushes_the_name(vertex):
    name = create(tuned_model_display_name="mine", epoch_count="4").execute(context())
    (job,) = jobs(vertex)
    assert job["name"] == name
    assert job["supervisedTuningSpec"]["hyperParameters"]["epochCount"] == "4"


def test_create_reads_what_jinja_makes_of_nothing(vertex):
    create(
        epoch_count="None", validation_dataset_uri="", adapter_size="None", export_last_checkpoint_only="False"
    ).execute(context())
    assert "exportLastCheckpointOnly" not in vertex.requests()[-1]["body"]["supervisedTuningSpec"]


@pytest.mark.parametrize(
    "change",
    [{"epoch_count": 0}, {"epoch_count": "many"}, {"base_model": None}, {"labels": {"Team": "x"}}, {"adapter_size": 5}],
)
def test_create_refuses_before_it_sends_anything(vertex, change):
    before = len(vertex.requests())
    with pytest.raises(ValueError, match=next(iter(change))):
        create(**change).execute(context())
    assert len(vertex.requests()) == before
    assert jobs(vertex) == []


# ------------------------------------------------------------------------------------------------ list


def listed(job):
    ctx = context()
    checkpoints = GeminiListCheckpointsOperator(task_id="list", tuning_job=job.name).execute(ctx)
    return checkpoints, ctx["ti"].xcoms


def test_list_pushes_checkpoints_model_and_default(vertex):
    job = finished_job(vertex)
    checkpoints, xcoms = listed(job)
    assert [c["checkpoint_id"] for c in checkpoints] == ["1", "2", "3"]
    assert set(checkpoints[0]) == {"checkpoint_id", "epoch", "step", "endpoint"}
    assert all(c["endpoint"] for c in checkpoints)
    billed = {"billable_tokens": 43_650, "dataset_tokens": 14_550, "epoch_count": 3}
    assert xcoms == {"tuned_model": job.model, "default_checkpoint_id": "3", "billed": billed}


def test_list_with_the_final_checkpoint_only(vertex):
    checkpoints, _ = listed(finished_job(vertex, SPEC.model_copy(update={"export_last_checkpoint_only": True})))
    assert [(c["epoch"], bool(c["endpoint"])) for c in checkpoints] == [(3, True)]


def test_list_when_neither_the_job_nor_its_model_has_checkpoints(vertex):
    vertex.faults([{"job": {}, "outcome": "no_checkpoints"}])
    job = finished_job(vertex)
    assert job.checkpoints == ()
    with pytest.raises(CheckpointError) as error:
        listed(job)
    assert (error.value.code, error.value.resource) == ("no_checkpoints", job.model)


def test_list_takes_the_models_checkpoints_when_the_job_names_none():
    job = TuningJob("job", "SUCCEEDED", model="m@1", endpoint="default-endpoint")
    model = Model("m@1", default_checkpoint_id="2", checkpoints=(Checkpoint("1", 1, 9), Checkpoint("2", 2, 18)))
    assert merge_checkpoints(job, model) == [Checkpoint("1", 1, 9), Checkpoint("2", 2, 18, "default-endpoint")]


def test_list_with_a_checkpoint_that_is_not_deployed(vertex):
    vertex.faults([{"job": {}, "outcome": "checkpoint_without_endpoint", "checkpoint": "2"}])
    checkpoints, _ = listed(finished_job(vertex))
    assert [bool(c["endpoint"]) for c in checkpoints] == [True, False, True]


def test_list_after_a_failure_that_left_a_model(vertex):
    vertex.faults([{"job": {}, "outcome": "failed_after_model"}])
    job = finished_job(vertex)
    assert (job.state, job.endpoint) == ("FAILED", None)
    checkpoints, xcoms = listed(job)
    assert [c["checkpoint_id"] for c in checkpoints] == ["1", "2", "3"]
    assert not any(c["endpoint"] for c in checkpoints)
    assert xcoms["tuned_model"] == job.model


def test_list_after_a_failure_without_a_model_gives_the_services_reason(vertex):
    vertex.faults([{"job": {}, "outcome": "failed", "error": {"code": 3, "message": "Bad data."}}])
    job = finished_job(vertex)
    with pytest.raises(CheckpointError) as error:
        listed(job)
    assert (error.value.code, error.value.resource) == ("no_model", job.name)
    assert "FAILED: Bad data. (code 3)" in str(error.value)


def test_list_before_the_job_is_over(vertex):
    job = GeminiTuningHook().create_tuning_job(SPEC, project_id=None, location=LOCATION)
    with pytest.raises(CheckpointError) as error:
        listed(job)
    assert (error.value.code, error.value.resource) == ("job_not_finished", job.name)


# ----------------------------------------------------------------------------------------- set default


def set_default(job, checkpoint_id, **change):
    operator = GeminiSetDefaultCheckpointOperator(
        task_id="set", model=job.model, checkpoint_id=checkpoint_id, tuning_job=job.name, **change
    )
    return operator.execute(context())


def test_set_default_reads_back(vertex):
    job = finished_job(vertex)
    assert set_default(job, "1") == {
        "model": job.model,
        "default_before": "3",
        "default_after": "1",
        "endpoint_before": job.checkpoints[2].endpoint,
        "endpoint_after": job.checkpoints[0].endpoint,
        "changed": True,
        "recorded": True,
    }


APPROVED = {"required": True, "outcome": "approved", "proposed": "1", "checkpoint_id": "1"}


def test_set_default_takes_what_a_person_chose(vertex):
    job = finished_job(vertex)
    another = {**APPROVED, "outcome": "another checkpoint", "checkpoint_id": "2"}
    assert set_default(job, "1", require_approval=True, approval=another)["default_after"] == "2"
    assert set_default(job, "1", require_approval="true", approval=APPROVED)["default_after"] == "1"


@pytest.mark.parametrize(
    "approval",
    [None, {}, {**APPROVED, "checkpoint_id": None}, {**APPROVED, "proposed": "2"}],
    ids=["none", "empty", "rejected", "of another proposal"],
)
def test_set_default_without_the_approval_that_is_required_changes_nothing(vertex, approval):
    """The task that asks may have been marked a success, or its answer may be to an earlier question."""
    job = finished_job(vertex)
    with pytest.raises(InvalidInputError) as caught:
        set_default(job, "1", require_approval=True, approval=approval)
    assert (caught.value.field, caught.value.code) == ("approval", "not_approved")
    assert not [r for r in vertex.requests() if r["method"] == "PATCH"]


@pytest.mark.parametrize("nothing", [None, "", "None", " "])
def test_set_default_without_a_checkpoint_is_skipped_where_it_is_optional(vertex, nothing):
    job = finished_job(vertex)
    with pytest.raises(AirflowSkipException, match=f"the default of {job.model} is unchanged"):
        set_default(job, nothing, optional=True)
    with pytest.raises(CheckpointError) as caught:
        set_default(job, nothing)
    assert (caught.value.field, caught.value.code) == ("checkpoint_id", "not_found_in_model")
    assert not [r for r in vertex.requests() if r["method"] == "PATCH"]


def test_set_default_with_a_checkpoint_is_not_skipped_though_it_is_optional(vertex):
    assert set_default(finished_job(vertex), "1", optional=True)["default_after"] == "1"


def test_set_default_leaves_the_default_alone_when_it_is_that_already(vertex):
    found = set_default(finished_job(vertex), "3")
    assert (found["changed"], found["recorded"], found["default_before"]) == (False, False, "3")
    assert not [r for r in vertex.requests() if r["method"] == "PATCH"]


def test_set_default_refuses_an_unknown_checkpoint(vertex):
    with pytest.raises(CheckpointError) as caught:
        set_default(finished_job(vertex), "9")
    assert (caught.value.field, caught.value.code) == ("checkpoint_id", "not_found_in_model")


def test_set_default_does_not_claim_what_it_did_not_read_back(vertex, monkeypatch):
    monkeypatch.setattr(base_module, "READ_BACK_INTERVAL", 0.01)

    def says_yes(_, model, checkpoint_id, *__):
        return replace(model, default_checkpoint_id=checkpoint_id)

    monkeypatch.setattr(GeminiTuningHook, "set_default_checkpoint", says_yes)  # and does nothing
    with pytest.raises(VerificationError) as caught:
        set_default(finished_job(vertex), "1", read_back_timeout=0.05)
    assert (caught.value.field, caught.value.code) == ("", "not_visible")


# ------------------------------------------------------------------------------------ copy and its check


def copy(job, **change):
    arguments = {"destination_location": "europe-west4", "deferrable": True}
    return GeminiCopyModelOperator(task_id="copy", model=job.model, **{**arguments, **change})


def deferred_copy(operator):
    ctx = context()
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(ctx)
    return caught.value, ctx["ti"].xcoms["operation"]


def finished_copy(vertex, job, **change):
    operator = copy(job, **change)
    _, name = deferred_copy(operator)
    vertex.advance(LONG)
    return operator.execute_complete(context(), {"status": "ended", "resource": name})["model"]


def test_copy_defers_and_goes_on(vertex):
    operator = copy(finished_job(vertex), poll_interval="5", deadline="60")
    deferral, name = deferred_copy(operator)
    assert isinstance(deferral.trigger, CopyModelTrigger)
    assert deferral.trigger.serialize()[1]["resource"] == name
    assert deferral.trigger.poll_interval == 5
    vertex.advance(LONG)
    result = operator.execute_complete(context(), {"status": "ended", "resource": name})
    assert result["operation"] == name
    assert "/locations/europe-west4/models/" in result["model"]


@pytest.mark.parametrize("status", ["ended", "deadline", "error"])
def test_copy_waits_on_when_it_is_woken_by_the_end_of_another_wait(vertex, status):
    """Airflow can deliver the event of an earlier trigger that had the same number; seen on SQLite."""
    job, ctx = finished_job(vertex), context()
    with pytest.raises(TaskDeferred):
        copy(job).execute(ctx)
    event = {"status": status, "resource": job.name, "message": "Not found.", "code": 404}
    with pytest.raises(TaskDeferred) as caught:
        copy(job).execute_complete(ctx, event)
    assert caught.value.trigger.serialize()[1]["resource"] == ctx["ti"].xcoms["operation"]
    assert len([request for request in vertex.requests() if request["path"].endswith("models:copy")]) == 1


def test_copy_without_deferring(vertex, monkeypatch):
    operator = copy(finished_job(vertex), deferrable=False, poll_interval=0.01, deadline=30)
    ask = GeminiTuningHook.get_operation
    monkeypatch.setattr(GeminiTuningHook, "get_operation", lambda *a: (vertex.advance(LONG), ask(*a))[1])
    assert operator.execute(context())["model"]


def test_copy_is_skipped_without_a_destination(vertex):
    for nothing in (None, "", "None"):
        with pytest.raises(AirflowSkipException):
            copy(finished_job(vertex), destination_location=nothing).execute(context())


def test_copy_that_the_service_refuses(vertex):
    job = finished_job(vertex)
    vertex.faults([{"path": "models:copy", "status": 400, "message": "Location europe-west4 takes no copies."}])
    with pytest.raises(PermanentServiceError) as error:
        copy(job).execute(context())
    assert (error.value.code, error.value.service_message) == (400, "Location europe-west4 takes no copies.")


@pytest.mark.parametrize(
    "bad",
    [
        {"model_id": "9-starts-with-a-digit"},
        {"model_id": "mine", "parent_model": "projects/1/locations/europe-west4/models/2"},
        {"parent_model": "projects/1/locations/us-central1/models/2"},
        {"destination_location": None, "model_id": "mine"},
    ],
)
def test_copy_refuses_before_it_sends_anything(vertex, bad):
    job = finished_job(vertex)
    with pytest.raises(InvalidInputError) as caught:
        copy(job, **bad).execute(context())
    assert (caught.value.field, caught.value.code) == ("copy", "invalid_copy")
    assert not [r for r in vertex.requests() if "copy" in r["path"]]


def test_preflight_refuses_a_copy_that_could_not_be_made_after_the_tuning(vertex):
    with pytest.raises(InvalidInputError) as error:
        preflight(copy={"location": None, "model_id": "mine"}).execute(context())
    assert error.value.field == "copy"
    assert "model_id" in str(error.value)


def test_copy_that_is_not_over_at_its_deadline(vertex):
    operator = copy(finished_job(vertex))
    _, name = deferred_copy(operator)
    with pytest.raises(CopyModelError) as error:
        operator.execute_complete(context(), {"status": "deadline", "resource": name})
    assert (error.value.code, error.value.resource) == ("deadline_exceeded", name)


def test_copy_whose_wait_was_ended_by_the_service(vertex):
    operator = copy(finished_job(vertex))
    event = {"status": "error", "resource": "x", "message": "Could not get x: 403 PERMISSION_DENIED: no.", "code": 403}
    with pytest.raises(PermanentServiceError) as error:
        operator.execute_complete(context(), event)
    assert (error.value.code, error.value.resource) == (403, "x")


def verify(job, copied, **change):
    operator = GeminiVerifyModelCopyOperator(task_id="verify", source_model=job.model, model=copied, **change)
    return operator.execute(context())


def test_verify_finds_a_true_copy(vertex):
    job = finished_job(vertex)
    result = verify(job, finished_copy(vertex, job))
    assert (result["checkpoints"], result["default_checkpoint_id"], result["default_of_source"]) == (3, "3", "3")


def test_verify_can_give_the_copy_another_default(vertex):
    job = finished_job(vertex)
    copied = finished_copy(vertex, job)
    assert verify(job, copied, default_checkpoint_id="1")["default_checkpoint_id"] == "1"
    assert GeminiTuningHook().get_model(copied).default_checkpoint_id == "1"
    assert GeminiTuningHook().get_model(job.model).default_checkpoint_id == "3"


def test_verify_can_be_repeated_after_it_changed_the_default(vertex):
    job = finished_job(vertex)
    copied = finished_copy(vertex, job)
    first = verify(job, copied, default_checkpoint_id="1")
    assert verify(job, copied, default_checkpoint_id="1") == first


def test_verify_of_a_copy_that_differs_lists_the_differences(vertex, snapshot):
    job = finished_job(vertex)
    copied = finished_copy(vertex, job)
    hook = GeminiTuningHook()
    hook.set_default_checkpoint(hook.get_model(copied), "2")
    with pytest.raises(VerificationError) as error:
        verify(job, copied)
    assert (error.value.code, error.value.resource) == ("copy_differs", copied)
    assert masked(error.value) == snapshot
    other = finished_job(vertex, SPEC.model_copy(update={"epoch_count": 2}))
    with pytest.raises(VerificationError) as caught:
        verify(other, copied)
    assert (caught.value.field, caught.value.code) == ("", "copy_differs")


# --------------------------------------------------------------------------------------- what all share


def test_errors_that_no_retry_helps_end_the_task():
    policy = preflight().retry_policy
    assert policy is base_module.RETRY_POLICY
    for error in (PermanentServiceError("x"), InvalidInputError("x"), ValueError("x")):
        assert policy.evaluate(error, 1, 3).action.value == "fail"
    for error in (OSError("x"), TransientServiceError("x"), CreateOutcomeUnknownError("x"), AirflowTaskTimeout("x")):
        assert policy.evaluate(error, 1, 3).action.value == "default"


def failed(error):
    """Return what a failed task keeps of its error."""
    ctx = context()
    base_module.keep_error({**ctx, "exception": error})
    return ctx["ti"].xcoms.get("error")


def test_a_failed_task_keeps_why_without_secrets():
    said = failed(PermanentServiceError("403: no. Authorization: Bearer ya29.secret-token" + " x" * 5_000))
    assert said.startswith("403: no. Authorization: Bearer [removed]")
    assert "secret-token" not in said
    assert len(said) < 2_100
    assert failed("half \ud800") == "half ?"  # Airflow would not take the half of a character
    assert failed(None) is None


def mine(_):
    """A callback of the user's."""


@pytest.mark.parametrize("given", [mine, [mine], (mine, mine), [], None])
def test_a_users_own_callbacks_are_called_too(given):
    operator = preflight(on_failure_callback=given)
    own = given if isinstance(given, list | tuple) else [given] if given else []
    assert operator.on_failure_callback == [*own, base_module.keep_error]


def test_callbacks_that_a_dag_has_for_all_its_tasks_are_called_too():
    """Who is to be told of a failure is mostly said there."""
    with DAG("told", default_args={"on_failure_callback": mine}):
        operator, own = preflight(), preflight(task_id="own", on_failure_callback=None)
        mapped = GeminiValidateTuningOperator.partial(task_id="mapped", suite=None).expand(
            tuning_request=[{"training_dataset_uri": "gs://b/c"}]
        )
    assert operator.on_failure_callback == [mine, base_module.keep_error]
    assert own.on_failure_callback == [base_module.keep_error]
    assert mapped.unmap({"tuning_request": {"training_dataset_uri": "gs://b/c"}}).on_failure_callback == [
        mine,
        base_module.keep_error,
    ]
