"""A session of ONNX Runtime on a GPU's execution provider, which must be the one that was asked for.

ONNX Runtime goes on without a provider that does not start, and says why in its log alone; so the log is read, and
what the session runs on is read back. Sources as of :mod:`espdeploy.backends.onnxruntime_providers`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from espdeploy import lazy, shell
from espdeploy.backends import onnxruntime
from espdeploy.backends.onnxruntime_providers import PROVIDERS, RTX, RTX_PLUGIN, TENSORRT, Placement, Provider
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed

Options = Mapping[str, Mapping[str, str]]

_NOT_FOUND = re.compile(r"(\S+\.so[.\d]*): cannot open shared object file")
_NO_DRIVER = "libcuda.so"
_OF_TENSORRT = ("libnvinfer", "libnvonnxparser")
_OLD_DRIVER = re.compile(r"driver version is insufficient|cudaErrorInsufficientDriver")
_OUT_OF_MEMORY = re.compile(r"out of memory|Failed to allocate memory|BFCArena", re.IGNORECASE)
_RECORD_NODES = "session.record_ep_graph_assignment_info"
_ERRORS_ONLY = 3
_LONGEST_LINE = 300
#: the colours, and what stands before the text of each line that ONNX Runtime logs
_LOG_DRESS = re.compile(r"\x1b\[[\d;]*m|^[\d :.-]+\[[A-Z]:[^\]]*\]\s*")


def open_session(
    runtime: ModuleType, path: Path, provider: Provider, *, options: Options, write_to: str = ""
) -> tuple[Any, Placement]:
    """A session that runs on the provider that was asked for, and the nodes that each computes.

    Args:
        runtime: the package.
        path: the ONNX file.
        provider: what must be used.
        options: for it and for those after it, by name.
        write_to: where the graph goes as the provider runs it; "": nowhere.

    Raises:
        InputFileError: not a graph that ONNX Runtime reads.
        MissingCapability: the provider does not start, or ONNX Runtime went on without it.
        ToolFailed: the provider does not take the graph.
    """
    _preload(runtime, provider)
    session_options = runtime.SessionOptions()
    session_options.log_severity_level = _ERRORS_ONLY
    session_options.add_session_config_entry(_RECORD_NODES, "1")
    if write_to:
        session_options.optimized_model_filepath = write_to
    with shell.captured_output() as printed:  # why a provider was left out stands in the log alone
        try:
            session = _made(runtime, path, provider, session_options, options)
        except Exception as error:  # onnxruntime's classes share no base but Exception
            raise _not_opened(runtime, path, provider, error, printed()) from error
        log = printed()
    if provider.name not in session.get_providers():
        raise left_out(runtime, provider, session.get_providers(), log)
    placement = Placement(nodes=_nodes(session))
    if placement.nodes and not placement.nodes.get(provider.name):
        raise ToolFailed(
            f"the {provider.label} execution provider takes no node of {path}",
            why=placement.text(provider.name),
            do="choose another --runtime",
        )
    return session, placement


def left_out(runtime: ModuleType, provider: Provider, used: Sequence[str], log: str) -> MissingCapability:
    """The error for a session that ONNX Runtime opened without the provider that was asked for."""
    what = f"onnxruntime {runtime.__version__} runs on {used[0]} where {provider.name} was asked for"
    return MissingCapability(what, why=_reason(log), do=_remedy(log, provider))


def explained(path: Path, error: Exception) -> EspdeployError:
    """The error for a run that failed."""
    why = onnxruntime.first_line(error)
    if _OUT_OF_MEMORY.search(str(error)):
        return MissingCapability("no memory left on the GPU", why=why, do="close other programs on it")
    return ToolFailed(f"onnxruntime failed while running {path}", why=why)


def _preload(runtime: ModuleType, provider: Provider) -> None:
    """Load the libraries of CUDA, cuDNN and TensorRT from where pip put them; those of the system are found anyway."""
    if provider.name == RTX:
        return
    with shell.captured_output():  # what is missing is said again when the provider starts, with its reason
        if hasattr(runtime, "preload_dlls"):
            runtime.preload_dlls()
    if provider.name == TENSORRT and lazy.available("tensorrt"):
        lazy.require("tensorrt", extra="tensorrt")


def _made(runtime: ModuleType, path: Path, provider: Provider, session_options: Any, options: Options) -> Any:
    if provider.name == RTX and lazy.available(RTX_PLUGIN):
        session_options.add_provider_for_devices(_plugin_devices(runtime), dict(options[RTX]))
        return runtime.InferenceSession(str(path), session_options, enable_fallback=0)
    asked = [(name, dict(options[name])) for name in (provider.name, *provider.then)]
    return runtime.InferenceSession(str(path), session_options, providers=asked, enable_fallback=0)


def _plugin_devices(runtime: ModuleType) -> list[Any]:
    """The first GPU as the plug-in of TensorRT-RTX offers it; the plug-in is registered once in a process."""
    plugin = lazy.require(RTX_PLUGIN, extra="gpu")
    if RTX not in {device.ep_name for device in runtime.get_ep_devices()}:
        runtime.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())
    found = [device for device in runtime.get_ep_devices() if device.ep_name == RTX]
    if not found:
        raise MissingCapability(
            "TensorRT-RTX offers no GPU here",
            why="its execution provider runs on compute capability 8.6, 8.9 and 12.0 and newer",
            do="choose --runtime tensorrt or onnxruntime-cuda",
        )
    return found[:1]


def _nodes(session: Any) -> dict[str, int]:
    """Nodes per provider, as the graph was divided; a compiled part counts as the nodes that went into it."""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # an older release
        return {}
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)


def _not_opened(runtime: ModuleType, path: Path, provider: Provider, error: Exception, log: str) -> EspdeployError:
    if isinstance(error, EspdeployError):
        return error
    text = f"{error}\n{log}"
    if _OUT_OF_MEMORY.search(text):
        return explained(path, error)
    if _NOT_FOUND.search(text) or _OLD_DRIVER.search(text):
        what = f"the {provider.label} execution provider of onnxruntime {runtime.__version__} does not start"
        return MissingCapability(what, why=_reason(text), do=_remedy(text, provider))
    try:
        onnxruntime.open_session(runtime, path, 1)
    except EspdeployError as unreadable:  # on the CPU too: it is the file
        return unreadable
    why = onnxruntime.first_line(error)
    return ToolFailed(f"the {provider.label} execution provider cannot open {path}", why=why, do="run it with --debug")


def _reason(log: str) -> str:
    """What is missing, out of all that was logged; the first line where nothing says so."""
    missing = _NOT_FOUND.search(log)
    if missing:
        return f"{missing[1]} is not found"
    lines = [_LOG_DRESS.sub("", line).strip() for line in log.splitlines()]
    return next((line[:_LONGEST_LINE] for line in lines if line), "it says nothing about why")


def _remedy(log: str, provider: Provider) -> str:
    missing = _NOT_FOUND.search(log)
    if _OLD_DRIVER.search(log) or (missing and _NO_DRIVER in missing[1]):
        return "install or update the NVIDIA driver: nvidia-smi must list the GPU"
    if provider.name == TENSORRT and missing and not missing[1].startswith(_OF_TENSORRT):
        return PROVIDERS["onnxruntime-cuda"].libraries  # it stands on CUDA, which comes first
    return provider.libraries
