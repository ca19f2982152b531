"""The cost estimate of a run, and what was billed, as text: for the log, the approval request and the report."""

from __future__ import annotations

from math import log

from pydantic import Field

from gemini_tuning.core.text import money
from gemini_tuning.core.xcom import BilledTokensXCom, CostItemXCom, CostXCom, JsonModel, Number, Text, Whole

MILLION = 1_000_000
DIGITS = 6  # after the decimal point of an amount
ONCE, EACH_EPOCH = "once", "for each epoch"


class Billing(JsonModel):
    """Training tokens that the service bills, compared with the estimate."""

    reported_tokens: Whole
    counted: Text = Field(
        default=None,
        description="whether the service counts each example once or for each epoch; null where it is the same",
    )
    tokens: Whole = Field(default=None, description="of all epochs")
    amount: Number = None
    estimated_tokens: Whole = Field(default=None, description="of all epochs")
    estimated_amount: Number = None
    ratio: Number = Field(default=None, description="tokens to estimated_tokens")


class CostReport(CostXCom):
    """The estimate, and what was billed."""

    billed: Billing | None = Field(default=None, description="null where the service does not report billable tokens")


def cost_report(cost: CostXCom | None, billed: BilledTokensXCom | None = None) -> CostReport | None:
    """Return the estimate with what was billed; ``None`` without an estimate."""
    if cost is None:
        return None
    return CostReport(**cost.model_dump(), billed=_billing(cost, billed) if billed else None)


def estimate_total(cost: CostXCom | None) -> str | None:
    """Return the total; ``None`` without an estimate."""
    return f"{known_amount(cost.total, cost.at_least)} {cost.currency or ''}".strip() if cost else None


def estimate_line(cost: CostXCom | None) -> str:
    """Return the estimate in one line of plain text."""
    if not cost:
        return "not estimated"
    items = []
    for item in (item for item in cost.items if item.tokens):
        tokens, prompts = item.tokens.get("training"), item.prompts
        size = _count(tokens, "tokens") if prompts is None else _count(prompts, "prompts")
        items.append(f"{_name(item)} of {item.model or '-'} {known_amount(item.amount, item.at_least)} ({size})")
    unknown = [f"unknown: {what}" for what in cost.unknown]
    budget = [] if cost.budget is None else [f"budget {money(cost.budget)}"]
    parts = [", ".join(items), *unknown, *budget, f"prices of {cost.price_date or '-'}"]
    return f"{known_amount(cost.total, cost.at_least)} {cost.currency or ''}: {'; '.join(filter(None, parts))}"


def known_amount(amount: float | None, at_least: float | None) -> str:
    """Return an amount of money, or the least that it can be."""
    if amount is not None:
        return money(amount)
    return f"at least {money(at_least)}" if at_least else "unknown"


def _billing(cost: CostXCom, billed: BilledTokensXCom) -> Billing | None:
    """Compare the tokens that the service bills for the training with the estimate."""
    reported, epochs = billed.billable_tokens, billed.epoch_count
    if reported is None or reported <= 0:
        return None
    counted = _how_counted(reported, billed.dataset_tokens, epochs)
    tokens = reported * (epochs or 1) if counted == ONCE else reported
    item = next((item for item in cost.items if item.what == "tuning"), CostItemXCom())
    estimated, price = item.tokens.get("training"), item.prices.get("training")
    if estimated and epochs and cost.epochs is None:
        estimated *= epochs  # the service chose the number of epochs; the estimate is for one
    amount, estimated_amount = (
        None if count is None or price is None else round(count * price / MILLION, DIGITS)
        for count in (tokens, estimated)
    )
    return Billing(
        reported_tokens=reported,
        counted=counted,
        tokens=tokens,
        amount=amount,
        estimated_tokens=estimated,
        estimated_amount=estimated_amount,
        ratio=round(tokens / estimated, 6) if estimated else None,
    )


def _how_counted(reported: int, once: int | None, epochs: int | None) -> str | None:
    """Compare with the tokens of the file, by the service's own statistics: which way it counts is not documented."""
    if not once or once <= 0 or not epochs or epochs <= 1:
        return None
    return ONCE if abs(log(reported / once)) < abs(log(reported / (once * epochs))) else EACH_EPOCH


def _name(item: CostItemXCom) -> str:
    return (item.what or "-").replace("_", " ")


def _count(value: int | None, unit: str = "") -> str:
    return f"{'-' if value is None else f'{value:,}'} {unit}".strip()
