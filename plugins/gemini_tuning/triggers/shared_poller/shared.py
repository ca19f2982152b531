"""Who waits joins the watcher of its connection, project and location; the last one to leave closes it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from gemini_tuning.triggers.shared_poller.cadence import Cadence
from gemini_tuning.triggers.shared_poller.rate_limit import RequestBudget
from gemini_tuning.triggers.shared_poller.watcher import Seen, Unanswered, Wait, Watcher

Key = tuple[type[Watcher[Any]], str, str | tuple[str, ...] | None, str, str]

# Event loops come and go in tests and in dag.test(); a triggerer has one.
_WATCHERS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Key, Watcher[Any]]] = WeakKeyDictionary()
_BUDGETS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, RequestBudget]] = WeakKeyDictionary()
_CLOSING: set[asyncio.Task[None]] = set()


@contextlib.asynccontextmanager
async def waiting_for(
    kind: type[Watcher[Any]],
    name: str,
    *,
    gcp_conn_id: str,
    impersonation_chain: str | Sequence[str] | None,
    poll_interval: float,
    looked_ago: float | None = None,
    seen: Seen,
    unanswered: Unanswered,
) -> AsyncIterator[asyncio.Future[None]]:
    """Have a resource looked at, as long as the block lasts.

    The future that the block gets is done when the resource is over, and raises what the service refuses for good with.

    :param kind: :class:`TuningJobWatcher` or :class:`CopyWatcher`.
    :param name: full name of the resource.
    :param poll_interval: seconds between two looks while nothing is known of the resource's pace; see
        :class:`~gemini_tuning.triggers.shared_poller.cadence.Cadence`.
    :param looked_ago: seconds since somebody looked and found it under way; ``None``: nobody did.
    :param seen: called with the hook and the resource when it has changed; must not block.
    :param unanswered: called with the error of each look that the service did not answer.
    """
    loop = asyncio.get_running_loop()
    chain = impersonation_chain if impersonation_chain is None or isinstance(impersonation_chain, str) else tuple(
        impersonation_chain
    )  # fmt: skip
    key: Key = (kind, gcp_conn_id, chain, *kind.place(name))
    watchers = _WATCHERS.setdefault(loop, {})
    if (watcher := watchers.get(key)) is None:
        project = key[3]
        budget = _BUDGETS.setdefault(loop, {}).setdefault(project, RequestBudget())
        watcher = watchers[key] = kind(gcp_conn_id, impersonation_chain, project, key[4], budget)
    cadence = Cadence(poll_interval, is_short=kind.is_short, now=loop.time())
    wait = Wait(name, cadence, loop.time() + cadence.begin(looked_ago), seen=seen, unanswered=unanswered)
    watcher.add(wait)
    try:
        yield wait.end
    finally:
        watcher.remove(wait)
        if not watcher.waits:
            del watchers[key]
            closing = asyncio.create_task(watcher.aclose(), context=contextvars.Context())
            _CLOSING.add(closing)
            closing.add_done_callback(_CLOSING.discard)
            await asyncio.shield(closing)  # whoever leaves may be cancelled again; the clients are closed all the same
