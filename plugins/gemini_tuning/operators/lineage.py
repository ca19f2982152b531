"""Reports which model a tuning job created from which datasets to Airflow's lineage collector."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk.lineage import get_hook_lineage_collector

from gemini_tuning.core.resources import TuningJob
from gemini_tuning.registry.assets import model_uri

if TYPE_CHECKING:
    from airflow.sdk import BaseHook

log = logging.getLogger(__name__)


def collect_lineage(job: TuningJob, hook: BaseHook) -> None:
    """Add the job's datasets in Cloud Storage as inputs and its model as output; a failure is logged, not raised.

    :param hook: that the job was read with.
    """
    if job.model is None:
        return
    try:
        collector = get_hook_lineage_collector()
        for uri in (job.training_dataset_uri, job.validation_dataset_uri):
            if uri and uri.startswith("gs://"):
                collector.add_input_asset(hook, uri=uri)
        extra: dict[str, Any] = {"version": job.model.rpartition("@")[2], "tuning_job": job.name}
        collector.add_output_asset(hook, uri=model_uri(job.model), asset_extra=extra)
    except Exception:  # lineage readers are plugins of others
        log.warning("Could not collect the lineage of %s", job.model, exc_info=True)
