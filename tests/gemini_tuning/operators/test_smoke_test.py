"""The smoke test operators, against the Vertex AI emulator."""

import asyncio
import json
import re
from collections import Counter

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from support import LOCATION, context, finished_job

from gemini_tuning.core.exceptions import InvalidInputError, PermanentServiceError, TransientServiceError
from gemini_tuning.core.files import Files
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators.smoke_test_champion import GeminiSmokeTestChampionOperator
from gemini_tuning.operators.smoke_test_checkpoint import GeminiSmokeTestCheckpointOperator
from gemini_tuning.smoke import adaptive_limit

SUITES = "dags/config/smoke"
RESULTS = "gs://bucket/results/run"
CASES = 24


@pytest.fixture(autouse=True)
def _no_naps(monkeypatch):
    async def no_sleep(_):
        await asyncio.sleep(0)

    monkeypatch.setattr(adaptive_limit.request_with_retries.retry, "sleep", no_sleep)


@pytest.fixture
def job(vertex):
    return finished_job(vertex)


def smoke(checkpoint, max_tries=3, **change):
    arguments = {"suite": "ferry_support", "suite_folder": SUITES, "results_uri": RESULTS, "location": LOCATION}
    operator = GeminiSmokeTestCheckpointOperator(task_id="smoke", checkpoint=checkpoint, **{**arguments, **change})
    return operator.execute(context(max_tries=max_tries))


def lines(summary):
    return [json.loads(line) for line in Files(GeminiTuningHook()).read_lines(summary["results_uri"])]


def prompts(vertex, since=0):
    return [r for r in vertex.requests() if r["path"].endswith(":generateContent")][since:]


def test_a_summary_for_xcom_and_a_line_a_case_in_the_file(vertex, job):
    summary = smoke(job.checkpoints[0].as_dict())
    found = lines(summary)
    assert summary["results_uri"] == f"{RESULTS}/checkpoint-1.jsonl"
    assert len(found) == summary["cases"] == summary["answered"] == CASES
    assert summary["passed"] == sum(line["passed"] for line in found) < CASES
    weights = sum(line["weight"] for line in found)
    passed = sum(line["weight"] for line in found if line["passed"])
    assert summary["pass_rate"] == pytest.approx(passed / weights, abs=1e-6)
    low, high = summary["pass_rate_interval"]
    assert low < summary["pass_rate"] < high
    assert summary["score"] == pytest.approx(sum(line["weight"] * line["score"] for line in found) / weights, abs=1e-6)
    assert summary["tokens"] == {
        "prompt": sum(line["prompt_tokens"] for line in found),
        "output": sum(line["output_tokens"] for line in found),
    }
    assert summary["error"] is None
    assert len(json.dumps(summary)) < 1_500


def test_a_line_says_what_was_asked_answered_and_found(vertex, job):
    found = lines(smoke(job.checkpoints[0].as_dict()))
    assert [line["case_id"] for line in found][:2] == ["late-for-booked-car", "choir-group-fare"]
    failed = next(line for line in found if not line["passed"])
    assert failed["contents"][0]["role"] == "user"
    assert failed["contents"][0]["parts"][0]["text"]
    assert failed["answer"]
    assert failed["finish_reason"] == "STOP"
    assert failed["latency_ms"] > 0
    assert any(v["reason"] and not v["passed"] for v in failed["verdicts"])


def test_a_checkpoint_without_an_endpoint_has_no_score(vertex):
    summary = smoke({"checkpoint_id": "1", "epoch": 1, "step": 9, "endpoint": None})
    assert summary["score"] is summary["pass_rate"] is summary["results_uri"] is None
    assert summary["error"] == "it is not deployed to an endpoint"


def test_an_endpoint_that_is_gone_has_no_score(vertex):
    gone = f"projects/demo-project/locations/{LOCATION}/endpoints/404"
    summary = smoke({"checkpoint_id": "1", "epoch": 1, "step": 9, "endpoint": gone})
    assert summary["score"] is None
    assert gone in summary["error"]


