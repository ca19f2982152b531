"""Full resource names of Vertex AI and addresses in Cloud Storage.

A name becomes part of a URL, and its location part of the host that tokens are sent to. So each one is parsed before
use, whether a user entered it or the service returned it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Self

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import short_repr

PROJECT = r"[A-Za-z0-9][A-Za-z0-9.:_-]*"
LOCATION = r"[a-z][a-z0-9-]{0,62}"
_ID = r"[A-Za-z0-9_-]+"
_PARENT = rf"projects/(?P<project>{PROJECT})/locations/(?P<location>{LOCATION})"
_NAME = re.compile(rf"{_PARENT}/(?P<collection>[A-Za-z]+)/(?P<id>{_ID})(?:@(?P<version>{_ID}))?")
_OPERATION = re.compile(rf"{_PARENT}(?:/[A-Za-z]+/{_ID})?/operations/{_ID}")
_CONTEXT = re.compile(rf"(?P<store>{_PARENT}/metadataStores/{_ID})/contexts/(?P<id>{_ID})")
_GCS = re.compile(r"gs://([^/]+)/(.*)", re.DOTALL)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}")
KMS_KEY_FORM = "projects/P/locations/L/keyRings/R/cryptoKeys/K"
KMS_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")
MAX_NAME = 1_000  # characters
MAX_URI = 2_000  # characters


class ResourceNameError(InvalidInputError):
    """A string is not the full name of the expected kind of resource."""

    def __init__(self, name: object, expected: str) -> None:
        super().__init__(
            f"{short_repr(name)} is not a full resource name; expected projects/PROJECT/locations/LOCATION/{expected}",
            code="invalid_resource_name",
        )


@dataclass(frozen=True)
class ResourceName:
    """A full resource name: ``projects/P/locations/L/<collection>/ID``, for models also ``@VERSION``."""

    project: str
    location: str
    collection: str
    id: str
    version: str | None = None

    @classmethod
    def parse(cls, name: object, collection: str) -> Self:
        """Parse a full name such as ``projects/1/locations/us-central1/models/2@1``, of the collection ``models``.

        Short names are refused: the clients expand them to another location or resource.
        """
        version = "[@VERSION]" if collection == "models" else ""
        match = _match(_NAME, name, f"{collection}/ID{version}")
        if match["collection"] != collection or (match["version"] and not version):
            raise ResourceNameError(name, f"{collection}/ID{version}")
        return cls(**match.groupdict())

    @property
    def parent(self) -> str:
        """``projects/P/locations/L``."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def unversioned(self) -> str:
        """The name without ``@VERSION``."""
        return f"{self.parent}/{self.collection}/{self.id}"

    def is_same_resource(self, other: ResourceName) -> bool:
        """Whether both names can mean the same resource, regardless of its version."""
        same = (self.collection, self.location, self.id) == (other.collection, other.location, other.id)
        return same and may_be_same_project(self.project, other.project)

    def is_same_version(self, other: ResourceName) -> bool:
        """Whether both names can mean the same resource, and the same version where both include one."""
        return self.is_same_resource(other) and (None in (self.version, other.version) or self.version == other.version)

    def __str__(self) -> str:
        return self.unversioned + (f"@{self.version}" if self.version else "")


class ContextName(NamedTuple):
    """Full name of an experiment, or of a run of one: a context of Vertex ML Metadata."""

    store: str  # projects/P/locations/L/metadataStores/STORE
    location: str
    id: str

    @classmethod
    def parse(cls, name: object) -> Self:
        """Parse a full name."""
        match = _match(_CONTEXT, name, "metadataStores/STORE/contexts/ID")
        return cls(match["store"], match["location"], match["id"])

    def __str__(self) -> str:
        return f"{self.store}/contexts/{self.id}"


def operation_location(name: object) -> str:
    """Return the location in the full name of a long-running operation, which may include the name of a resource."""
    return _match(_OPERATION, name, "[models/ID/]operations/ID")["location"]


def _match(pattern: re.Pattern[str], name: object, expected: str) -> re.Match[str]:
    match = pattern.fullmatch(name) if isinstance(name, str) and len(name) <= MAX_NAME else None
    if match is None:
        raise ResourceNameError(name, expected)
    return match


def may_be_same_project(one: str, other: str) -> bool:
    """Whether two projects can be the same: the service may return the number where the request had the id."""
    return one == other or one.isdigit() != other.isdigit()


def split_gcs_uri(uri: object) -> tuple[str, str] | None:
    """Return bucket and object of ``gs://bucket/object``, or ``None``; the object of ``gs://bucket/`` is empty."""
    match = _GCS.fullmatch(uri) if isinstance(uri, str) else None
    return (match[1], match[2]) if match else None


# The checks: each returns why a user's input is not acceptable, beginning with the field's name, or None.


def gcs_problem(name: str, uri: object, *, required: bool = False) -> str | None:
    """Check that this is the address of an object; an empty one is acceptable unless ``required``."""
    if uri is None or uri == "":
        return f"{name}: is required" if required else None
    bucket, key = split_gcs_uri(uri) or ("", "")
    if _BUCKET.fullmatch(bucket) and re.fullmatch(r"\S+", key) and len(str(uri)) <= MAX_URI:
        return None
    return f"{name}: {short_repr(uri)} is not a gs://bucket/object address"


def serving_problem(name: str, value: object) -> str | None:
    """Check that this is the full name of an endpoint or a model."""
    for collection in ("endpoints", "models"):
        try:
            ResourceName.parse(value, collection)
            return None
        except ResourceNameError:
            continue
    return (
        f"{name}: {short_repr(value)} is neither projects/PROJECT/locations/LOCATION/endpoints/ID nor "
        "projects/PROJECT/locations/LOCATION/models/ID[@VERSION]"
    )


def project_problem(name: str, project: object) -> str | None:
    """Check that this is a project id or number."""
    if isinstance(project, str) and len(project) <= MAX_NAME and re.fullmatch(PROJECT, project):
        return None
    return f"{name}: {short_repr(project)} is not a project id"


def location_problem(name: str, location: object) -> str | None:
    """Check that this is a location; it becomes part of the host that tokens are sent to."""
    if isinstance(location, str) and re.fullmatch(LOCATION, location):
        return None
    return f"{name}: {short_repr(location)} is not a location such as us-central1"
