"""Experiments, their records, and where these come from."""
