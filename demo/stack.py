"""Airflow and the Vertex AI emulator on loopback ports: LocalExecutor, SQLite, everything they write in one folder.

The emulator can be replaced by a real project of Google Cloud: ``Stack.google_cloud``.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import httpx

from demo.airflow_api import AirflowApi
from demo.processes import DemoError, Process, claim_folder, free_port, wait_until

if TYPE_CHECKING:
    from google.cloud.storage import Client

REPOSITORY = Path(__file__).resolve().parent.parent
AIRFLOW_PARTS = ("api-server", "scheduler", "dag-processor")
EMULATOR = "vertex-emulator"
HEALTHY_PARTS = {"metadatabase", "scheduler", "triggerer", "dag_processor"}
START_TIMEOUT = 180.0  # seconds; a first start compiles nothing but may share the machine
DAG_ID = "gemini_checkpoint_tuning"
BUCKET = "demo-bucket"


@dataclass
class Stack:
    """The two systems, started and stopped together.

    :param home: folder for everything that is written; emptied at start.
    :param airflow_port: for the UI and the API.
    :param emulator_port: of the emulator.
    :param speed: of the emulator; 1 is a demo pace.
    :param emulator_options: further command-line options of the emulator.
    :param airflow_env: further environment variables for Airflow.
    :param triggerers: how many there are: ``triggerer``, ``triggerer-2`` and so on.
    :param viewer: name and password of a second user, who may only read.
    :param base_path: that Airflow is under, for example ``/team/airflow``.
    :param lock_patience: seconds that Airflow waits for SQLite's lock; the API server at times waits for itself.
    :param google_cloud: environment variables that lead Airflow to a real project; then no emulator is started.
        ``None``: the emulator, and a connection to it.
    :param python: interpreter by part (``scheduler``, ``triggerer`` …), ``""`` for all others; by default this one.
    :param part_env: further environment variables by part.
    """

    home: Path
    airflow_port: int = field(default_factory=free_port)
    emulator_port: int = field(default_factory=free_port)
    speed: float = 1.0
    emulator_options: tuple[str, ...] = ()
    airflow_env: Mapping[str, str] = field(default_factory=dict)
    triggerers: int = 1
    viewer: tuple[str, str] | None = None
    base_path: str = ""
    lock_patience: int = 5
    google_cloud: Mapping[str, str] | None = None
    python: Mapping[str, str] = field(default_factory=dict)
    part_env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    user: str = "admin"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(9))

    def __post_init__(self) -> None:
        self.airflow_url = f"http://127.0.0.1:{self.airflow_port}{self.base_path}"
        self.emulator_url = f"http://127.0.0.1:{self.emulator_port}"
        self.logs = self.home / "logs"
        self.api = AirflowApi(self.airflow_url, self.user, self.password)
        self.processes: dict[str, Process] = {}
        self._cwd = self.home if self.python else REPOSITORY  # an installed package must not be found in the checkout
        self._claim: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it is healthy and has read the DAGs.

        :raises DemoError: naming what failed and its log.
        """
        self._claim = claim_folder(self.home)
        self.logs.mkdir()
        if self.google_cloud is None:
            self._start_emulator()
        env = self._airflow_environment()
        Process("db-migrate", self._airflow("db", "migrate"), env, self.logs, self._cwd).run(START_TIMEOUT)
        for part in (*AIRFLOW_PARTS, "triggerer"):
            self._start(part, self._airflow(part), env | dict(self.part_env.get(part, {})))
        for number in range(2, self.triggerers + 1):
            # Each serves the logs of its triggers. The API server reads one port only, and finds the others' on disk.
            port = {"AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port())}
            part_env = {**self.part_env.get("triggerer", {}), **port}
            self._start(f"triggerer-{number}", self._airflow("triggerer"), env | part_env)
        self.wait_for_airflow()

    def stop(self) -> None:
        """Send SIGTERM to all processes, then wait for each."""
        self.api.close()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.stop()
        self.processes.clear()
        if self._claim:
            self._claim.close()

    def check_alive(self) -> None:
        """Raise when a process has exited.

        :raises DemoError: naming its log.
        """
        for process in self.processes.values():
            process.check_alive()

    def emulator(self, method: str, path: str, body: Any = None) -> Any:
        """Call the emulator's control API below ``/_emulator``.

        :raises DemoError: without an emulator.
        """
        if self.google_cloud is not None:
            raise DemoError("this Airflow is connected to a real project, without an emulator")
        answer = httpx.request(method, f"{self.emulator_url}/_emulator{path}", json=body, timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def upload(self, folder: Path, prefix: str) -> None:
        """Put the files of a folder into the demo bucket."""
        client = self._storage()
        bucket = client.lookup_bucket(BUCKET) or client.create_bucket(BUCKET)
        for path in sorted(folder.iterdir()):
            bucket.blob(f"{prefix}/{path.name}").upload_from_filename(str(path))

    def read(self, uri: str) -> str:
        """Return the text of an object."""
        from google.cloud.storage import Blob

        return str(Blob.from_uri(uri, client=self._storage()).download_as_text())

    def write(self, uri: str, text: str) -> None:
        """Write a text as an object."""
        from google.cloud.storage import Blob

        Blob.from_uri(uri, client=self._storage()).upload_from_string(text)

    def _storage(self) -> Client:
        """Return Google's own client, with the emulator's key."""
        from google.cloud.storage import Client
        from google.oauth2.service_account import Credentials

        credentials = Credentials.from_service_account_info(
            self.emulator("GET", "/key"), scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
        return Client(
            project=credentials.project_id,
            credentials=credentials,
            client_options={"api_endpoint": self.emulator_url},
        )

    def finish(self, dag_id: str, run_id: str, timeout: float) -> str:
        """Wait until a run has ended and return its state.

        :param timeout: seconds.
        """
        ended = ("success", "failed")
        wait_until(
            f"the end of {dag_id} {run_id}",
            lambda: self.api.run(dag_id, run_id)["state"] in ended,
            list(self.processes.values()),
            timeout,
        )
        return str(self.api.run(dag_id, run_id)["state"])

    def _python(self, part: str) -> str:
        return self.python.get(part) or self.python.get("") or sys.executable

    def _airflow(self, *arguments: str) -> list[str]:
        return [self._python(arguments[0]), "-m", "airflow", *arguments]

    def _start(self, name: str, command: list[str], env: Mapping[str, str]) -> None:
        self.processes[name] = Process(name, command, env, self.logs, self._cwd)
        self.processes[name].start()

    def _start_emulator(self) -> None:
        command = [self._python(EMULATOR), "-m", "vertex_emulator", "--port", str(self.emulator_port)]
        command += ["--speed", str(self.speed), *self.emulator_options]
        self._start(EMULATOR, command, base_environment())
        wait_until("the Vertex AI emulator", self.emulator_healthy, list(self.processes.values()), 30)

    def emulator_healthy(self) -> bool:
        """Return whether the emulator responds."""
        try:
            self.emulator("GET", "/health")
        except httpx.HTTPError:
            return False
        return True

    def wait_for_airflow(self) -> None:
        """Wait until Airflow is healthy and has read the DAGs, and sign in.

        :raises DemoError: naming what is missing.
        """
        processes = list(self.processes.values())
        wait_until("a healthy Airflow", self.airflow_healthy, processes, START_TIMEOUT)
        self.api.login()
        # The first call of the Execution API builds its application; doing it now spares the first task.
        self.api.http.get("/execution/health")
        wait_until(f"the DAG {DAG_ID}", self._dag_is_read, processes, START_TIMEOUT)

    def airflow_healthy(self) -> bool:
        """Return whether the API server reports every component as healthy."""
        health = self.api.health()
        return all(health.get(part) == "healthy" for part in HEALTHY_PARTS)

    def _dag_is_read(self) -> bool:
        for error in self.api.import_errors():
            last_line = error["stack_trace"].strip().splitlines()[-1]
            raise DemoError(f"Airflow cannot read {error['filename']}: {last_line}")
        return DAG_ID in self.api.dag_ids()

    def _airflow_environment(self) -> dict[str, str]:
        home = self.home / "airflow"
        home.mkdir()
        passwords = home / "passwords.json"
        roles = {self.user: "admin", **({self.viewer[0]: "viewer"} if self.viewer else {})}
        passwords.write_text(json.dumps({self.user: self.password, **dict([self.viewer] if self.viewer else [])}))
        passwords.chmod(0o600)
        return {
            **base_environment(),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "5",
            "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in roles.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.airflow_port),
            "AIRFLOW__API__BASE_URL": self.airflow_url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout={self.lock_patience}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # a task's end may be noticed one interval late
            "AIRFLOW__GEMINI_TUNING__PRELOAD": "True",  # the tasks are forked from the scheduler
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            **(self._local_cloud() if self.google_cloud is None else self.google_cloud),
            **self.airflow_env,
        }

    def _local_cloud(self) -> dict[str, str]:
        return {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(self.emulator("GET", "/connection"))}


def base_environment() -> dict[str, str]:
    """Return this process's environment without what would change Airflow or Google's clients."""
    unwanted = ("AIRFLOW", "GOOGLE_", "GCE_", "GCLOUD_", "CLOUDSDK_", "STORAGE_EMULATOR", "PYTHONDONTWRITE", "VERTEX_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**env, "NO_PROXY": "127.0.0.1,localhost", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "TZ": "UTC"}


def seconds_between(start: str, end: str) -> float:
    """Return the seconds between two ISO times."""
    from datetime import datetime

    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def stay_up() -> None:
    """Return on Ctrl-C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
