"""Plan which endpoints and copies of a model can be deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from gemini_tuning.core.resources import checkpoint_id
from gemini_tuning.core.text import replace_surrogates
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import (
    GCP_FIELDS,
    GeminiBaseOperator,
    as_list,
    flag,
    optional_float,
    optional_int,
    optional_text,
)

PLAN_XCOM = "markdown"


class GeminiPlanCleanupOperator(GeminiBaseOperator):
    """Plan which endpoints and copies of a tuned model can be deleted, with the reason for each. Changes nothing.

    XCom: ``{"settings", "model", "default_checkpoint_id", "counted", "items"}``; an item is ``{"kind", "name",
    "action", "reason", "display_name", "checkpoint_ids", "versions", "endpoints"}``, its kind ``endpoint`` or ``copy``,
    its action ``delete`` or ``keep``. XCom ``markdown``: the plan as a table.

    :param model: full name of the tuned model with its version. (templated)
    :param tuning_job: full name of the job that created it; its current endpoint is kept. (templated)
    :param champion: endpoint or model in production, which is kept. (templated)
    :param keep_checkpoints: ids of checkpoints whose endpoints are kept. (templated)
    :param idle_days: days without prompts after which an endpoint can be deleted, 1 to 42. (templated)
    :param ignore_traffic: whether to skip the traffic check. (templated)
    :param keep_copies: number of newest copies to keep; ``None`` leaves copies out of the plan. (templated)
    :param copy_location: location of the copies. (templated)
    :param copy_project_id: project of the copies; ``None`` is the model's. (templated)
    :raises InvalidInputError: when a parameter is wrong or names something that does not exist.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS, "model", "tuning_job", "champion", "keep_checkpoints", "idle_days", "ignore_traffic",
        "keep_copies", "copy_location", "copy_project_id",
    )  # fmt: skip
    operator_extra_links = (links.TUNED_MODEL,)

    def __init__(
        self,
        *,
        model: str,
        tuning_job: str | None = None,
        champion: str | None = None,
        keep_checkpoints: Sequence[str] = (),
        idle_days: float | str = 7,
        ignore_traffic: bool | str = False,
        keep_copies: int | str | None = None,
        copy_location: str | None = None,
        copy_project_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.tuning_job = tuning_job
        self.champion = champion
        self.keep_checkpoints = keep_checkpoints
        self.idle_days = idle_days
        self.ignore_traffic = ignore_traffic
        self.keep_copies = keep_copies
        self.copy_location = copy_location
        self.copy_project_id = copy_project_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Read, apply the rules, return the plan."""
        from gemini_tuning.registry.cleanup_plan import CleanupPlanner, CleanupSettings
        from gemini_tuning.reporting.markdown_templates import render

        idle_days = optional_float(self.idle_days, "idle_days")
        kept = as_list(self.keep_checkpoints, "keep_checkpoints")
        settings = CleanupSettings(
            model=self.model,
            tuning_job=optional_text(self.tuning_job),
            champion=optional_text(self.champion),
            keep_checkpoints=tuple(checkpoint_id(each, "keep_checkpoints") for each in kept),
            idle_days=7.0 if idle_days is None else idle_days,
            ignore_traffic=flag(self.ignore_traffic, "ignore_traffic"),
            keep_copies=optional_int(self.keep_copies, "keep_copies"),
            copy_location=optional_text(self.copy_location),
            copy_project_id=optional_text(self.copy_project_id),
        )
        plan = CleanupPlanner(self.hook, settings).plan()
        lines = render("cleanup.md.j2", plan=plan).splitlines()
        for line in lines:
            self.log.info("%s", line)
        context["ti"].xcom_push(key=PLAN_XCOM, value=replace_surrogates("\n".join(lines)))
        return plan.as_xcom()
