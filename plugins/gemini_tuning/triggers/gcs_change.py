"""A watcher of Cloud Storage for Airflow's asset watchers: an event when an object, or a folder, has changed."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from gemini_tuning.core.exceptions import PermanentServiceError, ServiceError
from gemini_tuning.core.text import redact

if TYPE_CHECKING:
    from gemini_tuning.core.resources import ObjectVersion
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

INTERVAL = 60.0  # seconds; [gemini_tuning] watch_interval
SEEN = "gemini_tuning_seen"  # key in the asset's state


class GcsObjectChangeTrigger(BaseEventTrigger):
    """Yield an event whenever the generation of an object changes, or any in a folder.

    What was seen last is kept as the state of the watched asset, so that a change while no triggerer ran is noticed as
    well. The first look only takes note. An object that is not there, and a service that does not answer, change
    nothing.

    Events: ``{"uri", "objects", "generation"}``: how many there are, and the newest one's generation.

    :param uri: ``gs://bucket/object``, or ``gs://bucket/folder/``.
    """

    def __init__(
        self, uri: str, *, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.uri = uri
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._seen: str | None = None
        self._said = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"uri": self.uri, "gcp_conn_id": self.gcp_conn_id, "impersonation_chain": self.impersonation_chain},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every ``watch_interval`` seconds, for ever."""
        from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

        hook = GeminiTuningHook(self.gcp_conn_id, self.impersonation_chain)
        self._seen = await self._kept()
        while True:
            versions = await self._look(hook)
            if versions and (digest := _digest(versions)) != self._seen:
                if self._seen is not None:
                    self.log.info("%s has changed", self.uri)
                    yield TriggerEvent(_payload(self.uri, versions))
                # After the event: dying in between repeats it, and a run for unchanged data is skipped.
                await self._keep(digest)
            await asyncio.sleep(conf.getfloat("gemini_tuning", "watch_interval", fallback=INTERVAL))

    async def _look(self, hook: GeminiTuningHook) -> Mapping[str, ObjectVersion]:
        """Return what is there; nothing when that cannot be told."""
        try:
            return await asyncio.to_thread(hook.object_versions, self.uri)
        except ServiceError as error:
            if isinstance(error, PermanentServiceError) and error.code == 404:
                return {}
            if (text := redact(error)) != self._said:  # once, not every minute
                self._said = text
                self.log.warning("Cannot look at %s, looking on: %s", self.uri, text)
            return {}

    async def _kept(self) -> str | None:
        if self.asset_state_store is None:
            return None
        kept = await self.asset_state_store.aget(SEEN)
        return kept if isinstance(kept, str) else None

    async def _keep(self, digest: str) -> None:
        self._seen = digest
        if self.asset_state_store is not None:
            await self.asset_state_store.aset(SEEN, digest)


def _digest(versions: Mapping[str, ObjectVersion]) -> str:
    generations = {uri: version.generation for uri, version in versions.items()}
    return hashlib.sha256(json.dumps(generations, sort_keys=True).encode()).hexdigest()


def _payload(uri: str, versions: Mapping[str, ObjectVersion]) -> dict[str, Any]:
    newest = max(version.generation for version in versions.values())
    return {"uri": uri, "objects": len(versions), "generation": str(newest)}
