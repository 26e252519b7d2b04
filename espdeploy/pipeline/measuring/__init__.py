"""From a request to a stored record, and records side by side."""
