"""Datasets, metrics and pictures: what an engine's answers are worth."""
