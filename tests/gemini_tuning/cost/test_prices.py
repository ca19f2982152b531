"""The price table: what is in it, and the line and code of each mistake."""

import pytest
from support import REPOSITORY

from gemini_tuning.core.yaml_file import YamlError
from gemini_tuning.cost.prices import ModelPrices, load_prices

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


def test_load_prices_our_table_has_the_models_of_the_form():
    table = load_prices(OURS)
    assert table.currency == "USD"
    for model in ("2.5-pro", "2.5-flash", "2.5-flash-lite", "2.0-flash-001", "2.0-flash-lite-001"):
        assert table.prices_of(f"gemini-{model}").tuning > 0
    assert table.prices_of("gemini-2.5-flash") == ModelPrices(tuning=5.0, input=0.3, output=2.5)


def test_prices_of_missing_price_is_none_and_not_zero(written):
    table = load_prices(written(GOOD))
    assert table.prices_of("gemini-2.0-flash-001") == ModelPrices(tuning=3.0)
    assert table.prices_of("gemini-9") == table.prices_of(None) == ModelPrices()
    assert ModelPrices().input is None


@pytest.mark.parametrize(
    ("model", "name"),
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
def test_name_of_ignores_version_001_and_dots(written, model, name):
    assert load_prices(written(GOOD)).name_of(model) == name


@pytest.mark.parametrize(
    ("change", "line", "field", "code"),
    [
        (("currency: EUR\n", ""), 1, "currency", "missing"),
        (("EUR", "Euro"), 1, "currency", "string_pattern_mismatch"),
        (("2026-11-23", "yesterday"), 2, "date", "invalid_date"),
        (("tuning: 5,", "tuning: 0,"), 4, "models.gemini-2.5-flash.tuning", "greater_than"),
        (("tuning: 5,", "tuning: -1,"), 4, "models.gemini-2.5-flash.tuning", "greater_than"),
        (("tuning: 5,", "tuning: .nan,"), 4, "models.gemini-2.5-flash.tuning", "less_than_equal"),
        (("tuning: 5,", "tuning: .inf,"), 4, "models.gemini-2.5-flash.tuning", "less_than_equal"),
        (("tuning: 5,", "tuning: true,"), 4, "models.gemini-2.5-flash.tuning", "float_type"),
        (("tuning: 5,", f"tuning: 1{'0' * 400},"), 4, "models.gemini-2.5-flash.tuning", "float_type"),
        (("input: 0.3", "input: 5 USD"), 4, "models.gemini-2.5-flash.input", "float_type"),
        (("output: 2.5", "ouput: 2.5"), 4, "models.gemini-2.5-flash.ouput", "unknown_key"),
        (("{tuning: 3}", "3"), 5, "models.gemini-2.0-flash-001", "mapping_expected"),
        (("{tuning: 3}", "{}"), 5, "models.gemini-2.0-flash-001", "empty_price"),
        (("{tuning: 3}", "{tuning: }"), 5, "models.gemini-2.0-flash-001.tuning", "empty_price"),
        (("gemini-2.0-flash-001", "gemini-2-5-flash-001"), 5, "models.gemini-2-5-flash-001", "duplicate_model"),
        (("gemini-2.0-flash-001", "gemini-2.5-flash"), 5, "", "duplicate_key"),
        (("gemini-2.0-flash-001", "a/b"), 5, "models.'a/b'", "string_pattern_mismatch"),
        (("gemini-2.0-flash-001", "2.5"), 3, "models", "string_type"),
        (("models:", "modells:"), 3, "modells", "unknown_key"),
        (("date: 2026-11-23", "date: [2026"), 3, "", "invalid_yaml"),
        ((GOOD, ""), None, "", "mapping_expected"),
        ((GOOD, "[]"), 1, "", "mapping_expected"),
        ((GOOD, "currency: EUR\ndate: 2026-11-23\n"), 1, "models", "missing"),
        ((GOOD, "currency: EUR\ndate: 2026-11-23\nmodels: {}\n"), 3, "models", "too_short"),
    ],
)  # fmt: skip
def test_load_prices_mistake_is_located(written, change, line, field, code, snapshot):
    path = written(GOOD.replace(*change))
    with pytest.raises(YamlError) as caught:
        load_prices(path)
    error = caught.value
    assert (error.line, error.field, error.code, error.resource) == (line, field, code, path)
    assert str(error).removeprefix(path) == snapshot


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("absent.yaml", "cannot_be_read"),
        ("a\0b", "cannot_be_read"),
        ("", "invalid_path"),
        (" ", "invalid_path"),
        ("x" * 5_000, "invalid_path"),
        (None, "invalid_path"),
        (7, "invalid_path"),
    ],
)
def test_load_prices_unreadable_path_raises(path, code):
    with pytest.raises(YamlError) as caught:
        load_prices(path)
    assert caught.value.code == code


def test_load_prices_folder_raises(tmp_path):
    with pytest.raises(YamlError) as caught:
        load_prices(str(tmp_path))
    assert caught.value.code == "not_a_file"
