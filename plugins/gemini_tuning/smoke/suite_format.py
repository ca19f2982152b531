"""The format of a suite file as pydantic models, and the JSON Schema for editors that is generated from them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import PydanticCustomError

from gemini_tuning.core.text import short_repr
from gemini_tuning.smoke.assertions import NOT, TYPES, Kind
from gemini_tuning.smoke.cases import MAX_ID
from gemini_tuning.smoke.fields import (
    Integral,
    Matching,
    Name,
    NotNegative,
    Positive,
    Prompt,
    Score,
    SuiteModel,
    Temperature,
    Text,
    Weight,
    optional,
)
from gemini_tuning.smoke.judge import Judge

_TOLERANCE = "How far the number may be off; relative is a share of the expected number, and the wider of both counts."
_ONE_PROMPT: dict[str, Any] = {"not": {"required": ["prompt", "contents"]}}


def _assertion_model(name: str, kind: Kind) -> type[SuiteModel]:
    fields: dict[str, Any] = {
        "type": (Literal[name, NOT + name], Field(description="promptfoo's name; not- inverts it.")),
        "weight": (Weight, Field(default=1, description="Weight in the case's score.")),
    }
    if kind.value is not None:
        value = optional if kind.optional else Field
        fields["value"] = (kind.value, value(description="Compared with the answer; {{ name }} inserts a variable."))
    if kind.threshold is not None:
        fields["threshold"] = (kind.threshold, optional(description="Edits for levenshtein, else a score."))
    if kind.tolerance is not None:
        fields["tolerance"] = (kind.tolerance, optional(description=_TOLERANCE))
    return create_model(name, __base__=SuiteModel, **fields)


def _check_type(value: object) -> object:
    """Name the nearest type; pydantic's own message lists all of them."""
    if not isinstance(value, Mapping) or "type" not in value:
        context = {"found": short_repr(value)}
        raise PydanticCustomError("type_required", "expected a mapping with the key type, not {found}", context)
    known = [*TYPES, *(NOT + name for name in TYPES)]
    if value["type"] not in known:
        near = difflib.get_close_matches(str(value["type"])[:MAX_ID], known, n=1)
        context = {"found": short_repr(value["type"]), "known": ", ".join(TYPES), "key": "type"}
        context["hint"] = f"Did you mean {near[0]}?" if near else ""
        message = "unknown type {found}; expected one of {known}, each also with the prefix not-."
        raise PydanticCustomError("unknown_type", message, context)
    return value


if TYPE_CHECKING:
    AssertionFields = SuiteModel
else:
    AssertionFields = Annotated[
        Union[tuple(_assertion_model(name, kind) for name, kind in TYPES.items())],  # noqa: UP007 - from a tuple
        Field(discriminator="type"),
        BeforeValidator(_check_type),
    ]


