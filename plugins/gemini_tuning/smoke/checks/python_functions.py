"""The ``python`` assertion: a function of the user's, named in the suite.

A suite can name functions of modules in the folders for plugins and DAGs only: permission to edit a suite is not
permission to call any function of Python.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gemini_tuning.core.text import short_repr
from gemini_tuning.smoke.checks.result import CheckResult, Condition, Function, UndecidedError

if TYPE_CHECKING:
    from gemini_tuning.core.model_response import ModelResponse

PLUGINS = Path(__file__).resolve().parents[3]


class FunctionUnusableError(ValueError):
    """A suite names a function that does not exist or that it may not use."""


def roots(suite: Path) -> tuple[Path, ...]:
    """Return the folders whose modules a suite may name: plugins, the dags beside it, and the dags around the suite."""
    around = next((folder for folder in suite.resolve().parents if folder.name == "dags"), None)
    return tuple(folder for folder in (PLUGINS, PLUGINS.parent / "dags", around) if folder is not None)


def load(dotted: str, folders: Sequence[Path]) -> Function:
    """Return the function of a dotted path.

    :param folders: the module's file must lie below one of them; they must be on Python's path, as Airflow puts them.
    :raises FunctionUnusableError: when the function does not exist, or its module is in another folder.
    """
    name, _, attribute = dotted.rpartition(".")
    allowed = {file for folder in folders if (file := _file(name, folder))}
    if not allowed:
        there = " or ".join(sorted({folder.name for folder in folders}))
        raise FunctionUnusableError(f"there is no module {name} in {there}")
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}"
        raise FunctionUnusableError(f"the module {name} cannot be imported: {short_repr(why)}") from error
    loaded = getattr(module, "__file__", None)
    if loaded is None or Path(loaded).resolve() not in allowed:
        raise FunctionUnusableError(f"Python has another module {name}, which is not the one in {allowed.pop().parent}")
    function = getattr(module, attribute, None)
    if not callable(function):
        raise FunctionUnusableError(f"the module {name} has no function {attribute}")
    return function  # type: ignore[no-any-return]


def _file(module: str, folder: Path) -> Path | None:
    below = folder.joinpath(*module.split("."))
    for file in (below.with_name(below.name + ".py"), below / "__init__.py"):
        if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
            return file.resolve()
    return None


def check(assertion: Condition, answer: ModelResponse, variables: Mapping[str, str]) -> CheckResult:
    """Call the function and read what it returned."""
    if assertion.function is None:
        raise UndecidedError(f"the function {assertion.value} was not loaded")
    metadata = ("finish_reason", "blocked", "prompt_tokens", "output_tokens")
    context = {"vars": dict(variables), "latency_ms": answer.latency * 1000}
    context |= {name: getattr(answer, name) for name in metadata}
    try:
        returned = assertion.function(answer.text, context)
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}"
        raise UndecidedError(f"{assertion.value} failed with {short_repr(why)}") from error
    if result := _read_result(returned, assertion.threshold):
        return result
    expected = 'True or False, a number from 0 to 1, or {"pass", "score", "reason"}'
    raise UndecidedError(f"{assertion.value} returned {short_repr(returned)}; expected {expected}")


def _read_result(returned: object, threshold: float | None) -> CheckResult | None:
    """Return the result, by promptfoo's rule for what passes; ``None`` for any other value."""
    if isinstance(returned, bool):
        return CheckResult(returned, f"the function returned {returned}")
    if _is_score(returned):
        score = float(returned)  # type: ignore[arg-type]
        holds = score > 0 if threshold is None else score >= threshold
        least = "more than 0" if threshold is None else f"at least {threshold:g}"
        return CheckResult(holds, f"the function returned {score:g}; required: {least}", score)
    if not isinstance(returned, Mapping) or not isinstance(passed := returned.get("pass"), bool):
        return None
    score, reason = returned.get("score", float(passed)), returned.get("reason") or ""
    if not _is_score(score) or not isinstance(reason, str):
        return None
    holds = passed and (threshold is None or score >= threshold)
    reason = reason or f"the function returned {'pass' if passed else 'fail'}, {score:g}"
    return CheckResult(holds, reason, float(score))


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 and math.isfinite(value)
