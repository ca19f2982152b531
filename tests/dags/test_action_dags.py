"""The DAGs that people start, on the page or by hand: their forms, and what they do, against the local Vertex AI."""

import jsonschema
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from support import REPOSITORY, SPEC, finished_job, without_callbacks

from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

PROMOTION, PROMPT, CLEANUP = "gemini_checkpoint_promotion", "gemini_checkpoint_prompt", "gemini_model_cleanup"
MODEL = "projects/p/locations/us-central1/models/1@1"
CHECKPOINT = {"checkpoint_id": "1", "endpoint": "projects/p/locations/us-central1/endpoints/1"}


@pytest.fixture
def job(vertex):
    return finished_job(vertex)


def read_dag(dag_id):
    bag = DagBag(str(REPOSITORY / "dags" / f"{dag_id}.py"), bundle_name="dags-folder")
    assert bag.import_errors == {}
    return bag.dags[dag_id]


def params():
    """Return the Params as the form gets them: after serialization."""
    dags = (
        DagSerialization.from_dict(DagSerialization.to_dict(read_dag(name))) for name in (PROMOTION, PROMPT, CLEANUP)
    )
    return [(dag.dag_id, name, dag.params.get_param(name)) for dag in dags for name in dag.params]


SCHEMAS = {(dag_id, name): param.schema for dag_id, name, param in params()}


@pytest.mark.parametrize(("dag_id", "name", "param"), params())
def test_every_param_can_be_shown_in_the_form(dag_id, name, param):
    jsonschema.Draft7Validator.check_schema(param.schema)
    assert param.schema["title"]
    if name not in ("model", "prompt"):  # without which there is no run
        jsonschema.validate(param.value, param.schema)


@pytest.mark.parametrize(
    ("dag_id", "name", "bad"),
    [
        (PROMOTION, "model", None),
        (PROMOTION, "model", "models/1"),
        (PROMOTION, "model", "projects/p/locations/l/models/1@1 "),
        (PROMOTION, "model", "projects/p/locations/l/models/{{ 7 }}"),
        (PROMOTION, "checkpoint_id", 2),
        (PROMOTION, "checkpoint_id", "x" * 65),
        (PROMOTION, "tuning_job", "projects/p/locations/l/tuningJobs/x"),
        (PROMOTION, "copy_location", "Europe"),
        (PROMOTION, "roll_back", "yes"),
        (PROMOTION, "suite", "fairy_support"),
        (PROMOTION, "min_pass_rate", 80),
        (PROMOTION, "results_uri", "results"),
        (PROMOTION, "approval_timeout_seconds", 9),
        (PROMPT, "prompt", ""),
        (PROMPT, "prompt", "x" * 20_001),
        (PROMPT, "system_instruction", ["x"]),
        (PROMPT, "checkpoints", [{"checkpoint_id": "1"}]),
        (PROMPT, "checkpoints", [CHECKPOINT] * 51),
        (PROMPT, "checkpoints", "all"),
        (CLEANUP, "model", None),
        (CLEANUP, "model", "projects/p/locations/l/models/1"),
        (CLEANUP, "model", "projects/p/locations/l/models/1@champion"),
        (CLEANUP, "dry_run", "no"),
        (CLEANUP, "champion", "gemini-2.5-flash"),
        (CLEANUP, "keep_checkpoints", "1"),
        (CLEANUP, "keep_checkpoints", [1]),
        (CLEANUP, "idle_days", 0),
        (CLEANUP, "idle_days", 43),
        (CLEANUP, "keep_copies", 0),
        (CLEANUP, "keep_copies", 1.5),
        (CLEANUP, "copy_location", "Europe"),
    ],
)
def test_bad_values_are_refused(dag_id, name, bad):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, SCHEMAS[dag_id, name])


def test_defaults_are_set_one_after_the_other_and_no_copy_holds_them_up():
    tasks = {task.task_id: task.max_active_tis_per_dag for task in read_dag(PROMOTION).tasks}
    others = ("validate", "route", "smoke_test", "gate", "approve", "copy_model", "verify_copy")
    assert tasks == {"set_default": 1, "publish": 1, **dict.fromkeys(others)}


def test_the_steps_of_a_promotion_stand_in_the_documented_order():
    steps = [task.task_id for task in read_dag(PROMOTION).topological_sort()]
    assert steps[:6] == ["validate", "route", "smoke_test", "gate", "approve", "set_default"]
    assert set(steps[6:8]) == {"publish", "copy_model"}
    assert steps[8:] == ["verify_copy"]


