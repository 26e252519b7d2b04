"""What the papers print beside what we count, and why the two differ where they do; no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from espdeploy.networks.counted import COUNTED
from espdeploy.networks.entry import NetworkEntry, Published, SettingValue
from espdeploy.specs import ImageSize

#: a difference up to this needs no reason
TOLERANCE_PCT = 1.0
#: papers print whole millions of multiply-adds and tenths of a million of parameters, or more digits
_COARSEST = {"params": 100_000, "macs": 1_000_000}
_ROUNDED = "the printed figure is rounded, and ours rounds to it"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A printed row beside our count for its settings.

    ``params`` and ``macs`` are our count, at ``size``; None where the row's settings have not been counted. The
    differences are None where either figure is; ``reason`` is empty where none is over 1 %.
    """

    row: Published
    size: ImageSize
    params: int | None
    macs: int | None
    params_difference_pct: float | None
    macs_difference_pct: float | None
    reason: str


def counted_size(network: NetworkEntry, row: Published) -> ImageSize:
    """Where we count a row: at the size of its printed multiply-adds, or at the network's own where there are none."""
    return network.default_size if row.macs is None else row.macs_size


def key(network: NetworkEntry, row: Published) -> str:
    """How a row's settings and size are written in the committed counts."""
    return f"{written(row.settings)} at {counted_size(network, row)}".lstrip()


def compared(network: NetworkEntry) -> tuple[Compared, ...]:
    """Every printed row of a network beside the committed counts."""
    return tuple(_compare(network, row) for row in network.published)


def headline(network: NetworkEntry) -> Published | None:
    """The printed accuracy to show first: of the default settings before others, on a test set before others."""
    rows = [row for row in network.published if row.value is not None]
    return min(rows, key=lambda row: (bool(unusual(network, row)), "test" not in (row.data or "")), default=None)


def unusual(network: NetworkEntry, row: Published) -> dict[str, SettingValue]:
    """The row's settings that are not the network's defaults."""
    defaults = network.defaults
    return {name: value for name, value in row.settings.items() if defaults[name] != value}


def _compare(network: NetworkEntry, row: Published) -> Compared:
    params, macs = COUNTED.get(network.name, {}).get(key(network, row), (None, None))
    reasons = [
        _reason(network, "params", printed=row.params, counted=params),
        _reason(network, "macs", printed=row.macs, counted=macs),
    ]
    return Compared(
        row=row,
        size=counted_size(network, row),
        params=params,
        macs=macs,
        params_difference_pct=_difference_pct(row.params, params),
        macs_difference_pct=_difference_pct(row.macs, macs),
        reason="; ".join(reason for reason in reasons if reason),
    )


def _difference_pct(printed: int | None, counted: int | None) -> float | None:
    return None if printed is None or counted is None else 100 * (counted - printed) / printed


def _reason(network: NetworkEntry, figure: str, *, printed: int | None, counted: int | None) -> str:
    difference_pct = _difference_pct(printed, counted)
    if printed is None or counted is None or difference_pct is None or abs(difference_pct) <= TOLERANCE_PCT:
        return ""
    digits = len(str(printed)) - len(str(printed).rstrip("0"))
    unit = min(10**digits, _COARSEST[figure])
    rounded = 2 * abs(counted - printed) <= unit
    name = {"params": "parameters", "macs": "multiply-adds"}[figure]
    return f"{name}: {_ROUNDED if rounded else network.differences.get(figure, 'not known')}"


def written(settings: Mapping[str, SettingValue]) -> str:
    """Settings as ``--set`` takes them, in a fixed order."""
    return " ".join(f"{name}={value}" for name, value in sorted(settings.items()))
