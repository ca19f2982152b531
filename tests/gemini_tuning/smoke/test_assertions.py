import pytest

from gemini_tuning.smoke.assertions import TYPES, Assertion

SCHEMA = {"type": "object", "required": ["team"], "properties": {"team": {"enum": ["sales", "crew"]}}}


@pytest.mark.parametrize(
    ("kind", "value", "passing", "failing"),
    [
        ("equals", "Yes.", " Yes.\n", "Yes"),
        ("contains", "blue", "the sky is blue today", "Blue"),
        ("regex", r"^\d{4}-\d\d$", "2026-11", "on 2026-11"),
        ("is-json", None, "[1]", "[1"),
        ("is-json", SCHEMA, '{"team": "crew"}', '{"team": "band"}'),
    ],
)
def test_types_and_their_negation(kind, value, passing, failing):
    assert Assertion(kind, value).check(passing, 0) is None
    assert Assertion(kind, value).check(failing, 0).startswith(kind)
    assert Assertion(f"not-{kind}", value).check(failing, 0) is None
    assert Assertion(f"not-{kind}", value).check(passing, 0).startswith(f"not-{kind}")


def test_latency():
    assert Assertion("max-latency", 100).check("", 100.0) is None
    assert Assertion("max-latency", 100).check("", 100.1) == "max-latency: 100 ms is more than 100 ms"
    assert Assertion("not-max-latency", 100).check("", 100.1) is None


def test_a_schema_violation_says_where():
    assert "$.team" in Assertion("is-json", SCHEMA).check('{"team": "band"}', 0)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("equal", "x", "unknown assertion type 'equal'"),
        ("not-not-equals", "x", "unknown assertion type"),
        ("equals", None, "value must be a text"),
        ("contains", "", "value must be a text"),
        ("contains", 7, "value must be a text"),
        ("regex", "(", "not a regular expression"),
        ("regex", ["x"], "value must be a text"),
        ("is-json", "object", "must be a JSON Schema"),
        ("is-json", {"type": "objekt"}, "not a JSON Schema"),
        ("max-latency", "fast", "milliseconds above 0"),
        ("max-latency", 0, "milliseconds above 0"),
        ("max-latency", True, "milliseconds above 0"),
    ],
)
def test_assertions_that_make_no_sense_are_refused(kind, value, said):
    assert said in Assertion(kind, value).problem()


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_known_in_both_forms(kind):
    value = {"max-latency": 5, "is-json": {}}.get(kind, "x")
    assert Assertion(kind, value).problem() is None
    assert Assertion(f"not-{kind}", value).problem() is None
