"""Run a smoke suite against one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from gemini_tuning.core.resources import Checkpoint
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.smoke_test import SmokeTestBase


class GeminiSmokeTestCheckpointOperator(SmokeTestBase):
    """Run a smoke suite against one checkpoint and score its answers; map it over the list of checkpoints.

    A checkpoint without an endpoint, or one whose endpoint refuses every prompt, gets an ``error`` and no score; the
    task succeeds, so that another checkpoint can still be chosen. While the service is unavailable or over quota the
    task fails and Airflow retries it. After the last retry the checkpoint gets no score either and
    ``service_unavailable`` is true: the choice then fails unless another checkpoint has results. XCom, further
    parameters and errors: :class:`SmokeTestBase`.

    Example::

        smoke_test = GeminiSmokeTestCheckpointOperator.partial(
            task_id="smoke_test",
            map_index_template="checkpoint {{ task.checkpoint['checkpoint_id'] }}",
            suite="ferry_support",
            suite_folder=SUITES,
            results_uri=validate.output["results_uri"],
        ).expand(checkpoint=list_checkpoints.output)

    :param checkpoint: ``{"checkpoint_id", "epoch", "step", "endpoint"}``. (templated)
    """

    template_fields: Sequence[str] = (*SmokeTestBase.template_fields, "checkpoint")
    operator_extra_links = (links.ENDPOINT, links.RUN_PAGE)

    def __init__(self, *, checkpoint: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.checkpoint = checkpoint

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the suite and push the checkpoint's result."""
        return self.run_suite(Checkpoint.from_mapping(self.checkpoint).as_dict(), context)
