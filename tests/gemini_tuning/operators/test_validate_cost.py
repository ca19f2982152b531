"""Money and files at the beginning of a run, against the local Vertex AI: what is too dear, unknown or not there."""

import json
import re

import pytest
from support import REPOSITORY, SPEC, context, finished_job, request_arguments

from gemini_tuning.core.exceptions import InvalidInputError, PermanentServiceError
from gemini_tuning.core.yaml_file import YamlError
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators import validate_tuning as preflight_module
from gemini_tuning.operators.validate_tuning import GeminiValidateTuningOperator

PRICES = str(REPOSITORY / "dags" / "config" / "prices.yaml")
SUITES = str(REPOSITORY / "dags" / "config" / "smoke")
TRAIN = "gs://bucket/train.jsonl"
RUBRIC = "cases: [{id: a, prompt: Hi, assert: [{type: llm-rubric, value: kind}]}]"


def preflight(**change):
    arguments = {
        "training_dataset_uri": TRAIN,
        "suite": "ferry_support",
        "suite_folder": SUITES,
        "prices": PRICES,
        "base_model": "gemini-2.5-flash",
        "epoch_count": 3,
    }
    operator = GeminiValidateTuningOperator(**request_arguments(**{"task_id": "validate", **arguments, **change}))
    return operator.execute(context())


def refused(vertex, error=InvalidInputError, **change):
    """Return the error of a run that is refused before any job exists."""
    with pytest.raises(error) as caught:
        preflight(**change)
    assert vertex.state()["tuningJobs"] == []
    assert not [request for request in vertex.requests() if request["path"].endswith("/tuningJobs")]
    return caught.value


def of(cost, what):
    return next(item for item in cost["items"] if item["what"] == what)


# --------------------------------------------------------------------------------------------- budget


def test_the_estimate_goes_to_xcom(vertex):
    found = preflight(budget="1")
    tokens = found["training"]["tokens"]
    cost = found["cost"]
    assert of(cost, "tuning")["tokens"] == {"training": (tokens["input"] + tokens["output"]) * 3}
    assert of(cost, "smoke_test")["prompts"] == 24 * 3
    assert 0 < cost["total"] < 1
    assert (cost["currency"], cost["budget"], cost["unknown"]) == ("USD", 1.0, [])
    assert json.loads(json.dumps(cost, allow_nan=False)) == cost


def test_a_run_above_its_budget_ends_before_any_job_exists(vertex):
    error = refused(vertex, budget=0.02)
    assert (error.field, error.code) == ("budget", "over_budget")
    assert "0.0200 USD" in str(error)
    assert preflight(budget=0.02, suite=None, epoch_count=1, base_model="gemini-2.0-flash-lite-001")["cost"]["total"]


def test_an_unknown_price_is_named_and_stops_a_run_with_a_budget_only(vertex):
    cost = preflight(base_model="gemini-9")["cost"]
    assert (cost["total"], cost["at_least"]) == (None, 0)
    error = refused(vertex, base_model="gemini-9", budget=1_000)
    assert (error.field, error.code) == ("budget", "unknown_cost")
    assert "gemini-9" in str(error)
    assert PRICES in str(error)


def test_epochs_that_google_decides_on_stop_a_run_with_a_budget_only(vertex):
    assert of(preflight(epoch_count=None)["cost"], "tuning")["at_least"] > 0
    assert "epoch_count" in str(refused(vertex, epoch_count="", budget=1_000))


def test_googles_evaluation_has_no_price(vertex):
    evaluation = {"evaluation_metrics": [{"name": "FLUENCY"}], "evaluation_output_uri": "gs://bucket/out"}
    assert of(preflight(**evaluation)["cost"], "evaluation")["amount"] is None
    assert "evaluation_metrics" in str(refused(vertex, **evaluation, budget=1_000))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"budget": "much"}, "budget"),
        ({"budget": -1}, "budget"),
        ({"budget": True}, "budget"),
        ({"budget": 5, "prices": None}, "budget"),
        ({"epoch_count": 0}, "epoch_count"),
        ({"base_model": None}, "base_model"),
        ({"count_tokens": "perhaps"}, "count_tokens"),
    ],
)
def test_validate_with_an_invalid_parameter_is_an_error_with_its_field(vertex, snapshot, change, field):
    error = refused(vertex, **change)
    assert error.field == field
    assert error.code
    assert str(error) == snapshot


def test_without_prices_nothing_is_estimated(vertex):
    assert preflight(prices=None, epoch_count=None)["cost"] is None


