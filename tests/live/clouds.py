"""The two services that the live test runs against: a real project, and the local Vertex AI. Nothing else differs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from demo.stack import Stack
from tests.live.wire import Wire

CONNECTION = "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"
CREDENTIALS = (  # what Application Default Credentials are found by; nothing that leads to another address
    "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_QUOTA_PROJECT", "GOOGLE_API_USE_", "GOOGLE_EXTERNAL_ACCOUNT_",
    "GCE_METADATA_", "NO_GCE_CHECK", "CLOUDSDK_",
)  # fmt: skip
LOOPBACK = "127.0.0.1,localhost"


class Cloud(Protocol):
    """A service to run against.

    :cvar interval: seconds between two looks at the run.
    :cvar poll_interval: the DAG's Param.
    :cvar outlives_stack: whether it is there when the stack has been stopped.
    """

    interval: float
    poll_interval: int
    outlives_stack: bool

    def check(self) -> None:
        """Refuse at once what can't work."""

    def stack(self, home: Path, dags: Path) -> Stack:
        """Return Airflow, and the service where it is ours to start; not started yet."""

    def connection(self, stack: Stack) -> str:
        """Return the connection that Airflow has."""

    def prepare(self, stack: Stack, bucket: str) -> None:
        """Make sure that the bucket is there, where that is ours to do."""

    def pause(self, stack: Stack, seconds: float) -> None:
        """Let time pass at the service."""


class RealProject:
    """A project of Google Cloud.

    :param environ: of the caller: its connection, or its Application Default Credentials.
    """

    interval = 5.0
    poll_interval = 10
    outlives_stack = True

    def __init__(self, project: str, environ: Mapping[str, str]) -> None:
        self._environment = {name: value for name, value in environ.items() if name.startswith(CREDENTIALS)}
        self._environment["NO_PROXY"] = ",".join(filter(None, (environ.get("NO_PROXY"), LOOPBACK)))
        given = {"conn_type": "google_cloud_platform", "extra": {"project": project}}
        self._environment[CONNECTION] = environ.get(CONNECTION) or json.dumps(given)

    def check(self) -> None:
        """Look for credentials.

        :raises NoCredentialsError: when there are none.
        """
        Wire.over(self._environment[CONNECTION])

    def stack(self, home: Path, dags: Path) -> Stack:
        """Return Airflow alone."""
        return Stack(
            home,
            airflow_env={"AIRFLOW__CORE__DAGS_FOLDER": str(dags)},
            google_cloud=self._environment,
        )

    def connection(self, stack: Stack) -> str:
        """Return the connection that Airflow has."""
        return self._environment[CONNECTION]

    def prepare(self, stack: Stack, bucket: str) -> None:
        """Do nothing: the bucket is the caller's."""

    def pause(self, stack: Stack, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class LocalVertex:
    """The local Vertex AI, whose clock we move."""

    interval = 1.0  # virtual; two of them are less than a job needs before it runs
    poll_interval = 1
    outlives_stack = False

    def check(self) -> None:
        """Do nothing: it makes its own credentials."""

    def stack(self, home: Path, dags: Path) -> Stack:
        """Return Airflow and the local Vertex AI."""
        return Stack(home, speed=0, airflow_env={"AIRFLOW__CORE__DAGS_FOLDER": str(dags)})

    def connection(self, stack: Stack) -> str:
        """Return the connection that Airflow has."""
        return json.dumps(stack.emulator("GET", "/connection"))

    def prepare(self, stack: Stack, bucket: str) -> None:
        """Make the bucket."""
        stack.emulator("POST", "/buckets", {"name": bucket})

    def pause(self, stack: Stack, seconds: float) -> None:
        """Move the service's clock, and leave the processor to Airflow for a moment."""
        stack.emulator("POST", "/advance", {"seconds": seconds})
        time.sleep(0.2)
