"""What a checkpoint must have shown to be chosen at all. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gemini_tuning.wording import shown


@dataclass(frozen=True)
class Policy:
    """What ops ask of a checkpoint.

    :param min_pass_rate: 0 to 1, share of the cases by weight.
    :param max_latency_p95_ms: milliseconds; ``None`` for no limit.
    :param allow_blocked: whether an answer that the service held back is no reason against a checkpoint.
    :param significance: 0 to 1, both exclusive; a difference with a smaller two-sided p-value counts as one.
    :param require_improvement: whether a checkpoint must be significantly better than the champion.
    :raises ValueError: naming the field.
    """

    min_pass_rate: float = 0.8
    max_latency_p95_ms: float | None = None
    allow_blocked: bool = False
    significance: float = 0.05
    require_improvement: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_pass_rate <= 1:
            raise ValueError(f"min_pass_rate: {shown(self.min_pass_rate)} is not between 0 and 1")
        if not 0 < self.significance < 1:
            raise ValueError(f"significance: {shown(self.significance)} is not between 0 and 1, such as 0.05")
        if self.max_latency_p95_ms is not None and not 0 < self.max_latency_p95_ms < math.inf:
            raise ValueError(f"max_latency_p95_ms: {shown(self.max_latency_p95_ms)} is not above 0")
