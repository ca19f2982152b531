"""Ids as the service makes them up, drawn from a seed: the same seed gives the same ids in the same order."""

import base64
import uuid
from random import Random

from .names import ID_END, ID_START


class Ids:
    """A source of ids.

    :param seed: any text.
    """

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)  # noqa: S311  (ids are no secrets)

    def new(self) -> str:
        """Make 19 digits, as for a job or an operation."""
        return str(self._random.randrange(ID_START, ID_END))

    def uuid(self) -> str:
        """Make a UUID (version 4)."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def upload(self) -> str:
        """Make the id of a resumable upload."""
        return base64.urlsafe_b64encode(self._random.randbytes(24)).decode()
