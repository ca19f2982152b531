"""Any JSON value in any field of an operator: accepted, or one of our errors that names the field. Nothing is sent."""

import json
import os
import tempfile
from pathlib import Path

import jsonschema
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowSkipException
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import REPOSITORY, context

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.exceptions import GeminiTuningError, InvalidInputError, PermanentServiceError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Checkpoint, Model, Operation, TuningJob
from gemini_tuning.core.tuning_request import TuningRequest
from gemini_tuning.hooks.converters import create_config
from gemini_tuning.operators.choose_checkpoint import GeminiChooseCheckpointOperator
from gemini_tuning.operators.cloud_base import GCP_FIELDS, optional_text
from gemini_tuning.operators.copy_model import GeminiCopyModelOperator
from gemini_tuning.operators.create_tuning_job import GeminiCreateTuningJobOperator
from gemini_tuning.operators.gate_promotion import GeminiGatePromotionOperator
from gemini_tuning.operators.list_checkpoints import GeminiListCheckpointsOperator
from gemini_tuning.operators.publish_model import GeminiPublishModelOperator
from gemini_tuning.operators.read_tuning_metrics import GeminiReadTuningMetricsOperator
from gemini_tuning.operators.set_default_checkpoint import GeminiSetDefaultCheckpointOperator
from gemini_tuning.operators.smoke_test_champion import GeminiSmokeTestChampionOperator
from gemini_tuning.operators.smoke_test_checkpoint import GeminiSmokeTestCheckpointOperator
from gemini_tuning.operators.validate_promotion import GeminiValidatePromotionOperator
from gemini_tuning.operators.validate_tuning import GeminiValidateTuningOperator
from gemini_tuning.operators.verify_model_copy import GeminiVerifyModelCopyOperator
from gemini_tuning.sensors.tuning_job import GeminiTuningJobSensor
from tests.gemini_tuning.strategies import HUGE_INT, json_values

PARENT = "projects/p/locations/us-central1"
JOB, MODEL, ENDPOINT = f"{PARENT}/tuningJobs/1", f"{PARENT}/models/7@1", f"{PARENT}/endpoints/9"
CHECKPOINT = {"checkpoint_id": "1", "epoch": 1, "step": 10, "endpoint": None}
RESULT = {
    **CHECKPOINT, "suite_fingerprint": "f", "cases": 1, "latency_ms": {"p50": 1.0, "p95": 1.0}, "error": None,
    "results_uri": "gs://bucket/results.jsonl",
}  # fmt: skip
LINE = {"case_id": "a", "repeat": 1, "passed": True, "score": 1.0, "weight": 1.0, "critical": False, "blocked": None}
REQUEST = {"training_dataset_uri": "gs://bucket/train.jsonl", "base_model": "gemini-2.5-flash"}
MESSAGE_LIMIT = 5_000

FOLDER = Path(tempfile.mkdtemp(dir=os.environ["AIRFLOW_HOME"]))
(FOLDER / "one.yaml").write_text("cases: [{id: a, prompt: Hi, assert: [{type: is-json}]}]")
FEW = settings(max_examples=8)  # for each of some sixty fields

GOOD = {
    GeminiValidateTuningOperator: {
        "tuning_request": REQUEST,
        "suite": "one",
        "suite_folder": str(FOLDER),
        "copy": {"location": "us-central1"},
        "notifications": str(FOLDER / "notifications.yaml"),
        "prices": str(REPOSITORY / "dags" / "config" / "prices.yaml"),
    },
    GeminiPublishModelOperator: {"model": MODEL, "checkpoint_id": "1", "tuning_job": JOB, "version_aliases": True},
    GeminiCreateTuningJobOperator: {"tuning_request": REQUEST},
    GeminiTuningJobSensor: {"tuning_job": JOB, "deferrable": False},
    GeminiListCheckpointsOperator: {"tuning_job": JOB},
    GeminiReadTuningMetricsOperator: {"tuning_job": JOB, "checkpoints": [CHECKPOINT]},
    GeminiSmokeTestCheckpointOperator: {
        "checkpoint": {**CHECKPOINT, "endpoint": ENDPOINT}, "suite": "one", "suite_folder": str(FOLDER),
        "results_uri": "gs://bucket/results",
    },
    GeminiSmokeTestChampionOperator: {
        "champion": ENDPOINT, "suite": "one", "suite_folder": str(FOLDER), "results_uri": "/nowhere/results",
    },
    GeminiChooseCheckpointOperator: {"results": [RESULT], "model": MODEL},
    GeminiValidatePromotionOperator: {
        "model": MODEL, "checkpoint_id": "1", "suite": "one", "results_uri": "gs://bucket/results",
    },
    GeminiGatePromotionOperator: {
        "results": [None], "model": MODEL, "promotion": {"checkpoint_id": "1", "checkpoint": CHECKPOINT},
    },
    GeminiSetDefaultCheckpointOperator: {"model": MODEL, "checkpoint_id": "1", "tuning_job": JOB},
    GeminiCopyModelOperator: {"model": MODEL, "destination_location": "us-central1", "deferrable": False},
    GeminiVerifyModelCopyOperator: {"source_model": MODEL, "model": MODEL},
}  # fmt: skip
# An error about a resource name shows the name and the kind that was expected.
KINDS = {"tuning_job": "tuningJobs", "model": "models", "source_model": "models", "checkpoint_id": "has no checkpoint",
         "destination_location": "copy location", "destination_project_id": "copy project_id",
         "default_checkpoint_id": "has no checkpoint", "suite_folder": "suite",
         "checkpoints": "checkpoint", "suite_fingerprint": "fingerprint",
         "tuning_request": "No tuning job was created"}  # fmt: skip


