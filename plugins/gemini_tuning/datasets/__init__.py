"""Is a JSONL dataset acceptable, and how many tokens does it have."""
