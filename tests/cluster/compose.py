"""What docker-compose.yaml says, with its variables filled in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
FILE = Path(__file__).resolve().parents[2] / "docker-compose.yaml"
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<operator>[-?+])(?P<word>[^}]*))?\})")


def read(variables: Mapping[str, str]) -> Json:
    """Return the file as ``docker compose config`` would: without variables, and without other profiles' services.

    :param variables: those of ``.env``.
    """
    compose: Json = interpolate(yaml.safe_load(FILE.read_text(encoding="utf-8")), variables)
    profiles = set(variables["COMPOSE_PROFILES"].split(","))
    services = {name: one for name, one in compose["services"].items() if profiles >= set(one.get("profiles", []))}
    return {**compose, "services": services}


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """Fill variables into all strings of a YAML value."""
    if isinstance(value, dict):
        return {key: interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    return _VARIABLE.sub(lambda match: _value(match, variables), value) if isinstance(value, str) else value


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    name, operator, word = match["name"], match["operator"], match["word"]
    if name is None:
        return "$"
    value = variables.get(name, "")
    if operator == "?" and not value:
        raise ValueError(f"docker-compose.yaml needs {name}: {word}")
    if operator == "+":
        return word if value else ""
    return value or (word if operator == "-" else "")


def in_order(services: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Return the services, each after those it depends on."""
    known = {name: services.keys() & one.get("depends_on", {}).keys() for name, one in services.items()}
    return ((name, services[name]) for name in TopologicalSorter(known).static_order())


def command(service: Json) -> list[str]:
    """Return what runs in a container, where the entrypoints of the images do nothing but start it.

    That of Airflow's image starts ``airflow``, unless the command is one of two others.
    """
    given = service["command"]
    words: list[str] = shlex.split(given) if isinstance(given, str) else list(given)
    own_entrypoint = "entrypoint" in service or service["image"].startswith("redis:")
    return words if own_entrypoint or words[0] in ("bash", "python") else ["airflow", *words]


def health_check(service: Json) -> list[str]:
    """Return the command that says whether a container is healthy."""
    kind, *words = service["healthcheck"]["test"]
    return words if kind == "CMD" else ["/bin/sh", "-c", *words]
