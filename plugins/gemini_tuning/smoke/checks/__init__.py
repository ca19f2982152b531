"""The checks behind the assertions of a suite, one module per kind."""
