"""What is deleted and what is kept: the rules, and that nothing protected is ever deleted, whatever changes."""

import copy
import json
import time
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from support import context

from gemini_tuning.core.exceptions import CleanupError, InvalidInputError, PermanentServiceError
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Checkpoint, DeployedModel, Deployment, Endpoint, Model, Traffic, TuningJob
from gemini_tuning.operators.run_cleanup import GeminiCleanupOperator
from gemini_tuning.registry.cleanup_plan import CleanupPlan, CleanupPlanner, CleanupSettings
from gemini_tuning.registry.cleanup_rules import (
    CleanupItem,
    Copy,
    EndpointTraffic,
    Rules,
    decide_copies,
    decide_endpoint,
)
from gemini_tuning.reporting.markdown_templates import render

DAY = 24 * 3600.0
PARENT, EUROPE = "projects/123/locations/us-central1", "projects/123/locations/europe-west4"
MODEL = f"{PARENT}/models/7@2"
NOW = 1_800_000_000.0


def model(name):
    return ResourceName.parse(name, "models")


def endpoint(number, *deployed, parent=PARENT):
    """Return an endpoint; each deployed is a checkpoint of the model, or (model, checkpoint)."""
    pairs = [each if isinstance(each, tuple) else (MODEL, each) for each in deployed]
    models = [DeployedModel(str(n), model(name), checkpoint) for n, (name, checkpoint) in enumerate(pairs)]
    return Endpoint(f"{parent}/endpoints/{number}", "e", tuple(models))


def rules(**change):
    return Rules(**{"model": model(MODEL), "default_checkpoint_id": "3", "counted": True, "now": NOW, **change})


def asked(days_ago):
    return Traffic(NOW - days_ago * DAY)


OTHER, OLDER = f"{PARENT}/models/8@2", f"{PARENT}/models/7@1"


@pytest.mark.parametrize(
    ("found", "traffic", "change", "why"),
    [
        (endpoint(1, "3"), asked(30), {}, "checkpoint 3 is the default"),
        (endpoint(1, "2", "3"), asked(30), {}, "checkpoint 3 is the default"),
        (
            endpoint(1, "2"),
            asked(30),
            {"default_checkpoint_id": None},
            "the default checkpoint of the model is unknown",
        ),
        (endpoint(1, None), asked(30), {}, "does not return the checkpoint"),
        (endpoint(1, "2"), asked(30), {"keep_checkpoints": frozenset("2")}, "checkpoint 2 is kept"),
        (endpoint(1, "2", (OTHER, "2")), asked(30), {}, "models/8@2 is deployed there"),
        (endpoint(1, "2", (OLDER, "2")), asked(30), {}, "models/7@1 is deployed there"),
        (endpoint(1, "2", (OTHER.partition("@")[0], "2")), asked(30), {}, "models/8 is deployed there"),
        (endpoint(1, (MODEL.partition("@")[0], "2")), asked(30), {}, "models/7 is deployed there"),
        (Endpoint(f"{PARENT}/endpoints/1", "", (DeployedModel("0", None, "2"),)), asked(30), {}, "another model is"),
        (endpoint(1), asked(30), {}, "no longer deployed there"),
        (endpoint(1, "2"), asked(30), {"protected": {f"{PARENT}/endpoints/1": "it is the champion"}}, "the champion"),
        (endpoint(1, "2"), asked(30), {"protected": {"projects/my-id/locations/us-central1/endpoints/1": "x"}}, "x"),
        (endpoint(1, "2"), asked(6.9), {}, "last prompt 2027-01-08 10:24 UTC, within 7 days"),
        (endpoint(1, "2"), asked(-1), {}, "within 7 days"),
        (endpoint(1, "2"), asked(30), {"idle_days": 31}, "within 31 days"),
        (endpoint(1, "2"), Traffic(problem="403 no"), {}, "its traffic cannot be read: 403 no"),
        (endpoint(1, "2"), Traffic(), {"counted": False}, "so it may not count them"),
    ],
)
def test_an_endpoint_that_stays_and_why(found, traffic, change, why):
    item = decide_endpoint(EndpointTraffic(found, traffic), rules(**change))
    assert (item.action, why in item.reason) == ("keep", True), item.reason


