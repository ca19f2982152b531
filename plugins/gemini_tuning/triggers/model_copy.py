"""Wait for the operation of a model copy without a worker slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemini_tuning.core.resources import Operation
from gemini_tuning.triggers.shared_poller.model_copies import CopyWatcher
from gemini_tuning.triggers.waiting import WaitingTrigger

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook


class CopyModelTrigger(WaitingTrigger):
    """Wait for the operation of a model copy."""

    watcher = CopyWatcher

    def seen(self, hook: GeminiTuningHook, resource: Operation) -> None:
        """Log whether the operation is done."""
        self._show("done" if resource.done else "copying")
