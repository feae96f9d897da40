"""Runs of chapters and records: batches, how they are executed, and the command."""
