"""Tuning again by itself: on a schedule, when data changed, going on from what was promoted."""
