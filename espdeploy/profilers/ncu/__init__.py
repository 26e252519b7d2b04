"""What Nsight Compute's ``ncu`` prints, and the commands that make it print what this project reads."""
