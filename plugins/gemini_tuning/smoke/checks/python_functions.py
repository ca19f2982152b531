"""The ``python`` assertion: a function of the user's own, named in the suite, never written in it.

Only modules below given folders can be named, so that nobody who may edit a suite can call whatever Python has.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.core.text import short_repr
from gemini_tuning.smoke.checks.findings import Finding, UndecidedError

if TYPE_CHECKING:
    from gemini_tuning.smoke.assertions import Assertion

PLUGINS = Path(__file__).resolve().parents[3]
Function = Callable[[str, dict[str, Any]], Any]


class FunctionUnusableError(ValueError):
    """A suite names a function that is not there, or that it may not name."""


def roots(suite: Path) -> tuple[Path, ...]:
    """Return the folders whose modules a suite may name: plugins, the dags beside it, and the dags around the suite."""
    around = next((folder for folder in suite.resolve().parents if folder.name == "dags"), None)
    return tuple(folder for folder in (PLUGINS, PLUGINS.parent / "dags", around) if folder is not None)


def load(dotted: str, folders: Sequence[Path]) -> Function:
    """Return the function of a dotted path.

    :param dotted: ``module.function`` or ``package.module.function``.
    :param folders: the module's file must lie below one of them; they must be on Python's path, as Airflow puts them.
    :raises FunctionUnusableError: when there is no such function, or the module lies elsewhere.
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
    """Return a module's file if it lies below a folder, also behind links."""
    below = folder.joinpath(*module.split("."))
    for file in (below.with_name(below.name + ".py"), below / "__init__.py"):
        if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
            return file.resolve()
    return None


def check(assertion: Assertion, answer: ModelResponse, variables: Mapping[str, str]) -> Finding:
    """Ask the function."""
    if assertion.function is None:
        raise UndecidedError(f"the function {assertion.value} was not loaded")
    context = {
        "vars": dict(variables),
        "latency_ms": answer.latency * 1000,
        "finish_reason": answer.finish_reason,
        "blocked": answer.blocked,
        "prompt_tokens": answer.prompt_tokens,
        "output_tokens": answer.output_tokens,
    }
    try:
        said = assertion.function(answer.text, context)
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}"
        raise UndecidedError(f"{assertion.value} failed with {short_repr(why)}") from error
    finding = _finding(said, assertion.threshold)
    if finding is None:
        expected = 'True or False, a number from 0 to 1, or {"pass", "score", "reason"}'
        raise UndecidedError(f"{assertion.value} returned {short_repr(said)}; expected {expected}")
    return finding


def _finding(said: object, threshold: float | None) -> Finding | None:
    """Read what a function returned: promptfoo's rule for what passes."""
    if isinstance(said, bool):
        return Finding(said, f"the function returned {said}")
    if _is_score(said):
        score = float(said)  # type: ignore[arg-type]
        holds = score > 0 if threshold is None else score >= threshold
        least = "more than 0" if threshold is None else f"at least {threshold:g}"
        return Finding(holds, f"the function returned {score:g}; needed is {least}", score)
    if not isinstance(said, Mapping) or not isinstance(said.get("pass"), bool):
        return None
    score, reason = said.get("score", float(said["pass"])), said.get("reason") or ""
    if not _is_score(score) or not isinstance(reason, str):
        return None
    holds = said["pass"] and (threshold is None or score >= threshold)
    return Finding(holds, reason or f"the function says {'pass' if said['pass'] else 'fail'}, {score:g}", float(score))


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 and math.isfinite(value)
