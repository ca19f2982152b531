"""All calls to Google's APIs."""
