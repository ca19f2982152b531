"""The smallest real tuning job, and whether the real service keeps what the local Vertex AI promises in its name.

``make test-live PROJECT=… BUCKET=…`` runs it; docs/google-cloud.md says what it needs and costs. The same code runs
against the local Vertex AI (``EMULATOR=1``, and in the tests), with another connection and nothing else changed.
"""