def run(dag_id, **conf):
    """Run a DAG; return its state, the tasks' states, and what they pushed."""
    dag = read_dag(dag_id)
    for task in dag.tasks:
        task.retries = 0
    dag_run = without_callbacks(dag).test(run_conf=conf)
    instances = {instance.task_id: instance for instance in dag_run.get_task_instances()}
    pushed = {task_id: instance.xcom_pull(task_ids=task_id) for task_id, instance in instances.items()}
    return str(dag_run.state), {task_id: str(each.state) for task_id, each in instances.items()}, pushed


def ran(tasks):
    """Return which tasks did something."""
    return [task_id for task_id, state in tasks.items() if state == "success"]


def patches(vertex):
    return [r for r in vertex.requests() if r["method"] == "PATCH"]


def default(model):
    return GeminiTuningHook().get_model(model).default_checkpoint_id


def test_a_checkpoint_becomes_the_default_and_is_rolled_back(airflow_db, job):
    state, tasks, pushed = run(PROMOTION, model=job.model, checkpoint_id="1", tuning_job=job.name)
    assert (state, set(ran(tasks))) == ("success", {"validate", "route", "set_default", "publish"})
    assert (pushed["set_default"]["default_before"], pushed["set_default"]["default_after"]) == ("3", "1")
    assert default(job.model) == "1"
    for expected in ("3", "1"):
        state, tasks, pushed = run(PROMOTION, model=job.model, roll_back=True)
        assert (state, default(job.model)) == ("success", expected)
        assert (pushed["set_default"]["default_after"], pushed["set_default"]["recorded"]) == (expected, True)


@pytest.mark.parametrize(
    "conf",
    [
        {"roll_back": True},
        {"roll_back": True, "checkpoint_id": "1"},
        {"checkpoint_id": "1", "suite": "ferry_support"},
        {"suite": "ferry_support", "results_uri": "gs://bucket/results"},
        {"require_approval": True, "copy_location": "europe-west4"},
        {"rollback": True},
    ],
    ids=["no record", "two targets", "no folder", "no checkpoint to ask", "no checkpoint to approve", "unknown Param"],
)
def test_what_makes_no_sense_is_refused_before_anything_is_changed_or_asked(airflow_db, job, vertex, conf):
    state, tasks, _ = run(PROMOTION, model=job.model, **conf)
    assert (state, tasks["validate"], ran(tasks)) == ("failed", "failed", [])
    assert not [r for r in vertex.requests() if r["method"] == "PATCH" or ":" in r["path"].rpartition("/")[2]]


def test_a_checkpoint_that_passes_the_suite_becomes_the_default(airflow_db, vertex):
    job = finished_job(vertex, SPEC.model_copy(update={"epoch_count": 6}))
    conf = {"suite": "ferry_support", "min_pass_rate": 0.5, "results_uri": "gs://bucket/results"}
    state, tasks, pushed = run(PROMOTION, model=job.model, checkpoint_id="5", **conf)
    assert (state, set(ran(tasks))) == (
        "success", {"validate", "route", "smoke_test", "gate", "approve", "set_default", "publish"},
    )  # fmt: skip
    assert pushed["smoke_test"]["results_uri"].startswith("gs://bucket/results/gemini_checkpoint_promotion/")
    assert default(job.model) == "5"
    (endpoint,) = {r["path"].rpartition(":")[0] for r in vertex.requests() if r["path"].endswith(":generateContent")}
    assert endpoint.endswith(job.checkpoints[4].endpoint), "only the checkpoint that is to be promoted is asked"


def test_a_checkpoint_that_fails_the_suite_changes_nothing(airflow_db, job, vertex):
    conf = {"suite": "ferry_support", "min_pass_rate": 1, "results_uri": "gs://bucket/results"}
    state, tasks, _ = run(PROMOTION, model=job.model, checkpoint_id="1", copy_location="europe-west4", **conf)
    assert (state, tasks["gate"], set(ran(tasks))) == ("failed", "failed", {"validate", "route", "smoke_test"})
    assert (default(job.model), patches(vertex)) == ("3", [])


def test_what_is_the_default_already_costs_nothing_and_asks_nobody(airflow_db, job, vertex):
    conf = {"suite": "ferry_support", "results_uri": "gs://bucket/results", "require_approval": True}
    state, tasks, pushed = run(PROMOTION, model=job.model, checkpoint_id="3", **conf)
    assert (state, tasks["set_default"], set(ran(tasks))) == ("success", "skipped", {"validate", "route"})
    assert pushed["set_default"]["changed"] is False
    assert (pushed["set_default"]["default_before"], pushed["set_default"]["default_after"]) == ("3", "3")
    assert not [r for r in vertex.requests() if r["method"] == "PATCH" or r["path"].endswith(":generateContent")]


def test_a_default_that_somebody_else_has_changed_meanwhile_stays(airflow_db, job):
    state, _, _ = run(PROMOTION, model=job.model, checkpoint_id="1", expected_default="2")
    assert (state, default(job.model)) == ("failed", "3")
    for _ in range(2):  # the second time as a retry would, after the first one's answer was lost
        state, _, _ = run(PROMOTION, model=job.model, checkpoint_id="1", expected_default="3")
        assert (state, default(job.model)) == ("success", "1")


