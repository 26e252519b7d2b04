"""The measuring loop, its statistics, and the verdicts that travel with the numbers."""
