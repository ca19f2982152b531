"""Candidates for the tests of the policy, written as short as ``11101``."""

from gemini_tuning.core.case_outcomes import CaseOutcome
from gemini_tuning.selection.candidate import Candidate

SCORES = {"1": 1.0, "0": 0.0, "h": 0.5, "H": 0.5}  # H: half credit, but passed


def outcomes(pattern: str, *, weights=None, critical=(), blocked=()) -> dict[str, CaseOutcome]:
    """Cases c0, c1 … by letter: 1 passed, 0 failed, h half credit and failed, H half credit and passed."""
    return {
        f"c{place}": CaseOutcome(
            passed=letter in "1H",
            score=SCORES[letter],
            weight=weights[place] if weights else 1.0,
            critical=place in critical,
            blocked=place in blocked,
        )
        for place, letter in enumerate(pattern)
    }


def checkpoint(identifier: str, pattern: str, *, weights=None, critical=(), blocked=(), **more) -> Candidate:
    """A checkpoint whose epoch is its number and whose step is ten times that, by default."""
    number = int(identifier) if identifier.isdigit() else None
    facts = {"epoch": number, "step": number and 10 * number, **more}
    found = outcomes(pattern, weights=weights, critical=critical, blocked=blocked)
    return Candidate(identifier, outcomes=found, **facts)


def unusable(identifier: str, error: str = "it is not deployed to an endpoint") -> Candidate:
    """A checkpoint that could not be tested."""
    return checkpoint(identifier, "", error=error)
