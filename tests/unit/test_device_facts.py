"""The facts in engines/: held against each other, and against what boards and tools printed."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest

from espdeploy import recipes
from espdeploy.devices import abilities, board
from espdeploy.pipeline import capability
from espdeploy.specs import DeviceProfile, GpuFacts, PeakFacts, PowerMode

PROFILES = recipes.device_profiles()
BOARDS = {name: profile for name, profile in PROFILES.items() if profile.kind == "jetson"}
#: FP16 and INT8 operations a clock on one SM without sparsity: NVIDIA's white papers of Volta, of Ampere (GA100, whose
#: rates Orin has) and of Blackwell; twice FP32 in FP16, and no INT8, before
TENSOR_RATES = {"7.2": (1024, 2048), "8.7": (2048, 4096), "11.0": (8192, 16384)}
CORES_PER_SM = {"5.3": 128, "6.2": 128, "7.2": 64, "8.7": 128, "11.0": 128}
LOGS = "logs/jetsoncfg"


def facts_of(name: str) -> tuple[DeviceProfile, GpuFacts, PeakFacts]:
    profile = BOARDS[name]
    assert profile.gpu is not None
    assert profile.peak is not None
    return profile, profile.gpu, profile.peak


def test_no_name_means_two_devices() -> None:
    names = Counter(name for profile in PROFILES.values() for name in (profile.name, *profile.aliases))
    assert [name for name, times in names.items() if times > 1] == []
    assert all(name == name.lower() for name in names)


def test_every_board_that_is_recognised_has_a_profile() -> None:
    assert {profile for _, profile in board._PROFILES} == set(BOARDS)


@pytest.mark.parametrize("name", PROFILES)
def test_each_precision_is_built_or_refused_with_a_reason(name: str) -> None:
    profile = PROFILES[name]
    assert set(profile.precisions) & set(profile.refused_precisions) == set()
    assert {*profile.precisions, *profile.refused_precisions} == set(capability.PRECISIONS)
    assert all(len(why) > 20 for why in profile.refused_precisions.values())


@pytest.mark.parametrize("name", BOARDS)
def test_a_boards_precisions_are_those_of_its_compute_capability(name: str) -> None:
    profile, gpu, _ = facts_of(name)
    computes = abilities.capability_of(gpu.compute_capability)
    assert computes is not None
    lacking = {precision: abilities.lacks(precision, computes) for precision in capability.PRECISIONS}
    assert set(profile.precisions) <= {precision for precision, why in lacking.items() if why is None}
    refused = {precision: why for precision, why in lacking.items() if why is not None}
    assert refused.items() <= profile.refused_precisions.items()  # in the same words wherever they are told


@pytest.mark.parametrize("name", BOARDS)
def test_peaks_follow_from_cores_and_clocks(name: str) -> None:
    profile, gpu, peak = facts_of(name)
    assert gpu.cuda_cores is not None
    assert peak.gpu_mhz is not None
    sms = gpu.cuda_cores / CORES_PER_SM[gpu.compute_capability]
    assert peak.fp32_gflops == pytest.approx(gpu.cuda_cores * 2 * peak.gpu_mhz / 1e3, rel=0.01)
    if gpu.compute_capability in TENSOR_RATES:
        fp16, int8 = TENSOR_RATES[gpu.compute_capability]
        assert peak.fp16_gflops == pytest.approx(sms * fp16 * peak.gpu_mhz / 1e3, rel=0.01)
        assert peak.int8_tops == pytest.approx(sms * int8 * peak.gpu_mhz / 1e6, rel=0.01)
        assert gpu.tensor_cores == sms * (8 if gpu.compute_capability == "7.2" else 4)
    else:
        assert peak.fp16_gflops == pytest.approx(2 * peak.fp32_gflops, rel=0.01)
        assert (peak.int8_tops, gpu.tensor_cores) == (None, 0)
    assert ("int8" in profile.precisions) == (peak.int8_tops is not None)
    assert gpu.tpcs in (None, sms / (2 if gpu.tensor_cores else 1))  # SMs come in pairs since Volta


@pytest.mark.parametrize("name", BOARDS)
def test_memory_traffic_follows_from_the_bus_and_its_clock(name: str) -> None:
    profile, gpu, peak = facts_of(name)
    assert profile.emc is not None
    assert gpu.memory_bus_bits is not None
    assert gpu.memory_mb is not None
    assert peak.dram_gb_s == pytest.approx(profile.emc.max_mhz * 2 * gpu.memory_bus_bits / 8 / 1e3, rel=0.01)
    gib = gpu.memory_mb * 1e6 / 2**30
    assert gib == pytest.approx(round(gib), rel=1e-3)  # whole memory chips
    assert gpu.memory_shared


@pytest.mark.parametrize("name", BOARDS)
def test_clocks_ascend_up_to_the_one_that_peaks_are_told_at(name: str) -> None:
    _, gpu, peak = facts_of(name)
    steps = gpu.frequencies_mhz
    assert all(low < high for low, high in itertools.pairwise(steps))
    assert not steps or steps[-1] == peak.gpu_mhz
    assert gpu.frequency_paths
    assert all(path.startswith("/sys/") for path in gpu.frequency_paths)


@pytest.mark.parametrize(
    ("board_name", "mode"), [(name, mode) for name, profile in BOARDS.items() for mode in profile.power_modes]
)
def test_power_modes_fit_the_board(board_name: str, mode: PowerMode) -> None:
    profile, gpu, peak = facts_of(board_name)
    assert mode.gpu_max_mhz is not None
    assert peak.gpu_mhz is not None
    assert mode.gpu_max_mhz <= peak.gpu_mhz
    if gpu.frequencies_mhz:
        assert min(abs(step / mode.gpu_max_mhz - 1) for step in gpu.frequencies_mhz) < 0.05
    assert mode.gpu_tpcs is None or 0 < mode.gpu_tpcs <= (gpu.tpcs or 0)
    assert profile.emc is not None
    assert mode.emc_max_mhz is None or mode.emc_max_mhz <= profile.emc.max_mhz
    assert mode.cpu_cores is not None


@pytest.mark.parametrize("name", BOARDS)
def test_modes_have_an_id_and_a_name_each_and_one_sets_no_limit(name: str) -> None:
    profile, _, peak = facts_of(name)
    modes = profile.power_modes
    assert [mode.id for mode in modes] == list(range(len(modes)))
    assert len({mode.name for mode in modes}) == len(modes)
    assert not modes or max(mode.gpu_max_mhz or 0 for mode in modes) == peak.gpu_mhz


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if profile.tensorrt])
def test_releases_stand_in_order_and_the_opset_can_be_read(name: str) -> None:
    profile = PROFILES[name]
    assert profile.tensorrt is not None
    for versions in (profile.tensorrt, *([profile.jetpack] if profile.jetpack else [])):
        assert parts(versions.oldest) < parts(versions.newest)
    assert profile.opset <= profile.tensorrt.opset_max
    assert profile.tensorrt.opset_max == capability.opset_read(parts(profile.tensorrt.newest)) or (
        parts(profile.tensorrt.newest) == (10, 16) and profile.tensorrt.opset_max == 24  # 10.15's; 11's may be newer
    )


@pytest.mark.parametrize("name", [name for name, profile in BOARDS.items() if profile.dla])
def test_a_dla_computes_in_what_the_gpu_does_and_has_a_release(name: str) -> None:
    profile = BOARDS[name]
    assert profile.dla is not None
    assert profile.tensorrt is not None
    assert set(profile.dla.precisions) == {"fp16", "int8"}
    for versions in profile.dla.tensorrt:
        assert capability.in_range(parts(versions.oldest), profile.tensorrt)
        assert capability.in_range(parts(versions.newest), profile.tensorrt)


@pytest.mark.parametrize("name", BOARDS)
def test_rails_name_a_total_or_how_to_get_it(name: str) -> None:
    rails = BOARDS[name].rails
    if rails is None:
        assert name == "tx1"  # whose tools print none
        return
    assert bool(rails.total) != rails.total_is_sum
    assert set(rails.gpu) <= set(rails.split)
    assert set(rails.total).isdisjoint(rails.split)


@pytest.mark.parametrize("name", BOARDS)
def test_each_board_says_where_its_facts_come_from(name: str) -> None:
    topics = " ".join(BOARDS[name].sources)
    for topic in ("clocks", "cores", "releases", "precisions", "rails", "opset", "power modes"):
        assert topic in topics or (name == "tx1" and topic in ("rails", "power modes"))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "head"),
    [("xavier-agx", "# AGX Xavier"), ("tx1", "# Nano/TX1"), ("orin-agx", "# AGX Orin"), ("tx2", "# TX2")],
)
def test_clock_steps_are_those_that_boards_list(name: str, head: str, data_dir: Path) -> None:
    _, gpu, _ = facts_of(name)
    listed = (data_dir / LOGS / "available_frequencies_gpu.txt").read_text().partition(head)[2].splitlines()[1]
    board_hz = [int(word) for word in listed.split()]
    ours_hz = [round(mhz * 1e6) for mhz in gpu.frequencies_mhz]
    assert ours_hz[-len(board_hz) :] == board_hz
    assert len(ours_hz) == len(board_hz) or name == "tx2"  # its capture lacks the lowest steps


def test_a_nanos_steps_are_a_tx1s_without_the_last() -> None:
    nano, tx1 = facts_of("nano")[1], facts_of("tx1")[1]
    assert nano.frequencies_mhz == tx1.frequencies_mhz[:-1]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("nano", "nano_nvpmodel_birdedge.conf"),
        ("xavier-agx", "mlperf_xavier_agx_nvpmodel_computelab310.conf"),
        ("xavier-nx", "xavieragx_nvpmodel_gatekeeper.conf"),
    ],
)
def test_power_modes_are_those_of_a_boards_configuration(name: str, file: str, data_dir: Path) -> None:
    profile, gpu, peak = facts_of(name)
    conf = (data_dir / LOGS / file).read_text()
    found = conf_modes(conf)
    for mode in profile.power_modes:
        title, lines = found[mode.id]
        assert mode.name == title
        cap = int(value_of(lines, "GPU MAX_FREQ"))
        assert round((mode.gpu_max_mhz or 0) * 1e6) == (round((peak.gpu_mhz or 0) * 1e6) if cap == -1 else cap)
        assert mode.cpu_cores == sum(line.startswith("CPU_ONLINE") and line.endswith(" 1") for line in lines)
        emc = int(value_of(lines, "EMC MAX_FREQ"))
        assert round((mode.emc_max_mhz or 0) * 1e6) == max(emc, 0)
        if mode.gpu_tpcs is not None:
            gated = int(value_of(lines, "TPC_POWER_GATING TPC_PG_MASK")).bit_count()
            assert mode.gpu_tpcs == 4 - gated  # of the chip's four
    paths = re.findall(r"^MAX_FREQ(?:_KNEXT)? (/sys/.*(?:gv11b|57000000\.gpu).*)/max_freq", conf, re.MULTILINE)
    assert set(paths) <= set(gpu.frequency_paths)


@pytest.mark.data
def test_a_tx2s_power_modes_are_those_of_the_oldest_format(data_dir: Path) -> None:
    profile, gpu, _ = facts_of("tx2")
    conf = (data_dir / LOGS / "tx2_l4t27_nvpmodel_first_format.conf").read_text()
    for mode in profile.power_modes:
        title, lines = conf_modes(conf)[mode.id]
        assert mode.name == title
        assert round((mode.gpu_max_mhz or 0) * 1e6) == int(value_of(lines, f"{gpu.frequency_paths[-1]}/max_freq"))
        assert mode.cpu_cores == 1 + sum(line.endswith("/online 1") for line in lines)  # cpu0 is always on
        assert round((mode.emc_max_mhz or 0) * 1e6) == int(value_of(lines, "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap"))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("nano", "trt82_nano_yolov4tiny416_fp16_verbose.txt"),
        ("orin-nano", "trt103_orinnano_resnet18_fp16_build_gwonxhj.log"),
    ],
)
def test_gpus_are_what_trtexec_found_on_the_board(name: str, file: str, data_dir: Path) -> None:
    _, gpu, peak = facts_of(name)
    log = (data_dir / "logs/trtexec" / file).read_text(errors="replace")

    def told(label: str) -> str:
        return re.search(rf"\] (?:Application )?{label}: ([\d.]+)", log)[1]

    assert gpu.compute_capability == told("Compute Capability")
    assert gpu.cuda_cores == int(told("SMs")) * 128
    assert peak.gpu_mhz == float(told("Compute Clock Rate")) * 1e3
    assert gpu.memory_bus_bits == int(told("Memory Bus Width"))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file", "highest_mhz"),
    [
        ("tx1", "tx1_jetson_clocks_sh_show_hordiales.txt", (998.4, 1600.0)),
        ("orin-nano", "orinnano_nvpmodel_q_jetson_clocks_show_jfdg01.txt", (624.75, 2133.0)),
    ],
)
def test_no_board_was_seen_above_its_highest_clocks(
    name: str, file: str, highest_mhz: tuple[float, float], data_dir: Path
) -> None:
    profile, gpu, _ = facts_of(name)
    shown = (data_dir / LOGS / file).read_text()
    seen = [int(re.search(rf"{what} MinFreq=\d+ MaxFreq=(\d+)", shown)[1]) / 1e6 for what in ("GPU", "EMC")]
    assert tuple(seen) == highest_mhz  # of the mode that the board was in
    assert profile.emc is not None
    assert seen[0] <= gpu.frequencies_mhz[-1]
    assert seen[1] <= profile.emc.max_mhz


def parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def conf_modes(conf: str) -> dict[int, tuple[str, list[str]]]:
    """nvpmodel's modes by their number: the name and the lines, without comments."""
    lines = [line.strip() for line in conf.splitlines() if not line.startswith("#")]
    found: dict[int, tuple[str, list[str]]] = {}
    current: list[str] = []
    for line in lines:
        if match := re.fullmatch(r"< POWER_MODEL ID=(\d+) NAME=(\w+) >", line):
            current = []
            found[int(match[1])] = (match[2], current)
        elif line.startswith("<"):
            current = []
        else:
            current.append(line)
    return found


def value_of(lines: list[str], key: str) -> str:
    return next(line.removeprefix(key).strip() for line in lines if line.startswith(f"{key} "))
