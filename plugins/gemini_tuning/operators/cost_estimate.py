"""Estimate the cost of a run before it starts, and compare it with the budget."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import short_repr
from gemini_tuning.operators.cloud_base import GeminiBaseOperator, flag, optional_float, optional_text

if TYPE_CHECKING:
    from gemini_tuning.core.tuning_request import TuningRequest
    from gemini_tuning.core.xcom import CountedTokensXCom
    from gemini_tuning.cost.estimate import BilledModel
    from gemini_tuning.cost.prices import PriceTable
    from gemini_tuning.datasets.dataset_check import DatasetReport
    from gemini_tuning.datasets.token_sample import TokenPrompt, TokenSample
    from gemini_tuning.smoke.suite import Suite

MAX_CONCURRENT_COUNTS = 8
NOTHING_CREATED = "No tuning job was created."


@dataclass(frozen=True)
class CostParameters:
    """The inputs of an estimate that are known before the dataset is read."""

    prices: PriceTable
    request: TuningRequest
    model: BilledModel
    budget: float | None  # in the currency of the prices; None: unlimited
    sample: TokenSample | None  # collects the examples whose tokens the service counts; None: none are counted


class CostEstimateMixin(GeminiBaseOperator):
    """An operator that estimates what a run costs.

    :param prices: path of the price table; ``None``: no estimate. (templated)
    :param budget: maximum cost of the run, in the currency of the table; ``None``: unlimited. (templated)
    :param count_tokens: whether the service counts the tokens of a sample of the training file. (templated)
    """

    COST_FIELDS = ("prices", "budget", "count_tokens")

    def __init__(
        self,
        *,
        prices: str | None = None,
        budget: float | str | None = None,
        count_tokens: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prices = prices
        self.budget = budget
        self.count_tokens = count_tokens

    def cost_parameters(self, request: TuningRequest) -> CostParameters | None:
        """Read the parameters and the price table, before anything takes time; ``None`` without a table."""
        from gemini_tuning.cost.prices import load_prices
        from gemini_tuning.datasets.token_sample import TokenSample

        budget = optional_float(self.budget, "budget")
        if budget is not None and budget < 0:
            problem = f"budget: must be at least 0, not {short_repr(self.budget)}. {NOTHING_CREATED}"
            raise InvalidInputError(problem, field="budget", code="out_of_range")
        path = optional_text(self.prices)
        if path is None:
            if budget is None:
                return None
            problem, hint = f"budget: needs a price table. {NOTHING_CREATED}", "Set prices to the path of the table."
            raise InvalidInputError(problem, field="budget", code="needs_prices", hint=hint)
        return CostParameters(
            prices=load_prices(path),
            request=request,
            model=self._billed(request.pre_tuned_model or request.base_model or ""),
            budget=budget,
            sample=TokenSample() if flag(self.count_tokens, "count_tokens") else None,
        )

    def estimate_cost(
        self, parameters: CostParameters | None, training: DatasetReport, suite: Suite | None, champion: str | None
    ) -> dict[str, Any] | None:
        """Return the estimate, which is not above the budget; ``None`` without prices."""
        from gemini_tuning.cost.estimate import CostInputs, check_budget, estimate_cost
        from gemini_tuning.cost.estimate_text import estimate_line

        if parameters is None:
            return None
        counted, counted_cases = self._count(parameters, suite)
        cost_inputs = CostInputs(
            model=parameters.model,
            training=training,
            epochs=parameters.request.epoch_count,
            last_checkpoint_only=parameters.request.export_last_checkpoint_only,
            suite=suite,
            champion=self._billed(champion) if suite and champion else None,
            judge=self._billed(suite.judge.model) if suite and suite.judge else None,
            is_evaluated=bool(parameters.request.evaluation_metrics),
            counted=counted,
            counted_cases=counted_cases,
        )
        estimate = estimate_cost(cost_inputs, parameters.prices, parameters.budget)
        self.log.info("Estimated cost: %s", estimate_line(estimate))
        check_budget(estimate)
        return estimate.model_dump()

    def _billed(self, name: str) -> BilledModel:
        from gemini_tuning.cost.estimate import BilledModel

        return BilledModel(name, self.hook.get_base_model(name) if "/" in name else name)

    def _count(
        self, parameters: CostParameters, suite: Suite | None
    ) -> tuple[CountedTokensXCom | None, dict[str, int]]:
        """Have the service count the tokens of the sample, and of the prompts with files."""
        from gemini_tuning.cost.estimate import counted_tokens, has_files
        from gemini_tuning.datasets.examples import read_example
        from gemini_tuning.datasets.token_sample import SAMPLE_SIZE, case_prompt, example_prompt

        if parameters.sample is None:
            return None, {}
        name, base_model, lines = parameters.model.name, parameters.model.base_model, parameters.sample.lines
        # The tokenizer's model is spelled as the service does; a label spells it otherwise.
        model = name if "/" not in name else parameters.prices.name_of(base_model) if base_model else None
        if model is None:
            self.log.warning("No tokens are counted: the base model of %s is unknown", name)
            return None, {}
        cases = {case.id: case for case in suite.cases if has_files(case)} if suite else {}
        counted_cases = dict(list(cases.items())[:SAMPLE_SIZE])
        prompts = {f"line {number}": example_prompt(line) for number, line in lines.items()}
        for case_id, case in counted_cases.items():
            prompts[f"case {case_id}"] = case_prompt(case.contents, case.system_instruction)
        found = asyncio.run(self._counts(model, prompts))
        estimated = sum(example.input_tokens + example.output_tokens for example in map(read_example, lines.values()))
        counted = sum(found[f"line {number}"] for number in lines)
        tokens = counted_tokens(model, len(lines), counted, estimated)
        return tokens, {case_id: found[f"case {case_id}"] for case_id in counted_cases}

    async def _counts(self, model: str, prompts: Mapping[str, TokenPrompt]) -> dict[str, int]:
        from gemini_tuning.smoke.adaptive_limit import run_all

        limit = asyncio.Semaphore(MAX_CONCURRENT_COUNTS)

        async def count(name: str, contents: Sequence[Mapping[str, Any]], instruction: Any) -> tuple[str, int]:
            async with limit:
                try:
                    options = {"system_instruction": instruction, **self.project_and_location}
                    return name, await self.hook.acount_tokens(model, contents, **options)
                except InvalidInputError as error:
                    raise InvalidInputError(f"{name}: {error} {NOTHING_CREATED}", field=name, code=error.code) from None

        try:
            return dict(await run_all(*(count(name, *prompt) for name, prompt in prompts.items())))
        finally:
            await self.hook.aclose()
