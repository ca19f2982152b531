"""The price table ``dags/config/prices.yaml``."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from gemini_tuning.core.text import short_repr
from gemini_tuning.core.yaml_file import YamlError, YamlModel, load_file, load_model

MAX_PRICE = 1_000_000.0  # against typing errors
MAX_PATH = 1_000  # characters

Price = Annotated[float, Field(strict=True, gt=0, le=MAX_PRICE)]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class ModelPrices(YamlModel):
    """Prices of a base model for a million tokens; ``None`` where unknown."""

    tuning: Price | None = None  # training tokens, for each epoch
    input: Price | None = None  # tokens of prompts
    output: Price | None = None  # tokens of responses

    @field_validator("tuning", "input", "output", mode="before")
    @classmethod
    def _check_given(cls, price: Any) -> Any:
        if price is None:
            raise PydanticCustomError("empty_price", "expected a price; leave out what is unknown")
        return price


def _date(value: Any) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        context = {"value": short_repr(value)}
        raise PydanticCustomError("invalid_date", "expected a date, YYYY-MM-DD, not {value}", context) from None


def _check_models(models: dict[str, ModelPrices]) -> dict[str, ModelPrices]:
    names: dict[str, str] = {}
    for name, prices in models.items():
        if not prices.model_fields_set:
            raise PydanticCustomError("empty_price", "expected one of tuning, input, output", {"key": name})
        if (other := names.setdefault(_key(name), name)) != name:
            context = {"key": name, "other": other}
            raise PydanticCustomError("duplicate_model", "the same model as {other}", context)
    return models


class PriceTable(YamlModel):
    """All known prices."""

    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]  # for example USD
    date: Annotated[date, BeforeValidator(_date)]  # when the prices were checked last
    models: Annotated[dict[ModelName, ModelPrices], Field(min_length=1), AfterValidator(_check_models)]
    _path: str = PrivateAttr(default="")

    @property
    def path(self) -> str:
        """The file."""
        return self._path

    def name_of(self, model: str) -> str | None:
        """Return the name of a base model, also without dots as in a label, in the table; ``None``: not there."""
        return next((name for name in self.models if _key(name) == _key(model)), None)

    def prices_of(self, model: str | None) -> ModelPrices:
        """Return the prices of a base model; all are ``None`` when it is not in the table."""
        name = self.name_of(model) if model else None
        return self.models[name] if name else ModelPrices()


def load_prices(path: str) -> PriceTable:
    """Read the table; raise YamlError when it does not exist or is not acceptable."""
    if not isinstance(path, str) or not path.strip() or len(path) > MAX_PATH:
        raise YamlError(f"prices: {short_repr(path)} is not the path of a file", field="prices", code="invalid_path")
    table = load_model(load_file(path, "prices"), PriceTable, source=path)
    table._path = path
    return table


def _key(model: str) -> str:
    return model.lower().replace(".", "-").removesuffix("-001")
