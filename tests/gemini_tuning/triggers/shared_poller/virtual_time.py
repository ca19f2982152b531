"""An event loop whose clock jumps to the next thing to do: hours of waiting in milliseconds, the same every time."""

import asyncio
import random
import selectors


class _Selector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing will ever happen any more")
            self.now += max(timeout, 0.0)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self):
        return self._clock.now


def run(main, seed=1):
    """Run a coroutine in virtual time, with its own random numbers."""
    random.seed(seed)
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
