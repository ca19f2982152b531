"""Smoke tests for checkpoints: the suite's format, its assertions, and the concurrent runner."""