def test_one_refused_prompt_spoils_one_case(vertex, job):
    before = smoke(job.checkpoints[2].as_dict())
    vertex.faults([{"path": "generateContent", "status": 400, "times": 1, "message": "Odd prompt."}])
    summary = smoke(job.checkpoints[2].as_dict(), results_uri=RESULTS + "2", concurrency=1)
    assert summary["answered"] == CASES - 1
    assert "Odd prompt." in lines(summary)[0]["error"]
    assert before["passed"] - summary["passed"] in (0, 1)


@pytest.mark.parametrize("status", [429, 503])
def test_an_outage_is_not_held_against_the_checkpoint(vertex, job, monkeypatch, status):
    monkeypatch.setattr(adaptive_limit, "RETRY_SECONDS", 0.0)
    vertex.faults([{"path": "generateContent", "status": status}])
    with pytest.raises(TransientServiceError) as caught:
        smoke(job.checkpoints[0].as_dict())
    assert caught.value.code == status


def test_after_the_last_try_a_checkpoint_that_is_out_of_reach_does_not_stop_the_others(vertex, job, monkeypatch):
    monkeypatch.setattr(adaptive_limit, "RETRY_SECONDS", 0.0)
    vertex.faults([{"path": "generateContent", "status": 503}])
    summary = smoke(job.checkpoints[0].as_dict(), max_tries=0)
    assert summary["score"] is None
    assert summary["service_unavailable"] is True
    assert "unavailable in 1 attempts" in summary["error"]
    assert "503" in summary["error"]


def test_a_prompt_that_never_works_while_others_do_spoils_one_case(vertex, job, monkeypatch, tmp_path):
    """Retrying the task could not help: the same prompt would fail again."""
    monkeypatch.setattr(adaptive_limit, "RETRY_SECONDS", 0.0)
    (tmp_path / "s.yaml").write_text(
        "cases:\n"
        + "".join(
            f"- {{id: c{n}, prompt: 'Number {n}?', assert: [{{type: not-contains, value: zebra}}]}}\n" for n in range(9)
        )
    )
    ask = GeminiTuningHook.agenerate

    async def never_the_third(self, target, contents, **options):
        if "Number 3?" in str(contents):
            raise TransientServiceError("504 too slow", resource=target, code=504)
        return await ask(self, target, contents, **options)

    monkeypatch.setattr(GeminiTuningHook, "agenerate", never_the_third)
    monkeypatch.setattr(adaptive_limit.AdaptiveLimit, "has_response_since", lambda _, moment: moment > 0)
    summary = smoke(job.checkpoints[0].as_dict(), suite="s", suite_folder=str(tmp_path), concurrency=8)
    assert (summary["passed"], summary["unanswered"]) == (8, 1)
    assert summary["failures"][0] == {"id": "c3", "reason": "504 too slow"}


def test_an_endpoint_that_goes_away_half_way_is_unusable_not_bad(vertex, job):
    vertex.faults([{"path": "generateContent", "status": 404, "skip": 10}])
    summary = smoke(job.checkpoints[0].as_dict(), concurrency=1)
    assert summary["score"] is None
    assert "404" in summary["error"]


def test_how_much_a_case_counts_is_not_taken_from_an_earlier_try(vertex, job, tmp_path):
    """Else a case that was made critical meanwhile would not bar a checkpoint that fails it."""
    text = "cases: [{id: a, prompt: Hi, weight: 1, critical: false, assert: [{type: contains, value: zebra}]}]"
    for suite, failures in ((text, 0), (text.replace("false", "true").replace("weight: 1", "weight: 3"), 1)):
        (tmp_path / "s.yaml").write_text(suite)
        summary = smoke(job.checkpoints[0].as_dict(), suite="s", suite_folder=str(tmp_path))
        assert summary["critical_failures"] == failures
    assert len(prompts(vertex)) == 1
    assert lines(summary)[0]["weight"] == 3


def test_refused_credentials_fail_the_task(vertex, job):
    vertex.faults([{"path": "generateContent", "status": 403, "message": "No access for you."}])
    with pytest.raises(PermanentServiceError) as caught:
        smoke(job.checkpoints[0].as_dict())
    assert caught.value.code == 403
    assert "No access for you" in str(caught.value)


