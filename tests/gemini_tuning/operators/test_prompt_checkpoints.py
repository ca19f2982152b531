"""The operator that sends one prompt to several checkpoints, against the Vertex AI emulator."""

import asyncio
import json

import pytest
from support import LOCATION, context, finished_job

from gemini_tuning.core.exceptions import InvalidInputError, PermanentServiceError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators.prompt_checkpoints import GeminiPromptCheckpointsOperator
from gemini_tuning.smoke import adaptive_limit

GONE = {"checkpoint_id": "9", "endpoint": f"projects/demo-project/locations/{LOCATION}/endpoints/404"}


@pytest.fixture(autouse=True)
def _no_naps(monkeypatch):
    async def no_sleep(_):
        await asyncio.sleep(0)

    monkeypatch.setattr(adaptive_limit.request_with_retries.retry, "sleep", no_sleep)


@pytest.fixture
def checkpoints(vertex):
    return [checkpoint.as_dict() for checkpoint in finished_job(vertex).checkpoints]


def ask(checkpoints, text="When does the ferry leave?", **change):
    operator = GeminiPromptCheckpointsOperator(task_id="ask", checkpoints=checkpoints, prompt=text, **change)
    return operator.execute(context())


def prompts(vertex):
    return [request for request in vertex.requests() if request["path"].endswith(":generateContent")]


def test_all_checkpoints_answer_side_by_side(vertex, checkpoints):
    found = ask(checkpoints, system_instruction="Be brief.")
    assert [(each["checkpoint_id"], each["endpoint"]) for each in found] == [
        (each["checkpoint_id"], each["endpoint"]) for each in checkpoints
    ]
    for each in found:
        assert each["answer"]
        assert each["finish_reason"] == "STOP"
        assert (each["error"], each["blocked"]) == (None, None)
        assert each["latency_ms"] > 0
    assert len(prompts(vertex)) == 3
    for request in prompts(vertex):
        assert request["body"]["contents"][0]["parts"] == [{"text": "When does the ferry leave?"}]
        assert request["body"]["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("nothing", [None, "", "None", " "])
def test_without_a_system_instruction_none_is_sent(vertex, checkpoints, nothing):
    ask(checkpoints[:1], system_instruction=nothing)
    assert "systemInstruction" not in prompts(vertex)[0]["body"]


def test_an_endpoint_that_is_gone_does_not_spoil_the_others(vertex, checkpoints):
    found = ask([*checkpoints, GONE])
    assert [each["error"] is None for each in found] == [True, True, True, False]
    assert "404" in found[-1]["error"]
    assert found[-1]["answer"] is found[-1]["latency_ms"] is None


def test_a_checkpoint_that_is_not_deployed_is_not_asked(vertex, checkpoints):
    found = ask([{**checkpoints[0], "endpoint": None}, checkpoints[1]])
    assert [each["checkpoint_id"] for each in found] == ["2"]


def test_when_all_refuse_the_task_fails_with_the_first_error(vertex, checkpoints):
    vertex.faults([{"path": "generateContent", "status": 403, "message": "not for you"}])
    with pytest.raises(PermanentServiceError) as caught:
        ask(checkpoints)
    assert caught.value.code == 403
    assert caught.value.resource == checkpoints[0]["endpoint"]
    assert "not for you" in str(caught.value)


def test_a_service_that_is_busy_is_asked_again(vertex, checkpoints):
    vertex.faults([{"path": "generateContent", "status": 429, "times": 2}])
    assert [each["error"] for each in ask(checkpoints)] == [None, None, None]
    assert len(prompts(vertex)) == 5


GOOD = [{"checkpoint_id": "1", "endpoint": f"projects/p/locations/{LOCATION}/endpoints/1"}]


@pytest.mark.parametrize(
    ("checkpoints", "change", "field", "code"),
    [
        (GOOD, {"text": None}, "prompt", "required"),
        (GOOD, {"text": " "}, "prompt", "required"),
        (GOOD, {"text": "x" * 20_001}, "prompt", "invalid_text"),
        (GOOD, {"text": ["x"]}, "prompt", "invalid_text"),
        (GOOD, {"text": {"a": 1}}, "prompt", "invalid_text"),
        (GOOD, {"system_instruction": "x" * 20_001}, "system_instruction", "invalid_text"),
        (GOOD, {"system_instruction": ["x"]}, "system_instruction", "invalid_text"),
        ([], {}, "checkpoints", "out_of_range"),
        (GOOD * 51, {}, "checkpoints", "out_of_range"),
        ([{"checkpoint_id": "1"}], {}, "checkpoints", "out_of_range"),
        (None, {}, "checkpoints", "invalid_checkpoint"),
        ("1", {}, "checkpoints", "invalid_checkpoint"),
        (GOOD[0], {}, "checkpoints", "invalid_checkpoint"),
        (["1"], {}, "checkpoints", "invalid_checkpoint"),
        ([{"endpoint": GOOD[0]["endpoint"]}], {}, "checkpoints", "invalid_checkpoint"),
        ([*GOOD, {"checkpoint_id": "2", "endpoint": ["x"]}], {}, "checkpoints", "invalid_checkpoint"),
        ([*GOOD, {"checkpoint_id": "2", "endpoint": "gemini-2.5-pro"}], {}, "checkpoints", "invalid_checkpoint"),
        ([*GOOD, {"checkpoint_id": "2", "endpoint": "../../x"}], {}, "checkpoints", "invalid_checkpoint"),
    ],
    ids=range(18),
)
def test_prompt_checkpoints_with_bad_input_sends_nothing(vertex, checkpoints, change, field, code):
    before = len(vertex.requests())
    with pytest.raises(InvalidInputError) as caught:
        ask(checkpoints, **change)
    assert (caught.value.field, caught.value.code) == (field, code)
    assert len(str(caught.value)) < 1_000
    assert len(vertex.requests()) == before


def test_prompt_checkpoints_without_a_deployed_checkpoint_names_the_limit(snapshot):
    with pytest.raises(InvalidInputError) as caught:
        ask([])
    assert str(caught.value) == snapshot


def test_however_long_the_answers_are_what_goes_to_xcom_is_small(vertex, monkeypatch):
    async def talk(self, *_, **__):
        return ModelResponse("long " * 100_000, 1.0)

    monkeypatch.setattr(GeminiTuningHook, "agenerate", talk)
    found = ask([{"checkpoint_id": str(n), "endpoint": GOOD[0]["endpoint"]} for n in range(50)])
    assert len(json.dumps(found)) < 60_000
    assert found[0]["answer"].endswith("(cut; 500000 characters in all)")


def test_however_long_the_errors_are_what_goes_to_xcom_is_small(vertex, monkeypatch):
    first = iter([ModelResponse("half \ud800", 1.0)])

    async def refuse_but_one(self, *_, **__):
        for answer in first:
            return answer
        raise PermanentServiceError("Bearer ya29.secret " + "no " * 100_000)

    monkeypatch.setattr(GeminiTuningHook, "agenerate", refuse_but_one)
    found = ask([{"checkpoint_id": str(n), "endpoint": GOOD[0]["endpoint"]} for n in range(50)])
    assert len(json.dumps(found)) < 60_000
    assert "ya29" not in found[1]["error"]
    assert found[0]["answer"] == "half ?"  # Airflow would not take the half of a character