@pytest.mark.parametrize(
    ("traffic", "change", "why"),
    [
        (asked(7.1), {}, "not the default; last prompt 2027-01-08"),
        (Traffic(), {}, "not the default; no prompt for six weeks"),
        (None, {"counted": False}, "not the default; its traffic is ignored"),
        (asked(30), {"protected": {f"{PARENT}/endpoints/2": "x", f"{EUROPE}/endpoints/1": "x"}}, "not the default"),
    ],
)
def test_an_endpoint_that_goes(traffic, change, why):
    item = decide_endpoint(EndpointTraffic(endpoint(1, "2"), traffic), rules(**change))
    assert (item.action, item.checkpoint_ids, why in item.reason) == ("delete", ("2",), True)


def version(name, day, *aliases, deployed=()):
    made = None if day is None else NOW + day * DAY
    copied = Model(
        f"{EUROPE}/models/{name}", default_checkpoint_id="3", aliases=aliases, original_model=MODEL, create_time=made
    )
    return Copy(copied, tuple(deployed))


def decided(copies, keep=1, versions=None, **change):
    there = {}
    for each in copies:
        there.setdefault(each.version.resource_name.unversioned, []).append(each.version.resource_name.version)
    found = decide_copies(copies, {**there, **(versions or {})}, keep, rules(**change))
    return {item.name.rpartition("/")[2]: (item.action, item.reason) for item in found}


def test_the_newest_copies_stay_and_models_go_whole():
    found = decided([version("a@1", 1, "default"), version("b@1", 3, "default"), version("c@1", 2, "default")], keep=1)
    assert found["b@1"] == ("keep", "one of the newest 1")
    assert (
        found["a"]
        == found["c"]
        == (
            "delete",
            "not one of the newest, nor is any other version of this model",
        )
    )
    kept = decided([version("a@1", 1, "default"), version("b@1", 3, "default")], keep=2)
    assert {action for action, _ in kept.values()} == {"keep"}


def test_of_a_model_with_more_versions_the_default_stays():
    copies = [version("a@1", 1, "default"), version("a@2", 2), version("a@3", 3)]
    found = decided(copies)
    assert {name: action for name, (action, _) in found.items()} == {"a@1": "keep", "a@2": "delete", "a@3": "keep"}
    assert "it is the default version of" in found["a@1"][1]


def test_a_model_with_a_version_of_another_origin_does_not_go_whole():
    found = decided([version("a@1", 1, "default"), version("b@1", 2)], versions={f"{EUROPE}/models/a": ["1", "2"]})
    assert found["a@1"][0] == "keep"


@pytest.mark.parametrize(
    ("old", "change", "why"),
    [
        (version("a@1", 1, "default", "champion"), {}, 'it has the alias "champion"'),
        (version("a@1", None, "default"), {}, "does not return when it was created"),
        (version("a@1", 1, "default"), {"champion": model(f"{EUROPE}/models/a@1")}, "it is the champion"),
        (version("a@1", 1, "default"), {"champion": model("projects/my/locations/europe-west4/models/a")}, "champion"),
        *[
            (version("a@1", 1, "default", deployed=[EndpointTraffic(found, traffic)]), change, why)
            for found, traffic, change, why in [
                (endpoint(5, (f"{EUROPE}/models/a@1", "3")), asked(1), {}, "endpoints/5: last prompt"),
                (
                    endpoint(5, (f"{EUROPE}/models/a@1", "3"), (OTHER, "1")),
                    asked(9),
                    {},
                    "models/8@2 is deployed there",
                ),
                (
                    endpoint(5, (f"{EUROPE}/models/a@1", "3")),
                    asked(9),
                    {"protected": {f"{PARENT}/endpoints/5": "it is the champion"}},
                    "endpoints/5: it is the champion",
                ),
            ]
        ],
    ],
)
def test_a_copy_that_stays_although_it_is_old(old, change, why):
    action, reason = decided([old, version("b@1", 5)], **change)["a@1"]
    assert (action, why in reason) == ("keep", True), reason