NAMES_ANY_CHECKPOINT = (GeminiSetDefaultCheckpointOperator, GeminiValidatePromotionOperator)


class NothingIsSent:
    """Stands where the hook would be: what reaches it was accepted. No client of Google's is involved."""

    def get_tuning_job(self, name):
        ResourceName.parse(name, "tuningJobs")
        return TuningJob(JOB, "SUCCEEDED", model=MODEL, checkpoints=(Checkpoint("1", 1, 10),))

    def get_model(self, name):
        ResourceName.parse(name, "models")
        return Model(MODEL, default_checkpoint_id="1", checkpoints=(Checkpoint("1", 1, 10),))

    def list_model_versions(self, name):
        return [Model(MODEL, aliases=("champion",))]

    def project(self, project_id):
        return project_id or "p"

    def find_tuning_jobs(self, labels, *, project_id, location, thorough):
        return []

    def create_tuning_job(self, spec, *, project_id, location, not_after):
        create_config(spec)
        return TuningJob(JOB, "PENDING")

    def copy_model(self, model, spec, *, location, not_after=None):
        return f"{MODEL.partition('@')[0]}/operations/1"

    def get_operation(self, name):
        return Operation(name, done=True, model=MODEL)

    def get_serving_endpoint(self, name):
        ResourceName.parse(name, "endpoints" if "/endpoints/" in name else "models")
        return ENDPOINT

    def get_base_model(self, name):
        ResourceName.parse(name, "endpoints" if "/endpoints/" in name else "models")
        return "gemini-2-5-flash"

    def missing_objects(self, uris, *, patience):
        return {}, 0

    async def acount_tokens(self, model, contents, **options):
        return 7

    async def agenerate(self, target, contents, **options):
        return ModelResponse("{}", 0.1)

    async def aclose(self):
        pass

    def write_object(self, uri, content, content_type):
        pass

    def object_versions(self, uri):
        return {}

    def read_blocks(self, uri):
        return iter([b"\n".join(self.read_lines(uri))])

    def read_lines(self, uri):
        if uri == RESULT["results_uri"]:
            return iter([json.dumps(LINE).encode()])
        if not uri.endswith("train.jsonl"):
            raise PermanentServiceError(f"{uri}: 404", resource=uri, code=404)
        turns = [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]
        return iter([json.dumps({"contents": turns}).encode()])


def execute(kind, **change):
    """Run an operator as if its fields had been rendered to these values."""
    operator = kind(task_id="task", **GOOD[kind])
    for name, value in change.items():
        setattr(operator, name, value)
    try:
        if hasattr(operator, "_check_cloud_fields"):
            operator._check_cloud_fields()
            operator.__dict__["hook"] = NothingIsSent()
        operator.do_branch = lambda _, branch: branch  # Airflow's business
        operator.execute(context())
    except AirflowSkipException:
        pass
    except (GeminiTuningError, ValueError) as error:
        assert type(error).__module__.startswith(("gemini_tuning", "builtins"))
        assert len(str(error)) < MESSAGE_LIMIT
        return f"{getattr(error, 'field', '')} {error}"
    return None


FIELDS = [
    (kind, name)
    for kind in GOOD
    for name in kind.template_fields
    if name != "location"  # checked by the hook, where it becomes part of a host
]


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
@FEW
@given(value=json_values)
@example(value={})
@example(value=[[]])
@example(value="x" * 100_000)
@example(value=10**400)
def test_any_value_in_any_field(kind, name, value):
    said = execute(kind, **{name: value})
    assert said is None or name in said or KINDS.get(name, name) in said


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, name in FIELDS if kind not in NAMES_ANY_CHECKPOINT],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_number_that_cannot_be_written_down(kind, name):
    said = execute(kind, **{name: HUGE_INT})
    assert said is None or name in said or KINDS.get(name, name) in said


