"""Which board a log is of, by the names in it."""

from __future__ import annotations

from espdeploy.profilers.tegrastats.values import Log

#: rails that are one board's alone
_BY_RAIL = {
    "VDD_SYS_GPU": "tx2",
    "VDD_DDR": "tx2",
    "VDD_WIFI": "tx2",
    "POM_5V_IN": "nano",
    "SYS5V": "xavier-agx",
    "VDDRQ": "xavier-agx",
    "VDD_GPU_SOC": "orin-agx",
    "VDD_CPU_SOC_MSS": "thor",
}
#: the rail of the whole module, and those of which the GPU's is a part
TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
GPU_RAILS = ("VDD_SYS_GPU", "VDD_GPU", "POM_5V_GPU", "VDD_CPU_GPU_CV")
_ONLY_ORIN_NX = ("NVENC", "NVDLA", "PVA")


def device_hint(log: Log) -> str | None:
    """The name of the device's profile; "A or B" where the log tells no more, None where it tells nothing."""
    for rail, board in _BY_RAIL.items():
        if rail in log.rails_mw:
            return board
    if "VDD_CPU_GPU_CV" in log.rails_mw:
        return _small_orin(log) if "tj" in log.temps_c else "xavier-nx"
    return _without_rails(log)


def _small_orin(log: Log) -> str:
    """Orin Nano and Orin NX share rails and zones; the Nano has no encoder, no DLA and no PVA, and never 8 cores."""
    if log.cores_listed > 6 or any(word.startswith(_ONLY_ORIN_NX) for word in log.words):
        return "orin-nx"
    return "orin-nano" if any(word.startswith("NVDEC") for word in log.words) else "orin-nano or orin-nx"


def _without_rails(log: Log) -> str | None:
    if "GR3D" in log.words:
        return "tx1"
    if "BCPU" in log.temps_c:
        return "tx2"
    if "soc012" in log.temps_c:
        return "thor"
    if "tj" in log.temps_c:
        return "orin-agx" if log.cores_listed > 8 else "orin-nano or orin-nx"
    if "AUX" in log.temps_c:
        return "xavier-agx" if log.cores_listed > 6 else "xavier-nx"
    return "nano" if "PLL" in log.temps_c else None
