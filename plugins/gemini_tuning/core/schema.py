"""JSON Schemas generated from pydantic models, for files in the repository."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        """Return False: a title such as "Max Output Tokens" only repeats the key."""
        return False


def json_schema(model: type[BaseModel], mode: Literal["validation", "serialization"] = "validation") -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a model."""
    schema = model.model_json_schema(mode=mode, schema_generator=_WithoutTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}
