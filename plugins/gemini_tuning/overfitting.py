"""Where a tuning began to overfit, by its losses. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossCurves:
    """Losses over the steps of a job, in any order.

    :param train: (step, loss).
    :param eval: (step, loss) on the validation dataset.
    :param missing: what could not be read and why, one sentence each.
    """

    train: tuple[tuple[int, float], ...] = ()
    eval: tuple[tuple[int, float], ...] = ()
    missing: tuple[str, ...] = ()
