"""The proof that a triggerer can run this package's triggers, before anything is paid."""

import asyncio

import pytest
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR
from airflow.triggers.base import TriggerEvent
from support import context

from gemini_tuning import __version__
from gemini_tuning.operators.triggerer_check import TriggererCheckError
from gemini_tuning.operators.validate_tuning import GeminiValidateTuningOperator
from gemini_tuning.triggers import triggerer_check
from gemini_tuning.triggers.triggerer_check import TriggererCheckTrigger


@pytest.fixture
def validate():
    return GeminiValidateTuningOperator(task_id="validate", tuning_request={}, check_triggerer=True)


def fire():
    async def first():
        return await anext(TriggererCheckTrigger().run())

    return asyncio.run(first())


def test_the_trigger_fires_with_the_version_of_the_package():
    assert fire() == TriggerEvent({"version": __version__})


def test_the_trigger_is_created_from_what_it_serializes():
    path, arguments = TriggererCheckTrigger().serialize()
    assert path == "gemini_tuning.triggers.triggerer_check.TriggererCheckTrigger"
    assert isinstance(TriggererCheckTrigger(**arguments), TriggererCheckTrigger)


def test_a_package_that_cannot_be_imported_on_the_triggerer_is_named(validate, monkeypatch):
    monkeypatch.setattr(triggerer_check, "NEEDED", ("gemini_tuning.no_such_module",))
    event = fire()
    with pytest.raises(TriggererCheckError) as caught:
        validate.execute_complete(context(), event.payload)
    assert (caught.value.resource, caught.value.code) == ("triggerer", "cannot_load")
    assert "gemini_tuning.no_such_module" in str(caught.value)


def test_another_version_on_the_triggerer_is_refused(validate):
    with pytest.raises(TriggererCheckError) as caught:
        validate.execute_complete(context(), {"version": "0.0.1"})
    assert caught.value.code == "other_version"


@pytest.mark.parametrize(
    ("error", "code"), [("Trigger timeout", "not_run"), ("Trigger failure", "cannot_run")], ids=["timeout", "failure"]
)
def test_a_triggerer_that_does_not_run_the_trigger_fails_the_task_with_what_to_install(validate, error, code):
    with pytest.raises(TriggererCheckError) as caught:
        validate.resume_execution(TRIGGER_FAIL_REPR, {"error": error}, context())
    assert (caught.value.resource, caught.value.code) == ("triggerer", code)
    assert f"gemini-checkpoint-tuning=={__version__}" in caught.value.hint
