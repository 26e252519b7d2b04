"""What each command does, composed of stages: one file per command's job."""
