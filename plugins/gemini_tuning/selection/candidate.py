"""A checkpoint as a candidate for promotion: its results, its losses, its latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gemini_tuning.core.case_outcomes import CaseOutcome, CaseOutcomes, ResultError
from gemini_tuning.core.formatting import name
from gemini_tuning.core.text import redact

if TYPE_CHECKING:
    from gemini_tuning.core.xcom import LossesXCom, SmokeTestXCom

MAX_REASON = 200  # characters


@dataclass(frozen=True)
class Candidate(CaseOutcomes):
    """A checkpoint, or the champion, with its results; its outcomes are empty when it could not be tested."""

    checkpoint_id: str  # unique among the candidates; the champion may have any
    epoch: int | None = None
    step: int | None = None
    latency_p95_ms: float | None = None  # 95th percentile in milliseconds; None: not measured
    train_loss: float | None = None  # at its step; None: unknown
    eval_loss: float | None = None  # on the validation dataset at its step; None: unknown
    error: str | None = None  # why it could not be tested; its outcomes are then ignored
    suite_fingerprint: str | None = None  # of the suite that was run, where known

    @classmethod
    def from_smoke_test(
        cls, summary: SmokeTestXCom, outcomes: Mapping[str, CaseOutcome], losses: LossesXCom | None = None
    ) -> Self:
        """Return the candidate of a smoke test.

        :param outcomes: of its results file; ignored when the summary has an error.
        :raises ResultError: when the results file was truncated or belongs to another smoke test.
        """
        if summary.error is None and (not outcomes or summary.cases != len(outcomes)):
            message = f"cases: {summary.cases} in the XCom, but {len(outcomes)} in the results file"
            raise ResultError(message, field="cases", code="incomplete_results")
        return cls(
            checkpoint_id=summary.checkpoint_id,
            epoch=summary.epoch,
            step=summary.step,
            outcomes=outcomes if summary.error is None else {},
            latency_p95_ms=summary.latency_ms.p95,
            train_loss=losses.train_loss if losses else None,
            eval_loss=losses.eval_loss if losses else None,
            error=summary.error,
            suite_fingerprint=summary.suite_fingerprint,
        )

    @property
    def was_tested(self) -> bool:
        """Whether it has results that count."""
        return self.error is None and bool(self.outcomes)

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key: the earlier checkpoint first, an unknown step last, shorter ids before longer ones."""
        step = self.step if self.step is not None else 2**63
        return step, len(self.checkpoint_id), self.checkpoint_id

    @property
    def label(self) -> str:
        """``checkpoint 3``."""
        return f"checkpoint {name(self.checkpoint_id)}"

    @property
    def label_with_epoch(self) -> str:
        """``checkpoint 3 (epoch 3)``."""
        return self.label if self.epoch is None else f"{self.label} (epoch {self.epoch})"

    @property
    def failure(self) -> str:
        """Why it has no results, in one line."""
        return " ".join(redact(self.error or "its smoke test has no results", MAX_REASON).split())