def test_a_broken_table_of_prices_stops_every_run(vertex, tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("currency: USD\ndate: 2026-11-23\nmodels:\n  gemini-2.5-flash:\n    tuning: five\n")
    error = refused(vertex, YamlError, prices=str(path))
    assert (error.resource, error.line, error.field) == (str(path), 5, "models.gemini-2.5-flash.tuning")
    assert refused(vertex, YamlError, prices="absent.yaml").code == "cannot_be_read"


# --------------------------------------------------------------------------------- whose prices count


def test_a_tuned_model_to_go_on_from_costs_what_its_base_model_does(vertex):
    model = finished_job(vertex).model
    cost = preflight(pre_tuned_model=model, base_model="gemini-2.5-pro")["cost"]
    assert of(cost, "tuning")["prices"] == {"training": 5.0}
    assert cost["total"] == preflight()["cost"]["total"]


def test_a_tuned_model_that_is_not_there(vertex):
    absent = "projects/p/locations/us-central1/models/404@1"
    error = refused(vertex, PermanentServiceError, pre_tuned_model=absent)
    assert (error.code, error.resource) == (404, absent)


def test_champion_and_judge_are_priced_by_what_they_were_tuned_from(vertex, tmp_path):
    (tmp_path / "judged.yaml").write_text(f"judge: {{model: gemini-2.5-pro}}\n{RUBRIC}")
    job = finished_job(vertex)
    for champion in (job.model, job.endpoint):
        cost = preflight(suite="judged", suite_folder=str(tmp_path), champion=champion)["cost"]
        assert of(cost, "champion")["prices"] == {"input": 0.3, "output": 2.5}
        assert of(cost, "judge")["prices"] == {"input": 1.25, "output": 10.0}
        assert of(cost, "judge")["prompts"] == 3 * (3 + 1)
    (tmp_path / "judged.yaml").write_text(f"judge: {{model: {job.endpoint}}}\n{RUBRIC}")
    cost = preflight(suite="judged", suite_folder=str(tmp_path))["cost"]
    assert of(cost, "judge")["prices"] == {"input": 0.3, "output": 2.5}


def test_a_model_of_which_the_service_does_not_tell_the_base(vertex):
    model = vertex.request("GET", f"/v1/{finished_job(vertex).model}").json()["name"]
    vertex.request("PATCH", f"/v1/{model}?updateMask=labels", json={"labels": {}}).raise_for_status()
    assert GeminiTuningHook().get_base_model(model) is None
    cost = preflight(champion=model)["cost"]
    assert [unknown.startswith("champion: ") and model in unknown for unknown in cost["unknown"]] == [True]
    assert cost["at_least"] > 0


def test_the_base_of_an_endpoint_without_a_label_is_that_of_the_model_it_serves(vertex):
    endpoint = finished_job(vertex).endpoint
    path = f"/v1/{endpoint}"
    vertex.request("PATCH", f"{path}?updateMask=labels", json={"labels": {}}).raise_for_status()
    assert not vertex.request("GET", path).json().get("labels")
    assert GeminiTuningHook().get_base_model(endpoint) == "gemini-2-5-flash"


# ------------------------------------------------------------------------------------- exact counting


def example(question, answer, **more):
    turns = [{"role": "user", "parts": [{"text": question}]}, {"role": "model", "parts": [{"text": answer}]}]
    return json.dumps({"contents": turns, **more}, ensure_ascii=False)


def test_the_services_count_corrects_the_estimate(vertex):
    """The emulator counts characters, the estimate bytes: of these letters, twice as many."""
    vertex.put_object("gs://bucket/letters.jsonl", "\n".join(example("é" * 400, "ß" * 400) for _ in range(120)))
    plain = preflight(training_dataset_uri="gs://bucket/letters.jsonl")["cost"]
    exact = preflight(training_dataset_uri="gs://bucket/letters.jsonl", count_tokens="True")["cost"]
    assert plain["counted"] is None
    assert exact["counted"] == {
        "model": "gemini-2.5-flash", "examples": 30, "counted": 30 * 200, "estimated": 30 * 400, "ratio": 0.5,
    }  # fmt: skip
    assert of(plain, "tuning")["tokens"] == {"training": 120 * 400 * 3}
    assert of(exact, "tuning")["tokens"] == {"training": 120 * 200 * 3}
    counts = [request for request in vertex.requests() if request["path"].endswith(":countTokens")]
    assert len(counts) == 30
    assert {turn["role"] for turn in counts[0]["body"]["contents"]} == {"user", "model"}


def test_an_instruction_counts_too(vertex):
    line = example("a" * 40, "b" * 40, systemInstruction={"role": "system", "parts": [{"text": "c" * 40}]})
    vertex.put_object("gs://bucket/told.jsonl", line)
    cost = preflight(training_dataset_uri="gs://bucket/told.jsonl", count_tokens=True)["cost"]
    assert (cost["counted"]["counted"], cost["counted"]["estimated"]) == (30, 30)


def test_the_base_model_of_a_tuned_one_is_asked_by_its_own_name(vertex):
    model = finished_job(vertex).model
    assert preflight(pre_tuned_model=model, count_tokens=True)["cost"]["counted"]["model"] == "gemini-2.5-flash"


def test_a_count_that_is_refused_is_an_error_in_the_services_words(vertex):
    error = refused(vertex, PermanentServiceError, base_model="palm-2", count_tokens=True)
    assert error.code == 404
    assert "palm-2" in error.resource
    assert "was not found or your project does not have access to it" in error.service_message


def test_a_part_that_the_service_does_not_know_is_named_by_its_line(vertex):
    odd = example("a", "b").replace('{"text": "a"}', '{"functionCall": {"name": "f", "nmae": 1}}')
    vertex.put_object("gs://bucket/odd.jsonl", f"{example('a', 'b')}\n{odd}\n")
    error = refused(vertex, training_dataset_uri="gs://bucket/odd.jsonl", count_tokens=True)
    assert error.field == "line 2"
    assert "parts.0.functionCall.nmae" in str(error)


def test_tokens_of_files_are_known_once_they_are_counted(vertex, tmp_path):
    vertex.put_object("gs://bucket/i.png", "an image")
    file = {"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/i.png"}}
    line = json.dumps({"contents": [{"role": "user", "parts": [file]}, {"role": "model", "parts": [{"text": "b"}]}]})
    vertex.put_object("gs://bucket/images.jsonl", line)
    part = "{file_uri: 'gs://bucket/i.png', mime_type: image/png}"
    case = f"{{id: a, contents: [{{role: user, parts: [{part}]}}], assert: [{{type: is-json}}]}}"
    (tmp_path / "images.yaml").write_text(f"cases: [{case}]")
    images = {
        "training_dataset_uri": "gs://bucket/images.jsonl", "suite": "images", "suite_folder": str(tmp_path),
        "budget": 100,
    }  # fmt: skip
    assert str(refused(vertex, **images)).count("count_tokens") >= 2
    assert preflight(**images, count_tokens=True)["cost"]["unknown"] == []


