"""Low precision: activation ranges, Q/DQ placement, sensitivity, TensorRT calibration caches."""
