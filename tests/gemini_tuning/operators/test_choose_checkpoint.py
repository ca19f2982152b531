"""The choice: results files and summaries in, a decision and the next step out."""

import json
from types import SimpleNamespace

import pytest
from support import context

from gemini_tuning.core.case_outcomes import ResultError
from gemini_tuning.core.exceptions import CheckpointError
from gemini_tuning.core.files import JSONL, Files
from gemini_tuning.operators.choose_checkpoint import GeminiChooseCheckpointOperator


def results_file(folder, name, right, cases=20, critical=()):
    """Write a results file in which the first ``right`` cases passed."""
    lines = [
        {
            "case_id": f"case-{n}", "repeat": 1, "passed": n < right, "score": float(n < right), "weight": 1.0,
            "critical": n in critical, "blocked": None, "answer": "text",
        }
        for n in range(cases)
    ]  # fmt: skip
    uri = f"{folder}/checkpoint-{name}.jsonl"
    Files().write(uri, b"".join(json.dumps(line).encode() + b"\n" for line in lines), JSONL)
    return uri


def summary(folder, name, right, cases=20, critical=(), **change):
    return {
        "checkpoint_id": name, "epoch": int(name) if name.isdigit() else None,
        "step": 10 * int(name) if name.isdigit() else None, "endpoint": "e", "suite": "s", "suite_fingerprint": "f",
        "results_uri": results_file(folder, name, right, cases, critical), "cases": cases, "answered": cases,
        "latency_ms": {"p50": 100.0, "p95": 200.0}, "error": None, **change,
    }  # fmt: skip


@pytest.fixture
def choose(tmp_path):
    """Runs the operator with checkpoints of which so many cases passed; returns the next step and the XCom."""

    hook = SimpleNamespace(get_model=lambda name: SimpleNamespace(default_checkpoint_id=name))  # the name says it

    def run(*right, default="3", champion=None, **change):
        results = [summary(tmp_path, str(i), count) for i, count in enumerate(right, 1)]
        if champion is not None:
            champion = summary(tmp_path, "champion", champion)
        arguments = {"results": results, "champion": champion, "model": default, "min_pass_rate": 0.5}
        operator = GeminiChooseCheckpointOperator(task_id="choose", **{**arguments, **change})
        operator.__dict__["hook"] = hook
        assert operator.multiple_outputs
        found = operator.execute(context())
        return found["next_step"], found

    return run


def test_next_step_depends_on_winner_and_default(choose):
    assert choose(11, 20, 12)[0] == "set_default"
    assert choose(11, 12, 20)[0] == "publish"
    assert choose(1, 2, 3)[0] == "report"


def test_next_step_with_required_approval_is_to_approve_a_winner(choose):
    assert choose(11, 20, 12, require_approval=True)[0] == "approve"
    assert choose(11, 12, 20, require_approval="true")[0] == "approve"
    assert choose(1, 2, 3, require_approval=True)[0] == "report"


def test_the_decision_goes_to_xcom(choose):
    _, xcoms = choose(11, 20, 12)
    decision = xcoms["decision"]
    assert xcoms["winner"] == decision["winner"] == "2"
    assert decision["outcome"] == "promote"
    assert decision["default_checkpoint_id"] == "3"
    assert "Checkpoint 2" in decision["reason"]
    assert {a["checkpoint_id"] for a in decision["checkpoints"]} == {"1", "2", "3"}
    assert len(json.dumps(decision)) < 8_000


def test_the_champion_stays_when_nobody_is_better(choose):
    branch, xcoms = choose(11, 17, 12, champion=18)
    assert branch == "report"
    assert (xcoms["winner"], xcoms["decision"]["outcome"]) == (None, "keep_champion")
    assert choose(11, 19, 12, champion=18)[0] == "set_default"
    assert choose(11, 19, 12, champion=18, require_improvement=True)[0] == "report"


def test_a_champion_that_was_named_and_has_shown_nothing_stays(choose):
    """Somebody may have marked its task a success."""
    branch, xcoms = choose(11, 20, 12, champion_name="projects/p/locations/l/models/1")
    assert (branch, xcoms["decision"]["outcome"]) == ("report", "keep_champion")


@pytest.mark.parametrize("metrics", [[], "none", {"checkpoints": 3}, {"checkpoints": {"1": 3}}])
def test_metrics_that_are_none_are_refused_or_left_out(choose, metrics):
    try:
        assert choose(11, 20, 12, metrics=metrics)[1]["winner"] == "2"
    except ResultError as error:
        assert "metrics" in str(error)


def test_the_eval_loss_decides_a_tie(choose):
    losses = {"1": {"train_loss": 0.5, "eval_loss": 0.9}, "2": {"train_loss": 0.4, "eval_loss": 0.6}}
    assert choose(18, 18)[1]["winner"] == "1"
    assert choose(18, 18, metrics={"checkpoints": losses})[1]["winner"] == "2"


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("min_pass_rate", -0.1), ("min_pass_rate", "high"), ("min_pass_rate", None), ("max_latency_p95", 0),
        ("significance", 2), ("significance", None), ("allow_blocked", "maybe"), ("require_approval", "perhaps"),
    ],
)  # fmt: skip
def test_a_parameter_that_makes_no_sense_is_refused_with_its_name(choose, name, bad):
    with pytest.raises(ValueError, match=name):
        choose(20, **{name: bad})


def test_when_the_service_was_away_nothing_is_decided(choose, tmp_path):
    away = summary(tmp_path, "1", 10, results_uri=None, error="it did not answer in 4 tries", service_unavailable=True)
    with pytest.raises(CheckpointError) as caught:
        choose(results=[away])
    assert caught.value.code == "service_unavailable"
    assert choose(results=[away, summary(tmp_path, "2", 20)])[1]["winner"] == "2"


def test_a_latency_limit_bars_a_slow_checkpoint(choose):
    assert choose(20, max_latency_p95=150)[0] == "report"
    assert choose(20, max_latency_p95=250)[0] == "set_default"


@pytest.mark.parametrize("bad", ["what", [None], [{"checkpoint_id": 7}], [[]]])
def test_what_is_no_result_is_refused(choose, bad):
    with pytest.raises(ValueError, match="results"):
        choose(results=bad)


def test_results_of_another_suite_are_not_compared(choose, tmp_path):
    one, other = summary(tmp_path, "1", 10), summary(tmp_path, "2", 10, suite_fingerprint="g")
    with pytest.raises(ResultError) as caught:
        choose(results=[one, other])
    assert (caught.value.field, caught.value.code) == ("results", "different_suites")


def test_a_results_file_that_is_gone_is_named(choose, tmp_path):
    gone = summary(tmp_path, "1", 10, results_uri=f"{tmp_path}/gone.jsonl")
    with pytest.raises(ResultError) as caught:
        choose(results=[gone])
    assert (caught.value.resource, caught.value.code) == (f"{tmp_path}/gone.jsonl", "not_found")
