"""How ESPNet checkpoints are read: the released tensor names in ours, and the settings off the tensors' shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from espdeploy.networks.entry import SettingValue, Shape
from espdeploy.networks.module_formulas import LEVEL_CHANNELS, narrow

#: where the parallel branches of a module stand, one for each of K
_BRANCHES = {"esp": "pyramid.", "inception": "towers.", "resnext": "paths.", "asp": "atrous."}

#: applied in order to each tensor name; our own names pass through unchanged
RENAMES: tuple[tuple[str, str], ...] = (
    # inside a block: convolution, normalisation and activation
    (r"\.c1\.conv\.", ".reduce."),
    (r"\.d(\d+)\.conv\.", r".pyramid.dilation\1."),
    (r"\.bn\.bn\.", ".norm."),
    (r"\.bn\.act\.", ".act."),
    (r"\.bn\.", ".norm."),
    # the encoder
    (r"^(encoder\.)?b([123])\.", r"\1merge\2."),
    (r"^(encoder\.)?level([23])_0\.", r"\1down\2."),
    (r"^(encoder\.)?level([23])\.(\d+)\.", r"\1stage\2.\3."),
    # the decoder: a bare "classifier" is the last up-sampling, with ".conv" it is the encoder's last layer
    (r"^classifier\.weight$", "decoder.up1.weight"),
    (r"^(encoder\.)?classifier\.conv\.", r"\1classifier."),
    (r"^level3_C\.conv\.", "decoder.project2."),
    (r"^br\.", "decoder.norm3."),
    (r"^up_l3\.0\.", "decoder.up3."),
    (r"^combine_l2_l3\.0\.", "decoder.merge2."),
    (r"^combine_l2_l3\.1\.", "decoder.esp2."),
    (r"^up_l2\.0\.", "decoder.up2."),
    (r"^up_l2\.1\.", "decoder.act2."),
    (r"^conv\.", "decoder.mix1."),
)


def read_settings(shapes: Mapping[str, Shape]) -> dict[str, SettingValue]:
    """The settings that the shapes tell, by our names; what cannot be read is left out."""
    prefix = "encoder." if any(name.startswith("encoder.") for name in shapes) else ""
    module, branches = _module(shapes, f"{prefix}stage3.0.")
    settings: dict[str, SettingValue] = {
        "alpha2": _repeats(shapes, f"{prefix}stage2."),
        "alpha3": _repeats(shapes, f"{prefix}stage3."),
        "module": module,
        "k": branches,
    }
    classifier = shapes.get(f"{prefix}classifier.weight")
    if classifier:
        settings["classes"] = classifier[0]
    mix1 = shapes.get("decoder.mix1.conv.weight")
    if mix1 and len(mix1) > 1:
        settings["decoder"] = mix1[1] - mix1[0]
    return settings


def _module(shapes: Mapping[str, Shape], prefix: str) -> tuple[str, int]:
    """Which module stands at ``prefix``, and its width divider K; 0 where it has none."""
    for module, branches in _BRANCHES.items():
        found = len(
            {name[: name.find(".", len(prefix + branches))] for name in shapes if name.startswith(prefix + branches)}
        )
        if found:
            return module, found
    reduce = shapes.get(f"{prefix}reduce.weight")
    if reduce is not None:
        fits = (k for k in range(2, 9) if narrow("shufflenet", LEVEL_CHANNELS[3], k=k) == reduce[0])
        return "shufflenet", next(fits, 0)
    return ("mobilenet" if f"{prefix}pointwise.weight" in shapes else "resnet"), 0


def _repeats(shapes: Mapping[str, Shape], prefix: str) -> int:
    """How many numbered blocks follow ``prefix``."""
    return len({match[1] for name in shapes if (match := re.match(re.escape(prefix) + r"(\d+)\.", name))})
