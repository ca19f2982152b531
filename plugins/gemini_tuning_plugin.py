"""Airflow's plugin loader finds the plugin here, when this file is in its plugins folder."""

from gemini_tuning.ui.plugin import GeminiTuningPlugin

__all__ = ["GeminiTuningPlugin"]
