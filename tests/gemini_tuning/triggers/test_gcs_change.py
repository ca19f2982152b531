"""The watcher of Cloud Storage: what is an event, what is not, and what a triggerer finds after a restart."""

import asyncio
import json

from gemini_tuning.triggers.gcs_change import SEEN, GcsObjectChangeTrigger

OBJECT, FOLDER = "gs://bucket/train.jsonl", "gs://bucket/data/"


class State(dict):
    """The watched asset's state; only what is JSON, as Airflow keeps it."""

    async def aget(self, key, default=None):
        return self.get(key, default)

    async def aset(self, key, value):
        self[key] = json.loads(json.dumps(value))


class Watching:
    """A trigger in an event loop of its own, stopped after each look."""

    def __init__(self, monkeypatch, uri, state=None):
        self.trigger = GcsObjectChangeTrigger(uri, gcp_conn_id="google_cloud_default")
        self.trigger.asset_state_store = self.state = State() if state is None else state
        self.looks = 0
        monkeypatch.setattr("gemini_tuning.triggers.gcs_change.conf.getfloat", lambda *_, **__: 0.0)

    def events_until_nothing_new(self, looks=2):
        """Return the events of as many looks."""
        return asyncio.run(self._events(looks))

    async def _events(self, looks):
        events, seen = [], 0
        inner = self.trigger._look

        async def look(hook):
            nonlocal seen
            seen += 1
            if seen > looks:
                raise _EnoughError
            return await inner(hook)

        self.trigger._look = look
        try:
            async for event in self.trigger.run():
                events.append(event.payload)
        except _EnoughError:
            pass
        finally:
            self.trigger._look = inner
        return events


class _EnoughError(Exception):
    pass


def test_the_first_look_takes_note_and_a_change_is_an_event(vertex, monkeypatch):
    watching = Watching(monkeypatch, OBJECT)
    assert watching.events_until_nothing_new() == []
    vertex.put_object(OBJECT, "{}\n")
    (event,) = watching.events_until_nothing_new(looks=3)
    assert event["uri"] == OBJECT
    assert event["objects"] == 1
    assert int(event["generation"]) > 0
    assert len(json.dumps(event)) < 1024


def test_the_same_content_written_again_is_an_event(vertex, monkeypatch):
    """Whether there is anything to do then, the plan says: it looks at content."""
    watching = Watching(monkeypatch, OBJECT)
    vertex.put_object(OBJECT, "{}\n")
    assert watching.events_until_nothing_new() == []
    vertex.put_object(OBJECT, "{}\n")
    assert len(watching.events_until_nothing_new()) == 1


def test_a_change_while_no_triggerer_ran_is_noticed(vertex, monkeypatch):
    before = Watching(monkeypatch, OBJECT)
    assert before.events_until_nothing_new() == []
    vertex.put_object(OBJECT, "{}\n")
    after = Watching(monkeypatch, OBJECT, state=before.state)
    assert len(after.events_until_nothing_new()) == 1


def test_a_triggerer_that_dies_with_the_event_in_hand_sends_it_again(vertex, monkeypatch):
    before = Watching(monkeypatch, OBJECT)
    before.events_until_nothing_new()
    kept = dict(before.state)
    vertex.put_object(OBJECT, "{}\n")

    async def die_at_the_event():
        async for _ in before.trigger.run():
            return

    asyncio.run(die_at_the_event())
    assert before.state == kept
    assert len(Watching(monkeypatch, OBJECT, state=before.state).events_until_nothing_new()) == 1


def test_a_folder_changes_with_any_of_its_objects(vertex, monkeypatch):
    watching = Watching(monkeypatch, FOLDER)
    assert watching.events_until_nothing_new() == []
    assert SEEN not in watching.state  # an empty folder is nothing to take note of
    vertex.put_object(f"{FOLDER}a.jsonl", "{}\n")
    assert watching.events_until_nothing_new() == []
    vertex.put_object(f"{FOLDER}b.jsonl", "{}\n")
    vertex.put_object("gs://bucket/other/c.jsonl", "{}\n")
    (event,) = watching.events_until_nothing_new()
    assert event["objects"] == 2


def test_a_look_that_fails_changes_nothing(vertex, monkeypatch):
    watching = Watching(monkeypatch, OBJECT)
    watching.events_until_nothing_new()
    kept = dict(watching.state)
    vertex.put_object(OBJECT, "{}\n")
    vertex.faults([{"path": "o/train.jsonl$", "status": 403, "message": "Not yours."}])
    assert watching.events_until_nothing_new(looks=3) == []
    assert watching.state == kept
    vertex.clear_faults()
    assert len(watching.events_until_nothing_new()) == 1
    assert "Not yours." in watching.trigger._said


def test_an_object_that_is_not_there_is_waited_for(vertex, monkeypatch):
    watching = Watching(monkeypatch, "gs://bucket/later.jsonl")
    assert watching.events_until_nothing_new() == []
    assert watching.trigger._said == ""


def test_the_arguments_are_names_and_make_the_same_trigger(vertex):
    trigger = GcsObjectChangeTrigger(OBJECT, gcp_conn_id="x", impersonation_chain=["a@b"])
    path, arguments = trigger.serialize()
    assert path == "gemini_tuning.triggers.gcs_change.GcsObjectChangeTrigger"
    assert GcsObjectChangeTrigger(**arguments).serialize() == (path, arguments)
