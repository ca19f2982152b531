"""One poller for all deferred tasks of a triggerer; see :mod:`gemini_tuning.triggers.shared_poller.poller`."""
