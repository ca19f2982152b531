"""Run a smoke suite against the champion, the model in production."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.names import serving_problem
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import optional_text
from gemini_tuning.operators.smoke_test import SmokeTestBase


class GeminiSmokeTestChampionOperator(SmokeTestBase):
    """Run the suite against the production model, so that the checkpoints can be compared with it.

    Skipped without a champion. When a prompt has no answer the XCom has an ``error``, so that no checkpoint is promoted
    over this champion. XCom, further parameters and errors: :class:`SmokeTestBase`; ``checkpoint_id`` is ``champion``.

    :param champion: full name of an endpoint, or of a model, whose default checkpoint must be deployed. (templated)
    :raises PermanentServiceError: the champion does not exist or is not deployed.
    """

    template_fields: Sequence[str] = (*SmokeTestBase.template_fields, "champion")
    operator_extra_links = (links.CHAMPION, links.RUN_PAGE)

    def __init__(self, *, champion: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.champion = champion

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the suite and push the champion's result."""
        champion = optional_text(self.champion)
        if champion is None:
            raise AirflowSkipException("No champion: there is nothing to compare with")
        if problem := serving_problem("champion", champion):
            raise InvalidInputError(problem, field="champion", code="invalid_champion")
        endpoint = self.hook.get_serving_endpoint(champion)
        self.log.info("The champion %s is served by %s", champion, endpoint)
        checkpoint = {"checkpoint_id": "champion", "epoch": None, "step": None, "endpoint": endpoint}
        summary = self.run_suite(checkpoint, context)
        if summary["unanswered"] and not summary["error"]:
            # Counted as failures they would favour any checkpoint over the model in production.
            summary["error"] = f"{summary['unanswered']} of its prompts have no answer: {summary['results_uri']}"
        return summary