def test_a_deployed_copy_whose_endpoint_is_idle_goes_with_it():
    old = version("a@1", 1, "default", deployed=[EndpointTraffic(endpoint(5, (f"{EUROPE}/models/a@1", "3")), asked(9))])
    (item, _) = decide_copies(
        [old, version("b@1", 5)], {f"{EUROPE}/models/a": ["1"], f"{EUROPE}/models/b": ["1"]}, 1, rules()
    )
    assert (item.name, item.action, item.endpoints) == (f"{EUROPE}/models/a", "delete", (f"{PARENT}/endpoints/5",))


def test_a_copy_of_which_nobody_knows_the_age_does_not_count_among_the_newest():
    found = decided([version("a@1", 1), version("b@1", None), version("c@1", 2)])
    assert {name: action for name, (action, _) in found.items()} == {"a": "delete", "b@1": "keep", "c@1": "keep"}


# ---------------------------------------------------------------------------------------------------- plan

ITEM = asdict(CleanupItem("copy", MODEL, "delete", ""))


def plan(*items):
    return CleanupPlan(CleanupSettings(MODEL), MODEL, "3", counted=True, items=items)


def plan_lines(made):
    return render("cleanup.md.j2", plan=made).splitlines()


def test_plan_is_read_back_and_shown(snapshot):
    items = [
        decide_endpoint(EndpointTraffic(endpoint(1, "2"), asked(30)), rules()),
        decide_endpoint(EndpointTraffic(endpoint(2, "3"), Traffic(problem="<b>|x|")), rules()),
    ]
    made = plan(*items)
    assert CleanupPlan.from_xcom(json.loads(json.dumps(made.as_xcom()))) == made
    assert made.to_delete == [items[0]]
    lines = plan_lines(made)
    assert r"\<b\>\|x\|" in lines[5]
    assert len({line.count(" | ") for line in lines[2:3] + lines[4:]}) == 1
    assert lines == snapshot
    assert plan_lines(plan()) == snapshot


def test_a_plan_has_a_fingerprint():
    item = decide_endpoint(EndpointTraffic(endpoint(1, "2"), asked(30)), rules())
    assert plan(item).fingerprint == copy.deepcopy(plan(item)).fingerprint != plan().fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"items": None},
        {"items": [{}]},
        {"items": ["x"]},
        {"items": [{**ITEM, "more": 1}]},
        {"items": [{**ITEM, "action": "forget"}]},
        {"items": [{**ITEM, "name": f"{PARENT}/endpoints/1"}]},
        {"items": [{**ITEM, "kind": "endpoint", "name": "../../x"}]},
        {"settings": None},
        {"settings": {}},
        {"settings": {**plan().as_xcom()["settings"], "more": 1}},
        {"settings": {**plan().as_xcom()["settings"], "idle_days": 0}},
        {"counted": "true"},
        {"more": 1},
    ],
    ids=range(13),
)
def test_plan_from_an_invalid_xcom_is_refused(change):
    assert CleanupPlan.from_xcom({**plan().as_xcom(), "items": [ITEM]}).to_delete
    with pytest.raises(InvalidInputError) as error:
        CleanupPlan.from_xcom({**plan().as_xcom(), **change})
    assert (error.value.field, error.value.code) == ("plan", "invalid_plan")


@pytest.mark.parametrize("value", [None, {}, [], "plan", {"items": object()}])
def test_plan_from_anything_else_is_refused(value):
    with pytest.raises(InvalidInputError) as error:
        CleanupPlan.from_xcom(value)
    assert error.value.code == "invalid_plan"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": f"{PARENT}/models/7"}, "model"),
        ({"model": f"{PARENT}/models/7@champion"}, "model"),
        ({"model": "models/7@1"}, "model"),
        ({"tuning_job": "x"}, "tuning_job"),
        ({"champion": "x"}, "champion"),
        ({"idle_days": 0.0}, "idle_days"),
        ({"idle_days": 43.0}, "idle_days"),
        ({"keep_copies": 0, "copy_location": "europe-west4"}, "keep_copies"),
        ({"keep_copies": 2}, "copy_location"),
        ({"copy_project_id": "../x"}, "copy_project_id"),
    ],
)
def test_settings_that_would_delete_too_much_are_refused(change, field, snapshot):
    with pytest.raises(InvalidInputError) as error:
        CleanupSettings(**{"model": MODEL, **change})
    assert (error.value.field, error.value.code) == (field, "invalid_setting")
    assert str(error.value) == snapshot


