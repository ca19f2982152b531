"""The steps of a tuning run as Airflow operators; the waiting step is in :mod:`gemini_tuning.sensors`."""

from gemini_tuning.operators.checkpoints import (
    GeminiChooseCheckpointOperator,
    GeminiListCheckpointsOperator,
    GeminiSmokeTestCheckpointOperator,
)
from gemini_tuning.operators.models import (
    GeminiCopyModelOperator,
    GeminiSetDefaultCheckpointOperator,
    GeminiVerifyModelCopyOperator,
)
from gemini_tuning.operators.report import GeminiTuningReportOperator
from gemini_tuning.operators.tuning_job import GeminiCreateTuningJobOperator, GeminiPreflightOperator

__all__ = [
    "GeminiChooseCheckpointOperator",
    "GeminiCopyModelOperator",
    "GeminiCreateTuningJobOperator",
    "GeminiListCheckpointsOperator",
    "GeminiPreflightOperator",
    "GeminiSetDefaultCheckpointOperator",
    "GeminiSmokeTestCheckpointOperator",
    "GeminiTuningReportOperator",
    "GeminiVerifyModelCopyOperator",
]
