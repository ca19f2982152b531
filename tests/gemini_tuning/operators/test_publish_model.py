"""Publishing a promoted model, against the local Vertex AI: the event, and version aliases that move."""

from dataclasses import replace

import pytest
from support import SPEC, context, finished_job

from gemini_tuning.core.exceptions import (
    InvalidInputError,
    PermanentServiceError,
    TransientServiceError,
    VerificationError,
)
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators import cloud_base as base_module
from gemini_tuning.operators.publish_model import GeminiPublishModelOperator
from gemini_tuning.registry.assets import PROMOTED_MODELS, model_uri

DECISION = {"winner": "3", "checkpoints": [{"checkpoint_id": "3", "pass_rate": 0.9, "eval_loss": 0.4}]}


def publish(job, checkpoint_id="3", *, ctx=None, **change):
    """Run the operator; return what it pushes and the events that it has added."""
    ctx = ctx or context()
    operator = GeminiPublishModelOperator(
        **{"task_id": "publish", "model": job.model, "checkpoint_id": checkpoint_id, **change}
    )
    return operator.execute(ctx), ctx["outlet_events"][PROMOTED_MODELS].asset_alias_events


def next_version(vertex, job):
    """Tune on: a new version of the same model."""
    found = finished_job(vertex, SPEC.model_copy(update={"base_model": None, "pre_tuned_model": job.model}))
    assert found.model.partition("@")[0] == job.model.partition("@")[0]
    return found


def aliases(job):
    found = GeminiTuningHook().list_model_versions(job.model)
    return {version.resource_name.version: set(version.aliases) - {"default"} for version in found}


def merges(vertex):
    return [r["body"]["versionAliases"] for r in vertex.requests() if r["path"].endswith(":mergeVersionAliases")]


def test_the_event_names_model_version_checkpoint_and_scores(vertex):
    job = finished_job(vertex)
    pushed, events = publish(job, decision=DECISION, tuning_job=job.name)
    name = job.model.partition("@")[0]
    promoted = {"model": name, "version": "1", "checkpoint_id": "3", "endpoint": job.checkpoints[2].endpoint}
    assert pushed == {**promoted, "aliases": {}, "asset": model_uri(name)}
    (event,) = events
    assert event.dest_asset_key.uri == event.dest_asset_key.name == pushed["asset"]
    assert event.extra == {
        "model": name,
        "version": "1",
        "checkpoint_id": "3",
        "endpoint": job.checkpoints[2].endpoint,
        "scores": {"pass_rate": 0.9, "eval_loss": 0.4},
        "tuning_job": job.name,
        "dag_id": "dag",
        "run_id": "run",
    }
    assert merges(vertex) == []


def test_the_outlet_is_one_of_the_task_beside_others():
    operator = GeminiPublishModelOperator(task_id="publish", model="m", checkpoint_id="1")
    assert operator.outlets == [PROMOTED_MODELS]


def test_other_scores_and_none(vertex):
    job = finished_job(vertex)
    _, (event,) = publish(job, decision=DECISION, scores={"pass_rate": 1.0, "secret": "x"})
    assert event.extra["scores"] == {"pass_rate": 1.0}
    _, (event,) = publish(job)
    assert (event.extra["scores"], event.extra["tuning_job"]) == ({}, None)


def test_a_project_id_in_the_name_becomes_the_number_that_the_service_gives(vertex):
    job = finished_job(vertex)
    number = job.model.split("/")[1]
    pushed, _ = publish(replace(job, model=job.model.replace(f"projects/{number}/", "projects/demo-project/")))
    assert pushed["asset"] == model_uri(job.model)


def test_a_default_that_somebody_else_has_set_meanwhile_is_not_published(vertex):
    job = finished_job(vertex)
    with pytest.raises(VerificationError) as caught:
        publish(job, "1", version_aliases=True)
    assert (caught.value.field, caught.value.code) == ("checkpoint_id", "default_changed")
    assert aliases(job) == {"1": set()}


def test_what_nobody_has_approved_is_not_published(vertex):
    job = finished_job(vertex)
    with pytest.raises(InvalidInputError) as caught:
        publish(job, require_approval=True, approval=None)
    assert (caught.value.field, caught.value.code) == ("approval", "not_approved")
    approval = {"proposed": "2", "checkpoint_id": "3"}
    pushed, _ = publish(job, "2", require_approval=True, approval=approval)
    assert pushed["checkpoint_id"] == "3"


