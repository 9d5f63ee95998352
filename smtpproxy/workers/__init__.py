"""Processes on all cores under one supervisor, which handles no mail itself."""
