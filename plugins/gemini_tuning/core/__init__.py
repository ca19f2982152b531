"""Values, names, errors and text helpers that every other folder uses."""
