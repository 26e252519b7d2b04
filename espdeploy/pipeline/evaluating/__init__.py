"""What an engine's answers are worth."""
