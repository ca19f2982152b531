"""What the assertions of a suite look at, by kind. Pure."""
