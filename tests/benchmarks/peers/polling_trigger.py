"""A wait as each trigger of the provider's does it: for itself, every so often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.providers.google.cloud.hooks.gen_ai import GenAIGenerativeModelHook
from airflow.triggers.base import BaseTrigger, TriggerEvent


class PollingTrigger(BaseTrigger):
    """Wait for a tuning job with a client of one's own.

    :param name: full name of the job.
    :param interval: seconds between two looks.
    """

    def __init__(self, name: str, interval: float) -> None:
        super().__init__()
        self.name = name
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{__name__}.PollingTrigger", {"name": self.name, "interval": self.interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, sleep, and look again."""
        hook = GenAIGenerativeModelHook(gcp_conn_id="google_cloud_default")
        client = await asyncio.to_thread(hook.get_genai_client, project_id="demo-project", location="us-central1")
        while True:
            job = await client.aio.tunings.get(name=self.name)
            if job.has_ended:
                yield TriggerEvent({"status": "success", "resource": self.name})
                return
            await asyncio.sleep(self.interval)
