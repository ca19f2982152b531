"""Operators, one per module; the waiting step is in :mod:`gemini_tuning.sensors.tuning_job`."""
