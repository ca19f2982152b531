"""Child processes that leave nothing behind: each in a process group of its own, its output in a log file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil


class DemoError(Exception):
    """Something went wrong; the message is one clear line, with the log's path where there is one."""


class Process:
    """A child process with its own process group and log file.

    :param name: what to call it, also the log file's name.
    :param command: program and arguments.
    :param log_folder: where ``<name>.log`` goes.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log_folder: Path, cwd: Path) -> None:
        self.name = name
        self.log = log_folder / f"{name}.log"
        self._command, self._env, self._cwd = list(command), dict(env), cwd
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Id of the process and of its group."""
        if self._popen is None:
            raise DemoError(f"{self.name} was not started")
        return self._popen.pid

    def start(self) -> None:
        """Start it; its output is appended to the log."""
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

    def check_alive(self) -> None:
        """Raise when it has ended by itself.

        :raises DemoError: naming the log.
        """
        if self._popen is not None and self._popen.poll() is not None:
            raise DemoError(f"{self.name} ended with status {self._popen.returncode}; log: {self.log}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group: Airflow's children survive their parent's SIGTERM."""
        if self._popen is not None:
            try:
                os.killpg(self._popen.pid, number)
            except ProcessLookupError:
                return

    def stop(self, patience: float = 10) -> None:
        """End the whole group: SIGTERM, and SIGKILL for what is left after ``patience`` seconds."""
        if self._popen is None:
            return
        self.signal(signal.SIGTERM)
        end = time.monotonic() + patience
        while time.monotonic() < end and self.alive():
            self._popen.poll()
            time.sleep(0.05)
        self.signal(signal.SIGKILL)
        self._popen.wait()

    def alive(self) -> bool:
        """Return whether a member of the group still runs; a dead one that its parent has not reaped does not."""
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    return True
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return False


def wait_until(
    what: str, condition: Callable[[], bool], processes: Sequence[Process], timeout: float, interval: float = 0.25
) -> None:
    """Wait until a condition holds, and give up at once when one of the processes ends.

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
    """Refuse to go on when a port is taken.

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
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
