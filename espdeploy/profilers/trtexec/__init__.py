"""What ``trtexec`` and ``tensorrt_rtx`` write, from TensorRT 7 to 11: their log, and the JSON files they export."""
