"""Params and schedules of the DAGs."""
