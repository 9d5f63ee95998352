"""Configuration files in, the policy model out, or the full list of mistakes with file, line and column."""
