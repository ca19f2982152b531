"""What a run was to cost, and what the service says was billed: for the log, the question, the report. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log
from typing import Any

from gemini_tuning.core import xcom
from gemini_tuning.core.markdown import plain, table
from gemini_tuning.core.text import money

Json = dict[str, Any]

MILLION = 1_000_000
DIGITS = 6  # after the point of an amount
MAX_PARTS = 10
KINDS = ("training", "input", "output")
COUNTED = ("examples", "counted", "estimated")
ONCE, EACH_EPOCH = "once", "for each epoch"


def entry(cost: object, billed: object = None) -> Json | None:
    """Return the estimate, and what was billed, for the report; ``None`` when nothing was estimated.

    :param cost: what :func:`gemini_tuning.cost.estimate.estimate` returned, as the check at the beginning pushed it.
    :param billed: ``{"billable_tokens", "dataset_tokens", "epoch_count"}``, as the list of the checkpoints pushed it.
    :raises ValueError: when one of them is no mapping.
    """
    data = xcom.optional(cost, "cost")
    if not data:
        return None
    counted = xcom.part(data, "counted")
    parts = data.get("items")
    known: Json = {
        **{key: xcom.text(data.get(key)) for key in ("currency", "price_date")},
        **{key: xcom.number(data.get(key)) for key in ("total", "at_least", "budget")},
        "epochs": xcom.whole(data.get("epochs")),
        "unknown": xcom.texts(data.get("unknown")),
        "counted": {
            "model": xcom.text(counted.get("model")),
            **{key: xcom.whole(counted.get(key)) for key in COUNTED},
            "ratio": xcom.number(counted.get("ratio")),
        }
        if counted
        else None,
        "items": [_item(part) for part in parts[:MAX_PARTS] if isinstance(part, Mapping)]
        if isinstance(parts, list | tuple)
        else [],
    }
    return {**known, "billed": _billed(known, xcom.optional(billed, "billed"))}


def in_brief(cost: Mapping[str, Any] | None) -> str | None:
    """Return the sum of an :func:`entry`; ``None`` when there is none."""
    return f"{_amount(cost, 'total')} {cost['currency'] or ''}".strip() if cost else None


def in_words(cost: Mapping[str, Any] | None) -> str:
    """Return an :func:`entry` in one line of plain text."""
    if not cost:
        return "not estimated"
    currency = cost["currency"] or ""
    parts = [
        f"{_named(item['what'])} of {item['model'] or '-'} {_amount(item)} ({_size(item)})"
        for item in cost["items"]
        if item["tokens"]
    ]
    unknown = [f"not known: {what}" for what in cost["unknown"]]
    budget = [] if cost["budget"] is None else [f"budget {money(cost['budget'])}"]
    said = [", ".join(parts), *unknown, *budget, f"prices of {cost['price_date'] or '-'}"]
    return f"{_amount(cost, 'total')} {currency}: {'; '.join(filter(None, said))}"


def lines(cost: Mapping[str, Any] | None) -> list[str]:
    """Return an :func:`entry` as Markdown; nothing when there is none."""
    return list(_lines(cost)) if cost else []


def _lines(cost: Mapping[str, Any]) -> Iterator[str]:
    currency = plain(cost["currency"] or "-")
    rows = [("for", "model", "prompts", "tokens", currency)]
    for item in cost["items"]:
        tokens = ", ".join(f"{count:,} {kind}" for kind, count in item["tokens"].items() if count is not None)
        prompts = "-" if item["prompts"] is None else f"{item['prompts']:,}"
        rows.append((plain(_named(item["what"])), plain(item["model"] or "-"), prompts, tokens or "-", _amount(item)))
    rows.append(("**all**", "", "", "", f"**{_amount(cost, 'total')}**"))
    yield from table(rows)
    yield ""
    yield f"- Estimated before the job, with prices of {plain(cost['price_date'] or '-')}"
    yield from (f"- Not known: {plain(what)}" for what in cost["unknown"])
    if cost["budget"] is not None:
        yield f"- Budget: {money(cost['budget'])} {currency}"
    if counted := cost["counted"]:
        yield (
            f"- Counted by {plain(counted['model'] or '-')}: {_number(counted['counted'])} tokens in "
            f"{_number(counted['examples'])} examples, estimated were {_number(counted['estimated'])}"
        )
    yield f"- Billed: {_billing(cost['billed'], currency)}"


def _billing(billed: Mapping[str, Any] | None, currency: str) -> str:
    if not billed:
        return "the service does not tell how many training tokens it bills"
    said = f"{_number(billed['tokens'])} training tokens"
    if billed["counted"]:
        said += f" (the service counts {_number(billed['reported_tokens'])}, each example {billed['counted']})"
    if billed["amount"] is not None:
        said += f", {money(billed['amount'])} {currency}"
    if billed["ratio"] is not None:
        estimated = f"{_number(billed['estimated_tokens'])} tokens"
        if billed["estimated_amount"] is not None:
            estimated += f", {money(billed['estimated_amount'])} {currency}"
        said += f"; {billed['ratio']:.3g} times the estimate of {estimated}"
    return said


def _item(part: Mapping[str, Any]) -> Json:
    tokens, prices = xcom.part(part, "tokens"), xcom.part(part, "prices")
    return {
        "what": xcom.text(part.get("what")),
        "model": xcom.text(part.get("model")),
        "prompts": xcom.whole(part.get("prompts")),
        "tokens": {kind: xcom.whole(tokens[kind]) for kind in KINDS if kind in tokens},
        "prices": {kind: xcom.number(prices[kind]) for kind in KINDS if kind in prices},
        **{key: xcom.number(part.get(key)) for key in ("amount", "at_least")},
        "unknown": xcom.texts(part.get("unknown")),
    }


def _billed(cost: Json, said: Mapping[str, Any]) -> Json | None:
    """Compare what the service bills for the training with the estimate of it."""
    reported, once, epochs = (xcom.whole(said.get(k)) for k in ("billable_tokens", "dataset_tokens", "epoch_count"))
    if reported is None or reported <= 0:
        return None
    counted = _how_counted(reported, once, epochs)
    tokens = reported * (epochs or 1) if counted == ONCE else reported
    nothing: Json = {"tokens": {}, "prices": {}}
    item = next((item for item in cost["items"] if item["what"] == "tuning"), nothing)
    estimated, price = item["tokens"].get("training"), item["prices"].get("training")
    if estimated and epochs and cost["epochs"] is None:
        estimated *= epochs  # Google decided how many; the estimate was that of one
    return {
        "reported_tokens": reported,
        "counted": counted,
        "tokens": tokens,
        "amount": _product(tokens, price),
        "estimated_tokens": estimated,
        "estimated_amount": _product(estimated, price),
        "ratio": round(tokens / estimated, 6) if estimated else None,
    }


def _how_counted(reported: int, once: int | None, epochs: int | None) -> str | None:
    """Say whether the service counts the file once or for each epoch, which no page says; ``None`` where it is alike.

    :param once: the tokens of the file, by the service's own statistics.
    """
    if not once or once <= 0 or not epochs or epochs <= 1:
        return None
    return ONCE if abs(log(reported / once)) < abs(log(reported / (once * epochs))) else EACH_EPOCH


def _product(tokens: int | None, price: float | None) -> float | None:
    return None if tokens is None or price is None else round(tokens * price / MILLION, DIGITS)


def _named(what: str | None) -> str:
    return (what or "-").replace("_", " ")


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _amount(part: Mapping[str, Any], key: str = "amount") -> str:
    """Return an amount; where it is not known, the least that it can be."""
    if part[key] is not None:
        return money(part[key])
    return f"at least {money(part['at_least'])}" if part["at_least"] else "not known"


def _size(item: Mapping[str, Any]) -> str:
    if item["prompts"] is not None:
        return f"{item['prompts']:,} prompts"
    return f"{_number(item['tokens'].get('training'))} tokens"
