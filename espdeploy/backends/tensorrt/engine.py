"""An engine opened by NVIDIA's runtime, and what its inspector says of it. Needs a GPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from espdeploy.backends.onnx_precision import shares_pct
from espdeploy.backends.tensorrt import failures, layers, program
from espdeploy.backends.tensorrt.api import RTX, Api
from espdeploy.backends.tensorrt.plan import LayerInfo


def deserialize(api: Api, content: bytes, path: Path) -> tuple[Any, Any]:
    """The runtime and the engine; both must live as long as the engine is used.

    Raises:
        InputFileError: the engine is of another GPU or release, or damaged.
        MissingCapability: no GPU, no driver, or no memory.
        ToolFailed: any other refusal, with TensorRT's words.
    """
    with api.log.collecting() as messages:
        try:
            runtime = api.module.Runtime(api.log.logger)
        except TypeError as error:  # so pybind11 says that the library made none
            raise failures.explain_load(api, path, messages.errors or [str(error)]) from error
        engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise failures.explain_load(api, path, messages.errors)
    return runtime, engine


def convolution_shares_pct(api: Api, engine: Any, content: bytes) -> dict[str, float] | None:
    """Percent of the convolutions in each precision, as the engine itself says; None where it does not."""
    if api.kind == RTX:  # compiled as a whole, and listed in the plan
        return shares_pct(Counter(program.node_precisions(content).values()))
    return layers.convolution_shares_pct(inspect(api, engine))


def inspect(api: Api, engine: Any) -> tuple[LayerInfo, ...]:
    """The engine's layers; empty where it was not built with detailed verbosity."""
    inspector = engine.create_engine_inspector()
    if inspector is None:
        return ()
    return layers.inspected_layers(inspector.get_engine_information(api.module.LayerInformationFormat.JSON))
