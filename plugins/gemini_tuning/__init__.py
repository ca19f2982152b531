"""Airflow operators, sensors and triggers for tuning Gemini with checkpoints on Vertex AI.

Start reading at :mod:`gemini_tuning.core.resources` (the words) and :mod:`gemini_tuning.operators` (the steps of a
run).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """Return what ``airflow providers`` shows: https://airflow.apache.org/docs/apache-airflow-providers/."""
    integration = "Gemini checkpoint tuning"
    kinds = {
        kind: [
            f"{__name__}.{kind}.{path.stem}"
            for path in sorted(Path(__file__).with_name(kind).glob("*.py"))
            if path.stem != "__init__"
        ]
        for kind in ("hooks", "operators", "sensors", "triggers")
    }
    return {
        "package-name": "gemini-checkpoint-tuning",
        "name": integration,
        "description": "Tunes Gemini with checkpoints on Vertex AI, tests every checkpoint and promotes the best one.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": integration,
                "external-doc-url": "https://cloud.google.com/vertex-ai/generative-ai/docs/models/tune-gemini-checkpoints",
                "tags": ["gcp"],
            }
        ],
        **{kind: [{"integration-name": integration, "python-modules": modules}] for kind, modules in kinds.items()},
        "extra-links": [f"{__name__}.links.gemini_tuning.{name}" for name in ("ConsoleLink", "RunPageLink")],
        "config": {
            "gemini_tuning": {
                "description": None,
                "options": {
                    "config_folder": {
                        "description": "Folder with smoke suites, prices, notifications and retraining profiles. "
                        "Empty: ``config`` beside the DAG file, or else the defaults of the package.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/opt/airflow/dags/config",
                        "default": "",
                    },
                    "preload": {
                        "description": "With LocalExecutor: import Google's clients once, in the scheduler.",
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "False",
                    },
                },
            }
        },
        "notifications": [f"{__name__}.reporting.notifications.GeminiRunNotifier"],
    }
