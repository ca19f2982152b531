"""Functions of the user's own: which can be named, and what they may return."""

import sys

import pytest

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.smoke.assertions import Assertion
from gemini_tuning.smoke.checks.python_functions import FunctionUnusableError, load, roots
from gemini_tuning.smoke.suite import load_suite

ANSWER = ModelResponse("Hello", 0.25, "STOP", prompt_tokens=3, output_tokens=7)


@pytest.fixture
def dags(tmp_path, monkeypatch):
    """A dags folder on Python's path, with a module of checks, and one outside of it."""
    folder = tmp_path / "dags"
    (folder / "our_checks").mkdir(parents=True)
    (folder / "our_checks" / "__init__.py").write_text("")
    (folder / "our_checks" / "polite.py").write_text(
        "LIMIT = 3\n\ndef check(output, context):\n    return output == context['vars']['wanted']\n"
    )
    (folder / "our_broken_checks.py").write_text("raise RuntimeError('broken')")
    (folder / "json.py").write_text("def loads(output, context):\n    return True\n")
    (tmp_path / "our_other_checks.py").write_text("def check(output, context):\n    return True\n")
    (folder / "our_link.py").symlink_to(tmp_path / "our_other_checks.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.startswith("our_")]:
        del sys.modules[name]


def test_a_suite_names_a_function_beside_it(dags):
    (dags / "config").mkdir()
    (dags / "config" / "suite.yaml").write_text(
        "cases:\n- {id: a, prompt: Hi, vars: {wanted: Hello}, assert: ["
        "{type: python, value: our_checks.polite.check}, {type: not-python, value: our_checks.polite.check}]}"
    )
    (case,) = load_suite("suite", str(dags / "config")).cases
    assert [assertion.check(ANSWER, case.vars).passed for assertion in case.assertions] == [True, False]
    assert [assertion.check(ANSWER, {"wanted": "x"}).passed for assertion in case.assertions] == [False, True]


@pytest.mark.parametrize(
    ("dotted", "said"),
    [
        ("os.system", "there is no module os in dags"),
        ("builtins.eval", "there is no module builtins in dags"),
        ("our_other_checks.check", "there is no module our_other_checks in dags"),
        ("our_link.check", "there is no module our_link in dags"),
        ("json.loads", "Python has another module json, which is not the one in"),
        ("our_checks.none.check", "there is no module our_checks.none"),
        ("our_checks.polite.none", "the module our_checks.polite has no function none"),
        ("our_checks.polite.LIMIT", "has no function LIMIT"),
        ("our_broken_checks.check", "cannot be imported: 'RuntimeError: broken'"),
    ],
)
def test_what_cannot_be_named(dags, dotted, said):
    with pytest.raises(FunctionUnusableError) as caught:
        load(dotted, [dags])
    assert said in str(caught.value)


def test_a_folder_that_python_does_not_look_into(tmp_path):
    (tmp_path / "our_lost_checks.py").write_text("def check(output, context):\n    return True\n")
    with pytest.raises(FunctionUnusableError, match=r"cannot be imported: .*No module named"):
        load("our_lost_checks.check", [tmp_path])


def test_the_folders_of_a_suite(tmp_path):
    suite = tmp_path / "dags" / "config" / "smoke" / "x.yaml"
    assert (tmp_path / "dags").resolve() in roots(suite)
    assert {folder.name for folder in roots(tmp_path / "x.yaml")} == {"plugins", "dags"}


def test_a_suite_that_names_what_is_not_there_is_refused(tmp_path):
    (tmp_path / "bad.yaml").write_text("cases:\n- id: a\n  prompt: Hi\n  assert:\n  - {type: python, value: os.system}")
    with pytest.raises(InvalidInputError) as caught:
        load_suite("bad", str(tmp_path))
    error = caught.value
    assert (error.line, error.field, error.code) == (5, "cases.0.assert.0.value", "function_unusable")
    assert "module os" in str(error)


def checked(returned, threshold=None):
    return Assertion("python", "m.f", threshold, function=lambda *_: returned).check(ANSWER)


@pytest.mark.parametrize(
    ("returned", "threshold", "passed", "score"),
    [
        (True, None, True, 1),
        (False, None, False, 0),
        (0.4, None, True, 0.4),  # promptfoo: anything above 0
        (0.4, 0.5, False, 0.4),
        (0.5, 0.5, True, 0.5),
        (0, None, False, 0),
        (1, None, True, 1),
        ({"pass": True}, None, True, 1),
        ({"pass": False, "score": 0.9, "reason": "no"}, None, False, 0.9),
        ({"pass": True, "score": 0.4}, 0.5, False, 0.4),
    ],
)
def test_what_a_function_may_return(returned, threshold, passed, score):
    assert (checked(returned, threshold).passed, checked(returned, threshold).score) == (passed, score)


@pytest.mark.parametrize(
    "returned",
    [
        None, "yes", 1.5, -1, float("nan"), [], object(), {}, {"pass": 1}, {"pass": True, "score": 2},
        {"pass": True, "reason": 5},
    ],
)  # fmt: skip
def test_anything_else_decides_nothing(returned):
    assert not checked(returned).passed
    assert "cannot be decided: m.f returned" in checked(returned).reason


@pytest.mark.parametrize("error", [ZeroDivisionError("x" * 5_000), SystemExit(1)])
@pytest.mark.parametrize("kind", ["python", "not-python"])
def test_an_error_of_a_function_is_a_failure_with_words(kind, error):
    def broken(output, context):
        raise error

    verdict = Assertion(kind, "m.f", function=broken).check(ANSWER)
    assert not verdict.passed
    assert f"cannot be decided: m.f failed with '{type(error).__name__}" in verdict.reason
    assert len(verdict.reason) < 1_000


def test_what_a_function_is_told():
    told = {}
    Assertion("python", "m.f", function=lambda output, context: told.update(context, output=output) or True).check(
        ANSWER, {"a": "b"}
    )
    assert told == {
        "output": "Hello", "vars": {"a": "b"}, "latency_ms": 250, "finish_reason": "STOP", "blocked": None,
        "prompt_tokens": 3, "output_tokens": 7,
    }  # fmt: skip
