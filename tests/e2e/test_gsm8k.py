"""A suite of 1,319 real questions in one run: GSM8K's test set, which the tuned model has not seen.

The data is used in place, where the project has it: it is not ours to copy.
"""

import json
import re
import shutil
from collections import Counter

import pytest
from runs import Run, advance
from support import REPOSITORY

from demo.stack import BUCKET, Stack

pytestmark = pytest.mark.airflow

DATA = REPOSITORY.parent / "shared" / "data" / "gsm8k"
SUITE = f"""
description: Grade-school mathematics; the last number of the answer counts
defaults:
  prompt: "{{{{ question }}}}"
  assert: [{{type: number-equals, value: "{{{{ answer }}}}"}}]
cases_from:
  - file: gs://{BUCKET}/gsm8k/test.jsonl
    vars: {{question: question, answer: answer}}
"""
QUESTIONS = 1_319


def tuning_format(lines):
    for line in lines:
        example = json.loads(line)
        turns = (("user", example["question"]), ("model", example["answer"]))
        yield json.dumps({"contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns]})


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    if not DATA.exists():
        pytest.skip("the data of ../shared is not there")
    folder = tmp_path_factory.mktemp("gsm8k")
    shutil.copytree(REPOSITORY / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dags" / "config" / "smoke" / "gsm8k.yaml").write_text(SUITE)
    with Stack(folder / "home", speed=0, airflow_env={"AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags")}) as stack:
        yield stack


@pytest.fixture
def data(stack, tmp_path):
    for name in ("train", "test"):
        lines = (DATA / f"{name}.jsonl").read_text().splitlines()
        (tmp_path / f"{name}_tuning.jsonl").write_text("\n".join(tuning_format(lines)))
    (tmp_path / "test.jsonl").write_bytes((DATA / "test.jsonl").read_bytes())
    stack.upload(tmp_path, "gsm8k")


def final_number(text):
    """Return the number after GSM8K's marker: the recount does not use our own parser."""
    found = re.search(r"####\s*(-?[\d,]+(?:\.\d+)?)", text or "")
    return float(found[1].replace(",", "")) if found else None


def test_the_best_of_all_checkpoints_is_chosen_by_all_questions(stack, data):
    run = Run.start(
        stack,
        training_dataset_uri=f"gs://{BUCKET}/gsm8k/train_tuning.jsonl",
        validation_dataset_uri=f"gs://{BUCKET}/gsm8k/test_tuning.jsonl",
        suite="gsm8k",
        epoch_count=5,
        learning_rate_multiplier="2",
        min_pass_rate=0.5,
        concurrency=32,
    )
    run.wait_for_state("tune.wait_for_tuning_job", "deferred")
    advance(stack)
    assert run.finish() == "success"

    gold = [final_number(json.loads(line)["answer"]) for line in (DATA / "test.jsonl").read_text().splitlines()]
    assert len(gold) == QUESTIONS and None not in gold
    passed = Counter()
    for index in range(5):
        summary = stack.api.xcom(run.dag_id, run.run_id, "evaluate.smoke_test", map_index=index)
        lines = [json.loads(line) for line in stack.read(summary["results_uri"]).splitlines()]
        assert len({line["case_id"] for line in lines}) == len(lines) == QUESTIONS
        right = [final_number(line["answer"]) == number for line, number in zip(lines, gold, strict=True)]
        assert [line["passed"] for line in lines] == right
        assert summary["passed"] == sum(right)
        passed[summary["checkpoint_id"]] = sum(right)
        assert len(json.dumps(summary)) < 1_500

    (best, most), (_, next_most) = passed.most_common(2)
    assert most > next_most
    assert run.xcom("report")["winner"] == best != "5"
