"""Tables that nvidia-smi prints."""
