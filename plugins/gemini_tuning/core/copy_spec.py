"""The destination of a model copy.

Rules: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.names import KMS_KEY, ResourceName, ResourceNameError, location_problem, project_problem
from gemini_tuning.core.text import is_unicode, short_repr
from gemini_tuning.core.tuning_request import MAX_TEXT

_MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class ModelCopySpec:
    """Project, location and name of a copy.

    :param location: destination region; ``None`` for no copy.
    :param project_id: destination project.
    :param model_id: id of a new model.
    :param parent_model: full name of a model in the destination that gets the copy as its next version.
    :param kms_key_name: customer-managed key (CMEK) for the copy.
    """

    location: str | None = None
    project_id: str | None = None
    model_id: str | None = None
    parent_model: str | None = None
    kms_key_name: str | None = None

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any] | None, read: Callable[[Any], str | None]) -> Self:
        """Read a mapping with some of the fields.

        :param read: reads a templated text.
        :raises InvalidInputError: naming an unknown field.
        """
        if not isinstance(data or {}, Mapping):
            raise InvalidInputError(
                f"copy: expected a mapping, not {short_repr(data)}", field="copy", code="not_a_mapping"
            )
        known = {field.name for field in fields(cls)}
        if unknown := [name for name in data or {} if name not in known]:
            raise InvalidInputError(
                f"copy: unknown field {short_repr(unknown[0])}; expected one of {', '.join(sorted(known))}",
                field="copy",
                code="unknown_field",
            )
        return cls(**{name: read(value) for name, value in (data or {}).items()})

    def problems(self) -> list[str]:
        """Return the values that the service would refuse or ignore, one sentence each, beginning with the field."""
        if found := self._text_problems():
            return found
        if self.location is None:
            given = [name for name in ("project_id", "model_id", "parent_model", "kms_key_name") if getattr(self, name)]
            return [f"copy {name}: needs the location of the copy" for name in given]
        problem = location_problem("copy location", self.location)
        found = [problem] if problem else []
        if self.project_id and (problem := project_problem("copy project_id", self.project_id)):
            found.append(problem)
        if self.kms_key_name and not KMS_KEY.fullmatch(self.kms_key_name):
            found.append("copy kms_key_name: expected projects/P/locations/L/keyRings/R/cryptoKeys/K")
        if self.model_id and self.parent_model:
            found.append("copy model_id: give either model_id or parent_model, not both")
        if self.model_id and not _MODEL_ID.fullmatch(self.model_id):
            found.append(
                f"copy model_id: {short_repr(self.model_id)}: a-z, 0-9, _ and -, at most 63, beginning with a-z or _"
            )
        if self.parent_model:
            found += self._parent_problems(self.parent_model)
        return found

    def _text_problems(self) -> list[str]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return [
            f"copy {name}: expected a text of at most {MAX_TEXT} characters, not {short_repr(value)}"
            for name, value in values.items()
            if value is not None and not (isinstance(value, str) and len(value) <= MAX_TEXT and is_unicode(value))
        ]

    def _parent_problems(self, parent_model: str) -> list[str]:
        try:
            parent = ResourceName.parse(parent_model, "models")
        except ResourceNameError as error:
            return [f"copy parent_model: {error}"]
        if parent.location != self.location:
            return [f"copy parent_model: {parent_model} is not in the destination {self.location}"]
        return []
