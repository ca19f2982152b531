"""The destination of a model copy.

Rules: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from gemini_tuning.core import names
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import is_unicode, short_repr
from gemini_tuning.core.tuning_request import MAX_TEXT

_MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class ModelCopySpec:
    """Project, location and name of a copy."""

    location: str | None = None  # destination region; None for no copy
    project_id: str | None = None  # destination project
    model_id: str | None = None  # of a new model
    parent_model: str | None = None  # full name of a model in the destination that gets the copy as its next version
    kms_key_name: str | None = None  # customer-managed key (CMEK)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any] | None, read: Callable[[Any], str | None]) -> Self:
        """Return the spec from a mapping with some of the fields, each as a function reads it."""
        if not isinstance(data or {}, Mapping):
            raise InvalidInputError(
                f"copy: expected a mapping, not {short_repr(data)}", field="copy", code="not_a_mapping"
            )
        known = {field.name for field in fields(cls)}
        if unknown := [name for name in data or {} if name not in known]:
            problem = f"copy: unknown field {short_repr(unknown[0])}; expected one of {', '.join(sorted(known))}"
            raise InvalidInputError(problem, field="copy", code="unknown_field")
        return cls(**{name: read(value) for name, value in (data or {}).items()})

    def problems(self) -> list[str]:
        """Return the values that the service would refuse or ignore, one sentence each, beginning with the field."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if found := [
            f"copy {name}: expected a text of at most {MAX_TEXT} characters, not {short_repr(value)}"
            for name, value in given.items()
            if not (isinstance(value, str) and len(value) <= MAX_TEXT and is_unicode(value))
        ]:
            return found
        if self.location is None:
            return [f"copy {name}: needs the location of the copy" for name, value in given.items() if value]
        model_id, key = self.model_id, self.kms_key_name
        checks = (
            (True, names.location_problem("copy location", self.location)),
            (self.project_id, names.project_problem("copy project_id", self.project_id)),
            (key and not names.KMS_KEY.fullmatch(key), f"copy kms_key_name: expected {names.KMS_KEY_FORM}"),
            (model_id and self.parent_model, "copy model_id: give either model_id or parent_model, not both"),
            (
                model_id and not _MODEL_ID.fullmatch(model_id),
                f"copy model_id: {short_repr(model_id)}: a-z, 0-9, _ and -, at most 63, beginning with a-z or _",
            ),
            (self.parent_model, self._parent_problem()),
        )
        return [problem for applies, problem in checks if applies and problem]

    def _parent_problem(self) -> str | None:
        try:
            parent = names.ResourceName.parse(self.parent_model, "models")
        except names.ResourceNameError as error:
            return f"copy parent_model: {error}"
        if parent.location != self.location:
            return f"copy parent_model: {self.parent_model} is not in the destination {self.location}"
        return None