# ----------------------------------------------------------- nothing protected is deleted, whatever happens


class Service:
    """A project in memory, with the part of the hook that is used: it refuses what Google would refuse, and watches
    that nothing is deleted that is protected at that moment.
    """

    def __init__(self, world):
        self.__dict__.update(copy.deepcopy(world))
        self.settings = None
        self.deleted = []

    def find_endpoint(self, name):
        found = self.endpoints.get(name)
        return found and Endpoint(name, "", tuple(DeployedModel(i, model(m), c) for i, m, c in found["deployed"]))

    def find_model(self, name):
        if "@" not in name:
            name = next((n for n in self.models if n.startswith(f"{name}@")), name)
        found = self.models.get(name)
        if found is None:
            return None
        there = [e for e, each in self.endpoints.items() if any(m == name for _, m, _ in each["deployed"])]
        return Model(
            name,
            default_checkpoint_id=found["default"],
            checkpoints=(Checkpoint("1"), Checkpoint("2"), Checkpoint("3")),
            aliases=tuple(found["aliases"]),
            original_model=found["original"],
            is_copy=found["original"] is not None,
            deployments=tuple(Deployment(endpoint) for endpoint in there),
            create_time=found["made"],
        )

    def list_models(self, project, location):
        prefix = f"projects/{project}/locations/{location}/models/"
        listed = {n.partition("@")[0]: n for n in self.models if n.startswith(prefix)}
        return [self.find_model(name) for name in listed.values()]

    def list_model_versions(self, name):
        return [self.find_model(n) for n in self.models if n.startswith(f"{name}@")]

    def get_tuning_job(self, name):
        return TuningJob(name, "SUCCEEDED", model=MODEL, endpoint=self.job_endpoint)

    def read_traffic(self, name, now):
        age = self.endpoints[name]["asked"]
        if age == "?":
            return Traffic(problem="403")
        return Traffic(None if age is None else time.time() - age * DAY)

    def undeploy_model(self, name, deployed_id):
        self._watch_endpoint(name)
        each = self.endpoints[name]
        each["deployed"] = [entry for entry in each["deployed"] if entry[0] != deployed_id]

    def delete_endpoint(self, name):
        if name in self.stubborn:
            raise PermanentServiceError(f"{name}: no")
        assert not self.endpoints[name]["deployed"], "Google refuses"
        assert name not in (self.settings.champion, self.job_endpoint)
        del self.endpoints[name]
        self.deleted.append(name)

    def delete_model_version(self, name):
        assert "default" not in self.models[name]["aliases"], "Google refuses"
        self._watch_copy(name)
        del self.models[name]

    def delete_model(self, name):
        for each in [n for n in self.models if n.startswith(f"{name}@")]:
            self._watch_copy(each)
            del self.models[each]

    def _watch_endpoint(self, name):
        each, settings = self.endpoints[name], self.settings
        assert name not in (settings.champion, self.job_endpoint)
        for _, owner, checkpoint in each["deployed"]:
            if owner == MODEL:
                assert checkpoint not in (None, self.models[MODEL]["default"], *settings.keep_checkpoints)
                assert self.models[MODEL]["default"] is not None
            else:
                assert self.models[owner]["original"] == MODEL
                self._watch_copy(owner, of_endpoint=True)
        assert len({owner for _, owner, _ in each["deployed"]}) == 1
        if not settings.ignore_traffic:
            assert each["asked"] is None or (each["asked"] != "?" and each["asked"] >= settings.idle_days - 0.01)

    def _watch_copy(self, name, of_endpoint=False):
        found, settings = self.models[name], self.settings
        assert found["original"] == MODEL
        assert set(found["aliases"]) <= {"default"}
        assert settings.champion not in (name, name.partition("@")[0])
        assert of_endpoint or not any(m == name for e in self.endpoints.values() for _, m, _ in e["deployed"])
        others = [m for other, m in self.models.items() if m["original"] == MODEL and other != name]
        assert settings.keep_copies is not None
        assert sum((m["made"] or 0) >= found["made"] for m in others) >= settings.keep_copies
        self.deleted.append(name)


