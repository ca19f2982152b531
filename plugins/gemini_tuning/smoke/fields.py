"""Types of the fields of a suite file, for pydantic: they check the YAML and generate the editor's JSON Schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gemini_tuning.core.text import short_repr
from gemini_tuning.core.yaml_file import YamlModel


class SuiteModel(YamlModel):
    """Base class of the mappings of a suite: no type is converted, so that ``text: 5`` is an error."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Matching:
    """A text that matches a pattern; the error message describes what is expected instead of the pattern."""

    pattern: str
    expected: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, value: str) -> str:
        if not re.search(self.pattern, value):
            context = {"expected": self.expected, "found": short_repr(value)}
            raise PydanticCustomError("pattern_mismatch", "expected {expected}, not {found}", context)
        return value


def integral(value: object) -> object:
    """Return 2.0 as 2: in JSON Schema, and so in editors, both are integers. ``Literal`` takes True for 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be a whole number, not {found}", {"found": str(value)})
    return int(value) if isinstance(value, float) and value.is_integer() else value


def optional(default: Any = None, **kwargs: Any) -> Any:
    """Return a field that may be left out, but not be ``null``; its default is not part of the JSON Schema."""
    return Field(default=default, json_schema_extra=_adjust, **kwargs)


def _adjust(schema: dict[str, Any]) -> None:
    schema.pop("default", None)
    if "patternProperties" in schema:  # of a mapping whose keys must match
        schema["additionalProperties"] = False


Integral = BeforeValidator(integral)  # after the limits, or they would not be in the JSON Schema
Positive = Annotated[int, Field(ge=1), Integral]
NotNegative = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Prompt = Annotated[str, Matching(r"\S", "a text")]
Score = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=1e-6, le=1e6)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Name = Annotated[str, Matching(r"^[^\W\d][\w-]*$", "a name of letters, digits, _ and - that begins with a letter")]
