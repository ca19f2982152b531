"""A big file on all cores: each has a Python of its own that checks pieces of whole lines.

Not multiprocessing: it would import the program that runs, Airflow, once more in each.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import msgspec

from gemini_tuning.datasets.lines import CheckedLines, check_lines

LENGTH_BYTES = 4  # before each piece, and before what was found in it
PIECES_AHEAD = 2  # for each core
_PACKAGES = Path(__file__).parents[2]


def cores() -> int:
    """Return how many there are for this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_on_all_cores(pieces: Iterable[bytes]) -> Iterator[CheckedLines]:
    """Check pieces of a file and yield what was found, in their order.

    The keys of examples are comparable among all pieces and files that are checked so, and with no others.

    :param pieces: whole lines, without the last one's end.
    :raises ChildProcessError: when one of the processes dies.
    """
    with contextlib.ExitStack() as stack:
        count = cores()
        idle = deque(stack.enter_context(_worker()) for _ in range(count))
        threads = stack.enter_context(ThreadPoolExecutor(count))
        ahead: deque[Future[bytes]] = deque()

        def ask(piece: bytes) -> bytes:
            worker = idle.popleft()  # there is one for each thread
            try:
                return _exchange(worker, piece)
            finally:
                idle.append(worker)

        for piece in pieces:
            ahead.append(threads.submit(ask, piece))
            if len(ahead) >= PIECES_AHEAD * count:
                yield _DECODE(ahead.popleft().result())
        while ahead:
            yield _DECODE(ahead.popleft().result())


@contextlib.contextmanager
def _worker() -> Iterator[subprocess.Popen[bytes]]:
    # With one seed the hash of the same text, and so an example's key, is the same in all of them.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(_PACKAGES)}
    worker = subprocess.Popen(  # noqa: S603 - this file
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    try:
        yield worker
    finally:
        worker.kill()  # it keeps nothing
        worker.communicate()


def _exchange(worker: subprocess.Popen[bytes], piece: bytes) -> bytes:
    found = None
    if worker.stdin and worker.stdout:
        with contextlib.suppress(BrokenPipeError):
            _write(worker.stdin, piece)
            found = _read(worker.stdout)
    if found is None:
        raise ChildProcessError(f"a process that checked the dataset ended with {worker.wait()}; is there no memory?")
    return found


def _write(stream: IO[bytes], content: bytes) -> None:
    stream.write(len(content).to_bytes(LENGTH_BYTES))
    stream.write(content)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes | None:
    size = stream.read(LENGTH_BYTES)
    return stream.read(int.from_bytes(size)) if len(size) == LENGTH_BYTES else None


_DECODE = msgspec.msgpack.Decoder(CheckedLines).decode


def _work() -> None:
    """Check pieces until there are no more."""
    encode = msgspec.msgpack.encode
    while (piece := _read(sys.stdin.buffer)) is not None:
        _write(sys.stdout.buffer, encode(check_lines(piece)))


if __name__ == "__main__":
    _work()