@given(st.lists(json_values | st.fixed_dictionaries({"name": json_values, "prompt_template": json_values}), max_size=2))
@example([{"name": "F", "prompt_template": 7}])
def test_any_metric(metrics):
    request = {**REQUEST, "evaluation_metrics": metrics, "evaluation_output_uri": "gs://bucket/out"}
    said = execute(GeminiCreateTuningJobOperator, tuning_request=request)
    assert said is None or "evaluation_metrics" in said


@given(st.dictionaries(st.text(max_size=5) | st.sampled_from(["location", "model_id", "x"]), json_values, max_size=3))
def test_any_copy(copy):
    said = execute(GeminiValidateTuningOperator, copy=copy)
    assert said is None or "copy" in said


@given(json_values)
def test_any_value_for_what_every_step_has(value):
    for name in GCP_FIELDS[:3]:
        said = execute(GeminiListCheckpointsOperator, **{name: value})
        assert said is None or said.startswith(name)


# ------------------------------------------------------------------------------------ the DAG's Params

DAG = DagBag(str(REPOSITORY / "dags" / "gemini_checkpoint_tuning.py"), bundle_name="dags-folder").dags[
    "gemini_checkpoint_tuning"
]
SCHEMAS = {name: DAG.params.get_param(name).schema for name in DAG.params}
# Rules that a schema of one Param cannot state, and those where the schema of the DAG is looser.
CROSS_FIELD = (
    "base_model: give exactly one",
    "pre_tuned_model_checkpoint_id: needs",
    "evaluation_metrics: give both",
    "copy model_id: give either",
    "needs the location of the copy",
    "is not in the destination",
    "labels: ",  # how many
    "learning_rate_multiplier: ",  # "0" and "1e999" have the form of a number
    "evaluation_output_uri: ",
    "characters, or not Unicode",
    "is not a project id",  # the DAG has no pattern for projects
    "'projects/../",  # nor one for the project in a name
    "\\n' is not",  # Python's $ also matches before a last newline
)
likely = st.one_of(
    json_values,
    st.sampled_from(
        [
            "gs://bucket/a.jsonl",
            "gs://bb/x\n",
            "gs://b/x",
            MODEL,
            "5",
            "0",
            "1e999",
            "us",
            "us-central1",
            "a_1",
            1,
            3.0,
            100,
        ]
    ),
    st.from_regex(r"\Ags://[a-z0-9][a-z0-9._-]{1,5}/\S{1,5}\Z"),
)


REQUEST_FIELDS = list(TuningRequest.model_fields)


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name in REQUEST_FIELDS])
@given(value=likely)
def test_what_the_schema_accepts_the_job_accepts(name, value):
    if not _fits(name, value):
        return
    try:
        TuningRequest.parse({**REQUEST, name: value})
    except InvalidInputError as error:
        assert _is_cross_field(str(error)), error


@pytest.mark.parametrize("name", REQUEST_FIELDS)
@FEW
@given(value=json_values)
@example(value=HUGE_INT)
@example(value="x" * 100_000)
@example(value=[[]])
def test_any_value_in_any_field_of_a_request(name, value):
    said = execute(GeminiCreateTuningJobOperator, tuning_request={**REQUEST, name: value})
    assert said is None or said.startswith(name) or _is_cross_field(said)
    assert execute(GeminiValidateTuningOperator, tuning_request={**REQUEST, name: value}) == said or said is None


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name.startswith("copy_") and "default" not in name])
@given(value=likely)
def test_what_the_schema_accepts_the_copy_accepts(name, value):
    if _fits(name, value):
        copy = {"location": "us-central1", name.removeprefix("copy_"): value}
        problems = ModelCopySpec.from_mapping(copy, optional_text).problems()
        assert [problem for problem in problems if not _is_cross_field(problem)] == []


@given(st.fixed_dictionaries(dict.fromkeys(REQUEST_FIELDS, json_values)))
def test_a_request_of_anything_is_read_or_is_an_error_with_a_field(values):
    try:
        TuningRequest.parse(values)
    except InvalidInputError as error:
        assert error.field in REQUEST_FIELDS


@given(st.sampled_from(["1", "0.5", ".5", "1e-3", "5E+2"]))
def test_a_rate_in_the_form_of_the_schema_is_read(rate):
    assert _fits("learning_rate_multiplier", rate)
    assert TuningRequest.parse({**REQUEST, "learning_rate_multiplier": rate}).learning_rate_multiplier > 0


def _fits(name: str, value) -> bool:
    try:
        jsonschema.validate(value, SCHEMAS[name])
    except jsonschema.ValidationError:
        return False
    return True


def _is_cross_field(problem: str) -> bool:
    return any(rule in problem for rule in CROSS_FIELD)
