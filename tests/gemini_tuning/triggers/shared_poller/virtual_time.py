"""An event loop whose clock jumps to the next event: hours of waiting in milliseconds, the same every time."""

import asyncio
import random
import selectors

THREAD_SECONDS = 0.1  # that a call in a thread takes


class _Selector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("no event will ever happen")
            self.now += max(timeout, 0.0)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self):
        return self._clock.now

    def run_in_executor(self, _executor, call, *arguments):
        async def called():
            await asyncio.sleep(THREAD_SECONDS)
            return call(*arguments)

        return asyncio.ensure_future(called(), loop=self)


def run(main, seed=1):
    """Run a coroutine in virtual time, with a fixed seed."""
    random.seed(seed)
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