def test_over_quota_every_case_gets_its_answer_in_the_end(vertex, job):
    vertex.faults([{"path": "generateContent", "status": 429, "times": 20}])
    summary = smoke(job.checkpoints[0].as_dict(), concurrency=16)
    assert summary["answered"] == CASES
    assert Counter(r["status"] for r in prompts(vertex)) == {429: 20, 200: CASES}


def test_a_retried_task_does_not_ask_again_what_it_has_an_answer_for(vertex, job, monkeypatch):
    monkeypatch.setattr(adaptive_limit, "RETRY_SECONDS", 0.0)
    vertex.faults([{"path": "generateContent", "status": 503, "skip": 10}])
    with pytest.raises(TransientServiceError):
        smoke(job.checkpoints[0].as_dict(), concurrency=1)
    answered = [r for r in prompts(vertex) if r["status"] == 200]
    assert len(answered) == 10
    vertex.clear_faults()
    summary = smoke(job.checkpoints[0].as_dict(), concurrency=1)
    assert summary["answered"] == CASES
    assert len([r for r in prompts(vertex) if r["status"] == 200]) == CASES
    assert len({line["case_id"] for line in lines(summary)}) == len(lines(summary)) == CASES


def test_what_changed_is_asked_again(vertex, job, tmp_path):
    """Another assertion is another question; the rest is taken over."""
    suite = "cases:\n" + "".join(
        f"- {{id: {i}, prompt: 'Number {i}?', assert: [{{type: not-contains, value: zebra}}]}}\n" for i in "abc"
    )
    (tmp_path / "s.yaml").write_text(suite)
    smoke(job.checkpoints[0].as_dict(), suite="s", suite_folder=str(tmp_path))
    (tmp_path / "s.yaml").write_text(suite.replace("value: zebra", "value: gnu", 1))
    asked = len(prompts(vertex))
    smoke(job.checkpoints[0].as_dict(), suite="s", suite_folder=str(tmp_path))
    assert [re.search("Number (.)", str(r["body"]))[1] for r in prompts(vertex, asked)] == ["a"]


def test_half_a_line_of_an_earlier_try_is_asked_again(vertex, job):
    summary = smoke(job.checkpoints[0].as_dict())
    files = Files(GeminiTuningHook())
    content = b"".join(files.read_lines(summary["results_uri"]))
    files.write(summary["results_uri"], content[:-40], "application/jsonl")
    asked = len(prompts(vertex))
    again = smoke(job.checkpoints[0].as_dict())
    assert (again["answered"], again["score"]) == (CASES, summary["score"])
    assert len(prompts(vertex)) == asked + 1


def test_repeats_are_asked_each_and_joined(vertex, job, tmp_path):
    (tmp_path / "s.yaml").write_text(
        "cases: [{id: a, prompt: Hello, repeat: 3, assert: [{type: not-contains, value: zebra}]}]"
    )
    summary = smoke(job.checkpoints[0].as_dict(), suite="s", suite_folder=str(tmp_path))
    assert [line["repeat"] for line in lines(summary)] == [1, 2, 3]
    assert (summary["cases"], summary["answered"], summary["passed"]) == (1, 3, 1)


def test_the_cost_is_estimated_where_the_suite_gives_prices(vertex, job, tmp_path):
    (tmp_path / "s.yaml").write_text(
        "prices: {input: 2, output: 8, currency: EUR}\n"
        "cases: [{id: a, prompt: Hello, assert: [{type: not-contains, value: zebra}]}]"
    )
    summary = smoke(job.checkpoints[0].as_dict(), suite="s", suite_folder=str(tmp_path))
    tokens = summary["tokens"]
    amount = (tokens["prompt"] * 2 + tokens["output"] * 8) / 1_000_000
    assert summary["cost"] == {"amount": pytest.approx(amount, abs=1e-6), "currency": "EUR"}
    assert smoke(job.checkpoints[0].as_dict())["cost"] is None


