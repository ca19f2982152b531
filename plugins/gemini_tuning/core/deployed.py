"""What is deployed where, and whether anybody asks it, as plain values. Pure: no Airflow, no Google client, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from gemini_tuning.core.resources import ResourceName, may_be_same_project


class DeployedModel(NamedTuple):
    """A model version that an endpoint serves.

    :param model: with its version, where the service tells it; ``None`` where it names none.
    :param checkpoint_id: ``None`` where the service does not tell.
    """

    id: str
    model: ResourceName | None
    checkpoint_id: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """An endpoint, and what is deployed on it.

    :param name: full name.
    """

    name: str
    display_name: str = ""
    deployed: tuple[DeployedModel, ...] = ()


@dataclass(frozen=True)
class RegisteredModel:
    """A model version as the registry has it, with what google-genai leaves out.

    :param name: with its version.
    :param aliases: of the version; ``default`` among them makes it the default version.
    :param original: full name of the model that this one is a copy of; ``None`` when it is none.
    :param endpoints: full names of those where it is deployed.
    :param create_time: of the version, in seconds since 1970 (UTC).
    :param checkpoint_ids: of all its checkpoints.
    """

    name: ResourceName
    default_checkpoint_id: str | None = None
    aliases: tuple[str, ...] = ()
    original: str | None = None
    endpoints: tuple[str, ...] = ()
    create_time: float | None = None
    checkpoint_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traffic:
    """What Cloud Monitoring says of an endpoint's prompts.

    :param last_prompt: seconds since 1970 (UTC), up to an hour late; ``None``: no prompt as far back as it remembers.
    :param problem: why it cannot be told; empty when it can.
    """

    last_prompt: float | None = None
    problem: str = field(default="")


def is_same(one: ResourceName, other: ResourceName) -> bool:
    """Whether two names can mean the same resource, versions aside; a project has an id and a number."""
    same = (one.collection, one.location, one.id) == (other.collection, other.location, other.id)
    return same and may_be_same_project(one.project, other.project)
