"""The table of prices: what is in it, and what is wrong with it, by line."""

import re

import pytest
from support import REPOSITORY

from gemini_tuning.cost.prices import ModelPrice, PricesError, load_prices

OURS = str(REPOSITORY / "dags" / "config" / "prices.yaml")
GOOD = """\
currency: EUR
date: 2026-11-23
models:
  gemini-2.5-flash: {tuning: 5, input: 0.3, output: 2.5}
  gemini-2.0-flash-001: {tuning: 3}
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "prices.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_ours_is_acceptable_and_knows_the_models_that_the_form_offers():
    table = load_prices(OURS)
    assert table.currency == "USD"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", table.date)
    for model in ("2.5-pro", "2.5-flash", "2.5-flash-lite", "2.0-flash-001", "2.0-flash-lite-001"):
        assert table.of(f"gemini-{model}").tuning > 0
    assert table.of("gemini-2.5-flash") == ModelPrice("gemini-2.5-flash", 5.0, 0.3, 2.5)


def test_a_price_that_is_not_there_is_none_and_not_zero(written):
    assert load_prices(written(GOOD)).of("gemini-2.0-flash-001") == ModelPrice("gemini-2.0-flash-001", 3.0, None, None)


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ("gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini-2.5-flash-001", "gemini-2.5-flash"),
        ("gemini-2-5-flash", "gemini-2.5-flash"),
        ("gemini-2.0-flash", "gemini-2.0-flash-001"),
        ("gemini-2-0-flash-001", "gemini-2.0-flash-001"),
        ("gemini-2.5-flash-lite", None),
        ("gemini-2.5-flash-002", None),
        ("gemini-2.5", None),
        ("", None),
    ],
)
def test_which_model_is_meant(written, asked, model):
    found = load_prices(written(GOOD)).of(asked)
    assert (found and found.model) == model


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("currency: EUR\n", ""), ":1: currency: expected three letters such as USD, not None"),
        (("EUR", "Euro"), ":1: currency: expected three letters such as USD, not 'Euro'"),
        (("2026-11-23", "yesterday"), ":2: date: expected the day when somebody last looked, YYYY-MM-DD"),
        (("tuning: 5,", "tuning: 0,"), ":4: models.gemini-2.5-flash.tuning: expected what a million tokens cost"),
        (("tuning: 5,", "tuning: -1,"), ":4: models.gemini-2.5-flash.tuning: "),
        (("tuning: 5,", "tuning: .nan,"), ":4: models.gemini-2.5-flash.tuning: "),
        (("tuning: 5,", "tuning: .inf,"), ":4: models.gemini-2.5-flash.tuning: "),
        (("tuning: 5,", "tuning: true,"), ":4: models.gemini-2.5-flash.tuning: "),
        (("tuning: 5,", f"tuning: 1{'0' * 400},"), ":4: models.gemini-2.5-flash.tuning: "),
        (("input: 0.3", "input: 5 USD"), ":4: models.gemini-2.5-flash.input: expected what a million tokens cost"),
        (("output: 2.5", "ouput: 2.5"), ":4: models.gemini-2.5-flash: unknown key 'ouput'; expected tuning"),
        (("{tuning: 3}", "3"), ":5: models.gemini-2.0-flash-001: expected tuning, input, output, not 3"),
        (("{tuning: 3}", "{}"), ":5: models.gemini-2.0-flash-001: expected tuning, input, output, not {}"),
        (("gemini-2.0-flash-001", "gemini-2-5-flash-001"), ":5: models.gemini-2-5-flash-001: is the same model"),
        (("gemini-2.0-flash-001", "gemini-2.5-flash"), ":5: duplicate key 'gemini-2.5-flash'"),
        (("gemini-2.0-flash-001", "a/b"), ":5: models.a/b: expected the name of a model such as gemini-2.5-flash"),
        (("gemini-2.0-flash-001", "2.5"), ":3: models: unknown key 2.5; expected names of models"),
        (("models:", "modells:"), ":3: unknown key 'modells'; expected currency, date, models"),
        (("date: 2026-11-23", "date: [2026"), ":3: invalid YAML"),
        ((GOOD, ""), ": expected currency, date, models, not None"),
        ((GOOD, "[]"), ":1: expected currency, date, models, not []"),
        ((GOOD, "currency: EUR\ndate: 2026-11-23\n"), ":1: models: expected names of models, not None"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_file_line_and_field(written, change, said):
    path = written(GOOD.replace(*change))
    with pytest.raises(PricesError) as caught:
        load_prices(path)
    assert str(caught.value).startswith(f"prices: {path}{said}")
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("path", ["absent.yaml", "", " ", "a\0b", "x" * 5_000, None, 7])
def test_a_file_that_is_not_there(path):
    with pytest.raises(PricesError, match=r"^prices: "):
        load_prices(path)


def test_a_folder(tmp_path):
    with pytest.raises(PricesError, match="not a file"):
        load_prices(str(tmp_path))
