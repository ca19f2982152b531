"""What a run will cost: sums that can be done by hand, and what is not known."""

import json
from collections import Counter

import pytest

from gemini_tuning.cost.estimate import (
    ASSUMED_OUTPUT_TOKENS,
    Billed,
    Plan,
    estimate,
    objection,
    training_tokens,
)
from gemini_tuning.cost.prices import load_prices
from gemini_tuning.datasets.dataset_check import MAX_EXAMPLE_TOKENS, DatasetReport
from gemini_tuning.datasets.token_sample import TokenCount
from gemini_tuning.smoke.suite import parse_suite

FLASH = Billed("gemini-2.5-flash", "gemini-2.5-flash")
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
def estimated(prices):
    def make(budget=None, **change):
        found = estimate(Plan(**{"model": FLASH, "training": TRAINING, "epochs": 3, **change}), prices, budget)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        return found, {item["what"]: item for item in found["items"]}

    return make


def test_training_is_paid_for_each_epoch(estimated):
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


def test_what_is_cut_off_is_not_paid():
    assert training_tokens({MAX_EXAMPLE_TOKENS + 1: 2, 10: 1}) == 2 * MAX_EXAMPLE_TOKENS + 10
    assert training_tokens({MAX_EXAMPLE_TOKENS: 1, 3: 1}, 1.5) == MAX_EXAMPLE_TOKENS + 5


@pytest.mark.parametrize(
    ("epochs", "last", "checkpoints"), [(1, False, 1), (9, False, 9), (10, False, 10), (40, False, 10), (9, True, 1)]
)
def test_each_checkpoint_is_asked(estimated, epochs, last, checkpoints):
    _, items = estimated(epochs=epochs, last_checkpoint_only=last, suite=SUITE)
    smoke = items["smoke_test"]
    assert smoke["prompts"] == 3 * checkpoints
    assert smoke["tokens"] == {"input": (2 + 2 * 3) * checkpoints, "output": 300 * checkpoints}
    assert smoke["amount"] == pytest.approx((8 * 1 + 300 * 10) * checkpoints / 1e6)


def test_an_answer_without_a_limit_is_assumed_long(estimated):
    suite = parse_suite("cases: [{id: a, prompt: Hi, assert: [{type: is-json}]}]", "suite.yaml")
    assert estimated(suite=suite, epochs=1)[1]["smoke_test"]["tokens"]["output"] == ASSUMED_OUTPUT_TOKENS


def test_champion_and_judge_are_paid_at_their_own_prices(estimated):
    champion, judge = Billed(MODEL, "judge"), Billed("judge", "judge")
    found, items = estimated(suite=SUITE, champion=champion, judge=judge)
    assert (items["champion"]["prompts"], items["champion"]["model"]) == (3, "judge")
    assert items["champion"]["amount"] == pytest.approx((8 * 2 + 300 * 20) / 1e6)
    votes = 2 * 3 * (3 + 1)  # repeats, samples, contenders
    assert items["judge"]["prompts"] == votes
    assert items["judge"]["tokens"]["output"] == votes * ASSUMED_OUTPUT_TOKENS
    assert 300 < items["judge"]["tokens"]["input"] / votes < 500
    assert found["total"] == pytest.approx(sum(item["amount"] for item in items.values()))


def test_a_judge_that_is_not_asked_costs_nothing(estimated):
    suite = parse_suite("judge: {model: j}\ncases: [{id: a, prompt: Hi, assert: [{type: is-json}]}]", "suite.yaml")
    assert set(estimated(suite=suite, judge=Billed("j", "j"))[1]) == {"tuning", "smoke_test"}


def test_an_unknown_price_is_not_zero(estimated, prices):
    found, items = estimated(model=Billed("gemini-9", "gemini-9"), suite=SUITE)
    assert found["total"] is None
    assert found["at_least"] == 0
    assert [items[what]["amount"] for what in ("tuning", "smoke_test")] == [None, None]
    assert found["unknown"] == [
        f"tuning: no tuning price of gemini-9: put it into {prices.path}",
        f"smoke test: no input price of gemini-9: put it into {prices.path}",
        f"smoke test: no output price of gemini-9: put it into {prices.path}",
    ]


