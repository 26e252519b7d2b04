"""From a ``torch.nn.Module`` to an ONNX model, and ONNX files read and written with care."""

from espdeploy.export.files import GraphFacts, inspect, load, save
from espdeploy.export.tracing import trace, trace_named

__all__ = ["GraphFacts", "inspect", "load", "save", "trace", "trace_named"]
