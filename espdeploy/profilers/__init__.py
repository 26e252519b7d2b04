"""Readers of what profilers and timing tools write: pure, streaming, and never surprised by damage."""
