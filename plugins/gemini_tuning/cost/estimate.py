"""What a run will cost, before it is paid: tokens times prices, and what of it nobody knows. Pure.

Google bills a training file once for each epoch, and prompts of a tuned model like those of its base model
(https://cloud.google.com/vertex-ai/generative-ai/pricing). That a validation file is billed too is stated nowhere, so
it counts nothing here. What is not known is named and never taken for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.core.text import MAX_SHOWN, money, shorten
from gemini_tuning.cost.prices import ModelPrice, PriceTable
from gemini_tuning.datasets.dataset_check import MAX_EXAMPLE_TOKENS, DatasetReport
from gemini_tuning.datasets.examples import BYTES_PER_TOKEN
from gemini_tuning.datasets.token_sample import TokenCount
from gemini_tuning.smoke.cases import Case
from gemini_tuning.smoke.judge import MAX_JUDGED, judge_prompt
from gemini_tuning.smoke.suite import Suite

Json = dict[str, Any]

MILLION = 1_000_000
ASSUMED_OUTPUT_TOKENS = 1_024  # of an answer that has no max_output_tokens, and of a judge's; with its thoughts
MANY_EPOCHS, CHECKPOINTS_OF_MANY = 10, 10
DIGITS = 6  # after the point of an amount
TUNING, SMOKE_TEST, CHAMPION, JUDGE, EVALUATION = "tuning", "smoke_test", "champion", "judge", "evaluation"


@dataclass(frozen=True)
class Billed:
    """A model that is paid for.

    :param name: what it is called in the run: a base model, or the full name of a tuned one or of an endpoint.
    :param base_model: whose prices count; ``None`` where the service does not tell.
    """

    name: str
    base_model: str | None


@dataclass(frozen=True)
class Plan:
    """What a run is to do, as far as it costs something.

    :param model: that is tuned.
    :param training: what is in the training file.
    :param epochs: ``None``: Google decides.
    :param last_checkpoint_only: only the final checkpoint is saved, and so tested.
    :param suite: that each checkpoint is asked.
    :param champion: the model in production, when it is asked too.
    :param judge: who judges the answers.
    :param is_evaluated: whether Google evaluates the checkpoints.
    :param counted: what the service counted in a sample of the training file.
    :param counted_cases: tokens of prompts, by the id of the case, that the service has counted.
    """

    model: Billed
    training: DatasetReport
    epochs: int | None = None
    last_checkpoint_only: bool = False
    suite: Suite | None = None
    champion: Billed | None = None
    judge: Billed | None = None
    is_evaluated: bool = False
    counted: TokenCount | None = None
    counted_cases: Mapping[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """What the estimated tokens of the training file are multiplied with."""
        return self.counted.ratio if self.counted else None

    @property
    def checkpoints(self) -> int | None:
        """How many the job will save: below ten epochs one each, from ten on about ten; ``None``: not known."""
        if self.last_checkpoint_only:
            return 1
        if self.epochs is None:
            return None
        return self.epochs if self.epochs < MANY_EPOCHS else CHECKPOINTS_OF_MANY


def estimate(plan: Plan, prices: PriceTable, budget: float | None = None) -> Json:
    """Return what the run will cost, as it goes to XCom.

    ``{"currency", "price_date", "total", "at_least", "unknown": ["tuning: …"], "budget", "epochs", "counted": {"model",
    "examples", "counted", "estimated", "ratio"} or None, "items": [{"what", "model", "prompts", "tokens", "prices",
    "amount", "at_least", "unknown": […]}]}``. ``what`` is ``tuning``, ``smoke_test``, ``champion``, ``judge`` or
    ``evaluation``; ``tokens`` and ``prices``, of a million, have ``training``, or ``input`` and ``output``. ``amount``
    and ``total`` are ``None`` where something is not known; ``at_least`` is the sum of what is known, with one epoch
    and one checkpoint where Google decides how many there are.

    :param budget: in the currency of the table.
    """
    items = list(_items(plan, prices))
    unknown = [f"{item['what'].replace('_', ' ')}: {why}" for item in items for why in item["unknown"]]
    at_least = round(sum(item["at_least"] for item in items), DIGITS)
    return {
        "currency": prices.currency,
        "price_date": prices.date,
        "total": None if unknown else at_least,
        "at_least": at_least,
        "unknown": list(dict.fromkeys(unknown)),
        "budget": budget,
        "epochs": plan.epochs,
        "counted": plan.counted.as_dict() if plan.counted else None,
        "items": items,
    }


def objection(cost: Mapping[str, Any]) -> str | None:
    """Return why a run may not begin with its budget, and what to do about it; ``None``: it may."""
    if cost["budget"] is None:
        return None
    budget, least = (f"{money(cost[key])} {cost['currency']}" for key in ("budget", "at_least"))
    if cost["at_least"] > cost["budget"]:
        more = "" if cost["unknown"] == [] else "at least "
        return (
            f"By estimate the run costs {more}{least}, above its budget of {budget}. Take fewer epochs, a smaller file "
            "or suite, a cheaper model, or raise the budget."
        )
    if cost["unknown"]:
        return (
            f"The run has a budget of {budget}, and what it costs is not known, but at least {least}. Not known: "
            f"{'; '.join(cost['unknown'])}; or run it without a budget."
        )
    return None


def _items(plan: Plan, prices: PriceTable) -> Iterable[Json]:
    yield _tuning(plan, prices)
    if plan.suite:
        checkpoints, unknown = plan.checkpoints or 1, list[str]()
        if plan.checkpoints is None:
            unknown = ["Google decides on the epochs, and so on the number of checkpoints: give epoch_count"]
        yield _prompts(SMOKE_TEST, plan, plan.model, prices, unknown, times=checkpoints)
        if plan.champion:
            yield _prompts(CHAMPION, plan, plan.champion, prices, [], times=1)
        if plan.judge and any(_judged(case) for case in plan.suite.cases):
            yield _judging(plan, plan.judge, prices, unknown, times=checkpoints + bool(plan.champion))
    if plan.is_evaluated:
        yield _item(EVALUATION, plan.model, None, {}, ["what Google's evaluation costs: leave out evaluation_metrics"])


def training_tokens(lengths: Mapping[int, int], ratio: float = 1.0) -> int:
    """Return the tokens of one epoch; of an example that is too long, those that are not cut off.

    :param lengths: how many examples have so many tokens.
    """
    return sum(min(ceil(length * ratio), MAX_EXAMPLE_TOKENS) * count for length, count in lengths.items())


def _tuning(plan: Plan, prices: PriceTable) -> Json:
    unknown = []
    if plan.epochs is None:
        unknown.append("Google decides on the epochs: give epoch_count")
    if plan.training.files and plan.ratio is None:
        unknown.append("how many tokens the files have that examples name: set count_tokens")
    tokens = training_tokens(plan.training.lengths, plan.ratio or 1.0) * (plan.epochs or 1)
    return _item(TUNING, plan.model, prices, {"training": tokens}, unknown)


def _prompts(what: str, plan: Plan, model: Billed, prices: PriceTable, unknown: Sequence[str], *, times: int) -> Json:
    cases = plan.suite.cases if plan.suite else ()
    sums = Counter[str]()
    for case in cases:
        asked = plan.counted_cases.get(case.id) or _tokens(_text(case))
        sums.update(input=asked * case.repeat, output=_answer_tokens(case) * case.repeat, prompts=case.repeat)
    unknown = list(unknown)
    if uncounted := sum(names_files(case) and case.id not in plan.counted_cases for case in cases):
        unknown.append(f"how many tokens the files of {uncounted} cases have: set count_tokens")
    return _asked(what, model, prices, sums, unknown=unknown, times=times)


def _judging(plan: Plan, judge: Billed, prices: PriceTable, unknown: Sequence[str], *, times: int) -> Json:
    """All votes that there may be; often the first two decide."""
    suite, sums = plan.suite, Counter[str]()
    for case in suite.cases if suite else ():
        for assertion in _judged(case):
            votes = case.repeat * (suite.judge.samples if suite and suite.judge else 1)
            answer = min(_answer_tokens(case), MAX_JUDGED // BYTES_PER_TOKEN)
            asked = _tokens(judge_prompt(str(assertion.value), case, ModelResponse("", 0.0))) + answer
            sums.update(input=asked * votes, output=ASSUMED_OUTPUT_TOKENS * votes, prompts=votes)
    return _asked(JUDGE, judge, prices, sums, unknown=unknown, times=times)


def _asked(
    what: str, model: Billed, prices: PriceTable, sums: Mapping[str, int], *, unknown: Sequence[str], times: int
) -> Json:
    tokens = {kind: sums[kind] * times for kind in ("input", "output")}
    return _item(what, model, prices, tokens, unknown, prompts=sums["prompts"] * times)


def _item(
    what: str,
    model: Billed,
    prices: PriceTable | None,
    tokens: Mapping[str, int],
    unknown: Sequence[str],
    *,
    prompts: int | None = None,
) -> Json:
    """Multiply; a price that is not known leaves its part out."""
    unknown, named = list(unknown), shorten(model.base_model or model.name, MAX_SHOWN)
    known = prices.of(model.base_model) if prices and model.base_model else None
    each = {kind: _price(kind, known) for kind in tokens}
    if model.base_model is None and tokens:
        unknown.append(f"which base model {named} comes from, the service does not tell")
    elif prices:
        unknown += [
            f"no {kind} price of {named}: put it into {prices.path}"
            for kind, price in (("tuning" if kind == "training" else kind, price) for kind, price in each.items())
            if price is None
        ]
    least = round(sum(count * (each[kind] or 0.0) for kind, count in tokens.items()) / MILLION, DIGITS)
    return {
        "what": what,
        "model": named,
        "prompts": prompts,
        "tokens": dict(tokens),
        "prices": each,
        "amount": None if unknown else least,
        "at_least": least,
        "unknown": unknown,
    }


def _price(kind: str, known: ModelPrice | None) -> float | None:
    if known is None:
        return None
    return {"training": known.tuning, "input": known.input, "output": known.output}[kind]


def names_files(case: Case) -> bool:
    """Whether a prompt has more in it than its text."""
    return any(part.file_uri for turn in case.contents for part in turn.parts)


def _judged(case: Case) -> list[Any]:
    return [assertion for assertion in case.assertions if assertion.needs_judge]


def _answer_tokens(case: Case) -> int:
    return case.max_output_tokens or ASSUMED_OUTPUT_TOKENS


def _text(case: Case) -> str:
    turns = [part.text or "" for turn in case.contents for part in turn.parts]
    return "".join([case.system_instruction or "", *turns])


def _tokens(text: str) -> int:
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)
