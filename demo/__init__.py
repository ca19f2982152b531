"""The demo: the whole pipeline in a real Airflow against the Vertex AI emulator. Also used by the end-to-end tests.

Run it with ``make demo``.
"""
