"""Branch on a step's decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk import Context
from airflow.sdk.bases.branch import BaseBranchOperator

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import short_repr


class GeminiRouteOperator(BaseBranchOperator):
    """Continue with the tasks that the DAG assigns to the next step, and skip the other direct downstream tasks.

    XCom: the id of the task that the run continues with, or a list of ids.

    :param next_step: XCom ``next_step`` of the task that decided. (templated)
    :param branches: ids of direct downstream tasks, or of task groups, by next step.
    :raises InvalidInputError: when the next step has no branch.
    """

    template_fields: Sequence[str] = ("next_step",)

    def __init__(self, *, next_step: str, branches: Mapping[str, str | list[str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.next_step = next_step
        self.branches = branches

    def choose_branch(self, context: Context) -> str | Iterable[str]:
        """Return the ids of the tasks to continue with."""
        try:
            return self.branches[self.next_step]
        except (KeyError, TypeError):
            problem = f"next_step: expected one of {', '.join(self.branches)}, got {short_repr(self.next_step)}."
            raise InvalidInputError(problem, field="next_step", code="unknown_branch") from None
