"""Heavy packages, loaded when first used and missed with a clear message."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType

from espdeploy.errors import MissingCapability


def require(module: str, *, extra: str) -> ModuleType:
    """Import ``module``, or say which extra of espdeploy brings it.

    Raises:
        MissingCapability: the package is absent, or present and unable to load.
    """
    top_level = module.partition(".")[0]
    _report_to_nobody()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] != top_level:
            raise _broken(module, error) from error
        raise MissingCapability(
            f"the Python package {top_level} is not installed",
            do=f'pip install "espdeploy[{extra}]"',
        ) from error
    except (ImportError, OSError) as error:
        raise _broken(module, error) from error


def available(module: str) -> bool:
    """Whether the package is installed, found out without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _report_to_nobody() -> None:
    """Keep runtimes from reporting to their makers: a measurement takes place beside no uploads, and stays private.

    ONNX Runtime 1.31 and OpenVINO 2026 do so once imported, and write an identity into the home folder for it.
    ``ORT_DISABLE_TELEMETRY=0`` in the environment leaves ONNX Runtime as it comes.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO then takes its own stub


def _broken(module: str, error: Exception) -> MissingCapability:
    return MissingCapability(
        f"the Python package {module} is installed but does not load",
        why=str(error).splitlines()[0] if str(error) else type(error).__name__,
        do="espdeploy doctor",
    )
