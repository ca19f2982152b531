"""A clock that both sides of a bench, and the local Vertex AI, see alike: it runs like the real one, and waits are over
at once."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from vertex_emulator.process import Emulator

T = TypeVar("T")

GRACE = 0.3
"""Seconds without a byte or a thread's result after which an event loop is taken to wait for nothing but its timers."""


class VirtualTime:
    """Real time, and what was skipped.

    :param emulator: whose clock runs at speed 1, and is moved along.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.skipped = 0.0

    def skip(self, seconds: float) -> None:
        """Let time pass: in this process and at the service."""
        if seconds > 0:
            self._emulator.advance(seconds)
            self.skipped += seconds

    @contextmanager
    def _ruling(self) -> Iterator[None]:
        """Make this process live by this clock; it is never given back, so: in a process of its own."""
        now, monotonic = time.time, time.monotonic
        time.time = lambda: now() + self.skipped
        time.monotonic = lambda: monotonic() + self.skipped
        time.sleep = self.skip  # type: ignore[assignment]
        yield

    def in_a_process(self, work: Callable[[], T]) -> tuple[T, float]:
        """Do something in a forked process, as Airflow runs a task.

        :return: what came out, and the seconds that it took by this clock, from the fork on.
        """
        context = get_context("fork")
        ours, theirs = context.Pipe()
        forked = time.monotonic() + self.skipped
        process = context.Process(target=self._work, args=(work, forked, theirs))
        process.start()
        theirs.close()
        try:
            result, seconds, self.skipped = ours.recv()
        except EOFError:
            raise RuntimeError("the process failed; its traceback is above") from None
        finally:
            process.join()
        return result, seconds

    def _work(self, work: Callable[[], Any], forked: float, answer: Any) -> None:
        with self._ruling():
            result = work()
            answer.send((result, time.monotonic() - forked, self.skipped))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something in an event loop that does not wait for its timers; below :meth:`in_a_process` only."""
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_SkippingSelector(self))) as runner:
            return runner.run(coroutine)


class _SkippingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Where an event loop would sleep until its next timer, time is moved on to it."""

    def __init__(self, clock: VirtualTime) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        """Wait for what really happens; when nothing does, skip the rest."""
        if timeout is None or timeout <= GRACE:
            return super().select(timeout)
        began = time.monotonic()
        if not (events := super().select(GRACE)):
            self._clock.skip(timeout - (time.monotonic() - began))
        return events
