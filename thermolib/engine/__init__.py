"""Runs: the loop over steps and chunks, compiled or replayed, side by side, saved and continued."""