# --------------------------------------------------------------------------- files that examples name


def of_file(uri):
    file = {"fileData": {"mimeType": "image/png", "fileUri": uri}}
    turns = [{"role": "user", "parts": [file, {"text": "What?"}]}, {"role": "model", "parts": [{"text": "A ship."}]}]
    return json.dumps({"contents": turns})


def test_files_that_are_not_there_are_named_by_the_line_that_names_them_first(vertex):
    vertex.put_object("gs://bucket/there.png", "x")
    uris = ["gs://bucket/there.png", "gs://bucket/a b.png", "gs://bucket/there.png", "gs://absent/c.png",
            "gs://bucket/a b.png", "gs://UPPER/d.png"]  # fmt: skip
    vertex.put_object("gs://bucket/files.jsonl", "\n".join(map(of_file, uris)))
    error = refused(vertex, training_dataset_uri="gs://bucket/files.jsonl")
    assert (error.field, error.resource) == ("training_dataset_uri", "gs://bucket/files.jsonl")
    named = re.findall(r"line (\d): '([^']+)'", str(error))
    assert named == [("2", "gs://bucket/a b.png"), ("4", "gs://absent/c.png"), ("6", "gs://UPPER/d.png")]


def test_files_that_are_there_are_no_problem(vertex):
    uris = [f"gs://bucket/{number}.png" for number in range(40)]
    for uri in uris:
        vertex.put_object(uri, "x")
    vertex.put_object("gs://bucket/files.jsonl", "\n".join(map(of_file, uris)))
    assert preflight(training_dataset_uri="gs://bucket/files.jsonl")["training"]["examples"] == 40


def test_files_of_the_validation_file_are_looked_for_too(vertex):
    vertex.put_object("gs://bucket/files.jsonl", of_file("gs://bucket/absent.png"))
    error = refused(vertex, validation_dataset_uri="gs://bucket/files.jsonl")
    assert (error.field, error.resource) == ("validation_dataset_uri", "gs://bucket/files.jsonl")
    assert "line 1: 'gs://bucket/absent.png'" in str(error)


def test_files_that_may_not_be_read_are_a_problem_in_the_services_words(vertex):
    vertex.put_object("gs://bucket/files.jsonl", of_file("gs://bucket/secret.png"))
    vertex.faults([{"method": "GET", "path": "/o/secret.png", "status": 403, "message": "No storage.objects.get."}])
    error = refused(vertex, training_dataset_uri="gs://bucket/files.jsonl")
    assert "line 1: 'gs://bucket/secret.png'" in str(error)
    assert "No storage.objects.get." in str(error)


def test_what_there_was_no_time_to_look_for_is_a_warning(vertex, monkeypatch):
    monkeypatch.setattr(preflight_module, "FILES_TIMEOUT", 0.0)
    for number in range(3):
        vertex.put_object(f"gs://bucket/{number}.png", "x")
    vertex.faults([{"method": "GET", "path": r"/o/\d\.png", "delay": 0.5}])
    vertex.put_object("gs://bucket/files.jsonl", "\n".join(of_file(f"gs://bucket/{n}.png") for n in range(3)))
    found = preflight(training_dataset_uri="gs://bucket/files.jsonl")["training"]
    assert found["found"]["files_unseen"] == 3
    assert found["warnings"][-1].startswith("3 of the referenced files")


# ------------------------------------------------------------------------------------- after the run


def test_what_the_service_bills_is_read_from_the_job(vertex):
    job = finished_job(vertex)
    tokens = preflight()["training"]["tokens"]
    assert job.billed() == {"billable_tokens": 43_650, "dataset_tokens": 14_550, "epoch_count": SPEC.epoch_count}
    assert job.dataset_tokens == pytest.approx(tokens["input"] + tokens["output"], rel=0.05)
