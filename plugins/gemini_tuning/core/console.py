"""Pages of the Google Cloud console.

The addresses are those that Google's clients print (``vertexai.tuning``) or that Airflow's Google provider links to.
"""

from __future__ import annotations

from urllib.parse import quote

from gemini_tuning.core.names import ResourceName, ResourceNameError

CONSOLE = "https://console.cloud.google.com"
_GCS = "gs://"
_PAGES = {
    "tuningJobs": "/vertex-ai/generative/language/locations/{location}/tuning/tuningJob/{id}?project={project}",
    "models": "/vertex-ai/models/locations/{location}/models/{id}/versions/{version}/properties?project={project}",
    "endpoints": "/vertex-ai/locations/{location}/endpoints/{id}?project={project}",
}


def console_link(address: object) -> str | None:
    """Return the console's page of a tuning job, model, endpoint or ``gs://`` object; ``None`` for anything else."""
    if not isinstance(address, str):
        return None
    if address.startswith(_GCS):
        bucket, _, path = address.removeprefix(_GCS).partition("/")
        return f"{CONSOLE}/storage/browser/_details/{_quoted(bucket)}/{_quoted(path)}" if bucket and path else None
    for collection, page in _PAGES.items():
        try:
            name = ResourceName.parse(address, collection)
        except ResourceNameError:
            continue
        parts = {part: _quoted(getattr(name, part) or "default") for part in ("project", "location", "id", "version")}
        return CONSOLE + page.format(**parts)
    return None


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="/")
