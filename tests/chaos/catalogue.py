"""What can be done to a round: every kind of fault, as data. :mod:`tests.chaos.inject` does it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Rule = dict[str, Any]
CREATE, COPY, CANCEL = "/tuningJobs$", "/models:copy$", "/tuningJobs/[^/]+:cancel$"
GET_JOB, GET_MODEL, GET_OPERATION = "/tuningJobs/[^/]+$", "/models/[^/]+$", "/operations/"


class Phase(StrEnum):
    """How far a run has to be before a fault comes; the value is the task that has to have begun."""

    START = ""
    VALIDATE = "validate"
    CREATE = "tune.create_tuning_job"
    WAIT = "tune.wait_for_tuning_job"
    """Begun here means: the task is deferred."""
    SMOKE = "evaluate.smoke_test"
    PROMOTE = "promote.set_default"
    COPY = "copy.copy_model"


class Action(StrEnum):
    """What is done to a process, or by a person in Airflow."""

    KILL_TASK = "kill the task process"
    KILL_SUPERVISOR = "kill the task's supervisor"
    STOP_TASK = "stop and continue the task process"
    STOP_SUPERVISOR = "stop and continue the task's supervisor"
    KILL = "kill"
    KILL_ALONE = "kill, its children live on"
    STOP = "stop and continue"
    RESTART = "restart"
    MARK_TASK_FAILED = "mark the waiting task failed"
    MARK_RUN_FAILED = "mark the run failed"
    CLEAR = "clear the waiting task"
    SERVICE = "service"


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    :param name: as it stands in the table.
    :param process: what KILL, KILL_ALONE, STOP and RESTART are done to.
    :param rule: fault rule for the emulator; a ``times`` of 0 is drawn.
    :param phases: when it may come; one is drawn.
    :param lasts: least and most seconds that a process is stopped or away.
    :param delay: most seconds between the phase and the fault.
    """

    name: str
    action: Action
    process: str = ""
    rule: Rule | None = None
    phases: tuple[Phase, ...] = (Phase.START,)
    lasts: tuple[float, float] = (1, 5)
    delay: float = 4


WORK = (Phase.VALIDATE, Phase.CREATE, Phase.CREATE, Phase.WAIT, Phase.SMOKE, Phase.PROMOTE, Phase.COPY)
ANY = (Phase.START, *WORK)
WAITS = (Phase.WAIT, Phase.WAIT, Phase.COPY)
GENTLY = (2, 8)  # that long it has to end by itself
BRIEFLY, LONG = (1, 5), (3, 25)  # the longer ones pass Airflow's time-outs, so that others take over meanwhile

PROCESS_KINDS = (
    # A task takes two seconds or three; later it would be another one.
    Kind("task process killed", Action.KILL_TASK, phases=WORK, delay=2),
    Kind("task process stopped", Action.STOP_TASK, phases=WORK, lasts=LONG, delay=2),
    Kind("task supervisor killed", Action.KILL_SUPERVISOR, phases=WORK, delay=2),
    Kind("task supervisor stopped", Action.STOP_SUPERVISOR, phases=WORK, lasts=LONG, delay=2),
    Kind("triggerer killed", Action.KILL, "triggerer", phases=WAITS),
    Kind("triggerer stopped", Action.STOP, "triggerer", phases=WAITS, lasts=LONG),
    Kind("triggerer restarted", Action.RESTART, "triggerer", phases=WAITS, lasts=GENTLY),
    Kind("both triggerers killed", Action.KILL, "triggerer triggerer-2", phases=WAITS),
    Kind("second triggerer killed", Action.KILL, "triggerer-2", phases=WAITS),
    Kind("second triggerer stopped", Action.STOP, "triggerer-2", phases=WAITS, lasts=LONG),
    Kind("scheduler killed", Action.KILL_ALONE, "scheduler", phases=ANY),
    Kind("scheduler and workers killed", Action.KILL, "scheduler", phases=ANY),
    Kind("scheduler stopped", Action.STOP, "scheduler", phases=ANY, lasts=LONG),
    Kind("scheduler restarted", Action.RESTART, "scheduler", phases=ANY, lasts=GENTLY),
    Kind("emulator killed", Action.KILL, "vertex-emulator", phases=ANY),
    Kind("emulator stopped", Action.STOP, "vertex-emulator", phases=ANY, lasts=BRIEFLY),
    Kind("emulator restarted", Action.RESTART, "vertex-emulator", phases=ANY, lasts=GENTLY),
)


