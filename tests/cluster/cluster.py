"""``docker compose up`` without containers: PostgreSQL, Redis, the local Vertex AI and all of Airflow as processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from demo.processes import DemoError, Process, claim_folder, free_port, runs, send, wait_until
from demo.stack import REPOSITORY, START_TIMEOUT, Stack, base_environment
from tests.cluster import compose

INSIDE = "/opt/airflow"  # the folder in a container that code, logs and keys are in
PORTS = ("postgres", "redis", "scheduler-health")


@dataclass
class Cluster(Stack):
    """The services of docker-compose.yaml, one process for each container.

    Each has a folder that stands for its container's file system, with links to what the file mounts. The clock of the
    local Vertex AI stands still.

    :param scale: containers of a service, where that is not what the file says; as ``docker compose up --scale``.
    """

    scale: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables = _make_env() | {
            "AIRFLOW_PORT": str(self.airflow_port),
            "VERTEX_EMULATOR_PORT": str(self.emulator_port),
        }
        self.password = self.variables["AIRFLOW_ADMIN_PASSWORD"]
        super().__post_init__()
        self.compose = compose.read(self.variables)
        self.ports = {name: free_port() for name in PORTS}
        # Not below ``home``: PostgreSQL refuses to run as root, and its user may not get there.
        self.database = Path(tempfile.mkdtemp(prefix="gemini-cluster-postgres-"))

    def here(self, folder: Path) -> dict[str, str]:
        """Return all that is different on one machine: what the file says, and what it is called here.

        :param folder: that stands for the container's file system.
        """
        return {
            "@postgres:5432": f"@127.0.0.1:{self.ports['postgres']}",
            "@redis:6379": f"@127.0.0.1:{self.ports['redis']}",
            "redis-server": f"redis-server --bind 127.0.0.1 --port {self.ports['redis']}",
            "redis-cli": f"redis-cli -p {self.ports['redis']}",
            "//airflow-apiserver:8080": f"//127.0.0.1:{self.airflow_port}",
            "--host vertex-emulator --port 8099": f"--host 127.0.0.1 --port {self.emulator_port}",
            "--host=0.0.0.0": "--host=127.0.0.1",
            "--port=8099": f"--port={self.emulator_port}",
            "//localhost:8080": f"//127.0.0.1:{self.airflow_port}",
            "//localhost:8099": f"//127.0.0.1:{self.emulator_port}",
            "//localhost:8974": f"//127.0.0.1:{self.ports['scheduler-health']}",
            INSIDE: str(folder),
        }

    def own(self, name: str, folder: Path) -> dict[str, str]:
        """Return what a container has to itself, and a process has to be told: its home, name, addresses and ports."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{_postgres_programs()}:{os.environ['PATH']}",
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "getpass.getuser",
            "LOGNAME": name,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.airflow_port),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.ports["scheduler-health"]),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "PGDATA": str(self.database / "data"),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.ports["postgres"]),
            "VERTEX_EMULATOR_SPEED": "0",
        }

    def start(self) -> None:
        """Start everything in the order that the file asks for, and wait until Airflow has read the DAGs.

        :raises DemoError: naming what failed and its log.
        """
        self._claim = claim_folder(self.home)
        self.logs.mkdir()
        services = self.compose["services"]
        for service, one in compose.in_order(services):
            for other, how in one.get("depends_on", {}).items():
                if other in services and how["condition"] == "service_healthy":
                    self._wait_until_healthy(other)
            for number in range(self.scale.get(service, one.get("scale", 1))):
                self._start_container(service, f"{service}-{number + 1}")
        self.wait_for_airflow()

    def stop(self) -> None:
        """Stop everything, and what a killed part may have left."""
        super().stop()
        send(self.leftovers(), signal.SIGKILL)
        shutil.rmtree(self.database, ignore_errors=True)

    def leftovers(self) -> list[psutil.Process]:
        """Return the processes of this cluster that run, by the folder that they work in."""
        mine = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                folder = Path(process.cwd())
                if runs(process) and (folder.is_relative_to(self.home) or folder.is_relative_to(self.database)):
                    mine.append(process)
        return mine

    def _start_container(self, service: str, name: str) -> None:
        one, folder = self.compose["services"][service], self.home / name
        self._mount(one, folder)
        env = self._environment(service, name)
        if service == "postgres":
            self._start_postgres(name, env)
            return
        words = self._local(compose.command(one), folder)
        if words[:3] == ["airflow", "celery", "worker"]:
            words.append(f"--celery-hostname=celery@{name}")
        if one["restart"] == "no":
            Process(name, words, env, self.logs, folder).run(START_TIMEOUT)
            return
        self.processes[name] = Process(name, words, env, self.logs, folder)
        self.processes[name].start()

    def _environment(self, service: str, name: str) -> dict[str, str]:
        folder = self.home / name
        given = self.compose["services"][service].get("environment", {})
        given = {key: self._local([value], folder, split=False)[0] for key, value in given.items()}
        return {**base_environment(), **self.own(name, folder), **given}

    def _local(self, words: list[str], folder: Path, *, split: bool = True) -> list[str]:
        """Replace what is different here; a program may get options."""
        found = []
        for index, word in enumerate(words):
            text = word
            for there, replacement in self.here(folder).items():
                text = text.replace(there, replacement)
            if strange := [name for name in self.compose["services"] if f"@{name}:" in text or f"//{name}:" in text]:
                raise DemoError(f"docker-compose.yaml has an address that is not known here, of {strange[0]}: {word}")
            found += text.split() if split and index == 0 else [text]
        return found

    def _mount(self, service: compose.Json, folder: Path) -> None:
        """Make links to what the file mounts, and the files that it writes."""
        folder.mkdir()
        for source, target in (volume.split(":")[:2] for volume in service.get("volumes", [])):
            path = Path(target.replace(INSIDE, str(folder)))
            if not path.is_relative_to(folder):
                continue  # PostgreSQL's data, see ``database``
            volume = REPOSITORY / source if source.startswith("./") else self.home / "volumes" / source
            volume.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(volume)
        for config in service.get("configs", []):
            path = Path(config["target"].replace(INSIDE, str(folder)))
            path.write_text(self.compose["configs"][config["source"]]["content"])
            path.chmod(config["mode"])

    def _start_postgres(self, name: str, env: Mapping[str, str]) -> None:
        """Do what the image's entrypoint does with its variables: a superuser with a password, and a database."""
        password = self.database / "password"
        password.write_text(env["POSTGRES_PASSWORD"])
        as_user = []
        if os.geteuid() == 0:
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            for path in (self.database, password):
                shutil.chown(path, "postgres", "postgres")
        user = env["POSTGRES_USER"]
        initdb = ["initdb", f"--username={user}", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8"]
        Process("initdb", [*as_user, *initdb], env, self.logs, self.database).run(START_TIMEOUT)
        password.unlink()
        server = ["postgres", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        self.processes[name] = Process(name, [*as_user, *server], env, self.logs, self.database)
        self.processes[name].start()
        self._wait_until_healthy("postgres")
        create = ["createdb", f"--username={user}", env["POSTGRES_DB"]]
        own = {**env, "PGPASSWORD": env["POSTGRES_PASSWORD"]}
        Process("createdb", create, own, self.logs, self.database).run(START_TIMEOUT)

    def _wait_until_healthy(self, service: str) -> None:
        name = f"{service}-1"
        check = self._local(compose.health_check(self.compose["services"][service]), self.home / name, split=False)
        env = self._environment(service, name)

        def healthy() -> bool:
            return subprocess.run(check, env=env, capture_output=True, check=False).returncode == 0

        wait_until(f"a healthy {service}", healthy, list(self.processes.values()), START_TIMEOUT)


def _make_env() -> dict[str, str]:
    """Return what ``make env`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(REPOSITORY / "Makefile", folder)
        subprocess.run(["make", "env", f"PYTHON={sys.executable}"], cwd=folder, check=True, capture_output=True)
        lines = (Path(folder) / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def _postgres_programs() -> str:
    """Return the folder of PostgreSQL's programs, which Debian does not put on the PATH.

    :raises DemoError: when there is none.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = found[-1] if found else shutil.which("initdb")
    if not initdb or not shutil.which("redis-server"):
        raise DemoError("PostgreSQL or Redis is missing; on Debian and Ubuntu: apt-get install postgresql redis-server")
    return str(Path(initdb).parent)
