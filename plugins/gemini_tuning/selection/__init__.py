"""Which checkpoint wins, and why: pure functions. The rules stand in :mod:`gemini_tuning.selection.decide`."""

from gemini_tuning.selection.decide import decide
from gemini_tuning.selection.decision import Assessment, Decision
from gemini_tuning.selection.evidence import CaseOutcome, Contender, ResultError
from gemini_tuning.selection.gates import Policy
from gemini_tuning.selection.overfitting import LossCurves, curves_from
from gemini_tuning.selection.smoke_results import contender_from, outcomes_from_lines

__all__ = [
    "Assessment",
    "CaseOutcome",
    "Contender",
    "Decision",
    "LossCurves",
    "Policy",
    "ResultError",
    "contender_from",
    "curves_from",
    "decide",
    "outcomes_from_lines",
]
