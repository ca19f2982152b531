"""The decision as the report, the approver and the next tasks read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from gemini_tuning.core.text import shorten
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.gates import GateFinding
from gemini_tuning.selection.paired_test import Comparison

Outcome = Literal["promote", "keep_champion", "no_winner"]
NextStep = Literal["approve", "set_default", "publish", "report"]

MAX_BYTES = 7_700  # of the XCom with up to 10 checkpoints, to which the operator adds up to 300
CHECKPOINTS = 10  # each further one may add a tenth of that
# Sentences a side, characters of each, characters of the reason: the first that fits is taken.
_SIZES = (
    (12, 400, 1_500), (8, 240, 1_000), (8, 160, 800), (8, 120, 600), (7, 100, 500), (7, 80, 400), (6, 70, 350),
    (5, 60, 300), (3, 50, 250), (2, 40, 200), (0, 0, 80),
)  # fmt: skip
_RATES = ("pass_rate", "pass_rate_interval", "score", "score_interval")


@dataclass(frozen=True)
class Assessment:
    """A checkpoint, or the champion, with the reasons for and against it."""

    candidate: Candidate
    findings: tuple[GateFinding, ...]
    versus: Comparison | None = None  # it compared with the champion, when both were tested

    @property
    def passed_gates(self) -> bool:
        """Whether it is eligible, for the policy and for an approver."""
        return not any(finding.is_disqualifying for finding in self.findings)

    @property
    def speaks_for(self) -> tuple[str, ...]:
        """Reasons for it: short sentences with figures, without their subject."""
        return tuple(finding.text for finding in self.findings if finding.is_favorable)

    @property
    def speaks_against(self) -> tuple[str, ...]:
        """Reasons against it, the disqualifying ones first."""
        found = [finding for finding in self.findings if not finding.is_favorable]
        return tuple(finding.text for finding in sorted(found, key=lambda finding: not finding.is_disqualifying))

    def as_dict(self, sentences: int, characters: int) -> dict[str, Any]:
        """Return the XCom; the id is never cut, because later tasks need it."""
        candidate = self.candidate
        rates = {rate: _rounded(getattr(candidate, rate), 4) if candidate.was_tested else None for rate in _RATES}
        return {
            "checkpoint_id": candidate.checkpoint_id,
            "epoch": candidate.epoch,
            "step": candidate.step,
            **rates,
            "latency_p95_ms": _rounded(candidate.latency_p95_ms, 1),
            "train_loss": _rounded(candidate.train_loss, 5),
            "eval_loss": _rounded(candidate.eval_loss, 5),
            "passed_gates": self.passed_gates,
            "speaks_for": _first(self.speaks_for, sentences, characters),
            "speaks_against": _first(self.speaks_against, sentences, characters),
        }


@dataclass(frozen=True)
class Decision:
    """Which checkpoint wins."""

    winner: str | None  # checkpoint id; None: nothing is to be promoted
    outcome: Outcome  # keep_champion: no checkpoint replaces it; no_winner: no champion and no eligible checkpoint
    reason: str
    assessments: tuple[Assessment, ...]  # all checkpoints, best first
    champion: Assessment | None = None  # the model in production, if there is one
    overfitting: str | None = None  # where it began; None: the losses show none
    missing: tuple[str, ...] = ()  # evidence that was missing, a sentence each

    def next_step(self, default_checkpoint_id: str | None, *, require_approval: bool) -> NextStep:
        """Return how the run continues; ``publish`` when the winner is the model's default checkpoint already."""
        if self.winner is None:
            return "report"
        if require_approval:
            return "approve"
        return "publish" if self.winner == default_checkpoint_id else "set_default"

    def as_dict(self) -> dict[str, Any]:
        """Return the XCom: plain JSON, under 8 KB with 10 checkpoints and the champion.

        It has the figures of every checkpoint. When the explanations are too long, the last sentences of each list are
        left out and the longest are cut.
        """
        room = MAX_BYTES * max(CHECKPOINTS, len(self.assessments)) // CHECKPOINTS
        for size in _SIZES:
            found = self._as_dict(*size)
            if len(json.dumps(found)) < room:
                break
        return found

    def _as_dict(self, sentences: int, characters: int, of_reason: int) -> dict[str, Any]:
        return {
            "winner": self.winner,
            "outcome": self.outcome,
            "reason": shorten(self.reason, of_reason),
            "overfitting": shorten(self.overfitting, of_reason) if self.overfitting else None,
            "missing": _first(self.missing, sentences, characters),
            "champion": self.champion.as_dict(sentences, characters) if self.champion else None,
            "checkpoints": [assessment.as_dict(sentences, characters) for assessment in self.assessments],
        }


def _first(texts: tuple[str, ...], sentences: int, characters: int) -> list[str]:
    return [text if len(text) <= characters else f"{text[: characters - 1]}…" for text in texts[:sentences]]


def _rounded(value: float | tuple[float, ...] | None, digits: int) -> float | list[float] | None:
    if isinstance(value, tuple):
        return [round(bound, digits) for bound in value]
    return None if value is None else round(value, digits)
