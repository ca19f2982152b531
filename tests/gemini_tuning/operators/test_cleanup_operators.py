"""Plan, approval and deed against the local Vertex AI: what the plan names is deleted, and nothing else ever."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import HITLDetailRequestResult
from support import LOCATION, TaskStateStore, context, finished_job

from gemini_tuning.core import retry
from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.exceptions import CleanupError, InvalidInputError, TransientServiceError
from gemini_tuning.hooks import endpoints as endpoints_module
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators.approve_cleanup import GeminiApproveCleanupOperator
from gemini_tuning.operators.plan_cleanup import GeminiPlanCleanupOperator
from gemini_tuning.operators.run_cleanup import GeminiCleanupOperator
from gemini_tuning.registry.cleanup_plan import CleanupPlan

DAY = 24 * 3600
EUROPE = "europe-west4"
ADA = {"id": "7", "name": "ada"}


@pytest.fixture
def job(vertex):
    """A job with three checkpoints, each asked once by the smoke tests, eight days ago."""
    made = finished_job(vertex)
    for checkpoint in made.checkpoints:
        ask(checkpoint.endpoint)
    vertex.advance(8 * DAY)
    return made


def ask(endpoint):
    async def once():
        hook = GeminiTuningHook()
        try:
            return await hook.agenerate(endpoint, "When does the ferry leave?")
        finally:
            await hook.aclose()

    asyncio.run(once())


def plan(job, **change):
    found = context()
    made = GeminiPlanCleanupOperator(task_id="plan", model=job.model, **change).execute(found)
    json.dumps(made, allow_nan=False)
    assert found["ti"].xcoms["markdown"].count("\n") == len(made["items"]) + 3
    return made


def actions(made):
    return {item["name"]: (item["action"], item["reason"]) for item in made["items"]}


def run_cleanup(made, **change):
    arguments = {"is_dry_run": False, "require_approval": False, **change}
    return GeminiCleanupOperator(task_id="cleanup", plan=made, **arguments).execute(context())


def outcomes(result):
    return {each["name"]: each["outcome"] for each in result["items"]}


def writes(vertex, since=0):
    """Return the calls that change something."""
    return [
        (entry["method"], entry["path"].removeprefix("/v1/"))
        for entry in vertex.requests()[since:]
        if entry["method"] != "GET" and not entry["path"].startswith("/token")
    ]


def seen(vertex):
    return len(vertex.requests())


def endpoints(vertex):
    return {endpoint["name"] for endpoint in vertex.state()["endpoints"]}


def models(vertex):
    return {model["name"] for model in vertex.state()["models"]}


def undeployed_and_deleted(endpoint):
    return [("POST", f"{endpoint}:undeployModel"), ("DELETE", endpoint)]


def test_the_losers_go_and_the_default_stays(vertex, job):
    first, second, default = [checkpoint.endpoint for checkpoint in job.checkpoints]
    before = seen(vertex)
    made = plan(job, tuning_job=job.name)
    assert {name: action for name, (action, _) in actions(made).items()} == {
        first: "delete",
        second: "delete",
        default: "keep",
    }
    assert actions(made)[default][1] == "it is the tuning job's endpoint; checkpoint 3 is the default"
    assert actions(made)[first][1].startswith("not the default; last prompt ")
    assert writes(vertex, before) == []
    result = run_cleanup(made)
    assert outcomes(result) == {first: "deleted", second: "deleted"}
    assert result["deleted"] == 2
    assert writes(vertex, before) == undeployed_and_deleted(first) + undeployed_and_deleted(second)
    assert endpoints(vertex) == {default}
    assert models(vertex) == {job.model}
    assert outcomes(run_cleanup(made)) == {first: "already deleted", second: "already deleted"}
    assert writes(vertex, before) == undeployed_and_deleted(first) + undeployed_and_deleted(second)


def test_a_dry_run_deletes_nothing(vertex, job):
    made, before = plan(job), seen(vertex)
    with pytest.raises(AirflowSkipException, match="Dry run: 2 would be deleted, nothing was"):
        run_cleanup(made, is_dry_run="True")
    assert seen(vertex) == before
    for nothing in (None, "", "None"):
        with pytest.raises(AirflowSkipException, match="Dry run"):
            run_cleanup(made, is_dry_run=nothing)
        with pytest.raises(InvalidInputError) as caught:
            run_cleanup(made, require_approval=nothing)
        assert (caught.value.field, caught.value.code) == ("approval", "not_approved")
    with pytest.raises(ValueError, match="is_dry_run: must be true or false"):
        run_cleanup(made, is_dry_run="maybe")
    assert seen(vertex) == before
    assert GeminiCleanupOperator(task_id="x", plan=made).is_dry_run is True


def test_nothing_to_do_is_said(vertex, job):
    made = plan(job, keep_checkpoints=["1", 2])
    assert {reason for _, reason in actions(made).values()} == {
        *(f"checkpoint {each} is kept" for each in "12"),
        "checkpoint 3 is the default",
    }
    with pytest.raises(AirflowSkipException, match="Nothing is to be deleted"):
        run_cleanup(made)


def test_smoke_tests_of_late_count_as_traffic(vertex, job):
    first, second, _ = [checkpoint.endpoint for checkpoint in job.checkpoints]
    ask(first)
    made = plan(job)
    assert actions(made)[first][0] == "keep"
    assert "within 7 days" in actions(made)[first][1]
    assert actions(made)[second][0] == "delete"
    assert actions(plan(job, ignore_traffic=True))[first] == ("delete", "not the default; its traffic is ignored")


@pytest.mark.parametrize(("status", "words"), [(403, "403: monitoring is off"), (400, "400: monitoring is off")])
def test_traffic_that_cannot_be_read_protects(vertex, job, status, words):
    vertex.faults([{"path": "timeSeries", "status": status, "message": "monitoring is off"}])
    first = job.checkpoints[0].endpoint
    action, reason = actions(plan(job))[first]
    assert (action, f"its traffic cannot be read: {words}" in reason) == ("keep", True), reason
    assert actions(plan(job, ignore_traffic=True))[first][0] == "delete"


def test_a_metric_that_nobody_has_written_yet_shows_no_prompt(vertex, job):
    vertex.faults([{"path": "timeSeries", "status": 404, "message": "Cannot find metric(s)"}])
    action, reason = actions(plan(job))[job.checkpoints[0].endpoint]
    assert (action, "so it may not count them" in reason) == ("keep", True)


def test_a_monitoring_that_is_away_fails_the_plan(vertex, job, monkeypatch):
    monkeypatch.setattr(retry, "READ_TIMEOUT", 0.0)
    vertex.faults([{"path": "timeSeries", "status": 503}])
    with pytest.raises(TransientServiceError, match=r"read the traffic of .*503"):
        plan(job)


def test_traffic_of_many_pages_is_read_to_the_end(vertex, job, monkeypatch):
    monkeypatch.setattr(endpoints_module, "POINTS_PER_PAGE", 1)
    first = job.checkpoints[0].endpoint
    for _ in range(2):
        ask(first)
        vertex.advance(2 * 3600)
    before = seen(vertex)
    assert actions(plan(job))[first][0] == "keep"
    assert len([entry for entry in vertex.requests()[before:] if "pageToken" in entry.get("query", "")]) > 2


def test_endpoints_that_nobody_was_ever_seen_to_ask_stay(vertex):
    made = plan(finished_job(vertex))
    assert {action for action, _ in actions(made).values()} == {"keep"}


@pytest.mark.parametrize("spelt", [str, lambda name: "projects/demo-project/" + name.split("/", 2)[2]])
def test_the_champions_endpoint_stays(vertex, job, spelt):
    first, second, _ = [checkpoint.endpoint for checkpoint in job.checkpoints]
    made = plan(job, champion=spelt(first))
    assert actions(made)[first] == ("keep", "it is the champion")
    assert actions(made)[second][0] == "delete"


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"champion": f"projects/demo-project/locations/{LOCATION}/endpoints/404"}, "champion", "not_found"),
        ({"champion": f"projects/demo-project/locations/{LOCATION}/models/404@1"}, "champion", "not_found"),
        ({"champion": "gemini-2.5-flash"}, "champion", "invalid_setting"),
        ({"idle_days": "0"}, "idle_days", "invalid_setting"),
        ({"keep_checkpoints": ["1", "9"]}, "keep_checkpoints", "not_found_in_model"),
        ({"keep_copies": "1"}, "copy_location", "invalid_setting"),
    ],
)
def test_plan_with_an_invalid_parameter_names_it(vertex, job, change, field, code):
    with pytest.raises(InvalidInputError) as error:
        plan(job, **change)
    assert (error.value.field, error.value.code) == (field, code)


def test_a_model_that_is_not_there(vertex):
    name = f"projects/demo-project/locations/{LOCATION}/models/404@1"
    with pytest.raises(InvalidInputError) as error:
        GeminiPlanCleanupOperator(task_id="plan", model=name).execute(context())
    assert (error.value.field, error.value.code, error.value.resource) == ("model", "not_found", name)


def test_a_job_that_has_made_another_model(vertex, job):
    other = finished_job(vertex)
    with pytest.raises(InvalidInputError) as error:
        plan(job, tuning_job=other.name)
    assert (error.value.field, error.value.code, error.value.resource) == ("tuning_job", "other_model", other.name)


# ------------------------------------------------------------------------- what changes after the plan


def test_an_endpoint_that_is_asked_after_the_plan_is_left_alone(vertex, job):
    first, second, default = [checkpoint.endpoint for checkpoint in job.checkpoints]
    made = plan(job)
    ask(first)
    result = run_cleanup(made)
    assert outcomes(result) == {first: "kept", second: "deleted"}
    assert "within 7 days" in result["items"][0]["detail"]
    assert endpoints(vertex) == {first, default}


def test_a_checkpoint_that_becomes_the_default_after_the_plan_is_left_alone(vertex, job):
    first, second, default = [checkpoint.endpoint for checkpoint in job.checkpoints]
    made = plan(job)
    hook = GeminiTuningHook()
    hook.set_default_checkpoint(hook.get_model(job.model), "1")
    assert outcomes(run_cleanup(made)) == {first: "kept", second: "deleted"}
    assert endpoints(vertex) == {first, default}


def test_what_is_deployed_besides_after_the_plan_is_left_alone(vertex, job):
    first = job.checkpoints[0].endpoint
    made, other = plan(job), finished_job(vertex)
    body = {"deployedModel": {"model": other.model}}
    assert vertex.request("POST", f"/v1/{first}:deployModel", json=body).status_code == 200
    vertex.advance(3600)
    result = run_cleanup(made)
    assert outcomes(result)[first] == "kept"
    assert f"{other.model} is deployed there" in result["items"][0]["detail"]


def test_the_endpoint_that_showed_the_prompts_may_go_first(vertex):
    """What is known of Cloud Monitoring stays known."""
    made = finished_job(vertex)
    first, second, _ = [checkpoint.endpoint for checkpoint in made.checkpoints]
    ask(first)
    vertex.advance(8 * DAY)
    planned = plan(made)
    assert outcomes(run_cleanup(planned)) == {first: "deleted", second: "deleted"}


# --------------------------------------------------------------------------------------------- failures


def test_one_failure_does_not_stop_the_others_and_another_try_goes_on(vertex, job):
    first, second, default = [checkpoint.endpoint for checkpoint in job.checkpoints]
    made = plan(job)
    vertex.faults([{"method": "DELETE", "path": first.rpartition("/")[2], "status": 403, "message": "no", "times": 1}])
    operator = GeminiCleanupOperator(task_id="cleanup", plan=made, is_dry_run=False, require_approval=False)
    found = context()
    with pytest.raises(CleanupError) as caught:
        operator.execute(found)
    assert (caught.value.field, caught.value.code) == ("", "not_deleted")
    assert outcomes(found["ti"].xcoms["return_value"]) == {first: "failed", second: "deleted"}
    assert endpoints(vertex) == {first, default}
    before = seen(vertex)
    assert outcomes(run_cleanup(made)) == {first: "deleted", second: "already deleted"}
    assert writes(vertex, before) == [("DELETE", first)]  # it was undeployed by the first try


def test_an_empty_endpoint_that_became_the_champion_is_left_alone(vertex, job):
    first = job.checkpoints[0].endpoint
    made = plan(job, champion=job.checkpoints[1].endpoint)
    vertex.faults([{"method": "DELETE", "path": first.rpartition("/")[2], "status": 403, "times": 1}])
    with pytest.raises(CleanupError):
        run_cleanup(made)
    made["settings"]["champion"] = first
    assert outcomes(run_cleanup(made)) == {first: "kept"}


@pytest.mark.parametrize("verb", ["POST", "DELETE"])
def test_an_answer_that_is_lost_is_made_good_by_another_try(vertex, job, verb):
    first, _, default = [checkpoint.endpoint for checkpoint in job.checkpoints]
    made = plan(job)
    vertex.faults([{"method": verb, "path": first.rpartition("/")[2], "drop": "after", "times": 1}])
    with pytest.raises(CleanupError):
        run_cleanup(made)
    assert set(outcomes(run_cleanup(made)).values()) <= {"deleted", "already deleted"}
    assert endpoints(vertex) == {default}


# ------------------------------------------------------------------------------------------------ copies


def copied(vertex, source, **spec):
    """Copy a model to Europe; return the copy with its version."""
    hook = GeminiTuningHook()
    operation = hook.copy_model(source, ModelCopySpec(location=EUROPE, **spec), location=EUROPE)
    vertex.advance(DAY)
    return hook.get_operation(operation).model


def copies(job, keep, **change):
    made = plan(job, keep_copies=keep, copy_location=EUROPE, keep_checkpoints=["1", "2"], **change)
    return made, {name: action for name, (action, _) in actions(made).items() if f"/{EUROPE}/" in name}


def whole(name):
    return name.partition("@")[0]


def test_copies_beyond_the_number_go_as_whole_models(vertex, job):
    other = finished_job(vertex)
    stranger = copied(vertex, other.model)
    old, middle, new = [copied(vertex, job.model) for _ in range(3)]
    copy_of_copy = copied(vertex, middle)
    made, found = copies(job, 1)
    assert found == {whole(old): "delete", whole(middle): "delete", new: "keep"}
    before = seen(vertex)
    assert outcomes(run_cleanup(made)) == {whole(old): "deleted", whole(middle): "deleted"}
    assert set(writes(vertex, before)) == {("DELETE", whole(old)), ("DELETE", whole(middle))}
    assert models(vertex) == {job.model, other.model, stranger, new, copy_of_copy}
    assert outcomes(run_cleanup(made)) == {whole(old): "already deleted", whole(middle): "already deleted"}


def test_copies_are_not_looked_at_unless_a_number_is_given(vertex, job):
    copied(vertex, job.model)
    before = seen(vertex)
    assert copies(job, None)[1] == {}
    assert not [entry for entry in vertex.requests()[before:] if f"/locations/{EUROPE}/models" in entry["path"]]


def test_versions_beyond_the_number_go_and_the_default_version_stays(vertex, job):
    first = copied(vertex, job.model, model_id="mine")
    parent = whole(first)
    second, third = [copied(vertex, job.model, parent_model=parent) for _ in range(2)]
    made, found = copies(job, 1)
    assert found == {first: "keep", second: "delete", third: "keep"}
    before = seen(vertex)
    assert outcomes(run_cleanup(made)) == {second: "deleted"}
    assert writes(vertex, before) == [("DELETE", f"{second}:deleteVersion")]
    assert models(vertex) == {job.model, first, third}


def test_an_alias_and_the_champion_protect_a_copy(vertex, job):
    first, second, third = [copied(vertex, job.model) for _ in range(3)]
    path = f"/v1/{first}:mergeVersionAliases"
    assert vertex.request("POST", path, json={"versionAliases": ["production"]}).status_code == 200
    _, found = copies(job, 1, champion=whole(second))
    assert found == {first: "keep", second: "keep", third: "keep"}


def deploy(vertex, model):
    """Deploy a copy to an endpoint of its own; return its name."""
    parent = model.partition("/models/")[0]
    made = vertex.request("POST", f"/v1/{parent}/endpoints", json={"displayName": "by hand"}).json()
    vertex.advance(3600)
    name = made["name"].partition("/operations/")[0]
    body = {"deployedModel": {"model": model}}
    assert vertex.request("POST", f"/v1/{name}:deployModel", json=body).status_code == 200
    vertex.advance(3600)
    return name


def test_a_copy_that_is_asked_stays_and_an_idle_one_goes_with_its_endpoint(vertex, job):
    idle, used, _ = [copied(vertex, job.model) for _ in range(3)]
    idle_endpoint, used_endpoint = deploy(vertex, idle), deploy(vertex, used)
    ask(used_endpoint)
    made, found = copies(job, 1)
    assert (found[whole(idle)], found[used]) == ("delete", "keep")
    assert f"its endpoint {used_endpoint}: last prompt" in actions(made)[used][1]
    before = seen(vertex)
    assert outcomes(run_cleanup(made)) == {whole(idle): "deleted"}
    assert writes(vertex, before) == [*undeployed_and_deleted(idle_endpoint), ("DELETE", whole(idle))]
    assert used_endpoint in endpoints(vertex)


def test_a_copy_whose_endpoint_could_not_be_deleted_goes_with_the_next_try(vertex, job):
    idle, _ = [copied(vertex, job.model) for _ in range(2)]
    endpoint = deploy(vertex, idle)
    made, _ = copies(job, 1)
    vertex.faults([{"method": "DELETE", "path": "/endpoints/", "status": 403, "times": 1}])
    with pytest.raises(CleanupError):
        run_cleanup(made)
    assert idle in models(vertex)
    assert outcomes(run_cleanup(made)) == {whole(idle): "deleted"}
    assert endpoint not in endpoints(vertex)
    assert idle not in models(vertex)


def test_a_copy_that_gets_an_alias_or_a_version_after_the_plan_is_left_alone(vertex, job):
    first, second, _ = [copied(vertex, job.model) for _ in range(3)]
    made, _ = copies(job, 1)
    vertex.request("POST", f"/v1/{first}:mergeVersionAliases", json={"versionAliases": ["champion"]})
    copied(vertex, finished_job(vertex).model, parent_model=whole(second))
    assert outcomes(run_cleanup(made)) == {whole(first): "kept", whole(second): "kept"}
    assert {first, second} <= models(vertex)


def test_when_the_newest_copy_is_gone_by_then_the_next_stays(vertex, job):
    first, second, newest = [copied(vertex, job.model) for _ in range(3)]
    made, _ = copies(job, 1)
    GeminiTuningHook().delete_model(whole(newest))
    assert outcomes(run_cleanup(made)) == {whole(first): "deleted", whole(second): "kept"}


# ---------------------------------------------------------------------------------------------- approval


class Airflow:
    """The supervisor's side of a request: it keeps the first one of a task instance for good.

    It is there while a person is asked only: a hook that finds a supervisor asks it for connections.
    """

    def __init__(self, monkeypatch):
        self.kept = None
        self._monkeypatch = monkeypatch

    def execute(self, operator, store, try_number=1):
        with self._monkeypatch.context() as patch:
            patch.setattr(task_runner, "SUPERVISOR_COMMS", self, raising=False)
            operator.execute(run_context(operator, store, try_number))

    def send(self, msg):
        self.kept = self.kept or msg
        return HITLDetailRequestResult.from_api_response(self.kept)


@pytest.fixture
def airflow(monkeypatch):
    return Airflow(monkeypatch)


def approver(made, **change):
    with DAG("dag", schedule=None):
        arguments = {"is_dry_run": False, "timeout": "3600", **change}
        return GeminiApproveCleanupOperator(task_id="approve", plan=made, **arguments)


def run_context(operator, store, try_number=1):
    found = context(store=store, try_number=try_number)
    found["ti"].task, found["ti"].id, found["ti"].task_id = operator, uuid.uuid4(), "approve"
    return {**found, "task_instance": found["ti"], "task": operator}


def answered(airflow, made, *answers, by=ADA, **change):
    store, at = TaskStateStore(), datetime(2026, 11, 20, 12, tzinfo=UTC)
    operator = approver(made, **change)
    with pytest.raises(TaskAwaitingInput) as waiting:
        airflow.execute(operator, store)
    assert waiting.value.timeout == timedelta(hours=1)
    event = {"chosen_options": list(answers), "params_input": {}, "responded_at": at, "responded_by_user": by}
    operator = approver(made, **change)  # a new process takes over
    return operator.execute_complete(run_context(operator, store), event)


def test_a_person_sees_the_plan_and_what_was_approved_is_deleted(vertex, job, airflow):
    made = plan(job)
    approval = answered(airflow, made, "Delete")
    assert approval["outcome"] == "approved"
    assert (approval["by"], approval["plan"]) == (ADA, CleanupPlan.from_xcom(made).fingerprint)
    assert (airflow.kept.options, airflow.kept.defaults) == (["Delete", "Reject"], ["Reject"])
    assert airflow.kept.body.startswith("2 of 3 would be deleted.")
    assert run_cleanup(made, require_approval=True, approval=json.loads(json.dumps(approval)))["deleted"] == 2


@pytest.mark.parametrize(
    ("answers", "by", "outcome"),
    [(["Reject"], ADA, "rejected"), (["Reject"], None, "timed out"), (["Delete"], None, "timed out")],
)
def test_what_was_not_approved_is_not_deleted(vertex, job, airflow, answers, by, outcome):
    made = plan(job)
    approval, before = answered(airflow, made, *answers, by=by), seen(vertex)
    assert approval["outcome"] == outcome
    with pytest.raises(AirflowSkipException, match=rf"not approved \({outcome}\): nothing was deleted"):
        run_cleanup(made, require_approval="True", approval=approval)
    assert seen(vertex) == before


def test_an_approval_counts_for_the_plan_that_was_shown(vertex, job, airflow):
    made = plan(job)
    approval = answered(airflow, made, "Delete")
    other = plan(job, keep_checkpoints=["1"])
    before = seen(vertex)
    for given in (approval, None, {}, "approved", {"outcome": "approved"}, {**approval, "outcome": "not required"}):
        change = {"plan": other} if given is approval else {"plan": made}
        with pytest.raises(InvalidInputError) as caught:
            run_cleanup(change["plan"], require_approval=True, approval=given)
        assert (caught.value.field, caught.value.code) == ("approval", "not_approved")
    assert seen(vertex) == before


def test_a_plan_that_has_changed_since_it_was_shown(vertex, job, airflow):
    store, made = TaskStateStore(), plan(job)
    operator = approver(made)
    with pytest.raises(TaskAwaitingInput):
        airflow.execute(operator, store)
    changed = approver(plan(job, keep_checkpoints=["1"]))
    with pytest.raises(InvalidInputError) as caught:
        changed.execute_complete(run_context(changed, store), {"chosen_options": ["Delete"], "params_input": {}})
    assert (caught.value.field, caught.value.code) == ("", "request_changed")
    with pytest.raises(InvalidInputError) as caught:
        airflow.execute(changed, store, try_number=2)
    assert (caught.value.field, caught.value.code) == ("", "outdated_request")


def test_nobody_is_asked_without_need(vertex, job):
    made = plan(job)
    with pytest.raises(AirflowSkipException, match="Dry run"):
        approver(made, is_dry_run=True).execute(context())
    with pytest.raises(AirflowSkipException, match="Nothing is to be deleted"):
        approver(plan(job, keep_checkpoints=["1", "2"])).execute(context())
    assert approver(made, required=False).execute(context())["outcome"] == "not required"
