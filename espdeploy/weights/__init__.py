"""Released files from their public addresses into a folder: resumable, and only kept where the SHA-256 is right."""
