"""The gate: what a device cannot do is refused by its facts, with the class that the exit code follows from."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from espdeploy import recipes
from espdeploy.devices.board import Jetson
from espdeploy.devices.detect import Machine
from espdeploy.devices.gpus import Gpu
from espdeploy.errors import MissingCapability, UsageError
from espdeploy.pipeline import capability
from espdeploy.specs import DeviceProfile, VersionRange

RTX_3090 = Gpu(
    index=0,
    name="NVIDIA GeForce RTX 3090",
    compute_capability="8.6",
    memory_total_mb=25769.8,
    cuda_cores=10496,
    sm_clock_max_mhz=1695.0,
    memory_clock_max_mhz=9751.0,
    memory_bus_bits=384,
)


def profile(name: str) -> DeviceProfile:
    return recipes.device_profile(name)


def machine(*found: Gpu, jetson: Jetson | None = None) -> Machine:
    unknown = dict.fromkeys(Machine.__dataclass_fields__)
    return Machine(**{**unknown, "python": "3.11", "in_container": False, "gpus": found, "jetson": jetson})


def a_pc_with(name: str, compute_capability: str) -> DeviceProfile:
    gpu = Gpu(index=0, name=name, compute_capability=compute_capability, memory_total_mb=None)
    return capability.with_gpu_present(profile("desktop"), machine(gpu))


@pytest.mark.parametrize(
    ("device", "request_", "told", "do"),
    [
        ("tx2", {"precision": "int8"}, "DP4A", "--precision fp16"),
        ("nano", {"precision": "int8"}, "DP4A", "--precision fp16"),
        ("tx1", {"precision": "mixed"}, "DP4A", "--precision fp16"),
        ("xavier", {"precision": "bf16"}, "8.0", "--precision fp16"),
        ("orin", {"precision": "fp8"}, "8.9", "--precision int8"),
        ("tx2", {"precision": "fp8"}, "8.9", "--precision fp16"),
        ("thor", {"precision": "fp8"}, "espdeploy makes no FP8 graphs", "--precision int8"),
        ("cpu", {"precision": "fp8"}, "espdeploy makes no FP8 graphs", "--precision int8"),
        # releases of TensorRT
        ("tx2", {"tensorrt": (8, 4, 1)}, "7.1 to 8.2 (JetPack 4.4 to 4.6)", "/usr/src/tensorrt/bin/trtexec"),
        ("tx2", {"tensorrt": (11, 4)}, "7.1 to 8.2", "/usr/src/tensorrt/bin/trtexec"),
        ("tx2", {"tensorrt": (6, 0, 1)}, "7.1 to 8.2", "/usr/src/tensorrt/bin/trtexec"),
        ("orin", {"tensorrt": (11, 4, 0)}, "without 11.3 to 11.4.0", "JetPack"),
        ("orin-nano", {"tensorrt": (11, 4, 1)}, "8.5 to 10.16", "JetPack"),
        ("desktop", {"tensorrt": (8, 6, 1)}, "10.0 to 11.4", "engines/desktop.toml"),
        ("desktop", {"tensorrt": (12,)}, "10.0 to 11.4", "engines/desktop.toml"),
        ("orin", {"precision": "bf16", "tensorrt": (8, 5, 2)}, "9.0", "--precision fp16"),
        # opsets
        ("tx2", {"opset": 14}, "8.2", "--opset 13"),
        ("orin-nano", {"opset": 18, "tensorrt": (8, 5, 2)}, "TensorRT 8.5.2 reads opsets up to 17", "--opset 17"),
        ("desktop", {"opset": 26}, "25", "--opset 20"),
        # builders
        ("tx2", {"level": 3}, "8.6", "leave it away"),
        # accelerators
        ("orin-nano", {"dla": 0, "precision": "fp16"}, "", "GPU"),
        ("thor", {"dla": 0, "precision": "int8"}, "", "GPU"),
        ("xavier", {"dla": 2, "precision": "int8"}, "it has 2", "0 to 1"),
        ("xavier-nx", {"dla": 1}, "fp16 and int8", "--precision fp16"),
        ("orin", {"dla": 0, "precision": "bf16"}, "fp16 and int8", "--precision fp16"),
        ("orin", {"dla": 0, "precision": "int8", "tensorrt": (10, 16)}, "11.4.1 and newer", "DLA"),
        ("orin-nx", {"dla": 0, "precision": "int8", "tensorrt": (10, 8, 0)}, "8.5 to 10.7", "DLA"),
        # targets of TensorRT-RTX
        ("desktop", {"compute_capability": "8.7"}, "7.5, 8.0, 8.6, 8.9, 12.0, 12.1", "--compute-capability 8.6"),
        ("desktop", {"compute_capability": "6.1"}, "7.5, 8.0", "--compute-capability 7.5"),
        ("desktop", {"compute_capability": "7.5", "precision": "bf16"}, "8.0", "--precision fp16"),
        (
            "desktop",
            {"compute_capability": "8.9", "precision": "fp8"},
            "espdeploy makes no FP8 graphs",
            "--precision int8",
        ),
    ],
)
def test_what_is_not_there_is_refused(device: str, request_: dict[str, Any], told: str, do: str) -> None:
    with pytest.raises(MissingCapability) as caught:
        ask(profile(device), **request_)
    assert told in caught.value.why
    assert do in caught.value.do
    assert max(len(text) for text in (caught.value.what, caught.value.why, caught.value.do)) < 200


@pytest.mark.parametrize(
    ("device", "request_", "told"),
    [
        ("tx2", {"precision": "fp61"}, "fp16"),
        ("desktop", {"precision": "fp61", "compute_capability": "8.9"}, "fp16"),
        ("cpu", {"precision": ""}, "known"),
        ("tx2", {"opset": 0}, "opset 0"),
        ("cpu", {"opset": -3}, "opset -3"),
        ("orin", {"precision": "int8", "dla": -1}, "core -1"),
        ("cpu", {"tensorrt": (10, 0)}, "cpu"),
        ("orin", {"level": 6}, "level 6"),
        ("desktop", {"compute_capability": "sm_89"}, "sm_89"),
        ("desktop", {"compute_capability": ""}, '""'),
        ("tx2", {"compute_capability": "8.9"}, "tx2"),
        ("cpu", {"compute_capability": "8.9"}, "cpu"),
    ],
)
def test_nonsense_is_wrong_usage(device: str, request_: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask(profile(device), **request_)
    assert told in caught.value.what + caught.value.why


@pytest.mark.parametrize(
    ("device", "request_"),
    [
        ("tx2", {"precision": "fp16", "opset": 13, "tensorrt": (8, 2, 1)}),
        ("tx2", {"tensorrt": (7, 1)}),
        ("xavier", {"precision": "int8", "opset": 17, "tensorrt": (8, 5, 2), "dla": 1}),
        ("orin", {"precision": "int8", "tensorrt": (10, 3, 0), "dla": 0}),
        ("orin", {"precision": "fp16", "tensorrt": (11, 4, 1), "dla": 1}),
        ("orin", {"precision": "bf16", "tensorrt": (10, 3)}),
        ("thor", {"precision": "bf16", "opset": 20, "tensorrt": (10, 13, 3)}),
        ("desktop", {"precision": "int8", "compute_capability": "7.5"}),
        ("desktop", {"precision": "bf16", "opset": 25, "tensorrt": (11, 4, 1)}),
        ("cpu", {"precision": "int8", "opset": 21}),
    ],
)
def test_what_is_there_passes(device: str, request_: dict[str, Any]) -> None:
    ask(profile(device), **request_)


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        (device, precision)
        for device, known in recipes.device_profiles().items()
        for precision in capability.PRECISIONS
        if precision not in known.precisions
    ],
)
def test_what_is_advised_is_itself_to_be_had(device: str, precision: str) -> None:
    with pytest.raises(MissingCapability) as caught:
        ask(profile(device), precision=precision)
    assert caught.value.do.startswith("--precision ")
    ask(profile(device), precision=caught.value.do.removeprefix("--precision "))


@pytest.mark.parametrize(
    ("version", "opset"),
    [((7, 1, 3), 13), ((8, 2, 1), 13), ((8, 5, 2), 17), ((8, 6), 17), ((10, 15), 24), ((11, 4, 1), 25), ((12,), None)],
)
def test_opsets_that_releases_read(version: tuple[int, ...], opset: int | None) -> None:
    assert capability.opset_read(version) == opset


@pytest.mark.parametrize(
    ("version", "inside"),
    [
        ((8, 2), True),
        ((8, 2, 5), True),
        ((8, 3), False),
        ((7, 1), True),
        ((7, 1, 0), True),
        ((7,), False),
        ((7, 0, 9), False),
        ((8,), True),
        ((10, 2), False),  # not by its text
    ],
)
def test_ends_of_a_range_count_with_their_own_parts(version: tuple[int, ...], inside: bool) -> None:
    assert capability.in_range(version, VersionRange(oldest="7.1", newest="8.2")) is inside


def test_a_card_that_is_present_is_described() -> None:
    here = capability.with_gpu_present(profile("desktop"), machine(RTX_3090))
    assert here.gpu is not None
    assert (here.gpu.name, here.gpu.compute_capability, here.gpu.cuda_cores) == (RTX_3090.name, "8.6", 10496)
    assert here.peak is not None
    assert here.peak.fp32_gflops == pytest.approx(35_580, rel=0.001)  # NVIDIA's data sheet: 35.6 TFLOPS
    assert here.peak.dram_gb_s == pytest.approx(936, rel=0.001)  # and 936 GB/s
    assert (here.peak.fp16_gflops, here.peak.int8_tops) == (None, None)
    assert here.precisions == profile("desktop").precisions
    ask(here, precision="bf16", tensorrt=(10, 0))


def test_an_older_card_narrows_the_precisions() -> None:
    turing = a_pc_with("NVIDIA GeForce RTX 2080 Ti", "7.5")
    assert turing.precisions == ("fp32", "fp16", "int8", "mixed")
    assert set(turing.refused_precisions) == {"bf16", "fp8"}
    assert turing.peak is not None
    assert turing.peak.fp32_gflops is None  # its cores and clocks were not told
    ask(turing, precision="int8", tensorrt=(11, 0))
    with pytest.raises(MissingCapability, match="bf16"):
        ask(turing, precision="bf16")
    ask(turing, precision="bf16", compute_capability="8.9")  # for another card


@pytest.mark.parametrize(
    ("card", "computes", "release"), [("Tesla V100", "7.0", (10, 5)), ("GTX 1080", "6.1", (10, 0))]
)
def test_a_card_that_tensorrt_dropped_is_refused_with_the_release(
    card: str, computes: str, release: tuple[int, ...]
) -> None:
    with pytest.raises(MissingCapability, match=card) as caught:
        ask(a_pc_with(card, computes), precision="fp32", tensorrt=release)
    assert ".".join(map(str, release)) in caught.value.do


def test_slow_fp16_is_no_fp16() -> None:
    pascal = a_pc_with("NVIDIA GeForce GTX 1080", "6.1")
    assert pascal.precisions == ("fp32", "int8", "mixed")
    with pytest.raises(MissingCapability) as caught:
        ask(pascal, precision="fp16")
    assert caught.value.do == "--precision fp32"


@pytest.mark.parametrize("found", [(), (dataclasses.replace(RTX_3090, compute_capability=None),)])
def test_without_a_gpu_that_tells_the_profile_stays(found: tuple[Gpu, ...]) -> None:
    assert capability.with_gpu_present(profile("desktop"), machine(*found)) == profile("desktop")


def test_what_is_checked_later_knows_the_card_that_is_here() -> None:
    turing = Gpu(index=0, name="RTX 2080 Ti", compute_capability="7.5", memory_total_mb=None)
    known = capability.resolved_profile(profile("desktop"), machine(turing))
    assert known == a_pc_with("RTX 2080 Ti", "7.5")
    assert capability.resolved_profile(profile("desktop"), machine()) == profile("desktop")
    assert capability.resolved_profile(profile("tx2")) == profile("tx2")


def test_a_card_in_this_machine_changes_no_other_device() -> None:
    for device in ("cpu", "tx2", "orin"):
        assert capability.with_gpu_present(profile(device), machine(RTX_3090)) == profile(device)


def ask(device: DeviceProfile, *, precision: str = "fp32", **rest: object) -> None:
    capability.check(device, precision=precision, **rest)
