"""Airflow assets that stand for tuned models: other DAGs follow a promotion by them, see ``docs/after_a_run.md``."""

from __future__ import annotations

from airflow.sdk import Asset, AssetAlias

from gemini_tuning.core.names import ResourceName

PROMOTED_MODELS = AssetAlias("gemini_promoted_models")  # every promotion of any model
SERVICE = "gcp://aiplatform.googleapis.com"  # Airflow knows the scheme as Google's and leaves the rest as it is


def model_uri(model: str) -> str:
    """Return the URI that names a model whatever its version.

    :param model: full name, as the service gives it: with the number of the project, not its id.
    :raises ValueError: when it is none.
    """
    return f"{SERVICE}/{ResourceName.parse(model, 'models').unversioned}"


def promoted_model(model: str) -> Asset:
    """Return the asset of one model, for ``schedule=[promoted_model("projects/123/locations/…/models/456")]``.

    :param model: full name, as the service gives it: with the number of the project, not its id.
    :raises ValueError: when it is none.
    """
    return Asset(uri=model_uri(model))
