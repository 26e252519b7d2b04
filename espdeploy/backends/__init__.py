"""Runtimes behind the Runner protocol: one file per runtime."""
