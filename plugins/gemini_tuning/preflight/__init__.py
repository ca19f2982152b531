"""Is a dataset acceptable, and what will tuning with it cost? Pure: no Airflow, no Google client, no network.

Rules: the dataset format and limits of
https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare.
"""
