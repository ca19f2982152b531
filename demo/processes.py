"""Child processes that leave nothing behind, and the folder that they write into."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, BinaryIO

import psutil

MARKER = ".gemini-demo"
_CLAIMED: set[int] = set()  # ports that this process has been given


class DemoError(Exception):
    """Something went wrong; the message is one clear line, with the log's path where there is one."""


class Process:
    """A child process with a log file, in a process group of its own so that Ctrl-C reaches us alone.

    :param name: what to call it, also the log file's name.
    :param command: program and arguments.
    :param log_folder: where ``<name>.log`` goes.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log_folder: Path, cwd: Path) -> None:
        self.name = name
        self.log = log_folder / f"{name}.log"
        self._command, self._env, self._cwd = list(command), dict(env), cwd
        self._popen: subprocess.Popen[bytes] | None = None
        self._family: list[psutil.Process] = []
        self._orphans: list[psutil.Process] = []  # what a killed process of ours has left behind

    @property
    def pid(self) -> int:
        """Id of the process."""
        if self._popen is None:
            raise DemoError(f"{self.name} was not started")
        return self._popen.pid

    def start(self) -> None:
        """Start it, be it again; its output is appended to the log."""
        self._orphans, self._family = [old for old in (*self._orphans, *self._family) if runs(old)], []
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, timeout: float) -> None:
        """Run it to its end.

        :param timeout: seconds.
        :raises DemoError: when it fails or takes longer.
        """
        self.start()
        if self._popen is None:
            raise DemoError(f"{self.name} did not start")
        try:
            status = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise DemoError(f"{self.name} took more than {timeout:g} s; log: {self.log}") from None
        finally:
            self.stop()
        if status:
            raise DemoError(f"{self.name} failed with status {status}; log: {self.log}")

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def check_alive(self) -> None:
        """Raise when the process has exited.

        :raises DemoError: naming the log.
        """
        if self._popen is not None and self._popen.poll() is not None:
            raise DemoError(f"{self.name} ended with status {self._popen.returncode}; log: {self.log}")

    def terminate(self) -> None:
        """Send SIGTERM to the process and all its descendants; :meth:`stop` waits for them."""
        self._family = [*self.family(), *self.orphans()]
        send(self._family, signal.SIGTERM)

    def stop(self, patience: float = 10) -> None:
        """End the process and all its descendants; after ``patience`` seconds those that are left are killed.

        Airflow puts each task into a process group of its own, so ending our group would not be enough.
        """
        if self._popen is None:
            return
        if not self._family:
            self.terminate()
        end = time.monotonic() + patience
        while time.monotonic() < end and any(map(runs, self._family)):
            self._popen.poll()
            time.sleep(0.05)
        send(self._family, signal.SIGKILL)
        self._popen.wait()
        self._family, self._orphans = [], []

    def kill(self, *, family: bool = True) -> None:
        """Send SIGKILL, as a crash would.

        :param family: its descendants too, as a machine that fails would. Otherwise they continue without a parent,
            at the latest until :meth:`stop`.
        """
        members = self.family()
        self._orphans = [*self.orphans(), *members[1:]]
        send(members if family else members[:1], signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait()

    def family(self) -> list[psutil.Process]:
        """Return the process and all its descendants."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return _with_descendants(psutil.Process(self.pid))
        return []

    def orphans(self) -> list[psutil.Process]:
        """Return what runs on of the families of earlier lives of this process."""
        return [one for orphan in self._orphans if runs(orphan) for one in _with_descendants(orphan)]


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _with_descendants(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def runs(process: psutil.Process) -> bool:
    """Return whether a process runs; one that is dead, but that its parent has not reaped, does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def claim_folder(folder: Path) -> IO[str]:
    """Take a folder for ourselves and empty it; the returned file holds the claim as long as it is open.

    :raises DemoError: when it contains other files, or another demo uses it.
    """
    marker = folder / MARKER
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise DemoError(f"{folder} has files that are not the demo's; choose an empty folder with ARGS='--home DIR'")
    folder.mkdir(parents=True, exist_ok=True)
    claim = marker.open("a")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        claim.close()
        raise DemoError(f"another demo uses {folder}; choose another folder with ARGS='--home DIR'") from None
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != marker:
            path.unlink()
    return claim


def wait_until(
    what: str, condition: Callable[[], bool], processes: Sequence[Process], timeout: float, interval: float = 0.25
) -> None:
    """Wait until a condition holds; fail immediately when one of the processes exits.

    :param what: completes "… did not come within N s".
    :param timeout: seconds.
    :raises DemoError: with the logs' folder.
    """
    end = time.monotonic() + timeout
    while not condition():
        for process in processes:
            process.check_alive()
        if time.monotonic() > end:
            logs = processes[0].log.parent if processes else "none"
            raise DemoError(f"{what} did not come within {timeout:g} s; logs: {logs}")
        time.sleep(interval)


def require_free_port(port: int, option: str) -> None:
    """Raise when a port is in use.

    :raises DemoError: naming the option that chooses another.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise DemoError(
                f"port {port} is in use (is another demo running?); choose another with ARGS='{option} N'"
            ) from None


def free_port() -> int:
    """Return a loopback port that is free, and that no other call gets while this process lives.

    What is going to listen there starts only later: without the claim two Airflows that start side by side could get
    the same one.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if _claim(port):
            return port


@functools.cache
def _claims() -> BinaryIO:
    return (Path(tempfile.gettempdir()) / f"gemini-tuning-ports-{os.getuid()}").open("ab")


def _claim(port: int) -> bool:
    """Lock one byte of a file that all processes of this user share; the system lets go of it when this one ends."""
    if port in _CLAIMED:
        return False
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _CLAIMED.add(port)
    return True
