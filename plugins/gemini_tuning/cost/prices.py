"""The table of prices, ``dags/config/prices.yaml``: YAML that ops edit. No Airflow, no network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

from gemini_tuning.core import yaml_file
from gemini_tuning.core.text import short_repr
from gemini_tuning.core.yaml_file import Document, YamlError

KEYS = ("currency", "date", "models")
KINDS = ("tuning", "input", "output")
MAX_PRICE = 1_000_000.0  # a million tokens: a guard against a typo
MAX_PATH = 1_000  # characters
_CURRENCY = re.compile(r"[A-Z]{3}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class PricesError(ValueError):
    """The table of prices is not acceptable; the message names the file, the line and the field."""


@dataclass(frozen=True)
class ModelPrice:
    """What a million tokens cost; ``None`` where nobody knows.

    :param model: the name that it has in the table.
    :param tuning: of training, for each epoch.
    :param input: of prompts.
    :param output: of answers.
    """

    model: str
    tuning: float | None = None
    input: float | None = None
    output: float | None = None


@dataclass(frozen=True)
class PriceTable:
    """All prices that are known.

    :param path: of the file, to name it.
    :param currency: three letters, for example ``USD``.
    :param date: when somebody last looked, ``YYYY-MM-DD``.
    """

    path: str
    currency: str
    date: str
    _prices: Mapping[str, ModelPrice] = field(default_factory=dict, repr=False)

    def of(self, model: str) -> ModelPrice | None:
        """Return the prices of a base model; ``None`` when it is not in the table.

        :param model: for example ``gemini-2.5-flash``, or ``gemini-2-5-flash`` as a label has it, where no dot may be.
        """
        return self._prices.get(_key(model))


def load_prices(path: str) -> PriceTable:
    """Read the table.

    :param path: of the YAML file.
    :raises PricesError: when it is missing or not acceptable.
    """
    if not isinstance(path, str) or not path.strip() or len(path) > MAX_PATH:
        raise PricesError(f"prices: {short_repr(path)} is not the path of a file")
    try:
        document = yaml_file.load(yaml_file.read_text(Path(path)))
    except YamlError as error:
        raise PricesError(_located(path, error.line, error.what)) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL or half a character in the name
        raise PricesError(f"prices: {path}: cannot be read: {error}") from error
    return _Reader(path, document).table()


def _key(model: str) -> str:
    return model.lower().replace(".", "-").removesuffix("-001")


def _located(path: str, line: int | None, what: str) -> str:
    return f"prices: {path}: {what}" if line is None else f"prices: {path}:{line}: {what}"


class _Reader:
    def __init__(self, path: str, document: Document) -> None:
        self._path = path
        self._document = document

    def table(self) -> PriceTable:
        data = self._mapping(self._document.value, (), KEYS)
        currency, day, models = (data.get(key) for key in KEYS)
        if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
            self._refuse(("currency",), f"expected three letters such as USD, not {short_repr(currency)}")
        try:
            seen = date.fromisoformat(str(day)).isoformat()
        except ValueError:
            self._refuse(("date",), f"expected the day when somebody last looked, YYYY-MM-DD, not {short_repr(day)}")
        return PriceTable(self._path, currency, seen, self._models(self._mapping(models, ("models",))))

    def _models(self, models: Mapping[str, Any]) -> dict[str, ModelPrice]:
        found: dict[str, ModelPrice] = {}
        for model, raw in models.items():
            path = ("models", model)
            if not _MODEL.fullmatch(model):
                self._refuse(path, "expected the name of a model such as gemini-2.5-flash")
            if other := found.get(_key(model)):
                self._refuse(path, f"is the same model as {other.model}")
            prices = self._mapping(raw, path, KINDS)
            found[_key(model)] = ModelPrice(
                model, **{kind: self._price(price, (*path, kind)) for kind, price in prices.items()}
            )
        return found

    def _price(self, value: Any, path: Sequence[str]) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= MAX_PRICE:
            self._refuse(
                path,
                f"expected what a million tokens cost, above 0, not {short_repr(value)}; leave out what is not known",
            )
        return float(value)

    def _mapping(self, value: Any, path: Sequence[str], known: Sequence[str] | None = None) -> Mapping[str, Any]:
        expected = f"expected {', '.join(known) if known else 'names of models'}"
        if not isinstance(value, Mapping) or not value:
            self._refuse(path, f"{expected}, not {short_repr(value)}")
        for key in value:
            if not isinstance(key, str) or (known and key not in known):
                self._refuse(path, f"unknown key {short_repr(key)}; {expected}", key)
        return value

    def _refuse(self, path: Sequence[str], what: str, key: Any = None) -> NoReturn:
        """Refuse the table because of a field, or of a key in it."""
        line = self._document.line((*path, key) if isinstance(key, str) else tuple(path))
        raise PricesError(_located(self._path, line, ": ".join(word for word in (".".join(path), what) if word)))
