"""The report, the comparison table and the messages to people."""
