"""What travels to a board that stays offline, and back."""
