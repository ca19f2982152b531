"""Deferrable waits, and the poller that they share."""