COPIES = [f"{EUROPE}/models/{name}" for name in ("a@1", "a@2", "b@1", "c@1", "d@1")]
OWNERS = [MODEL, MODEL, MODEL, OLDER, OTHER, *COPIES]
CHECKPOINTS = st.sampled_from(["1", "2", "3", None])
ENDPOINTS = [f"{PARENT}/endpoints/{n}" for n in range(6)]


@st.composite
def worlds(draw):
    def registered(name):
        is_copy = name in COPIES and draw(st.integers(0, 4)) > 0
        return {
            "default": draw(CHECKPOINTS),
            "aliases": draw(st.sampled_from([[], ["default"], ["default"], ["champion"], ["default", "champion"]])),
            "original": MODEL if is_copy else draw(st.sampled_from([None, OTHER])),
            "made": draw(st.sampled_from([None, 1.0, 2.0, 3.0, 4.0, 5.0])) if name in COPIES else 1.0,
        }

    models = {name: registered(name) for name in (MODEL, OLDER, OTHER, *COPIES)}
    models[MODEL]["original"] = None
    made = st.tuples(st.sampled_from("xyz"), st.sampled_from(OWNERS), CHECKPOINTS)
    endpoints = {
        name: {
            "deployed": draw(st.lists(made, max_size=2, unique_by=lambda each: each[0])),
            "asked": draw(st.sampled_from([None, 0.5, 3.0, 10.0, 10.0, 10.0, "?"])),
        }
        for name in ENDPOINTS
    }
    return {
        "models": models,
        "endpoints": endpoints,
        "job_endpoint": draw(st.sampled_from([None, *ENDPOINTS])),
        "stubborn": draw(st.sets(st.sampled_from(ENDPOINTS), max_size=1)),
    }


SETTINGS = st.builds(
    CleanupSettings,
    model=st.just(MODEL),
    tuning_job=st.just(f"{PARENT}/tuningJobs/1"),
    champion=st.sampled_from([None, ENDPOINTS[0], COPIES[0], COPIES[2].partition("@")[0], OTHER]),
    keep_checkpoints=st.sampled_from([(), ("1",)]),
    ignore_traffic=st.booleans(),
    keep_copies=st.sampled_from([None, 1, 2]),
    copy_location=st.just("europe-west4"),
)


def plan_for(service, settings):
    return CleanupPlanner(service, settings).plan()


def cleanup(service, plan):
    operator = GeminiCleanupOperator(task_id="cleanup", plan=plan.as_xcom(), is_dry_run=False, require_approval=False)
    operator.hook = service
    try:
        return operator.execute(context())
    except CleanupError:
        return None


@how(parent=how.default, max_examples=max(100, how.default.max_examples))
@given(worlds(), worlds(), SETTINGS)
def test_nothing_protected_is_deleted_although_everything_changes_after_the_plan(before, after, settings):
    first = Service(before)
    first.settings = settings
    made = plan_for(first, settings)
    assert first.deleted == []
    second = Service(after)
    second.settings = settings
    if made.to_delete:
        cleanup(second, made)
        planned = {name for item in made.to_delete for name in (item.name, *item.endpoints)}
        assert set(second.deleted) <= planned | {f"{n}@{v}" for n in planned for v in "12"}


@how(parent=how.default, max_examples=max(100, how.default.max_examples))
@given(worlds(), SETTINGS)
def test_what_the_plan_names_is_deleted_and_a_second_try_goes_on(world, settings):
    service = Service(world)
    service.settings = settings
    made = plan_for(service, settings)
    if not made.to_delete:
        return
    cleanup(service, made)
    service.stubborn = set()
    result = cleanup(service, made)
    assert result is not None
    assert {each["outcome"] for each in result["items"]} <= {"deleted", "already deleted"}
    for item in made.to_delete:
        gone = service.find_endpoint(item.name) if item.kind == "endpoint" else service.find_model(item.name)
        assert gone is None


def test_the_random_worlds_have_something_to_delete():
    """Else the tests above would show nothing."""
    kinds = set()

    @how(parent=how.default, max_examples=200)
    @given(worlds(), SETTINGS)
    def look(world, settings):
        service = Service(world)
        service.settings = settings
        kinds.update((item.kind, "@" in item.name) for item in plan_for(service, settings).to_delete)

    look()
    assert kinds == {("endpoint", False), ("copy", False), ("copy", True)}
