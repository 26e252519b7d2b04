"""Engines as files: opened, described by their passport, kept in the cache, examined."""
