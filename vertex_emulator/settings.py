"""The options: one table for the command line, the environment and the code."""

import argparse
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from .auth import TOKEN_SECONDS
from .base_models import Unsupported
from .lifecycle import Pace
from .names import MultiRegion

ENVIRONMENT_PREFIX = "VERTEX_EMULATOR_"


class OverLimit(StrEnum):
    """What happens to a job above ``job_limit``; the real service's way is not documented."""

    WAIT = "wait"
    """It waits in PENDING until another one ends."""
    REJECT = "reject"
    """It is refused with 429 RESOURCE_EXHAUSTED."""


class FirstState(StrEnum):
    """State of a job that has just been made; the real service's is not documented."""

    PENDING = "pending"
    """What Google's samples wait for: their loops end at once when a job is QUEUED."""
    QUEUED = "queued"
    """A moment later it is PENDING."""


class StorageAuth(StrEnum):
    """Whether requests to Cloud Storage need a token."""

    OPTIONAL = "optional"
    REQUIRED = "required"


def _about(text: str, kind: Callable[[str], Any] = str, **more: Any) -> dict[str, Any]:
    """Describe an option to argparse."""
    return {"help": text, "type": kind, **more}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _models(text: str) -> tuple[str, ...]:
    names = _names(text)
    for name in names:
        if not name.startswith("gemini-"):
            raise argparse.ArgumentTypeError(f"{name} does not start with gemini-")
    return names


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return int(text)


def _digits(text: str) -> str:
    if text and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not a project number")
    return text


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return value


def _positive(text: str) -> float:
    value = _not_negative(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _time(text: str) -> float:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not a time such as 2026-01-01T00:00:00Z") from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True)
class Settings:
    """Options of the server. Times are virtual seconds."""

    host: str = field(default="127.0.0.1", metadata=_about("address to listen at"))
    port: int = field(default=8085, metadata=_about("port to listen at; 0 takes a free one", int))
    speed: float = field(
        default=1.0,
        metadata=_about(
            "how many times as fast as real time jobs go; 0 stops the clock, then POST /_emulator/advance moves it",
            _not_negative,
        ),
    )
    seconds_per_epoch: float = field(default=3.0, metadata=_about("virtual seconds that an epoch takes", _positive))
    project: str = field(
        default="demo-project", metadata=_about("project id of the service account and the connection")
    )
    project_number: str = field(
        default="", metadata=_about("number of that project; by default it is made from the id", _digits)
    )
    key_file: Path | None = field(
        default=None,
        metadata=_about("service-account key, made if there is none; by default one for this run only", Path),
    )
    token: str = field(default="", metadata=_about("a bearer token that is always accepted; by default there is none"))
    token_lifetime: int = field(
        default=TOKEN_SECONDS, metadata=_about("real seconds that the tokens given out are valid", _count)
    )
    storage_auth: StorageAuth = field(
        default=StorageAuth.REQUIRED,
        metadata=_about(
            "whether Cloud Storage wants a token: optional or required. Clients that are told of an emulator by "
            "STORAGE_EMULATOR_HOST send none; a wrong one is refused in any case",
            StorageAuth,
            choices=list(StorageAuth),
        ),
    )
    first_state: FirstState = field(
        default=FirstState.PENDING,
        metadata=_about(
            "state of a new job: pending, as Google's samples expect, or queued", FirstState, choices=list(FirstState)
        ),
    )
    job_limit: int = field(
        default=0, metadata=_about("tuning jobs a project may run at once, in all locations; 0 means no limit", _count)
    )
    over_limit: OverLimit = field(
        default=OverLimit.WAIT,
        metadata=_about("what happens to a job above that limit: wait or reject", OverLimit, choices=list(OverLimit)),
    )
    model: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "more base models that can be tuned, with any adapter size, separated by commas: names that start with "
            "gemini-",
            _models,
        ),
    )
    unsupported: Unsupported = field(
        default=Unsupported.REFUSE,
        metadata=_about(
            "what becomes of a job whose base model can't be tuned, or not with its adapter size: refuse (400) or fail "
            "(it is made, and ends as JOB_STATE_FAILED)",
            Unsupported,
            choices=list(Unsupported),
        ),
    )
    state: Path | None = field(
        default=None,
        metadata=_about("directory that keeps the state when the process ends or is killed; by default none is", Path),
    )
    seed: str = field(
        default="",
        metadata=_about("any text: the same seed and the same requests give the same ids; by default they are random"),
    )
    clock_start: float | None = field(
        default=None,
        metadata=_about(
            "virtual time at the start, such as 2026-01-01T00:00:00Z; by default the real time, or that with --seed",
            _time,
        ),
    )
    bucket: tuple[str, ...] = field(
        default=(), metadata=_about("buckets to make at the start, separated by commas", _names)
    )
    multi_region: MultiRegion = field(
        default=MultiRegion.AUTO,
        metadata=_about(
            "whether tuned models and endpoints come back in the multi-region (us, eu): auto, always or never",
            MultiRegion,
            choices=list(MultiRegion),
        ),
    )
    journal: int = field(default=1000, metadata=_about("requests that /_emulator/requests remembers", _count))

    @property
    def kept_key_file(self) -> Path | None:
        """Where the key is kept, if it is."""
        return self.key_file or (self.state / "key.json" if self.state else None)

    @property
    def pace(self) -> Pace:
        """How long the parts of a job take."""
        pace = Pace(epoch=self.seconds_per_epoch)
        if self.first_state is FirstState.QUEUED:
            return pace
        return replace(pace, queued=0, pending=pace.queued + pace.pending)


def add_options(parser: argparse.ArgumentParser, environment: Mapping[str, str] = os.environ) -> None:
    """Add all options to a parser; the environment gives the defaults."""
    _add(parser, environment, [option.name for option in fields(Settings)])


def add_address_options(parser: argparse.ArgumentParser, environment: Mapping[str, str] = os.environ) -> None:
    """Add the options that tell a client where the server is."""
    _add(parser, environment, ["host", "port"])


def _add(parser: argparse.ArgumentParser, environment: Mapping[str, str], names: Collection[str]) -> None:
    for option in fields(Settings):
        if option.name not in names:
            continue
        variable = ENVIRONMENT_PREFIX + option.name.upper()
        details = dict(option.metadata)
        default = environment.get(variable) or option.default
        text = f"{details.pop('help')} (default: {_shown(option.default)}; {variable})"
        parser.add_argument(f"--{option.name.replace('_', '-')}", default=default, help=text, **details)


def _shown(default: Any) -> str:
    return "none" if default in (None, "", ()) else f"{default:g}" if isinstance(default, float) else str(default)


def from_arguments(arguments: argparse.Namespace) -> Settings:
    """Make settings of parsed arguments."""
    return Settings(**{option.name: getattr(arguments, option.name) for option in fields(Settings)})
