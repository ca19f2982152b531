"""Which model came from which datasets, told to whoever collects lineage: nothing happens where nobody does.

Airflow's own collector takes it as assets. OpenLineage reads that collector as well, but can name only assets whose
scheme a provider has registered a converter for, ``gs`` and not ``gcp``; so it is told in its own words, too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk.lineage import get_hook_lineage_collector

from gemini_tuning.core.names import ResourceName, split_gcs_uri
from gemini_tuning.core.resources import TuningJob
from gemini_tuning.registry.assets import SERVICE, model_uri

if TYPE_CHECKING:
    from airflow.sdk import BaseHook

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lineage:
    """What a tuning job made of what.

    :param datasets: ``gs://`` addresses.
    :param model: full name with its version.
    """

    tuning_job: str
    datasets: tuple[str, ...]
    model: str

    @classmethod
    def of(cls, job: TuningJob) -> Lineage | None:
        """Return it as the service tells it; ``None`` when the job made no model."""
        if job.model is None:
            return None
        datasets = (job.training_dataset_uri, job.validation_dataset_uri)
        return cls(job.name, tuple(uri for uri in datasets if uri and uri.startswith("gs://")), job.model)


def collect(lineage: Lineage, hook: BaseHook) -> None:
    """Hand it to Airflow's collector; lineage is no reason to fail a run.

    :param hook: that the resources were read with.
    """
    try:
        collector = get_hook_lineage_collector()
        for uri in lineage.datasets:
            collector.add_input_asset(hook, uri=uri)
        extra: dict[str, Any] = {"version": lineage.model.rpartition("@")[2], "tuning_job": lineage.tuning_job}
        collector.add_output_asset(hook, uri=model_uri(lineage.model), asset_extra=extra)
    except Exception:  # readers are others' code
        log.warning("The lineage of %s was not collected", lineage.model, exc_info=True)


def for_openlineage(lineage: Lineage | None) -> Any:
    """Return an ``OperatorLineage``; called by the OpenLineage provider alone, which then is installed."""
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    if lineage is None:
        return OperatorLineage()
    datasets = (parts for uri in lineage.datasets if (parts := split_gcs_uri(uri)))
    model = ResourceName.parse(lineage.model, "models").unversioned
    return OperatorLineage(
        inputs=[Dataset(namespace=f"gs://{bucket}", name=key) for bucket, key in datasets],
        outputs=[Dataset(namespace=SERVICE, name=model)],
    )
