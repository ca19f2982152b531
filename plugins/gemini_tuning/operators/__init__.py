"""The steps of a tuning run as Airflow operators; the waiting step is in :mod:`gemini_tuning.sensors.tuning_job`."""

from gemini_tuning.operators.approve_checkpoint import GeminiApproveCheckpointOperator
from gemini_tuning.operators.approve_cleanup import GeminiApproveCleanupOperator
from gemini_tuning.operators.cancel_tuning_job import GeminiCancelTuningJobOperator
from gemini_tuning.operators.choose_checkpoint import GeminiChooseCheckpointOperator
from gemini_tuning.operators.copy_model import GeminiCopyModelOperator
from gemini_tuning.operators.create_tuning_job import GeminiCreateTuningJobOperator
from gemini_tuning.operators.gate_promotion import GeminiGatePromotionOperator
from gemini_tuning.operators.list_checkpoints import GeminiListCheckpointsOperator
from gemini_tuning.operators.plan_cleanup import GeminiPlanCleanupOperator
from gemini_tuning.operators.plan_retraining import GeminiPlanRetrainingOperator
from gemini_tuning.operators.prompt_checkpoints import GeminiPromptCheckpointsOperator
from gemini_tuning.operators.publish_model import GeminiPublishModelOperator
from gemini_tuning.operators.read_tuning_metrics import GeminiReadTuningMetricsOperator
from gemini_tuning.operators.route import GeminiRouteOperator
from gemini_tuning.operators.run_cleanup import GeminiCleanupOperator
from gemini_tuning.operators.set_default_checkpoint import GeminiSetDefaultCheckpointOperator
from gemini_tuning.operators.smoke_test_champion import GeminiSmokeTestChampionOperator
from gemini_tuning.operators.smoke_test_checkpoint import GeminiSmokeTestCheckpointOperator
from gemini_tuning.operators.validate_promotion import GeminiValidatePromotionOperator
from gemini_tuning.operators.validate_tuning import GeminiValidateTuningOperator
from gemini_tuning.operators.verify_model_copy import GeminiVerifyModelCopyOperator
from gemini_tuning.operators.wait_for_tuning_run import GeminiWaitForTuningRunOperator
from gemini_tuning.operators.write_report import GeminiTuningReportOperator

__all__ = [
    "GeminiApproveCheckpointOperator",
    "GeminiApproveCleanupOperator",
    "GeminiCancelTuningJobOperator",
    "GeminiChooseCheckpointOperator",
    "GeminiCleanupOperator",
    "GeminiCopyModelOperator",
    "GeminiCreateTuningJobOperator",
    "GeminiGatePromotionOperator",
    "GeminiListCheckpointsOperator",
    "GeminiPlanCleanupOperator",
    "GeminiPlanRetrainingOperator",
    "GeminiPromptCheckpointsOperator",
    "GeminiPublishModelOperator",
    "GeminiReadTuningMetricsOperator",
    "GeminiRouteOperator",
    "GeminiSetDefaultCheckpointOperator",
    "GeminiSmokeTestChampionOperator",
    "GeminiSmokeTestCheckpointOperator",
    "GeminiTuningReportOperator",
    "GeminiValidatePromotionOperator",
    "GeminiValidateTuningOperator",
    "GeminiVerifyModelCopyOperator",
    "GeminiWaitForTuningRunOperator",
]
