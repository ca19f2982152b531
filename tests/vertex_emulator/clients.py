"""Google's clients, pointed at the emulator."""

from typing import Any

from vertex_emulator.process import Emulator

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


def make_genai_client(emulator: Emulator, credentials: Any, version: str, location: str = "us-central1") -> Any:
    from google import genai
    from google.genai.types import HttpOptions

    return genai.Client(
        vertexai=True,
        project="demo-project",
        location=location,
        credentials=credentials,
        http_options=HttpOptions(base_url=emulator.url, api_version=version),
    )
