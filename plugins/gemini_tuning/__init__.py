"""Airflow operators, sensors and triggers for tuning Gemini with checkpoints on Vertex AI.

Start reading at :mod:`gemini_tuning.core.resources` (the words) and :mod:`gemini_tuning.operators` (the steps of a
run).
"""
