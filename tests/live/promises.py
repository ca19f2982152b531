"""What this project itself promises, whatever the service does: a promise that does not hold fails the live test.

Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.live.evidence import ENDED, Evidence, Json
from tests.live.wire import dig

STOPPING = ENDED | {"JOB_STATE_CANCELLING"}


@dataclass(frozen=True)
class Outcome:
    """How the DAG run ended.

    :param state: of the run.
    :param failed_tasks: ids.
    :param report: what the task ``report`` pushed; empty when it pushed nothing.
    :param report_there: whether the report lies where the task says.
    """

    state: str
    failed_tasks: list[str] = field(default_factory=list)
    report: Json = field(default_factory=dict)
    report_there: bool = False


def broken(evidence: Evidence, outcome: Outcome) -> list[str]:
    """Return the promises that do not hold, one sentence each."""
    winner = outcome.report.get("winner")
    model, copy = evidence.reply("model"), evidence.reply("copy")
    held = {
        f"The run ends well: it is {outcome.state}, failed: {', '.join(outcome.failed_tasks) or 'none'}.": (
            outcome.state == "success"
        ),
        f"A run makes one job: there are {len(evidence.jobs)}.": len(evidence.jobs) == 1,
        f"No job is left running: {_running(evidence)}.": not _running(evidence),
        f"The winner is the default: {winner} won, {model.at('defaultCheckpointId')} is.": (
            winner is not None and winner == model.at("defaultCheckpointId")
        ),
        f"The copy has the winner as its default: {copy.at('defaultCheckpointId')} is.": (
            winner is not None and winner == copy.at("defaultCheckpointId")
        ),
        "The copy has all checkpoints.": bool(copy.items("checkpoints"))
        and copy.items("checkpoints") == model.items("checkpoints"),
        "The report lies where the run says.": outcome.report_there,
    }
    return [words for words, holds in held.items() if not holds] + _left_changed(evidence, winner)


def _left_changed(evidence: Evidence, winner: Any) -> list[str]:
    """Return whether the live test itself left another default than it found."""
    restored = evidence.reply("model_restored")
    if "patch" not in evidence.replies or restored.at("defaultCheckpointId") == winner:
        return []
    return [f"The live test sets the default back: {restored.at('defaultCheckpointId')} is, {winner} was."]


def _running(evidence: Evidence) -> list[str]:
    last = [looks[-1].job for looks in (evidence.cancelled,) if looks]
    return [str(dig(job, "name")) for job in [*evidence.jobs, *last] if dig(job, "state") not in STOPPING]