@pytest.mark.parametrize(
    ("name", "bad", "code"), [("concurrency", 0, "out_of_range"), ("results_uri", "here", "invalid_folder")]
)
def test_smoke_test_with_a_bad_parameter_sends_no_prompt(vertex, job, name, bad, code, snapshot):
    with pytest.raises(InvalidInputError) as caught:
        smoke(job.checkpoints[0].as_dict(), **{name: bad})
    assert (caught.value.field, caught.value.code) == (name, code)
    assert str(caught.value) == snapshot
    assert prompts(vertex) == []


def test_smoke_test_with_a_concurrency_that_is_not_a_number_sends_no_prompt(vertex, job):
    with pytest.raises(ValueError, match="concurrency"):
        smoke(job.checkpoints[0].as_dict(), concurrency="many")
    assert prompts(vertex) == []


CASE_FILE_SUITE = """
defaults: {prompt: "{{ q }}", assert: [{type: not-contains, value: zebra}]}
cases_from: {file: rows.jsonl}
"""


def test_smoke_test_with_the_validated_fingerprint_runs(vertex, job):
    fingerprint = smoke(job.checkpoints[0].as_dict())["suite_fingerprint"]
    assert smoke(job.checkpoints[0].as_dict(), suite_fingerprint=fingerprint)["suite_fingerprint"] == fingerprint


@pytest.mark.parametrize("changed", ["s.yaml", "rows.jsonl"])
def test_smoke_test_of_a_suite_changed_after_validation_sends_nothing(vertex, job, tmp_path, changed):
    (tmp_path / "s.yaml").write_text(CASE_FILE_SUITE)
    (tmp_path / "rows.jsonl").write_text('{"q": "Hi"}')
    change = {"suite": "s", "suite_folder": str(tmp_path)}
    fingerprint = smoke(job.checkpoints[0].as_dict(), **change)["suite_fingerprint"]
    sent = len(prompts(vertex))
    content = (tmp_path / changed).read_text()
    (tmp_path / changed).write_text(content.replace("zebra", "gnu").replace("Hi", "Ho"))
    with pytest.raises(InvalidInputError) as caught:
        smoke(job.checkpoints[0].as_dict(), suite_fingerprint=fingerprint, **change)
    assert (caught.value.code, caught.value.field, caught.value.resource) == ("suite_changed", "suite", "s")
    assert "new run" in caught.value.hint
    assert len(prompts(vertex)) == sent


# ------------------------------------------------------------------------------------------- champion


def champion(name):
    operator = GeminiSmokeTestChampionOperator(
        task_id="champion", champion=name, suite="ferry_support", suite_folder=SUITES, results_uri=RESULTS
    )
    return operator.execute(context())


def test_the_champion_answers_the_same_suite(vertex, job):
    ours = smoke(job.checkpoints[-1].as_dict())
    for name in (job.model, job.checkpoints[-1].endpoint):
        summary = champion(name)
        assert summary["checkpoint_id"] == "champion"
        assert summary["endpoint"] == job.checkpoints[-1].endpoint
        assert (summary["score"], summary["suite_fingerprint"]) == (ours["score"], ours["suite_fingerprint"])


def test_a_champion_that_left_a_prompt_unanswered_has_an_error(vertex, job):
    """Counted as failures, unanswered prompts would make any checkpoint look better."""
    vertex.faults([{"path": "generateContent", "status": 400, "times": 1}])
    summary = champion(job.model)
    assert summary["unanswered"] == 1
    assert "1 of its prompts have no answer" in summary["error"]


@pytest.mark.parametrize("none", [None, "", "None"])
def test_without_a_champion_its_step_is_skipped(vertex, none):
    with pytest.raises(AirflowSkipException, match="No champion"):
        champion(none)


def test_a_champion_that_is_not_there_is_an_error(vertex):
    missing = f"projects/demo-project/locations/{LOCATION}/endpoints/404"
    with pytest.raises(PermanentServiceError) as caught:
        champion(missing)
    assert (caught.value.code, caught.value.resource) == (404, missing)


def test_champion_that_is_neither_an_endpoint_nor_a_model_is_refused(vertex):
    with pytest.raises(InvalidInputError) as caught:
        champion("gemini-2.5-flash")
    assert (caught.value.field, caught.value.code) == ("champion", "invalid_champion")