def _service(name: str, method: str, path: str, *phases: Phase, **rule: Any) -> Kind:
    return Kind(name, Action.SERVICE, rule={"method": method, "path": path, **rule}, phases=phases or (Phase.START,))


def _requests_that_make(what: str, path: str) -> tuple[Kind, ...]:
    """Return faults of requests that must not be sent twice blindly."""
    once = {"times": 1}
    return (
        _service(f"{what}: answer lost", "POST", path, drop="after", **once),
        _service(f"{what}: lost before it had an effect", "POST", path, drop="before", **once),
        _service(f"{what}: 503 without effect", "POST", path, status=503, **once),
        _service(f"{what}: 503 with effect", "POST", path, status=503, applied=True, **once),
        _service(f"{what}: 429", "POST", path, status=429, times=2),
        _service(f"{what}: half an answer", "POST", path, body="truncated", **once),
        _service(f"{what}: a proxy's page", "POST", path, body="html", **once),
        _service(f"{what}: slow", "POST", path, delay=6, times=3),
        _service(f"{what}: slow and answer lost", "POST", path, delay=3, drop="after", **once),
    )


SERVICE_KINDS = (
    *_requests_that_make("create", CREATE),
    *_requests_that_make("copy", COPY),
    _service("token expired", "GET", GET_JOB, Phase.WAIT, token="expired", times=1),
    _service("get job: 503s", "GET", GET_JOB, Phase.CREATE, Phase.WAIT, status=503, times=0),
    _service("get job: 429s", "GET", GET_JOB, Phase.CREATE, Phase.WAIT, status=429, times=0),
    _service("get job: 500s", "GET", GET_JOB, Phase.CREATE, Phase.WAIT, status=500, times=0),
    _service("get job: dropped", "GET", GET_JOB, Phase.WAIT, drop="before", times=0),
    _service("get job: half an answer", "GET", GET_JOB, Phase.WAIT, body="truncated", times=0),
    _service("get job: a proxy's page", "GET", GET_JOB, Phase.WAIT, body="html", times=0),
    _service("list jobs: 503s", "GET", CREATE, status=503, times=2),
    _service("get model: 503s", "GET", GET_MODEL, status=503, times=0),
    _service("get operation: 503s", "GET", GET_OPERATION, status=503, times=0),
    _service("get operation: dropped", "GET", GET_OPERATION, drop="before", times=0),
    _service("set default: answer lost", "PATCH", GET_MODEL, drop="after", times=1),
    _service("set default: 503", "PATCH", GET_MODEL, status=503, times=2),
    _service("prompt: 503s", "POST", ":generateContent$", status=503, times=0),
    _service("prompt: 429s", "POST", ":generateContent$", status=429, times=0),
    _service("prompt: dropped", "POST", ":generateContent$", drop="before", times=0),
    _service("new token: 503", "POST", "^/token$", status=503, times=2),
    _service("storage: 503s", "GET", "^/(download/)?storage/", status=503, times=0),
)
# Only where somebody gives a run up.
CANCEL_KINDS = (
    _service("cancel: 503", "POST", CANCEL, status=503, times=2),
    _service("cancel: answer lost", "POST", CANCEL, drop="after", times=1),
)
PERSON_KINDS = (
    Kind("waiting task marked failed", Action.MARK_TASK_FAILED, phases=(Phase.WAIT,)),
    Kind("run marked failed", Action.MARK_RUN_FAILED, phases=(Phase.WAIT, Phase.WAIT, Phase.WAIT, Phase.CREATE)),
    Kind("waiting task cleared", Action.CLEAR, phases=(Phase.WAIT,)),
)
JOB_KINDS = (
    Kind("job fails", Action.SERVICE, rule={"outcome": "failed_midway"}),
    Kind("job stalls until the deadline", Action.SERVICE, rule={"outcome": "stalled"}),
    Kind("job is preempted", Action.SERVICE, rule={"outcome": "preempted"}),
)