def test_one_unknown_price_leaves_the_others(estimated, prices):
    found, items = estimated(model=Billed("untuned", "untuned"), suite=SUITE)
    assert found["total"] is None
    assert found["at_least"] == items["smoke_test"]["amount"] > 0
    assert found["unknown"] == [f"tuning: no tuning price of untuned: put it into {prices.path}"]


def test_a_tuned_model_is_paid_like_its_base_model(estimated):
    assert estimated(model=Billed(MODEL, "gemini-2-5-flash"))[0]["total"] == 12.0
    found, _ = estimated(model=Billed(MODEL, None))
    assert found["unknown"] == [f"tuning: which base model {MODEL} comes from, the service does not tell"]


def test_without_a_number_of_epochs_one_is_the_least(estimated):
    found, items = estimated(epochs=None, suite=SUITE)
    assert found["total"] is None
    assert items["tuning"]["at_least"] == 4.0
    assert items["smoke_test"]["prompts"] == 3
    assert found["unknown"] == [
        "tuning: Google decides on the epochs: give epoch_count",
        "smoke test: Google decides on the epochs, and so on the number of checkpoints: give epoch_count",
    ]
    assert estimated(epochs=None, suite=SUITE, last_checkpoint_only=True)[1]["smoke_test"]["amount"] is not None


def test_tokens_of_files_are_not_known_until_they_are_counted(estimated):
    training = DatasetReport(lengths=TRAINING.lengths, files={"gs://b/i.png": 1})
    found, _ = estimated(training=training)
    assert found["unknown"] == ["tuning: how many tokens the files have that examples name: set count_tokens"]
    assert estimated(training=training, counted=TokenCount("m", 50, 110, 100))[0]["total"] == pytest.approx(13.2)


def test_tokens_of_a_suites_files(estimated):
    file = "{file_uri: 'gs://b/i.png', mime_type: image/png}"
    suite = parse_suite(
        f"cases: [{{id: a, contents: [{{role: user, parts: [{file}]}}], assert: [{{type: is-json}}]}}]", "suite.yaml"
    )
    assert estimated(suite=suite)[0]["unknown"] == [
        "smoke test: how many tokens the files of 1 cases have: set count_tokens"
    ]
    found, items = estimated(suite=suite, counted_cases={"a": 258})
    assert found["unknown"] == []
    assert items["smoke_test"]["tokens"]["input"] == 258 * 3


def test_what_the_service_counts_corrects_the_training(estimated):
    found, items = estimated(counted=TokenCount("gemini-2.5-flash", 50, 3_000, 2_000), suite=SUITE)
    assert items["tuning"]["tokens"]["training"] == 3_600_000
    assert items["smoke_test"]["tokens"]["input"] == 24
    assert found["counted"] == {
        "model": "gemini-2.5-flash", "examples": 50, "counted": 3_000, "estimated": 2_000, "ratio": 1.5,
    }  # fmt: skip


def test_googles_evaluation_has_no_price(estimated):
    found, items = estimated(is_evaluated=True)
    assert items["evaluation"]["amount"] is None
    assert found["at_least"] == 12.0
    assert found["unknown"] == ["evaluation: what Google's evaluation costs: leave out evaluation_metrics"]


@pytest.mark.parametrize(
    ("budget", "change", "said"),
    [
        (None, {}, None),
        (None, {"epochs": None}, None),
        (12, {}, None),
        (11.99, {}, "By estimate the run costs 12.00 USD, above its budget of 11.99 USD. Take fewer epochs"),
        (0, {}, "above its budget of 0.00 USD"),
        (100, {"epochs": None}, "costs is not known, but at least 4.00 USD. Not known: tuning: Google decides on the"),
        (3, {"epochs": None}, "By estimate the run costs at least 4.00 USD, above its budget of 3.00 USD"),
    ],
)
def test_what_a_budget_lets_through(estimated, budget, change, said):
    problem = objection(estimated(budget, **change)[0])
    assert problem is None if said is None else said in problem
