"""Graph passes over ONNX models, one per file, each with a contract."""
