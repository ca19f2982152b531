"""Looks for the operations of copies."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from gemini_tuning.core.names import operation_location
from gemini_tuning.core.resources import Operation, Share
from gemini_tuning.triggers.shared_poller.watcher import Watcher

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook


class CopyWatcher(Watcher[Operation]):
    """Looks for the operations of copies: one by one, for the service lists them for each model only."""

    is_short = True

    @classmethod
    def place(cls, name: str) -> tuple[str, str]:
        """Return project and location of an operation."""
        return name.split("/")[1], operation_location(name)

    async def ask(self, hook: GeminiTuningHook, name: str) -> Operation:
        """Ask for one operation once."""
        return await self.in_thread(functools.partial(hook.get_operation, name, retry=False))

    @staticmethod
    def is_over(resource: Operation) -> bool:
        """Return whether it is done, well or not."""
        return resource.done

    @staticmethod
    def share(resource: Operation) -> Share | None:  # noqa: ARG004
        """Return ``None``: a copy does not tell."""
        return None
