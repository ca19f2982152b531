"""All waits of a process share one look-out; see :mod:`gemini_tuning.watching.watcher`."""
