"""``espdeploy devices``: the device profiles, or one of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from espdeploy.cli.options import Json
from espdeploy.cli.output import Column, Output
from espdeploy.specs import DeviceProfile


def devices(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this device alone.")] = None,
    json: Json = False,
) -> None:
    """Devices that espdeploy knows: precisions, opset, GPU clocks, power modes."""
    from espdeploy.recipes import device_profile, device_profiles

    output = Output(as_json=json)
    if name is not None:
        _show_one(output, device_profile(name))
    elif json:
        output.json([_document(profile) for profile in device_profiles().values()])
    else:
        columns = [
            Column(head="device"),
            Column(head="what it is"),
            Column(head="precisions"),
            Column(head="runtimes"),
            Column(head="ONNX opset", numeric=True),
            Column(head="compute capability", numeric=True),
            Column(head="GPU MHz"),
        ]
        output.table(columns, [_row(profile) for profile in device_profiles().values()])


def _row(profile: DeviceProfile) -> list[str]:
    clocks = profile.gpu.frequencies_mhz if profile.gpu else ()
    return [
        profile.name,
        profile.description,
        " ".join(profile.precisions),
        " ".join(profile.runtimes),
        str(profile.opset),
        profile.gpu.compute_capability if profile.gpu else "–",
        f"{clocks[0]:g} … {clocks[-1]:g} ({len(clocks)} steps)" if clocks else "–",
    ]


def _show_one(output: Output, profile: DeviceProfile) -> None:
    if output.as_json:
        output.json(_document(profile))
        return
    rows = [
        ("device", f"{profile.name}: {profile.description}"),
        ("precisions", ", ".join(profile.precisions)),
        *((f"no {precision}", why) for precision, why in profile.refused_precisions.items()),
        ("runtimes", ", ".join(profile.runtimes)),
        ("ONNX opset", str(profile.opset)),
    ]
    if profile.gpu:
        rows.append(("GPU", f"{profile.gpu.name}, compute capability {profile.gpu.compute_capability}"))
        rows.append(("GPU MHz", " ".join(f"{mhz:g}" for mhz in profile.gpu.frequencies_mhz)))
    for mode in profile.power_modes:
        rows.append(
            (f"power mode {mode.id}", f"{mode.name}, GPU up to {mode.gpu_max_mhz:g} MHz, {mode.cpu_cores} CPU cores")
        )
    rows.extend(("note", note) for note in profile.notes)
    rows.append(("read from", profile.source))
    output.pairs(rows)


def _document(profile: DeviceProfile) -> dict[str, object]:
    return asdict(profile)
