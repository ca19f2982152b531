"""Prices, and the cost estimate of a tuning run."""