def test_the_first_champion_has_no_predecessor(vertex):
    job = finished_job(vertex)
    pushed, _ = publish(job, version_aliases="True")
    assert pushed["aliases"] == {"champion": "1", "previous": None}
    assert aliases(job) == {"1": {"champion"}}


def test_aliases_move_and_a_retry_changes_nothing(vertex):
    first = finished_job(vertex)
    publish(first, version_aliases=True)
    second = next_version(vertex, first)
    pushed, _ = publish(second, version_aliases=True)
    assert (pushed["version"], pushed["aliases"]) == ("2", {"champion": "2", "previous": "1"})
    sent = len(merges(vertex))
    assert publish(second, version_aliases=True)[0] == pushed
    assert len(merges(vertex)) == sent
    third = next_version(vertex, second)
    publish(third, version_aliases=True)
    assert aliases(first) == {"1": set(), "2": {"previous"}, "3": {"champion"}}
    pushed, _ = publish(second, version_aliases=True)  # rolled back
    assert pushed["aliases"] == {"champion": "2", "previous": "3"}


@pytest.mark.parametrize("lost", [1, 2])
def test_a_try_that_stops_half_way_is_finished_by_the_next(vertex, lost):
    """The request has its effect or has not; the first try ends there."""
    first = finished_job(vertex)
    publish(first, version_aliases=True)
    second = next_version(vertex, first)
    faults = [{"method": "POST", "path": ":mergeVersionAliases", "status": 503, "skip": lost - 1, "times": 1}]
    vertex.faults(faults)
    with pytest.raises(TransientServiceError):
        publish(second, version_aliases=True)
    vertex.clear_faults()
    pushed, _ = publish(second, version_aliases=True)
    assert pushed["aliases"] == {"champion": "2", "previous": "1"}
    assert aliases(first) == {"1": {"previous"}, "2": {"champion"}}


def test_who_may_not_set_aliases_gets_the_services_words_and_no_event(vertex):
    job, ctx = finished_job(vertex), context()
    vertex.faults([{"method": "POST", "path": ":mergeVersionAliases", "status": 403, "message": "No aliases for you."}])
    with pytest.raises(PermanentServiceError, match=r"set the aliases champion of .*No aliases for you"):
        publish(job, ctx=ctx, version_aliases=True)
    assert ctx["outlet_events"][PROMOTED_MODELS].asset_alias_events == []


def test_a_service_that_does_not_move_an_alias_by_itself(vertex):
    first = finished_job(vertex)
    publish(first, version_aliases=True)
    second = next_version(vertex, first)
    used = {"method": "POST", "path": "@2:mergeVersionAliases", "status": 409, "message": "In use.", "times": 1}
    vertex.faults([used])
    pushed, _ = publish(second, version_aliases=True)
    assert pushed["aliases"] == {"champion": "2", "previous": "1"}
    assert ["-champion"] in merges(vertex)


def test_an_alias_that_does_not_show_is_not_claimed(vertex, monkeypatch):
    monkeypatch.setattr(base_module, "READ_BACK_INTERVAL", 0.0)
    job = finished_job(vertex)
    monkeypatch.setattr(GeminiTuningHook, "merge_version_aliases", lambda *_: None)
    with pytest.raises(VerificationError) as caught:
        publish(job, version_aliases=True, read_back_timeout=0.05)
    assert (caught.value.field, caught.value.code) == ("", "not_visible")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version_aliases": "perhaps"}, "version_aliases: must be true or false"),
        ({"decision": ["x"]}, "decision: expected the XCom"),
        ({"scores": "x"}, "scores: expected the XCom"),
        ({"tuning_job": "7"}, "'7' is not a full resource name"),
        ({"model": "7"}, "'7' is not a full resource name"),
    ],
)
def test_bad_input_is_refused_before_anything_is_asked(vertex, change, words):
    job = finished_job(vertex)
    before = len(vertex.requests())
    with pytest.raises(ValueError, match=words):
        publish(job, **change)
    assert len(vertex.requests()) == before
