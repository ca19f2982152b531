"""The demo: the whole pipeline in a real Airflow against the local Vertex AI. Also used by the end-to-end tests.

Run it with ``make demo``.
"""
