"""From an ONNX file to an engine that is right, and the choices on the way."""
