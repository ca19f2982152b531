"""The steps of a tuning run as Airflow operators; the waiting step is in :mod:`gemini_tuning.sensors`."""

from gemini_tuning.operators.approval import GeminiApproveCheckpointOperator
from gemini_tuning.operators.cancel import GeminiCancelTuningJobOperator
from gemini_tuning.operators.checkpoints import GeminiListCheckpointsOperator
from gemini_tuning.operators.choose import GeminiChooseCheckpointOperator
from gemini_tuning.operators.clean_up import (
    GeminiApproveCleanUpOperator,
    GeminiCleanUpOperator,
    GeminiPlanCleanUpOperator,
)
from gemini_tuning.operators.copy_model import GeminiCopyModelOperator
from gemini_tuning.operators.models import GeminiSetDefaultCheckpointOperator, GeminiVerifyModelCopyOperator
from gemini_tuning.operators.notify import GeminiNotifyOperator
from gemini_tuning.operators.preflight import GeminiPreflightOperator
from gemini_tuning.operators.promotion import GeminiGatePromotionOperator, GeminiValidatePromotionOperator
from gemini_tuning.operators.prompt import GeminiPromptCheckpointsOperator
from gemini_tuning.operators.publish import GeminiPublishModelOperator
from gemini_tuning.operators.report import GeminiTuningReportOperator
from gemini_tuning.operators.retraining import GeminiPlanRetrainingOperator, GeminiWaitForTuningRunOperator
from gemini_tuning.operators.smoke_test import GeminiSmokeTestChampionOperator, GeminiSmokeTestCheckpointOperator
from gemini_tuning.operators.tuning_job import GeminiCreateTuningJobOperator
from gemini_tuning.operators.tuning_metrics import GeminiReadTuningMetricsOperator

__all__ = [
    "GeminiApproveCheckpointOperator",
    "GeminiApproveCleanUpOperator",
    "GeminiCancelTuningJobOperator",
    "GeminiChooseCheckpointOperator",
    "GeminiCleanUpOperator",
    "GeminiCopyModelOperator",
    "GeminiCreateTuningJobOperator",
    "GeminiGatePromotionOperator",
    "GeminiListCheckpointsOperator",
    "GeminiNotifyOperator",
    "GeminiPlanCleanUpOperator",
    "GeminiPlanRetrainingOperator",
    "GeminiPreflightOperator",
    "GeminiPromptCheckpointsOperator",
    "GeminiPublishModelOperator",
    "GeminiReadTuningMetricsOperator",
    "GeminiSetDefaultCheckpointOperator",
    "GeminiSmokeTestChampionOperator",
    "GeminiSmokeTestCheckpointOperator",
    "GeminiTuningReportOperator",
    "GeminiValidatePromotionOperator",
    "GeminiVerifyModelCopyOperator",
    "GeminiWaitForTuningRunOperator",
]
