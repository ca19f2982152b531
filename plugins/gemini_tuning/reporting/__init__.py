"""What a run tells people: the comparison, the question to a person, the report. Pure."""
