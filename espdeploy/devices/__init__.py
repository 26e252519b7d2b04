"""What the machine in front of us is, and what it can do."""
