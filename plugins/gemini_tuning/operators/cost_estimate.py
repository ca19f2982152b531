"""What the check at the beginning of a run does about money: estimate, count where wanted, and hold the budget."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import short_repr
from gemini_tuning.core.tuning_spec import TuningJobSpec
from gemini_tuning.cost.estimate import Billed, Plan, estimate, names_files, objection
from gemini_tuning.cost.estimate_text import in_words, read_cost
from gemini_tuning.cost.prices import PriceTable, load_prices
from gemini_tuning.datasets.dataset_check import DatasetReport
from gemini_tuning.datasets.examples import read_example
from gemini_tuning.datasets.token_sample import (
    SAMPLE_SIZE,
    TokenCount,
    TokenPrompt,
    TokenSample,
    case_prompt,
    example_prompt,
)
from gemini_tuning.operators.base import (
    GeminiBaseOperator,
    flag,
    optional_float,
    optional_int,
    optional_json,
    optional_text,
)
from gemini_tuning.smoke.suite import Suite

COUNTS_AT_ONCE = 8


@dataclass(frozen=True)
class CostInputs:
    """What is to be estimated, and what it may be.

    :param budget: in the currency of the prices; ``None``: any.
    :param epochs: ``None``: Google decides.
    :param sample: takes the examples that the service is to count; ``None`` when it need not.
    """

    prices: PriceTable
    model: Billed
    budget: float | None
    epochs: int | None
    last_checkpoint_only: bool
    is_evaluated: bool
    sample: TokenSample | None


class CostEstimateMixin(GeminiBaseOperator):
    """A step that knows what the run is to do, and says what that costs.

    :param prices: path of the table of prices; ``None``: nothing is estimated. (templated)
    :param budget: what the run may cost, in the currency of the table; ``None``: anything. (templated)
    :param count_tokens: whether the service counts a sample of the training file, which corrects the estimate.
        (templated)
    :param base_model: that is tuned. (templated)
    :param pre_tuned_model: full name of the tuned model to go on from, in place of it. (templated)
    :param epoch_count: passes over the training file; ``None``: Google decides. (templated)
    :param export_last_checkpoint_only: whether there will be one checkpoint. (templated)
    :param evaluation_metrics: what Google evaluates the checkpoints by. (templated)
    """

    TUNING_FIELDS = (
        "base_model",
        "pre_tuned_model",
        "epoch_count",
        "export_last_checkpoint_only",
        "evaluation_metrics",
    )
    COST_FIELDS = ("prices", "budget", "count_tokens", *TUNING_FIELDS)

    def __init__(
        self,
        *,
        prices: str | None = None,
        budget: float | str | None = None,
        count_tokens: bool | str = False,
        base_model: str | None = None,
        pre_tuned_model: str | None = None,
        epoch_count: int | str | None = None,
        export_last_checkpoint_only: bool | str = False,
        evaluation_metrics: Sequence[Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prices = prices
        self.budget = budget
        self.count_tokens = count_tokens
        self.base_model = base_model
        self.pre_tuned_model = pre_tuned_model
        self.epoch_count = epoch_count
        self.export_last_checkpoint_only = export_last_checkpoint_only
        self.evaluation_metrics = evaluation_metrics

    def costing(self) -> CostInputs | None:
        """Read the parameters and the prices, before anything takes time; ``None`` when there is no table.

        :raises InvalidInputError: naming the parameter.
        :raises PricesError: when the table is not acceptable.
        :raises PermanentServiceError: when the tuned model to go on from is not there.
        """
        budget = optional_float(self.budget, "budget")
        if budget is not None and budget < 0:
            raise InvalidInputError(f"Nothing was created. budget: {short_repr(self.budget)} is below 0.")
        path = optional_text(self.prices)
        if path is None:
            if budget is not None:
                raise InvalidInputError("Nothing was created. budget: needs prices, the path of the table of prices.")
            return None
        prices, epochs = load_prices(path), optional_int(self.epoch_count, "epoch_count")
        wanted = flag(self.count_tokens, "count_tokens")
        return CostInputs(
            prices=prices,
            model=self._model(epochs),
            budget=budget,
            epochs=epochs,
            last_checkpoint_only=flag(self.export_last_checkpoint_only, "export_last_checkpoint_only"),
            is_evaluated=bool(optional_json(self.evaluation_metrics, list, "evaluation_metrics")),
            sample=TokenSample() if wanted else None,
        )

    def cost(
        self, costing: CostInputs | None, training: DatasetReport, suite: Suite | None, champion: str | None
    ) -> dict[str, Any] | None:
        """Estimate, log, and refuse what is above the budget; ``None`` without prices.

        :param champion: full name.
        :raises InvalidInputError: when the budget is not enough, or nobody knows whether it is.
        """
        if costing is None:
            return None
        counted, counted_cases = self._count(costing, suite)
        plan = Plan(
            model=costing.model,
            training=training,
            epochs=costing.epochs,
            last_checkpoint_only=costing.last_checkpoint_only,
            suite=suite,
            champion=self._billed(champion) if suite and champion else None,
            judge=self._billed(suite.judge.model) if suite and suite.judge else None,
            is_evaluated=costing.is_evaluated,
            counted=counted,
            counted_cases=counted_cases,
        )
        found = estimate(plan, costing.prices, costing.budget)
        self.log.info("Estimated cost: %s", in_words(read_cost(found)))
        if problem := objection(found):
            raise InvalidInputError(f"Nothing was created. {problem}")
        return found

    def _model(self, epochs: int | None) -> Billed:
        """Return what is tuned.

        :raises InvalidInputError: when the service would refuse it.
        """
        base, pre_tuned = optional_text(self.base_model), optional_text(self.pre_tuned_model)
        spec = TuningJobSpec("gs://bucket/object", None if pre_tuned else base, pre_tuned, epoch_count=epochs)
        if problems := spec.problems():
            raise InvalidInputError(f"Nothing was created. {'; '.join(problems)}.")
        return self._billed(pre_tuned or base or "")

    def _billed(self, name: str) -> Billed:
        """Return a model with the one whose prices count for it."""
        return Billed(name, self.hook.get_base_model(name) if "/" in name else name)

    def _count(self, costing: CostInputs, suite: Suite | None) -> tuple[TokenCount | None, dict[str, int]]:
        """Let the service count the sample, and the prompts that name files."""
        if costing.sample is None:
            return None, {}
        if (model := _countable(costing)) is None:
            self.log.warning("No tokens are counted: which base model %s has is not known", costing.model.name)
            return None, {}
        lines = costing.sample.lines
        cases = {case.id: case for case in suite.cases if names_files(case)} if suite else {}
        asked = dict(list(cases.items())[:SAMPLE_SIZE])
        prompts = {f"line {number}": example_prompt(line) for number, line in lines.items()}
        prompts |= {
            f"case {name}": case_prompt([turn.as_dict() for turn in case.contents], case.system_instruction)
            for name, case in asked.items()
        }
        found = asyncio.run(self._counts(model, prompts))
        estimated = sum(example.input_tokens + example.output_tokens for example in map(read_example, lines.values()))
        counted = sum(found[f"line {number}"] for number in lines)
        return TokenCount(model, len(lines), counted, estimated), {name: found[f"case {name}"] for name in asked}

    async def _counts(self, model: str, prompts: Mapping[str, TokenPrompt]) -> dict[str, int]:
        room = asyncio.Semaphore(COUNTS_AT_ONCE)

        async def count(name: str, what: TokenPrompt) -> tuple[str, int]:
            async with room:
                try:
                    return name, await self.hook.acount_tokens(
                        model,
                        what.contents,
                        system_instruction=what.system_instruction,
                        project_id=optional_text(self.project_id),
                        location=self.location,
                    )
                except InvalidInputError as error:
                    raise InvalidInputError(f"Nothing was created. {name}: {error}") from None

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(count(name, what)) for name, what in prompts.items()]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await self.hook.aclose()
        return dict(task.result() for task in tasks)


def _countable(costing: CostInputs) -> str | None:
    """Return the base model, which is asked to count; a label does not spell it as the service does."""
    if "/" not in costing.model.name:
        return costing.model.name
    known = costing.prices.of(costing.model.base_model) if costing.model.base_model else None
    return known.model if known else None
