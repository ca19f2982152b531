"""Airflow assets of tuned models, which schedule other DAGs after a promotion: see ``docs/after_a_run.md``."""

from __future__ import annotations

from airflow.sdk import Asset, AssetAlias

from gemini_tuning.core.names import ResourceName

PROMOTED_MODELS = AssetAlias("gemini_promoted_models")  # for every promotion of any model
SERVICE = "gcp://aiplatform.googleapis.com"  # a scheme of Airflow's Google provider, which does not normalize it


def model_uri(model: str) -> str:
    """Return the URI of a model, regardless of its version; parameter and error as of :func:`promoted_model`."""
    return f"{SERVICE}/{ResourceName.parse(model, 'models').unversioned}"


def promoted_model(model: str) -> Asset:
    """Return the asset of one model, for ``schedule=[promoted_model("projects/123/locations/…/models/456")]``.

    :param model: full name as the service returns it: with the project number, not the project id.
    :raises ResourceNameError: when it is not the full name of a model.
    """
    return Asset(uri=model_uri(model))
