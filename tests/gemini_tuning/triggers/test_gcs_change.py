"""The trigger for Cloud Storage: what is an event, what is not, and what happens after a restart."""

import asyncio
import json

from gemini_tuning.triggers.gcs_change import STATE_KEY, GcsObjectChangeTrigger

OBJECT, FOLDER = "gs://bucket/train.jsonl", "gs://bucket/data/"


class State(dict):
    """The watched asset's state; only what is JSON, as Airflow keeps it."""

    async def aget(self, key, default=None):
        return self.get(key, default)

    async def aset(self, key, value):
        self[key] = json.loads(json.dumps(value))


class Watching:
    """A trigger in an event loop of its own, stopped after some polls."""

    def __init__(self, monkeypatch, uri, state=None):
        self.trigger = GcsObjectChangeTrigger(uri, gcp_conn_id="google_cloud_default")
        self.trigger.asset_state_store = self.state = State() if state is None else state
        self.polls = 0
        monkeypatch.setattr("gemini_tuning.triggers.gcs_change.conf.getfloat", lambda *_, **__: 0.0)

    def events(self, polls=2):
        """Return the events of a number of polls."""
        return asyncio.run(self._events(polls))

    async def _events(self, polls):
        events, seen = [], 0
        inner = self.trigger._poll

        async def poll(hook):
            nonlocal seen
            seen += 1
            if seen > polls:
                raise _EnoughError
            return await inner(hook)

        self.trigger._poll = poll
        try:
            async for event in self.trigger.run():
                events.append(event.payload)
        except _EnoughError:
            pass
        finally:
            self.trigger._poll = inner
        return events


class _EnoughError(Exception):
    pass


def test_the_first_poll_stores_the_state_and_a_change_is_an_event(vertex, monkeypatch):
    watching = Watching(monkeypatch, OBJECT)
    assert watching.events() == []
    vertex.put_object(OBJECT, "{}\n")
    (event,) = watching.events(polls=3)
    assert event["uri"] == OBJECT
    assert event["objects"] == 1
    assert int(event["generation"]) > 0
    assert len(json.dumps(event)) < 1024


def test_the_same_content_written_again_is_an_event(vertex, monkeypatch):
    """Whether there is anything to do is decided by the plan, which compares the content."""
    watching = Watching(monkeypatch, OBJECT)
    vertex.put_object(OBJECT, "{}\n")
    assert watching.events() == []
    vertex.put_object(OBJECT, "{}\n")
    assert len(watching.events()) == 1


def test_a_change_while_no_triggerer_ran_is_noticed(vertex, monkeypatch):
    before = Watching(monkeypatch, OBJECT)
    assert before.events() == []
    vertex.put_object(OBJECT, "{}\n")
    after = Watching(monkeypatch, OBJECT, state=before.state)
    assert len(after.events()) == 1


def test_a_triggerer_that_crashes_while_it_sends_the_event_sends_it_again(vertex, monkeypatch):
    before = Watching(monkeypatch, OBJECT)
    before.events()
    kept = dict(before.state)
    vertex.put_object(OBJECT, "{}\n")

    async def crash_at_the_event():
        async for _ in before.trigger.run():
            return

    asyncio.run(crash_at_the_event())
    assert before.state == kept
    assert len(Watching(monkeypatch, OBJECT, state=before.state).events()) == 1


def test_a_folder_changes_with_any_of_its_objects(vertex, monkeypatch):
    watching = Watching(monkeypatch, FOLDER)
    assert watching.events() == []
    assert STATE_KEY not in watching.state  # an empty folder has no state
    vertex.put_object(f"{FOLDER}a.jsonl", "{}\n")
    assert watching.events() == []
    vertex.put_object(f"{FOLDER}b.jsonl", "{}\n")
    vertex.put_object("gs://bucket/other/c.jsonl", "{}\n")
    (event,) = watching.events()
    assert event["objects"] == 2


def test_a_poll_that_fails_changes_nothing(vertex, monkeypatch):
    watching = Watching(monkeypatch, OBJECT)
    watching.events()
    kept = dict(watching.state)
    vertex.put_object(OBJECT, "{}\n")
    vertex.faults([{"path": "o/train.jsonl$", "status": 403, "message": "Not yours."}])
    assert watching.events(polls=3) == []
    assert watching.state == kept
    vertex.clear_faults()
    assert len(watching.events()) == 1
    assert "Not yours." in watching.trigger._logged


def test_an_object_that_does_not_exist_is_no_event(vertex, monkeypatch):
    watching = Watching(monkeypatch, "gs://bucket/later.jsonl")
    assert watching.events() == []
    assert watching.trigger._logged == ""


def test_the_arguments_are_names_and_make_the_same_trigger(vertex):
    trigger = GcsObjectChangeTrigger(OBJECT, gcp_conn_id="x", impersonation_chain=["a@b"])
    path, arguments = trigger.serialize()
    assert path == "gemini_tuning.triggers.gcs_change.GcsObjectChangeTrigger"
    assert GcsObjectChangeTrigger(**arguments).serialize() == (path, arguments)
