"""Resource names, ids and project numbers. Pure functions."""

import hashlib
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

_NAME = re.compile(
    r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/(?P<collection>[A-Za-z]+)"
    r"/(?P<id>[^/@]+)(?:@(?P<version>[^/@]+))?"
)
_MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
ID_START, ID_END = 10**18, 2**63
"""Ids have 19 digits and fit a signed 64-bit number."""


class Parent(NamedTuple):
    """``projects/{project}/locations/{location}``, the project as a number."""

    project: str
    location: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}"

    def child(self, collection: str, resource_id: str) -> str:
        """Name of a resource of this parent."""
        return f"{self}/{collection}/{resource_id}"


class Name(NamedTuple):
    """A parsed resource name; ``version`` is a model's version id or alias."""

    parent: Parent
    collection: str
    id: str
    version: str | None

    @property
    def unversioned(self) -> str:
        """The name without ``@version``."""
        return self.parent.child(self.collection, self.id)


class Projects:
    """Knows the number of a project: Google's replies hold project numbers whatever the request said.

    :param known: project id to number, for the projects whose number was configured.
    """

    def __init__(self, known: dict[str, str] | None = None) -> None:
        self._known = dict(known or {})

    def number(self, project: str) -> str:
        """Twelve digits that depend on the id alone; a number stays as it is."""
        if project.isdigit():
            return project
        if project not in self._known:
            digest = hashlib.sha256(f"project:{project}".encode()).digest()
            self._known[project] = str(10**11 + int.from_bytes(digest[:8]) % (9 * 10**11))
        return self._known[project]

    def parent(self, project: str, location: str) -> Parent:
        """Parent of resources, from a path."""
        return Parent(self.number(project), location)

    def parse(self, name: str) -> Name | None:
        """Read a resource name; None when it is not one."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        parent = self.parent(match["project"], match["location"])
        return Name(parent, match["collection"], match["id"], match["version"])


def split_version(model: str) -> tuple[str, str | None]:
    """``123@1`` to (``123``, ``1``); no version is None."""
    model_id, _, version = model.partition("@")
    return model_id, version or None


def derived_id(*parts: str) -> str:
    """Make an id that depends on ``parts`` alone, so that applying an event twice gives the same resource."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return str(ID_START + int.from_bytes(digest[:8]) % (ID_END - ID_START))


def is_model_id(model_id: str) -> bool:
    """Whether a copy may ask for this id: at most 63 of ``[a-z0-9_-]``, first neither digit nor hyphen."""
    return _MODEL_ID.fullmatch(model_id) is not None


def experiment(parent: Parent, created: float) -> str:
    """Name of the metrics experiment of a job, made of its creation time in UTC (seconds since the epoch)."""
    stamp = datetime.fromtimestamp(created, UTC).strftime("%Y%m%d%H%M%S%f")
    return f"{parent}/metadataStores/default/contexts/tuning-experiment-{stamp}"


class MultiRegion(StrEnum):
    """Which models and endpoints come back in the multi-region of the job's location."""

    AUTO = "auto"
    """Those of Gemini 3 and later (users' reports)."""
    ALWAYS = "always"
    NEVER = "never"


def model_location(base_model: str, job_location: str, multi_region: MultiRegion = MultiRegion.AUTO) -> str:
    """Location of the tuned model and its endpoints: the job's, or ``us`` or ``eu``."""
    is_new = re.match(r"gemini-(?:[3-9]|\d\d)", base_model) is not None
    if multi_region is MultiRegion.ALWAYS or (multi_region is MultiRegion.AUTO and is_new):
        return {"us": "us", "europe": "eu"}.get(job_location.split("-", 1)[0], job_location)
    return job_location
