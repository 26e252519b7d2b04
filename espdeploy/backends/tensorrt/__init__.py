"""TensorRT and TensorRT-RTX through their Python packages: building, reading what was built, and running."""
