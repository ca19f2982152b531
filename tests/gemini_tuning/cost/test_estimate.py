"""The estimated cost of a run: sums that can be checked by hand, and what is unknown."""

import json
from collections import Counter

import pytest

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.cost.estimate import (
    ASSUMED_OUTPUT_TOKENS,
    BilledModel,
    CostInputs,
    check_budget,
    counted_tokens,
    estimate_cost,
    training_tokens,
)
from gemini_tuning.cost.prices import load_prices
from gemini_tuning.datasets.dataset_check import MAX_EXAMPLE_TOKENS, DatasetReport
from gemini_tuning.smoke.suite import parse_suite

FLASH = BilledModel("gemini-2.5-flash", "gemini-2.5-flash")
MODEL = "projects/1/locations/us-central1/models/7@1"
TRAINING = DatasetReport(examples=1_000, lengths=Counter({1_000: 600, 500: 400}))  # 800,000 tokens
SUITE = parse_suite(
    """
judge: {model: judge, samples: 3}
defaults: {max_output_tokens: 100}
cases:
- {id: a, prompt: abcdefgh, assert: [{type: is-json}]}
- {id: b, prompt: abcd, repeat: 2, system_instruction: abcdefgh, assert: [{type: llm-rubric, value: kind}]}
""",
    "suite.yaml",
)