def test_a_model_is_copied_and_its_default_stays(airflow_db, job):
    state, tasks, pushed = run(PROMOTION, model=job.model, copy_location="europe-west4")
    assert (state, set(ran(tasks))) == ("success", {"validate", "route", "copy_model", "verify_copy"})
    assert "/locations/europe-west4/models/" in pushed["verify_copy"]["model"]
    assert default(job.model) == default(pushed["verify_copy"]["model"]) == "3"


def test_a_promotion_with_nothing_to_do_does_nothing(airflow_db, job, vertex):
    _, tasks, _ = run(PROMOTION, model=job.model)
    assert set(ran(tasks)) == {"validate", "route"}
    assert set(tasks.values()) == {"success", "skipped"}
    assert not [r for r in vertex.requests() if r["method"] == "PATCH" or ":copy" in r["path"]]


def test_an_unknown_checkpoint_changes_and_copies_nothing(airflow_db, job, vertex):
    state, tasks, _ = run(PROMOTION, model=job.model, checkpoint_id="9", copy_location="europe-west4")
    assert (state, tasks["validate"], tasks["copy_model"]) == ("failed", "failed", "upstream_failed")
    assert default(job.model) == "3"
    assert not [r for r in vertex.requests() if ":copy" in r["path"]]


def test_a_prompt_goes_to_all_checkpoints(airflow_db, job):
    checkpoints = [{"checkpoint_id": c.checkpoint_id, "endpoint": c.endpoint} for c in job.checkpoints]
    state, _, pushed = run(PROMPT, prompt="When does the ferry leave? {{ 7 * 7 }}", checkpoints=checkpoints)
    assert state == "success"
    assert [each["checkpoint_id"] for each in pushed["prompt_checkpoints"]] == ["1", "2", "3"]
    assert all(each["answer"] for each in pushed["prompt_checkpoints"])


def test_what_a_person_types_is_no_template(airflow_db, job, vertex):
    """Else it could read Airflow's variables and connections."""
    checkpoints = [{"checkpoint_id": c.checkpoint_id, "endpoint": c.endpoint} for c in job.checkpoints[:1]]
    typed = "{{ 7 * 7 }} {{ conn.google_cloud_default }}"
    run(PROMPT, prompt=typed, system_instruction=typed, checkpoints=checkpoints)
    (asked,) = [r["body"] for r in vertex.requests() if r["path"].endswith(":generateContent")]
    assert asked["contents"][0]["parts"] == asked["systemInstruction"]["parts"] == [{"text": typed}]


def state(vertex):
    found = vertex.state()
    return {each["name"] for kind in ("endpoints", "models") for each in found[kind]}


def changes(vertex):
    changing = [entry for entry in vertex.requests() if entry["method"] in ("PATCH", "DELETE")]
    return changing + [entry for entry in vertex.requests() if ":undeployModel" in entry["path"]]


def test_a_cleanup_is_a_dry_run_unless_somebody_says_otherwise(airflow_db, job, vertex):
    before = state(vertex)
    ended, tasks, pushed = run(CLEANUP, model=job.model, ignore_traffic=True)
    assert (ended, tasks) == ("success", {"plan": "success", "approve": "skipped", "cleanup": "skipped"})
    assert [item["action"] for item in pushed["plan"]["items"]] == ["delete", "delete", "keep"]
    assert (state(vertex), changes(vertex)) == (before, [])


def test_a_cleanup_deletes_what_its_plan_names(airflow_db, job, vertex):
    first, second, default = [checkpoint.endpoint for checkpoint in job.checkpoints]
    conf = {"model": job.model, "dry_run": False, "require_approval": False, "ignore_traffic": True}
    ended, tasks, pushed = run(CLEANUP, **conf, keep_checkpoints=["2"], champion=default, tuning_job=job.name)
    assert (ended, set(tasks.values())) == ("success", {"success"})
    assert pushed["cleanup"]["deleted"] == 1
    assert state(vertex) == {job.model, second, default}
    assert [entry["path"] for entry in changes(vertex)] == [f"/v1/{first}", f"/v1/{first}:undeployModel"]


def test_a_cleanup_of_endpoints_that_may_be_in_use_deletes_nothing(airflow_db, job, vertex):
    """Nobody has asked them yet, as far as anybody can tell."""
    ended, tasks, pushed = run(CLEANUP, model=job.model, dry_run=False)
    assert (ended, tasks["cleanup"]) == ("success", "skipped")
    assert {item["action"] for item in pushed["plan"]["items"]} == {"keep"}
    assert changes(vertex) == []
