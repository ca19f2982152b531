"""docs/google-cloud.md agrees with the tree: permissions with what is called, commands with what takes them."""

import asyncio
import inspect
import json
import re
import shlex
import subprocess

import pytest
import yaml
from airflow.cli.cli_parser import get_parser
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.google.common.hooks import base_google
from support import LOCATION, LONG, REPOSITORY, SPEC

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.hooks import base
from gemini_tuning.hooks.endpoints import MONITORING_ENDPOINT_EXTRA
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from tests.live import __main__ as live_cli
from tests.live import trial
from tests.live.clouds import LocalVertex
from tests.live.evidence import Asked
from tests.live.questions import QUESTIONS
from tests.vertex_emulator.discovery import find_method, vertex_entries

TEXT = (REPOSITORY / "docs" / "google-cloud.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
DAG_ID = "gemini_checkpoint_tuning"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def commands(program):
    """Return the arguments of each command of a program."""
    text = "\n".join(blocks("bash")).replace("\\\n", " ")
    found = re.findall(rf"^ *({program} (?:'[^']*'|\"[^\"]*\"|[^'\"\n])*)$", text, re.MULTILINE)
    return [shlex.split(command)[1:] for command in found]


# ------------------------------------------------------------------------------------------------------ permissions


def table():
    """Return the permissions by the method that needs them, as far as Vertex AI is concerned."""
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| ", TEXT, re.MULTILINE)
    return {method: set(re.findall(r"`(aiplatform\.[\w.]+)`", needs)) for method, needs in rows}


def drive(hook, vertex):
    """Call everything that the hook has; return the names of what was called."""
    metric = {"name": "FLUENCY", "prompt_template": "Is this fluent? {response}"}
    spec = SPEC.model_copy(update={"evaluation_metrics": [metric], "evaluation_output_uri": "gs://bucket/evaluation"})
    name = hook.create_tuning_job(spec, project_id=None, location=LOCATION).name
    hook.cancel_tuning_job(hook.create_tuning_job(SPEC, project_id=None, location=LOCATION).name)
    vertex.advance(LONG)
    job = hook.get_tuning_job(name)
    model, project = job.model, name.split("/")[1]
    called = {
        "create_tuning_job": name,
        "cancel_tuning_job": name,
        "get_tuning_job": job,
        "tuning_job_pages": list(hook.tuning_job_pages(project, LOCATION)),
        "find_tuning_jobs": hook.find_tuning_jobs({"team": "a"}, project_id=None, location=LOCATION, thorough=True),
        "get_model": hook.get_model(model),
        "set_default_checkpoint": (
            hook.set_default_checkpoint(hook.get_model(model), "1"),
            hook.set_default_checkpoint(hook.get_model(model), "2", {"team": "a"}),
        ),
        "read_curves": hook.read_curves(job.experiment, ["/train_total_loss"], [10_000]),
        "get_evaluation_run": hook.get_evaluation_run(job.evaluations[0].name),
        "list_model_versions": hook.list_model_versions(model),
        "merge_version_aliases": hook.merge_version_aliases(model, ["champion"]),
        "get_base_model": (hook.get_base_model(model), hook.get_base_model(job.endpoint)),
        "find_endpoint": hook.find_endpoint(job.endpoint),
        "get_endpoint": hook.get_endpoint(job.endpoint),
        "find_model": hook.find_model(model),
        "list_models": hook.list_models(project, LOCATION),
        "read_traffic": hook.read_traffic(job.endpoint, 1_800_000_000.0),
        "object_versions": (hook.object_versions("gs://bucket/train.jsonl"), hook.object_versions("gs://bucket/a/")),
        "missing_objects": hook.missing_objects(["gs://bucket/no.png"], timeout=60),
        "read_lines": list(hook.read_lines("gs://bucket/train.jsonl")),
        "read_blocks": list(hook.read_blocks("gs://bucket/train.jsonl")),
        "write_object": hook.write_object("gs://bucket/results/report.md", b"x", "text/markdown"),
    }
    operation = hook.copy_model(model, ModelCopySpec(model_id="copy"), location=LOCATION)
    vertex.advance(LONG)
    copy = hook.get_operation(operation).model
    called |= {
        "copy_model": operation,
        "get_operation": copy,
        "list_operations": hook.list_operations(copy),
        "get_serving_endpoint": (hook.get_serving_endpoint(model), hook.get_serving_endpoint(job.endpoint)),
    }

    endpoint = next(each.endpoint for each in job.checkpoints if each.endpoint != job.endpoint)
    for deployed in hook.find_endpoint(endpoint).deployed_models:
        hook.undeploy_model(endpoint, deployed.id)
    hook.delete_endpoint(endpoint)
    second = hook.copy_model(model, ModelCopySpec(parent_model=copy.partition("@")[0]), location=LOCATION)
    vertex.advance(LONG)
    hook.delete_model_version(hook.get_operation(second).model)
    hook.delete_model(copy.partition("@")[0])
    called |= dict.fromkeys(("undeploy_model", "delete_endpoint", "delete_model_version", "delete_model"))

    async def ask():
        await hook.aget_tuning_job(name)
        other = hook.create_tuning_job(SPEC, project_id=None, location=LOCATION).name
        await hook.acancel_tuning_job(other)
        await hook.agenerate(job.endpoint, "Hello")
        await hook.agenerate("gemini-2.5-flash", "Hello")
        await hook.acount_tokens("gemini-2.5-flash", [{"role": "user", "parts": [{"text": "Hello"}]}])
        await hook.aclose()

    asyncio.run(ask())
    return {*called, "aget_tuning_job", "acancel_tuning_job", "agenerate", "acount_tokens"}


def methods_of_the_hook():
    classes = [cls for cls in GeminiTuningHook.__mro__ if cls.__name__.endswith(("HookMixin", "TuningHook"))]
    members = {name: member for cls in classes for name, member in vars(cls).items()}
    return {name for name, member in members.items() if not name.startswith("_") and inspect.isfunction(member)}


def test_every_call_of_the_hook_has_its_permission_in_the_table(vertex):
    called = drive(GeminiTuningHook(), vertex)
    assert called == methods_of_the_hook(), "drive() calls all methods of the hook, and none else"
    asked = {(entry["method"], entry["path"]) for entry in vertex_entries(vertex)}
    methods = {find_method(*one).id.removeprefix("projects.locations.") for one in asked}
    needs = table()
    assert methods - set(needs) == set(), "docs/google-cloud.md has no row for these"
    assert all(needs.values())
    unseen = {"endpoints.operations.get"}  # the local Vertex AI undeploys and deletes at once
    assert set(needs) - methods == unseen, "nothing of this project calls these"


def test_the_roles_have_what_the_tables_say_and_no_more():
    pipeline, cleanup = (yaml.safe_load(role)["includedPermissions"] for role in blocks("yaml"))
    for listed in (pipeline, cleanup):
        assert listed == sorted(set(listed))
    assert not set(pipeline) & set(cleanup)
    assert not [permission for permission in pipeline if "delete" in permission or "undeploy" in permission]
    assert {*pipeline, *cleanup} == set().union(*table().values())


# ------------------------------------------------------------------------------------------------------ commands


@pytest.mark.parametrize("block", blocks("bash"))
def test_commands_are_valid_shell(block):
    subprocess.run(["bash", "-n"], input=block, text=True, check=True)


@pytest.mark.parametrize("arguments", commands("airflow"), ids=lambda arguments: " ".join(arguments[:3]))
def test_airflow_takes_its_commands(arguments):
    get_parser().parse_args(arguments)


def test_connections_have_keys_that_are_read():
    extras = [json.loads(one[one.index("--conn-extra") + 1]) for one in commands("airflow") if one[0] == "connections"]
    assert len(extras) == 5
    (given,) = re.findall(r"^export AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT='([^']*)'$", TEXT, re.MULTILINE)
    assert set(json.loads(given)["extra"]) == {"project", "impersonation_chain"}
    ours = {base.VERTEX_ENDPOINT_EXTRA, base.STORAGE_ENDPOINT_EXTRA, MONITORING_ENDPOINT_EXTRA}
    source = inspect.getsource(base_google)
    for key in set().union(*extras):
        assert key in ours or f'_get_field("{key}"' in source, key
    assert ours < set().union(*extras)
    assert list(extras[-2]) == ["project", "key_path"], "a key comes after all that needs none"


def test_the_params_are_the_dags():
    bag = DagBag(str(REPOSITORY / "dags" / f"{DAG_ID}.py"), bundle_name="dags-folder")
    params = bag.dags[DAG_ID].params
    (trigger,) = [one for one in commands("airflow") if one[0] == "dags"]
    assert trigger[2] == DAG_ID
    for name, value in json.loads(trigger[-1]).items():
        params.get_param(name).resolve(value)
    named = re.findall(r"`((?:copy|kms|results|report|evaluation|service|impersonation)_\w+)`", TEXT)
    assert set(named) <= set(params)


def test_make_takes_what_is_said_of_it():
    recipe = MAKEFILE[MAKEFILE.index("test-live:") :].partition("\n\n")[0]
    options = inspect.getsource(live_cli)
    for arguments in commands("make"):
        assert arguments[0] == "test-live"
        for argument in arguments[1:]:
            name, _, value = argument.partition("=")
            assert f"$({name})" in recipe
            assert all(f'"{option}"' in options for option in value.split() if option.startswith("--"))
    assert "test-live" in MAKEFILE[MAKEFILE.index(".PHONY") :].splitlines()[0]


def test_the_label_to_look_for_is_the_one_that_is_set():
    labels = trial.params(Asked("p", "b", "us-central1", "m", "r"), LocalVertex())["labels"]
    assert [f"`{name}: {value}`" in TEXT for name, value in labels.items()] == [True]


def test_the_number_of_questions_is_about_right():
    assert "some forty things" in TEXT
    assert 38 <= len(QUESTIONS) <= 48
