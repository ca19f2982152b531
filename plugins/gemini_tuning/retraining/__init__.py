"""Retraining profiles, and whether a retraining has anything to do."""
