"""Fires at once, with the version of this package on the triggerer."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from gemini_tuning import __version__

# What the waits of a run import. Their clients take a second to import, which must not block the event loop.
NEEDED = ("gemini_tuning.triggers.tuning_job", "gemini_tuning.triggers.model_copy", "gemini_tuning.hooks.gemini_tuning")

# Airflow can fail a task whose trigger fires before the scheduler has seen the end of the process that deferred:
# https://github.com/apache/airflow/issues/72716.
DELAY = 1.5  # seconds


class TriggererCheckTrigger(BaseTrigger):
    """Imports what the other triggers need; its event: ``{"version"}`` or ``{"error"}``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, of which there are none."""
        return f"{__name__}.{type(self).__qualname__}", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Import, and fire."""
        await asyncio.sleep(DELAY)
        try:
            for module in NEEDED:
                await asyncio.to_thread(importlib.import_module, module)
        except Exception as error:  # an import may raise anything
            yield TriggerEvent({"version": __version__, "error": f"{type(error).__name__}: {error}"})
        else:
            yield TriggerEvent({"version": __version__})
