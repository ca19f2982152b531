"""Which checkpoint wins, and why."""
