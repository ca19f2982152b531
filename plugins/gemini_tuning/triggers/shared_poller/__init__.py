"""All waits of a process share one look-out; see :mod:`gemini_tuning.triggers.shared_poller.watcher`."""
