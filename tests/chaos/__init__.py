"""Runs of a real Airflow, disturbed at seeded random moments, and what has to hold all the same.

``make chaos ROUNDS=n SEED=s``; :mod:`tests.chaos.plan` says what is done, :mod:`tests.chaos.invariants` what holds.
"""
