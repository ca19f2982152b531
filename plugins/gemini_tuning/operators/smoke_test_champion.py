"""Run a smoke suite against the champion, the model in production."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.core.names import serving_problem
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.base import optional_text
from gemini_tuning.operators.smoke_test import CHAMPION, SmokeTestBase

if TYPE_CHECKING:
    from airflow.sdk import Context


class GeminiSmokeTestChampionOperator(SmokeTestBase):
    """Ask the production model the prompts of the suite, so that the checkpoints can be compared with it.

    Skipped when no champion is given. A champion that left a prompt unanswered has an error, so that nothing is
    promoted over it. XCom, further parameters and errors: :class:`SmokeTestBase`; ``checkpoint_id`` is
    ``champion``.

    :param champion: full name of an endpoint, or of a model, whose default checkpoint must be deployed. (templated)
    :raises PermanentServiceError: when the champion is not there, or not deployed.
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
            raise AirflowSkipException("No champion is given")
        if problem := serving_problem("champion", champion):
            raise ValueError(problem)
        endpoint = self.hook.get_serving_endpoint(champion)
        self.log.info("The champion %s is asked at %s", champion, endpoint)
        summary = self.run_suite(
            {"checkpoint_id": CHAMPION, "epoch": None, "step": None, "endpoint": endpoint}, context
        )
        if summary["unanswered"] and not summary["error"]:
            # Counted as failures they would make any checkpoint look better than what is in production.
            summary["error"] = f"{summary['unanswered']} of its prompts got no answer: {summary['results_uri']}"
        return summary
