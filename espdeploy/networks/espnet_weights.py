"""How ESPNet checkpoints are read: the released tensor names in ours, and the settings off the tensors' shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from espdeploy.networks.entry import SettingValue, Shape
from espdeploy.networks.module_formulas import LEVEL_CHANNELS, narrow

#: where the parallel branches of a module stand, one for each of K
_BRANCHES = {"inception": "towers.", "resnext": "paths.", "asp": "atrous."}
#: a layer that only this module has
_LAYERS = {"mobilenet": "pointwise.weight", "resnet": "second.weight"}

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
    settings: dict[str, SettingValue] = {
        "alpha2": _repeats(shapes, f"{prefix}stage2."),
        "alpha3": _repeats(shapes, f"{prefix}stage3."),
        **_module(shapes, prefix),
    }
    classifier = shapes.get(f"{prefix}classifier.weight")
    if classifier:
        settings["classes"] = classifier[0]
    mix1 = shapes.get("decoder.mix1.conv.weight")
    if mix1 and len(mix1) > 1:
        settings["decoder"] = mix1[1] - mix1[0]
    return settings


def _module(shapes: Mapping[str, Shape], prefix: str) -> dict[str, SettingValue]:
    """Which module the encoder is made of, and the width divider K where the tensors tell it."""
    esp_branches = sum(name.startswith(f"{prefix}down2.pyramid.") for name in shapes)
    if esp_branches:
        return {"module": "esp", "k": esp_branches}
    block = f"{prefix}stage3.0."
    for module, branches in _BRANCHES.items():
        if found := _repeats(shapes, block + branches):
            return {"module": module, "k": found}
    reduce = shapes.get(f"{block}reduce.weight")
    if reduce is not None:
        fits = (k for k in range(2, 9) if narrow("shufflenet", LEVEL_CHANNELS[3], k=k) == reduce[0])
        return {"module": "shufflenet", "k": next(fits, 0)}
    named = [module for module, layer in _LAYERS.items() if f"{block}{layer}" in shapes]
    return {"module": named[0]} if named else {}


def _repeats(shapes: Mapping[str, Shape], prefix: str) -> int:
    """How many numbered blocks follow ``prefix``."""
    return len({match[1] for name in shapes if (match := re.match(re.escape(prefix) + r"(\d+)\.", name))})