@pytest.fixture
def prices(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("""
currency: USD
date: 2026-11-23
models:
  gemini-2.5-flash: {tuning: 5, input: 1, output: 10}
  judge: {input: 2, output: 20}
  untuned: {input: 1, output: 10}
""")
    return load_prices(str(path))


@pytest.fixture
def estimator(prices):
    def estimate(budget=None, **change):
        inputs = CostInputs(**{"model": FLASH, "training": TRAINING, "epochs": 3, **change})
        return estimate_cost(inputs, prices, budget)

    return estimate


@pytest.fixture
def estimated(estimator):
    def estimate(**change):
        found = estimator(**change).model_dump()
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        return found, {item["what"]: item for item in found["items"]}

    return estimate


def test_tuning_is_billed_for_each_epoch(estimated):
    found, items = estimated()
    assert items == {
        "tuning": {
            "what": "tuning",
            "model": "gemini-2.5-flash",
            "prompts": None,
            "tokens": {"training": 2_400_000},
            "prices": {"training": 5.0},
            "amount": 12.0,
            "at_least": 12.0,
            "unknown": [],
        }
    }
    assert (found["total"], found["at_least"], found["unknown"]) == (12.0, 12.0, [])
    assert (found["currency"], found["price_date"], found["epochs"]) == ("USD", "2026-11-23", 3)


def test_training_tokens_truncated_tokens_are_not_billed():
    assert training_tokens({MAX_EXAMPLE_TOKENS + 1: 2, 10: 1}) == 2 * MAX_EXAMPLE_TOKENS + 10
    assert training_tokens({MAX_EXAMPLE_TOKENS: 1, 3: 1}, 1.5) == MAX_EXAMPLE_TOKENS + 5


@pytest.mark.parametrize(
    ("epochs", "last", "checkpoints"), [(1, False, 1), (9, False, 9), (10, False, 10), (40, False, 10), (9, True, 1)]
)
def test_smoke_test_is_billed_for_each_checkpoint(estimated, epochs, last, checkpoints):
    _, items = estimated(epochs=epochs, last_checkpoint_only=last, suite=SUITE)
    smoke = items["smoke_test"]
    assert smoke["prompts"] == 3 * checkpoints
    assert smoke["tokens"] == {"input": (2 + 2 * 3) * checkpoints, "output": 300 * checkpoints}
    assert smoke["amount"] == pytest.approx((8 * 1 + 300 * 10) * checkpoints / 1e6)


def test_response_without_a_limit_is_assumed_long(estimated):
    suite = parse_suite("cases: [{id: a, prompt: Hi, assert: [{type: is-json}]}]", "suite.yaml")
    assert estimated(suite=suite, epochs=1)[1]["smoke_test"]["tokens"]["output"] == ASSUMED_OUTPUT_TOKENS


def test_champion_and_judge_have_their_own_prices(estimated):
    champion, judge = BilledModel(MODEL, "judge"), BilledModel("judge", "judge")
    found, items = estimated(suite=SUITE, champion=champion, judge=judge)
    assert (items["champion"]["prompts"], items["champion"]["model"]) == (3, "judge")
    assert items["champion"]["amount"] == pytest.approx((8 * 2 + 300 * 20) / 1e6)
    votes = 2 * 3 * (3 + 1)  # repeats, samples, contenders
    assert items["judge"]["prompts"] == votes
    assert items["judge"]["tokens"]["output"] == votes * ASSUMED_OUTPUT_TOKENS
    assert 300 < items["judge"]["tokens"]["input"] / votes < 500
    assert found["total"] == pytest.approx(sum(item["amount"] for item in items.values()))


def test_unused_judge_costs_nothing(estimated):
    suite = parse_suite("judge: {model: j}\ncases: [{id: a, prompt: Hi, assert: [{type: is-json}]}]", "suite.yaml")
    assert set(estimated(suite=suite, judge=BilledModel("j", "j"))[1]) == {"tuning", "smoke_test"}


def test_an_unknown_price_is_not_zero(estimated, prices):
    found, items = estimated(model=BilledModel("gemini-9", "gemini-9"), suite=SUITE)
    assert found["total"] is None
    assert found["at_least"] == 0
    assert [items[what]["amount"] for what in ("tuning", "smoke_test")] == [None, None]
    assert [what.partition(" price ")[0] for what in found["unknown"]] == [
        "tuning: no tuning",
        "smoke test: no input",
        "smoke test: no output",
    ]
    assert all("gemini-9" in what and what.endswith(prices.path) for what in found["unknown"])


def test_one_unknown_price_leaves_the_others(estimated):
    found, items = estimated(model=BilledModel("untuned", "untuned"), suite=SUITE)
    assert found["total"] is None
    assert found["at_least"] == items["smoke_test"]["amount"] > 0
    assert len(found["unknown"]) == len(items["tuning"]["unknown"]) == 1


def test_tuned_model_has_the_prices_of_its_base_model(estimated):
    assert estimated(model=BilledModel(MODEL, "gemini-2-5-flash"))[0]["total"] == 12.0
    found, items = estimated(model=BilledModel(MODEL, None))
    assert found["unknown"] == [f"tuning: {items['tuning']['unknown'][0]}"]
    assert MODEL in found["unknown"][0]


def test_unknown_epochs_count_as_at_least_one(estimated):
    found, items = estimated(epochs=None, suite=SUITE)
    assert found["total"] is None
    assert items["tuning"]["at_least"] == 4.0
    assert items["smoke_test"]["prompts"] == 3
    assert [what.partition(":")[0] for what in found["unknown"]] == ["tuning", "smoke test"]
    assert all(what.endswith("set epoch_count") for what in found["unknown"])
    assert estimated(epochs=None, suite=SUITE, last_checkpoint_only=True)[1]["smoke_test"]["amount"] is not None


def test_tokens_of_files_are_not_known_until_they_are_counted(estimated):
    training = DatasetReport(lengths=TRAINING.lengths, files={"gs://b/i.png": 1})
    found, _ = estimated(training=training)
    assert [what.rpartition(": ")[2] for what in found["unknown"]] == ["set count_tokens"]
    assert estimated(training=training, counted=counted_tokens("m", 50, 110, 100))[0]["total"] == pytest.approx(13.2)


def test_tokens_of_a_suites_files(estimated):
    file = "{file_uri: 'gs://b/i.png', mime_type: image/png}"
    suite = parse_suite(
        f"cases: [{{id: a, contents: [{{role: user, parts: [{file}]}}], assert: [{{type: is-json}}]}}]", "suite.yaml"
    )
    unknown = estimated(suite=suite)[0]["unknown"]
    assert [what.rpartition(": ")[2] for what in unknown] == ["set count_tokens"]
    found, items = estimated(suite=suite, counted_cases={"a": 258})
    assert found["unknown"] == []
    assert items["smoke_test"]["tokens"]["input"] == 258 * 3


def test_counted_tokens_correct_the_training_tokens(estimated):
    found, items = estimated(counted=counted_tokens("gemini-2.5-flash", 50, 3_000, 2_000), suite=SUITE)
    assert items["tuning"]["tokens"]["training"] == 3_600_000
    assert items["smoke_test"]["tokens"]["input"] == 24
    assert found["counted"] == {
        "model": "gemini-2.5-flash", "examples": 50, "counted": 3_000, "estimated": 2_000, "ratio": 1.5,
    }  # fmt: skip


def test_googles_evaluation_has_no_price(estimated):
    found, items = estimated(is_evaluated=True)
    assert items["evaluation"]["amount"] is None
    assert found["at_least"] == 12.0
    assert [what.partition(":")[0] for what in found["unknown"]] == ["evaluation"]


@pytest.mark.parametrize(
    ("budget", "change", "code"),
    [
        (None, {}, None),
        (None, {"epochs": None}, None),
        (12, {}, None),
        (11.99, {}, "over_budget"),
        (0, {}, "over_budget"),
        (100, {"epochs": None}, "unknown_cost"),
        (3, {"epochs": None}, "over_budget"),
    ],
)
def test_check_budget(estimator, budget, change, code, snapshot):
    estimate = estimator(budget, **change)
    if code is None:
        check_budget(estimate)
        return
    with pytest.raises(InvalidInputError) as caught:
        check_budget(estimate)
    assert (caught.value.field, caught.value.code) == ("budget", code)
    assert caught.value.hint
    assert str(caught.value) == snapshot


def test_unknown_wording(estimator, prices, snapshot):
    file = "{file_uri: 'gs://b/i.png', mime_type: image/png}"
    case = f"{{id: a, contents: [{{role: user, parts: [{file}]}}], assert: [{{type: is-json}}]}}"
    estimate = estimator(
        model=BilledModel("gemini-9", "gemini-9"),
        epochs=None,
        training=DatasetReport(lengths=TRAINING.lengths, files={"gs://b/i.png": 1}),
        suite=parse_suite(f"cases: [{case}]", "suite.yaml"),
        champion=BilledModel(MODEL, None),
        is_evaluated=True,
    )
    assert [what.replace(prices.path, "prices.yaml") for what in estimate.unknown] == snapshot


def test_the_ratio():
    assert counted_tokens("m", 2, 150, 100).ratio == 1.5
    assert counted_tokens("m", 0, 0, 0).ratio is None
    assert counted_tokens("m", 1, 0, 5).ratio is None
