"""Smoke suites: format, assertions, judge, runner and results; runs without Airflow too."""
