"""A trigger for Airflow's asset watchers: fires when an object of Cloud Storage, or any in a folder, has changed."""

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

POLL_INTERVAL = 60.0  # seconds; [gemini_tuning] watch_interval
STATE_KEY = "gemini_tuning_seen"  # in the asset's state store


class GcsObjectChangeTrigger(BaseEventTrigger):
    """Fires when the generation of an object changes, or of any object in a folder.

    The last state is stored in the state store of the watched asset, so that a change while no triggerer ran is noticed
    too. The first poll only stores it. An object that does not exist and a service that is unavailable change nothing.

    Events: ``{"uri", "objects", "generation"}``: the number of objects, and the generation of the newest one
    (https://cloud.google.com/storage/docs/json_api/v1/objects).

    :param uri: ``gs://bucket/object``, or ``gs://bucket/folder/``.
    """

    def __init__(
        self, uri: str, *, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.uri = uri
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._digest: str | None = None
        self._logged = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        arguments = {name: getattr(self, name) for name in ("uri", "gcp_conn_id", "impersonation_chain")}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll every ``watch_interval`` seconds, and yield an event per change."""
        from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

        hook = GeminiTuningHook(self.gcp_conn_id, self.impersonation_chain)
        self._digest = await self._load()
        while True:
            versions = await self._poll(hook)
            if versions and (digest := _digest(versions)) != self._digest:
                if self._digest is not None:
                    self.log.info("%s has changed", self.uri)
                    newest = max(version.generation for version in versions.values())
                    yield TriggerEvent({"uri": self.uri, "objects": len(versions), "generation": str(newest)})
                # After the event: a crash in between repeats it, and a run for unchanged data is skipped.
                await self._store(digest)
            await asyncio.sleep(conf.getfloat("gemini_tuning", "watch_interval", fallback=POLL_INTERVAL))

    async def _poll(self, hook: GeminiTuningHook) -> Mapping[str, ObjectVersion]:
        try:
            return await asyncio.to_thread(hook.object_versions, self.uri)
        except ServiceError as error:
            if isinstance(error, PermanentServiceError) and error.code == 404:
                return {}
            if (text := redact(error)) != self._logged:  # once, not with each poll
                self._logged = text
                self.log.warning("Could not read %s, retrying: %s", self.uri, text)
            return {}

    async def _load(self) -> str | None:
        if self.asset_state_store is None:
            return None
        digest = await self.asset_state_store.aget(STATE_KEY)
        return digest if isinstance(digest, str) else None

    async def _store(self, digest: str) -> None:
        self._digest = digest
        if self.asset_state_store is not None:
            await self.asset_state_store.aset(STATE_KEY, digest)


def _digest(versions: Mapping[str, ObjectVersion]) -> str:
    generations = {uri: version.generation for uri, version in versions.items()}
    return hashlib.sha256(json.dumps(generations, sort_keys=True).encode()).hexdigest()
