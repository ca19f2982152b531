"""The cost of a run, estimated before the tuning job is created: tokens times prices.

Google bills the training file once for each epoch, and prompts of a tuned model like those of its base model
(https://cloud.google.com/vertex-ai/generative-ai/pricing). No page mentions a charge for the validation file, so it is
not included. What is unknown is listed and never counted as 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.core.text import MAX_SHOWN, money, shorten
from gemini_tuning.core.xcom import CostItemXCom, CostXCom, CountedTokensXCom
from gemini_tuning.datasets.dataset_check import MAX_EXAMPLE_TOKENS, DatasetReport
from gemini_tuning.datasets.examples import BYTES_PER_TOKEN
from gemini_tuning.smoke.judge import MAX_JUDGED, judge_prompt

if TYPE_CHECKING:
    from gemini_tuning.cost.prices import PriceTable
    from gemini_tuning.smoke.cases import Case
    from gemini_tuning.smoke.suite import Suite

MILLION = 1_000_000
ASSUMED_OUTPUT_TOKENS = 1_024  # of a response without max_output_tokens and of a judge's, including thoughts
CHECKPOINTS_OF_MANY_EPOCHS = 10  # of a job with ten epochs or more
DIGITS = 6  # after the decimal point of an amount


@dataclass(frozen=True)
class BilledModel:
    """A model that is billed."""

    name: str  # a base model, or the full name of a tuned model or an endpoint
    base_model: str | None  # whose prices apply; None when the service does not report it


@dataclass(frozen=True)
class CostInputs:
    """Everything in a run that costs something."""

    model: BilledModel  # the model that is tuned
    training: DatasetReport
    epochs: int | None = None  # None: Google chooses the number
    last_checkpoint_only: bool = False  # whether only the last checkpoint is exported, and so tested
    suite: Suite | None = None  # for each checkpoint
    champion: BilledModel | None = None  # in production, when it is tested too
    judge: BilledModel | None = None
    is_evaluated: bool = False  # whether Google evaluates the checkpoints
    counted: CountedTokensXCom | None = None  # of a sample of the training file
    counted_cases: Mapping[str, int] = field(default_factory=dict)  # by case id: tokens of prompts


def estimate_cost(inputs: CostInputs, prices: PriceTable, budget: float | None = None) -> CostXCom:
    """Estimate the cost of a run. Its parts and its total are ``None`` where something is unknown."""
    items = list(_items(inputs, prices))
    unknown = [f"{str(item.what).replace('_', ' ')}: {what}" for item in items for what in item.unknown]
    at_least = round(sum(item.at_least or 0 for item in items), DIGITS)
    return CostXCom(
        currency=prices.currency,
        price_date=prices.date.isoformat(),
        total=None if unknown else at_least,
        at_least=at_least,
        budget=budget,
        epochs=inputs.epochs,
        unknown=list(dict.fromkeys(unknown)),
        counted=inputs.counted,
        items=items,
    )


def check_budget(estimate: CostXCom) -> None:
    """Raise InvalidInputError when the cost is above the budget, or unknown although there is a budget."""
    if estimate.budget is None:
        return
    at_least = estimate.at_least or 0
    budget, least = (f"{money(amount)} {estimate.currency}" for amount in (estimate.budget, at_least))
    if at_least > estimate.budget:
        more = "at least " if estimate.unknown else ""
        code, problem = "over_budget", f"the estimate of {more}{least} is above the budget of {budget}"
        hint = "Use fewer epochs, a smaller dataset or suite, or a cheaper model; or raise the budget."
    elif estimate.unknown:
        code, problem = "unknown_cost", f"the cost is at least {least} but otherwise unknown"
        problem += f", so it cannot be compared with the budget of {budget}. Unknown: {'; '.join(estimate.unknown)}"
        hint = "Provide what is unknown, or run without a budget."
    else:
        return
    raise InvalidInputError(f"budget: {problem}. No tuning job was created.", field="budget", code=code, hint=hint)


def counted_tokens(model: str, examples: int, counted: int, estimated: int) -> CountedTokensXCom:
    """Return the tokens of a sample, with the ratio by which to correct an estimate."""
    ratio = round(counted / estimated, 6) if counted and estimated else None
    return CountedTokensXCom(model=model, examples=examples, counted=counted, estimated=estimated, ratio=ratio)


def training_tokens(lengths: Mapping[int, int], ratio: float = 1.0) -> int:
    """Return the tokens of one epoch from the number of examples of each length; longer ones are truncated."""
    return sum(min(ceil(length * ratio), MAX_EXAMPLE_TOKENS) * count for length, count in lengths.items())


def has_files(case: Case) -> bool:
    """Whether a prompt contains files."""
    return any("file_uri" in part for turn in case.contents for part in turn["parts"])


def _items(inputs: CostInputs, prices: PriceTable) -> Iterator[CostItemXCom]:
    yield _tuning(inputs, prices)
    if suite := inputs.suite:
        unknown = []
        checkpoints = 1 if inputs.last_checkpoint_only else min(inputs.epochs or 1, CHECKPOINTS_OF_MANY_EPOCHS)
        if inputs.epochs is None and not inputs.last_checkpoint_only:
            unknown.append("Google chooses the number of epochs, and so of checkpoints: set epoch_count")
        yield _prompts("smoke_test", inputs, inputs.model, prices, unknown, times=checkpoints)
        if inputs.champion:
            yield _prompts("champion", inputs, inputs.champion, prices, [], times=1)
        if inputs.judge and any(assertion.needs_judge for case in suite.cases for assertion in case.assertions):
            yield _judge(suite, inputs.judge, prices, unknown, times=checkpoints + bool(inputs.champion))
    if inputs.is_evaluated:
        unknown = ["the price of Google's evaluation: omit evaluation_metrics"]
        yield CostItemXCom(what="evaluation", model=_shown(inputs.model), at_least=0.0, unknown=unknown)


def _tuning(inputs: CostInputs, prices: PriceTable) -> CostItemXCom:
    unknown = []
    if inputs.epochs is None:
        unknown.append("Google chooses the number of epochs: set epoch_count")
    ratio = inputs.counted.ratio if inputs.counted else None
    if inputs.training.files and ratio is None:
        unknown.append("tokens of the files in the examples: set count_tokens")
    tokens = training_tokens(inputs.training.lengths, ratio or 1.0) * (inputs.epochs or 1)
    return _item("tuning", inputs.model, prices, {"training": tokens}, unknown)


def _prompts(
    what: str, inputs: CostInputs, model: BilledModel, prices: PriceTable, unknown: Sequence[str], *, times: int
) -> CostItemXCom:
    cases = inputs.suite.cases if inputs.suite else ()
    tokens = {
        "input": sum((inputs.counted_cases.get(case.id) or _prompt_tokens(case)) * case.repeat for case in cases),
        "output": sum(_output_tokens(case) * case.repeat for case in cases),
    }
    if uncounted := sum(has_files(case) and case.id not in inputs.counted_cases for case in cases):
        unknown = [*unknown, f"tokens of the files in {uncounted} cases: set count_tokens"]
    return _item(what, model, prices, tokens, unknown, prompts=sum(case.repeat for case in cases), times=times)


def _judge(suite: Suite, judge: BilledModel, prices: PriceTable, unknown: Sequence[str], *, times: int) -> CostItemXCom:
    """Assume all samples, although the first two votes often decide."""
    samples = suite.judge.samples if suite.judge else 1
    tokens, prompts = {"input": 0, "output": 0}, 0
    for case in suite.cases:
        for assertion in case.assertions:
            if assertion.needs_judge:
                votes = case.repeat * samples
                response = min(_output_tokens(case), MAX_JUDGED // BYTES_PER_TOKEN)
                prompt = _tokens(judge_prompt(str(assertion.value), case, ModelResponse("", 0.0)))
                tokens["input"] += (prompt + response) * votes
                tokens["output"] += ASSUMED_OUTPUT_TOKENS * votes
                prompts += votes
    return _item("judge", judge, prices, tokens, unknown, prompts=prompts, times=times)


def _item(
    what: str,
    model: BilledModel,
    table: PriceTable,
    tokens: Mapping[str, int],
    unknown: Sequence[str],
    *,
    prompts: int | None = None,
    times: int = 1,
) -> CostItemXCom:
    """Return the tokens with their prices. ``unknown`` lists what is missing, and how to provide it."""
    known = table.prices_of(model.base_model)
    prices = {kind: {"training": known.tuning, "input": known.input, "output": known.output}[kind] for kind in tokens}
    if model.base_model is None:
        unknown = [*unknown, f"the service does not report the base model of {_shown(model)}"]
    else:
        missing = [kind.replace("training", "tuning") for kind, price in prices.items() if price is None]
        unknown = [*unknown, *(f"no {kind} price for {_shown(model)}: add it to {table.path}" for kind in missing)]
    counts = {kind: count * times for kind, count in tokens.items()}
    at_least = round(sum(count * (prices[kind] or 0.0) for kind, count in counts.items()) / MILLION, DIGITS)
    return CostItemXCom(
        what=what,
        model=_shown(model),
        prompts=None if prompts is None else prompts * times,
        tokens=counts,
        prices={kind: price for kind, price in prices.items() if price is not None},
        amount=None if unknown else at_least,
        at_least=at_least,
        unknown=list(unknown),
    )


def _shown(model: BilledModel) -> str:
    return shorten(model.base_model or model.name, MAX_SHOWN)


def _output_tokens(case: Case) -> int:
    return case.max_output_tokens or ASSUMED_OUTPUT_TOKENS


def _prompt_tokens(case: Case) -> int:
    texts = [part.get("text", "") for turn in case.contents for part in turn["parts"]]
    return _tokens("".join([case.system_instruction or "", *texts]))


def _tokens(text: str) -> int:
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)
