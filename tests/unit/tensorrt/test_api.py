"""What each release can do: the table says what the packages themselves show."""

from __future__ import annotations

import pytest

from espdeploy import lazy
from espdeploy.backends.tensorrt import api as apis
from espdeploy.errors import MissingCapability, UsageError


def test_the_table_agrees_with_the_package(api: apis.Api) -> None:
    module, can = api.module, api.abilities
    flags = [name for name in ("fp16", "int8", "bf16") if hasattr(module.BuilderFlag, name.upper())]
    assert sorted(can.precision_flags) == sorted(flags)
    assert can.calibrators == hasattr(module, "IInt8EntropyCalibrator2")
    assert can.compute_capabilities == hasattr(module, "ComputeCapability")
    assert can.runtime_cache == hasattr(module, "IRuntimeCache")
    assert can.own_cuda_graphs == hasattr(module, "CudaGraphStrategy")
    assert can.weight_streaming == hasattr(module.BuilderFlag, "WEIGHT_STREAMING")
    assert can.typed_only == (not flags)


def test_a_package_is_loaded_once_and_says_who_it_is(api: apis.Api) -> None:
    assert apis.load(api.kind) is api
    assert api.version_text == str(api.module.__version__)
    assert api.version_text.startswith(api.label.split()[-1])


@pytest.mark.parametrize(
    ("kind", "version", "flags", "graphs"),
    [
        (apis.TENSORRT, (10, 3, 0, 26), ("fp16", "int8", "bf16"), False),
        (apis.TENSORRT, (11, 4, 0), (), False),
        (apis.TENSORRT, (12, 0), (), False),
        (apis.RTX, (1, 1, 1), (), False),
        (apis.RTX, (1, 7, 1, 116), (), True),
    ],
)
def test_a_release_has_the_row_it_belongs_to(
    kind: str, version: tuple[int, ...], flags: tuple[str, ...], graphs: bool
) -> None:
    can = apis.abilities_of(kind, version)
    assert (can.precision_flags, can.own_cuda_graphs) == (flags, graphs)


@pytest.mark.parametrize("version", [(8, 6, 2), ()])
def test_an_older_release_is_sent_to_trtexec(version: tuple[int, ...]) -> None:
    with pytest.raises(MissingCapability) as caught:
        apis.abilities_of(apis.TENSORRT, version)
    assert caught.value.do == "--runtime trtexec"


def test_an_absent_package_names_the_extra() -> None:
    if lazy.available("tensorrt"):
        pytest.skip("tensorrt is installed here")
    with pytest.raises(MissingCapability) as caught:
        apis.load(apis.TENSORRT)
    assert "espdeploy[tensorrt]" in caught.value.do


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(UsageError, match="tensorflow"):
        apis.load("tensorflow")
