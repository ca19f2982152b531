"""The environment variables with which programs written for Google Cloud reach the emulator. Pure functions."""

import json
import shlex
from collections.abc import Mapping


def variables(url: str, project: str, location: str, key_file: str) -> dict[str, str]:
    """Choose the variables.

    :param url: the emulator's address, without a slash at the end.
    :param key_file: path of its service-account key. With it, no client goes on to look for the user's own credentials.
    """
    host = url.partition("://")[2]
    # The end of this address makes google-genai keep the resource path when it has no other configuration.
    vertex = f"{url}/vertex.googleapis.com"
    connection = {
        "conn_type": "google_cloud_platform",
        "extra": {
            "project": project,
            "key_path": key_file,
            **dict.fromkeys(("aiplatform.endpoint", "gcs.endpoint", "monitoring.endpoint"), url),
        },
    }
    return {
        "GOOGLE_APPLICATION_CREDENTIALS": key_file,
        "GOOGLE_CLOUD_PROJECT": project,
        "GOOGLE_CLOUD_LOCATION": location,
        "GOOGLE_CLOUD_REGION": location,
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GEMINI_BASE_URL": vertex,
        "GOOGLE_VERTEX_BASE_URL": vertex,
        # Not STORAGE_EMULATOR_HOST: clients that heed it send no token. This is google-cloud-storage's other variable,
        # and these are fsspec's for gcsfs.
        "API_ENDPOINT_OVERRIDE": url,
        "FSSPEC_GCS_ENDPOINT_URL": url,
        "FSSPEC_GS_ENDPOINT_URL": url,
        # Otherwise gcsfs asks Google, over gRPC and past that address, whether the bucket is of a special kind.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "GCE_METADATA_HOST": host,
        "GCE_METADATA_IP": host,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
        "VERTEX_EMULATOR_URL": url,
    }


def exports(values: Mapping[str, str]) -> str:
    """Write them for a shell to evaluate."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
