"""What a builder is told that only TensorRT itself takes: a DLA and a timing cache, on a stand-in that answers as its
API is documented to (IBuilderConfig.can_run_on_DLA, create_timing_cache, set_timing_cache)."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.backends.tensorrt.settings import Settings, configure, timing_cache_of
from espdeploy.errors import InputFileError, MissingCapability

HEAD = b"timings of this GPU: "


class TimingCache:
    """Timings of this GPU or another; what is no cache becomes an empty one."""

    def __init__(self, content: bytes) -> None:
        self.content = content if content.startswith(b"timings of ") else HEAD

    def serialize(self) -> bytes:
        return self.content


class Config:
    """A builder's configuration; of the layers, the DLA takes convolutions."""

    default_device_type, DLA_core, timings = "gpu", -1, None

    def __init__(self) -> None:
        self.flags: set[str] = set()

    def set_memory_pool_limit(self, pool: str, size: int) -> None: ...

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)

    def can_run_on_DLA(self, layer: str) -> bool:  # noqa: N802 - NVIDIA's name
        return layer == "convolution"

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, *, ignore_mismatch: bool) -> bool:
        fits = cache.content.startswith(HEAD)
        self.timings = cache if fits else self.timings
        return fits

    def get_timing_cache(self) -> TimingCache | None:
        return self.timings


def configured(*layers: str, cores: int = 2, **asked: Any) -> Settings:
    flags = SimpleNamespace(GPU_FALLBACK="fallback", TF32="tf32")
    module: Any = ModuleType("tensorrt")
    module.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    module.ProfilingVerbosity, module.BuilderFlag = SimpleNamespace(DETAILED="detailed"), flags
    module.DeviceType = SimpleNamespace(DLA="dla")
    version = (11, 4, 1)
    abilities = apis.abilities_of(apis.TENSORRT, version)
    api = apis.Api(kind=apis.TENSORRT, module=module, version=version, abilities=abilities, log=None)  # type: ignore[arg-type]  # nothing is said
    builder = SimpleNamespace(create_builder_config=Config, num_DLA_cores=cores)
    network = SimpleNamespace(num_inputs=0, get_input=None, num_layers=len(layers), get_layer=layers.__getitem__)
    plan = TensorRTPlan(
        onnx=Path("f.onnx"), engine=Path("f.engine"), precision="fp16", typed_graph=True, workspace_mb=256, **asked
    )
    return configure(api, builder, network, plan, None)


def test_a_dla_gets_what_it_takes_and_the_gpu_the_rest() -> None:
    made = configured("convolution", "convolution", "convolution", "resize", dla_core=1)
    assert (made.config.default_device_type, made.config.DLA_core) == ("dla", 1)
    assert "fallback" in made.config.flags
    assert made.dla_share_pct == 75
    assert configured("convolution").dla_share_pct is None
    with pytest.raises(MissingCapability, match="no DLA core 2") as caught:
        configured("convolution", dla_core=2)
    assert caught.value.do == "give 0 to 1"


def test_timings_of_another_gpu_are_refused_or_begun_anew(tmp_path: Path) -> None:
    kept = tmp_path / "t.cache"
    assert timing_cache_of(configured(timing_cache=kept).config) == HEAD  # none yet
    kept.write_bytes(HEAD + b"conv 3 us")
    assert timing_cache_of(configured(timing_cache=kept).config) == HEAD + b"conv 3 us"
    for other in (b"timings of that GPU: conv 9 us", b"no cache at all"):
        kept.write_bytes(other)
        with pytest.raises(InputFileError, match=r"t\.cache is no timing cache of this TensorRT and GPU"):
            configured(timing_cache=kept)
        made = configured(timing_cache=kept, timing_cache_may_differ=True)
        assert timing_cache_of(made.config) == HEAD
        assert "begun anew" in made.notes[-1]
