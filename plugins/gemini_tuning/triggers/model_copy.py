"""Defers until the operation of a model copy is done."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gemini_tuning.core.names import operation_location
from gemini_tuning.triggers.shared_poller.poller import Poller
from gemini_tuning.triggers.waiting import WaitingTrigger

if TYPE_CHECKING:
    from gemini_tuning.core.resources import Operation
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

_threads = ThreadPoolExecutor(4, thread_name_prefix="get_operation")  # the event loop's are needed to cancel jobs


class CopyPoller(Poller):
    """Polls the operations of copies one by one: the service lists operations per model only."""

    @staticmethod
    def identify(name: str) -> tuple[str, str, str]:
        """Return project, location and name of an operation."""
        return name.split("/")[1], operation_location(name), name

    async def get(self, hook: GeminiTuningHook, name: str) -> Operation:
        """Read one operation, with a single request."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_threads, lambda: hook.get_operation(name, retry=False))


class CopyModelTrigger(WaitingTrigger):
    """Fires when the operation of a model copy is done."""

    poller = CopyPoller

    def on_update(self, hook: GeminiTuningHook, resource: Operation) -> bool:
        """Log whether the operation is done."""
        self.log_change("done" if resource.done else "copying")
        return resource.done