class PartFields(SuiteModel):
    """A part of a turn: either a text, or a file in Cloud Storage."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["text"]}, {"required": ["file_uri"]}],
            "dependentRequired": {"file_uri": ["mime_type"], "mime_type": ["file_uri"]},
        }
    )

    text: Text = optional("")
    file_uri: Annotated[str, Matching(r"^(gs://[^/]+/.|.*\{\{)", "gs://bucket/name")] = optional(
        "", description="An image or another file in Cloud Storage."
    )
    mime_type: Annotated[str, Matching(r"^([\w.+-]+/[\w.+-]+$|.*\{\{)", "a media type such as image/png")] = optional(
        "", description="For example image/png."
    )

    @model_validator(mode="after")
    def _text_or_file(self) -> Self:
        if self.model_fields_set not in ({"text"}, {"file_uri", "mime_type"}):
            raise PydanticCustomError("text_or_file", "expected either text, or file_uri with mime_type")
        return self


class TurnFields(SuiteModel):
    """One turn of a conversation."""

    role: Literal["user", "model"]
    parts: Annotated[list[PartFields], Field(min_length=1)]


class Defaults(SuiteModel):
    """Defaults of all cases. ``assert`` and ``vars`` are added to those of the case."""

    model_config = ConfigDict(json_schema_extra=_ONE_PROMPT)

    prompt: Prompt = optional("", description="The prompt; {{ name }} inserts a variable.")
    contents: Annotated[list[TurnFields], Field(min_length=1)] = optional(
        [], description="A conversation instead of a prompt; the last turn is the user's."
    )
    system_instruction: str | None = Field(default=None, description="System instruction of the request.")
    vars: dict[Name, str] = optional({}, description="Variables: the text that {{ name }} inserts.")
    assertions: list[AssertionFields] = optional([], alias="assert", description="Conditions on the answer.")
    threshold: Score | None = Field(
        default=None,
        description="The case passes when its score, the weighted mean of its assertions, is at least this. Without "
        "it every assertion must pass.",
    )
    weight: Weight = Field(default=1, description="Weight in the suite's score.")
    critical: bool = Field(default=False, description="A checkpoint that fails the case cannot be chosen.")
    repeat: Annotated[int, Field(ge=1, le=100), Integral] = Field(
        default=1, description="How often the prompt is sent."
    )
    temperature: Temperature | None = Field(default=0, description="null is the model's default.")
    max_output_tokens: Annotated[int, Field(ge=1, le=2**31 - 1), Integral] | None = Field(
        default=None, description="Limit of the answer's length."
    )

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if {"prompt", "contents"} <= self.model_fields_set:
            raise PydanticCustomError("prompt_and_contents", "expected either prompt or contents, not both")
        return self


class CaseFields(Defaults):
    """A request and the conditions on its answer."""

    id: Annotated[str, Field(max_length=MAX_ID), Matching(r"\S", "a text")] = Field(
        description="The case's name in the report; unique in the suite."
    )


class CaseFile(Defaults):
    """A file with a case in each row, and the request for each."""

    file: Annotated[str, Matching(r"\.(jsonl|csv)$", "a path or gs:// address that ends with .jsonl or .csv")] = Field(
        description="Path relative to the suite and in its folder, or gs://bucket/name; ends with .jsonl or .csv."
    )
    id: Text = optional(description="Field with the case's id; by default the id is the file's name and the line.")
    limit: Positive = optional(description="Number of rows to read, from the first.")
    vars: dict[Name, Text] = optional(description="Field for each variable; by default each field is a variable.")


class Prices(SuiteModel):
    """Prices of a million tokens, for an estimate."""

    input: NotNegative
    output: NotNegative
    currency: Annotated[str, Matching(r"^[A-Z]{3}$", "three letters such as USD")]


class SuiteFile(SuiteModel):
    """Prompts for every checkpoint, and conditions on the answers. See docs/smoke_suites.md."""

    model_config = ConfigDict(
        title="Smoke suite", json_schema_extra={"anyOf": [{"required": ["cases"]}, {"required": ["cases_from"]}]}
    )

    description: str = Field(default="", description="What the suite is for.")
    defaults: Defaults = Field(default_factory=Defaults)
    judge: Judge = optional()
    prices: Prices = optional()
    cases: Annotated[list[CaseFields], Field(min_length=1)] = optional([], description="In the order of the report.")
    cases_from: CaseFile | Annotated[list[CaseFile], Field(min_length=1)] = optional(
        [], description="Files with a case in each row."
    )

    @model_validator(mode="after")
    def _has_cases(self) -> Self:
        if not self.model_fields_set & {"cases", "cases_from"}:
            raise PydanticCustomError("no_cases", "expected the key cases or cases_from")
        return self


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        """Return False: a title such as "Max Output Tokens" only repeats the key."""
        return False


def json_schema(model: type[BaseModel] = SuiteFile, mode: JsonSchemaMode = "validation") -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a model; ``suite.schema.json`` is that of a suite file."""
    schema = model.model_json_schema(mode=mode, schema_generator=_WithoutTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}
